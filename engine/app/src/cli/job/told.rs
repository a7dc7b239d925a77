//! Jobs and runs as the API tells them, as far as the commands show them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

/// A job as the API tells it.
#[derive(Deserialize)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) state: String,
    pub(super) schedule: Value,
    pub(super) run: Value,
    #[serde(default)]
    pub(super) paused: Option<Paused>,
    #[serde(default)]
    pub(super) next_at: Option<String>,
    pub(super) failures: u64,
    pub(super) missed: u64,
}

#[derive(Deserialize)]
pub(super) struct Paused {
    pub(super) by: String,
    pub(super) reason: String,
}

/// A run as the API tells it.
#[derive(Deserialize)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) scheduled_at: String,
    pub(super) trigger: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) started_at: Option<String>,
    pub(super) rows: u64,
    pub(super) requests: u64,
    pub(super) quarantined: u64,
    #[serde(default)]
    pub(super) error: Option<RunError>,
}

#[derive(Deserialize)]
pub(super) struct RunError {
    pub(super) code: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct LogLine {
    #[serde(default)]
    pub(super) at: Option<String>,
    pub(super) level: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct Next {
    pub(super) utc: String,
    #[serde(default)]
    pub(super) local: Option<String>,
    #[serde(default)]
    pub(super) offset: Option<String>,
    #[serde(default)]
    pub(super) note: Option<String>,
}

/// Where a stream of a sync is, in one partition.
#[derive(Deserialize)]
pub(super) struct Checkpoint {
    pub(super) id: String,
    pub(super) stream: String,
    pub(super) partition: BTreeMap<String, String>,
    pub(super) epoch: u32,
    pub(super) phase: String,
    #[serde(default)]
    pub(super) committed_upper: Option<String>,
    #[serde(default)]
    pub(super) reconciled_at: Option<String>,
    #[serde(default)]
    pub(super) pass: Option<PassUnderWay>,
}

#[derive(Deserialize)]
pub(super) struct PassUnderWay {
    pub(super) kind: String,
    pub(super) records: u64,
    #[serde(default)]
    pub(super) progress: Option<Progress>,
}

/// How far a pass is that goes through a whole table or feed.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Progress {
    pub(super) rows: u64,
    #[serde(default)]
    pub(super) expected: Option<u64>,
    pub(super) expected_is_estimate: bool,
    #[serde(default)]
    pub(super) rows_per_second: Option<f64>,
    #[serde(default)]
    pub(super) eta: Option<DateTime<Utc>>,
}

/// A record that was set aside.
#[derive(Deserialize)]
pub(super) struct Quarantined {
    pub(super) id: String,
    pub(super) stream: String,
    pub(super) partition: BTreeMap<String, String>,
    pub(super) key: String,
    pub(super) state: String,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) created_at: String,
}
