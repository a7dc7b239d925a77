//! `/v1/jobs/{id}/checkpoints`, `/v1/jobs/{id}/quarantine`, and the tables that jobs may read.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{
    JobId, QuarantineId, Timestamp, TrackId,
    sync::{Cursor, Partition, PassKind, PassState, Phase},
};
use engate_store::{HistoryEntry, Quarantined, TrackState};
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
    verbs::syncs::TrackAct,
};

/// Earlier checkpoints that are shown.
const HISTORY_SHOWN: u32 = 200;

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_checkpoints, Permission::ReadJobs, checkpoints)
        .add(__path_history, Permission::ReadJobs, history)
        .add(__path_rewind, Permission::ManageJobs, rewind)
        .add(__path_approve, Permission::ManageJobs, approve)
        .add(__path_epoch, Permission::ManageJobs, epoch)
        .add(__path_quarantine, Permission::ReadJobs, quarantine)
        .add(__path_replay, Permission::ManageJobs, replay)
        .add(__path_discard, Permission::ManageJobs, discard)
        .add(__path_connections, Permission::ReadJobs, connections)
        .add(__path_tables, Permission::ReadJobs, tables)
}

/// Where a stream is in one partition.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Checkpoint, example = json!({
    "id": "trk_0192f0c1a2b37c4d8e5f60718293a4b5", "stream": "customers", "partition": {"branch": "0101"}, "epoch": 0,
    "phase": "delta", "committed_upper": "2026-01-31T12:00:00.000000Z", "acknowledged_stamp": "2026-01-31T11:59:58.000000Z",
    "reconciled_at": null, "cursor": null, "pass": null, "version": 17, "updated_at": "2026-01-31T12:00:05.000000Z"
}))]
struct CheckpointView {
    /// Its id.
    #[schema(value_type = String)]
    id: TrackId,
    /// The stream.
    stream: String,
    /// The partition.
    #[schema(value_type = Object)]
    partition: Partition,
    /// Counts how often everything was begun anew.
    epoch: u32,
    /// `initial` or `delta`.
    #[schema(value_type = String)]
    phase: Phase,
    /// Up to which stamp everything is at the target, by the source's clock; of a plugin's feed when the last pass began that
    /// is over, by the engine's.
    #[schema(value_type = Option<String>, format = DateTime)]
    committed_upper: Option<Timestamp>,
    /// The largest stamp that was acknowledged.
    #[schema(value_type = Option<String>, format = DateTime)]
    acknowledged_stamp: Option<Timestamp>,
    /// When all keys were last compared, by the source's clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    reconciled_at: Option<Timestamp>,
    /// Where a plugin goes on, everything before being acknowledged: its own bytes as base64, at most 4 KiB of them; null for
    /// a table, and at the beginning of a feed.
    cursor: Option<String>,
    /// The pass under way.
    pass: Option<PassView>,
    /// Counts its changes.
    version: u64,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A pass under way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pass, example = json!({
    "id": "5f60718293a4b50192f0c1a2b37c4d8e", "kind": "initial", "sequence": 12, "records": 6000,
    "started_at": "2026-01-31T12:00:00.000000Z", "progress": {
        "rows": 6000, "expected": 1_200_000, "expected_is_estimate": true, "rows_per_second": 3000.0,
        "eta": "2026-01-31T12:06:40.000000Z"
    }
}))]
struct PassView {
    /// The same through the whole pass.
    id: String,
    /// `initial`, `delta` or `reconcile`.
    kind: String,
    /// The number of the last page that was acknowledged.
    sequence: u32,
    /// Records that were acknowledged.
    records: u64,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// How far it is, where it goes through a whole table or feed; null for a `delta`, whose end nobody knows.
    progress: Option<ProgressView>,
}

/// How far a pass is that goes through a whole table or feed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PassProgress, example = json!({
    "rows": 6000, "expected": 1_200_000, "expected_is_estimate": true, "rows_per_second": 3000.0,
    "eta": "2026-01-31T12:06:40.000000Z"
}))]
struct ProgressView {
    /// Rows that were read and settled: sent, left out, or set aside.
    rows: u64,
    /// Rows that there are; null where the source does not say, as a plugin's feed never does.
    expected: Option<u64>,
    /// Whether `expected` is what the database's statistics say; if not, it was counted when the pass began.
    expected_is_estimate: bool,
    /// Rows a second over the last half to whole minute; null where no run is at work, or it has just begun.
    rows_per_second: Option<f64>,
    /// When it will be through at this speed; null where that cannot be known: no speed, nothing expected, or more rows than were.
    #[schema(value_type = Option<String>, format = DateTime)]
    eta: Option<Timestamp>,
}

