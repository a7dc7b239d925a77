//! The end: counts and delays by partner, then every expected outcome.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{
    super::{
        failure::Failure,
        present::{Field, Screen, Tone},
    },
    outcome::{Outcome, Sight, delays, duplicates_of},
    partners::Partner,
    watch::Watch,
};

/// Longest delay that is told apart, in microseconds: ten minutes.
const DELAY_MICROS_MAX: u64 = 600_000_000;
/// Significant figures of the delays.
const DELAY_FIGURES: u8 = 3;

/// Prints the summary.
pub(super) fn print(
    partners: &[Partner],
    watch: &Watch,
    outcomes: &[Outcome],
    took: Duration,
    screen: Screen,
) -> Result<(), Failure> {
    screen.heading("What each partner got")?;
    screen.line(counts(partners, watch, screen)?)?;
    let tries: u32 = watch.all().map(|tracked| tracked.attempts).sum();
    let (events, deliveries) = (watch.accepted.len(), watch.all().count());
    screen.line(format!(
        "\n{events} events, {deliveries} deliveries, {tries} tries in {:.1} s.\n\
         TWICE: taken again after it had been taken. P50, P95, P99: milliseconds from\n\
         the 202 to the first receipt; 0.0 where the partner had it before the 202.",
        took.as_secs_f64()
    ))?;
    screen.heading("What had to be seen")?;
    let rows = outcomes.iter().map(|outcome| {
        let (word, tone) = match outcome.sight {
            Sight::Seen => ("seen", Tone::Good),
            Sight::NotYet => ("not yet", Tone::Waiting),
            Sight::Missing => ("MISSING", Tone::Bad),
        };
        vec![
            Field::new(word).tone(tone),
            Field::new(outcome.who),
            Field::new(&outcome.expected),
            Field::new(&outcome.evidence).tone(Tone::Faint),
        ]
    });
    screen.line(screen.render(&[], rows.collect()))
}

fn counts(partners: &[Partner], watch: &Watch, screen: Screen) -> Result<String, Failure> {
    let mut all = Vec::new();
    let mut rows = Vec::new();
    for (n, partner) in partners.iter().enumerate() {
        let of = watch.of(n);
        let delays = delays(partner, watch, n);
        let count = |is: fn(&str) -> bool| Field::number(of.iter().filter(|tracked| is(&tracked.state)).count());
        let retries: u32 = of.iter().map(|tracked| tracked.attempts.saturating_sub(1)).sum();
        let duplicates: u32 = partner.book().seen.values().map(duplicates_of).sum();
        let mut row = vec![
            Field::new(partner.profile.name),
            Field::number(of.len()),
            count(|state| state == "succeeded"),
            count(|state| state == "failed"),
            Field::number(retries),
            Field::number(duplicates),
        ];
        row.extend(percentiles(&delays)?);
        rows.push(row);
        all.extend(delays);
    }
    let mut total = vec![Field::new("all together")];
    total.extend((0..5).map(|_| Field::new("")));
    total.extend(percentiles(&all)?);
    rows.push(total);
    let header = ["PARTNER", "EVENTS", "TAKEN", "FAILED", "RETRIES", "TWICE", "P50", "P95", "P99"];
    Ok(screen.render(&header, rows))
}

/// Median, 95th and 99th percentile.
fn percentiles(delays: &[Duration]) -> Result<Vec<Field>, Failure> {
    if delays.is_empty() {
        return Ok(vec![Field::number("-"); 3]);
    }
    let histogram = Histogram::<u64>::new_with_bounds(1, DELAY_MICROS_MAX, DELAY_FIGURES);
    let mut histogram = histogram.map_err(|error| Failure::failed(error.to_string()))?;
    for delay in delays {
        histogram.saturating_record(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX));
    }
    let at = |quantile| Field::number(milliseconds(histogram.value_at_quantile(quantile)));
    Ok([0.50, 0.95, 0.99].map(at).to_vec())
}

fn milliseconds(micros: u64) -> String {
    let millis = Duration::from_micros(micros).as_secs_f64() * 1_000.0;
    if millis < 10.0 { format!("{millis:.1}") } else { format!("{millis:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_delays() {
        let delays: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let screen = Screen { json: false, terminal: false, colour: false };
        assert_eq!(screen.render(&[], vec![percentiles(&delays).unwrap()]), "50  95  99");
        assert_eq!(screen.render(&[], vec![percentiles(&[]).unwrap()]), "-  -  -");
    }
}
