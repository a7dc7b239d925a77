use std::sync::Arc;

use engate_model::{
    EndpointId, IntegratorId, Secret, TenantId, TokenId,
    callback::SYSTEM_TYPES,
    circuit::Failing,
    delivery::DeliveryState,
    endpoint::Auth,
    event::EventType,
    integrator::Tenant,
    listing::Sort,
    token::{Role, Token, TokenLimits},
};
use engate_store::{Actor, AuditFilter, EndpointFilter, Order, Start, StoreError, USE_WEBHOOKS};
use serde_json::json;

use crate::harness::{Subject, actor, at, sqlite_path, unique};

fn conflicts<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Conflict { .. })), "{answer:?}");
}

fn stale<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Stale { .. })), "{answer:?}");
}

fn not_found<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::NotFound { .. })), "{answer:?}");
}

pub(crate) async fn tenants_and_settings(t: &Subject) {
    let mut second =
        Tenant { id: TenantId::new(at(5), unique()), slug: "two".into(), name: "Two".into(), created_at: at(5) };
    t.store.tenant_create(&actor(), &second, None).await.unwrap();
    let twin = Tenant { id: TenantId::new(at(6), unique()), ..second.clone() };
    conflicts(t.store.tenant_create(&actor(), &twin, None).await);
    not_found(t.store.tenant_update(&actor(), &twin, &twin).await);
    let seen = second.clone();
    second.name = "Dois".into();
    t.store.tenant_update(&actor(), &seen, &second).await.unwrap();
    // Somebody else changed it since.
    stale(t.store.tenant_update(&actor(), &seen, &seen).await);
    stale(t.store.tenant_delete(&actor(), &seen).await);
    assert_eq!(t.store.tenant_get(second.id).await.unwrap().as_ref(), Some(&second));
    assert_eq!(t.store.tenant_by_slug("two").await.unwrap().as_ref(), Some(&second));
    assert_eq!(t.store.tenant_by_slug("three").await.unwrap(), None);
    let ids: Vec<_> = t.store.tenant_list().await.unwrap().into_iter().map(|tenant| tenant.id).collect();
    assert_eq!(ids, [t.tenant, second.id]);
    assert_eq!(t.store.revision_get(second.id).await.unwrap(), 1);
    not_found(t.store.revision_get(twin.id).await);

    assert_eq!(t.store.setting_get(second.id, USE_WEBHOOKS).await.unwrap(), None);
    let off = [(USE_WEBHOOKS.to_owned(), json!(false))];
    t.store.setting_put(&actor(), second.id, &[], &off).await.unwrap();
    stale(t.store.setting_put(&actor(), second.id, &[], &off).await);
    t.store.setting_put(&actor(), second.id, &off, &[("a".into(), json!({"z": 1, "a": [null]}))]).await.unwrap();
    assert_eq!(t.store.setting_get(second.id, USE_WEBHOOKS).await.unwrap(), Some(json!(false)));
    assert_eq!(t.store.setting_get(t.tenant, USE_WEBHOOKS).await.unwrap(), None, "of one tenant only");
    let all = t.store.setting_list(second.id).await.unwrap();
    assert_eq!(all, [("a".to_owned(), json!({"z": 1, "a": [null]})), (USE_WEBHOOKS.to_owned(), json!(false))]);
    assert!(!t.store.catalog_load(second.id, None).await.unwrap().use_webhooks);
    assert!(t.store.catalog_load(t.tenant, None).await.unwrap().use_webhooks);
    let revisions = t.store.revision_list().await.unwrap();
    assert_eq!(revisions.last(), Some(&(second.id, 3)), "each setting counts");
}

