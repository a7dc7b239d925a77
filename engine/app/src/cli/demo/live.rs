//! What is shown while it happens: on a terminal a table that is drawn again and again, with a line above it for
//! everything that happens; elsewhere the lines alone.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    super::{
        failure::Failure,
        present::{Field, Screen, Tone, plain},
    },
    partners::Partner,
    watch::{Tracked, Watch},
};

/// Cells of a progress bar.
const BAR_CELLS: usize = 8;

/// The live view.
pub(super) struct Live {
    screen: Screen,
    started: Instant,
    table: Option<ProgressBar>,
}

impl Live {
    /// A view on standard output.
    pub(super) fn new(screen: Screen) -> Self {
        let table = screen.terminal.then(|| {
            let table = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            // The template is constant; what cannot be parsed would be shown in indicatif's own style.
            ProgressStyle::with_template("{msg}").into_iter().for_each(|style| table.set_style(style));
            table
        });
        Self { screen, started: Instant::now(), table }
    }

    /// One thing that happened.
    pub(super) fn happened(&self, tracked: &Tracked, partner: &Partner) -> Result<(), Failure> {
        let Some((what, tone)) = story(tracked) else { return Ok(()) };
        let at = self.started.elapsed().as_secs_f64();
        let name = partner.profile.name;
        // Fits into 80 columns.
        let line = format!("{at:6.2}s #{:<3} {name:<16} {:<18} ", tracked.code, plain(&tracked.event_type));
        self.say(&format!("{line}{}", self.screen.paint(&what, tone)))
    }

    /// A line of its own.
    pub(super) fn say(&self, line: &str) -> Result<(), Failure> {
        match &self.table {
            Some(table) => {
                table.println(line);
                Ok(())
            }
            None => self.screen.line(line),
        }
    }

    /// Draws the table as things are now.
    pub(super) fn draw(&self, partners: &[Partner], watch: &Watch) {
        if let Some(table) = &self.table {
            table.set_message(format!("\n{}", self.table_text(partners, watch)));
            table.tick();
        }
    }

    /// Takes the table away; the summary says more.
    pub(super) fn end(&self) {
        if let Some(table) = &self.table {
            table.finish_and_clear();
        }
    }

    fn table_text(&self, partners: &[Partner], watch: &Watch) -> String {
        let rows = partners.iter().enumerate().map(|(n, partner)| {
            let of = watch.of(n);
            let finished = of.iter().filter(|tracked| tracked.is_finished()).count();
            let taken = of.iter().filter(|tracked| tracked.is_taken()).count();
            let tries: u32 = of.iter().map(|tracked| tracked.attempts).sum();
            let failed = Field::number(finished - taken);
            vec![
                Field::new(partner.profile.name),
                Field::new(partner.profile.in_short).tone(Tone::Faint),
                Field::new(bar(finished, of.len())),
                Field::number(taken).tone(if taken > 0 { Tone::Good } else { Tone::Plain }),
                if finished > taken { failed.tone(Tone::Bad) } else { failed },
                Field::number(of.len() - finished),
                Field::number(tries),
            ]
        });
        self.screen.render(&["PARTNER", "ANSWERS", "PROGRESS", "TAKEN", "FAILED", "OPEN", "TRIES"], rows.collect())
    }
}

/// What is told of a delivery that moved on; none where that is not worth a line.
fn story(tracked: &Tracked) -> Option<(String, Tone)> {
    let reason = || plain(tracked.reason.as_deref().unwrap_or("no reason given"));
    let tries = tracked.attempts;
    match tracked.state.as_str() {
        "succeeded" => Some((format!("taken at try {tries}"), Tone::Good)),
        "failed" => Some((format!("failed at try {tries}: {}", reason()), Tone::Bad)),
        "pending" if tries > 0 => Some((format!("try {tries} failed: {}", reason()), Tone::Waiting)),
        "pending" | "delivering" => None,
        other => Some((format!("{}: {}", plain(other), reason()), Tone::Faint)),
    }
}

/// `■■■■···· 3/6`
fn bar(done: usize, all: usize) -> String {
    let full = (done * BAR_CELLS).checked_div(all).unwrap_or(0);
    format!("{}{} {done}/{all}", "■".repeat(full), "·".repeat(BAR_CELLS - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_with_what_is_done() {
        assert_eq!(bar(0, 0), "········ 0/0");
        assert_eq!(bar(3, 6), "■■■■···· 3/6");
        assert_eq!(bar(6, 6), "■■■■■■■■ 6/6");
    }
}
