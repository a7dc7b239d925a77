//! What `engate job` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// `engate job`
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum JobCommand {
    /// List jobs
    List,
    /// Make a job from a file with its JSON: {"name", "schedule", "run", ...}
    Create {
        /// The file; - reads standard input
        file: PathBuf,
    },
    /// Show one job
    Show {
        /// Its name or id
        job: String,
    },
    /// Change when a job runs, or everything that a file says
    Edit(EditArgs),
    /// Show when a job, or a schedule that is not stored, comes next
    Next(NextArgs),
    /// Run a job now
    Run {
        /// Its name or id
        job: String,
    },
    /// Pause a job: its instants pass and are not made up for
    Pause {
        /// Its name or id
        job: String,
        /// Why, for whoever finds it paused
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Let a paused job run again
    Resume {
        /// Its name or id
        job: String,
    },
    /// Start a job that a wizard made, once its schedule is finished
    Start {
        /// Its name or id
        job: String,
    },
    /// Run a job for the instants of its schedule in times past
    Backfill {
        /// Its name or id
        job: String,
        /// From this instant on (2026-01-31T00:00:00Z)
        #[arg(long, value_name = "TIME")]
        start: String,
        /// Before this instant
        #[arg(long, value_name = "TIME")]
        end: String,
        /// How many run side by side
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        max: u32,
    },
    /// See a job's runs, or the log of one
    Log(LogArgs),
    /// Watch how far a first load or a reconciliation is, until it is over
    Watch {
        /// Its name or id
        job: String,
    },
    /// Stop a run
    Cancel {
        /// Its job's name or id
        job: String,
        /// The run's id (run_...), as `engate job log` prints it
        run: String,
    },
    /// Log request and response of every page, secrets masked, for a while: it costs speed and space
    Debug {
        /// Its name or id
        job: String,
        /// Stop it now
        #[arg(long)]
        off: bool,
        /// Seconds after which it ends of itself
        #[arg(long, value_name = "SECONDS", default_value_t = 900)]
        ttl: u64,
    },
    /// See the requests and responses that were logged while a job was looked into (engate job debug)
    DebugLog {
        /// Its name or id
        job: String,
        /// One run's lines of JSON, by its id (run_...); without it the runs of which there are any
        run: Option<String>,
    },
    /// See where each stream of a sync is, in each partition
    Streams {
        /// The job's name or id
        job: String,
    },
    /// See where a stream was before, the newest first: what a rewind may go back to
    History(StreamArgs),
    /// Let a stream go on that stopped because its table, source or target changed
    Approve(StreamArgs),
    /// Begin a stream anew: everything is sent again
    Epoch(StreamArgs),
    /// Set a stream back: what is stamped since then is read and sent again
    Rewind {
        #[command(flatten)]
        stream: StreamArgs,
        /// Back to this instant (2026-01-31T00:00:00Z)
        #[arg(long, value_name = "TIME")]
        to: String,
    },
    /// See the records that streams have set aside, and why
    Quarantine {
        /// The job's name or id
        job: String,
    },
    /// Send a record that was set aside again, with the next run
    Replay(RecordArgs),
    /// Give a record up that was set aside
    Discard(RecordArgs),
    /// List the connections that jobs may read, as the engine's configuration names them
    Connections,
    /// See the tables of a connection, with the keys and watermarks that a sync needs
    Discover {
        /// The connection's name in the engine's configuration
        connection: String,
        /// Only tables whose names begin so
        prefix: Option<String>,
    },
    /// Delete a job with its history
    Delete {
        /// Its name or id
        job: String,
    },
}

/// What to change.
#[derive(Debug, Args)]
pub(in crate::cli) struct EditArgs {
    /// Its name or id
    pub(super) job: String,

    #[command(flatten)]
    pub(super) schedule: ScheduleArgs,

    /// A file with the JSON of what changes; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

/// A schedule in flags.
#[derive(Debug, Args)]
pub(in crate::cli) struct ScheduleArgs {
    /// minute hour day month weekday, or six fields with seconds in front
    #[arg(long, value_name = "EXPRESSION", group = "kind")]
    cron: Option<String>,

    /// The zone that --cron means; without it America/Sao_Paulo
    #[arg(long, value_name = "ZONE", requires = "cron")]
    timezone: Option<String>,

    /// Seconds between two runs
    #[arg(long, value_name = "SECONDS", group = "kind")]
    every: Option<u64>,

    /// Again as soon as it is done
    #[arg(long, group = "kind")]
    always: bool,
}

impl ScheduleArgs {
    /// As the API takes it; none where no flag says one.
    pub(super) fn json(&self) -> Option<Value> {
        if let Some(expression) = &self.cron {
            let mut cron = Map::new();
            cron.insert("kind".to_owned(), "cron".into());
            cron.insert("expression".to_owned(), expression.clone().into());
            if let Some(zone) = &self.timezone {
                cron.insert("timezone".to_owned(), zone.clone().into());
            }
            return Some(cron.into());
        }
        if let Some(seconds) = self.every {
            return Some(json!({ "kind": "every", "interval_ms": seconds.saturating_mul(1_000) }));
        }
        self.always.then(|| json!({ "kind": "always" }))
    }
}

/// Whose instants.
#[derive(Debug, Args)]
pub(in crate::cli) struct NextArgs {
    /// A job's name or id
    #[arg(required_unless_present_any = ["cron", "every"])]
    pub(super) job: Option<String>,

    #[command(flatten)]
    pub(super) schedule: ScheduleArgs,

    /// How many
    #[arg(short, long, default_value_t = 10)]
    pub(super) number: u32,

    /// From this instant on; without it now
    #[arg(long, value_name = "TIME")]
    pub(super) from: Option<String>,
}

/// Which runs.
#[derive(Debug, Args)]
pub(in crate::cli) struct LogArgs {
    /// The job's name or id
    pub(super) job: String,

    /// One run's log, by its id (run_...)
    pub(super) run: Option<String>,

    /// Only runs in this state: queued, running, succeeded, failed, skipped, cancelled, abandoned
    #[arg(long, value_name = "STATE")]
    pub(super) state: Option<String>,

    /// How many runs
    #[arg(short, long, default_value_t = 20)]
    pub(super) number: u32,
}

/// A stream of a job.
#[derive(Debug, Args)]
pub(in crate::cli) struct StreamArgs {
    /// The job's name or id
    pub(super) job: String,

    /// The stream's name
    pub(super) stream: String,

    /// Only the partition with this value, as company=01; again for another dimension. Without it all of them
    #[arg(long, value_name = "DIMENSION=VALUE", value_parser = pair)]
    pub(super) partition: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (dimension, value) = text.split_once('=').ok_or("write it as company=01")?;
    Ok((dimension.to_owned(), value.to_owned()))
}

/// A record that was set aside.
#[derive(Debug, Args)]
pub(in crate::cli) struct RecordArgs {
    /// The job's name or id
    pub(super) job: String,

    /// The record's id (qua_...), as `engate job quarantine` prints it
    pub(super) record: String,
}
