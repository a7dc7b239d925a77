use std::{collections::BTreeMap, time::Duration};

use engate_model::{
    DeliveryId, RecoveryId, TenantId, Timestamp,
    delivery::{Delivery, DeliveryState, Trigger},
    listing::{Sort, SortValue},
    recovery::{
        CHANGED, ENDPOINT_DELETED, IN_PROGRESS, NOT_KEPT, RUNNING_MAX, Recovery, RecoveryFilter, RecoveryState,
    },
};
use engate_store::{
    DeliveryFilter, FinishItem, NodeSerial, Page, RecoveryCancelled, Retried, Stepped, Store, StoreError,
};

use crate::{
    finishing::in_hand,
    harness::{Subject, actor, at, attempt, failed, succeeded, unique},
};

fn recovery(t: &Subject, millis: i64) -> Recovery {
    Recovery {
        id: RecoveryId::new(at(millis), unique()),
        tenant: t.tenant,
        filter: RecoveryFilter { states: vec![DeliveryState::Failed], ..RecoveryFilter::default() },
        since: at(-1_000),
        until: at(millis),
        rate: 10,
        state: RecoveryState::Running,
        matched: 7,
        matched_estimated: false,
        position: 0,
        retried: 0,
        skipped: BTreeMap::new(),
        trouble: None,
        created_by: "ana".into(),
        started_at: at(millis),
        finished_at: None,
        next_at: Some(at(millis)),
    }
}

async fn made(t: &Subject, millis: i64) -> Recovery {
    let made = recovery(t, millis);
    t.store.recovery_create(&actor(), &made).await.unwrap();
    made
}

async fn read(t: &Subject, id: RecoveryId) -> Recovery {
    t.store.recovery_get(t.tenant, id).await.unwrap().unwrap()
}

/// A delivery whose only try failed.
async fn failed_for_good(t: &Subject, node: NodeSerial) -> Delivery {
    let (delivery, event) = in_hand(t, node).await;
    let tried = attempt(1, b"x");
    let item = FinishItem::new(&delivery, &event, node, &tried, &failed(DeliveryState::Failed, None));
    t.store.delivery_finish(item).await.unwrap();
    t.store.delivery_get(t.tenant, delivery.id).await.unwrap().unwrap()
}

pub(crate) async fn a_recovery_comes_back_as_it_was_put_and_belongs_to_its_tenant(t: &Subject) {
    let mut one = recovery(t, 1);
    one.filter.success = vec![Some(false), None];
    one.filter.endpoints = vec![t.endpoint];
    one.filter.attempts_max = Some(3);
    (one.matched, one.matched_estimated) = (10_000, true);
    t.store.recovery_create(&actor(), &one).await.unwrap();
    let two = made(t, 2).await;
    assert_eq!(read(t, one.id).await, one);
    let page = t.store.recovery_list(t.tenant, None, 1).await.unwrap();
    assert_eq!((page.items, page.next, page.total.count), (vec![two.clone()], Some(two.id), 2));
    let page = t.store.recovery_list(t.tenant, page.next, 1).await.unwrap();
    assert_eq!((page.items, page.next), (vec![one.clone()], None));
    let other = TenantId::new(at(9), unique());
    assert_eq!(t.store.recovery_get(other, one.id).await.unwrap(), None);
    assert_eq!(t.store.recovery_list(other, None, 10).await.unwrap().total.count, 0);
    let foreign = t.store.recovery_cancel(&actor(), other, one.id).await;
    assert_eq!(foreign, Err(StoreError::NotFound { what: "recovery" }));
    assert_eq!(read(t, one.id).await, one);
}

