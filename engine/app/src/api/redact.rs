//! The one place where answers lose what a token's holder is not shown (see [`engate_model::redaction`]).

use std::sync::Arc;

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use engate_model::{FieldError, redaction::Redaction};
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Limited};

use super::{extract::media_type, problem::Problem};
use crate::{media_type::is_json, verbs::access::Grant};

/// Header of an answer that lacks something: who takes it for whole would delete by it what is hidden.
const REDACTED: HeaderName = HeaderName::from_static("engate-redacted");
/// Media type of lines of JSON.
const NDJSON: &str = "application/x-ndjson";
/// Largest answer, or line of one, that is looked through.
const LOOKED_THROUGH_BYTES_MAX: usize = 64 << 20;

/// The answer without what `grant` hides. One that cannot be looked through is refused.
pub(crate) async fn redacted(grant: Arc<Grant>, response: Response) -> Response {
    let Some(redaction) = &grant.redaction else { return response };
    // A refusal is in the engine's own words.
    if !response.status().is_success() || response.status() == StatusCode::NO_CONTENT {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let media_type = media_type(&parts.headers);
    if is_json(&media_type) {
        let Some(Shown { text, lacks }) = whole(redaction, body).await else { return refused() };
        if lacks {
            parts.headers.insert(REDACTED, HeaderValue::from_static("true"));
        }
        return Response::from_parts(parts, Body::from(text));
    }
    if media_type == NDJSON {
        // It begins before anybody knows what its lines lack.
        parts.headers.insert(REDACTED, HeaderValue::from_static("true"));
        let lines = Lines { grant, source: body.into_data_stream(), held: Vec::new(), ended: false };
        return Response::from_parts(parts, Body::from_stream(stream::unfold(lines, Lines::next)));
    }
    match Limited::new(body, 0).collect().await {
        Ok(_) => Response::from_parts(without_type(parts), Body::empty()),
        Err(_) => refused(),
    }
}

/// What a quick search looks at.
const SEARCHED: [&str; 17] = [
    "id",
    "code",
    "event",
    "event_type",
    "subject",
    "endpoint",
    "integrator",
    "integrator_name",
    "state",
    "success",
    "reason",
    "attempts",
    "created_at",
    "last_attempt_at",
    "integrated_at",
    "next_attempt_at",
    "correlation_id",
];
/// Parameters that ask about no field.
const OF_NO_FIELD: [&str; 9] =
    ["limit", "cursor", "order", "timezone", "lang", "columns", "bom", "separator", "revoked"];
/// What a parameter's name may end with beside the field that it is about.
const BOUNDS: [&str; 6] = ["_from", "_to", "_before", "_gte", "_lte", "_eq"];

/// Refuses a query that filters or sorts by what is hidden: which rows are answered, and in which order, would tell it.
pub(crate) fn check_query(redaction: &Redaction, query: &str) -> Result<(), Problem> {
    let mut asked = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let hidden = fields_of(&name, &value).into_iter().find(|field| redaction.hides_member(field));
        asked.extend(hidden.map(|field| FieldError {
            field: name.into_owned(),
            message: format!("goes by `{field}`, which this token is not shown; leave it out"),
        }));
    }
    match asked.first() {
        None => Ok(()),
        Some(first) => Err(Problem::of("redacted", format!("{}: {}", first.field, first.message)).with_errors(asked)),
    }
}

/// Refuses a call whose answer tells about `field`, whatever is asked, where that is hidden.
pub(crate) fn check_shown(redaction: &Redaction, field: &str) -> Result<(), Problem> {
    if !redaction.hides_member(field) {
        return Ok(());
    }
    let message = format!("the answer tells about `{field}`, which this token is not shown; use a token that is");
    let detail = format!("{field}: {message}");
    Err(Problem::of("redacted", detail).with_errors(vec![FieldError { field: field.to_owned(), message }]))
}

/// The fields that a parameter tells something about.
fn fields_of(name: &str, value: &str) -> Vec<String> {
    match name {
        _ if OF_NO_FIELD.contains(&name) => Vec::new(),
        "sort" => {
            let columns = value.split(',').map(|column| column.trim_start_matches('-').to_owned());
            // Integrators are in the order of their names.
            columns
                .flat_map(
                    |column| if column == "integrator" { vec![column, "integrator_name".into()] } else { vec![column] },
                )
                .collect()
        }
        "q" => SEARCHED.map(str::to_owned).to_vec(),
        "ids" => vec!["id".to_owned()],
        "since" | "until" => vec!["created_at".to_owned(), "accepted_at".to_owned()],
        "from" | "to" | "before" => vec!["at".to_owned(), "created_at".to_owned()],
        _ => {
            let base = BOUNDS.into_iter().find_map(|bound| name.strip_suffix(bound)).unwrap_or(name);
            vec![name.to_owned(), base.to_owned(), format!("{base}_at")]
        }
    }
}

fn without_type(mut parts: axum::http::response::Parts) -> axum::http::response::Parts {
    let headers: &mut HeaderMap<HeaderValue> = &mut parts.headers;
    headers.remove(header::CONTENT_TYPE);
    parts
}

/// What is left of an answer, and whether something was taken out.
struct Shown {
    text: String,
    lacks: bool,
}

async fn whole(redaction: &Redaction, body: Body) -> Option<Shown> {
    let bytes = Limited::new(body, LOOKED_THROUGH_BYTES_MAX).collect().await.ok()?.to_bytes();
    let there = std::str::from_utf8(&bytes).ok()?;
    let text = redaction.json(there)?;
    let lacks = there != text && !said(there).eq(said(&text));
    Some(Shown { text, lacks })
}

