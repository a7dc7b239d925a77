//! What commands print: tables and facts for people, JSON for programs.
//!
//! Text that came from outside (a partner's answer, a plugin's message) passes [`plain`] first, so that it cannot
//! move the cursor, change colours or turn the reading direction of somebody's terminal.

use std::io::{IsTerminal as _, Write as _, stdout};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets::NOTHING};

use super::failure::Failure;
pub(super) use super::plain::{plain, plain_lines};

/// How a cell is meant; colour is only ever added to what the words already say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing special.
    Plain,
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// It is under way, or worth a look.
    Waiting,
    /// Beside the point.
    Faint,
}

impl Tone {
    /// The tone of a delivery's state or of an attempt's outcome, by its stable code.
    pub(super) fn of_code(code: &str) -> Self {
        match code {
            "succeeded" | "success" | "ready" | "ok" => Self::Good,
            "failed" | "fail" | "retry" | "disable" | "transport_error" | "plugin_fault" => Self::Bad,
            "pending" | "delivering" | "parked" | "compiling" => Self::Waiting,
            "superseded" | "skipped" | "cancelled" => Self::Faint,
            _ => Self::Plain,
        }
    }
}

/// One cell of a table.
#[derive(Debug, Clone)]
pub(super) struct Field {
    text: String,
    tone: Tone,
    right: bool,
}

impl Field {
    /// Text from anywhere; control characters are shown, not obeyed.
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        Self { text: plain(text.as_ref()), tone: Tone::Plain, right: false }
    }

    /// A figure, aligned to the right.
    pub(super) fn number(figure: impl ToString) -> Self {
        Self { text: figure.to_string(), tone: Tone::Plain, right: true }
    }

    /// A stable code, in its own tone.
    pub(super) fn code(code: &str) -> Self {
        Self::new(code).tone(Tone::of_code(code))
    }

    /// Whether something is on.
    pub(super) fn yes_or_no(on: bool) -> Self {
        if on { Self::new("yes").tone(Tone::Good) } else { Self::new("no").tone(Tone::Bad) }
    }

    /// The same with another tone.
    #[must_use]
    pub(super) fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

/// Where a command's results go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// Programs read along.
    pub(super) json: bool,
    /// Standard output is a terminal.
    pub(super) terminal: bool,
    /// Colours are welcome: a terminal, and NO_COLOR is not set.
    pub(super) colour: bool,
}

impl Screen {
    /// Standard output as it is.
    pub(super) fn stdout(json: bool) -> Self {
        let terminal = stdout().is_terminal();
        // https://no-color.org: any value that is not empty.
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { json, terminal, colour }
    }

    /// One line.
    pub(super) fn line(self, text: impl AsRef<str>) -> Result<(), Failure> {
        let mut out = stdout().lock();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(())
    }

    /// A table with its header; `nothing` is said instead of an empty one.
    pub(super) fn table(self, header: &[&str], rows: Vec<Vec<Field>>, nothing: &str) -> Result<(), Failure> {
        if rows.is_empty() {
            return self.line(nothing);
        }
        self.line(self.render(header, rows))
    }

    /// Names and values, one a line.
    pub(super) fn facts(self, facts: &[(&str, Field)]) -> Result<(), Failure> {
        let rows = facts.iter().map(|(name, value)| vec![Field::new(name).tone(Tone::Faint), value.clone()]).collect();
        self.line(self.render(&[], rows))
    }

    /// What an action did that may answer nothing: a sentence; for programs the answer as it came.
    pub(super) fn done(self, answer: &str, sentence: &str) -> Result<(), Failure> {
        match (self.json, answer) {
            (true, "") => self.line("{}"),
            (true, answer) => self.line(answer),
            (false, _) => self.line(sentence),
        }
    }

    /// A heading between parts.
    pub(super) fn heading(self, text: &str) -> Result<(), Failure> {
        let text = plain(text);
        self.line(if self.colour { format!("\n\u{1b}[1m{text}\u{1b}[0m") } else { format!("\n{text}") })
    }

