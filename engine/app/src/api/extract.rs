//! What handlers take: the caller, a path's parts, query parameters, a JSON body. Every way in which these can
//! be wrong is a problem that names what to blame.

use std::{any::type_name, time::Duration};

use axum::{
    body::Body as HttpBody,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use bytes::Bytes;
use engate_model::{FieldError, Invalid, token::Principal};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{Required, path::ParameterIn},
};

use super::{problem::Problem, schema};
use crate::media_type::is_json;

/// Largest JSON body of a route that names no bound of its own.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a body beyond its limit that are still taken in, and thrown away.
const PAST_BYTES_MAX: usize = 128 << 20;
/// How long that may take.
const PAST_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// Who makes the call. Fails where no middleware let anyone in, so a handler cannot run unguarded by mistake.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Principal);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Principal>().cloned();
        principal.map(Self).ok_or_else(|| Problem::of("unauthorized", "no token came with this call"))
    }
}

/// Parts of the path. What cannot be read as what it should be names nothing: 404.
#[derive(Debug)]
pub(crate) struct At<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(at)) => Ok(Self(at)),
            Err(_) => Err(Problem::of("not_found", "nothing has this id")),
        }
    }
}

/// Query parameters, checked against what the description says of them.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned + IntoParams> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(read_query(parts.uri.query().unwrap_or_default())?))
    }
}

/// A JSON body of at most [`BODY_BYTES_MAX`], checked against the schema of `T`.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned + ToSchema> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let bytes = read_body(request.into_body(), BODY_BYTES_MAX).await?;
        Ok(Self(read_json(&bytes)?))
    }
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read_body(mut body: HttpBody, limit: usize) -> Result<Bytes, Problem> {
    let slow = |_| Problem::of("request_timeout", format!("the body took longer than {} s", BODY_TIME_MAX.as_secs()));
    let read = tokio::time::timeout(BODY_TIME_MAX, Limited::new(&mut body, limit).collect()).await.map_err(slow)?;
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            read_past(body).await;
            Err(Problem::of("payload_too_large", format!("the body may have at most {limit} bytes")))
        }
        Err(error) => {
            let why = error.to_string();
            Err(Problem::of("invalid_body", format!("the body broke off: {why}")))
        }
    }
}

/// Takes in what comes of a body that is refused, within bounds: a client that is still sending when the connection is
/// closed sees a broken pipe and never the answer.
async fn read_past(mut body: HttpBody) {
    let drained = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > PAST_BYTES_MAX {
                return;
            }
        }
    };
    // Whoever sends more, or slower, does without the answer.
    let _ = tokio::time::timeout(PAST_TIME_MAX, drained).await;
}

/// The media type without parameters, in lower case; empty where there is none.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if is_json(&media_type(headers)) {
        Ok(())
    } else {
        Err(Problem::of("unsupported_media_type", "send JSON with `Content-Type: application/json`"))
    }
}

/// Reads JSON bytes as a `T`, checked against its schema first.
pub(crate) fn read_json<T: DeserializeOwned + ToSchema>(bytes: &[u8]) -> Result<T, Problem> {
    let value = parse(bytes)?;
    schema::check_component(&T::name(), &value)?;
    Ok(typed(value)?)
}

/// Reads JSON bytes as a value. serde_json bounds the depth at 128.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem::of("invalid_json", error.to_string()))
}

/// What the schema cannot say (a range inside a format, an id's form) is found by reading the value.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Invalid> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "body".to_owned() } else { path };
        Invalid::field(field, error.inner().to_string())
    })
}

/// Reads a query string as a `T`.
pub(crate) fn read_query<T: DeserializeOwned + IntoParams>(query: &str) -> Result<T, Invalid> {
    let parameters = T::into_params(|| Some(ParameterIn::Query));
    let schemas: Map<String, Value> =
        parameters.iter().map(|p| (p.name.clone(), serde_json::to_value(&p.schema).unwrap_or_default())).collect();
    let mut given = Map::new();
    for (name, text) in url::form_urlencoded::parse(query.as_bytes()) {
        let value = coerced(schemas.get(name.as_ref()), &text);
        if given.insert(name.clone().into_owned(), value).is_some() {
            return Err(Invalid::field(name, "is given twice; keep one"));
        }
    }
    let given = Value::Object(given);
    let required = || parameters.iter().filter(|p| matches!(p.required, Required::True)).map(|p| p.name.clone());
    let schema = || {
        json!({ "type": "object", "properties": &schemas, "required": required().collect::<Vec<_>>(),
                "additionalProperties": false })
    };
    schema::check_inline(type_name::<T>(), schema, &given)?;
    typed(given)
}

/// A parameter is text; what its schema calls a number, a truth value or a list is read as one. What cannot be
/// read stays text, and the schema complains.
fn coerced(schema: Option<&Value>, text: &str) -> Value {
    let is = |name: &str| {
        schema.and_then(|s| s.get("type")).is_some_and(|kind| {
            kind == name || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == name))
        })
    };
    let as_text = || Value::String(text.to_owned());
    if is("integer") {
        text.parse::<i64>().map_or_else(|_| as_text(), Value::from)
    } else if is("boolean") {
        text.parse::<bool>().map_or_else(|_| as_text(), Value::from)
    } else if is("array") {
        text.split(',').map(|item| Value::String(item.to_owned())).collect()
    } else {
        as_text()
    }
}

/// Complaints about every name in the query string of a route that takes none.
pub(crate) fn unknown_query(query: &str) -> Vec<FieldError> {
    let names = url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    names.map(|name| FieldError { message: schema::UNKNOWN.to_owned(), field: name.into_owned() }).collect()
}

/// For a PATCH field that may be cleared: tells `null` (clear) from absence (leave as it is). Use with
/// `#[serde(default, deserialize_with = "present")]` on an `Option<Option<T>>` and `#[schema(value_type = Option<T>)]`.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let drips = stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        let begun = tokio::time::Instant::now();
        let problem = read_body(HttpBody::from_stream(drips), BODY_BYTES_MAX).await.unwrap_err();
        assert_eq!(problem.status(), axum::http::StatusCode::REQUEST_TIMEOUT);
        assert_eq!(begun.elapsed(), BODY_TIME_MAX);
    }
}
