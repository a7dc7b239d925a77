//! The work on TOTVS' side: requested, running, done or failed; asked for again where the answer was no answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Calls without an answer in a row after which a provisioning has failed; it can be asked for again.
pub const FAILURES_MAX: u32 = 20;
/// Entries of the log that are kept; the newest.
pub const LOG_MAX: usize = 50;
const RETRY_BASE: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two questions how far it is, at first.
const POLL_BASE: Duration = Duration::from_secs(1);

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProvisioningState {
    /// It was asked for, or is to be.
    Requested,
    /// It is being worked on.
    Running,
    /// It is there.
    Done,
    /// It was given up.
    Failed,
}

/// One try to ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisioningTry {
    /// When.
    pub at: Timestamp,
    /// What came of it, in a sentence.
    pub outcome: String,
}

/// A provisioning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioning {
    /// What was bought: the same contract asked for again is the same provisioning.
    pub contract: String,
    /// How far it is.
    pub state: ProvisioningState,
    /// What the other side calls it, once it answered.
    pub id: Option<String>,
    /// Tries to ask for it, and failures since; the newest.
    pub attempts: Vec<ProvisioningTry>,
    /// Calls without an answer, in a row.
    pub failures: u32,
    /// Questions how far it is.
    pub polls: u32,
    /// When to call again; none: there is nothing to wait for.
    pub next_at: Option<Timestamp>,
    /// Why it failed.
    pub reason: Option<String>,
    /// When its credentials were handed over.
    pub handed_over_at: Option<Timestamp>,
}

/// What the other side said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It took the request, under this id.
    Accepted(String),
    /// It has not begun.
    Waiting,
    /// It works on it.
    Working,
    /// It is done.
    Done,
    /// It gave up, for this reason.
    Failed(String),
    /// It gave no answer that can be used.
    Nothing(String),
}

impl Provisioning {
    /// To be asked for now.
    pub fn requested(contract: &str, now: Timestamp) -> Self {
        Self {
            contract: contract.to_owned(),
            state: ProvisioningState::Requested,
            id: None,
            attempts: Vec::new(),
            failures: 0,
            polls: 0,
            next_at: Some(now),
            reason: None,
            handed_over_at: None,
        }
    }

    /// There already, made by other ways than this.
    pub fn outside(now: Timestamp) -> Self {
        let outcome = "the operator says that it was done, and the credentials received".to_owned();
        Self {
            state: ProvisioningState::Done,
            next_at: None,
            attempts: vec![ProvisioningTry { at: now, outcome }],
            ..Self::requested("", now)
        }
    }

    /// Whether there is a call to make.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next_at.is_some_and(|at| at <= now)
    }

    /// Where it stands after `answer`.
    #[must_use]
    pub fn after(mut self, answer: Answer, now: Timestamp) -> Self {
        match answer {
            Answer::Accepted(id) => {
                self.log(now, "requested".to_owned());
                self.id = Some(id);
                self.waits(ProvisioningState::Requested, now);
            }
            Answer::Waiting => self.waits(ProvisioningState::Requested, now),
            Answer::Working => self.waits(ProvisioningState::Running, now),
            Answer::Done => self.ends(ProvisioningState::Done, None),
            Answer::Failed(reason) => {
                self.log(now, format!("failed: {reason}"));
                self.ends(ProvisioningState::Failed, Some(reason));
            }
            Answer::Nothing(why) => {
                self.failures += 1;
                self.log(now, why.clone());
                if self.failures >= FAILURES_MAX {
                    self.ends(ProvisioningState::Failed, Some(format!("no answer {FAILURES_MAX} times: {why}")));
                } else {
                    self.next_at = Some(now.after(doubled(RETRY_BASE, self.failures - 1)));
                }
            }
        }
        self
    }

    fn waits(&mut self, state: ProvisioningState, now: Timestamp) {
        if self.id.is_some() && self.next_at.is_some() {
            self.polls = self.polls.saturating_add(1);
        }
        self.failures = 0;
        self.state = state;
        self.next_at = Some(now.after(doubled(POLL_BASE, self.polls / 4)));
    }

    fn ends(&mut self, state: ProvisioningState, reason: Option<String>) {
        self.state = state;
        self.reason = reason;
        self.next_at = None;
    }

    fn log(&mut self, at: Timestamp, outcome: String) {
        if self.attempts.len() >= LOG_MAX {
            self.attempts.remove(0);
        }
        self.attempts.push(ProvisioningTry { at, outcome });
    }
}

fn doubled(base: Duration, times: u32) -> Duration {
    base.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn p5_no_answer_is_tried_again_and_every_try_is_written_down() {
        let nothing = || Answer::Nothing("500".to_owned());
        let first = Provisioning::requested("C-1", at(0)).after(nothing(), at(0));
        assert_eq!((first.state, first.next_at), (ProvisioningState::Requested, Some(Timestamp::from_millis(500))));
        assert!(!first.is_due(Timestamp::from_millis(499)) && first.is_due(at(1)));
        let third = first.after(nothing(), at(1)).after(Answer::Accepted("p-1".to_owned()), at(2));
        assert_eq!((third.attempts.len(), third.failures, third.id.as_deref()), (3, 0, Some("p-1")));
        let done = third.after(Answer::Working, at(3)).after(Answer::Done, at(4));
        assert_eq!((done.state, done.next_at, done.attempts.len()), (ProvisioningState::Done, None, 3));
    }

    #[test]
    fn it_fails_by_what_it_says_or_by_silence() {
        let failed = Provisioning::requested("C-1", at(0)).after(Answer::Failed("no licence".to_owned()), at(1));
        assert_eq!((failed.state, failed.reason.as_deref()), (ProvisioningState::Failed, Some("no licence")));
        let mut silent = Provisioning::requested("C-1", at(0));
        for n in 0..i64::from(FAILURES_MAX) {
            assert_eq!(silent.state, ProvisioningState::Requested);
            silent = silent.after(Answer::Nothing("timeout".to_owned()), at(n));
        }
        assert_eq!((silent.state, silent.next_at), (ProvisioningState::Failed, None));
    }
}
