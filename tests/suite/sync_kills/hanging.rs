//! C12: a node hangs in mid-page, another takes its run over, and then the first one comes back.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    cluster::node,
    harness::{
        Backend, Engine, block_on, run_on, skipped,
        source::{Kind, Source},
        within,
    },
    sync_world::World,
};

#[test]
fn c12_a_node_hangs_in_mid_page_and_its_late_word_counts_for_nothing() {
    let kind = Kind::Postgres;
    let Some(source) = block_on(Source::create(kind)) else { return skipped(Source::need(kind)) };
    let folder = tempfile::tempdir().unwrap();
    let setup = |name: &str| node(name).set("connections.erp.url", &source.url);
    let (one, two) = (setup("one"), setup("two"));
    run_on(Backend::Postgres, one, async move |app| {
        let world = World::new(source, folder.path().join("stub"), 300).await;
        world.job_with(app, json!({}), json!({"page_rows": 50})).await;
        world.equal().await;
        // The first node has the run; the second one waits for work.
        let mut second = Engine::start_beside(&app.engine, two).await;
        let fault = json!({"match": {"method": "POST", "path": "*/staging/intake/*"}, "next": 1,
            "action": {"do": "delay", "hold_ms": 9_000}});
        world.stub(Method::POST, "faults", fault).await;
        let change =
            |value: &str| format!("UPDATE t SET v = '{value}', S_T_A_M_P_ = {} WHERE id < 120", world.source.now());
        world.source.execute(&change("in flight")).await;
        within(Duration::from_secs(30), "a page is on its way", async || {
            let held = world.stub(Method::GET, "faults", Value::Null).await;
            if held["items"] == json!([]) { Ok(()) } else { Err(held.to_string()) }
        })
        .await;
        app.engine.freeze(true);
        // What was in flight changes; the second node sends the page as it was, and the change behind it.
        world.source.execute(&change("meanwhile")).await;
        let rows = world.equal().await;
        world.source.execute(&change("later")).await;
        world.equal().await;
        // By now the held page came through, and its answer waits for the node that hangs.
        tokio::time::sleep(Duration::from_secs(10)).await;
        app.engine.freeze(false);
        world.source.execute(&change("after")).await;
        world.equal().await;
        assert!(second.is_alive() && app.engine.is_alive());
        let pages = world.pages().await;
        println!("C12: {rows} rows alive, lost 0; {} pages taken, {} came twice", pages.taken, pages.repeats);
        second.kill().await;
        assert!(!second.log().contains("panicked at"), "{}", second.log());
    });
}
