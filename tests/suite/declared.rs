//! A tenant's configuration as one file: exported, applied elsewhere, applied again, changed, pruned.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Api, App, Backend, Database, Engine, Setup, run};

const FILE: &str = r#"
[settings]
use_webhooks = true

[secrets]
sintegre-link = { file = "link.key" }

[[event_types]]
key = "boletim.diario"
title = "Boletim diário"
macro_process = "Operação"
process = "Tempo real"

[[integrators]]
slug = "ons"
name = "Operador Nacional"
services = ["Publicação"]

[[plugins]]
name = "sintegre"
grants = { secrets = ["sintegre-link"] }
limits = { cpu_ms = 100 }

[[endpoints]]
integrator = "ons"
description = "Boletins"
url = { env = "ONS_URL" }
plugin = "gsan"
event_types = ["boletim.diario"]
max_in_flight = 4
auth = { type = "basic", username = "ons", password = { file = "ons.password" } }
config = { success = { status = [200], error_pointer = "/error" } }
retry = { schedule_ms = [0, 5000] }
headers = { x-system = "engate" }

[[endpoints]]
integrator = "ons"
url = "https://ons.example/plain"
signing = { enabled = false }
"#;

/// A signing key of the right form.
const KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

async fn apply(engine: &Engine, folder: &Path, file: &str, more: &[&str]) -> Value {
    let path = folder.join(file);
    let mut args = vec!["apply", "--json", "-f", path.to_str().unwrap()];
    args.extend(more);
    let output = engine.client_with(&args, &[("ONS_URL", "https://ons.example/hook")]).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn actions(told: &Value) -> Vec<String> {
    let text = |action: &Value| {
        format!(
            "{} {} {}",
            action["action"].as_str().unwrap(),
            action["kind"].as_str().unwrap(),
            action["name"].as_str().unwrap()
        )
    };
    told["actions"].as_array().unwrap().iter().map(text).collect()
}

fn write_files(folder: &Path) {
    std::fs::write(folder.join("engine.toml"), FILE).unwrap();
    std::fs::write(folder.join("link.key"), "the key that signs links, long enough\n").unwrap();
    std::fs::write(folder.join("ons.password"), "a:b ç").unwrap();
}

#[test]
fn a_file_is_applied_once_and_then_changes_nothing() {
    run(async |app| {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path());
        let dry = apply(&app.engine, folder.path(), "engine.toml", &["--dry-run"]).await;
        let planned = [
            "create secrets sintegre-link",
            "create event_types boletim.diario",
            "change plugins sintegre",
            "change plugins sintegre",
            "create integrators ons",
            "create endpoints ons/Boletins",
            "create endpoints ons/https://ons.example/plain",
        ];
        assert_eq!((actions(&dry), &dry["applied"]), (planned.map(str::to_owned).to_vec(), &json!(false)));
        assert!(!dry.to_string().contains("a:b"), "a password is shown: {dry}");
        assert_eq!(app.api.get("/v1/endpoints").await.expect(200)["total"], 0);

        let first = apply(&app.engine, folder.path(), "engine.toml", &[]).await;
        assert_eq!((actions(&first), &first["changed"]), (planned.map(str::to_owned).to_vec(), &json!(7)));
        // The key that nobody gave is told this once; the endpoint that signs nothing needs none.
        let drawn = first["signing_secrets"].as_array().unwrap();
        assert_eq!((drawn.len(), &drawn[0]["name"]), (1, &json!("ons/Boletins")), "{first}");
        assert!(drawn[0]["signing_secret"].as_str().unwrap().starts_with("whsec_"), "{first}");
        assert_eq!(dry["signing_secrets"], json!([]));
        let before = everything(&app.api).await;
        let again = apply(&app.engine, folder.path(), "engine.toml", &[]).await;
        assert_eq!((&again["changed"], &again["signing_secrets"]), (&json!(0), &json!([])), "{again}");
        assert_eq!(everything(&app.api).await, before, "no edition was made");

        // One field and one secret are otherwise: both are found, and nothing else.
        let changed = FILE.replace("max_in_flight = 4", "max_in_flight = 5");
        std::fs::write(folder.path().join("engine.toml"), changed).unwrap();
        let told = apply(&app.engine, folder.path(), "engine.toml", &[]).await;
        assert_eq!(told["changed"], 1, "{told}");
        assert!(told.to_string().contains("max_in_flight: 4 -> 5"), "{told}");
        std::fs::write(folder.path().join("ons.password"), "another").unwrap();
        assert_eq!(apply(&app.engine, folder.path(), "engine.toml", &[]).await["changed"], 1);
        assert_eq!(apply(&app.engine, folder.path(), "engine.toml", &[]).await["changed"], 0);
    });
}

