//! Sync jobs through a whole engine, against the stand-in of Carol: `kill -9` at random while the table is written to, and an
//! oracle that reads the stand-in's store, not the engine.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use axum::http::Method;
use engate_carol_stub::{Options, Stub};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::harness::{App, Setup, api::id, run_with, within};

/// Kills of one case.
const KILLS: u32 = 12;
/// How long source and target may differ once nobody writes.
const SETTLE_MAX: Duration = Duration::from_secs(90);

/// The table, and the stand-in.
pub(crate) struct World {
    stub: Stub,
    pub(crate) connector: (String, String),
    pub(crate) source: PathBuf,
    http: reqwest::Client,
}

pub(crate) fn with_world(rows: u32, test: impl AsyncFnOnce(&mut App, &World)) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.db");
    let setup = Setup::new().set("connections.erp.url", &format!("sqlite:{}", source.display()));
    run_with(setup, async |app| {
        execute(
            &source,
            "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT NOT NULL, d TEXT NOT NULL, S_T_A_M_P_ TIMESTAMP); CREATE \
             INDEX t_stamp ON t (S_T_A_M_P_, id)",
        )
        .await;
        let all: Vec<_> = (0..rows).map(|n| format!("({n}, 'v{n}', ' ', {})", stamp(n % 3 == 0))).collect();
        execute(&source, &format!("INSERT INTO t VALUES {}", all.join(","))).await;
        let options = Options::new(folder.path().join("stub"));
        let connector = (options.connector_id.clone(), options.connector_key.clone());
        let stub = Stub::start(options).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        test(app, &World { stub, connector, source, http }).await;
    });
}

/// A stamp of now, or none.
pub(crate) const fn stamp(none: bool) -> &'static str {
    if none { "NULL" } else { "strftime('%Y-%m-%d %H:%M:%f', 'now')" }
}

pub(crate) async fn execute(source: &Path, sql: &str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(source)
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(20))
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let mut session = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut session).await.unwrap();
    session.close().await.unwrap();
}

impl World {
    pub(crate) async fn stub(&self, method: Method, path: &str, body: Value) -> Value {
        let call = self.http.request(method, format!("{}/_stub/{path}", self.stub.address())).json(&body);
        let answer = call.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
    }

    /// What is alive at the target.
    async fn target(&self) -> BTreeMap<i64, String> {
        let (mut rows, mut after) = (BTreeMap::new(), None::<String>);
        loop {
            let url = format!("{}/_stub/tables/customers/rows?limit=500", self.stub.address());
            let after_it: Vec<_> = after.iter().map(|after| ("after", after)).collect();
            let url = reqwest::Url::parse_with_params(&url, after_it).unwrap();
            let text = self.http.get(url).send().await.unwrap().text().await.unwrap();
            let page: Value = serde_json::from_str(&text).unwrap();
            // Before the first page there is no table.
            let Some(items) = page["items"].as_array() else { return rows };
            for item in items.iter().filter(|item| item["deleted"] != json!(true)) {
                let record = &item["data"];
                rows.insert(record["id"].as_i64().unwrap(), record["v"].as_str().unwrap().to_owned());
            }
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return rows,
            }
        }
    }

    /// What is alive at the source.
    async fn alive(&self) -> BTreeMap<i64, String> {
        let mut session = SqliteConnection::connect(&self.source.display().to_string()).await.unwrap();
        let rows = sqlx::query("SELECT id, v FROM t WHERE d <> '*'").fetch_all(&mut session).await.unwrap();
        session.close().await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Waits until both are equal.
    pub(crate) async fn equal(&self) {
        within(SETTLE_MAX, "target equals source", async || {
            let (source, target) = (self.alive().await, self.target().await);
            let lost = source.iter().filter(|(key, value)| target.get(*key) != Some(*value)).count();
            let left = target.keys().filter(|key| !source.contains_key(*key)).count();
            if lost + left == 0 { Ok(()) } else { Err(format!("{lost} lost, {left} left over of {}", source.len())) }
        })
        .await;
    }

    /// Changes some rows, as a Protheus does.
    async fn write(&self, random: &mut StdRng, round: u32) {
        let id = |random: &mut StdRng| random.random_range(0..1_500);
        let ids: Vec<_> = (0..60).map(|_| id(random).to_string()).collect();
        let stamp = stamp(false);
        let sql = format!(
            "UPDATE t SET v = 'w{round}', S_T_A_M_P_ = {stamp} WHERE id IN ({}); UPDATE t SET d = '*', S_T_A_M_P_ = {stamp} WHERE id \
             = {}; INSERT INTO t SELECT max(id) + 1, 'n{round}', ' ', {stamp} FROM t",
            ids.join(","),
            id(random)
        );
        execute(&self.source, &sql).await;
    }

    /// Registers Carol and makes a job that is always at work.
    pub(crate) async fn job(&self, app: &App) -> Value {
        let endpoint = app
            .endpoint(json!({
                "url": format!("{}/", self.stub.address()), "event_types": [],
                "auth": {"type": "header", "name": "X-Auth-Key", "value": self.connector.1},
                "headers": {"X-Auth-ConnectorId": self.connector.0}
            }))
            .await;
        let body = json!({
            "name": "carol", "schedule": {"kind": "always"},
            "run": {
                "kind": "sync", "source": {"kind": "table", "connection": "erp"},
                "sink": {"plugin": "carol", "endpoint": id(&endpoint),
                    "config": {"base_url": self.stub.address(), "connector_id": self.connector.0}},
                "streams": [{"name": "customers", "table": "t", "key": ["id"], "watermark": "S_T_A_M_P_",
                    "soft_delete": {"column": "d", "value": "*"}, "target": "customers"}],
                "page_rows": 50
            }
        });
        app.api.post("/v1/jobs", &body).await.expect(201)
    }
}

