//! Whose turn it is. Each endpoint has a lane: a bounded queue, a bounded number of requests under way, at most a
//! certain number in a second, and a circuit that shuts while its endpoint is down. Lanes that can go are served in
//! turn, one item each, so an endpoint that hangs, floods or fails costs its own lane only.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
};

use crate::{
    circuit::{Circuit, CircuitRules, Failing, Finding, Gate, Impression},
    id::EndpointId,
    rate::{Bucket, RateLimit},
    time::Timestamp,
};

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

/// What an endpoint allows its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRules {
    /// Requests under way at once, at least 1.
    pub in_flight_max: u32,
    /// Requests that may begin in a second; none: as many as go.
    pub rate: Option<RateLimit>,
}

/// Lanes of items `T`, served in turn.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: HashMap<EndpointId, Lane<T>>,
    turn: VecDeque<EndpointId>,
    /// Lanes that may go on at an instant, the earliest first; an entry that its lane does not confirm is stale.
    resting: BinaryHeap<Reverse<(Timestamp, EndpointId)>>,
    circuit_rules: CircuitRules,
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
    rules: LaneRules,
    /// The pace: how many at once the partner bears, 1 to `in_flight_max`.
    bearable: f64,
    in_turn: bool,
    /// Until when it does not take part.
    rests_until: Option<Timestamp>,
    /// Looked at only where there is a rate.
    bucket: Bucket,
    circuit: Circuit,
}

impl<T> Lane<T> {
    fn new(rules: LaneRules) -> Self {
        Self {
            queue: VecDeque::new(),
            reserved: 0,
            in_flight: 0,
            rules,
            bearable: f64::from(rules.in_flight_max.max(1)),
            in_turn: false,
            rests_until: None,
            bucket: Bucket::full(Timestamp::default()),
            circuit: Circuit::default(),
        }
    }

    fn in_flight_max(&self) -> f64 {
        f64::from(self.rules.in_flight_max.max(1))
    }

    fn can_go(&self) -> bool {
        !self.queue.is_empty() && f64::from(self.in_flight) < self.bearable.floor()
    }

    /// Whether a new lane would be no different at `now`, its bucket aside.
    fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.reserved == 0
            && self.in_flight == 0
            && self.bearable >= self.in_flight_max()
            && self.circuit.is_at_rest()
    }
}