/// What a second application must leave as it is, to the time of the last change.
async fn everything(api: &Api) -> Value {
    let mut all = Vec::new();
    for path in ["settings", "secrets", "event-types", "integrators", "plugins", "plugins/sintegre", "endpoints"] {
        all.push(api.get(&format!("/v1/{path}")).await.expect(200));
    }
    Value::Array(all)
}

async fn exported(engine: &Engine) -> String {
    let output = engine.client(&["export"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_exported_makes_another_engine_the_same() {
    run(async |app| {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path());
        apply(&app.engine, folder.path(), "engine.toml", &[]).await;
        let first = exported(&app.engine).await;
        assert!(first.contains("\"ENGATE_APPLY_ENDPOINT_ONS_BOLETINS_PASSWORD\""), "{first}");
        assert!(!first.contains("a:b ç") && !first.contains("the key that signs"), "a secret is exported: {first}");

        let database = Database::create(Backend::Sqlite).await.unwrap();
        let mut other = Engine::start(&database, Setup::new()).await;
        std::fs::write(folder.path().join("exported.toml"), &first).unwrap();
        let path = folder.path().join("exported.toml");
        let secrets = [
            ("ENGATE_APPLY_ENDPOINT_ONS_BOLETINS_PASSWORD", "a:b ç"),
            ("ENGATE_APPLY_ENDPOINT_ONS_BOLETINS_SIGNING_SECRET", KEY),
            ("ENGATE_APPLY_SECRET_SINTEGRE_LINK", "the key that signs links, long enough"),
        ];
        let args = ["apply", "--json", "-f", path.to_str().unwrap()];
        let output = other.client_with(&args, &secrets).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["signing_secrets"], json!([]), "a key that is given is nobody's to tell");
        assert_eq!(exported(&other).await, first);
        let output = other.client_with(&args, &secrets).await;
        let again: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(again["changed"], 0, "{again}");

        // Without the variables each that is missing is named, and nothing is done.
        let output = other.client(&args).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(secrets.iter().all(|(name, _)| said.contains(name)), "{said}");
        other.terminate().await;
        database.remove().await;
    });
}

#[test]
fn what_the_file_does_not_have_goes_only_when_asked() {
    run(async |app| {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path());
        apply(&app.engine, folder.path(), "engine.toml", &[]).await;
        let fewer = FILE.split("[[endpoints]]\nintegrator = \"ons\"\nurl").next().unwrap();
        std::fs::write(folder.path().join("fewer.toml"), fewer).unwrap();
        assert_eq!(apply(&app.engine, folder.path(), "fewer.toml", &[]).await["changed"], 0);
        let pruned = apply(&app.engine, folder.path(), "fewer.toml", &["--prune"]).await;
        // The test's own integrator never had an endpoint, and goes too.
        let expected = ["delete endpoints ons/https://ons.example/plain", "delete integrators partner"];
        let told: Vec<_> = actions(&pruned).into_iter().filter(|action| action.starts_with("delete")).collect();
        assert_eq!(told, expected);
        assert_eq!(app.api.get("/v1/endpoints").await.expect(200)["total"], 1);
        app.api.get("/v1/integrators/partner").await.expect_problem(404, "not_found");
        assert_eq!(apply(&app.engine, folder.path(), "fewer.toml", &["--prune"]).await["changed"], 0);
    });
}

#[test]
fn a_file_that_cannot_be_taken_names_all_that_is_wrong() {
    run(async |app: &mut App| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bad.toml");
        let bad = "[[integrator]]\nslug = \"a\"\n[[endpoints]]\nintegrator = \"a\"\nsurprise = 1\n[[event_types]]\nkey = \"t\"\n[[event_types]]\nkey = \"t\"\n";
        std::fs::write(&file, bad).unwrap();
        let output = app.engine.client(&["apply", "-f", file.to_str().unwrap()]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for complaint in
            ["integrator: there is no such table", "endpoints[0].url", "endpoints[0].surprise", "t is there twice"]
        {
            assert!(said.contains(complaint), "{complaint}: {said}");
        }
        // What only the engine knows to be wrong is told with what it is about.
        std::fs::write(&file, "[[integrators]]\nslug = \"Not A Slug\"\n").unwrap();
        let output = app.engine.client(&["apply", "-f", file.to_str().unwrap()]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(6), "{said}");
        assert!(said.contains("integrator Not A Slug") && said.contains("slug"), "{said}");
    });
}

