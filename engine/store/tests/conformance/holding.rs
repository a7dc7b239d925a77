//! What is held back: paused and disabled endpoints, endpoints that fail, and what is told of it.

use std::sync::Arc;

use engate_model::{
    DeliveryId, EndpointId, Timestamp,
    circuit::{ENDPOINT_FAILING, Failing},
    delivery::DeliveryState,
    event::Event,
};
use engate_store::{AcceptEvent, Actor, ENDPOINT_DISABLED, FinishItem, Finished, NodeSerial, PAUSED, Start};

use crate::{
    finishing::in_hand,
    harness::{Subject, actor, at, attempt, succeeded, unique},
};

/// Where a delivery stands: state, reason, due time.
async fn row(t: &Subject, id: DeliveryId) -> (DeliveryState, Option<String>, Option<Timestamp>) {
    let row = t.store.delivery_get(t.tenant, id).await.unwrap().unwrap();
    (row.state, row.reason, row.next_attempt_at)
}

fn parked(reason: &str) -> (DeliveryState, Option<String>, Option<Timestamp>) {
    (DeliveryState::Parked, Some(reason.to_owned()), None)
}

fn due(millis: i64, reason: Option<String>) -> (DeliveryState, Option<String>, Option<Timestamp>) {
    (DeliveryState::Pending, reason, Some(at(millis)))
}

async fn enable(t: &Subject, enabled: bool) {
    let now = t.store.endpoint_get(t.tenant, t.endpoint).await.unwrap().unwrap();
    let endpoint = engate_model::endpoint::Endpoint { enabled, ..now };
    t.store.endpoint_update(&actor(), &endpoint).await.unwrap();
}

pub(crate) async fn a_paused_queue_stands_still_until_it_is_resumed(t: &Subject) {
    let other = t.endpoint_more().await;
    let (waits, elsewhere) = (t.waiting(t.endpoint, 50).await, t.waiting(other, 50).await);
    let later = Event { deliver_at: Some(at(900)), ..t.event(2) };
    let accept = t.single(later, Start::Pending(at(900)));
    let delayed = accept.deliveries[0].id;
    t.accept(accept).await;
    let revision = t.store.revision_get(t.tenant).await.unwrap();
    assert!(t.store.queue_pause(&actor(), t.tenant, t.endpoint).await.unwrap());
    assert!(!t.store.queue_pause(&actor(), t.tenant, t.endpoint).await.unwrap(), "it is paused already");
    assert_eq!(t.store.revision_get(t.tenant).await.unwrap(), revision + 1, "nodes have to hear of it");
    assert!(t.store.endpoint_get(t.tenant, t.endpoint).await.unwrap().unwrap().paused_at.is_some());
    assert_eq!([row(t, waits).await, row(t, delayed).await], [parked(PAUSED), parked(PAUSED)]);
    assert_eq!(row(t, elsewhere).await, due(50, None), "other queues go on");
    let new = t.single(t.event(3), Start::Parked(PAUSED));
    let late = new.deliveries[0].id;
    t.accept(new).await;
    assert_eq!(row(t, late).await, parked(PAUSED));
    let depths = t.store.queue_depths().await.unwrap();
    let depth = depths.iter().find(|depth| depth.endpoint == t.endpoint).unwrap();
    assert_eq!((depth.waiting, depth.oldest_at, depth.due_at), (3, at(0), None));

    // An edit does not resume it, and one that enables it leaves it paused.
    enable(t, false).await;
    assert_eq!(row(t, waits).await, parked(ENDPOINT_DISABLED));
    enable(t, true).await;
    assert_eq!([row(t, waits).await, row(t, late).await], [parked(PAUSED), parked(PAUSED)]);
    let resumer = Actor::system(at(100), unique());
    assert!(t.store.queue_resume(&resumer, t.tenant, t.endpoint).await.unwrap());
    assert!(!t.store.queue_resume(&resumer, t.tenant, t.endpoint).await.unwrap());
    assert_eq!([row(t, waits).await, row(t, late).await], [due(100, None), due(100, None)]);
    assert_eq!(row(t, delayed).await, due(900, None), "nothing goes before its event says");
    let nowhere = EndpointId::new(at(0), unique());
    assert!(t.store.queue_pause(&actor(), t.tenant, nowhere).await.is_err());
}

