//! Log lines. Spans carry ids; nothing here or below ever logs a secret, a token or a payload.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{LogFormat, LogSettings};

/// Starts writing log lines to standard error. A second call in one process changes nothing.
///
/// # Errors
/// A sentence for people when `log.level` cannot be read as a filter.
pub fn init(log: &LogSettings) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|error| format!("log.level: {error}; write info, or a filter such as engate=debug,sqlx=warn"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    // The only error is that one was set before, as in tests that start several engines.
    drop(started);
    Ok(())
}
