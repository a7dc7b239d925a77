//! A plugin as the source of a sync, through a whole engine: a feed over HTTP that tells what changed, pulled by the example
//! guests, and carried to the stand-in of Carol or to any HTTP target. A record that changes moves to the feed's end, so that
//! no page can be pulled twice alike. What was lost is read from the feed and the target, never from the engine.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::Method;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    harness::{
        App, Backend, Received, Reply, Setup,
        api::id,
        block_on, eventually, run, run_on,
        source::{Kind, Source},
        within,
    },
    languages::{is_there, passes},
    sync_world::World,
};

/// Records of one answer of the feed.
const ITEMS_MAX: usize = 25;
/// Records there are at first.
const RECORDS: u32 = 150;

/// Builds an example; none where there is no cargo.
fn built(example: &str) -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if !is_there(&["cargo"]) {
        return None;
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(example);
    let _held = ONE_AT_A_TIME.lock().unwrap();
    passes(&project, &["plugin", "build"]);
    Some(project.join("plugin.wasm"))
}

async fn client(app: &App, args: &[&str]) -> String {
    let done = app.engine.client(args).await;
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Installs an example, and lets it ask the feed.
async fn install(app: &App, component: &Path) {
    client(app, &["plugin", "push", component.to_str().unwrap()]).await;
    let name = component.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let origin = app.receiver.url("/");
    client(app, &["plugin", "grant", name, "--host", origin.trim_end_matches('/')]).await;
}

fn parameter(received: &Received, name: &str) -> String {
    let pairs = received.query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).unwrap_or_default()
}

/// The feed: the last state of each record, by when it changed.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    changes: u64,
    /// When a record changed, and its value; none: it is deleted.
    records: BTreeMap<String, (String, Option<String>)>,
}

impl Feed {
    fn set(&self, id: u32, value: Option<&str>) {
        let mut inside = self.0.lock().unwrap();
        inside.changes += 1;
        let at = format!("{:012}", inside.changes);
        inside.records.insert(format!("{id:05}"), (at, value.map(str::to_owned)));
    }

    fn fill(&self) {
        (0..RECORDS).for_each(|id| self.set(id, (id % 10 != 9).then(|| format!("v{id}")).as_deref()));
    }

    /// Some records change, some go, some come.
    fn stir(&self, random: &mut StdRng, name: &str) {
        for n in 0..40 {
            let id = random.random_range(0..RECORDS + 30);
            self.set(id, (id % 7 != 0).then(|| format!("{name}{n}")).as_deref());
        }
    }

    fn alive(&self) -> BTreeMap<String, String> {
        let inside = self.0.lock().unwrap();
        inside.records.iter().filter_map(|(id, (_, value))| Some((id.clone(), value.clone()?))).collect()
    }

    fn answer(&self, received: &Received) -> Reply {
        let from = (parameter(received, "since"), parameter(received, "after"));
        let inside = self.0.lock().unwrap();
        let mut changed: Vec<_> = inside
            .records
            .iter()
            .map(|(id, (at, value))| ((at.clone(), id.clone()), value))
            .filter(|(place, _)| *place > from)
            .collect();
        changed.sort();
        let more = changed.len() > ITEMS_MAX;
        let item = |((at, id), value): &((String, String), &Option<String>)| json!({"id": id, "updated_at": at, "v": value.as_deref().unwrap_or_default(), "deleted": value.is_none()});
        let items: Vec<_> = changed.iter().take(ITEMS_MAX).map(item).collect();
        Reply::status(200).json(&json!({"items": items, "more": more}))
    }

    fn serve(&self, app: &App) {
        let feed = self.clone();
        app.receiver.on("/orders", move |received| feed.answer(received));
    }
}

fn source(app: &App) -> Value {
    json!({"kind": "plugin", "plugin": "feed-incremental", "config": {"url": app.receiver.url("/orders")}})
}

fn stream() -> Value {
    json!({"name": "orders", "key": ["id"], "target": "orders",
        "columns": [{"name": "id", "kind": "text", "nullable": false}, {"name": "v", "kind": "text"}]})
}

/// A job that carries the feed to Carol, always at work.
async fn job_to_carol(app: &App, world: &World) -> Value {
    let endpoint = world.endpoint(app).await;
    let body = json!({"name": "feed", "schedule": {"kind": "always"}, "run": {
        "kind": "sync", "source": source(app), "streams": [stream()], "page_rows": 40,
        "sink": {"plugin": "carol", "endpoint": endpoint,
            "config": {"base_url": world.stub.address(), "connector_id": world.connector.0}}
    }});
    app.api.post("/v1/jobs", &body).await.expect(201)
}

