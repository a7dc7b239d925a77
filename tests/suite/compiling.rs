//! Large components: taken at once, compiled behind the answer, and at work when that is done, whatever becomes of the process.

use std::time::{Duration, SystemTime};

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{
    App, Backend, Setup,
    api::{Answer, id},
    eventually,
    guests::guest,
    run, run_on,
};

/// Functions that make a component large, and its compilation long.
const FUNCTIONS: usize = 8_000;

/// The guest in a version of its own, sending to `url`; a large one carries much that it never runs.
fn component(version: &str, url: &str, large: bool) -> Vec<u8> {
    assert_eq!(version.len(), 5);
    let length = u8::try_from(url.len()).unwrap();
    let sends = guest()
        .swap("(i32.const 2064) \"0.1.0\"", &format!("(i32.const 2064) \"{version}\""))
        .swap("\\50\\08\\00\\00\\14\\00\\00\\00", &format!("\\00\\0c\\00\\00\\{length:02x}\\00\\00\\00"))
        .at("data", &format!("(data (i32.const 3072) \"{url}\")"));
    if !large {
        return sends.build();
    }
    let filling = "what a runtime carries along ".repeat(5);
    let one = |n: usize| {
        let steps: String = (1..8)
            .map(|k| format!("(local.set 0 (i32.xor (i32.mul (local.get 0) (i32.const {})) (i32.const {k})))", n + k))
            .collect();
        format!("(func (param i32) (result i32) {steps} (local.get 0)) (data (i32.const 30000) \"{filling}\")")
    };
    let large = sends.at("more", &(0..FUNCTIONS).map(one).collect::<String>()).build();
    assert!(large.len() > 1 << 20, "{} bytes", large.len());
    large
}

async fn push(app: &App, component: Vec<u8>, prefer: &str) -> Answer {
    let headers = [("content-type", "application/wasm"), ("prefer", prefer)];
    app.api.send(Method::POST, "/v1/plugins", &headers, component.into()).await
}

async fn state(app: &App, version: &str) -> Value {
    app.api.get(&format!("/v1/plugins/guest/versions/{version}")).await.expect(200)
}

async fn ready(app: &App, version: &str) -> Value {
    eventually("the version is compiled", async || {
        let now = state(app, version).await;
        if now["state"] == "ready" { Ok(now) } else { Err(now.to_string()) }
    })
    .await
}

async fn stable(app: &App) -> String {
    let channels = app.api.get("/v1/plugins/guest/channels").await.expect(200);
    let channels = channels["items"].as_array().unwrap();
    channels.iter().find(|one| one["channel"] == "stable").unwrap()["version"].as_str().unwrap().to_owned()
}

fn endpoint(app: &App, plugin: &str) -> Value {
    let fields = json!({"url": app.receiver.url("/in"), "event_types": ["order.created"], "plugin": plugin});
    crate::harness::app::endpoint(fields)
}

/// Names of the files of machine code.
fn compiled(app: &App) -> Vec<String> {
    let entries = std::fs::read_dir(app.engine.data().join("plugins")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".cwasm")).collect()
}

fn a_large_one_is_taken_at_once(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        app.receiver.always("/in", 200);
        let url = app.receiver.url("/in");
        let small = push(app, component("0.1.0", &url, false), "").await.expect(201);
        assert_eq!((&small["state"], &small["pending_channel"]), (&json!("ready"), &Value::Null), "{small}");
        app.api.post("/v1/endpoints", &endpoint(app, "guest")).await.expect(201);

        let large = component("0.1.1", &url, true);
        let taken = push(app, large.clone(), "").await.expect(202);
        assert_eq!(taken["state"], "compiling", "{taken}");
        assert_eq!((&taken["version"], &taken["channel"]), (&json!("0.1.1"), &json!("stable")));
        // Compiling it takes far longer than these calls do.
        let refused = app.api.post("/v1/endpoints", &endpoint(app, "guest@0.1.1")).await;
        let said = String::from_utf8_lossy(&refused.body).into_owned();
        assert_eq!(refused.expect_problem(422, "invalid"), ["plugin"]);
        assert!(said.contains("still being compiled"), "{said}");
        let early = app.api.post("/v1/plugins/guest/promote", &json!({"version": "0.1.1"})).await;
        assert_eq!(early.expect_problem(422, "invalid"), ["version"]);
        assert_eq!(
            push(app, large.clone(), "").await.expect(202)["state"],
            "compiling",
            "the same again changes nothing"
        );
        assert_eq!(stable(app).await, "0.1.0", "the channel stays where it is until then");
        let shown = app.api.get("/v1/plugins/guest").await.expect(200);
        assert_eq!(
            (&shown["version"], &shown["versions"][0]["state"]),
            (&json!("0.1.0"), &json!("compiling")),
            "{shown}"
        );

        let version = ready(app, "0.1.1").await;
        assert_eq!(version["pending_channel"], Value::Null, "{version}");
        assert_eq!(stable(app).await, "0.1.1");
        app.api.emit("order.created", json!({})).await;
        app.receiver.only("/in").await;
        app.api.settled().await;
        let attempt = app.api.attempt(&app.api.deliveries("").await[0]).await;
        assert_eq!(attempt["plugin"], "guest@0.1.1");
        assert!(compiled(app).iter().all(|name| !name.contains("-quick-")), "{:?}", compiled(app));
        assert_eq!(push(app, large, "").await.expect(200)["state"], "ready");

        let waited = push(app, component("0.1.2", &url, true), "wait=60").await.expect(201);
        assert_eq!((&waited["state"], stable(app).await.as_str()), (&json!("ready"), "0.1.2"), "{waited}");
        let audit = app.api.get("/v1/audit?limit=500").await.expect(200).to_string();
        assert!(audit.contains("plugin.compiled"), "{audit}");
    });
}

