//! The developer's loop, `engate plugin dev`: a saved source is at work in a running engine at once, as a development
//! version of its own, and what fails is told and does no harm. The build is a copy, so that the tests are about the loop.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use axum::http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::harness::{App, PATIENCE, Reply, api::id, engine::ADMIN_TOKEN, run};

/// What the plugin under test writes at the start, and after the edit.
const WAS: &str = "application/cloudevents+json; charset=utf-8";
const IS: &str = "application/cloudevents+json; charset=UTF-8";
/// From the finished component to its first request. On a quiet machine it is a third of a second, and half a second for one that carries a language's
/// runtime; this machine is shared.
const SWAP_MAX_MS: u64 = 5_000;

/// What a busy machine may make of it.
const LARGE_PATIENCE: Duration = Duration::from_secs(180);

/// A project whose source is the component itself.
struct Project(TempDir);

impl Project {
    fn new(component: &[u8]) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/standard/fixtures");
        let description = json!({"fixtures": fixtures});
        let text = format!(
            "[build]\ncommands = [\"cp source.bin built.wasm\"]\noutput = \"built.wasm\"\n[test]\nfixtures = {}\n",
            description["fixtures"]
        );
        std::fs::write(project.path().join("engate-plugin.toml"), text).unwrap();
        project.save(component);
        project
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// As editors do: a new file takes the old one's place.
    fn save(&self, component: &[u8]) {
        let beside = self.path().join(".source.bin.swp");
        std::fs::write(&beside, component).unwrap();
        std::fs::rename(beside, self.source()).unwrap();
    }

    fn source(&self) -> PathBuf {
        self.path().join("source.bin")
    }
}

/// The running command.
struct Loop {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Loop {
    fn start(app: &App, project: &Project) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engate"));
        command.args(["plugin", "dev", "--json"]).arg(project.path());
        command.env("ENGATE_URL", app.engine.url()).env("ENGATE_TOKEN", ADMIN_TOKEN);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { lines, _process: process }
    }

    /// The next event of that name.
    async fn next(&mut self, event: &str) -> Value {
        self.next_within(PATIENCE, event).await
    }

    /// The same with a patience of its own.
    async fn next_within(&mut self, patience: Duration, event: &str) -> Value {
        let mut seen = Vec::new();
        let found = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let line: Value = serde_json::from_str(&line).unwrap();
                if line["event"] == event {
                    return line;
                }
                seen.push(line);
            }
            panic!("the command ended; {seen:?}")
        };
        tokio::time::timeout(patience, found).await.unwrap_or_else(|_| panic!("no event {event}"))
    }
}

async fn component(app: &App) -> Vec<u8> {
    let version = app.api.get("/v1/plugins/standard").await.expect(200)["version"].as_str().unwrap().to_owned();
    app.api.get(&format!("/v1/plugins/standard/versions/{version}/component")).await.body.to_vec()
}

fn edited(component: &[u8]) -> Vec<u8> {
    crate::replays::replaced(component, WAS.as_bytes(), IS.as_bytes())
}

/// The content type of the next delivery.
async fn delivered(app: &App, count: usize) -> String {
    app.api.emit("order.created", json!({"n": count})).await;
    let seen = app.receiver.wait("/dev", count).await;
    seen[count - 1].header("content-type").to_owned()
}

#[test]
fn a_saved_source_shapes_the_next_delivery() {
    run(async |app| {
        let first = component(app).await;
        let project = Project::new(&first);
        let mut looped = Loop::start(app, &project);
        let swapped = looped.next("swapped").await;
        assert_eq!((&swapped["version"], &swapped["channel"]), (&json!("0.1.0-dev.1"), &json!("dev")), "{swapped}");
        assert_eq!(looped.next("tested").await["passed"], true);
        app.receiver.always("/dev", 200);
        let url = app.receiver.url("/dev");
        id(&app.endpoint(json!({"url": url, "event_types": ["order.created"], "plugin": "standard@dev"})).await);
        assert_eq!(delivered(app, 1).await, WAS);

        project.save(&edited(&first));
        let swapped = looped.next("swapped").await;
        assert_eq!(swapped["version"], "0.1.0-dev.2", "{swapped}");
        assert_eq!(delivered(app, 2).await, IS);
        let took_ms = swapped["took_ms"].as_u64().unwrap();
        eprintln!("finished component to swapped: {took_ms} ms");
        assert!(took_ms < SWAP_MAX_MS, "{took_ms} ms");
        assert_eq!(looped.next("tested").await["passed"], false);
        assert_eq!(looped.next("failed").await["step"], "test");

        // A build that fails is told; the engine keeps what it has, and the loop goes on.
        project.save(b"no component");
        let failed = looped.next("failed").await;
        assert_eq!(failed["step"], "build", "{failed}");
        assert_eq!(delivered(app, 3).await, IS);
        std::fs::remove_file(project.source()).unwrap();
        assert!(looped.next("failed").await["message"].as_str().unwrap().contains("cp source.bin"));
        project.save(&first);
        assert_eq!(looped.next("swapped").await["version"], "0.1.0-dev.1", "the same bytes are the same version");
        assert_eq!(delivered(app, 4).await, WAS);
    });
}

