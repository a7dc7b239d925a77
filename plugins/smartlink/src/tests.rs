#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use engate_sdk::testing::{self, Host};
use engate_sdk::{Change, Feed, Problem, Pull, Settlement};
use serde_json::{Value, json};

use crate::SmartLink;

fn host(more: Value) -> Host {
    let mut config = json!({"base_url": "https://link.totvs.app", "tenant_id": "t-1"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let schema: Value = serde_json::from_str(include_str!("config.schema.json")).unwrap();
    assert!(jsonschema::is_valid(&schema, &config), "{config}");
    Host::new().config(config)
}

#[test]
fn golden_messages_and_settlements() {
    testing::run_sink_fixtures::<SmartLink>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sink"));
}

#[test]
fn golden_pulls() {
    testing::run_source_fixtures::<SmartLink>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/source"));
}

#[test]
fn a_page_beyond_the_bound_is_not_sent_but_halved() {
    let record = |n: usize| Change::upsert(n.to_string(), &json!({"id": n, "text": "x".repeat(500)})).unwrap();
    let page = testing::page((0..1_000).map(record).collect());
    let problem = host(json!({})).encode::<SmartLink>(&testing::pass(testing::stream("ct2")), &page).unwrap_err();
    assert_eq!((problem.code.as_str(), problem.retryable), ("page_too_large", false));
    assert!(problem.message.contains("350000"), "{}", problem.message);
}

#[test]
fn two_passes_of_one_second_are_two_batches_and_a_repeat_is_the_same() {
    let host = host(json!({"send": {"batch": "started_at"}}));
    let page = testing::page(vec![Change::upsert("1", &json!({"id": 1})).unwrap()]);
    let batch = |id: &str| {
        let mut pass = testing::pass(testing::stream("ct2"));
        pass.id = id.to_owned();
        let request = host.encode::<SmartLink>(&pass, &page).unwrap();
        let body: Value = serde_json::from_slice(request.body.as_bytes()).unwrap();
        body["data"]["batch"].as_u64().unwrap()
    };
    let first = batch("one");
    assert_eq!(batch("one"), first, "a page that is sent again, and the next page");
    assert_eq!(batch("two"), first + 1);
    assert_eq!(batch("three"), first + 2);
}

#[test]
fn partitions_that_share_a_table_may_follow_each_other_and_not_overlap() {
    let host = host(json!({}));
    let page = testing::page(vec![Change::upsert("1", &json!({"id": 1})).unwrap()]);
    let encode = |company: &str, started_at: u64| {
        let mut pass = testing::pass(testing::stream("ct2"));
        (pass.id, pass.started_at) = (format!("{company} {started_at}"), started_at);
        pass.partition = vec![("company".to_owned(), company.to_owned())];
        host.encode::<SmartLink>(&pass, &page)
    };
    encode("01", 1_000).unwrap();
    encode("02", 2_000).unwrap();
    let problem = encode("01", 1_000).unwrap_err();
    assert_eq!((problem.code.as_str(), problem.retryable), ("target_shared", false));
    assert!(problem.message.contains("ct2_{company}"), "{}", problem.message);
    encode("02", 2_000).unwrap();
    encode("01", 3_000).unwrap();
    // A clock that was set back is no other partition.
    encode("01", 2_500).unwrap();
}

#[test]
fn a_bad_record_is_looked_for_and_a_bad_request_is_not() {
    let settle = |size: u32, status: u16, field: &str| {
        let response =
            testing::response(status).with_json(json!({"errorMessage": "no", "possibleResponsibleField": field}));
        host(json!({})).settle::<SmartLink>(&testing::sent_page(size), &response)
    };
    assert!(matches!(settle(2, 400, "id"), Settlement::Split(_)));
    assert!(matches!(settle(1, 400, "id"), Settlement::Accepted(rejections) if rejections.len() == 1));
    assert!(matches!(settle(2, 400, "batchIdSequence"), Settlement::Fail(_)));
    assert!(matches!(settle(2, 503, ""), Settlement::Retry(_)));
    assert!(matches!(settle(2, 413, ""), Settlement::Split(_)));
}

/// A queue that hands out what is not acknowledged, again and again.
fn queue(messages: Vec<(&'static str, Value)>) -> Host {
    let mut acknowledged: Vec<String> = Vec::new();
    host(json!({})).web(move |request| {
        if request.url.ends_with("/ack") {
            let told: Value = serde_json::from_str(request.text().unwrap()).unwrap();
            let receipts =
                told["receipts"].as_array().unwrap().iter().map(|receipt| receipt.as_str().unwrap().to_owned());
            acknowledged.extend(receipts);
            return Ok(testing::response(200).with_json(json!({"acknowledged": 1, "unknown": []})));
        }
        let waiting = messages.iter().filter(|(receipt, _)| !acknowledged.iter().any(|done| done == receipt));
        let waiting: Vec<_> =
            waiting.map(|(receipt, message)| json!({"receipt": receipt, "message": message.to_string()})).collect();
        Ok(testing::response(200).with_json(json!({ "messages": waiting })))
    })
}

fn next(host: &Host, after: Option<Vec<u8>>) -> Result<Feed, Problem> {
    host.pull::<SmartLink>(&Pull { after, ..testing::pull("events") })
}

#[test]
fn a_message_is_acknowledged_by_the_next_pull_and_not_before() {
    let host = queue(vec![("r1", json!({"id": "m1", "data": {}})), ("r2", json!({"id": "m2", "data": {}}))]);
    let first = next(&host, None).unwrap();
    assert_eq!(first.changes.iter().map(|change| change.key.as_str()).collect::<Vec<_>>(), ["m1", "m2"]);
    assert!(first.more && host.requests().len() == 1, "nothing is acknowledged yet");
    // The engine died before it stored the page: it pulls from where it was, and gets the same again.
    assert_eq!(next(&host, None).unwrap(), first);
    let last = next(&host, Some(first.next.clone())).unwrap();
    assert!(last.changes.is_empty() && !last.more);
    let acknowledged = host.requests().into_iter().filter(|request| request.url.ends_with("/ack")).count();
    assert_eq!(acknowledged, 1);
}

#[test]
fn what_was_not_acknowledged_stays_and_a_failing_queue_keeps_the_cursor() {
    let host = host(json!({})).web(|request| {
        Ok(testing::response(if request.url.ends_with("/ack") { 503 } else { 200 }).with_json(json!({"messages": []})))
    });
    let after = Some(br#"{"receipts":["r1"]}"#.to_vec());
    assert!(next(&host, after).unwrap_err().retryable);
    assert_eq!(host.requests().len(), 1, "nothing is fetched before the acknowledgement");
}

#[test]
fn many_messages_make_a_cursor_that_fits_and_the_rest_comes_again() {
    let receipt: &'static str = Box::leak("r".repeat(200).into_boxed_str());
    let host = queue((0..50).map(|n| (receipt, json!({"id": n.to_string()}))).collect());
    let feed = next(&host, None).unwrap();
    assert!(feed.next.len() <= 4_096 && feed.changes.len() < 50 && feed.more, "{}", feed.next.len());
}

#[test]
fn a_message_without_an_id_is_known_by_what_it_says_and_one_that_is_no_object_is_handed_over() {
    let host = queue(vec![("r1", json!({"data": 1})), ("r2", json!({"data": 1})), ("r3", json!("plain"))]);
    let feed = next(&host, None).unwrap();
    assert_eq!(feed.changes.len(), 2, "the same message twice is one change");
    assert_eq!(feed.changes[1].data, r#"{"type":null,"unreadable":"\"plain\""}"#);
}
