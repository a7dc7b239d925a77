//! Compiled code on disk, and plugins in memory.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use engate_host::{Digest, Host, HostConfig, LoadedPlugin};
use engate_model::{
    Timestamp,
    plugin::{Fault, FaultCode},
};
use tempfile::TempDir;

use crate::{
    guests::guest,
    rig::{NOW_MS, config},
};

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// Loads with a new host, and says whether the component had to be fetched.
async fn load(config: HostConfig, component: &[u8]) -> (Result<Arc<LoadedPlugin>, Fault>, bool) {
    let fetched = AtomicU32::new(0);
    let host = Host::start(config).unwrap();
    let loaded = host
        .load(&Digest::of(component), || async {
            fetched.fetch_add(1, Ordering::Relaxed);
            Ok(component.to_vec())
        })
        .await;
    (loaded, fetched.into_inner() == 1)
}

#[tokio::test]
async fn code_is_compiled_once_and_kept_privately() {
    let (dir, component) = (TempDir::new().unwrap(), guest().build());
    assert!(load(config(dir.path()), &component).await.1);
    assert!(!load(config(dir.path()), &component).await.1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("cache")), 0o700);
    assert_eq!(mode(&files(dir.path(), "cwasm")[0]), 0o600);
}

#[tokio::test]
async fn isolation_19_code_that_was_changed_in_any_way_is_compiled_again_and_never_run() {
    let (dir, component) = (TempDir::new().unwrap(), guest().build());
    load(config(dir.path()), &component).await.0.unwrap();
    let (code, seal) = (files(dir.path(), "cwasm")[0].clone(), files(dir.path(), "seal")[0].clone());
    let sound = fs::read(&code).unwrap();
    let mut flipped = sound.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for tampered in [flipped, sound[..sound.len() - 1].to_vec(), vec![], b"\x7fELF".to_vec(), component.clone()] {
        fs::write(&code, &tampered).unwrap();
        let (loaded, fetched) = load(config(dir.path()), &component).await;
        assert!(loaded.is_ok() && fetched, "{} bytes", tampered.len());
        assert!(!load(config(dir.path()), &component).await.1, "and it is sound again");
    }
    for lost in [&code, &seal] {
        fs::remove_file(lost).unwrap();
        assert!(load(config(dir.path()), &component).await.1);
    }
    fs::write(&seal, [0; 32]).unwrap();
    assert!(load(config(dir.path()), &component).await.1);
}

#[tokio::test]
async fn isolation_19_code_swapped_with_anothers_or_sealed_by_someone_else_is_not_run() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (guest().build(), guest().swap("\"POST\"", "\"PUTT\"").build());
    for component in [&one, &two] {
        load(config(dir.path()), component).await.0.unwrap();
    }
    for extension in ["cwasm", "seal"] {
        let files = files(dir.path(), extension);
        let swapped = dir.path().join("swapped");
        fs::rename(&files[0], &swapped).unwrap();
        fs::rename(&files[1], &files[0]).unwrap();
        fs::rename(&swapped, &files[1]).unwrap();
    }
    assert!(load(config(dir.path()), &one).await.1);
    assert!(load(config(dir.path()), &two).await.1);
    let keyed = || HostConfig { cache_key: Some([7; 32]), ..config(dir.path()) };
    assert!(load(keyed(), &one).await.1, "a checksum is not a seal of this key");
    assert!(!load(keyed(), &one).await.1);
}

#[tokio::test]
async fn isolation_19_code_of_another_build_is_cleared_away() {
    let (dir, component) = (TempDir::new().unwrap(), guest().build());
    load(config(dir.path()), &component).await.0.unwrap();
    let stale = dir.path().join(format!("cache/{}-{}.cwasm", "a".repeat(64), "b".repeat(32)));
    fs::write(&stale, "old").unwrap();
    assert!(!load(config(dir.path()), &component).await.1);
    assert!(!stale.exists());
}

#[tokio::test]
async fn what_is_stored_under_another_digest_is_not_loaded() {
    let dir = TempDir::new().unwrap();
    let host = Host::start(config(dir.path())).unwrap();
    let fault = host.load(&Digest::of(b"x"), || async { Ok(b"y".to_vec()) }).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::LoadFailed);
    let fault = host.load(&Digest::of(b"x"), || async { Err("the store is away".to_owned()) }).await.unwrap_err();
    assert!(fault.message.contains("the store is away"));
}

#[tokio::test]
async fn a_plugin_is_loaded_once_and_let_go_when_idle() {
    let (dir, component) = (TempDir::new().unwrap(), guest().build());
    let host = Host::start(config(dir.path())).unwrap();
    let digest = Digest::of(&component);
    let fetched = AtomicU32::new(0);
    let fetch = || async {
        fetched.fetch_add(1, Ordering::Relaxed);
        Ok(component.clone())
    };
    let (one, two) = tokio::join!(host.load(&digest, fetch), host.load(&digest, fetch));
    assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
    assert_eq!(fetched.load(Ordering::Relaxed), 1, "who came second waited");
    let now = Timestamp::from_millis(NOW_MS);
    assert_eq!(host.unload_idle(now), 0);
    assert_eq!(host.stats().loaded, 1);
    assert_eq!(host.unload_idle(now.after(std::time::Duration::from_secs(601))), 1);
    assert_eq!(host.stats().loaded, 0);
    host.load(&digest, fetch).await.unwrap();
    assert_eq!(fetched.load(Ordering::Relaxed), 1, "its code was on disk");
    host.forget(&digest);
    assert!(files(dir.path(), "cwasm").is_empty());
}
