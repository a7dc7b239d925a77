//! The worlds `sync-target` and `sync-source`: their functions, and the way between the engine's types and theirs.

use std::time::Duration;

use engate_model::{delivery::Response, plugin::World, retry, sink as model};
use wasmtime::{
    Store,
    component::{
        Component, ComponentExportIndex, Instance as RawInstance, TypedFunc,
        types::{Component as ComponentType, ComponentFunc},
    },
};

use super::{
    Misfit,
    bindings::{
        engate::plugin::types::{Change, HttpRequest, HttpResponse, Operation, Problem},
        exports::engate::plugin::{
            sink::{Column, ColumnKind, Page, Pass, Settlement, StreamInfo, Totals},
            source::Page as FeedPage,
        },
    },
    convert::{MESSAGE_BYTES_MAX, failure, payload},
    find, found, has, not_made_for,
};
use crate::{
    http::HttpAnswer,
    instance::CallState,
    log::printable,
    syncing::{SinkCloseCall, SinkEncodeCall, SinkOpenCall, SinkSettleCall, SourcePullCall},
};

type OpenAnswer = Result<Vec<HttpRequest>, Problem>;
type EncodeAnswer = Result<HttpRequest, Problem>;
type CloseAnswer = Result<Option<HttpRequest>, Problem>;
type PullAnswer = Result<FeedPage, Problem>;
type SettleParams = (String, String, u32, HttpResponse);
type PullParams = (String, Option<Vec<u8>>, u32, u64);

pub(super) type Open = TypedFunc<(StreamInfo,), (OpenAnswer,)>;
pub(super) type Encode = TypedFunc<(Pass, Page), (EncodeAnswer,)>;
pub(super) type Settle = TypedFunc<SettleParams, (Settlement,)>;
pub(super) type Close = TypedFunc<(Pass, Totals), (CloseAnswer,)>;
pub(super) type Pull = TypedFunc<PullParams, (PullAnswer,)>;

/// The interface that a sync target exports.
const SINK: &str = "engate:plugin/sink@0.1.0";
/// The interface that a sync source exports.
const SOURCE: &str = "engate:plugin/source@0.1.0";

/// Which function is called, with what.
#[derive(Clone, Copy)]
pub(crate) enum SyncInvocation<'c, 'a> {
    Open(&'c SinkOpenCall<'a>),
    Encode(&'c SinkEncodeCall<'a>),
    Settle(&'c SinkSettleCall<'a>),
    Close(&'c SinkCloseCall<'a>),
    Pull(&'c SourcePullCall<'a>),
}

/// What it answered; nothing of it has been checked.
pub(crate) enum SyncAnswer {
    Open(OpenAnswer),
    Encode(EncodeAnswer),
    Settle(Settlement),
    Close(CloseAnswer),
    Pull(PullAnswer),
}

/// Where the functions of both worlds are.
pub(super) struct SyncPlaces {
    sink: Option<SinkPlaces>,
    pull: Option<ComponentExportIndex>,
}

struct SinkPlaces {
    open: ComponentExportIndex,
    encode: ComponentExportIndex,
    settle: ComponentExportIndex,
    close: ComponentExportIndex,
}

/// Those that one instance has been asked for.
#[derive(Default)]
pub(super) struct SyncFunctions {
    open: Option<Open>,
    encode: Option<Encode>,
    settle: Option<Settle>,
    close: Option<Close>,
    pull: Option<Pull>,
}

impl SyncPlaces {
    /// Looks up what `component` has of the two worlds.
    ///
    /// # Errors
    /// An interface is there, and lacks functions; all are named.
    pub(super) fn of(component: &Component) -> Result<Self, Misfit> {
        let sink = || {
            let [open, encode, settle, close] = find(component, SINK, ["open", "encode", "settle", "close"])?;
            Ok(SinkPlaces { open, encode, settle, close })
        };
        let pull = || find(component, SOURCE, ["pull"]).map(|[pull]| pull);
        Ok(Self {
            sink: has(component, SINK).then(sink).transpose()?,
            pull: has(component, SOURCE).then(pull).transpose()?,
        })
    }

    /// Which of the two are there.
    pub(super) fn worlds(&self) -> impl Iterator<Item = World> {
        let target = self.sink.is_some().then_some(World::SyncTarget);
        target.into_iter().chain(self.pull.is_some().then_some(World::SyncSource))
    }

    fn sink(&self) -> wasmtime::Result<&SinkPlaces> {
        self.sink.as_ref().ok_or_else(|| not_made_for(World::SyncTarget))
    }

    /// Calls one function.
    ///
    /// # Errors
    /// A trap, a limit, or an answer that does not follow the ABI.
    pub(super) async fn invoke(
        &self,
        raw: RawInstance,
        known: &mut SyncFunctions,
        store: &mut Store<CallState>,
        invocation: SyncInvocation<'_, '_>,
    ) -> wasmtime::Result<SyncAnswer> {
        Ok(match invocation {
            SyncInvocation::Open(call) => {
                let open = found(&mut known.open, raw, store, self.sink()?.open)?;
                SyncAnswer::Open(open.call_async(store, (stream(call.stream),)).await?.0)
            }
            SyncInvocation::Encode(call) => {
                let encode = found(&mut known.encode, raw, store, self.sink()?.encode)?;
                SyncAnswer::Encode(encode.call_async(store, (pass(call.pass), page(call.page))).await?.0)
            }
            SyncInvocation::Settle(call) => {
                let settle = found(&mut known.settle, raw, store, self.sink()?.settle)?;
                let response = response(call.response, call.elapsed_ms);
                let arguments = (call.pass_id.to_owned(), call.page_id.to_owned(), call.size, response);
                SyncAnswer::Settle(settle.call_async(store, arguments).await?.0)
            }
            SyncInvocation::Close(call) => {
                let close = found(&mut known.close, raw, store, self.sink()?.close)?;
                SyncAnswer::Close(close.call_async(store, (pass(call.pass), totals(call.totals))).await?.0)
            }
            SyncInvocation::Pull(call) => {
                let place = self.pull.ok_or_else(|| not_made_for(World::SyncSource))?;
                let pull = found(&mut known.pull, raw, store, place)?;
                let after = call.after.map(<[u8]>::to_vec);
                let arguments = (call.stream.to_owned(), after, call.max_changes, call.context.now.as_millis());
                SyncAnswer::Pull(pull.call_async(store, arguments).await?.0)
            }
        })
    }
}

