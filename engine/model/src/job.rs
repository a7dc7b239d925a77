//! A job: a schedule and one thing that it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    JobId, TenantId,
    invalid::{Complaints, Invalid},
    plugin::{PluginRef, check_plugin_name},
    run::RunCounts,
    schedule::{
        self, Schedule,
        due::{Catchup, CatchupMode, Overlap, RUNS_MAX, SIDE_BY_SIDE_MAX, WINDOW_MAX},
    },
    sync::SyncJob,
    time::Timestamp,
};

/// A run may take this long at most; `always` jobs go on in slices of [`SLICE_MAX`].
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3_600);
const TIMEOUT_DEFAULT_MS: u64 = 3_600_000;
/// A run of an `always` job is this long, so that what changes (the job, a plugin) comes into force.
pub const SLICE_MAX: Duration = Duration::from_secs(300);
/// A run that did not start within this of its instant is left out.
const START_DEADLINE_DEFAULT_MS: u64 = 24 * 3_600 * 1_000;
const JITTER_MAX: Duration = Duration::from_secs(24 * 3_600);
const GRACE_MAX: Duration = Duration::from_secs(3_600);
const ATTEMPTS_MAX: u32 = 20;
const NAME_BYTES_MAX: usize = 100;
/// So many failures in a row pause a job of themselves.
const FAILURES_DEFAULT: u32 = 20;
/// Between two tries within one run at most this.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
const BACK_OFF_BASE: Duration = Duration::from_secs(1);

/// How a run goes about a failure that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunRetry {
    /// Tries of one run, the first included.
    pub attempts: u32,
}

impl Default for RunRetry {
    fn default() -> Self {
        Self { attempts: 3 }
    }
}

impl RunRetry {
    /// How long to wait after try number `tried`; none: it was the last. `chance` in [0, 1) spreads the waits from
    /// nothing to all of an exponential back-off (full jitter).
    pub fn wait(self, tried: u32, chance: f64) -> Option<Duration> {
        if tried >= self.attempts {
            return None;
        }
        let doubled = BACK_OFF_BASE.saturating_mul(1_u32.checked_shl(tried.saturating_sub(1)).unwrap_or(u32::MAX));
        Some(doubled.min(BACK_OFF_MAX).mul_f64(chance.clamp(0.0, 1.0)))
    }
}

/// What an engine task does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case", deny_unknown_fields)]
pub enum EngineTask {
    /// *Reenviar Pendentes* of an endpoint, or of every endpoint that is enabled.
    ResendPending {
        /// Only this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<crate::EndpointId>,
    },
    /// Forgets what is older than the settings say, now instead of by and by.
    Retention,
}

/// The one thing that a job runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// Publishes an event.
    Emit {
        /// Which.
        event: EmitEvent,
    },
    /// Carries tables to a target.
    Sync(Box<SyncJob>),
    /// Asks a plugin for what is new and makes events of it.
    Poll(PollJob),
    /// A task of the engine's own.
    Engine(EngineTask),
}

/// An event that a job publishes; the run's nominal time is when it happened, and with the job its idempotency key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmitEvent {
    /// Key of its type.
    pub r#type: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Any JSON.
    #[serde(default)]
    pub payload: serde_json::Value,
    /// Names and values.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Ties it to its cause; none: the run's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// Where a job asks for what is new, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollJob {
    /// The plugin that is asked (`sync-source`).
    pub plugin: PluginRef,
    /// Its settings, above the installation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
    /// What it is asked for, in the plugin's own words.
    pub stream: String,
    /// The type of the events.
    pub event_type: String,
    /// JSON Pointer to the events' subject within a record; none: the record's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Whose address and credentials its requests may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<crate::EndpointId>,
}

/// Longest name of a polled stream, in bytes.
const STREAM_BYTES_MAX: usize = 200;

impl PollJob {
    fn check(&self) -> Result<(), Invalid> {
        let mut complaints = Complaints::default();
        if let Err(message) = check_plugin_name(&self.plugin.name) {
            complaints.add("plugin", message);
        }
        if self.stream.is_empty() || self.stream.len() > STREAM_BYTES_MAX {
            complaints.add("stream", format!("must be 1 to {STREAM_BYTES_MAX} bytes"));
        }
        complaints.take(crate::event::check_key("event_type", &self.event_type));
        if self.subject.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
            complaints.add("subject", "must be a JSON Pointer into the record, such as /id");
        }
        complaints.finish(())
    }
}

