use std::collections::HashSet;

use engate_model::{
    DeliveryId,
    delivery::{DeliveryState, Trigger},
};
use engate_store::{ENDPOINT_DISABLED, FinishItem, Finished, PLUGIN_FAULTY, Renewal, Retried};

use crate::{
    finishing::in_hand,
    harness::{LEASE, Subject, actor, at, attempt, succeeded},
};

pub(crate) async fn the_longest_due_come_first_and_each_endpoint_gets_its_share(t: &Subject) {
    let node = t.node("a").await;
    let busy = t.endpoint_more().await;
    let mut expected = Vec::new();
    for due in [30, 10, 20, 90] {
        expected.push((due, t.waiting(busy, due).await));
    }
    expected.sort();
    let quiet = t.waiting(t.endpoint, 40).await;
    let claimed = t.store.delivery_claim(node, &[(busy, 2), (t.endpoint, 5)], at(50)).await.unwrap();
    let ids: Vec<DeliveryId> = claimed.iter().map(|claim| claim.delivery.id).collect();
    assert_eq!(ids, [expected[0].1, expected[1].1, quiet]);
    for claim in &claimed {
        assert_eq!((claim.delivery.state, claim.delivery.next_attempt_at), (DeliveryState::Delivering, None));
        assert_eq!((claim.trigger, claim.event.id), (Trigger::Event, claim.delivery.event));
        assert_eq!(t.state_of(claim.delivery.id).await, DeliveryState::Delivering);
    }
    let rest = t.store.delivery_claim(node, &[(busy, 9)], at(50)).await.unwrap();
    assert_eq!(rest.len(), 1, "the one due at 90 is not due");
    assert!(t.store.delivery_claim(node, &[(busy, 9), (t.endpoint, 9)], at(50)).await.unwrap().is_empty());
    t.store.node_leave(node, at(50)).await.unwrap();
}

pub(crate) async fn two_claimers_never_get_the_same(t: &Subject) {
    let mut all = HashSet::new();
    for due in 0..40 {
        all.insert(t.waiting(t.endpoint, due).await);
    }
    let second = t.reopen().await;
    let a = t.node("a").await;
    // On SQLite there is one node only, with two stores on the file.
    let b = if t.is_sqlite() { a } else { second.node_register("b", LEASE, at(0)).await.unwrap() };
    let claim = |store: engate_store::Store, serial, endpoint| {
        tokio::spawn(async move {
            let mut got = Vec::new();
            loop {
                let claimed = store.delivery_claim(serial, &[(endpoint, 3)], at(100)).await.unwrap();
                if claimed.is_empty() {
                    return got;
                }
                got.extend(claimed.into_iter().map(|claim| claim.delivery.id));
            }
        })
    };
    let (x, y) = (claim(t.store.clone(), a, t.endpoint), claim(second.clone(), b, t.endpoint));
    let (x, y) = (x.await.unwrap(), y.await.unwrap());
    let both: HashSet<_> = x.iter().chain(&y).copied().collect();
    assert_eq!(x.len() + y.len(), 40, "none twice, none left out");
    assert_eq!(both, all);
    t.store.node_leave(a, at(100)).await.unwrap();
    second.node_leave(b, at(100)).await.unwrap();
    second.close().await;
}

pub(crate) async fn heads_name_every_endpoint_with_waiting_work(t: &Subject) {
    let node = t.node("a").await;
    assert_eq!(t.store.delivery_heads().await.unwrap(), []);
    let other = t.endpoint_more().await;
    let later = t.endpoint_more().await;
    for due in [70, 30] {
        t.waiting(t.endpoint, due).await;
    }
    t.waiting(other, 50).await;
    t.waiting(other, 60).await;
    t.waiting(later, 500).await;
    in_hand(t, node).await;
    let heads = t.store.delivery_heads().await.unwrap();
    let mut found: Vec<_> = heads.iter().map(|head| (head.tenant, head.endpoint, head.due_at)).collect();
    found.sort_by_key(|entry| entry.2);
    assert_eq!(found, [(t.tenant, t.endpoint, at(30)), (t.tenant, other, at(50)), (t.tenant, later, at(500))]);
    t.store.node_leave(node, at(100)).await.unwrap();
}

pub(crate) async fn a_dead_nodes_work_is_reclaimed_and_its_late_finish_refused(t: &Subject) {
    let node = t.node("a").await;
    let (delivery, event) = in_hand(t, node).await;
    let end = at(0).after(LEASE);
    assert_eq!(t.store.delivery_reclaim(at(10)).await.unwrap(), 0, "a living node keeps its work");
    assert_eq!(t.store.node_renew(node, LEASE, at(5_000)).await.unwrap(), Renewal::Renewed);
    assert_eq!(t.store.delivery_reclaim(end).await.unwrap(), 0, "renewed in time");
    let orphans = t.store.doctor_orphans().await.unwrap();
    assert_eq!(orphans, [], "in hand of a living node");
    assert_eq!(t.store.delivery_reclaim(at(15_000)).await.unwrap(), 1);
    assert_eq!(t.store.node_renew(node, LEASE, at(15_001)).await.unwrap(), Renewal::Lost);
    let item = FinishItem::new(&delivery, &event, node, &attempt(1, b"x"), &succeeded());
    assert_eq!(t.store.delivery_finish(item).await.unwrap(), Finished::LeaseLost);
    let row = t.store.delivery_get(t.tenant, delivery.id).await.unwrap().unwrap();
    assert_eq!((row.state, row.next_attempt_at), (DeliveryState::Pending, Some(at(15_000))));
}

