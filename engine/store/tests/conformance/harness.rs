//! One store under test, on either database, each test with a file or schema of its own.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{self, AtomicU64},
    },
    time::Duration,
};

use engate_model::{
    DeliveryId, EndpointId, EventId, IntegratorId, Secret, TenantId, Timestamp, TypedId,
    callback::CallbackScope,
    delivery::{Attempt, DeliveryState, Request, Response, Trigger},
    endpoint::{Auth, Endpoint, Signing},
    event::Event,
    filter::Filter,
    integrator::{Integrator, Tenant},
    line::Ordering,
    rate::RateLimit,
    retry::RetryPolicy,
    transition::Transition,
};
use engate_store::{
    AcceptEvent, AcceptRequest, Accepted, AcceptedEvent, Actor, Database, NewDelivery, NodeSerial, SecretKey, Start,
    Store, StoreError, StoreOptions,
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// What is told by these tests is right or wrong, not fast or slow: this machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const LEASE: Duration = Duration::from_secs(10);
const POSTGRES_DEFAULT: &str = "postgres://postgres@127.0.0.1:5432/postgres";

static COUNT: AtomicU64 = AtomicU64::new(1);

/// A number no other call got.
pub(crate) fn unique() -> u128 {
    u128::from(COUNT.fetch_add(1, atomic::Ordering::Relaxed)) << 56
}

/// An instant of the test's own time.
pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_780_000_000_000 + millis)
}

pub(crate) struct Subject {
    pub store: Store,
    pub database: Database,
    pub tenant: TenantId,
    pub integrator: IntegratorId,
    pub endpoint: EndpointId,
    /// Held until the end: then the SQLite file's directory goes.
    _directory: Option<tempfile::TempDir>,
    schema: Option<(String, String)>,
}

