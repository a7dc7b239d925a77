//! Where a track is, and how it moves on. Nothing here reads or sends: the executor tells what was acknowledged, and
//! writes down what comes of it.

use std::{collections::VecDeque, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    drift::Shape,
    ends::Ends,
    page::{Checksum, Piece, pass_id},
    planted::Planted,
    progress::Progress,
    window::{self, Rules},
};
use crate::time::Timestamp;

/// Whether a track has been loaded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The whole table is being carried.
    #[default]
    Initial,
    /// What changes is carried.
    Delta,
}

/// What a pass goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassKind {
    /// The table, by its key.
    Initial,
    /// What changed, by stamp and key.
    Delta,
    /// The table by its key against what was sent, then what was sent against the table.
    Reconcile,
}

impl PassKind {
    /// Its stable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Delta => "delta",
            Self::Reconcile => "reconcile",
        }
    }
}

/// How far a pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The table is read.
    Reading,
    /// What was sent is looked for in the table.
    Sweeping,
    /// All is acknowledged; the target is told that the pass is over.
    Closing,
}

/// Up to where a pass has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Nothing.
    Start,
    /// Everything stamped before this.
    Stamp(Timestamp),
    /// This row, in the order of the pass.
    Row {
        /// Its stamp, where the order goes by it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stamp: Option<Timestamp>,
        /// Its key as the table spells it, column by column.
        key: Vec<String>,
    },
    /// This key of what was sent.
    Sent(String),
    /// What a plugin said that it goes on from.
    Cursor(Cursor),
}

impl Position {
    /// The plugin's cursor, where there is one.
    pub const fn cursor(&self) -> Option<&Cursor> {
        match self {
            Self::Cursor(cursor) => Some(cursor),
            Self::Start | Self::Stamp(_) | Self::Row { .. } | Self::Sent(_) => None,
        }
    }
}

/// Where a plugin goes on: bytes that only it can read, shown as base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Vec<u8>);

impl Cursor {
    /// As people and JSON have it.
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.0)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(Self).map_err(|error| D::Error::custom(format!("no base64: {error}")))
    }
}

/// The page that is being sent. It is written down before it goes out, so that a repeat is the same to the byte whatever
/// became of the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageInHand {
    /// What is left of it, in the order of sending: itself, or its halves.
    pub pieces: VecDeque<Piece>,
    /// Where reading goes on once all of it is settled.
    pub after: Position,
    /// Keys that were read up to there, for a reconciliation.
    #[serde(default)]
    pub seen: Checksum,
    /// Rows that were read up to there.
    #[serde(default)]
    pub rows: u64,
    /// Whether the pass is read to its end with it: a plugin said that there is no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
}

/// A pass under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassState {
    /// The same until it is over.
    pub id: String,
    /// What it goes through.
    pub kind: PassKind,
    /// How far it is.
    pub stage: Stage,
    /// Stamps from here on are read; none: all, and rows without one.
    pub lower: Option<Timestamp>,
    /// What counts as covered once it is over.
    pub upper: Timestamp,
    /// Stamps up to here are read.
    pub reach: Timestamp,
    /// Up to where everything is settled.
    pub position: Position,
    /// The number of the last page that was acknowledged.
    pub sequence: u32,
    /// Records that were acknowledged.
    pub records: u64,
    /// Pages that were acknowledged.
    pub requests: u64,
    /// When it began, by the engine's clock.
    pub started_at: Timestamp,
    /// When its last page was acknowledged.
    pub ended_at: Timestamp,
    /// The page that is being sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<PageInHand>,
    /// Keys of the source up to `position`, for a reconciliation.
    #[serde(default)]
    pub seen: Checksum,
    /// How far it is in its table.
    #[serde(default)]
    pub progress: Progress,
}

impl PassState {
    /// The number that the next page to be acknowledged has; a repeat keeps it, a page that was never taken leaves it to
    /// the next one.
    pub const fn next_number(&self) -> u32 {
        self.sequence + 1
    }

    /// Whether pages come in the order of stamps.
    pub fn by_stamp(&self, rules: &Rules) -> bool {
        match self.kind {
            PassKind::Delta => true,
            PassKind::Initial => rules.planted == Some(Planted::NullsSkipped),
            PassKind::Reconcile => false,
        }
    }
}

/// What was read behind a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Where reading goes on.
    pub after: Position,
    /// Keys that were read, for a reconciliation.
    pub seen: Checksum,
    /// Rows that were read.
    pub rows: u64,
    /// Whether the pass is read to its end.
    pub last: bool,
}

impl Read {
    /// Nothing yet.
    pub fn from(position: Position) -> Self {
        Self { after: position, seen: Checksum::default(), rows: 0, last: false }
    }
}

