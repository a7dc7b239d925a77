//! How long listings take among many deliveries.
//!
//! `cargo run --workspace --example listing -- <database> <rows> [explain] [<part of a name>]`
//!
//! Fills an empty database with that many deliveries, a second apart (nothing where it has some already), with their spans and
//! the index of their texts, and times each order, each filter and some of both: the median of five, in milliseconds, of a
//! page of a hundred with its total. `explain` shows how the database runs each: on PostgreSQL `EXPLAIN (ANALYZE, BUFFERS)`. A part
//! of a name times only what has it.
//!
//! Figures: tests/bench/README.md. 10 M rows take 9 GB on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant, SystemTime};

use engate_model::{
    EndpointId, IntegratorId, Secret, TenantId, Timestamp, TypedId as _,
    delivery::DeliveryState,
    endpoint::{Auth, Endpoint, Signing},
    integrator::{Integrator, Tenant},
    listing::{Column, Sort},
    retry::RetryPolicy,
};
use engate_store::{Actor, Database, DeliveryFilter, Meaning, Page, SecretKey, Store, StoreOptions, SuccessFilter};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

const INTEGRATORS: u32 = 10;
const ENDPOINTS_EACH: u32 = 5;
const TYPES: u32 = 30;
/// Rows of one transaction.
const ROWS_AT_ONCE: i64 = 250_000;
/// Microseconds between two deliveries.
const STEP: i64 = 1_000_000;
const RUNS: usize = 5;

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let database = Database::parse(&args.next().expect("a database"));
    let rows: i64 = args.next().map_or(1_000_000, |n| n.parse().unwrap());
    let mut words: Vec<String> = args.collect();
    let explain = words.first().is_some_and(|word| word == "explain");
    words.drain(..usize::from(explain));
    let only = words.pop().unwrap_or_default();
    let store = Store::open(&database, &SecretKey::new([1; 32]), StoreOptions::default(), now()).await.unwrap();
    let (tenant, begin) = fill(&store, &database, rows).await;
    let started = Instant::now();
    let mut spans = 0;
    loop {
        let made = store.delivery_span_extend().await.unwrap();
        spans += made;
        let lag = store.delivery_texts_lag().await.unwrap();
        if made == 0 && lag == 0 {
            break;
        }
    }
    println!("{spans} spans made and all texts indexed in {:.1} s", started.elapsed().as_secs_f64());
    let world = World { store, tenant, begin, rows, explain, only };
    world.sorts().await;
    world.filters().await;
    world.both().await;
    world.store.close().await;
}

struct World {
    store: Store,
    tenant: TenantId,
    begin: Timestamp,
    rows: i64,
    explain: bool,
    only: String,
}

impl World {
    fn at(&self, percent: i64) -> Timestamp {
        Timestamp::from_micros(self.begin.as_micros() + self.rows / 100 * percent * STEP)
    }

    async fn sorts(&self) {
        let any = DeliveryFilter::default();
        self.time("default order", &any, "code").await;
        for column in Column::ALL {
            for minus in ["", "-"] {
                self.time("", &any, &format!("{minus}{}", column.name())).await;
            }
        }
    }

