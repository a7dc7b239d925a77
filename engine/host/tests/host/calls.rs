//! What a call sees, and what comes back of it.

use std::{collections::BTreeMap, sync::Arc};

use engate_host::{GrantedSecret, OutgoingRequest, Plan, Secrets};
use engate_model::{Secret, verdict::Verdict};
use serde_json::json;

use crate::{
    guests::{Guest, guest, store},
    rig::{Setup, rig},
};

/// A guest whose request's body is the text that `ask` left at 4096: option or result, pointer, length.
fn telling(ask: &str) -> Guest {
    guest().at(
        "transform",
        &format!(
            "{ask}
             (if (i32.eqz (i32.load8_u (i32.const 4096))) (then {}))
             (i32.store (i32.const 1236) (i32.load (i32.const 4100)))
             (i32.store (i32.const 1240) (i32.load (i32.const 4104)))",
            store(1232, 0)
        ),
    )
}

#[tokio::test]
async fn a_request_and_a_verdict_come_back_as_they_were_meant() {
    let rig = rig();
    let plugin = rig.load(guest().build()).await;
    let done = rig.transform(&plugin, &Setup::default()).await.unwrap();
    let expected = OutgoingRequest {
        method: "POST".to_owned(),
        url: "https://a.example/in".to_owned(),
        headers: vec![],
        body: b"{}".to_vec(),
        compress: false,
        credential: None,
    };
    assert_eq!(done.plan, Plan::Send { request: expected, memo: None });
    assert_eq!(done.record.memory_peak_bytes, 65_536);
    // A tick may fall into a call however short it is, but not into each of twenty.
    let mut ticks = vec![done.record.cpu_ticks];
    for _ in 1..20 {
        ticks.push(rig.transform(&plugin, &Setup::default()).await.unwrap().record.cpu_ticks);
    }
    assert!(ticks.contains(&0), "{ticks:?}");
    let done = rig.interpret(&plugin, &Setup::default()).await.unwrap();
    assert_eq!(done.verdict, Verdict::Success { reference: None });
}

#[tokio::test]
async fn a_skip_and_a_refusal_come_back_as_such() {
    let rig = rig();
    let text = |discriminants: &str| format!("{discriminants}{}{}", store(1208, 2128), store(1212, 20));
    let skip = guest().at("transform", &text(&store(1204, 1)));
    assert_eq!(rig.plan(skip.build(), &Setup::default()).await.0, Plan::Skip("https://a.example/in".to_owned()));
    // A problem: code at 1204, message at 1212, retryable at 1220.
    let problem = [(1200, 1), (1204, 2112), (1208, 4), (1212, 2272), (1216, 16), (1220, 1)];
    let refuse = guest().at("transform", &problem.map(|(address, value)| store(address, value)).concat());
    let Plan::Refused(failure) = rig.plan(refuse.build(), &Setup::default()).await.0 else { panic!() };
    assert_eq!((failure.code.as_str(), failure.retryable), ("post", true));
    assert!(!failure.message.contains('\x1b'), "{}", failure.message);
}

