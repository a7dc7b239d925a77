//! Questions at the terminal.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin},
    process::{Command, Stdio},
};

use crate::cli::failure::Failure;

/// What a step is about, in a line.
pub(super) fn about(key: &str) -> &'static str {
    match key {
        "welcome" => "where the tables are",
        "provisioning" => "what TOTVS makes ready",
        "requirements" => "what the Protheus must have",
        "companies" => "whose rows are carried",
        "credentials" => "the client that RAC knows",
        "preflight" => "whether the engine's node reaches the services",
        "entities" => "which tables Carol wants",
        "jobs" => "the two jobs",
        _ => "a step that this program does not know",
    }
}

/// An answer in one line; without a terminal the option that gives it is named.
pub(super) fn line(option: &str, question: &str) -> Result<String, Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::usage(format!("give {option}, or run this at a terminal")));
    }
    // Questions are no results: they go where messages go.
    let _ = write!(stderr(), "{question}: ");
    let _ = stderr().flush();
    let mut answer = String::new();
    let read = stdin().lock().read_line(&mut answer);
    match read.map_err(|error| Failure::usage(format!("the terminal: {error}")))? {
        0 => Err(Failure::usage(format!("no answer; give {option}"))),
        _ => Ok(answer.trim().to_owned()),
    }
}

/// Yes or no; anything but `y`, `yes`, `s`, `sim` is no.
pub(super) fn yes(option: &str, question: &str) -> Result<bool, Failure> {
    let answer = line(option, &format!("{question} [y/N]"))?.to_lowercase();
    Ok(matches!(answer.as_str(), "y" | "yes" | "s" | "sim"))
}

/// As [`line()`], without showing what is typed where the terminal can do that.
pub(super) fn hidden(option: &str, question: &str) -> Result<String, Failure> {
    let echo = |setting: &str| {
        let set = Command::new("stty").arg(setting).stdin(Stdio::inherit()).stderr(Stdio::null()).status();
        set.is_ok_and(|status| status.success())
    };
    let is_hidden = stdin().is_terminal() && echo("-echo");
    let answer = line(option, question);
    if is_hidden {
        echo("echo");
        let _ = writeln!(stderr());
    }
    answer
}