pub(crate) async fn a_client_holds_one_live_token(t: &Subject) {
    let token = |client: &str, expires: Option<i64>| Token {
        id: TokenId::new(at(0), unique()),
        tenant: t.tenant,
        client: client.into(),
        role: Role::Integrator,
        integrator: Some(t.integrator),
        limits: TokenLimits { scopes: vec!["events:read".into()], ..TokenLimits::default() },
        expires_at: expires.map(at),
        revoked_at: None,
        created_at: at(0),
        last_used_at: None,
    };
    let by_hash = async |hash| t.store.token_by_hash(&hash).await.unwrap().map(|hashed| hashed.token);
    let first = token("erp", None);
    t.store.token_create(&actor(), &first, &[1; 32]).await.unwrap();
    conflicts(t.store.token_create(&actor(), &token("erp", None), &[2; 32]).await);
    assert_eq!(by_hash([1; 32]).await.as_ref(), Some(&first));
    assert_eq!(by_hash([9; 32]).await, None);
    let revoked = t.store.token_revoke(&actor(), t.tenant, first.id, None).await.unwrap();
    assert_eq!(revoked.revoked_at, Some(at(1)));
    let later = Actor::system(at(77), unique());
    assert_eq!(t.store.token_revoke(&later, t.tenant, first.id, None).await.unwrap().revoked_at, Some(at(1)));
    assert_eq!(by_hash([1; 32]).await, Some(revoked), "the caller judges");
    let short = token("erp", Some(50));
    t.store.token_create(&actor(), &short, &[2; 32]).await.unwrap();
    conflicts(t.store.token_create(&actor(), &token("erp", None), &[3; 32]).await);
    let heir = token("erp", None);
    t.store.token_create(&Actor::system(at(50), unique()), &heir, &[3; 32]).await.unwrap();
    assert_eq!(t.store.token_get(t.tenant, short.id).await.unwrap().unwrap().revoked_at, Some(at(50)));
    assert_eq!(t.store.token_list(t.tenant).await.unwrap().len(), 3);
    not_found(t.store.token_revoke(&actor(), TenantId::new(at(0), unique()), heir.id, None).await);
}

pub(crate) async fn the_last_admin_token_stays(t: &Subject) {
    let token = |n: u8, client: &str, scopes: &[&str]| Token {
        id: TokenId::new(at(i64::from(n)), unique()),
        tenant: t.tenant,
        client: client.into(),
        role: Role::Admin,
        integrator: None,
        limits: TokenLimits { scopes: scopes.iter().map(|s| (*s).to_owned()).collect(), ..TokenLimits::default() },
        expires_at: None,
        revoked_at: None,
        created_at: at(0),
        last_used_at: None,
    };
    let (one, two) = (token(1, "one", &[]), token(2, "two", &[]));
    let narrow = token(3, "narrow", &["audit:read"]);
    for (token, hash) in [(&one, 1), (&two, 2), (&narrow, 3)] {
        t.store.token_create(&actor(), token, &[hash; 32]).await.unwrap();
    }
    t.store.token_touch(&[(one.id, at(9)), (two.id, at(8))]).await.unwrap();
    t.store.token_touch(&[(one.id, at(7))]).await.unwrap();
    assert_eq!(
        t.store.token_get(t.tenant, one.id).await.unwrap().unwrap().last_used_at,
        Some(at(9)),
        "the later stays"
    );
    // Of two that give each other up at once, one stays.
    let (first, second) = (actor(), actor());
    let (a, b) = tokio::join!(
        t.store.token_revoke(&first, t.tenant, one.id, None),
        t.store.token_revoke(&second, t.tenant, two.id, None)
    );
    assert_eq!([a.is_ok(), b.is_ok()].iter().filter(|done| **done).count(), 1, "{a:?} {b:?}");
    let left = if a.is_ok() { two } else { one };
    conflicts(t.store.token_revoke(&actor(), t.tenant, left.id, None).await);
    // Its uses are no change.
    let left = Token { last_used_at: None, ..left };
    let other = Token { expires_at: Some(at(5)), ..left.clone() };
    stale(t.store.token_update(&actor(), &other, &left, &json!({})).await);
    let narrowed = Token { limits: narrow.limits.clone(), ..left.clone() };
    conflicts(t.store.token_update(&actor(), &left, &narrowed, &json!({})).await);
    let pinned = TokenLimits { origins: vec!["10.0.0.0/8".into()], ..TokenLimits::default() };
    let pinned = Token { limits: pinned, ..left.clone() };
    let ending = Token { expires_at: Some(at(86_400_000)), ..left.clone() };
    for narrowed in [&pinned, &ending] {
        conflicts(t.store.token_update(&actor(), &left, narrowed, &json!({})).await);
    }
    // Beside another one it may get an end. That one is the last then, and neither it nor both can go.
    let other = token(5, "other", &[]);
    t.store.token_create(&actor(), &other, &[5; 32]).await.unwrap();
    t.store.token_update(&actor(), &left, &ending, &json!({})).await.unwrap();
    conflicts(t.store.token_revoke(&actor(), t.tenant, other.id, None).await);
    t.store.token_update(&actor(), &ending, &left, &json!({})).await.unwrap();
    t.store.token_revoke(&actor(), t.tenant, other.id, None).await.unwrap();
    t.store.token_revoke(&actor(), t.tenant, narrow.id, None).await.unwrap();
    let heir = token(4, "heir", &[]);
    t.store.token_replace(&actor(), left.id, at(60_000), &heir, &[4; 32]).await.unwrap();
    assert_eq!(t.store.token_get(t.tenant, left.id).await.unwrap().unwrap().revoked_at, Some(at(60_000)));
    t.store.token_revoke(&Actor::system(at(70), unique()), t.tenant, left.id, None).await.unwrap();
    let ended = t.store.token_get(t.tenant, left.id).await.unwrap().unwrap();
    assert_eq!(ended.revoked_at, Some(at(70)), "a grace can be ended");
}

