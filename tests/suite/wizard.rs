//! Setting a Protheus up for Carol, against the stand-in of the other side and a Protheus in a SQLite file.

use std::path::{Path, PathBuf};

use axum::http::Method;
use bytes::Bytes;
use engate_carol_stub::{Options, Stub};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use crate::harness::{
    App, Reply, Setup,
    api::{Answer, id},
    eventually, run_with,
};

const STEPS: [&str; 8] =
    ["welcome", "provisioning", "requirements", "companies", "credentials", "preflight", "entities", "jobs"];
const SECRET: &str = "protheus-secret";
/// A port where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9/";

/// The other side and the Protheus.
struct World {
    stub: Stub,
    protheus: PathBuf,
    http: reqwest::Client,
}

fn with_world(test: impl AsyncFnOnce(&mut App, &World)) {
    let folder = tempfile::tempdir().unwrap();
    let protheus = folder.path().join("protheus.db");
    let url = format!("sqlite:{}", protheus.display());
    let setup = Setup::new().set("connections.protheus.url", &url).set("connections.protheus-admin.url", &url);
    run_with(setup, async |app| {
        for table in ["SA1010", "SA1020", "SA1030", "SC5010", "SC5020", "SC5030"] {
            make_table(&protheus, table, true).await;
        }
        let stub = Stub::start(Options::new(folder.path().join("stub"))).await.unwrap();
        let world = World { stub, protheus, http: reqwest::Client::builder().no_proxy().build().unwrap() };
        test(app, &world).await;
    });
}

