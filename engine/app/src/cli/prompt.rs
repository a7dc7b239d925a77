//! Questions at the terminal.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin},
    process::{Command, Stdio},
};

use super::failure::Failure;

/// An answer in one line, without the spaces around it; without a terminal the option that gives it is named.
pub(super) fn line(option: &str, question: &str) -> Result<String, Failure> {
    Ok(typed(option, question)?.trim().to_owned())
}

/// An answer exactly as it is typed, without showing it where the terminal can do that.
pub(super) fn hidden(option: &str, question: &str) -> Result<String, Failure> {
    let echo = |setting: &str| {
        let set = Command::new("stty").arg(setting).stdin(Stdio::inherit()).stderr(Stdio::null()).status();
        set.is_ok_and(|status| status.success())
    };
    let is_hidden = stdin().is_terminal() && echo("-echo");
    let answer = typed(option, question);
    if is_hidden {
        echo("echo");
        let _ = writeln!(stderr());
    }
    answer
}

fn typed(option: &str, question: &str) -> Result<String, Failure> {
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
        _ => Ok(answer.trim_end_matches(['\r', '\n']).to_owned()),
    }
}
