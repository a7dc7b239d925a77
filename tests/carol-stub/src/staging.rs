//! Carol's staging: schemas, the intake of records, and the summary that ends a batch.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read as _,
    sync::Arc,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use flate2::read::GzDecoder;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    Shared,
    answers::Refusal,
    auth,
    store::staging::{Counts, Page, Record, Taken},
};

/// Bytes of one request, gzip taken off: "10 MB per batch".
const BODY_MAX: usize = 10_000_000;
/// Letters of a table's or a batch's name.
const NAME_MAX: usize = 200;
/// Marks of a record that is gone: Carol's own column, and the one of upstream data sharing.
const DELETED: [&str; 2] = ["mdmDeleted", "DELETED"];

pub(crate) fn routes() -> Router<Arc<Shared>> {
    let mut routes = Router::new();
    for version in ["v2", "v3"] {
        routes = routes
            .route(&format!("/api/{version}/staging/intake/{{table}}"), post(intake))
            .route(
                &format!("/api/{version}/staging/tables/{{table}}/schema"),
                get(schema_get).post(schema_post).put(schema_put),
            )
            .route(&format!("/api/{version}/staging/tables/{{table}}/drop"), delete(drop_table))
            .route(&format!("/api/{version}/staging/batch/{{batch}}/summary"), post(summary));
    }
    routes
}

/// What a staging table is, in Carol's words.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Definition {
    #[serde(rename = "mdmStagingType")]
    staging_type: String,
    #[serde(rename = "mdmFlexible")]
    flexible: BoolText,
    #[serde(rename = "mdmExportData", default)]
    export_data: BoolText,
    #[serde(rename = "mdmCrosswalkTemplate")]
    crosswalk: Crosswalk,
    #[serde(rename = "mdmStagingMapping")]
    mapping: Mapping,
}

/// `true` or `"true"`: both are written by clients.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(untagged)]
enum BoolText {
    Bool(bool),
    Text(String),
    #[default]
    Unsaid,
}