async fn at_carol(world: &World) -> BTreeMap<String, String> {
    let text = |record: &Value, name: &str| record[name].as_str().unwrap().to_owned();
    world.records("orders").await.iter().map(|record| (text(record, "id"), text(record, "v"))).collect()
}

/// Waits until the target has what the feed has, record by record.
async fn equal(feed: &Feed, world: &World) {
    within(Duration::from_secs(90), "target equals source", async || {
        let (source, target) = (feed.alive(), at_carol(world).await);
        let lost = source.iter().filter(|(key, value)| target.get(*key) != Some(*value)).count();
        let left = target.keys().filter(|key| !source.contains_key(*key)).count();
        if lost + left == 0 { Ok(()) } else { Err(format!("{lost} lost, {left} left over of {}", source.len())) }
    })
    .await;
}

/// With the stand-in of Carol, a feed that is filled, and its plugin.
fn with_feed(backend: Backend, setup: Setup, test: impl AsyncFnOnce(&mut App, &World, &Feed)) {
    let Some(component) = built("feed-incremental") else { return };
    let folder = tempfile::tempdir().unwrap();
    let table = block_on(Source::create(Kind::Sqlite)).unwrap();
    run_on(backend, setup, async move |app| {
        let world = World::new(table, folder.path().join("stub"), 0).await;
        let feed = Feed::default();
        feed.fill();
        feed.serve(app);
        install(app, &component).await;
        test(app, &world, &feed).await;
    });
}

async fn checkpoint(app: &App, job: &Value) -> Value {
    let tracks = app.api.get(&format!("/v1/jobs/{}/checkpoints", id(job))).await.expect(200);
    tracks["items"][0].clone()
}

/// Waits until no pass is under way.
async fn at_rest(app: &App, job: &Value) -> Value {
    eventually("no pass is under way", async || {
        let at = checkpoint(app, job).await;
        if at["phase"] == "delta" && at["pass"].is_null() { Ok(at) } else { Err(at.to_string()) }
    })
    .await
}

