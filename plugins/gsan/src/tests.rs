//! Names carry the seed rows they prove.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use engate_sdk::testing::{self, Host};
use engate_sdk::{Integrator, Plan, Problem, Response, Verdict};
use serde_json::{Value, json};

use crate::Gsan;

fn transform(payload: &str) -> Result<Plan, Problem> {
    let event = testing::event("client-transaction").with_text(payload);
    Host::new().transform::<Gsan>(&event, &testing::context())
}

fn verdict(config: Value, response: Response) -> Verdict {
    Host::new().config(config).interpret::<Gsan>(&testing::exchange(response))
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
fn g15_v12_golden_requests_and_verdicts() {
    testing::run_fixtures::<Gsan>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
}

#[test]
fn g15_the_list_goes_inside_an_object_byte_for_byte() {
    let request = testing::sent(transform(r#"[{"idtransaction":1,"idcliente":"01400-2","valorpago":10}]"#)).request;
    let expected = r#"{"client-transaction":[{"idtransaction":1,"idcliente":"01400-2","valorpago":10}]}"#;
    assert_eq!(request.text(), Some(expected));
    assert_eq!((request.method.as_str(), request.header_value("content-type")), ("POST", Some("application/json")));
}

#[test]
fn g15_numbers_stay_as_they_are_spelled() {
    for number in ["10.50", "10.00", "0.1", "1e2", "-3.10", "12345678901234567890.123456789012345678901"] {
        let payload = format!(
            "[ {{ \"valorpago\" : {number}, \"idtransaction\": 98765432109876543210987, \"idcliente\": \"é\" }} ]"
        );
        let expected = format!(
            r#"{{"client-transaction":[{{"idtransaction":98765432109876543210987,"idcliente":"é","valorpago":{number}}}]}}"#
        );
        assert_eq!(testing::sent(transform(&payload)).request.text(), Some(expected.as_str()));
    }
}

#[test]
fn g15_a_wrong_name_or_type_is_named_with_its_place() {
    let good = r#"{"idtransaction":1,"idcliente":"01400-2","valorpago":10}"#;
    for (bad, what) in [
        (r#"{"idtransaction":"1","idcliente":"a","valorpago":10}"#, "`idtransaction` must be a whole number"),
        (r#"{"idtransaction":1.0,"idcliente":"a","valorpago":10}"#, "`idtransaction` must be a whole number"),
        (r#"{"idtransaction":null,"idcliente":"a","valorpago":10}"#, "`idtransaction` must be a whole number"),
        (r#"{"idtransaction":1,"idcliente":14002,"valorpago":10}"#, "`idcliente` must be a text"),
        (r#"{"idtransaction":1,"idcliente":"","valorpago":10}"#, "`idcliente` must be a text"),
        (r#"{"idtransaction":1,"idcliente":"a","valorpago":"10,00"}"#, "`valorpago` must be a number"),
        (r#"{"idtransaction":1,"idcliente":"a","valorpago":true}"#, "`valorpago` must be a number"),
        (r#"{"idtransaction":1,"idcliente":"a"}"#, "missing field `valorpago`"),
        (r#"{"idtransaction":1,"idcliente":"a","valorpago":1,"valor":1}"#, "unknown field `valor`"),
        (r#"{"idtransaction":1,"idtransaction":2,"idcliente":"a","valorpago":1}"#, "duplicate field `idtransaction`"),
        (r#"[1,"a",10]"#, "must be an object"),
        ("null", "must be an object"),
    ] {
        let problem = transform(&format!("[{good},{bad}]")).unwrap_err();
        assert_eq!((problem.code.as_str(), problem.retryable), ("invalid_transaction", false), "{bad}");
        assert!(problem.message.starts_with("client-transaction[1]: "), "{}", problem.message);
        assert!(problem.message.contains(what), "{}", problem.message);
    }
    for bad in ["", "{}", good, "[", "[1,]"] {
        assert_eq!(transform(bad).unwrap_err().code, "invalid_payload", "{bad}");
    }
}

#[test]
fn an_empty_list_is_skipped() {
    assert!(matches!(transform(" [ ] "), Ok(Plan::Skip(_))));
}

#[test]
fn v12_an_error_inside_a_200_is_a_business_error_with_the_partner_s_text() {
    for (error, text) in [
        (json!("Cliente inexistente"), "Cliente inexistente"),
        (json!({"code": 7, "message": "Cliente bloqueado"}), "Cliente bloqueado"),
        (json!({"motivo": "Fatura paga"}), "Fatura paga"),
        (json!({"code": 7}), r#"{"code":7}"#),
        (json!(422), "422"),
        (json!(true), "true"),
        (json!(["a"]), r#"["a"]"#),
    ] {
        let verdict = verdict(json!({}), testing::response(200).with_json(json!({"error": error})));
        assert_eq!(verdict, Verdict::fail("business_error", text));
    }
    let long = json!({"error": "é".repeat(10_000)});
    let Verdict::Fail(problem) = verdict(json!({}), testing::response(200).with_json(long)) else { unreachable!() };
    assert_eq!(problem.message.chars().count(), 500);
}

#[test]
fn v12_success_takes_a_listed_status_and_no_error() {
    for body in
        [json!({}), json!({"error": null}), json!({"error": false}), json!({"error": ""}), json!([]), json!("ok")]
    {
        let verdict = verdict(json!({}), testing::response(200).with_json(&body));
        assert_eq!(verdict, Verdict::success(), "{body}");
    }
    assert_eq!(verdict(json!({}), testing::response(200)), Verdict::success());
    assert_eq!(verdict(json!({}), testing::response(200).with_text("OK")), Verdict::success());
    for body in [r#"{"ok": tru"#, "[1,"] {
        assert_eq!(code_of(verdict(json!({}), testing::response(200).with_text(body))), "retry", "{body}");
    }
}

#[test]
fn v12_statuses_and_place_of_the_error_are_settings() {
    let config = || json!({"success": {"status": [201, 422], "error_pointer": "/resultado/motivo"}});
    let with = |status, body| code_of(verdict(config(), testing::response(status).with_json(body)));
    assert_eq!(with(201, json!({"error": "not looked at"})), "success");
    assert_eq!(with(422, json!({"key": 1, "qtd": 0})), "success");
    assert_eq!(with(201, json!({"resultado": {"motivo": "Sem saldo"}})), "business_error");
    assert_eq!(with(200, json!({})), "retry");
}

#[test]
fn v12_other_statuses() {
    let refused = || json!({"error": "no"});
    for (status, plain, with_error) in [
        (201, "retry", "business_error"),
        (302, "retry", "business_error"),
        (400, "retry", "business_error"),
        (401, "retry", "retry"),
        (403, "retry", "retry"),
        (404, "retry", "business_error"),
        (408, "retry", "retry"),
        (409, "retry", "business_error"),
        (410, "disable_endpoint", "disable_endpoint"),
        (422, "retry", "business_error"),
        (429, "retry", "retry"),
        (500, "retry", "retry"),
        (503, "retry", "retry"),
    ] {
        assert_eq!(code_of(verdict(json!({}), testing::response(status))), plain, "{status}");
        let response = testing::response(status).with_json(refused());
        assert_eq!(code_of(verdict(json!({}), response)), with_error, "{status} with an error");
    }
}

#[test]
fn the_manifest_is_about_one_event_type_and_its_schema_is_sound() {
    let manifest = Gsan::describe();
    assert_eq!(
        (manifest.id.as_str(), manifest.event_types.as_slice()),
        ("gsan", ["client-transaction".to_owned()].as_slice())
    );
    let schema: Value = serde_json::from_str(&manifest.config_schema).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    for good in [json!({}), json!({"success": {"status": [200, 201], "error_pointer": "/a/b~1c"}})] {
        assert!(schema.is_valid(&good), "{good}");
    }
    for bad in [
        json!({"success": {"status": []}}),
        json!({"success": {"status": ["200"]}}),
        json!({"success": {"status": [99]}}),
        json!({"success": {"error_pointer": "error"}}),
        json!({"success": {"error_pointer": "/a~2"}}),
        json!({"sucess": {}}),
    ] {
        assert!(!schema.is_valid(&bad), "{bad}");
    }
}
