use engate_sdk::testing::{self, Host};
use engate_sdk::{Problem, Verdict};
use serde_json::{Value, json};

use super::{KEY, event, host, publication};
use crate::Sintegre;

fn refusal_by(host: &Host, payload: Value) -> Problem {
    host.transform::<Sintegre>(&event(payload), &testing::context()).unwrap_err()
}

/// The publication with one field changed; null takes it out.
fn refusal(field: &str, value: Value) -> Problem {
    let mut payload = publication("diaria", "2025-02-20");
    payload[field] = value;
    refusal_by(&host(), payload)
}

#[test]
fn a_wrong_field_is_named_with_its_cure_and_not_tried_again() {
    for (field, value, code, cure) in [
        ("periodicidade", json!("anual"), "invalid_periodicidade", "diaria, semanal or mensal"),
        ("periodicidade", json!("Diaria"), "invalid_periodicidade", "diaria, semanal or mensal"),
        ("periodicidade", json!(null), "missing_periodicidade", "diaria, semanal or mensal"),
        ("periodicidade", json!(1), "invalid_periodicidade", "put it in quotes"),
        ("referencia", json!("20/02/2025"), "invalid_referencia", "YYYY-MM-DD"),
        ("referencia", json!("2025-02-29"), "invalid_referencia", "YYYY-MM-DD"),
        ("referencia", json!("2025-02"), "invalid_referencia", "YYYY-MM-DD"),
        ("referencia", json!(null), "missing_referencia", "YYYY-MM-DD"),
        ("arquivo", json!(null), "missing_arquivo", "a path below files.root"),
        ("arquivo", json!("  "), "missing_arquivo", "a path below files.root"),
        ("arquivo", json!("/etc/passwd"), "invalid_arquivo", "not relative"),
        ("arquivo", json!("a\\b"), "invalid_arquivo", "not relative"),
        ("arquivo", json!("a/../../b"), "invalid_arquivo", "leave out"),
        ("arquivo", json!("a//b"), "invalid_arquivo", "leave out"),
        ("arquivo", json!("a/./b"), "invalid_arquivo", "leave out"),
        ("arquivo", json!("a/"), "invalid_arquivo", "name the packed file"),
        ("arquivo", json!("a\nb"), "invalid_arquivo", "control character"),
        ("arquivo", json!("ftp://x/y"), "invalid_arquivo", "http and https"),
        ("arquivo", json!("https:///y"), "invalid_arquivo", "name the host"),
        ("arquivo", json!("https://x/a b"), "invalid_arquivo", "%20"),
        ("arquivo", json!("a".repeat(1025)), "invalid_arquivo", "shorter"),
        ("nome", json!(null), "missing_nome", "event-type.title"),
        ("processo", json!(""), "missing_processo", "event-type.process"),
        ("macro_processo", json!(["x"]), "invalid_macro_processo", "a text"),
        ("macro_processo", json!(null), "missing_macro_processo", "event-type.macro-process"),
    ] {
        let problem = refusal(field, value.clone());
        assert_eq!(problem.code, code, "{field}: {value}");
        assert!(problem.message.contains(&format!("`{field}`")), "{}", problem.message);
        assert!(problem.message.contains(cure), "{}", problem.message);
        assert!(!problem.retryable);
    }
}

#[test]
fn a_payload_that_is_no_object_is_refused() {
    for payload in [json!([]), json!("x"), json!(["a", "b", "c", "diaria", "2025-02-20", "f"])] {
        let problem = refusal_by(&host(), payload);
        assert_eq!((problem.code.as_str(), problem.retryable), ("invalid_payload", false));
    }
}

#[test]
fn a_path_needs_the_link_s_base_and_key() {
    let payload = || publication("diaria", "2025-02-20");
    let problem = refusal_by(&Host::new().secret("sintegre-link", KEY), payload());
    assert_eq!((problem.code.as_str(), problem.retryable), ("missing_link_base", false));
    assert!(problem.message.contains("`link.base`"), "{}", problem.message);

    let settings = json!({"link": {"base": "https://e.example/f"}});
    let problem = refusal_by(&Host::new().config(settings.clone()), payload());
    assert_eq!((problem.code.as_str(), problem.retryable), ("secret_denied", false));
    assert!(problem.message.contains("`sintegre-link`"), "{}", problem.message);

    let sealed = Host::new().config(settings).unavailable_secret("sintegre-link", "the key store is sealed");
    let problem = refusal_by(&sealed, payload());
    assert_eq!((problem.code.as_str(), problem.retryable), ("secret_unavailable", true));
}

#[test]
fn o28_20x_is_success_and_anything_else_is_sent_again() {
    let verdict = |status| Host::new().interpret::<Sintegre>(&testing::exchange(testing::response(status)));
    for status in [200, 201, 202, 204] {
        assert_eq!(verdict(status), Verdict::success(), "{status}");
    }
    for status in [301, 302, 400, 401, 404, 409, 500] {
        assert!(matches!(verdict(status), Verdict::Retry(retry) if retry.after_ms.is_none()), "{status}");
    }
}
