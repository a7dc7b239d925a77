//! What follows from an acknowledged piece, or from a record that is set aside.

use engate_model::{
    QuarantineId,
    run::{RunCounts, RunFailure},
    sink::{Operation, Rejection},
    sync::{Piece, window},
};
use engate_store::{Refused, Sent, SentState};

use super::{
    SyncRun, Target, Writes,
    origin::Origin,
    packed::Entry,
    track::{Hand, Step},
};

impl<S: Origin> Hand<'_, S> {
    /// The target took the piece, but what it rejects.
    pub(super) fn taken<T: Target>(
        &mut self,
        run: &SyncRun<'_, S, T>,
        piece: Piece,
        rejections: &[Rejection],
        writes: Writes,
    ) -> Result<Step, RunFailure> {
        let mut step = Step { writes, ..Step::default() };
        let entries = self.entries.get(piece.from as usize..piece.to as usize).unwrap_or_default();
        let count = entries.len() as u64;
        let mut stamp = None;
        for (n, entry) in entries.iter().enumerate() {
            let rejection = rejections.iter().find(|rejection| rejection.index as usize == n);
            if let Some(Rejection { refusal, .. }) = rejection {
                step.refused.push(self.refused(run, entry, &refusal.code, &refusal.message));
                continue;
            }
            stamp = stamp.max(entry.stamp);
            self.sent(run, entry, &mut step);
        }
        let refused = step.refused.len() as u64;
        let accepted = count - refused;
        self.state.checkpoint.acknowledge(accepted, stamp, run.clock.now());
        self.hold_more(refused);
        run.report.count(RunCounts { rows: accepted, quarantined: refused, ..RunCounts::default() });
        Ok(step)
    }

    /// One record that the target refuses whatever is around it.
    pub(super) fn set_aside<T: Target>(
        &mut self,
        run: &SyncRun<'_, S, T>,
        piece: Piece,
        code: &str,
        message: &str,
    ) -> Result<Step, RunFailure> {
        let mut step = Step::default();
        if let Some(entry) = self.entries.get(piece.from as usize).cloned() {
            run.report.note("warn", format!("stream {}: a record is set aside: {code}", self.stream.name));
            step.refused.push(self.refused(run, &entry, code, message));
        }
        self.state.checkpoint.set_aside(run.clock.now());
        self.hold_more(1);
        run.report.count(RunCounts { quarantined: 1, ..RunCounts::default() });
        Ok(step)
    }

    /// What is kept of an acknowledged record: its hash, for as long as a pass may read it again. Of a record that no pass
    /// reads again nothing may stay, since what stays would be another version of it.
    fn sent<T: Target>(&self, run: &SyncRun<'_, S, T>, entry: &Entry, step: &mut Step) {
        let upper = self.state.checkpoint.pass.as_ref().map(|pass| pass.upper);
        let is_read_again = match (upper, entry.stamp) {
            (Some(upper), Some(stamp)) => stamp >= window::settled_before(upper, &run.rules),
            _ => false,
        };
        if entry.gone || !(self.remembers_all() || is_read_again) {
            step.gone.push(entry.key.clone());
            return;
        }
        let state = if entry.operation == Operation::Delete { SentState::Deleted } else { SentState::There };
        step.sent.push(Sent { key: entry.key.clone(), hash: entry.hash, stamp: entry.stamp, state });
    }

    fn refused<T: Target>(&self, run: &SyncRun<'_, S, T>, entry: &Entry, code: &str, message: &str) -> Refused {
        Refused {
            id: QuarantineId::new(run.clock.now(), run.chance.bits()),
            key: entry.key.clone(),
            hash: entry.hash,
            stamp: entry.stamp,
            operation: entry.operation,
            data: entry.data.clone(),
            code: code.to_owned(),
            message: message.to_owned(),
            pass: self.state.checkpoint.pass.as_ref().map(|pass| pass.id.clone()).unwrap_or_default(),
        }
    }
}
