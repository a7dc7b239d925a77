//! What went wrong on the way, as stable codes.

use std::{error::Error, fmt::Write as _, io, time::Duration};

use engate_model::verdict::Failure;
use rustls::AlertDescription;

use crate::guard::{Denied, Target};

/// How deep a chain of errors is followed.
const CHAIN_MAX: usize = 16;
/// Longest text of a foreign error in a message, characters.
const DETAIL_CHARS_MAX: usize = 200;

/// How far a request came when its deadline ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No status line yet.
    Waiting,
    /// Within the response's body.
    Body,
}

fn failure(code: &str, message: String, retryable: bool) -> Failure {
    Failure { code: code.to_owned(), message, retryable }
}

/// A request that cannot be built, so no try will succeed.
pub(crate) fn invalid_request(message: impl Into<String>) -> Failure {
    failure("invalid_request", message.into(), false)
}

/// A call that the guard refuses.
pub(crate) fn denied(denied: &Denied) -> Failure {
    if denied.code() == "invalid_url" {
        return invalid_request(denied.to_string());
    }
    failure(denied.code(), denied.to_string(), denied.retryable())
}

pub(crate) fn dns_failed(host: &str, error: &(dyn Error + 'static)) -> Failure {
    failure("dns_failed", format!("{host} cannot be resolved: {}", detail(error)), true)
}

/// The deadline ended.
pub(crate) fn timeout(target: &Target, deadline: Duration, phase: Phase) -> Failure {
    let what = match phase {
        Phase::Waiting => "no answer",
        Phase::Body => "the answer was not complete",
    };
    failure("timeout", format!("{what} from {} within {} ms", target.origin(), deadline.as_millis()), true)
}

/// The deadline ended before there was a token.
pub(crate) fn token_timeout(deadline: Duration) -> Failure {
    failure("oauth2_failed", format!("no token within the request's {} ms", deadline.as_millis()), true)
}

/// The engine's own certificate in a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Certificate {
    /// The endpoint has one to show.
    pub(crate) shown: bool,
    /// The partner asked for one, in a handshake made for this request.
    pub(crate) asked: bool,
}

/// What kept the response's head from coming.
pub(crate) fn of_request(
    error: &reqwest::Error,
    target: &Target,
    connect_timeout: Duration,
    certificate: Certificate,
) -> Failure {
    let to = target.origin();
    let links = || chain(error);
    if let Some(refused) = links().find_map(|link| link.downcast_ref::<Denied>()) {
        return denied(refused);
    }
    if error.is_builder() {
        return invalid_request(format!("the request to {to} cannot be built: {}", detail(error)));
    }
    if let Some(refused) = of_identity(links(), &to, certificate.shown) {
        return refused;
    }
    if let Some(tls) = links().find_map(|link| link.downcast_ref::<rustls::Error>()) {
        return failure("tls_failed", format!("TLS with {to} failed: {}", detail(tls)), true);
    }
    if error.is_timeout() {
        let message = if error.is_connect() {
            format!("no connection to {to} within {} ms", connect_timeout.as_millis())
        } else {
            format!("no answer from {to}: {}", detail(error))
        };
        return failure("timeout", message, true);
    }
    if error.is_dns() {
        return dns_failed(&target.host, error);
    }
    let io_kind = links().find_map(|link| link.downcast_ref::<io::Error>()).map(io::Error::kind);
    if error.is_connect() {
        return of_connect(error, target, io_kind);
    }
    if certificate.asked && is_cut(links(), io_kind) {
        return of_cut(&to, certificate.shown);
    }
    let closed = links().filter_map(|link| link.downcast_ref::<hyper::Error>()).any(|error| {
        error.is_incomplete_message() || error.is_closed() || error.is_canceled() || error.is_body_write_aborted()
    });
    if closed || io_kind.is_some_and(is_closed) {
        return failure("connection_closed", format!("{to} closed the connection before it answered"), true);
    }
    failure("protocol_error", format!("{to} did not answer in HTTP: {}", detail(error)), true)
}

/// What partners say of the engine's own certificate: the other one, theirs, they do not judge.
const OF_IDENTITY: [(AlertDescription, &str); 8] = [
    (AlertDescription::CertificateRequired, "it asks for one and got none"),
    (AlertDescription::BadCertificate, "it finds it broken, or wrongly signed"),
    (AlertDescription::UnsupportedCertificate, "it does not take its kind"),
    (AlertDescription::CertificateRevoked, "it was revoked"),
    (AlertDescription::CertificateExpired, "it has run out, or is not good yet"),
    (AlertDescription::CertificateUnknown, "it does not find it acceptable"),
    (AlertDescription::UnknownCA, "it does not know who issued it"),
    (AlertDescription::AccessDenied, "it knows it and does not let it in"),
];
/// How the text of an alert begins.
const ALERT: &str = "received fatal alert: ";

