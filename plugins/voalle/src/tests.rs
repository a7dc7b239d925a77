//! Names carry the seed rows they prove.
#![allow(clippy::unwrap_used)]

use engate_sdk::testing::{self, Host, NOW_MS};
use engate_sdk::{Integrator, InterpretWhen, Plan, Problem, Response, Verdict};
use serde_json::{Value, json};

use crate::Voalle;

fn transform(payload: &str) -> Result<Plan, Problem> {
    let event = testing::event("contrato.ativado").with_text(payload);
    Host::new().transform::<Voalle>(&event, &testing::context())
}

fn settings() -> Value {
    json!({"success_pointer": "/sucesso", "success_value": true, "message_pointer": "/mensagem"})
}

fn verdict(config: Value, response: Response) -> Verdict {
    Host::new().config(config).interpret::<Voalle>(&testing::exchange(response))
}

fn code_of(verdict: Verdict) -> String {
    match verdict {
        Verdict::Success(_) => "success".to_owned(),
        Verdict::Retry(_) => "retry".to_owned(),
        Verdict::Fail(problem) => problem.code,
        Verdict::DisableEndpoint(_) => "disable_endpoint".to_owned(),
    }
}

#[test]
fn v9_v12_v28_golden_requests_and_verdicts() {
    testing::run_fixtures::<Voalle>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
}

