use engate_model::{
    DeliveryId,
    delivery::{Delivery, DeliveryState, Request},
    event::Event,
};
use engate_store::{FinishItem, Finished, NodeSerial, Start};

use crate::harness::{Subject, at, attempt, failed, succeeded};

/// A delivery in the node's hands.
pub(crate) async fn in_hand(t: &Subject, node: NodeSerial) -> (Delivery, Event) {
    let accept = t.single(t.event(0), Start::HandedOver(node));
    let answer = t.accept(accept.clone()).await;
    (accept.delivery(0, answer.codes[0]).unwrap(), (*accept.event).clone())
}

async fn get(t: &Subject, id: DeliveryId) -> Delivery {
    t.store.delivery_get(t.tenant, id).await.unwrap().unwrap()
}

pub(crate) async fn a_success_is_recorded_with_its_attempt(t: &Subject) {
    let node = t.node("a").await;
    let (delivery, event) = in_hand(t, node).await;
    let tried = attempt(1, &event.payload);
    let item = FinishItem::new(&delivery, &event, node, &tried, &succeeded());
    assert_eq!(t.store.delivery_finish(item).await.unwrap(), Finished::Finished);
    let row = get(t, delivery.id).await;
    let integrated_at = tried.at.after(tried.duration);
    let expected = Delivery {
        state: DeliveryState::Succeeded,
        success: Some(true),
        attempts: 1,
        first_attempt_at: Some(tried.at),
        last_attempt_at: Some(tried.at),
        integrated_at: Some(integrated_at),
        ..delivery.clone()
    };
    assert_eq!(row, expected);
    assert_eq!(t.store.attempt_list(t.tenant, delivery.id).await.unwrap(), [tried], "the body is the event's payload");

    let (delivery, event) = in_hand(t, node).await;
    let mut bare = attempt(1, b"another body");
    (bare.response, bare.replay, bare.plugin, bare.plugin_digest) = (None, None, None, None);
    let mut skipped = succeeded();
    (skipped.state, skipped.success, skipped.code) = (DeliveryState::Skipped, None, Some("plugin_skipped".into()));
    let item = FinishItem::new(&delivery, &event, node, &bare, &skipped);
    assert_eq!(t.store.delivery_finish(item).await.unwrap(), Finished::Finished);
    assert_eq!(t.store.attempt_list(t.tenant, delivery.id).await.unwrap(), [bare]);
    let row = get(t, delivery.id).await;
    assert_eq!((row.state, row.success, row.reason.as_deref()), (DeliveryState::Skipped, None, Some("plugin_skipped")));
}

pub(crate) async fn a_retry_waits_and_then_succeeds(t: &Subject) {
    let node = t.node("a").await;
    let (delivery, event) = in_hand(t, node).await;
    let first = attempt(1, b"first");
    let wait = failed(DeliveryState::Pending, Some(at(9_000)));
    let item = FinishItem::new(&delivery, &event, node, &first, &wait);
    assert_eq!(t.store.delivery_finish(item).await.unwrap(), Finished::Finished);
    let row = get(t, delivery.id).await;
    assert_eq!((row.state, row.success, row.attempts), (DeliveryState::Pending, Some(false), 1));
    assert_eq!((row.next_attempt_at, row.reason.as_deref()), (Some(at(9_000)), Some("server_error")));
    assert_eq!(row.integrated_at, None);

    assert!(t.store.delivery_claim(node, &[(t.endpoint, 9)], at(8_999)).await.unwrap().is_empty());
    let mut claimed = t.store.delivery_claim(node, &[(t.endpoint, 9)], at(9_000)).await.unwrap();
    let claimed = claimed.remove(0);
    assert_eq!(claimed.trigger, engate_model::delivery::Trigger::Retry);
    assert_eq!((claimed.delivery.id, claimed.delivery.attempts), (delivery.id, 1));
    assert_eq!(*claimed.event, event);
    let second = attempt(2, b"second");
    let item = FinishItem::new(&claimed.delivery, &event, node, &second, &succeeded());
    assert_eq!(t.store.delivery_finish(item).await.unwrap(), Finished::Finished);
    let row = get(t, delivery.id).await;
    assert_eq!((row.state, row.success, row.reason), (DeliveryState::Succeeded, Some(true), None));
    assert_eq!((row.first_attempt_at, row.last_attempt_at), (Some(first.at), Some(second.at)));
    let bodies: Vec<_> = t.store.attempt_list(t.tenant, delivery.id).await.unwrap();
    let bodies: Vec<_> = bodies.iter().map(|attempt| attempt.request.as_ref().unwrap().body.clone()).collect();
    assert_eq!(bodies, [b"first".to_vec(), b"second".to_vec()]);
}

