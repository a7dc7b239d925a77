#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use engate_sdk::testing::{self, Host};
use engate_sdk::{Feed, Pull, Source};
use serde_json::{Value, json};

use crate::Incremental;

#[test]
fn golden_pages() {
    testing::run_source_fixtures::<Incremental>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
}

/// A feed of records that all have one stamp, three at a time.
fn feed(request: &engate_sdk::Request, records: u32) -> Value {
    let after = request.url.split("after=").nth(1).unwrap().split('&').next().unwrap();
    let after: u32 = after.parse().map_or(0, |after: u32| after + 1);
    let items: Vec<_> = (after..records.min(after + 3))
        .map(|n| json!({"id": n.to_string(), "updated_at": "2025-02-20T12:00:00Z", "deleted": n == 4}))
        .collect();
    json!({"items": items, "more": after + 3 < records})
}

fn pull(host: &Host, after: Option<Vec<u8>>) -> Feed {
    host.pull::<Incremental>(&Pull { after, ..testing::pull("orders") }).unwrap()
}

#[test]
fn records_with_one_stamp_come_once_each_and_then_nothing() {
    let host = Host::new()
        .config(json!({"url": "https://feed.example/orders", "credential": "feed"}))
        .web(|request| Ok(testing::response(200).with_json(feed(request, 7))));
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = pull(&host, after.take());
        seen.extend(page.changes.iter().map(|change| (change.key.clone(), change.is_delete())));
        after = Some(page.next);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, (0..7).map(|n: u32| (n.to_string(), n == 4)).collect::<Vec<_>>());
    let nothing = pull(&host, after.clone());
    assert!(nothing.changes.is_empty() && !nothing.more && Some(nothing.next) == after);
    assert!(host.requests().iter().all(|request| request.credential.as_deref() == Some("feed")));
}

#[test]
fn an_answer_that_promises_more_and_gives_nothing_ends_the_pass() {
    let host = Host::new()
        .config(json!({"url": "https://feed.example/orders"}))
        .web(|_| Ok(testing::response(200).with_json(json!({"items": [], "more": true}))));
    assert!(!pull(&host, None).more);
    assert_eq!(Incremental::describe().credentials.len(), 1);
}