/// Everything that decides where a track goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Counts how often everything was begun anew.
    pub epoch: u32,
    /// Whether it has been loaded.
    pub phase: Phase,
    /// Counts passes that sent something, for their ids.
    pub passes: u64,
    /// The pass under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<PassState>,
    /// Up to which stamp everything is at the target, by the source's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_upper: Option<Timestamp>,
    /// What the target was prepared for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// Between what it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Ends>,
    /// When all keys were last compared, by the source's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciled_at: Option<Timestamp>,
    /// Whether the whole table is read again once the pass under way is over: its records have other columns now.
    #[serde(default)]
    pub reload: bool,
    /// The largest stamp that was acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_stamp: Option<Timestamp>,
    /// Where the next pass over a plugin's feed goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// Both clocks at the beginning of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The source's.
    pub source: Timestamp,
    /// The engine's.
    pub engine: Timestamp,
}

impl Checkpoint {
    /// Which pass comes next. `reconcile` is how often the stream is compared with what was sent.
    pub fn next_kind(&self, source_now: Timestamp, reconcile: Option<Duration>, delta_done: bool) -> Option<PassKind> {
        if self.phase == Phase::Initial {
            return Some(PassKind::Initial);
        }
        if !delta_done {
            return Some(PassKind::Delta);
        }
        let every = reconcile?;
        let is_due = self.reconciled_at.is_none_or(|at| source_now < at || source_now.since(at) >= every);
        is_due.then_some(PassKind::Reconcile)
    }

    /// Begins a pass over a plugin's feed, at the cursor of the last one; without one at the feed's beginning. What is
    /// covered once it is over is what the feed had at `now`.
    pub fn begin_feed(&mut self, kind: PassKind, track: &str, now: Timestamp) {
        let position = self.cursor.clone().map_or(Position::Start, Position::Cursor);
        let lower = self.committed_upper.filter(|_| kind == PassKind::Delta);
        self.enter(kind, track, (lower, now, now), position, now);
    }

    /// Begins a pass over a table. Nothing of it is written down before its first page is.
    pub fn begin(&mut self, kind: PassKind, track: &str, clocks: Clocks, rules: &Rules) {
        let window = window::delta(self.committed_upper, clocks.source, rules);
        let (lower, upper, reach) = match kind {
            PassKind::Delta => (Some(window.lower), window.upper, window.reach),
            PassKind::Initial | PassKind::Reconcile => (None, clocks.source, clocks.source),
        };
        let position = lower.map_or(Position::Start, Position::Stamp);
        self.enter(kind, track, (lower, upper, reach), position, clocks.engine);
    }

    fn enter(
        &mut self,
        kind: PassKind,
        track: &str,
        (lower, upper, reach): (Option<Timestamp>, Timestamp, Timestamp),
        position: Position,
        now: Timestamp,
    ) {
        self.passes += 1;
        self.pass = Some(PassState {
            id: pass_id(track, self.epoch, self.passes),
            kind,
            stage: Stage::Reading,
            lower,
            upper,
            reach,
            position,
            sequence: 0,
            records: 0,
            requests: 0,
            started_at: now,
            ended_at: now,
            page: None,
            seen: Checksum::default(),
            progress: Progress::default(),
        });
    }

    /// Takes a page in hand, to be sent in these pieces.
    pub fn stage(&mut self, pieces: impl Into<VecDeque<Piece>>, read: Read) {
        if let Some(pass) = &mut self.pass {
            let Read { after, seen, rows, last } = read;
            pass.page = Some(PageInHand { pieces: pieces.into(), after, seen, rows, last });
        }
    }

    /// What is to be sent next.
    pub fn piece(&self) -> Option<Piece> {
        self.pass.as_ref()?.page.as_ref()?.pieces.front().copied()
    }

    /// The piece in hand was taken, `accepted` of its changes being records at the target now.
    pub fn acknowledge(&mut self, accepted: u64, stamp: Option<Timestamp>, now: Timestamp) {
        let Some(pass) = &mut self.pass else { return };
        pass.sequence += 1;
        pass.requests += 1;
        pass.records += accepted;
        pass.ended_at = now;
        self.acknowledged_stamp = self.acknowledged_stamp.max(stamp);
        self.settle_front(now);
    }

    /// The piece in hand, one change, will not be taken: its number goes to the next piece.
    pub fn set_aside(&mut self, now: Timestamp) {
        self.settle_front(now);
    }

    fn settle_front(&mut self, now: Timestamp) {
        let Some(pass) = &mut self.pass else { return };
        let Some(page) = &mut pass.page else { return };
        page.pieces.pop_front();
        if page.pieces.is_empty() {
            if page.last {
                pass.stage = Stage::Closing;
            }
            pass.position = page.after.clone();
            pass.seen.merge(page.seen);
            pass.progress.add(page.rows, now);
            pass.page = None;
        }
    }

