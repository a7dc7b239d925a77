//! `/v1/jobs/{id}/runs` and what is done with runs.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderName, StatusCode, header},
};
use engate_model::{
    BackfillId, JobId, RunId, Timestamp,
    job::{Run, RunState, RunTrigger},
};
use engate_store::{Order, RunFilter, Total};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::JobView;
use crate::{
    api::{
        extract::{At, Body, Caller, Params},
        page::{LIMIT_DEFAULT, Listing, cursor_id, cursor_write},
        permission::Permission,
        problem::Problem,
        routes::Routes,
    },
    engine::Engine,
    verbs::jobs::{DEBUG_BYTES_MAX, DEBUG_TTL_MAX},
};

/// Payloads are logged this long where the caller says nothing, and within this many bytes.
const DEBUG_TTL_DEFAULT_S: u64 = 900;
const DEBUG_BYTES_DEFAULT: u64 = 10 << 20;

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_run_now, Permission::ManageJobs, run_now)
        .add(__path_list, Permission::ReadJobs, list)
        .add(__path_get, Permission::ReadJobs, get)
        .add(__path_cancel, Permission::ManageJobs, cancel)
        .add(__path_backfill, Permission::ManageJobs, backfill)
        .add(__path_debug_on, Permission::ManageJobs, debug_on)
        .add(__path_debug_off, Permission::ManageJobs, debug_off)
        .add(__path_debug_files, Permission::ManageJobs, debug_files)
        .add(__path_debug_file, Permission::ManageJobs, debug_file)
}

/// One firing of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Run, example = json!({
    "id": "run_0192f0c1a2b37c4d8e5f60718293a4b5", "job": "job_0192f0c1a2b37c4d8e5f60718293a4b5",
    "scheduled_at": "2026-01-31T12:00:00.000000Z", "trigger": "schedule", "backfill": null, "state": "succeeded",
    "reason": null, "started_at": "2026-01-31T12:00:00.010000Z", "finished_at": "2026-01-31T12:00:01.000000Z",
    "attempts": 1, "abandoned": 0, "rows": 1, "bytes": 2, "requests": 0, "unchanged": 0, "quarantined": 0, "error": null
}))]
pub(super) struct RunView {
    /// Its id; also the correlation id of what it sends.
    #[schema(value_type = String)]
    id: RunId,
    /// Of which job.
    #[schema(value_type = String)]
    job: JobId,
    /// Its nominal time.
    #[schema(value_type = String, format = DateTime)]
    scheduled_at: Timestamp,
    /// `schedule`, `catchup`, `manual` or `backfill`.
    #[schema(value_type = String)]
    trigger: RunTrigger,
    /// The backfill it belongs to.
    #[schema(value_type = Option<String>)]
    backfill: Option<BackfillId>,
    /// `queued`, `running`, `succeeded`, `failed`, `skipped`, `cancelled` or `abandoned`.
    #[schema(value_type = String)]
    state: RunState,
    /// Why it was left out or stopped.
    reason: Option<String>,
    /// When a node took it up last.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// Tries.
    attempts: u32,
    /// How often the node that worked on it fell silent.
    abandoned: u32,
    /// Records that the target acknowledged, or events that were committed.
    rows: u64,
    /// Bytes of bodies before they were packed.
    bytes: u64,
    /// Requests sent, repeats included.
    requests: u64,
    /// Records left out since the target has them as they are.
    unchanged: u64,
    /// Records set aside since the target refuses them.
    quarantined: u64,
    /// Why it failed.
    error: Option<RunErrorView>,
}

/// Why a run failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RunError, example = json!({"code": "timed_out", "message": "took longer than 3600000 ms (timeout_ms)"}))]
struct RunErrorView {
    /// Stable code.
    code: String,
    /// For people.
    message: String,
}

impl RunView {
    pub(super) fn of(run: Run) -> Self {
        let counts = run.counts;
        Self {
            id: run.id,
            job: run.job,
            scheduled_at: run.scheduled_at,
            trigger: run.trigger,
            backfill: run.backfill,
            state: run.state,
            reason: run.reason,
            started_at: run.started_at,
            finished_at: run.finished_at,
            attempts: run.attempts,
            abandoned: run.abandoned,
            rows: counts.rows,
            bytes: counts.bytes,
            requests: counts.requests,
            unchanged: counts.unchanged,
            quarantined: counts.quarantined,
            error: run.error.map(|(code, message)| RunErrorView { code, message }),
        }
    }
}

/// A run with its log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RunDetail)]
struct RunDetailView {
    /// The run.
    #[serde(flatten)]
    run: RunView,
    /// Lines of its log, from the oldest on.
    log: Vec<LogLineView>,
}

/// A line of a run's log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RunLogLine, example = json!({
    "at": "2026-01-31T12:00:00.000000Z", "level": "info", "message": "page 3 was acknowledged"
}))]
struct LogLineView {
    /// When; null for the line that says that the log is full.
    at: Option<String>,
    /// `info`, `warn` or `error`.
    level: String,
    /// What happened.
    message: String,
}

