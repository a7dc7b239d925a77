//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{permission::Permission, routes::Routes};
use crate::{engine::Engine, verbs::health::Report};

/// What `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_healthz, Permission::Public, healthz)
        .add(__path_readyz, Permission::Public, readyz)
        .add(__path_metrics, Permission::ReadMetrics, metrics)
}

/// What works and what does not. Anyone may ask, so it says no more than that.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthView {
    /// `ok` or `failing`.
    status: &'static str,
    /// `ok` or `failing`.
    database: &'static str,
    /// `ok` or `failing`.
    workers: &'static str,
    /// Whether the engine was told to stop.
    stopping: bool,
    version: &'static str,
}

fn view(report: &Report, good: bool) -> (StatusCode, Json<HealthView>) {
    let word = |good| if good { "ok" } else { "failing" };
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = HealthView {
        status: word(good),
        database: word(report.database),
        workers: word(report.silent.is_empty()),
        stopping: report.stopping,
        version: env!("CARGO_PKG_VERSION"),
    };
    (status, Json(body))
}

/// Whether this process works: 503 when a worker or the database is down.
#[utoipa::path(get, path = "/healthz", tag = "health", operation_id = "healthz",
    responses((status = 200, description = "It works", body = HealthView),
        (status = 503, description = "A worker or the database is down", body = HealthView)))]
async fn healthz(State(engine): State<Arc<Engine>>) -> impl IntoResponse {
    let report = engine.health_report().await;
    view(&report, report.is_healthy())
}

/// Whether calls should be sent here: as `/healthz`, and 503 once it was told to stop.
#[utoipa::path(get, path = "/readyz", tag = "health", operation_id = "readyz",
    responses((status = 200, description = "Send calls here", body = HealthView),
        (status = 503, description = "Send them elsewhere", body = HealthView)))]
async fn readyz(State(engine): State<Arc<Engine>>) -> impl IntoResponse {
    let report = engine.health_report().await;
    view(&report, report.is_ready())
}

/// Counters of this node in Prometheus' text form.
#[utoipa::path(get, path = "/metrics", tag = "health", operation_id = "metrics",
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text")))]
async fn metrics(State(engine): State<Arc<Engine>>) -> impl IntoResponse {
    let (queued, in_flight) = engine.worker.load();
    engine.sources.tell_lags(&engine.metrics, engine.now());
    engine.metrics.queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
    engine.metrics.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
    engine.metrics.access_entries_lost.set(i64::try_from(engine.store.access_lost()).unwrap_or(i64::MAX));
    ([(header::CONTENT_TYPE, OPEN_METRICS)], engine.metrics.text())
}