    /// The table as text, without a newline at its end.
    pub(super) fn render(self, header: &[&str], rows: Vec<Vec<Field>>) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if !self.terminal {
            table.force_no_tty();
        }
        if self.colour {
            table.enforce_styling();
        }
        // Where there is no width to fit, lines stay whole: they are easier to search.
        table.set_content_arrangement(ContentArrangement::Dynamic);
        let numeric: Vec<bool> = rows.first().into_iter().flatten().map(|field| field.right).collect();
        if !header.is_empty() {
            let numeric = numeric.iter().copied().chain(std::iter::repeat(false));
            table.set_header(header.iter().zip(numeric).map(|(name, right)| self.heading_cell(name, right)));
        }
        for row in rows {
            table.add_row(row.into_iter().map(|field| self.cell(field)));
        }
        let last = table.column_count().saturating_sub(1);
        for (n, column) in table.column_iter_mut().enumerate() {
            column.set_padding(if n == last { (0, 0) } else { (0, 2) });
        }
        table.trim_fmt()
    }

    fn heading_cell(self, name: &str, right: bool) -> Cell {
        let cell = Cell::new(name);
        let cell = if self.colour { cell.add_attribute(Attribute::Bold) } else { cell };
        if right { cell.set_alignment(CellAlignment::Right) } else { cell }
    }

    fn cell(self, field: Field) -> Cell {
        let cell = Cell::new_owned(field.text);
        let cell = if field.right { cell.set_alignment(CellAlignment::Right) } else { cell };
        match field.tone {
            _ if !self.colour => cell,
            Tone::Plain => cell,
            Tone::Good => cell.fg(Color::Green),
            Tone::Bad => cell.fg(Color::Red),
            Tone::Waiting => cell.fg(Color::Yellow),
            Tone::Faint => cell.fg(Color::DarkGrey),
        }
    }

    /// `text` in a tone, outside of tables.
    pub(super) fn paint(self, text: &str, tone: Tone) -> String {
        let colour = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Waiting => 33,
            Tone::Faint => 90,
        };
        if self.colour { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A time of the API for tables: `2026-01-31 12:00:00`, UTC.
pub(super) fn short_time(rfc3339: &str) -> String {
    match chrono::DateTime::parse_from_rfc3339(rfc3339) {
        Ok(at) => at.to_utc().format("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

/// A size for people: `118.9 KiB`.
pub(super) fn size(bytes: u64) -> String {
    const STEP: f64 = 1_024.0;
    // Exact to 2^53, far beyond anything shown here.
    let mut amount = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if amount < STEP {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{amount:.1} {unit}") };
        }
        amount /= STEP;
    }
    format!("{amount:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { json: false, terminal: false, colour: false };

    #[test]
    fn a_table_off_a_terminal_is_plain_aligned_text() {
        let rows = vec![
            vec![Field::number(1), Field::code("succeeded"), Field::new("Operação em Tempo Real")],
            vec![Field::number(12), Field::code("failed"), Field::new("a\nb")],
        ];
        let text = PIPE.render(&["CODE", "STATE", "PROCESS"], rows);
        assert_eq!(text, "CODE  STATE      PROCESS\n   1  succeeded  Operação em Tempo Real\n  12  failed     a\\nb");
    }

    #[test]
    fn colours_come_only_where_they_are_welcome() {
        let row = || vec![vec![Field::code("failed")]];
        assert!(!PIPE.render(&["STATE"], row()).contains('\u{1b}'));
        let colourful = Screen { colour: true, ..PIPE };
        assert!(colourful.render(&["STATE"], row()).contains('\u{1b}'));
        assert_eq!(PIPE.paint("x", Tone::Bad), "x");
    }

    #[test]
    fn times_and_sizes_are_short() {
        assert_eq!(short_time("2026-01-31T09:00:00.123456-03:00"), "2026-01-31 12:00:00");
        assert_eq!(short_time("never"), "never");
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(121_754), "118.9 KiB");
        assert_eq!(size(18 << 20), "18.0 MiB");
    }
}
