//! Lines: `fifo` and `latest` kept by the store, whoever comes at once.

use std::{collections::BTreeSet, sync::Arc};

use engate_model::{
    DeliveryId, EndpointId,
    delivery::{Delivery, DeliveryState},
    event::Event,
    line::Ordering,
    listing::Sort,
};
use engate_store::{
    AcceptEvent, AcceptRequest, Accepted, AuditFilter, Cancelled, ClaimedDelivery, DeliveryFilter, FinishItem,
    Finished, NEWER_VERSION, NewDelivery, NodeSerial, Order, Page, Retried, Start, Store, Taken, Version, WAITS_BEHIND,
    WantedNow,
};

use crate::harness::{LEASE, Subject, actor, at, attempt, failed, succeeded, unique};

use DeliveryState::{Cancelled as Off, Delivering, Failed, Pending, Succeeded, Superseded};

/// An endpoint that keeps an order.
pub(crate) async fn ordered(t: &Subject, ordering: Ordering) -> EndpointId {
    let id = EndpointId::new(at(0), unique());
    let row = engate_model::endpoint::Endpoint { ordering, ..t.endpoint_row(id) };
    t.store.endpoint_create(&actor(), &row).await.unwrap();
    id
}

async fn set_ordering(t: &Subject, endpoint: EndpointId, ordering: Ordering) {
    let mut row = t.store.endpoint_get(t.tenant, endpoint).await.unwrap().unwrap();
    row.ordering = ordering;
    t.store.endpoint_update(&actor(), &row).await.unwrap();
}

fn about(t: &Subject, event_type: &str, subject: &str) -> Event {
    Event { event_type: event_type.into(), subject: Some(subject.into()), ..t.event(1) }
}

pub(crate) fn single(t: &Subject, event: Event, endpoint: EndpointId, ordering: Ordering, start: Start) -> AcceptEvent {
    let delivery = NewDelivery { ordering, ..t.delivery_to(endpoint, 1, start) };
    AcceptEvent { event: Arc::new(event), body_hash: [0; 32], deliveries: vec![delivery] }
}

/// A delivery as the store answered it.
pub(crate) struct Entered {
    pub(crate) id: DeliveryId,
    pub(crate) delivery: Delivery,
    pub(crate) event: Event,
    pub(crate) held_back: bool,
}

/// One event of type P about `subject`, handed over to `node` if it may go.
async fn enter(t: &Subject, endpoint: EndpointId, ordering: Ordering, subject: &str, node: NodeSerial) -> Entered {
    let accept = single(t, about(t, "P", subject), endpoint, ordering, Start::HandedOver(node));
    let answer = t.accept(accept.clone()).await;
    let delivery = accept.delivery(0, answer.codes[0]).unwrap();
    let held_back = !answer.held_back.is_empty();
    Entered { id: delivery.id, delivery, event: (*accept.event).clone(), held_back }
}

pub(crate) async fn row(t: &Subject, id: DeliveryId) -> Delivery {
    t.store.delivery_get(t.tenant, id).await.unwrap().unwrap()
}

/// Has somebody want that version sent now.
pub(crate) async fn take(t: &Subject, node: NodeSerial, endpoint: EndpointId, version: &Version) -> Taken {
    let wanted = WantedNow {
        tenant: t.tenant,
        endpoint,
        integrator: t.integrator,
        version,
        id: DeliveryId::new(at(3), unique()),
        action: "endpoint.send",
    };
    t.store.delivery_take(&actor(), node, &wanted).await.unwrap()
}

pub(crate) async fn finish(
    store: &Store,
    node: NodeSerial,
    entered: &Entered,
    next: &engate_model::transition::Transition,
    in_line: bool,
) -> Finished {
    let number = entered.delivery.attempts + 1;
    let item = FinishItem::new(&entered.delivery, &entered.event, node, &attempt(number, b"x"), next).in_line(in_line);
    store.delivery_finish(item).await.unwrap()
}