impl Work {
    /// The stable label of its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Emit { .. } => "emit",
            Self::Sync(_) => "sync",
            Self::Poll(_) => "poll",
            Self::Engine(_) => "engine",
        }
    }
}

/// What an operator writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSettings {
    /// Unique within the tenant.
    pub name: String,
    /// When it runs.
    pub schedule: Schedule,
    /// What it runs.
    pub work: Work,
    /// What becomes of a run while another is not over.
    pub overlap: Overlap,
    /// What becomes of instants nobody was there for.
    pub catchup: Catchup,
    /// Each run waits up to this beyond its instant.
    pub jitter_ms: u64,
    /// A run that takes longer has failed.
    pub timeout_ms: u64,
    /// A run that did not start within this of its instant is left out.
    pub start_deadline_ms: u64,
    /// How a run goes about a failure that may pass.
    pub retry: RunRetry,
    /// So many failures in a row pause the job; 0: never.
    pub pause_after_failures: u32,
    /// Whether it runs at all.
    pub enabled: bool,
}

impl JobSettings {
    /// With the usual rules.
    pub fn new(name: impl Into<String>, schedule: Schedule, work: Work) -> Self {
        Self {
            name: name.into(),
            schedule,
            work,
            overlap: Overlap::default(),
            catchup: Catchup::default(),
            jitter_ms: 0,
            timeout_ms: TIMEOUT_DEFAULT_MS,
            start_deadline_ms: START_DEADLINE_DEFAULT_MS,
            retry: RunRetry::default(),
            pause_after_failures: FAILURES_DEFAULT,
            enabled: true,
        }
    }

    /// Checks everything but what `work` refers to.
    ///
    /// # Errors
    /// Names each field that is wrong, with what may stand there.
    pub fn check(&self, now: Timestamp) -> Result<(), Invalid> {
        let mut complaints = Complaints::default();
        let name = self.name.trim();
        if name.is_empty() || self.name.len() > NAME_BYTES_MAX || name != self.name || name.contains(char::is_control) {
            complaints
                .add("name", format!("must be 1 to {NAME_BYTES_MAX} bytes of one line, without blanks at its ends"));
        }
        if let Err(invalid) = schedule::check(&self.schedule, now) {
            invalid.0.into_iter().for_each(|e| complaints.add(format!("schedule.{}", e.field), e.message));
        }
        let most = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut within = |field: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                complaints.add(field, format!("must be {least} to {most}"));
            }
        };
        within("jitter_ms", self.jitter_ms, 0, most(JITTER_MAX));
        within("timeout_ms", self.timeout_ms, 1_000, most(TIMEOUT_MAX));
        within("start_deadline_ms", self.start_deadline_ms, 1_000, 30 * most(TIMEOUT_MAX));
        within("retry.attempts", u64::from(self.retry.attempts), 1, u64::from(ATTEMPTS_MAX));
        within("catchup.window_ms", self.catchup.window_ms, 1_000, most(WINDOW_MAX));
        if self.catchup.mode == CatchupMode::All {
            within("catchup.max", u64::from(self.catchup.max), 1, u64::from(RUNS_MAX));
        }
        let work = match &self.work {
            Work::Sync(sync) => sync.check(),
            Work::Poll(poll) => poll.check(),
            Work::Emit { .. } | Work::Engine(_) => Ok(()),
        };
        if let Err(invalid) = work {
            invalid.0.into_iter().for_each(|e| complaints.add(format!("run.{}", e.field), e.message));
        }
        if matches!(self.work, Work::Sync(_) | Work::Poll(_)) && matches!(self.overlap, Overlap::Allow { .. }) {
            complaints.add("overlap", "must not be `allow`: two runs would carry on from the same checkpoint");
        }
        let mut within = |field: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                complaints.add(field, format!("must be {least} to {most}"));
            }
        };
        match self.overlap {
            Overlap::Allow { max } => within("overlap.max", u64::from(max), 1, u64::from(SIDE_BY_SIDE_MAX)),
            Overlap::CancelOther { grace_ms } => within("overlap.grace_ms", grace_ms, 0, most(GRACE_MAX)),
            Overlap::Skip | Overlap::BufferOne => {}
        }
        complaints.finish(())
    }

    /// How long one run may take.
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// Who paused a job, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub at: Timestamp,
    /// A principal's name, or `engine`.
    pub by: String,
    /// One sentence.
    pub reason: String,
}