impl ProgressView {
    /// `now` is given where a run is at work.
    fn of(pass: &PassState, now: Option<Timestamp>) -> Option<Self> {
        let progress = &pass.progress;
        (pass.kind != PassKind::Delta).then(|| Self {
            rows: progress.rows,
            expected: progress.expected.map(|expected| expected.rows),
            expected_is_estimate: progress.expected.is_some_and(|expected| !expected.counted),
            rows_per_second: now.and_then(|now| progress.rows_per_second(now)),
            eta: now.and_then(|now| progress.eta(now)),
        })
    }
}

impl CheckpointView {
    fn of(state: TrackState, now: Option<Timestamp>) -> Self {
        let at = state.checkpoint;
        let under_way = at.pass.as_ref().and_then(|pass| pass.position.cursor());
        let cursor = under_way.or(at.cursor.as_ref()).map(Cursor::to_base64);
        let pass = at.pass.map(|pass| PassView {
            progress: ProgressView::of(&pass, now),
            id: pass.id,
            kind: pass.kind.code().to_owned(),
            sequence: pass.sequence,
            records: pass.records,
            started_at: pass.started_at,
        });
        Self {
            id: state.track.id,
            stream: state.track.stream,
            partition: state.track.partition,
            epoch: at.epoch,
            phase: at.phase,
            committed_upper: at.committed_upper,
            acknowledged_stamp: at.acknowledged_stamp,
            reconciled_at: at.reconciled_at,
            cursor,
            pass,
            version: state.version,
            updated_at: state.updated_at,
        }
    }
}

/// Where the streams of a sync job are, by stream and partition.
#[utoipa::path(get, path = "/v1/jobs/{id}/checkpoints", tag = "jobs", operation_id = "checkpoint_list",
    params(("id" = String, Path, description = "The job's id"), PageParams),
    responses((status = 200, description = "One page", body = Listing<CheckpointView>), (status = 404, description = "There is no such job"),
        (status = 409, description = "The job is no sync (`not_a_sync`)")))]
async fn checkpoints(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<CheckpointView>>, Problem> {
    let tracks = engine.track_list(&principal, id).await?;
    let at_work = engine.job_is_at_work(&principal, id).await?.then(|| engine.now());
    let place = |state: &TrackState| (state.track.stream.clone(), state.track.partition.clone());
    Ok(Json(page.cut(tracks, place, |state| CheckpointView::of(state, at_work))?))
}

/// A checkpoint as it was.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckpointHistory, example = json!({
    "version": 16, "at": "2026-01-31T11:59:05.000000Z", "reason": "pass", "epoch": 0, "phase": "delta",
    "committed_upper": "2026-01-31T11:59:00.000000Z"
}))]
struct HistoryView {
    /// Its version.
    version: u64,
    /// When it was left.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `pass`, `rewind`, `approve` or `epoch`.
    reason: String,
    /// Counts how often everything was begun anew.
    epoch: u32,
    /// `initial` or `delta`.
    #[schema(value_type = String)]
    phase: Phase,
    /// Up to which stamp everything was at the target; a rewind takes this.
    #[schema(value_type = Option<String>, format = DateTime)]
    committed_upper: Option<Timestamp>,
}

impl HistoryView {
    fn of(entry: HistoryEntry) -> Self {
        let HistoryEntry { version, at, reason, checkpoint } = entry;
        let (epoch, phase, committed_upper) = (checkpoint.epoch, checkpoint.phase, checkpoint.committed_upper);
        Self { version, at, reason, epoch, phase, committed_upper }
    }
}

/// The earlier checkpoints of one stream and partition, the newest first.
#[utoipa::path(get, path = "/v1/jobs/{id}/checkpoints/{track}/history", tag = "jobs", operation_id = "checkpoint_history",
    params(("id" = String, Path, description = "The job's id"), ("track" = String, Path, description = "The checkpoint's id")),
    responses((status = 200, description = "All that are kept", body = Listing<HistoryView>), (status = 404, description = "There is none"), (status = 409, description = "It is no sync (`not_a_sync`)")))]
async fn history(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, track)): At<(JobId, TrackId)>,
) -> Result<Json<Listing<HistoryView>>, Problem> {
    let entries = engine.track_history(&principal, id, track, HISTORY_SHOWN).await?;
    let items: Vec<_> = entries.into_iter().map(HistoryView::of).collect();
    let total = u64::try_from(items.len()).ok();
    Ok(Json(Listing { items, total, total_estimated: false, next: None }))
}

/// From when on everything is read and sent again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Rewind, example = json!({"to": "2026-01-31T11:00:00Z"}))]
struct RewindBody {
    /// By the source's clock.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
}

