//! `/v1/jobs/{id}/checkpoints`, `/v1/jobs/{id}/quarantine` and `/v1/sources`: sync jobs looked into.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{JobId, QuarantineId, Timestamp, TrackId};
use engate_store::Quarantined;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        extract::{At, Body, Caller, Params},
        page::{LIMIT_DEFAULT, Listing, PageParams, cursor_id, cursor_write},
        permission::Permission,
        problem::Problem,
        routes::Routes,
    },
    engine::Engine,
    verbs::tracks::TrackShown,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_checkpoints, Permission::ReadJobs, checkpoints)
        .add(__path_history, Permission::ReadJobs, history)
        .add(__path_rewind, Permission::ManageJobs, rewind)
        .add(__path_epoch, Permission::ManageJobs, epoch)
        .add(__path_approve, Permission::ManageJobs, approve)
        .add(__path_quarantine, Permission::ReadJobs, quarantine)
        .add(__path_replay, Permission::ManageJobs, replay)
        .add(__path_discard, Permission::ManageJobs, discard)
        .add(__path_sources, Permission::ReadJobs, sources)
        .add(__path_tables, Permission::ReadJobs, tables)
}

/// Where one stream of one partition is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Checkpoint, example = json!({
    "track": "trk_0192f0c1a2b37c4d8e5f60718293a4b5", "stream": "customers", "partition": {"company": "01"}, "epoch": 0,
    "phase": "delta", "passes": 3, "committed_upper": "2026-01-31T12:00:00.000000Z",
    "acknowledged_stamp": "2026-01-31T11:59:58.000000Z", "quarantined": 0, "version": 12,
    "updated_at": "2026-01-31T12:00:05.000000Z", "state": {"epoch": 0, "phase": "delta", "passes": 3}
}))]
struct CheckpointView {
    /// Its id.
    #[schema(value_type = String)]
    track: TrackId,
    /// The stream.
    stream: String,
    /// The partition; empty where the job has none.
    partition: BTreeMap<String, String>,
    /// How often it was begun anew.
    epoch: u32,
    /// `initial` until the table is loaded, then `delta`.
    #[schema(value_type = String)]
    phase: Value,
    /// Passes that sent something.
    passes: u64,
    /// Up to which stamp everything is at the target, by the source's clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    committed_upper: Option<Timestamp>,
    /// The largest stamp that was acknowledged.
    #[schema(value_type = Option<String>, format = DateTime)]
    acknowledged_stamp: Option<Timestamp>,
    /// Records that the target refuses.
    quarantined: u64,
    /// Counts its changes.
    version: u64,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// All of it, the pass under way included.
    #[schema(value_type = Object)]
    state: Value,
}

impl CheckpointView {
    fn of(shown: TrackShown) -> Self {
        let TrackShown { state: track, quarantined } = shown;
        let state = serde_json::to_value(&track.checkpoint).unwrap_or_default();
        Self {
            track: track.track.id,
            stream: track.track.stream,
            partition: track.track.partition,
            epoch: track.checkpoint.epoch,
            phase: state.get("phase").cloned().unwrap_or_default(),
            passes: track.checkpoint.passes,
            committed_upper: track.checkpoint.committed_upper,
            acknowledged_stamp: track.checkpoint.acknowledged_stamp,
            quarantined,
            version: track.version,
            updated_at: track.updated_at,
            state,
        }
    }
}

/// Where the streams of a sync job are.
#[utoipa::path(get, path = "/v1/jobs/{id}/checkpoints", tag = "jobs", operation_id = "checkpoint_list",
    params(("id" = String, Path, description = "The job's id"), PageParams),
    responses((status = 200, description = "One page, by stream and partition", body = Listing<CheckpointView>),
        (status = 404, description = "There is no such job"), (status = 409, description = "It is no sync (`not_a_sync`)")))]
async fn checkpoints(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<CheckpointView>>, Problem> {
    let tracks = engine.track_list(&principal, id).await?;
    let place = |shown: &TrackShown| (shown.state.track.stream.clone(), shown.state.track.partition.clone());
    Ok(Json(page.cut(tracks, place, CheckpointView::of)?))
}

/// A checkpoint as it was.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckpointEntry, example = json!({
    "version": 7, "at": "2026-01-31T12:00:00.000000Z", "reason": "pass", "state": {"epoch": 0, "phase": "delta", "passes": 2}
}))]
struct HistoryView {
    /// Which of its changes.
    version: u64,
    /// When it was left.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Why it was kept: `pass`, `rewind`, `epoch`, `approve`.
    reason: String,
    /// What it said.
    #[schema(value_type = Object)]
    state: Value,
}

