//! Whether an endpoint takes anything at all. One that fails again and again is left alone for a while: its
//! deliveries wait with their tries unspent, and one of them goes as a probe after a wait that grows. What keeps
//! failing for days is to be disabled, with warnings before.
//!
//! Unlike the [`Breaker`](crate::breaker::Breaker) of plugins, which looks at the engine's side of a call, this
//! looks at the partner's.

use std::{collections::VecDeque, time::Duration};

use crate::{
    time::Timestamp,
    verdict::{Outcome, Verdict},
};

/// Why a delivery waits whose endpoint is left alone.
pub const ENDPOINT_FAILING: &str = "endpoint_failing";
/// Failures in a row may lie this far apart at most to open the circuit.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Longest wait between two probes.
pub const PROBE_WAIT_MAX: Duration = Duration::from_secs(300);
/// A series of failures that lasted this long is written down, even where it was too thin to open the circuit.
const RECORD_AFTER: Duration = Duration::from_secs(60);
/// Warnings before an endpoint is disabled, by how many tenths of the time have passed.
const WARNINGS_AT_TENTHS: [u32; 2] = [5, 9];

/// When the circuit opens, and when an endpoint is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitRules {
    /// Failures in a row, within [`WINDOW`], that open it; 0: it never opens.
    pub failures: u32,
    /// Wait before the first probe; doubles with each that fails, up to [`PROBE_WAIT_MAX`].
    pub probe_wait: Duration,
    /// How long every attempt has to fail before the endpoint is disabled; zero: it never is.
    pub disable_after: Duration,
}

impl Default for CircuitRules {
    fn default() -> Self {
        Self { failures: 10, probe_wait: Duration::from_secs(5), disable_after: Duration::from_secs(5 * 24 * 3_600) }
    }
}

/// What an attempt says of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impression {
    /// It took the delivery.
    Took,
    /// It is there, and did not take it.
    Refused,
    /// It cannot be reached, or says itself that it is out of order (5xx).
    Down,
    /// The attempt never got as far as the endpoint.
    Nothing,
}

impl Impression {
    /// What `outcome` says, with the status of the response where there was one.
    pub fn of(outcome: &Outcome, status: Option<u16>) -> Self {
        match outcome {
            Outcome::Judged(Verdict::Success { .. }) => Self::Took,
            Outcome::Judged(_) if status.is_some_and(|status| status >= 500) => Self::Down,
            Outcome::Judged(_) => Self::Refused,
            // Refused by the engine's own rules, or not to be built: nobody was called.
            Outcome::Transport(failure) if matches!(failure.code.as_str(), "egress_denied" | "invalid_request") => {
                Self::Nothing
            }
            Outcome::Transport(_) => Self::Down,
            Outcome::Plugin(_) | Outcome::Skipped(_) => Self::Nothing,
        }
    }
}

/// How an endpoint fails, as it is written down for other nodes and later days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failing {
    /// When the first of an unbroken series of attempts failed.
    pub since: Timestamp,
    /// Until when it is left alone; none: it is not.
    pub probe_at: Option<Timestamp>,
    /// How often in a row it was found to be down, the opening included.
    pub openings: u32,
    /// Warnings given beside the first.
    pub warnings: u32,
}

/// What follows from an attempt beyond its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// To be written down; `opened` where what waits in memory is to be given back.
    Failing {
        /// How it fails.
        failing: Failing,
        /// Whether it is left alone from now on.
        opened: bool,
    },
    /// It takes deliveries again.
    Recovered,
    /// It has failed for too long.
    Disable(Failing),
}

/// Whether a lane may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// As it likes.
    Open,
    /// One at a time, to see whether the endpoint takes it.
    Probe,
    /// Not before that.
    Shut(Timestamp),
}