async fn claim(t: &Subject, node: NodeSerial, endpoint: EndpointId, now: i64) -> Vec<ClaimedDelivery> {
    t.store.delivery_claim(node, &[(endpoint, 100)], at(now)).await.unwrap()
}

pub(crate) async fn states(t: &Subject, entered: &[&Entered]) -> Vec<DeliveryState> {
    let mut states = Vec::new();
    for one in entered {
        states.push(t.state_of(one.id).await);
    }
    states
}

pub(crate) async fn in_a_fifo_line_the_next_waits_for_the_one_before(t: &Subject) {
    let node = t.node("a").await;
    let endpoint = ordered(t, Ordering::Fifo).await;
    let first = enter(t, endpoint, Ordering::Fifo, "7", node).await;
    let second = enter(t, endpoint, Ordering::Fifo, "7", node).await;
    let third = enter(t, endpoint, Ordering::Fifo, "7", node).await;
    let other = enter(t, endpoint, Ordering::Fifo, "8", node).await;
    assert_eq!([first.held_back, second.held_back, third.held_back, other.held_back], [false, true, true, false]);
    assert_eq!(states(t, &[&first, &second, &other]).await, [Delivering, Pending, Delivering]);
    let waits = row(t, second.id).await;
    assert_eq!((waits.next_attempt_at, waits.reason.as_deref()), (None, Some(WAITS_BEHIND)));
    assert_eq!(t.store.doctor_orphans().await.unwrap(), [], "what waits for one that moves is no orphan");
    let depths = t.store.queue_depths().await.unwrap();
    assert_eq!(depths.iter().map(|depth| (depth.waiting, depth.due_at)).collect::<Vec<_>>(), [(2, None)]);

    let retry = failed(Pending, Some(at(9_000)));
    assert_eq!(finish(&t.store, node, &first, &retry, true).await, Finished::Finished, "its retry comes first");
    assert!(claim(t, node, endpoint, 8_999).await.is_empty());
    let claimed = claim(t, node, endpoint, 9_000).await;
    assert_eq!(claimed.iter().map(|one| (one.delivery.id, one.in_line)).collect::<Vec<_>>(), [(first.id, true)]);
    let again = Entered { delivery: claimed[0].delivery.clone(), event: first.event.clone(), ..first };
    assert_eq!(finish(&t.store, node, &again, &succeeded(), true).await, Finished::Released);
    let released = row(t, second.id).await;
    assert_eq!((released.next_attempt_at, released.reason), (Some(at(1)), None));
    let claimed = claim(t, node, endpoint, 9_001).await;
    assert_eq!(claimed.iter().map(|one| one.delivery.id).collect::<Vec<_>>(), [second.id], "one after the other");

    assert_eq!(t.store.delivery_cancel(&actor(), t.tenant, third.id, "by hand").await.unwrap(), Cancelled::Cancelled);
    let fourth = enter(t, endpoint, Ordering::Fifo, "7", node).await;
    assert_eq!(t.store.node_leave(node, at(9_002)).await.unwrap(), 2, "the dead node's part is due again");
    assert_eq!(states(t, &[&second, &third, &fourth]).await, [Pending, Off, Pending]);
    let node = t.node("b").await;
    let claimed: BTreeSet<_> = claim(t, node, endpoint, 9_003).await.into_iter().map(|one| one.delivery.id).collect();
    assert_eq!(claimed, BTreeSet::from([second.id, other.id]), "still one of each line");
    t.store.node_leave(node, at(9_004)).await.unwrap();
}

