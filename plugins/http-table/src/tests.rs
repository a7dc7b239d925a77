#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use engate_sdk::testing::{self, Host};
use engate_sdk::{Change, Problem, Response, Settlement};
use serde_json::{Value, json};

use crate::HttpTable;

fn host(more: Value) -> Host {
    let mut config = json!({"url": "https://t.example/{stream}"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let schema: Value = serde_json::from_str(include_str!("config.schema.json")).unwrap();
    assert!(jsonschema::is_valid(&schema, &config), "{config}");
    Host::new().config(config)
}

fn body(config: Value) -> Result<String, Problem> {
    let changes = [Change::upsert("1", &json!({"id": 1})), Change::delete("2", &json!({"id": 2}))];
    let page = testing::page(changes.into_iter().map(Result::unwrap).collect());
    let request = host(config).encode::<HttpTable>(&testing::pass(testing::stream("t")), &page)?;
    Ok(request.text().unwrap().to_owned())
}

fn settle(config: Value, size: u32, response: &Response) -> Settlement {
    host(config).settle::<HttpTable>(&testing::sent_page(size), response)
}

#[test]
fn golden_requests_and_settlements() {
    testing::run_sink_fixtures::<HttpTable>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
}

#[test]
fn a_page_is_an_array_a_wrapped_array_or_lines() {
    assert_eq!(body(json!({})).unwrap(), r#"[{"id":1},{"deleted":true,"id":2}]"#);
    assert_eq!(body(json!({"wrap": "rows"})).unwrap(), r#"{"rows":[{"id":1},{"deleted":true,"id":2}]}"#);
    let lines = json!({"format": "ndjson", "deleted": {"field": "gone", "value": "S"}});
    assert_eq!(body(lines).unwrap(), "{\"id\":1}\n{\"gone\":\"S\",\"id\":2}\n");
    assert_eq!(body(json!({"max_bytes": 1024})).map(|body| body.len() < 1024), Ok(true));
}

#[test]
fn a_url_is_filled_and_what_stands_for_nothing_is_named() {
    let mut pass = testing::pass(testing::stream("a b"));
    pass.partition = vec![("company".to_owned(), "01/é".to_owned())];
    let url = |template: &str| {
        let host = host(json!({ "url": template }));
        host.encode::<HttpTable>(&pass, &testing::page(vec![])).map(|request| request.url)
    };
    let filled = url("https://t.example/{stream}/{partition.company}?p={pass}&s={sequence}&g={page}").unwrap();
    assert_eq!(filled, "https://t.example/a%20b/01%2F%C3%A9?p=pass_sample&s=1&g=page_sample");
    for wrong in ["https://t.example/{branch}", "https://t.example/{stream", "https://t.example/{partition.branch}"] {
        assert_eq!(url(wrong).unwrap_err().code, "invalid_config", "{wrong}");
    }
}

#[test]
fn an_answer_is_judged_by_status_by_pointer_and_by_its_list() {
    let ok = json!({"success": {"pointer": "/ok", "error_pointer": "/error"}, "rejected": {"pointer": "/bad"}});
    let answer = |body: Value| testing::response(200).with_json(body);
    assert_eq!(settle(ok.clone(), 3, &answer(json!({"ok": true}))), Settlement::taken());
    let refused = settle(ok.clone(), 3, &answer(json!({"ok": false, "error": "no room"})));
    assert!(matches!(refused, Settlement::Fail(problem) if problem.message.contains("no room")));
    let some = settle(ok.clone(), 3, &answer(json!({"ok": 1, "bad": [{"index": 2, "message": "no key"}]})));
    let Settlement::Accepted(rejections) = some else { panic!() };
    assert_eq!((rejections[0].index, rejections[0].problem.message.as_str()), (2, "no key"));
    let beyond = settle(ok, 3, &answer(json!({"ok": 1, "bad": [{"index": 3}]})));
    assert!(matches!(beyond, Settlement::Fail(problem) if problem.code == "target_unreadable"));
    for (status, size, expected) in [(503, 3, "retry"), (413, 3, "split"), (422, 1, "accepted"), (404, 3, "fail")] {
        let settlement = match settle(json!({}), size, &testing::response(status)) {
            Settlement::Accepted(rejections) if rejections.len() == 1 => "accepted",
            Settlement::Accepted(_) => "taken",
            Settlement::Retry(_) => "retry",
            Settlement::Split(_) => "split",
            Settlement::Fail(_) => "fail",
        };
        assert_eq!(settlement, expected, "{status}");
    }
}
