use engate_sdk::Verdict;
use engate_sdk::testing::{self, Host};
use serde_json::json;

use crate::Standard;

fn verdict(format: &str, status: u16, text: &str) -> Verdict {
    let exchange = testing::exchange(testing::response(status).with_text(text));
    Host::new().config(json!({"format": format})).interpret::<Standard>(&exchange)
}

/// What came of it: success, gone, again (by schedule), refused (final), refused-now (to be tried again).
fn outcome(format: &str, status: u16, text: &str) -> &'static str {
    match verdict(format, status, text) {
        Verdict::Success(_) => "success",
        Verdict::Retry(_) => "again",
        Verdict::Fail(problem) if problem.code != "refused" => "another code",
        Verdict::Fail(problem) if problem.retryable => "refused-now",
        Verdict::Fail(_) => "refused",
        Verdict::DisableEndpoint(_) => "gone",
    }
}

#[test]
fn cloudevents_go_by_the_status() {
    for format in ["cloudevents", "cloudevents-binary"] {
        for (status, expected) in [(200, "success"), (204, "success"), (302, "again"), (415, "again"), (503, "again")] {
            assert_eq!(outcome(format, status, "no"), expected, "{format} {status}");
        }
        assert_eq!(outcome(format, 410, ""), "gone");
    }
    assert_eq!(Host::new().interpret::<Standard>(&testing::exchange(testing::response(202))), Verdict::success());
}

#[test]
fn slack_says_ok_or_means_no() {
    for (status, text, expected) in [
        (200, "ok", "success"),
        (200, "ok\n", "success"),
        (200, "", "refused"),
        (200, "no_text", "refused"),
        (200, "<html>", "refused"),
        (400, "invalid_payload", "refused"),
        (400, "ok", "refused"),
        (302, "", "refused"),
        (403, "invalid_token", "again"),
        (404, "no_service", "refused"),
        (410, "channel_is_archived", "gone"),
        (429, "rate_limited", "again"),
        (500, "rollup_error", "again"),
    ] {
        assert_eq!(outcome("slack", status, text), expected, "{status} {text}");
    }
    assert_eq!(verdict("slack", 404, "no_service"), Verdict::fail("refused", "HTTP status 404: no_service"));
    assert_eq!(verdict("slack", 200, ""), Verdict::fail("refused", "HTTP status 200, but: no text"));
}

#[test]
fn teams_says_nothing_or_one_or_means_no() {
    let inner = |status: u16| {
        format!("delivery failed with error: Microsoft Teams endpoint returned HTTP error {status} with ContextId x")
    };
    for (status, text, expected) in [
        (200, "", "success"),
        (200, "1", "success"),
        (202, "", "success"),
        (202, "accepted", "success"),
        (201, "created", "refused"),
        (200, "Summary or Text is required.", "refused"),
        (200, &inner(413), "refused"),
        (200, &inner(429), "refused-now"),
        (200, &inner(503), "refused-now"),
        (400, "Bad payload received by generic incoming webhook.", "refused"),
        (401, "", "again"),
        (404, "", "refused"),
        (410, "", "gone"),
        (429, "", "again"),
        (502, "", "again"),
    ] {
        assert_eq!(outcome("teams", status, text), expected, "{status} {text}");
    }
}

#[test]
fn long_answers_are_cut() {
    let Verdict::Fail(problem) = verdict("slack", 200, &"é".repeat(10_000)) else { unreachable!() };
    assert!(problem.message.chars().count() < 550, "{}", problem.message.chars().count());
}
