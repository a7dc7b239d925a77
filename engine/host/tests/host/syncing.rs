//! Sync targets and sources: pages out, pages in, under the limits of every other call.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use engate_host::{
    CallFailed, HttpAccess, HttpAnswer, HttpBudget, HttpDoer, HttpFailure, IdText, InstallCode, OutgoingRequest, Reuse,
    SinkCloseCall, SinkEncodeCall, SinkOpenCall, SinkSettleCall, SourcePullCall, SyncContext, SyncDone,
};
use engate_model::{
    Timestamp,
    delivery::Response,
    feed::FeedGuard,
    plugin::{FaultCode, World},
    sink::{Change, Column, ColumnKind, FeedPage, Operation, Page, Pass, Refusal, Settlement, StreamInfo, Totals},
};

use crate::{
    guests::{Guest, guest, sink, source, store},
    rig::{NOW_MS, Rig, Setup, rig},
};

fn context(setup: &Setup) -> SyncContext<'_> {
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

/// Answers every request with the same body, and counts them.
struct Web {
    body: &'static str,
    asked: AtomicU32,
    answers: bool,
}

impl Web {
    fn new(body: &'static str) -> Arc<Self> {
        Arc::new(Self { body, asked: AtomicU32::new(0), answers: true })
    }

    fn silent() -> Arc<Self> {
        Arc::new(Self { body: "", asked: AtomicU32::new(0), answers: false })
    }

    fn access(self: &Arc<Self>) -> HttpAccess {
        HttpAccess {
            doer: Arc::<Self>::clone(self),
            endpoint_url: None,
            hosts: Arc::new(["https://a.example".to_owned()]),
            budget: HttpBudget::default(),
        }
    }
}

#[async_trait]
impl HttpDoer for Web {
    async fn send(&self, request: OutgoingRequest, _: usize) -> Result<HttpAnswer, HttpFailure> {
        assert_eq!((request.method.as_str(), request.url.as_str()), ("GET", "https://a.example/in"));
        self.asked.fetch_add(1, Ordering::SeqCst);
        if !self.answers {
            std::future::pending::<()>().await;
        }
        let body = self.body.as_bytes().to_vec();
        let response = Response { status: 200, headers: vec![], body, truncated: false };
        Ok(HttpAnswer { response, elapsed_ms: 1 })
    }
}

type Pulled = Result<SyncDone<Result<FeedPage, Refusal>>, CallFailed>;

async fn pull_with(rig: &Rig, guest: Guest, after: Option<&[u8]>, http: HttpAccess) -> Pulled {
    let plugin = rig.load(guest.build()).await;
    let setup = Setup::default();
    let call = SourcePullCall { context: context(&setup), stream: "orders", after, max_changes: 2, http };
    let pulled = rig.host.source_pull(&plugin, call).await;
    assert_eq!(rig.host.stats().instances_taken, 0, "the place came back");
    pulled
}

async fn pull(rig: &Rig, guest: Guest, after: Option<&[u8]>) -> Pulled {
    pull_with(rig, guest, after, Web::new("").access()).await
}

/// A page of `changes` copies of the one change there is.
fn changes(count: u32) -> String {
    store(1204, 3072) + &store(1208, count)
}

