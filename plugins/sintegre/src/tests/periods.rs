use engate_sdk::time::{Date, Weekday};
use proptest::prelude::*;

use super::{body, host, publication};
use crate::period::{Frequency, Period};

fn written(periodicidade: &str, referencia: &str) -> (String, String, String) {
    let body = body(&host(), publication(periodicidade, referencia));
    let field = |name: &str| body[name].as_str().unwrap().to_owned();
    (field("periodicidade"), field("periodicidadeFinal"), field("dataProduto"))
}

fn expect(periodicidade: &str, referencia: &str, first: &str, last: &str, display: &str) {
    let expected = (first.to_owned(), last.to_owned(), display.to_owned());
    assert_eq!(written(periodicidade, referencia), expected, "{periodicidade} {referencia}");
}

#[test]
fn o23_o24_monthly_period_starts_at_the_first_instant_and_ends_at_the_last_second() {
    for day in ["2020-08-01", "2020-08-15", "2020-08-31"] {
        expect("mensal", day, "2020-08-01T00:00:00", "2020-08-31T23:59:59", "08/2020");
    }
}

#[test]
fn o24_february_ends_on_the_29th_in_leap_years_only() {
    expect("mensal", "2024-02-10", "2024-02-01T00:00:00", "2024-02-29T23:59:59", "02/2024");
    expect("mensal", "2025-02-10", "2025-02-01T00:00:00", "2025-02-28T23:59:59", "02/2025");
    expect("mensal", "2000-02-10", "2000-02-01T00:00:00", "2000-02-29T23:59:59", "02/2000");
    expect("mensal", "2100-02-10", "2100-02-01T00:00:00", "2100-02-28T23:59:59", "02/2100");
}

#[test]
fn o24_a_daily_period_ends_on_the_same_day() {
    expect("diaria", "2024-02-29", "2024-02-29T00:00:00", "2024-02-29T23:59:59", "29/02/2024");
    expect("diaria", "2024-12-31", "2024-12-31T00:00:00", "2024-12-31T23:59:59", "31/12/2024");
}

#[test]
fn o24_a_weekly_period_is_saturday_to_friday() {
    for day in ["2025-02-15", "2025-02-17", "2025-02-21"] {
        expect("semanal", day, "2025-02-15T00:00:00", "2025-02-21T23:59:59", "15/02/2025");
    }
    expect("semanal", "2025-01-01", "2024-12-28T00:00:00", "2025-01-03T23:59:59", "28/12/2024");
}

#[test]
fn o25_the_reference_date_is_display_text() {
    assert_eq!(written("diaria", "2025-02-20").2, "20/02/2025");
    assert_eq!(written("mensal", "2025-09-01").2, "09/2025");
}

#[test]
fn a_week_beyond_the_calendar_is_refused() {
    assert_eq!(Period::around("0001-01-01", Frequency::Weekly).unwrap_err().code, "invalid_referencia");
    assert!(Period::around("9999-12-31", Frequency::Weekly).is_ok(), "a Friday");
}

fn day(text: &str) -> Date {
    Date::parse(&text[..10]).unwrap()
}

proptest! {
    #[test]
    fn o23_o24_every_period_holds_its_date_and_neighbours_touch(
        days in 1_000_i64..3_600_000,
        frequency in prop_oneof![Just(Frequency::Daily), Just(Frequency::Weekly), Just(Frequency::Monthly)],
    ) {
        let date = Date::new(1, 1, 1).and_then(|first| first.plus_days(days)).unwrap();
        let period = Period::around(&date.to_string(), frequency).unwrap();
        let (first, last) = (day(&period.first_instant()), day(&period.last_second()));
        prop_assert!(period.first_instant().ends_with("T00:00:00"));
        prop_assert!(period.last_second().ends_with("T23:59:59"));
        prop_assert!(first <= date && date <= last);

        // Any day of the period gives the same period, and the day after its end begins the next one.
        for same in [first, last] {
            prop_assert_eq!(Period::around(&same.to_string(), frequency).unwrap(), period);
        }
        let next = Period::around(&last.plus_days(1).unwrap().to_string(), frequency).unwrap();
        prop_assert_eq!(day(&next.first_instant()), last.plus_days(1).unwrap());

        match frequency {
            Frequency::Daily => prop_assert_eq!(first, last),
            Frequency::Weekly => {
                prop_assert_eq!((first.weekday(), last.weekday()), (Weekday::Saturday, Weekday::Friday));
            }
            Frequency::Monthly => {
                prop_assert_eq!((first.day(), first.month()), (1, last.month()));
                prop_assert_eq!(last.plus_days(1).unwrap().day(), 1);
            }
        }
    }
}
