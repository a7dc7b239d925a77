//! Tests of the lanes; each steps a clock of its own.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn rules(in_flight_max: u32) -> LaneRules {
    LaneRules { in_flight_max, rate: None }
}

fn limited(per_second: u32, burst: u32) -> LaneRules {
    LaneRules { in_flight_max: 1_000, rate: Some(RateLimit { per_second, burst }) }
}

fn endpoint(n: u128) -> EndpointId {
    EndpointId::new(Timestamp::from_millis(1), n)
}

fn offer<T>(lanes: &mut Lanes<T>, lane: u128, in_flight_max: u32, item: T) -> bool {
    let reserved = lanes.reserve(endpoint(lane), rules(in_flight_max), 1, at(0)) == 1;
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
    let order: Vec<_> = std::iter::from_fn(|| lanes.take(at(0)).map(|(_, item)| item)).collect();
    assert_eq!(order, [0, 100, 1, 2, 3, 4]);
}

#[test]
fn a_lane_that_hangs_holds_no_more_than_its_own_share() {
    let mut lanes = Lanes::new(1_000, 1_000);
    for n in 0..10 {
        assert!(offer(&mut lanes, 1, 2, n));
    }
    assert!(lanes.take(at(0)).is_some() && lanes.take(at(0)).is_some());
    assert_eq!(lanes.take(at(0)), None);
    assert!(offer(&mut lanes, 2, 2, 99));
    assert_eq!(lanes.take(at(0)), Some((endpoint(2), 99)));
    lanes.finished(endpoint(1), Pace::Steady, at(0));
    assert_eq!(lanes.take(at(0)), Some((endpoint(1), 2)));
}

#[test]
fn a_lane_slows_by_half_and_recovers_little_by_little() {
    let mut lanes = Lanes::new(1_000, 1_000);
    for n in 0..100 {
        assert!(offer(&mut lanes, 1, 8, n));
    }
    lanes.take(at(0)).unwrap();
    lanes.finished(endpoint(1), Pace::SlowDown, at(0));
    let at_once = std::iter::from_fn(|| lanes.take(at(0))).count();
    assert_eq!(at_once, 4);
    for _ in 0..4 {
        lanes.finished(endpoint(1), Pace::Steady, at(0));
    }
    assert_eq!(std::iter::from_fn(|| lanes.take(at(0))).count(), 4, "4 + 4 x 1/4 is not yet 5 by floor of 4.9");
}

#[test]
fn full_lanes_take_nothing_more_but_each_has_its_own_few() {
    let mut lanes = Lanes::new(100, 1_000);
    assert_eq!((0..200).filter(|n| offer(&mut lanes, 1, 1, *n)).count(), 100);
    assert_eq!((0..200).filter(|n| offer(&mut lanes, 2, 1, *n)).count(), LANE_ITEMS_MIN);
    assert_eq!(lanes.drain().len(), 100 + LANE_ITEMS_MIN);
    assert_eq!((lanes.queued(), lanes.take(at(0))), (0, None));
}

#[test]
fn heavy_items_fill_the_lanes_before_many_do() {
    let mut lanes = Lanes::new(1_000, 100);
    lanes.reserve(endpoint(1), rules(1), 20, at(0));
    (0..20).for_each(|n| lanes.enter(endpoint(1), n, 5));
    assert_eq!((lanes.room(endpoint(1)), lanes.room(endpoint(2))), (0, LANE_ITEMS_MIN));
    assert!(lanes.take(at(0)).is_some());
    assert!(lanes.room(endpoint(1)) > 0);
}

#[test]
fn reserved_places_count_until_they_are_used_or_given_back() {
    let mut lanes: Lanes<u8> = Lanes::new(4, 1_000);
    assert_eq!(lanes.reserve(endpoint(1), rules(1), 99, at(0)), LANE_ITEMS_MIN);
    assert_eq!(lanes.reserve(endpoint(1), rules(1), 1, at(0)), 0);
    lanes.leave(endpoint(1), LANE_ITEMS_MIN - 1, at(0));
    assert_eq!((lanes.queued(), lanes.take(at(0))), (1, None));
    lanes.enter(endpoint(1), 7, 1);
    assert_eq!((lanes.queued(), lanes.take(at(0))), (1, Some((endpoint(1), 7))));
    lanes.finished(endpoint(1), Pace::Steady, at(0));
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
                1 => if let Some((from, item)) = lanes.take(at(0)) {
                    prop_assert_eq!(expected.get_mut(&from).and_then(VecDeque::pop_front), Some(item));
                    under_way.push(from);
                    prop_assert!(under_way.iter().filter(|e| **e == from).count() <= 2);
                },
                _ => if let Some(from) = under_way.pop() {
                    lanes.finished(from, if n % 3 == 0 { Pace::SlowDown } else { Pace::Steady }, at(0));
                },
            }
        }
        while lanes.queued() > 0 || !under_way.is_empty() {
            under_way.drain(..).for_each(|from| lanes.finished(from, Pace::Steady, at(0)));
            while let Some((from, item)) = lanes.take(at(0)) {
                prop_assert_eq!(expected.get_mut(&from).and_then(VecDeque::pop_front), Some(item));
                under_way.push(from);
            }
        }
        prop_assert!(expected.values().all(VecDeque::is_empty));
    }
}

