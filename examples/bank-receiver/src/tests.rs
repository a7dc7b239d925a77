//! Natively, against the golden files, and a few corners more.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use engate_sdk::testing::{self, Host};
use engate_sdk::{Answer, Receiver, encoding, secrets};
use serde_json::{Value, json};

use crate::{Bank, KEY, amount};

fn host() -> Host {
    Host::new().secret(KEY, "an example key")
}

/// The bank's call with its signature.
fn answer_to(body: &str) -> Answer {
    let host = host();
    let signature = host.run(|| encoding::hex(&secrets::hmac_sha256(KEY, body.as_bytes()).unwrap()));
    let call = testing::call().with_text(body).with_header("X-Bank-Signature", &format!("sha256={signature}"));
    host.receive::<Bank>(&call).unwrap()
}

fn code(answer: &Answer) -> (u16, String) {
    let body: Value = serde_json::from_str(answer.body.as_text().unwrap()).unwrap();
    assert!(answer.events.is_empty(), "{answer:?}");
    (answer.status, body["codigo"].as_str().unwrap().to_owned())
}

#[test]
fn the_golden_files_hold() {
    testing::run_receiver_fixtures::<Bank>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
}

#[test]
fn the_manifest_asks_for_the_key_and_nothing_else() {
    let manifest = Bank::describe();
    assert_eq!(
        (manifest.id.as_str(), manifest.event_types.join(" ").as_str()),
        ("bank-receiver", "client-transaction")
    );
    assert_eq!((manifest.secrets.len(), manifest.secrets[0].name.as_str()), (1, "bank-inbound"));
    assert!(manifest.hosts.is_empty() && manifest.credentials.is_empty());
}

#[test]
fn a_lot_is_one_event_with_every_digit_as_it_was() {
    let body = r#"{"lote":"L/7","pagamentos":[{"id":90071992547409931,"cliente":"01400-2","valor":"1.234.567,80"},{"id":2,"cliente":"Ç","valor":"10"}]}"#;
    let answer = answer_to(body);
    assert_eq!((answer.status, answer.body.as_text()), (200, Some(r#"{"protocolo":"L/7","recebidos":2}"#)));
    let [event] = answer.events.as_slice() else { panic!("{answer:?}") };
    assert_eq!((event.event_type.as_str(), event.idempotency_key.as_deref()), ("client-transaction", Some("L/7")));
    let payload = r#"[{"idtransaction":90071992547409931,"idcliente":"01400-2","valorpago":1234567.80},{"idtransaction":2,"idcliente":"Ç","valorpago":10}]"#;
    assert_eq!(event.data.as_text(), Some(payload));
    assert_eq!(answer_to(body), answer, "a repeat must be the same event");
}

#[test]
fn what_is_not_signed_with_the_key_is_refused_as_the_bank_expects() {
    let body = json!({"lote": "1", "pagamentos": []}).to_string();
    let call = || testing::call().with_text(&body);
    let short = "sha256=00";
    for given in [None, Some(""), Some("sha256="), Some(short), Some("sha256=zz"), Some(&"0".repeat(64))] {
        let call = given.map_or_else(call, |given| call().with_header("x-bank-signature", given));
        let answer = host().receive::<Bank>(&call).unwrap();
        assert_eq!(code(&answer), (401, "assinatura_invalida".to_owned()), "{given:?}");
    }
    // Over another body.
    let signature = host().run(|| encoding::hex(&secrets::hmac_sha256(KEY, b"{}").unwrap()));
    let call = call().with_header("x-bank-signature", &format!("sha256={signature}"));
    assert_eq!(code(&host().receive::<Bank>(&call).unwrap()).0, 401);
}

#[test]
fn without_the_key_the_bank_is_asked_to_try_again() {
    let call = testing::call().with_text("{}").with_header("x-bank-signature", &format!("sha256={}", "0".repeat(64)));
    let problem = Host::new().receive::<Bank>(&call).unwrap_err();
    assert_eq!((problem.code.as_str(), problem.retryable), ("secret_denied", true));
}

#[test]
fn a_lot_that_cannot_be_taken_is_told_so_and_makes_no_event() {
    let payment = |payment: Value| json!({"lote": "1", "pagamentos": [payment]}).to_string();
    for (body, expected) in [
        ("{".to_owned(), "corpo_invalido"),
        (json!({"lote": 1, "pagamentos": []}).to_string(), "corpo_invalido"),
        (json!({"lote": "a b", "pagamentos": []}).to_string(), "lote_invalido"),
        (json!({"lote": "1", "pagamentos": []}).to_string(), "lote_vazio"),
        (payment(json!({"id": "1", "cliente": "c", "valor": "1,00"})), "pagamento_invalido"),
        (payment(json!({"id": 1.5, "cliente": "c", "valor": "1,00"})), "pagamento_invalido"),
        (payment(json!({"id": 1, "cliente": 7, "valor": "1,00"})), "pagamento_invalido"),
        (payment(json!({"id": 1, "cliente": "c", "valor": "1.00"})), "pagamento_invalido"),
    ] {
        assert_eq!(code(&answer_to(&body)), (422, expected.to_owned()), "{body}");
    }
}

#[test]
fn amounts_keep_their_digits() {
    for (text, number) in [
        ("0,00", "0.00"),
        ("10", "10"),
        ("007,50", "7.50"),
        ("1234,56", "1234.56"),
        ("1.234,56", "1234.56"),
        ("12.345.678,90", "12345678.90"),
    ] {
        assert_eq!(amount::number(text).as_deref(), Some(number));
    }
    for text in
        ["", ",50", "1,5", "1,500", "1.5", "1.23,00", "1234.567,00", "-1,00", "R$ 1,00", "1,2,3", ".123", "1..234"]
    {
        assert_eq!(amount::number(text), None, "{text}");
    }
}
