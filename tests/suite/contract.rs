//! The description against a running engine: schemathesis over every route, and clients generated from it by other
//! people's generators, at work.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::process::Command;

use crate::{
    harness::{App, engine::ADMIN_TOKEN, run},
    languages::is_there,
};

/// A tool's first start, or a package's way here, may take this long.
const TOOL_PATIENCE: Duration = Duration::from_secs(400);
/// How long schemathesis calls, in seconds; longer with `ENGATE_TEST_LONG`.
const SECONDS: u64 = 20;
const SECONDS_LONG: u64 = 240;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/contract")
}

async fn ended(command: &mut Command) -> Output {
    let output = command.kill_on_drop(true).output();
    tokio::time::timeout(TOOL_PATIENCE, output).await.expect("the tool does not end").unwrap()
}

async fn passes(command: &mut Command) -> String {
    let output = ended(command).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    out
}

/// The folder with Python's tools, made once for these versions of them.
fn python() -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let done = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    };
    let requirements = folder().join("requirements.txt");
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract-python");
    // Its programs name the folder: one that was moved is made anew.
    let wanted = format!("{}\n{}", fs::read_to_string(&requirements).unwrap(), venv.display());
    let mark = venv.join("installed.txt");
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if fs::read_to_string(&mark).ok().as_deref() != Some(&wanted) {
        done(std::process::Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        done(std::process::Command::new(venv.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(requirements));
        fs::write(&mark, wanted).unwrap();
    }
    venv
}

#[test]
fn schemathesis_finds_nothing_that_the_description_does_not_promise() {
    if !is_there(&["python3"]) {
        return;
    }
    let venv = python();
    run(async |app| {
        let seconds = if std::env::var_os("ENGATE_TEST_LONG").is_some() { SECONDS_LONG } else { SECONDS };
        let work = tempfile::tempdir().unwrap();
        let mut command = Command::new(folder().join("schemathesis.sh"));
        command.arg(app.engine.url()).arg(ADMIN_TOKEN).arg(seconds.to_string()).arg(work.path());
        let said = passes(command.env("SCHEMATHESIS", venv.join("bin/schemathesis"))).await;
        // Its time may end before it came to all operations.
        let number = |label: &str| -> u32 {
            let line = said.lines().find_map(|line| line.trim().strip_prefix(label)).expect(label);
            line.trim().split('/').next().unwrap().parse().unwrap()
        };
        let (selected, tested) = (number("Selected:"), number("Tested:"));
        assert!(selected > 100 && tested == selected, "{tested} of {selected} operations were called: {said}");
    });
}

/// What both clients do ends with the delivery's id and the partner's status.
async fn check(app: &App, path: &str, said: &str) {
    let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(last["status"], 200, "{said}");
    assert_eq!(app.receiver.only(path).await.webhook_id(), last["delivery"].as_str().unwrap());
}

#[test]
fn a_client_generated_for_typescript_works() {
    if !is_there(&["npm"]) {
        return;
    }
    run(async |app| {
        app.receiver.always("/typescript", 200);
        let work = tempfile::tempdir().unwrap();
        for file in ["package.json", "package-lock.json", ".npmrc", "tsconfig.json", "client.mts"] {
            fs::copy(folder().join("typescript").join(file), work.path().join(file)).unwrap();
        }
        let description = app.api.get("/openapi.json").await;
        fs::write(work.path().join("openapi.json"), &description.body).unwrap();
        let run = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args).current_dir(work.path());
            command
        };
        passes(&mut run("npm", &["ci", "--no-audit", "--no-fund", "--loglevel=error"])).await;
        passes(&mut run("npx", &["--no-install", "openapi-typescript", "openapi.json", "-o", "engate.d.ts"])).await;
        passes(&mut run("npx", &["--no-install", "tsc"])).await;
        let (url, partner) = (app.engine.url(), app.receiver.url("/typescript"));
        let said = passes(&mut run("node", &["client.mjs", &url, ADMIN_TOKEN, &partner])).await;
        check(app, "/typescript", &said).await;
    });
}

#[test]
fn a_client_generated_for_python_works() {
    if !is_there(&["python3"]) {
        return;
    }
    // Before there is an engine: making it takes longer than a connection that says nothing may stay.
    let venv = python();
    run(async |app| {
        app.receiver.always("/python", 200);
        let work = tempfile::tempdir().unwrap();
        let description = app.api.get("/openapi.json").await;
        fs::write(work.path().join("openapi.json"), &description.body).unwrap();
        fs::write(work.path().join("config.yaml"), "package_name_override: engate_client\npost_hooks: []\n").unwrap();
        let mut generate = Command::new(venv.join("bin/openapi-python-client"));
        generate.args(["generate", "--path", "openapi.json", "--config", "config.yaml", "--output-path", "generated"]);
        let said = passes(generate.current_dir(work.path())).await;
        // What it has no form for: components, and Prometheus' text.
        let left_out: Vec<_> = said.lines().filter(|line| line.contains("WARNING parsing")).collect();
        assert!(left_out.iter().all(|line| line.contains("/metrics") || line.contains("/v1/plugins")), "{left_out:?}");
        let mut client = Command::new(venv.join("bin/python"));
        client.arg(folder().join("client.py")).arg(app.engine.url()).arg(ADMIN_TOKEN).arg(app.receiver.url("/python"));
        let used = passes(client.env("PYTHONPATH", work.path().join("generated"))).await;
        check(app, "/python", &used).await;
    });
}