fn a_feed_is_loaded_followed_and_begun_anew(backend: Backend) {
    with_feed(backend, Setup::new(), async |app, world, feed| {
        let job = job_to_carol(app, world).await;
        equal(feed, world).await;
        let loaded = at_rest(app, &job).await;
        assert!(loaded["cursor"].is_string() && loaded["committed_upper"].is_string(), "{loaded}");
        let watched = client(app, &["job", "watch", "feed"]).await;
        assert!(watched.contains("orders: loaded"), "{watched}");

        let mut random = StdRng::seed_from_u64(5);
        for round in 0..3 {
            feed.stir(&mut random, &format!("r{round}-"));
            equal(feed, world).await;
        }
        // Nothing changes: the feed is asked, and nothing is sent.
        let before = world.pages().await;
        let asked = app.receiver.seen("/orders").len();
        eventually("the feed is asked again", async || {
            let now = app.receiver.seen("/orders").len();
            if now > asked + 2 { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
        assert_eq!(world.pages().await, before);
        assert_eq!(before.repeats, 0, "no page came twice");

        let track = loaded["id"].as_str().unwrap();
        let path = format!("/v1/jobs/{}/checkpoints/{track}/epoch", id(&job));
        let anew = app.api.post(&path, &Value::Null).await.expect(200);
        assert_eq!((&anew["epoch"], &anew["cursor"]), (&json!(1), &Value::Null));
        eventually("everything is sent again", async || {
            let now = world.pages().await;
            if now.rows - before.rows >= u64::from(RECORDS) { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
        equal(feed, world).await;
    });
}

#[test]
fn a_feed_is_loaded_followed_and_begun_anew_on_sqlite() {
    a_feed_is_loaded_followed_and_begun_anew(Backend::Sqlite);
}

#[test]
fn a_feed_is_loaded_followed_and_begun_anew_on_postgres() {
    a_feed_is_loaded_followed_and_begun_anew(Backend::Postgres);
}

/// The engine dies at `point`, again and again, at a page drawn at random; what was in flight changes before it comes back.
fn killed(backend: Backend, point: &'static str, repeats_max: u64) {
    let setup = Setup::new().planted().set("delivery.lease_ms", "2000");
    with_feed(backend, setup, async |app, world, feed| {
        let mut random = StdRng::seed_from_u64(7);
        app.engine.kill().await;
        // The first death is one of the load.
        let (mut deaths, mut most, mut made) = (0, 0, false);
        let rounds = if std::env::var("ENGATE_TEST_LONG").is_ok_and(|long| long == "1") { 40 } else { 4 };
        for round in 0..rounds {
            let pass = if point == "before_close" { 1 } else { random.random_range(1..3) };
            let before = world.pages().await.repeats;
            app.engine.set("planted", &format!("dies:{point}:{pass}"));
            app.engine.start_again().await;
            if !std::mem::replace(&mut made, true) {
                job_to_carol(app, world).await;
            }
            app.engine.killed_itself().await;
            app.engine.unset("planted");
            deaths += 1;
            feed.stir(&mut random, &format!("late{round}-"));
            most = most.max(world.pages().await.repeats - before);
        }
        app.engine.start_again().await;
        equal(feed, world).await;
        eventually("the last pass has its end", async || {
            world.nothing_refused().await;
            let jobs = app.api.get("/v1/jobs").await.expect(200);
            let at = checkpoint(app, &jobs["items"][0]).await;
            if at["pass"].is_null() { Ok(()) } else { Err(at.to_string()) }
        })
        .await;
        let pages = world.pages().await;
        assert!(most <= repeats_max, "{most} pages came twice after one death");
        println!(
            "{point} on {backend:?}: {deaths} deaths, {} records sent, {} pages twice, lost 0",
            pages.rows, pages.repeats
        );
    });
}

macro_rules! kills {
    ($($room:ident $backend:ident),+) => {$(
        mod $room {
            use super::{Backend, killed};

            #[test]
            fn c1_a_feed_killed_before_a_page_is_sent() {
                killed(Backend::$backend, "before_send", 1);
            }

            #[test]
            fn c3_a_feed_killed_before_the_checkpoint() {
                killed(Backend::$backend, "after_answer", 1);
            }

            #[test]
            fn c5_a_feed_killed_before_the_end_is_told() {
                killed(Backend::$backend, "before_close", 1);
            }
        }
    )+};
}

kills!(kills_on_sqlite Sqlite, kills_on_postgres Postgres);

#[test]
fn c2_a_feed_killed_before_the_answer() {
    let setup = Setup::new().planted().set("delivery.lease_ms", "2000");
    with_feed(Backend::Sqlite, setup, async |app, world, feed| {
        let mut random = StdRng::seed_from_u64(9);
        let job = job_to_carol(app, world).await;
        for round in 0..3 {
            equal(feed, world).await;
            at_rest(app, &job).await;
            app.engine.kill().await;
            let before = world.pages().await;
            let fault = json!({"match": {"method": "POST", "path": "*/staging/intake/*"}, "when": "after", "next": 1,
                "action": {"do": "hang", "hold_ms": 60_000}});
            world.stub(Method::POST, "faults", fault).await;
            feed.stir(&mut random, &format!("r{round}-"));
            app.engine.start_again().await;
            within(Duration::from_secs(60), "the stand-in took a page and holds its answer back", async || {
                // A fault is taken as soon as its request comes, and the page only after that.
                let (held, now) = (world.stub(Method::GET, "faults", Value::Null).await, world.pages().await);
                if held["items"] == json!([]) && now.taken > before.taken { Ok(()) } else { Err(held.to_string()) }
            })
            .await;
            app.engine.kill().await;
            feed.stir(&mut random, &format!("late{round}-"));
            app.engine.start_again().await;
            equal(feed, world).await;
            // What was stirred may leave everything as it was, and then all is equal before anything comes again.
            within(Duration::from_secs(60), "the page that nobody knew of comes again", async || {
                if world.pages().await.repeats > before.repeats { Ok(()) } else { Err("not yet".to_owned()) }
            })
            .await;
            at_rest(app, &job).await;
            assert_eq!(world.pages().await.repeats - before.repeats, 1, "that page, and only that");
        }
    });
}

/// Pages by pass and number, each with its id and body.
type Taken = BTreeMap<(String, u32), (String, String)>;

/// What any HTTP target got.
#[derive(Clone, Default)]
struct Intake(Arc<Mutex<Taken>>);

impl Intake {
    /// Refuses a page with `bad` in it; a number that comes again has to be the same page.
    fn serve(&self, app: &App, bad: Arc<Mutex<&'static str>>) {
        let pages = Arc::clone(&self.0);
        app.receiver.on("/intake", move |received| {
            let bad = *bad.lock().unwrap();
            if !bad.is_empty() && received.text().contains(bad) {
                return Reply::status(422);
            }
            let place = (parameter(received, "pass"), parameter(received, "n").parse().unwrap());
            let page = (parameter(received, "page"), received.text().to_owned());
            let mut pages = pages.lock().unwrap();
            let before = pages.entry(place).or_insert_with(|| page.clone());
            assert_eq!(*before, page, "another page under the same number");
            Reply::status(200)
        });
    }

    /// The records that are alive; numbers have no gap.
    fn records(&self) -> BTreeMap<String, String> {
        let pages = self.0.lock().unwrap();
        let mut numbers: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        let mut last: BTreeMap<String, (String, Value)> = BTreeMap::new();
        for ((pass, number), (_, body)) in pages.iter() {
            numbers.entry(pass).or_default().push(*number);
            for record in serde_json::from_str::<Vec<Value>>(body).unwrap() {
                let (key, at) = (record["id"].as_str().unwrap(), record["updated_at"].as_str().unwrap());
                if last.get(key).is_none_or(|(before, _)| before.as_str() <= at) {
                    last.insert(key.to_owned(), (at.to_owned(), record));
                }
            }
        }
        for (pass, numbers) in numbers {
            assert_eq!(numbers, (1..=u32::try_from(numbers.len()).unwrap()).collect::<Vec<_>>(), "{pass}");
        }
        let alive = last.into_iter().filter(|(_, (_, record))| record["deleted"] != json!(true));
        alive.map(|(key, (_, record))| (key, record["v"].as_str().unwrap().to_owned())).collect()
    }
}

#[test]
fn a_record_of_a_feed_that_is_refused_is_set_aside_and_replayed() {
    let Some(component) = built("feed-incremental") else { return };
    run(async |app| {
        let (feed, intake, bad) = (Feed::default(), Intake::default(), Arc::new(Mutex::new("BAD")));
        feed.fill();
        feed.set(42, Some("BAD"));
        feed.serve(app);
        intake.serve(app, Arc::clone(&bad));
        install(app, &component).await;
        let hook = app.endpoint_at("/intake", &[]).await;
        let url = format!("{}?pass={{pass}}&page={{page}}&n={{sequence}}", app.receiver.url("/intake"));
        let body = json!({"name": "feed", "schedule": {"kind": "always"}, "run": {
            "kind": "sync", "source": source(app), "page_rows": 40,
            "streams": [{"name": "orders", "key": ["id"], "target": "orders"}],
            "sink": {"plugin": "http-table", "endpoint": hook, "config": {"url": url}}
        }});
        let job = app.api.post("/v1/jobs", &body).await.expect(201);
        let path = format!("/v1/jobs/{}/quarantine", id(&job));
        let held = eventually("the bad record is set aside, and only that", async || {
            let held = app.api.get(&path).await.expect(200);
            let others: BTreeMap<_, _> = feed.alive().into_iter().filter(|(key, _)| key != "00042").collect();
            if held["total"] == 1 && intake.records() == others { Ok(held) } else { Err(held.to_string()) }
        })
        .await;
        let one = &held["items"][0];
        assert_eq!(
            (&one["key"], &one["data"]["v"], &one["code"]),
            (&json!("00042"), &json!("BAD"), &json!("target_rejected"))
        );
        *bad.lock().unwrap() = "";
        let record = one["id"].as_str().unwrap();
        app.api.post(&format!("{path}/{record}/replay"), &Value::Null).await.expect(204);
        eventually("it is there, as it was kept", async || {
            let left = app.api.get(&path).await.expect(200)["total"].clone();
            if left == 0 && intake.records() == feed.alive() { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
        // Whatever the feed is asked, it does not hand the record over a second time.
        let asked: Vec<_> = app.receiver.seen("/orders").iter().map(|one| parameter(one, "since")).collect();
        let mut sorted = asked.clone();
        sorted.sort();
        assert_eq!(asked, sorted, "a cursor never goes back");
    });
}

#[test]
fn a_list_that_is_read_again_in_each_pass_sends_what_changed_only() {
    let Some(component) = built("feed-paged") else { return };
    run(async |app| {
        let changed = Arc::new(Mutex::new(String::new()));
        let value = Arc::clone(&changed);
        app.receiver.on("/orders", move |received| {
            let page: u32 = parameter(received, "page").parse().unwrap();
            let v = |n: u32| if n == 123 { value.lock().unwrap().clone() } else { "v".to_owned() };
            let items: Vec<_> = ((page - 1) * 50..page * 50).map(|n| json!({"id": n, "v": v(n)})).collect();
            Reply::status(200).json(&json!({"items": items, "pages": 4}))
        });
        app.receiver.on("/intake", |_| Reply::status(200));
        install(app, &component).await;
        let hook = app.endpoint_at("/intake", &[]).await;
        let body = json!({"name": "list", "schedule": {"kind": "manual"}, "run": {
            "kind": "sync", "streams": [{"name": "orders", "key": ["id"], "target": "orders"}],
            "source": {"kind": "plugin", "plugin": "feed-paged", "config": {"url": app.receiver.url("/orders"), "size": 50}},
            "sink": {"plugin": "http-table", "endpoint": hook, "config": {"url": app.receiver.url("/intake")}}
        }});
        let job = app.api.post("/v1/jobs", &body).await.expect(201);
        let path = format!("/v1/jobs/{}", id(&job));
        let mut pages = Vec::new();
        for (round, new) in ["first", "first", "second"].into_iter().enumerate() {
            new.clone_into(&mut changed.lock().unwrap());
            app.api.post(&format!("{path}/run"), &Value::Null).await.expect(202);
            eventually("the run is over", async || {
                let runs = app.api.get(&format!("{path}/runs?state=succeeded")).await.expect(200);
                if runs["total"] == json!(round + 1) { Ok(()) } else { Err(runs.to_string()) }
            })
            .await;
            assert_eq!(app.receiver.seen("/orders").len(), 4 * (round + 1), "one pass goes through the list once");
            pages.push(app.receiver.seen("/intake").len());
        }
        assert_eq!(pages, [4, 4, 5]);
        let last = app.receiver.seen("/intake").pop().unwrap();
        assert_eq!(last.json(), json!([{"id": 123, "v": "second"}]));
    });
}

#[test]
fn what_a_plugin_cannot_be_asked_is_refused_by_field() {
    let Some(component) = built("feed-incremental") else { return };
    run(async |app| {
        let hook = app.endpoint_at("/intake", &[]).await;
        let with = |source: Value, stream: Value, run: Value| {
            let mut one = json!({"name": "orders", "key": ["id"], "target": "orders"});
            one.as_object_mut().unwrap().extend(stream.as_object().unwrap().clone());
            let mut body = json!({"name": "feed", "schedule": {"kind": "manual"}, "run": {
                "kind": "sync", "source": source, "streams": [one],
                "sink": {"plugin": "http-table", "endpoint": hook, "config": {"url": "https://target.example/in"}}
            }});
            body["run"].as_object_mut().unwrap().extend(run.as_object().unwrap().clone());
            body
        };
        let refused = async |body: Value| -> (String, String) {
            let problem = app.api.post("/v1/jobs", &body).await.expect(422);
            let error = problem["errors"][0].clone();
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            (text("field"), text("message"))
        };
        let (none, feed) = (json!({}), source(app));
        let (field, message) = refused(with(feed.clone(), none.clone(), none.clone())).await;
        assert!(field == "run.source.plugin" && message.contains("push the plugin first"), "{field}: {message}");
        install(app, &component).await;
        let none_there = app.api.get("/v1/connections/feed-incremental/tables").await.expect(409);
        assert_eq!(none_there["code"], "no_catalogue");
        let told = app.engine.client(&["job", "discover", "feed-incremental"]).await;
        let told = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.contains("is a plugin") && told.contains("has no catalogue"), "{told}");
        let carol = json!({"kind": "plugin", "plugin": "carol"});
        let (field, message) = refused(with(carol, none.clone(), none.clone())).await;
        assert!(field == "run.source.plugin" && message.contains("sync-source"), "{field}: {message}");
        let empty = json!({"kind": "plugin", "plugin": "feed-incremental", "config": {}});
        let (field, _) = refused(with(empty, none.clone(), none.clone())).await;
        assert!(field.starts_with("run.source.config"), "{field}");
        for (name, value) in [
            ("watermark", json!("updated_at")),
            ("soft_delete", json!("deleted")),
            ("reconcile_ms", json!(60_000)),
            ("partition_columns", json!({"company": "c"})),
        ] {
            let (field, message) = refused(with(feed.clone(), json!({name: value}), none.clone())).await;
            assert_eq!(field, format!("run.streams[0].{name}"));
            assert!(message.contains("belongs to a table") && message.ends_with("leave it out"), "{message}");
        }
        let (field, _) = refused(with(feed.clone(), none.clone(), json!({"lookback_ms": 60_000}))).await;
        assert_eq!(field, "run.lookback_ms");
        let partitions = json!({"partitions": [{"company": "01"}, {"company": "02"}]});
        let (field, message) = refused(with(feed.clone(), none.clone(), partitions.clone())).await;
        assert!(field == "run.streams[0].table" && message.contains("orders_{company}"), "{field}: {message}");
        let body = with(feed, json!({"table": "orders_{company}"}), partitions);
        let job = app.api.post("/v1/jobs", &body).await.expect(201);
        assert_eq!(job["run"]["streams"][0].get("watermark"), None);
    });
}
