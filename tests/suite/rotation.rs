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
fn a_replacement_that_was_begun_is_gone_on_with_before_another_key_is_taken() {
    run(async |app| {
        endpoint(app).await;
        let refused = app.engine.command(&["secret", "rotate-key"]).await;
        assert!(!refused.status.success(), "an engine is at work: {}", said(&refused));
        assert!(app.engine.terminate().await.success());
        let data = app.engine.data().to_owned();
        let (file, next) = (data.join("secret.key"), data.join("secret.key.next"));
        let (old, begun, mine) = (key_in(&file), key_in(&next), [7; 32]);
        let named = data.join("mine");
        std::fs::write(&named, STANDARD.encode(mine)).unwrap();
        let with_mine = ["secret", "rotate-key", "--new-key-file", named.to_str().unwrap()];
        let refused = app.engine.command(&with_mine).await;
        assert!(!refused.status.success(), "{}", said(&refused));
        for words in ["secret.key.next holds another key", "without --new-key-file"] {
            assert!(said(&refused).contains(words), "{}", said(&refused));
        }
        assert_eq!((key_in(&file), key_in(&next)), (old, begun), "nothing is touched");
        open(app, old).await.close().await;
        for (command, left) in [(&["secret", "rotate-key"][..], begun), (&with_mine[..], mine)] {
            let done = app.engine.command(command).await;
            assert!(done.status.success(), "{}", said(&done));
            assert_eq!(key_in(&file), left);
            open(app, left).await.close().await;
        }
        for kept in [old, begun] {
            assert_eq!(key_in(&data.join(format!("secret.key.{}", SecretKey::new(kept).id()))), kept);
        }
        app.engine.start_again().await;
        delivers(app, 1).await;
    });
}

#[test]
fn the_old_key_is_not_lost_to_a_copy_that_does_not_hold_it() {
    run(async |app| {
        endpoint(app).await;
        assert!(app.engine.terminate().await.success());
        let file = app.engine.data().join("secret.key");
        let old = key_in(&file);
        let kept = app.engine.data().join(format!("secret.key.{}", SecretKey::new(old).id()));
        // A copy that ended half-way, and another key of the same id.
        for (text, words) in [(String::new(), "holds no key"), (STANDARD.encode([9; 32]), "holds another key")] {
            std::fs::write(&kept, &text).unwrap();
            let refused = app.engine.command(&["secret", "rotate-key"]).await;
            assert!(!refused.status.success(), "{}", said(&refused));
            let told = said(&refused);
            assert!(told.contains(words) && told.contains(kept.to_str().unwrap()), "{told}");
            assert!(told.contains("move it away"), "{told}");
            assert_eq!(std::fs::read_to_string(&kept).unwrap(), text);
            assert_eq!(key_in(&file), old);
            open(app, old).await.close().await;
        }
        std::fs::remove_file(&kept).unwrap();
        let done = app.engine.command(&["secret", "rotate-key"]).await;
        assert!(done.status.success(), "{}", said(&done));
        assert_eq!(key_in(&kept), old);
        app.engine.start_again().await;
        delivers(app, 1).await;
    });
}

/// Leaves what a replacement of `old` by `new` leaves that died at this step.
async fn died_at(app: &App, step: u8, old: [u8; 32], new: [u8; 32]) {
    let beside = |ending: &str| app.engine.data().join(format!("secret.key.{ending}"));
    let (text, id) = (STANDARD.encode(new), SecretKey::new(old).id());
    if step == 0 {
        return std::fs::write(beside("next.writing"), &text[..9]).unwrap();
    }
    std::fs::write(beside("next"), &text).unwrap();
    if step == 1 {
        std::fs::write(beside("next.writing"), &text).unwrap();
    }
    if step == 2 {
        std::fs::write(beside(&format!("{id}.writing")), "").unwrap();
    }
    if step >= 3 {
        std::fs::write(beside(&id), STANDARD.encode(old)).unwrap();
    }
    if step >= 4 {
        let database = Stored::parse(app.engine.database_url());
        let now = Timestamp::from(chrono::Utc::now());
        Store::rotate_key(&database, &SecretKey::new(old), &SecretKey::new(new), now).await.unwrap();
    }
    if step == 5 {
        std::fs::rename(beside("next"), app.engine.data().join("secret.key")).unwrap();
    }
}

#[test]
fn whatever_step_it_died_at_the_key_that_is_left_opens_the_database() {
    run(async |app| {
        endpoint(app).await;
        assert!(app.engine.terminate().await.success());
        let data = app.engine.data().to_owned();
        let file = data.join("secret.key");
        for step in 0..=5 {
            let (old, new) = (key_in(&file), [step + 1; 32]);
            died_at(app, step, old, new).await;
            let done = app.engine.command(&["secret", "rotate-key"]).await;
            assert!(done.status.success(), "step {step}: {}", said(&done));
            let left = key_in(&file);
            match step {
                0 => assert_ne!(left, old, "the new key was not there yet: another is made"),
                5 => assert_ne!(left, new, "it was all done: this is the next replacement"),
                _ => assert_eq!(left, new, "step {step}"),
            }
            open(app, left).await.close().await;
            assert_eq!(key_in(&data.join(format!("secret.key.{}", SecretKey::new(old).id()))), old, "step {step}");
            let others = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
            let others: Vec<_> = others.map(|name| name.into_string().unwrap()).collect();
            let left_over = |name: &String| name.contains(".next") || name.contains(".writing");
            assert!(!others.iter().any(left_over), "step {step}: {others:?}");
        }
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
