use engate_model::{
    EndpointId, JobId, QuarantineId, TypedId as _,
    sink::Operation,
    sync::{Checkpoint, PassKind, Phase, Piece, Position, Read, RowHash, Rules, checkpoint::Clocks, page::track_id},
};
use engate_store::{PageChange, QuarantineState, Refused, Sent, SentState, StoreError, SyncCommit, Track, TrackState};

use crate::harness::{Subject, actor, at, unique};

fn track(t: &Subject, stream: &str) -> Track {
    let job = JobId::new(at(0), unique());
    let partition = [("branch".to_owned(), "01".to_owned())].into();
    let id = track_id(job, stream, &partition);
    Track { id, tenant: t.tenant, job, stream: stream.into(), partition }
}

fn sent(key: &str, hash: u8, millis: i64) -> Sent {
    Sent { key: key.into(), hash: RowHash([hash; 16]), stamp: Some(at(millis)), state: SentState::There }
}

fn refused(key: &str, millis: i64) -> Refused {
    Refused {
        id: QuarantineId::new(at(millis), unique()),
        key: key.into(),
        hash: RowHash([9; 16]),
        stamp: Some(at(millis)),
        operation: Operation::Upsert,
        data: format!("{{\"k\":\"{key}\"}}"),
        code: "bad_value".into(),
        message: "não serve".into(),
        pass: "p".into(),
    }
}

fn step<'a>(from: &'a TrackState, checkpoint: &'a Checkpoint) -> SyncCommit<'a> {
    SyncCommit {
        from,
        checkpoint,
        page: PageChange::Keep,
        sent: Vec::new(),
        gone: Vec::new(),
        refused: Vec::new(),
        forget_before: None,
        plugins: Vec::new(),
        remember: false,
        now: at(50),
    }
}

fn begun(from: &TrackState) -> Checkpoint {
    let mut checkpoint = from.checkpoint.clone();
    checkpoint.begin(PassKind::Initial, "t", Clocks { source: at(10), engine: at(11) }, &Rules::default());
    checkpoint
}

pub(crate) async fn a_step_of_a_track_is_written_whole_or_not_at_all(t: &Subject) {
    let track = track(t, "orders");
    let first = t.store.track_claim(&track, 1, at(1)).await.unwrap();
    assert_eq!((first.version, &first.checkpoint, &first.page), (0, &Checkpoint::default(), &None));
    let checkpoint = begun(&first);
    let kept = |plugin: &str, value: &[u8]| (plugin.to_owned(), vec![("k".to_owned(), Some(value.to_vec()))]);
    let many: Vec<_> = (0..700).map(|n| sent(&format!("k{n:04}"), 1, n)).collect();
    let commit = SyncCommit {
        page: PageChange::Put(vec![1, 2, 3]),
        sent: many,
        refused: vec![refused("bad", 5)],
        plugins: vec![kept("feed", b"f"), kept("carol", b"v")],
        remember: true,
        ..step(&first, &checkpoint)
    };
    assert_eq!(t.store.sync_commit(commit.clone()).await.unwrap(), 1);
    let again = t.store.track_claim(&track, 2, at(2)).await.unwrap();
    assert_eq!((again.version, &again.checkpoint, again.page.as_deref()), (1, &checkpoint, Some([1, 2, 3].as_slice())));
    assert_eq!(t.store.sent_page(track.id, "k0697").await.unwrap().len(), 2);
    let kept = t.store.plugin_state_get(t.tenant, "carol", EndpointId::from_uuid(track.job.uuid())).await.unwrap();
    assert_eq!(kept, [("k".to_owned(), b"v".to_vec())]);
    let kept = t.store.plugin_state_get(t.tenant, "feed", EndpointId::from_uuid(track.job.uuid())).await.unwrap();
    assert_eq!(kept, [("k".to_owned(), b"f".to_vec())], "of both sides of a job");
    assert_eq!(t.store.quarantine_count(track.id).await.unwrap(), 1);
    assert_eq!(t.store.track_history(t.tenant, track.id, 10).await.unwrap().len(), 1);
    // The same step once more: nothing of it is written.
    let late = SyncCommit { sent: vec![sent("late", 1, 1)], refused: vec![refused("late", 6)], ..commit };
    assert_eq!(t.store.sync_commit(late).await.unwrap_err().code(), "stale");
    assert_eq!(t.store.sent_find(track.id, 0, &["late"]).await.unwrap().len(), 0);
    assert_eq!(t.store.quarantine_count(track.id).await.unwrap(), 1);
    assert_eq!(t.store.track_list(t.tenant, track.job).await.unwrap(), [again]);
    while t.store.tracks_forget(t.tenant, track.job, 300).await.unwrap() > 0 {}
    assert!(t.store.track_list(t.tenant, track.job).await.unwrap().is_empty());
    assert!(t.store.sent_page(track.id, "").await.unwrap().is_empty());
}

