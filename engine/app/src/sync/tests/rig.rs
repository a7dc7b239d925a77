//! A source, an engine's store, and a strict target; a process that dies is a run that is dropped where it stands.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use engate_model::{
    Clock, JobId, TenantId, Timestamp,
    integrator::Tenant,
    run::{RunCounts, RunEnd},
    sync::{Checkpoint, PageSize, Partition, Planted, Position, Rules, SyncJob, page::track_id},
};
use engate_source::{Connection, ConnectionOptions, Plan, RowPage, Scan, SourceError, SourceRow};
use engate_store::{Actor, Database, SecretKey, Store, StoreOptions};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, SqliteConnection};
use tokio_util::sync::CancellationToken;

use super::target::Strict;
use crate::{
    clock::Chance,
    sync::{Report, SyncRun, Tables},
};

static COUNT: AtomicU64 = AtomicU64::new(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Postgres,
    MariaDb,
    Sqlite,
}

/// A writer of the source, with a transaction of its own.
pub(super) enum Writer {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
    Sqlite(SqliteConnection),
}

impl Writer {
    pub(super) async fn run(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(session) => drop(sqlx::raw_sql(sql).execute(session).await.unwrap()),
            Self::MariaDb(session) => drop(sqlx::raw_sql(sql).execute(session).await.unwrap()),
            Self::Sqlite(session) => drop(sqlx::raw_sql(sql).execute(session).await.unwrap()),
        }
    }
}

/// A clock that the test sets.
pub(super) struct Hands(Mutex<Timestamp>);

impl Hands {
    pub(super) fn set(&self, at: Timestamp) {
        *self.0.lock().unwrap() = at;
    }

