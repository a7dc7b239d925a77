//! One track of a run: its checkpoint in hand, from pass to pass until there is nothing left to do.

use std::time::Duration;

use engate_model::{
    Timestamp,
    run::{RunCounts, RunFailure},
    sink::{Page, Pass, StreamInfo, Totals},
    sync::{
        Drift, Ends, Partition, PassKind, PassState, Piece, Planted, Position, Read, Sizer, Stage, StreamSpec,
        checkpoint::Clocks,
        drift,
        page::{cut, page_id, track_id},
        window,
    },
};
use engate_store::{PageChange, PluginWrites, Refused, SyncCommit, Track, TrackState};

use super::{
    SyncRun, Target, TrackEnd, Writes,
    origin::Origin,
    packed::{Ahead, Entry, unpack},
    reading::{Batch, From, of_store},
    sending::{Journey, Settled},
};

/// A quiet pass is written down once it has moved the covered range by so much: an idle job writes next to nothing.
const QUIET_STEP: Duration = Duration::from_secs(10);

/// A track in this run's hands.
pub(super) struct Hand<'a, S: Origin> {
    pub(super) stream: &'a StreamSpec,
    pub(super) plan: S::Plan,
    pub(super) info: StreamInfo,
    /// As it was last written down, and in `checkpoint` where it is.
    pub(super) state: TrackState,
    /// The changes of the page in hand.
    pub(super) entries: Vec<Entry>,
    /// What the source's plugin wants kept once that page is settled.
    kept: Writes,
    /// Records in quarantine.
    held: u64,
    /// Whether the pass under way is written down.
    durable: bool,
    sizer: Sizer,
}

/// What a step writes down beside the checkpoint.
#[derive(Default)]
pub(super) struct Step {
    pub(super) sent: Vec<engate_store::Sent>,
    pub(super) gone: Vec<String>,
    pub(super) refused: Vec<Refused>,
    /// What the sink's plugin keeps.
    pub(super) writes: Writes,
    /// What the source's plugin keeps.
    pub(super) kept: Writes,
    pub(super) forget_before: Option<Timestamp>,
    pub(super) remember: bool,
}

/// Works on one track until there is nothing left to do, or it is told to stop.
pub(super) async fn work<S: Origin, T: Target>(
    run: &SyncRun<'_, S, T>,
    stream: &StreamSpec,
    partition: &Partition,
) -> Result<TrackEnd, RunFailure> {
    let plan = run.source.plan(stream, partition).await?;
    let id = track_id(run.job, &stream.name, partition);
    let track =
        Track { id, tenant: run.tenant, job: run.job, stream: stream.name.clone(), partition: partition.clone() };
    let state = run.store.track_claim(&track, run.fence, run.clock.now()).await.map_err(of_store)?;
    let held = run.store.quarantine_count(id).await.map_err(of_store)?;
    let (entries, kept) = state.page.as_deref().map_or_else(|| Ok(Default::default()), unpack)?;
    let shape = S::shape(&plan);
    let info = StreamInfo {
        name: stream.name.clone(),
        target: stream.target_of(partition),
        key: shape.key.clone(),
        columns: shape.columns.iter().map(drift::ColumnShape::column).collect(),
    };
    let durable = state.checkpoint.pass.is_some();
    let sizer = Sizer::new(run.page_size());
    let mut hand = Hand { stream, plan, info, state, entries, kept, held, durable, sizer };
    hand.check_quarantine(run)?;
    hand.check_ends(run)?;
    if !prepare(run, &mut hand).await? {
        return Ok(TrackEnd::Stopped);
    }
    let reconcile = stream.reconcile_ms.map(Duration::from_millis);
    let (mut delta_done, mut begun) = (false, false);
    loop {
        if hand.state.checkpoint.pass.is_none() {
            if S::BY_CURSOR && begun {
                // The source has said that it has no more.
                return Ok(TrackEnd::Idle);
            }
            begun = true;
            let source = run.source.clock().await?;
            let checkpoint = &mut hand.state.checkpoint;
            let Some(kind) = checkpoint.next_kind(source, reconcile, delta_done) else { return Ok(TrackEnd::Idle) };
            let clocks = Clocks { source, engine: run.clock.now() };
            if S::BY_CURSOR {
                checkpoint.begin_feed(kind, &id.to_string(), clocks.engine);
            } else {
                checkpoint.begin(kind, &id.to_string(), clocks, &run.rules);
            }
        }
        hand.take_up(run).await;
        let kind = hand.pass()?.kind;
        if !pass(run, &mut hand).await? {
            return Ok(TrackEnd::Stopped);
        }
        delta_done |= kind == PassKind::Delta;
    }
}

