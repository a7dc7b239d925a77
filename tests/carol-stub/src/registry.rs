//! The registry of services: names and where they are. Its form is assumed; `rac-token-V1` is a name that is known.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use serde_json::{Value, json};

use crate::{Shared, answers::Refusal};

/// The setting under which an operator's own list is kept.
pub(crate) const SETTING: &str = "services";

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/services", get(services))
}

/// Where everything is as long as nobody says otherwise: here.
pub(crate) fn usual(address: &str) -> Value {
    let at = |name: &str, path: &str| json!({"name": name, "url": format!("{address}{path}")});
    json!([
        at("rac-token-V1", "/totvs.rac/connect/token"),
        at("carol-entities-V1", "/api/carol-definitions/v1/entities"),
        at("carol-credentials-V1", "/api/carol-definitions/v1/carolcredentials"),
        at("carol-provisioning-V1", "/api/carol-definitions/v1/provisionings"),
        at("carol-app-V1", ""),
        at("ingestion-smartlink-V1", ""),
        at("link-V1", ""),
        at("smartlink-api-V1", ""),
    ])
}

async fn services(State(shared): crate::State) -> Result<Json<Value>, Refusal> {
    let services = shared.store.setting(SETTING).await?.unwrap_or_else(|| usual(&shared.address));
    Ok(Json(json!({ "services": services })))
}
