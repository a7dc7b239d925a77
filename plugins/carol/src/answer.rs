//! What Carol's answers mean.

use engate_sdk::{Problem, Rejection, Response, Settlement};
use serde::Deserialize;

/// Statuses after which the same page may be taken later.
const LATER: [u16; 10] = [408, 409, 429, 500, 502, 503, 504, 520, 524, 598];
/// Parts of a request that are the engine's and not a record's: halving a page would not cure them.
const PARTS_OF_REQUEST: [&str; 8] = [
    "batchId",
    "batchIdSequence",
    "connectorId",
    "table",
    "mdmStagingType",
    "mdmCrosswalkTemplate",
    "totalRecords",
    "totalRequests",
];

/// Carol's error body.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Refused {
    error_message: String,
    possible_responsible_field: Option<String>,
}

/// What an answer means for a page of that many records.
pub(crate) fn settle(size: u32, response: &Response) -> Settlement {
    let status = response.status;
    let refused: Refused = response.json().unwrap_or_default();
    let told = told(status, &refused);
    match status {
        200..=299 => Settlement::taken(),
        413 => Settlement::split(told),
        status if LATER.contains(&status) => Settlement::later(told),
        401 | 403 => Problem::new("carol_unauthorized", told).into(),
        404 => Problem::new("carol_unknown_table", told).into(),
        400 | 422 if is_about_a_record(&refused) => match size {
            0 | 1 => Settlement::Accepted(vec![Rejection::new(0, Problem::new("carol_rejected", told))]),
            _ => Settlement::split(told),
        },
        _ => Problem::new("carol_refused", told).into(),
    }
}

/// Whether one of the records may be what was refused. Where Carol names nothing it is tried: if all of them are bad the
/// quarantine's threshold stops the stream.
fn is_about_a_record(refused: &Refused) -> bool {
    let field = refused.possible_responsible_field.as_deref().unwrap_or_default();
    !PARTS_OF_REQUEST.contains(&field)
}

fn told(status: u16, refused: &Refused) -> String {
    let mut told = format!("Carol answered with HTTP status {status}");
    if !refused.error_message.is_empty() {
        told.push_str(": ");
        told.push_str(&refused.error_message);
    }
    if let Some(field) = refused.possible_responsible_field.as_deref().filter(|field| !field.is_empty()) {
        told.push_str(&format!(" (field {field})"));
    }
    told
}
