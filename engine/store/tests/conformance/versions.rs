//! Which version counts at an endpoint: its last that was not skipped, and what may be made of one that it never got.

use std::sync::Arc;

use engate_model::{
    EndpointId,
    delivery::DeliveryState,
    event::{Event, NoDelivery},
    line::Ordering,
};
use engate_store::{AcceptEvent, Accepted, Start, Taken, Version};

use crate::{
    harness::{Subject, actor, at, failed, succeeded},
    ordering::{Entered, finish, ordered, row, single, states, take},
};

use DeliveryState::{Delivering, Failed, Pending, Skipped, Succeeded, Superseded};

/// An event without a subject.
fn of_type(t: &Subject, event_type: &str, millis: i64) -> Event {
    Event { event_type: event_type.into(), subject: None, ..t.event(millis) }
}

/// An event that goes to no endpoint.
async fn unrouted(t: &Subject, event: Event) -> Version {
    let event = Event { reason: Some(NoDelivery::NoMatch), ..event };
    let version = Version { event_type: event.event_type.clone(), event: event.id, delivery: None };
    t.accept(AcceptEvent { event: Arc::new(event), body_hash: [0; 32], deliveries: Vec::new() }).await;
    version
}

/// An event for one endpoint, begun as `start`.
async fn routed(t: &Subject, event: Event, endpoint: EndpointId, ordering: Ordering, start: Start) -> Entered {
    let accept = single(t, event, endpoint, ordering, start);
    let answer = t.accept(accept.clone()).await;
    let delivery = accept.delivery(0, answer.codes[0]).unwrap();
    let held_back = !answer.held_back.is_empty();
    Entered { id: delivery.id, delivery, event: (*accept.event).clone(), held_back }
}

pub(crate) async fn o21_a_delivery_that_is_made_supersedes_nothing_newer(t: &Subject) {
    let node = t.node("a").await;
    for ordering in [Ordering::Parallel, Ordering::Latest, Ordering::Fifo] {
        let endpoint = ordered(t, ordering).await;
        let kind = format!("P-{}", ordering.code());
        let old = unrouted(t, of_type(t, &kind, 10)).await;
        assert_eq!(
            t.store.version_list(t.tenant, endpoint, &[kind.as_str()]).await.unwrap(),
            std::slice::from_ref(&old)
        );
        // A newer one comes before it is taken in hand.
        let newer = routed(t, of_type(t, &kind, 20), endpoint, ordering, Start::HandedOver(node)).await;
        assert!(!newer.held_back);
        assert_eq!(take(t, node, endpoint, &old).await, Taken::Outdated, "{ordering:?}: it is under way");
        assert_eq!(row(t, newer.id).await.state, Delivering);
        finish(&t.store, node, &newer, &failed(Pending, Some(at(9_000))), ordering != Ordering::Parallel).await;
        assert_eq!(take(t, node, endpoint, &old).await, Taken::Outdated, "{ordering:?}: it waits for its retry");
        assert_eq!(row(t, newer.id).await.state, Pending, "{ordering:?}: and goes on waiting");
        let versions = t.store.version_list(t.tenant, endpoint, &[kind.as_str()]).await.unwrap();
        assert_eq!(versions[0].event, newer.event.id, "{ordering:?}: the newest is still the newest");
        t.store.delivery_cancel(&actor(), t.tenant, newer.id, "by hand").await.unwrap();
    }
    t.store.node_leave(node, at(9_001)).await.unwrap();
}

pub(crate) async fn o21_what_is_accepted_while_an_older_one_is_made_counts_as_newer(t: &Subject) {
    let node = t.node("a").await;
    let endpoint = ordered(t, Ordering::Parallel).await;
    for n in 0..40 {
        let kind = format!("R{n}");
        let old = unrouted(t, of_type(t, &kind, 10)).await;
        let newer = of_type(t, &kind, 20);
        let (newer, taken) = tokio::join!(
            routed(t, newer, endpoint, Ordering::Parallel, Start::Pending(at(9_000))),
            take(t, node, endpoint, &old)
        );
        match taken {
            Taken::InHand(made) => {
                assert!(made.delivery.code < newer.delivery.code, "{n}: the highest code is the newest")
            }
            other => assert_eq!(other, Taken::Outdated, "{n}"),
        }
    }
    t.store.node_leave(node, at(9_001)).await.unwrap();
}

