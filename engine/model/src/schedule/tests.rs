use std::{fmt::Write as _, time::Duration};

use proptest::prelude::*;

use super::{
    due::{Admission, Catchup, CatchupMode, LeftOut, Overlap, admit, due, jitter},
    *,
};

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn cron(expression: &str, timezone: &str) -> CronSchedule {
    CronSchedule {
        expression: expression.into(),
        timezone: timezone.into(),
        dst: None,
        exclude: Vec::new(),
        start: None,
        end: None,
    }
}

fn fires(written: CronSchedule, from: &str, to: &str) -> Vec<String> {
    let timetable = Timetable::new(&Schedule::Cron(written)).unwrap();
    let (mut out, mut last) = (Vec::new(), Timestamp::from_micros(at(from).as_micros() - 1));
    while let Some(next) = timetable.next(last).filter(|next| *next < at(to)) {
        assert!(next > last, "time goes on");
        out.push(next.to_string().replace(":00.000000Z", ""));
        last = next;
    }
    out
}

#[test]
fn p20_changes_of_the_clock_as_the_design_says() {
    let santiago = fires(cron("0 0 * * *", "America/Santiago"), "2025-09-06T04:00:00Z", "2025-09-09T03:00:00Z");
    assert_eq!(santiago, ["2025-09-06T04:00", "2025-09-07T04:00", "2025-09-08T03:00"]);
    let day = ("2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z");
    assert_eq!(fires(cron("*/30 * * * *", "America/New_York"), day.0, day.1).len(), 50);
    let spring = fires(cron("0 2,14 * * *", "America/New_York"), "2025-03-09T05:00:00Z", "2025-03-10T04:00:00Z");
    assert_eq!(spring, ["2025-03-09T07:00", "2025-03-09T18:00"]);
    let once = fires(cron("30 1 * * *", "America/New_York"), day.0, day.1);
    assert_eq!(once, ["2025-11-02T05:30"], "an anchored time of the fold comes the first time");
    let collapsed = fires(cron("0,30 2,3 * * *", "America/New_York"), "2025-03-09T05:00:00Z", "2025-03-10T04:00:00Z");
    assert_eq!(collapsed, ["2025-03-09T07:00", "2025-03-09T07:30"]);
}

#[test]
fn the_rules_for_clock_changes_can_be_overridden() {
    let day = ("2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z");
    let with = |gap, fold| CronSchedule { dst: Some(Dst { gap, fold }), ..cron("30 1,2 * * *", "America/New_York") };
    assert_eq!(fires(with(None, Some(Fold::Last)), day.0, day.1), ["2025-11-02T06:30", "2025-11-02T07:30"]);
    assert_eq!(fires(with(None, Some(Fold::Both)), day.0, day.1).len(), 3);
    let spring = ("2025-03-09T05:00:00Z", "2025-03-10T04:00:00Z");
    assert_eq!(fires(with(Some(Gap::Skip), None), spring.0, spring.1), ["2025-03-09T06:30"]);
    assert_eq!(fires(with(None, None), spring.0, spring.1), ["2025-03-09T06:30", "2025-03-09T07:00"]);
    let floating = CronSchedule {
        dst: Some(Dst { gap: None, fold: Some(Fold::First) }),
        ..cron("*/30 * * * *", "America/New_York")
    };
    assert_eq!(fires(floating, day.0, day.1).len(), 48);
}

#[test]
fn a_change_of_the_clock_is_told() {
    let timetable = Timetable::new(&Schedule::Cron(cron("30 2 * * *", "America/New_York"))).unwrap();
    assert_eq!(timetable.note(at("2025-03-09T07:00:00Z")), Some(ClockNote::AfterGap));
    assert_eq!(timetable.local(at("2025-03-09T07:00:00Z")), Some(("2025-03-09T03:00:00".into(), -4 * 3_600)));
    let hourly = Timetable::new(&Schedule::Cron(cron("30 * * * *", "America/New_York"))).unwrap();
    assert_eq!(hourly.note(at("2025-11-02T05:30:00Z")), Some(ClockNote::FirstPass));
    assert_eq!(hourly.note(at("2025-11-02T06:30:00Z")), Some(ClockNote::SecondPass));
    assert_eq!(hourly.note(at("2025-11-02T07:30:00Z")), None);
}

