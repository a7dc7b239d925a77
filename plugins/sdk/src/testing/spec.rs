//! How plans, verdicts and bodies are written in golden files.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::compact::compact;
use crate::{Answer, NewEvent, Outgoing, Payload, Plan, Problem, Request, Verdict, time};

/// A body. A JSON string is the text itself; any other JSON is its own compact text, spelled and ordered as in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if raw.get().starts_with('"') {
            serde_json::from_str(raw.get()).map(Self).map_err(serde::de::Error::custom)
        } else {
            Ok(Self(compact(raw.get())))
        }
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<Box<RawValue>>(&self.0) {
            // Only what reads back as the same bytes may stand as JSON.
            Ok(raw) if self.0.starts_with(['{', '[']) && compact(&self.0) == self.0 => raw.serialize(serializer),
            _ => serializer.serialize_str(&self.0),
        }
    }
}

/// What `transform` answered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PlanSpec {
    Send(SendSpec),
    Skip(String),
    Problem(ProblemSpec),
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendSpec {
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Text>,
    #[serde(default, skip_serializing_if = "is_false")]
    compress: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memo: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProblemSpec {
    code: String,
    message: String,
    retryable: bool,
}

impl PlanSpec {
    /// None of it may be binary: a golden file is text.
    pub(super) fn of(plan: Result<Plan, Problem>) -> Result<Self, String> {
        Ok(match plan {
            Ok(Plan::Send(outgoing)) => Self::Send(SendSpec::of(outgoing)?),
            Ok(Plan::Skip(reason)) => Self::Skip(reason),
            Err(problem) => Self::Problem(problem.into()),
        })
    }
}

impl SendSpec {
    /// Nothing of it may be binary: a golden file is text.
    pub(super) fn of_request(request: Request) -> Result<Self, String> {
        Self::of(request.into())
    }

    fn of(Outgoing { request, memo }: Outgoing) -> Result<Self, String> {
        let body = text(request.body, "the request's body")?;
        Ok(Self {
            method: request.method,
            url: request.url,
            headers: request.headers.into_iter().collect(),
            body,
            compress: request.compress,
            credential: request.credential,
            memo,
        })
    }
}

/// What `receive` answered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AnswerSpec {
    Send(AnswerSendSpec),
    Problem(ProblemSpec),
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerSendSpec {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Text>,
    #[serde(default)]
    events: Vec<NewEventSpec>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewEventSpec {
    r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    occurred_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    content_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Text>,
}

impl AnswerSpec {
    /// None of it may be binary: a golden file is text.
    pub(super) fn of(answer: Result<Answer, Problem>) -> Result<Self, String> {
        Ok(match answer {
            Ok(answer) => Self::Send(AnswerSendSpec {
                status: answer.status,
                headers: answer.headers.into_iter().collect(),
                body: text(answer.body, "the answer's body")?,
                events: answer.events.into_iter().map(NewEventSpec::of).collect::<Result<_, _>>()?,
            }),
            Err(problem) => Self::Problem(problem.into()),
        })
    }
}

impl NewEventSpec {
    fn of(event: NewEvent) -> Result<Self, String> {
        Ok(Self {
            r#type: event.event_type,
            idempotency_key: event.idempotency_key,
            subject: event.subject,
            occurred_at: event.occurred_at.map(time::rfc3339),
            correlation_id: event.correlation_id,
            labels: event.labels.into_iter().collect(),
            content_type: event.content_type,
            payload: text(event.data, "an event's payload")?,
        })
    }
}

impl From<Problem> for ProblemSpec {
    fn from(problem: Problem) -> Self {
        Self { code: problem.code, message: problem.message, retryable: problem.retryable }
    }
}

/// A body as a golden file has it.
fn text(payload: Payload, what: &str) -> Result<Option<Text>, String> {
    match payload {
        Payload::Empty => Ok(None),
        Payload::Text(text) => Ok(Some(Text(text))),
        Payload::Bytes(_) => Err(format!("{what} is binary; a fixture takes text")),
    }
}

/// What `interpret` answered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum VerdictSpec {
    Success {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partner_id: Option<String>,
    },
    Retry {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
        message: String,
    },
    Fail {
        code: String,
        message: String,
        retryable: bool,
    },
    DisableEndpoint {
        message: String,
    },
}

impl VerdictSpec {
    pub(super) fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Success(partner_id) => Self::Success { partner_id },
            Verdict::Retry(retry) => Self::Retry { after_ms: retry.after_ms, message: retry.reason },
            Verdict::Fail(Problem { code, message, retryable }) => Self::Fail { code, message, retryable },
            Verdict::DisableEndpoint(message) => Self::DisableEndpoint { message },
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_body_reads_back_as_the_same_bytes() {
        for text in [r#"{"b":1.0,"a":"é"}"#, "plain", r#"{ "loose": 1 }"#, "\"quoted\"", "12"] {
            let json = serde_json::to_string(&Text(text.to_owned())).unwrap();
            assert_eq!(serde_json::from_str::<Text>(&json).unwrap().0, text, "{json}");
        }
    }
}
