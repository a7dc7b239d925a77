//! Whose turn it is. Each endpoint has a lane: a bounded queue and a bounded number of requests under way.
//! Lanes that can go are served in turn, one item each, so an endpoint that hangs or floods costs its own
//! lane only.

use std::collections::{HashMap, VecDeque};

use crate::id::EndpointId;

/// Items one lane holds in memory; what is beyond waits in the store.
pub const LANE_ITEMS_MAX: usize = 256;

/// How an item of a lane went, for the lane's pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The partner kept up: one more at once, little by little (additive increase).
    Steady,
    /// The partner asked to slow down: half as many at once (multiplicative decrease).
    SlowDown,
}

/// Lanes of items `T`, served in turn.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: HashMap<EndpointId, Lane<T>>,
    turn: VecDeque<EndpointId>,
    queued: usize,
    queued_max: usize,
}

#[derive(Debug)]
struct Lane<T> {
    queue: VecDeque<T>,
    in_flight: u32,
    in_flight_max: u32,
    /// The pace: how many at once the partner bears, 1 to `in_flight_max`.
    bearable: f64,
    in_turn: bool,
}

impl<T> Lane<T> {
    fn can_go(&self) -> bool {
        !self.queue.is_empty() && f64::from(self.in_flight) < self.bearable.floor()
    }
}

impl<T> Lanes<T> {
    /// Lanes that hold at most `queued_max` items together.
    pub fn new(queued_max: usize) -> Self {
        Self { lanes: HashMap::new(), turn: VecDeque::new(), queued: 0, queued_max }
    }

    /// How many items the endpoint's lane can take.
    pub fn room(&self, endpoint: EndpointId) -> usize {
        let queued = self.lanes.get(&endpoint).map_or(0, |lane| lane.queue.len());
        LANE_ITEMS_MAX.saturating_sub(queued).min(self.queued_max.saturating_sub(self.queued))
    }

    /// Queues `item`, or gives it back where the lane is full.
    ///
    /// # Errors
    /// The item, when there is no room.
    pub fn offer(&mut self, endpoint: EndpointId, in_flight_max: u32, item: T) -> Result<(), T> {
        if self.room(endpoint) == 0 {
            return Err(item);
        }
        let in_flight_max = in_flight_max.max(1);
        let lane = self.lanes.entry(endpoint).or_insert_with(|| Lane {
            queue: VecDeque::new(),
            in_flight: 0,
            in_flight_max,
            bearable: f64::from(in_flight_max),
            in_turn: false,
        });
        if lane.in_flight_max != in_flight_max {
            lane.bearable = f64::from(in_flight_max);
            lane.in_flight_max = in_flight_max;
        }
        lane.queue.push_back(item);
        self.queued += 1;
        self.join_turn(endpoint);
        Ok(())
    }

    /// The next item whose lane may have one more under way. The caller owes one [`Lanes::finished`] for it.
    pub fn next(&mut self) -> Option<(EndpointId, T)> {
        while let Some(endpoint) = self.turn.pop_front() {
            let Some(lane) = self.lanes.get_mut(&endpoint) else { continue };
            lane.in_turn = false;
            if !lane.can_go() {
                continue;
            }
            if let Some(item) = lane.queue.pop_front() {
                lane.in_flight += 1;
                self.queued = self.queued.saturating_sub(1);
                self.join_turn(endpoint);
                return Some((endpoint, item));
            }
        }
        None
    }