#[test]
fn days_can_be_left_out_and_a_schedule_begins_and_ends() {
    let from = ("2026-12-23T03:00:00Z", "2027-01-05T03:00:00Z");
    let mut written = cron("0 0 * * *", "America/Sao_Paulo");
    written.exclude = vec!["12-25".into(), "2026-12-30/2027-01-02".into(), "2026-12-24".into()];
    let days: Vec<_> = fires(written.clone(), from.0, from.1).iter().map(|at| at[5..10].to_owned()).collect();
    assert_eq!(days, ["12-23", "12-26", "12-27", "12-28", "12-29", "01-03", "01-04"]);
    written.start = Some(at("2026-12-27T03:00:00Z"));
    written.end = Some(at("2027-01-03T03:00:00Z"));
    assert_eq!(fires(written, from.0, from.1).len(), 3, "the start is included, the end is not");
}

#[test]
fn what_never_comes_or_comes_too_often_is_refused_by_its_field() {
    let now = at("2026-11-28T00:00:00Z");
    let field = |schedule: Schedule| check(&schedule, now).map(|_| ()).unwrap_err().0.remove(0).field;
    assert_eq!(field(Schedule::Cron(cron("0 0 30 2 *", "UTC"))), "expression");
    assert_eq!(field(Schedule::Cron(cron("0 0 * * *", "Brazil"))), "timezone");
    assert_eq!(field(Schedule::Every { interval_ms: 999, phase_ms: 0 }), "interval_ms");
    assert_eq!(field(Schedule::Every { interval_ms: 1_000, phase_ms: 1_000 }), "phase_ms");
    let ended = CronSchedule { end: Some(now), ..cron("* * * * *", "UTC") };
    assert_eq!(field(Schedule::Cron(ended)), "end");
    let backwards = CronSchedule { end: Some(now), start: Some(now), ..cron("* * * * *", "UTC") };
    assert_eq!(field(Schedule::Cron(backwards)), "end");
    let all_days = CronSchedule { exclude: vec!["2020-01-01/2099-01-01".into()], ..cron("* * * * * *", "UTC") };
    assert_eq!(field(Schedule::Cron(all_days)), "expression");
    let wrong_day = CronSchedule { exclude: vec!["02-30".into()], ..cron("* * * * *", "UTC") };
    assert_eq!(field(Schedule::Cron(wrong_day)), "exclude[0]");
    assert!(check(&Schedule::Cron(cron("0 0 29 2 *", "UTC")), now).is_ok());
}

#[test]
fn intervals_count_from_the_epoch() {
    let every = Timetable::new(&Schedule::Every { interval_ms: 60_000, phase_ms: 5_000 }).unwrap();
    assert_eq!(every.next(at("2026-11-28T10:00:05Z")), Some(at("2026-11-28T10:01:05Z")));
    assert_eq!(every.next(at("2026-11-28T10:00:04.9Z")), Some(at("2026-11-28T10:00:05Z")));
}

#[test]
fn after_a_day_and_an_hour_one_run_and_1499_missed() {
    let minutes = Timetable::new(&Schedule::Cron(cron("* * * * *", "UTC"))).unwrap();
    let (stopped, now) = (at("2026-11-27T09:00:30Z"), at("2026-11-28T10:00:30Z"));
    let next = minutes.next(stopped).unwrap();
    let outcome = due(&minutes, Catchup::default(), next, now);
    assert_eq!((outcome.fires.as_slice(), outcome.missed), ([at("2026-11-28T10:00:00Z")].as_slice(), 1_499));
    assert_eq!(outcome.next_at, Some(at("2026-11-28T10:01:00Z")));
    let all = Catchup { mode: CatchupMode::All, max: 10, ..Catchup::default() };
    let outcome = due(&minutes, all, next, now);
    assert_eq!((outcome.fires.len(), outcome.missed), (11, 1_489), "ten late ones and the one in time");
    assert_eq!(outcome.fires[0], at("2026-11-28T09:50:00Z"));
    let none = Catchup { mode: CatchupMode::None, ..Catchup::default() };
    assert_eq!(due(&minutes, none, next, at("2026-11-28T10:00:30Z")).missed, 1_499);
    let hours = Timetable::new(&Schedule::Cron(cron("0 * * * *", "UTC"))).unwrap();
    let outcome = due(&hours, none, at("2026-11-28T08:00:00Z"), now);
    assert_eq!((outcome.fires.len(), outcome.missed), (1, 2), "10:00 is in time at 10:00:30");
    let outcome = due(&hours, Catchup::default(), at("2026-11-28T08:00:00Z"), at("2026-11-28T10:30:00Z"));
    assert_eq!((outcome.fires.as_slice(), outcome.missed), ([at("2026-11-28T10:00:00Z")].as_slice(), 2));
    let narrow = Catchup { window_ms: 60_000, ..Catchup::default() };
    let outcome = due(&hours, narrow, at("2026-11-28T08:00:00Z"), at("2026-11-28T10:30:00Z"));
    assert_eq!((outcome.fires.len(), outcome.missed), (0, 3));
}

