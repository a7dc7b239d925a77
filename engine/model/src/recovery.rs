//! Recoveries: the deliveries of a filter and a time are tried again, one after the other in the order of their codes, at
//! a rate. What is decided here is how far one is and when its next delivery may go.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    delivery::DeliveryState,
    id::{EndpointId, IntegratorId, RecoveryId, TenantId},
    time::Timestamp,
};

/// Deliveries a second where nobody says how many.
pub const RATE_DEFAULT: u32 = 10;
/// Deliveries a second at most.
pub const RATE_MAX: u32 = 500;
/// Recoveries of one tenant under way at most.
pub const RUNNING_MAX: u64 = 5;
/// Time that was not used (nobody looked, a node died) and is made up for at most; so the burst after it has a bound.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Where a recovery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryState {
    /// Some node goes through its deliveries.
    Running,
    /// It went through all of them.
    Succeeded,
    /// Someone called it off.
    Cancelled,
}

impl RecoveryState {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads a code.
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::Running, Self::Succeeded, Self::Cancelled].into_iter().find(|state| state.code() == code)
    }
}

/// Which deliveries, beside the time; empty and none mean any. As it is stored, and so names are ids here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryFilter {
    /// In one of these states.
    pub states: Vec<DeliveryState>,
    /// By how the last attempt ended: succeeded, failed, none yet.
    pub success: Vec<Option<bool>>,
    /// Of one of these integrators.
    pub integrators: Vec<IntegratorId>,
    /// To one of these endpoints.
    pub endpoints: Vec<EndpointId>,
    /// Of one of these types.
    pub event_types: Vec<String>,
    /// Tried that often or more.
    pub attempts_min: Option<u32>,
    /// Tried that often or less.
    pub attempts_max: Option<u32>,
}

/// A recovery and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Its id.
    pub id: RecoveryId,
    /// Whose deliveries.
    pub tenant: TenantId,
    /// Which of them.
    pub filter: RecoveryFilter,
    /// Created at this instant or later.
    pub since: Timestamp,
    /// Created before this instant.
    pub until: Timestamp,
    /// Deliveries a second at most.
    pub rate: u32,
    /// Where it stands.
    pub state: RecoveryState,
    /// How many matched when it was started.
    pub matched: u64,
    /// Whether `matched` is a number that they were not below.
    pub matched_estimated: bool,
    /// The code up to which it went through all there is; 0: it did not begin.
    pub position: i64,
    /// Deliveries set due.
    pub retried: u64,
    /// Deliveries that could not be tried again, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// What keeps it from going on at present.
    pub trouble: Option<String>,
    /// Who started it.
    pub created_by: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When the next delivery may be gone through; none once it has ended.
    pub next_at: Option<Timestamp>,
}

impl Recovery {
    /// How many deliveries may be gone through at `now`, one after the other.
    pub fn room(&self, now: Timestamp) -> u64 {
        let Some(next_at) = self.next_at.filter(|at| *at <= now) else { return 0 };
        let unused = now.as_micros() - begins(next_at, now).as_micros();
        u64::try_from(unused / interval_us(self.rate)).unwrap_or(0) + 1
    }

    /// When the next delivery may be gone through, after one was at `now`.
    pub fn paced(&self, now: Timestamp) -> Timestamp {
        let from = begins(self.next_at.unwrap_or(now), now);
        Timestamp::from_micros(from.as_micros().saturating_add(interval_us(self.rate)))
    }

    /// One delivery was gone through at `now`: tried again, or left out for a reason.
    pub fn went_through(&mut self, code: i64, skipped: Option<&str>, now: Timestamp) {
        self.next_at = Some(self.paced(now));
        self.position = code;
        self.trouble = None;
        match skipped {
            None => self.retried = self.retried.saturating_add(1),
            Some(reason) => {
                let count = self.skipped.entry(reason.to_owned()).or_default();
                *count = count.saturating_add(1);
            }
        }
    }
}

/// From when on time that was not used counts.
fn begins(next_at: Timestamp, now: Timestamp) -> Timestamp {
    next_at.max(now.before(CATCH_UP))
}

/// Microseconds between two deliveries, rounded up: the rate is a bound.
fn interval_us(rate: u32) -> i64 {
    i64::from(1_000_000_u32.div_ceil(rate.max(1)))
}

/// Why a delivery in that state is not tried again, where the state says so; `faulty` where it is parked because its plugin
/// fails again and again.
pub const fn refused_in(state: DeliveryState, faulty: bool) -> Option<&'static str> {
    match state {
        DeliveryState::Failed | DeliveryState::Pending => None,
        DeliveryState::Parked if faulty => None,
        DeliveryState::Delivering => Some(IN_PROGRESS),
        other => Some(other.code()),
    }
}

