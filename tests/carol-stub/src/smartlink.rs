//! SmartLink: a queue of messages per tenant and audience, and the intake of tables as messages.
//!
//! The paths of the queue, the envelope, its size and the silent loss are known; what requests and answers look like
//! beyond that, and the intake's path, is assumed.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    Shared,
    answers::Refusal,
    auth,
    staging::{inflate, is_set},
    store::{
        clients::Token,
        staging::{Page, Record, Taken},
    },
};

/// Bytes of one message: the documents say 250 to 350 kB.
const MESSAGE_MAX: usize = 350_000;
/// Messages handed out at once.
const TAKE_MAX: i64 = 100;
/// Mark of a record that is gone.
const DELETED: &str = "DELETED";

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/link/setup", post(setup))
        .route("/api/v1/link/send/{type}/{audience}", post(send))
        .route("/api/v1/link/get", get(take).post(take))
        .route("/api/v1/link/ack", post(acknowledge))
        .route("/api/v1/ingestion", post(ingest))
}

/// What the wire calls an envelope.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    specversion: String,
    #[serde(rename = "type")]
    kind: String,
    tenant_id: String,
    time: Option<String>,
    generated_on: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<'a> Envelope<'a> {
    fn read(plain: &'a [u8]) -> Result<Self, Refusal> {
        if plain.len() > MESSAGE_MAX {
            let message = "a message holds at most 350,000 bytes";
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
        let envelope: Self = serde_json::from_slice(plain)
            .map_err(|error| Refusal::bad("bad_envelope", format!("not an envelope: {error}")))?;
        let bad = |field: &str, message: &str| Err(Refusal::bad("bad_envelope", message).about(field));
        if envelope.specversion != "1.0" {
            return bad("specversion", "specversion is \"1.0\"");
        }
        let time = envelope.time.as_deref().or(envelope.generated_on.as_deref()).unwrap_or_default();
        if chrono::DateTime::parse_from_rfc3339(time).is_err() {
            return bad("time", "time, or generatedOn, is needed as RFC 3339");
        }
        if !envelope.data.get().starts_with(['{', '[']) {
            return bad("data", "data is an object or an array");
        }
        Ok(envelope)
    }
}

/// The audience whose queue a reader means: its own id unless it says another.
fn audience(parameters: &BTreeMap<String, String>, token: &Token) -> String {
    parameters.get("audience").cloned().unwrap_or_else(|| token.owner.clone())
}

type Parameters = Query<BTreeMap<String, String>>;

async fn setup(
    State(shared): crate::State,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let token = auth::rac(&shared, &headers).await?;
    let audience = audience(&parameters, &token);
    shared.store.queue_setup(&token.tenant, &audience).await?;
    Ok(Json(json!({"tenantId": token.tenant, "audience": audience})))
}

/// Answered with success whether or not anybody will ever read the message: that is how the real one loses them.
async fn send(
    State(shared): crate::State,
    Path((kind, audience)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    auth::rac(&shared, &headers).await?;
    let plain = inflate(&body, MESSAGE_MAX + 1).unwrap_or_else(|| body.to_vec());
    let envelope = Envelope::read(&plain)?;
    if envelope.kind != kind {
        return Err(Refusal::bad("other_type", "the envelope's type is not the one of the path").about("type"));
    }
    let text = String::from_utf8_lossy(&plain);
    let kept = shared.store.message_send(&envelope.tenant_id, &audience, &kind, &text).await?;
    if !kept {
        tracing::info!(tenant = envelope.tenant_id, audience, "a message was lost: there is no such queue");
    }
    Ok(Json(json!({"requestId": crate::fresh_id()})))
}

async fn take(
    State(shared): crate::State,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let token = auth::rac(&shared, &headers).await?;
    let most = parameters.get("max").map_or(Ok(10), |most| most.parse::<i64>());
    let Some(most) = most.ok().filter(|most| (1..=TAKE_MAX).contains(most)) else {
        return Err(Refusal::bad("bad_max", "max is a whole number from 1 to 100").about("max"));
    };
    let hold_ms = i64::from(shared.options.message_hold_ms);
    let messages = shared.store.messages_take(&token.tenant, &audience(&parameters, &token), most, hold_ms).await?;
    let messages: Vec<_> = messages
        .into_iter()
        .map(|message| {
            json!({"receipt": message.receipt, "type": message.kind, "taken": message.taken, "message": message.body})
        })
        .collect();
    Ok(Json(json!({ "messages": messages })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledgement {
    receipts: Vec<String>,
    /// Whether the messages go to the dead letters instead.
    #[serde(default)]
    fail: bool,
}

async fn acknowledge(State(shared): crate::State, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Refusal> {
    let token = auth::rac(&shared, &headers).await?;
    let told: Acknowledgement = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad("bad_body", format!("{{\"receipts\": [...]}} is expected: {error}")))?;
    if told.receipts.len() > usize::try_from(TAKE_MAX).unwrap_or(usize::MAX) {
        return Err(Refusal::bad("too_many", "at most 100 receipts at once").about("receipts"));
    }
    let state = if told.fail { "dead" } else { "done" };
    let mut unknown = Vec::new();
    for receipt in &told.receipts {
        if !shared.store.message_end(&token.tenant, receipt, state).await? {
            unknown.push(receipt);
        }
    }
    Ok(Json(json!({"acknowledged": told.receipts.len() - unknown.len(), "unknown": unknown})))
}

/// A page of a table as upstream data sharing sends it: numbered 1, 2, 3 ... per batch and table, with the key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sharing<'a> {
    /// Unix seconds at which the range begins.
    batch: i64,
    table: String,
    sequence: u32,
    schema: Schema,
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Schema {
    key: Vec<String>,
}

impl Sharing<'_> {
    fn records(&self) -> Result<Vec<Record>, Refusal> {
        self.records.iter().enumerate().map(|(index, text)| self.record(index, text)).collect()
    }

    fn record(&self, index: usize, text: &RawValue) -> Result<Record, Refusal> {
        let record: Map<String, Value> = serde_json::from_str(text.get())
            .map_err(|_| Refusal::bad("not_flat", format!("record {index}: a record is a JSON object")))?;
        let mut key = Vec::new();
        for name in &self.schema.key {
            match record.get(name) {
                None | Some(Value::Null) => {
                    let message = format!("record {index}: the key {name} is missing");
                    return Err(Refusal::bad("missing_key", message).about(name.clone()));
                }
                Some(value) => key.push(value.clone()),
            }
        }
        let deleted = record.get(DELETED).is_some_and(is_set);
        Ok(Record { key: Value::Array(key).to_string(), data: (*text).to_owned(), deleted })
    }
}

async fn ingest(State(shared): crate::State, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Refusal> {
    let token = auth::rac(&shared, &headers).await?;
    let plain = inflate(&body, MESSAGE_MAX + 1).unwrap_or_else(|| body.to_vec());
    let envelope = Envelope::read(&plain)?;
    if envelope.tenant_id != token.tenant {
        let message = "the envelope's tenant is not the token's";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "other_tenant", message).about("tenantId"));
    }
    let sharing: Sharing<'_> = serde_json::from_str(envelope.data.get()).map_err(|error| {
        let expected = "data holds batch, table, sequence, schema.key and records";
        Refusal::bad("bad_data", format!("{expected}: {error}")).about("data")
    })?;
    if sharing.schema.key.is_empty() || sharing.sequence == 0 || sharing.records.is_empty() {
        return Err(Refusal::bad("bad_data", "a key, a sequence from 1 and a record are needed").about("data"));
    }
    let connector = format!("smartlink:{}", token.tenant);
    let definition = json!({"mdmStagingType": sharing.table, "key": sharing.schema.key});
    if shared.store.table_find(&connector, &sharing.table).await?.as_ref() != Some(&definition) {
        shared.store.table_put(&connector, &sharing.table, &definition).await?;
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, envelope.data.get().as_bytes());
    let page = Page {
        connector,
        batch: format!("{}/{}", sharing.batch, sharing.table),
        sequence: sharing.sequence.into(),
        digest: digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
        records: sharing.records()?,
        table: sharing.table,
    };
    let taken = shared.store.page_take(&page).await?;
    Ok(Json(json!({"accepted": page.records.len(), "repeated": taken == Taken::Before})))
}