    async fn filters(&self) {
        let any = DeliveryFilter::default();
        let endpoints = self.store.endpoint_list(self.tenant, &engate_store::EndpointFilter::default()).await.unwrap();
        let integrators = self.store.integrator_list(self.tenant).await.unwrap();
        for state in DeliveryState::ALL {
            self.time(state.code(), &DeliveryFilter { states: vec![state], ..any.clone() }, "code").await;
        }
        for success in [SuccessFilter::Yes, SuccessFilter::No, SuccessFilter::Pending] {
            let filter = DeliveryFilter { success: vec![success], ..any.clone() };
            self.time(&format!("success {success:?}"), &filter, "code").await;
        }
        let one = DeliveryFilter { integrators: vec![integrators[3].id], ..any.clone() };
        self.time("one integrator", &one, "code").await;
        let three = integrators.iter().take(3).map(|one| one.id).collect();
        self.time("three integrators", &DeliveryFilter { integrators: three, ..any.clone() }, "code").await;
        self.time("one endpoint", &DeliveryFilter { endpoints: vec![endpoints[7].id], ..any.clone() }, "code").await;
        for kind in [0, TYPES - 1] {
            let filter = DeliveryFilter { event_types: vec![format!("type.{kind}")], ..any.clone() };
            self.time(&format!("event type {kind}"), &filter, "code").await;
        }
        for (name, from, before) in
            [("first tenth", 0, 10), ("middle", 45, 55), ("last tenth", 90, 200), ("a day's worth", 50, 51)]
        {
            let filter = DeliveryFilter {
                created_from: Some(self.at(from)),
                created_before: Some(self.at(before)),
                ..any.clone()
            };
            self.time(&format!("created {name}"), &filter, "code").await;
            let filter = DeliveryFilter {
                integrated_from: Some(self.at(from)),
                integrated_before: Some(self.at(before)),
                ..any.clone()
            };
            self.time(&format!("integrated {name}"), &filter, "code").await;
        }
        for (min, max) in [(2, None), (0, Some(0)), (1, Some(1)), (0, Some(1)), (10, Some(10))] {
            let filter = DeliveryFilter { attempts_min: Some(min), attempts_max: max, ..any.clone() };
            self.time(&format!("attempts {min} to {max:?}"), &filter, "code").await;
        }
        for (name, word) in [
            ("q: a frequent subject", vec![Meaning::Text("cliente-1".into())]),
            ("q: a rare subject", vec![Meaning::Text("cliente-123457".into())]),
            ("q: a part of few", vec![Meaning::Text("e-12345".into())]),
            ("q: a correlation id", vec![Meaning::Text("c-500000".into())]),
            ("q: in none", vec![Meaning::Text("zzz".into())]),
            ("q: a short word", vec![Meaning::Text("9".into())]),
            ("q: a code", vec![Meaning::Codes(self.rows / 2, self.rows / 2)]),
        ] {
            self.time(name, &DeliveryFilter { words: vec![word], ..any.clone() }, "code").await;
        }
    }

    async fn both(&self) {
        let any = DeliveryFilter::default();
        let failed = DeliveryFilter { states: vec![DeliveryState::Failed], ..any.clone() };
        let recent = DeliveryFilter { created_from: Some(self.at(99)), ..any.clone() };
        let cases = [
            ("failed", &failed, "-created_at"),
            ("failed", &failed, "-last_attempt_at"),
            ("failed", &failed, "integrator,-attempts"),
            ("any", &any, "integrator,-attempts"),
            ("any", &any, "-created_at,integrator"),
            ("any", &any, "state,-last_attempt_at"),
            ("failed", &failed, "subject"),
            ("failed", &failed, "-correlation_id"),
            ("any", &any, "subject,-created_at"),
            ("recent", &recent, "subject"),
            ("recent", &recent, "event_type,subject"),
        ];
        for (name, filter, sort) in cases {
            self.time(name, filter, sort).await;
        }
    }

    async fn time(&self, name: &str, filter: &DeliveryFilter, sort: &str) {
        if !format!("{name} {sort}").contains(&self.only) {
            return;
        }
        let order = Sort::parse(sort).unwrap();
        let mut took = Vec::new();
        let mut told = String::new();
        for _ in 0..=RUNS {
            let started = Instant::now();
            let page = self.store.delivery_list(self.tenant, filter, &order, &Page { after: None, limit: 100 }).await;
            took.push(started.elapsed());
            told = match page {
                Ok(page) => {
                    let total = page.total.unwrap();
                    format!(
                        "{} rows of {}{}",
                        page.items.len(),
                        if total.exact { "" } else { "at least " },
                        total.count
                    )
                }
                Err(error) => error.code().to_owned(),
            };
        }
        // The first run warms.
        took.remove(0);
        took.sort_unstable();
        let (median, most) = (took[RUNS / 2].as_secs_f64() * 1e3, took[RUNS - 1].as_secs_f64() * 1e3);
        println!("{median:8.1} ms (most {most:.1})  {name:24} sort {sort:24} {told}");
        if self.explain
            && let Ok(plan) = self.store.delivery_explain(self.tenant, filter, &order).await
        {
            let mut lines = plan;
            lines.dedup();
            lines.iter().for_each(|line| println!("             {line}"));
        }
    }
}