#[test]
fn in_time_every_second_runs_and_nothing_is_due_before() {
    let seconds = Timetable::new(&Schedule::Cron(cron("* * * * * *", "UTC"))).unwrap();
    let outcome = due(&seconds, Catchup::default(), at("2026-11-28T10:00:00Z"), at("2026-11-28T10:00:04Z"));
    assert_eq!((outcome.fires.len(), outcome.missed), (5, 0));
    let outcome = due(&seconds, Catchup::default(), at("2026-11-28T10:00:00Z"), at("2026-11-28T09:00:00Z"));
    assert_eq!((outcome.fires.len(), outcome.next_at), (0, Some(at("2026-11-28T10:00:00Z"))), "the clock stepped back");
    let long_ago = due(&seconds, Catchup::default(), at("2025-11-28T10:00:00Z"), at("2026-11-28T09:00:00Z"));
    assert!(long_ago.missed_more && long_ago.missed >= 100_000 && long_ago.fires.len() == 1);
}

#[test]
fn overlap_is_decided_by_what_the_others_do() {
    let cancel = Overlap::CancelOther { grace_ms: 1 };
    for (overlap, running, waiting, expected) in [
        (Overlap::Skip, 0, 0, Admission::Queue(1)),
        (Overlap::Skip, 1, 0, Admission::LeaveOut(LeftOut::Overlap)),
        (Overlap::Skip, 0, 1, Admission::LeaveOut(LeftOut::Overlap)),
        (Overlap::BufferOne, 1, 0, Admission::Queue(1)),
        (Overlap::BufferOne, 1, 1, Admission::LeaveOut(LeftOut::BufferFull)),
        (cancel, 0, 0, Admission::Queue(1)),
        (cancel, 1, 1, Admission::Replace),
        (Overlap::Allow { max: 2 }, 1, 0, Admission::Queue(2)),
        (Overlap::Allow { max: 2 }, 1, 1, Admission::LeaveOut(LeftOut::Overlap)),
    ] {
        assert_eq!(admit(overlap, running, waiting), expected, "{overlap:?} {running} {waiting}");
    }
}

#[test]
fn jitter_is_the_same_everywhere_and_spreads() {
    let wait = |job: u128| jitter(job, at("2026-11-28T10:00:00Z"), Duration::from_secs(60)).as_secs();
    assert_eq!(wait(7), wait(7));
    let mut tens = [0; 6];
    (0..6_000).for_each(|job| tens[usize::try_from(wait(job) / 10).unwrap()] += 1);
    assert!(tens.iter().all(|n| (850..1_150).contains(n)), "{tens:?}");
    assert_eq!(jitter(7, at("2026-11-28T10:00:00Z"), Duration::ZERO), Duration::ZERO);
}

/// Zones whose clocks change in their own ways: half hours, midnights, whole days, the southern half.
const ZONES: [&str; 14] = [
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Asuncion",
    "America/Havana",
    "Europe/London",
    "Europe/Lisbon",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
];