pub(crate) async fn o21_a_delivery_that_is_made_supersedes_what_is_older(t: &Subject) {
    let node = t.node("a").await;
    for ordering in [Ordering::Parallel, Ordering::Latest] {
        let endpoint = ordered(t, ordering).await;
        let kind = format!("Q-{}", ordering.code());
        let oldest = routed(t, of_type(t, &kind, 10), endpoint, ordering, Start::HandedOver(node)).await;
        finish(&t.store, node, &oldest, &failed(Pending, Some(at(9_000))), ordering != Ordering::Parallel).await;
        let wanted = unrouted(t, of_type(t, &kind, 20)).await;
        // What was skipped was not sent; what has another subject is another thing.
        let skipped = Start::Skipped("filtered".into());
        let skipped = routed(t, of_type(t, &kind, 30), endpoint, ordering, skipped).await;
        let other = Event { subject: Some("7".into()), ..of_type(t, &kind, 40) };
        let other = routed(t, other, endpoint, ordering, Start::Pending(at(9_000))).await;
        let Taken::InHand(made) = take(t, node, endpoint, &wanted).await else { panic!("{ordering:?}: not made") };
        assert_eq!(made.event.id, wanted.event);
        let all = [&oldest, &skipped, &other];
        assert_eq!(states(t, &all).await, [Superseded, Skipped, Pending], "{ordering:?}");
        let made =
            Entered { id: made.delivery.id, delivery: made.delivery, event: (*made.event).clone(), held_back: false };
        finish(&t.store, node, &made, &succeeded(), ordering != Ordering::Parallel).await;
        assert_eq!(row(t, made.id).await.state, Succeeded);
    }
    t.store.node_leave(node, at(9_001)).await.unwrap();
}

pub(crate) async fn o15_o18_the_last_that_was_not_skipped_counts(t: &Subject) {
    let node = t.node("a").await;
    let (endpoint, other) = (ordered(t, Ordering::Parallel).await, ordered(t, Ordering::Parallel).await);
    let begun =
        async |kind: &str, millis, to, start| routed(t, of_type(t, kind, millis), to, Ordering::Parallel, start).await;
    let lasts = async |kinds: &[&str]| {
        let mut lasts = t.store.delivery_lasts(t.tenant, endpoint, kinds).await.unwrap();
        lasts.sort_by(|a, b| a.event_type.cmp(&b.event_type));
        lasts.into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    let skipped = || Start::Skipped("filtered".into());
    begun("P1", 1, endpoint, Start::Pending(at(9_000))).await;
    let first = begun("P1", 2, endpoint, Start::HandedOver(node)).await;
    finish(&t.store, node, &first, &failed(Failed, None), false).await;
    begun("P1", 3, endpoint, skipped()).await;
    begun("P1", 4, other, Start::Pending(at(9_000))).await;
    let test = Event { reason: Some(NoDelivery::Test), ..of_type(t, "P1", 5) };
    routed(t, test, endpoint, Ordering::Parallel, Start::Pending(at(9_000))).await;
    let second = begun("P2", 6, endpoint, Start::HandedOver(node)).await;
    begun("P3", 7, endpoint, skipped()).await;
    assert_eq!(lasts(&["P1", "P2", "P3", "P4"]).await, [first.id, second.id], "P2 is in hand, P3 was skipped only");
    assert_eq!(lasts(&["P2"]).await, [second.id], "nothing but what was asked for");
    // More of its own than are looked through: what is further back is found by its type.
    let many: Vec<_> = (0..600)
        .map(|n| single(t, of_type(t, "Q", 100 + n), endpoint, Ordering::Parallel, Start::Pending(at(9_000))))
        .collect();
    let stored = t.store.event_accept(t.request(many).await).await.unwrap();
    assert!(matches!(stored, Accepted::Stored(_)));
    assert_eq!(lasts(&["P1", "P2", "P3", "P4"]).await, [first.id, second.id]);
    let published = t.store.event_types_published(t.tenant, 100).await.unwrap();
    assert_eq!(published, ["P1", "P2", "P3", "Q"], "whatever the catalogue has");
    assert_eq!(t.store.event_types_published(t.tenant, 2).await.unwrap(), ["P1", "P2"]);
    t.store.node_leave(node, at(9_001)).await.unwrap();
}