/// Checkpoints as they were.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckpointHistory)]
struct HistoriesView {
    /// The newest first, at most 50.
    items: Vec<HistoryView>,
}

/// A stream's earlier checkpoints: after each pass that sent something, and before each change by hand.
#[utoipa::path(get, path = "/v1/jobs/{id}/checkpoints/{track}/history", tag = "jobs", operation_id = "checkpoint_history",
    params(("id" = String, Path, description = "The job's id"), ("track" = String, Path, description = "The track's id")),
    responses((status = 200, description = "The newest", body = HistoriesView), (status = 404, description = "There is none")))]
async fn history(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, track)): At<(JobId, TrackId)>,
) -> Result<Json<HistoriesView>, Problem> {
    let entries = engine.track_history(&principal, id, track).await?;
    let items = entries.into_iter().map(|entry| HistoryView {
        version: entry.version,
        at: entry.at,
        reason: entry.reason,
        state: serde_json::to_value(&entry.checkpoint).unwrap_or_default(),
    });
    Ok(Json(HistoriesView { items: items.collect() }))
}

/// Back to which stamp a stream goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CheckpointRewind, example = json!({"upper": "2026-01-30T00:00:00Z"}))]
struct RewindBody {
    /// What was stamped after it is read again, by the source's clock.
    #[schema(value_type = String, format = DateTime)]
    upper: Timestamp,
}

/// Has a stream read again what was stamped after an instant; what the target has as it is, is not sent again.
#[utoipa::path(post, path = "/v1/jobs/{id}/checkpoints/{track}/rewind", tag = "jobs", operation_id = "checkpoint_rewind",
    params(("id" = String, Path, description = "The job's id"), ("track" = String, Path, description = "The track's id")),
    request_body = RewindBody,
    responses((status = 200, description = "As it is now", body = CheckpointView), (status = 404, description = "There is none")))]
async fn rewind(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, track)): At<(JobId, TrackId)>,
    Body(body): Body<RewindBody>,
) -> Result<Json<CheckpointView>, Problem> {
    Ok(Json(CheckpointView::of(engine.track_rewind(&principal, id, track, body.upper).await?)))
}

/// Has a stream loaded anew, from its first record on.
#[utoipa::path(post, path = "/v1/jobs/{id}/checkpoints/{track}/epoch", tag = "jobs", operation_id = "checkpoint_epoch",
    params(("id" = String, Path, description = "The job's id"), ("track" = String, Path, description = "The track's id")),
    responses((status = 200, description = "As it is now", body = CheckpointView), (status = 404, description = "There is none")))]
async fn epoch(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, track)): At<(JobId, TrackId)>,
) -> Result<Json<CheckpointView>, Problem> {
    Ok(Json(CheckpointView::of(engine.track_begin_epoch(&principal, id, track).await?)))
}

/// Lets a stream go on whose table lost a column, narrowed one or has another key (`schema_conflict`).
#[utoipa::path(post, path = "/v1/jobs/{id}/checkpoints/{track}/approve", tag = "jobs", operation_id = "checkpoint_approve",
    params(("id" = String, Path, description = "The job's id"), ("track" = String, Path, description = "The track's id")),
    responses((status = 200, description = "As it is now", body = CheckpointView), (status = 404, description = "There is none")))]
async fn approve(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, track)): At<(JobId, TrackId)>,
) -> Result<Json<CheckpointView>, Problem> {
    Ok(Json(CheckpointView::of(engine.track_approve(&principal, id, track).await?)))
}

/// A record that a target refuses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuarantinedRecord, example = json!({
    "id": "qua_0192f0c1a2b37c4d8e5f60718293a4b5", "stream": "customers", "partition": {"company": "01"}, "key": "[\"01\",\"000001\"]",
    "operation": "upsert", "data": {"A1_COD": "000001"}, "code": "bad_crosswalk", "message": "the key is missing",
    "state": "held", "at": "2026-01-31T12:00:00.000000Z"
}))]
struct QuarantinedView {
    /// Its id.
    #[schema(value_type = String)]
    id: QuarantineId,
    /// The stream.
    stream: String,
    /// The partition.
    partition: BTreeMap<String, String>,
    /// The record's key.
    key: String,
    /// `upsert` or `delete`.
    #[schema(value_type = String)]
    operation: Value,
    /// The record as it was refused.
    #[schema(value_type = Object)]
    data: Value,
    /// Why: the plugin's code.
    code: String,
    /// Why, for people.
    message: String,
    /// `held`, or `replay` where it is sent again with the next run.
    state: &'static str,
    /// When it was refused last.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl QuarantinedView {
    fn of(record: Quarantined) -> Self {
        Self {
            id: record.id,
            stream: record.stream,
            partition: record.partition,
            key: record.key,
            operation: serde_json::to_value(record.operation).unwrap_or_default(),
            data: serde_json::from_str(&record.data).unwrap_or(Value::String(record.data)),
            code: record.code,
            message: record.message,
            state: record.state.code(),
            at: record.created_at,
        }
    }
}