pub(crate) async fn a_run_that_was_overtaken_writes_nothing(t: &Subject) {
    let track = track(t, "orders");
    let old = t.store.track_claim(&track, 7, at(1)).await.unwrap();
    let nodes = [t.store.clone(), t.reopen().await];
    let new = nodes[1].track_claim(&track, 8, at(2)).await.unwrap();
    let checkpoint = begun(&old);
    assert_eq!(nodes[0].sync_commit(step(&old, &checkpoint)).await.unwrap_err(), StoreError::Stale { what: "track" });
    assert_eq!(nodes[1].sync_commit(step(&new, &checkpoint)).await.unwrap(), 1);
    assert_eq!(nodes[0].track_claim(&track, 7, at(3)).await.unwrap_err(), StoreError::Stale { what: "track" });
    // Of many that write the same step at once, one does.
    let base = nodes[1].track_claim(&track, 9, at(4)).await.unwrap();
    let writers = (0..10).map(|n| {
        let (store, base) = (nodes[n % 2].clone(), base.clone());
        tokio::spawn(async move {
            let checkpoint = base.checkpoint.clone();
            store.sync_commit(step(&base, &checkpoint)).await.is_ok()
        })
    });
    let mut written = 0;
    for writer in writers.collect::<Vec<_>>() {
        written += u32::from(writer.await.unwrap());
    }
    assert_eq!(written, 1);
    nodes[1].close().await;
}

pub(crate) async fn what_was_sent_is_found_in_its_epoch_and_forgotten_by_its_stamp(t: &Subject) {
    let track = track(t, "orders");
    let mut state = t.store.track_claim(&track, 1, at(1)).await.unwrap();
    let checkpoint = state.checkpoint.clone();
    let deleted = Sent { state: SentState::Deleted, ..sent("d", 3, 30) };
    let commit = SyncCommit {
        sent: vec![sent("a", 1, 10), sent("b", 2, 20), deleted.clone(), sent("a", 4, 40)],
        ..step(&state, &checkpoint)
    };
    state.version = t.store.sync_commit(commit).await.unwrap();
    let found = t.store.sent_find(track.id, 0, &["a", "d", "x"]).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!((&found["a"], &found["d"]), (&sent("a", 4, 40), &deleted), "the last version of a record counts");
    assert!(t.store.sent_find(track.id, 1, &["a"]).await.unwrap().is_empty());
    let commit = SyncCommit { gone: vec!["d".into()], forget_before: Some(at(21)), ..step(&state, &checkpoint) };
    t.store.sync_commit(commit).await.unwrap();
    let left = t.store.sent_page(track.id, "").await.unwrap();
    assert_eq!(left, [sent("a", 4, 40)]);
}

pub(crate) async fn records_are_found_and_forgotten_close_together_or_far_apart(t: &Subject) {
    let track = track(t, "orders");
    let mut state = t.store.track_claim(&track, 1, at(1)).await.unwrap();
    let checkpoint = state.checkpoint.clone();
    let key = |n: i64| format!("k{n:04}");
    let all = (0..1_000).map(|n| sent(&key(n), u8::try_from(n % 250).unwrap(), n)).collect();
    state.version = t.store.sync_commit(SyncCommit { sent: all, ..step(&state, &checkpoint) }).await.unwrap();
    // A range that holds little else, and one that holds much else.
    for keys in [(100..400).collect::<Vec<_>>(), (0..1_000).step_by(7).collect(), vec![5], vec![3, 2_000], vec![2_000]]
    {
        let names: Vec<_> = keys.iter().map(|n| key(*n)).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let found = t.store.sent_find(track.id, 0, &names).await.unwrap();
        let mut there: Vec<_> = found.keys().map(String::as_str).collect();
        there.sort_unstable();
        let known: Vec<_> = names.iter().copied().filter(|name| *name < "k1000").collect();
        assert_eq!(there, known);
        assert!(found.values().all(|sent| names.iter().any(|name| *name == sent.key) && sent.stamp.is_some()));
        assert!(t.store.sent_find(track.id, 1, &names).await.unwrap().is_empty(), "of another epoch");
    }
    let mut left: Vec<_> = (0..1_000).collect();
    for gone in
        [(100..400).collect::<Vec<i64>>(), (0..1_000).step_by(7).collect(), vec![999, 2_000], (150..160).collect()]
    {
        left.retain(|n| !gone.contains(n));
        let gone = gone.iter().map(|n| key(*n)).collect();
        state.version = t.store.sync_commit(SyncCommit { gone, ..step(&state, &checkpoint) }).await.unwrap();
        let there = t.store.sent_page(track.id, "").await.unwrap();
        assert_eq!(
            there.into_iter().map(|sent| sent.key).collect::<Vec<_>>(),
            left.iter().map(|n| key(*n)).collect::<Vec<_>>()
        );
    }
}