impl Subject {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::Sqlite(directory.path().join("engate.db"));
        Self::furnish(database, Some(directory), None).await
    }

    /// None where there is no PostgreSQL and the tests may do without.
    pub(crate) async fn postgres() -> Option<Self> {
        let url = std::env::var("ENGATE_TEST_POSTGRES").unwrap_or_else(|_| POSTGRES_DEFAULT.to_owned());
        let mut admin = match PgConnection::connect(&url).await {
            Ok(admin) => admin,
            Err(error) => {
                let required = std::env::var("ENGATE_TEST_REQUIRE").is_ok_and(|all| all.contains("postgres"));
                assert!(!required, "PostgreSQL is required and does not answer: {error}");
                println!("skipped: PostgreSQL does not answer ({error}); set ENGATE_TEST_POSTGRES to run this");
                return None;
            }
        };
        let schema = format!("engate_test_{}_{}", std::process::id(), unique() >> 56);
        let sql = format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
        let separator = if url.contains('?') { '&' } else { '?' };
        let database = Database::Postgres(format!("{url}{separator}options=-csearch_path%3D{schema}"));
        Some(Self::furnish(database, None, Some((url, schema))).await)
    }

    async fn furnish(
        database: Database,
        directory: Option<tempfile::TempDir>,
        schema: Option<(String, String)>,
    ) -> Self {
        let store = open(&database, 7).await.unwrap();
        let tenant = TenantId::new(at(0), unique());
        let row = Tenant { id: tenant, slug: "default".into(), name: "Default".into(), created_at: at(0) };
        store.tenant_create(&actor(), &row, None).await.unwrap();
        let integrator = IntegratorId::new(at(0), unique());
        let endpoint = EndpointId::new(at(0), unique());
        let subject = Self { store, database, tenant, integrator, endpoint, _directory: directory, schema };
        subject.store.integrator_create(&actor(), &subject.integrator_row(integrator, "acme")).await.unwrap();
        subject.store.endpoint_create(&actor(), &subject.endpoint_row(endpoint)).await.unwrap();
        subject
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.store.backend() == "sqlite"
    }

    pub(crate) async fn clean(self) {
        assert_eq!(self.store.doctor_orphans().await.unwrap(), [], "nothing is lost at the end of any test");
        self.discard().await;
    }

    /// For tests that leave something behind on purpose.
    pub(crate) async fn discard(self) {
        self.store.close().await;
        if let Some((url, schema)) = self.schema {
            let mut admin = PgConnection::connect(&url).await.unwrap();
            let sql = format!("DROP SCHEMA {schema} CASCADE");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
        }
    }

    /// Another store on the same database.
    pub(crate) async fn reopen(&self) -> Store {
        open(&self.database, 7).await.unwrap()
    }

    /// An id as it is written in SQL.
    pub(crate) fn literal(&self, id: impl TypedId) -> String {
        let uuid = id.uuid();
        if self.is_sqlite() { format!("X'{}'", uuid.simple()) } else { format!("'{uuid}'") }
    }

    /// Runs SQL behind the store's back.
    pub(crate) async fn meddle(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.database {
            Database::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut conn = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
            Database::Postgres(url) => {
                let mut conn = PgConnection::connect(url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
            }
        }
    }

    pub(crate) fn integrator_row(&self, id: IntegratorId, slug: &str) -> Integrator {
        Integrator {
            id,
            tenant: self.tenant,
            slug: slug.into(),
            name: slug.to_uppercase(),
            active: true,
            services: vec!["billing".into()],
            plugin: Some("gsan".parse().unwrap()),
            config: Some(serde_json::json!({"b": 1, "a": null})),
            created_at: at(0),
            updated_at: at(0),
        }
    }

    pub(crate) fn endpoint_row(&self, id: EndpointId) -> Endpoint {
        Endpoint {
            id,
            tenant: self.tenant,
            integrator: self.integrator,
            description: "Contas pagas".into(),
            url: "https://example.com/hook".into(),
            auth: Auth::Basic { username: "ana".into(), password: Secret::new("senha-muito-secreta") },
            plugin: Some("gsan@1.2.0".parse().unwrap()),
            config: Some(serde_json::json!({"z": [1, 2.50]})),
            event_types: vec!["bill.*".into(), "order.created".into()],
            enabled: true,
            disabled_reason: None,
            ordering: Ordering::Parallel,
            max_in_flight: 16,
            timeout: Duration::from_millis(15_000),
            retry: RetryPolicy::default(),
            headers: vec![("X-Api-Key".into(), "chave-de-cabecalho".into())],
            signing: Signing {
                enabled: true,
                secret: Secret::new("whsec_presente"),
                previous: Some((Secret::new("whsec_passada"), at(99))),
            },
            rate_limit: Some(RateLimit { per_second: 7, burst: 9 }),
            filter: Some(Filter::read(serde_json::json!({"path": "/a", "exists": true})).unwrap()),
            paused_at: None,
            verified_at: Some(at(3)),
            callbacks: CallbackScope::Tenant,
            revision: 1,
            created_at: at(0),
            updated_at: at(0),
        }
    }

    /// One more endpoint.
    pub(crate) async fn endpoint_more(&self) -> EndpointId {
        let id = EndpointId::new(at(0), unique());
        self.store.endpoint_create(&actor(), &self.endpoint_row(id)).await.unwrap();
        id
    }

    pub(crate) fn event(&self, millis: i64) -> Event {
        Event {
            id: EventId::new(at(millis), unique()),
            tenant: self.tenant,
            event_type: "bill.paid".into(),
            subject: Some("01400-2".into()),
            payload: br#"{"b":1.10,"a":2}"#.to_vec(),
            content_type: "application/json".into(),
            occurred_at: at(millis - 5),
            accepted_at: at(millis),
            deliver_at: None,
            labels: vec![("uf".into(), "SP".into())],
            correlation_id: Some("corr".into()),
            idempotency_key: None,
            reason: None,
        }
    }

    pub(crate) fn delivery_to(&self, endpoint: EndpointId, millis: i64, start: Start) -> NewDelivery {
        let id = DeliveryId::new(at(millis), unique());
        NewDelivery { id, endpoint, integrator: self.integrator, ordering: Ordering::Parallel, start }
    }

    /// An event for one endpoint.
    pub(crate) fn single(&self, event: Event, start: Start) -> AcceptEvent {
        let delivery = self.delivery_to(self.endpoint, 0, start);
        AcceptEvent { event: Arc::new(event), body_hash: [1; 32], deliveries: vec![delivery] }
    }

    pub(crate) async fn request(&self, events: Vec<AcceptEvent>) -> AcceptRequest {
        let revision = self.store.revision_get(self.tenant).await.unwrap();
        AcceptRequest { tenant: self.tenant, revision, events, state: None, call: None }
    }

    /// Accepts one event and gives what became of it.
    pub(crate) async fn accept(&self, event: AcceptEvent) -> AcceptedEvent {
        match self.store.event_accept(self.request(vec![event]).await).await.unwrap() {
            Accepted::Stored(mut events) => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// Accepts an event whose one delivery waits until `due`; gives the delivery's id.
    pub(crate) async fn waiting(&self, endpoint: EndpointId, due: i64) -> DeliveryId {
        self.waiting_since(endpoint, 0, due).await
    }

    pub(crate) async fn waiting_since(&self, endpoint: EndpointId, taken: i64, due: i64) -> DeliveryId {
        let delivery = self.delivery_to(endpoint, taken, Start::Pending(at(due)));
        let id = delivery.id;
        let event = AcceptEvent { event: Arc::new(self.event(taken)), body_hash: [0; 32], deliveries: vec![delivery] };
        self.accept(event).await;
        id
    }

    pub(crate) async fn node(&self, name: &str) -> NodeSerial {
        self.store.node_register(name, LEASE, at(0)).await.unwrap()
    }

    pub(crate) async fn state_of(&self, id: DeliveryId) -> DeliveryState {
        self.store.delivery_get(self.tenant, id).await.unwrap().unwrap().state
    }
}

pub(crate) async fn open(database: &Database, key: u8) -> Result<Store, StoreError> {
    let options = StoreOptions { page_time_max: PATIENCE, ..StoreOptions::default() };
    Store::open(database, &SecretKey::new([key; 32]), options, at(0)).await
}

pub(crate) fn actor() -> Actor {
    Actor::system(at(1), unique())
}

pub(crate) fn attempt(number: u32, body: &[u8]) -> Attempt {
    Attempt {
        number,
        at: at(1_000 * i64::from(number)),
        trigger: if number == 1 { Trigger::Event } else { Trigger::Retry },
        plugin: Some("gsan@1.2.0".into()),
        plugin_digest: Some("ab".repeat(32)),
        request: Some(Request {
            method: "POST".into(),
            url: "https://example.com/hook".into(),
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: body.to_vec(),
            body_kept: true,
        }),
        response: Some(Response {
            status: 200,
            headers: vec![("server".into(), "x".into())],
            body: vec![0, 159, 146, 150],
            truncated: true,
        }),
        outcome: "success".into(),
        code: None,
        message: Some("A-17".into()),
        duration: Duration::from_micros(1_234),
        replay: Some(engate_model::delivery::Replay {
            endpoint_revision: 3,
            endpoint_url: "https://example.com/hook".into(),
            memo: Some("m".into()),
            ..Default::default()
        }),
    }
}

pub(crate) fn succeeded() -> Transition {
    Transition {
        state: DeliveryState::Succeeded,
        next_attempt_at: None,
        success: Some(true),
        outcome: "success",
        code: None,
        message: None,
        disable_endpoint: None,
    }
}

pub(crate) fn failed(state: DeliveryState, next: Option<Timestamp>) -> Transition {
    Transition {
        state,
        next_attempt_at: next,
        success: Some(false),
        outcome: "retry",
        code: Some("server_error".into()),
        ..succeeded()
    }
}

pub(crate) fn sqlite_path(database: &Database) -> PathBuf {
    match database {
        Database::Sqlite(path) => path.clone(),
        Database::Postgres(_) => panic!("not a file"),
    }
}
