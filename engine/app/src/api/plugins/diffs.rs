//! `/v1/plugins/{name}/diffs`: what a new version would change, found over history inside the engine.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{DiffId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        extract::{At, Body, Caller, Params},
        page::{LIMIT_DEFAULT, Listing, PageParams, cursor_id, cursor_write},
        problem::Problem,
    },
    engine::Engine,
    replay::Differing,
    verbs::diffs::{ATTEMPTS_DEFAULT, DiffJob, DiffNew, DiffProgress, KEPT_FOR},
};

/// What to compare.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PluginDiffNew, example = json!({
    "base": "stable", "candidate": "1.3.0", "since": "2026-01-24T00:00:00Z"
}))]
pub(super) struct DiffBody {
    /// Version or channel to compare with.
    #[schema(min_length = 1, max_length = 64)]
    base: String,
    /// Version or channel that is to take its place.
    #[schema(min_length = 1, max_length = 64)]
    candidate: String,
    /// Only attempts for this integrator, by slug or id.
    #[schema(min_length = 1, max_length = 255)]
    integrator: Option<String>,
    /// Attempts of events taken at this time or later.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Attempts of events taken before this time; none: up to now.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Attempts at most, the oldest first; none: 100,000.
    #[schema(minimum = 1, maximum = 10_000_000)]
    limit: Option<u64>,
}

/// How far a comparison is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginDiffProgress)]
struct ProgressView {
    /// Deliveries of that time looked at, of any plugin.
    done: u64,
    /// Deliveries of that time.
    total: u64,
    /// Set where `total` is at least that many.
    total_estimated: bool,
}

/// What a comparison counted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginDiffCounts)]
struct CountsView {
    /// Attempts of the plugin, played through both versions.
    attempts: u64,
    /// Those in which both do the same to the byte.
    same: u64,
    /// Those in which anything differs.
    differing: u64,
    /// Of these, how many are kept to be shown.
    kept: u64,
}

/// A comparison of two versions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginDiff, example = json!({
    "id": "dif_0192f0c1a2b37c4d8e5f60718293a4b5", "state": "running", "base": "gsan@1.2.0", "candidate": "gsan@1.3.0",
    "progress": {"done": 120, "total": 900, "total_estimated": false},
    "counts": {"attempts": 95, "same": 94, "differing": 1, "kept": 1}, "message": null,
    "started_at": "2026-01-31T12:00:00.000000Z", "finished_at": null, "expires_at": null
}))]
pub(super) struct DiffView {
    /// Its id.
    #[schema(value_type = String)]
    id: DiffId,
    /// `running`, `done`, `failed` or `cancelled`.
    state: &'static str,
    /// `name@version` compared with.
    base: String,
    /// `name@version` that is to take its place.
    candidate: String,
    /// How far it is.
    progress: ProgressView,
    /// What it counted.
    counts: CountsView,
    /// Why it failed, where it did.
    message: Option<String>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// Until when it can be asked for, once it has ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl DiffView {
    fn of(job: &DiffJob) -> Self {
        job.read(|progress| Self::at(job, progress))
    }

    fn at(job: &DiffJob, progress: &DiffProgress) -> Self {
        let DiffProgress { state, done, total, total_estimated, attempts, differing, .. } = *progress;
        let kept = u64::try_from(progress.kept.len()).unwrap_or(u64::MAX);
        Self {
            id: job.id,
            state: state.code(),
            base: job.base.clone(),
            candidate: job.candidate.clone(),
            progress: ProgressView { done, total, total_estimated },
            counts: CountsView { attempts, same: attempts.saturating_sub(differing), differing, kept },
            message: progress.message.clone(),
            started_at: job.started_at,
            finished_at: progress.finished_at,
            expires_at: progress.finished_at.map(|at| at.after(KEPT_FOR)),
        }
    }
}

/// A comparison with one page of what it found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginDiffFound)]
pub(super) struct DiffFoundView {
    /// How it stands.
    #[serde(flatten)]
    diff: DiffView,
    /// Attempts in which anything differs, the oldest first. Long values are cut to what is around the first character
    /// that differs.
    differences: Listing<Differing>,
}

/// Starts comparing two installed versions over recorded attempts.
///
/// Each attempt that the plugin made in that time, under whatever version, is played through both with everything its
/// calls were given; nothing is sent. Both sign with the same made-up keys, so that no secret is in what is shown and a
/// signature differs only where what is signed does. At most two run at once. What was found stays in the memory of the
/// engine process that was asked, for an hour after the end; it can be made again at any time.
#[utoipa::path(post, path = "/v1/plugins/{name}/diffs", tag = "plugins", operation_id = "plugin_diff_start",
    params(("name" = String, Path, description = "Its name")), request_body = DiffBody,
    responses((status = 202, description = "Started", body = DiffView), (status = 404, description = "There is none"),
        (status = 429, description = "`too_many_diffs`: two of this tenant are under way")))]
pub(super) async fn start(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    Body(body): Body<DiffBody>,
) -> Result<(StatusCode, Json<DiffView>), Problem> {
    let new = DiffNew {
        base: body.base,
        candidate: body.candidate,
        integrator: body.integrator,
        since: body.since,
        until: body.until,
        limit: body.limit.unwrap_or(ATTEMPTS_DEFAULT),
    };
    let job = engine.plugin_diff_start(&principal, &name, new).await?;
    Ok((StatusCode::ACCEPTED, Json(DiffView::of(&job))))
}

/// Shows how far a comparison is, and one page of what it found so far.
#[utoipa::path(get, path = "/v1/plugins/{name}/diffs/{id}", tag = "plugins", operation_id = "plugin_diff_get",
    params(("name" = String, Path, description = "Its name"), ("id" = String, Path, description = "The comparison's id"),
        PageParams),
    responses((status = 200, description = "How it stands", body = DiffFoundView),
        (status = 404, description = "There is none, or it has expired")))]
pub(super) async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((name, id)): At<(String, DiffId)>,
    Params(page): Params<PageParams>,
) -> Result<Json<DiffFoundView>, Problem> {
    // How many were shown before: what is kept only grows.
    let from = page.cursor.as_deref().map(cursor_id).transpose()?.unwrap_or(0);
    let limit = usize::try_from(page.limit.unwrap_or(LIMIT_DEFAULT)).unwrap_or(usize::MAX);
    let job = engine.plugin_diff_get(&principal, &name, id)?;
    let found = job.read(|progress| {
        let items: Vec<_> = progress.kept.iter().skip(from).take(limit).cloned().collect();
        let end = from.saturating_add(items.len());
        let next = (end < progress.kept.len()).then(|| cursor_write(&end.to_string()));
        let total = u64::try_from(progress.kept.len()).ok();
        let differences = Listing { items, total, total_estimated: false, next };
        DiffFoundView { diff: DiffView::at(&job, progress), differences }
    });
    Ok(Json(found))
}

/// Calls a comparison off; one that has ended stays as it is.
#[utoipa::path(delete, path = "/v1/plugins/{name}/diffs/{id}", tag = "plugins", operation_id = "plugin_diff_cancel",
    params(("name" = String, Path, description = "Its name"), ("id" = String, Path, description = "The comparison's id")),
    responses((status = 200, description = "How it stands now", body = DiffView),
        (status = 404, description = "There is none, or it has expired")))]
pub(super) async fn cancel(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((name, id)): At<(String, DiffId)>,
) -> Result<Json<DiffView>, Problem> {
    Ok(Json(DiffView::of(&*engine.plugin_diff_cancel(&principal, &name, id)?)))
}