    pub(super) fn pass(&self, time: Duration) {
        let mut at = self.0.lock().unwrap();
        *at = at.after(time);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// What happens once so many pages were read: the clock moves, and a writer writes.
pub(super) type Event = (u64, Duration, String);

/// The source as it is, under a clock that the test sets.
pub(super) struct Watched {
    pub(super) connection: Connection,
    pub(super) clock: Hands,
    pub(super) pages: AtomicU64,
    events: Mutex<Vec<Event>>,
    kind: Kind,
    url: String,
}

impl Watched {
    pub(super) async fn writer(&self) -> Writer {
        match self.kind {
            Kind::Postgres => Writer::Postgres(PgConnection::connect(&self.url).await.unwrap()),
            Kind::MariaDb => Writer::MariaDb(MySqlConnection::connect(&self.url).await.unwrap()),
            Kind::Sqlite => Writer::Sqlite(SqliteConnection::connect(&self.url).await.unwrap()),
        }
    }

    pub(super) fn when_pages_were_read(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

impl Tables for Watched {
    async fn clock(&self) -> Result<Timestamp, SourceError> {
        Ok(self.clock.now())
    }

    async fn plan(&self, stream: &engate_model::sync::StreamSpec, partition: &Partition) -> Result<Plan, SourceError> {
        self.connection.plan(stream, partition).await
    }

    async fn page(&self, plan: &Plan, scan: Scan<'_>, size: PageSize) -> Result<RowPage, SourceError> {
        let page = self.connection.page(plan, scan, size).await?;
        let read = self.pages.fetch_add(1, Ordering::Relaxed) + 1;
        let due: Vec<Event> = {
            let mut events = self.events.lock().unwrap();
            let (due, left) = events.drain(..).partition(|(at, ..)| *at <= read);
            *events = left;
            due
        };
        for (_, time, sql) in due {
            self.clock.pass(time);
            self.writer().await.run(&sql).await;
        }
        Ok(page)
    }

    async fn rows_of(&self, plan: &Plan, keys: &[String]) -> Result<Vec<SourceRow>, SourceError> {
        self.connection.rows_of(plan, keys).await
    }

    async fn largest_stamp(&self, plan: &Plan) -> Result<Option<Timestamp>, SourceError> {
        self.connection.largest_stamp(plan).await
    }
}

#[derive(Default)]
pub(super) struct Heard {
    pub(super) counts: Mutex<RunCounts>,
    pub(super) notes: Mutex<Vec<String>>,
    pub(super) covered: Mutex<Vec<(String, Timestamp)>>,
}

impl Report for Heard {
    fn count(&self, counts: RunCounts) {
        self.counts.lock().unwrap().add(counts);
    }

    fn note(&self, _: &'static str, message: String) {
        self.notes.lock().unwrap().push(message);
    }

    fn covered(&self, stream: &str, _: &Partition, at: Timestamp) {
        self.covered.lock().unwrap().push((stream.to_owned(), at));
    }
}

pub(super) struct Rig {
    pub(super) kind: Kind,
    pub(super) source: Watched,
    pub(super) target: Strict,
    pub(super) heard: Heard,
    pub(super) store: Store,
    pub(super) engine_clock: Hands,
    pub(super) settings: SyncJob,
    pub(super) planted: Option<Planted>,
    pub(super) tenant: TenantId,
    pub(super) job: JobId,
    pub(super) chance: Chance,
    fence: AtomicU64,
    database: Database,
    admin: String,
    name: String,
    _directory: tempfile::TempDir,
}

/// The instant at which every test begins, by the source's clock: in the afternoon.
pub(super) fn start() -> Timestamp {
    Timestamp::parse("2026-03-02T15:30:40Z").unwrap()
}

/// An instant so many milliseconds after the start.
pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(start().as_micros() + millis * 1_000)
}

/// The same as a literal of SQL.
pub(super) fn stamp(millis: i64) -> String {
    let text = at(millis).to_string();
    format!("'{}'", text.trim_end_matches('Z').replace('T', " "))
}

fn required(name: &str) -> bool {
    std::env::var("ENGATE_TEST_REQUIRE").is_ok_and(|all| all.contains(name))
}

impl Rig {
    pub(super) async fn new(kind: Kind) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("engate_sync_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (admin, url, dial) = match kind {
            Kind::Sqlite => {
                let path = directory.path().join("source.db");
                let options = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(&path)
                    .create_if_missing(true)
                    .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
                SqliteConnection::connect_with(&options).await.unwrap().close().await.unwrap();
                let path = path.display().to_string();
                (String::new(), path.clone(), format!("sqlite:{path}"))
            }
            Kind::Postgres => {
                let admin = std::env::var("ENGATE_TEST_POSTGRES")
                    .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned());
                let Ok(mut session) = PgConnection::connect(&admin).await else {
                    assert!(!required("postgres"), "PostgreSQL is required and does not answer");
                    println!("skipped: PostgreSQL does not answer; set ENGATE_TEST_POSTGRES to run this");
                    return None;
                };
                sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut session).await.unwrap();
                let url = format!("{}/{name}", admin.rsplit_once('/').unwrap().0);
                (admin, url.clone(), url)
            }
            Kind::MariaDb => {
                let admin = std::env::var("ENGATE_TEST_MARIADB")
                    .unwrap_or_else(|_| "mysql://root@127.0.0.1:3306/mysql".to_owned());
                let Ok(mut session) = MySqlConnection::connect(&admin).await else {
                    assert!(!required("mariadb"), "MariaDB is required and does not answer");
                    println!("skipped: MariaDB does not answer; set ENGATE_TEST_MARIADB to run this");
                    return None;
                };
                sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut session).await.unwrap();
                let url = format!("{}/{name}", admin.rsplit_once('/').unwrap().0);
                (admin, url.clone(), url)
            }
        };
        let database = Database::Sqlite(directory.path().join("engate.db"));
        let store = Store::open(&database, &SecretKey::new([7; 32]), StoreOptions::default(), start()).await.unwrap();
        let tenant = TenantId::new(start(), 1);
        let row = Tenant { id: tenant, slug: "default".into(), name: "Default".into(), created_at: start() };
        store.tenant_create(&Actor::system(start(), 1), &row, None).await.unwrap();
        let connection = Connection::open(&dial, ConnectionOptions { sessions: 8 }).unwrap();
        let rig = Self {
            kind,
            source: Watched {
                connection,
                clock: Hands(Mutex::new(start())),
                pages: AtomicU64::new(0),
                events: Mutex::default(),
                kind,
                url,
            },
            target: Strict::default(),
            heard: Heard::default(),
            store,
            // Both clocks never agree.
            engine_clock: Hands(Mutex::new(at(77_777))),
            settings: settings(),
            planted: None,
            tenant,
            job: JobId::new(start(), 2),
            chance: Chance::seeded(9),
            fence: AtomicU64::new(0),
            database,
            admin,
            name,
            _directory: directory,
        };
        let times = match kind {
            Kind::Postgres => "timestamp",
            Kind::MariaDb => "datetime(6)",
            Kind::Sqlite => "text",
        };
        rig.sql(&format!("CREATE TABLE t (id int NOT NULL PRIMARY KEY, v varchar(40), d char(1), s_t_a_m_p_ {times})"))
            .await;
        rig.sql("CREATE INDEX t_stamp ON t (s_t_a_m_p_, id)").await;
        Some(rig)
    }

    /// Writes to the source, and commits.
    pub(super) async fn sql(&self, sql: &str) {
        self.source.writer().await.run(sql).await;
    }

    /// Puts rows `from..to`, each stamped by `stamped`.
    pub(super) async fn fill(&self, from: i64, to: i64, stamped: impl Fn(i64) -> Option<i64>) {
        let row = |n: i64| {
            let stamp = stamped(n).map_or_else(|| "NULL".to_owned(), stamp);
            format!("({n}, 'v{n}', ' ', {stamp})")
        };
        let rows: Vec<_> = (from..to).map(row).collect();
        for rows in rows.chunks(1_000) {
            self.sql(&format!("INSERT INTO t VALUES {}", rows.join(","))).await;
        }
    }

    /// Puts so many rows into a table that has more columns.
    pub(super) async fn fill_columns(&self, count: i64) {
        for n in 0..count {
            self.sql(&format!("INSERT INTO t (id, v, d, s_t_a_m_p_) VALUES ({n}, 'v', ' ', {})", stamp(-n))).await;
        }
    }

    /// Changes a row, as a trigger would stamp it.
    pub(super) async fn touch(&self, id: i64, value: &str, millis: i64) {
        self.sql(&format!("UPDATE t SET v = '{value}', s_t_a_m_p_ = {} WHERE id = {id}", stamp(millis))).await;
    }

    pub(super) fn next_fence(&self) -> u64 {
        self.fence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// One run of the job; none where it died.
    pub(super) async fn run(&self) -> Option<RunEnd> {
        let fence = self.next_fence();
        self.run_as(fence, &CancellationToken::new()).await
    }

    pub(super) async fn run_as(&self, fence: u64, stop: &CancellationToken) -> Option<RunEnd> {
        self.run_with(&self.settings, fence, stop).await
    }

    async fn run_with(&self, settings: &SyncJob, fence: u64, stop: &CancellationToken) -> Option<RunEnd> {
        let rules = Rules { planted: self.planted, ..Rules::of(settings) };
        let run = SyncRun {
            store: &self.store,
            clock: &self.engine_clock,
            chance: &self.chance,
            tenant: self.tenant,
            job: self.job,
            fence,
            settings,
            rules,
            source: &self.source,
            target: &self.target,
            plugin: "strict",
            stop,
            report: &self.heard,
        };
        tokio::select! {
            biased;
            () = self.target.died() => None,
            end = run.run() => Some(end),
        }
    }

    /// Runs until a run ends well; gives an error where none does.
    pub(super) async fn settle(&self) -> Result<(), String> {
        self.settle_with(&self.settings).await
    }

    async fn settle_with(&self, settings: &SyncJob) -> Result<(), String> {
        for _ in 0..50 {
            match self.run_with(settings, self.next_fence(), &CancellationToken::new()).await {
                Some(RunEnd::Idle) => return Ok(()),
                Some(RunEnd::Failed(failure)) if !failure.retryable => return Err(format!("{failure:?}")),
                _ => {}
            }
        }
        Err("no run ends well".to_owned())
    }

    /// A minute passes, on both clocks.
    pub(super) fn minute(&self) {
        self.source.clock.pass(Duration::from_secs(60));
        self.engine_clock.pass(Duration::from_secs(60));
    }

    pub(super) fn counts(&self) -> RunCounts {
        *self.heard.counts.lock().unwrap()
    }

    pub(super) async fn checkpoint(&self) -> Checkpoint {
        self.store.track_list(self.tenant, self.job).await.unwrap().remove(0).checkpoint
    }

    pub(super) fn track(&self) -> engate_model::TrackId {
        track_id(self.job, "s", &Partition::new())
    }

    /// Source and target compared by key and record, from outside the engine.
    pub(super) async fn compare(&self) -> Result<(), String> {
        self.target.no_violations()?;
        let plan = self.source.connection.plan(&self.settings.streams[0], &Partition::new()).await.unwrap();
        let (mut position, mut source) = (Position::Start, std::collections::BTreeMap::new());
        loop {
            let scan = Scan { by_stamp: false, position: &position, reach: at(i64::from(i32::MAX)) };
            let size = PageSize { rows: 5_000, bytes: 64 << 20 };
            let page = self.source.connection.page(&plan, scan, size).await.unwrap();
            if let Some(last) = page.rows.last() {
                position = Position::Row { stamp: None, key: last.order.clone() };
            }
            source.extend(page.rows.into_iter().filter(|row| !row.deleted).map(|row| (row.key, row.data)));
            if !page.more {
                break;
            }
        }
        let target = self.target.records();
        let lost: Vec<_> = source.iter().filter(|(key, data)| target.get(*key) != Some(data)).map(|(k, _)| k).collect();
        let left: Vec<_> = target.keys().filter(|key| !source.contains_key(*key)).collect();
        if lost.is_empty() && left.is_empty() {
            return Ok(());
        }
        let some = |keys: &[&String]| keys.iter().take(5).map(|key| (*key).clone()).collect::<Vec<_>>();
        Err(format!("{} lost {:?}, {} left over {:?}", lost.len(), some(&lost), left.len(), some(&left)))
    }

    /// Another engine on the same database.
    pub(super) async fn reopen(&self) -> Store {
        Store::open(&self.database, &SecretKey::new([7; 32]), StoreOptions::default(), start()).await.unwrap()
    }

    pub(super) async fn clean(self) {
        self.store.close().await;
        self.source.connection.close().await;
        match self.kind {
            Kind::Postgres => {
                let mut session = PgConnection::connect(&self.admin).await.unwrap();
                let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut session).await.unwrap();
            }
            Kind::MariaDb => {
                let mut session = MySqlConnection::connect(&self.admin).await.unwrap();
                let sql = format!("DROP DATABASE {}", self.name);
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut session).await.unwrap();
            }
            Kind::Sqlite => {}
        }
    }
}

/// The same job under other settings.
pub(super) struct Otherwise<'a> {
    rig: &'a Rig,
    settings: SyncJob,
}

pub(super) const fn with_settings(rig: &Rig, settings: SyncJob) -> Otherwise<'_> {
    Otherwise { rig, settings }
}

impl Otherwise<'_> {
    pub(super) async fn settle(&self) -> Result<(), String> {
        self.rig.settle_with(&self.settings).await
    }

    pub(super) async fn run(&self) -> Option<RunEnd> {
        self.rig.run_with(&self.settings, self.rig.next_fence(), &CancellationToken::new()).await
    }
}

fn settings() -> SyncJob {
    serde_json::from_value(serde_json::json!({
        "source": {"kind": "table", "connection": "x"},
        "sink": {"plugin": "strict", "endpoint": format!("ep_{}", "0".repeat(32))},
        "streams": [{
            "name": "s", "table": "t", "key": ["id"], "watermark": "S_T_A_M_P_", "target": "t",
            "soft_delete": {"column": "d", "value": "*"}
        }],
        "page_rows": 100
    }))
    .unwrap()
}
