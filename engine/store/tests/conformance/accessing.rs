use std::time::Duration;

use engate_model::{CallId, TokenId};
use engate_store::{
    AcceptRequest, Accepted, AccessEntry, AccessFilter, AccessOfAccept, Order, RefusedCalls, Start, TOTAL_EXACT_MAX,
};
use tokio::time::Instant;

use crate::harness::{Subject, at, unique};

fn call(t: &Subject, token: TokenId, millis: i64, route: &str, status: u16) -> AccessEntry {
    AccessEntry {
        id: CallId::new(at(millis), unique()),
        tenant: t.tenant,
        token,
        route: route.into(),
        status,
        duration: Duration::from_micros(1_250),
        source: "10.1.2.3".into(),
    }
}

async fn listed(t: &Subject, filter: &AccessFilter) -> Vec<AccessEntry> {
    let page = t.store.access_list(t.tenant, filter, None, Order::Ascending, 500).await.unwrap();
    assert_eq!(page.total.count, page.items.len() as u64);
    page.items.into_iter().map(|(entry, _)| entry).collect()
}

pub(crate) async fn calls_are_recorded_with_others_commits_and_listed(t: &Subject) {
    let (ana, bia) = (TokenId::new(at(0), unique()), TokenId::new(at(0), unique()));
    let calls = [
        call(t, ana, 10, "GET /v1/events", 200),
        call(t, bia, 20, "GET /v1/events/{id}", 404),
        call(t, ana, 30, "POST /v1/endpoints", 422),
        call(t, ana, 40, "GET /v1/events", 499),
    ];
    for one in &calls[..3] {
        t.store.access_record(one.clone()).await;
    }
    t.store.access_record_now(calls[3].clone());
    t.store.access_record_now(calls[3].clone());
    t.store.access_flush().await.unwrap();
    assert_eq!(listed(t, &AccessFilter::default()).await, calls, "each once, in the order of time");
    let by = async |filter: AccessFilter| listed(t, &filter).await.iter().map(|call| call.status).collect::<Vec<_>>();
    assert_eq!(by(AccessFilter { token: Some(bia), ..Default::default() }).await, [404]);
    assert_eq!(by(AccessFilter { route: Some("GET /v1/events".into()), ..Default::default() }).await, [200, 499]);
    assert_eq!(
        by(AccessFilter { status_from: Some(400), status_to: Some(422), ..Default::default() }).await,
        [404, 422]
    );
    assert_eq!(by(AccessFilter { from: Some(at(20)), before: Some(at(40)), ..Default::default() }).await, [404, 422]);
    let first = t.store.access_list(t.tenant, &AccessFilter::default(), None, Order::Descending, 3).await.unwrap();
    assert_eq!(first.items.iter().map(|(call, _)| call.status).collect::<Vec<_>>(), [499, 422, 404]);
    let rest = t.store.access_list(t.tenant, &AccessFilter::default(), first.next, Order::Descending, 3).await.unwrap();
    assert_eq!((rest.items.len(), rest.next, rest.total.count), (1, None, 4));
    assert!(rest.total.exact && TOTAL_EXACT_MAX > 4);
    // Nobody flushes here: they get a commit of their own after a moment.
    t.store.access_record(call(t, bia, 50, "GET /v1/queues", 200)).await;
    let end = Instant::now() + Duration::from_secs(20);
    while listed(t, &AccessFilter::default()).await.len() < 5 {
        assert!(Instant::now() < end, "an entry that nobody asks for is written by itself");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn a_call_that_brings_events_is_written_with_them_or_not_at_all(t: &Subject) {
    let token = TokenId::new(at(0), unique());
    let with_call = async |revision: i64, key: &str, hash: u8| {
        let mut event = t.event(1);
        event.idempotency_key = Some(key.into());
        let mut accept = t.single(event, Start::Skipped("no".into()));
        accept.body_hash = [hash; 32];
        let entry = call(t, token, 1, "POST /v1/events", 202);
        let call = Some(AccessOfAccept { entry, status_repeat: 200, started: Instant::now() });
        let request = AcceptRequest { tenant: t.tenant, revision, events: vec![accept], state: None, call };
        t.store.event_accept(request).await.unwrap()
    };
    let revision = t.store.revision_get(t.tenant).await.unwrap();
    assert!(matches!(with_call(revision, "a", 1).await, Accepted::Stored(_)));
    // No flush: what is listed was there when the answer came.
    let statuses =
        async || listed(t, &AccessFilter::default()).await.iter().map(|call| call.status).collect::<Vec<_>>();
    assert_eq!(statuses().await, [202]);
    assert!(matches!(with_call(revision, "a", 1).await, Accepted::Stored(_)));
    let mut both = statuses().await;
    both.sort_unstable();
    assert_eq!(both, [200, 202], "a repeat is told as one");
    assert_eq!(with_call(revision, "a", 2).await, Accepted::Conflict { index: 0 });
    assert_eq!(with_call(revision - 1, "b", 1).await, Accepted::StaleCatalog);
    assert_eq!(statuses().await.len(), 2, "whoever is refused is recorded by the caller");
    let calls: Vec<_> = (0..50).map(|n| with_call(revision, ["x", "y", "z"][n % 3], 1)).collect();
    let stored = futures_util::future::join_all(calls).await;
    assert!(stored.iter().all(|answer| matches!(answer, Accepted::Stored(_))));
    assert_eq!(statuses().await.iter().filter(|status| **status == 202).count(), 4, "a, x, y and z were new");
    assert_eq!(statuses().await.len(), 52);
}

pub(crate) async fn what_waits_is_written_when_the_store_closes(t: &Subject) {
    let other = t.reopen().await;
    let token = TokenId::new(at(0), unique());
    for n in 0..3_000 {
        other.access_record(call(t, token, n, "GET /v1/events", 200)).await;
    }
    other.close().await;
    assert_eq!(other.access_lost(), 0);
    let page = t.store.access_list(t.tenant, &AccessFilter::default(), None, Order::Ascending, 1).await.unwrap();
    assert_eq!(page.total.count, 3_000);
}

pub(crate) async fn calls_without_a_token_add_up_by_minute_and_source(t: &Subject) {
    let calls = |minute: i64, source: &str, calls: u64| RefusedCalls {
        minute: engate_model::Timestamp::from_micros(minute * 60_000_000),
        source: source.into(),
        calls,
    };
    t.store.access_refused_add(&[calls(7, "a", 2), calls(7, "b", 1), calls(8, "a", 5)]).await.unwrap();
    let other = t.reopen().await;
    let (one, two) = ([calls(7, "a", 1), calls(9, "c", 1)], [calls(9, "c", 1), calls(7, "a", 1)]);
    let (one, two) = tokio::join!(t.store.access_refused_add(&one), other.access_refused_add(&two));
    one.unwrap();
    two.unwrap();
    other.close().await;
    let all = t.store.access_refused_list(None, 100).await.unwrap();
    assert_eq!(all, [calls(9, "c", 2), calls(8, "a", 5), calls(7, "a", 4), calls(7, "b", 1)]);
    let rest = t.store.access_refused_list(Some((all[2].minute, "a".into())), 100).await.unwrap();
    assert_eq!(rest, [calls(7, "b", 1)]);
}

pub(crate) async fn old_calls_are_forgotten(t: &Subject) {
    let token = TokenId::new(at(0), unique());
    for n in 0..10 {
        t.store.access_record(call(t, token, n * 1_000, "GET /v1/events", 200)).await;
    }
    t.store.access_flush().await.unwrap();
    assert_eq!(t.store.access_purge(at(6_000), 4).await.unwrap(), 4);
    assert_eq!(t.store.access_purge(at(6_000), 4).await.unwrap(), 2);
    assert_eq!(t.store.access_purge(at(6_000), 4).await.unwrap(), 0);
    assert_eq!(listed(t, &AccessFilter::default()).await.len(), 4);
}
