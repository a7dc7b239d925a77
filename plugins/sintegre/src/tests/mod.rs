//! Names carry the seed rows they prove.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod links;
mod periods;
mod problems;

use engate_sdk::testing::{self, Host};
use engate_sdk::{Context, Event, Integrator, InterpretWhen, Outgoing};
use serde_json::{Value, json};

use crate::Sintegre;

const KEY: &[u8] = b"an example key of 32 bytes......";

fn publication(periodicidade: &str, referencia: &str) -> Value {
    json!({
        "nome": "IPDO (Informativo Preliminar Diário da Operação)",
        "processo": "Operação em Tempo Real",
        "macro_processo": "Operação do Sistema",
        "periodicidade": periodicidade,
        "referencia": referencia,
        "arquivo": "ipdo/2025-02-20.pdf",
    })
}

fn event(payload: Value) -> Event {
    testing::event("ipdo").with_json(payload)
}

fn host() -> Host {
    Host::new()
        .config(json!({"username": "ana", "link": {"base": "https://engate.example/v1/files"}}))
        .secret("sintegre-link", KEY)
}

fn send(host: &Host, payload: Value, context: &Context) -> Outgoing {
    testing::sent(host.transform::<Sintegre>(&event(payload), context))
}

fn body(host: &Host, payload: Value) -> Value {
    let outgoing = send(host, payload, &testing::context());
    serde_json::from_str(outgoing.request.text().unwrap()).unwrap()
}

#[test]
fn o22_o25_o28_golden_bodies_and_verdicts() {
    testing::run_fixtures::<Sintegre>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
}

#[test]
fn o22_the_body_is_the_captured_one_byte_for_byte_but_for_the_token() {
    let captured = concat!(
        r#"{"nome":"IPDO (Informativo Preliminar Diário da Operação)","processo":"Operação em Tempo Real","#,
        r#""dataProduto":"20/02/2025","macroProcesso":"Operação do Sistema","periodicidade":"2025-02-20T00:00:00","#,
        r#""periodicidadeFinal":"2025-02-20T23:59:59","url":"https://engate.example/v1/files?token="#,
    );
    let request = send(&host(), publication("diaria", "2025-02-20"), &testing::context()).request;
    let text = request.text().unwrap();
    assert!(text.starts_with(captured) && text.ends_with("\"}"), "{text}");
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://partner.example/webhook"));
    assert_eq!(request.header_value("content-type"), Some("application/json; charset=utf-8"));
}

#[test]
fn o22_seven_keys_in_either_spelling() {
    let keys = |config: Value| {
        let host = Host::new().config(config).secret("sintegre-link", KEY);
        let body = body(&host, publication("mensal", "2020-08-10"));
        body.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let link = json!({"base": "https://e.example/f"});
    let camel = ["nome", "processo", "dataProduto", "macroProcesso", "periodicidade", "periodicidadeFinal", "url"];
    assert_eq!(keys(json!({"link": link})), camel);
    assert_eq!(keys(json!({"link": link, "names": "camel"})), camel);
    let pascal = ["DataProduto", "MacroProcesso", "Nome", "Periodicidade", "PeriodicidadeFinal", "Processo", "Uri"];
    assert_eq!(keys(json!({"link": link, "names": "pascal"})), pascal);
}

#[test]
fn o22_what_the_event_leaves_out_comes_from_the_catalogue() {
    let payload = json!({
        "nome": " ", "processo": null, "periodicidade": "diaria", "referencia": "2025-02-20",
        "arquivo": "https://files.example/a%20b.pdf?x=1",
    });
    let event = event(payload)
        .with_label("event-type.title", "Boletim Mensal de Geração Eólica")
        .with_label("event-type.process", "Resultados")
        .with_label("event-type.macro-process", "Resultados da operação");
    // An absolute URL needs neither settings nor key.
    let outgoing = testing::sent(Host::new().transform::<Sintegre>(&event, &testing::context()));
    let body: Value = serde_json::from_str(outgoing.request.text().unwrap()).unwrap();
    assert_eq!(body["nome"], "Boletim Mensal de Geração Eólica");
    assert_eq!(body["processo"], "Resultados");
    assert_eq!(body["macroProcesso"], "Resultados da operação");
    assert_eq!(body["url"], "https://files.example/a%20b.pdf?x=1");
}

#[test]
fn the_manifest_asks_for_the_link_key_and_its_schema_is_sound() {
    let manifest = Sintegre::describe();
    assert_eq!((manifest.id.as_str(), manifest.interpret), ("sintegre", InterpretWhen::Never));
    assert_eq!(manifest.secrets[0].name, "sintegre-link");
    let schema: Value = serde_json::from_str(&manifest.config_schema).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    for good in [
        json!({}),
        json!({"names": "pascal", "username": "ana", "link": {"base": "https://e.example/v1/files", "ttl_s": 60}}),
        json!({"link": {"base": "http://127.0.0.1:8080/v1/files"}}),
        json!({"link": {"base": "https://e.example/proxy?to=files"}}),
    ] {
        assert!(schema.is_valid(&good), "{good}");
    }
    for bad in [
        json!({"names": "snake"}),
        json!({"name": "camel"}),
        json!({"link": {"base": "ftp://e.example/"}}),
        json!({"link": {"base": "https://e.example/a b"}}),
        json!({"link": {"ttl_s": 0}}),
        json!({"link": {"ttl_s": 31_536_001}}),
        json!({"username": ""}),
    ] {
        assert!(!schema.is_valid(&bad), "{bad}");
    }
}
