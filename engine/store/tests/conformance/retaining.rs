//! What is forgotten when it is old, and what never is; time is stepped.

use std::sync::Arc;

use engate_model::{
    DeliveryId, EndpointId, EventId, Timestamp,
    delivery::{Attempt, DeliveryState},
    event::{Event, NoDelivery},
    transition::Transition,
};
use engate_store::{AcceptEvent, Database, FinishItem, Forgotten, History, NodeSerial, Retried, Start, Sweep};
use sqlx::{Connection as _, Row as _};

use crate::harness::{Subject, actor, at, attempt, failed, succeeded};

const DAY: i64 = 24 * 3_600_000;

/// Puts in an event of that subject, and its delivery in the hands of `node`.
async fn take(t: &Subject, node: NodeSerial, endpoint: EndpointId, event: Event) -> (DeliveryId, Arc<Event>) {
    let millis = i64::try_from(event.accepted_at.as_millis() - at(0).as_millis()).unwrap();
    let delivery = t.delivery_to(endpoint, millis, Start::HandedOver(node));
    let (id, event) = (delivery.id, Arc::new(event));
    t.accept(AcceptEvent { event: Arc::clone(&event), body_hash: [1; 32], deliveries: vec![delivery] }).await;
    (id, event)
}

async fn finish(t: &Subject, node: NodeSerial, id: DeliveryId, event: &Event, tried: Timestamp, to: &Transition) {
    let delivery = t.store.delivery_get(t.tenant, id).await.unwrap().unwrap();
    let attempt = Attempt { at: tried, ..attempt(delivery.attempts + 1, &event.payload) };
    t.store.delivery_finish(FinishItem::new(&delivery, event, node, &attempt, to)).await.unwrap();
}

/// An event of a subject that was delivered on that day.
async fn delivered(t: &Subject, node: NodeSerial, day: i64, subject: Option<&str>) -> (DeliveryId, EventId) {
    let event = Event { subject: subject.map(Into::into), ..t.event(day * DAY) };
    let (id, event) = take(t, node, t.endpoint, event).await;
    finish(t, node, id, &event, at(day * DAY + 5), &succeeded()).await;
    (id, event.id)
}

async fn forget_events(t: &Subject, before: i64) -> u64 {
    let mut rows = 0;
    let mut add = |forgotten: &Forgotten| rows += forgotten.rows.values().sum::<u64>();
    loop {
        let forgotten = t.store.event_purge(t.tenant, at(before * DAY), 2).await.unwrap();
        add(&forgotten);
        if forgotten.done {
            break;
        }
    }
    let mut after = None;
    loop {
        let (forgotten, next) = t.store.event_purge_left(t.tenant, after, 2).await.unwrap();
        add(&forgotten);
        after = next;
        if forgotten.done {
            return rows;
        }
    }
}

async fn sweep(t: &Subject, history: History, before: i64) -> u64 {
    let (mut rows, mut sweep) = (0, Sweep::new(history));
    loop {
        let forgotten = t.store.history_sweep(&mut sweep, at(before * DAY), 2).await.unwrap();
        rows += forgotten.rows.values().sum::<u64>();
        if forgotten.done {
            return rows;
        }
    }
}

async fn is_there(t: &Subject, id: EventId) -> bool {
    t.store.event_get(t.tenant, id).await.unwrap().is_some()
}