/// Has the target ready for what the table is now; false where it was told to stop before.
async fn prepare<S: Origin, T: Target>(run: &SyncRun<'_, S, T>, hand: &mut Hand<'_, S>) -> Result<bool, RunFailure> {
    let added = match &hand.state.checkpoint.shape {
        None => false,
        Some(before) => match drift::judge(before, S::shape(&hand.plan)) {
            Drift::Same => return Ok(true),
            Drift::Automatic { added } => added,
            Drift::Conflict(message) => {
                let message = format!("{}: {message}", S::called(&hand.plan));
                return Err(RunFailure { code: "schema_conflict".to_owned(), message, retryable: false });
            }
        },
    };
    let refused = |failure: engate_model::verdict::Failure| RunFailure {
        code: failure.code,
        message: failure.message,
        retryable: failure.retryable,
    };
    let asked = run.target.open(&hand.info).await.map_err(refused)?;
    for (n, request) in asked.value.iter().enumerate() {
        // The last one decides: one that creates may find what it would create.
        if !run.deliver_plain(request, n + 1 == asked.value.len()).await? {
            return Ok(false);
        }
    }
    hand.state.checkpoint.shape = Some(S::shape(&hand.plan).clone());
    if added {
        run.report.note("info", format!("stream {}: new columns, all rows are read again", hand.stream.name));
        hand.state.checkpoint.reload();
    }
    hand.commit(run, PageChange::Keep, Step { writes: asked.writes, ..Step::default() }).await?;
    Ok(true)
}

/// Carries a pass to its end; false where it was told to stop before.
async fn pass<S: Origin, T: Target>(run: &SyncRun<'_, S, T>, hand: &mut Hand<'_, S>) -> Result<bool, RunFailure> {
    if hand.state.checkpoint.piece().is_none() && hand.pass()?.stage == Stage::Reading {
        let replays = run.replays(hand, &hand.sizer).await?;
        if !replays.is_empty() {
            let after = hand.pass()?.position.clone();
            let batch = Batch { entries: replays, ..Batch::from(after) };
            hand.take(run, batch).await?;
        }
    }
    loop {
        if run.stop.is_cancelled() {
            return Ok(false);
        }
        if hand.state.checkpoint.piece().is_some() {
            if !hand.send(run).await? {
                return Ok(false);
            }
            continue;
        }
        let pass = hand.pass()?;
        let position = pass.position.clone();
        match (pass.stage, position) {
            (Stage::Reading, position) => {
                let from = From { position, under_way: &[] };
                let batch = run.read(hand, pass, &hand.sizer, from).await?;
                hand.take(run, batch).await?;
            }
            (Stage::Sweeping, Position::Sent(after)) => {
                let batch = run.sweep(hand, &hand.sizer, &after).await?;
                hand.take(run, batch).await?;
            }
            (Stage::Sweeping | Stage::Closing, _) => return hand.close(run).await,
        }
    }
}