/// Records that the job's target refuses, the newest refusal of each.
#[utoipa::path(get, path = "/v1/jobs/{id}/quarantine", tag = "jobs", operation_id = "quarantine_list",
    params(("id" = String, Path, description = "The job's id"), PageParams),
    responses((status = 200, description = "One page", body = Listing<QuarantinedView>),
        (status = 404, description = "There is no such job"), (status = 409, description = "It is no sync (`not_a_sync`)")))]
async fn quarantine(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
    Params(params): Params<PageParams>,
) -> Result<Json<Listing<QuarantinedView>>, Problem> {
    let after = params.cursor.as_deref().map(cursor_id::<QuarantineId>).transpose()?;
    let page = engine.quarantine_list(&principal, id, after, params.limit.unwrap_or(LIMIT_DEFAULT)).await?;
    let next = page.items.last().filter(|_| page.more).map(|last| cursor_write(&last.id.to_string()));
    let items = page.items.into_iter().map(QuarantinedView::of).collect();
    Ok(Json(Listing { items, total: Some(page.total), total_estimated: false, next }))
}

/// Has a refused record sent again with the next run, as it is by then.
#[utoipa::path(post, path = "/v1/jobs/{id}/quarantine/{record}/replay", tag = "jobs", operation_id = "quarantine_replay",
    params(("id" = String, Path, description = "The job's id"), ("record" = String, Path, description = "The record's id here")),
    responses((status = 204, description = "It will be"), (status = 404, description = "There is none")))]
async fn replay(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, record)): At<(JobId, QuarantineId)>,
) -> Result<StatusCode, Problem> {
    engine.quarantine_replay(&principal, id, record).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a refused record out of the list; it is sent again when it changes.
#[utoipa::path(delete, path = "/v1/jobs/{id}/quarantine/{record}", tag = "jobs", operation_id = "quarantine_discard",
    params(("id" = String, Path, description = "The job's id"), ("record" = String, Path, description = "The record's id here")),
    responses((status = 204, description = "It is gone"), (status = 404, description = "There is none")))]
async fn discard(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, record)): At<(JobId, QuarantineId)>,
) -> Result<StatusCode, Problem> {
    engine.quarantine_discard(&principal, id, record).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A connection to the tables of another system.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Source, example = json!({"name": "protheus"}))]
struct SourceView {
    /// As `[connections.NAME]` of the engine's settings calls it.
    name: String,
}

/// Connections that jobs may use, as the engine's settings name them.
#[utoipa::path(get, path = "/v1/sources", tag = "jobs", operation_id = "source_list", params(PageParams),
    responses((status = 200, description = "One page, by name", body = Listing<SourceView>)))]
async fn sources(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<SourceView>>, Problem> {
    let names = engine.source_list(&principal);
    Ok(Json(page.cut(names, String::clone, |name| SourceView { name })?))
}

/// Which tables.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TableParams {
    /// Only those whose names begin so.
    #[param(max_length = 200)]
    prefix: Option<String>,
}

/// The tables that a connection shows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourceTables, example = json!({"items": [{
    "schema": "public", "name": "SA1010", "columns": [{"name": "A1_COD", "kind": "text", "nullable": false, "declared": "text"}],
    "primary_key": ["R_E_C_N_O_"], "unique_keys": [], "watermarks": ["S_T_A_M_P_"], "soft_deletes": ["D_E_L_E_T_"]
}], "truncated": false}))]
struct TablesView {
    /// Each with its columns, its keys, and the columns that may tell when a row changed or was deleted.
    #[schema(value_type = Vec<Object>)]
    items: Value,
    /// Whether there are more than 2,000.
    truncated: bool,
}

/// The tables behind a connection, as its database describes them: what a stream of a sync job needs to know.
#[utoipa::path(get, path = "/v1/sources/{name}/tables", tag = "jobs", operation_id = "source_tables",
    params(("name" = String, Path, description = "The connection's name"), TableParams),
    responses((status = 200, description = "The tables", body = TablesView), (status = 404, description = "There is no such connection"),
        (status = 422, description = "Its database gives no answer (`source_unusable`)")))]
async fn tables(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    Params(params): Params<TableParams>,
) -> Result<Json<TablesView>, Problem> {
    let found = engine.source_tables(&principal, &name, params.prefix.as_deref().unwrap_or_default()).await?;
    let items = serde_json::to_value(&found.items).unwrap_or_default();
    Ok(Json(TablesView { items, truncated: found.truncated }))
}