pub(crate) async fn what_is_refused_waits_until_it_is_taken_or_given_up(t: &Subject) {
    let track = track(t, "orders");
    let mut state = t.store.track_claim(&track, 1, at(1)).await.unwrap();
    let checkpoint = state.checkpoint.clone();
    let commit = SyncCommit {
        refused: vec![refused("a", 1), refused("b", 2), refused("c", 3), refused("a", 4)],
        ..step(&state, &checkpoint)
    };
    state.version = t.store.sync_commit(commit).await.unwrap();
    let page = t.store.quarantine_list(t.tenant, track.job, None, 2).await.unwrap();
    assert_eq!((page.items.len(), page.total, page.more), (2, 3, true));
    let first = &page.items[0];
    assert_eq!((first.key.as_str(), first.state, first.message.as_str()), ("a", QuarantineState::Held, "não serve"));
    let rest = t.store.quarantine_list(t.tenant, track.job, Some(page.items[1].id), 2).await.unwrap();
    assert_eq!((rest.items[0].key.as_str(), rest.more), ("c", false));
    t.store.quarantine_replay(&actor(), t.tenant, track.job, first.id).await.unwrap();
    t.store.quarantine_discard(&actor(), t.tenant, track.job, rest.items[0].id).await.unwrap();
    let gone = t.store.quarantine_discard(&actor(), t.tenant, track.job, rest.items[0].id).await.unwrap_err();
    assert_eq!(gone.code(), "not_found");
    let replays = t.store.quarantine_to_replay(track.id, 10).await.unwrap();
    assert_eq!(
        replays.iter().map(|one| (one.key.as_str(), one.data.as_str())).collect::<Vec<_>>(),
        [("a", first.data.as_str())]
    );
    let found = t.store.sent_find(track.id, 0, &["c"]).await.unwrap();
    assert_eq!(found["c"].state, SentState::Refused, "what was given up is not sent again as it is");
    let commit = SyncCommit { sent: vec![sent("a", 1, 9)], gone: vec!["b".into()], ..step(&state, &checkpoint) };
    t.store.sync_commit(commit).await.unwrap();
    assert_eq!(t.store.quarantine_count(track.id).await.unwrap(), 0);
}

pub(crate) async fn a_track_is_set_back_approved_and_begun_anew(t: &Subject) {
    let track = track(t, "orders");
    let state = t.store.track_claim(&track, 1, at(1)).await.unwrap();
    let mut checkpoint = begun(&state);
    checkpoint.stage([Piece::all(2)], Read { rows: 2, ..Read::from(Position::Start) });
    let commit = SyncCommit {
        page: PageChange::Put(vec![7]),
        sent: vec![sent("old", 1, 100), sent("new", 2, 300)],
        ..step(&state, &checkpoint)
    };
    t.store.sync_commit(commit).await.unwrap();
    let back = t.store.track_rewind(&actor(), t.tenant, track.id, at(200)).await.unwrap();
    assert_eq!((back.version, back.checkpoint.committed_upper, &back.page), (2, Some(at(200)), &None));
    assert_eq!((back.checkpoint.phase, &back.checkpoint.pass), (Phase::Delta, &None));
    let found = t.store.sent_find(track.id, 0, &["old", "new"]).await.unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["old"], "what is read again is sent again");
    assert_eq!(t.store.sent_page(track.id, "").await.unwrap().len(), 2, "and stays known, to be missed");
    // The run that was under way has lost it.
    assert_eq!(t.store.sync_commit(step(&state, &checkpoint)).await.unwrap_err().code(), "stale");
    t.store.track_approve(&actor(), t.tenant, track.id).await.unwrap();
    let anew = t.store.track_begin_epoch(&actor(), t.tenant, track.id).await.unwrap();
    assert_eq!((anew.checkpoint.epoch, anew.checkpoint.phase, anew.checkpoint.passes), (1, Phase::Initial, 1));
    let history = t.store.track_history(t.tenant, track.id, 10).await.unwrap();
    let reasons: Vec<_> = history.iter().map(|entry| entry.reason.as_str()).collect();
    assert_eq!(reasons, ["epoch", "approve", "rewind"]);
    assert_eq!(history[2].checkpoint, checkpoint);
    let other = engate_model::TenantId::new(at(0), unique());
    assert_eq!(t.store.track_approve(&actor(), other, track.id).await.unwrap_err().code(), "not_found");
}