/// A JSON text but for how it is spelled, which looking through it may change: spaces, and what escapes or stands for one. A
/// member that is hidden takes its name's quotes along, so that no text is the same without it.
fn said(text: &str) -> impl Iterator<Item = u8> {
    let mut escaped = false;
    text.bytes().filter(move |byte| {
        let was_escaped = std::mem::replace(&mut escaped, *byte == b'\\');
        let is_space = byte.is_ascii_whitespace() || (was_escaped && matches!(byte, b'n' | b'r' | b't'));
        !is_space && *byte != b'\\'
    })
}

fn refused() -> Response {
    let detail = "this token's `redact` hides fields, and this form of answer cannot be looked through; ask for JSON";
    Problem::of("redacted", detail).into_response()
}

/// Lines on their way out. One that cannot be looked through ends the answer, so that nobody takes it for whole.
struct Lines {
    grant: Arc<Grant>,
    source: BodyDataStream,
    held: Vec<u8>,
    ended: bool,
}

impl Lines {
    async fn next(mut self) -> Option<(Result<Bytes, axum::Error>, Self)> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.held.drain(..=end).collect();
                return Some((self.line(&line), self));
            }
            if self.ended {
                let rest = std::mem::take(&mut self.held);
                return if rest.is_empty() { None } else { Some((self.line(&rest), self)) };
            }
            match self.source.next().await {
                Some(Ok(bytes)) if self.held.len() + bytes.len() <= LOOKED_THROUGH_BYTES_MAX => {
                    self.held.extend_from_slice(&bytes);
                }
                Some(Ok(_)) => return Some((Err(axum::Error::new("a line is too long")), self)),
                Some(Err(error)) => return Some((Err(error), self)),
                None => self.ended = true,
            }
        }
    }

    fn line(&self, line: &[u8]) -> Result<Bytes, axum::Error> {
        let text = std::str::from_utf8(line).unwrap_or_default().trim();
        let redacted = self.grant.redaction.as_ref().and_then(|redaction| redaction.json(text));
        match redacted {
            Some(mut text) => {
                text.push('\n');
                Ok(text.into())
            }
            None => Err(axum::Error::new("a line is no JSON")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use engate_model::redaction::MASK;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::contract::contract;

    /// Names of the members that may carry a payload or a body as it came: their encoding is told beside them, or they are
    /// texts that are called so.
    fn raw(schema: &Value, names: &mut BTreeSet<String>) {
        if let Some(members) = schema.get("properties").and_then(Value::as_object) {
            let is_raw = |name: &str, member: &Value| {
                let encoding = if name == "text" { "encoding".to_owned() } else { format!("{name}_encoding") };
                let is_called_so = name.contains("body") || name.contains("payload");
                members.contains_key(&encoding) || (is_called_so && !name.ends_with("_encoding") && may_be_text(member))
            };
            names.extend(members.iter().filter(|(name, member)| is_raw(name, member)).map(|(name, _)| name.clone()));
        }
        match schema {
            Value::Object(fields) => fields.values().for_each(|within| raw(within, names)),
            Value::Array(items) => items.iter().for_each(|within| raw(within, names)),
            _ => {}
        }
    }

    /// Anything may be one where no type is said and nothing is referred to.
    fn may_be_text(member: &Value) -> bool {
        match member.get("type") {
            Some(Value::Array(types)) => types.iter().any(|one| one == "string"),
            Some(one) => one == "string",
            None => !["$ref", "oneOf", "anyOf", "allOf"].iter().any(|other| member.get(other).is_some()),
        }
    }

    #[tokio::test]
    async fn an_answer_lacks_what_is_hidden_and_not_what_is_spelled_otherwise() {
        let redaction = Redaction::parse(&["cpf".to_owned(), "/a/0".to_owned()]).unwrap();
        let lacks = async |text: &str| whole(&redaction, Body::from(text.to_owned())).await.unwrap().lacks;
        for same in [
            r#"{"a":[],"b":1.50}"#,
            "{ \"b\" :\n [1, 2] }",
            r#"{"schema":" {\n\t\"type\": \"object\", \"x\": \"{\\n \\\"y\\\": 1}\"}"}"#,
        ] {
            assert!(!lacks(same).await, "{same}");
        }
        for less in [
            r#"{"cpf":1}"#,
            r#"{"b":{"CPF":""}}"#,
            r#"{"a":[1]}"#,
            r#"{"headers":[["cpf",""]]}"#,
            r#"{"body":"no JSON"}"#,
            r#"{"schema":"{\n \"cpf\": 1}"}"#,
        ] {
            assert!(lacks(less).await, "{less}");
        }
    }

    #[test]
    fn g2_every_member_that_carries_a_raw_body_is_shown_only_where_it_can_be_looked_into() {
        let mut names = BTreeSet::new();
        raw(&contract().value, &mut names);
        for known in ["body", "payload", "response_body", "text"] {
            assert!(names.contains(known), "{known} is not found any more: {names:?}");
        }
        let redaction = Redaction::parse(&["cpf".to_owned()]).unwrap();
        for name in names {
            let shown = redaction.json(&json!({&name: "cpf=123"}).to_string()).unwrap();
            assert_eq!(shown, json!({&name: MASK}).to_string(), "enter `{name}` into the model's OPAQUE");
        }
    }
}