pub(crate) async fn o21_in_a_latest_line_the_newest_supersedes_what_waits(t: &Subject) {
    let node = t.node("a").await;
    let endpoint = ordered(t, Ordering::Latest).await;
    let enter = async || enter(t, endpoint, Ordering::Latest, "", node).await;
    let v1 = enter().await;
    finish(&t.store, node, &v1, &failed(Pending, Some(at(5_000))), true).await;
    let v2 = enter().await;
    assert!(!v2.held_back);
    assert_eq!(states(t, &[&v1, &v2]).await, [Superseded, Delivering]);
    let old = row(t, v1.id).await;
    assert_eq!((old.reason.as_deref(), old.success, old.next_attempt_at), (Some(NEWER_VERSION), Some(false), None));

    // v2 hangs at the partner: newer ones wait for how it ends, the newest alone.
    let (v3, v4) = (enter().await, enter().await);
    assert!(v3.held_back && v4.held_back);
    assert_eq!(states(t, &[&v2, &v3, &v4]).await, [Delivering, Superseded, Pending]);
    assert!(claim(t, node, endpoint, 99_999).await.is_empty());
    let retry = failed(Pending, Some(at(5_000)));
    assert_eq!(finish(&t.store, node, &v2, &retry, true).await, Finished::Released, "no retry of v2: v4 goes");
    assert_eq!(states(t, &[&v2, &v4]).await, [Superseded, Pending]);
    assert_eq!(claim(t, node, endpoint, 5_000).await.len(), 1);
    assert_eq!(finish(&t.store, node, &v4, &succeeded(), true).await, Finished::Finished);

    let retried = async |id| t.store.delivery_retry(&actor(), t.tenant, id).await.unwrap();
    assert_eq!(retried(v1.id).await, Retried::Outdated(v4.delivery.code), "nothing older after a newer success");
    assert_eq!(retried(v4.id).await, Retried::NotAllowed(Succeeded));
    let v5 = enter().await;
    finish(&t.store, node, &v5, &failed(Failed, None), true).await;
    assert_eq!(retried(v5.id).await, Retried::Scheduled, "the newest may be tried again");
    assert_eq!(claim(t, node, endpoint, 5_001).await.len(), 1);
    t.store.node_leave(node, at(6_000)).await.unwrap();
}

pub(crate) async fn of_an_array_the_last_of_each_key_goes(t: &Subject) {
    let node = t.node("a").await;
    for (ordering, expected) in
        [(Ordering::Latest, [Superseded, Superseded, Delivering]), (Ordering::Fifo, [Delivering, Pending, Pending])]
    {
        let endpoint = ordered(t, ordering).await;
        let one = || single(t, about(t, "P", "7"), endpoint, ordering, Start::HandedOver(node));
        let events = vec![one(), one(), one()];
        let ids: Vec<_> = events.iter().map(|event| event.deliveries[0].id).collect();
        let Accepted::Stored(stored) = t.store.event_accept(t.request(events).await).await.unwrap() else {
            panic!("refused")
        };
        for ((id, state), answer) in ids.into_iter().zip(expected).zip(stored) {
            assert_eq!(t.state_of(id).await, state);
            assert_eq!(answer.held_back.is_empty(), state == Delivering);
        }
    }
    t.store.node_leave(node, at(9)).await.unwrap();
}

pub(crate) async fn o21_a_dead_nodes_old_version_is_not_sent_again(t: &Subject) {
    let node = t.node("a").await;
    let endpoint = ordered(t, Ordering::Latest).await;
    let v1 = enter(t, endpoint, Ordering::Latest, "7", node).await;
    let v2 = enter(t, endpoint, Ordering::Latest, "7", node).await;
    assert_eq!(t.store.delivery_reclaim(at(0).after(LEASE)).await.unwrap(), 1);
    assert_eq!(states(t, &[&v1, &v2]).await, [Superseded, Pending]);
    let late = FinishItem::new(&v1.delivery, &v1.event, node, &attempt(1, b"x"), &succeeded()).in_line(true);
    assert_eq!(t.store.delivery_finish(late).await.unwrap(), Finished::LeaseLost);
    let other = t.node("b").await;
    let claimed = claim(t, other, endpoint, 20_000).await;
    assert_eq!(claimed.iter().map(|one| one.delivery.id).collect::<Vec<_>>(), [v2.id]);
    t.store.delivery_release(other, &[v2.id], at(20_001)).await.unwrap();
    let v3 = enter(t, endpoint, Ordering::Latest, "7", other).await;
    assert_eq!(states(t, &[&v2, &v3]).await, [Superseded, Delivering]);
    t.store.node_leave(other, at(20_002)).await.unwrap();
}

