//! The calls of a sync job, made the way a golden file says.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use engate_host::{
    HttpAccess, HttpAnswer, HttpBudget, HttpDoer, HttpFailure, IdText, OutgoingRequest, Reuse, SinkCloseCall,
    SinkEncodeCall, SinkOpenCall, SinkSettleCall, SourcePullCall, SyncContext,
};
use engate_model::{delivery::Response, sink};
use engate_sdk::{
    self as sdk,
    testing::{NOW_MS, SinkCalls, SourceCall, SyncAnswers},
};

use serde_json::Value;

use super::guest::{Cost, Faulty, Guest, Setting, bytes, instant, sent};

/// What tells a golden file's calls from others: always the same.
static CALL: &str = "test";

impl Guest {
    /// Makes the calls of a sync target.
    pub(super) async fn sink(
        &self,
        setting: &Setting,
        calls: SinkCalls,
        mut cost: impl FnMut(Cost),
    ) -> Result<SyncAnswers, Faulty> {
        let mut answers = SyncAnswers::default();
        let context = || self.sync_context(setting, NOW_MS);
        if let Some(stream) = calls.open {
            let stream = stream_of(&stream);
            let call = SinkOpenCall { context: context(), stream: &stream };
            let done = self.host.sink_open(&self.plugin, call).await?;
            cost(Cost::of(&done.record));
            answers.opened =
                Some(done.answer.map(|requests| requests.into_iter().map(sent).collect()).map_err(problem));
        }
        if let Some((pass, page)) = calls.encode {
            let (pass, page) = (pass_of(&pass), page_of(&page));
            let call = SinkEncodeCall { context: context(), pass: &pass, page: &page };
            let done = self.host.sink_encode(&self.plugin, call).await?;
            cost(Cost::of(&done.record));
            answers.request = Some(done.answer.map(sent).map_err(problem));
        }
        for (page, response) in calls.settle {
            let answer = Response {
                status: response.status,
                headers: response.headers.clone(),
                body: bytes(&response.body).to_vec(),
                truncated: response.truncated,
            };
            let call = SinkSettleCall {
                context: context(),
                pass_id: &page.pass_id,
                page_id: &page.page_id,
                size: page.size,
                response: &answer,
                elapsed_ms: response.elapsed_ms,
            };
            let done = self.host.sink_settle(&self.plugin, call).await?;
            cost(Cost::of(&done.record));
            answers.settlements.push(settlement(done.answer));
        }
        if let Some((pass, totals)) = calls.close {
            let pass = pass_of(&pass);
            let totals = sink::Totals {
                records: totals.records,
                requests: totals.requests,
                started_at: instant(totals.started_at),
                ended_at: instant(totals.ended_at),
            };
            let call = SinkCloseCall { context: context(), pass: &pass, totals };
            let done = self.host.sink_close(&self.plugin, call).await?;
            cost(Cost::of(&done.record));
            answers.closed = Some(done.answer.map(|request| request.map(sent)).map_err(problem));
        }
        Ok(answers)
    }

    /// Makes the call of a sync source, whose web answers as the file says.
    pub(super) async fn source(
        &self,
        setting: &Setting,
        call: SourceCall,
        mut cost: impl FnMut(Cost),
    ) -> Result<SyncAnswers, Faulty> {
        let SourceCall { pull, web } = call;
        let web = Arc::new(Web { answers: Mutex::new(web.into_iter()), requests: Mutex::default() });
        let pulling = SourcePullCall {
            context: self.sync_context(setting, pull.now),
            stream: &pull.stream,
            after: pull.after.as_deref(),
            max_changes: pull.max_changes,
            http: HttpAccess {
                doer: Arc::<Web>::clone(&web),
                endpoint_url: None,
                hosts: self.hosts(setting).into(),
                budget: HttpBudget::default(),
            },
        };
        let done = self.host.source_pull(&self.plugin, pulling).await?;
        cost(Cost::of(&done.record));
        let feed = done.answer.map(feed).map_err(problem);
        let requests = std::mem::take(&mut *web.requests.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(SyncAnswers { pulled: Some((feed, requests)), ..SyncAnswers::default() })
    }

    /// What the manifest asks for, and whatever the settings name: a golden file grants it.
    fn hosts(&self, setting: &Setting) -> Vec<String> {
        let mut hosts = self.installed.manifest.hosts.clone();
        origins(setting.config(), &mut hosts);
        hosts
    }

    fn sync_context(&self, setting: &Setting, now_ms: u64) -> SyncContext<'static> {
        let (config, secrets, state) = setting.parts();
        SyncContext {
            installation: "test",
            limits: self.limits().for_sync(),
            reuse: Reuse::Fresh,
            config,
            secrets,
            state,
            id: IdText::of(&CALL),
            now: instant(now_ms),
        }
    }
}

