use std::sync::Arc;

use engate_model::{
    delivery::{DeliveryState, Trigger},
    listing::Sort,
};
use engate_store::{
    AcceptEvent, Cancelled, DeliveryFilter, EventFilter, FinishItem, Order, Page, Retried, Start, StoreError,
    SuccessFilter, Total,
};

use crate::{
    finishing::in_hand,
    harness::{Subject, actor, at, attempt, failed, succeeded, unique},
};

const ALL: Page = Page { after: None, limit: 100 };

pub(crate) async fn deliveries_are_filtered_paged_and_counted(t: &Subject) {
    let node = t.node("a").await;
    let other = t.endpoint_more().await;
    let mut expected = Vec::new();
    for n in 0..6 {
        let (delivery, event) = in_hand(t, node).await;
        let next = match n % 3 {
            0 => succeeded(),
            1 => failed(DeliveryState::Failed, None),
            _ => failed(DeliveryState::Pending, Some(at(50))),
        };
        let item = FinishItem::new(&delivery, &event, node, &attempt(1, b"x"), &next);
        t.store.delivery_finish(item).await.unwrap();
        expected.push(delivery.code);
    }
    let mut typed = t.event(7);
    typed.event_type = "order.created".into();
    let event = typed.id;
    let deliveries =
        vec![t.delivery_to(other, 0, Start::Pending(at(0))), t.delivery_to(t.endpoint, 0, Start::Skipped("x".into()))];
    let answer = t.accept(AcceptEvent { event: Arc::new(typed), body_hash: [0; 32], deliveries }).await;
    let (to_other, skipped) = (answer.codes[0], answer.codes[1]);

    let codes = async |filter: DeliveryFilter| {
        let page = t.store.delivery_list(t.tenant, &filter, &Sort::default(), &ALL).await.unwrap();
        let codes: Vec<i64> = page.items.iter().map(|delivery| delivery.code).collect();
        assert_eq!(page.total, Some(Total { count: u64::try_from(codes.len()).unwrap(), exact: true }));
        assert!(codes.is_sorted());
        codes
    };
    let any = DeliveryFilter::default();
    assert_eq!(codes(any.clone()).await, [&expected[..], &[to_other, skipped]].concat());
    let states = |states: &[DeliveryState]| DeliveryFilter { states: states.to_vec(), ..any.clone() };
    assert_eq!(codes(states(&[DeliveryState::Failed])).await, [expected[1], expected[4]]);
    let both = states(&[DeliveryState::Succeeded, DeliveryState::Pending]);
    assert_eq!(codes(both.clone()).await, [expected[0], expected[2], expected[3], expected[5], to_other]);
    let success = |success| DeliveryFilter { success: vec![success], ..any.clone() };
    assert_eq!(codes(success(SuccessFilter::Yes)).await, [expected[0], expected[3]]);
    assert_eq!(codes(success(SuccessFilter::No)).await, [expected[1], expected[2], expected[4], expected[5]]);
    assert_eq!(codes(success(SuccessFilter::Pending)).await, [to_other, skipped]);
    let impossible = DeliveryFilter { success: vec![SuccessFilter::No], ..states(&[DeliveryState::Succeeded]) };
    assert_eq!(codes(impossible).await, [] as [i64; 0]);
    assert_eq!(codes(DeliveryFilter { endpoints: vec![other], ..any.clone() }).await, [to_other]);
    assert_eq!(codes(DeliveryFilter { event: Some(event), ..any.clone() }).await, [to_other, skipped]);
    let narrow =
        DeliveryFilter { event: Some(event), endpoints: vec![t.endpoint], ..states(&[DeliveryState::Skipped]) };
    assert_eq!(codes(narrow).await, [skipped]);
    let typed = DeliveryFilter { event_types: vec!["order.created".into()], ..any.clone() };
    assert_eq!(codes(typed.clone()).await, [to_other, skipped]);
    assert_eq!(codes(DeliveryFilter { states: vec![DeliveryState::Pending], ..typed }).await, [to_other]);
    assert_eq!(codes(DeliveryFilter { integrators: vec![t.integrator], ..both }).await.len(), 5);
    let stranger = engate_model::IntegratorId::new(at(0), unique());
    assert_eq!(codes(DeliveryFilter { integrators: vec![stranger], ..any.clone() }).await, [] as [i64; 0]);
    let timed = DeliveryFilter { created_from: Some(at(7)), created_before: Some(at(8)), ..any.clone() };
    assert_eq!(codes(timed).await, [to_other, skipped]);
    pages(t, &[&expected[..], &[to_other, skipped]].concat()).await;
}