pub(crate) async fn what_is_set_aside_or_cancelled_lets_the_next_one_go(t: &Subject) {
    let node = t.node("a").await;
    let endpoint = ordered(t, Ordering::Fifo).await;
    let enter = async || enter(t, endpoint, Ordering::Fifo, "7", node).await;
    let (one, two, three) = (enter().await, enter().await, enter().await);
    let aside = t.store.delivery_set_aside(node, one.id, DeliveryState::Parked, "plugin_faulty").await.unwrap();
    assert_eq!(aside, Finished::Finished, "parked is not finished: the next one waits");
    assert!(claim(t, node, endpoint, 100).await.is_empty());
    t.store.delivery_cancel(&actor(), t.tenant, one.id, "by hand").await.unwrap();
    assert_eq!(claim(t, node, endpoint, 101).await.len(), 1);
    let aside = t.store.delivery_set_aside(node, two.id, Off, "by hand").await.unwrap();
    assert_eq!(aside, Finished::Released);
    let claimed = claim(t, node, endpoint, 102).await;
    assert_eq!(claimed.iter().map(|one| one.delivery.id).collect::<Vec<_>>(), [three.id]);
    t.store.node_leave(node, at(103)).await.unwrap();
}

pub(crate) async fn a_change_of_the_ordering_holds_for_what_is_there(t: &Subject) {
    let node = t.node("a").await;
    let endpoint = ordered(t, Ordering::Parallel).await;
    let of = async |subject, start: Start| {
        let accept = single(t, about(t, "P", subject), endpoint, Ordering::Parallel, start);
        let code = t.accept(accept.clone()).await.codes[0];
        let delivery = accept.delivery(0, code).unwrap();
        Entered { id: delivery.id, delivery, event: (*accept.event).clone(), held_back: false }
    };
    let busy = of("7", Start::HandedOver(node)).await;
    let (a, b) = (of("7", Start::Pending(at(50))).await, of("7", Start::Pending(at(10))).await);
    let (c, d) = (of("8", Start::Pending(at(60))).await, of("8", Start::Pending(at(5))).await);
    let old = of("9", Start::Pending(at(70))).await;
    let new = of("9", Start::HandedOver(node)).await;
    finish(&t.store, node, &new, &succeeded(), false).await;

    set_ordering(t, endpoint, Ordering::Fifo).await;
    let due = async |one: &Entered| row(t, one.id).await.next_attempt_at;
    assert_eq!([due(&a).await, due(&b).await, due(&c).await, due(&d).await], [None, None, Some(at(60)), None]);
    assert_eq!(t.store.doctor_orphans().await.unwrap(), []);

    set_ordering(t, endpoint, Ordering::Latest).await;
    let all = [&busy, &a, &b, &c, &d, &old];
    assert_eq!(states(t, &all).await, [Delivering, Superseded, Pending, Superseded, Pending, Superseded]);
    assert_eq!([due(&b).await, due(&d).await], [None, Some(at(5))]);
    // Its worker does not know that it is in a line now; the store finds out.
    assert_eq!(finish(&t.store, node, &busy, &failed(Pending, Some(at(900))), false).await, Finished::Released);
    assert_eq!((t.state_of(busy.id).await, due(&b).await), (Superseded, Some(at(10))));

    let late = enter(t, endpoint, Ordering::Latest, "7", node).await;
    let later = enter(t, endpoint, Ordering::Latest, "7", node).await;
    set_ordering(t, endpoint, Ordering::Parallel).await;
    assert!(due(&later).await.is_some(), "nothing waits behind anything");
    assert_eq!(finish(&t.store, node, &late, &failed(Pending, Some(at(900))), true).await, Finished::Finished);
    assert_eq!(due(&late).await, Some(at(900)));
    t.store.node_leave(node, at(1_000)).await.unwrap();
}