#[test]
fn a_component_that_carries_a_runtime_is_compiled_without_its_libraries() {
    let Some(folder) = crate::languages::built("python", &["python3"]) else { return };
    let first = std::fs::read(folder.join("plugin.wasm")).unwrap();
    let word = b"the partner is gone";
    run(async |app| {
        let project = Project::new(&first);
        // The golden files of another plugin: what they show is not what this is about.
        let mut looped = Loop::start(app, &project);
        let anew = looped.next_within(LARGE_PATIENCE, "swapped").await;
        looped.next_within(LARGE_PATIENCE, "tested").await;
        project.save(&crate::replays::replaced(&first, word, &word.to_ascii_uppercase()));
        let again = looped.next_within(LARGE_PATIENCE, "swapped").await;
        assert_eq!((&anew["version"], &again["version"]), (&json!("0.1.0-dev.1"), &json!("0.1.0-dev.2")), "{again}");
        let [anew, again] = [anew, again].map(|swapped| swapped["took_ms"].as_u64().unwrap());
        eprintln!("Python, finished component to swapped: {anew} ms, then {again} ms");
        // What is compiled of Python's 18 MiB once its libraries are known is less than a small plugin.
        assert!(again < SWAP_MAX_MS, "{again} ms");
        let files = std::fs::read_dir(app.engine.data().join("plugins")).unwrap();
        let names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        let code: Vec<_> = names.iter().filter(|name| name.ends_with(".cwasm")).collect();
        let count = |quick: bool, library: bool| {
            let is = |name: &&&String| (name.contains("-quick-"), name.starts_with("library-")) == (quick, library);
            code.iter().filter(is).count()
        };
        assert_eq!((count(true, false), count(false, false)), (2, 7), "both quick, beside the bundled ones: {names:?}");
        assert_eq!((count(true, true), count(false, true)), (3, 0), "the libraries that both have: {names:?}");
    });
}

#[test]
fn once_is_for_scripts_and_strict_swaps_only_what_passes() {
    run(async |app| {
        let first = component(app).await;
        let project = Project::new(&first);
        let folder = project.path().to_str().unwrap().to_owned();
        let once = async |more: &[&str]| {
            let args = [&["plugin", "dev", &folder, "--once"][..], more].concat();
            let output = app.engine.client(&args).await;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
        };
        let (code, said, errors) = once(&[]).await;
        assert_eq!(code, 0, "{said}{errors}");
        assert!(said.contains("swapped in 0.") || said.contains("swapped in "), "{said}");
        assert!(said.contains("standard@dev is now 0.1.0-dev.1") && said.contains("5 golden files pass"), "{said}");

        project.save(&edited(&first));
        let (code, said, errors) = once(&["--strict"]).await;
        assert_eq!(code, 1, "{said}{errors}");
        assert!(said.contains(IS) && !said.contains("swapped"), "{said}");
        assert!(errors.contains("golden files differ"), "{errors}");
        let channels = app.api.get("/v1/plugins/standard/channels").await.expect(200);
        let dev = channels["items"].as_array().unwrap().iter().find(|one| one["channel"] == "dev").unwrap().clone();
        assert_eq!(dev["version"], "0.1.0-dev.1");
        let (code, ..) = once(&[]).await;
        assert_eq!(code, 1, "swapped, but its golden files differ");

        let (code, _, errors) = once(&["--channel", "stable"]).await;
        assert_eq!(code, 6, "{errors}");
        assert!(errors.contains("a channel of its own"), "{errors}");
        let production = app.api.post("/v1/plugins/standard/promote", &json!({"version": "0.1.0-dev.2"})).await;
        assert_eq!(production.expect_problem(422, "invalid"), ["version"]);
    });
}

