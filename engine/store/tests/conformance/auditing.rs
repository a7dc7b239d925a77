use engate_model::{TenantId, TokenId, integrator::Tenant};
use engate_store::{
    AcceptRequest, Accepted, Actor, AuditFilter, ChainFault, Order, Start, Store, StoreError, entry_hash,
};
use serde_json::json;

use crate::harness::{Subject, actor, at, unique};

/// A tenant of its own with a chain of `length` entries.
async fn chain(t: &Subject, length: i64) -> TenantId {
    let id = TenantId::new(at(0), unique());
    let row = Tenant { id, slug: format!("t{}", unique() >> 56), name: "T".into(), created_at: at(0) };
    t.store.tenant_create(&actor(), &row, None).await.unwrap();
    changes(&t.store, id, 1..length).await;
    assert_eq!(t.store.audit_seal(id).await.unwrap(), u64::try_from(length).unwrap());
    id
}

async fn changes(store: &Store, tenant: TenantId, numbers: std::ops::Range<i64>) {
    for n in numbers {
        let ana = Actor {
            token: Some(TokenId::MIN),
            client: "ana".into(),
            tenant: None,
            now: at(n * 1_000),
            random: unique(),
        };
        let wanted = [("k".to_owned(), json!({"n": n, "texto": "ação"}))];
        // Others change it at the same time.
        loop {
            let before = store.setting_list(tenant).await.unwrap();
            match store.setting_put(&ana, tenant, &before, &wanted).await {
                Err(StoreError::Stale { .. }) => {}
                put => break put.unwrap(),
            }
        }
    }
}

