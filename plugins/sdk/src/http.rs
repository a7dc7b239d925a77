//! HTTP done by the engine, for a [`Source`](crate::Source) only: granted hosts, address guard, TLS, credentials, no redirects.

use crate::{Problem, Request, Response, engine};

#[doc(inline)]
pub use crate::bindings::sourcing::engate::plugin::http::Error;

/// Sends a request and waits for the whole response, whatever its status.
///
/// # Errors
/// Why there is no response, for who wants to judge by himself.
pub fn send(request: &Request) -> Result<Response, Error> {
    engine::http::send(request)
}

/// The same; a failure, and any status but 2xx, is a problem.
///
/// # Errors
/// `http_denied` is final, and so is a status of 4xx (`http_status`) but 408, 425 and 429. Anything else is retryable: the pass
/// is tried again from the cursor of the last page.
pub fn fetch(request: &Request) -> Result<Response, Problem> {
    let response = send(request).map_err(|error| problem(request, &error))?;
    if response.is_success() {
        return Ok(response);
    }
    let status = response.status;
    let problem = Problem::new("http_status", format!("{} answered with HTTP status {status}", place(request)));
    let later = matches!(status, 408 | 425 | 429 | 500..=599);
    Err(if later { problem.retryable() } else { problem })
}

fn problem(request: &Request, error: &Error) -> Problem {
    let place = place(request);
    let retryable = |code: &str, what: &str| Problem::new(code, format!("{place} {what}")).retryable();
    match error {
        Error::Denied(why) => Problem::new("http_denied", format!("{place} may not be called: {why}")),
        Error::Dns => retryable("http_dns", "has a host that does not resolve"),
        Error::Connect => retryable("http_connect", "cannot be connected to"),
        Error::Tls => retryable("http_tls", "failed the TLS handshake"),
        Error::Timeout => retryable("http_timeout", "did not answer in time"),
        Error::TooLarge => Problem::new("http_too_large", format!("{place} answered with more than the engine takes")),
        Error::Budget => retryable("http_budget", "was not called: this pull has used up its requests"),
        Error::Other(why) => retryable("http_failed", &format!("failed: {why}")),
    }
}

/// The URL without its query, which may hold what is not to be shown.
fn place(request: &Request) -> &str {
    request.url.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{self, Host};

    #[test]
    fn what_does_not_come_back_is_a_problem_that_says_whether_to_try_again() {
        let request = Request::get("https://feed.example/orders?key=hush");
        let code = |answer: Result<Response, Error>| {
            let host = Host::new().web(move |_| answer.clone());
            let problem = host.run(|| fetch(&request)).unwrap_err();
            assert!(!problem.message.contains("hush") && problem.message.contains("feed.example"), "{problem:?}");
            (problem.code, problem.retryable)
        };
        assert_eq!(code(Err(Error::Denied("no".to_owned()))), ("http_denied".to_owned(), false));
        assert_eq!(code(Err(Error::Timeout)), ("http_timeout".to_owned(), true));
        assert_eq!(code(Ok(testing::response(404))), ("http_status".to_owned(), false));
        assert_eq!(code(Ok(testing::response(503))), ("http_status".to_owned(), true));
        let host = Host::new().web(|_| Ok(testing::response(200).with_text("ok")));
        assert_eq!(host.run(|| fetch(&request)).unwrap().text(), Some("ok"));
        assert_eq!(host.requests().len(), 1);
        assert_eq!(Host::new().run(|| send(&request)).unwrap_err(), Error::Dns, "there is no web");
    }
}
