use engate_model::{TenantId, integrator::Tenant};
use engate_store::{Start, StoreError};

use crate::harness::{Subject, actor, at, open, sqlite_path, unique};

pub(crate) async fn data_survives_opening_again(t: &Subject) {
    let event = t.event(1);
    let id = event.id;
    t.accept(t.single(event.clone(), Start::Pending(at(0)))).await;
    let again = t.reopen().await;
    assert_eq!(again.event_get(t.tenant, id).await.unwrap(), Some(event));
    assert_eq!(again.endpoint_get(t.tenant, t.endpoint).await.unwrap(), Some(t.endpoint_row(t.endpoint)));
    again.partitions_maintain(at(0)).await.unwrap();
    // A month on, partitions are made for weeks that already hold rows by then.
    again.partitions_maintain(at(30 * 24 * 3_600_000)).await.unwrap();
    let future = t.event(100 * 24 * 3_600_000);
    t.accept(t.single(future.clone(), Start::Pending(at(0)))).await;
    again.partitions_maintain(at(99 * 24 * 3_600_000)).await.unwrap();
    assert_eq!(again.event_get(t.tenant, future.id).await.unwrap(), Some(future), "moved out of the default partition");
    again.close().await;
    #[cfg(unix)]
    if t.is_sqlite() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = sqlite_path(&t.database);
        for file in std::fs::read_dir(directory.parent().unwrap()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        }
    }
}

pub(crate) async fn the_wrong_key_is_told_at_once(t: &Subject) {
    let answer = open(&t.database, 8).await;
    assert_eq!(answer.err(), Some(StoreError::WrongKey));
    assert!(StoreError::WrongKey.to_string().contains("another key"));
    t.reopen().await.close().await;
}

pub(crate) async fn a_newer_schema_is_refused_with_the_cure(t: &Subject) {
    t.meddle(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (999, 'later', TRUE, '', 0)",
    )
    .await;
    let error = open(&t.database, 7).await.err().unwrap();
    assert_eq!(error.code(), "store_migration");
    assert!(error.to_string().contains("newer version of Engate (migration 999)"), "{error}");
    t.meddle("DELETE FROM _sqlx_migrations WHERE version = 999").await;
    t.meddle("UPDATE _sqlx_migrations SET checksum = '' WHERE version = 1").await;
    assert_eq!(open(&t.database, 7).await.err().unwrap().code(), "store_migration", "an edited migration is noticed");
}

pub(crate) async fn many_may_open_at_once(t: &Subject) {
    // On PostgreSQL from nothing: several nodes of a first start race for the migrations.
    if !t.is_sqlite() {
        let fresh = Subject::postgres().await.unwrap();
        let tables = "DO $$ DECLARE s text := current_schema(); BEGIN EXECUTE format('DROP SCHEMA %I CASCADE', s); \
                      EXECUTE format('CREATE SCHEMA %I', s); END $$";
        fresh.store.close().await;
        fresh.meddle(tables).await;
        let opened = futures_util::future::join_all((0..4).map(|_| open(&fresh.database, 7))).await;
        for store in opened {
            store.unwrap().close().await;
        }
        fresh.discard().await;
        return;
    }
    let opened = futures_util::future::join_all((0..4).map(|_| open(&t.database, 7))).await;
    for store in opened {
        store.unwrap().close().await;
    }
}

pub(crate) async fn values_the_database_refuses_are_a_data_error(t: &Subject) {
    let mut event = t.event(1);
    event.subject = Some("nul \0 byte".into());
    let request = t.request(vec![t.single(event, Start::Pending(at(0)))]).await;
    let answer = t.store.event_accept(request).await;
    if !t.is_sqlite() {
        assert_eq!(answer.unwrap_err().code(), "store_data", "PostgreSQL keeps no NUL in text");
    }
    let tenant =
        Tenant { id: TenantId::new(at(0), unique()), slug: "default".into(), name: String::new(), created_at: at(0) };
    let error = t.store.tenant_create(&actor(), &tenant, None).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("conflict", "a tenant of this slug already exists or is in use")
    );
}

pub(crate) async fn a_closed_store_answers_that_it_is_closed(t: &Subject) {
    let store = t.reopen().await;
    let request = t.request(vec![t.single(t.event(1), Start::Pending(at(0)))]).await;
    let pending = {
        let (store, request) = (store.clone(), request.clone());
        tokio::spawn(async move { store.event_accept(request).await })
    };
    store.close().await;
    // Taken in before the end it is answered, later it is refused; nothing hangs.
    if let Err(error) = pending.await.unwrap() {
        assert_eq!(error.code(), "store_unavailable");
    }
    assert_eq!(store.event_accept(request).await.unwrap_err().code(), "store_unavailable");
    assert_eq!(store.ping().await.unwrap_err().code(), "store_unavailable");
}