pub(crate) async fn a_deleted_tenant_keeps_nothing_that_opens_a_door(t: &Subject) {
    let waiting = t.waiting(t.endpoint, 50_000).await;
    t.store.secret_put(&actor(), t.tenant, "s", &Secret::new("oculto")).await.unwrap();
    let failing = Failing { since: at(1), probe_at: Some(at(60_000)), openings: 1, warnings: 0 };
    assert!(t.store.endpoint_failing(t.tenant, t.endpoint, failing, &[]).await.unwrap());
    let seen = t.store.tenant_get(t.tenant).await.unwrap().unwrap();
    t.store.tenant_delete(&actor(), &seen).await.unwrap();
    assert!(t.store.endpoint_failures().await.unwrap().is_empty());
    not_found(t.store.tenant_delete(&actor(), &seen).await);
    assert_eq!(t.store.tenant_get(t.tenant).await.unwrap(), None);
    assert_eq!(t.state_of(waiting).await, DeliveryState::Cancelled);
    assert_eq!(t.store.secret_list(t.tenant).await.unwrap(), []);
    assert_eq!(t.store.endpoint_get(t.tenant, t.endpoint).await.unwrap(), None);
    // Calls that were let in a moment before.
    not_found(t.store.token_create(&actor(), &admin(t.tenant), &[8; 32]).await);
    not_found(t.store.secret_put(&actor(), t.tenant, "s", &Secret::new("oculto")).await);
    not_found(t.store.endpoint_create(&actor(), &t.endpoint_row(EndpointId::new(at(9), unique()))).await);
    let disabled = t.store.endpoint_disable(&actor(), t.tenant, t.endpoint, "gone", &[]).await.unwrap();
    assert!(!disabled, "a partner that says stop to a last request finds nothing left to disable");
    let again =
        Tenant { id: TenantId::new(at(9), unique()), slug: "default".into(), name: "D".into(), created_at: at(9) };
    t.store.tenant_create(&actor(), &again, None).await.unwrap();
    assert!(t.store.audit_verify(t.tenant).await.unwrap().faults.is_empty(), "its audit stays");
}

fn admin(tenant: TenantId) -> Token {
    Token {
        id: TokenId::new(at(5), unique()),
        tenant,
        client: "admin".into(),
        role: Role::Admin,
        integrator: None,
        limits: TokenLimits::default(),
        expires_at: None,
        revoked_at: None,
        created_at: at(5),
        last_used_at: None,
    }
}

pub(crate) async fn what_is_done_to_a_tenant_stands_in_both_chains(t: &Subject) {
    let ana = |n| Actor { token: None, client: "ana".into(), tenant: Some(t.tenant), now: at(n), random: unique() };
    let two = Tenant { id: TenantId::new(at(5), unique()), slug: "two".into(), name: "Two".into(), created_at: at(5) };
    let first = admin(two.id);
    t.store.tenant_create(&ana(5), &two, Some((&first, &[7; 32]))).await.unwrap();
    let found = t.store.token_by_hash(&[7; 32]).await.unwrap();
    assert_eq!(found.map(|found| found.token), Some(first), "it comes with its way in");
    let twin = Tenant { id: TenantId::new(at(6), unique()), ..two.clone() };
    conflicts(t.store.tenant_create(&ana(6), &twin, Some((&admin(twin.id), &[8; 32]))).await);
    assert!(t.store.token_by_hash(&[8; 32]).await.unwrap().is_none());
    let named = Tenant { name: "Dois".into(), ..two.clone() };
    t.store.tenant_update(&ana(7), &two, &named).await.unwrap();
    stale(t.store.tenant_delete(&ana(8), &two).await);
    t.store.tenant_delete(&ana(9), &named).await.unwrap();
    let filter = AuditFilter { action: Some("tenant.".into()), client: Some("ana".into()), ..AuditFilter::default() };
    for tenant in [t.tenant, two.id] {
        let list = t.store.audit_list(tenant, &filter, None, Order::Ascending, 10).await.unwrap().items;
        let actions: Vec<_> = list.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["tenant.create", "tenant.update", "tenant.delete"], "and nothing of what failed");
        assert!(list.iter().all(|entry| entry.object == two.id.to_string()));
    }
}

