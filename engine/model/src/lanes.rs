//! Whose turn it is. Each endpoint has a lane: a bounded queue and a bounded number of requests under way.
//! Lanes that can go are served in turn, one item each, so an endpoint that hangs or floods costs its own
//! lane only.

use std::collections::{HashMap, VecDeque};

use crate::id::EndpointId;

/// Items one lane holds in memory while there is room; what is beyond waits in the store, where other nodes find it.
pub const LANE_ITEMS_MAX: usize = 256;
/// Items that every lane may hold, whatever the others hold: a few endpoints that hang must not keep the rest out of
/// memory, where nothing would come to them until the others move.
pub const LANE_ITEMS_MIN: usize = 16;

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
    bytes: usize,
    bytes_max: usize,
}

/// An item and the memory it takes.
#[derive(Debug)]
struct Held<T> {
    item: T,
    bytes: usize,
}

#[derive(Debug)]
struct Lane<T> {
    queue: VecDeque<Held<T>>,
    /// Places kept for items that are on their way.
    reserved: usize,
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
    /// Lanes that hold at most `queued_max` items of `bytes_max` together, beside [`LANE_ITEMS_MIN`] each.
    pub fn new(queued_max: usize, bytes_max: usize) -> Self {
        Self { lanes: HashMap::new(), turn: VecDeque::new(), queued: 0, queued_max, bytes: 0, bytes_max }
    }

    /// How many items the endpoint's lane can take.
    pub fn room(&self, endpoint: EndpointId) -> usize {
        let held = self.held(endpoint);
        let shared = if self.bytes < self.bytes_max { self.queued_max.saturating_sub(self.queued) } else { 0 };
        let own = LANE_ITEMS_MIN.saturating_sub(held);
        LANE_ITEMS_MAX.saturating_sub(held).min(shared.max(own))
    }

    /// Places of the endpoint's lane that are taken or kept.
    fn held(&self, endpoint: EndpointId) -> usize {
        self.lanes.get(&endpoint).map_or(0, |lane| lane.queue.len() + lane.reserved)
    }

    /// Whether the endpoint's lane is half empty or more, and can take something.
    pub fn is_short(&self, endpoint: EndpointId) -> bool {
        self.held(endpoint) <= LANE_ITEMS_MAX / 2 && self.room(endpoint) > 0
    }

    /// Keeps up to `wanted` places for items that are on their way, and says how many. Each is settled by one
    /// [`Lanes::enter`] or [`Lanes::leave`].
    pub fn reserve(&mut self, endpoint: EndpointId, in_flight_max: u32, wanted: usize) -> usize {
        let got = self.room(endpoint).min(wanted);
        if got > 0 {
            self.lane(endpoint, in_flight_max).reserved += got;
            self.queued += got;
        }
        got
    }

    /// Queues an item that takes `bytes` of memory in a reserved place.
    pub fn enter(&mut self, endpoint: EndpointId, item: T, bytes: usize) {
        let lane = self.lane(endpoint, 1);
        let reserved = lane.reserved > 0;
        lane.reserved = lane.reserved.saturating_sub(1);
        lane.queue.push_back(Held { item, bytes });
        // Without a reservation the bound may be passed by one: better than losing the item.
        self.queued += usize::from(!reserved);
        self.bytes = self.bytes.saturating_add(bytes);
        self.join_turn(endpoint);
    }

    /// Queues an item that takes `bytes` of memory before all others of its lane, reserved or not: what someone waits for.
    pub fn enter_first(&mut self, endpoint: EndpointId, in_flight_max: u32, item: T, bytes: usize) {
        self.lane(endpoint, in_flight_max).queue.push_front(Held { item, bytes });
        self.queued += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.join_turn(endpoint);
    }

