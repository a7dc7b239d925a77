use std::{collections::BTreeSet, time::Duration};

use engate_model::{
    JobId, RunId, TenantId, Timestamp,
    job::{EmitEvent, Job, JobSettings, Pause, RunState, RunTrigger, Work},
    run::RunCounts,
    schedule::{
        Schedule, Timetable,
        due::{Catchup, CatchupMode, LeftOut, Overlap, due},
    },
};
use engate_store::{
    Actor, ClaimedRun, Firing, NewRun, Order, PAUSED_BY, RunEnded, RunFilter, RunFinish, RunProgress, SILENCES_MAX,
    Store, StoreError, Ticked,
};

use crate::harness::{Subject, at, unique};

fn actor(now: Timestamp) -> Actor {
    Actor::system(now, unique())
}

fn job(t: &Subject, name: &str, overlap: Overlap) -> Job {
    let event = EmitEvent {
        r#type: "day.closed".into(),
        subject: None,
        payload: serde_json::json!({}),
        labels: Default::default(),
        correlation_id: None,
    };
    let schedule = Schedule::Every { interval_ms: 1_000, phase_ms: 0 };
    let mut settings = JobSettings::new(name, schedule, Work::Emit { event });
    settings.overlap = overlap;
    Job {
        id: JobId::new(at(0), unique()),
        tenant: t.tenant,
        settings,
        needs_configuration: false,
        pause: None,
        next_at: Some(at(0)),
        failures: 0,
        missed: 0,
        revision: 1,
        debug: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

async fn entered(t: &Subject, name: &str, overlap: Overlap) -> Job {
    let job = job(t, name, overlap);
    t.store.job_create(&actor(at(0)), &job).await.unwrap();
    job
}

fn new_run(millis: i64) -> NewRun {
    NewRun {
        id: RunId::new(at(millis), unique()),
        scheduled_at: at(millis),
        trigger: RunTrigger::Schedule,
        backfill: None,
        start_at: at(millis),
    }
}

/// One tick as a node makes it; gives the runs made.
async fn tick(store: &Store, job: &Job, millis: i64) -> Option<Vec<(RunId, RunState)>> {
    let firing =
        Firing { runs: vec![new_run(millis)], next_at: Some(at(millis + 1_000)), missed: 0, missed_more: false };
    match store.job_tick(&actor(at(millis)), job, &firing).await.unwrap() {
        Ticked::Made(runs) => Some(runs),
        Ticked::Raced => None,
    }
}

async fn now_of(t: &Subject, job: &Job) -> Job {
    t.store.job_get(t.tenant, job.id).await.unwrap().unwrap()
}

async fn states(t: &Subject, job: &Job) -> Vec<RunState> {
    let filter = RunFilter { job: Some(job.id), ..Default::default() };
    let page = t.store.run_list(t.tenant, &filter, None, Order::Ascending, 500).await.unwrap();
    assert_eq!(page.total.count, page.items.len() as u64);
    page.items.into_iter().map(|run| run.state).collect()
}

async fn claim(t: &Subject, millis: i64) -> Vec<ClaimedRun> {
    let serial = t.store.node_register("runner", Duration::from_secs(3_600), at(millis)).await.unwrap();
    t.store.run_claim(serial, at(millis), at(millis + 30_000), 10).await.unwrap().0
}

fn finish(claimed: &ClaimedRun, state: RunState) -> RunFinish {
    RunFinish {
        run: claimed.run.id,
        fence: claimed.fence,
        state,
        reason: None,
        error: (state == RunState::Failed).then(|| ("broken".into(), "it broke".into())),
        progress: RunProgress { attempts: 2, counts: RunCounts { rows: 3, ..Default::default() }, log: "{}\n".into() },
        again_at: None,
        facts: Vec::new(),
        facts_of_pause: Vec::new(),
    }
}

pub(crate) async fn a_tick_makes_its_runs_and_moves_the_job_on_once(t: &Subject) {
    let job = entered(t, "once", Overlap::Allow { max: 8 }).await;
    let (other, mut made) = (t.reopen().await, 0);
    for second in 0..20 {
        let seen = now_of(t, &job).await;
        let (one, two) = tokio::join!(tick(&t.store, &seen, second * 1_000), tick(&other, &seen, second * 1_000));
        made += [one, two].into_iter().flatten().flatten().count();
        assert!(tick(&t.store, &seen, second * 1_000).await.is_none(), "a node that comes late makes nothing");
    }
    other.close().await;
    assert_eq!((made, states(t, &job).await.len()), (20, 20));
    assert_eq!(now_of(t, &job).await.next_at, Some(at(20_000)));
    assert_eq!(t.store.job_due(at(19_999), 10).await.unwrap(), (vec![], Some(at(20_000))));
    assert_eq!(t.store.job_due(at(20_000), 10).await.unwrap().0.len(), 1);
}

pub(crate) async fn two_schedulers_and_ten_thousand_fires_make_no_duplicate(t: &Subject) {
    const JOBS: usize = 10;
    let seconds: i64 = if std::env::var_os("ENGATE_TEST_LONG").is_some() { 1_000 } else { 50 };
    let mut jobs = Vec::new();
    for n in 0..JOBS {
        jobs.push(entered(t, &format!("job {n}"), Overlap::Allow { max: 8 }).await);
    }
    let other = t.reopen().await;
    let catchup = Catchup { mode: CatchupMode::All, ..Catchup::default() };
    let node = async |store: &Store, step: i64| {
        let mut now = 0;
        while now < seconds * 1_000 {
            for job in store.job_due(at(now), 100).await.unwrap().0 {
                let timetable = Timetable::new(&job.settings.schedule).unwrap();
                let due = due(&timetable, catchup, job.next_at.unwrap(), at(now));
                let runs = due.fires.iter().map(|fire| NewRun { scheduled_at: *fire, ..new_run(now) }).collect();
                let firing = Firing { runs, next_at: due.next_at, missed: due.missed, missed_more: false };
                store.job_tick(&actor(at(now)), &job, &firing).await.unwrap();
            }
            now += step;
        }
    };
    tokio::join!(node(&t.store, 1_700), node(&other, 900));
    node(&t.store, 1_000).await;
    other.close().await;
    for job in &jobs {
        let (mut seen, mut after) = (BTreeSet::new(), None);
        loop {
            let filter = RunFilter { job: Some(job.id), ..Default::default() };
            let page = t.store.run_list(t.tenant, &filter, after, Order::Ascending, 500).await.unwrap();
            for run in page.items {
                assert!(seen.insert(run.scheduled_at), "{} twice", run.scheduled_at);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected: BTreeSet<_> = (0..seconds).map(|second| at(second * 1_000)).collect();
        assert!(seen.is_superset(&expected), "every instant has its run");
    }
}

pub(crate) async fn overlapping_runs_are_left_out_kept_waiting_or_take_the_others_place(t: &Subject) {
    let skip = entered(t, "skip", Overlap::Skip).await;
    let buffer = entered(t, "buffer", Overlap::BufferOne).await;
    let cancel = entered(t, "cancel", Overlap::CancelOther { grace_ms: 0 }).await;
    for job in [&skip, &buffer, &cancel] {
        assert_eq!(tick(&t.store, job, 0).await.unwrap()[0].1, RunState::Queued);
    }
    assert_eq!(claim(t, 0).await.len(), 3);
    for second in 1..=3 {
        for job in [&skip, &buffer, &cancel] {
            tick(&t.store, &now_of(t, job).await, second * 1_000).await.unwrap();
        }
    }
    use RunState::{Queued, Running, Skipped};
    assert_eq!(states(t, &skip).await, [Running, Skipped, Skipped, Skipped]);
    assert_eq!(states(t, &buffer).await, [Running, Queued, Skipped, Skipped]);
    assert_eq!(states(t, &cancel).await, [Running, Skipped, Skipped, Queued]);
    let ordered = t.store.run_order(&actor(at(4_000)), &skip, &new_run(4_000)).await.unwrap();
    assert_eq!(ordered, Err(LeftOut::Overlap));
}

pub(crate) async fn a_run_is_held_under_a_lease_and_a_late_holder_is_refused(t: &Subject) {
    let job = entered(t, "held", Overlap::Skip).await;
    tick(&t.store, &job, 0).await.unwrap();
    let first = claim(t, 0).await.remove(0);
    assert!(claim(t, 10).await.is_empty(), "it is in hand, or free by the restart");
    let held = t.store.run_renew(first.run.id, first.fence, at(60_000), &RunProgress::default()).await.unwrap();
    assert_eq!(held.map(|held| (held.revision, held.cancel_at)), Some((1, None)), "nobody has it yet");
    t.store.run_reclaim(at(20)).await.unwrap();
    let second = claim(t, 30).await.remove(0);
    assert_eq!((second.run.id, second.run.abandoned), (first.run.id, 1));
    assert!(second.fence > first.fence);
    let late = t.store.run_finish(&actor(at(40)), &job, &finish(&first, RunState::Succeeded)).await.unwrap();
    assert_eq!(late, RunEnded::Lost);
    let ended = t.store.run_finish(&actor(at(50)), &job, &finish(&second, RunState::Succeeded)).await.unwrap();
    assert_eq!(ended, RunEnded::Ended { paused: false });
    let (run, log) = t.store.run_get(t.tenant, second.run.id).await.unwrap().unwrap();
    assert_eq!(
        (run.state, run.counts.rows, run.finished_at, log.as_str()),
        (RunState::Succeeded, 3, Some(at(50)), "{}\n")
    );
}

pub(crate) async fn a_run_whose_nodes_keep_falling_silent_is_given_up(t: &Subject) {
    let job = entered(t, "silent", Overlap::Skip).await;
    tick(&t.store, &job, 0).await.unwrap();
    for n in 0..SILENCES_MAX {
        let millis = i64::from(n) * 100_000;
        assert_eq!(claim(t, millis).await.len(), 1, "{n}");
        assert_eq!(t.store.run_reclaim(at(millis + 29_999)).await.unwrap(), 0);
        assert_eq!(t.store.run_reclaim(at(millis + 30_000)).await.unwrap(), 1);
    }
    assert_eq!(states(t, &job).await, [RunState::Abandoned]);
}

pub(crate) async fn failures_in_a_row_pause_a_job_and_a_success_counts_them_anew(t: &Subject) {
    let mut job = job(t, "failing", Overlap::Skip);
    job.settings.pause_after_failures = 3;
    t.store.job_create(&actor(at(0)), &job).await.unwrap();
    let mut outcome = Vec::new();
    for (n, state) in
        [RunState::Failed, RunState::Failed, RunState::Succeeded].into_iter().chain([RunState::Failed; 3]).enumerate()
    {
        let millis = i64::try_from(n).unwrap() * 1_000;
        tick(&t.store, &now_of(t, &job).await, millis).await.unwrap();
        let claimed = claim(t, millis).await.remove(0);
        let ended = t.store.run_finish(&actor(at(millis)), &claimed.job, &finish(&claimed, state)).await.unwrap();
        outcome.push(ended == RunEnded::Ended { paused: true });
    }
    assert_eq!(outcome, [false, false, false, false, false, true]);
    let now = now_of(t, &job).await;
    assert_eq!(now.pause.map(|pause: Pause| pause.by), Some(PAUSED_BY.to_owned()));
    assert_eq!((now.next_at, now.failures), (None, 3));
}

pub(crate) async fn runs_of_a_backfill_wait_for_each_other_and_hold_up_no_other(t: &Subject) {
    let job = entered(t, "backfill", Overlap::Skip).await;
    let backfill = Some(engate_model::BackfillId::new(at(0), unique()));
    let runs: Vec<_> = (-5..0)
        .map(|n| NewRun { backfill, trigger: RunTrigger::Backfill, start_at: at(0), ..new_run(n * 1_000) })
        .collect();
    assert_eq!(t.store.run_backfill(&actor(at(0)), &job, 2, &runs).await.unwrap(), 5);
    assert_eq!(t.store.run_backfill(&actor(at(0)), &job, 2, &runs).await.unwrap(), 0, "the same order again is none");
    assert_eq!(claim(t, 0).await.len(), 2);
    let waiting = entered(t, "other", Overlap::Skip).await;
    assert_eq!(tick(&t.store, &waiting, 0).await.unwrap()[0].1, RunState::Queued);
}

pub(crate) async fn what_starts_too_late_is_left_out_and_a_stopped_run_says_so(t: &Subject) {
    let job = entered(t, "late", Overlap::Allow { max: 8 }).await;
    tick(&t.store, &job, 0).await.unwrap();
    let day = i64::try_from(job.settings.start_deadline_ms).unwrap();
    assert!(claim(t, day + 1).await.is_empty());
    assert_eq!(states(t, &job).await, [RunState::Skipped]);
    tick(&t.store, &now_of(t, &job).await, day + 2).await.unwrap();
    tick(&t.store, &now_of(t, &job).await, day + 1_002).await.unwrap();
    let claimed = claim(t, day + 500).await.remove(0);
    let cancel = async |id| t.store.run_cancel(&actor(at(day + 600)), t.tenant, id).await.unwrap();
    assert_eq!(cancel(claimed.run.id).await, Some(RunState::Running));
    let held =
        t.store.run_renew(claimed.run.id, claimed.fence, at(day + 90_000), &RunProgress::default()).await.unwrap();
    assert_eq!(held.and_then(|held| held.cancel_at), Some(at(day + 600)));
    let filter = RunFilter { job: Some(job.id), state: Some(RunState::Queued), ..Default::default() };
    let waiting = t.store.run_list(t.tenant, &filter, None, Order::Descending, 10).await.unwrap().items.remove(0);
    assert_eq!(cancel(waiting.id).await, Some(RunState::Cancelled));
    assert_eq!(cancel(waiting.id).await, None);
}

pub(crate) async fn jobs_change_by_one_hand_at_a_time_and_go_with_their_runs(t: &Subject) {
    let mut job = entered(t, "changing", Overlap::Skip).await;
    let twin = self::job(t, "changing", Overlap::Skip);
    assert!(matches!(t.store.job_create(&actor(at(0)), &twin).await, Err(StoreError::Conflict { .. })));
    tick(&t.store, &job, 0).await.unwrap();
    job = now_of(t, &job).await;
    job.settings.enabled = false;
    job.next_at = None;
    assert_eq!(t.store.job_update(&actor(at(1)), "job.update", &job, &[]).await.unwrap(), 2);
    let stale = t.store.job_update(&actor(at(1)), "job.update", &job, &[]).await;
    assert!(matches!(stale, Err(StoreError::Stale { .. })));
    assert!(matches!(t.store.job_delete(&actor(at(2)), &job).await, Err(StoreError::Stale { .. })));
    let job = now_of(t, &job).await;
    assert_eq!(t.store.job_find(t.tenant, "changing").await.unwrap().map(|job| job.revision), Some(2));
    t.store.job_delete(&actor(at(2)), &job).await.unwrap();
    assert_eq!((t.store.job_list(t.tenant).await.unwrap().len(), states(t, &job).await.len()), (0, 0));
    assert!(t.store.job_get(TenantId::MIN, job.id).await.unwrap().is_none());
}

pub(crate) async fn the_jobs_of_a_deleted_tenant_end_with_it_and_none_comes_behind(t: &Subject) {
    let (one, two) = (entered(t, "under way", Overlap::Skip).await, entered(t, "waiting", Overlap::Skip).await);
    tick(&t.store, &one, 0).await.unwrap();
    let held = claim(t, 0).await.remove(0);
    tick(&t.store, &two, 0).await.unwrap();
    let seen = t.store.tenant_get(t.tenant).await.unwrap().unwrap();
    let gone: BTreeSet<_> = t.store.tenant_delete(&actor(at(500)), &seen).await.unwrap().into_iter().collect();
    assert_eq!(gone, BTreeSet::from([one.id, two.id]));
    for job in [&one, &two] {
        assert_eq!(states(t, job).await, [RunState::Cancelled]);
    }
    let renewed = t.store.run_renew(held.run.id, held.fence, at(60_000), &RunProgress::default()).await.unwrap();
    assert_eq!(renewed, None, "its holder hears that it is no longer its own");
    let late = t.store.run_finish(&actor(at(600)), &one, &finish(&held, RunState::Succeeded)).await.unwrap();
    assert_eq!(late, RunEnded::Lost);
    assert_eq!(t.store.run_reclaim(at(99_000)).await.unwrap(), 0);
    assert_eq!(t.store.job_due(at(99_000), 10).await.unwrap(), (vec![], None));
    let next = Job { next_at: Some(at(1_000)), ..two.clone() };
    assert!(tick(&t.store, &next, 1_000).await.is_none(), "a tick that began before makes nothing");
    let ordered = t.store.run_order(&actor(at(700)), &two, &new_run(700)).await;
    assert!(matches!(ordered, Err(StoreError::NotFound { .. })));
    assert!(claim(t, 2_000).await.is_empty());
    // A call that was let in a moment before the deletion.
    let created = t.store.job_create(&actor(at(700)), &job(t, "late", Overlap::Skip)).await;
    assert!(matches!(created, Err(StoreError::NotFound { .. })));
}

pub(crate) async fn old_runs_are_forgotten_by_age_and_number(t: &Subject) {
    let job = entered(t, "history", Overlap::Skip).await;
    for n in 0..12 {
        tick(&t.store, &now_of(t, &job).await, n * 1_000).await.unwrap();
        let claimed = claim(t, n * 1_000).await.remove(0);
        t.store.run_finish(&actor(at(n * 1_000)), &job, &finish(&claimed, RunState::Succeeded)).await.unwrap();
    }
    assert_eq!(t.store.run_purge(at(2_000), 100, 100).await.unwrap(), 2);
    assert_eq!(t.store.run_purge(at(0), 7, 100).await.unwrap(), 3);
    assert_eq!(states(t, &job).await.len(), 7);
}