/// What the rules say, by another way: croner walks a naive clock minute by minute of the days around, and each of its
/// times is put to `chrono-tz` by itself.
fn oracle(expression: &str, zone: Tz, from: i64, to: i64) -> Vec<i64> {
    use chrono::{DateTime, LocalResult, Offset as _, TimeZone as _};
    let pattern = croner::parser::CronParser::builder()
        .seconds(croner::parser::Seconds::Optional)
        .dom_and_dow(false)
        .build()
        .parse(expression)
        .unwrap();
    let slack = 27 * 3_600;
    let begin = DateTime::from_timestamp(from - slack - 1, 0).unwrap();
    let floating = expression.split(' ').nth_back(3).unwrap().contains('*');
    let mut out = Vec::new();
    for wall in pattern.iter_after(begin) {
        if wall.timestamp() > to + slack {
            break;
        }
        let wall = wall.naive_utc();
        match zone.offset_from_local_datetime(&wall) {
            LocalResult::Single(offset) => {
                out.push(wall.and_utc().timestamp() - i64::from(offset.fix().local_minus_utc()))
            }
            LocalResult::Ambiguous(a, b) => {
                let mut both = [a, b].map(|o| wall.and_utc().timestamp() - i64::from(o.fix().local_minus_utc()));
                both.sort_unstable();
                out.extend(if floating { both.as_slice() } else { &both[..1] });
            }
            LocalResult::None if floating => {}
            LocalResult::None => {
                // The first wall-clock second that exists again.
                let exists = (1..=slack).map(|s| wall + chrono::Duration::seconds(s));
                let step = exists.step_by(60).find(|at| zone.offset_from_local_datetime(at).earliest().is_some());
                let rough = step.unwrap();
                let first = (0..60).rev().map(|s| rough - chrono::Duration::seconds(s));
                let first =
                    first.into_iter().find(|at| zone.offset_from_local_datetime(at).earliest().is_some()).unwrap();
                let offset = zone.offset_from_local_datetime(&first).earliest().unwrap();
                out.push(first.and_utc().timestamp() - i64::from(offset.fix().local_minus_utc()));
            }
        }
    }
    out.retain(|at| (from..to).contains(at));
    out.sort_unstable();
    out.dedup();
    out
}

fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    let list = proptest::collection::vec(min..=max, 1..4)
        .prop_map(|numbers| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    let range = (min..=max, min..=max, 1..=6_u32).prop_map(|(a, b, step)| {
        let mut text = format!("{}-{}", a.min(b), a.max(b));
        if step > 1 {
            let _ = write!(text, "/{step}");
        }
        text
    });
    prop_oneof![4 => Just("*".to_owned()), 2 => (2..=15_u32).prop_map(move |step| format!("*/{}", step.min(max))), 4 => list, 2 => range]
}

/// Instants at which some zone of the list changes its clock, or near them.
fn days() -> impl Strategy<Value = i64> {
    let years = 1_262_304_000_i64..1_893_456_000;
    let changes = proptest::sample::select(
        [
            "2011-12-30T10:00:00Z",
            "2025-03-09T07:00:00Z",
            "2025-11-02T06:00:00Z",
            "2025-09-07T04:00:00Z",
            "2025-04-06T03:00:00Z",
            "2018-11-04T03:00:00Z",
            "2018-02-18T02:00:00Z",
            "2025-03-30T01:00:00Z",
            "2025-10-26T01:00:00Z",
            "2025-04-05T15:00:00Z",
            "2025-10-04T15:30:00Z",
            "2025-02-23T02:00:00Z",
            "2024-04-25T22:00:00Z",
            "2025-03-29T22:00:00Z",
        ]
        .map(|text| at(text).as_secs())
        .to_vec(),
    );
    prop_oneof![4 => (changes, -90_000_i64..90_000).prop_map(|(at, by)| at + by), 1 => years]
}

/// How many cases: a few seconds of them always, more where the variable asks for it.
fn cases() -> u32 {
    std::env::var("ENGATE_SCHEDULE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(4_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_to_an_independent_oracle(
        (minute, hour, day, month, weekday) in (field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6)),
        zone in proptest::sample::select(ZONES.to_vec()),
        from in days(),
    ) {
        // Most patterns should come within the two days looked at.
        let (day, month) = if from % 3 == 0 { (day, month) } else { ("*".to_owned(), "*".to_owned()) };
        let expression = format!("{minute} {hour} {day} {month} {weekday}");
        let tz: Tz = zone.parse().unwrap();
        let to = from + 2 * 86_400;
        let expected = oracle(&expression, tz, from, to);
        let timetable = Timetable::new(&Schedule::Cron(cron(&expression, zone))).unwrap();
        let (mut got, mut last) = (Vec::new(), Timestamp::from_micros(from * 1_000_000 - 1));
        while let Some(next) = timetable.next(last).filter(|next| next.as_secs() < to) {
            got.push(next.as_secs());
            last = next;
        }
        prop_assert_eq!(got, expected, "{} in {} from {}", expression, zone, from);
    }
}