/// What is remembered of one endpoint's attempts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Circuit {
    /// When the present series of failures began.
    since: Option<Timestamp>,
    /// The last times it was down, as many as open the circuit.
    downs: VecDeque<Timestamp>,
    probe_at: Option<Timestamp>,
    openings: u32,
    warnings: u32,
    /// Whether it is written down.
    recorded: bool,
}

impl Circuit {
    /// Takes up what another node, or this one before it started again, wrote down.
    pub fn adopt(&mut self, failing: Failing) {
        self.since = Some(self.since.map_or(failing.since, |since| since.min(failing.since)));
        self.warnings = self.warnings.max(failing.warnings);
        if failing.openings > self.openings || failing.probe_at > self.probe_at {
            self.probe_at = failing.probe_at;
            self.openings = failing.openings;
        }
        self.recorded = true;
    }

    /// What is written down of it, as far as this node knows.
    pub fn recorded(&self) -> Option<Failing> {
        self.failing().filter(|_| self.recorded)
    }

    /// What was to be written down was not: the next failure tries again.
    pub fn forget_record(&mut self) {
        self.recorded = false;
    }

    /// Whether there is nothing to remember.
    pub fn is_at_rest(&self) -> bool {
        self.since.is_none() && self.probe_at.is_none()
    }

    /// Whether the endpoint is left alone, but for probes.
    pub const fn is_shut(&self) -> bool {
        self.probe_at.is_some()
    }

    /// Whether the endpoint may be called at `now`.
    pub fn gate(&self, now: Timestamp) -> Gate {
        match self.probe_at {
            None => Gate::Open,
            Some(at) if now < at => Gate::Shut(at),
            Some(_) => Gate::Probe,
        }
    }

    /// Someone wants a try: the next probe may go now.
    pub fn probe_now(&mut self, now: Timestamp) {
        self.probe_at = self.probe_at.map(|at| at.min(now));
    }

    /// Takes note of an attempt.
    pub fn note(&mut self, impression: Impression, rules: CircuitRules, now: Timestamp) -> Option<Finding> {
        match impression {
            Impression::Took => return self.recover(),
            Impression::Nothing => {
                // A probe that told nothing: another one, after the same wait.
                if self.gate(now) == Gate::Probe {
                    self.probe_at = Some(now.after(probe_wait(rules, self.openings)));
                }
                return None;
            }
            Impression::Refused | Impression::Down => {}
        }
        let since = *self.since.get_or_insert(now);
        let lasted = now.since(since);
        if !rules.disable_after.is_zero() && lasted >= rules.disable_after {
            return self.failing().map(Finding::Disable);
        }
        let changed = if impression == Impression::Down { self.down(rules, now) } else { self.answered() };
        let warned = self.warn(lasted, rules);
        if !(changed || warned || (!self.recorded && lasted >= RECORD_AFTER)) {
            return None;
        }
        self.recorded = true;
        let opened = changed && self.probe_at.is_some();
        self.failing().map(|failing| Finding::Failing { failing, opened })
    }

    fn recover(&mut self) -> Option<Finding> {
        let before = std::mem::take(self);
        before.recorded.then_some(Finding::Recovered)
    }

    /// It is down once more; whether that opened the circuit, or found it still to be.
    fn down(&mut self, rules: CircuitRules, now: Timestamp) -> bool {
        match self.gate(now) {
            // One of those that were under way when it opened.
            Gate::Shut(_) => false,
            Gate::Probe => self.open(rules, now),
            Gate::Open if rules.failures == 0 => false,
            Gate::Open => {
                self.downs.push_back(now);
                let most = usize::try_from(rules.failures).unwrap_or(usize::MAX);
                while self.downs.len() > most {
                    self.downs.pop_front();
                }
                let recent = self.downs.front().is_some_and(|first| now.since(*first) <= WINDOW);
                self.downs.len() >= most && recent && self.open(rules, now)
            }
        }
    }