/// Checks the type of one function, where it is one of these worlds.
pub(super) fn check_type(
    interface: &str,
    function: &str,
    item: &ComponentFunc,
    component: &ComponentType,
) -> wasmtime::Result<()> {
    let types = &component.instance_type();
    match (interface, function) {
        ("engate:plugin/sink", "open") => item.typecheck::<(StreamInfo,), (OpenAnswer,)>(types),
        ("engate:plugin/sink", "encode") => item.typecheck::<(Pass, Page), (EncodeAnswer,)>(types),
        ("engate:plugin/sink", "settle") => item.typecheck::<SettleParams, (Settlement,)>(types),
        ("engate:plugin/sink", "close") => item.typecheck::<(Pass, Totals), (CloseAnswer,)>(types),
        ("engate:plugin/source", "pull") => item.typecheck::<PullParams, (PullAnswer,)>(types),
        _ => Ok(()),
    }
}

fn stream(stream: &model::StreamInfo) -> StreamInfo {
    let column = |column: &model::Column| Column {
        name: column.name.clone(),
        kind: match column.kind {
            model::ColumnKind::Text => ColumnKind::Text,
            model::ColumnKind::Integer => ColumnKind::Integer,
            model::ColumnKind::Decimal => ColumnKind::Decimal,
            model::ColumnKind::Boolean => ColumnKind::Boolean,
            model::ColumnKind::Date => ColumnKind::Date,
            model::ColumnKind::Timestamp => ColumnKind::Timestamp,
            model::ColumnKind::Binary => ColumnKind::Binary,
            model::ColumnKind::Json => ColumnKind::Json,
        },
        nullable: column.nullable,
    };
    StreamInfo {
        name: stream.name.clone(),
        target: stream.target.clone(),
        key: stream.key.clone(),
        columns: stream.columns.iter().map(column).collect(),
    }
}

fn pass(pass: &model::Pass) -> Pass {
    Pass {
        id: pass.id.clone(),
        stream: stream(&pass.stream),
        partition: pass.partition.clone(),
        range_start: pass.range_start.as_millis(),
        started_at: pass.started_at.as_millis(),
    }
}

fn page(page: &model::Page) -> Page {
    let change = |change: &model::Change| Change {
        key: change.key.clone(),
        operation: match change.operation {
            model::Operation::Upsert => Operation::Upsert,
            model::Operation::Delete => Operation::Delete,
        },
        data: change.data.clone(),
    };
    Page { id: page.id.clone(), sequence: page.sequence, changes: page.changes.iter().map(change).collect() }
}

fn totals(totals: model::Totals) -> Totals {
    Totals {
        records: totals.records,
        requests: totals.requests,
        started_at: totals.started_at.as_millis(),
        ended_at: totals.ended_at.as_millis(),
    }
}

fn response(response: &Response, elapsed_ms: u32) -> HttpResponse {
    HttpResponse {
        status: response.status,
        headers: response.headers.clone(),
        body: payload(&response.body),
        truncated: response.truncated,
        elapsed_ms,
    }
}

/// What a source gets of its request.
pub(super) fn fetched(answer: &HttpAnswer) -> HttpResponse {
    response(&answer.response, answer.elapsed_ms)
}

/// A refusal, with its texts cut to size.
pub(crate) fn refusal(problem: Problem) -> model::Refusal {
    let failure = failure(problem);
    model::Refusal { code: failure.code, message: failure.message, retryable: failure.retryable }
}

/// What `settle` answered, with its texts cut to size and its wait clamped.
pub(crate) fn settlement(answer: Settlement) -> model::Settlement {
    match answer {
        Settlement::Accepted(rejections) => {
            let rejection = |rejection: super::bindings::exports::engate::plugin::sink::Rejection| model::Rejection {
                index: rejection.index,
                refusal: refusal(rejection.problem),
            };
            model::Settlement::Accepted(rejections.into_iter().map(rejection).collect())
        }
        Settlement::Retry(retry) => model::Settlement::Retry {
            after_ms: retry.after_ms.map(|ms| ms.min(wait_max_ms())),
            reason: printable(&retry.reason, MESSAGE_BYTES_MAX),
        },
        Settlement::Split(reason) => model::Settlement::Split(printable(&reason, MESSAGE_BYTES_MAX)),
        Settlement::Fail(problem) => model::Settlement::Fail(refusal(problem)),
    }
}

fn wait_max_ms() -> u64 {
    u64::try_from(Duration::as_millis(&retry::WAIT_MAX)).unwrap_or(u64::MAX)
}

/// What `pull` answered.
pub(crate) fn feed_page(page: FeedPage) -> model::FeedPage {
    let change = |change: Change| model::Change {
        key: change.key,
        operation: match change.operation {
            Operation::Upsert => model::Operation::Upsert,
            Operation::Delete => model::Operation::Delete,
        },
        data: change.data,
    };
    model::FeedPage { changes: page.changes.into_iter().map(change).collect(), next: page.next, more: page.more }
}