pub(crate) async fn old_events_go_and_what_is_needed_stays(t: &Subject) {
    let node = t.node("a").await;
    let (first_delivery, first) = delivered(t, node, 0, Some("a")).await;
    let (_, other) = delivered(t, node, 0, Some("b")).await;
    let unfinished = take(t, node, t.endpoint, Event { subject: Some("a".into()), ..t.event(DAY) }).await;
    let test = Event { reason: Some(NoDelivery::Test), subject: Some("a".into()), ..t.event(3 * DAY) };
    let (_, test) = take(t, node, t.endpoint, test).await;
    let (_, second) = delivered(t, node, 2, Some("a")).await;
    let (_, young) = delivered(t, node, 40, Some("a")).await;
    assert_eq!(forget_events(t, -10).await, 0, "nothing is that old");
    assert_eq!(forget_events(t, 20).await, 1);
    assert!(!is_there(t, first).await, "there is a newer one of its subject");
    for (id, why) in [
        (other, "the only one of its subject"),
        (unfinished.1.id, "its delivery is under way"),
        (test.id, "its delivery must be known as a test's"),
        (second, "the newest of its subject that is old; a test is none"),
        (young, "not old"),
    ] {
        assert!(is_there(t, id).await, "{why}");
    }
    assert_eq!(forget_events(t, 20).await, 0, "a second time there is nothing to do");
    // The listing keeps the delivery, its attempt what it had beside the payload.
    let attempts = t.store.attempt_list(t.tenant, first_delivery).await.unwrap();
    let request = attempts[0].request.as_ref().unwrap();
    assert_eq!((request.body_kept, request.body.len(), request.headers.len()), (false, 0, 1));
    finish(t, node, unfinished.0, &unfinished.1, at(41 * DAY), &succeeded()).await;
    assert_eq!(forget_events(t, 20).await, 1, "finished at last");
    assert!(!is_there(t, unfinished.1.id).await);
    assert_eq!(forget_events(t, 50).await, 1, "its successor is old by now");
    assert!(!is_there(t, second).await && is_there(t, young).await);
}

pub(crate) async fn the_newest_of_each_subject_stays_through_any_number_of_rounds(t: &Subject) {
    let node = t.node("a").await;
    let mut once_a_year = Vec::new();
    for n in 0..5 {
        once_a_year.push(delivered(t, node, n, Some(&format!("subject {n}"))).await.1);
    }
    let mut daily = Vec::new();
    for day in 0..30 {
        daily.push(delivered(t, node, day, None).await.1);
    }
    let mut gone = 0;
    for now in (7..=70).step_by(7) {
        gone += forget_events(t, now).await;
        for id in &once_a_year {
            assert!(is_there(t, *id).await, "published once, on day {now}");
        }
        assert!(is_there(t, daily[29]).await, "the newest, on day {now}");
    }
    assert_eq!(gone, 29);
    assert_eq!(sweep(t, History::Attempts, 70).await, 34, "all of one type and endpoint but the last");
    let last = t.store.delivery_lasts(t.tenant, t.endpoint, &["bill.paid"]).await.unwrap().remove(0);
    assert_eq!(t.store.attempt_list(t.tenant, last.id).await.unwrap().len(), 1);
    let versions = t.store.version_list(t.tenant, t.endpoint, &["bill.paid"]).await.unwrap();
    assert_eq!(versions.len(), 1, "what is sent by hand is still there");
}

pub(crate) async fn old_attempts_and_deliveries_go_but_the_last_of_each_type(t: &Subject) {
    let node = t.node("a").await;
    let other = t.endpoint_more().await;
    let (first, _) = delivered(t, node, 0, Some("a")).await;
    let (rare, event) = take(t, node, t.endpoint, Event { event_type: "order.created".into(), ..t.event(0) }).await;
    finish(t, node, rare, &event, at(5), &failed(DeliveryState::Failed, None)).await;
    let (second, _) = delivered(t, node, 1, Some("a")).await;
    let (late, event) = take(t, node, other, t.event(0)).await;
    finish(t, node, late, &event, at(100 * DAY), &succeeded()).await;
    let (waits, event) = take(t, node, other, t.event(DAY)).await;
    finish(t, node, waits, &event, at(DAY), &failed(DeliveryState::Pending, Some(at(500 * DAY)))).await;
    let skipped = t.delivery_to(other, 2 * DAY, Start::Skipped("filtered".into()));
    let never_tried = skipped.id;
    let event = Arc::new(t.event(2 * DAY));
    t.accept(AcceptEvent { event, body_hash: [1; 32], deliveries: vec![skipped] }).await;
    let (young, _) = delivered(t, node, 95, Some("a")).await;
    let tried = async |id| t.store.attempt_list(t.tenant, id).await.unwrap().len();
    assert_eq!(sweep(t, History::Attempts, 30).await, 1);
    assert_eq!(tried(first).await, 0, "there is a later one of its endpoint and type");
    for (id, why) in [
        (second, "the last of its endpoint and type that is old"),
        (rare, "the only one of its type"),
        (late, "tried lately"),
        (waits, "not finished"),
        (young, "not old"),
    ] {
        assert_eq!(tried(id).await, 1, "{why}");
    }
    assert_eq!(sweep(t, History::Attempts, 30).await, 0);
    forget_events(t, 30).await;
    assert_eq!(sweep(t, History::Deliveries, 30).await, 2);
    let is_there = async |id| t.store.delivery_get(t.tenant, id).await.unwrap().is_some();
    assert!(!is_there(first).await && !is_there(never_tried).await);
    for id in [second, rare, late, waits, young] {
        assert!(is_there(id).await);
        assert_eq!(tried(id).await, 1);
    }
}