async fn execute(protheus: &Path, sql: &str) {
    let url = format!("sqlite:{}?mode=rwc", protheus.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A table as a Protheus has it, with its watermark or without.
async fn make_table(protheus: &Path, table: &str, with_watermark: bool) {
    let prefix = if table.starts_with("SA1") { "A1" } else { "C5" };
    let watermark = if with_watermark { ", S_T_A_M_P_ TIMESTAMP" } else { "" };
    let sql = format!(
        "CREATE TABLE {table} ({prefix}_FILIAL TEXT NOT NULL, {prefix}_COD TEXT NOT NULL, {prefix}_NUM TEXT NOT NULL, \
         {prefix}_LOJA TEXT NOT NULL, D_E_L_E_T_ TEXT NOT NULL DEFAULT ' ', R_E_C_N_O_ INTEGER PRIMARY KEY{watermark})"
    );
    execute(protheus, &sql).await;
}

impl World {
    async fn stub(&self, method: Method, path: &str, body: Value) -> Value {
        let call = self.http.request(method, format!("{}/_stub/{path}", self.stub.address())).json(&body);
        let answer = call.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
    }

    async fn calls(&self, path: &str) -> usize {
        let list = self.stub(Method::GET, &format!("requests?path={path}"), json!({})).await;
        list["items"].as_array().unwrap().len()
    }

    /// The registry's address alone: it says where the rest is.
    fn welcome(&self) -> Value {
        json!({"connection": "protheus", "urls": {"registry": format!("{}/api/v1/services", self.stub.address())}})
    }

    /// What passes a step.
    fn answer(&self, step: &str) -> Value {
        let newest = |version: &str| json!({"have": version, "latest": version});
        match step {
            "welcome" => self.welcome(),
            "provisioning" => json!({"already_done": true}),
            "requirements" => json!({
                "release": "12.1.2310", "dbaccess": newest("23.1.1.4"), "appserver": newest("20.3.2.9"),
                "lib": newest("20251103"), "upddistr": true,
            }),
            "companies" => json!({"companies": [{"code": "01"}]}),
            "credentials" => json!({"client_id": "protheus", "client_secret": SECRET}),
            _ => Value::Null,
        }
    }
}

/// A wizard under way.
struct Wizard<'a> {
    app: &'a App,
    world: &'a World,
    id: String,
}

impl<'a> Wizard<'a> {
    async fn begin(app: &'a App, world: &'a World) -> Self {
        let begun = app.api.send(Method::POST, "/v1/wizards/carol", &[], Bytes::new()).await.expect(201);
        assert_eq!(begun["state"], "welcome");
        Self { app, world, id: id(&begun) }
    }

    /// Begins one and passes all steps before `step`.
    async fn before(app: &'a App, world: &'a World, step: &str) -> Self {
        let wizard = Self::begin(app, world).await;
        wizard.pass_until(step).await;
        wizard
    }

    async fn pass_until(&self, step: &str) {
        for key in STEPS.into_iter().take_while(|key| *key != step) {
            self.pass(key, self.world.answer(key)).await;
        }
    }

    async fn call(&self, step: &str, body: Value) -> Answer {
        let path = format!("/v1/wizards/{}/steps/{step}", self.id);
        match body {
            Value::Null => self.app.api.send(Method::POST, &path, &[], Bytes::new()).await,
            body => self.app.api.post(&path, &body).await,
        }
    }

    /// Does a step that answers 200; gives its status and what it found.
    async fn does(&self, step: &str, body: Value) -> (String, Value) {
        let wizard = self.call(step, body).await.expect(200);
        found(&wizard, step)
    }

    async fn pass(&self, step: &str, body: Value) -> Value {
        let (status, found) = self.does(step, body).await;
        assert_eq!(status, "done", "{step}: {found}");
        found
    }

    async fn shown(&self) -> Value {
        self.app.api.get(&format!("/v1/wizards/{}", self.id)).await.expect(200)
    }

    async fn job(&self, name: &str) -> Value {
        let jobs = self.app.api.get("/v1/jobs").await.expect(200);
        let mut jobs = jobs["items"].as_array().unwrap().iter().filter(|job| job["name"] == name);
        let job = jobs.next().unwrap_or_else(|| panic!("no job {name}")).clone();
        assert!(jobs.next().is_none(), "one job of each name");
        job
    }
}

fn found(wizard: &Value, step: &str) -> (String, Value) {
    let step = wizard["steps"].as_array().unwrap().iter().find(|one| one["key"] == step).unwrap();
    (step["status"].as_str().unwrap().to_owned(), step["found"].clone())
}

#[test]
fn p01_a_wizard_goes_on_where_it_was_after_a_kill() {
    with_world(async |app, world| {
        let wizard = Wizard::before(app, world, "companies").await;
        let (id, before) = (wizard.id.clone(), wizard.shown().await);
        app.engine.kill().await;
        app.engine.start_again().await;
        let wizard = Wizard { app, world, id };
        let after = wizard.shown().await;
        assert_eq!((&after["state"], &after["steps"]), (&json!("companies"), &before["steps"]));
        wizard.pass("companies", world.answer("companies")).await;
    });
}

#[test]
fn p02_only_the_companies_that_were_chosen_are_carried() {
    with_world(async |app, world| {
        let wizard = Wizard::before(app, world, "companies").await;
        let chosen = json!({"companies": [{"code": "01", "branches": ["0101"]}, {"code": "03", "branches": ["0301"]}]});
        wizard.pass("companies", chosen).await;
        for step in ["credentials", "preflight", "entities", "jobs"] {
            wizard.pass(step, world.answer(step)).await;
        }
        let run = &wizard.job("FWTECHFINJOB").await["run"];
        let partitions = json!([{"branch": "0101", "company": "01"}, {"branch": "0301", "company": "03"}]);
        assert_eq!(run["partitions"], partitions);
        let customers = &run["streams"][0];
        assert_eq!(
            (&customers["table"], &customers["partition_columns"]["branch"]),
            (&json!("SA1{company}0"), &json!("A1_FILIAL"))
        );
        assert_eq!(customers["target"], "protheus_sa1_{company}", "companies number their records alike");
    });
}

#[test]
fn p02_no_row_of_a_company_or_branch_that_was_not_chosen_leaves() {
    with_world(async |app, world| {
        // Two branches of each of three companies, two customers and an order each.
        for company in ["01", "02", "03"] {
            for branch in ["01", "02"] {
                let branch = format!("{company}{branch}");
                let row = |prefix: &str, table: &str, n: u32| {
                    format!(
                        "INSERT INTO {table}{company}0 ({prefix}_FILIAL, {prefix}_COD, {prefix}_NUM, {prefix}_LOJA, S_T_A_M_P_) \
                         VALUES ('{branch}', 'c{branch}-{n}', 'n{branch}-{n}', '01', strftime('%Y-%m-%d %H:%M:%f', 'now'))"
                    )
                };
                for sql in [row("A1", "SA1", 1), row("A1", "SA1", 2), row("C5", "SC5", 1)] {
                    execute(&world.protheus, &sql).await;
                }
            }
        }
        let wizard = Wizard::before(app, world, "companies").await;
        let chosen = json!({"companies": [{"code": "01", "branches": ["0101"]}, {"code": "03", "branches": ["0301"]}]});
        wizard.pass("companies", chosen).await;
        for step in ["credentials", "preflight", "entities", "jobs"] {
            wizard.pass(step, world.answer(step)).await;
        }
        let job = id(&wizard.job("FWTECHFINJOB").await);
        app.api.send(Method::POST, &format!("/v1/jobs/{job}/start"), &[], Bytes::new()).await.expect(200);
        let received = async || -> Vec<(String, String)> {
            let tables = world.stub(Method::GET, "tables", json!({})).await;
            let mut rows = Vec::new();
            for table in tables["items"].as_array().unwrap() {
                let table = table["table"].as_str().unwrap().to_owned();
                let page = world.stub(Method::GET, &format!("tables/{table}/rows"), json!({})).await;
                for row in page["items"].as_array().unwrap() {
                    let data = &row["data"];
                    let branch = ["A1_FILIAL", "C5_FILIAL"].into_iter().find_map(|name| data[name].as_str());
                    rows.push((table.clone(), branch.unwrap().to_owned()));
                }
            }
            rows.sort();
            rows
        };
        let expected: Vec<_> = [
            ("protheus_sa1_01", "0101"),
            ("protheus_sa1_01", "0101"),
            ("protheus_sa1_03", "0301"),
            ("protheus_sa1_03", "0301"),
            ("protheus_sc5_01", "0101"),
            ("protheus_sc5_03", "0301"),
        ]
        .map(|(table, branch)| (table.to_owned(), branch.to_owned()))
        .into();
        let all = eventually("the chosen rows arrive", async || {
            let rows = received().await;
            if rows.len() >= expected.len() { Ok(rows) } else { Err(format!("{rows:?}")) }
        });
        assert_eq!(all.await, expected);
        // What is written to the others later stays where it is, too.
        let late = "UPDATE SA1020 SET S_T_A_M_P_ = strftime('%Y-%m-%d %H:%M:%f', 'now'); \
                    UPDATE SA1010 SET A1_NUM = 'x', S_T_A_M_P_ = strftime('%Y-%m-%d %H:%M:%f', 'now')";
        execute(&world.protheus, late).await;
        eventually("the change arrives", async || {
            let page = world.stub(Method::GET, "tables/protheus_sa1_01/rows", json!({})).await;
            if page["items"][0]["data"]["A1_NUM"] == "x" { Ok(()) } else { Err(page.to_string()) }
        })
        .await;
        assert_eq!(received().await, expected);
    });
}

#[test]
fn p03_a_wrong_secret_is_refused_in_racs_words_and_a_right_one_never_shown() {
    with_world(async |app, world| {
        let wizard = Wizard::before(app, world, "credentials").await;
        let wrong = wizard.call("credentials", json!({"client_id": "protheus", "client_secret": "wrong"})).await;
        let text = String::from_utf8_lossy(&wrong.body).into_owned();
        assert!(text.contains("invalid_client"), "{text}");
        assert_eq!(wrong.expect_problem(422, "credentials_refused"), ["client_secret"]);
        assert_eq!(wizard.shown().await["state"], "credentials");
        let found = wizard.pass("credentials", world.answer("credentials")).await;
        assert_eq!(found["client_id"], "protheus");
        assert!(!wizard.shown().await.to_string().contains(SECRET) && !app.engine.log().contains(SECRET));
    });
}

#[test]
fn p04_p18_p19_the_jobs_are_made_once_wait_to_be_started_and_keep_what_was_edited() {
    with_world(async |app, world| {
        let wizard = Wizard::before(app, world, "jobs").await;
        let made = wizard.pass("jobs", Value::Null).await;
        let names: Vec<_> = made["items"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["FWTOTVSLINKJOB", "FWTECHFINJOB"]);
        assert_eq!(wizard.shown().await["state"], "finished");
        let link = wizard.job("FWTOTVSLINKJOB").await;
        let tables = wizard.job("FWTECHFINJOB").await;
        for job in [&link, &tables] {
            assert_eq!(job["state"], "needs_configuration");
            let path = format!("/v1/jobs/{}/run", id(job));
            app.api.send(Method::POST, &path, &[], Bytes::new()).await.expect_problem(409, "needs_configuration");
        }
        assert_eq!(tables["schedule"]["kind"], "always");

        let path = format!("/v1/jobs/{}", id(&link));
        let schedule = json!({"kind": "every", "interval_ms": 1_000});
        app.api.patch(&path, &json!({"schedule": schedule})).await.expect(200);
        wizard.pass("jobs", Value::Null).await;
        let again = wizard.job("FWTOTVSLINKJOB").await;
        assert_eq!((id(&again), &again["schedule"]["interval_ms"]), (id(&link), &json!(1_000)));
        assert_eq!(again["state"], "needs_configuration", "made again, not started");

        let runs = async || app.api.get(&format!("{path}/runs")).await.expect(200)["items"].as_array().unwrap().len();
        assert_eq!(runs().await, 0, "nothing ran before it was started");
        app.api.send(Method::POST, &format!("{path}/start"), &[], Bytes::new()).await.expect(200);
        eventually("it runs", async || if runs().await > 0 { Ok(()) } else { Err("no run".to_owned()) }).await;
        wizard.pass("jobs", Value::Null).await;
        assert_eq!(wizard.job("FWTOTVSLINKJOB").await["state"], "active", "and stays started");
    });
}

#[test]
fn v34_every_step_of_a_wizard_adds_one_entry_of_its_own() {
    with_world(async |app, world| {
        let told = async |action: &str| {
            let page = app.api.get(&format!("/v1/audit?limit=500&action={action}")).await.expect(200);
            let items = page["items"].as_array().unwrap();
            items.iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let wizard = Wizard::begin(app, world).await;
        let mut expected = vec!["wizard.create".to_owned()];
        assert_eq!(told("wizard.").await, expected);
        for step in STEPS {
            wizard.pass(step, world.answer(step)).await;
            expected.insert(0, format!("wizard.{step}"));
            assert_eq!(told("wizard.").await, expected, "the newest first");
        }
        // The last step makes an integrator, endpoints, types and jobs, each with its own entry beside the step's.
        assert_eq!(told("job.create").await.len(), 2);
        let job = id(&wizard.job("FWTECHFINJOB").await);
        app.api.send(Method::POST, &format!("/v1/jobs/{job}/start"), &[], Bytes::new()).await.expect(200);
        assert_eq!(told("job.start").await, ["job.start"]);
        let path = format!("/v1/wizards/{}", wizard.id);
        assert_eq!(app.api.delete(&path).await.status, 204);
        assert_eq!(told("wizard.").await[0], "wizard.delete");
        app.api.post(&format!("/v1/jobs/{job}/pause"), &json!({"reason": "shown"})).await.expect(200);
    });
}

#[test]
fn p05_a_provisioning_is_asked_for_again_until_it_is_taken() {
    with_world(async |app, world| {
        let wizard = Wizard::before(app, world, "provisioning").await;
        let path = "/api/carol-definitions/v1/provisionings";
        let fault =
            json!({"match": {"method": "POST", "path": path}, "action": {"do": "answer", "status": 500}, "next": 2});
        world.stub(Method::POST, "faults", fault).await;
        let (status, _) = wizard.does("provisioning", json!({"contract": "C-1"})).await;
        assert_eq!(status, "running");
        let made = eventually("it is done", async || match found(&wizard.shown().await, "provisioning") {
            (status, made) if status == "done" => Ok(made),
            other => Err(format!("{other:?}")),
        });
        let made = made.await;
        let outcomes: Vec<_> =
            made["attempts"].as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes.len(), 3, "{outcomes:?}");
        assert!(outcomes[0].contains("500") && outcomes[2] == "requested", "{outcomes:?}");
        assert_eq!(wizard.shown().await["state"], "requirements");
    });
}

#[test]
fn p05_one_that_fails_says_why_and_may_be_asked_for_again() {
    with_world(async |app, world| {
        world.stub(Method::PUT, "provisioning", json!({"polls": 0, "fails": "no licence"})).await;
        let wizard = Wizard::before(app, world, "provisioning").await;
        wizard.does("provisioning", json!({"contract": "C-1"})).await;
        let over = async |wanted: &str| {
            eventually("it is over", async || match found(&wizard.shown().await, "provisioning") {
                (status, made) if status == wanted => Ok(made),
                other => Err(format!("{other:?}")),
            })
            .await
        };
        assert_eq!(over("failed").await["reason"], "no licence");
        wizard.call("requirements", world.answer("requirements")).await.expect_problem(409, "step_locked");
        world.stub(Method::PUT, "provisioning", json!({"polls": 0})).await;
        wizard.does("provisioning", json!({"contract": "C-1"})).await;
        over("done").await;
    });
}

#[test]
fn p06_the_credentials_are_handed_over_once_and_told_of_once() {
    with_world(async |app, world| {
        app.receiver.on("/monitor", |received| match received.json()["type"].as_str() {
            Some("endpoint.verification") => {
                Reply::status(200).json(&json!({"challenge": received.json()["challenge"]}))
            }
            _ => Reply::status(200),
        });
        let monitor = json!({"url": app.receiver.url("/monitor"), "event_types": ["wizard.*"], "callbacks": "tenant"});
        let monitor = id(&app.endpoint(monitor).await);
        app.api.post(&format!("/v1/endpoints/{monitor}/verify"), &json!({})).await.expect(200);
        let wizard = Wizard::before(app, world, "provisioning").await;
        let credentials = format!("/v1/wizards/{}/credentials", wizard.id);
        app.api.get(&credentials).await.expect_problem(409, "not_provisioned");
        wizard.does("provisioning", json!({"contract": "C-6"})).await;
        let told = eventually("it is told", async || {
            let bodies = app.receiver.seen("/monitor").into_iter().map(|received| received.json());
            let told: Vec<_> =
                bodies.filter(|body| body["contract"] == "C-6" || body["data"]["contract"] == "C-6").collect();
            if told.is_empty() { Err("nothing yet".to_owned()) } else { Ok(told) }
        });
        assert_eq!(told.await.len(), 1);
        let made = app.api.get(&credentials).await.expect(200);
        assert_eq!(made, json!({"client_id": "protheus", "client_secret": SECRET}));
        app.api.get(&credentials).await.expect_problem(410, "already_handed_over");
        app.api.settled().await;
        let events = app.api.get("/v1/events?event_type=wizard.provisioned").await.expect(200);
        assert_eq!(events["total"], 1);
        assert!(!wizard.shown().await.to_string().contains(SECRET) && !app.engine.log().contains(SECRET));
    });
}

#[test]
fn p07_p11_the_steps_stand_in_their_order_and_the_later_ones_are_locked() {
    with_world(async |app, world| {
        let wizard = Wizard::begin(app, world).await;
        let shown = wizard.shown().await;
        let keys: Vec<_> =
            shown["steps"].as_array().unwrap().iter().map(|step| step["key"].as_str().unwrap()).collect();
        assert_eq!(keys, STEPS);
        wizard.pass("welcome", world.answer("welcome")).await;
        assert_eq!(wizard.shown().await["state"], "provisioning");
        for step in &STEPS[2..] {
            wizard.call(step, world.answer(step)).await.expect_problem(409, "step_locked");
        }
        let status = wizard.shown().await;
        let status: Vec<_> = status["steps"].as_array().unwrap().iter().map(|step| step["status"].clone()).collect();
        assert_eq!(status[..3], [json!("done"), json!("open"), json!("locked")]);
    });
}

#[test]
fn p08_p09_what_is_too_old_is_a_row_of_its_own_and_locks_the_rest() {
    with_world(async |app, world| {
        let wizard = Wizard::before(app, world, "requirements").await;
        let mut old = world.answer("requirements");
        old["dbaccess"] = json!({"have": "22.1.1.9", "latest": "23.1.1.4"});
        let (status, found) = wizard.does("requirements", old).await;
        let red: Vec<_> = found["items"].as_array().unwrap().iter().filter(|row| row["ok"] == false).collect();
        assert_eq!((status.as_str(), red.len()), ("failed", 1), "{found}");
        assert_eq!(
            (&red[0]["key"], &red[0]["have"], &red[0]["need"]),
            (&json!("dbaccess"), &json!("22.1.1.9"), &json!(">= 23.1.1.4"))
        );
        wizard.call("jobs", Value::Null).await.expect_problem(409, "step_locked");
        for (release, status) in
            [("12.1.33", "failed"), ("12.1.2210", "failed"), ("12.1.9", "failed"), ("12.1.2410", "done")]
        {
            let mut body = world.answer("requirements");
            body["release"] = json!(release);
            assert_eq!(wizard.does("requirements", body).await.0, status, "{release}");
        }
    });
}

#[test]
fn p10_a_table_without_its_watermark_is_named_with_what_adds_it() {
    with_world(async |app, world| {
        make_table(&world.protheus, "SB1010", false).await;
        let wizard = Wizard::before(app, world, "requirements").await;
        let (status, found) = wizard.does("requirements", world.answer("requirements")).await;
        assert_eq!(status, "failed");
        let rows = found["items"].as_array().unwrap();
        let row = rows.iter().find(|row| row["key"] == "watermark:SB1010").unwrap();
        let ddl = row["ddl"].as_str().unwrap().to_owned();
        assert_eq!((&row["have"], &row["ok"]), (&json!("missing"), &json!(false)));
        execute(&world.protheus, &ddl).await;
        wizard.pass("requirements", world.answer("requirements")).await;
        let insert = "INSERT INTO SB1010 (C5_FILIAL, C5_COD, C5_NUM, C5_LOJA) VALUES ('1', '1', '1', '1')";
        execute(&world.protheus, insert).await;
        let url = format!("sqlite:{}", world.protheus.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let stamp: Option<String> =
            sqlx::query_scalar("SELECT S_T_A_M_P_ FROM SB1010").fetch_one(&mut connection).await.unwrap();
        assert!(stamp.is_some_and(|stamp| stamp.starts_with("20")), "the statements keep the stamp");
    });
}

#[test]
fn p10_the_watermark_is_added_over_an_administrators_connection_once_it_is_confirmed() {
    with_world(async |app, world| {
        make_table(&world.protheus, "SB1010", false).await;
        make_table(&world.protheus, "SB2010", false).await;
        let wizard = Wizard::before(app, world, "requirements").await;
        let with = |connection: &str, confirmed: bool| {
            let mut body = world.answer("requirements");
            body["administration"] = json!({"connection": connection, "confirmed": confirmed});
            body
        };
        let wrong = async |body: Value| wizard.call("requirements", body).await.expect_problem(422, "invalid");
        assert_eq!(wrong(with("protheus", true)).await, ["administration.connection"], "the reader's own");
        assert_eq!(wrong(with("nobody", true)).await, ["administration.connection"]);
        assert_eq!(wrong(with("protheus-admin", false)).await, ["administration.confirmed"]);
        let (status, shown) = wizard.does("requirements", world.answer("requirements")).await;
        assert_eq!(status, "failed", "nothing has run: {shown}");
        // One of them cannot be done: its trigger's name is taken. Nothing of it stays.
        let taken = "CREATE TRIGGER SB2010_stamp_update AFTER DELETE ON SB2010 BEGIN SELECT 1; END";
        execute(&world.protheus, taken).await;
        let (status, found) = wizard.does("requirements", with("protheus-admin", true)).await;
        let rows = found["items"].as_array().unwrap();
        let row = |table: &str| rows.iter().find(|row| row["key"] == format!("watermark:{table}")).unwrap();
        assert_eq!((status.as_str(), &row("SB1010")["ok"]), ("failed", &json!(true)), "{found}");
        assert_eq!((&row("SB2010")["ok"], &row("SB2010")["have"]), (&json!(false), &json!("missing")));
        assert!(row("SB2010")["cure"].as_str().unwrap().contains("SB2010_stamp_update"), "{found}");
        execute(&world.protheus, "DROP TRIGGER SB2010_stamp_update").await;
        // Again: what is there stays, what was missing comes.
        wizard.pass("requirements", with("protheus-admin", true)).await;
        wizard.pass("requirements", with("protheus-admin", true)).await;
        for table in ["SB1010", "SB2010"] {
            let insert =
                format!("INSERT INTO {table} (C5_FILIAL, C5_COD, C5_NUM, C5_LOJA) VALUES ('1', '1', '1', '1')");
            execute(&world.protheus, &insert).await;
            let url = format!("sqlite:{}", world.protheus.display());
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            let sql = sqlx::AssertSqlSafe(format!("SELECT S_T_A_M_P_ FROM {table}"));
            let stamp: Option<String> = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
            assert!(stamp.is_some_and(|stamp| stamp.starts_with("20")), "{table}");
        }
    });
}

#[test]
fn p10_the_job_leaves_a_table_without_watermark_out_by_name() {
    with_world(async |app, world| {
        let entities = json!([
            {"entity": "customers", "table": "SA1", "target": "protheus_sa1", "key": ["A1_FILIAL", "A1_COD", "A1_LOJA"]},
            {"entity": "products", "table": "SB1", "target": "protheus_sb1", "key": ["B1_COD"]},
        ]);
        world.stub(Method::PUT, "entities", entities).await;
        let wizard = Wizard::before(app, world, "entities").await;
        make_table(&world.protheus, "SB1010", false).await;
        let found = wizard.pass("entities", Value::Null).await;
        assert_eq!(found["refused"][0]["table"], "SB1010");
        assert!(found["refused"][0]["reason"].as_str().unwrap().contains("S_T_A_M_P_"));
        wizard.pass("jobs", Value::Null).await;
        let streams = wizard.job("FWTECHFINJOB").await["run"]["streams"].clone();
        let names: Vec<_> = streams.as_array().unwrap().iter().map(|stream| stream["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["customers"]);
    });
}

#[test]
fn p12_each_of_the_eight_services_is_tried_from_this_node() {
    with_world(async |app, world| {
        let wizard = Wizard::begin(app, world).await;
        let mut welcome = world.welcome();
        welcome["urls"]["smartlink"] = json!("http://10.1.2.3/");
        assert_eq!(wizard.call("welcome", welcome.clone()).await.expect_problem(422, "invalid"), ["urls.smartlink"]);
        welcome["urls"]["smartlink"] = json!(NOBODY);
        wizard.pass("welcome", welcome).await;
        for step in &STEPS[1..5] {
            wizard.pass(step, world.answer(step)).await;
        }
        let (status, found) = wizard.does("preflight", Value::Null).await;
        let rows = found["items"].as_array().unwrap();
        let failed: Vec<_> = rows.iter().filter(|row| row["http"] != "ok").collect();
        assert_eq!((status.as_str(), rows.len(), failed.len()), ("failed", 8, 1), "{found}");
        let smartlink = failed[0];
        assert_eq!((&smartlink["service"], &smartlink["code"]), (&json!("smartlink"), &json!("connect_refused")));
        assert_eq!(
            (&smartlink["dns"], &smartlink["tcp"], &smartlink["tls"]),
            (&json!("ok"), &json!("failed"), &json!("not_tried"))
        );
        assert!(
            rows.iter().filter(|row| row["http"] == "ok").all(|row| row["tcp"] == "ok" && row["tls"] == "not_used")
        );
        wizard.call("entities", Value::Null).await.expect_problem(409, "step_locked");
        let stranger =
            json!({"integrator": "partner", "description": "x", "url": "http://10.1.2.3/", "auth": {"type": "none"}});
        app.api.post("/v1/endpoints", &stranger).await.expect_problem(422, "egress_denied");
    });
}

#[test]
fn p13_a_service_that_moved_is_found_where_the_registry_says() {
    with_world(async |app, world| {
        let wizard = Wizard::before(app, world, "credentials").await;
        wizard.pass("credentials", world.answer("credentials")).await;
        let asked = world.calls("/api/v1/services").await;
        wizard.pass("credentials", world.answer("credentials")).await;
        assert_eq!(world.calls("/api/v1/services").await, asked, "what the registry said is kept");
        let mut services = world.stub(Method::GET, "services", json!({})).await;
        let moved = format!("{}/moved/totvs.rac/connect/token", world.stub.address());
        let entries = services.as_array_mut().unwrap();
        entries.iter_mut().find(|entry| entry["name"] == "rac-token-V1").unwrap()["url"] = json!(moved);
        world.stub(Method::PUT, "services", services).await;
        let gone = json!({"match": {"path": "/totvs.rac/connect/token"}, "action": {"do": "answer", "status": 404}});
        world.stub(Method::POST, "faults", gone).await;
        let found = wizard.pass("credentials", world.answer("credentials")).await;
        assert_eq!(found["token_url"], moved);
    });
}

#[test]
fn p15_a_new_entity_becomes_a_new_stream() {
    with_world(async |app, world| {
        let customers = json!({"entity": "customers", "table": "SA1", "target": "protheus_sa1", "key": ["A1_FILIAL", "A1_COD", "A1_LOJA"]});
        world.stub(Method::PUT, "entities", json!([customers])).await;
        let wizard = Wizard::before(app, world, "jobs").await;
        wizard.pass("jobs", Value::Null).await;
        let names = async || -> Vec<String> {
            let streams = wizard.job("FWTECHFINJOB").await["run"]["streams"].clone();
            streams.as_array().unwrap().iter().map(|stream| stream["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names().await, ["customers"]);
        let orders =
            json!({"entity": "orders", "table": "SC5", "target": "protheus_sc5", "key": ["C5_FILIAL", "C5_NUM"]});
        world.stub(Method::PUT, "entities", json!([customers, orders])).await;
        wizard.pass("entities", Value::Null).await;
        wizard.pass("jobs", Value::Null).await;
        assert_eq!(names().await, ["customers", "orders"]);
    });
}

#[test]
fn p16_the_connectors_credentials_are_fetched_and_used() {
    with_world(async |app, world| {
        let wizard = Wizard::before(app, world, "jobs").await;
        wizard.pass("jobs", Value::Null).await;
        let run = wizard.job("FWTECHFINJOB").await["run"].clone();
        let ready = world.stub.ready();
        assert_eq!(run["sink"]["config"]["connector_id"], ready.connector_id.as_str());
        let path = format!("/v1/endpoints/{}", run["sink"]["endpoint"].as_str().unwrap());
        let endpoint = app.api.get(&path).await.expect(200);
        assert_eq!((&endpoint["auth"]["type"], &endpoint["auth"]["name"]), (&json!("header"), &json!("X-Auth-Key")));
        assert_eq!(endpoint["headers"]["X-Auth-ConnectorId"], ready.connector_id.as_str());
        let all = [wizard.shown().await.to_string(), endpoint.to_string(), app.engine.log()];
        assert!(all.iter().all(|text| !text.contains(&ready.connector_key)));
    });
}

#[test]
fn p17_every_address_may_be_the_operators_own() {
    with_world(async |app, world| {
        let wizard = Wizard::begin(app, world).await;
        let at = |path: &str| format!("{}{path}", world.stub.address());
        let definitions = |path: &str| at(&format!("/api/carol-definitions/v1/{path}"));
        let urls = json!({
            "registry": at("/api/v1/services"), "rac": at("/totvs.rac/connect/token"), "entities": definitions("entities"),
            "carol_credentials": definitions("carolcredentials"), "provisioning": definitions("provisionings"),
            "ingestion": at(""), "carol": at(""), "link": at(""), "smartlink": at(""),
        });
        wizard.pass("welcome", json!({"connection": "protheus", "urls": urls})).await;
        for step in &STEPS[1..5] {
            wizard.pass(step, world.answer(step)).await;
        }
        assert_eq!(world.calls("/api/v1/services").await, 0, "what the operator says needs no registry");
        for step in &STEPS[5..] {
            wizard.pass(step, Value::Null).await;
        }
    });
}

#[test]
fn a_connection_that_is_not_there_and_a_service_that_is_unknown_are_named() {
    with_world(async |app, world| {
        let wizard = Wizard::begin(app, world).await;
        let unknown = json!({"connection": "erp", "urls": {}});
        assert_eq!(wizard.call("welcome", unknown).await.expect_problem(422, "invalid"), ["connection"]);
        let unknown = json!({"connection": "protheus", "urls": {"cloud": "https://x.example"}});
        assert_eq!(wizard.call("welcome", unknown).await.expect_problem(422, "invalid"), ["urls.cloud"]);
        let both = json!({"contract": "C", "already_done": true});
        wizard.pass("welcome", world.answer("welcome")).await;
        assert_eq!(wizard.call("provisioning", both).await.expect_problem(422, "invalid"), ["contract"]);
        app.api.delete(&format!("/v1/wizards/{}", wizard.id)).await.expect(204);
        app.api.get(&format!("/v1/wizards/{}", wizard.id)).await.expect_problem(404, "not_found");
    });
}

#[test]
fn the_command_line_goes_through_all_steps_and_on_where_it_was() {
    with_world(async |app, world| {
        let registry = format!("registry={}/api/v1/services", world.stub.address());
        let versions = ["--dbaccess", "23.1.1.4", "--appserver", "20.3.2.9", "--lib", "20251103"];
        let first = [
            &["wizard", "carol", "--connection", "protheus", "--service-url", &registry, "--contract", "C-9"][..],
            &["--release", "12.1.2210"],
            &versions,
            &["--upddistr"],
        ]
        .concat();
        let output = app.engine.client(&first).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("12.1.2210") && said.contains(">= 12.1.2310"), "{said}");
        let second =
            [&["wizard", "carol", "--release", "12.1.2310"][..], &versions, &["--upddistr", "--company", "01"]]
                .concat();
        let output = app.engine.client(&second).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(SECRET), "what provisioning made is shown once: {said}");
        assert!(said.contains("FWTECHFINJOB") && said.contains("Finished"), "{said}");
        let list = app.engine.client(&["wizard", "list"]).await;
        let said = String::from_utf8_lossy(&list.stdout).into_owned();
        assert!(said.contains("finished") && said.contains("8 of 8"), "{said}");
    });
}