#[test]
fn what_a_token_may_not_move_along_is_told_and_goes_where_it_is_given_anew() {
    run(async |app: &mut App| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("move.toml");
        let made = json!({"integrator": "partner", "description": "Boletins", "url": "https://ons.example/hook",
            "auth": {"type": "basic", "username": "ons", "password": "kept"}, "headers": {"x-system": "engate"}});
        let made = app.api.post("/v1/endpoints", &made).await.expect(201);
        let token = async |body: Value| {
            app.api.post("/v1/tokens", &body).await.expect(201)["token"].as_str().unwrap().to_owned()
        };
        let operator = token(json!({"client": "operator", "role": "operator"})).await;
        let read = ["secrets", "settings", "event-types", "integrators", "plugins", "endpoints", "inbounds", "jobs"];
        let mut scopes: Vec<_> = read.iter().map(|noun| format!("{noun}:read")).collect();
        scopes.push("endpoints:write".to_owned());
        let narrowed = token(json!({"client": "narrowed", "role": "admin", "scopes": scopes})).await;
        let apply = async |token: &str| {
            let args = ["apply", "-f", file.to_str().unwrap()];
            let output = app.engine.client_with(&args, &[("ENGATE_TOKEN", token), ("ONS_PASSWORD", "kept")]).await;
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let moved =
            "[[endpoints]]\nintegrator = \"partner\"\ndescription = \"Boletins\"\nurl = \"https://new.example/hook\"\n";
        std::fs::write(&file, moved).unwrap();
        for token in [&operator, &narrowed] {
            let (done, said) = apply(token).await;
            assert!(!done && said.contains("partner/Boletins") && said.contains("auth"), "{said}");
            assert!(said.contains("headers") && said.contains("give it again"), "{said}");
        }
        let anew = "headers = { x-system = \"engate\" }\nauth = { type = \"basic\", username = \"ons\", password = { env = \"ONS_PASSWORD\" } }\n";
        std::fs::write(&file, format!("{moved}{anew}")).unwrap();
        let (done, said) = apply(&narrowed).await;
        assert!(done, "{said}");
        let path = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
        assert_eq!(app.api.get(&path).await.expect(200)["url"], "https://new.example/hook");
    });
}

#[test]
fn who_may_not_read_everything_applies_what_it_may() {
    run(async |app: &mut App| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("endpoints.toml");
        let one = "[[endpoints]]\nintegrator = \"partner\"\ndescription = \"one\"\nurl = \"https://ons.example/one\"\n";
        let token = async |body: Value| {
            app.api.post("/v1/tokens", &body).await.expect(201)["token"].as_str().unwrap().to_owned()
        };
        let operator = token(json!({"client": "operator", "role": "operator"})).await;
        let scopes = ["endpoints:read", "endpoints:write"];
        let endpoints = token(json!({"client": "endpoints", "role": "operator", "scopes": scopes})).await;
        let apply = async |token: &str, more: &[&str]| {
            let args = [&["apply", "--json", "-f", file.to_str().unwrap()][..], more].concat();
            let output = app.engine.client_with(&args, &[("ENGATE_TOKEN", token)]).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default(), said)
        };
        std::fs::write(&file, one).unwrap();
        let (code, told, said) = apply(&operator, &[]).await;
        assert_eq!((code, &told["changed"]), (Some(0), &json!(1)), "{said}");
        // Nor need it be let to what only the plan looks at.
        std::fs::write(&file, one.replace("/one", "/two")).unwrap();
        let (code, told, said) = apply(&endpoints, &[]).await;
        assert_eq!((code, &told["changed"]), (Some(0), &json!(1)), "{said}");
        // What the file has it must be let to, and what it has not stays.
        app.endpoint(json!({"url": "https://ons.example/other", "description": "other"})).await;
        let (code, told, said) = apply(&operator, &["--prune"]).await;
        assert_eq!((code, actions(&told)), (Some(0), vec!["delete endpoints partner/other".to_owned()]), "{said}");
        app.api.get("/v1/integrators/partner").await.expect(200);
        std::fs::write(&file, format!("{one}[secrets]\na = \"b\"\n")).unwrap();
        let (code, _, said) = apply(&operator, &[]).await;
        assert_eq!(code, Some(3), "{said}");
    });
}