/// The partitions of a table that have a week.
async fn weeks(t: &Subject, table: &str) -> i64 {
    let Database::Postgres(url) = &t.database else { return 0 };
    let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
    let sql = "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = \
               to_regclass($1) AND c.relname LIKE '%\\_w%'";
    sqlx::query(sql).bind(table).fetch_one(&mut conn).await.unwrap().get(0)
}

pub(crate) async fn partitions_are_dropped_whole_and_keep_what_has_to_stay(t: &Subject) {
    for weeks_on in 0..5 {
        t.store.partitions_maintain(at(weeks_on * 7 * DAY)).await.unwrap();
    }
    let node = t.node("a").await;
    let (first_delivery, first) = delivered(t, node, 0, Some("a")).await;
    let (_, only) = delivered(t, node, 1, Some("b")).await;
    let (waits, event) = take(t, node, t.endpoint, Event { subject: Some("a".into()), ..t.event(0) }).await;
    let (last_delivery, second) = delivered(t, node, 10, Some("a")).await;
    let (_, young) = delivered(t, node, 40, Some("a")).await;
    let before = at(31 * DAY);
    let was = [weeks(t, "events").await, weeks(t, "deliveries").await];
    for history in History::ALL {
        t.store.history_drop(history, before).await.unwrap();
    }
    if !t.is_sqlite() {
        assert!(weeks(t, "events").await <= was[0] - 3 && weeks(t, "deliveries").await <= was[1] - 3);
    }
    forget_events(t, 31).await;
    sweep(t, History::Attempts, 31).await;
    sweep(t, History::Deliveries, 31).await;
    assert!(!is_there(t, first).await);
    for id in [only, event.id, second, young] {
        assert!(is_there(t, id).await);
    }
    let delivery = async |id| t.store.delivery_get(t.tenant, id).await.unwrap();
    assert!(delivery(first_delivery).await.is_none());
    assert_eq!(delivery(waits).await.unwrap().state, DeliveryState::Delivering);
    assert_eq!(t.store.attempt_list(t.tenant, last_delivery).await.unwrap().len(), 1, "the last of its type");
    // What moved is as it was: the try under way is written down.
    finish(t, node, waits, &event, at(41 * DAY), &succeeded()).await;
    assert_eq!(t.state_of(waits).await, DeliveryState::Succeeded);
    forget_events(t, 31).await;
    assert!(!is_there(t, event.id).await);
    // Partitions are made ahead as before.
    t.store.partitions_maintain(at(50 * DAY)).await.unwrap();
    delivered(t, node, 50, Some("c")).await;
}

pub(crate) async fn what_lost_its_event_is_not_tried_again(t: &Subject) {
    let node = t.node("a").await;
    let (failed_for_good, event) = take(t, node, t.endpoint, t.event(0)).await;
    finish(t, node, failed_for_good, &event, at(5), &failed(DeliveryState::Failed, None)).await;
    delivered(t, node, 1, event.subject.as_deref()).await;
    let retry = async || t.store.delivery_retry(&actor(), t.tenant, failed_for_good).await.unwrap();
    forget_events(t, 10).await;
    assert_eq!(retry().await, Retried::EventForgotten);
    assert_eq!(t.state_of(failed_for_good).await, DeliveryState::Failed, "it stays what it was");
}
