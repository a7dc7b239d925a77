//! The world of a sync: a table of another system, the stand-in of Carol, a job between them, and an oracle that reads both
//! stores and never the engine.

use std::{collections::BTreeMap, time::Duration};

use axum::http::Method;
use engate_carol_stub::{Options, Stub};
use serde_json::{Value, json};

use crate::harness::{
    App, Setup,
    api::id,
    block_on, run_with, skipped,
    source::{Kind, Source},
    within,
};

/// How long source and target may differ once nobody writes.
const SETTLE_MAX: Duration = Duration::from_secs(90);

/// The table, and the stand-in.
pub(crate) struct World {
    pub(crate) stub: Stub,
    pub(crate) connector: (String, String),
    pub(crate) source: Source,
    http: reqwest::Client,
}

/// An SQLite source of so many rows, a third of them without a stamp.
pub(crate) fn with_world(rows: u32, test: impl AsyncFnOnce(&mut App, &World)) {
    with_world_on(Kind::Sqlite, Setup::new(), rows, test);
}

/// The same on any kind of source; says that it was skipped where its server is not there.
pub(crate) fn with_world_on(kind: Kind, setup: Setup, rows: u32, test: impl AsyncFnOnce(&mut App, &World)) {
    let Some(source) = block_on(Source::create(kind)) else { return skipped(Source::need(kind)) };
    let folder = tempfile::tempdir().unwrap();
    run_with(setup.set("connections.erp.url", &source.url), async move |app| {
        let world = World::new(source, folder.path().join("stub"), rows).await;
        test(app, &world).await;
    });
}

impl World {
    pub(crate) async fn new(source: Source, folder: std::path::PathBuf, rows: u32) -> Self {
        let times = source.times();
        source
            .execute(&format!(
                "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v VARCHAR(80) NOT NULL, d CHAR(1) NOT NULL, \
                 S_T_A_M_P_ {times} NULL); CREATE INDEX t_stamp ON t (S_T_A_M_P_, id)"
            ))
            .await;
        let now = source.now();
        let row = |n: u32| format!("({n}, 'v{n}', ' ', {})", if n.is_multiple_of(3) { "NULL" } else { now });
        let all: Vec<_> = (0..rows).map(row).collect();
        for rows in all.chunks(1_000) {
            source.execute(&format!("INSERT INTO t VALUES {}", rows.join(","))).await;
        }
        let options = Options::new(folder);
        let connector = (options.connector_id.clone(), options.connector_key.clone());
        let stub = Stub::start(options).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { stub, connector, source, http }
    }

    /// Asks or orders something of the stand-in.
    pub(crate) async fn stub(&self, method: Method, path: &str, body: Value) -> Value {
        let call = self.http.request(method, format!("{}/_stub/{path}", self.stub.address())).json(&body);
        let answer = call.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
    }

    /// Pages at the target's store: `requests`, `records`, and how many came again.
    pub(crate) async fn pages(&self) -> Pages {
        let counts = self.stub(Method::GET, "counts", json!({})).await;
        let count = |name: &str| counts["pages"][name].as_u64().unwrap();
        Pages { taken: count("requests"), rows: count("records"), repeats: count("repeated_requests") }
    }

    /// Sees that the stand-in refused nothing for its place in a batch: numbers had no gap, none came twice with another
    /// body, and what was told at the end was true.
    pub(crate) async fn nothing_refused(&self) {
        let calls = self.stub(Method::GET, "requests?limit=10000", Value::Null).await;
        let reasons = ["sequence_gap", "sequence_repeated", "batch_closed", "batch_unknown", "wrong_count"];
        let is_bad = |call: &&Value| call["reason"].as_str().is_some_and(|reason| reasons.contains(&reason));
        let refused: Vec<_> = calls["items"].as_array().unwrap().iter().filter(is_bad).collect();
        assert!(refused.is_empty(), "the stand-in refused {refused:?}");
    }

