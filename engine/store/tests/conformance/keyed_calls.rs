use engate_store::{CALL_KEPT_FOR, CallBegun, CallKey};

use crate::harness::{Subject, at, sqlite_path};

fn key(t: &Subject, client: &str, key: &str) -> CallKey {
    CallKey { tenant: t.tenant, client: client.into(), key: key.into() }
}

pub(crate) async fn a_key_means_one_call_of_one_client_for_a_day(t: &Subject) {
    let (mine, theirs) = (key(t, "erp", "k-1"), key(t, "crm", "k-1"));
    let begin = async |key: &CallKey, request: u8, now| t.store.call_begin(key, [request; 32], now).await.unwrap();
    assert_eq!(begin(&mine, 1, at(0)).await, CallBegun::New);
    assert_eq!(begin(&theirs, 2, at(0)).await, CallBegun::New, "another client's key is another key");
    assert_eq!(begin(&mine, 1, at(5)).await, CallBegun::UnderWay(at(0)));
    assert_eq!(begin(&mine, 2, at(5)).await, CallBegun::Another);
    t.store.call_end(&mine, [1; 32], at(0), b"answer".to_vec()).await.unwrap();
    assert_eq!(begin(&mine, 1, at(9)).await, CallBegun::Ended(b"answer".to_vec()));
    assert_eq!(begin(&mine, 2, at(9)).await, CallBegun::Another);
    // One that did nothing gives its key back; one that comes too late changes nothing.
    t.store.call_forget(&theirs, at(0)).await.unwrap();
    assert_eq!(begin(&theirs, 3, at(1)).await, CallBegun::New);
    t.store.call_forget(&theirs, at(0)).await.unwrap();
    t.store.call_end(&theirs, [2; 32], at(0), b"late".to_vec()).await.unwrap();
    assert_eq!(begin(&theirs, 3, at(2)).await, CallBegun::UnderWay(at(1)));

    let day = at(0).after(CALL_KEPT_FOR);
    assert_eq!(begin(&mine, 2, day).await, CallBegun::Another, "kept for a day, the last instant included");
    let later = day.after(std::time::Duration::from_micros(1));
    assert_eq!(begin(&mine, 2, later).await, CallBegun::New);
    assert_eq!(t.store.call_purge(day, 10).await.unwrap(), 0);
    assert_eq!(t.store.call_purge(at(2).after(CALL_KEPT_FOR), 10).await.unwrap(), 1);
    assert_eq!(t.store.call_purge(at(1).after(3 * CALL_KEPT_FOR), 10).await.unwrap(), 1);
}

pub(crate) async fn of_many_under_one_key_one_makes_the_call(t: &Subject) {
    // Two stores on one database are two nodes.
    let nodes = [t.store.clone(), t.reopen().await];
    let calls = (0..20).map(|n| {
        let (store, key) = (nodes[n % 2].clone(), key(t, "erp", "same"));
        tokio::spawn(async move { store.call_begin(&key, [1; 32], at(1)).await.unwrap() })
    });
    let mut new = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            CallBegun::New => new += 1,
            other => assert_eq!(other, CallBegun::UnderWay(at(1))),
        }
    }
    assert_eq!(new, 1);
    nodes[1].close().await;
}

pub(crate) async fn what_is_kept_of_a_call_is_sealed(t: &Subject) {
    let key = key(t, "erp", "sealed-call");
    t.store.call_begin(&key, [b'Q'; 32], at(1)).await.unwrap();
    t.store.call_end(&key, [b'Q'; 32], at(1), b"whsec_told-this-once".to_vec()).await.unwrap();
    if t.is_sqlite() {
        let path = sqlite_path(&t.database);
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let bytes: Vec<u8> = files.flat_map(|file| std::fs::read(file).unwrap()).collect();
        let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(holds(b"sealed-call"), "the files are searched where they are");
        assert!(!holds(b"told-this-once") && !holds(&[b'Q'; 32]));
    }
}
