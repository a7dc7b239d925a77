//! Jobs as bodies have them. What is nested (schedule, run, overlap) is described here for readers and checks, and read
//! straight into the model.

use engate_model::{
    Invalid, Timestamp,
    invalid::FieldError,
    job::{JobSettings, RunRetry, Work},
    schedule::{
        Schedule,
        due::{Catchup, Overlap},
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    api::text::NameText,
    verbs::jobs::{Change, JobChange},
};

/// When a job runs: at the times of an expression in a zone (`cron`), at the instants `epoch + n * interval + phase`
/// (`every`), again as soon as it is done (`always`), or only when someone asks for it (`manual`).
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Schedule, example = json!({"kind": "cron", "expression": "0 2 * * *", "timezone": "America/Sao_Paulo"}))]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) struct ScheduleShape {
    /// Which of the four; each takes its own fields.
    kind: ScheduleKindShape,
    /// Of `cron`: `minute hour day month weekday`, or six fields with seconds in front; names, ranges, lists and steps.
    #[schema(min_length = 1, max_length = 512)]
    expression: Option<String>,
    /// Of `cron`: a name of the IANA database; America/Sao_Paulo where it is left out.
    #[schema(min_length = 1, max_length = 64)]
    timezone: Option<String>,
    /// Of `cron`: what becomes of times that the clock skips or shows twice.
    dst: Option<DstShape>,
    /// Of `cron`: days without a run: `2026-12-25`, `12-25` of every year, `2026-12-24/2027-01-02`.
    #[schema(max_items = 500, value_type = Option<Vec<NameText>>)]
    exclude: Option<Vec<String>>,
    /// Of `cron`: nothing runs before.
    #[schema(value_type = Option<String>, format = DateTime)]
    start: Option<Timestamp>,
    /// Of `cron`: nothing runs from here on.
    #[schema(value_type = Option<String>, format = DateTime)]
    end: Option<Timestamp>,
    /// Of `every`: milliseconds between two runs.
    #[schema(minimum = 1000, maximum = 31_622_400_000_u64)]
    interval_ms: Option<u64>,
    /// Of `every`: milliseconds that all of them are shifted by.
    #[schema(maximum = 31_622_400_000_u64)]
    phase_ms: Option<u64>,
}

/// What kind of schedule.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ScheduleKind)]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) enum ScheduleKindShape {
    Cron,
    Every,
    Always,
    Manual,
}

/// What becomes of times that the clock skips or shows twice. Where the hour field holds no `*`, by default a skipped time
/// runs right behind and a repeated one the first time; where it does, real time counts.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ScheduleDst)]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) struct DstShape {
    gap: Option<GapShape>,
    fold: Option<FoldShape>,
}

/// For times that are skipped.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ScheduleGap)]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) enum GapShape {
    RunAfter,
    Skip,
}

/// For times that come twice.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ScheduleFold)]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) enum FoldShape {
    First,
    Last,
    Both,
}

/// At the instants `epoch + n * interval + phase`.
#[derive(ToSchema)]
#[schema(as = ScheduleEvery)]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) struct EveryShape {
    /// Milliseconds between two runs.
    #[schema(minimum = 1000, maximum = 31_622_400_000_u64)]
    interval_ms: u64,
    /// Milliseconds that all of them are shifted by.
    #[schema(maximum = 31_622_400_000_u64)]
    phase_ms: Option<u64>,
}

/// What a job runs: `emit` an event, `sync` tables or a plugin's feeds to a target, `poll` a plugin for events, or an `engine` task.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobRun, example = json!({"kind": "emit", "event": {"type": "day.closed", "payload": {}}}))]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) struct WorkShape {
    /// Which of the four.
    kind: WorkKindShape,
    /// Of `emit`: `{type, subject?, payload, labels?, correlation_id?}`.
    #[schema(value_type = Option<Object>)]
    event: Option<Value>,
    /// Of `engine`: `resend_pending` or `retention`.
    #[schema(max_length = 64)]
    task: Option<String>,
    /// Of `engine` and `poll`: the endpoint meant.
    #[schema(max_length = 64)]
    endpoint: Option<String>,
    /// Of `sync`: `{kind: "table", connection}` or `{kind: "plugin", plugin, config?}`, a plugin of the world sync-source.
    #[schema(value_type = Option<Object>)]
    source: Option<Value>,
    /// Of `sync`: `{plugin, config, endpoint}`, or `{event_type, subject?}` to make events of the changes.
    #[schema(value_type = Option<Object>)]
    sink: Option<Value>,
    /// Of `sync`: of tables `[{name, table, key[], watermark, columns?, soft_delete?, reconcile_ms?, partition_columns?,
    /// target}]`, of a plugin `[{name, table?, key[], columns?, target}]`; a plugin's columns are names or `{name, kind, nullable?}`.
    #[schema(value_type = Option<Vec<Object>>, max_items = 200)]
    streams: Option<Vec<Value>>,
    /// Of `sync`: the value of each dimension, such as `[{company: "01"}]`.
    #[schema(value_type = Option<Vec<Object>>, max_items = 1000)]
    partitions: Option<Vec<Value>>,
    /// Of `sync` of tables: how far behind the source's clock the committed range ends; 5,000 where it is left out.
    #[schema(maximum = 600_000)]
    safety_lag_ms: Option<u64>,
    /// Of `sync` of tables: how far back each pass reads again; ten minutes where it is left out.
    #[schema(minimum = 10_000, maximum = 604_800_000)]
    lookback_ms: Option<u64>,
    /// Of `sync`: rows of a page at most; 500 where it is left out.
    #[schema(minimum = 1, maximum = 5_000)]
    page_rows: Option<u32>,
    /// Of `sync`: bytes of a page's rows at most; 8 MiB where it is left out.
    #[schema(minimum = 16_384, maximum = 8_388_608)]
    page_bytes: Option<u32>,
    /// Of `sync`: records that a stream sets aside before it stops; 100 where it is left out.
    #[schema(maximum = 10_000)]
    quarantine_max: Option<u32>,
    /// Of `poll`: which plugin.
    #[schema(max_length = 128)]
    plugin: Option<String>,
    /// Of `poll`: the plugin's settings.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// Of `poll`: what the plugin is asked for.
    #[schema(max_length = 200)]
    stream: Option<String>,
    /// Of `poll`: the type of the events.
    #[schema(max_length = 255)]
    event_type: Option<String>,
    /// Of `poll`: JSON Pointer to the subject.
    #[schema(max_length = 255)]
    subject: Option<String>,
}