pub(crate) async fn event_types_of_the_engine_stay(t: &Subject) {
    let entry = |key: &str, system| EventType {
        tenant: t.tenant,
        key: key.into(),
        title: "Conta paga".into(),
        macro_process: "Arrecadação".into(),
        process: String::new(),
        system,
        enabled: true,
        schema: Some(serde_json::json!({"required": ["id"], "properties": {"text": {"pattern": "\u{0}ç\"'"}}})),
        created_at: at(0),
    };
    t.store.event_type_create(&actor(), &entry("bill.paid", false)).await.unwrap();
    conflicts(t.store.event_type_create(&actor(), &entry("delivery.failed", true)).await);
    conflicts(t.store.event_type_create(&actor(), &entry("bill.paid", false)).await);
    let changed = EventType { title: "Paga".into(), schema: None, ..entry("bill.paid", false) };
    t.store.event_type_update(&actor(), &entry("bill.paid", false), &changed).await.unwrap();
    stale(t.store.event_type_update(&actor(), &entry("bill.paid", false), &changed).await);
    let nothing = entry("nothing", false);
    not_found(t.store.event_type_update(&actor(), &nothing, &nothing).await);
    assert_eq!(t.store.event_type_get(t.tenant, "bill.paid").await.unwrap(), Some(changed.clone()));
    let list = t.store.event_type_list(t.tenant).await.unwrap();
    assert_eq!(list.len(), 1 + SYSTEM_TYPES.len(), "those of the engine are there from the start");
    assert!(list.iter().all(|entry| entry.system == (entry.key != "bill.paid")));
    let of_the_engine = t.store.event_type_get(t.tenant, "delivery.failed").await.unwrap().unwrap();
    conflicts(t.store.event_type_delete(&actor(), &of_the_engine).await);
    stale(t.store.event_type_delete(&actor(), &entry("bill.paid", false)).await);
    t.store.event_type_delete(&actor(), &changed).await.unwrap();
    not_found(t.store.event_type_delete(&actor(), &changed).await);
}

