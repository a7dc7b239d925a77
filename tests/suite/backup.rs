//! A copy of the SQLite file taken while the engine works, and an engine that goes on from it.

use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

use crate::harness::{Setup, eventually, run_with};

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_backup_under_load_restores_and_delivers_what_waited() {
    run_with(Setup::new(), async |app| {
        // The partner is away, so all of it waits.
        let endpoint = app.endpoint_retrying("/in", "t", &[0, 1_000, 1_000, 1_000, 60_000, 60_000]).await;
        app.receiver.always("/in", 503);
        let mut before = Vec::new();
        for n in 0..40 {
            before.push(app.api.emit("t", json!({"n": n})).await);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let load = (0..4).map(|task| {
            let (api, stop) = (app.api.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    api.emit("t", json!({"task": task, "n": sent})).await;
                    sent += 1;
                }
                sent
            })
        });
        let load: Vec<_> = load.collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("engate.backup");
        let path = file.to_str().unwrap();
        let made = app.engine.command(&["backup", path]).await;
        assert!(made.status.success(), "{}", said(&made));
        stop.store(true, Ordering::Relaxed);
        let mut sent = 0;
        for task in load {
            sent += task.await.unwrap();
        }
        assert!(sent > 0, "there was no load");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(
            app.engine.command(&["backup", path]).await.status.code(),
            Some(0),
            "a backup is never written over"
        );

        // Never over a database that is in use, nor over one that nobody gave up.
        let live = app.engine.command(&["restore", path, "--replace"]).await;
        assert!(!live.status.success() && said(&live).contains("stop it first"), "{}", said(&live));
        app.engine.terminate().await;
        let there = app.engine.command(&["restore", path]).await;
        assert!(!there.status.success() && said(&there).contains("--replace"), "{}", said(&there));
        // Nor what is no backup, nor one of another key.
        let other = folder.path().join("other");
        std::fs::write(&other, "no database").unwrap();
        let wrong = app.engine.command(&["restore", other.to_str().unwrap(), "--replace"]).await;
        assert!(!wrong.status.success(), "{}", said(&wrong));
        let key = app.engine.data().join("secret.key");
        let own = std::fs::read(&key).unwrap();
        std::fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let wrong = app.engine.command(&["restore", path, "--replace"]).await;
        assert!(!wrong.status.success() && said(&wrong).contains("another key"), "{}", said(&wrong));
        std::fs::write(&key, own).unwrap();

        let restored = app.engine.command(&["restore", "--json", path, "--replace"]).await;
        assert!(restored.status.success(), "{}", said(&restored));
        let told: Value = serde_json::from_slice(&restored.stdout).unwrap();
        assert!(told["waiting"].as_u64().unwrap() + 16 >= 40, "{told}");
        app.receiver.always("/in", 200);
        app.engine.start_again().await;
        eventually("what waited is delivered", async || {
            let mut left = 0;
            for event in &before {
                let found = app.api.deliveries(&format!("event={event}&endpoint={endpoint}")).await;
                let [delivery] = found.as_slice() else { return Err(format!("{event} has {found:?}")) };
                left += u32::from(delivery["state"] != "succeeded");
            }
            if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
        })
        .await;
        app.api.settled().await;
    });
}

#[test]
fn whatever_is_put_aside_stays() {
    run_with(Setup::new(), async |app| {
        let folder = tempfile::tempdir().unwrap();
        let backup = folder.path().join("engate.backup");
        let made = app.engine.command(&["backup", backup.to_str().unwrap()]).await;
        assert!(made.status.success(), "{}", said(&made));
        // What the backup has not.
        let kept = app.endpoint_at("/in", &["t"]).await;
        app.engine.terminate().await;
        let database = app.engine.data().parent().unwrap().join("engate.db");
        let aside = |number: &str| database.with_file_name(format!("engate.db.before-restore{number}"));
        let restore = async |flags: &[&str]| {
            let mut args = vec!["restore", "--json", backup.to_str().unwrap()];
            args.extend(flags);
            app.engine.command(&args).await
        };
        let put_aside = async || {
            let restored = restore(&["--replace"]).await;
            assert!(restored.status.success(), "{}", said(&restored));
            let told: Value = serde_json::from_slice(&restored.stdout).unwrap();
            std::path::PathBuf::from(told["aside"].as_str().unwrap())
        };
        assert_eq!(put_aside().await, aside(""));
        let first = std::fs::read(aside("")).unwrap();
        assert_eq!(put_aside().await, aside(".2"));
        // A restore that died after it had put it aside.
        std::fs::hard_link(&database, aside(".3")).unwrap();
        assert_eq!(put_aside().await, aside(".3"), "the same file needs no other name");
        assert_eq!(put_aside().await, aside(".4"));
        assert!(std::fs::read(aside("")).unwrap() == first, "the one that nobody has elsewhere");

        // The log of a database that is gone must not be taken for the restored one's.
        std::fs::remove_file(&database).unwrap();
        let log = database.with_file_name("engate.db-wal");
        std::fs::write(&log, "of another").unwrap();
        let refused = restore(&[]).await;
        assert!(!refused.status.success() && said(&refused).contains("engate.db-wal"), "{}", said(&refused));
        assert!(!database.exists() && !database.with_file_name("engate.db.restoring").exists());
        std::fs::remove_file(&log).unwrap();
        std::fs::copy(aside(""), &database).unwrap();
        app.engine.start_again().await;
        app.api.get(&format!("/v1/endpoints/{kept}")).await.expect(200);
    });
}

#[test]
fn killed_at_any_moment_a_restore_leaves_a_database_in_its_place() {
    run_with(Setup::new(), async |app| {
        let endpoint = app.endpoint_at("/in", &["t"]).await;
        let folder = tempfile::tempdir().unwrap();
        let backup = folder.path().join("engate.backup");
        let args = ["restore", backup.to_str().unwrap(), "--replace"];
        let made = app.engine.command(&["backup", backup.to_str().unwrap()]).await;
        assert!(made.status.success(), "{}", said(&made));
        app.engine.terminate().await;
        let database = app.engine.data().parent().unwrap().join("engate.db");
        let (mut killed, mut finished) = (0, 0);
        for round in 0..40 {
            let patience = std::time::Duration::from_millis(10 + round * 12);
            match app.engine.command_killed_after(&args, patience).await {
                Some(_) => finished += 1,
                None => killed += 1,
            }
            assert!(std::fs::metadata(&database).is_ok_and(|told| told.len() > 0), "round {round}");
            if finished == 3 {
                break;
            }
        }
        assert!(killed > 0, "it was interrupted at least once");
        let restored = app.engine.command(&args).await;
        assert!(restored.status.success(), "{}", said(&restored));
        app.engine.start_again().await;
        app.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
        app.doctor().await;
    });
}

#[test]
fn a_postgres_database_is_sent_to_its_own_tools() {
    run_with(Setup::new(), async |app| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_engate"));
        command.args(["backup", "x", "--database", "postgres://nobody@127.0.0.1:1/x"]).current_dir(app.engine.data());
        let output = command.output().unwrap();
        assert!(said(&output).contains("pg_dump"), "{}", said(&output));
    });
}
