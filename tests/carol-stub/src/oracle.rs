//! What tests ask, and what they order: `/_stub/...`. Never spoiled, never in the journal, and without credentials.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    routing::{get, post, put},
};
use http::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Shared,
    answers::Refusal,
    faults::Order,
    provisioning::{ENTITIES, PLAN, Plan, usual_entities},
    registry,
    store::staging::{Place, StagedRow},
};

/// Items of one page.
const PAGE_MAX: i64 = 10_000;
const PAGE_USUAL: i64 = 1_000;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/health", get(|| async { StatusCode::NO_CONTENT }))
        .route("/tables", get(tables))
        .route("/tables/{table}/rows", get(rows))
        .route("/batches", get(batches))
        .route("/counts", get(counts))
        .route("/requests", get(requests).delete(requests_forget))
        .route("/messages", get(messages))
        .route("/faults", get(faults).post(fault_add).delete(faults_clear))
        .route("/clients", post(client_put))
        .route("/connectors", post(connector_put))
        .route("/tokens/expire", post(tokens_expire))
        .route("/queues", post(queue_put))
        .route("/services", get(services).put(services_put))
        .route("/entities", get(entities).put(entities_put))
        .route("/provisioning", put(plan_put))
}

type Parameters = Query<BTreeMap<String, String>>;

fn number(parameters: &BTreeMap<String, String>, name: &str, usual: i64, most: i64) -> Result<i64, Refusal> {
    let Some(text) = parameters.get(name) else { return Ok(usual) };
    let number = text.parse().ok().filter(|number| (0..=most).contains(number));
    number.ok_or_else(|| Refusal::bad("bad_parameter", format!("{name} is a whole number up to {most}")).about(name))
}

fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| Refusal::bad("bad_body", error.to_string()))
}

async fn tables(State(shared): crate::State) -> Result<Json<Value>, Refusal> {
    Ok(Json(json!({"items": shared.store.table_counts().await?})))
}

/// A page of rows, whose numbers keep their digits.
#[derive(Debug, Serialize)]
struct Rows {
    items: Vec<StagedRow>,
    next: Option<String>,
}

/// Rows in the order of connector and key; `next` is what to pass as `after`.
async fn rows(
    State(shared): crate::State,
    Path(table): Path<String>,
    Query(parameters): Parameters,
) -> Result<Json<Rows>, Refusal> {
    let most = number(&parameters, "limit", PAGE_USUAL, PAGE_MAX)?;
    let place = match parameters.get("after").and_then(|after| after.split_once(' ')) {
        Some((connector, key)) => Place { connector: connector.to_owned(), key: key.to_owned() },
        None => Place::default(),
    };
    let rows = shared.store.rows_list(&table, &place, most).await?;
    let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows == most);
    let next = rows.last().filter(|_| is_full).map(|row| format!("{} {}", row.connector, row.key));
    Ok(Json(Rows { items: rows, next }))
}

async fn batches(State(shared): crate::State, Query(parameters): Parameters) -> Result<Json<Value>, Refusal> {
    let most = number(&parameters, "limit", PAGE_USUAL, PAGE_MAX)?;
    Ok(Json(json!({"items": shared.store.batch_list(most).await?})))
}

async fn counts(State(shared): crate::State) -> Result<Json<Value>, Refusal> {
    let (calls, by_path) = shared.journal.counts();
    let tokens: BTreeMap<_, _> = shared.store.token_counts().await?.into_iter().collect();
    Ok(Json(json!({
        "calls": calls, "calls_by_path": by_path, "pages": shared.store.page_counts().await?,
        "tables": shared.store.table_counts().await?, "tokens_issued": tokens,
        "messages": shared.store.message_counts().await?,
    })))
}