    /// Halves the piece in hand; false where it is one change. The first half takes the number that the whole had.
    pub fn halve(&mut self) -> bool {
        let page = self.pass.as_mut().and_then(|pass| pass.page.as_mut());
        let Some(page) = page else { return false };
        match page.pieces.pop_front() {
            Some(piece) if piece.len() > 1 => {
                let middle = piece.from + piece.len() / 2;
                page.pieces.push_front(Piece { from: middle, to: piece.to });
                page.pieces.push_front(Piece { from: piece.from, to: middle });
                true
            }
            Some(piece) => {
                page.pieces.push_front(piece);
                false
            }
            None => false,
        }
    }

    /// Everything up to `after` was read and need not be sent.
    pub fn pass_over(&mut self, read: Read, now: Timestamp) {
        if let Some(pass) = &mut self.pass {
            pass.position = read.after;
            pass.seen.merge(read.seen);
            pass.progress.add(read.rows, now);
        }
    }

    /// The table is read to its end. A reconciliation goes on with what was sent where the sums of keys differ.
    pub fn read_out(&mut self, sent: Option<Checksum>) {
        if let Some(pass) = &mut self.pass {
            let sweeps = pass.kind == PassKind::Reconcile && sent.is_some_and(|sent| sent != pass.seen);
            pass.stage = if sweeps { Stage::Sweeping } else { Stage::Closing };
            if sweeps {
                pass.position = Position::Sent(String::new());
            }
        }
    }

    /// What was sent is looked through to its end.
    pub fn swept(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.stage = Stage::Closing;
        }
    }

    /// The pass is over, and its target told. `maximum` is the largest stamp there is by now; only a planted mistake asks.
    pub fn finish(&mut self, reconciles: bool, maximum: Option<Timestamp>, rules: &Rules) {
        let Some(pass) = self.pass.take() else { return };
        let upper = match rules.planted {
            Some(Planted::MaximumOfAnotherSnapshot) => maximum.unwrap_or(pass.upper),
            _ => pass.upper,
        };
        if let Position::Cursor(cursor) = pass.position {
            self.cursor = Some(cursor);
        }
        match pass.kind {
            PassKind::Initial => {
                self.phase = Phase::Delta;
                self.committed_upper = Some(upper);
                self.reconciled_at = reconciles.then_some(pass.upper);
            }
            PassKind::Delta => self.committed_upper = Some(upper),
            PassKind::Reconcile => self.reconciled_at = Some(pass.upper),
        }
        if std::mem::take(&mut self.reload) {
            self.reload();
        }
        if pass.requests == 0 && pass.sequence == 0 {
            // Nobody has heard of it: its number is free.
            self.passes -= 1;
        }
    }

    /// Has the whole table or feed read again, within the epoch, once the pass under way is over.
    pub fn reload(&mut self) {
        if self.pass.is_some() {
            self.reload = true;
        } else {
            self.phase = Phase::Initial;
            self.cursor = None;
        }
    }

    /// Gives the pass under way up and goes back to `upper`. No plugin's cursor stands for an instant: its feed is read
    /// again from its beginning.
    pub fn rewind(&mut self, upper: Timestamp) {
        let pass = self.pass.take();
        let was_feed = self.cursor.take().is_some() || pass.is_some_and(|pass| pass.position.cursor().is_some());
        self.phase = if was_feed { Phase::Initial } else { Phase::Delta };
        self.committed_upper = Some(upper);
    }

    /// Begins everything anew, for a target that has nothing.
    pub fn begin_epoch(&mut self) {
        *self = Self { epoch: self.epoch + 1, passes: self.passes, ..Self::default() };
    }
}

/// Where reading goes on behind a page whose last row is this one. `page` is all of its rows' stamps and keys.
pub fn position_after(rows: &[(Option<Timestamp>, &[String])], by_stamp: bool, rules: &Rules) -> Option<Position> {
    let (stamp, key) = rows.last()?;
    match (rules.planted, by_stamp, *stamp) {
        (Some(Planted::StrictStamp), true, Some(stamp)) => {
            return Some(Position::Stamp(stamp.after(Duration::from_micros(1))));
        }
        (Some(Planted::OtherOrder), true, stamp) => {
            let length = |key: &[String]| key.iter().map(String::len).sum::<usize>();
            let key = rows.iter().map(|(_, key)| *key).max_by_key(|key| (length(key), key.to_vec()))?;
            return Some(Position::Row { stamp, key: key.to_vec() });
        }
        _ => {}
    }
    Some(Position::Row { stamp: stamp.filter(|_| by_stamp), key: key.to_vec() })
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
