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

use engate_host::{Digest, Effort, Host, HostConfig, LoadedPlugin};
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
        .load(&Digest::of(component), Effort::Full, || async {
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
    let under_way = |process: u32| dir.path().join("cache").join("work").join(format!("{process}-7.cwasm"));
    let (left, others) = (under_way(u32::MAX), under_way(std::process::id()));
    for path in [&left, &others] {
        fs::write(path, "under way").unwrap();
    }
    assert!(!load(config(dir.path()), &component).await.1);
    assert!(!stale.exists());
    assert!(!left.exists() && others.exists(), "only what a process that is no more had under way");
}

#[tokio::test]
async fn what_is_stored_under_another_digest_is_not_loaded() {
    let dir = TempDir::new().unwrap();
    let host = Host::start(config(dir.path())).unwrap();
    let fault = host.load(&Digest::of(b"x"), Effort::Full, || async { Ok(b"y".to_vec()) }).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::LoadFailed);
    let fault =
        host.load(&Digest::of(b"x"), Effort::Full, || async { Err("the store is away".to_owned()) }).await.unwrap_err();
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
    let (one, two) = tokio::join!(host.load(&digest, Effort::Full, fetch), host.load(&digest, Effort::Full, fetch));
    assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
    assert_eq!(fetched.load(Ordering::Relaxed), 1, "who came second waited");
    let now = Timestamp::from_millis(NOW_MS);
    assert_eq!(host.unload_idle(now), 0);
    assert_eq!(host.stats().loaded, 1);
    assert_eq!(host.unload_idle(now.after(std::time::Duration::from_secs(601))), 1);
    assert_eq!(host.stats().loaded, 0);
    host.load(&digest, Effort::Full, fetch).await.unwrap();
    assert_eq!(fetched.load(Ordering::Relaxed), 1, "its code was on disk");
    host.forget(&digest);
    assert!(files(dir.path(), "cwasm").is_empty());
}

#[tokio::test]
async fn quick_code_never_serves_where_all_effort_is_asked_for() {
    let (dir, component) = (TempDir::new().unwrap(), guest().build());
    let host = Host::start(config(dir.path())).unwrap();
    let digest = Digest::of(&component);
    let fetched = AtomicU32::new(0);
    let fetch = || async {
        fetched.fetch_add(1, Ordering::Relaxed);
        Ok(component.clone())
    };
    let names =
        || files(dir.path(), "cwasm").iter().map(|path| path.to_str().unwrap().contains("-quick-")).collect::<Vec<_>>();
    host.install(&component, Effort::Quick).await.unwrap();
    assert_eq!((names(), host.is_compiled(&digest)), (vec![true], false));
    let quick = host.load(&digest, Effort::Quick, fetch).await.unwrap();
    assert_eq!(fetched.load(Ordering::Relaxed), 0, "quick code serves where that is enough");

    let full = host.load(&digest, Effort::Full, fetch).await.unwrap();
    assert!(!Arc::ptr_eq(&quick, &full));
    assert_eq!(fetched.load(Ordering::Relaxed), 1, "it is compiled again");
    assert_eq!((names(), host.is_compiled(&digest)), (vec![false], true), "and takes the place of the quick one");
    assert!(Arc::ptr_eq(&full, &host.load(&digest, Effort::Quick, fetch).await.unwrap()), "the better one serves all");
    assert_eq!(host.install(&component, Effort::Quick).await.unwrap().compile_time, std::time::Duration::ZERO);
    assert_eq!(names(), [false]);
    host.forget(&digest);

    // Code under the other's name, seal and all, is not that code.
    host.install(&component, Effort::Quick).await.unwrap();
    for extension in ["cwasm", "seal"] {
        let path = files(dir.path(), extension)[0].clone();
        fs::rename(&path, path.to_str().unwrap().replace("-quick-", "-")).unwrap();
    }
    assert!(load(config(dir.path()), &component).await.1, "it is compiled again");
}

/// The plain guest with so many functions that its parts are kept.
fn large(word: &str) -> Vec<u8> {
    let more: String = (0..12_000)
        .map(|n| {
            format!(
                "(func (param i32) (result i32) (i32.add (i32.mul (local.get 0) (i32.const {n})) (i32.xor (local.get 0) \
                 (i32.const {})))) (data (i32.const 30000) \"{}\")",
                n * 7,
                "some text to fill it with".repeat(4)
            )
        })
        .collect();
    guest().swap("\"POST\"", word).at("more", &more).build()
}

#[tokio::test]
async fn quick_code_is_made_of_parts_that_were_compiled_before_and_parts_are_sealed_too() {
    let dir = TempDir::new().unwrap();
    let host = Host::start(config(dir.path())).unwrap();
    // They are put away behind the installation's back, and the seal comes last.
    let parts = async || {
        for _ in 0..2_000 {
            if files(dir.path(), "seal").iter().any(|path| path.to_str().unwrap().contains("parts-")) {
                return fs::metadata(&files(dir.path(), "parts")[0]).unwrap().len();
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("no parts are kept");
    };
    // Components that differ in data alone. Cranelift gives the same function another hash now and then, so that a few
    // rounds pass until hardly anything is new.
    let (mut grown, mut kept, mut last) = (Vec::new(), 0, Vec::new());
    for word in ["POST", "PUT1", "PUT2", "PUT3", "PUT4"] {
        last = large(&format!("\"{word}\""));
        assert!(last.len() > 1 << 20, "{} bytes", last.len());
        let took = host.install(&last, Effort::Quick).await.unwrap().compile_time;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let now = parts().await;
        eprintln!("compiled in {took:?}, {} bytes of parts more", now - kept);
        grown.push(now - kept);
        kept = now;
    }
    assert!(grown[0] > 0 && grown[4] < grown[0] / 2, "most functions were there already: {grown:?}");
    let digest = Digest::of(&last);
    let plugin = host.load(&digest, Effort::Quick, || async { Err("it is there".to_owned()) }).await.unwrap();
    let rig = crate::rig::Rig::of(host.clone(), TempDir::new().unwrap());
    rig.transform(&plugin, &crate::rig::Setup::default()).await.unwrap();

    let path = files(dir.path(), "parts")[0].clone();
    let mut tampered = fs::read(&path).unwrap();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    fs::write(&path, &tampered).unwrap();
    host.forget(&digest);
    host.install(&last, Effort::Quick).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let anew = parts().await;
    assert!(anew < kept && fs::read(&path).unwrap() != tampered, "they were thrown away and compiled again");
    host.install(&last, Effort::Full).await.unwrap();
    assert_eq!(parts().await, anew, "what production runs is not made of parts");
}
