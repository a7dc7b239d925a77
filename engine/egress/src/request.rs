//! What is to be sent, and what of it is recorded.

use std::{io::Write as _, time::Duration};

use bytes::Bytes;
use engate_model::{Secret, Timestamp, delivery::Request, endpoint::Auth};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use url::{Position, Url};

use crate::{
    auth,
    headers::{check_amount, is_reserved_header},
    signing,
};

/// Bytes of a method.
const METHOD_BYTES_MAX: usize = 32;
/// Bodies above this size are compressed on a thread of their own, since it takes more than a millisecond.
const COMPRESS_INLINE_BYTES_MAX: usize = 64 * 1024;
/// What a masked value shows.
const MASK: &str = "***";

/// One request to send.
#[derive(Debug, Clone)]
pub struct Outbound<'a> {
    /// HTTP method, any but `CONNECT`.
    pub method: &'a str,
    /// Absolute http or https URL; judged by the guard at every send.
    pub url: &'a str,
    /// The plugin's headers, then the endpoint's; reserved names among them are dropped.
    pub headers: Vec<(String, String)>,
    /// Body before compression.
    pub body: Bytes,
    /// Whether the body goes out with gzip; not done for an empty one or where `content-encoding` is set already.
    pub compress: bool,
    /// How the engine shows who it is.
    pub auth: &'a Auth,
    /// The Standard Webhooks headers; none: they are not sent.
    pub sign: Option<SignInput<'a>>,
    /// One deadline for DNS, connect, TLS, headers, body and decompression.
    pub deadline: Duration,
    /// Most bytes of the response's body to keep, after decompression; the engine's own limit may be lower.
    pub response_bytes_max: usize,
    /// Whether header names go out as `Title-Case`, over HTTP/1.1 only.
    pub http1_title_case: bool,
}

/// What the Standard Webhooks headers are made of.
#[derive(Debug, Clone)]
pub struct SignInput<'a> {
    /// The same at every attempt.
    pub webhook_id: &'a str,
    /// The present instant; goes out in whole seconds.
    pub timestamp: Timestamp,
    /// Keys that sign, the present one first; without keys id and timestamp go out unsigned.
    pub keys: Vec<&'a Secret>,
}

/// A request that is ready for the wire, with its record.
pub(crate) struct Prepared {
    pub(crate) request: reqwest::Request,
    pub(crate) record: Request,
}

/// Builds what goes on the wire. The error is a sentence without secrets.
pub(crate) async fn prepare(
    outbound: &Outbound<'_>,
    token: Option<&Secret>,
    url: &Url,
    user_agent: &HeaderValue,
) -> Result<Prepared, String> {
    let method = method(outbound.method)?;
    let mut headers = given(&outbound.headers)?;
    let auth = auth::auth_headers(outbound.auth, token)?;
    let compress = outbound.compress && !outbound.body.is_empty() && !headers.contains_key(header::CONTENT_ENCODING);
    let body = if compress {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        gzip(outbound.body.clone()).await?
    } else {
        outbound.body.clone()
    };
    let secret_names: Vec<_> = auth.iter().map(|auth| auth.name.clone()).collect();
    for auth in auth {
        headers.insert(auth.name, auth.value);
    }
    if let Some(sign) = &outbound.sign {
        standard_webhooks(&mut headers, sign, &outbound.body)?;
    }
    headers.insert(header::USER_AGENT, user_agent.clone());
    // What the HTTP client would add by itself, so that the record has it.
    headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    headers.entry(header::ACCEPT_ENCODING).or_insert(HeaderValue::from_static("gzip, br, deflate"));
    let bodiless = matches!(method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS | Method::TRACE);
    if !body.is_empty() || !bodiless {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let record = Request {
        method: method.to_string(),
        url: url.as_str().to_owned(),
        headers: recorded(&headers, url, &secret_names, outbound.http1_title_case),
        body: outbound.body.to_vec(),
        body_kept: true,
    };
    let mut request = reqwest::Request::new(method, url.clone());
    *request.headers_mut() = headers;
    if !body.is_empty() {
        *request.body_mut() = Some(body.into());
    }
    Ok(Prepared { request, record })
}

fn method(text: &str) -> Result<Method, String> {
    let wrong = || "the method is not one that HTTP knows".to_owned();
    if text.len() > METHOD_BYTES_MAX || text.eq_ignore_ascii_case("connect") {
        return Err(wrong());
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| wrong())
}

/// The headers of plugin and endpoint, without the reserved ones.
fn given(given: &[(String, String)]) -> Result<HeaderMap, String> {
    check_amount(given)?;
    let mut headers = HeaderMap::with_capacity(given.len() + 8);
    for (name, value) in given {
        let legal = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no header name"))?;
        if is_reserved_header(name) {
            continue;
        }
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| format!("the value of header {legal} holds a control character"))?;
        headers.append(legal, value);
    }
    Ok(headers)
}