pub(crate) async fn a_step_sets_one_due_and_moves_on_or_does_nothing(t: &Subject) {
    let node = t.node("a").await;
    let (first, second) = (failed_for_good(t, node).await, failed_for_good(t, node).await);
    let mut one = made(t, 1_000).await;
    let mut late = one.clone();
    assert_eq!(t.store.recovery_step(at(2_000), &mut one, &first).await.unwrap(), Stepped::Retried);
    assert_eq!((one.position, one.retried, one.next_at), (first.code, 1, Some(at(1_100))));
    assert_eq!(read(t, one.id).await, one);
    let row = t.store.delivery_get(t.tenant, first.id).await.unwrap().unwrap();
    assert_eq!((row.state, row.next_attempt_at), (DeliveryState::Pending, Some(at(2_000))));
    // Whoever read it before does nothing, to none.
    for seen in [&first, &second] {
        assert_eq!(t.store.recovery_step(at(2_000), &mut late, seen).await.unwrap(), Stepped::Overtaken);
    }
    assert_eq!(read(t, one.id).await, one);
    assert_eq!(t.state_of(second.id).await, DeliveryState::Failed);
    assert!(!t.store.recovery_end(at(2_000), &late).await.unwrap(), "nor does it end it");
    let claimed = t.store.delivery_claim(node, &[(t.endpoint, 9)], at(2_000)).await.unwrap();
    assert_eq!((claimed.len(), claimed[0].trigger), (1, Trigger::Manual));
    let event = &*claimed[0].event;
    let item = FinishItem::new(&claimed[0].delivery, event, node, &attempt(2, b"x"), &succeeded());
    t.store.delivery_finish(item).await.unwrap();
    assert_eq!(t.store.recovery_step(at(2_000), &mut one, &second).await.unwrap(), Stepped::Retried);
    let audited = t.store.audit_list(t.tenant, &Default::default(), None, engate_store::Order::Ascending, 100).await;
    let actions: Vec<_> = audited.unwrap().items.into_iter().map(|entry| entry.action).collect();
    let count = |action: &str| actions.iter().filter(|one| *one == action).count();
    assert_eq!((count("recovery.create"), count("delivery.retry")), (1, 0), "{actions:?}");
    assert!(t.store.recovery_end(at(3_000), &one).await.unwrap());
    let over = read(t, one.id).await;
    assert_eq!((over.state, over.finished_at, over.next_at), (RecoveryState::Succeeded, Some(at(3_000)), None));
    let third = failed_for_good(t, node).await;
    assert_eq!(t.store.recovery_step(at(4_000), &mut one, &third).await.unwrap(), Stepped::Overtaken, "it is over");
    assert_eq!(t.state_of(third.id).await, DeliveryState::Failed);
}

pub(crate) async fn what_a_recovery_cannot_try_again_is_counted_by_why(t: &Subject) {
    let node = t.node("a").await;
    let mut one = made(t, 1).await;
    let mut step = async |seen: &Delivery| t.store.recovery_step(at(1), &mut one, seen).await.unwrap();

    let taken = failed_for_good(t, node).await;
    let (done, event) = in_hand(t, node).await;
    let item = FinishItem::new(&done, &event, node, &attempt(1, b"x"), &succeeded());
    t.store.delivery_finish(item).await.unwrap();
    let done = t.store.delivery_get(t.tenant, done.id).await.unwrap().unwrap();
    let (held, held_event) = in_hand(t, node).await;
    assert_eq!(step(&done).await, Stepped::Skipped("succeeded"));
    assert_eq!(step(&held).await, Stepped::Skipped(IN_PROGRESS));
    // Someone was quicker: it waits for its try by now, and is left alone.
    assert_eq!(t.store.delivery_retry(&actor(), t.tenant, taken.id).await.unwrap(), Retried::Scheduled);
    assert_eq!(step(&taken).await, Stepped::Skipped(CHANGED));
    let gone = Delivery { id: DeliveryId::new(at(5), unique()), ..taken.clone() };
    assert_eq!(step(&gone).await, Stepped::Skipped(NOT_KEPT));
    let item = FinishItem::new(&held, &held_event, node, &attempt(1, b"x"), &failed(DeliveryState::Failed, None));
    t.store.delivery_finish(item).await.unwrap();
    let held = t.store.delivery_get(t.tenant, held.id).await.unwrap().unwrap();
    t.store.endpoint_delete(&actor(), t.tenant, t.endpoint, None).await.unwrap();
    assert_eq!(step(&held).await, Stepped::Skipped(ENDPOINT_DELETED));
    let counted = read(t, one.id).await;
    let names = ["succeeded", IN_PROGRESS, CHANGED, NOT_KEPT, ENDPOINT_DELETED];
    assert_eq!(counted.skipped, names.map(|name| (name.to_owned(), 1)).into());
    assert_eq!((counted.retried, counted.position), (0, held.code));
}

/// Goes through all there is as a node does; gives how many it set due.
async fn walk(t: &Subject, store: &Store, id: RecoveryId) -> u64 {
    let filter = DeliveryFilter { states: vec![DeliveryState::Failed], ..DeliveryFilter::default() };
    let mut retried = 0;
    loop {
        let mut one = store.recovery_get(t.tenant, id).await.unwrap().unwrap();
        if one.state != RecoveryState::Running {
            return retried;
        }
        let after = (one.position > 0).then(|| vec![SortValue::Int(one.position)]);
        let page = Page { after, limit: 3 };
        let page = store.delivery_rows(t.tenant, &filter, &Sort::default(), &page).await.unwrap();
        let mut overtaken = false;
        for seen in &page.items {
            match store.recovery_step(at(1), &mut one, seen).await.unwrap() {
                Stepped::Retried => retried += 1,
                Stepped::Skipped(why) => panic!("{why}"),
                Stepped::Overtaken => {
                    overtaken = true;
                    break;
                }
            }
        }
        if !overtaken && page.next.is_none() {
            store.recovery_end(at(1), &one).await.unwrap();
        }
    }
}