#[test]
fn development_versions_do_not_pile_up_and_their_history_can_still_be_read() {
    run(async |app| {
        let first = component(app).await;
        let wasm = [("content-type", "application/wasm")];
        let push = async |component: Vec<u8>| {
            let path = "/v1/plugins?development=true";
            app.api.send(Method::POST, path, &wasm, component.into()).await.expect_any()
        };
        assert_eq!(push(first.clone()).await["version"], "0.1.0-dev.1");
        app.receiver.on("/dev", |_| Reply::status(200).body("ok"));
        let url = app.receiver.url("/dev");
        app.endpoint(json!({"url": url, "event_types": ["order.created"], "plugin": "standard@dev"})).await;
        delivered(app, 1).await;
        let cache = app.engine.data().join("plugins");
        let compiled = || std::fs::read_dir(&cache).unwrap().count();
        let before = compiled();
        for n in 0..8 {
            let charset = format!("application/cloudevents+json; charset=utf-{n}");
            push(crate::replays::replaced(&first, WAS.as_bytes(), charset.as_bytes())).await;
        }
        delivered(app, 2).await;
        app.api.settled().await;
        let versions = app.api.get("/v1/plugins/standard/versions").await.expect(200);
        let versions = versions["items"].as_array().unwrap();
        let names: Vec<_> = versions.iter().map(|one| one["version"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 6, "the bundled one and the last five: {names:?}");
        assert!(names.contains(&"0.1.0-dev.9") && !names.contains(&"0.1.0-dev.1"), "{names:?}");
        let listed = app.api.get("/v1/plugins").await.expect(200);
        let standard = listed["items"].as_array().unwrap().iter().find(|one| one["name"] == "standard").unwrap();
        assert_eq!((&standard["version"], &standard["development"]), (&json!("0.1.0"), &json!(false)), "{standard}");
        assert!(compiled() <= before + 2 * 5, "compiled code goes with the version: {before}, then {}", compiled());
        let replayed = app.engine.client(&["plugin", "replay"]).await;
        let said = String::from_utf8_lossy(&replayed.stdout).into_owned();
        assert!(replayed.status.success(), "{said}{}", String::from_utf8_lossy(&replayed.stderr));
        assert!(said.contains("1 of standard@0.1.0-dev.1") && said.contains("1 attempts replayed"), "{said}");
    });
}

#[test]
fn fuel_is_the_same_at_every_run_and_more_for_more_work() {
    run(async |app| {
        let file = app.engine.data().join("standard.wasm");
        std::fs::write(&file, component(app).await).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/standard/fixtures/cloudevents.json");
        let mut fixture: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
        let write = |name: &str, fixture: &Value| {
            std::fs::write(folder.path().join(name), fixture.to_string()).unwrap();
        };
        write("a.json", &fixture);
        fixture["event"]["payload"]["more"] = json!("text ".repeat(1_000));
        write("b.json", &fixture);
        let tested = async |more: &[&str]| {
            let places = ["--component", file.to_str().unwrap(), "--fixtures", folder.path().to_str().unwrap()];
            let args = [&["plugin", "test", "--json"][..], &places, more].concat();
            let output = app.engine.client(&args).await;
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let [a, b] = [0, 1].map(|n| report["files"][n].clone());
            assert_eq!((&a["passed"], &b["passed"]), (&json!(true), &json!(false)), "{report}");
            [a, b]
        };
        let figures = |[a, b]: [Value; 2]| {
            [a, b].map(|file| [&file["fuel"], &file["bytes_in"], &file["bytes_out"]].map(Value::as_u64))
        };
        let [a, b] = figures(tested(&[]).await);
        assert_eq!(figures(tested(&[]).await), [a, b]);
        assert!(a[0] > Some(1_000) && b[0] > a[0], "{a:?}, {b:?}");
        assert!(b[1] > a[1].map(|bytes| bytes + 5_000) && b[2] > a[2].map(|bytes| bytes + 5_000), "{a:?}, {b:?}");
        let [uncounted, _] = figures(tested(&["--no-fuel"]).await);
        assert_eq!(uncounted, [None, a[1], a[2]]);
    });
}
