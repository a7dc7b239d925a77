//! A plugin's feed as the source, as hostile as the contract allows: it forgets what lies before the cursor that it is asked
//! with, never cuts its pages in the same way twice, and hands a record over as it is by then.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
};

use engate_model::{
    EndpointId, TypedId as _,
    run::{RunEnd, RunFailure},
    sink::{Change, FeedPage, Operation},
    sync::{Phase, Rules, SyncJob},
};
use tokio_util::sync::CancellationToken;

use super::{
    rig::{Kind, Rig, at},
    target::{Mood, Point, Sent},
};
use crate::{
    pulling::{Pull, Pulled},
    sync::{
        SyncRun, Writes,
        feed::{FeedOrigin, Pulls},
    },
};

/// Deaths of one case.
const DEATHS: u32 = 25;
/// What its plugin is called, and the key under which that keeps its place.
const PLUGIN: &str = "fed";
const PLACE: &str = "at";

#[derive(Default)]
struct Log {
    /// Keys that changed, by number.
    changed: VecDeque<(u64, String)>,
    last: u64,
    /// Nothing up to here can be had any more.
    forgotten: u64,
    /// What is there, and what was.
    records: BTreeMap<String, Option<String>>,
    pulls: u64,
    violations: Vec<String>,
}

/// The feed, and the rig around it.
struct Fed<'r> {
    rig: &'r Rig,
    log: Mutex<Log>,
    /// Whether it keeps all, and has no state.
    keeps: bool,
}

impl Pulls for &Fed<'_> {
    fn plugin(&self) -> &str {
        PLUGIN
    }

    async fn pull(&self, pull: Pull<'_>) -> Result<Pulled, RunFailure> {
        let after = pull.after.map_or(0, |cursor| std::str::from_utf8(cursor).unwrap().parse().unwrap());
        let kept = self.rig.store.plugin_state_get(self.rig.tenant, PLUGIN, EndpointId::from_uuid(self.rig.job.uuid()));
        let kept: BTreeMap<_, _> = kept.await.unwrap().into_iter().collect();
        let place = kept.get(PLACE).map(|place| String::from_utf8(place.clone()).unwrap());
        let cut = 1 + (self.rig.chance.bits() % 70) as usize;
        let mut log = self.log.lock().unwrap();
        log.pulls += 1;
        if !self.keeps && place.unwrap_or_else(|| "0".to_owned()) != after.to_string() {
            log.violations.push(format!("it is asked for what follows {after}, and its state is of another place"));
        }
        if after < log.forgotten {
            log.violations.push(format!("it is asked for what follows {after}, which was accepted before"));
        }
        if !self.keeps {
            log.forgotten = after;
            log.changed.retain(|(number, _)| *number > after);
        }
        let page: Vec<_> = log.changed.iter().filter(|(number, _)| *number > after).take(cut).cloned().collect();
        let next = page.last().map_or(after, |(number, _)| *number);
        // A page has the last state of a record only.
        let keys: std::collections::BTreeSet<_> = page.into_iter().map(|(_, key)| key).collect();
        let change = |key: String| match log.records.get(&key).cloned().flatten() {
            Some(data) => Change { key, operation: Operation::Upsert, data },
            None => Change { data: format!("{{\"id\":\"{key}\"}}"), key, operation: Operation::Delete },
        };
        let changes = keys.into_iter().map(change).collect();
        let more = log.changed.back().is_some_and(|(last, _)| *last > next);
        let page = FeedPage { changes, next: next.to_string().into_bytes(), more };
        let moved = !self.keeps && next != after;
        let writes = moved.then(|| (PLACE.to_owned(), Some(next.to_string().into_bytes())));
        Ok((page, Writes::from_iter(writes)))
    }
}

impl<'r> Fed<'r> {
    fn new(rig: &'r Rig) -> Self {
        Self { rig, log: Mutex::default(), keeps: false }
    }

    fn put(&self, key: u128, value: &str) {
        self.set(key, Some(format!("{{\"id\":\"{key}\",\"v\":\"{value}\"}}")));
    }

