//! Replacing the key that secrets are sealed with.

use std::{path::Path, process::Output, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::{Secret, Timestamp};
use engate_store::{Actor, Database as Stored, SecretKey, Store, StoreOptions};
use serde_json::json;

use crate::harness::{App, Backend, Setup, run, run_on};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn key_in(file: &Path) -> [u8; 32] {
    STANDARD.decode(std::fs::read_to_string(file).unwrap().trim()).unwrap().try_into().unwrap()
}

async fn open(app: &App, key: [u8; 32]) -> Store {
    let database = Stored::parse(app.engine.database_url());
    let now = Timestamp::from(chrono::Utc::now());
    Store::open(&database, &SecretKey::new(key), StoreOptions::default(), now).await.unwrap()
}

/// An endpoint that shows a password, and whether its partner gets the right one.
async fn endpoint(app: &App) {
    app.receiver.always("/hook", 200);
    let auth = json!({"type": "authorization", "value": "the-partners-key"});
    app.endpoint(json!({"url": app.receiver.url("/hook"), "event_types": ["P1"], "auth": auth})).await;
}

async fn delivers(app: &App, times: usize) {
    app.api.emit("P1", json!({})).await;
    let seen = app.receiver.wait("/hook", times).await;
    assert_eq!(seen[times - 1].header("authorization"), "the-partners-key");
}

fn rotates(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        endpoint(app).await;
        delivers(app, 1).await;
        app.api.put("/v1/secrets/s", &json!({"value": "hush"})).await.expect(200);
        let refused = app.engine.command(&["secret", "rotate-key"]).await;
        assert!(!refused.status.success() && said(&refused).contains("engine works"), "{}", said(&refused));
        app.api.get("/v1/secrets").await.expect(200);
        assert!(app.engine.terminate().await.success());
        let file = app.engine.data().join("secret.key");
        let old = key_in(&file);
        let done = app.engine.command(&["secrets", "rotate-key"]).await;
        assert!(done.status.success(), "{}", said(&done));
        let new = key_in(&file);
        assert_ne!(old, new);
        assert!(!said(&done).contains(&STANDARD.encode(new)) && !said(&done).contains(&STANDARD.encode(old)));
        let kept = app.engine.data().join(format!("secret.key.{}", SecretKey::new(old).id()));
        assert_eq!(key_in(&kept), old, "for backups from before");
        assert!(!app.engine.data().join("secret.key.next").exists());
        app.engine.start_again().await;
        delivers(app, 2).await;
        assert_eq!(app.api.get("/v1/audit/verify").await.expect(200)["valid"], true);
        app.api.put("/v1/secrets/s", &json!({"value": "hush 2"})).await.expect(200);
        assert_eq!(app.api.get("/v1/audit/verify").await.expect(200)["valid"], true);
        app.doctor().await;
        app.engine.terminate().await;
        let database = Stored::parse(app.engine.database_url());
        let with_old =
            Store::open(&database, &SecretKey::new(old), StoreOptions::default(), Timestamp::from_millis(1)).await;
        assert!(with_old.is_err(), "the old key opens nothing");
        app.engine.start_again().await;
    });
}

#[test]
fn everything_sealed_is_sealed_anew() {
    rotates(Backend::Sqlite);
}

#[test]
fn everything_sealed_is_sealed_anew_on_postgres() {
    rotates(Backend::Postgres);
}

#[test]
fn killed_at_any_moment_it_goes_on_where_it_was() {
    const SECRETS: usize = 900;
    run(async |app| {
        endpoint(app).await;
        assert!(app.engine.terminate().await.success());
        let file = app.engine.data().join("secret.key");
        let old = key_in(&file);
        let store = open(app, old).await;
        let tenant = store.tenant_by_slug("default").await.unwrap().unwrap().id;
        for n in 0..SECRETS {
            let actor = Actor::system(Timestamp::from(chrono::Utc::now()), n as u128);
            store.secret_put(&actor, tenant, &format!("s{n}"), &Secret::new(format!("hush {n}"))).await.unwrap();
        }
        store.close().await;
        let (mut killed, mut finished) = (0, false);
        for round in 0..40 {
            let ended =
                app.engine.command_killed_after(&["secret", "rotate-key"], Duration::from_millis(20 + round * 6)).await;
            if ended.is_some_and(|status| status.success()) {
                finished = true;
                break;
            }
            killed += 1;
        }
        if !finished {
            let done = app.engine.command(&["secret", "rotate-key"]).await;
            assert!(done.status.success(), "{}", said(&done));
        }
        assert!(killed > 0, "it was interrupted at least once");
        println!("killed {killed} times before it was done");
        let store = open(app, key_in(&file)).await;
        let all = store.secret_all_for_engine(tenant).await.unwrap();
        assert_eq!(all.len(), SECRETS);
        assert!(all.iter().all(|(name, value)| value.expose().strip_prefix("hush ") == name.strip_prefix('s')));
        store.close().await;
        app.engine.start_again().await;
        delivers(app, 1).await;
    });
}

#[test]
fn until_it_is_finished_no_engine_starts() {
    run(async |app| {
        app.engine.terminate().await;
        let begun = "INSERT INTO meta (key, value) VALUES ('key_next', X'00')";
        crate::harness::database::meddle(app.engine.database_url(), begun).await;
        let doctor = app.engine.command(&["migrate"]).await;
        assert!(!doctor.status.success() && said(&doctor).contains("rotate-key"), "{}", said(&doctor));
        let rotate = app.engine.command(&["secret", "rotate-key"]).await;
        assert!(!rotate.status.success(), "one to a key that nobody has is not taken up: {}", said(&rotate));
        crate::harness::database::meddle(app.engine.database_url(), "DELETE FROM meta WHERE key = 'key_next'").await;
        app.engine.start_again().await;
    });
}

#[test]
fn a_configured_key_is_replaced_by_one_from_a_file() {
    const OLD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "ICECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    run_on(Backend::Sqlite, Setup::new().set("secret_key", OLD), async |app| {
        endpoint(app).await;
        app.engine.terminate().await;
        let without = app.engine.command(&["secret", "rotate-key"]).await;
        assert_eq!(without.status.code(), Some(2), "{}", said(&without));
        let file = app.engine.data().join("new.key");
        std::fs::write(&file, NEW).unwrap();
        let done = app.engine.command(&["secret", "rotate-key", "--new-key-file", file.to_str().unwrap()]).await;
        assert!(done.status.success() && said(&done).contains("ENGATE_SECRET_KEY"), "{}", said(&done));
        let again = app.engine.command(&["secret", "rotate-key", "--new-key-file", file.to_str().unwrap()]).await;
        assert!(again.status.success(), "once more does no harm: {}", said(&again));
        app.engine.set("secret_key", NEW);
        app.engine.start_again().await;
        delivers(app, 1).await;
    });
}
