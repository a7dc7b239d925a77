//! Conditional requests (RFC 9110, 13): an `ETag` on what can be read and edited, `If-Match` on its edits, and
//! `If-None-Match` on reading. A tag is a MAC of what the resource shows, so that two nodes give the same one. It stands for
//! all of it, also for a reader who is not shown some: under a key, since a plain digest would let them try at home what
//! the rest may be.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use engate_model::Invalid;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::problem::Problem;
use crate::{engine::Engine, tag_key::TagKey, verbs::demand::Demand};

/// What a tag looks like.
const EXAMPLE: &str = "\"9f86d081884c7d659a2feaa0c55ad015\"";
/// Tags that one header may name.
const TAGS_MAX: usize = 32;

/// What is answered with an `ETag`.
pub(super) trait Shown: Serialize {
    /// What the tag stands for: everything that a reader sees.
    fn content(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// A resource as JSON with its `ETag`.
#[derive(Debug)]
pub(super) struct Tagged<T> {
    shown: T,
    tag: String,
}

impl<T: Shown> Tagged<T> {
    pub(super) fn new(engine: &Engine, shown: T) -> Self {
        Self { tag: engine.tag_key.tag(&shown.content()), shown }
    }
}

impl<T: Shown> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let tag = HeaderValue::from_str(&self.tag);
        let mut response = Json(self.shown).into_response();
        if let Ok(tag) = tag {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// The header `If-Match` of an edit.
#[derive(Debug)]
pub(super) struct IfMatch {
    wanted: Option<Wanted>,
    key: TagKey,
}

#[derive(Debug)]
enum Wanted {
    Any,
    Tags(Vec<String>),
}

impl IfMatch {
    /// The demand that the header makes of a state; `show` is how a reader sees one.
    pub(super) fn demand<T: Clone + 'static, V: Shown + 'static>(self, show: fn(T) -> V) -> Demand<T> {
        let Self { wanted, key } = self;
        match wanted {
            // What is not there answers 404 by itself.
            None | Some(Wanted::Any) => Demand::none(),
            Some(Wanted::Tags(tags)) => {
                Demand::that(move |now: &T| tags.contains(&key.tag(&show(now.clone()).content())))
            }
        }
    }
}

impl FromRequestParts<Arc<Engine>> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, engine: &Arc<Engine>) -> Result<Self, Problem> {
        Ok(Self { wanted: wanted(&parts.headers)?, key: engine.tag_key.clone() })
    }
}

fn wanted(headers: &HeaderMap) -> Result<Option<Wanted>, Invalid> {
    let mut values = headers.get_all(header::IF_MATCH).iter().peekable();
    if values.peek().is_none() {
        return Ok(None);
    }
    let text = values.map(|value| value.to_str().unwrap_or_default()).collect::<Vec<_>>().join(",");
    if text.trim() == "*" {
        return Ok(Some(Wanted::Any));
    }
    let wrong = || Invalid::field("If-Match", "give the `ETag` as it was answered, quotes included, or *");
    read_tags(&text).map(|tags| Some(Wanted::Tags(tags))).ok_or_else(wrong)
}

/// A list of tags in their quotes; none where it cannot be read. A weak one matches nothing here, so it stays as it is.
fn read_tags(text: &str) -> Option<Vec<String>> {
    let mut tags = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let weak = rest.starts_with("W/");
        let quoted = if weak { rest.get(2..)? } else { rest };
        let inner = quoted.strip_prefix('"')?;
        let (tag, after) = inner.split_once('"')?;
        tags.push(format!("{}\"{tag}\"", if weak { "W/" } else { "" }));
        rest = after.trim_start().trim_start_matches(',').trim_start();
        if tags.len() > TAGS_MAX {
            return None;
        }
    }
    (!tags.is_empty()).then_some(tags)
}

/// How edits describe the header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "a description only")]
pub(super) struct IfMatchHeader {
    /// The `ETag` that the edit was decided on; what was changed since then is left alone and answers 412.
    #[param(rename = "If-Match", min_length = 1, max_length = 2048)]
    if_match: Option<String>,
}

/// What a reader has already, if the call says so and only reads.
pub(super) fn known_to_reader(method: &Method, headers: &HeaderMap) -> Option<HeaderValue> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    headers.get(header::IF_NONE_MATCH).cloned()
}