/// Sets a stream back: what is stamped since then is read and sent again, whatever the target acknowledged. A plugin's feed has
/// no stamps: it is pulled from its beginning, and all of it sent again.
#[utoipa::path(post, path = "/v1/jobs/{id}/checkpoints/{track}/rewind", tag = "jobs", operation_id = "checkpoint_rewind",
    params(("id" = String, Path, description = "The job's id"), ("track" = String, Path, description = "The checkpoint's id")),
    request_body = RewindBody,
    responses((status = 200, description = "As it is now", body = CheckpointView), (status = 404, description = "There is none"), (status = 409, description = "It is no sync (`not_a_sync`)")))]
async fn rewind(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, track)): At<(JobId, TrackId)>,
    Body(body): Body<RewindBody>,
) -> Result<Json<CheckpointView>, Problem> {
    Ok(Json(CheckpointView::of(engine.track_act(&principal, id, track, TrackAct::Rewind(body.to)).await?, None)))
}

/// Approves that a table, or what the job says of a feed, lost a column or has another key (`schema_conflict`), or that the stream
/// runs between other ends (`ends_changed`): it goes on with what is there.
#[utoipa::path(post, path = "/v1/jobs/{id}/checkpoints/{track}/approve", tag = "jobs", operation_id = "checkpoint_approve",
    params(("id" = String, Path, description = "The job's id"), ("track" = String, Path, description = "The checkpoint's id")),
    responses((status = 200, description = "As it is now", body = CheckpointView), (status = 404, description = "There is none"), (status = 409, description = "It is no sync (`not_a_sync`)")))]
async fn approve(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, track)): At<(JobId, TrackId)>,
) -> Result<Json<CheckpointView>, Problem> {
    Ok(Json(CheckpointView::of(engine.track_act(&principal, id, track, TrackAct::Approve).await?, None)))
}

/// Begins a new epoch: everything is read and sent again, as to a target that has nothing.
#[utoipa::path(post, path = "/v1/jobs/{id}/checkpoints/{track}/epoch", tag = "jobs", operation_id = "checkpoint_epoch",
    params(("id" = String, Path, description = "The job's id"), ("track" = String, Path, description = "The checkpoint's id")),
    responses((status = 200, description = "As it is now", body = CheckpointView), (status = 404, description = "There is none"), (status = 409, description = "It is no sync (`not_a_sync`)")))]
async fn epoch(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, track)): At<(JobId, TrackId)>,
) -> Result<Json<CheckpointView>, Problem> {
    Ok(Json(CheckpointView::of(engine.track_act(&principal, id, track, TrackAct::Epoch).await?, None)))
}

/// A record that the target refuses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quarantined, example = json!({
    "id": "qua_0192f0c1a2b37c4d8e5f60718293a4b5", "stream": "customers", "partition": {}, "key": "000123",
    "operation": "upsert", "data": {"A1_COD": "000123"}, "code": "record_refused", "message": "A1_EST is missing",
    "state": "held", "created_at": "2026-01-31T12:00:00.000000Z"
}))]
struct QuarantinedView {
    /// Its id.
    #[schema(value_type = String)]
    id: QuarantineId,
    /// The stream.
    stream: String,
    /// The partition.
    #[schema(value_type = Object)]
    partition: Partition,
    /// The record's key.
    key: String,
    /// `upsert` or `delete`.
    operation: String,
    /// The record as it was sent.
    #[schema(value_type = Object)]
    data: Value,
    /// Why: a stable code.
    code: String,
    /// Why, for people.
    message: String,
    /// `held`, or `replay` where the next run sends it again.
    state: String,
    /// When it was refused.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl QuarantinedView {
    fn of(one: Quarantined) -> Self {
        Self {
            id: one.id,
            stream: one.stream,
            partition: one.partition,
            key: one.key,
            operation: if one.operation == engate_model::sink::Operation::Delete { "delete" } else { "upsert" }
                .to_owned(),
            data: serde_json::from_str(&one.data).unwrap_or(Value::String(one.data)),
            code: one.code,
            message: one.message,
            state: one.state.code().to_owned(),
            created_at: one.created_at,
        }
    }
}

/// What a sync job has in quarantine, oldest first.
#[utoipa::path(get, path = "/v1/jobs/{id}/quarantine", tag = "jobs", operation_id = "quarantine_list",
    params(("id" = String, Path, description = "The job's id"), PageParams),
    responses((status = 200, description = "One page", body = Listing<QuarantinedView>), (status = 404, description = "There is no such job"),
        (status = 409, description = "The job is no sync (`not_a_sync`)")))]