/// A tenant, its integrators and endpoints, and the deliveries, written behind the store's back.
async fn fill(store: &Store, database: &Database, rows: i64) -> (TenantId, Timestamp) {
    if let Some(tenant) = store.tenant_by_slug("listing").await.unwrap() {
        return (tenant.id, tenant.created_at);
    }
    let mut count = 0_u128;
    let mut unique = || {
        count += 1;
        count << 32
    };
    let begin = now().before(Duration::from_micros(u64::try_from(rows * STEP).unwrap()));
    let tenant = TenantId::new(begin, unique());
    let row = Tenant { id: tenant, slug: "listing".into(), name: String::new(), created_at: begin };
    store.tenant_create(&Actor::system(begin, unique()), &row, None).await.unwrap();
    let mut endpoints = Vec::new();
    for n in 0..INTEGRATORS {
        let integrator = IntegratorId::new(begin, unique());
        store.integrator_create(&Actor::system(begin, unique()), &company(integrator, tenant, n, begin)).await.unwrap();
        for _ in 0..ENDPOINTS_EACH {
            let row = endpoint(EndpointId::new(begin, unique()), tenant, integrator, begin);
            store.endpoint_create(&Actor::system(begin, unique()), &row).await.unwrap();
            endpoints.push((row.id, integrator));
        }
    }
    let started = Instant::now();
    let mut week = begin;
    while week < now() {
        // Each call makes the partitions of five weeks; none on SQLite.
        store.partitions_maintain(week).await.unwrap();
        week = week.after(Duration::from_secs(28 * 24 * 3_600));
    }
    let sqlite = store.backend() == "sqlite";
    let indexes = if sqlite { Vec::new() } else { indexes_drop(database).await };
    let mut first = 1;
    while first <= rows {
        let last = (first + ROWS_AT_ONCE - 1).min(rows);
        run(database, &insert(sqlite, tenant, &endpoints, begin, first, last)).await;
        first = last + 1;
    }
    println!("{rows} deliveries written in {:.0} s", started.elapsed().as_secs_f64());
    run(database, &indexed(sqlite, rows)).await;
    for index in indexes {
        run(database, &format!("SET maintenance_work_mem = '256MB'; {index}")).await;
    }
    if sqlite {
        run(database, &format!("UPDATE counters SET value = {rows} WHERE name = 'delivery_code'")).await;
    } else {
        run(database, &format!("SELECT setval('delivery_code', {rows})")).await;
        for table in ["deliveries", "delivery_texts", "delivery_search", "delivery_spans"] {
            run(database, &format!("VACUUM ANALYZE {table}")).await;
        }
    }
    println!("indexed after {:.0} s", started.elapsed().as_secs_f64());
    (tenant, begin)
}

/// Drops what is quicker made at once; gives the statements that make it again.
async fn indexes_drop(database: &Database) -> Vec<String> {
    let Database::Postgres(url) = database else { return Vec::new() };
    let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
    let sql = "SELECT indexname::text, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND \
               (tablename = 'deliveries' AND indexname <> 'deliveries_pkey' OR indexname = 'delivery_search_letters')";
    let all: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut conn).await.unwrap();
    for (name, _) in &all {
        conn.execute(sqlx::raw_sql(AssertSqlSafe(format!("DROP INDEX {name}")))).await.unwrap();
    }
    conn.close().await.unwrap();
    // Made on the table itself, it is made on every partition.
    all.into_iter().map(|(_, definition)| definition.replace(" ON ONLY ", " ON ")).collect()
}