/// What kind of work.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobRunKind)]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) enum WorkKindShape {
    Emit,
    Sync,
    Poll,
    Engine,
}

/// What becomes of a run while another of its job is not over.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = JobOverlap, example = json!("skip"))]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) enum OverlapShape {
    /// The policy alone.
    Policy(OverlapPolicyShape),
    /// The policy with its number.
    Rule(OverlapRuleShape),
}

/// The policy.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobOverlapPolicy)]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) enum OverlapPolicyShape {
    /// The new one is left out.
    Skip,
    /// One waits.
    BufferOne,
    /// The others are told to stop.
    CancelOther,
    /// They run side by side.
    Allow,
}

/// The policy with its number.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobOverlapRule)]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) struct OverlapRuleShape {
    policy: OverlapPolicyShape,
    /// Of `allow`: how many at most.
    #[schema(minimum = 1, maximum = 32)]
    max: Option<u32>,
    /// Of `cancel_other`: milliseconds they have to come to a stop.
    #[schema(maximum = 3_600_000)]
    grace_ms: Option<u64>,
}

/// What is done about instants that nobody was there for.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobCatchup, example = json!({"mode": "last", "window_ms": 86_400_000, "max": 100}))]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) struct CatchupShape {
    mode: Option<CatchupModeShape>,
    /// How old they may be, in milliseconds; a day where it is left out.
    #[schema(minimum = 1000, maximum = 604_800_000_u64)]
    window_ms: Option<u64>,
    /// Of `all`: how many at most; 100 where it is left out.
    #[schema(minimum = 1, maximum = 1000)]
    max: Option<u32>,
}

/// Which of them run.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobCatchupMode)]
#[allow(dead_code, reason = "describes what the model reads")]
pub(super) enum CatchupModeShape {
    Last,
    All,
    None,
}

/// How a run goes about a failure that may pass.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobRetry, example = json!({"attempts": 3}))]
pub(super) struct RetryShape {
    /// Tries of one run, the first included.
    #[schema(minimum = 1, maximum = 20)]
    pub(super) attempts: u32,
}

/// A job to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobNew, example = json!({
    "name": "close-the-day", "schedule": {"kind": "cron", "expression": "0 2 * * 1-5", "timezone": "America/Sao_Paulo"},
    "run": {"kind": "emit", "event": {"type": "day.closed", "payload": {}}}
}))]
pub(super) struct JobNewBody {
    /// Unique within the tenant.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// When it runs.
    #[schema(value_type = ScheduleShape)]
    schedule: Value,
    /// What it runs.
    #[schema(value_type = WorkShape)]
    run: Value,
    /// What becomes of a run while another is not over; `skip` where it is left out.
    #[schema(value_type = Option<OverlapShape>)]
    overlap: Option<Value>,
    /// What is done about instants that nobody was there for.
    #[schema(value_type = Option<CatchupShape>)]
    catchup: Option<Value>,
    /// Each run waits up to this beyond its instant, always as long for the same instant.
    #[schema(maximum = 86_400_000_u64)]
    jitter_ms: Option<u64>,
    /// A run that takes longer has failed; an hour where it is left out.
    #[schema(minimum = 1000, maximum = 86_400_000_u64)]
    timeout_ms: Option<u64>,
    /// A run that did not start within this of its instant is left out; a day where it is left out.
    #[schema(minimum = 1000, maximum = 2_592_000_000_u64)]
    start_deadline_ms: Option<u64>,
    /// How a run goes about a failure that may pass.
    retry: Option<RetryShape>,
    /// So many failures in a row pause the job; 0: never; 20 where it is left out.
    #[schema(maximum = 10_000)]
    pause_after_failures: Option<u32>,
    /// Whether it runs at all; true where it is left out.
    enabled: Option<bool>,
}

