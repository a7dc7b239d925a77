#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use engate_sdk::testing::{self, Host};
use engate_sdk::{Pull, Source};
use serde_json::json;

use crate::Paged;

#[test]
fn golden_pages() {
    testing::run_source_fixtures::<Paged>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
}

#[test]
fn a_pass_goes_through_the_list_once_and_the_next_begins_anew() {
    let host = Host::new().config(json!({"url": "https://feed.example/orders", "size": 2})).web(|request| {
        let page: u32 = request.url.split("page=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
        let items: Vec<_> = (0..2).map(|n| json!({"id": (page - 1) * 2 + n})).collect();
        Ok(testing::response(200).with_json(json!({"items": items, "pages": 3})))
    });
    let (mut after, mut keys) = (None, Vec::new());
    loop {
        let feed = host.pull::<Paged>(&Pull { after: after.take(), ..testing::pull("orders") }).unwrap();
        keys.extend(feed.changes.into_iter().map(|change| change.key));
        after = Some(feed.next);
        if !feed.more {
            break;
        }
    }
    assert_eq!(keys, ["0", "1", "2", "3", "4", "5"]);
    let again = host.pull::<Paged>(&Pull { after, ..testing::pull("orders") }).unwrap();
    assert_eq!(again.changes[0].key, "0");
}

#[test]
fn a_size_that_the_job_cannot_take_is_said() {
    let host = Host::new().config(json!({"url": "https://feed.example/orders", "size": 1000}));
    assert_eq!(host.pull::<Paged>(&testing::pull("orders")).unwrap_err().code, "size_too_large");
    assert_eq!(Paged::describe().id, "feed-paged");
}
