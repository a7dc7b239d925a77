//! The log of one call: what the plugin wrote, capped and made safe to print.

use std::fmt::Write as _;

/// Bytes of standard error that a fault's message quotes.
const STDERR_TAIL_BYTES: usize = 600;
/// What is said, once, where lines were left out.
const TRUNCATED: &str = "[log truncated]\n";

/// Lines of one call, at most `limit_bytes` and one notice.
#[derive(Debug, Default)]
pub(crate) struct PluginLog {
    text: String,
    limit_bytes: usize,
    truncated: bool,
    mid_line: Option<Stream>,
    stderr_tail: String,
}

/// Where raw output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl PluginLog {
    /// An empty log that keeps `limit_bytes`.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, ..Self::default() }
    }

    /// One line of the log interface.
    pub(crate) fn line(&mut self, level: &str, message: &str, fields: &[(String, String)]) {
        if self.truncated {
            return;
        }
        self.end_line();
        let mut line = String::with_capacity(message.len().min(self.limit_bytes) + 16);
        line.push_str(level);
        line.push(' ');
        let room = self.limit_bytes.saturating_sub(self.text.len());
        escape_into(&mut line, message, room, false);
        for (name, value) in fields {
            if line.len() > room {
                break;
            }
            line.push(' ');
            escape_into(&mut line, name, room, false);
            line.push('=');
            escape_into(&mut line, value, room, false);
        }
        line.push('\n');
        self.push(&line);
    }

    /// Bytes written to standard output or standard error.
    pub(crate) fn raw(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Stderr {
            self.remember_stderr(bytes);
        }
        if self.truncated {
            return;
        }
        if self.mid_line.is_some_and(|last| last != stream) {
            self.end_line();
        }
        let room = self.limit_bytes.saturating_sub(self.text.len());
        // One more than fits, so that what does not fit is noticed.
        let head = bytes.get(..bytes.len().min(room + 1)).unwrap_or(bytes);
        for piece in String::from_utf8_lossy(head).split_inclusive('\n') {
            let mut line = String::new();
            if self.mid_line.is_none() {
                line.push_str(if stream == Stream::Stderr { "stderr: " } else { "stdout: " });
            }
            escape_into(&mut line, piece.trim_end_matches('\n'), room, false);
            let ends = piece.ends_with('\n');
            if ends {
                line.push('\n');
            }
            self.mid_line = if ends { None } else { Some(stream) };
            self.push(&line);
        }
    }

    /// A note by the engine itself.
    pub(crate) fn note(&mut self, text: &str) {
        self.line("engine:", text, &[]);
    }

    /// The last of what went to standard error, on one line; empty where nothing did.
    pub(crate) fn stderr_tail(&self) -> &str {
        self.stderr_tail.trim()
    }

    /// The finished text.
    pub(crate) fn finish(mut self) -> String {
        if !self.truncated {
            self.end_line();
        }
        self.text
    }

    fn end_line(&mut self) {
        if self.mid_line.take().is_some() {
            self.push("\n");
        }
    }

    fn push(&mut self, piece: &str) {
        if self.truncated {
            return;
        }
        if self.text.len() + piece.len() <= self.limit_bytes {
            self.text.push_str(piece);
            return;
        }
        self.truncated = true;
        let room = self.limit_bytes.saturating_sub(self.text.len());
        self.text.push_str(cut(piece, room));
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text.push_str(TRUNCATED);
    }

    fn remember_stderr(&mut self, bytes: &[u8]) {
        let tail = bytes.get(bytes.len().saturating_sub(STDERR_TAIL_BYTES)..).unwrap_or(bytes);
        let text = String::from_utf8_lossy(tail).replace('\n', " ");
        escape_into(&mut self.stderr_tail, &text, usize::MAX, false);
        let mut surplus = self.stderr_tail.len().saturating_sub(STDERR_TAIL_BYTES);
        while !self.stderr_tail.is_char_boundary(surplus) {
            surplus += 1;
        }
        self.stderr_tail.drain(..surplus);
    }
}

/// The longest beginning of `text` that has at most `bytes_max` bytes.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// `text` with whatever could disturb a terminal or a log written out, at most about `bytes_max` bytes of it.
pub(crate) fn printable(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    escape_into(&mut out, text, bytes_max, true);
    out.truncate(cut(&out, bytes_max).len());
    out
}

fn escape_into(out: &mut String, text: &str, bytes_max: usize, keep_newlines: bool) {
    let end = out.len().saturating_add(bytes_max);
    for c in text.chars() {
        if out.len() > end {
            return;
        }
        match c {
            '\n' if keep_newlines => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || is_direction_mark(c) => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

/// Marks that make a line read otherwise than it is written.
const fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_09_control_characters_and_direction_marks_are_written_out() {
        let mut log = PluginLog::new(1_000);
        log.line("info", "a\x1b[31mred\r\nINFO forged\0\u{202e}", &[("k\n".to_owned(), "v\u{7f}".to_owned())]);
        assert_eq!(log.finish(), "info a\\u{1b}[31mred\\r\\nINFO forged\\u{0}\\u{202e} k\\n=v\\u{7f}\n");
    }

    #[test]
    fn isolation_09_a_flood_is_cut_and_noticed_once() {
        let mut log = PluginLog::new(100);
        for _ in 0..1_000 {
            log.line("warn", &"x".repeat(1_000_000), &[]);
            log.raw(Stream::Stderr, &[b'y'; 10_000]);
        }
        let text = log.finish();
        assert_eq!(text.matches("[log truncated]").count(), 1);
        assert!(text.len() <= 100 + TRUNCATED.len() + 1, "{}", text.len());
    }

    #[test]
    fn streams_are_told_apart_line_by_line() {
        let mut log = PluginLog::new(1_000);
        log.raw(Stream::Stdout, b"one\ntw");
        log.raw(Stream::Stdout, b"o");
        log.raw(Stream::Stderr, b"three");
        log.line("info", "four", &[]);
        log.raw(Stream::Stdout, b"\xff");
        assert_eq!(log.stderr_tail(), "three");
        assert_eq!(log.finish(), "stdout: one\nstdout: two\nstderr: three\ninfo four\nstdout: \u{fffd}\n");
    }

    #[test]
    fn the_tail_of_standard_error_is_its_end() {
        let mut log = PluginLog::new(10);
        log.raw(Stream::Stderr, "é".repeat(10_000).as_bytes());
        log.raw(Stream::Stderr, b"the end\n");
        assert!(log.stderr_tail().ends_with("the end"));
        assert!(log.stderr_tail().len() <= STDERR_TAIL_BYTES);
    }

    #[test]
    fn what_is_cut_stays_text() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(printable("a\nb\x07", 100), "a\nb\\u{7}");
        assert!(printable(&"\x07".repeat(10_000), 64).len() <= 64);
    }
}