impl<T> Lanes<T> {
    /// Lanes that hold at most `queued_max` items of `bytes_max` together, beside [`LANE_ITEMS_MIN`] each.
    pub fn new(queued_max: usize, bytes_max: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            turn: VecDeque::new(),
            resting: BinaryHeap::new(),
            circuit_rules: CircuitRules::default(),
            queued: 0,
            queued_max,
            bytes: 0,
            bytes_max,
        }
    }

    /// The same with other rules for circuits.
    #[must_use]
    pub const fn with_circuit_rules(mut self, rules: CircuitRules) -> Self {
        self.circuit_rules = rules;
        self
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

    /// Whether the endpoint is left alone because it is down.
    pub fn is_shut(&self, endpoint: EndpointId) -> bool {
        self.lanes.get(&endpoint).is_some_and(|lane| lane.circuit.is_shut())
    }

    /// Keeps up to `wanted` places for items that are on their way, and says how many. Each is settled by one
    /// [`Lanes::enter`] or [`Lanes::leave`]. While the endpoint is down there is a place for a probe only, when it
    /// is time for one.
    pub fn reserve(&mut self, endpoint: EndpointId, rules: LaneRules, wanted: usize, now: Timestamp) -> usize {
        let room = self.room(endpoint).min(wanted);
        let Some(lane) = self.lanes.get_mut(&endpoint) else {
            if room > 0 {
                self.lanes.insert(endpoint, Lane { reserved: room, ..Lane::new(rules) });
                self.queued += room;
            }
            return room;
        };
        let got = match lane.circuit.gate(now) {
            Gate::Open => room,
            Gate::Probe if lane.in_flight == 0 && lane.queue.is_empty() && lane.reserved == 0 => room.min(1),
            Gate::Probe | Gate::Shut(_) => 0,
        };
        lane.reserved += got;
        self.queued += got;
        if lane.rules != rules {
            self.set_rules(endpoint, rules);
        }
        got
    }

    /// Queues an item that takes `bytes` of memory in a reserved place.
    pub fn enter(&mut self, endpoint: EndpointId, item: T, bytes: usize) {
        let lane = self.lanes.entry(endpoint).or_insert_with(|| Lane::new(LaneRules { in_flight_max: 1, rate: None }));
        let reserved = lane.reserved > 0;
        lane.reserved = lane.reserved.saturating_sub(1);
        lane.queue.push_back(Held { item, bytes });
        // Without a reservation the bound may be passed by one: better than losing the item.
        self.queued += usize::from(!reserved);
        self.bytes = self.bytes.saturating_add(bytes);
        self.join_turn(endpoint);
    }

    /// Queues an item that takes `bytes` of memory before all others of its lane, reserved or not: what someone waits for.
    /// It goes as a probe where the endpoint is left alone.
    pub fn enter_first(&mut self, endpoint: EndpointId, rules: LaneRules, item: T, bytes: usize, now: Timestamp) {
        let lane = self.lanes.entry(endpoint).or_insert_with(|| Lane::new(rules));
        lane.queue.push_front(Held { item, bytes });
        lane.circuit.probe_now(now);
        self.queued += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.rouse(endpoint);
    }

    /// Gives `places` reserved ones back.
    pub fn leave(&mut self, endpoint: EndpointId, places: usize, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            let places = places.min(lane.reserved);
            lane.reserved -= places;
            self.queued = self.queued.saturating_sub(places);
            self.forget_if_idle(endpoint, now);
        }
    }

    /// Has a lane keep to what its endpoint says now.
    pub fn set_rules(&mut self, endpoint: EndpointId, rules: LaneRules) {
        if let Some(lane) = self.lanes.get_mut(&endpoint)
            && lane.rules != rules
        {
            if lane.rules.in_flight_max != rules.in_flight_max {
                lane.bearable = f64::from(rules.in_flight_max.max(1));
            }
            // It rested by the old rate; its next turn finds out what the new one says.
            lane.rests_until = None;
            lane.rules = rules;
            self.join_turn(endpoint);
        }
    }

    /// The next item whose lane may have one more under way. The caller owes one [`Lanes::finished`] for it.
    pub fn take(&mut self, now: Timestamp) -> Option<(EndpointId, T)> {
        self.wake_rested(now);
        while let Some(endpoint) = self.turn.pop_front() {
            let Some(lane) = self.lanes.get_mut(&endpoint) else { continue };
            lane.in_turn = false;
            if !lane.can_go() {
                continue;
            }
            match lane.circuit.gate(now) {
                Gate::Open => {}
                Gate::Probe if lane.in_flight == 0 => {}
                // The end of what is under way gives it its turn again.
                Gate::Probe => continue,
                Gate::Shut(until) => {
                    self.rest(endpoint, until);
                    continue;
                }
            }
            if let Some(rate) = lane.rules.rate
                && let Err(wait) = lane.bucket.take(rate, now)
            {
                self.rest(endpoint, now.after(wait));
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

    /// When [`Lanes::take`] may give more without anything else happening.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.resting.peek().map(|Reverse((at, _))| *at)
    }

    /// An item of that lane is done with.
    pub fn finished(&mut self, endpoint: EndpointId, pace: Pace, now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        lane.in_flight = lane.in_flight.saturating_sub(1);
        let most = lane.in_flight_max();
        lane.bearable = match pace {
            Pace::Steady => (lane.bearable + 1.0 / lane.bearable).min(most),
            Pace::SlowDown => (lane.bearable / 2.0).max(1.0),
        };
        self.join_turn(endpoint);
        self.forget_if_idle(endpoint, now);
    }

    /// Takes note of what an attempt said of its endpoint.
    pub fn note(&mut self, endpoint: EndpointId, impression: Impression, now: Timestamp) -> Option<Finding> {
        let rules = self.circuit_rules;
        let circuit = &mut self.lanes.get_mut(&endpoint)?.circuit;
        let was_shut = circuit.is_shut();
        let found = circuit.note(impression, rules, now);
        if found.is_some() || was_shut {
            // What rested for the circuit need not rest as long.
            self.rouse(endpoint);
        }
        found
    }

    /// Takes up how an endpoint fails by what is written down.
    pub fn adopt(&mut self, endpoint: EndpointId, failing: Failing) {
        let lane = self.lanes.entry(endpoint).or_insert_with(|| Lane::new(LaneRules { in_flight_max: 1, rate: None }));
        lane.circuit.adopt(failing);
    }

    /// The endpoint counts as sound again, whatever was noted of it.
    pub fn forgive(&mut self, endpoint: EndpointId, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.circuit = Circuit::default();
            self.rouse(endpoint);
            self.forget_if_idle(endpoint, now);
        }
    }

    /// What was to be written down of an endpoint was not.
    pub fn forget_record(&mut self, endpoint: EndpointId) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.circuit.forget_record();
        }
    }

    /// Lets a probe of an endpoint that is down go now.
    pub fn probe_now(&mut self, endpoint: EndpointId, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.circuit.probe_now(now);
            self.rouse(endpoint);
        }
    }

    /// The endpoints that fail by what is written down, and how.
    pub fn failing(&self) -> impl Iterator<Item = (EndpointId, Failing)> {
        self.lanes.iter().filter_map(|(endpoint, lane)| Some((*endpoint, lane.circuit.recorded()?)))
    }

    /// Takes out what is queued in one lane, in order.
    pub fn recall(&mut self, endpoint: EndpointId) -> Vec<T> {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return Vec::new() };
        let (queued, bytes) = (lane.queue.len(), lane.queue.iter().map(|held| held.bytes).sum());
        self.queued = self.queued.saturating_sub(queued);
        self.bytes = self.bytes.saturating_sub(bytes);
        lane.queue.drain(..).map(|held| held.item).collect()
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
        let busy = |lane: &Lane<T>| !lane.queue.is_empty() || lane.in_flight > 0 || lane.reserved > 0;
        let lanes = self.lanes.iter().filter(move |(_, lane)| busy(lane));
        lanes.map(|(endpoint, lane)| (*endpoint, lane.queue.iter().map(|held| &held.item), lane.in_flight))
    }

    /// A lane at rest and at full pace need not be remembered; one whose bucket is not full yet is, until it is.
    fn forget_if_idle(&mut self, endpoint: EndpointId, now: Timestamp) {
        let Some(lane) = self.lanes.get(&endpoint).filter(|lane| lane.is_idle()) else { return };
        if lane.rules.rate.is_some() && !lane.bucket.is_full(now) {
            let full_at = lane.bucket.full_at();
            self.rest(endpoint, full_at);
        } else {
            self.lanes.remove(&endpoint);
        }
    }

    fn rest(&mut self, endpoint: EndpointId, until: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(&endpoint)
            && lane.rests_until != Some(until)
        {
            lane.rests_until = Some(until);
            self.resting.push(Reverse((until, endpoint)));
        }
    }

    /// Ends a lane's rest before its time.
    fn rouse(&mut self, endpoint: EndpointId) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.rests_until = None;
            self.join_turn(endpoint);
        }
    }

    fn wake_rested(&mut self, now: Timestamp) {
        while let Some(Reverse((at, endpoint))) = self.resting.peek().copied() {
            if at > now {
                return;
            }
            self.resting.pop();
            if self.lanes.get(&endpoint).is_some_and(|lane| lane.rests_until == Some(at)) {
                self.rouse(endpoint);
                self.forget_if_idle(endpoint, now);
            }
        }
    }

    fn join_turn(&mut self, endpoint: EndpointId) {
        if let Some(lane) = self.lanes.get_mut(&endpoint)
            && !lane.in_turn
            && lane.rests_until.is_none()
            && lane.can_go()
        {
            lane.in_turn = true;
            self.turn.push_back(endpoint);
        }
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
