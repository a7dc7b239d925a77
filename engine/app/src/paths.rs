//! A request's path in its normal form (RFC 3986, section 6.2.2), before anything is matched or allowed by it: what looks
//! like one path and means another must not get around a token's routes.

use std::borrow::Cow;

use axum::{
    extract::Request,
    http::{Uri, uri::PathAndQuery},
};

/// The request with its path in normal form. What cannot be put into one stays, and matches no route.
pub(crate) fn normalise(mut request: Request) -> Request {
    if let Cow::Owned(path) = normal(request.uri().path()) {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(format!("{path}{query}")).ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Escaped letters, digits and `-._~` are themselves, several slashes are one, `.` and `..` are walked.
fn normal(path: &str) -> Cow<'_, str> {
    // Almost every path is normal already, and this is all it costs.
    if !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return Cow::Borrowed(path);
    }
    let mut segments = Vec::new();
    let decoded = unreserved(path);
    let mut rest = decoded.split('/').peekable();
    while let Some(segment) = rest.next() {
        let is_last = rest.peek().is_none();
        match segment {
            "" | "." if is_last => segments.push(""),
            "" | "." => {}
            ".." => {
                segments.pop();
                if is_last {
                    segments.push("");
                }
            }
            other => segments.push(other),
        }
    }
    Cow::Owned(format!("/{}", segments.join("/")))
}

/// The path with everything decoded that needs no escape; what stays escaped is escaped in capitals.
fn unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let code = after.get(..2).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match code.and_then(|hex| Some((hex, u8::from_str_radix(hex, 16).ok()?))) {
            Some((_, byte)) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(char::from(byte)),
            Some((hex, _)) => {
                out.push('%');
                out.push_str(&hex.to_ascii_uppercase());
            }
            None => {
                out.push('%');
                rest = after;
                continue;
            }
        }
        rest = after.get(2..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_means_another_becomes_that_other() {
        for (given, expected) in [
            ("/v1/events", "/v1/events"),
            ("/v1/x/../events", "/v1/events"),
            ("/v1//events", "/v1/events"),
            ("//v1/./events/", "/v1/events/"),
            ("/v1/%65vents", "/v1/events"),
            ("/v1/x/%2e%2E/tokens", "/v1/tokens"),
            ("/../../v1/tokens/..", "/v1/"),
            ("/v1/secrets/a%2f..%2fb", "/v1/secrets/a%2F..%2Fb"),
            ("/v1/%252e%252e/tokens", "/v1/%252e%252e/tokens"),
            ("/v1/%zz/%4", "/v1/%zz/%4"),
            ("/", "/"),
            ("/v1/..", "/"),
            ("/v1/a%C3%A7", "/v1/a%C3%A7"),
        ] {
            assert_eq!(normal(given), expected, "{given}");
            assert_eq!(normal(&normal(given)), expected, "{given} is normal after one step");
        }
    }

    #[test]
    fn the_query_stays_as_it_is() {
        let request = Request::builder().uri("/v1//events?a=%65&b=../c").body(axum::body::Body::empty()).unwrap();
        assert_eq!(normalise(request).uri(), "/v1/events?a=%65&b=../c");
    }
}