/// Puts `count` items into a lane under those rules.
fn fill(lanes: &mut Lanes<usize>, lane: u128, rules: LaneRules, count: usize) {
    assert_eq!(lanes.reserve(endpoint(lane), rules, count, at(0)), count);
    (0..count).for_each(|n| lanes.enter(endpoint(lane), n, 1));
}

/// Has everything that may go at that instant begin and end at once; gives it in order.
fn serve(lanes: &mut Lanes<usize>, now: Timestamp) -> Vec<(EndpointId, usize)> {
    let mut served = Vec::new();
    while let Some(item) = lanes.take(now) {
        lanes.finished(item.0, Pace::Steady, now);
        served.push(item);
    }
    served
}

#[test]
fn a_rate_lets_its_burst_go_and_then_one_at_a_time_in_order() {
    let mut lanes = Lanes::new(1_000, 1_000);
    fill(&mut lanes, 1, limited(10, 3), 23);
    fill(&mut lanes, 2, rules(1_000), 50);
    let mut served: Vec<(i64, usize)> = Vec::new();
    for millis in 0..2_500 {
        for (lane, item) in serve(&mut lanes, at(millis)) {
            if lane == endpoint(1) {
                served.push((millis, item));
            } else {
                assert_eq!(millis, 0, "a lane without a rate waits for nobody");
            }
        }
    }
    let expected: Vec<_> = (0_i64..23).map(|n| ((n - 2).max(0) * 100, usize::try_from(n).unwrap())).collect();
    assert_eq!(served, expected, "three at once, then one every 100 ms, none lost and none before its turn");
    assert_eq!(lanes.queued(), 0);
}

#[test]
fn the_lanes_say_when_a_rate_lets_them_go_on() {
    let mut lanes = Lanes::new(1_000, 1_000);
    fill(&mut lanes, 1, limited(10, 1), 3);
    let mut now = at(0);
    let mut gone = Vec::new();
    while lanes.queued() > 0 {
        gone.extend(serve(&mut lanes, now).into_iter().map(|_| now));
        now = lanes.next_at().expect("it says when to look again");
    }
    assert_eq!(gone, [at(0), at(100), at(200)]);
    assert_eq!(serve(&mut lanes, now), [], "and is forgotten once its bucket is full");
    assert!(lanes.lanes.is_empty() && lanes.next_at().is_none());
}

#[test]
fn an_edit_of_the_rate_counts_at_once() {
    let mut lanes = Lanes::new(1_000, 1_000);
    fill(&mut lanes, 1, limited(1, 1), 5);
    assert_eq!(serve(&mut lanes, at(0)).len(), 1);
    lanes.set_rules(endpoint(1), rules(1_000));
    assert_eq!(serve(&mut lanes, at(1)).len(), 4);
}

#[test]
fn no_more_are_under_way_than_an_edit_allows() {
    let mut lanes = Lanes::new(1_000, 1_000);
    fill(&mut lanes, 1, rules(4), 20);
    assert_eq!(std::iter::from_fn(|| lanes.take(at(0))).count(), 4);
    lanes.set_rules(endpoint(1), rules(2));
    lanes.finished(endpoint(1), Pace::Steady, at(0));
    lanes.finished(endpoint(1), Pace::Steady, at(0));
    assert_eq!(lanes.take(at(0)), None, "two are still under way");
    lanes.finished(endpoint(1), Pace::Steady, at(0));
    assert!(lanes.take(at(0)).is_some() && lanes.take(at(0)).is_none());
}