/// How long payloads are written to the log, and how much of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debugging {
    /// It ends of itself here.
    pub until: Timestamp,
    /// All of the job's files together hold at most this.
    pub bytes_max: u64,
}

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What the operator wrote.
    pub settings: JobSettings,
    /// Made by a wizard and not started yet.
    pub needs_configuration: bool,
    /// Set while it is paused.
    pub pause: Option<Pause>,
    /// Its next instant.
    pub next_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// Instants that nobody was there for, so far.
    pub missed: u64,
    /// Counts its changes by people.
    pub revision: u64,
    /// Set while payloads are logged.
    pub debug: Option<Debugging>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed by someone.
    pub updated_at: Timestamp,
}

/// What a job is doing, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It runs when its time comes.
    Active,
    /// It was switched off.
    Disabled,
    /// It was paused.
    Paused,
    /// A wizard made it; its schedule has to be finished and it has to be started.
    NeedsConfiguration,
}

impl Job {
    /// Its state.
    pub const fn state(&self) -> JobState {
        if self.needs_configuration {
            JobState::NeedsConfiguration
        } else if !self.settings.enabled {
            JobState::Disabled
        } else if self.pause.is_some() {
            JobState::Paused
        } else {
            JobState::Active
        }
    }
}

/// What made a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunTrigger {
    /// Its instant came.
    Schedule,
    /// Its instant had come while nobody was there.
    Catchup,
    /// Someone asked for it.
    Manual,
    /// Someone asked for times past.
    Backfill,
}

impl RunTrigger {
    /// Reads a label.
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Schedule, Self::Catchup, Self::Manual, Self::Backfill].into_iter().find(|t| t.as_str() == label)
    }

    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Catchup => "catchup",
            Self::Manual => "manual",
            Self::Backfill => "backfill",
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It waits for its time, or for others to end.
    Queued,
    /// A node works on it.
    Running,
    /// It went well.
    Succeeded,
    /// It did not.
    Failed,
    /// It was left out, for a reason.
    Skipped,
    /// Someone, or a newer run, stopped it.
    Cancelled,
    /// The nodes that worked on it fell silent, too often.
    Abandoned,
}

impl RunState {
    /// Reads a label.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == label)
    }

    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Skipped, Self::Cancelled, Self::Abandoned];

    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether nothing more will happen to it.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id; also the correlation id of all that it sends.
    pub id: crate::RunId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Of which job.
    pub job: JobId,
    /// Its nominal time; with the job, its identity.
    pub scheduled_at: Timestamp,
    /// What made it.
    pub trigger: RunTrigger,
    /// The order it belongs to, where it was a backfill.
    pub backfill: Option<crate::BackfillId>,
    /// Where it stands.
    pub state: RunState,
    /// Why it was left out or stopped.
    pub reason: Option<String>,
    /// When a node took it up last.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// Tries.
    pub attempts: u32,
    /// How often the node that worked on it fell silent.
    pub abandoned: u32,
    /// What it moved.
    pub counts: RunCounts,
    /// Why it failed: code and sentence.
    pub error: Option<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_within_a_run_grow_and_end() {
        let retry = RunRetry { attempts: 12 };
        let waits: Vec<_> = (1..=12).map(|tried| retry.wait(tried, 1.0).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits[..4], [Some(1), Some(2), Some(4), Some(8)]);
        assert_eq!(waits[10..], [Some(300), None]);
        assert_eq!(retry.wait(3, 0.0), Some(Duration::ZERO));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let mut settings = JobSettings::new(
            " x",
            Schedule::Every { interval_ms: 1, phase_ms: 0 },
            Work::Engine(EngineTask::Retention),
        );
        settings.overlap = Overlap::Allow { max: 0 };
        settings.catchup = Catchup { mode: CatchupMode::All, window_ms: 0, max: 0 };
        settings.timeout_ms = 1;
        settings.retry.attempts = 0;
        let invalid = settings.check(Timestamp::from_millis(0)).unwrap_err();
        let fields: Vec<_> = invalid.0.iter().map(|error| error.field.as_str()).collect();
        let expected = [
            "name",
            "schedule.interval_ms",
            "timeout_ms",
            "retry.attempts",
            "catchup.window_ms",
            "catchup.max",
            "overlap.max",
        ];
        assert_eq!(fields, expected);
    }
}