pub(crate) async fn entries_are_linked_without_a_gap(t: &Subject) {
    let tenant = chain(t, 4).await;
    let check = t.store.audit_verify(tenant).await.unwrap();
    assert_eq!((check.entries, check.first_seq, check.last_seq, check.faults.len()), (4, 1, 4, 0));
    let entries = t.store.audit_chain(tenant, 0, 100).await.unwrap();
    let links: Vec<_> = entries.iter().map(|entry| entry.sealed.unwrap()).collect();
    assert_eq!(links.iter().map(|link| link.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(links.windows(2).all(|pair| pair[1].previous == pair[0].hash));
    for (entry, link) in entries.iter().zip(&links) {
        assert_eq!(entry_hash(entry, link.seq, &link.previous), link.hash, "anyone can compute it from what is shown");
    }
    assert_eq!(check.hash, links[3].hash);
    // What came since is linked before it is checked.
    changes(&t.store, tenant, 7..9).await;
    assert_eq!(t.store.audit_unsealed().await.unwrap().iter().filter(|one| **one == tenant).count(), 1);
    assert_eq!(t.store.audit_verify(tenant).await.unwrap().last_seq, 6);
    assert!(!t.store.audit_unsealed().await.unwrap().contains(&tenant));
    // Each tenant has a chain of its own.
    assert_ne!(t.store.audit_verify(chain(t, 1).await).await.unwrap().hash, links[0].hash);
}

/// What a check finds after somebody ran `sql`, in which `TENANT` stands for the tenant.
async fn found_after(t: &Subject, sql: &str) -> Vec<ChainFault> {
    let tenant = chain(t, 6).await;
    t.meddle(&sql.replace("TENANT", &t.literal(tenant))).await;
    t.store.audit_verify(tenant).await.unwrap().faults
}

pub(crate) async fn whatever_is_done_to_a_chain_shows(t: &Subject) {
    let cases = [
        ("UPDATE audit SET detail = '{\"value\":0}' WHERE tenant_id = TENANT AND seq = 3", "edited", Some(3)),
        ("UPDATE audit SET client = 'bia' WHERE tenant_id = TENANT AND seq = 6", "edited", Some(6)),
        ("UPDATE audit SET at = at + 1 WHERE tenant_id = TENANT AND seq = 1", "edited", Some(1)),
        ("UPDATE audit SET token_id = NULL WHERE tenant_id = TENANT AND seq = 2", "edited", Some(2)),
        ("UPDATE audit SET previous = hash WHERE tenant_id = TENANT AND seq = 4", "edited", Some(4)),
        ("DELETE FROM audit WHERE tenant_id = TENANT AND seq = 4", "missing", Some(4)),
        ("DELETE FROM audit WHERE tenant_id = TENANT AND seq = 1", "missing", Some(1)),
        ("DELETE FROM audit WHERE tenant_id = TENANT AND seq >= 5", "cut_off", Some(5)),
        ("DELETE FROM audit WHERE tenant_id = TENANT", "cut_off", Some(1)),
        (
            "UPDATE audit SET seq = seq + 100 WHERE tenant_id = TENANT AND seq IN (2, 3); \
             UPDATE audit SET seq = 105 - seq WHERE tenant_id = TENANT AND seq > 100",
            "edited",
            Some(2),
        ),
        ("UPDATE audit SET seq = 9 WHERE tenant_id = TENANT AND seq = 6", "edited", Some(9)),
        ("UPDATE audit SET seq = NULL WHERE tenant_id = TENANT AND seq = 6", "cut_off", Some(6)),
        ("DELETE FROM audit_heads WHERE tenant_id = TENANT", "head_missing", None),
    ];
    for (sql, code, seq) in cases {
        let faults = found_after(t, sql).await;
        assert!(faults.iter().any(|fault| fault.code == code && fault.seq == seq), "{sql}: {faults:?}");
    }
    // Another tenant's head in the place of one's own.
    let other = chain(t, 6).await;
    let sql = format!(
        "UPDATE audit_heads SET sealed = (SELECT sealed FROM audit_heads WHERE tenant_id = {}) WHERE tenant_id = TENANT",
        t.literal(other)
    );
    assert!(found_after(t, &sql).await.iter().any(|fault| fault.code == "head_forged"));
    // An entry put in without the key never gets a place.
    let sql = "INSERT INTO audit (id, tenant_id, at, client, action, object, detail, hash) SELECT ID, tenant_id, at, \
               'mallory', action, object, detail, hash FROM audit WHERE tenant_id = TENANT AND seq = 2";
    let id = t.literal(engate_model::AuditId::new(at(5), unique()));
    let faults = found_after(t, &sql.replace("ID", &id).replace("tenant_ID", "tenant_id")).await;
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["forged"]);
    // One that waits for its place is protected too.
    let tenant = chain(t, 2).await;
    changes(&t.store, tenant, 5..7).await;
    t.meddle(&format!("UPDATE audit SET object = 'x' WHERE tenant_id = {} AND seq IS NULL", t.literal(tenant))).await;
    let check = t.store.audit_verify(tenant).await.unwrap();
    assert_eq!(check.faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["forged", "forged"]);
    assert_eq!(check.last_seq, 2);
}

pub(crate) async fn many_who_link_at_once_make_one_chain(t: &Subject) {
    const EACH: i64 = 40;
    let other = t.reopen().await;
    let tenant = chain(t, 1).await;
    let work = async |store: &Store, from: i64| {
        for n in from..from + EACH {
            changes(store, tenant, n..n + 1).await;
            store.audit_seal(tenant).await.unwrap();
        }
    };
    tokio::join!(work(&t.store, 0), work(&other, 1_000), work(&t.store, 2_000), work(&other, 3_000));
    let check = other.audit_verify(tenant).await.unwrap();
    assert_eq!((check.faults.len(), check.entries, check.last_seq), (0, 161, 161));
    other.close().await;
}

pub(crate) async fn what_is_forgotten_leaves_a_chain_that_can_be_checked(t: &Subject) {
    let tenant = chain(t, 8).await;
    assert_eq!(t.store.audit_purge(&actor(), tenant, at(0)).await.unwrap(), 0, "nothing is that old");
    let later = Actor::system(at(90_000), unique());
    assert_eq!(t.store.audit_purge(&later, tenant, at(4_000)).await.unwrap(), 4);
    let check = t.store.audit_verify(tenant).await.unwrap();
    assert_eq!(
        (check.first_seq, check.last_seq, check.faults.len()),
        (5, 9, 0),
        "the forgetting is an entry of its own"
    );
    t.meddle(&format!("DELETE FROM audit WHERE tenant_id = {} AND seq = 5", t.literal(tenant))).await;
    let faults = t.store.audit_verify(tenant).await.unwrap().faults;
    assert!(faults.iter().any(|fault| fault.code == "missing" && fault.seq == Some(5)), "{faults:?}");
    // All of it may go; the chain goes on where it was.
    let tenant = chain(t, 3).await;
    assert_eq!(t.store.audit_purge(&later, tenant, at(80_000)).await.unwrap(), 3);
    changes(&t.store, tenant, 95..96).await;
    let check = t.store.audit_verify(tenant).await.unwrap();
    assert_eq!((check.first_seq, check.last_seq, check.entries, check.faults.len()), (4, 5, 2, 0));
}

pub(crate) async fn an_entry_is_written_with_its_events_or_not_at_all(t: &Subject) {
    let filter = AuditFilter { action: Some("endpoint.test".into()), ..AuditFilter::default() };
    let told = async || t.store.audit_list(t.tenant, &filter, None, Order::Ascending, 100).await.unwrap().items;
    let accept = async |stale: i64| {
        let request = t.request(vec![t.single(t.event(1), Start::Skipped("filtered".into()))]).await;
        let request = AcceptRequest { revision: request.revision - stale, ..request };
        let detail = json!({"n": stale});
        t.store.event_accept_audited(request, &actor(), "endpoint.test", "ep_1", &detail).await.unwrap()
    };
    assert_eq!(accept(1).await, Accepted::StaleCatalog);
    assert_eq!(told().await, []);
    assert!(matches!(accept(0).await, Accepted::Stored(_)));
    let entries = told().await;
    assert_eq!((entries.len(), entries[0].object.as_str(), entries[0].detail.as_str()), (1, "ep_1", r#"{"n":0}"#));
    assert_eq!(t.store.audit_verify(t.tenant).await.unwrap().faults.len(), 0, "it has its MAC");
}

pub(crate) async fn entries_are_found_by_what_is_known_of_them(t: &Subject) {
    let tenant = chain(t, 6).await;
    let found = async |filter: AuditFilter| {
        let page = t.store.audit_list(tenant, &filter, None, Order::Ascending, 100).await.unwrap();
        assert_eq!(page.total.count, page.items.len() as u64);
        page.items.len()
    };
    let all = AuditFilter::default;
    assert_eq!(found(all()).await, 6);
    assert_eq!(found(AuditFilter { action: Some("setting.put".into()), ..all() }).await, 5);
    assert_eq!(found(AuditFilter { action: Some("setting.".into()), ..all() }).await, 5);
    assert_eq!(found(AuditFilter { action: Some("setting.pu".into()), ..all() }).await, 0);
    assert_eq!(found(AuditFilter { client: Some("ana".into()), ..all() }).await, 5);
    assert_eq!(found(AuditFilter { token: Some(TokenId::MIN), ..all() }).await, 5);
    assert_eq!(found(AuditFilter { object: Some("k".into()), ..all() }).await, 5);
    assert_eq!(found(AuditFilter { from: Some(at(2_000)), before: Some(at(4_000)), ..all() }).await, 2);
    let page = t.store.audit_list(tenant, &all(), None, Order::Descending, 4).await.unwrap();
    assert_eq!((page.items.len(), page.total.count), (4, 6));
    let rest = t.store.audit_list(tenant, &all(), page.next, Order::Descending, 4).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (2, None));
}
