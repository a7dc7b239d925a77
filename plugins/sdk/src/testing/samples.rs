//! Arguments with sensible defaults.

use serde::Serialize;

use crate::{
    Attempt, Call, Change, Column, ColumnKind, Context, Delivery, Endpoint, Event, Exchange, Outgoing, Page, Pass,
    Payload, Plan, Problem, Pull, Request, Response, Sent, Stream, Totals,
};

/// The time in every sample: 2025-02-20T12:00:00Z.
pub const NOW_MS: u64 = 1_740_052_800_000;

/// An event of that type with an empty payload.
#[must_use]
pub fn event(event_type: &str) -> Event {
    Event {
        id: "evt_sample".to_owned(),
        event_type: event_type.to_owned(),
        subject: None,
        occurred_at: NOW_MS,
        content_type: "application/json".to_owned(),
        data: Payload::Empty,
        labels: Vec::new(),
    }
}

/// The first attempt of a delivery to `https://partner.example/webhook`.
#[must_use]
pub fn context() -> Context {
    Context {
        delivery: Delivery {
            id: "dlv_sample".to_owned(),
            code: 1,
            created_at: NOW_MS,
            tenant: "default".to_owned(),
            correlation_id: None,
        },
        endpoint: Endpoint {
            id: "ep_sample".to_owned(),
            url: "https://partner.example/webhook".to_owned(),
            integrator: "partner".to_owned(),
            labels: Vec::new(),
        },
        attempt: Attempt { number: 1, first_at: NOW_MS, now: NOW_MS },
    }
}

/// A response of that status with an empty body.
#[must_use]
pub fn response(status: u16) -> Response {
    Response { status, headers: Vec::new(), body: Payload::Empty, truncated: false, elapsed_ms: 10 }
}

/// A partner's `POST` with an empty body.
#[must_use]
pub fn call() -> Call {
    Call {
        method: "POST".to_owned(),
        path: "/v1/inbound/sample".to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: Payload::Empty,
        remote_address: "192.0.2.1".to_owned(),
        now: NOW_MS,
    }
}

/// A stream whose columns are a text `id`, its key, and a text `name`, called the same at the far side.
#[must_use]
pub fn stream(name: &str) -> Stream {
    let column = |name: &str, nullable| Column { name: name.to_owned(), kind: ColumnKind::Text, nullable };
    Stream {
        name: name.to_owned(),
        target: name.to_owned(),
        key: vec!["id".to_owned()],
        columns: vec![column("id", false), column("name", true)],
    }
}

/// A pass over that stream, which is not partitioned.
#[must_use]
pub fn pass(stream: Stream) -> Pass {
    Pass { id: "pass_sample".to_owned(), stream, partition: Vec::new(), range_start: NOW_MS, started_at: NOW_MS }
}

/// The first page of a pass.
#[must_use]
pub fn page(changes: Vec<Change>) -> Page {
    Page { id: "page_sample".to_owned(), sequence: 1, changes }
}

/// What is told of [`page`] when it is answered.
#[must_use]
pub fn sent_page(size: u32) -> Sent {
    Sent { pass_id: "pass_sample".to_owned(), page_id: "page_sample".to_owned(), size }
}

/// What a pass came to.
#[must_use]
pub fn totals(records: u64, requests: u64) -> Totals {
    Totals { records, requests, started_at: NOW_MS, ended_at: NOW_MS + 1_000 }
}

/// The first pull of a stream, for up to 500 changes.
#[must_use]
pub fn pull(stream: &str) -> Pull {
    Pull { stream: stream.to_owned(), after: None, max_changes: 500, now: NOW_MS }
}

/// What [`event()`] became in [`context`], answered so.
#[must_use]
pub fn exchange(response: Response) -> Exchange {
    let context = context();
    let event = event("sample");
    Exchange {
        event_id: event.id,
        event_type: event.event_type,
        subject: event.subject,
        delivery: context.delivery,
        endpoint: context.endpoint,
        attempt: context.attempt,
        memo: None,
        response,
    }
}

/// What is to be sent.
///
/// # Panics
/// If nothing is.
#[must_use]
#[track_caller]
#[expect(clippy::panic, reason = "an assertion for tests")]
pub fn sent(plan: Result<Plan, Problem>) -> Outgoing {
    match plan {
        Ok(Plan::Send(outgoing)) => outgoing,
        other => panic!("nothing is sent: {other:?}"),
    }
}

impl Event {
    /// The same with this payload as compact JSON.
    #[must_use]
    pub fn with_json(self, payload: impl Serialize) -> Self {
        self.with_text(&json_text(payload))
    }

    /// The same with exactly this payload.
    #[must_use]
    pub fn with_text(mut self, payload: &str) -> Self {
        self.data = payload.into();
        self
    }

    /// The same with one more label.
    #[must_use]
    pub fn with_label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Call {
    /// The same with this body as compact JSON.
    #[must_use]
    pub fn with_json(self, body: impl Serialize) -> Self {
        self.with_header("content-type", "application/json").with_text(&json_text(body))
    }

    /// The same with exactly this body.
    #[must_use]
    pub fn with_text(mut self, body: &str) -> Self {
        self.body = body.into();
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }
}

impl Context {
    /// The same, but a later try: its number, and the time in ms since the Unix epoch.
    #[must_use]
    pub fn with_attempt(mut self, number: u32, now_ms: u64) -> Self {
        self.attempt.number = number;
        self.attempt.now = now_ms;
        self
    }
}

impl Response {
    /// The same with this body as compact JSON.
    #[must_use]
    pub fn with_json(self, body: impl Serialize) -> Self {
        self.with_header("content-type", "application/json").with_text(&json_text(body))
    }

    /// The same with exactly this body.
    #[must_use]
    pub fn with_text(mut self, body: &str) -> Self {
        self.body = body.into();
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }
}

impl Request {
    /// The value of a header.
    #[must_use]
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

#[expect(clippy::expect_used, reason = "an assertion for tests")]
fn json_text(value: impl Serialize) -> String {
    serde_json::to_string(&value).expect("a sample has a JSON form")
}