pub(crate) async fn what_is_put_back_follows_the_endpoints_row(t: &Subject) {
    let node = t.node("a").await;
    let mut held: Vec<(NodeSerial, DeliveryId)> = Vec::new();
    for _ in 0..3 {
        held.push((node, in_hand(t, node).await.0.id));
    }
    let put_back = async |one: usize, waits_for| {
        t.store.delivery_put_back(t.endpoint, &held[one..=one], waits_for, at(7)).await.unwrap()
    };
    // Whoever puts it back thinks that it is paused; it was resumed a moment ago.
    assert_eq!(put_back(0, None).await, 1);
    assert_eq!(row(t, held[0].1).await, due(7, None));
    assert_eq!(put_back(0, None).await, 0, "it is out of hand");
    assert_eq!(put_back(1, Some(ENDPOINT_FAILING)).await, 1);
    assert_eq!(row(t, held[1].1).await, due(7, Some(ENDPOINT_FAILING.to_owned())));
    t.store.queue_pause(&actor(), t.tenant, t.endpoint).await.unwrap();
    assert_eq!(put_back(2, Some(ENDPOINT_FAILING)).await, 1);
    assert_eq!(row(t, held[2].1).await, parked(PAUSED));
    t.store.node_leave(node, at(9)).await.unwrap();
}

/// An event of the engine's own for another endpoint.
fn fact(t: &Subject, to: EndpointId) -> Vec<AcceptEvent> {
    let event = Event { event_type: "endpoint.failing".into(), ..t.event(5) };
    let deliveries = vec![t.delivery_to(to, 5, Start::Pending(at(5)))];
    vec![AcceptEvent { event: Arc::new(event), body_hash: [0; 32], deliveries }]
}

async fn facts_told(t: &Subject, to: EndpointId) -> u64 {
    let depths = t.store.queue_depths().await.unwrap();
    depths.iter().find(|depth| depth.endpoint == to).map_or(0, |depth| depth.waiting)
}

pub(crate) async fn failures_are_written_down_and_told_once(t: &Subject) {
    let to = t.endpoint_more().await;
    let failing =
        |openings, warnings| Failing { since: at(i64::from(openings)), probe_at: Some(at(60)), openings, warnings };
    let write = async |failing| {
        let facts = fact(t, to);
        t.store.endpoint_failing(t.tenant, t.endpoint, failing, &facts).await.unwrap()
    };
    assert!(write(failing(1, 0)).await && write(failing(2, 0)).await);
    assert_eq!(facts_told(t, to).await, 1, "another node, or another probe, is no news");
    let written = t.store.endpoint_failures().await.unwrap();
    assert_eq!(written, [(t.endpoint, Failing { since: at(1), ..failing(2, 0) })], "the earliest beginning counts");
    assert!(write(failing(3, 1)).await);
    assert_eq!(facts_told(t, to).await, 2, "a warning is");
    assert!(t.store.endpoint_recovered(t.endpoint, &fact(t, to)).await.unwrap());
    assert!(!t.store.endpoint_recovered(t.endpoint, &fact(t, to)).await.unwrap());
    assert_eq!((facts_told(t, to).await, t.store.endpoint_failures().await.unwrap()), (3, Vec::new()));
    assert!(write(failing(1, 0)).await);
    assert!(t.store.endpoint_disable(&actor(), t.tenant, t.endpoint, "failing", &fact(t, to)).await.unwrap());
    assert_eq!((facts_told(t, to).await, t.store.endpoint_failures().await.unwrap()), (5, Vec::new()));
    assert!(!write(failing(1, 0)).await, "a disabled endpoint does not fail");
    assert!(!t.store.endpoint_disable(&actor(), t.tenant, t.endpoint, "failing", &fact(t, to)).await.unwrap());
    assert_eq!(facts_told(t, to).await, 5);
}

pub(crate) async fn facts_are_written_with_the_try_or_not_at_all(t: &Subject) {
    let to = t.endpoint_more().await;
    let node = t.node("a").await;
    let (delivery, event) = in_hand(t, node).await;
    let facts = fact(t, to);
    let item = || FinishItem::new(&delivery, &event, node, &attempt(1, b"x"), &succeeded()).with_facts(&facts);
    t.store.delivery_release(node, &[delivery.id], at(5)).await.unwrap();
    assert_eq!(t.store.delivery_finish(item()).await.unwrap(), Finished::LeaseLost);
    assert_eq!(facts_told(t, to).await, 0, "the try does not count, so there is nothing to tell");
    t.store.delivery_claim(node, &[(t.endpoint, 1)], at(6)).await.unwrap();
    assert_eq!(t.store.delivery_finish(item()).await.unwrap(), Finished::Finished);
    assert_eq!((facts_told(t, to).await, t.state_of(delivery.id).await), (1, DeliveryState::Succeeded));
}

pub(crate) async fn a_challenge_counts_for_the_settings_it_was_answered_under(t: &Subject) {
    let verified = async |revision| t.store.endpoint_verified(&actor(), t.tenant, t.endpoint, revision).await.unwrap();
    let endpoint = engate_model::endpoint::Endpoint { verified_at: None, ..t.endpoint_row(t.endpoint) };
    let revision = t.store.endpoint_update(&actor(), &endpoint).await.unwrap();
    assert!(!verified(revision - 1).await, "it was edited since");
    assert!(verified(revision).await);
    let row = t.store.endpoint_get(t.tenant, t.endpoint).await.unwrap().unwrap();
    assert_eq!((row.verified_at, row.revision), (Some(actor().now), revision + 1));
}
