//! Calls of a sync: the plugin of its far side (`sink`) says what to send and what an answer means, that of its near side
//! (`source`) pulls.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use engate_model::{
    Timestamp,
    delivery::Response,
    feed::CURSOR_BYTES_MAX,
    plugin::{Fault, FaultCode, Limits},
    sink::{FeedPage, Page, Pass, Refusal, Settlement, StreamInfo, Totals},
};
use serde_json::{Value, value::RawValue};

use crate::{
    call::{CallFailed, CallRecord, IdText, OutgoingRequest, Reuse},
    host::{Host, another_answer},
    http::HttpAccess,
    instance::Settings,
    loaded::LoadedPlugin,
    log::{PluginLog, printable},
    request,
    run::{Caller, run},
    secrets::Secrets,
    v0_1::{self, Answer, Invocation, SyncAnswer, SyncInvocation},
};

/// Requests by which a sink may prepare its target.
const OPEN_REQUESTS_MAX: usize = 64;
/// Longest key of a record that came of a feed, in bytes.
const KEY_BYTES_MAX: usize = 1 << 10;

/// What every call of a sync gets beside its own arguments.
#[derive(Debug, Clone)]
pub struct SyncContext<'a> {
    /// The installation, by any key of the caller's. Warm instances are never shared beyond it.
    pub installation: &'a str,
    /// What the call may cost; [`Limits::for_sync`] makes them of others.
    pub limits: Limits,
    /// Whether its instance may be kept.
    pub reuse: Reuse,
    /// The merged settings, valid against the manifest's schema.
    pub config: Arc<Value>,
    /// The secrets it may use.
    pub secrets: Secrets,
    /// Its private state as it stands.
    pub state: Arc<BTreeMap<String, Vec<u8>>>,
    /// Tells this call from every other (the page's id, the pass's); what is random in it follows from it.
    pub id: IdText<'a>,
    /// The only clock there is.
    pub now: Timestamp,
}

/// Which requests prepare the target?
#[derive(Debug, Clone)]
pub struct SinkOpenCall<'a> {
    /// What every call gets.
    pub context: SyncContext<'a>,
    /// What is going to be sent.
    pub stream: &'a StreamInfo,
}

/// Page in, request out.
#[derive(Debug, Clone)]
pub struct SinkEncodeCall<'a> {
    /// What every call gets.
    pub context: SyncContext<'a>,
    /// The pass.
    pub pass: &'a Pass,
    /// One of its pages.
    pub page: &'a Page,
}

/// Response in, settlement out.
#[derive(Debug, Clone)]
pub struct SinkSettleCall<'a> {
    /// What every call gets.
    pub context: SyncContext<'a>,
    /// The pass's id.
    pub pass_id: &'a str,
    /// The page's id.
    pub page_id: &'a str,
    /// How many changes the page has.
    pub size: u32,
    /// The answer.
    pub response: &'a Response,
    /// From the start of the request to the end of the body.
    pub elapsed_ms: u32,
}

/// Which request closes the pass?
#[derive(Debug, Clone)]
pub struct SinkCloseCall<'a> {
    /// What every call gets.
    pub context: SyncContext<'a>,
    /// The pass.
    pub pass: &'a Pass,
    /// What it came to.
    pub totals: Totals,
}

/// What is there after this?
#[derive(Debug, Clone)]
pub struct SourcePullCall<'a> {
    /// What every call gets.
    pub context: SyncContext<'a>,
    /// The stream's name.
    pub stream: &'a str,
    /// Where the last page that was accepted ended; none: from the beginning.
    pub after: Option<&'a [u8]>,
    /// Changes of one page at most.
    pub max_changes: u32,
    /// Its way out.
    pub http: HttpAccess,
}

/// A finished call. Whatever it wrote is in the record, to be stored with the checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncDone<T> {
    /// What the plugin answered, checked.
    pub answer: T,
    /// What it cost and touched.
    pub record: CallRecord,
}

type Done<T> = Result<SyncDone<T>, CallFailed>;

impl Host {
    /// The requests that prepare the target: on a new epoch, or when the schema changed.
    ///
    /// # Errors
    /// The plugin's fault; that the plugin refused is an answer.
    pub async fn sink_open(
        &self,
        plugin: &LoadedPlugin,
        call: SinkOpenCall<'_>,
    ) -> Done<Result<Vec<OutgoingRequest>, Refusal>> {
        self.sync(plugin, &call.context, None, SyncInvocation::Open(&call), |answer, limits, log| match answer {
            SyncAnswer::Open(Ok(requests)) => {
                let requests = requests.into_iter().map(v0_1::outgoing_request).collect();
                preparing(requests, limits, log).map(Ok)
            }
            SyncAnswer::Open(Err(problem)) => Ok(Err(v0_1::refusal(problem))),
            _ => Err(another_answer()),
        })
        .await
    }

