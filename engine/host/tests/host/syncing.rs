//! Sync targets: pages out, answers in, under the limits of every other call. What both kinds of sync plugins share is
//! here too.

use std::{collections::BTreeMap, sync::Arc};

use engate_host::{
    CallFailed, IdText, InstallCode, OutgoingRequest, Reuse, SinkCloseCall, SinkEncodeCall, SinkOpenCall,
    SinkSettleCall, SyncContext, SyncDone,
};
use engate_model::{
    Timestamp,
    delivery::Response,
    plugin::{FaultCode, World},
    sink::{Change, Column, ColumnKind, Operation, Page, Pass, Refusal, Settlement, StreamInfo, Totals},
};
use serde_json::json;

use crate::{
    guests::{Guest, guest, sink, source, store},
    pulling::pull,
    rig::{NOW_MS, Rig, Setup, rig},
};

pub(crate) fn context(setup: &Setup) -> SyncContext<'_> {
    SyncContext {
        installation: setup.installation,
        limits: setup.limits.for_sync(),
        reuse: setup.reuse,
        config: Arc::new(setup.config.clone()),
        secrets: setup.secrets.clone(),
        state: Arc::new(setup.state.clone()),
        id: IdText::of(&"page_1"),
        now: Timestamp::from_millis(NOW_MS),
    }
}

fn stream() -> StreamInfo {
    let column = |name: &str, kind| Column { name: name.to_owned(), kind, nullable: false };
    StreamInfo {
        name: "sa1".to_owned(),
        target: "customers".to_owned(),
        key: vec!["a1_cod".to_owned()],
        columns: vec![column("a1_cod", ColumnKind::Text), column("a1_saldo", ColumnKind::Decimal)],
    }
}

fn pass() -> Pass {
    let now = Timestamp::from_millis(NOW_MS);
    Pass {
        id: "pass_1".to_owned(),
        stream: stream(),
        partition: vec![("company".to_owned(), "01".to_owned())],
        range_start: now,
        started_at: now,
    }
}

