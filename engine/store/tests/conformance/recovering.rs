use std::{collections::BTreeMap, time::Duration};

use engate_model::{
    DeliveryId, RecoveryId, TenantId, Timestamp,
    delivery::{Delivery, DeliveryState, Trigger},
    event::{Event, NoDelivery},
    line::Ordering,
    recovery::{
        CHANGED, ENDPOINT_DELETED, IN_PROGRESS, NOT_KEPT, RUNNING_MAX, Recovery, RecoveryFilter, RecoveryState, TEST,
    },
};
use engate_store::{
    AcceptEvent, DeliveryFilter, FinishItem, NodeSerial, RecoveryCancelled, Retried, Start, Stepped, Store, StoreError,
    StretchTime,
};

use crate::{
    finishing::in_hand,
    harness::{PATIENCE, Subject, actor, at, attempt, failed, succeeded, unique},
    ordering::{ordered, row, single},
    orders::eager,
};

const AT_ONCE: StretchTime = StretchTime { enough: PATIENCE, most: PATIENCE };

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
    in_vain(t, node, t.single(t.event(0), Start::HandedOver(node))).await
}

/// The same of that event, begun in this node's hands.
async fn in_vain(t: &Subject, node: NodeSerial, accept: AcceptEvent) -> Delivery {
    let answer = t.accept(accept.clone()).await;
    assert!(answer.held_back.is_empty());
    let delivery = accept.delivery(0, answer.codes[0]).unwrap();
    let in_line = accept.deliveries[0].ordering != Ordering::Parallel;
    let (tried, next) = (attempt(1, b"x"), failed(DeliveryState::Failed, None));
    let item = FinishItem::new(&delivery, &accept.event, node, &tried, &next).in_line(in_line);
    t.store.delivery_finish(item).await.unwrap();
    row(t, delivery.id).await
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
        let stretch = store.delivery_stretch(t.tenant, &filter, one.position, 3, AT_ONCE).await.unwrap();
        let mut overtaken = false;
        for seen in &stretch.items {
            match store.recovery_step(at(1), &mut one, seen).await.unwrap() {
                Stepped::Retried => retried += 1,
                Stepped::Skipped(why) => panic!("{why}"),
                Stepped::Overtaken => {
                    overtaken = true;
                    break;
                }
            }
        }
        if !overtaken && stretch.ended {
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
    // Whoever was let in a moment before starts none that nobody could stop.
    let late = t.store.recovery_create(&actor(), &recovery(t, 2)).await;
    assert_eq!(late, Err(StoreError::NotFound { what: "tenant" }));
    assert_eq!(t.store.recovery_list(t.tenant, None, 10).await.unwrap().total.count, 1);
}

pub(crate) async fn a_trial_is_left_out_and_takes_no_place_of_what_happened(t: &Subject) {
    let node = t.node("a").await;
    let endpoint = ordered(t, Ordering::Latest).await;
    let real = async |millis| {
        let start = Start::HandedOver(node);
        in_vain(t, node, single(t, t.event(millis), endpoint, Ordering::Latest, start)).await
    };
    // A trial is entered without a line, whatever its endpoint's order.
    let trial = async |millis| {
        let event = Event { reason: Some(NoDelivery::Test), ..t.event(millis) };
        in_vain(t, node, single(t, event, endpoint, Ordering::Parallel, Start::HandedOver(node))).await
    };
    let (before, happened, after) = (trial(1).await, real(2).await, trial(3).await);
    let mut one = made(t, 1_000).await;
    let mut step = async |seen: &Delivery| t.store.recovery_step(at(2_000), &mut one, seen).await.unwrap();
    assert_eq!(step(&before).await, Stepped::Skipped(TEST));
    assert_eq!(step(&happened).await, Stepped::Retried);
    assert_eq!(step(&after).await, Stepped::Skipped(TEST));
    assert_eq!(row(t, before.id).await, before);
    assert_eq!(row(t, after.id).await, after);
    let due = row(t, happened.id).await;
    assert_eq!((due.state, due.next_attempt_at), (DeliveryState::Pending, Some(at(2_000))));
    let counted = read(t, one.id).await;
    assert_eq!((counted.retried, counted.skipped), (1, [(TEST.to_owned(), 2)].into()));

    // By hand both go, beside the line: the one is not outdated, the other outdates nothing.
    for trial in [&before, &after] {
        assert_eq!(t.store.delivery_retry(&actor(), t.tenant, trial.id).await.unwrap(), Retried::Scheduled);
        let again = row(t, trial.id).await;
        assert_eq!((again.state, again.next_attempt_at), (DeliveryState::Pending, Some(actor().now)));
    }
    assert_eq!(row(t, happened.id).await, due, "it goes as it would");
}

/// Codes that others got meanwhile: more than a window has.
async fn skip_codes(t: &Subject) {
    t.meddle(if t.is_sqlite() {
        "UPDATE counters SET value = value + 10000 WHERE name = 'delivery_code'"
    } else {
        "SELECT setval('delivery_code', nextval('delivery_code') + 10000)"
    })
    .await;
}

pub(crate) async fn however_much_is_passed_over_a_recovery_gets_on(t: &Subject) {
    let node = t.node("a").await;
    let mut codes = Vec::new();
    for taken in [5_000, 6_000, 0] {
        codes.push(in_vain(t, node, t.single(t.event(taken), Start::HandedOver(node))).await.code);
        skip_codes(t).await;
    }
    let store = eager(t, 0).await;
    let (states, created_before) = (vec![DeliveryState::Failed], Some(at(1_000)));
    let filter = DeliveryFilter { states, created_before, ..DeliveryFilter::default() };
    let stretch = async |after, time| store.delivery_stretch(t.tenant, &filter, after, 5, time).await;
    let whole = stretch(0, AT_ONCE).await.unwrap();
    assert_eq!((whole.items.iter().map(|one| one.code).collect::<Vec<_>>(), whole.ended), (vec![codes[2]], true));

    // Where there is time for one part only, each look goes on behind the one before.
    let brief = StretchTime { enough: Duration::ZERO, ..AT_ONCE };
    let mut one = made(t, 9_000).await;
    for n in 0..3 {
        t.store.recovery_trouble(one.id, "busy", at(9_000)).await.unwrap();
        let part = stretch(one.position, brief).await.unwrap();
        let found: Vec<_> = part.items.iter().map(|one| one.code).collect();
        assert_eq!((found, part.ended), (if n == 2 { vec![codes[2]] } else { vec![] }, false), "{n}");
        assert!(part.reached >= codes[n] && codes.get(n + 1).is_none_or(|next| part.reached < *next), "{n}: {part:?}");
        assert!(t.store.recovery_pass(&one, part.reached).await.unwrap());
        assert!(!t.store.recovery_pass(&one, part.reached + 1).await.unwrap(), "another node was here before");
        one.position = part.reached;
        assert_eq!(read(t, one.id).await, one, "nothing but its place, and what was in its way");
    }
    let last = stretch(one.position, brief).await.unwrap();
    assert_eq!((last.items, last.reached, last.ended), (vec![], one.position, true));
    let none = StretchTime { enough: Duration::ZERO, most: Duration::ZERO };
    assert_eq!(stretch(0, none).await, Err(StoreError::TooBroad));
    assert!(t.store.recovery_end(at(9_000), &one).await.unwrap());
    assert!(!t.store.recovery_pass(&one, one.position + 1).await.unwrap(), "it is over");
    store.close().await;
}

pub(crate) async fn of_two_starts_at_once_one_is_the_last_that_may_be(t: &Subject) {
    for n in 1..i64::try_from(RUNNING_MAX).unwrap() {
        made(t, n).await;
    }
    let other = t.reopen().await;
    let (by, one, two) = (actor(), recovery(t, 10), recovery(t, 11));
    let (here, there) = tokio::join!(t.store.recovery_create(&by, &one), other.recovery_create(&by, &two));
    other.close().await;
    assert!(here.is_ok() != there.is_ok(), "{here:?} {there:?}");
    assert_eq!(t.store.recovery_list(t.tenant, None, 10).await.unwrap().total.count, RUNNING_MAX);
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
