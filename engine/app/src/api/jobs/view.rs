//! Jobs as answers show them.

use engate_model::{
    JobId, Timestamp,
    job::{Job, JobState, Work},
    schedule::{
        Schedule,
        due::{Catchup, Overlap},
    },
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::shapes::{CatchupShape, OverlapRuleShape, RetryShape, ScheduleShape, WorkShape};
use crate::api::conditional::Shown;

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job, example = json!({
    "id": "job_0192f0c1a2b37c4d8e5f60718293a4b5", "name": "close-the-day", "state": "active",
    "schedule": {"kind": "cron", "expression": "0 2 * * 1-5", "timezone": "America/Sao_Paulo"},
    "run": {"kind": "emit", "event": {"type": "day.closed", "payload": {}}}, "overlap": {"policy": "skip"},
    "catchup": {"mode": "last", "window_ms": 86_400_000, "max": 100}, "jitter_ms": 0, "timeout_ms": 3_600_000,
    "start_deadline_ms": 86_400_000, "retry": {"attempts": 3}, "pause_after_failures": 20, "enabled": true,
    "paused": null, "debug": null, "next_at": "2026-02-02T05:00:00.000000Z", "failures": 0, "missed": 0,
    "created_at": "2026-01-31T12:00:00.000000Z", "updated_at": "2026-01-31T12:00:00.000000Z"
}))]
pub(super) struct JobView {
    /// Its id.
    #[schema(value_type = String)]
    id: JobId,
    /// Unique within the tenant.
    name: String,
    /// `active`, `disabled`, `paused`, or `needs_configuration` until its schedule is finished and it is started.
    #[schema(value_type = String)]
    state: JobState,
    /// When it runs.
    #[schema(value_type = ScheduleShape)]
    schedule: Schedule,
    /// What it runs.
    #[schema(value_type = WorkShape)]
    run: Work,
    /// What becomes of a run while another is not over.
    #[schema(value_type = OverlapRuleShape)]
    overlap: Overlap,
    /// What is done about instants that nobody was there for.
    #[schema(value_type = CatchupShape)]
    catchup: Catchup,
    /// Each run waits up to this beyond its instant.
    jitter_ms: u64,
    /// A run that takes longer has failed.
    timeout_ms: u64,
    /// A run that did not start within this of its instant is left out.
    start_deadline_ms: u64,
    /// How a run goes about a failure that may pass.
    retry: RetryShape,
    /// So many failures in a row pause the job.
    pause_after_failures: u32,
    /// Whether it runs at all.
    enabled: bool,
    /// Who paused it, when and why.
    paused: Option<PausedView>,
    /// Until when payloads are logged, and how much.
    debug: Option<DebugView>,
    /// Its next instant; null while it has none.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// Failures in a row.
    failures: u32,
    /// Instants that nobody was there for, so far.
    missed: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When someone last changed it.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// Who paused a job, when and why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobPaused, example = json!({
    "at": "2026-01-31T12:00:00.000000Z", "by": "ana", "reason": "the ERP is being updated"
}))]
pub(super) struct PausedView {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Whose token it was, or `engine`.
    by: String,
    /// Why.
    reason: String,
}

/// Until when payloads are logged, and how much.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobDebugging, example = json!({"until": "2026-01-31T12:00:00.000000Z", "max_bytes": 10_485_760}))]
pub(super) struct DebugView {
    /// It ends of itself here.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// The files together hold at most this.
    max_bytes: u64,
}

/// What comes and goes by itself, and so is no part of the tag that an edit is decided on.
const BY_ITSELF: [&str; 3] = ["next_at", "failures", "missed"];

impl Shown for JobView {
    fn content(&self) -> Value {
        let mut content = serde_json::to_value(self).unwrap_or_default();
        if let Some(content) = content.as_object_mut() {
            content.retain(|name, _| !BY_ITSELF.contains(&name.as_str()));
        }
        content
    }
}

impl JobView {
    pub(super) fn of(job: Job) -> Self {
        let state = job.state();
        let Job { id, settings, pause, next_at, failures, missed, debug, created_at, updated_at, .. } = job;
        Self {
            id,
            name: settings.name,
            state,
            schedule: settings.schedule,
            run: settings.work,
            overlap: settings.overlap,
            catchup: settings.catchup,
            jitter_ms: settings.jitter_ms,
            timeout_ms: settings.timeout_ms,
            start_deadline_ms: settings.start_deadline_ms,
            retry: RetryShape { attempts: settings.retry.attempts },
            pause_after_failures: settings.pause_after_failures,
            enabled: settings.enabled,
            paused: pause.map(|pause| PausedView { at: pause.at, by: pause.by, reason: pause.reason }),
            debug: debug.map(|debug| DebugView { until: debug.until, max_bytes: debug.bytes_max }),
            next_at,
            failures,
            missed,
            created_at,
            updated_at,
        }
    }
}
