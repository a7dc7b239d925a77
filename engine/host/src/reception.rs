//! What goes into a receiver's call and what comes back, in the engine's words.

use std::{collections::BTreeMap, sync::Arc};

use engate_model::{
    Timestamp,
    plugin::{Fault, FaultCode, Limits},
    verdict::Failure,
};
use serde_json::Value;

use crate::{
    call::{CallRecord, IdText, Reuse},
    log::PluginLog,
    request::check_headers,
    secrets::Secrets,
};

/// Events of one answer at most, as of one call to the API.
const EVENTS_MAX: usize = 1_000;
/// Statuses that may be answered.
const STATUS_MIN: u16 = 200;
const STATUS_MAX: u16 = 599;

/// Headers of an answer that are the engine's to set, or would reach beyond the answer: what belongs to the connection,
/// and cookies, which a browser would send to the whole of the engine.
const ENGINE_HEADERS: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-security-policy",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// Call in, answer and events out.
#[derive(Clone)]
pub struct ReceiveCall<'a> {
    /// The installation, by any key of the caller's. Warm instances are never shared beyond it.
    pub installation: &'a str,
    /// What the call may cost.
    pub limits: Limits,
    /// Whether its instance may be kept.
    pub reuse: Reuse,
    /// The merged settings, valid against the manifest's schema.
    pub config: Arc<Value>,
    /// The secrets it may use.
    pub secrets: Secrets,
    /// Its private state as it stands.
    pub state: Arc<BTreeMap<String, Vec<u8>>>,
    /// Tells this call from every other; what is random in it follows from it.
    pub id: IdText<'a>,
    /// `POST`, `GET` and so on.
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// Without the `?`.
    pub query: &'a str,
    /// Names in lower case, credentials included.
    pub headers: &'a [(String, String)],
    /// Already inflated.
    pub body: &'a [u8],
    /// The caller's IP address.
    pub remote_address: &'a str,
    /// The only clock there is.
    pub now: Timestamp,
}

/// What `receive` decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reception {
    /// This is what the caller gets, once the events are committed.
    Answered(InboundAnswer),
    /// The plugin refused: its own code and words, which are for the operator.
    Refused(Failure),
}

/// An answer that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundAnswer {
    /// From 200 to 599.
    pub status: u16,
    /// Name in lower case and value, without what is the engine's to set.
    pub headers: Vec<(String, String)>,
    /// Sent byte for byte.
    pub body: Vec<u8>,
    /// Taken all or none; what is in them is yet to be checked.
    pub events: Vec<InboundEvent>,
}

/// A fact that came with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundEvent {
    /// A repeat is taken once.
    pub idempotency_key: Option<String>,
    /// Key of its type.
    pub event_type: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened; none: now.
    pub occurred_at: Option<Timestamp>,
    /// Name and value.
    pub labels: Vec<(String, String)>,
    /// Ties it to its cause.
    pub correlation_id: Option<String>,
    /// Media type of `data`.
    pub content_type: String,
    /// The payload's bytes.
    pub data: Vec<u8>,
}

/// A finished `receive`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceiveDone {
    /// What it decided.
    pub reception: Reception,
    /// What it cost and touched.
    pub record: CallRecord,
}

/// Checks an answer: what could break the wire is refused, what is the engine's is left out, the status is clamped.
///
/// # Errors
/// `invalid_answer`, or `output_too_large` for the body or the number of events.
pub(crate) fn checked(mut answer: InboundAnswer, limits: &Limits, log: &mut PluginLog) -> Result<InboundAnswer, Fault> {
    let status = answer.status.clamp(STATUS_MIN, STATUS_MAX);
    if status != answer.status {
        log.note(&format!("the status {} is not one of an answer and became {status}", answer.status));
        answer.status = status;
    }
    check_headers(&mut answer.headers, FaultCode::InvalidAnswer, log, |name| ENGINE_HEADERS.contains(&name))?;
    let too_large = |message: String| Err(Fault::new(FaultCode::OutputTooLarge, message));
    if answer.body.len() > limits.body_bytes {
        return too_large(format!("a body of {} bytes; the limit is {} bytes", answer.body.len(), limits.body_bytes));
    }
    if answer.events.len() > EVENTS_MAX {
        return too_large(format!("{} events; at most {EVENTS_MAX} come of one call", answer.events.len()));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> InboundAnswer {
        InboundAnswer { status: 200, headers: Vec::new(), body: Vec::new(), events: Vec::new() }
    }

    fn check(answer: InboundAnswer) -> Result<InboundAnswer, FaultCode> {
        checked(answer, &Limits::default(), &mut PluginLog::new(1_000)).map_err(|fault| fault.code)
    }

    #[test]
    fn a_status_that_is_none_is_clamped() {
        for (given, sent) in [(0, 200), (101, 200), (199, 200), (204, 204), (599, 599), (600, 599), (u16::MAX, 599)] {
            assert_eq!(check(InboundAnswer { status: given, ..answer() }).unwrap().status, sent);
        }
    }

    #[test]
    fn isolation_12_headers_of_the_engine_are_left_out_of_an_answer_and_the_log_says_so() {
        let headers = ["Content-Length", "transfer-encoding", "Set-Cookie", "connection", "Content-Type", "x-own"];
        let headers = headers.map(|name| (name.to_owned(), "1".to_owned())).to_vec();
        let mut log = PluginLog::new(1_000);
        let passed = checked(InboundAnswer { headers, ..answer() }, &Limits::default(), &mut log).unwrap();
        let names: Vec<_> = passed.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "x-own"]);
        assert!(log.finish().contains("engine: the header set-cookie is the engine's and was left out\n"));
    }

    #[test]
    fn isolation_10_what_could_split_an_answer_is_refused() {
        for (name, value) in [("x\r\ny", "v"), ("", "v"), ("x", "v\r\ny: z"), ("x", "\0")] {
            let headers = vec![(name.to_owned(), value.to_owned())];
            assert_eq!(check(InboundAnswer { headers, ..answer() }), Err(FaultCode::InvalidAnswer), "{name:?}");
        }
        let body = vec![0; Limits::default().body_bytes + 1];
        assert_eq!(check(InboundAnswer { body, ..answer() }), Err(FaultCode::OutputTooLarge));
        let event = InboundEvent {
            idempotency_key: None,
            event_type: "t".to_owned(),
            subject: None,
            occurred_at: None,
            labels: Vec::new(),
            correlation_id: None,
            content_type: "application/json".to_owned(),
            data: Vec::new(),
        };
        let events = vec![event; EVENTS_MAX + 1];
        assert_eq!(check(InboundAnswer { events, ..answer() }), Err(FaultCode::OutputTooLarge));
    }
}
