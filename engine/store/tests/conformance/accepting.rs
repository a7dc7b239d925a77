use std::sync::Arc;

use engate_model::{EventId, delivery::DeliveryState, event::NoDelivery};
use engate_store::{AcceptEvent, AcceptRequest, Accepted, NewDelivery, Start};

use crate::harness::{Subject, at, unique};

pub(crate) async fn an_accepted_event_is_there_when_the_answer_comes(t: &Subject) {
    let node = t.node("a").await;
    let other = t.endpoint_more().await;
    let third = t.endpoint_more().await;
    let event = t.event(10);
    let deliveries = vec![
        t.delivery_to(t.endpoint, 10, Start::HandedOver(node)),
        t.delivery_to(other, 10, Start::Pending(at(500))),
        t.delivery_to(third, 10, Start::Skipped("endpoint_disabled".into())),
    ];
    let accept = AcceptEvent { event: Arc::new(event.clone()), body_hash: [0; 32], deliveries };
    let answer = t.accept(accept.clone()).await;
    assert_eq!((answer.id, answer.duplicate, answer.delivery_count), (event.id, false, 3));
    let stored = t.store.event_get(t.tenant, event.id).await.unwrap().unwrap();
    assert_eq!(stored, event, "payload and labels as they were given");
    for (n, code) in answer.codes.iter().enumerate() {
        let predicted = accept.delivery(n, *code).unwrap();
        let stored = t.store.delivery_get(t.tenant, predicted.id).await.unwrap().unwrap();
        assert_eq!(stored, predicted);
    }
    let mut nobody = t.event(11);
    (nobody.reason, nobody.labels, nobody.subject) = (Some(NoDelivery::NoMatch), vec![], None);
    let answer =
        t.accept(AcceptEvent { event: Arc::new(nobody.clone()), body_hash: [0; 32], deliveries: vec![] }).await;
    assert_eq!(answer.delivery_count, 0);
    assert_eq!(t.store.event_get(t.tenant, nobody.id).await.unwrap().unwrap(), nobody);
    let stranger = engate_model::TenantId::new(at(0), unique());
    assert_eq!(t.store.event_get(stranger, event.id).await.unwrap(), None, "no tenant sees another's event");
    t.store.node_leave(node, at(20)).await.unwrap();
}

pub(crate) async fn a_stale_catalog_writes_nothing(t: &Subject) {
    let stale = t.request(vec![t.single(t.event(1), Start::Pending(at(0)))]).await;
    t.endpoint_more().await;
    let id = stale.events[0].event.id;
    assert_eq!(t.store.event_accept(stale).await.unwrap(), Accepted::StaleCatalog);
    assert_eq!(t.store.event_get(t.tenant, id).await.unwrap(), None);
    let unknown = AcceptRequest {
        tenant: engate_model::TenantId::new(at(0), unique()),
        revision: 1,
        events: vec![t.single(t.event(1), Start::Pending(at(0)))],
        state: None,
        call: None,
    };
    assert_eq!(t.store.event_accept(unknown).await.unwrap(), Accepted::StaleCatalog);
}

fn keyed(t: &Subject, key: &str, hash: u8) -> AcceptEvent {
    let mut event = t.event(1);
    event.idempotency_key = Some(key.into());
    AcceptEvent { body_hash: [hash; 32], ..t.single(event, Start::Pending(at(0))) }
}

pub(crate) async fn a_repeat_gets_the_first_answer_and_another_body_a_conflict(t: &Subject) {
    let first = t.accept(keyed(t, "k", 1)).await;
    let again = t.accept(keyed(t, "k", 1)).await;
    assert_eq!((again.id, again.duplicate, again.delivery_count), (first.id, true, 1));
    assert!(again.codes.is_empty());
    let other = t.request(vec![keyed(t, "k", 2)]).await;
    assert_eq!(t.store.event_accept(other).await.unwrap(), Accepted::Conflict { index: 0 });
    assert!(!t.accept(keyed(t, "other", 2)).await.duplicate);
}

