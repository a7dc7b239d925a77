//! Provisioning: which entities Carol wants, the credentials of its connector, and the work that a contract sets going.
//! The paths of the first two are known; every form in here, and the third path, is assumed.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Shared, answers::Refusal, auth};

/// The setting that holds the entities.
pub(crate) const ENTITIES: &str = "entities";
/// The setting that holds the plan of provisionings to come.
pub(crate) const PLAN: &str = "provisioning";

/// How a provisioning goes.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Plan {
    /// Questions answered with `requested`, then as many with `running`.
    polls: u32,
    /// Whether it fails in the end; why.
    fails: Option<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { polls: 1, fails: None }
    }
}

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/carol-definitions/v1/entities", get(entities))
        .route("/api/carol-definitions/v1/carolcredentials", get(credentials))
        .route("/api/carol-definitions/v1/provisionings", post(request))
        .route("/api/carol-definitions/v1/provisionings/{id}", get(state))
}

/// The tables asked for as long as nobody says otherwise.
pub(crate) fn usual_entities() -> Value {
    json!([
        {"entity": "customers", "table": "SA1", "target": "protheus_sa1", "key": ["A1_FILIAL", "A1_COD", "A1_LOJA"]},
        {"entity": "sales_orders", "table": "SC5", "target": "protheus_sc5", "key": ["C5_FILIAL", "C5_NUM"]},
    ])
}

async fn entities(State(shared): crate::State, headers: HeaderMap) -> Result<Json<Value>, Refusal> {
    auth::rac(&shared, &headers).await?;
    let entities = shared.store.setting(ENTITIES).await?.unwrap_or_else(usual_entities);
    Ok(Json(json!({ "entities": entities })))
}

async fn credentials(State(shared): crate::State, headers: HeaderMap) -> Result<Json<Value>, Refusal> {
    auth::rac(&shared, &headers).await?;
    let options = &shared.options;
    Ok(Json(json!({
        "connectorId": options.connector_id, "apiToken": options.connector_key, "endpoint": shared.address,
        "tenantId": options.tenant,
    })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    contract: String,
}

/// The same contract asked for again is the same provisioning; one that failed starts anew.
async fn request(State(shared): crate::State, body: axum::body::Bytes) -> Result<Response, Refusal> {
    let request: Request = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad("bad_body", format!("{{\"contract\": text}} is expected: {error}")))?;
    if request.contract.is_empty() {
        return Err(Refusal::bad("no_contract", "a contract is needed").about("contract"));
    }
    let plan = plan(&shared).await?;
    let plan = serde_json::to_value(&plan).unwrap_or_default();
    let id = shared.store.provisioning_request(&request.contract, &plan).await?;
    if let Some((asked, old)) = shared.store.provisioning_find(&id).await? {
        let old: Plan = serde_json::from_value(old).unwrap_or_default();
        if old.fails.is_some() && asked > i64::from(old.polls) * 2 {
            shared.store.provisioning_restart(&id, &plan).await?;
        }
    }
    Ok((StatusCode::ACCEPTED, Json(json!({"id": id, "status": "requested"}))).into_response())
}

async fn plan(shared: &Shared) -> Result<Plan, Refusal> {
    let plan = shared.store.setting(PLAN).await?;
    Ok(plan.and_then(|plan| serde_json::from_value(plan).ok()).unwrap_or_default())
}

async fn state(State(shared): crate::State, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let Some((asked, plan)) = shared.store.provisioning_ask(&id).await? else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "unknown_provisioning", "there is no such provisioning"));
    };
    let plan: Plan = serde_json::from_value(plan).unwrap_or_default();
    let polls = i64::from(plan.polls);
    if asked <= polls {
        return Ok(Json(json!({"id": id, "status": "requested"})));
    }
    if asked <= polls * 2 {
        return Ok(Json(json!({"id": id, "status": "running"})));
    }
    if let Some(reason) = plan.fails {
        return Ok(Json(json!({"id": id, "status": "failed", "reason": reason})));
    }
    let options = &shared.options;
    Ok(Json(json!({
        "id": id, "status": "done", "client_id": options.client_id, "client_secret": options.client_secret,
    })))
}