async fn requests(State(shared): crate::State, Query(parameters): Parameters) -> Result<Json<Value>, Refusal> {
    let most = number(&parameters, "limit", PAGE_USUAL, PAGE_MAX)?;
    let after = number(&parameters, "after", 0, i64::MAX)?;
    let path = parameters.get("path").map(String::as_str).unwrap_or_default();
    let most = usize::try_from(most).unwrap_or_default();
    let calls = shared.journal.list(u64::try_from(after).unwrap_or_default(), path, most);
    Ok(Json(json!({ "items": calls })))
}

async fn requests_forget(State(shared): crate::State) -> StatusCode {
    shared.journal.clear();
    StatusCode::NO_CONTENT
}

async fn messages(State(shared): crate::State, Query(parameters): Parameters) -> Result<Json<Value>, Refusal> {
    let most = number(&parameters, "limit", PAGE_USUAL, PAGE_MAX)?;
    let after = number(&parameters, "after", 0, i64::MAX)?;
    Ok(Json(json!({"items": shared.store.messages_list(after, most).await?})))
}

async fn faults(State(shared): crate::State) -> Json<Value> {
    Json(json!({"items": shared.faults.list()}))
}

async fn fault_add(State(shared): crate::State, bytes: Bytes) -> Result<(StatusCode, Json<Value>), Refusal> {
    let id = shared.faults.add(body::<Order>(&bytes)?)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

async fn faults_clear(State(shared): crate::State) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    client_id: String,
    client_secret: String,
    tenant: Option<String>,
}

async fn client_put(State(shared): crate::State, bytes: Bytes) -> Result<StatusCode, Refusal> {
    let client: Client = body(&bytes)?;
    let tenant = client.tenant.unwrap_or_else(|| shared.options.tenant.clone());
    shared.store.client_put(&client.client_id, &client.client_secret, &tenant).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Connector {
    id: String,
    key: String,
}

async fn connector_put(State(shared): crate::State, bytes: Bytes) -> Result<StatusCode, Refusal> {
    let connector: Connector = body(&bytes)?;
    shared.store.connector_put(&connector.id, &connector.key).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn tokens_expire(State(shared): crate::State) -> Result<Json<Value>, Refusal> {
    Ok(Json(json!({"expired": shared.store.tokens_expire().await?})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Queue {
    audience: String,
    tenant: Option<String>,
}

async fn queue_put(State(shared): crate::State, bytes: Bytes) -> Result<StatusCode, Refusal> {
    let queue: Queue = body(&bytes)?;
    let tenant = queue.tenant.unwrap_or_else(|| shared.options.tenant.clone());
    shared.store.queue_setup(&tenant, &queue.audience).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn services(State(shared): crate::State) -> Result<Json<Value>, Refusal> {
    let services = shared.store.setting(registry::SETTING).await?;
    Ok(Json(services.unwrap_or_else(|| registry::usual(&shared.address))))
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Service {
    name: String,
    url: String,
}

async fn services_put(State(shared): crate::State, bytes: Bytes) -> Result<StatusCode, Refusal> {
    setting::<Vec<Service>>(&shared, registry::SETTING, &bytes).await
}

async fn entities(State(shared): crate::State) -> Result<Json<Value>, Refusal> {
    Ok(Json(shared.store.setting(ENTITIES).await?.unwrap_or_else(usual_entities)))
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entity {
    entity: String,
    table: String,
    target: String,
    key: Vec<String>,
}

async fn entities_put(State(shared): crate::State, bytes: Bytes) -> Result<StatusCode, Refusal> {
    setting::<Vec<Entity>>(&shared, ENTITIES, &bytes).await
}

async fn plan_put(State(shared): crate::State, bytes: Bytes) -> Result<StatusCode, Refusal> {
    setting::<Plan>(&shared, PLAN, &bytes).await
}

/// Keeps what reads as a `T`.
async fn setting<T: DeserializeOwned + Serialize>(
    shared: &Shared,
    name: &str,
    bytes: &Bytes,
) -> Result<StatusCode, Refusal> {
    let value = serde_json::to_value(body::<T>(bytes)?).unwrap_or_default();
    shared.store.setting_put(name, &value).await?;
    Ok(StatusCode::NO_CONTENT)
}