/// Spans and texts of all of it, as the background would make them.
fn indexed(sqlite: bool, rows: i64) -> String {
    let (id, of_id, rowid, search_ids, search_more) = if sqlite {
        ("", "", "rowid", "", "")
    } else {
        (", id", ", of_id", "code", ", of_tenant, of_id", ", tenant_id, id")
    };
    let texts = |field: i64, column: &str| {
        format!(
            "INSERT INTO delivery_texts (of_tenant, field, text, of_code{of_id}) SELECT tenant_id, CASE WHEN {column} IS NULL \
             THEN {field} ELSE {field} + 1 END, COALESCE({column}, ''), code{id} FROM deliveries ORDER BY 1, 2, 3, 4;"
        )
    };
    format!(
        "INSERT INTO delivery_spans (first_code, last_code, created_min, created_max) SELECT (code - 1) / 4096 * 4096 + 1, \
         (code - 1) / 4096 * 4096 + 4096, min(created_at), max(created_at) FROM deliveries WHERE code <= {rows} / 4096 * 4096 \
         GROUP BY 1, 2; {} {} INSERT INTO delivery_search ({rowid}, folded{search_ids}) SELECT code, subject || \
         CASE WHEN correlation_id IS NULL THEN '' ELSE '\n' || correlation_id END{search_more} FROM deliveries; \
         UPDATE delivery_marks SET code = {rows} WHERE name = 'texts'",
        texts(0, "subject"),
        texts(2, "correlation_id"),
    )
}

async fn run(database: &Database, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    match database {
        Database::Sqlite(path) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).pragma("cache_size", "-200000");
            let mut conn = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            conn.execute(sqlx::raw_sql(sql)).await.unwrap();
            conn.close().await.unwrap();
        }
        Database::Postgres(url) => {
            let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
            conn.execute(sqlx::raw_sql(sql)).await.unwrap();
            conn.close().await.unwrap();
        }
    }
}