/// 304 without a body where the reader has what would be answered.
pub(super) fn unless_known(known: Option<HeaderValue>, response: Response) -> Response {
    let Some(known) = known else { return response };
    let Some(tag) = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()) else { return response };
    let known = known.to_str().unwrap_or_default();
    let strong = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let tags = read_tags(known).unwrap_or_default();
    let is_known = known.trim() == "*" || tags.iter().any(|one| strong(one) == strong(tag));
    if response.status() != StatusCode::OK || !is_known {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    Response::from_parts(parts, Body::empty())
}

/// Completes the description of what can be edited under `If-Match`: its answers have an `ETag`, its reading takes
/// `If-None-Match`.
pub(super) fn describe(document: &mut Value) {
    let named = |operation: &Value| {
        let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
        parameters.into_iter().any(|parameter| parameter.get("name").is_some_and(|name| name == "If-Match"))
    };
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    for operations in paths.filter_map(|(_, operations)| operations.as_object_mut()) {
        if !operations.values().any(named) {
            continue;
        }
        for (method, operation) in operations {
            let Some(operation) = operation.as_object_mut() else { continue };
            let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
            if let Some(answer) = responses.and_then(|all| all.get_mut("200")).and_then(Value::as_object_mut) {
                let headers = answer.entry("headers").or_insert_with(|| json!({}));
                let about = "Stands for what is answered; send it back as `If-Match` or `If-None-Match`.";
                let header = json!({ "description": about, "schema": { "type": "string" }, "example": EXAMPLE });
                headers.as_object_mut().map(|headers| headers.insert("ETag".to_owned(), header));
            }
            if method == "get" {
                let about = "The `ETag` of what you have already; 304 where it still is so.";
                let parameter = json!({ "name": "If-None-Match", "in": "header", "required": false, "description": about,
                    "schema": { "type": "string" } });
                if let Some(all) = operation.entry("parameters").or_insert_with(|| json!([])).as_array_mut() {
                    all.push(parameter);
                }
                let known = json!({ "description": "It is what you have already" });
                let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
                responses.map(|responses| responses.insert("304".to_owned(), known));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read and changed at one path, and has no `If-Match`.
    const WITHOUT: &[&str] = &[
        // Told by its name alone; its value cannot be read.
        "/v1/secrets/{name}",
        // A wizard changes by its steps, whose order guards them; taking it away edits nothing.
        "/v1/wizards/{id}",
        // A switch that ends of itself.
        "/v1/jobs/{id}/debug",
        // Calling off is no edit.
        "/v1/plugins/{name}/diffs/{id}",
    ];

    #[test]
    fn what_can_be_read_and_edited_is_edited_under_if_match() {
        let mut found = 0;
        for (path, operations) in crate::api::contract::contract().value["paths"].as_object().unwrap() {
            // Inbounds' own calls are their plugins'.
            if WITHOUT.contains(&path.as_str()) || path.starts_with("/v1/inbound/") || operations.get("get").is_none() {
                continue;
            }
            for method in ["put", "patch", "delete"] {
                let Some(operation) = operations.get(method) else { continue };
                found += 1;
                let parameters = operation["parameters"].as_array().unwrap();
                assert!(parameters.iter().any(|parameter| parameter["name"] == "If-Match"), "{method} {path}");
                assert!(operation["responses"].get("412").is_some(), "{method} {path} does not say 412");
                assert!(operations.pointer("/get/responses/304").is_some(), "{path}");
            }
        }
        assert!(found >= 12, "{found}");
    }

    #[test]
    fn tags_are_read_as_a_list_and_what_is_none_is_refused() {
        assert_eq!(read_tags("\"a\""), Some(vec!["\"a\"".to_owned()]));
        assert_eq!(read_tags("\"a\", W/\"b,c\",\"\"").unwrap(), ["\"a\"", "W/\"b,c\"", "\"\""]);
        for wrong in ["", "a", "\"a", "\"a\" b", "W\"a\""] {
            assert_eq!(read_tags(wrong), None, "{wrong}");
        }
        assert_eq!(read_tags(&"\"a\",".repeat(TAGS_MAX + 1)), None);
    }
}
