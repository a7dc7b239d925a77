//! `engate job watch`: how far a sync job's first load is. On a terminal bars that are drawn again and again, elsewhere a line
//! whenever there is something to tell.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::{
    streams::in_words,
    told::{Checkpoint, Job, Progress, Run},
};
use crate::cli::{
    client::{Client, read},
    failure::Failure,
    present::{Screen, plain},
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Between two lines of a stream where nobody sees bars.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far a job is until it is through, or nothing of it runs.
pub(super) async fn watch(client: &Client, screen: Screen, id: &str) -> Result<(), Failure> {
    let job: Job = read(&client.get(&["v1", "jobs", id], &[]).await?)?;
    let (tracks_in_all, always) = (tracks_of(&job.run), job.schedule.get("kind").is_some_and(|kind| kind == "always"));
    let mut view = View::new(screen);
    loop {
        // First the run: what it ends with is in the checkpoints that are read after it.
        let runs = client.list(&["v1", "jobs", id, "runs"], &[("limit", "1".to_owned())]).await?;
        let run = runs.rows::<Run>()?.into_iter().next();
        let checkpoints = client.list_all(&["v1", "jobs", id, "checkpoints"], &[]).await?;
        if screen.json {
            screen.line(serde_json::to_string(&checkpoints).unwrap_or_default())?;
        }
        let tracks = checkpoints.rows::<Checkpoint>()?;
        view.show(&tracks)?;
        let through = tracks.len() >= tracks_in_all && tracks.iter().all(Checkpoint::is_through);
        let runs_on = run.as_ref().is_some_and(|run| matches!(run.state.as_str(), "queued" | "running"));
        if !runs_on || (always && through) {
            return view.end(run, always && runs_on);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Streams times partitions.
fn tracks_of(run: &Value) -> usize {
    let count = |name: &str| run.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    count("streams") * count("partitions").max(1)
}

impl Checkpoint {
    fn is_through(&self) -> bool {
        self.phase == "delta" && self.pass.as_ref().is_none_or(|pass| pass.kind == "delta")
    }

    fn progress(&self) -> Option<&Progress> {
        self.pass.as_ref()?.progress.as_ref()
    }
}

impl Progress {
    /// `1,000 of about 2,000 rows, 50 %, 120 rows/s, through in 8s`: what is not known is left out.
    fn words(&self, now: DateTime<Utc>) -> String {
        let mut words = grouped(self.rows);
        if let Some(expected) = self.expected {
            let about = if self.expected_is_estimate { "about " } else { "" };
            words.push_str(&format!(" of {about}{} rows", grouped(expected)));
            if let Some(percent) = (self.rows * 100).checked_div(expected) {
                words.push_str(&format!(", {} %", percent.min(100)));
            }
        } else {
            words.push_str(" rows");
        }
        if let Some(speed) = self.rows_per_second {
            words.push_str(&format!(", {} rows/s", grouped(speed.round() as u64)));
        }
        if let Some(eta) = self.eta {
            let left = (eta - now).to_std().unwrap_or_default().as_secs();
            words.push_str(&format!(", through in {}", spoken(left)));
        }
        words
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds as `2h05m`, `3m20s` or `8s`.
fn spoken(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

/// What is shown.
struct View {
    screen: Screen,
    bars: Option<MultiProgress>,
    shown: BTreeMap<String, Shown>,
}

/// What is shown of one stream.
struct Shown {
    bar: Option<ProgressBar>,
    told: Option<Instant>,
    through: bool,
}

impl View {
    fn new(screen: Screen) -> Self {
        let bars = screen.terminal && !screen.json;
        let bars = bars.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));
        Self { screen, bars, shown: BTreeMap::new() }
    }

    fn show(&mut self, tracks: &[Checkpoint]) -> Result<(), Failure> {
        if self.screen.json {
            return Ok(());
        }
        let now = Utc::now();
        for track in tracks {
            let name = in_words(track);
            let bars = self.bars.as_ref();
            let new = || Shown { bar: bars.map(|bars| bars.add(bar(&name))), told: None, through: false };
            let shown = self.shown.entry(name.clone()).or_insert_with(new);
            let line = match track.progress() {
                Some(progress) => {
                    if let Some(bar) = &shown.bar {
                        bar.set_length(progress.expected.unwrap_or(progress.rows).max(progress.rows));
                        bar.set_position(progress.rows);
                        bar.set_message(progress.words(now));
                        continue;
                    }
                    shown.through = false;
                    if shown.told.is_some_and(|told| told.elapsed() < LINE_EVERY) {
                        continue;
                    }
                    shown.told = Some(Instant::now());
                    progress.words(now)
                }
                None if track.is_through() && !shown.through => {
                    shown.through = true;
                    if let Some(bar) = &shown.bar {
                        bar.finish_with_message("loaded");
                        continue;
                    }
                    "loaded".to_owned()
                }
                None => continue,
            };
            self.screen.line(format!("{name}: {line}"))?;
        }
        Ok(())
    }

    fn end(self, run: Option<Run>, goes_on: bool) -> Result<(), Failure> {
        for bar in self.shown.values().filter_map(|shown| shown.bar.as_ref()) {
            bar.abandon();
        }
        match run {
            None => Err(Failure::Failed("The job has not run yet; `engate job run` starts it.".to_owned())),
            Some(Run { state, error: Some(error), .. }) => {
                Err(Failure::Failed(format!("The run {state} ({}): {}", plain(&error.code), plain(&error.message))))
            }
            Some(_) if self.screen.json => Ok(()),
            Some(_) if goes_on => self.screen.line("All streams are loaded; the job goes on with what changes."),
            Some(run) => self.screen.line(format!("The run {}: {} rows", plain(&run.state), grouped(run.rows))),
        }
    }
}

/// One stream's bar.
fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::hidden().with_prefix(name.to_owned());
    // The template is constant; what cannot be parsed would be shown in indicatif's own style.
    match ProgressStyle::with_template("{prefix:20!} {bar:24} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_told() {
        let now = DateTime::from_timestamp(1_000, 0).unwrap();
        let known = Progress {
            rows: 1_500,
            expected: Some(1_000_000),
            expected_is_estimate: true,
            rows_per_second: Some(120.4),
            eta: DateTime::from_timestamp(1_000 + 8_325, 0),
        };
        assert_eq!(known.words(now), "1,500 of about 1,000,000 rows, 0 %, 120 rows/s, through in 2h18m");
        let counted = Progress { expected_is_estimate: false, eta: None, ..known.clone() };
        assert_eq!(counted.words(now), "1,500 of 1,000,000 rows, 0 %, 120 rows/s");
        let unknown = Progress { expected: None, rows_per_second: None, eta: None, ..known.clone() };
        assert_eq!(unknown.words(now), "1,500 rows");
        let empty = Progress { rows: 0, expected: Some(0), ..unknown.clone() };
        assert_eq!(empty.words(now), "0 of about 0 rows");
        let beyond = Progress { rows: 300, expected: Some(200), ..unknown };
        assert_eq!(beyond.words(now), "300 of about 200 rows, 100 %");
    }

    #[test]
    fn times_and_numbers_are_for_people() {
        assert_eq!([spoken(8), spoken(200), spoken(7_530)], ["8s", "3m20s", "2h05m"]);
        assert_eq!(
            [grouped(0), grouped(999), grouped(1_000), grouped(12_345_678)],
            ["0", "999", "1,000", "12,345,678"]
        );
    }
}
