//! What a plugin wants to send, checked before anything is sent.

use engate_model::plugin::{Fault, FaultCode, Limits};
use url::{Host, Url};

use crate::{
    call::OutgoingRequest,
    log::{PluginLog, printable},
};

/// Longest method, in bytes.
const METHOD_BYTES_MAX: usize = 32;
/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 8 << 10;
/// Headers of one request.
const HEADERS_MAX: usize = 100;
/// Names and values of all headers together, in bytes.
const HEADERS_BYTES_MAX: usize = 32 << 10;
/// Longest memo, in bytes.
pub(crate) const MEMO_BYTES_MAX: usize = 4 << 10;
/// Longest name of a credential profile, in bytes.
const CREDENTIAL_BYTES_MAX: usize = 64;

/// Headers that are the engine's to set. A plugin that sets one is not at fault (a recorded request often holds
/// them); they are left out, and the call's log says so.
const ENGINE_HEADERS: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks a request: what could break the wire is refused, what is the engine's is left out.
///
/// # Errors
/// `invalid_request`, or `output_too_large` for the body.
pub(crate) fn checked(
    mut request: OutgoingRequest,
    limits: &Limits,
    log: &mut PluginLog,
) -> Result<OutgoingRequest, Fault> {
    if request.method.is_empty() || request.method.len() > METHOD_BYTES_MAX || !request.method.bytes().all(is_token) {
        return Err(invalid(format!("the method {:?} is not an HTTP method", printable(&request.method, 64))));
    }
    request.url = parse_url(&request.url)?.into();
    let compress = request.compress;
    let ours = |name: &str| ENGINE_HEADERS.contains(&name) || (compress && name == "content-encoding");
    check_headers(&mut request.headers, FaultCode::InvalidRequest, log, ours)?;
    if request.body.len() > limits.body_bytes {
        return Err(Fault::new(
            FaultCode::OutputTooLarge,
            format!("a body of {} bytes; the limit is {} bytes", request.body.len(), limits.body_bytes),
        ));
    }
    if request.credential.as_ref().is_some_and(|name| name.is_empty() || name.len() > CREDENTIAL_BYTES_MAX) {
        return Err(invalid(format!("a credential's name has 1 to {CREDENTIAL_BYTES_MAX} bytes")));
    }
    Ok(request)
}