#[test]
fn a_token_that_is_not_shown_everything_neither_exports_nor_applies() {
    run(async |app: &mut App| {
        app.endpoint(json!({"url": "https://ons.example/hook", "headers": {"x-system": "engate"}})).await;
        let made = json!({"client": "reader", "role": "admin", "redact": ["headers"]});
        let made = app.api.post("/v1/tokens", &made).await.expect(201);
        let token = made["token"].as_str().unwrap();
        let reader = app.api.with_token(token);
        let lacks = |headers: &axum::http::HeaderMap| headers.get("engate-redacted").is_some_and(|is| is == "true");
        assert!(lacks(&reader.get("/v1/endpoints").await.headers));
        assert!(!lacks(&reader.get("/v1/integrators").await.headers), "nothing was taken out");
        assert!(!lacks(&app.api.get("/v1/endpoints").await.headers));

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tenant.toml");
        let path = file.to_str().unwrap();
        let refused = async |args: &[&str]| {
            let output = app.engine.client_with(args, &[("ENGATE_TOKEN", token)]).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains("this token is not shown every field (redact); use one that is"), "{said}");
        };
        refused(&["export", "-o", path]).await;
        assert!(!file.exists());
        let text =
            "[[endpoints]]\nintegrator = \"partner\"\ndescription = \"new\"\nurl = \"https://ons.example/new\"\n";
        std::fs::write(&file, text).unwrap();
        refused(&["apply", "--prune", "-f", path]).await;
        assert_eq!(app.api.get("/v1/endpoints").await.expect(200)["total"], 1);
    });
}

#[test]
fn an_export_writes_over_no_file_that_is_not_its_own() {
    run(async |app: &mut App| {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("engate.toml");
        std::fs::write(&settings, "[server]\nlisten = \"127.0.0.1:9000\"\n").unwrap();
        let before = std::fs::read(&settings).unwrap();
        let output = app.engine.client(&["export", "-o", settings.to_str().unwrap()]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("engate.toml: is there already and was not written by an export"), "{said}");
        assert_eq!(std::fs::read(&settings).unwrap(), before);

        let own = folder.path().join("tenant.toml");
        for written in ["at first", "over it"] {
            let output = app.engine.client(&["export", "-o", own.to_str().unwrap()]).await;
            assert!(output.status.success(), "{written}: {}", String::from_utf8_lossy(&output.stderr));
        }
    });
}

#[test]
fn a_file_that_is_applied_in_part_says_so() {
    run(async |app: &mut App| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("part.toml");
        let apply = async |text: &str, more: &[&str]| {
            std::fs::write(&file, text).unwrap();
            let args = [&["apply", "-f", file.to_str().unwrap()][..], more].concat();
            let output = app.engine.client(&args).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default(), said)
        };
        let part = |key: &str| format!("[[event_types]]\nkey = \"{key}\"\n\n[[integrators]]\nslug = \"Not A Slug\"\n");
        let (code, _, said) = apply(&part("a"), &[]).await;
        assert_eq!(code, Some(6), "{said}");
        let told = "1 changed before that; nothing is undone. Mend it and apply the file again.";
        assert!(said.contains("integrator Not A Slug") && said.contains(told), "{said}");
        let (code, told, said) = apply(&part("b"), &["--json"]).await;
        assert_eq!((code, &told["applied"], &told["changed"]), (Some(6), &json!(false), &json!(1)), "{said}");
        let (_, told, said) = apply(&part("b"), &["--json"]).await;
        assert_eq!((&told["applied"], &told["changed"]), (&json!(false), &json!(0)), "{said}");

        // What can be seen before anything is done is.
        let lost = "[[endpoints]]\nintegrator = \"nobody\"\ndescription = \"a\"\nurl = \"https://ons.example/a\"\n";
        for more in [&["--dry-run"][..], &[][..]] {
            let (code, _, said) = apply(lost, more).await;
            assert_eq!(code, Some(2), "{said}");
            assert!(
                said.contains("nobody/a: its integrator nobody is neither in the file nor in the engine"),
                "{said}"
            );
        }
        let (code, told, said) =
            apply(&format!("{lost}[[integrators]]\nslug = \"nobody\"\n"), &["--json", "--dry-run"]).await;
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(actions(&told), ["create integrators nobody", "create endpoints nobody/a"]);
    });
}

#[test]
fn standard_input_is_a_file_too_and_a_mistake_in_it_shows_no_secret() {
    run(async |app: &mut App| {
        let args = ["apply", "--json", "-f", "-"];
        let output = app.engine.client_fed(&args, "[[event_types]]\nkey = \"a\"\n").await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["changed"], 1, "{told}");
        let output = app.engine.client_fed(&args, "[secrets]\nlink = hunter2\"\n").await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("standard input: line 2, column ") && !said.contains("hunter2"), "{said}");
    });
}