    /// Gives `places` reserved ones back.
    pub fn leave(&mut self, endpoint: EndpointId, places: usize) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            let places = places.min(lane.reserved);
            lane.reserved -= places;
            self.queued = self.queued.saturating_sub(places);
            self.forget_if_idle(endpoint);
        }
    }

    fn lane(&mut self, endpoint: EndpointId, in_flight_max: u32) -> &mut Lane<T> {
        let most = in_flight_max.max(1);
        self.lanes.entry(endpoint).or_insert_with(|| Lane {
            queue: VecDeque::new(),
            reserved: 0,
            in_flight: 0,
            in_flight_max: most,
            bearable: f64::from(most),
            in_turn: false,
        })
    }

    /// Sets how many of a lane may be under way at once, after the endpoint was edited.
    pub fn set_in_flight_max(&mut self, endpoint: EndpointId, in_flight_max: u32) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.in_flight_max = in_flight_max.max(1);
            lane.bearable = f64::from(lane.in_flight_max);
            self.join_turn(endpoint);
        }
    }

    /// The next item whose lane may have one more under way. The caller owes one [`Lanes::finished`] for it.
    pub fn take(&mut self) -> Option<(EndpointId, T)> {
        while let Some(endpoint) = self.turn.pop_front() {
            let Some(lane) = self.lanes.get_mut(&endpoint) else { continue };
            lane.in_turn = false;
            if !lane.can_go() {
                continue;
            }
            if let Some(Held { item, bytes }) = lane.queue.pop_front() {
                lane.in_flight += 1;
                self.queued = self.queued.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(bytes);
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
        self.join_turn(endpoint);
        self.forget_if_idle(endpoint);
    }

    /// Takes out everything queued, in no order: what a node gives back when it stops or loses its lease.
    pub fn drain(&mut self) -> Vec<T> {
        self.turn.clear();
        self.queued = self.lanes.values().map(|lane| lane.reserved).sum();
        self.bytes = 0;
        self.lanes
            .values_mut()
            .flat_map(|lane| {
                lane.in_turn = false;
                lane.queue.drain(..).map(|held| held.item)
            })
            .collect()
    }

    /// Items queued in all lanes, reserved places included.
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// Per lane with anything in it: endpoint, what is queued, how many are under way.
    pub fn depths(&self) -> impl Iterator<Item = (EndpointId, impl ExactSizeIterator<Item = &T>, u32)> {
        self.lanes.iter().map(|(endpoint, lane)| (*endpoint, lane.queue.iter().map(|held| &held.item), lane.in_flight))
    }

    /// A lane at rest and at full pace need not be remembered.
    fn forget_if_idle(&mut self, endpoint: EndpointId) {
        let idle = |lane: &Lane<T>| {
            lane.queue.is_empty()
                && lane.reserved == 0
                && lane.in_flight == 0
                && lane.bearable >= f64::from(lane.in_flight_max)
        };
        if self.lanes.get(&endpoint).is_some_and(idle) {
            self.lanes.remove(&endpoint);
        }
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

    fn offer<T>(lanes: &mut Lanes<T>, lane: u128, in_flight_max: u32, item: T) -> bool {
        let reserved = lanes.reserve(endpoint(lane), in_flight_max, 1) == 1;
        if reserved {
            lanes.enter(endpoint(lane), item, 1);
        }
        reserved
    }

    #[test]
    fn lanes_take_turns_whatever_their_length() {
        let mut lanes = Lanes::new(1_000, 1_000);
        for n in 0..5 {
            assert!(offer(&mut lanes, 1, 16, n));
        }
        assert!(offer(&mut lanes, 2, 16, 100));
        let order: Vec<_> = std::iter::from_fn(|| lanes.take().map(|(_, item)| item)).collect();
        assert_eq!(order, [0, 100, 1, 2, 3, 4]);
    }

    #[test]
    fn a_lane_that_hangs_holds_no_more_than_its_own_share() {
        let mut lanes = Lanes::new(1_000, 1_000);
        for n in 0..10 {
            assert!(offer(&mut lanes, 1, 2, n));
        }
        assert!(lanes.take().is_some() && lanes.take().is_some());
        assert_eq!(lanes.take(), None);
        assert!(offer(&mut lanes, 2, 2, 99));
        assert_eq!(lanes.take(), Some((endpoint(2), 99)));
        lanes.finished(endpoint(1), Pace::Steady);
        assert_eq!(lanes.take(), Some((endpoint(1), 2)));
    }

    #[test]
    fn a_lane_slows_by_half_and_recovers_little_by_little() {
        let mut lanes = Lanes::new(1_000, 1_000);
        for n in 0..100 {
            assert!(offer(&mut lanes, 1, 8, n));
        }
        lanes.take().unwrap();
        lanes.finished(endpoint(1), Pace::SlowDown);
        let at_once = std::iter::from_fn(|| lanes.take()).count();
        assert_eq!(at_once, 4);
        for _ in 0..4 {
            lanes.finished(endpoint(1), Pace::Steady);
        }
        assert_eq!(std::iter::from_fn(|| lanes.take()).count(), 4, "4 + 4 x 1/4 is not yet 5 by floor of 4.9");
    }

    #[test]
    fn full_lanes_take_nothing_more_but_each_has_its_own_few() {
        let mut lanes = Lanes::new(100, 1_000);
        assert_eq!((0..200).filter(|n| offer(&mut lanes, 1, 1, *n)).count(), 100);
        assert_eq!((0..200).filter(|n| offer(&mut lanes, 2, 1, *n)).count(), LANE_ITEMS_MIN);
        assert_eq!(lanes.drain().len(), 100 + LANE_ITEMS_MIN);
        assert_eq!((lanes.queued(), lanes.take()), (0, None));
    }

    #[test]
    fn heavy_items_fill_the_lanes_before_many_do() {
        let mut lanes = Lanes::new(1_000, 100);
        lanes.reserve(endpoint(1), 1, 20);
        (0..20).for_each(|n| lanes.enter(endpoint(1), n, 5));
        assert_eq!((lanes.room(endpoint(1)), lanes.room(endpoint(2))), (0, LANE_ITEMS_MIN));
        assert!(lanes.take().is_some());
        assert!(lanes.room(endpoint(1)) > 0);
    }

    #[test]
    fn reserved_places_count_until_they_are_used_or_given_back() {
        let mut lanes: Lanes<u8> = Lanes::new(4, 1_000);
        assert_eq!(lanes.reserve(endpoint(1), 1, 99), LANE_ITEMS_MIN);
        assert_eq!(lanes.reserve(endpoint(1), 1, 1), 0);
        lanes.leave(endpoint(1), LANE_ITEMS_MIN - 1);
        assert_eq!((lanes.queued(), lanes.take()), (1, None));
        lanes.enter(endpoint(1), 7, 1);
        assert_eq!((lanes.queued(), lanes.take()), (1, Some((endpoint(1), 7))));
        lanes.finished(endpoint(1), Pace::Steady);
        assert_eq!((lanes.queued(), lanes.depths().count()), (0, 0));
    }

    proptest! {
        /// Every item comes out exactly once, in its lane's order, and no lane exceeds its share.
        #[test]
        fn nothing_is_lost_doubled_or_reordered(steps in prop::collection::vec((0_u128..4, 0_u8..3), 1..300)) {
            let mut lanes = Lanes::new(64, 1_000);
            let mut expected: HashMap<EndpointId, VecDeque<usize>> = HashMap::new();
            let mut under_way: Vec<EndpointId> = Vec::new();
            for (n, (lane, action)) in steps.into_iter().enumerate() {
                match action {
                    0 => if offer(&mut lanes, lane, 2, n) {
                        expected.entry(endpoint(lane)).or_default().push_back(n);
                    },
                    1 => if let Some((from, item)) = lanes.take() {
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
                while let Some((from, item)) = lanes.take() {
                    prop_assert_eq!(expected.get_mut(&from).and_then(VecDeque::pop_front), Some(item));
                    under_way.push(from);
                }
            }
            prop_assert!(expected.values().all(VecDeque::is_empty));
        }
    }
}