fn standard_webhooks(headers: &mut HeaderMap, sign: &SignInput<'_>, body: &[u8]) -> Result<(), String> {
    let text =
        |text: &str| HeaderValue::from_str(text).map_err(|_| "the webhook id is no legal header value".to_owned());
    let signature = signing::signatures(sign.webhook_id, sign.timestamp, body, &sign.keys)?;
    headers.insert(HeaderName::from_static("webhook-id"), text(sign.webhook_id)?);
    headers.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(sign.timestamp.as_secs()));
    if !signature.is_empty() {
        headers.insert(HeaderName::from_static("webhook-signature"), text(&signature)?);
    }
    Ok(())
}

async fn gzip(body: Bytes) -> Result<Bytes, String> {
    if body.len() <= COMPRESS_INLINE_BYTES_MAX {
        return gzip_now(&body);
    }
    tokio::task::spawn_blocking(move || gzip_now(&body)).await.map_err(|_| "compression broke off".to_owned())?
}

fn gzip_now(body: &[u8]) -> Result<Bytes, String> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).map(Bytes::from).map_err(|error| error.to_string())
}

/// The headers in the order of the wire. The HTTP client adds `host` as the last one over HTTP/1.1; over HTTP/2 the
/// same value travels as `:authority`.
fn recorded(headers: &HeaderMap, url: &Url, secret: &[HeaderName], title_case: bool) -> Vec<(String, String)> {
    let name_of = |name: &str| if title_case { to_title_case(name) } else { name.to_owned() };
    let mut recorded = Vec::with_capacity(headers.len() + 1);
    for (name, value) in headers {
        let masked = *name == header::AUTHORIZATION || secret.contains(name);
        let value = if masked { MASK.into() } else { String::from_utf8_lossy(value.as_bytes()) };
        recorded.push((name_of(name.as_str()), value.into_owned()));
    }
    recorded.push((name_of("host"), url[Position::BeforeHost..Position::AfterPort].to_owned()));
    recorded
}

/// As the HTTP client writes it: the first letter and every letter after a hyphen large.
fn to_title_case(name: &str) -> String {
    let mut after_hyphen = true;
    name.chars()
        .map(|c| {
            let c = if after_hyphen { c.to_ascii_uppercase() } else { c };
            after_hyphen = c == '-';
            c
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::{HEADER_BYTES_MAX, HEADERS_MAX};

    #[test]
    fn isolation_10_methods_and_headers_with_line_ends_are_refused() {
        for wrong in ["GET / HTTP/1.1\r\nX:", "", "G T", "CONNECT", "connect", "GÉT", &"A".repeat(33)] {
            assert!(method(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(method("PATCH"), Ok(Method::PATCH));
        for (name, value) in [("x\r\ny", "v"), ("x", "a\r\nb: c"), ("x", "a\0"), ("", "v"), (":authority", "v")] {
            assert!(given(&[(name.to_owned(), value.to_owned())]).is_err(), "{name:?} {value:?}");
        }
        let flood = vec![("x".to_owned(), "y".to_owned()); HEADERS_MAX + 1];
        assert!(given(&flood).is_err());
        let huge = vec![("x".to_owned(), "y".repeat(HEADER_BYTES_MAX))];
        assert!(given(&huge).is_err());
    }

    #[test]
    fn title_case_is_the_clients() {
        assert_eq!(to_title_case("x-api-KEY-2a"), "X-Api-KEY-2a");
        assert_eq!(to_title_case("content-type"), "Content-Type");
    }
}