impl BoolText {
    fn is_true(&self) -> bool {
        match self {
            Self::Bool(is) => *is,
            Self::Text(text) => text.eq_ignore_ascii_case("true"),
            Self::Unsaid => false,
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Crosswalk {
    #[serde(rename = "mdmCrossreference")]
    keys: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Mapping {
    properties: BTreeMap<String, Property>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Property {
    #[serde(rename = "type")]
    kind: PropertyKind,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum PropertyKind {
    Integer,
    Double,
    String,
    Boolean,
    Date,
    Object,
    /// An object or a list of them.
    Nested,
}

impl PropertyKind {
    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Double => value.is_number(),
            Self::String => value.is_string(),
            Self::Boolean => value.is_boolean(),
            Self::Date => value.as_str().is_some_and(is_date) || value.is_i64(),
            Self::Object => value.is_object(),
            Self::Nested => value.is_object() || value.is_array(),
        }
    }

    /// Whether a column of this kind may become one of `new` without its values being lost.
    fn widens_to(self, new: Self) -> bool {
        self == new || matches!((self, new), (Self::Integer, Self::Double) | (_, Self::String))
    }
}

fn is_date(text: &str) -> bool {
    chrono::DateTime::parse_from_rfc3339(text).is_ok()
        || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
        || chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").is_ok()
}

impl Definition {
    fn keys(&self, table: &str) -> &[String] {
        self.crosswalk.keys.get(table).map(Vec::as_slice).unwrap_or_default()
    }

    /// What is wrong with a schema for `table`, if anything is.
    fn check(&self, table: &str) -> Result<(), Refusal> {
        if self.staging_type != table {
            let message = format!("mdmStagingType is {:?}, the path says {table:?}", self.staging_type);
            return Err(Refusal::bad("inconsistent_schema", message).about("mdmStagingType"));
        }
        let keys = self.keys(table);
        if keys.is_empty() {
            let message = "bad crosswalk: mdmCrossreference names no key for this table";
            return Err(Refusal::bad("bad_crosswalk", message).about("mdmCrosswalkTemplate"));
        }
        match keys.iter().find(|key| !self.mapping.properties.contains_key(*key)) {
            Some(key) => {
                let message = format!("bad crosswalk: the key {key} is not a property of the mapping");
                Err(Refusal::bad("bad_crosswalk", message).about(key.clone()))
            }
            None => Ok(()),
        }
    }

    /// A record as it is stored: flat, its keys there, its values of their kinds.
    fn record(&self, table: &str, index: usize, text: &RawValue) -> Result<Record, Refusal> {
        let flat = "a record is a flat JSON object";
        let record: Map<String, Value> = serde_json::from_str(text.get())
            .map_err(|_| Refusal::bad("not_flat", format!("record {index}: {flat}")))?;
        for (name, value) in &record {
            let property = self.mapping.properties.get(name);
            if (value.is_object() || value.is_array()) && property.is_none_or(|property| !property.kind.is_nested()) {
                return Err(Refusal::bad("not_flat", format!("record {index}: {flat}")).about(name.clone()));
            }
            match property {
                Some(property) if value.is_null() || property.kind.holds(value) => {}
                Some(_) => {
                    let message = format!("record {index}: inconsistent schema: {name} holds a value of another type");
                    return Err(Refusal::bad("wrong_type", message).about(name.clone()));
                }
                None if self.flexible.is_true() || name.starts_with("mdm") || DELETED.contains(&name.as_str()) => {}
                None => {
                    let message = format!("record {index}: inconsistent schema: {name} is not a property of the table");
                    return Err(Refusal::bad("unknown_field", message).about(name.clone()));
                }
            }
        }
        let mut key = Vec::new();
        for name in self.keys(table) {
            match record.get(name) {
                None | Some(Value::Null) => {
                    let message = format!("record {index}: bad crosswalk: the key {name} is missing");
                    return Err(Refusal::bad("missing_key", message).about(name.clone()));
                }
                Some(value) => key.push(value.clone()),
            }
        }
        let deleted = DELETED.iter().any(|name| record.get(*name).is_some_and(is_set));
        Ok(Record { key: Value::Array(key).to_string(), data: text.to_owned(), deleted })
    }
}

impl PropertyKind {
    const fn is_nested(self) -> bool {
        matches!(self, Self::Object | Self::Nested)
    }
}

pub(crate) fn is_set(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true")))
}

type Parameters = Query<HashMap<String, String>>;

fn text<'a>(parameters: &'a HashMap<String, String>, name: &str) -> Result<&'a str, Refusal> {
    match parameters.get(name).map(String::as_str) {
        None | Some("") => Err(Refusal::bad("missing_parameter", format!("{name} is needed")).about(name)),
        Some(text) if text.len() > NAME_MAX => {
            Err(Refusal::bad("long_parameter", format!("{name} is too long")).about(name))
        }
        Some(text) => Ok(text),
    }
}

async fn connector(
    shared: &Shared,
    headers: &HeaderMap,
    parameters: &HashMap<String, String>,
) -> Result<String, Refusal> {
    auth::carol(shared, headers, parameters.get("connectorId").map(String::as_str)).await
}

async fn definition(shared: &Shared, connector: &str, table: &str) -> Result<Definition, Refusal> {
    let found = shared.store.table_find(connector, table).await?;
    let found = found.and_then(|definition| serde_json::from_value(definition).ok());
    found.ok_or_else(|| {
        let message = format!("the connector has no staging table {table}; create its schema first");
        Refusal::new(StatusCode::NOT_FOUND, "unknown_table", message).about("table")
    })
}

async fn schema_get(
    State(shared): crate::State,
    Path(table): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Json<Definition>, Refusal> {
    let connector = connector(&shared, &headers, &parameters).await?;
    Ok(Json(definition(&shared, &connector, &table).await?))
}

async fn schema_post(
    State(shared): crate::State,
    Path(table): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Definition>, Refusal> {
    let connector = connector(&shared, &headers, &parameters).await?;
    if shared.store.table_find(&connector, &table).await?.is_some() {
        let message = "the staging table is there already; PUT overwrites its schema";
        return Err(Refusal::bad("table_exists", message).about("table"));
    }
    schema_keep(&shared, &connector, &table, &body).await
}

async fn schema_put(
    State(shared): crate::State,
    Path(table): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Definition>, Refusal> {
    let connector = connector(&shared, &headers, &parameters).await?;
    let old = definition(&shared, &connector, &table).await?;
    let new = schema_read(&table, &body)?;
    if old.keys(&table) != new.keys(&table) {
        let message = "bad crosswalk: the keys of a table with a schema cannot change; drop it first";
        return Err(Refusal::bad("bad_crosswalk", message).about("mdmCrosswalkTemplate"));
    }
    for (name, property) in &old.mapping.properties {
        let narrowed = new.mapping.properties.get(name).is_some_and(|new| !property.kind.widens_to(new.kind));
        if narrowed {
            let message = format!("inconsistent schema: {name} would become a narrower type");
            return Err(Refusal::bad("inconsistent_schema", message).about(name.clone()));
        }
    }
    schema_keep(&shared, &connector, &table, &body).await
}

fn schema_read(table: &str, body: &[u8]) -> Result<Definition, Refusal> {
    let plain = inflate(body, BODY_MAX);
    let definition: Definition = serde_json::from_slice(plain.as_deref().unwrap_or(body))
        .map_err(|error| Refusal::bad("bad_schema", format!("not a staging schema: {error}")))?;
    definition.check(table)?;
    Ok(definition)
}

async fn schema_keep(shared: &Shared, connector: &str, table: &str, body: &[u8]) -> Result<Json<Definition>, Refusal> {
    if table.is_empty() || table.len() > NAME_MAX {
        return Err(Refusal::bad("bad_table", "a table's name has 1 to 200 letters").about("table"));
    }
    let definition = schema_read(table, body)?;
    let value = serde_json::to_value(&definition).unwrap_or_default();
    shared.store.table_put(connector, table, &value).await?;
    Ok(Json(definition))
}

async fn drop_table(
    State(shared): crate::State,
    Path(table): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let connector = connector(&shared, &headers, &parameters).await?;
    if !shared.store.table_drop(&connector, &table).await? {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "unknown_table", "there is no such staging table"));
    }
    Ok(StatusCode::OK)
}

async fn intake(
    State(shared): crate::State,
    Path(table): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let connector = connector(&shared, &headers, &parameters).await?;
    let definition = definition(&shared, &connector, &table).await?;
    let batch = text(&parameters, "batchId")?.to_owned();
    let sequence = text(&parameters, "batchIdSequence")?.parse::<u32>().ok().filter(|sequence| *sequence > 0);
    let Some(sequence) = sequence else {
        return Err(Refusal::bad("bad_sequence", "a sequence is a whole number from 1").about("batchIdSequence"));
    };
    let plain = gzipped(&headers, &body)?;
    let texts: Vec<&RawValue> = serde_json::from_slice(&plain)
        .map_err(|error| Refusal::bad("not_an_array", format!("the body is a JSON array of flat records: {error}")))?;
    if texts.is_empty() {
        return Err(Refusal::bad("no_records", "the body holds no record"));
    }
    let records = texts.iter().enumerate().map(|(index, text)| definition.record(&table, index, text));
    let records = records.collect::<Result<Vec<_>, _>>()?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &plain);
    let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let page = Page { connector, table, batch, sequence: sequence.into(), digest, records };
    let taken = shared.store.page_take(&page).await?;
    tracing::debug!(table = page.table, batch = page.batch, sequence, again = taken == Taken::Before, "taken");
    if parameters.get("returnData").is_some_and(|wanted| wanted == "false") {
        return Ok(StatusCode::OK.into_response());
    }
    Ok(([(http::header::CONTENT_TYPE, "application/json")], plain).into_response())
}

/// The body without its gzip, which is not optional here.
fn gzipped(headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let refused = |reason, message| Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason, message));
    if !header("content-type").starts_with("application/json") {
        return refused("not_json", "Content-Type: application/json is needed");
    }
    if header("content-encoding") != "gzip" {
        return refused("not_gzipped", "Content-Encoding: gzip is needed");
    }
    let too_large = || {
        let message = "a request holds at most 10 MB, before it is compressed";
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    if body.len() > BODY_MAX {
        return Err(too_large());
    }
    let Some(plain) = inflate(body, BODY_MAX + 1) else {
        return Err(Refusal::bad("bad_gzip", "the body is not gzip, or ends in the middle"));
    };
    if plain.len() > BODY_MAX {
        return Err(too_large());
    }
    Ok(plain)
}

/// `body` without gzip, at most `most` bytes of it; none when it is not gzip.
pub(crate) fn inflate(body: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    GzDecoder::new(body).take(most).read_to_end(&mut plain).ok()?;
    Some(plain)
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    total_records: i64,
    total_requests: i64,
    timestamp_start: Value,
    timestamp_end: Value,
}

/// A time as milliseconds since 1970: a number, or RFC 3339.
fn millis(value: &Value, field: &str) -> Result<i64, Refusal> {
    let text = value.as_str().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    value.as_i64().or_else(|| text.map(|time| time.timestamp_millis())).ok_or_else(|| {
        Refusal::bad("bad_time", format!("{field} is milliseconds since 1970, or RFC 3339")).about(field)
    })
}

async fn summary(
    State(shared): crate::State,
    Path(batch): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let connector = connector(&shared, &headers, &parameters).await?;
    let plain = inflate(&body, BODY_MAX);
    let summary: Summary = serde_json::from_slice(plain.as_deref().unwrap_or(&body))
        .map_err(|error| Refusal::bad("bad_summary", format!("not a summary: {error}")))?;
    let start = millis(&summary.timestamp_start, "timestampStart")?;
    if millis(&summary.timestamp_end, "timestampEnd")? < start {
        return Err(Refusal::bad("bad_time", "timestampEnd is before timestampStart").about("timestampEnd"));
    }
    let told = Counts { records: summary.total_records, requests: summary.total_requests };
    let text = serde_json::to_string(&summary).unwrap_or_default();
    shared.store.batch_close(&connector, &batch, told, &text).await?;
    Ok(StatusCode::OK)
}