pub(crate) async fn event_types_come_with_their_endpoint_or_not_at_all(t: &Subject) {
    let named = |keys: &[&str]| -> Vec<EventType> {
        let entry = |key: &&str| EventType {
            tenant: t.tenant,
            key: (*key).into(),
            title: (*key).into(),
            macro_process: String::new(),
            process: String::new(),
            system: false,
            enabled: true,
            schema: None,
            created_at: at(0),
        };
        keys.iter().map(entry).collect()
    };
    let told = async || {
        let page = t.store.audit_list(t.tenant, &AuditFilter::default(), None, Order::Ascending, 100).await.unwrap();
        page.items.into_iter().map(|entry| (entry.action, entry.detail)).collect::<Vec<_>>()
    };
    let known = async || t.store.event_type_list(t.tenant).await.unwrap().len() - SYSTEM_TYPES.len();
    let before = told().await.len();
    let id = EndpointId::new(at(0), unique());
    let mut astray = t.endpoint_row(id);
    astray.integrator = IntegratorId::new(at(0), unique());
    conflicts(t.store.endpoint_create_entering(&actor(), &astray, &named(&["a", "b"])).await);
    assert_eq!((known().await, told().await.len()), (0, before), "nothing stays of what failed");
    let row = t.endpoint_row(id);
    t.store.endpoint_create_entering(&actor(), &row, &named(&["a", "b"])).await.unwrap();
    t.store.endpoint_update_telling(&actor(), &row, &named(&["b", "c"]), &[]).await.unwrap();
    assert_eq!(known().await, 3);
    let mut new = told().await;
    new.retain(|(_, detail)| detail.contains("event_types_entered"));
    new.sort();
    let actions: Vec<_> = new.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(actions, ["endpoint.create", "endpoint.update"]);
    assert_eq!(told().await.len(), before + 2, "one entry for each call");
    assert!(new[0].1.contains(r#""event_types_entered":["a","b"]"#), "{}", new[0].1);
    assert!(new[1].1.contains(r#""event_types_entered":["c"]"#), "what was there was not entered: {}", new[1].1);
}

pub(crate) async fn integrators_with_endpoints_stay(t: &Subject) {
    let mut row = t.integrator_row(IntegratorId::new(at(0), unique()), "zeta");
    t.store.integrator_create(&actor(), &row).await.unwrap();
    let twin = t.integrator_row(IntegratorId::new(at(0), unique()), "zeta");
    conflicts(t.store.integrator_create(&actor(), &twin).await);
    not_found(t.store.integrator_update(&actor(), &twin, &twin).await);
    assert_eq!(t.store.integrator_get(t.tenant, row.id).await.unwrap().as_ref(), Some(&row));
    let before = row.clone();
    (row.active, row.plugin, row.config, row.updated_at) = (false, None, None, at(9));
    t.store.integrator_update(&actor(), &before, &row).await.unwrap();
    stale(t.store.integrator_update(&actor(), &before, &row).await);
    stale(t.store.integrator_delete(&actor(), &before).await);
    assert_eq!(t.store.integrator_by_slug(t.tenant, "zeta").await.unwrap().as_ref(), Some(&row));
    let slugs: Vec<_> = t.store.integrator_list(t.tenant).await.unwrap().into_iter().map(|i| i.slug).collect();
    assert_eq!(slugs, ["acme", "zeta"]);
    let busy = t.store.integrator_get(t.tenant, t.integrator).await.unwrap().unwrap();
    conflicts(t.store.integrator_delete(&actor(), &busy).await);
    t.store.integrator_delete(&actor(), &row).await.unwrap();
    not_found(t.store.integrator_delete(&actor(), &row).await);
}

pub(crate) async fn endpoints_come_back_as_they_were_put(t: &Subject) {
    let mut row = t.endpoint_row(t.endpoint);
    assert_eq!(t.store.endpoint_get(t.tenant, t.endpoint).await.unwrap().as_ref(), Some(&row));
    for auth in [
        Auth::None,
        Auth::Authorization { value: Secret::new("Bearer abc") },
        Auth::Header { name: "X-Key".into(), value: Secret::new("k") },
    ] {
        row.auth = auth;
        row.revision = t.store.endpoint_update(&actor(), &row).await.unwrap();
        assert_eq!(t.store.endpoint_get(t.tenant, t.endpoint).await.unwrap().as_ref(), Some(&row));
    }
    assert_eq!(row.revision, 4, "counts on");
    row.revision = 3;
    stale(t.store.endpoint_update(&actor(), &row).await);
    stale(t.store.endpoint_delete(&actor(), t.tenant, t.endpoint, Some(3)).await);
    let unknown = EndpointId::new(at(0), unique());
    not_found(t.store.endpoint_update(&actor(), &t.endpoint_row(unknown)).await);
    let mut astray = t.endpoint_row(unknown);
    astray.integrator = IntegratorId::new(at(0), unique());
    conflicts(t.store.endpoint_create(&actor(), &astray).await);
    let more = t.endpoint_more().await;
    let ids = async |filter: EndpointFilter| {
        let list = t.store.endpoint_list(t.tenant, &filter).await.unwrap();
        list.into_iter().map(|endpoint| endpoint.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(EndpointFilter::default()).await, [t.endpoint, more]);
    assert_eq!(ids(EndpointFilter { integrator: Some(t.integrator) }).await.len(), 2);
    assert!(ids(EndpointFilter { integrator: Some(astray.integrator) }).await.is_empty());
}

pub(crate) async fn a_deleted_endpoint_cancels_what_waits_and_keeps_its_history(t: &Subject) {
    let node = t.node("a").await;
    let waits = t.waiting(t.endpoint, 5).await;
    let (held, event) = crate::finishing::in_hand(t, node).await;
    assert_eq!(t.store.endpoint_delete(&actor(), t.tenant, t.endpoint, Some(1)).await.unwrap(), 1);
    not_found(t.store.endpoint_delete(&actor(), t.tenant, t.endpoint, None).await);
    assert_eq!(t.store.endpoint_get(t.tenant, t.endpoint).await.unwrap(), None);
    let row = t.store.delivery_get(t.tenant, waits).await.unwrap().unwrap();
    assert_eq!((row.state, row.reason.as_deref()), (DeliveryState::Cancelled, Some("endpoint_deleted")));
    // One that was under way and would wait now is called off when work is reclaimed.
    let next = crate::harness::failed(DeliveryState::Pending, Some(at(60)));
    let item = engate_store::FinishItem::new(&held, &event, node, &crate::harness::attempt(1, b"x"), &next);
    t.store.delivery_finish(item).await.unwrap();
    t.store.delivery_reclaim(at(6)).await.unwrap();
    assert_eq!(t.state_of(held.id).await, DeliveryState::Cancelled);
    let filter = engate_store::DeliveryFilter { integrators: vec![t.integrator], ..Default::default() };
    let page = engate_store::Page { after: None, limit: 10 };
    assert_eq!(
        t.store.delivery_list(t.tenant, &filter, &Sort::default(), &page).await.unwrap().items.len(),
        2,
        "history stays"
    );
    assert!(t.store.catalog_load(t.tenant, None).await.unwrap().endpoint(t.endpoint).is_none());
}

pub(crate) async fn a_partner_that_says_stop_disables_its_endpoint(t: &Subject) {
    let revision = t.store.revision_get(t.tenant).await.unwrap();
    assert!(t.store.endpoint_disable(&actor(), t.tenant, t.endpoint, "gone", &[]).await.unwrap());
    assert!(!t.store.endpoint_disable(&actor(), t.tenant, t.endpoint, "gone", &[]).await.unwrap());
    let row = t.store.endpoint_get(t.tenant, t.endpoint).await.unwrap().unwrap();
    assert_eq!((row.enabled, row.disabled_reason.as_deref(), row.revision), (false, Some("gone"), 2));
    assert_eq!(t.store.revision_get(t.tenant).await.unwrap(), revision + 1);
    assert_eq!(
        t.store.catalog_load(t.tenant, None).await.unwrap().route(&t.event(1)).to[0].skipped,
        Some("endpoint_disabled")
    );
}

pub(crate) async fn secrets_are_write_only_and_sealed(t: &Subject) {
    t.store.secret_put(&actor(), t.tenant, "hmac", &Secret::new("segredo-um")).await.unwrap();
    t.store.secret_put(&Actor::system(at(9), unique()), t.tenant, "hmac", &Secret::new("segredo-dois")).await.unwrap();
    t.store.secret_put(&actor(), t.tenant, "other", &Secret::new("segredo-tres")).await.unwrap();
    let list = t.store.secret_list(t.tenant).await.unwrap();
    assert_eq!(list[0].name, "hmac");
    assert_eq!((list[0].created_at, list[0].updated_at), (at(1), at(9)));
    let value = t.store.secret_get_for_engine(t.tenant, "hmac").await.unwrap().unwrap();
    assert_eq!(value.expose(), "segredo-dois");
    assert_eq!(t.store.secret_all_for_engine(t.tenant).await.unwrap().len(), 2);
    t.store.secret_delete(&actor(), t.tenant, "other").await.unwrap();
    not_found(t.store.secret_delete(&actor(), t.tenant, "other").await);
    assert_eq!(t.store.secret_get_for_engine(t.tenant, "other").await.unwrap(), None);
    if t.is_sqlite() {
        o12_no_secret_stands_in_the_file_in_clear(t);
    }
}

fn o12_no_secret_stands_in_the_file_in_clear(t: &Subject) {
    let path = sqlite_path(&t.database);
    let files = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let bytes: Vec<u8> = files.flat_map(|file| std::fs::read(file).unwrap()).collect();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("Contas pagas"), "the files are searched where they are");
    for secret in [
        "senha-muito-secreta",
        "whsec_presente",
        "whsec_passada",
        "chave-de-cabecalho",
        "segredo-um",
        "segredo-dois",
        "segredo-tres",
    ] {
        assert!(!holds(secret), "{secret} stands in the file");
    }
}

pub(crate) async fn the_catalog_is_one_revision_of_everything(t: &Subject) {
    let catalog = t.store.catalog_load(t.tenant, None).await.unwrap();
    assert_eq!(catalog.revision, t.store.revision_get(t.tenant).await.unwrap());
    assert_eq!(**catalog.endpoint(t.endpoint).unwrap(), t.endpoint_row(t.endpoint));
    assert_eq!(**catalog.integrator(t.integrator).unwrap(), t.integrator_row(t.integrator, "acme"));
    assert_eq!(catalog.route(&t.event(1)).to.len(), 1);
    let accept = t.single(t.event(1), Start::Pending(at(0)));
    let request = engate_store::AcceptRequest {
        tenant: t.tenant,
        revision: catalog.revision,
        events: vec![accept],
        state: None,
        call: None,
    };
    assert!(matches!(t.store.event_accept(request).await.unwrap(), engate_store::Accepted::Stored(_)));
    not_found(t.store.catalog_load(TenantId::new(at(0), unique()), None).await);
}

pub(crate) async fn a_catalog_read_again_reads_only_what_changed(t: &Subject) {
    let mut others = Vec::new();
    for n in 1..=4 {
        let id = EndpointId::new(at(n), unique());
        t.store.endpoint_create(&actor(), &t.endpoint_row(id)).await.unwrap();
        others.push(id);
    }
    let [updated, disabled, verified, deleted] = others[..] else { unreachable!() };
    let before = t.store.catalog_load(t.tenant, None).await.unwrap();
    let mut row = t.store.endpoint_get(t.tenant, updated).await.unwrap().unwrap();
    row.url = "https://other.example/hook".into();
    t.store.endpoint_update(&actor(), &row).await.unwrap();
    assert!(t.store.endpoint_disable(&actor(), t.tenant, disabled, "gone", &[]).await.unwrap());
    assert!(t.store.endpoint_verified(&actor(), t.tenant, verified, 1).await.unwrap());
    t.store.endpoint_delete(&actor(), t.tenant, deleted, None).await.unwrap();
    let added = EndpointId::new(at(9), unique());
    t.store.endpoint_create(&actor(), &t.endpoint_row(added)).await.unwrap();
    let (again, afresh) = (
        t.store.catalog_load(t.tenant, Some(&before)).await.unwrap(),
        t.store.catalog_load(t.tenant, None).await.unwrap(),
    );
    assert_eq!(again.revision, afresh.revision);
    assert_eq!((again.endpoints().count(), afresh.endpoints().count()), (5, 5));
    for endpoint in afresh.endpoints() {
        assert_eq!(again.endpoint(endpoint.id), Some(endpoint));
    }
    assert_eq!(again.route(&t.event(1)), afresh.route(&t.event(1)));
    let shared = |id| Arc::ptr_eq(again.endpoint(id).unwrap(), before.endpoint(id).unwrap());
    assert!(shared(t.endpoint), "what did not change is not read");
    assert!(!shared(updated) && !shared(disabled) && !shared(verified));
}

pub(crate) async fn every_change_is_audited_once_with_its_actor(t: &Subject) {
    let token = TokenId::new(at(0), unique());
    let ana = Actor { token: Some(token), client: "ana".into(), tenant: None, now: at(40), random: 5 };
    t.store.setting_put(&ana, t.tenant, &[], &[("k".into(), json!(1))]).await.unwrap();
    t.store.secret_put(&ana, t.tenant, "s", &Secret::new("oculto")).await.unwrap();
    not_found(t.store.secret_delete(&ana, t.tenant, "none").await);
    t.store.audit_append(&ana, t.tenant, "secret.reveal", "s", &json!({"plugin": "gsan"})).await.unwrap();
    let all = AuditFilter::default();
    let audit =
        async |after, order, limit| t.store.audit_list(t.tenant, &all, after, order, limit).await.unwrap().items;
    let list = audit(None, Order::Descending, 3).await;
    let mut actions: Vec<_> = list.iter().map(|entry| entry.action.as_str()).collect();
    actions.sort_unstable();
    assert_eq!(actions, ["secret.put", "secret.reveal", "setting.put"], "what failed left no entry");
    assert!(list.iter().all(|entry| (entry.token, entry.client.as_str(), entry.at) == (Some(token), "ana", at(40))));
    assert!(list.iter().all(|entry| !entry.detail.to_string().contains("oculto")));
    let first = audit(None, Order::Ascending, 1).await.remove(0);
    let rest = audit(Some(first.id), Order::Ascending, 100).await;
    let mut actions: Vec<_> = rest.iter().map(|entry| entry.action.as_str()).chain([first.action.as_str()]).collect();
    actions.sort_unstable();
    assert_eq!(
        actions,
        ["endpoint.create", "integrator.create", "secret.put", "secret.reveal", "setting.put", "tenant.create"]
    );
}