fn page(changes: usize) -> Page {
    let change = |n: usize| Change {
        key: n.to_string(),
        operation: if n.is_multiple_of(2) { Operation::Upsert } else { Operation::Delete },
        data: format!(r#"{{"a1_cod":"{n}"}}"#),
    };
    Page { id: "page_1".to_owned(), sequence: 1, changes: (0..changes).map(change).collect() }
}

async fn encode(
    rig: &Rig,
    guest: Guest,
    setup: &Setup,
) -> Result<SyncDone<Result<OutgoingRequest, Refusal>>, CallFailed> {
    let plugin = rig.load(guest.build()).await;
    let call = SinkEncodeCall { context: context(setup), pass: &pass(), page: &page(2) };
    rig.host.sink_encode(&plugin, call).await
}

async fn settle(rig: &Rig, guest: Guest) -> Result<Settlement, FaultCode> {
    let plugin = rig.load(guest.build()).await;
    let response = Response { status: 200, headers: vec![], body: b"{}".to_vec(), truncated: false };
    let setup = Setup::default();
    let call = SinkSettleCall {
        context: context(&setup),
        pass_id: "pass_1",
        page_id: "page_1",
        size: 2,
        response: &response,
        elapsed_ms: 3,
    };
    rig.host.sink_settle(&plugin, call).await.map(|done| done.answer).map_err(|failed| failed.fault.code)
}

#[tokio::test]
async fn sync_plugins_are_installed_as_such_and_say_so() {
    let rig = rig();
    let installed = rig.install(&sink().build()).await.unwrap();
    assert_eq!((installed.manifest.id.as_str(), installed.manifest.worlds), ("target", vec![World::SyncTarget]));
    let installed = rig.install(&source().build()).await.unwrap();
    assert_eq!((installed.manifest.id.as_str(), installed.manifest.worlds), ("feed", vec![World::SyncSource]));
    assert_eq!(rig.load(source().build()).await.worlds(), [World::SyncSource]);
}

#[tokio::test]
async fn a_target_is_opened_gets_its_pages_and_is_closed() {
    let rig = rig();
    let plugin = rig.load(sink().build()).await;
    let setup = Setup::default();
    let opened = rig.host.sink_open(&plugin, SinkOpenCall { context: context(&setup), stream: &stream() }).await;
    assert_eq!(opened.unwrap().answer, Ok(vec![]));
    let request = encode(&rig, sink(), &setup).await.unwrap().answer.unwrap();
    assert_eq!(
        (request.method.as_str(), request.url.as_str(), request.compress),
        ("POST", "https://a.example/in", true)
    );
    assert_eq!(request.body, b"[]");
    assert_eq!(settle(&rig, sink()).await, Ok(Settlement::Accepted(vec![])));
    let now = Timestamp::from_millis(NOW_MS);
    let totals = Totals { records: 2, requests: 1, started_at: now, ended_at: now };
    let call = SinkCloseCall { context: context(&setup), pass: &pass(), totals };
    assert_eq!(rig.host.sink_close(&plugin, call).await.unwrap().answer, Ok(None));
}

#[tokio::test]
async fn pass_and_page_reach_the_guest_whole() {
    let rig = rig();
    // The body is what the pointer shows at that place: the pass's id, its stream's target, the first change's data.
    let told = async |at: &str| {
        let code = format!(
            "(i32.store (i32.const 1336) (i32.load {at})) (i32.store (i32.const 1340) (i32.load (i32.add (i32.const 4) {at})))"
        );
        let done = encode(&rig, sink().at("encode", &code), &Setup::default()).await.unwrap();
        String::from_utf8(done.answer.unwrap().body).unwrap()
    };
    let at = |offset: u32| format!("(i32.add (local.get $arguments) (i32.const {offset}))");
    assert_eq!(told(&at(0)).await, "pass_1");
    assert_eq!(told(&at(16)).await, "customers");
    assert_eq!(told(&at(64)).await, "page_1");
    let change = |offset: u32| format!("(i32.add (i32.load {}) (i32.const {offset}))", at(76));
    assert_eq!(told(&change(12)).await, r#"{"a1_cod":"0"}"#);
    assert_eq!(told(&change(20)).await, "1");
}

#[tokio::test]
async fn a_large_page_passes_within_the_limits_of_a_sync() {
    let rig = rig();
    let plugin = rig.load(sink().build()).await;
    let setup = Setup::default();
    let change = |n: usize| Change { key: n.to_string(), operation: Operation::Upsert, data: "x".repeat(16 << 10) };
    let page = Page { id: "page_1".to_owned(), sequence: 1, changes: (0..500).map(change).collect() };
    let call = SinkEncodeCall { context: context(&setup), pass: &pass(), page: &page };
    let done = rig.host.sink_encode(&plugin, call).await.unwrap();
    assert!(done.answer.is_ok() && done.record.memory_peak_bytes > 8_000_000);
}

#[tokio::test]
async fn the_bundled_sinks_make_a_request_of_a_full_page_within_its_limits() {
    let rig = rig();
    // 500 records and 8 MiB: the largest page there is; a tenth of it is gone.
    let change = |n: usize| Change {
        key: n.to_string(),
        operation: if n.is_multiple_of(10) { Operation::Delete } else { Operation::Upsert },
        data: format!(r#"{{"a1_cod":"{n}","a1_saldo":10.50,"a1_nome":"{}"}}"#, "x".repeat(16 << 10)),
    };
    let page = Page { id: "page_1".to_owned(), sequence: 1, changes: (0..500).map(change).collect() };
    let url = "https://a.example";
    for (name, config) in [
        ("carol", json!({"base_url": url, "connector_id": "c"})),
        ("http-table", json!({"url": url, "max_bytes": 16 << 20})),
        ("smartlink", json!({"base_url": url, "tenant_id": "t"})),
    ] {
        let bundled = engate_bundled::PLUGINS.iter().find(|plugin| plugin.name == name).unwrap();
        let plugin = rig.load(bundled.wasm.to_vec()).await;
        let setup = Setup { config, ..Setup::default() };
        let call = SinkEncodeCall { context: context(&setup), pass: &pass(), page: &page };
        let done = rig.host.sink_encode(&plugin, call).await.unwrap();
        let (elapsed, memory) = (done.record.elapsed, done.record.memory_peak_bytes >> 20);
        println!("{name}: {elapsed:?}, {memory} MiB, {} ticks", done.record.cpu_ticks);
        match done.answer {
            Ok(request) => {
                assert!(request.body.len() > 8_000_000 && request.body.windows(4).any(|part| part == b"true"))
            }
            // A message of SmartLink's is far smaller: the engine halves the page.
            Err(refusal) => {
                assert_eq!((name, refusal.code.as_str()), ("smartlink", engate_model::sinking::PAGE_TOO_LARGE))
            }
        }
    }
}

#[tokio::test]
async fn settlements_come_back_and_one_that_does_not_fit_its_page_is_refused() {
    let rig = rig();
    // At 3072: two rejections: index, code, message, retryable.
    let rejections = |first: u32, second: u32| {
        let rejection = |at: u32, index: u32| {
            [(0, index), (4, 2176), (8, 3), (12, 2080), (16, 6), (20, 0)]
                .map(|(o, value)| store(at + o, value))
                .concat()
        };
        rejection(3072, first) + &rejection(3096, second) + &store(1408, 3072) + &store(1412, 2)
    };
    let Ok(Settlement::Accepted(rejected)) = settle(&rig, sink().at("settle", &rejections(1, 0))).await else {
        panic!()
    };
    let rejected: Vec<_> =
        rejected.iter().map(|r| (r.index, r.refusal.code.as_str(), r.refusal.message.as_str())).collect();
    assert_eq!(rejected, [(0, "key", "Target"), (1, "key", "Target")]);
    assert_eq!(settle(&rig, sink().at("settle", &rejections(1, 2))).await, Err(FaultCode::InvalidSettlement));
    // retry: some(u64::MAX), reason; split: reason; fail: code, message.
    let ever = "(i64.store (i32.const 1416) (i64.const -1))";
    let retry = store(1400, 1) + &store(1408, 1) + ever + &store(1424, 2080) + &store(1428, 6);
    let Ok(Settlement::Retry { after_ms, reason }) = settle(&rig, sink().at("settle", &retry)).await else { panic!() };
    assert_eq!((after_ms, reason.as_str()), (Some(7 * 24 * 3_600_000), "Target"));
    let split = store(1400, 2) + &store(1408, 2080) + &store(1412, 6);
    assert_eq!(settle(&rig, sink().at("settle", &split)).await, Ok(Settlement::Split("Target".to_owned())));
    let fail = store(1400, 3) + &store(1408, 2176) + &store(1412, 3) + &store(1416, 2080) + &store(1420, 6);
    assert!(matches!(settle(&rig, sink().at("settle", &fail)).await, Ok(Settlement::Fail(why)) if why.code == "key"));
    assert_eq!(settle(&rig, sink().at("settle", &store(1400, 4))).await, Err(FaultCode::BadAbi));
}

#[tokio::test]
async fn isolation_1_3_6_10_13_a_hostile_target_hits_its_limits() {
    let rig = rig();
    let grow = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
    let cases = [
        ("(loop $l (br $l))".to_owned(), FaultCode::CpuLimit),
        (grow.to_owned(), FaultCode::MemoryLimit),
        ("(unreachable)".to_owned(), FaultCode::PluginPanic),
        (store(1336, 0) + &store(1340, 1 << 30), FaultCode::BadAbi),
        (
            "(drop (memory.grow (i32.const 300)))".to_owned()
                + &store(1332, 2)
                + &store(1336, 0)
                + &store(1340, 17 << 20),
            FaultCode::OutputTooLarge,
        ),
        (store(1312, 0), FaultCode::InvalidRequest),
    ];
    for (code, expected) in cases {
        let failed = encode(&rig, sink().at("encode", &code), &Setup::default()).await.unwrap_err();
        assert_eq!(failed.fault.code, expected, "{code}: {}", failed.fault);
        assert_eq!(rig.host.stats().instances_taken, 0, "the place came back");
    }
    let many = sink().at("open", &(store(1204, 1308) + &store(1208, 10_000)));
    let plugin = rig.load(many.build()).await;
    let setup = Setup::default();
    let opened = rig.host.sink_open(&plugin, SinkOpenCall { context: context(&setup), stream: &stream() }).await;
    assert!(matches!(opened.unwrap_err().fault.code, FaultCode::BadAbi | FaultCode::OutputTooLarge));
}

#[tokio::test]
async fn isolation_24_what_a_target_wrote_is_kept_of_a_good_call_and_of_no_other() {
    let rig = rig();
    let put = "(call $state_put (i32.const 2176) (i32.const 3) (i32.const 2080) (i32.const 6) (i32.const 4096))";
    let done = encode(&rig, sink().at("encode", put), &Setup::default()).await.unwrap();
    assert_eq!(done.record.state_writes, BTreeMap::from([("key".to_owned(), Some(b"Target".to_vec()))]));
    let trap = format!("{put} (unreachable)");
    let failed = encode(&rig, sink().at("encode", &trap), &Setup::default()).await.unwrap_err();
    assert_eq!(failed.record.state_writes, BTreeMap::new());
    let pulled = pull(&rig, source().at("pull", &put.replace("2080) (i32.const 6", "2080) (i32.const 4")), None).await;
    assert_eq!(pulled.unwrap().record.state_writes.len(), 1);
    let failed = pull(&rig, source().at("pull", &trap), None).await.unwrap_err();
    assert_eq!(failed.record.state_writes, BTreeMap::new());
}

#[tokio::test]
async fn isolation_24_a_page_that_is_made_again_is_the_same() {
    let rig = rig();
    let random = sink()
        .contract("world sync-target {", "world sync-target { import wasi:random/random@0.2.0;")
        .contract(
            "/// What every other",
            "package wasi:random@0.2.0 { interface random { get-random-u64: func() -> u64; } }\n/// What every other",
        )
        .at("imports", r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))"#)
        .at(
            "encode",
            &format!(
                "(i64.store (i32.const 4096) (call $random)) {}{}{}",
                store(1332, 2),
                store(1336, 4096),
                store(1340, 8)
            ),
        );
    let plugin = rig.load(random.build()).await;
    let setup = Setup::default();
    let made = async |id: &'static str| {
        let context = SyncContext { id: IdText::of(&id), ..context(&setup) };
        let call = SinkEncodeCall { context, pass: &pass(), page: &page(1) };
        rig.host.sink_encode(&plugin, call).await.unwrap().answer.unwrap().body
    };
    assert_eq!(made("page_1").await, made("page_1").await);
    assert_ne!(made("page_1").await, made("page_2").await);
}

#[tokio::test]
async fn isolation_15_a_warm_target_is_kept_and_gone_after_an_error() {
    let rig = rig();
    let trap = "(if (i32.eq (global.get $calls) (i32.const 2)) (then (unreachable)))";
    let plugin = rig.load(sink().at("encode", trap).build()).await;
    let setup = Setup { reuse: Reuse::warm(2), ..Setup::default() };
    let call = || SinkEncodeCall { context: context(&setup), pass: &PASS, page: &PAGE };
    static PASS: std::sync::LazyLock<Pass> = std::sync::LazyLock::new(pass);
    static PAGE: std::sync::LazyLock<Page> = std::sync::LazyLock::new(|| page(1));
    for _ in 0..2 {
        assert!(rig.host.sink_encode(&plugin, call()).await.is_ok());
        assert_eq!(rig.host.stats().instances_idle, 1);
    }
    assert!(rig.host.sink_encode(&plugin, call()).await.is_err(), "the third call of one instance");
    assert_eq!(rig.host.stats().instances_idle, 0);
    assert!(rig.host.sink_encode(&plugin, call()).await.is_ok());
}

#[tokio::test]
async fn isolation_18_only_a_source_may_import_http_and_what_a_world_lacks_is_named() {
    let rig = rig();
    let sneaky = guest()
        .contract("world integrator {", "world integrator { import http;")
        .at("imports", r#"(import "engate:plugin/http@0.1.0" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#)
        .at("transform", "(call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4096))");
    let error = rig.install(&sneaky.build()).await.unwrap_err();
    assert_eq!(error.code, InstallCode::UnknownImport);
    assert!(error.message.contains("does not export source"), "{error}");
    // Two functions of the interface are not there, and one has another type.
    let partial = sink()
        .contract("encode: func(pass: pass, page: page) -> result<http-request, problem>;", "")
        .contract("close: func(pass: pass, totals: totals) -> result<option<http-request>, problem>;", "")
        .swap("(export \"engate:plugin/sink@0.1.0#encode\")", "")
        .swap("(export \"engate:plugin/sink@0.1.0#close\")", "");
    let error = rig.install(&partial.build()).await.unwrap_err();
    assert_eq!(error.code, InstallCode::WrongWorld);
    assert!(error.message.contains("engate:plugin/sink@0.1.0 does not export encode, nor close"), "{error}");
    let altered = sink().contract("encode: func(pass: pass, page: page)", "encode: func(page: page, pass: pass)");
    let error = rig.install(&altered.build()).await.unwrap_err();
    assert!(error.message.contains("encode has another type"), "{error}");
}

#[tokio::test]
async fn a_plugin_that_is_not_made_for_a_sync_says_so() {
    let rig = rig();
    let failed = encode(&rig, guest(), &Setup::default()).await.unwrap_err();
    assert!(failed.fault.message.contains("not of the world sync-target"), "{}", failed.fault);
    let failed = pull(&rig, sink(), None).await.unwrap_err();
    assert!(failed.fault.message.contains("not of the world sync-source"), "{}", failed.fault);
}
