//! A fake engine for native tests: `cargo test` runs a plugin without WebAssembly.
//!
//! [`Host`] stands for one installation: its settings, secrets and state, and the log lines it caught. [`event()`],
//! [`context`] and [`exchange`] give arguments with sensible defaults. [`run_fixtures`] checks a folder of golden files.
//! Nothing here is in the component.

mod fake;
mod fixture;
mod record;
mod samples;
mod spec;

pub(crate) use fake::imports;
pub use fake::{Host, LogLine, STATE_BYTES_MAX};
pub use fixture::{
    Answers, Difference, Fixture, SinkCalls, SourceCall, SyncAnswers, run_fixtures, run_receiver_fixtures,
    run_sink_fixtures, run_source_fixtures,
};
pub use samples::{
    NOW_MS, call, context, event, exchange, page, pass, pull, response, sent, sent_page, stream, totals,
};