pub(crate) async fn a_restart_under_the_same_name_resumes_at_once(t: &Subject) {
    let before = t.node("a").await;
    let (delivery, _) = in_hand(t, before).await;
    let other = if t.is_sqlite() { None } else { Some(t.node("b").await) };
    let others = match other {
        Some(other) => Some((in_hand(t, other).await.0, other)),
        None => None,
    };
    let after = t.store.node_register("a", LEASE, at(7)).await.unwrap();
    assert!(after.get() > before.get(), "a serial is never used twice");
    let row = t.store.delivery_get(t.tenant, delivery.id).await.unwrap().unwrap();
    assert_eq!((row.state, row.next_attempt_at), (DeliveryState::Pending, Some(at(7))));
    if let Some((delivery, other)) = others {
        assert_eq!(t.state_of(delivery.id).await, DeliveryState::Delivering, "another node's work is its own");
        t.store.node_leave(other, at(8)).await.unwrap();
    }
    if t.is_sqlite() {
        let (delivery, _) = in_hand(t, after).await;
        t.store.node_register("z", LEASE, at(9)).await.unwrap();
        assert_eq!(t.state_of(delivery.id).await, DeliveryState::Pending, "a file has one node");
    }
}

pub(crate) async fn released_work_is_due_at_once(t: &Subject) {
    let node = t.node("a").await;
    let (first, _) = in_hand(t, node).await;
    let (second, _) = in_hand(t, node).await;
    let (third, _) = in_hand(t, node).await;
    assert_eq!(t.store.delivery_release(node, &[first.id, second.id], at(3)).await.unwrap(), 2);
    assert_eq!(t.store.delivery_release(node, &[first.id], at(3)).await.unwrap(), 0, "no longer held");
    assert_eq!(t.store.delivery_release(node, &[], at(3)).await.unwrap(), 0);
    let row = t.store.delivery_get(t.tenant, first.id).await.unwrap().unwrap();
    assert_eq!((row.state, row.next_attempt_at), (DeliveryState::Pending, Some(at(3))));
    assert_eq!(t.store.node_leave(node, at(4)).await.unwrap(), 1);
    assert_eq!(t.state_of(third.id).await, DeliveryState::Pending);
}

pub(crate) async fn a_delivery_whose_event_is_gone_is_given_up(t: &Subject) {
    let node = t.node("a").await;
    let gone = t.waiting(t.endpoint, 1).await;
    let event = t.store.delivery_get(t.tenant, gone).await.unwrap().unwrap().event;
    let stays = t.waiting(t.endpoint, 2).await;
    t.meddle(&format!("DELETE FROM events WHERE id = {}", t.literal(event))).await;
    let claimed = t.store.delivery_claim(node, &[(t.endpoint, 9)], at(5)).await.unwrap();
    assert_eq!(claimed.iter().map(|claim| claim.delivery.id).collect::<Vec<_>>(), [stays]);
    let row = t.store.delivery_get(t.tenant, gone).await.unwrap().unwrap();
    assert_eq!((row.state, row.reason.as_deref()), (DeliveryState::Failed, Some("event_missing")));
    t.store.node_leave(node, at(9)).await.unwrap();
}

pub(crate) async fn what_was_parked_for_a_reason_goes_on_by_that_reason(t: &Subject) {
    let node = t.node("a").await;
    let mut parked = Vec::new();
    for reason in [PLUGIN_FAULTY, PLUGIN_FAULTY, ENDPOINT_DISABLED] {
        let (delivery, _) = in_hand(t, node).await;
        let aside = t.store.delivery_set_aside(node, delivery.id, DeliveryState::Parked, reason).await.unwrap();
        assert_eq!(aside, Finished::Finished);
        let again = t.store.delivery_set_aside(node, delivery.id, DeliveryState::Parked, reason).await.unwrap();
        assert_eq!(again, Finished::LeaseLost, "it is out of hand");
        parked.push(delivery.id);
    }
    assert_eq!(t.store.delivery_heads().await.unwrap(), []);
    let by_hand = t.store.delivery_retry(&actor(), t.tenant, parked[0]).await.unwrap();
    assert_eq!(by_hand, Retried::Scheduled);
    let disabled = t.store.delivery_retry(&actor(), t.tenant, parked[2]).await.unwrap();
    assert_eq!(disabled, Retried::NotAllowed(DeliveryState::Parked));
    assert_eq!(t.store.delivery_unpark(t.tenant, PLUGIN_FAULTY, at(50)).await.unwrap(), 1);
    assert_eq!(t.store.delivery_unpark(t.tenant, PLUGIN_FAULTY, at(50)).await.unwrap(), 0);
    let states = [DeliveryState::Pending, DeliveryState::Pending, DeliveryState::Parked];
    for (id, state) in parked.into_iter().zip(states) {
        assert_eq!(t.state_of(id).await, state);
    }
    t.store.node_leave(node, at(100)).await.unwrap();
}