#[test]
fn p24_p25_p29_whatever_is_killed_the_target_ends_as_the_source() {
    with_world(1_500, async |app, world| {
        let mut random = StdRng::seed_from_u64(5);
        let job = world.job(app).await;
        for round in 0..KILLS {
            tokio::time::sleep(Duration::from_millis(random.random_range(20..900))).await;
            world.write(&mut random, round).await;
            app.engine.kill().await;
            world.write(&mut random, round + 1_000).await;
            app.engine.start_again().await;
        }
        world.equal().await;
        let counts = world.stub(Method::GET, "counts", json!({})).await;
        let batches = world.stub(Method::GET, "batches?limit=500", json!({})).await;
        let refused = app.api.get(&format!("/v1/jobs/{}/quarantine", id(&job))).await.expect(200);
        assert_eq!(refused["total"], 0);
        let checkpoints = app.api.get(&format!("/v1/jobs/{}/checkpoints", id(&job))).await.expect(200);
        assert_eq!(checkpoints["items"][0]["phase"], "delta");
        println!("{KILLS} kills, lost 0; {counts}; {} batches", batches["items"].as_array().map_or(0, Vec::len));
    });
}

#[test]
fn p20_p26_a_changed_row_arrives_whole_and_soon_and_without_changes_nothing_goes_out() {
    with_world(300, async |app, world| {
        world.job(app).await;
        world.equal().await;
        let mut waits = Vec::new();
        for n in 0..20 {
            tokio::time::sleep(Duration::from_millis(200 + n * 37 % 500)).await;
            let changed = format!("UPDATE t SET v = 'soon{n}', S_T_A_M_P_ = {} WHERE id = {n}", stamp(false));
            execute(&world.source, &changed).await;
            let begun = Instant::now();
            within(Duration::from_secs(20), "the row is there", async || {
                let found = world.target().await.get(&i64::try_from(n).unwrap()).cloned().unwrap_or_default();
                if found == format!("soon{n}") { Ok(()) } else { Err(found) }
            })
            .await;
            waits.push(begun.elapsed());
        }
        waits.sort();
        println!("from a change to the target: median {:?}, p95 {:?}", waits[10], waits[18]);
        assert!(waits[18] < Duration::from_secs(2), "{waits:?}");
        world.equal().await;
        let before = world.stub(Method::GET, "counts", json!({})).await["calls"].clone();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(
            world.stub(Method::GET, "counts", json!({})).await["calls"],
            before,
            "nothing changed, nothing is sent"
        );
        let metrics = app.api.get("/metrics").await.expect(200).as_str().unwrap().to_owned();
        assert!(metrics.contains("engate_sync_lag_seconds{job=\"carol\",stream=\"customers\""), "{metrics}");
        let tables = app.engine.client(&["job", "discover", "erp"]).await;
        let shown = String::from_utf8_lossy(&tables.stdout).into_owned();
        assert!(shown.contains("S_T_A_M_P_"), "{shown}");
    });
}