/// An attempt is queued or under way.
pub const IN_PROGRESS: &str = "in_progress";
/// Its endpoint was deleted.
pub const ENDPOINT_DELETED: &str = "endpoint_deleted";
/// Its event is kept no longer.
pub const EVENT_NOT_KEPT: &str = "event_not_kept";
/// Its endpoint takes the newest version only, and there is a newer one.
pub const NEWER_VERSION: &str = "newer_version";
/// Between the look at it and its turn something else happened to it.
pub const CHANGED: &str = "changed_meanwhile";
/// It was forgotten before its turn came.
pub const NOT_KEPT: &str = "not_kept";
/// It is a trial of its endpoint: its event is an example that never happened.
pub const TEST: &str = "test";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_780_000_000_000 + millis)
    }

    fn recovery(rate: u32) -> Recovery {
        Recovery {
            id: RecoveryId::new(at(0), 1),
            tenant: TenantId::new(at(0), 1),
            filter: RecoveryFilter::default(),
            since: at(0),
            until: at(0),
            rate,
            state: RecoveryState::Running,
            matched: 0,
            matched_estimated: false,
            position: 0,
            retried: 0,
            skipped: BTreeMap::new(),
            trouble: None,
            created_by: "ana".into(),
            started_at: at(0),
            finished_at: None,
            next_at: Some(at(0)),
        }
    }

    /// Goes through whatever may be at each instant; gives how many those were.
    fn walk(recovery: &mut Recovery, instants: impl Iterator<Item = i64>) -> Vec<(i64, u64)> {
        let mut went = Vec::new();
        for millis in instants {
            let room = recovery.room(at(millis));
            for _ in 0..room {
                assert!(recovery.next_at.unwrap() <= at(millis), "what there is room for may go");
                let code = recovery.position + 1;
                recovery.went_through(code, None, at(millis));
            }
            assert!(recovery.next_at.unwrap() > at(millis), "and no more than that");
            went.push((millis, room));
        }
        went
    }

    #[test]
    fn the_rate_is_kept_however_the_clock_steps() {
        for rate in [1, 3, 10, 300, RATE_MAX] {
            let mut one = recovery(rate);
            walk(&mut one, 0..10_000);
            let steady = one.retried;
            assert!(steady <= u64::from(rate) * 10, "{rate}: {steady} in ten seconds");
            assert!(steady >= u64::from(rate) * 10 * 95 / 100, "{rate}: {steady} in ten seconds");
            // A node looks ten times a second at most; that is enough for every rate.
            let mut tenths = recovery(rate);
            walk(&mut tenths, (0..10_000).step_by(100));
            assert!(tenths.retried >= u64::from(rate) * 10 * 95 / 100, "{rate}: {} in ten seconds", tenths.retried);
            // Looks that are far apart make up for a second, and for no more.
            let went = walk(&mut one, (20_000..80_000).step_by(15_000));
            assert!(went.iter().all(|(_, room)| *room <= u64::from(rate) + 1), "{rate}: {went:?}");
            // In any second and a half there are no more than two seconds and a half allow.
            let mut uneven = recovery(rate);
            let steps = [1, 7, 900, 1, 30, 2_500, 4, 4, 1_000].into_iter().cycle().take(300);
            let instants = steps.scan(0, |now, step| {
                *now += step;
                Some(*now)
            });
            let went = walk(&mut uneven, instants);
            for (from, _) in &went {
                let within = went.iter().filter(|(at, _)| (*from..from + 1_500).contains(at));
                let count: u64 = within.map(|(_, room)| room).sum();
                assert!(count <= u64::from(rate) * 5 / 2 + 1, "{rate}: {count} from {from}");
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_stops_it_and_lets_nothing_go_twice() {
        let mut one = recovery(10);
        walk(&mut one, 0..1_000);
        let before = one.clone();
        assert_eq!(one.room(at(-5_000)), 0);
        walk(&mut one, -5_000..900);
        assert_eq!(one, before);
    }

    #[test]
    fn what_was_gone_through_is_counted() {
        let mut one = recovery(1);
        one.trouble = Some("the database is not available".into());
        one.went_through(7, None, at(0));
        one.went_through(9, Some(NEWER_VERSION), at(1_000));
        one.went_through(12, Some(NEWER_VERSION), at(2_000));
        assert_eq!((one.position, one.retried, one.trouble.as_deref()), (12, 1, None));
        assert_eq!(one.skipped, [(NEWER_VERSION.to_owned(), 2)].into());
        assert_eq!(one.next_at, Some(at(3_000)));
    }

    #[test]
    fn states_that_end_a_delivery_for_good_are_reasons() {
        let refused = DeliveryState::ALL.map(|state| refused_in(state, false));
        let expected = [
            None,
            Some(IN_PROGRESS),
            Some("succeeded"),
            None,
            Some("superseded"),
            Some("skipped"),
            Some("cancelled"),
            Some("parked"),
        ];
        assert_eq!(refused, expected);
        assert_eq!(refused_in(DeliveryState::Parked, true), None);
    }

    #[test]
    fn a_filter_survives_its_text() {
        let filter = RecoveryFilter {
            states: vec![DeliveryState::Failed, DeliveryState::Parked],
            success: vec![Some(false), None],
            integrators: vec![IntegratorId::new(at(0), 3)],
            endpoints: vec![EndpointId::new(at(0), 4)],
            event_types: vec!["bill.paid".into()],
            attempts_min: Some(1),
            attempts_max: None,
        };
        let text = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<RecoveryFilter>(&text).unwrap(), filter);
        assert_eq!(serde_json::from_str::<RecoveryFilter>("{}").unwrap(), RecoveryFilter::default());
    }
}
