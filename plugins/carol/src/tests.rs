#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use engate_sdk::testing::{self, Host};
use engate_sdk::{Change, Problem, Response, Settlement, Sink, Stream};
use serde_json::{Value, json};

use crate::Carol;

fn host(more: Value) -> Host {
    let mut config = json!({"base_url": "https://acme.carol.ai/", "connector_id": "c/1"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let schema: Value = serde_json::from_str(include_str!("config.schema.json")).unwrap();
    assert!(jsonschema::is_valid(&schema, &config), "{config}");
    Host::new().config(config)
}

fn outcome(size: u32, response: Response) -> String {
    match host(json!({})).settle::<Carol>(&testing::sent_page(size), &response) {
        Settlement::Accepted(rejections) => format!("accepted but {}", rejections.len()),
        Settlement::Retry(_) => "retry".to_owned(),
        Settlement::Split(_) => "split".to_owned(),
        Settlement::Fail(problem) => problem.code,
    }
}

#[test]
fn golden_requests_and_settlements() {
    testing::run_sink_fixtures::<Carol>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
}

#[test]
fn it_asks_for_the_connector_and_for_nothing_secret() {
    let manifest = Carol::describe();
    assert_eq!((manifest.credentials.len(), manifest.secrets.len()), (1, 0));
}

#[test]
fn retried_statuses_are_carols_own_list() {
    for status in [408, 409, 429, 500, 502, 503, 504, 520, 524, 598] {
        assert_eq!(outcome(500, testing::response(status)), "retry", "{status}");
    }
    assert_eq!(outcome(500, testing::response(413)), "split");
    assert_eq!(outcome(500, testing::response(401)), "carol_unauthorized");
    assert_eq!(outcome(500, testing::response(501)), "carol_refused");
    assert_eq!(outcome(500, testing::response(302)), "carol_refused", "a status from 200 on is no success by itself");
}

#[test]
fn a_bad_record_is_looked_for_and_a_bad_request_is_not() {
    let refused = |field: &str| {
        testing::response(400)
            .with_json(json!({"errorCode": 400, "errorMessage": "no", "possibleResponsibleField": field}))
    };
    assert_eq!(outcome(500, refused("a1_cod")), "split");
    assert_eq!(outcome(1, refused("a1_cod")), "accepted but 1");
    assert_eq!(outcome(1, testing::response(400).with_text("<html>")), "accepted but 1");
    assert_eq!(outcome(500, refused("batchIdSequence")), "carol_refused");
    assert_eq!(outcome(1, refused("batchId")), "carol_refused");
}

#[test]
fn values_go_out_as_they_are_spelled_and_a_mark_takes_the_place_of_another() {
    let page = testing::page(vec![
        Change { data: r#"{"id":"1","v":10.50,"big":12345678901234567890123}"#.to_owned(), ..upsert() },
        Change::delete("2", &json!({"id": "2", "DELETED": "no"})).unwrap(),
    ]);
    let request =
        host(json!({"deleted_field": "DELETED"})).encode::<Carol>(&testing::pass(testing::stream("t")), &page);
    let expected = r#"[{"id":"1","v":10.50,"big":12345678901234567890123},{"id":"2","DELETED":true}]"#;
    assert_eq!(request.unwrap().text(), Some(expected));
}

fn upsert() -> Change {
    Change::upsert("1", &json!({})).unwrap()
}

#[test]
fn a_stream_without_a_key_is_refused_by_name() {
    let mut stream = testing::stream("sa1");
    stream.key = vec!["other".to_owned()];
    let refused = |stream: &Stream| -> Problem { host(json!({})).open::<Carol>(stream).unwrap_err() };
    assert!(refused(&stream).message.contains("other"));
    stream.key.clear();
    assert_eq!(refused(&stream).code, "no_crosswalk_key");
    assert_eq!(host(json!({"manage_schema": false})).open::<Carol>(&stream), Ok(vec![]));
}

#[test]
fn a_pass_that_sent_nothing_is_not_closed() {
    let pass = testing::pass(testing::stream("t"));
    assert_eq!(host(json!({})).close::<Carol>(&pass, &testing::totals(0, 0)), Ok(None));
    assert_eq!(host(json!({"close_batch": false})).close::<Carol>(&pass, &testing::totals(1, 1)), Ok(None));
}
