//! Natively, against the golden files that all languages share, and a few corners more.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use engate_sdk::testing::{self, Host};
use engate_sdk::{Integrator, Problem, Verdict};
use serde_json::{Value, json};

use crate::{Partner, format};

fn refusal(payload: Value) -> Problem {
    let event = testing::event("invoice.paid").with_json(payload);
    Host::new().secret("partner-key", "an example key").transform::<Partner>(&event, &testing::context()).unwrap_err()
}

fn paid(currency: &str, issued_at: &str) -> Value {
    json!({
        "invoice": {"number": "NF-1", "issued_at": issued_at, "amount_cents": 1, "currency": currency},
        "customer": {"name": "Ana", "document": "12345678909"},
        "items": [],
    })
}

#[test]
fn the_golden_files_hold() {
    testing::run_fixtures::<Partner>(concat!(env!("CARGO_MANIFEST_DIR"), "/../partner/fixtures"));
}

#[test]
fn the_manifest_is_the_specified_one() {
    let manifest = Partner::describe();
    assert_eq!((manifest.id.as_str(), manifest.title.as_str()), ("rust-partner", "Invoices, in Rust"));
    assert_eq!((manifest.version.as_str(), manifest.event_types.join(" ").as_str()), ("0.1.0", "invoice.paid"));
    assert_eq!(manifest.secrets[0].name, "partner-key");
    let schema = concat!(
        r#"{"type":"object","additionalProperties":false,"properties":{"store":{"type":"string","minLength":1,"#,
        r#""maxLength":40},"utc_offset_minutes":{"type":"integer","minimum":-720,"maximum":840}}}"#,
    );
    assert_eq!(manifest.config_schema, schema);
}

#[test]
fn what_cannot_be_sent_is_a_final_problem() {
    let bad_time = refusal(paid("BRL", "20/02/2025"));
    assert_eq!((bad_time.code.as_str(), bad_time.retryable), ("invalid_payload", false));
    assert!(bad_time.message.contains("issued_at"), "{}", bad_time.message);
    let no_items = refusal(json!({"invoice": {"number": "NF-1"}}));
    assert_eq!((no_items.code.as_str(), no_items.retryable), ("invalid_payload", false));
}

#[test]
fn without_its_key_nothing_is_sent() {
    let event = testing::event("invoice.paid").with_json(paid("BRL", "2025-02-20T12:30:00Z"));
    let problem = Host::new().transform::<Partner>(&event, &testing::context()).unwrap_err();
    assert_eq!(problem.code, "secret_denied");
}

#[test]
fn money_has_its_dots_and_sign() {
    for (cents, text) in [
        (0, "R$ 0,00"),
        (-5, "-R$ 0,05"),
        (99_999, "R$ 999,99"),
        (100_000, "R$ 1.000,00"),
        (-123_456_789, "-R$ 1.234.567,89"),
        (i128::from(i64::MAX) * 100, "R$ 9.223.372.036.854.775.807,00"),
    ] {
        assert_eq!(format::money(cents), text);
    }
}

#[test]
fn an_ok_counts_with_2xx_only() {
    let ok = |status| testing::response(status).with_json(json!({"resultado": "ok", "protocolo": "P-1"}));
    let verdict = |status| Host::new().interpret::<Partner>(&testing::exchange(ok(status)));
    assert_eq!(verdict(201), Verdict::success_as("P-1"));
    assert_eq!(verdict(500), Verdict::retry("HTTP status 500"));
    assert_eq!(verdict(302), Verdict::fail("http_status", "HTTP status 302"));
}