pub(crate) async fn an_array_is_all_or_nothing_and_leaves_no_key(t: &Subject) {
    t.accept(keyed(t, "taken", 1)).await;
    let array = vec![keyed(t, "fresh", 1), keyed(t, "taken", 1), keyed(t, "taken", 9), keyed(t, "later", 1)];
    let ids: Vec<EventId> = array.iter().map(|accept| accept.event.id).collect();
    // Neighbours in the same moment: one of them repeats the key that the array does not get to keep.
    let (array, neighbour, twin) =
        (t.request(array).await, t.request(vec![keyed(t, "fresh", 1)]).await, keyed(t, "x", 1));
    let twin = t.request(vec![twin]).await;
    let (array, neighbour, twin) =
        tokio::join!(t.store.event_accept(array), t.store.event_accept(neighbour), t.store.event_accept(twin));
    assert_eq!(array.unwrap(), Accepted::Conflict { index: 2 });
    let Accepted::Stored(neighbour) = neighbour.unwrap() else { panic!("refused") };
    assert!(!neighbour[0].duplicate, "the refused array holds no key");
    assert!(matches!(twin.unwrap(), Accepted::Stored(_)));
    for id in ids {
        assert_eq!(t.store.event_get(t.tenant, id).await.unwrap(), None);
    }
    assert!(!t.accept(keyed(t, "later", 5)).await.duplicate);
    // Within one array a repeat is recognised, too.
    let answer = t.store.event_accept(t.request(vec![keyed(t, "in", 1), keyed(t, "in", 1)]).await).await.unwrap();
    let Accepted::Stored(events) = answer else { panic!("refused") };
    assert_eq!(events.iter().filter(|event| event.duplicate).count(), 1);
    assert_eq!(events[0].id, events[1].id);
}

pub(crate) async fn of_many_at_once_under_one_key_one_is_new(t: &Subject) {
    let revision = t.store.revision_get(t.tenant).await.unwrap();
    let requests = (0..40).map(|_| {
        let request =
            AcceptRequest { tenant: t.tenant, revision, events: vec![keyed(t, "same", 1)], state: None, call: None };
        let store = t.store.clone();
        tokio::spawn(async move { store.event_accept(request).await.unwrap() })
    });
    let mut new = 0;
    let mut ids = std::collections::HashSet::new();
    for task in requests.collect::<Vec<_>>() {
        let Accepted::Stored(events) = task.await.unwrap() else { panic!("refused") };
        new += usize::from(!events[0].duplicate);
        ids.insert(events[0].id);
    }
    assert_eq!((new, ids.len()), (1, 1));
}

pub(crate) async fn one_bad_item_never_fails_its_neighbours(t: &Subject) {
    let taken = t.single(t.event(1), Start::Pending(at(0)));
    t.accept(taken.clone()).await;
    let revision = t.store.revision_get(t.tenant).await.unwrap();
    let tasks = (0..60).map(|n| {
        let mut accept = t.single(t.event(1), Start::Pending(at(0)));
        if n % 20 == 7 {
            // An id that is there already: the database refuses it.
            accept.event = Arc::clone(&taken.event);
        }
        let request = AcceptRequest { tenant: t.tenant, revision, events: vec![accept], state: None, call: None };
        let store = t.store.clone();
        tokio::spawn(async move { (n % 20 == 7, store.event_accept(request).await) })
    });
    for task in tasks.collect::<Vec<_>>() {
        let (bad, answer) = task.await.unwrap();
        assert_eq!(answer.is_err(), bad, "{answer:?}");
    }
}

pub(crate) async fn codes_are_unique_and_those_of_the_rows(t: &Subject) {
    let revision = t.store.revision_get(t.tenant).await.unwrap();
    let tasks = (0..20).map(|n| {
        let deliveries: Vec<NewDelivery> =
            (0..n % 4).map(|_| t.delivery_to(t.endpoint, 0, Start::Skipped("x".into()))).collect();
        let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id).collect();
        let mut event = t.event(n);
        event.reason = deliveries.is_empty().then_some(NoDelivery::NoMatch);
        let accept = AcceptEvent { event: Arc::new(event), body_hash: [0; 32], deliveries };
        let store = t.store.clone();
        let request = AcceptRequest { tenant: t.tenant, revision, events: vec![accept], state: None, call: None };
        tokio::spawn(async move {
            let Accepted::Stored(events) = store.event_accept(request).await.unwrap() else { panic!("refused") };
            (ids, events[0].codes.clone())
        })
    });
    let mut all = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        let (ids, codes) = task.await.unwrap();
        assert_eq!(ids.len(), codes.len());
        for (id, code) in ids.iter().zip(codes) {
            let row = t.store.delivery_get(t.tenant, *id).await.unwrap().unwrap();
            assert_eq!((row.code, row.state), (code, DeliveryState::Skipped));
            all.push(code);
        }
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

pub(crate) async fn old_idempotency_keys_are_forgotten(t: &Subject) {
    t.accept(keyed(t, "old", 1)).await;
    assert_eq!(t.store.idempotency_purge(at(1), 10).await.unwrap(), 0, "taken at 1, kept before 1");
    assert_eq!(t.store.idempotency_purge(at(2), 10).await.unwrap(), 1);
    assert!(!t.accept(keyed(t, "old", 2)).await.duplicate);
}