/// Checks the headers of a request or an answer: what could break the wire is a fault of that code, names are put into
/// lower case, those that are `ours` are left out.
///
/// # Errors
/// A fault of that code.
pub(crate) fn check_headers(
    headers: &mut Vec<(String, String)>,
    code: FaultCode,
    log: &mut PluginLog,
    ours: impl Fn(&str) -> bool,
) -> Result<(), Fault> {
    let invalid = |message: String| Err(Fault::new(code, message));
    if headers.len() > HEADERS_MAX {
        return invalid(format!("{} headers; at most {HEADERS_MAX} are sent", headers.len()));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADERS_BYTES_MAX {
        return invalid(format!("{bytes} bytes of headers; at most {HEADERS_BYTES_MAX} are sent"));
    }
    for (name, value) in headers.iter_mut() {
        if name.is_empty() || !name.bytes().all(is_token) {
            return invalid(format!("{:?} is not a header name", printable(name, 64)));
        }
        // The value itself stays out of the message: it may hold a secret that was revealed to the plugin.
        if value.bytes().any(|b| b == 0x7f || (b < 0x20 && b != b'\t')) {
            let name = printable(name, 64);
            return invalid(format!("the header {name} holds a control character (a line break, a NUL)"));
        }
        name.make_ascii_lowercase();
    }
    headers.retain(|(name, _)| {
        let ours = ours(name);
        if ours {
            log.note(&format!("the header {name} is the engine's and was left out"));
        }
        !ours
    });
    Ok(())
}

/// Whether a request may go to `url`: to the origin of the endpoint's own URL, or to a granted host
/// (`https://api.example.com`, `https://*.example.com`, with a port where it is not the scheme's own). Addresses
/// behind the name are checked where the connection is made, not here.
///
/// # Errors
/// `invalid_request` where `url` is not an absolute http or https URL, `host_denied` where it is not granted.
pub fn host_granted(url: &str, endpoint_url: &str, grants: &[String]) -> Result<(), Fault> {
    let url = parse_url(url)?;
    let own = Url::parse(endpoint_url).is_ok_and(|own| own.origin().is_tuple() && own.origin() == url.origin());
    if own || grants.iter().filter_map(|grant| HostPattern::parse(grant).ok()).any(|grant| grant.takes(&url)) {
        return Ok(());
    }
    Err(Fault::new(
        FaultCode::HostDenied,
        format!(
            "{} is neither the endpoint's origin nor a granted host; grant it to the plugin, or correct the plugin",
            url.origin().ascii_serialization()
        ),
    ))
}

/// Checks how a host is asked for or granted.
///
/// # Errors
/// A sentence for people.
pub fn check_host_pattern(text: &str) -> Result<(), String> {
    HostPattern::parse(text).map(|_| ())
}

/// `https://api.example.com:8443` or `https://*.example.com`.
struct HostPattern {
    /// The origin, of the name after `*.` where there is one.
    origin: Url,
    below: bool,
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "a host is written https://api.example.com or https://*.example.com, without a path".to_owned();
        if text.len() > URL_BYTES_MAX {
            return Err(wrong());
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let (below, rest) = rest.strip_prefix("*.").map_or((false, rest), |rest| (true, rest));
        let origin = parse_url(&format!("{scheme}://{rest}")).map_err(|_| wrong())?;
        let bare = origin.path() == "/" && !rest.contains(['/', '?', '#', '*', '@']);
        // `https://*.com` would be half the internet.
        let narrow = !below || origin.domain().is_some_and(|domain| domain.trim_end_matches('.').contains('.'));
        if bare && narrow { Ok(Self { origin, below }) } else { Err(wrong()) }
    }

    fn takes(&self, url: &Url) -> bool {
        if !self.below {
            return self.origin.origin() == url.origin();
        }
        let (Some(Host::Domain(parent)), Some(Host::Domain(host))) = (self.origin.host(), url.host()) else {
            return false;
        };
        self.origin.scheme() == url.scheme()
            && self.origin.port_or_known_default() == url.port_or_known_default()
            && host.strip_suffix(parent).is_some_and(|label| label.len() > 1 && label.ends_with('.'))
    }
}

fn parse_url(text: &str) -> Result<Url, Fault> {
    if text.len() > URL_BYTES_MAX {
        return Err(invalid(format!("a URL of {} bytes; at most {URL_BYTES_MAX} are sent", text.len())));
    }
    // The parser drops tabs and line breaks and trims blanks; a plugin that writes them is mistaken.
    if text.bytes().any(|b| b <= 0x20 || b == 0x7f) {
        return Err(invalid("the URL holds a blank or a control character; percent-encode it"));
    }
    let url =
        Url::parse(text).map_err(|error| invalid(format!("the URL {:?} is not one: {error}", printable(text, 200))))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(invalid(format!("the URL {:?} is not an absolute http or https URL", printable(text, 200))));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("the URL holds a user name or password; use a credential"));
    }
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(invalid(format!(
            "a URL of {} bytes once encoded; at most {URL_BYTES_MAX} are sent",
            url.as_str().len()
        )));
    }
    Ok(url)
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(FaultCode::InvalidRequest, message)
}