pub(crate) async fn of_two_nodes_one_sets_each_delivery_due(t: &Subject) {
    const DELIVERIES: u64 = 30;
    let node = t.node("a").await;
    for _ in 0..DELIVERIES {
        failed_for_good(t, node).await;
    }
    let one = made(t, 1).await;
    let other = t.reopen().await;
    let (here, there) = tokio::join!(walk(t, &t.store, one.id), walk(t, &other, one.id));
    other.close().await;
    println!("{here} by one node, {there} by the other");
    assert_eq!(here + there, DELIVERIES);
    let over = read(t, one.id).await;
    assert_eq!((over.state, over.retried, over.skipped), (RecoveryState::Succeeded, DELIVERIES, BTreeMap::new()));
}

pub(crate) async fn a_recovery_is_due_by_its_rate_until_it_is_over(t: &Subject) {
    let node = t.node("a").await;
    let deliveries = [failed_for_good(t, node).await, failed_for_good(t, node).await, failed_for_good(t, node).await];
    let mut one = made(t, 0).await;
    let due = async |now: Timestamp| t.store.recovery_due(now, 10).await.unwrap();
    assert_eq!(due(at(-1)).await, (vec![], Some(at(0))));
    let mut now = at(0);
    for delivery in &deliveries {
        assert_eq!(due(now).await, (vec![one.clone()], None));
        t.store.recovery_step(now, &mut one, delivery).await.unwrap();
        let next = now.after(Duration::from_millis(100));
        assert_eq!(due(now.after(Duration::from_millis(99))).await, (vec![], Some(next)));
        now = next;
    }
    // What keeps it from going on is told, and forgotten with the next step.
    t.store.recovery_trouble(one.id, "busy", at(9_000)).await.unwrap();
    let troubled = read(t, one.id).await;
    assert_eq!((troubled.trouble.as_deref(), troubled.next_at), (Some("busy"), Some(at(9_000))));
    t.store.recovery_step(at(9_000), &mut one, &failed_for_good(t, node).await).await.unwrap();
    assert_eq!(read(t, one.id).await.trouble, None);

    let cancel = async |id| t.store.recovery_cancel(&actor(), t.tenant, id).await.unwrap();
    assert_eq!(cancel(one.id).await, RecoveryCancelled::Cancelled);
    assert_eq!(cancel(one.id).await, RecoveryCancelled::AlreadyOver(RecoveryState::Cancelled));
    assert_eq!(due(at(99_000)).await, (vec![], None));
    let left = failed_for_good(t, node).await;
    assert_eq!(t.store.recovery_step(at(99_000), &mut one, &left).await.unwrap(), Stepped::Overtaken);
    assert_eq!(t.state_of(left.id).await, DeliveryState::Failed);
    assert_eq!(read(t, one.id).await.finished_at, Some(actor().now));
}

pub(crate) async fn a_deleted_tenants_recoveries_are_over(t: &Subject) {
    let node = t.node("a").await;
    let delivery = failed_for_good(t, node).await;
    let mut one = made(t, 1).await;
    let tenant = t.store.tenant_get(t.tenant).await.unwrap().unwrap();
    t.store.tenant_delete(&actor(), &tenant).await.unwrap();
    assert_eq!(t.store.recovery_due(at(9_000), 10).await.unwrap(), (vec![], None));
    assert_eq!(t.store.recovery_step(at(9_000), &mut one, &delivery).await.unwrap(), Stepped::Overtaken);
    assert_eq!(read(t, one.id).await.state, RecoveryState::Cancelled);
}

pub(crate) async fn so_many_recoveries_run_and_old_ones_are_forgotten(t: &Subject) {
    let mut all = Vec::new();
    for n in 0..i64::try_from(RUNNING_MAX).unwrap() {
        all.push(made(t, n).await);
    }
    let more = t.store.recovery_create(&actor(), &recovery(t, 9)).await;
    assert!(matches!(more, Err(StoreError::Conflict { .. })), "{more:?}");
    t.store.recovery_cancel(&actor(), t.tenant, all[0].id).await.unwrap();
    assert!(t.store.recovery_end(at(50), &all[1]).await.unwrap());
    made(t, 9).await;
    let ended = actor().now;
    assert_eq!(t.store.recovery_purge(ended, 10).await.unwrap(), 0);
    assert_eq!(t.store.recovery_purge(ended.after(Duration::from_millis(1)), 10).await.unwrap(), 1);
    assert_eq!(t.store.recovery_get(t.tenant, all[0].id).await.unwrap(), None);
    assert_eq!(t.store.recovery_purge(at(1_000_000), 10).await.unwrap(), 1, "those under way stay");
    assert_eq!(t.store.recovery_list(t.tenant, None, 10).await.unwrap().total.count, RUNNING_MAX - 1);
}
