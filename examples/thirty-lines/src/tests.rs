#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn the_golden_files_hold() {
    testing::run_fixtures::<Partner>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
}

#[test]
fn an_order_without_total_is_refused_by_name() {
    let event = testing::event("order.created").with_text(r#"{"order":7}"#);
    let problem = testing::Host::new().transform::<Partner>(&event, &testing::context()).unwrap_err();
    assert!(problem.message.contains("missing field `total`"), "{}", problem.message);
}