    fn set(&self, key: u128, data: Option<String>) {
        let mut log = self.log.lock().unwrap();
        log.last += 1;
        let (number, key) = (log.last, key.to_string());
        log.changed.push_back((number, key.clone()));
        log.records.insert(key, data);
    }

    fn pulls(&self) -> u64 {
        self.log.lock().unwrap().pulls
    }

    async fn run_with(&self, settings: &SyncJob) -> Option<RunEnd> {
        let rig = self.rig;
        let run = SyncRun {
            store: &rig.store,
            clock: &rig.engine_clock,
            chance: &rig.chance,
            tenant: rig.tenant,
            job: rig.job,
            fence: rig.next_fence(),
            settings,
            rules: Rules::of(settings),
            source: &FeedOrigin { pulls: self, clock: &rig.engine_clock },
            target: &rig.target,
            plugin: "strict",
            stop: &CancellationToken::new(),
            report: &rig.heard,
        };
        tokio::select! {
            biased;
            () = rig.target.died() => None,
            end = run.run() => Some(end),
        }
    }

    async fn run(&self) -> Option<RunEnd> {
        self.run_with(&job()).await
    }

    /// Runs until a run has found nothing new.
    async fn settle(&self) {
        for _ in 0..50 {
            match self.run().await {
                Some(RunEnd::Idle) => return,
                Some(RunEnd::Failed(failure)) if !failure.retryable => panic!("{failure:?}"),
                _ => {}
            }
        }
        panic!("no run ends well");
    }

    /// The target has what the feed has, and neither saw anything that it should not.
    fn compare(&self) {
        self.rig.target.no_violations().unwrap();
        let log = self.log.lock().unwrap();
        assert_eq!(log.violations, Vec::<String>::new());
        let alive = log.records.iter().filter_map(|(key, data)| Some((key.clone(), data.clone()?)));
        assert_eq!(self.rig.target.records(), alive.collect::<BTreeMap<_, _>>());
    }

    fn pages(&self) -> usize {
        self.rig.target.log().iter().filter(|sent| matches!(sent, Sent::Page { .. })).count()
    }
}

fn job() -> SyncJob {
    serde_json::from_value(serde_json::json!({
        "source": {"kind": "plugin", "plugin": PLUGIN},
        "sink": {"plugin": "strict", "endpoint": format!("ep_{}", "0".repeat(32))},
        "streams": [{"name": "s", "key": ["id"], "target": "t"}],
        "page_rows": 100
    }))
    .unwrap()
}

