//! The questions of the steps.

use crate::cli::failure::Failure;
pub(super) use crate::cli::prompt::{hidden, line};

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

/// Yes or no; anything but `y`, `yes`, `s`, `sim` is no.
pub(super) fn yes(option: &str, question: &str) -> Result<bool, Failure> {
    let answer = line(option, &format!("{question} [y/N]"))?.to_lowercase();
    Ok(matches!(answer.as_str(), "y" | "yes" | "s" | "sim"))
}