const MORE: &str = "(i32.store (i32.const 1220) (i32.const 1))";

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
async fn a_source_pulls_from_granted_hosts_and_its_requests_are_counted() {
    let rig = rig();
    let guest = || source().at("pull", &format!("(call $fetch) (call $next_is_body) {}", changes(1)));
    let web = Web::new("cursor");
    let done = pull_with(&rig, guest(), None, web.access()).await.unwrap();
    let change = Change { key: "key".to_owned(), operation: Operation::Upsert, data: "{}".to_owned() };
    assert_eq!(done.answer, Ok(FeedPage { changes: vec![change], next: b"cursor".to_vec(), more: false }));
    assert_eq!((done.record.http_requests, done.record.http_bytes), (1, 6));
    // The endpoint's own origin needs no grant; without either the request is denied (error 0) and nobody is asked.
    let own = HttpAccess { endpoint_url: Some("https://a.example/".to_owned()), hosts: Arc::new([]), ..web.access() };
    assert_eq!(pull_with(&rig, guest(), None, own).await.unwrap().answer.unwrap().next, b"cursor");
    let asked = web.asked.load(Ordering::SeqCst);
    let none = HttpAccess { hosts: Arc::new(["https://b.example".to_owned()]), ..web.access() };
    assert_eq!(pull_with(&rig, guest(), None, none).await.unwrap().answer.unwrap().next, b"0");
    assert_eq!(web.asked.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn a_sources_http_has_a_budget_of_requests_bytes_and_time() {
    let rig = rig();
    let guest =
        |times: u32| source().at("pull", &format!("{} (call $next_is_body)", "(call $fetch)".repeat(times as usize)));
    let spent = async |guest: Guest, web: &Arc<Web>, budget: HttpBudget| {
        let done = pull_with(&rig, guest, None, HttpAccess { budget, ..web.access() }).await.unwrap();
        (done.answer.unwrap().next, web.asked.load(Ordering::SeqCst))
    };
    // Error 6 is `budget`, error 4 `timeout`, error 5 `too-large`.
    let budget = HttpBudget { requests: 2, ..HttpBudget::default() };
    assert_eq!(spent(guest(2), &Web::new("x"), budget).await, (b"x".to_vec(), 2));
    assert_eq!(spent(guest(5), &Web::new("x"), budget).await, (b"6".to_vec(), 2));
    let budget = HttpBudget { bytes: 10, ..HttpBudget::default() };
    assert_eq!(spent(guest(1), &Web::new("1234567890"), budget).await, (b"1234567890".to_vec(), 1));
    assert_eq!(spent(guest(2), &Web::new("1234567890"), budget).await, (b"6".to_vec(), 1));
    assert_eq!(spent(guest(2), &Web::new("123456"), budget).await, (b"6".to_vec(), 2));
    let budget = HttpBudget { wait: Duration::from_millis(20), ..HttpBudget::default() };
    assert_eq!(spent(guest(1), &Web::silent(), budget).await, (b"4".to_vec(), 1));
    assert_eq!(spent(guest(2), &Web::silent(), budget).await, (b"6".to_vec(), 1));
}

#[tokio::test]
async fn isolation_08_and_16_a_flood_of_requests_and_a_wait_for_ever_end() {
    let rig = rig();
    let flood = source().at("pull", "(loop $l (call $fetch) (br $l))");
    let web = Web::new("x");
    let failed = pull_with(&rig, flood, None, web.access()).await.unwrap_err();
    assert!(matches!(failed.fault.code, FaultCode::CallBudget), "{}", failed.fault);
    assert_eq!(web.asked.load(Ordering::SeqCst), HttpBudget::default().requests);
    let budget = HttpBudget { wait: Duration::from_millis(20), ..HttpBudget::default() };
    let stuck = source().at("pull", "(loop $l (call $fetch) (br $l))");
    let failed = pull_with(&rig, stuck, None, HttpAccess { budget, ..Web::silent().access() }).await.unwrap_err();
    assert!(matches!(failed.fault.code, FaultCode::CallBudget), "{}", failed.fault);
}

#[tokio::test]
async fn isolation_23_pages_and_cursors_beyond_their_limits_are_a_fault() {
    let rig = rig();
    let after =
        "(i32.store (i32.const 1212) (local.get $after)) (i32.store (i32.const 1216) (local.get $after_length))";
    let cases = [
        (format!("{after} {MORE}"), FaultCode::InvalidPage, "gives the same one back"),
        (store(1216, 4097), FaultCode::OutputTooLarge, "cursor of 4097 bytes"),
        (changes(3), FaultCode::OutputTooLarge, "a page of 3 changes; 2 were asked for"),
        (
            store(3080, 0) + &store(3084, 2112) + &store(3088, 3) + &changes(1),
            FaultCode::InvalidPage,
            "not a JSON object",
        ),
        (store(3076, 0) + &changes(1), FaultCode::InvalidPage, "a key of 0 bytes"),
        (
            "(memory.copy (i32.const 3092) (i32.const 3072) (i32.const 20))".to_owned() + &changes(2),
            FaultCode::InvalidPage,
            "comes twice",
        ),
        (changes(1 << 28), FaultCode::BadAbi, ""),
        (store(3080, 9) + &changes(1), FaultCode::BadAbi, ""),
    ];
    for (code, expected, words) in cases {
        let failed = pull(&rig, source().at("pull", &code), Some(b"here")).await.unwrap_err();
        assert_eq!(failed.fault.code, expected, "{code}: {}", failed.fault);
        assert!(failed.fault.message.contains(words), "{}", failed.fault);
    }
    assert!(
        pull(&rig, source().at("pull", after), Some(b"here")).await.unwrap().answer.is_ok(),
        "nothing new is no fault"
    );
}

#[tokio::test]
async fn isolation_23_a_feed_that_goes_in_a_circle_or_is_empty_for_ever_is_stopped() {
    let rig = rig();
    // Its cursor goes between two texts, so that no single call shows it.
    let circle = source().at(
        "pull",
        &format!(
            "(i32.store (i32.const 1212) (select (i32.const 2112) (i32.const 2176) (i32.eq (i32.load8_u (local.get $after)) (i32.const 107)))) {}{} {MORE}",
            store(1216, 3),
            changes(1)
        ),
    );
    let plugin = rig.load(circle.build()).await;
    let (mut cursor, mut guard) = (b"key".to_vec(), FeedGuard::begin(Some(b"key")));
    let setup = Setup::default();
    let mut stopped = None;
    for _ in 0..10 {
        let http = Web::new("").access();
        let call = SourcePullCall { context: context(&setup), stream: "s", after: Some(&cursor), max_changes: 2, http };
        let page = rig.host.source_pull(&plugin, call).await.unwrap().answer.unwrap();
        if let Err(refusal) = guard.goes_on(&page) {
            stopped = Some(refusal.code);
            break;
        }
        cursor = page.next;
    }
    assert_eq!(stopped.as_deref(), Some("feed_loop"));
    assert_eq!(cursor, b"GET", "the cursor of the page before is kept");
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
