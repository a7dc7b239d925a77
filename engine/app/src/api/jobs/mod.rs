//! `/v1/jobs`: what runs when; their runs are at [`runs`].

mod runs;
mod shapes;
mod tracks;
mod view;

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{JobId, Timestamp, schedule::ClockNote};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::{
    shapes::{JobChangeBody, JobNewBody, ScheduleShape, schedule_of},
    view::JobView,
};
use super::{
    conditional::{IfMatch, IfMatchHeader, Tagged},
    extract::{At, Body, Caller, Params},
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{
    engine::Engine,
    verbs::jobs::{NextFire, PREVIEW_MAX},
};

/// Instants that a preview shows where the caller names no number.
const PREVIEW_DEFAULT: u32 = 10;

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadJobs, list)
        .add(__path_create, Permission::ManageJobs, create)
        .add(__path_preview, Permission::ReadJobs, preview)
        .add(__path_get, Permission::ReadJobs, get)
        .add(__path_update, Permission::ManageJobs, update)
        .add(__path_delete, Permission::ManageJobs, delete)
        .add(__path_next, Permission::ReadJobs, next)
        .add(__path_pause, Permission::ManageJobs, pause)
        .add(__path_resume, Permission::ManageJobs, resume)
        .add(__path_start, Permission::ManageJobs, start)
        .merge(runs::routes())
        .merge(tracks::routes())
}

/// Which jobs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct JobParams {
    /// Only the one of this name.
    #[param(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Items a page holds at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before; none: the first page.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// Lists jobs by name.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", operation_id = "job_list", params(JobParams),
    responses((status = 200, description = "One page, by name", body = Listing<JobView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(params): Params<JobParams>,
) -> Result<Json<Listing<JobView>>, Problem> {
    let mut jobs = engine.job_list(&principal).await?;
    jobs.retain(|job| params.name.as_ref().is_none_or(|name| job.settings.name == *name));
    let page = PageParams { limit: params.limit, cursor: params.cursor };
    Ok(Json(page.cut(jobs, |job| job.settings.name.clone(), JobView::of)?))
}

/// Makes a job; it runs when its time comes.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", operation_id = "job_create", request_body = JobNewBody,
    responses((status = 201, description = "Made", body = JobView), (status = 409, description = "The name is taken")))]
async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Body(body): Body<JobNewBody>,
) -> Result<(StatusCode, Tagged<JobView>), Problem> {
    let job = engine.job_create(&principal, body.settings()?).await?;
    Ok((StatusCode::CREATED, Tagged::new(&engine, JobView::of(job))))
}

/// Shows a job.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "job_get",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The job", body = JobView), (status = 404, description = "There is none")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
) -> Result<Tagged<JobView>, Problem> {
    Ok(Tagged::new(&engine, JobView::of(engine.job_get(&principal, id).await?)))
}

/// Changes a job; what is left out stays. What is under way ends under the old settings; a job that is always active goes
/// on under the new ones at once.
#[utoipa::path(patch, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "job_update",
    params(("id" = String, Path, description = "Its id"), IfMatchHeader), request_body = JobChangeBody,
    responses((status = 200, description = "Changed", body = JobView), (status = 404, description = "There is none"),
        (status = 409, description = "The name is taken"),
        (status = 412, description = "It was changed since that `ETag` was answered")))]
async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
    if_match: IfMatch,
    Body(body): Body<JobChangeBody>,
) -> Result<Tagged<JobView>, Problem> {
    let job = engine.job_update(&principal, id, body.change()?, &if_match.demand(JobView::of)).await?;
    Ok(Tagged::new(&engine, JobView::of(job)))
}