async fn with_feed(test: impl AsyncFnOnce(&mut Fed<'_>)) {
    let rig = Rig::new(Kind::Sqlite).await.unwrap();
    test(&mut Fed::new(&rig)).await;
    rig.clean().await;
}

/// The process dies at `point` of a page drawn at random, again and again; each death has `repeats` pages at most come twice.
async fn dies_at(point: Point, repeats: u64) {
    with_feed(async |fed| {
        let rig = fed.rig;
        (0..400).for_each(|key| fed.put(key, "first"));
        let mut died = 0;
        for n in 0..DEATHS {
            // A run has one end of a pass.
            let nth = if point == Point::BeforeClose { 1 } else { 1 + (rig.chance.bits() % 4) as u32 };
            rig.target.dies(point, nth);
            let before = rig.target.repeats();
            if fed.run().await.is_none() {
                died += 1;
                // What was in flight changes before anybody comes back to it.
                for _ in 0..40 {
                    let key = rig.chance.bits() % 450;
                    let data = (key % 9 != 0).then(|| format!("{{\"id\":\"{key}\",\"v\":\"late{n}\"}}"));
                    fed.set(key, data);
                }
            }
            rig.target.lives();
            fed.settle().await;
            assert!(rig.target.repeats() - before <= repeats, "pages came twice after one death");
            rig.minute();
            for _ in 0..150 {
                fed.put(rig.chance.bits() % 450, &format!("d{n}"));
            }
        }
        fed.settle().await;
        assert!(died >= DEATHS / 2, "it died {died} times only");
        assert_eq!(rig.target.open_batches(), 0, "each pass has an end");
        fed.compare();
        println!("{point:?}: {died} deaths, {} rows, {} repeats, lost 0", rig.target.rows(), rig.target.repeats());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_a_feed_killed_before_a_page_is_sent() {
    dies_at(Point::BeforeSend, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_a_feed_killed_before_the_answer() {
    dies_at(Point::AfterSend, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_a_feed_killed_before_the_checkpoint() {
    dies_at(Point::AfterAnswer, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c5_a_feed_killed_before_the_end_is_told() {
    dies_at(Point::BeforeClose, 0).await;
}

#[tokio::test]
async fn what_the_target_has_is_not_sent_again_and_a_quiet_feed_writes_nothing() {
    with_feed(async |fed| {
        (0..150).for_each(|key| fed.put(key, "v"));
        fed.settle().await;
        let before = fed.pages();
        // The same records, handed over once more; and one that is new.
        (0..150).for_each(|key| fed.put(key, "v"));
        fed.put(7, "new");
        fed.settle().await;
        fed.compare();
        // Of the record that changed the feed tells twice, unless both fall into one page.
        assert!(matches!(fed.rig.counts().unchanged, 149 | 150), "{:?}", fed.rig.counts());
        assert_eq!(fed.pages(), before + 1);
        let version = async || fed.rig.store.track_list(fed.rig.tenant, fed.rig.job).await.unwrap()[0].version;
        let (written, pulls) = (version().await, fed.pulls());
        for _ in 0..5 {
            assert_eq!(fed.run().await, Some(RunEnd::Idle));
        }
        assert_eq!((version().await, fed.pulls()), (written, pulls + 5), "one look each, and nothing is written");
    })
    .await;
}

#[tokio::test]
async fn a_record_that_is_refused_is_set_aside_and_replayed_as_it_came_last() {
    with_feed(async |fed| {
        let (rig, actor) = (fed.rig, engate_store::Actor::system(at(0), 5));
        for rejects in [false, true] {
            (0..200).for_each(|key| fed.put(key, if key == 77 { "BAD" } else { "good" }));
            rig.target.refuses(Some("BAD"), rejects);
            fed.settle().await;
            let held = || rig.store.quarantine_list(rig.tenant, rig.job, None, 10);
            let first = held().await.unwrap().items;
            assert_eq!(first.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["77"]);
            // It comes again as it is: nothing is sent. It comes in another form, which is refused as well.
            fed.put(77, "BAD");
            fed.settle().await;
            fed.put(77, "BAD and newer");
            fed.settle().await;
            let newer = held().await.unwrap().items;
            assert!(newer.len() == 1 && newer[0].data.contains("newer"), "{newer:?}");
            rig.target.refuses(None, false);
            rig.store.quarantine_replay(&actor, rig.tenant, rig.job, newer[0].id).await.unwrap();
            fed.settle().await;
            assert_eq!(held().await.unwrap().total, 0);
            fed.compare();
            fed.put(77, "good");
            fed.settle().await;
        }
    })
    .await;
}

#[tokio::test]
async fn too_many_refusals_stop_the_stream_and_lose_nothing() {
    with_feed(async |fed| {
        (0..120).for_each(|key| fed.put(key, "v"));
        fed.rig.target.refuses(Some("v"), false);
        let few = SyncJob { quarantine_max: 3, ..job() };
        for _ in 0..2 {
            match fed.run_with(&few).await {
                Some(RunEnd::Failed(failure)) => assert_eq!(failure.code, "quarantine_full"),
                other => panic!("{other:?}"),
            }
        }
        let rig = fed.rig;
        let held = rig.store.quarantine_list(rig.tenant, rig.job, None, 10).await.unwrap().items;
        assert_eq!(held.len(), 4);
        rig.target.refuses(None, false);
        let actor = engate_store::Actor::system(at(0), 6);
        for one in held {
            rig.store.quarantine_replay(&actor, rig.tenant, rig.job, one.id).await.unwrap();
        }
        fed.settle().await;
        fed.settle().await;
        fed.compare();
    })
    .await;
}

#[tokio::test]
async fn a_page_that_is_too_large_for_the_target_goes_out_in_pieces() {
    with_feed(async |fed| {
        (0..500).for_each(|key| fed.put(key, "v"));
        fed.rig.target.takes_at_most(20);
        fed.settle().await;
        fed.compare();
        let sizes = fed.rig.target.log().into_iter().filter_map(|sent| match sent {
            Sent::Page { changes, .. } => Some(changes.len()),
            Sent::Open | Sent::Close { .. } => None,
        });
        let refused = sizes.filter(|size| *size > 20).count();
        assert!(refused < 15, "{refused} pages were too large: what follows is cut smaller");
    })
    .await;
}

#[tokio::test]
async fn a_target_that_fails_at_random_gets_everything_once_it_answers() {
    with_feed(async |fed| {
        for round in 0..6 {
            (0..200).for_each(|_| fed.put(fed.rig.chance.bits() % 300, &format!("r{round}")));
            let draw = |_| match fed.rig.chance.bits() % 6 {
                0 => Mood::Answers(503),
                1 => Mood::TimesOut,
                2 => Mood::Answers(429),
                _ => Mood::Takes,
            };
            fed.rig.target.moods((0..20).map(draw));
            fed.settle().await;
            fed.compare();
        }
    })
    .await;
}

#[tokio::test]
async fn a_feed_that_is_set_back_or_begun_anew_is_pulled_from_its_beginning() {
    with_feed(async |fed| {
        fed.keeps = true;
        (0..150).for_each(|key| fed.put(key, "v"));
        fed.set(3, None);
        fed.settle().await;
        fed.compare();
        let (rig, actor) = (fed.rig, engate_store::Actor::system(at(0), 7));
        assert!(rig.checkpoint().await.cursor.is_some());
        let rows = rig.target.rows();
        rig.store.track_rewind(&actor, rig.tenant, rig.track(), at(-1_000)).await.unwrap();
        assert_eq!((rig.checkpoint().await.cursor, rig.checkpoint().await.phase), (None, Phase::Initial));
        fed.settle().await;
        assert_eq!(rig.target.rows() - rows, 150, "all of it is sent again, the deletion too");
        rig.store.track_begin_epoch(&actor, rig.tenant, rig.track()).await.unwrap();
        fed.settle().await;
        assert_eq!(rig.target.rows() - rows, 300);
        let checkpoint = rig.checkpoint().await;
        assert_eq!((checkpoint.epoch, checkpoint.phase), (1, Phase::Delta));
        fed.compare();
    })
    .await;
}

/// A plugin that goes in a circle.
struct Circle;

impl Pulls for Circle {
    fn plugin(&self) -> &str {
        PLUGIN
    }

    async fn pull(&self, pull: Pull<'_>) -> Result<Pulled, RunFailure> {
        let next = if pull.after.is_some_and(|after| after == b"a") { b"b" } else { b"a" };
        Ok((FeedPage { changes: Vec::new(), next: next.to_vec(), more: true }, Writes::new()))
    }
}

#[tokio::test]
async fn isolation_23_a_cursor_that_goes_in_a_circle_fails_the_stream() {
    with_feed(async |fed| {
        let (rig, settings) = (fed.rig, job());
        let run = SyncRun {
            store: &rig.store,
            clock: &rig.engine_clock,
            chance: &rig.chance,
            tenant: rig.tenant,
            job: rig.job,
            fence: rig.next_fence(),
            settings: &settings,
            rules: Rules::of(&settings),
            source: &FeedOrigin { pulls: Circle, clock: &rig.engine_clock },
            target: &rig.target,
            plugin: "strict",
            stop: &CancellationToken::new(),
            report: &rig.heard,
        };
        match run.run().await {
            RunEnd::Failed(failure) => assert_eq!(failure.code, "feed_loop"),
            other => panic!("{other:?}"),
        }
    })
    .await;
}
