//! Sync sources: pages in, and the HTTP that brings them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use engate_host::{
    CallFailed, HttpAccess, HttpAnswer, HttpBudget, HttpDoer, HttpFailure, OutgoingRequest, SourcePullCall, SyncDone,
};
use engate_model::{
    delivery::Response,
    feed::FeedGuard,
    plugin::FaultCode,
    sink::{Change, FeedPage, Operation, Refusal},
};

use crate::{
    guests::{Guest, source, store},
    rig::{Rig, Setup, rig},
    syncing::context,
};

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

pub(crate) type Pulled = Result<SyncDone<Result<FeedPage, Refusal>>, CallFailed>;

async fn pull_with(rig: &Rig, guest: Guest, after: Option<&[u8]>, http: HttpAccess) -> Pulled {
    let plugin = rig.load(guest.build()).await;
    let setup = Setup::default();
    let call = SourcePullCall { context: context(&setup), stream: "orders", after, max_changes: 2, http };
    let pulled = rig.host.source_pull(&plugin, call).await;
    assert_eq!(rig.host.stats().instances_taken, 0, "the place came back");
    pulled
}

pub(crate) async fn pull(rig: &Rig, guest: Guest, after: Option<&[u8]>) -> Pulled {
    pull_with(rig, guest, after, Web::new("").access()).await
}

/// A page of `changes` copies of the one change there is.
fn changes(count: u32) -> String {
    store(1204, 3072) + &store(1208, count)
}

const MORE: &str = "(i32.store (i32.const 1220) (i32.const 1))";

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