/// Deletes a job with its history; what is under way is stopped.
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "job_delete",
    params(("id" = String, Path, description = "Its id"), IfMatchHeader),
    responses((status = 204, description = "Deleted"), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered")))]
async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    engine.job_delete(&principal, id, &if_match.demand(JobView::of)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many instants, and from when on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct NextParams {
    /// How many.
    #[param(minimum = 1, maximum = 100, default = 10)]
    n: Option<u32>,
    /// From when on; now where it is left out.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
}

/// An instant to come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NextRun, example = json!({
    "utc": "2026-03-09T07:00:00.000000Z", "local": "2026-03-09T03:00:00", "offset": "-04:00", "note": "after_gap"
}))]
struct NextView {
    /// In UTC.
    #[schema(value_type = String, format = DateTime)]
    utc: Timestamp,
    /// What the clock of the schedule's zone shows.
    local: Option<String>,
    /// That clock's offset from UTC.
    offset: Option<String>,
    /// What a change of the clock has to do with it: `after_gap` (its time is skipped, it runs right behind),
    /// `first_pass` or `second_pass` (its time comes twice).
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

impl NextView {
    fn of(fire: NextFire) -> Self {
        let (local, offset) = fire.local.unzip();
        let offset = offset.map(|seconds| {
            let minutes = seconds.abs() / 60;
            format!("{}{:02}:{:02}", if seconds < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
        });
        let note = fire.note.map(|note| match note {
            ClockNote::AfterGap => "after_gap",
            ClockNote::FirstPass => "first_pass",
            ClockNote::SecondPass => "second_pass",
        });
        Self { utc: fire.at, local, offset, note }
    }
}

/// Instants to come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NextRuns)]
struct NextRunsView {
    /// From the earliest on; none for a job that is always active or only runs by hand.
    items: Vec<NextView>,
}

fn count(n: Option<u32>) -> usize {
    usize::try_from(n.unwrap_or(PREVIEW_DEFAULT)).unwrap_or(PREVIEW_MAX)
}

/// The next instants of a job, whether it is paused or not.
#[utoipa::path(get, path = "/v1/jobs/{id}/next", tag = "jobs", operation_id = "job_next",
    params(("id" = String, Path, description = "Its id"), NextParams),
    responses((status = 200, description = "Its instants", body = NextRunsView), (status = 404, description = "There is none")))]
async fn next(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
    Params(params): Params<NextParams>,
) -> Result<Json<NextRunsView>, Problem> {
    let fires = engine.job_next(&principal, id, params.from, count(params.n)).await?;
    Ok(Json(NextRunsView { items: fires.into_iter().map(NextView::of).collect() }))
}

/// A schedule to be looked at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SchedulePreview, example = json!({
    "schedule": {"kind": "cron", "expression": "0 2 * * *", "timezone": "America/New_York"},
    "from": "2026-03-08T00:00:00Z", "n": 2
}))]
struct PreviewBody {
    /// When it would run.
    #[schema(value_type = ScheduleShape)]
    schedule: serde_json::Value,
    /// How many instants; 10 where it is left out.
    #[schema(minimum = 1, maximum = 100)]
    n: Option<u32>,
    /// From when on; now where it is left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
}

/// The next instants of a schedule that is not stored; wrong ones are refused as a job's would be.
#[utoipa::path(post, path = "/v1/jobs/preview", tag = "jobs", operation_id = "job_preview", request_body = PreviewBody,
    responses((status = 200, description = "Its instants", body = NextRunsView)))]
async fn preview(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Body(body): Body<PreviewBody>,
) -> Result<Json<NextRunsView>, Problem> {
    let fires = engine.job_preview(&principal, &schedule_of(body.schedule)?, body.from, count(body.n)).await?;
    Ok(Json(NextRunsView { items: fires.into_iter().map(NextView::of).collect() }))
}

/// Why a job is paused.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobPause, example = json!({"reason": "the ERP is being updated"}))]
struct PauseBody {
    /// One line.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// Pauses a job: its instants pass and are not made up for, what is under way ends. One that is paused stays so.
#[utoipa::path(post, path = "/v1/jobs/{id}/pause", tag = "jobs", operation_id = "job_pause",
    params(("id" = String, Path, description = "Its id")), request_body = PauseBody,
    responses((status = 200, description = "Paused", body = JobView), (status = 404, description = "There is none")))]
async fn pause(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
    Body(body): Body<PauseBody>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(JobView::of(engine.job_pause(&principal, id, body.reason).await?)))
}

/// Lets a paused job run again, from its next instant on.
#[utoipa::path(post, path = "/v1/jobs/{id}/resume", tag = "jobs", operation_id = "job_resume",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "Resumed", body = JobView), (status = 404, description = "There is none")))]
async fn resume(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(JobView::of(engine.job_resume(&principal, id).await?)))
}

/// Starts a job that a wizard made, once its schedule is finished. One that was started stays so.
#[utoipa::path(post, path = "/v1/jobs/{id}/start", tag = "jobs", operation_id = "job_start",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "Started", body = JobView), (status = 404, description = "There is none"),
        (status = 409, description = "Its schedule is not finished (`needs_configuration`)")))]
async fn start(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(JobView::of(engine.job_start(&principal, id).await?)))
}