/// Scheme and authority of every URL in the settings.
fn origins(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            if let Some((scheme @ ("http" | "https"), rest)) = text.split_once("://") {
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                found.push(format!("{scheme}://{authority}"));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| origins(item, found)),
        Value::Object(members) => members.values().for_each(|member| origins(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Answers one request after another as the file says.
struct Web {
    answers: Mutex<std::vec::IntoIter<Result<sdk::Response, sdk::http::Error>>>,
    requests: Mutex<Vec<sdk::Request>>,
}

#[async_trait]
impl HttpDoer for Web {
    async fn send(&self, request: OutgoingRequest, _: usize) -> Result<HttpAnswer, HttpFailure> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(sent(request));
        let answer = self.answers.lock().unwrap_or_else(PoisonError::into_inner).next();
        match answer.unwrap_or(Err(sdk::http::Error::Budget)) {
            Ok(response) => {
                let body = bytes(&response.body).to_vec();
                let (status, headers, truncated) = (response.status, response.headers, response.truncated);
                let answer = Response { status, headers, body, truncated };
                Ok(HttpAnswer { response: answer, elapsed_ms: response.elapsed_ms })
            }
            Err(sdk::http::Error::Timeout) => Err(HttpFailure::Timeout),
            Err(sdk::http::Error::Connect) => Err(HttpFailure::Connect),
            Err(_) => Err(HttpFailure::Budget),
        }
    }
}

fn stream_of(stream: &sdk::Stream) -> sink::StreamInfo {
    let column = |column: &sdk::Column| sink::Column {
        name: column.name.clone(),
        kind: match column.kind {
            sdk::ColumnKind::Text => sink::ColumnKind::Text,
            sdk::ColumnKind::Integer => sink::ColumnKind::Integer,
            sdk::ColumnKind::Decimal => sink::ColumnKind::Decimal,
            sdk::ColumnKind::Boolean => sink::ColumnKind::Boolean,
            sdk::ColumnKind::Date => sink::ColumnKind::Date,
            sdk::ColumnKind::Timestamp => sink::ColumnKind::Timestamp,
            sdk::ColumnKind::Binary => sink::ColumnKind::Binary,
            sdk::ColumnKind::Json => sink::ColumnKind::Json,
        },
        nullable: column.nullable,
    };
    sink::StreamInfo {
        name: stream.name.clone(),
        target: stream.target.clone(),
        key: stream.key.clone(),
        columns: stream.columns.iter().map(column).collect(),
    }
}

fn pass_of(pass: &sdk::Pass) -> sink::Pass {
    sink::Pass {
        id: pass.id.clone(),
        stream: stream_of(&pass.stream),
        partition: pass.partition.clone(),
        range_start: instant(pass.range_start),
        started_at: instant(pass.started_at),
    }
}

fn page_of(page: &sdk::Page) -> sink::Page {
    let change = |change: &sdk::Change| sink::Change {
        key: change.key.clone(),
        operation: if change.is_delete() { sink::Operation::Delete } else { sink::Operation::Upsert },
        data: change.data.clone(),
    };
    sink::Page { id: page.id.clone(), sequence: page.sequence, changes: page.changes.iter().map(change).collect() }
}

fn problem(refusal: sink::Refusal) -> sdk::Problem {
    sdk::Problem { code: refusal.code, message: refusal.message, retryable: refusal.retryable }
}

fn settlement(settlement: sink::Settlement) -> sdk::Settlement {
    match settlement {
        sink::Settlement::Accepted(rejections) => sdk::Settlement::Accepted(
            rejections
                .into_iter()
                .map(|rejection| sdk::Rejection::new(rejection.index, problem(rejection.refusal)))
                .collect(),
        ),
        sink::Settlement::Retry { after_ms, reason } => sdk::Settlement::Retry(sdk::Retry { after_ms, reason }),
        sink::Settlement::Split(reason) => sdk::Settlement::Split(reason),
        sink::Settlement::Fail(refusal) => sdk::Settlement::Fail(problem(refusal)),
    }
}

fn feed(page: sink::FeedPage) -> sdk::Feed {
    let change = |change: sink::Change| sdk::Change {
        key: change.key,
        operation: match change.operation {
            sink::Operation::Upsert => sdk::Operation::Upsert,
            sink::Operation::Delete => sdk::Operation::Delete,
        },
        data: change.data,
    };
    sdk::Feed { changes: page.changes.into_iter().map(change).collect(), next: page.next, more: page.more }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_golden_file_grants_what_its_settings_name() {
        let mut found = Vec::new();
        origins(&json!({"a": "https://x.example:8443/y?z", "b": ["http://y.example", 3, "no://z"]}), &mut found);
        assert_eq!(found, ["https://x.example:8443", "http://y.example"]);
    }
}
