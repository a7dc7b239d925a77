//! The one place where answers lose what a token's holder is not shown (see [`engate_model::redaction`]).

use std::sync::Arc;

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use engate_model::redaction::Redaction;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Limited};

use super::{
    extract::{is_json, media_type},
    problem::Problem,
};
use crate::verbs::access::Grant;

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
        return match whole(redaction, body).await {
            Some(text) => Response::from_parts(parts, Body::from(text)),
            None => refused(),
        };
    }
    if media_type == NDJSON {
        let lines = Lines { grant, source: body.into_data_stream(), held: Vec::new(), ended: false };
        return Response::from_parts(parts, Body::from_stream(stream::unfold(lines, Lines::next)));
    }
    match Limited::new(body, 0).collect().await {
        Ok(_) => Response::from_parts(without_type(parts), Body::empty()),
        Err(_) => refused(),
    }
}

fn without_type(mut parts: axum::http::response::Parts) -> axum::http::response::Parts {
    let headers: &mut HeaderMap<HeaderValue> = &mut parts.headers;
    headers.remove(header::CONTENT_TYPE);
    parts
}

async fn whole(redaction: &Redaction, body: Body) -> Option<String> {
    let bytes = Limited::new(body, LOOKED_THROUGH_BYTES_MAX).collect().await.ok()?.to_bytes();
    redaction.json(std::str::from_utf8(&bytes).ok()?)
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
