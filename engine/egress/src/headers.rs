//! Which headers plugins and endpoints may set, and what a header may hold.

use engate_model::{Invalid, invalid::Complaints};
use http::{HeaderName, HeaderValue};

/// Headers that plugin and endpoint may set at most.
pub(crate) const HEADERS_MAX: usize = 100;
/// Bytes of names and values of those headers together.
pub(crate) const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one value.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Names that the connection, the proxy or the engine's own headers need.
const OWN_NAMES: [&str; 17] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// Whether a header name is the engine's own, so that [`crate::Outbound::headers`] cannot set it. `authorization` is
/// among them: it is set by [`Auth`](engate_model::endpoint::Auth) only, so that no plugin can take its place.
pub fn is_reserved_header(name: &str) -> bool {
    name.eq_ignore_ascii_case("authorization") || is_own_name(name)
}

fn is_own_name(name: &str) -> bool {
    OWN_NAMES.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Checks the headers of an endpoint when it is registered.
///
/// # Errors
/// Every header at fault as `headers.NAME`: an illegal or reserved name, a value that HTTP would not carry exactly as
/// given; `headers` where there are too many.
pub fn check_headers(headers: &[(String, String)]) -> Result<(), Invalid> {
    let mut complaints = Complaints::default();
    if let Err(message) = check_amount(headers) {
        complaints.add("headers", message);
    }
    for (name, value) in headers {
        let field = format!("headers.{name}");
        if name.eq_ignore_ascii_case("authorization") {
            complaints.add(field.clone(), "is set by auth");
        } else if let Err(message) = check_name(name) {
            complaints.add(field.clone(), message);
        }
        if let Err(message) = check_value(value) {
            complaints.add(field, message);
        }
    }
    complaints.finish(())
}

pub(crate) fn check_amount(headers: &[(String, String)]) -> Result<(), String> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len().saturating_add(value.len())).sum();
    if headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        return Err(format!("more than {HEADERS_MAX} headers or {HEADER_BYTES_MAX} bytes of them"));
    }
    Ok(())
}

pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err("not a legal header name".to_owned());
    }
    if is_own_name(name) { Err(format!("{} is set by the engine itself", name.to_ascii_lowercase())) } else { Ok(()) }
}

pub(crate) fn check_value(value: &str) -> Result<(), String> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(format!("longer than {VALUE_BYTES_MAX} bytes"));
    }
    if HeaderValue::from_bytes(value.as_bytes()).is_err() {
        return Err("holds a control character, which no HTTP header can carry".to_owned());
    }
    // A receiver drops them (RFC 9110, section 5.5), so the value would not arrive as given.
    if value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']) {
        return Err("begins or ends with white space, which HTTP does not carry".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_12_reserved_names_are_known_in_any_case() {
        for name in ["Host", "AUTHORIZATION", "content-length", "Transfer-Encoding", "Webhook-Signature", "user-agent"]
        {
            assert!(is_reserved_header(name), "{name}");
        }
        assert!(!is_reserved_header("x-api-key"));
    }

    #[test]
    fn an_endpoints_headers_are_checked_by_name() {
        let headers = |pairs: &[(&str, &str)]| {
            let owned: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            check_headers(&owned).map_err(|invalid| invalid.0.into_iter().map(|error| error.field).collect::<Vec<_>>())
        };
        assert_eq!(headers(&[("X-Shop", "çã"), ("accept", "text/plain")]), Ok(()));
        let wrong = headers(&[("Host", "x"), ("Authorization", "x"), ("a b", "x"), ("x-a", "x\r\ny"), ("x-b", "x ")]);
        assert_eq!(
            wrong.unwrap_err(),
            ["headers.Host", "headers.Authorization", "headers.a b", "headers.x-a", "headers.x-b"]
        );
    }
}