impl<S: Origin> Hand<'_, S> {
    /// What is known of one source and one target decides nothing about others.
    fn check_ends<T: Target>(&mut self, run: &SyncRun<'_, S, T>) -> Result<(), RunFailure> {
        let ends = Ends::of(run.settings, self.stream, &self.state.track.partition);
        if let Some(message) = self.state.checkpoint.ends.as_ref().and_then(|before| ends.departure(before)) {
            return Err(RunFailure { code: "ends_changed".to_owned(), message, retryable: false });
        }
        self.state.checkpoint.ends = Some(ends);
        Ok(())
    }

    fn pass(&self) -> Result<&PassState, RunFailure> {
        self.state.checkpoint.pass.as_ref().ok_or_else(|| RunFailure {
            code: "checkpoint_unreadable".to_owned(),
            message: "the checkpoint has no pass where one is under way; rewind the stream".to_owned(),
            retryable: false,
        })
    }

    /// Sees to it that a pass through a whole table can tell how far it is. That it cannot keeps nobody from it.
    async fn take_up<T: Target>(&mut self, run: &SyncRun<'_, S, T>) {
        let Some(pass) = self.state.checkpoint.pass.as_mut() else { return };
        if pass.kind != PassKind::Delta && pass.progress.expected.is_none() {
            pass.progress.expected = run.source.expected(&self.plan).await;
        }
        pass.progress.take_up(run.clock.now());
    }

    fn check_quarantine<T: Target>(&self, run: &SyncRun<'_, S, T>) -> Result<(), RunFailure> {
        if self.held <= u64::from(run.settings.quarantine_max) {
            return Ok(());
        }
        let message = format!(
            "{} records are in quarantine, and the job allows {}; replay or discard them, or allow more",
            self.held, run.settings.quarantine_max
        );
        Err(RunFailure { code: "quarantine_full".to_owned(), message, retryable: false })
    }

    /// Whether all that was sent stays in the ledger.
    pub(super) const fn remembers_all(&self) -> bool {
        S::BY_CURSOR || self.stream.reconcile_ms.is_some()
    }

    /// Takes what was read in hand: a page to be sent is written down, anything else is passed over.
    async fn take<T: Target>(&mut self, run: &SyncRun<'_, S, T>, mut batch: Batch) -> Result<(), RunFailure> {
        run.report.count(RunCounts { unchanged: batch.unchanged, ..RunCounts::default() });
        if !batch.entries.is_empty() {
            let ahead = Ahead::of(batch).await?;
            let page = self.stage(ahead);
            return self.commit(run, page, Step::default()).await;
        }
        let end = batch.end;
        let step = Step { kept: std::mem::take(&mut batch.kept), ..Step::default() };
        // A cursor that moved has to be kept even where nothing came with it.
        let moved = S::BY_CURSOR && (!step.kept.is_empty() || self.pass()?.position != batch.after);
        self.pass_over(run, batch);
        if !end {
            return self.commit(run, PageChange::Clear, step).await;
        }
        if self.pass()?.stage == Stage::Sweeping {
            self.state.checkpoint.swept();
        } else {
            let reconciles = self.pass()?.kind == PassKind::Reconcile;
            let sum = if reconciles { Some(run.sum_of_sent(self).await?) } else { None };
            self.state.checkpoint.read_out(sum);
        }
        if self.durable || moved {
            return self.commit(run, PageChange::Clear, step).await;
        }
        Ok(())
    }

    fn stage(&mut self, Ahead { batch, packed }: Ahead) -> PageChange {
        let pieces = match batch.cut {
            Some(size) => cut(batch.entries.iter().map(|entry| entry.data.len()), size),
            None => [Piece::all(u32::try_from(batch.entries.len()).unwrap_or(u32::MAX))].into(),
        };
        // A table is read to its end where nothing follows; a cursor's source says itself that this was the last page.
        let last = S::BY_CURSOR && batch.end;
        let read = Read { after: batch.after, seen: batch.seen, rows: batch.rows, last };
        self.state.checkpoint.stage(pieces, read);
        (self.entries, self.kept) = (batch.entries, batch.kept);
        PageChange::Put(packed)
    }

    fn pass_over<T: Target>(&mut self, run: &SyncRun<'_, S, T>, batch: Batch) {
        let read = Read { after: batch.after, seen: batch.seen, rows: batch.rows, last: false };
        self.state.checkpoint.pass_over(read, run.clock.now());
    }

    /// Sends the piece in hand and reads the next page meanwhile; false where it was told to stop.
    async fn send<T: Target>(&mut self, run: &SyncRun<'_, S, T>) -> Result<bool, RunFailure> {
        let Some(piece) = self.state.checkpoint.piece() else { return Ok(true) };
        let (pass, page) = self.page(piece.from, piece.to)?;
        let (journey, ahead) = tokio::join!(run.deliver(&pass, &page), self.read_ahead(run));
        let journey = match journey {
            Ok(journey) => journey,
            Err(failure) => {
                if run.rules.planted == Some(Planted::WatermarkAhead) {
                    self.state.checkpoint.set_aside(run.clock.now());
                    self.commit(run, PageChange::Clear, Step::default()).await?;
                }
                return Err(failure);
            }
        };
        let Journey { settled, strained } = journey;
        if strained {
            self.sizer.shrink();
        } else {
            self.sizer.taken();
        }
        let mut step = match settled {
            Settled::Interrupted => return Ok(false),
            Settled::Taken { rejections, writes } => self.taken(run, piece, &rejections, writes)?,
            Settled::Halve { code, message } => {
                if self.state.checkpoint.halve() {
                    self.commit(run, PageChange::Keep, Step::default()).await?;
                    return Ok(true);
                }
                self.set_aside(run, piece, &code, &message)?
            }
        };
        if self.state.checkpoint.piece().is_none() {
            step.kept = std::mem::take(&mut self.kept);
        }
        // What the page leaves behind and the next page are one step.
        let next = match (self.state.checkpoint.piece(), ahead) {
            (None, Some(ahead)) => Some(ahead?),
            _ => None,
        };
        let page = match next {
            Some(ahead) if !ahead.batch.entries.is_empty() => {
                run.report.count(RunCounts { unchanged: ahead.batch.unchanged, ..RunCounts::default() });
                self.stage(ahead)
            }
            next => return self.go_on(run, next.map(|ahead| ahead.batch), step).await,
        };
        self.commit(run, page, step).await?;
        self.check_quarantine(run).map(|()| true)
    }

    /// Writes a settled piece down with nothing new to send behind it. That the table is read to its end is part of the same
    /// step, since what comes later may not follow a pass whose end the target was told.
    async fn go_on<T: Target>(
        &mut self,
        run: &SyncRun<'_, S, T>,
        next: Option<Batch>,
        step: Step,
    ) -> Result<bool, RunFailure> {
        let change = if self.state.checkpoint.piece().is_some() { PageChange::Keep } else { PageChange::Clear };
        let reconciles = self.pass()?.kind == PassKind::Reconcile;
        match next {
            Some(batch) if batch.end && !reconciles => {
                run.report.count(RunCounts { unchanged: batch.unchanged, ..RunCounts::default() });
                self.pass_over(run, batch);
                self.state.checkpoint.read_out(None);
                self.commit(run, change, step).await?;
            }
            next => {
                self.commit(run, change, step).await?;
                if let Some(batch) = next {
                    self.take(run, batch).await?;
                }
            }
        }
        self.check_quarantine(run).map(|()| true)
    }

    /// The page behind the one in hand, where this is the last piece of that and there is more to read.
    async fn read_ahead<T: Target>(&self, run: &SyncRun<'_, S, T>) -> Option<Result<Ahead, RunFailure>> {
        let pass = self.state.checkpoint.pass.as_ref()?;
        let page = pass.page.as_ref()?;
        if S::BY_CURSOR || pass.stage != Stage::Reading || page.pieces.len() != 1 || run.stop.is_cancelled() {
            return None;
        }
        let from = From { position: page.after.clone(), under_way: &self.entries };
        Some(match run.read(self, pass, &self.sizer, from).await {
            Ok(batch) => Ahead::of(batch).await,
            Err(failure) => Err(failure),
        })
    }

    /// The pass and the page as the plugin sees them.
    fn page(&self, from: u32, to: u32) -> Result<(Pass, Page), RunFailure> {
        let (pass, track) = (self.pass()?, &self.state.track);
        let entries = self.entries.get(from as usize..to as usize).unwrap_or_default();
        let (first, last) = (entries.first(), entries.last());
        let (Some(first), Some(last)) = (first, last) else {
            let message = "the page in hand is not the one of the checkpoint; rewind the stream".to_owned();
            return Err(RunFailure { code: "page_unreadable".to_owned(), message, retryable: false });
        };
        let sequence = pass.next_number();
        let epoch = self.state.checkpoint.epoch;
        let id = page_id(&track.id.to_string(), epoch, &pass.id, sequence, &first.key, &last.key);
        let page = Page { id, sequence, changes: entries.iter().map(Entry::change).collect() };
        Ok((self.pass_of(pass), page))
    }

    fn pass_of(&self, pass: &PassState) -> Pass {
        let pairs = self.state.track.partition.iter().map(|(dimension, value)| (dimension.clone(), value.clone()));
        Pass {
            id: pass.id.clone(),
            stream: self.info.clone(),
            partition: pairs.collect(),
            range_start: pass.lower.unwrap_or(pass.upper),
            started_at: pass.started_at,
        }
    }

    /// All is acknowledged: the target is told, and the range counts as covered. False where it was told to stop before.
    async fn close<T: Target>(&mut self, run: &SyncRun<'_, S, T>) -> Result<bool, RunFailure> {
        let pass = self.pass()?.clone();
        let mut step = Step { remember: pass.requests > 0, ..Step::default() };
        if pass.requests > 0 {
            let totals = Totals {
                records: pass.records,
                requests: pass.requests,
                started_at: pass.started_at,
                ended_at: pass.ended_at,
            };
            let asked = run.target.close(&self.pass_of(&pass), totals).await;
            let asked = asked.map_err(|f| RunFailure { code: f.code, message: f.message, retryable: f.retryable })?;
            if let Some(request) = &asked.value
                && !run.deliver_plain(request, true).await?
            {
                return Ok(false);
            }
            step.writes = asked.writes;
        }
        let maximum = match run.rules.planted {
            Some(Planted::MaximumOfAnotherSnapshot) => run.source.largest_stamp(&self.plan).await?,
            _ => None,
        };
        let before = self.state.checkpoint.committed_upper;
        let reconciles = self.stream.reconcile_ms.is_some();
        self.state.checkpoint.finish(reconciles, maximum, &run.rules);
        if !self.remembers_all() && pass.kind != PassKind::Reconcile {
            step.forget_before = Some(window::settled_before(pass.upper, &run.rules));
        }
        let moved = before.is_none_or(|before| pass.upper < before || pass.upper.since(before) >= QUIET_STEP);
        if self.durable || pass.kind != PassKind::Delta || moved {
            self.commit(run, PageChange::Clear, step).await?;
        }
        self.durable = false;
        if pass.kind != PassKind::Reconcile {
            run.report.covered(&self.stream.name, &self.state.track.partition, pass.started_at);
        }
        Ok(true)
    }

    /// Adds to what is in quarantine.
    pub(super) const fn hold_more(&mut self, count: u64) {
        self.held += count;
    }

    /// Writes a step down, whole or not at all.
    pub(super) async fn commit<T: Target>(
        &mut self,
        run: &SyncRun<'_, S, T>,
        page: PageChange,
        step: Step,
    ) -> Result<(), RunFailure> {
        let sides = [(run.source.plugin(), step.kept), (Some(run.plugin), step.writes)];
        let kept = sides.into_iter().filter(|(_, writes)| !writes.is_empty());
        let plugins: Vec<PluginWrites> =
            kept.filter_map(|(plugin, writes)| Some((plugin?.to_owned(), writes.into_iter().collect()))).collect();
        let commit = SyncCommit {
            from: &self.state,
            checkpoint: &self.state.checkpoint,
            page,
            sent: step.sent,
            gone: step.gone,
            refused: step.refused,
            forget_before: step.forget_before,
            plugins,
            remember: step.remember,
            now: run.clock.now(),
        };
        self.state.version = run.store.sync_commit(commit).await.map_err(of_store)?;
        self.durable = self.state.checkpoint.pass.is_some();
        Ok(())
    }
}