    /// The request that carries a page.
    ///
    /// # Errors
    /// The plugin's fault; that the plugin refused is an answer.
    pub async fn sink_encode(
        &self,
        plugin: &LoadedPlugin,
        call: SinkEncodeCall<'_>,
    ) -> Done<Result<OutgoingRequest, Refusal>> {
        self.sync(plugin, &call.context, None, SyncInvocation::Encode(&call), |answer, limits, log| match answer {
            SyncAnswer::Encode(Ok(request)) => request::checked(v0_1::outgoing_request(request), limits, log).map(Ok),
            SyncAnswer::Encode(Err(problem)) => Ok(Err(v0_1::refusal(problem))),
            _ => Err(another_answer()),
        })
        .await
    }

    /// What the target's answer means for a page.
    ///
    /// # Errors
    /// The plugin's fault.
    pub async fn sink_settle(&self, plugin: &LoadedPlugin, call: SinkSettleCall<'_>) -> Done<Settlement> {
        let size = call.size;
        self.sync(plugin, &call.context, None, SyncInvocation::Settle(&call), |answer, _, log| match answer {
            SyncAnswer::Settle(settlement) => settled(v0_1::settlement(settlement), size, log),
            _ => Err(another_answer()),
        })
        .await
    }

    /// The request that tells the target that the pass is over; none: it need not be told.
    ///
    /// # Errors
    /// The plugin's fault; that the plugin refused is an answer.
    pub async fn sink_close(
        &self,
        plugin: &LoadedPlugin,
        call: SinkCloseCall<'_>,
    ) -> Done<Result<Option<OutgoingRequest>, Refusal>> {
        self.sync(plugin, &call.context, None, SyncInvocation::Close(&call), |answer, limits, log| match answer {
            SyncAnswer::Close(Ok(None)) => Ok(Ok(None)),
            SyncAnswer::Close(Ok(Some(request))) => {
                request::checked(v0_1::outgoing_request(request), limits, log).map(|request| Ok(Some(request)))
            }
            SyncAnswer::Close(Err(problem)) => Ok(Err(v0_1::refusal(problem))),
            _ => Err(another_answer()),
        })
        .await
    }

    /// The next page of a feed. Its wall time is the call's, and what its HTTP may take.
    ///
    /// # Errors
    /// The plugin's fault; that the plugin refused is an answer.
    pub async fn source_pull(
        &self,
        plugin: &LoadedPlugin,
        call: SourcePullCall<'_>,
    ) -> Done<Result<FeedPage, Refusal>> {
        let (max, after) = (call.max_changes, call.after.map(<[u8]>::to_vec));
        let http = Some(call.http.clone());
        self.sync(plugin, &call.context, http, SyncInvocation::Pull(&call), |answer, limits, _| match answer {
            SyncAnswer::Pull(Ok(page)) => pulled(v0_1::feed_page(page), after.as_deref(), max, limits).map(Ok),
            SyncAnswer::Pull(Err(problem)) => Ok(Err(v0_1::refusal(problem))),
            _ => Err(another_answer()),
        })
        .await
    }

    async fn sync<T>(
        &self,
        plugin: &LoadedPlugin,
        context: &SyncContext<'_>,
        http: Option<HttpAccess>,
        invocation: SyncInvocation<'_, '_>,
        check: impl FnOnce(SyncAnswer, &Limits, &mut PluginLog) -> Result<T, Fault>,
    ) -> Done<T> {
        let settings = Settings::of_sync(context, http);
        let caller = Caller { installation: context.installation, reuse: context.reuse };
        let invocation = Invocation::Sync(invocation);
        let ran = run(&self.0, plugin, &settings, caller, invocation, |answer, limits, log| match answer {
            Answer::Sync(answer) => check(answer, limits, log),
            _ => Err(another_answer()),
        });
        let (answer, record) = ran.await?;
        Ok(SyncDone { answer, record })
    }
}

/// Checks the requests of `open`, one by one and together.
fn preparing(
    requests: Vec<OutgoingRequest>,
    limits: &Limits,
    log: &mut PluginLog,
) -> Result<Vec<OutgoingRequest>, Fault> {
    if requests.len() > OPEN_REQUESTS_MAX {
        let message =
            format!("{} requests to prepare the target; at most {OPEN_REQUESTS_MAX} are sent", requests.len());
        return Err(Fault::new(FaultCode::OutputTooLarge, message));
    }
    requests.into_iter().map(|request| request::checked(request, limits, log)).collect()
}

/// Checks that a settlement speaks of the page it is about: each change is refused once at most.
fn settled(settlement: Settlement, size: u32, log: &mut PluginLog) -> Result<Settlement, Fault> {
    let Settlement::Accepted(mut rejections) = settlement else { return Ok(settlement) };
    if let Some(wrong) = rejections.iter().find(|rejection| rejection.index >= size) {
        let message = format!("it rejects change {} of a page of {size}; changes are counted from 0", wrong.index);
        return Err(Fault::new(FaultCode::InvalidSettlement, message));
    }
    let named = rejections.len();
    rejections.sort_by_key(|rejection| rejection.index);
    rejections.dedup_by_key(|rejection| rejection.index);
    if rejections.len() < named {
        log.note("a change was rejected more than once; the first reason counts");
    }
    Ok(Settlement::Accepted(rejections))
}

