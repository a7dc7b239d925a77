//! A page of a table as one message: an envelope whose data is a batch's next number.

use engate_sdk::{Change, Page, Pass, Problem, Rejection, Request, Response, Settlement, state, time};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Batch, Settings};

/// The mark of a record that is gone: deleted rows must be sent.
const DELETED: &str = "DELETED";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    specversion: &'static str,
    r#type: String,
    tenant_id: &'a str,
    id: &'a str,
    time: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    batch: u64,
    table: &'a str,
    sequence: u32,
    schema: Schema<'a>,
    records: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct Schema<'a> {
    key: &'a [String],
}

pub(crate) fn request(settings: &Settings, pass: &Pass, page: &Page) -> Result<Request, Problem> {
    let send = &settings.send;
    let envelope = Envelope {
        specversion: "1.0",
        r#type: send.r#type.replace("{target}", &pass.stream.target),
        tenant_id: &settings.tenant_id,
        id: &page.id,
        // Of the pass and not of now: a page that is sent again is the same message.
        time: time::rfc3339(pass.started_at),
        data: Data {
            batch: batch(send.batch, pass)?,
            table: &pass.stream.target,
            sequence: page.sequence,
            schema: Schema { key: &pass.stream.key },
            records: page.changes.iter().map(record).collect::<Result<_, _>>()?,
        },
    };
    let request = Request::post(&settings.url(&send.path)).json(&envelope)?;
    let bytes = request.body.as_bytes().len();
    if bytes > send.max_bytes {
        let message = format!("a message of {bytes} bytes; SmartLink takes {} at most", send.max_bytes);
        return Err(Problem::page_too_large(message));
    }
    let request = settings.authorized(request);
    Ok(if send.compress { request.compressed() } else { request })
}

/// The batch of a table's last pass.
#[derive(Debug, Serialize, Deserialize)]
struct Used {
    pass: String,
    batch: u64,
    #[serde(default)]
    started_at: u64,
    #[serde(default)]
    partition: Vec<(String, String)>,
}

/// A pass's batch: its second, or the one behind the last pass's batch, where both fell into one. What is kept counts once a
/// page of the pass was taken, so that a page that is sent again has the same.
///
/// A table's messages are numbered in one batch at a time. A pass that an overlapping one of another partition has overtaken
/// cannot go on: its batch is not the table's any more.
fn batch(which: Batch, pass: &Pass) -> Result<u64, Problem> {
    let second = match which {
        Batch::RangeStart => pass.range_start,
        Batch::StartedAt => pass.started_at,
    } / 1_000;
    let target = &pass.stream.target;
    let place = format!("batch/{target}");
    let used: Option<Used> = state::get_json(&place)?;
    match used {
        Some(used) if used.pass == pass.id => Ok(used.batch),
        Some(used) if used.partition != pass.partition && used.started_at > pass.started_at => {
            let message = format!(
                "two partitions of stream {} send to the table {target} at once, and SmartLink takes one batch of a table after \
                 the other; give each its own target, as `{target}_{{company}}`",
                pass.stream.name
            );
            Err(Problem::new("target_shared", message))
        }
        used => {
            let batch = used.map_or(second, |used| second.max(used.batch + 1));
            let (id, partition) = (pass.id.clone(), pass.partition.clone());
            state::put_json(&place, &Used { pass: id, batch, started_at: pass.started_at, partition })?;
            Ok(batch)
        }
    }
}

/// The record as it is spelled, with its mark where it is gone.
fn record(change: &Change) -> Result<Box<RawValue>, Problem> {
    let text = if change.is_delete() {
        let mut members: std::collections::BTreeMap<&str, &RawValue> = change.json()?;
        members.remove(DELETED);
        let mut text = serde_json::to_string(&members)
            .map_err(|error| Problem::new("invalid_record", format!("the record {:?}: {error}", change.key)))?;
        text.pop();
        let comma = if members.is_empty() { "" } else { "," };
        format!("{text}{comma}\"{DELETED}\":true}}")
    } else {
        change.data.clone()
    };
    RawValue::from_string(text)
        .map_err(|error| Problem::new("invalid_record", format!("the record {:?} is no JSON: {error}", change.key)))
}

/// What the answer to a page of that many records means.
pub(crate) fn settle(size: u32, response: &Response) -> Settlement {
    let told = response.json_at::<String>("/errorMessage").or_else(|| response.json_at("/message"));
    let told = told.map_or_else(String::new, |told| format!(": {told}"));
    let told = format!("SmartLink answered with HTTP status {}{told}", response.status);
    let field = response.json_at::<String>("/possibleResponsibleField").unwrap_or_default();
    let of_request =
        matches!(field.as_str(), "batchId" | "batchIdSequence" | "tenantId" | "data" | "specversion" | "time");
    match response.status {
        200..=299 => Settlement::taken(),
        413 => Settlement::split(told),
        408 | 409 | 425 | 429 | 500..=599 => Settlement::later(told),
        401 | 403 => Problem::new("smartlink_unauthorized", told).into(),
        400 | 422 if !of_request && size > 1 => Settlement::split(told),
        400 | 422 if !of_request => {
            Settlement::Accepted(vec![Rejection::new(0, Problem::new("smartlink_rejected", told))])
        }
        _ => Problem::new("smartlink_refused", told).into(),
    }
}