    fn open(&mut self, rules: CircuitRules, now: Timestamp) -> bool {
        self.openings = self.openings.saturating_add(1);
        self.probe_at = Some(now.after(probe_wait(rules, self.openings)));
        self.downs.clear();
        true
    }

    /// It answered, if only with a refusal; whether that closed the circuit.
    fn answered(&mut self) -> bool {
        self.downs.clear();
        self.openings = 0;
        self.probe_at.take().is_some()
    }

    fn warn(&mut self, lasted: Duration, rules: CircuitRules) -> bool {
        if rules.disable_after.is_zero() {
            return false;
        }
        let passed = WARNINGS_AT_TENTHS.iter().filter(|tenths| lasted * 10 >= rules.disable_after * **tenths).count();
        let due = u32::try_from(passed).unwrap_or(u32::MAX);
        let more = due > self.warnings;
        self.warnings = self.warnings.max(due);
        more
    }

    fn failing(&self) -> Option<Failing> {
        let Self { probe_at, openings, warnings, .. } = *self;
        self.since.map(|since| Failing { since, probe_at, openings, warnings })
    }
}

/// The wait before the next probe, after it was found down `openings` times in a row.
fn probe_wait(rules: CircuitRules, openings: u32) -> Duration {
    let doubled = 2_u32.checked_pow(openings.saturating_sub(1)).unwrap_or(u32::MAX);
    rules.probe_wait.checked_mul(doubled).unwrap_or(PROBE_WAIT_MAX).min(PROBE_WAIT_MAX.max(rules.probe_wait))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Failure, judge_status};

    const RULES: CircuitRules =
        CircuitRules { failures: 3, probe_wait: Duration::from_secs(10), disable_after: Duration::from_secs(100_000) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + seconds * 1_000)
    }

    fn opened_at(probe: i64, openings: u32) -> Option<Finding> {
        let failing = Failing { since: at(0), probe_at: Some(at(probe)), openings, warnings: 0 };
        Some(Finding::Failing { failing, opened: true })
    }

    fn down(circuit: &mut Circuit, seconds: i64) -> Option<Finding> {
        circuit.note(Impression::Down, RULES, at(seconds))
    }

    #[test]
    fn it_opens_after_so_many_failures_in_a_row_and_probes_after_waits_that_grow() {
        let mut circuit = Circuit::default();
        assert_eq!([0, 1].map(|s| down(&mut circuit, s)), [None, None]);
        assert_eq!(circuit.gate(at(2)), Gate::Open);
        assert_eq!(down(&mut circuit, 2), opened_at(12, 1));
        assert_eq!((circuit.gate(at(11)), circuit.gate(at(12))), (Gate::Shut(at(12)), Gate::Probe));
        assert_eq!(down(&mut circuit, 5), None, "what was under way when it opened changes nothing");
        assert_eq!(down(&mut circuit, 13), opened_at(33, 2), "twice the wait");
        assert_eq!(down(&mut circuit, 33), opened_at(73, 3));
        let mut last = 73;
        for openings in 4..20 {
            let Some(Finding::Failing { failing, .. }) = down(&mut circuit, last) else { panic!("not a probe") };
            assert_eq!(failing.openings, openings);
            let wait = failing.probe_at.unwrap().since(at(last));
            assert!(wait <= PROBE_WAIT_MAX, "{wait:?}");
            last += i64::try_from(wait.as_secs()).unwrap();
        }
        assert_eq!(circuit.note(Impression::Took, RULES, at(last)), Some(Finding::Recovered));
        assert_eq!((circuit.gate(at(last)), circuit.is_at_rest()), (Gate::Open, true));
    }

    #[test]
    fn failures_far_apart_or_with_a_success_between_do_not_open_it() {
        let mut circuit = Circuit::default();
        for n in 0..50 {
            let opened = matches!(down(&mut circuit, n * 31), Some(Finding::Failing { opened: true, .. }));
            assert!(!opened, "three failures take 62 s");
        }
        let mut circuit = Circuit::default();
        for n in 0..50 {
            let impression = if n % 3 == 2 { Impression::Took } else { Impression::Down };
            assert_eq!(circuit.note(impression, RULES, at(n)), None);
        }
    }

    #[test]
    fn an_endpoint_that_answers_is_not_down() {
        let mut circuit = Circuit::default();
        (0..30).for_each(|n| assert_eq!(circuit.note(Impression::Refused, RULES, at(n)), None));
        (30..33).for_each(|n| assert!(down(&mut circuit, n).is_none() || n % 3 == 2));
        assert!(matches!(circuit.gate(at(33)), Gate::Shut(_)));
        let Some(Finding::Failing { failing, opened }) = circuit.note(Impression::Refused, RULES, at(34)) else {
            panic!("nothing to write down")
        };
        assert_eq!((failing.probe_at, failing.since, opened), (None, at(0), false), "it goes on failing, reachable");
        assert_eq!(circuit.gate(at(34)), Gate::Open);
    }

    #[test]
    fn a_probe_that_told_nothing_is_made_again() {
        let mut circuit = Circuit::default();
        (0..3).for_each(|n| assert!(down(&mut circuit, n).is_none() || n % 3 == 2));
        assert_eq!(circuit.note(Impression::Nothing, RULES, at(20)), None);
        assert_eq!(circuit.gate(at(20)), Gate::Shut(at(30)));
        circuit.probe_now(at(21));
        assert_eq!(circuit.gate(at(21)), Gate::Probe);
    }

    #[test]
    fn failure_for_days_warns_twice_and_then_disables() {
        let mut circuit = Circuit::default();
        let mut seen = Vec::new();
        for n in 0..=100 {
            match circuit.note(Impression::Refused, RULES, at(n * 1_000)) {
                Some(Finding::Failing { failing, .. }) => seen.push((n, failing.warnings)),
                Some(Finding::Disable(failing)) => seen.push((n, 9 + failing.warnings)),
                other => assert_eq!(other, None),
            }
        }
        assert_eq!(seen, [(1, 0), (50, 1), (90, 2), (100, 11)]);
        let never = CircuitRules { disable_after: Duration::ZERO, ..RULES };
        assert!(!matches!(
            circuit.note(Impression::Refused, never, at(i64::from(u32::MAX))),
            Some(Finding::Disable(_))
        ));
    }

    #[test]
    fn what_another_node_wrote_down_is_taken_up() {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.recorded(), None);
        let failing = Failing { since: at(-500), probe_at: Some(at(40)), openings: 2, warnings: 1 };
        circuit.adopt(failing);
        assert_eq!((circuit.recorded(), circuit.gate(at(0))), (Some(failing), Gate::Shut(at(40))));
        circuit.adopt(Failing { since: at(-100), probe_at: Some(at(10)), openings: 1, warnings: 0 });
        assert_eq!(circuit.recorded(), Some(failing), "older news change nothing");
        assert_eq!(circuit.note(Impression::Took, RULES, at(41)), Some(Finding::Recovered));
    }

    #[test]
    fn an_attempt_speaks_of_the_endpoint_or_of_us() {
        let judged = |status| Impression::of(&Outcome::Judged(judge_status(status)), Some(status));
        assert_eq!([200, 302, 404, 410, 429].map(judged)[1..], [Impression::Refused; 4]);
        assert_eq!((judged(204), judged(500), judged(503)), (Impression::Took, Impression::Down, Impression::Down));
        let failure = |code: &str| Failure { code: code.into(), message: String::new(), retryable: true };
        let transport = |code| Impression::of(&Outcome::Transport(failure(code)), None);
        assert_eq!((transport("timeout"), transport("egress_denied")), (Impression::Down, Impression::Nothing));
        assert_eq!(Impression::of(&Outcome::Plugin(failure("trap")), Some(500)), Impression::Nothing);
    }
}