async fn pages(t: &Subject, all: &[i64]) {
    for sort in ["code", "-code"] {
        let mut wanted = all.to_vec();
        if sort == "-code" {
            wanted.reverse();
        }
        let (mut got, mut after) = (Vec::new(), None);
        loop {
            let (page, sort) = (Page { after, limit: 3 }, Sort::parse(sort).unwrap());
            let page = t.store.delivery_list(t.tenant, &DeliveryFilter::default(), &sort, &page).await.unwrap();
            assert_eq!(page.total.unwrap().count, 8);
            got.extend(page.items.iter().map(|delivery| delivery.code));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(got, wanted);
    }
}

pub(crate) async fn events_are_paged_both_ways(t: &Subject) {
    let mut ids = Vec::new();
    for n in 0..5 {
        let mut event = t.event(n * 10);
        if n % 2 == 1 {
            event.event_type = "order.created".into();
        }
        ids.push(event.id);
        t.accept(t.single(event, Start::Pending(at(0)))).await;
    }
    let any = EventFilter::default();
    let list = async |filter: &EventFilter, after, order, limit| {
        let page = t.store.event_list(t.tenant, filter, after, order, limit).await.unwrap();
        (page.items.iter().map(|event| event.id).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(list(&any, None, Order::Ascending, 2).await, (ids[..2].to_vec(), Some(ids[1])));
    assert_eq!(list(&any, Some(ids[1]), Order::Ascending, 9).await, (ids[2..].to_vec(), None));
    assert_eq!(list(&any, Some(ids[2]), Order::Descending, 9).await, (vec![ids[1], ids[0]], None));
    let typed = EventFilter { event_type: Some("order.created".into()), ..any.clone() };
    assert_eq!(list(&typed, None, Order::Descending, 9).await, (vec![ids[3], ids[1]], None));
    let timed = EventFilter { accepted_from: Some(at(10)), accepted_before: Some(at(30)), ..any.clone() };
    for (filter, count) in [(&any, 5), (&typed, 2), (&timed, 2)] {
        let page = t.store.event_list(t.tenant, filter, Some(ids[2]), Order::Descending, 1).await.unwrap();
        assert_eq!(page.total, Total { count, exact: true }, "all pages together, wherever this one is");
    }
    assert_eq!(list(&timed, None, Order::Ascending, 9).await.0, ids[1..3]);
}

pub(crate) async fn a_retry_by_hand_is_due_now_and_says_so(t: &Subject) {
    let node = t.node("a").await;
    let (delivery, event) = in_hand(t, node).await;
    let retry = async || t.store.delivery_retry(&actor(), t.tenant, delivery.id).await;
    assert_eq!(retry().await.unwrap(), Retried::InProgress);
    let item = FinishItem::new(&delivery, &event, node, &attempt(1, b"x"), &failed(DeliveryState::Failed, None));
    t.store.delivery_finish(item).await.unwrap();
    assert_eq!(retry().await.unwrap(), Retried::Scheduled);
    assert_eq!(retry().await.unwrap(), Retried::Scheduled, "while it waits it may be wished for again");
    let claimed = t.store.delivery_claim(node, &[(t.endpoint, 1)], at(1)).await.unwrap();
    assert_eq!(claimed[0].trigger, Trigger::Manual);
    let item = FinishItem::new(&delivery, &event, node, &attempt(2, b"x"), &succeeded());
    t.store.delivery_finish(item).await.unwrap();
    assert_eq!(retry().await.unwrap(), Retried::NotAllowed(DeliveryState::Succeeded));
    let unknown = engate_model::DeliveryId::new(at(0), unique());
    let answer = t.store.delivery_retry(&actor(), t.tenant, unknown).await;
    assert_eq!(answer, Err(StoreError::NotFound { what: "delivery" }));
    let waits = t.waiting(t.endpoint, 1).await;
    t.store.endpoint_delete(&actor(), t.tenant, t.endpoint, None).await.unwrap();
    let answer = t.store.delivery_retry(&actor(), t.tenant, waits).await.unwrap();
    assert_eq!(answer, Retried::NotAllowed(DeliveryState::Cancelled));
}

pub(crate) async fn only_what_waits_is_cancelled(t: &Subject) {
    let node = t.node("a").await;
    let waits = t.waiting(t.endpoint, 1).await;
    let (held, event) = in_hand(t, node).await;
    let cancel = async |id| t.store.delivery_cancel(&actor(), t.tenant, id, "by_hand").await.unwrap();
    assert_eq!(cancel(waits).await, Cancelled::Cancelled);
    let row = t.store.delivery_get(t.tenant, waits).await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.reason.as_deref(), row.next_attempt_at),
        (DeliveryState::Cancelled, Some("by_hand"), None)
    );
    assert_eq!(cancel(waits).await, Cancelled::AlreadyFinished(DeliveryState::Cancelled));
    assert_eq!(cancel(held.id).await, Cancelled::InProgress);
    let item = FinishItem::new(&held, &event, node, &attempt(1, b"x"), &succeeded());
    t.store.delivery_finish(item).await.unwrap();
    assert_eq!(cancel(held.id).await, Cancelled::AlreadyFinished(DeliveryState::Succeeded));
}

pub(crate) async fn depths_count_what_waits(t: &Subject) {
    assert_eq!(t.store.queue_depths().await.unwrap(), []);
    let other = t.endpoint_more().await;
    for (endpoint, taken, due) in [(t.endpoint, 2, 30), (t.endpoint, 3, 20), (other, 4, 5)] {
        t.waiting_since(endpoint, taken, due).await;
    }
    let depths = t.store.queue_depths().await.unwrap();
    let mut depths: Vec<_> = depths.iter().map(|d| (d.endpoint, d.waiting, d.oldest_at, d.due_at)).collect();
    depths.sort_by_key(|depth| depth.3);
    assert_eq!(depths, [(other, 1, at(4), Some(at(5))), (t.endpoint, 2, at(2), Some(at(20)))]);
    t.store.ping().await.unwrap();
}