    /// An item of that lane is done with.
    pub fn finished(&mut self, endpoint: EndpointId, pace: Pace) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        lane.in_flight = lane.in_flight.saturating_sub(1);
        let most = f64::from(lane.in_flight_max);
        lane.bearable = match pace {
            Pace::Steady => (lane.bearable + 1.0 / lane.bearable).min(most),
            Pace::SlowDown => (lane.bearable / 2.0).max(1.0),
        };
        let at_full_pace = lane.bearable >= most;
        if lane.queue.is_empty() && lane.in_flight == 0 && at_full_pace {
            self.lanes.remove(&endpoint);
        } else {
            self.join_turn(endpoint);
        }
    }

    /// Takes out everything queued, in no order: what a node gives back when it stops or loses its lease.
    pub fn drain(&mut self) -> Vec<T> {
        self.turn.clear();
        self.queued = 0;
        self.lanes
            .values_mut()
            .flat_map(|lane| {
                lane.in_turn = false;
                lane.queue.drain(..)
            })
            .collect()
    }

    /// Items queued in all lanes.
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// Per lane with anything in it: endpoint, queued, under way.
    pub fn depths(&self) -> impl Iterator<Item = (EndpointId, usize, u32)> {
        self.lanes.iter().map(|(endpoint, lane)| (*endpoint, lane.queue.len(), lane.in_flight))
    }

    fn join_turn(&mut self, endpoint: EndpointId) {
        if let Some(lane) = self.lanes.get_mut(&endpoint)
            && !lane.in_turn
            && lane.can_go()
        {
            lane.in_turn = true;
            self.turn.push_back(endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn endpoint(n: u128) -> EndpointId {
        EndpointId::new(Timestamp::from_millis(1), n)
    }

    #[test]
    fn lanes_take_turns_whatever_their_length() {
        let mut lanes = Lanes::new(1_000);
        for n in 0..5 {
            lanes.offer(endpoint(1), 16, n).unwrap();
        }
        lanes.offer(endpoint(2), 16, 100).unwrap();
        let order: Vec<_> = std::iter::from_fn(|| lanes.next().map(|(_, item)| item)).collect();
        assert_eq!(order, [0, 100, 1, 2, 3, 4]);
    }

    #[test]
    fn a_lane_that_hangs_holds_no_more_than_its_own_share() {
        let mut lanes = Lanes::new(1_000);
        for n in 0..10 {
            lanes.offer(endpoint(1), 2, n).unwrap();
        }
        assert!(lanes.next().is_some() && lanes.next().is_some());
        assert_eq!(lanes.next(), None);
        lanes.offer(endpoint(2), 2, 99).unwrap();
        assert_eq!(lanes.next(), Some((endpoint(2), 99)));
        lanes.finished(endpoint(1), Pace::Steady);
        assert_eq!(lanes.next(), Some((endpoint(1), 2)));
    }

    #[test]
    fn a_lane_slows_by_half_and_recovers_little_by_little() {
        let mut lanes = Lanes::new(1_000);
        for n in 0..100 {
            lanes.offer(endpoint(1), 8, n).unwrap();
        }
        lanes.next().unwrap();
        lanes.finished(endpoint(1), Pace::SlowDown);
        let at_once = std::iter::from_fn(|| lanes.next()).count();
        assert_eq!(at_once, 4);
        for _ in 0..4 {
            lanes.finished(endpoint(1), Pace::Steady);
        }
        assert_eq!(std::iter::from_fn(|| lanes.next()).count(), 4, "4 + 4 x 1/4 is not yet 5 by floor of 4.9");
    }

    #[test]
    fn a_full_lane_gives_the_item_back() {
        let mut lanes = Lanes::new(3);
        assert!((0..3).all(|n| lanes.offer(endpoint(n), 1, n).is_ok()));
        assert_eq!(lanes.offer(endpoint(9), 1, 9), Err(9));
        assert_eq!(lanes.drain().len(), 3);
        assert_eq!((lanes.queued(), lanes.next()), (0, None));
    }

    proptest! {
        /// Every item comes out exactly once, in its lane's order, and no lane exceeds its share.
        #[test]
        fn nothing_is_lost_doubled_or_reordered(steps in prop::collection::vec((0_u128..4, 0_u8..3), 1..300)) {
            let mut lanes = Lanes::new(64);
            let mut expected: HashMap<EndpointId, VecDeque<usize>> = HashMap::new();
            let mut under_way: Vec<EndpointId> = Vec::new();
            for (n, (lane, action)) in steps.into_iter().enumerate() {
                match action {
                    0 => if lanes.offer(endpoint(lane), 2, n).is_ok() {
                        expected.entry(endpoint(lane)).or_default().push_back(n);
                    },
                    1 => if let Some((from, item)) = lanes.next() {
                        prop_assert_eq!(expected.get_mut(&from).and_then(VecDeque::pop_front), Some(item));
                        under_way.push(from);
                        prop_assert!(under_way.iter().filter(|e| **e == from).count() <= 2);
                    },
                    _ => if let Some(from) = under_way.pop() {
                        lanes.finished(from, if n % 3 == 0 { Pace::SlowDown } else { Pace::Steady });
                    },
                }
            }
            while lanes.queued() > 0 || !under_way.is_empty() {
                under_way.drain(..).for_each(|from| lanes.finished(from, Pace::Steady));
                while let Some((from, item)) = lanes.next() {
                    prop_assert_eq!(expected.get_mut(&from).and_then(VecDeque::pop_front), Some(item));
                    under_way.push(from);
                }
            }
            prop_assert!(expected.values().all(VecDeque::is_empty));
        }
    }
}