    /// The records of a staging table that are alive at the target.
    pub(crate) async fn records(&self, table: &str) -> Vec<Value> {
        let (mut rows, mut after) = (Vec::new(), None::<String>);
        loop {
            let url = format!("{}/_stub/tables/{table}/rows?limit=5000", self.stub.address());
            let after_it: Vec<_> = after.iter().map(|after| ("after", after)).collect();
            let url = reqwest::Url::parse_with_params(&url, after_it).unwrap();
            let text = self.http.get(url).send().await.unwrap().text().await.unwrap();
            let page: Value = serde_json::from_str(&text).unwrap();
            // Before the first page there is no table.
            let Some(items) = page["items"].as_array() else { return rows };
            rows.extend(items.iter().filter(|item| item["deleted"] != json!(true)).map(|item| item["data"].clone()));
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return rows,
            }
        }
    }

    /// What is alive at the target.
    pub(crate) async fn target(&self) -> BTreeMap<i64, String> {
        self.records("customers").await.iter().map(entry).collect()
    }

    /// What is alive at the source.
    pub(crate) async fn alive(&self) -> BTreeMap<i64, String> {
        self.source.query("SELECT id, v FROM t WHERE d <> '*'").await.iter().map(entry).collect()
    }

    /// How many rows are not at the target as they are, and how many are there that should not be.
    pub(crate) async fn difference(&self) -> (usize, usize, usize) {
        let (source, target) = (self.alive().await, self.target().await);
        let lost = source.iter().filter(|(key, value)| target.get(*key) != Some(*value)).count();
        let left = target.keys().filter(|key| !source.contains_key(*key)).count();
        (lost, left, source.len())
    }

    /// Waits until both are equal; gives how many rows they have.
    pub(crate) async fn equal(&self) -> usize {
        within(SETTLE_MAX, "target equals source", async || {
            let (lost, left, rows) = self.difference().await;
            if lost + left == 0 { Ok(rows) } else { Err(format!("{lost} lost, {left} left over of {rows}")) }
        })
        .await
    }

    /// Registers Carol.
    pub(crate) async fn endpoint(&self, app: &App) -> String {
        let endpoint = app
            .endpoint(json!({
                "url": format!("{}/", self.stub.address()), "event_types": [],
                "auth": {"type": "header", "name": "X-Auth-Key", "value": self.connector.1},
                "headers": {"X-Auth-ConnectorId": self.connector.0}
            }))
            .await;
        id(&endpoint)
    }

    /// Registers Carol and makes a job that is always at work.
    pub(crate) async fn job(&self, app: &App) -> Value {
        self.job_with(app, json!({}), json!({"page_rows": 50})).await
    }

    /// The same with more fields of its stream and of the sync.
    pub(crate) async fn job_with(&self, app: &App, stream: Value, sync: Value) -> Value {
        let endpoint = self.endpoint(app).await;
        let mut one = json!({"name": "customers", "table": "t", "key": ["id"], "watermark": "S_T_A_M_P_",
            "soft_delete": {"column": "d", "value": "*"}, "target": "customers"});
        one.as_object_mut().unwrap().extend(stream.as_object().unwrap().clone());
        let mut run = json!({
            "kind": "sync", "source": {"kind": "table", "connection": "erp"},
            "sink": {"plugin": "carol", "endpoint": endpoint,
                "config": {"base_url": self.stub.address(), "connector_id": self.connector.0}},
            "streams": [one]
        });
        run.as_object_mut().unwrap().extend(sync.as_object().unwrap().clone());
        let body = json!({"name": "carol", "schedule": {"kind": "always"}, "run": run});
        app.api.post("/v1/jobs", &body).await.expect(201)
    }
}

fn entry(record: &Value) -> (i64, String) {
    (record["id"].as_i64().unwrap(), record["v"].as_str().unwrap().to_owned())
}

/// What the stand-in's store says of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pages {
    pub(crate) taken: u64,
    pub(crate) rows: u64,
    pub(crate) repeats: u64,
}