#[tokio::test]
async fn isolation_21_settings_are_found_by_pointer_and_anything_else_is_none() {
    let rig = rig();
    let body = async |pointer: &str, config: serde_json::Value| {
        let ask = format!("(call $config (i32.const 3000) (i32.const {}) (i32.const 4096))", pointer.len());
        let guest = telling(&ask).at("data", &format!("(data (i32.const 3000) {pointer:?})"));
        let (plan, _) = rig.plan(guest.build(), &Setup { config, ..Setup::default() }).await;
        let Plan::Send { request, .. } = plan else { panic!() };
        String::from_utf8(request.body).unwrap()
    };
    let config = json!({"a": {"b": [1, "two"], "": null, "x/y": true}, "constructor": 1});
    assert_eq!(body("/a/b", config.clone()).await, r#"[1,"two"]"#);
    assert_eq!(body("/a/b/1", config.clone()).await, r#""two""#);
    assert_eq!(body("", config.clone()).await, config.to_string());
    assert_eq!(body("/a/x~1y", config.clone()).await, "true");
    assert_eq!(body("/a/", config.clone()).await, "null");
    for pointer in
        ["a", "/", "/a/b/9", "/a/b/-1", "/a/b/-", "/a/b/99999999999999999999", "/__proto__", "/a~2", "//", "/a/b/1/x"]
    {
        assert_eq!(body(pointer, config.clone()).await, "", "{pointer}");
    }
    assert_eq!(body("/constructor", config).await, "1");
    let large = json!({"a": "x".repeat(64 << 10)});
    assert_eq!(body("/a", large).await.len(), (64 << 10) + 2);
}

#[tokio::test]
async fn isolation_27_a_secret_that_is_not_granted_looks_like_one_that_is_not_there() {
    let rig = rig();
    let ask = "(call $hmac (i32.const 2256) (i32.const 3) (i32.const 2048) (i32.const 5) (i32.const 4096))
               (i32.store8 (i32.const 4096) (i32.eqz (i32.load8_u (i32.const 4096))))";
    let plugin = rig.load(telling(ask).swap("\"\\01\\00\\00\\00\\70\\08", "\"\\02\\00\\00\\00\\70\\08").build()).await;
    let secrets = |name: &str| {
        let granted = GrantedSecret { value: Ok(Secret::new("k")), reveal: false };
        Secrets::granted(Arc::new(BTreeMap::from([(name.to_owned(), granted)])))
    };
    let with = async |secrets: Secrets| {
        let done = rig.transform(&plugin, &Setup { secrets, ..Setup::default() }).await.unwrap();
        let Plan::Send { request, .. } = done.plan else { panic!() };
        (request.body, done.record.hmacs)
    };
    let (body, hmacs) = with(secrets("key")).await;
    assert_eq!(body.len(), 32);
    assert_eq!(hmacs, [("key".to_owned(), body.clone().try_into().unwrap())]);
    assert_eq!(with(secrets("other")).await, with(Secrets::none()).await);
    // A replay has the answer without the key.
    assert_eq!(with(Secrets::recorded(hmacs)).await.0, body);
}

#[tokio::test]
async fn a_secret_is_revealed_only_where_that_is_allowed_and_then_it_is_recorded() {
    let rig = rig();
    let ask = "(call $reveal (i32.const 2256) (i32.const 3) (i32.const 4096))
               (i32.store8 (i32.const 4096) (i32.eqz (i32.load8_u (i32.const 4096))))";
    let plugin = rig.load(telling(ask).build()).await;
    for reveal in [false, true] {
        let granted = GrantedSecret { value: Ok(Secret::new("hunter2")), reveal };
        let secrets = Secrets::granted(Arc::new(BTreeMap::from([("key".to_owned(), granted)])));
        let done = rig.transform(&plugin, &Setup { secrets, ..Setup::default() }).await.unwrap();
        assert!(!format!("{:?}", done.record).contains("hunter2"));
        assert_eq!(done.record.revealed, if reveal { vec!["key"] } else { vec![] });
        assert!(matches!(done.plan, Plan::Send { request, .. } if (request.body == b"hunter2") == reveal));
    }
}

#[tokio::test]
async fn state_is_read_from_the_snapshot_and_what_was_read_is_recorded() {
    let rig = rig();
    // result<option<list<u8>>, error>: ok at 4096, some at 4100, pointer at 4104, length at 4108.
    let ask = "(call $state_get (i32.const 2256) (i32.const 3) (i32.const 4096))
               (i32.store8 (i32.const 4096) (i32.load8_u (i32.const 4100)))
               (i32.store (i32.const 4100) (i32.load (i32.const 4104)))
               (i32.store (i32.const 4104) (i32.load (i32.const 4108)))";
    let plugin = rig.load(telling(ask).build()).await;
    let state = BTreeMap::from([("key".to_owned(), b"kept".to_vec())]);
    let done = rig.transform(&plugin, &Setup { state, ..Setup::default() }).await.unwrap();
    assert_eq!(done.record.state_reads, [("key".to_owned(), Some(b"kept".to_vec()))]);
    assert!(matches!(done.plan, Plan::Send { request, .. } if request.body == b"kept"));
    let done = rig.transform(&plugin, &Setup::default()).await.unwrap();
    assert_eq!(done.record.state_reads, [("key".to_owned(), None)]);
}

#[tokio::test]
async fn the_clock_stands_at_the_attempt_and_random_repeats_with_it() {
    let rig = rig();
    let guest = guest()
        .contract("world integrator {", "world integrator { import wasi:clocks/wall-clock@0.2.0; import wasi:random/random@0.2.0;")
        .contract(
            "/// What every other",
            "package wasi:clocks@0.2.0 { interface wall-clock { record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime; } }
             package wasi:random@0.2.0 { interface random { get-random-u64: func() -> u64; } }
             /// What every other",
        )
        .at("imports", r#"(import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (param i32)))
                          (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))"#)
        .at("transform", &format!("(call $now (i32.const 4096)) (i64.store (i32.const 4112) (call $random)) {} {} {}", store(1232, 2), store(1236, 4096), store(1240, 24)));
    let plugin = rig.load(guest.build()).await;
    let body = async |attempt: u32| {
        let done = rig.transform(&plugin, &Setup { attempt, ..Setup::default() }).await.unwrap();
        let Plan::Send { request, .. } = done.plan else { panic!() };
        request.body
    };
    let first = body(1).await;
    assert_eq!(first[..8], 1_800_000_000_u64.to_le_bytes());
    assert_eq!(body(1).await, first);
    assert_ne!(body(2).await[16..], first[16..]);
}

#[tokio::test]
async fn a_large_event_reaches_the_guest_and_one_call_at_a_time_is_not_needed() {
    let rig = Arc::new(rig());
    let plugin = rig.load(guest().build()).await;
    let setup = Setup { data: vec![b'x'; 1 << 20], ..Setup::default() };
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (rig, plugin, setup) = (Arc::clone(&rig), Arc::clone(&plugin), setup.clone());
            tokio::spawn(async move { rig.transform(&plugin, &setup).await.unwrap() })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().record.memory_peak_bytes > 1 << 20);
    }
}