/// What to change of a job; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobChange, example = json!({"schedule": {"kind": "every", "interval_ms": 300_000}}))]
pub(super) struct JobChangeBody {
    /// Unique within the tenant.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// When it runs.
    #[schema(value_type = Option<ScheduleShape>)]
    schedule: Option<Value>,
    /// What it runs.
    #[schema(value_type = Option<WorkShape>)]
    run: Option<Value>,
    /// What becomes of a run while another is not over.
    #[schema(value_type = Option<OverlapShape>)]
    overlap: Option<Value>,
    /// What is done about instants that nobody was there for.
    #[schema(value_type = Option<CatchupShape>)]
    catchup: Option<Value>,
    /// Each run waits up to this beyond its instant.
    #[schema(maximum = 86_400_000_u64)]
    jitter_ms: Option<u64>,
    /// A run that takes longer has failed.
    #[schema(minimum = 1000, maximum = 86_400_000_u64)]
    timeout_ms: Option<u64>,
    /// A run that did not start within this of its instant is left out.
    #[schema(minimum = 1000, maximum = 2_592_000_000_u64)]
    start_deadline_ms: Option<u64>,
    /// How a run goes about a failure that may pass.
    retry: Option<RetryShape>,
    /// So many failures in a row pause the job; 0: never.
    #[schema(maximum = 10_000)]
    pause_after_failures: Option<u32>,
    /// Whether it runs at all.
    enabled: Option<bool>,
}

/// Reads what the description allows into the model; what the model refuses all the same is told under `field`.
fn read<T: DeserializeOwned>(field: &str, value: Value) -> Result<T, Invalid> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { field.to_owned() } else { format!("{field}.{path}") };
        Invalid(vec![FieldError { field, message: error.into_inner().to_string() }])
    })
}

/// A schedule as the model has it.
pub(super) fn schedule_of(value: Value) -> Result<Schedule, Invalid> {
    read("schedule", without_nulls(value))
}

fn overlap_of(value: Value) -> Result<Overlap, Invalid> {
    let value = if value.is_string() { json!({ "policy": value }) } else { without_nulls(value) };
    let is_allow = value.get("policy").is_some_and(|policy| policy == "allow");
    if is_allow && value.get("max").is_none() {
        return Err(Invalid::field("overlap.max", "is required with `allow`: how many runs side by side at most"));
    }
    read("overlap", value)
}

/// What is null is as if it were left out.
fn without_nulls(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    value
}

impl JobNewBody {
    pub(super) fn settings(self) -> Result<JobSettings, Invalid> {
        let mut settings =
            JobSettings::new(self.name, schedule_of(self.schedule)?, read::<Work>("run", without_nulls(self.run))?);
        if let Some(overlap) = self.overlap {
            settings.overlap = overlap_of(overlap)?;
        }
        if let Some(catchup) = self.catchup {
            settings.catchup = read::<Catchup>("catchup", without_nulls(catchup))?;
        }
        settings.jitter_ms = self.jitter_ms.unwrap_or(settings.jitter_ms);
        settings.timeout_ms = self.timeout_ms.unwrap_or(settings.timeout_ms);
        settings.start_deadline_ms = self.start_deadline_ms.unwrap_or(settings.start_deadline_ms);
        settings.retry = self.retry.map_or(settings.retry, |retry| RunRetry { attempts: retry.attempts });
        settings.pause_after_failures = self.pause_after_failures.unwrap_or(settings.pause_after_failures);
        settings.enabled = self.enabled.unwrap_or(settings.enabled);
        Ok(settings)
    }
}

impl JobChangeBody {
    pub(super) fn change(self) -> Result<JobChange, Invalid> {
        let mut changes = Vec::new();
        changes.extend(self.name.map(Change::Name));
        changes.extend(self.schedule.map(schedule_of).transpose()?.map(Change::Schedule));
        let work = self.run.map(|run| read::<Work>("run", without_nulls(run))).transpose()?;
        changes.extend(work.map(|work| Change::Work(Box::new(work))));
        changes.extend(self.overlap.map(overlap_of).transpose()?.map(Change::Overlap));
        let catchup = self.catchup.map(|catchup| read::<Catchup>("catchup", without_nulls(catchup))).transpose()?;
        changes.extend(catchup.map(Change::Catchup));
        changes.extend(self.jitter_ms.map(Change::JitterMs));
        changes.extend(self.timeout_ms.map(Change::TimeoutMs));
        changes.extend(self.start_deadline_ms.map(Change::StartDeadlineMs));
        changes.extend(self.retry.map(|retry| Change::Retry(RunRetry { attempts: retry.attempts })));
        changes.extend(self.pause_after_failures.map(Change::PauseAfterFailures));
        changes.extend(self.enabled.map(Change::Enabled));
        Ok(JobChange(changes))
    }
}