async fn quarantine(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<JobId>,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<QuarantinedView>>, Problem> {
    let after = page.cursor.as_deref().map(cursor_id::<QuarantineId>).transpose()?;
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT);
    let found = engine.quarantine_list(&principal, id, after, limit).await?;
    let next = found.items.last().filter(|_| found.more).map(|last| cursor_write(&last.id.to_string()));
    let items = found.items.into_iter().map(QuarantinedView::of).collect();
    Ok(Json(Listing { items, total: Some(found.total), total_estimated: false, next }))
}

/// Has a record sent again with the next run: a table's as it is by then, a feed's as it came last.
#[utoipa::path(post, path = "/v1/jobs/{id}/quarantine/{record}/replay", tag = "jobs", operation_id = "quarantine_replay",
    params(("id" = String, Path, description = "The job's id"), ("record" = String, Path, description = "The record's id in quarantine")),
    responses((status = 204, description = "The next run sends it"), (status = 404, description = "There is none"), (status = 409, description = "It is no sync (`not_a_sync`)")))]
async fn replay(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, record)): At<(JobId, QuarantineId)>,
) -> Result<StatusCode, Problem> {
    engine.quarantine_replay(&principal, id, record).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a record up: this version of it is not sent again.
#[utoipa::path(delete, path = "/v1/jobs/{id}/quarantine/{record}", tag = "jobs", operation_id = "quarantine_discard",
    params(("id" = String, Path, description = "The job's id"), ("record" = String, Path, description = "The record's id in quarantine")),
    responses((status = 204, description = "It is gone"), (status = 404, description = "There is none"), (status = 409, description = "It is no sync (`not_a_sync`)")))]
async fn discard(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, record)): At<(JobId, QuarantineId)>,
) -> Result<StatusCode, Problem> {
    engine.quarantine_discard(&principal, id, record).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A connection to another system's tables.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Connection, example = json!({"name": "protheus"}))]
struct ConnectionView {
    /// Its name in the configuration.
    name: String,
}

/// The connections that the configuration names for the tenant.
#[utoipa::path(get, path = "/v1/connections", tag = "jobs", operation_id = "connection_list", params(PageParams),
    responses((status = 200, description = "One page", body = Listing<ConnectionView>)))]
async fn connections(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<ConnectionView>>, Problem> {
    Ok(Json(page.cut(engine.connection_names(&principal).await?, Clone::clone, |name| ConnectionView { name })?))
}

/// Which tables.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TableParams {
    /// Those whose names begin so, in large or small letters.
    #[param(max_length = 100)]
    prefix: Option<String>,
}

/// A table that can be read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourceTable, example = json!({
    "table": "public.sa1010", "columns": [{"name": "a1_cod", "kind": "text", "nullable": false, "declared": "character varying(6)"}],
    "primary_key": ["r_e_c_n_o_"], "unique_keys": [], "watermarks": ["s_t_a_m_p_"], "soft_deletes": ["d_e_l_e_t_"]
}))]
struct TableView {
    /// As it is written in a job.
    table: String,
    /// Its columns.
    #[schema(value_type = Vec<Object>)]
    columns: Vec<Value>,
    /// The primary key.
    primary_key: Vec<String>,
    /// Other keys that no two rows share.
    unique_keys: Vec<Vec<String>>,
    /// Columns that may tell when a row was last changed, the most likely first.
    watermarks: Vec<String>,
    /// Columns that may mark a row as deleted.
    soft_deletes: Vec<String>,
}

/// The tables of a connection, with keys, watermarks and marks, as the database itself describes them.
#[utoipa::path(get, path = "/v1/connections/{name}/tables", tag = "jobs", operation_id = "connection_tables",
    params(("name" = String, Path, description = "The connection's name"), TableParams),
    responses((status = 200, description = "At most 2,000; a longer prefix finds the others", body = Listing<TableView>),
        (status = 404, description = "There is no such connection"), (status = 409, description = "It cannot be read now (`source_unreadable`), or it is a plugin (`no_catalogue`)")))]
async fn tables(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    Params(params): Params<TableParams>,
) -> Result<Json<Listing<TableView>>, Problem> {
    let found = engine.connection_tables(&principal, &name, params.prefix.as_deref().unwrap_or_default()).await?;
    let total_estimated = found.truncated;
    let items: Vec<_> = found
        .items
        .into_iter()
        .map(|table| TableView {
            table: table.full_name(),
            columns: table.columns.iter().filter_map(|column| serde_json::to_value(column).ok()).collect(),
            primary_key: table.primary_key,
            unique_keys: table.unique_keys,
            watermarks: table.watermarks,
            soft_deletes: table.soft_deletes,
        })
        .collect();
    let total = u64::try_from(items.len()).ok();
    Ok(Json(Listing { items, total, total_estimated, next: None }))
}