fn log_of(log: &str) -> Vec<LogLineView> {
    let text = |line: &Value, name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let shown = lines.map(|line| LogLineView {
        at: text(&line, "at"),
        level: text(&line, "level").unwrap_or_default(),
        message: text(&line, "message").unwrap_or_default(),
    });
    shown.collect()
}

/// Runs a job now, as its rule for overlaps allows; send an `Idempotency-Key` to be safe against repeats. A job that is
/// always active looks for work at once.
#[utoipa::path(post, path = "/v1/jobs/{id}/run", tag = "jobs", operation_id = "job_run",
    params(("id" = String, Path, description = "The job's id")),
    responses((status = 202, description = "Its run", body = RunView), (status = 404, description = "There is none"),
        (status = 409, description = "A run is not over (`run_in_progress`), or the job was not started (`needs_configuration`)")))]
async fn run_now(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(RunView::of(engine.job_run(&principal, id).await?))))
}

/// Where a run stands.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RunState)]
#[allow(dead_code, reason = "describes what the model reads")]
enum RunStateShape {
    Queued,
    Running,
    Succeeded,
    Failed,
    Skipped,
    Cancelled,
    Abandoned,
}

/// What made a run.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RunTrigger)]
#[allow(dead_code, reason = "describes what the model reads")]
enum RunTriggerShape {
    Schedule,
    Catchup,
    Manual,
    Backfill,
}

/// Which runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RunParams {
    /// In this state only.
    #[param(inline, value_type = Option<RunStateShape>)]
    state: Option<RunState>,
    /// Made so only.
    #[param(inline, value_type = Option<RunTriggerShape>)]
    trigger: Option<RunTrigger>,
    /// Of this backfill only.
    #[param(value_type = Option<String>, max_length = 64, example = "bkf_0192f0c1a2b37c4d8e5f60718293a4b5")]
    backfill: Option<BackfillId>,
    /// Nominal time from then on.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Nominal time before then.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Items a page holds at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before; none: the first page.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// A job's runs, the newest first.
#[utoipa::path(get, path = "/v1/jobs/{id}/runs", tag = "jobs", operation_id = "run_list",
    params(("id" = String, Path, description = "The job's id"), RunParams),
    responses((status = 200, description = "One page", body = Listing<RunView>), (status = 404, description = "There is no such job")))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
    Params(params): Params<RunParams>,
) -> Result<Json<Listing<RunView>>, Problem> {
    engine.job_get(&principal, id).await?;
    let after = params.cursor.as_deref().map(cursor_id::<RunId>).transpose()?;
    let filter = RunFilter {
        job: Some(id),
        state: params.state,
        trigger: params.trigger,
        backfill: params.backfill,
        from: params.from,
        before: params.to,
    };
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    let page = engine.run_list(&principal, &filter, after, Order::Descending, limit).await?;
    let next = page.next.map(|id| cursor_write(&id.to_string()));
    let Total { count, exact } = page.total;
    let items = page.items.into_iter().map(RunView::of).collect();
    Ok(Json(Listing { items, total: Some(count), total_estimated: !exact, next }))
}

/// A run with its log.
#[utoipa::path(get, path = "/v1/jobs/{id}/runs/{run}", tag = "jobs", operation_id = "run_get",
    params(("id" = String, Path, description = "The job's id"), ("run" = String, Path, description = "The run's id")),
    responses((status = 200, description = "The run", body = RunDetailView), (status = 404, description = "There is none")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, run)): At<(JobId, RunId)>,
) -> Result<Json<RunDetailView>, Problem> {
    let (run, log) = engine.run_get(&principal, run).await?;
    if run.job != id {
        return Err(Problem::of("not_found", "the job has no such run"));
    }
    Ok(Json(RunDetailView { run: RunView::of(run), log: log_of(&log) }))
}

/// Stops a run: one that waits is over at once, one under way comes to a stop where it can go on later.
#[utoipa::path(post, path = "/v1/jobs/{id}/runs/{run}/cancel", tag = "jobs", operation_id = "run_cancel",
    params(("id" = String, Path, description = "The job's id"), ("run" = String, Path, description = "The run's id")),
    responses((status = 200, description = "As it is now", body = RunView), (status = 404, description = "There is none"),
        (status = 409, description = "It is over already (`run_over`)")))]
async fn cancel(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, run)): At<(JobId, RunId)>,
) -> Result<Json<RunView>, Problem> {
    let (found, _) = engine.run_get(&principal, run).await?;
    if found.job != id {
        return Err(Problem::of("not_found", "the job has no such run"));
    }
    Ok(Json(RunView::of(engine.run_cancel(&principal, run).await?)))
}

