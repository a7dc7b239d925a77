//! What follows from how a try ended. One pure function decides; the worker applies it.

use std::time::Duration;

use crate::{
    delivery::DeliveryState,
    retry::{self, RetryPolicy},
    time::Timestamp,
    verdict::{Failure, Outcome, Verdict},
};

/// What a finished try changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Where the delivery stands now.
    pub state: DeliveryState,
    /// When the next try is due; set exactly when `state` is pending.
    pub next_attempt_at: Option<Timestamp>,
    /// Whether the try succeeded; none where it was skipped.
    pub success: Option<bool>,
    /// Stable word for the attempt's record.
    pub outcome: &'static str,
    /// Stable code of what went wrong.
    pub code: Option<String>,
    /// For people.
    pub message: Option<String>,
    /// Why the endpoint is to be disabled, where it is.
    pub disable_endpoint: Option<String>,
}

/// What [`after`] looks at beside the outcome.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The endpoint's schedule.
    pub policy: &'a RetryPolicy,
    /// Tries made, this one included.
    pub tries: u32,
    /// `Retry-After` of the response, already as a wait.
    pub retry_after: Option<Duration>,
    /// The present.
    pub now: Timestamp,
    /// Uniform in 0..1, for jitter.
    pub chance: f64,
}

/// Decides what follows from `outcome`.
///
/// A wait comes from the plugin, else from `Retry-After`, else from the schedule; the schedule alone says
/// whether there is another try at all.
pub fn after(outcome: Outcome, case: Circumstances<'_>) -> Transition {
    match outcome {
        Outcome::Judged(Verdict::Success { reference }) => Transition {
            state: DeliveryState::Succeeded,
            next_attempt_at: None,
            success: Some(true),
            outcome: "success",
            code: None,
            message: reference,
            disable_endpoint: None,
        },
        Outcome::Judged(Verdict::Retry { code, message, after }) => {
            again("retry", code, message, after.or(case.retry_after), case)
        }
        Outcome::Judged(Verdict::Fail { code, message }) => failed("fail", code, message),
        Outcome::Judged(Verdict::Disable { message }) => {
            Transition { disable_endpoint: Some("gone".to_owned()), ..failed("disable", "gone".to_owned(), message) }
        }
        Outcome::Transport(failure) => without_verdict("transport_error", failure, case),
        Outcome::Plugin(failure) => without_verdict("plugin_fault", failure, case),
        Outcome::Skipped(reason) => Transition {
            state: DeliveryState::Skipped,
            next_attempt_at: None,
            success: None,
            outcome: "skipped",
            code: Some("plugin_skipped".to_owned()),
            message: Some(reason),
            disable_endpoint: None,
        },
    }
}

fn without_verdict(outcome: &'static str, failure: Failure, case: Circumstances<'_>) -> Transition {
    let Failure { code, message, retryable } = failure;
    if retryable { again(outcome, code, message, None, case) } else { failed(outcome, code, message) }
}

fn again(
    outcome: &'static str,
    code: String,
    message: String,
    wish: Option<Duration>,
    case: Circumstances<'_>,
) -> Transition {
    let Some(scheduled) = case.policy.wait_after(case.tries) else { return failed(outcome, code, message) };
    let wait = wish.map_or_else(|| retry::jittered(scheduled, case.chance), |wish| retry::at_least(wish, case.chance));
    Transition {
        state: DeliveryState::Pending,
        next_attempt_at: Some(case.now.after(wait)),
        ..failed(outcome, code, message)
    }
}

fn failed(outcome: &'static str, code: String, message: String) -> Transition {
    Transition {
        state: DeliveryState::Failed,
        next_attempt_at: None,
        success: Some(false),
        outcome,
        code: Some(code),
        message: Some(message),
        disable_endpoint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::judge_status;

    fn decide(outcome: Outcome, tries: u32, retry_after: Option<u64>) -> Transition {
        let policy = RetryPolicy::new(&[0, 1_000, 60_000]).unwrap();
        let retry_after = retry_after.map(Duration::from_secs);
        let now = Timestamp::from_millis(0);
        after(outcome, Circumstances { policy: &policy, tries, retry_after, now, chance: 0.5 })
    }

    #[test]
    fn o28_any_2xx_succeeds_and_any_other_status_is_tried_again() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(decide(Outcome::Judged(judge_status(status)), 1, None).state, DeliveryState::Succeeded);
        }
        for status in [199, 301, 302, 400, 401, 404, 409, 418, 429, 500, 503, 599] {
            let next = decide(Outcome::Judged(judge_status(status)), 1, None);
            assert_eq!((next.state, next.success), (DeliveryState::Pending, Some(false)), "{status}");
            assert_eq!(next.next_attempt_at, Some(Timestamp::from_millis(1_000)), "{status}");
        }
    }

    #[test]
    fn the_last_try_ends_as_failed_and_keeps_its_code() {
        let next = decide(Outcome::Judged(judge_status(500)), 3, Some(1));
        assert_eq!((next.state, next.next_attempt_at), (DeliveryState::Failed, None));
        assert_eq!(next.code.as_deref(), Some("server_error"));
    }

    #[test]
    fn a_wish_of_the_plugin_comes_before_retry_after_and_that_before_the_schedule() {
        let wish = Verdict::Retry { code: "busy".into(), message: String::new(), after: Some(Duration::from_secs(7)) };
        let at = |next: Transition| next.next_attempt_at.unwrap().as_micros();
        assert_eq!(at(decide(Outcome::Judged(wish), 1, Some(3))), 7_350_000);
        assert_eq!(at(decide(Outcome::Judged(judge_status(503)), 1, Some(3))), 3_150_000);
        assert_eq!(at(decide(Outcome::Judged(judge_status(503)), 1, None)), 1_000_000);
    }

    #[test]
    fn gone_disables_the_endpoint_and_a_refusal_is_final() {
        let next = decide(Outcome::Judged(judge_status(410)), 1, None);
        assert_eq!((next.state, next.disable_endpoint.as_deref()), (DeliveryState::Failed, Some("gone")));
        let refusal = Failure { code: "bad_payload".into(), message: String::new(), retryable: false };
        assert_eq!(decide(Outcome::Plugin(refusal), 1, None).state, DeliveryState::Failed);
    }
}