#[test]
fn an_endpoint_that_is_down_gets_one_probe_at_a_time() {
    let circuit = CircuitRules { failures: 2, probe_wait: Duration::from_secs(10), ..CircuitRules::default() };
    let mut lanes = Lanes::new(1_000, 1_000).with_circuit_rules(circuit);
    fill(&mut lanes, 1, rules(4), 10);
    let fail = |lanes: &mut Lanes<usize>, millis| {
        let found = lanes.note(endpoint(1), Impression::Down, at(millis));
        lanes.finished(endpoint(1), Pace::Steady, at(millis));
        found
    };
    assert_eq!(std::iter::from_fn(|| lanes.take(at(0))).count(), 4);
    assert_eq!(fail(&mut lanes, 1), None);
    assert!(matches!(fail(&mut lanes, 2), Some(Finding::Failing { opened: true, .. })));
    assert_eq!((lanes.take(at(3)), lanes.is_shut(endpoint(1))), (None, true));
    assert_eq!(lanes.recall(endpoint(1)), (4..10).collect::<Vec<_>>(), "what waited goes back");
    assert_eq!((fail(&mut lanes, 4), fail(&mut lanes, 5)), (None, None), "what was under way");
    let reserve = |lanes: &mut Lanes<usize>, millis| lanes.reserve(endpoint(1), rules(4), 9, at(millis));
    assert_eq!((reserve(&mut lanes, 10_001), reserve(&mut lanes, 10_002)), (0, 1));
    assert_eq!(reserve(&mut lanes, 10_002), 0, "one probe is enough");
    lanes.enter(endpoint(1), 4, 1);
    assert_eq!((lanes.take(at(10_003)), reserve(&mut lanes, 10_003)), (Some((endpoint(1), 4)), 0));
    assert!(matches!(fail(&mut lanes, 10_004), Some(Finding::Failing { opened: true, .. })));
    assert_eq!((reserve(&mut lanes, 30_003), reserve(&mut lanes, 30_004)), (0, 1), "twice the wait");
    lanes.enter(endpoint(1), 4, 1);
    assert!(lanes.take(at(30_005)).is_some());
    assert_eq!(lanes.note(endpoint(1), Impression::Took, at(30_006)), Some(Finding::Recovered));
    lanes.finished(endpoint(1), Pace::Steady, at(30_006));
    assert_eq!(reserve(&mut lanes, 30_006), 9);
}

#[test]
fn what_comes_too_late_into_a_shut_lane_waits_there_for_a_probe() {
    let circuit = CircuitRules { failures: 1, probe_wait: Duration::from_secs(10), ..CircuitRules::default() };
    let mut lanes = Lanes::new(1_000, 1_000).with_circuit_rules(circuit);
    assert_eq!(lanes.reserve(endpoint(1), rules(4), 3, at(0)), 3);
    lanes.enter(endpoint(1), 0, 1);
    assert!(lanes.take(at(0)).is_some());
    assert!(lanes.note(endpoint(1), Impression::Down, at(0)).is_some());
    lanes.finished(endpoint(1), Pace::Steady, at(0));
    lanes.enter(endpoint(1), 1, 1);
    lanes.enter(endpoint(1), 2, 1);
    assert_eq!((lanes.take(at(1)), lanes.next_at()), (None, Some(at(10_000))));
    assert_eq!((lanes.take(at(10_000)), lanes.take(at(10_000))), (Some((endpoint(1), 1)), None));
    assert_eq!(lanes.note(endpoint(1), Impression::Took, at(10_001)), Some(Finding::Recovered));
    lanes.finished(endpoint(1), Pace::Steady, at(10_001));
    assert_eq!(lanes.take(at(10_001)), Some((endpoint(1), 2)));
    lanes.finished(endpoint(1), Pace::Steady, at(10_001));
    assert!(lanes.lanes.is_empty());
}

proptest! {
    /// In no stretch of time do more begin than the burst and what the rate brings in it.
    #[test]
    fn a_rate_holds_over_every_stretch_of_time(
        per_second in 1_u32..200, burst in 1_u32..20, steps in prop::collection::vec(0_i64..40, 1..120),
    ) {
        let mut lanes = Lanes::new(10_000, 10_000);
        fill(&mut lanes, 1, limited(per_second, burst), 200);
        let (mut millis, mut begun) = (0, Vec::new());
        for step in steps {
            millis += step;
            begun.extend(serve(&mut lanes, at(millis)).into_iter().map(|_| millis));
        }
        for (n, first) in begun.iter().enumerate() {
            for (more, last) in begun.iter().skip(n).enumerate() {
                let brought = f64::from(per_second) * f64::from(i32::try_from(last - first).unwrap()) / 1_000.0;
                let most = f64::from(burst) + brought + 1e-6;
                prop_assert!(f64::from(u32::try_from(more + 1).unwrap()) <= most + 1.0);
            }
        }
    }
}

#[test]
fn what_someone_asks_for_goes_first_and_even_while_the_endpoint_is_down() {
    let circuit = CircuitRules { failures: 1, probe_wait: Duration::from_secs(10), ..CircuitRules::default() };
    let mut lanes = Lanes::new(1_000, 1_000).with_circuit_rules(circuit);
    fill(&mut lanes, 1, rules(1), 3);
    assert_eq!(lanes.take(at(0)), Some((endpoint(1), 0)));
    assert!(lanes.note(endpoint(1), Impression::Down, at(1)).is_some());
    lanes.finished(endpoint(1), Pace::Steady, at(1));
    assert_eq!(lanes.take(at(2)), None);
    lanes.enter_first(endpoint(1), rules(1), 99, 1, at(3));
    assert_eq!(lanes.take(at(3)), Some((endpoint(1), 99)));
    assert_eq!(lanes.take(at(3)), None, "its place is taken");
    lanes.enter_first(endpoint(2), rules(1), 7, 1, at(5));
    assert_eq!(lanes.take(at(5)), Some((endpoint(2), 7)));
}