/// Times past for which a job is to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackfillNew, example = json!({"start": "2026-01-01T00:00:00Z", "end": "2026-01-08T00:00:00Z", "max": 1}))]
struct BackfillBody {
    /// Instants from here on.
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    /// Instants before here.
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    /// How many run side by side; 1 where it is left out.
    #[schema(minimum = 1, maximum = 32)]
    max: Option<u32>,
}

/// A backfill that was ordered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Backfill, example = json!({"id": "bkf_0192f0c1a2b37c4d8e5f60718293a4b5", "runs": 7}))]
struct BackfillView {
    /// Its runs carry it: `GET /v1/jobs/{id}/runs?backfill=`.
    #[schema(value_type = String)]
    id: BackfillId,
    /// How many runs it has.
    runs: u64,
}

/// Has a job run for every instant of its schedule in [start, end), in order.
#[utoipa::path(post, path = "/v1/jobs/{id}/backfill", tag = "jobs", operation_id = "job_backfill",
    params(("id" = String, Path, description = "The job's id")), request_body = BackfillBody,
    responses((status = 202, description = "Ordered", body = BackfillView), (status = 404, description = "There is none")))]
async fn backfill(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
    Body(body): Body<BackfillBody>,
) -> Result<(StatusCode, Json<BackfillView>), Problem> {
    let made = engine.job_backfill(&principal, id, (body.start, body.end), body.max.unwrap_or(1)).await?;
    Ok((StatusCode::ACCEPTED, Json(BackfillView { id: made.id, runs: made.runs })))
}

/// How long payloads are logged, and how much.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobDebug, example = json!({"ttl_s": 900, "max_bytes": 10_485_760}))]
struct DebugBody {
    /// Seconds after which it ends of itself; 900 where it is left out.
    #[schema(minimum = 1, maximum = 86_400)]
    ttl_s: Option<u64>,
    /// What the job's files together hold at most; 10 MiB where it is left out.
    #[schema(minimum = 65_536, maximum = 1_073_741_824)]
    max_bytes: Option<u64>,
}

/// Has request and response of every page logged, secrets masked, until the time is over. It costs speed and space.
#[utoipa::path(put, path = "/v1/jobs/{id}/debug", tag = "jobs", operation_id = "job_debug_on",
    params(("id" = String, Path, description = "The job's id")), request_body = DebugBody,
    responses((status = 200, description = "The job", body = JobView), (status = 404, description = "There is none")))]
async fn debug_on(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
    Body(body): Body<DebugBody>,
) -> Result<Json<JobView>, Problem> {
    let ttl = Duration::from_secs(body.ttl_s.unwrap_or(DEBUG_TTL_DEFAULT_S)).min(DEBUG_TTL_MAX);
    let bytes = body.max_bytes.unwrap_or(DEBUG_BYTES_DEFAULT).min(DEBUG_BYTES_MAX);
    Ok(Json(JobView::of(engine.job_debug(&principal, id, Some((ttl, bytes))).await?)))
}

/// Logs no more payloads.
#[utoipa::path(delete, path = "/v1/jobs/{id}/debug", tag = "jobs", operation_id = "job_debug_off",
    params(("id" = String, Path, description = "The job's id")),
    responses((status = 200, description = "The job", body = JobView), (status = 404, description = "There is none")))]
async fn debug_off(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(JobView::of(engine.job_debug(&principal, id, None).await?)))
}

/// A file of payloads.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DebugFile, example = json!({"run": "run_0192f0c1a2b37c4d8e5f60718293a4b5", "bytes": 20480}))]
struct DebugFileView {
    /// The run it tells of.
    #[schema(value_type = String)]
    run: RunId,
    /// How much it holds.
    bytes: u64,
}

/// Files of payloads.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DebugFiles)]
struct DebugFilesView {
    /// The newest first.
    items: Vec<DebugFileView>,
}

/// The files of payloads that the asked node holds of a job.
#[utoipa::path(get, path = "/v1/jobs/{id}/debug", tag = "jobs", operation_id = "job_debug_files",
    params(("id" = String, Path, description = "The job's id")),
    responses((status = 200, description = "The files", body = DebugFilesView), (status = 404, description = "There is no such job")))]
async fn debug_files(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
) -> Result<Json<DebugFilesView>, Problem> {
    let files = engine.job_debug_files(&principal, id).await?;
    let items = files.into_iter().map(|file| DebugFileView { run: file.run, bytes: file.bytes }).collect();
    Ok(Json(DebugFilesView { items }))
}

/// Requests and responses of a run while its job was looked into, a JSON object a line, secrets masked.
#[utoipa::path(get, path = "/v1/jobs/{id}/debug/{run}", tag = "jobs", operation_id = "job_debug_file",
    params(("id" = String, Path, description = "The job's id"), ("run" = String, Path, description = "The run's id")),
    responses((status = 200, description = "The lines", body = String, content_type = "application/x-ndjson"),
        (status = 404, description = "There is none on this node")))]
async fn debug_file(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, run)): At<(JobId, RunId)>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let lines = engine.job_debug_file(&principal, id, run).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines))
}