#[test]
fn v28_numbers_and_order_stay_as_they_are_spelled() {
    for number in ["10.50", "10.00", "1e2", "-3.10", "12345678901234567890.123456789012345678901"] {
        let payload = format!(r#"{{"z":{number},"a":{{"ç":[98765432109876543210987]}}}}"#);
        let request = testing::sent(transform(&format!(" {payload}\n"))).request;
        let expected = format!(
            r#"{{"gatilho":"contrato.ativado","codigo":1,"criado_em":"2025-02-20T12:00:00.000Z","dados":{payload}}}"#
        );
        assert_eq!(request.text(), Some(expected.as_str()));
        assert_eq!((request.method.as_str(), request.header_value("content-type")), ("POST", Some("application/json")));
    }
}

#[test]
fn v7_a_later_attempt_sends_the_same_time_of_creation() {
    let event = testing::event("contrato.ativado").with_json(json!({}));
    let sent = |context| testing::sent(Host::new().transform::<Voalle>(&event, &context)).request;
    let first = testing::context();
    let third = testing::context().with_attempt(3, NOW_MS + 3_600_000);
    assert_eq!(sent(first), sent(third));
}

#[test]
fn only_an_object_is_sent() {
    for payload in ["[]", "7", "\"{}\"", "null", "", "{", "{\"a\":1}{"] {
        let problem = transform(payload).unwrap_err();
        assert_eq!((problem.code.as_str(), problem.retryable), ("invalid_payload", false), "{payload}");
    }
    assert!(transform("{}").is_ok());
}

#[test]
fn v12_the_body_says_whether_it_was_taken() {
    let with = |body: Value| verdict(settings(), testing::response(200).with_json(body));
    assert_eq!(with(json!({"sucesso": true, "mensagem": "recebido"})), Verdict::success());
    let refused = |text: &str| Verdict::fail("business_error", text);
    assert_eq!(with(json!({"sucesso": false, "mensagem": "Contrato inativo"})), refused("Contrato inativo"));
    assert_eq!(with(json!({"sucesso": "true", "mensagem": "Contrato inativo"})), refused("Contrato inativo"));
    assert_eq!(with(json!({"mensagem": {"erro": 7}})), refused(r#"{"erro":7}"#));
    assert_eq!(with(json!({"sucesso": false, "mensagem": " "})), refused("`/sucesso` is false"));
    assert_eq!(with(json!({"sucesso": false, "mensagem": null})), refused("`/sucesso` is false"));
    assert_eq!(with(json!({})), refused("the answer has nothing at `/sucesso`"));
    assert_eq!(with(json!([true])), refused("the answer has nothing at `/sucesso`"));
    let Verdict::Fail(problem) = with(json!({"mensagem": "é".repeat(10_000)})) else { unreachable!() };
    assert_eq!(problem.message.chars().count(), 500);
}

#[test]
fn v12_any_scalar_may_mean_success_and_true_is_the_default() {
    for (value, taken) in [
        (json!("OK"), json!("OK")),
        (json!(0), json!(0)),
        (json!(1), json!(1.0)),
        (json!(false), json!(false)),
        (json!(null), json!(null)),
    ] {
        let config = json!({"success_pointer": "/a/0", "success_value": value});
        let with = |body: Value| code_of(verdict(config.clone(), testing::response(201).with_json(body)));
        assert_eq!(with(json!({"a": [taken]})), "success", "{value}");
        assert_eq!(with(json!({"a": ["other"]})), "business_error", "{value}");
        assert_eq!(with(json!({"a": []})), "business_error", "{value}: absent is not equal");
    }
    let whole = json!({"success_pointer": ""});
    assert_eq!(code_of(verdict(whole.clone(), testing::response(200).with_text("true"))), "success");
    assert_eq!(code_of(verdict(whole, testing::response(200).with_text("false"))), "business_error");
}

#[test]
fn v12_a_body_that_cannot_be_read_is_tried_again() {
    for body in ["", "OK", "<html>", r#"{"sucesso": tr"#] {
        let Verdict::Fail(problem) = verdict(settings(), testing::response(200).with_text(body)) else {
            unreachable!("{body}")
        };
        assert_eq!((problem.code.as_str(), problem.retryable), ("unreadable_answer", true), "{body}");
    }
}

#[test]
fn without_a_pointer_the_status_counts() {
    for (status, code) in [(200, "success"), (204, "success"), (302, "retry"), (400, "retry"), (503, "retry")] {
        assert_eq!(code_of(verdict(json!({}), testing::response(status))), code, "{status}");
    }
    assert_eq!(code_of(verdict(json!({}), testing::response(410))), "disable_endpoint");
}

#[test]
fn v12_other_statuses() {
    let refusal = || json!({"sucesso": false, "mensagem": "não"});
    for (status, plain, with_refusal) in [
        (302, "retry", "business_error"),
        (400, "retry", "business_error"),
        (401, "retry", "retry"),
        (403, "retry", "retry"),
        (404, "retry", "business_error"),
        (408, "retry", "retry"),
        (410, "disable_endpoint", "disable_endpoint"),
        (422, "retry", "business_error"),
        (429, "retry", "retry"),
        (500, "retry", "retry"),
        (503, "retry", "retry"),
    ] {
        assert_eq!(code_of(verdict(settings(), testing::response(status))), plain, "{status}");
        let response = testing::response(status).with_json(refusal());
        assert_eq!(code_of(verdict(settings(), response)), with_refusal, "{status} with a refusal");
        let contrary = testing::response(status).with_json(json!({"sucesso": true}));
        assert_eq!(code_of(verdict(settings(), contrary)), plain, "{status} is no success, whatever the body says");
    }
}

#[test]
fn the_manifest_takes_any_event_type_and_its_schema_is_sound() {
    let manifest = Voalle::describe();
    assert_eq!((manifest.id.as_str(), manifest.interpret), ("voalle", InterpretWhen::Always));
    assert!(manifest.event_types.is_empty());
    let schema: Value = serde_json::from_str(&manifest.config_schema).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    for good in [
        json!({}),
        settings(),
        json!({"success_pointer": "", "success_value": "OK"}),
        json!({"success_pointer": "/a/b~1c", "success_value": null}),
        json!({"message_pointer": "/erros/0/texto"}),
    ] {
        assert!(schema.is_valid(&good), "{good}");
    }
    for bad in [
        json!({"success_pointer": "sucesso"}),
        json!({"success_pointer": "/a~2"}),
        json!({"success_pointer": null}),
        json!({"success_pointer": "/a", "success_value": {}}),
        json!({"success_pointer": "/a", "success_value": [true]}),
        json!({"success_value": true}),
        json!({"message_pointer": "mensagem"}),
        json!({"sucess_pointer": "/a"}),
    ] {
        assert!(!schema.is_valid(&bad), "{bad}");
    }
}
