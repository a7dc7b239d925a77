use engate_model::{TenantId, inbound::Inbound, integrator::Tenant, rate::RateLimit};
use engate_store::{AcceptRequest, Accepted, InboundState, Start, StoreError};
use serde_json::json;

use crate::harness::{Subject, actor, at, unique};

fn inbound(tenant: TenantId, name: &str) -> Inbound {
    Inbound {
        name: name.into(),
        tenant,
        description: "Payments of the bank".into(),
        plugin: "bank-receiver@1.2.0".parse().unwrap(),
        config: Some(json!({"b": 1.50, "a": {}})),
        enabled: true,
        body_bytes_max: 65_536,
        rate_limit: RateLimit { per_second: 5, burst: 9 },
        created_at: at(1),
        updated_at: at(1),
    }
}

async fn another_tenant(t: &Subject) -> TenantId {
    let tenant =
        Tenant { id: TenantId::new(at(5), unique()), slug: "two".into(), name: "Two".into(), created_at: at(5) };
    t.store.tenant_create(&actor(), &tenant, None).await.unwrap();
    tenant.id
}

pub(crate) async fn inbounds_come_back_as_they_were_put(t: &Subject) {
    let revision = async || t.store.revision_get(t.tenant).await.unwrap();
    let before = revision().await;
    let mut bank = inbound(t.tenant, "bank");
    t.store.inbound_create(&actor(), &bank).await.unwrap();
    assert_eq!(revision().await, before + 1, "views must load it");
    assert_eq!(t.store.inbound_get(t.tenant, "bank").await.unwrap().as_ref(), Some(&bank));
    let first = bank.clone();
    bank = Inbound {
        description: String::new(),
        plugin: "bank-receiver".parse().unwrap(),
        config: None,
        enabled: false,
        body_bytes_max: 1,
        rate_limit: RateLimit { per_second: 1, burst: 1 },
        updated_at: at(9),
        ..bank
    };
    t.store.inbound_update(&actor(), &first, &bank).await.unwrap();
    for late in [t.store.inbound_update(&actor(), &first, &bank).await, t.store.inbound_delete(&actor(), &first).await]
    {
        assert_eq!(late.unwrap_err().code(), "stale");
    }
    let acme = inbound(t.tenant, "acme");
    t.store.inbound_create(&actor(), &acme).await.unwrap();
    assert_eq!(t.store.inbound_list(t.tenant).await.unwrap(), [acme.clone(), bank]);
    t.store.inbound_delete(&actor(), &acme).await.unwrap();
    assert_eq!(revision().await, before + 4);
    assert_eq!(t.store.inbound_get(t.tenant, "acme").await.unwrap(), None);
    let gone = t.store.inbound_delete(&actor(), &acme).await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })), "{gone:?}");
    let gone = t.store.inbound_update(&actor(), &acme, &acme).await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })), "{gone:?}");
}

pub(crate) async fn a_name_belongs_to_one_tenant_of_all(t: &Subject) {
    let other = another_tenant(t).await;
    t.store.inbound_create(&actor(), &inbound(t.tenant, "bank")).await.unwrap();
    let taken = t.store.inbound_create(&actor(), &inbound(other, "bank")).await;
    assert!(matches!(taken, Err(StoreError::Conflict { .. })), "{taken:?}");
    assert_eq!(t.store.inbound_tenant("bank").await.unwrap(), Some(t.tenant));
    assert_eq!(t.store.inbound_tenant("Bank").await.unwrap(), None);
    assert_eq!(t.store.inbound_get(other, "bank").await.unwrap(), None);
    assert_eq!(t.store.inbound_list(other).await.unwrap(), []);
    let theirs = inbound(other, "bank");
    let stranger = t.store.inbound_update(&actor(), &theirs, &theirs).await;
    assert!(matches!(stranger, Err(StoreError::NotFound { .. })), "{stranger:?}");
    let stranger = t.store.inbound_delete(&actor(), &theirs).await;
    assert!(matches!(stranger, Err(StoreError::NotFound { .. })), "{stranger:?}");
    t.store.inbound_delete(&actor(), &inbound(t.tenant, "bank")).await.unwrap();
    t.store.inbound_create(&actor(), &inbound(other, "bank")).await.unwrap();
    assert_eq!(t.store.inbound_tenant("bank").await.unwrap(), Some(other));
}

pub(crate) async fn what_receivers_keep_is_written_with_the_events_or_not_at_all(t: &Subject) {
    t.store.inbound_create(&actor(), &inbound(t.tenant, "bank")).await.unwrap();
    let kept = async |inbound: &str| t.store.inbound_state_get(t.tenant, "bank-receiver", inbound).await.unwrap();
    let accept = async |inbound: &str, with_event: bool, stale: i64, writes: &[(&str, Option<&[u8]>)]| {
        let writes = writes.iter().map(|(key, value)| ((*key).to_owned(), value.map(<[u8]>::to_vec))).collect();
        let state = InboundState { plugin: "bank-receiver".into(), inbound: inbound.into(), writes };
        let events = with_event.then(|| t.single(t.event(1), Start::Pending(at(0)))).into_iter().collect();
        let request = t.request(events).await;
        let request = AcceptRequest { state: Some(state), revision: request.revision - stale, ..request };
        t.store.event_accept(request).await.unwrap()
    };
    let stored = accept("bank", true, 0, &[("a", Some(b"1")), ("b", Some(b"2"))]).await;
    assert!(matches!(stored, Accepted::Stored(events) if events.len() == 1));
    // Without any event too.
    let stored = accept("bank", false, 0, &[("a", Some(b"3")), ("b", None), ("b", Some(b"4")), ("c", None)]).await;
    assert_eq!(stored, Accepted::Stored(vec![]));
    let pair = |key: &str, value: &[u8]| (key.to_owned(), value.to_vec());
    assert_eq!(kept("bank").await, [pair("a", b"3"), pair("b", b"4")]);
    assert_eq!(kept("other").await, []);
    assert_eq!(accept("bank", true, 1, &[("a", Some(b"stale"))]).await, Accepted::StaleCatalog);
    assert_eq!(accept("bank", false, 1, &[("a", None)]).await, Accepted::StaleCatalog);
    assert_eq!(kept("bank").await, [pair("a", b"3"), pair("b", b"4")]);
    t.store.inbound_delete(&actor(), &inbound(t.tenant, "bank")).await.unwrap();
    assert_eq!(kept("bank").await, []);
}