/// Several tasks and, on PostgreSQL, two stores accept, claim and finish at once; what each sent is written down.
pub(crate) async fn o21_whoever_comes_at_once_one_of_a_line_moves(t: &Subject) {
    for ordering in [Ordering::Latest, Ordering::Fifo] {
        at_once(t, ordering).await;
    }
}

async fn at_once(t: &Subject, ordering: Ordering) {
    const EVENTS: usize = 60;
    let endpoint = ordered(t, ordering).await;
    let second = if t.is_sqlite() { t.store.clone() } else { t.reopen().await };
    let nodes = [t.node("a").await, if t.is_sqlite() { t.node("a").await } else { t.node("b").await }];
    let stores = [t.store.clone(), second.clone()];
    let revision = t.store.revision_get(t.tenant).await.unwrap();
    let node = |n: usize| if t.is_sqlite() { nodes[1] } else { nodes[n % 2] };
    let mut tasks = Vec::new();
    for n in 0..EVENTS {
        let accept = single(t, about(t, "P", ["7", "8"][n % 2]), endpoint, ordering, Start::HandedOver(node(n / 2)));
        let request =
            AcceptRequest { tenant: t.tenant, revision, events: vec![accept.clone()], state: None, call: None };
        let (store, serial) = (stores[n / 2 % 2].clone(), node(n / 2));
        tasks.push(tokio::spawn(async move {
            let Accepted::Stored(stored) = store.event_accept(request).await.unwrap() else { panic!("refused") };
            if !stored[0].held_back.is_empty() {
                return;
            }
            let delivery = accept.delivery(0, stored[0].codes[0]).unwrap();
            let next = if n % 3 == 0 { succeeded() } else { failed(Pending, Some(at(10))) };
            let item = FinishItem::new(&delivery, &accept.event, serial, &attempt(1, b"x"), &next).in_line(true);
            assert_ne!(store.delivery_finish(item).await.unwrap(), Finished::LeaseLost);
        }));
    }
    let mut sent: Vec<Vec<i64>> = vec![Vec::new(), Vec::new()];
    let mut all_entered = false;
    loop {
        let claimed = claim(t, node(0), endpoint, 1_000).await;
        let subjects: BTreeSet<_> = claimed.iter().map(|one| one.delivery.subject.clone()).collect();
        assert_eq!(subjects.len(), claimed.len(), "one of each line");
        for one in &claimed {
            sent[usize::from(one.delivery.subject.as_deref() == Some("8"))].push(one.delivery.code);
            let done = attempt(one.delivery.attempts + 1, b"x");
            let item = FinishItem::new(&one.delivery, &one.event, node(0), &done, &succeeded()).in_line(true);
            assert_ne!(t.store.delivery_finish(item).await.unwrap(), Finished::LeaseLost);
        }
        if claimed.is_empty() && all_entered {
            break;
        }
        if claimed.is_empty() && tasks.iter().all(tokio::task::JoinHandle::is_finished) {
            all_entered = true;
        }
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(sent.iter().all(|codes| codes.is_sorted()), "{ordering:?}: {sent:?}");
    let filter = DeliveryFilter { endpoints: vec![endpoint], ..DeliveryFilter::default() };
    let page = Page { after: None, limit: 500 };
    let rows = t.store.delivery_list(t.tenant, &filter, &Sort::default(), &page).await.unwrap().items;
    assert_eq!(rows.len(), EVENTS);
    let ends = |row: &Delivery| row.state == Succeeded || (ordering == Ordering::Latest && row.state == Superseded);
    assert!(rows.iter().all(ends), "{:?}", rows.iter().map(|row| (row.code, row.state)).collect::<Vec<_>>());
    for subject in ["7", "8"] {
        let newest = rows.iter().rfind(|row| row.subject.as_deref() == Some(subject)).unwrap();
        assert_eq!(newest.state, Succeeded, "the newest goes");
    }
    if !t.is_sqlite() {
        second.close().await;
    }
    t.store.node_leave(node(0), at(2_000)).await.unwrap();
    t.store.node_leave(node(1), at(2_000)).await.unwrap();
}

pub(crate) async fn o18_the_newest_version_is_taken_and_older_failures_are_superseded(t: &Subject) {
    let node = t.node("a").await;
    let endpoint = ordered(t, Ordering::Parallel).await;
    let enter = async |event_type: &str| {
        let start = Start::HandedOver(node);
        let accept = single(t, about(t, event_type, ""), endpoint, Ordering::Parallel, start);
        let code = t.accept(accept.clone()).await.codes[0];
        let delivery = accept.delivery(0, code).unwrap();
        Entered { id: delivery.id, delivery, event: (*accept.event).clone(), held_back: false }
    };
    let (p1, p2) = (enter("P1").await, enter("P2").await);
    let other = enter("P2").await;
    let newest = enter("P2").await;
    finish(&t.store, node, &p1, &succeeded(), false).await;
    finish(&t.store, node, &p2, &failed(Failed, None), false).await;
    finish(&t.store, node, &other, &failed(Pending, Some(at(9_999))), false).await;
    let versions = async || t.store.version_list(t.tenant, endpoint, &["P1", "P2", "P3"]).await.unwrap();
    let mut found = versions().await;
    found.sort_by(|a, b| a.event_type.cmp(&b.event_type));
    let ids: Vec<_> = found.iter().map(|one| one.delivery.as_ref().map(|delivery| delivery.id)).collect();
    assert_eq!(ids, [Some(p1.id), Some(newest.id)], "nothing of P3 was ever published");
    let take = async |version: &Version| take(t, node, endpoint, version).await;
    assert!(matches!(take(&found[1]).await, Taken::Busy(busy) if busy.id == newest.id), "an attempt is under way");
    assert_eq!(states(t, &[&p2, &other, &newest]).await, [Superseded, Superseded, Delivering]);
    assert!(matches!(take(&found[1]).await, Taken::Busy(_)));
    let all = AuditFilter { action: Some("endpoint.send".into()), ..AuditFilter::default() };
    let audited = t.store.audit_list(t.tenant, &all, None, Order::Ascending, 100).await.unwrap().items;
    assert_eq!(audited.len(), 1, "what it superseded is told, and what changed nothing is not");
    assert!(audited[0].detail.contains("\"superseded\":2"), "{}", audited[0].detail);
    finish(&t.store, node, &newest, &failed(Pending, Some(at(9_999))), false).await;
    let (one, two) = tokio::join!(take(&found[1]), take(&found[1]));
    let in_hand = [&one, &two].iter().filter(|taken| matches!(taken, Taken::InHand(_))).count();
    assert_eq!(in_hand, 1, "of two at once one makes the attempt");
    assert!(matches!(take(&found[0]).await, Taken::InHand(_)), "what was delivered is sent again, too");

    // An endpoint younger than the event gets a delivery of its own, once.
    let young = ordered(t, Ordering::Latest).await;
    let version = t.store.version_list(t.tenant, young, &["P1"]).await.unwrap().remove(0);
    assert_eq!(version.delivery, None);
    let wanted = || WantedNow {
        tenant: t.tenant,
        endpoint: young,
        integrator: t.integrator,
        version: &version,
        id: DeliveryId::new(at(4), unique()),
        action: "endpoint.send",
    };
    let Taken::InHand(made) = t.store.delivery_take(&actor(), node, &wanted()).await.unwrap() else {
        panic!("not made")
    };
    assert!(matches!(t.store.delivery_take(&actor(), node, &wanted()).await.unwrap(), Taken::Busy(_)));
    let made =
        Entered { id: made.delivery.id, delivery: made.delivery, event: (*made.event).clone(), held_back: false };
    assert_eq!(row(t, made.id).await, made.delivery);
    finish(&t.store, node, &made, &succeeded(), true).await;
    assert_eq!(t.state_of(made.id).await, Succeeded);
    t.store.node_leave(node, at(5_000)).await.unwrap();
}