/// Checks a page of a feed. Whether its cursor goes forward over several pages is the loop's to see.
fn pulled(page: FeedPage, after: Option<&[u8]>, max: u32, limits: &Limits) -> Result<FeedPage, Fault> {
    let too_large = |message: String| Err(Fault::new(FaultCode::OutputTooLarge, message));
    let wrong = |message: String| Err(Fault::new(FaultCode::InvalidPage, message));
    if page.changes.len() > max as usize {
        return too_large(format!("a page of {} changes; {max} were asked for", page.changes.len()));
    }
    if page.next.len() > CURSOR_BYTES_MAX {
        return too_large(format!("a cursor of {} bytes; at most {CURSOR_BYTES_MAX} are kept", page.next.len()));
    }
    if page.more && after == Some(page.next.as_slice()) {
        return wrong(
            "it says that there is more after the cursor it was given, and gives the same one back".to_owned(),
        );
    }
    let bytes: usize = page.changes.iter().map(|change| change.key.len() + change.data.len()).sum();
    if bytes > limits.body_bytes {
        return too_large(format!("a page of {bytes} bytes; the limit is {} bytes", limits.body_bytes));
    }
    let mut keys = HashSet::with_capacity(page.changes.len());
    for (index, change) in page.changes.iter().enumerate() {
        let key = printable(&change.key, 100);
        if change.key.is_empty() || change.key.len() > KEY_BYTES_MAX {
            return wrong(format!(
                "change {index} has a key of {} bytes; 1 to {KEY_BYTES_MAX} are taken",
                change.key.len()
            ));
        }
        if !keys.insert(change.key.as_str()) {
            return wrong(format!("the key {key:?} comes twice; a page has the last state of a record only"));
        }
        let json = serde_json::from_str::<&RawValue>(&change.data);
        if !json.is_ok_and(|json| json.get().starts_with('{')) {
            return wrong(format!("the data of {key:?} (change {index}) is not a JSON object"));
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engate_model::sink::{Change, Operation, Rejection};

    fn page(changes: &[(&str, &str)], next: &[u8], more: bool) -> FeedPage {
        let change = |(key, data): &(&str, &str)| Change {
            key: (*key).to_owned(),
            operation: Operation::Upsert,
            data: (*data).to_owned(),
        };
        FeedPage { changes: changes.iter().map(change).collect(), next: next.to_vec(), more }
    }

    fn check(page: FeedPage) -> Result<(), FaultCode> {
        pulled(page, Some(b"a"), 2, &Limits::default()).map(drop).map_err(|fault| fault.code)
    }

    #[test]
    fn isolation_23_a_page_beyond_its_limits_is_refused() {
        assert_eq!(check(page(&[("1", "{}"), ("2", " {\"a\": 1} ")], b"b", true)), Ok(()));
        assert_eq!(check(page(&[], b"a", false)), Ok(()), "nothing new");
        assert_eq!(check(page(&[("1", "{}"), ("2", "{}"), ("3", "{}")], b"b", false)), Err(FaultCode::OutputTooLarge));
        assert_eq!(check(page(&[], &[0; CURSOR_BYTES_MAX + 1], false)), Err(FaultCode::OutputTooLarge));
        assert_eq!(check(page(&[], b"a", true)), Err(FaultCode::InvalidPage), "a cursor that never moves");
        assert_eq!(check(page(&[("1", "{}"), ("1", "{}")], b"b", false)), Err(FaultCode::InvalidPage));
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for (key, data) in [("", "{}"), (long.as_str(), "{}"), ("1", ""), ("1", "[]"), ("1", "{"), ("1", "{}{}")] {
            assert_eq!(check(page(&[(key, data)], b"b", false)), Err(FaultCode::InvalidPage), "{data}");
        }
    }

    #[test]
    fn a_settlement_names_changes_of_its_page_once() {
        let reject = |index: u32, code: &str| Rejection {
            index,
            refusal: Refusal { code: code.to_owned(), message: String::new(), retryable: false },
        };
        let mut log = PluginLog::new(1_000);
        let twice = Settlement::Accepted(vec![reject(2, "b"), reject(0, "a"), reject(2, "c")]);
        let once = Settlement::Accepted(vec![reject(0, "a"), reject(2, "b")]);
        assert_eq!(settled(twice, 3, &mut log), Ok(once));
        assert!(log.finish().contains("more than once"));
        let beyond = settled(Settlement::Accepted(vec![reject(3, "a")]), 3, &mut PluginLog::new(10));
        assert_eq!(beyond.map_err(|fault| fault.code), Err(FaultCode::InvalidSettlement));
    }
}
