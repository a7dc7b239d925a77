//! A target as strict as one can be: it takes no gap, no repeat with another body, no wrong count, nothing after the end;
//! and it fails on command.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Mutex,
};

use engate_model::{
    delivery::Response,
    sink::{Change, Operation, Page, Pass, Refusal, Rejection, Settlement, StreamInfo, Totals},
    verdict::Failure,
};
use tokio::sync::Notify;

use crate::sync::{Asked, Sendable, Target, Writes};

/// Where a process may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Point {
    BeforeSend,
    AfterSend,
    AfterAnswer,
    BeforeClose,
}

/// What the target does with a request that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Takes,
    Answers(u16),
    /// Takes it, and the answer is lost.
    TimesOut,
    /// Cannot be reached, in a way that no retry mends.
    Down,
}

#[derive(Debug, Clone)]
pub(super) enum Sent {
    Open,
    Page { pass: String, sequence: u32, changes: Vec<Change> },
    Close { pass: String, totals: Totals },
}

impl Sendable for Sent {
    fn bytes(&self) -> u64 {
        match self {
            Self::Page { changes, .. } => changes.iter().map(|change| change.data.len() as u64).sum(),
            Self::Open | Self::Close { .. } => 0,
        }
    }
}

#[derive(Default)]
struct Batch {
    pages: BTreeMap<u32, Vec<Change>>,
    records: u64,
    closed: Option<Totals>,
}

#[derive(Default)]
struct Inside {
    records: BTreeMap<String, String>,
    batches: HashMap<String, Batch>,
    violations: Vec<String>,
    moods: VecDeque<Mood>,
    dies: Option<(Point, u32)>,
    opened: Vec<StreamInfo>,
    log: Vec<Sent>,
    repeats: u64,
    rows: u64,
    /// Records with this in them are refused: the whole page where `rejects` is not set.
    bad: Option<String>,
    rejects: bool,
    rows_max: usize,
}

#[derive(Default)]
pub(super) struct Strict {
    inside: Mutex<Inside>,
    died: Notify,
}

impl Strict {
    fn with<V>(&self, look: impl FnOnce(&mut Inside) -> V) -> V {
        look(&mut self.inside.lock().unwrap())
    }

    pub(super) fn moods(&self, moods: impl IntoIterator<Item = Mood>) {
        self.with(|inside| inside.moods = moods.into_iter().collect());
    }

    /// The process dies when it comes to this point for the `nth` time.
    pub(super) fn dies(&self, point: Point, nth: u32) {
        self.with(|inside| inside.dies = Some((point, nth)));
    }

    pub(super) fn lives(&self) {
        self.with(|inside| inside.dies = None);
    }

    pub(super) fn refuses(&self, text: Option<&str>, rejects: bool) {
        self.with(|inside| {
            inside.bad = text.map(str::to_owned);
            inside.rejects = rejects;
        });
    }

    pub(super) fn takes_at_most(&self, rows: usize) {
        self.with(|inside| inside.rows_max = rows);
    }

    pub(super) fn records(&self) -> BTreeMap<String, String> {
        self.with(|inside| inside.records.clone())
    }

    pub(super) fn log(&self) -> Vec<Sent> {
        self.with(|inside| inside.log.clone())
    }

    pub(super) fn opened(&self) -> Vec<StreamInfo> {
        self.with(|inside| inside.opened.clone())
    }

    pub(super) fn repeats(&self) -> u64 {
        self.with(|inside| inside.repeats)
    }

    pub(super) fn rows(&self) -> u64 {
        self.with(|inside| inside.rows)
    }

    pub(super) fn no_violations(&self) -> Result<(), String> {
        self.with(|inside| match inside.violations.first() {
            Some(first) => Err(format!("{} violations: {first}", inside.violations.len())),
            None => Ok(()),
        })
    }

    /// Batches that were not told that they are over.
    pub(super) fn open_batches(&self) -> usize {
        self.with(|inside| inside.batches.values().filter(|batch| batch.closed.is_none()).count())
    }

    pub(super) async fn died(&self) {
        self.died.notified().await;
    }