/// Nine of ten deliveries are tried once and taken; the others wait, failed, were tried again, or never went.
fn insert(
    sqlite: bool,
    tenant: TenantId,
    endpoints: &[(EndpointId, IntegratorId)],
    begin: Timestamp,
    first: i64,
    last: i64,
) -> String {
    let literal = |uuid: uuid::Uuid| if sqlite { format!("X'{}'", uuid.simple()) } else { format!("'{uuid}'::uuid") };
    let choose = |ids: Vec<String>| {
        let whens: String = ids.iter().enumerate().map(|(n, id)| format!(" WHEN {n} THEN {id}")).collect();
        format!("CASE e{whens} END")
    };
    let endpoint = choose(endpoints.iter().map(|(id, _)| literal(id.uuid())).collect());
    let integrator = choose(endpoints.iter().map(|(_, id)| literal(id.uuid())).collect());
    let series = if sqlite {
        format!("WITH RECURSIVE s (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last})")
    } else {
        format!("WITH s (n) AS (SELECT generate_series({first}::bigint, {last}::bigint))")
    };
    // A number that looks like chance, from the row's own.
    let chance = |factor: i64, sides: i64| format!("((n * {factor}) % 1000003 * 7919 % 1000003 % {sides})");
    let id = |salt: u32| {
        let (ms, low) = ("(created / 1000)", format!("(n % 268435456) * 16 + {salt}"));
        if sqlite {
            format!("unhex(printf('%012x7000800000%010x', {ms}, {low}))")
        } else {
            format!("(lpad(to_hex({ms}), 12, '0') || '7000800000' || lpad(to_hex({low}), 10, '0'))::uuid")
        }
    };
    let begin = begin.as_micros();
    let (delivery, event) = (id(1), id(2));
    let kind = "CASE WHEN k < 940 THEN 0 WHEN k < 960 THEN 1 WHEN k < 980 THEN 2 WHEN k < 985 THEN 3 WHEN k < 990 THEN 4 \
                WHEN k < 999 THEN 5 ELSE 6 END";
    let (often, few, many) = (chance(17, 1_000), chance(19, 5), chance(23, i64::from(TYPES)));
    let t = format!("(CASE WHEN {often} < 900 THEN {few} ELSE {many} END)");
    format!(
        "{series}, a AS (SELECT n, {begin} + n * {STEP} + {jitter} AS created, {e} AS e, {k} AS k, {t} AS t, {u} AS u FROM s), \
         b AS (SELECT a.*, {kind} AS kind FROM a) \
         INSERT INTO deliveries (code, id, tenant_id, event_id, event_type, subject, endpoint_id, integrator_id, state, success, \
         reason, attempts, created_at, first_attempt_at, last_attempt_at, integrated_at, due_at, owner, correlation_id) \
         SELECT n, {delivery}, {tenant}, {event}, 'type.' || t, 'cliente-' || u, {endpoint}, {integrator}, \
         CASE kind WHEN 0 THEN 'succeeded' WHEN 1 THEN 'succeeded' WHEN 2 THEN 'failed' WHEN 3 THEN 'skipped' WHEN 4 THEN 'cancelled' \
         WHEN 5 THEN 'pending' ELSE 'parked' END, \
         CASE WHEN kind <= 1 THEN 1 WHEN kind = 2 OR kind = 5 THEN 0 ELSE -1 END, \
         CASE WHEN kind = 2 OR kind = 5 THEN CASE WHEN n % 3 = 0 THEN 'timeout' ELSE 'server_error' END WHEN kind = 3 THEN \
         'endpoint_disabled' WHEN kind = 4 THEN 'cancelled_by_operator' WHEN kind = 6 THEN 'plugin_faulty' END, \
         CASE kind WHEN 0 THEN 1 WHEN 1 THEN 2 + n % 3 WHEN 2 THEN 10 WHEN 5 THEN 1 + n % 4 ELSE 0 END, created, \
         CASE WHEN kind IN (0, 1, 2, 5) THEN created + 20000 END, \
         CASE WHEN kind = 0 THEN created + 20000 WHEN kind IN (1, 5) THEN created + 300000000 + u * 1000 WHEN kind = 2 THEN created + 86400000000 END, \
         CASE WHEN kind = 0 THEN created + 20000 + u WHEN kind = 1 THEN created + 300000000 + u * 1000 + 50000 END, \
         CASE WHEN kind = 5 THEN {end} + u * 100000 END, NULL, CASE WHEN n % 10 = 0 THEN 'c-' || n END FROM b",
        jitter = chance(31, 500_000),
        e = chance(7, i64::try_from(endpoints.len()).unwrap()),
        k = chance(13, 1_000),
        u = chance(29, 200_000),
        tenant = literal(tenant.uuid()),
        end = now().as_micros(),
    )
}

fn company(id: IntegratorId, tenant: TenantId, n: u32, at: Timestamp) -> Integrator {
    Integrator {
        id,
        tenant,
        slug: format!("i{n}"),
        name: format!("Integrador {n}"),
        active: true,
        services: vec!["s".into()],
        plugin: None,
        config: None,
        created_at: at,
        updated_at: at,
    }
}

fn endpoint(id: EndpointId, tenant: TenantId, integrator: IntegratorId, at: Timestamp) -> Endpoint {
    Endpoint {
        id,
        tenant,
        integrator,
        description: String::new(),
        url: "https://example.com".into(),
        auth: Auth::None,
        plugin: None,
        config: None,
        event_types: vec!["*".into()],
        enabled: true,
        disabled_reason: None,
        ordering: engate_model::line::Ordering::Parallel,
        max_in_flight: 16,
        timeout: Duration::from_secs(15),
        retry: RetryPolicy::default(),
        headers: vec![],
        signing: Signing { enabled: false, secret: Secret::new("whsec_x"), previous: None },
        rate_limit: None,
        filter: None,
        paused_at: None,
        verified_at: None,
        callbacks: engate_model::callback::CallbackScope::Tenant,
        revision: 1,
        created_at: at,
        updated_at: at,
    }
}