/// `tchar` of RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    ) || byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> OutgoingRequest {
        OutgoingRequest {
            method: "POST".to_owned(),
            url: "https://api.example.com/v1?a=b".to_owned(),
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: b"{}".to_vec(),
            compress: false,
            credential: None,
        }
    }

    fn check(request: OutgoingRequest) -> Result<OutgoingRequest, FaultCode> {
        checked(request, &Limits::default(), &mut PluginLog::new(1_000)).map_err(|fault| fault.code)
    }

    #[test]
    fn a_plain_request_passes_with_its_names_in_lower_case() {
        let passed = check(request()).unwrap();
        assert_eq!(passed.url, "https://api.example.com/v1?a=b");
        assert_eq!(passed.headers, [("content-type".to_owned(), "application/json".to_owned())]);
    }

    #[test]
    fn isolation_10_what_could_split_a_request_is_refused_before_the_wire() {
        let methods = ["", "GET / HTTP/1.1\r\nX:", "GE T", "G\0T", "GÉT"];
        for method in methods {
            assert_eq!(
                check(OutgoingRequest { method: method.to_owned(), ..request() }),
                Err(FaultCode::InvalidRequest)
            );
        }
        let headers = [
            ("x\r\ny", "v"),
            ("x y", "v"),
            ("", "v"),
            ("x:", "v"),
            ("x\0", "v"),
            ("x", "v\r\ny: z"),
            ("x", "v\n"),
            ("x", "\0"),
        ];
        for (name, value) in headers {
            let headers = vec![(name.to_owned(), value.to_owned())];
            assert_eq!(
                check(OutgoingRequest { headers, ..request() }),
                Err(FaultCode::InvalidRequest),
                "{name:?} {value:?}"
            );
        }
        let long = format!("https://a.example/{}", "x".repeat(1 << 20));
        let urls = [
            "",
            "/relative",
            "ftp://a.example",
            "https://",
            "https://a.example/a b",
            "https://a.ex\nample/",
            "https://me:pw@a.example/",
            "javascript:alert(1)",
            &long,
        ];
        for url in urls {
            assert_eq!(
                check(OutgoingRequest { url: url.to_owned(), ..request() }),
                Err(FaultCode::InvalidRequest),
                "{url:.40}"
            );
        }
        let many = vec![("x".to_owned(), String::new()); HEADERS_MAX + 1];
        assert_eq!(check(OutgoingRequest { headers: many, ..request() }), Err(FaultCode::InvalidRequest));
        let large = vec![("x".to_owned(), "v".repeat(HEADERS_BYTES_MAX))];
        assert_eq!(check(OutgoingRequest { headers: large, ..request() }), Err(FaultCode::InvalidRequest));
        let body = vec![0; Limits::default().body_bytes + 1];
        assert_eq!(check(OutgoingRequest { body, ..request() }), Err(FaultCode::OutputTooLarge));
    }

    #[test]
    fn isolation_12_headers_of_the_engine_are_left_out_and_the_log_says_so() {
        let headers =
            ["Host", "authorization", "Content-Length", "Transfer-Encoding", "connection", "content-encoding", "x-own"];
        let headers = headers.map(|name| (name.to_owned(), "1".to_owned())).to_vec();
        let mut log = PluginLog::new(1_000);
        let passed =
            checked(OutgoingRequest { headers, compress: true, ..request() }, &Limits::default(), &mut log).unwrap();
        assert_eq!(passed.headers, [("x-own".to_owned(), "1".to_owned())]);
        assert!(log.finish().contains("engine: the header transfer-encoding is the engine's and was left out\n"));
    }

    #[test]
    fn isolation_11_only_the_endpoints_origin_and_granted_hosts_are_reached() {
        let own = "https://api.example.com/hook";
        let grants =
            ["https://*.partner.example".to_owned(), "https://files.example:8443".to_owned(), "nonsense".to_owned()];
        let code = |url: &str| host_granted(url, own, &grants).map_err(|fault| fault.code);
        for url in [
            "https://api.example.com/other",
            "https://API.example.com:443/",
            "https://a.partner.example/",
            "https://a.b.partner.example/",
            "https://files.example:8443/x",
        ] {
            assert_eq!(code(url), Ok(()), "{url}");
        }
        for url in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com./",
            "https://partner.example/",
            "https://evilpartner.example/",
            "https://partner.example.evil/",
            "http://a.partner.example/",
            "https://a.partner.example:444/",
            "https://files.example/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://[::ffff:127.0.0.1]/",
            "https://169.254.169.254/",
        ] {
            assert_eq!(code(url), Err(FaultCode::HostDenied), "{url}");
        }
        assert_eq!(code("https://api.example.com@evil.example/"), Err(FaultCode::InvalidRequest));
    }

    #[test]
    fn host_patterns_name_an_origin_or_everything_below_a_name() {
        for text in ["https://a.example", "http://a.example:8080", "https://*.a.example", "https://10.0.0.1"] {
            assert_eq!(check_host_pattern(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "*",
            "a.example",
            "https://*",
            "https://*.com",
            "https://*.10.0.0.1",
            "https://a.example/path",
            "https://a.*.example",
            "https://u@a.example",
            "ftp://a.example",
        ] {
            assert!(check_host_pattern(text).is_err(), "{text}");
        }
    }
}