    async fn point(&self, point: Point) {
        let dies = self.with(|inside| match &mut inside.dies {
            Some((at, left)) if *at == point => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            _ => false,
        });
        if dies {
            self.lives();
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl Inside {
    fn violation(&mut self, text: String) -> u16 {
        self.violations.push(text);
        400
    }

    fn take(&mut self, request: &Sent) -> u16 {
        match request {
            Sent::Open => 200,
            Sent::Page { pass, sequence, changes } => self.take_page(pass, *sequence, changes),
            Sent::Close { pass, totals } => {
                let batch = self.batches.entry(pass.clone()).or_default();
                if batch.records != totals.records || batch.pages.len() as u64 != totals.requests {
                    let text = format!("{totals:?} of {} records in {} pages", batch.records, batch.pages.len());
                    return self.violation(text);
                }
                if batch.closed.is_some_and(|before| before != *totals) {
                    return self.violation(format!("{pass} ended twice"));
                }
                batch.closed = Some(*totals);
                200
            }
        }
    }

    fn take_page(&mut self, pass: &str, sequence: u32, changes: &[Change]) -> u16 {
        if self.rows_max > 0 && changes.len() > self.rows_max {
            return 413;
        }
        let batch = self.batches.entry(pass.to_owned()).or_default();
        let next = batch.pages.len() as u32 + 1;
        if let Some(before) = batch.pages.get(&sequence) {
            if before != changes {
                return self.violation(format!("page {sequence} was sent before with another body"));
            }
            self.repeats += 1;
            return 200;
        }
        if batch.closed.is_some() {
            return self.violation(format!("page {sequence} of a pass that is over"));
        }
        if sequence != next {
            return self.violation(format!("page {sequence} where {next} was due"));
        }
        let is_bad = |change: &Change| self.bad.as_ref().is_some_and(|bad| change.data.contains(bad.as_str()));
        let bad: Vec<bool> = changes.iter().map(is_bad).collect();
        if bad.contains(&true) && !self.rejects {
            return 422;
        }
        batch.records += bad.iter().filter(|bad| !**bad).count() as u64;
        batch.pages.insert(sequence, changes.to_vec());
        self.rows += changes.len() as u64;
        for (change, bad) in changes.iter().zip(bad) {
            match change.operation {
                _ if bad => {}
                Operation::Upsert => drop(self.records.insert(change.key.clone(), change.data.clone())),
                Operation::Delete => drop(self.records.remove(&change.key)),
            }
        }
        200
    }
}

impl Target for Strict {
    type Request = Sent;

    async fn open(&self, info: &StreamInfo) -> Result<Asked<Vec<Sent>>, Failure> {
        self.with(|inside| inside.opened.push(info.clone()));
        Ok(Asked { value: vec![Sent::Open], writes: Writes::new() })
    }

    async fn encode(&self, pass: &Pass, page: &Page) -> Result<Asked<Sent>, Failure> {
        let value = Sent::Page { pass: pass.id.clone(), sequence: page.sequence, changes: page.changes.clone() };
        Ok(Asked { value, writes: Writes::new() })
    }

    async fn send(&self, request: &Sent) -> Result<Response, Failure> {
        self.point(Point::BeforeSend).await;
        let mood = self.with(|inside| {
            inside.log.push(request.clone());
            if matches!(request, Sent::Open) { Mood::Takes } else { inside.moods.pop_front().unwrap_or(Mood::Takes) }
        });
        let failure = |code: &str, retryable| Failure { code: code.into(), message: code.into(), retryable };
        let status = match mood {
            Mood::Takes => self.with(|inside| inside.take(request)),
            Mood::Answers(status) => status,
            Mood::TimesOut => {
                self.with(|inside| inside.take(request));
                return Err(failure("timeout", true));
            }
            Mood::Down => return Err(failure("certificate_refused", false)),
        };
        self.point(Point::AfterSend).await;
        // What was rejected one by one is told in the body.
        let rejected = self.with(|inside| match (request, &inside.bad) {
            (Sent::Page { changes, .. }, Some(bad)) if inside.rejects => {
                let bad = changes.iter().enumerate().filter(|(_, change)| change.data.contains(bad.as_str()));
                bad.map(|(n, _)| n as u8).collect()
            }
            _ => Vec::new(),
        });
        Ok(Response { status, headers: Vec::new(), body: rejected, truncated: false })
    }

    async fn settle(
        &self,
        _: &str,
        _: &str,
        _: u32,
        response: &Response,
        _: &Writes,
    ) -> Result<Asked<Settlement>, Failure> {
        self.point(Point::AfterAnswer).await;
        let refusal = |code: &str| Refusal { code: code.into(), message: "refused".into(), retryable: false };
        let value = match response.status {
            200 => {
                let rejected = response.body.iter();
                let rejected = rejected.map(|n| Rejection { index: u32::from(*n), refusal: refusal("bad_value") });
                Settlement::Accepted(rejected.collect())
            }
            413 | 422 => Settlement::Split("halve it".into()),
            429 | 500..=599 => Settlement::Retry { after_ms: Some(1), reason: "busy".into() },
            _ => Settlement::Fail(refusal("bad_request")),
        };
        Ok(Asked { value, writes: Writes::new() })
    }

    async fn close(&self, pass: &Pass, totals: Totals) -> Result<Asked<Option<Sent>>, Failure> {
        self.point(Point::BeforeClose).await;
        let value = Some(Sent::Close { pass: pass.id.clone(), totals });
        Ok(Asked { value, writes: Writes::new() })
    }
}