#[test]
fn a_large_component_is_taken_at_once_and_bound_when_it_is_compiled_on_sqlite() {
    a_large_one_is_taken_at_once(Backend::Sqlite);
}

#[test]
fn a_large_component_is_taken_at_once_and_bound_when_it_is_compiled_on_postgres() {
    a_large_one_is_taken_at_once(Backend::Postgres);
}

#[test]
fn a_compilation_that_a_kill_ended_is_taken_up_by_the_next_start() {
    run(async |app| {
        let url = app.receiver.url("/in");
        app.receiver.always("/in", 200);
        push(app, component("0.1.0", &url, true), "").await.expect(202);
        app.engine.kill().await;
        app.engine.start_again().await;
        assert!(app.engine.log().contains("taking up a compilation"), "{}", app.engine.log());
        ready(app, "0.1.0").await;
        id(&app.api.post("/v1/endpoints", &endpoint(app, "guest")).await.expect(201));
        app.api.emit("order.created", json!({})).await;
        app.receiver.only("/in").await;
    });
}

#[test]
fn the_command_waits_until_the_plugin_can_be_used_unless_told_not_to() {
    run(async |app| {
        let file = app.engine.data().join("large.wasm");
        let pushed = async |version: &str, more: &[&str]| {
            std::fs::write(&file, component(version, "http://127.0.0.1:9/in", true)).unwrap();
            let args = [&["plugin", "push", file.to_str().unwrap(), "--json"][..], more].concat();
            let output = app.engine.client(&args).await;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice::<Value>(&output.stdout).unwrap()
        };
        let said = pushed("0.1.0", &["--no-wait"]).await;
        assert_eq!((&said["state"], &said["channel"]), (&json!("compiling"), &json!("stable")), "{said}");
        ready(app, "0.1.0").await;
        let said = pushed("0.1.1", &["--channel", "next"]).await;
        assert_eq!((&said["state"], &said["channel"]), (&json!("ready"), &json!("next")), "{said}");
        assert_eq!(state(app, "0.1.1").await["state"], "ready");
        assert_eq!(stable(app).await, "0.1.0");
    });
}

#[test]
fn what_is_wrong_with_a_large_component_is_told_by_the_push_itself() {
    run(async |app| {
        let url = "http://127.0.0.1:9/in";
        let mut broken = component("0.1.0", url, true);
        let length = broken.len();
        broken.truncate(length - 100);
        push(app, broken, "").await.expect_problem(422, "invalid_component");
        push(app, component("0.1.x", url, true), "").await.expect_problem(422, "bad_manifest");
        push(app, component("0.1.0", url, false), "").await.expect(201);
        push(app, component("0.1.0", url, true), "").await.expect_problem(409, "version_taken");
    });
}

#[test]
fn compiled_code_that_belongs_to_nothing_goes_by_itself() {
    run(async |app| {
        let folder = app.engine.data().join("plugins");
        let bundled = compiled(app);
        let (digest, rest) = bundled[0].split_once('-').unwrap();
        let copy = |name: &str, age: Duration| {
            let path = folder.join(name);
            std::fs::copy(folder.join(&bundled[0]), &path).unwrap();
            std::fs::File::options().append(true).open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        };
        assert_eq!(digest.len(), 64);
        let (old, new) = (format!("{}-{rest}", "a".repeat(64)), format!("{}-{rest}", "b".repeat(64)));
        copy(&old, Duration::from_secs(7_200));
        copy(&new, Duration::ZERO);
        app.engine.kill().await;
        app.engine.start_again().await;
        eventually("what another node let go of is gone", async || {
            let left = compiled(app);
            if left.contains(&old) { Err(format!("{left:?}")) } else { Ok(()) }
        })
        .await;
        let left = compiled(app);
        assert!(left.contains(&new), "a push may be under way: {left:?}");
        assert!(bundled.iter().all(|name| left.contains(name)), "{left:?}");
    });
}