pub(crate) async fn a_lost_lease_writes_nothing(t: &Subject) {
    let node = t.node("a").await;
    let (kept, event) = in_hand(t, node).await;
    let (lost, _) = in_hand(t, node).await;
    assert_eq!(t.store.delivery_release(node, &[lost.id], at(5)).await.unwrap(), 1);
    let item = |delivery: &Delivery| FinishItem::new(delivery, &event, node, &attempt(1, b"x"), &succeeded());
    // In one batch: the neighbour is finished, the lost one is told.
    let (kept_answer, lost_answer) =
        tokio::join!(t.store.delivery_finish(item(&kept)), t.store.delivery_finish(item(&lost)));
    assert_eq!((kept_answer.unwrap(), lost_answer.unwrap()), (Finished::Finished, Finished::LeaseLost));
    assert_eq!(get(t, lost.id).await.state, DeliveryState::Pending);
    assert!(t.store.attempt_list(t.tenant, lost.id).await.unwrap().is_empty());
    // Taken again under another serial, the old one still has no say.
    let later = t.node("b").await;
    assert_eq!(t.store.delivery_claim(later, &[(t.endpoint, 1)], at(6)).await.unwrap().len(), 1);
    assert_eq!(t.store.delivery_finish(item(&lost)).await.unwrap(), Finished::LeaseLost);
    t.store.node_leave(later, at(7)).await.unwrap();
}

pub(crate) async fn a_try_finished_twice_at_once_counts_once(t: &Subject) {
    let node = t.node("a").await;
    let (delivery, event) = in_hand(t, node).await;
    let item = || FinishItem::new(&delivery, &event, node, &attempt(1, b"x"), &succeeded());
    let (a, b) = tokio::join!(t.store.delivery_finish(item()), t.store.delivery_finish(item()));
    let mut answers = [a.unwrap(), b.unwrap()];
    answers.sort_by_key(|answer| *answer == Finished::LeaseLost);
    assert_eq!(answers, [Finished::Finished, Finished::LeaseLost]);
    assert_eq!(t.store.attempt_list(t.tenant, delivery.id).await.unwrap().len(), 1);
}

pub(crate) async fn what_plugins_keep_is_written_with_the_try(t: &Subject) {
    let node = t.node("a").await;
    let write = async |writes: Vec<(String, Option<Vec<u8>>)>| {
        let (delivery, event) = in_hand(t, node).await;
        let item = FinishItem::new(&delivery, &event, node, &attempt(1, b"x"), &succeeded());
        t.store.delivery_finish(item.with_state_writes(&delivery, "gsan", writes)).await.unwrap()
    };
    let state = async || t.store.plugin_state_get(t.tenant, "gsan", t.endpoint).await.unwrap();
    write(vec![("a".into(), Some(vec![0, 255])), ("b".into(), Some(vec![])), ("b".into(), Some(vec![2]))]).await;
    assert_eq!(state().await, [("a".to_owned(), vec![0, 255]), ("b".to_owned(), vec![2])]);
    write(vec![("a".into(), None), ("b".into(), Some(vec![3])), ("gone".into(), None)]).await;
    assert_eq!(state().await, [("b".to_owned(), vec![3])]);

    let (delivery, event) = in_hand(t, node).await;
    t.store.delivery_release(node, &[delivery.id], at(5)).await.unwrap();
    let item = FinishItem::new(&delivery, &event, node, &attempt(1, b"x"), &succeeded());
    let item = item.with_state_writes(&delivery, "gsan", vec![("late".into(), Some(vec![1]))]);
    assert_eq!(t.store.delivery_finish(item).await.unwrap(), Finished::LeaseLost);
    assert_eq!(state().await.len(), 1, "a lost try writes no state");
    let actor = crate::harness::actor();
    assert_eq!(t.store.plugin_state_clear(&actor, t.tenant, "gsan", t.endpoint).await.unwrap(), 1);
    assert!(state().await.is_empty());
}

pub(crate) async fn finishes_and_accepts_of_many_tasks_all_arrive(t: &Subject) {
    let node = t.node("a").await;
    let revision = t.store.revision_get(t.tenant).await.unwrap();
    let tasks: Vec<_> = (0..300)
        .map(|_| {
            let store = t.store.clone();
            let accept = t.single(t.event(0), Start::HandedOver(node));
            let request = engate_store::AcceptRequest {
                tenant: t.tenant,
                revision,
                events: vec![accept.clone()],
                state: None,
                call: None,
            };
            tokio::spawn(async move {
                let engate_store::Accepted::Stored(events) = store.event_accept(request).await.unwrap() else {
                    panic!("refused")
                };
                let delivery = accept.delivery(0, events[0].codes[0]).unwrap();
                let mut tried = attempt(1, b"x");
                tried.request = Some(Request { body: vec![b'y'; 3_000], ..tried.request.unwrap() });
                let item = FinishItem::new(&delivery, &accept.event, node, &tried, &succeeded());
                assert_eq!(store.delivery_finish(item).await.unwrap(), Finished::Finished);
                delivery.id
            })
        })
        .collect();
    for task in tasks {
        let id = task.await.unwrap();
        assert_eq!(t.state_of(id).await, DeliveryState::Succeeded);
        assert_eq!(t.store.attempt_list(t.tenant, id).await.unwrap().len(), 1);
    }
}