/// Whether the connection ended before the request was on it, or with a reset.
fn is_cut<'a>(mut links: impl Iterator<Item = &'a (dyn Error + 'static)>, io_kind: Option<io::ErrorKind>) -> bool {
    links.any(|link| link.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_canceled() || error.is_closed()))
        || matches!(io_kind, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
}

/// A partner that asked for a certificate and cut the connection as soon as it had the answer. Why, its alert would have
/// said, which a closed connection may take with it.
fn of_cut(to: &str, shown: bool) -> Failure {
    if shown {
        let message = format!("{to} closed the connection as soon as it had the endpoint's client certificate");
        return failure("client_certificate_refused", message, true);
    }
    let message = format!(
        "{to} asked for a client certificate and closed the connection when it got none; give the endpoint \
         authentication of type mtls"
    );
    failure("client_certificate_required", message, true)
}

/// A refusal of the engine's certificate, or of its having none, where an error of the chain is one.
fn of_identity<'a>(
    mut links: impl Iterator<Item = &'a (dyn Error + 'static)>,
    to: &str,
    identified: bool,
) -> Option<Failure> {
    let told = |link: &(dyn Error + 'static)| match link.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::AlertReceived(alert)) => Some(format!("{alert:?}")),
        Some(_) => None,
        // HTTP/2 hands on what broke its connection as text.
        None => link.downcast_ref::<io::Error>()?.to_string().strip_prefix(ALERT).map(str::to_owned),
    };
    let (name, why) = links.find_map(|link| {
        let name = told(link)?;
        OF_IDENTITY.iter().find(|(alert, _)| format!("{alert:?}") == name).map(|(_, why)| (name, why))
    })?;
    Some(if identified {
        let message = format!("{to} refused the endpoint's client certificate: {why} (TLS alert {name})");
        failure("client_certificate_refused", message, true)
    } else {
        let message = format!(
            "{to} asks for a client certificate (TLS alert {name}); give the endpoint authentication of type mtls"
        );
        failure("client_certificate_required", message, true)
    })
}

fn of_connect(error: &reqwest::Error, target: &Target, io_kind: Option<io::ErrorKind>) -> Failure {
    let to = target.origin();
    match io_kind {
        Some(io::ErrorKind::ConnectionRefused) => {
            failure("connect_refused", format!("{to} refused the connection"), true)
        }
        Some(io::ErrorKind::UnexpectedEof) if target.url.scheme() == "https" => {
            failure("tls_failed", format!("{to} closed the connection during the TLS handshake"), true)
        }
        _ => failure("connect_failed", format!("no connection to {to}: {}", detail(error)), true),
    }
}

/// What broke off the response's body.
pub(crate) fn of_body(error: &reqwest::Error, target: &Target) -> Failure {
    let code = if error.is_timeout() { "timeout" } else { "body_failed" };
    failure(code, format!("the answer of {} broke off: {}", target.origin(), detail(error)), true)
}

const fn is_closed(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

/// An error and its causes. An [`io::Error`] hides the error that it wraps from `source`, so it is asked by itself.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |link| cause(*link)).take(CHAIN_MAX)
}

fn cause<'a>(link: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match link.downcast_ref::<io::Error>() {
        Some(wrapper) => wrapper.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => link.source(),
    }
}

/// The text of the innermost cause. Outer ones only add the URL, whose path and query may be secret.
fn detail(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for c in chain(error).last().unwrap_or(error).to_string().chars().take(DETAIL_CHARS_MAX) {
        if c.is_control() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}", c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_inside_an_io_error_is_found() {
        let inner = rustls::Error::HandshakeNotComplete;
        let outer = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner));
        assert!(chain(&outer).any(|link| link.is::<rustls::Error>()));
        assert_eq!(detail(&outer), "handshake not complete");
    }

    #[test]
    fn details_are_short_and_hold_no_control_characters() {
        let text = detail(&io::Error::other(format!("a\r\n\u{1b}[31m{}", "x".repeat(1000))));
        assert!(text.starts_with("a\\r\\n\\u{1b}[31mx") && text.len() < 300, "{text}");
    }
}
