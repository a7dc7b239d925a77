//! How the engine reads what a sink says of other things than a page's answer: a page that it does not encode, and the
//! requests by which it prepares its target.

use crate::sink::{Refusal, Settlement};

/// The code by which `encode` says that the page is too large for one request: it is halved.
pub const PAGE_TOO_LARGE: &str = "page_too_large";
/// The code where the target does not take a request that prepares it.
pub const TARGET_NOT_READY: &str = "target_not_ready";

/// What follows from an answer to one of the requests that prepare the target, or to the one that closes a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Go on with the next request, or with what comes after the last.
    Next,
    /// Begin all over, later.
    Again(String),
    /// Stops the stream.
    Refused(Refusal),
}

/// What a refusal of `encode` means for its page.
pub fn of_refused_page(refusal: Refusal) -> Settlement {
    if refusal.code == PAGE_TOO_LARGE {
        Settlement::Split(refusal.message)
    } else if refusal.retryable {
        Settlement::Retry { after_ms: None, reason: refusal.message }
    } else {
        Settlement::Fail(refusal)
    }
}

/// What the status of an answer means. Of several requests the last one decides: those before it may be refused, as one
/// that creates is where there is something already. What may be otherwise later is always tried again.
pub fn of_preparation(status: u16, is_last: bool) -> Step {
    match status {
        200..=299 => Step::Next,
        408 | 425 | 429 | 500..=599 => Step::Again(format!("the target answered with HTTP status {status}")),
        _ if !is_last => Step::Next,
        _ => Step::Refused(Refusal {
            code: TARGET_NOT_READY.to_owned(),
            message: format!("the target cannot be prepared: it answered with HTTP status {status}"),
            retryable: false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_not_encoded_is_split_sent_later_or_stops_the_stream() {
        let refusal = |code: &str, retryable| Refusal { code: code.to_owned(), message: "m".to_owned(), retryable };
        assert_eq!(of_refused_page(refusal(PAGE_TOO_LARGE, false)), Settlement::Split("m".to_owned()));
        assert_eq!(of_refused_page(refusal("x", true)), Settlement::Retry { after_ms: None, reason: "m".to_owned() });
        assert_eq!(of_refused_page(refusal("x", false)), Settlement::Fail(refusal("x", false)));
    }

    #[test]
    fn the_last_request_decides_whether_the_target_is_ready() {
        assert_eq!(of_preparation(201, true), Step::Next);
        assert_eq!(of_preparation(400, false), Step::Next);
        assert!(matches!(of_preparation(400, true), Step::Refused(_)));
        for is_last in [false, true] {
            assert!(matches!(of_preparation(503, is_last), Step::Again(_)));
        }
    }
}
