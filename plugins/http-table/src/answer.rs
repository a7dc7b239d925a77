//! What the target's answers mean.

use engate_sdk::{Problem, Rejection, Response, Settlement};
use serde_json::{Map, Value};

use crate::settings::{Rejected, Settings};

/// What an answer means for a page of that many records.
pub(crate) fn settle(settings: &Settings, size: u32, response: &Response) -> Settlement {
    let status = response.status;
    let told = told(settings, response);
    if settings.split_status.contains(&status) {
        // A page of one cannot be halved: this is the bad record.
        return match size {
            0 | 1 => Settlement::Accepted(vec![Rejection::new(0, Problem::new("target_rejected", told))]),
            _ => Settlement::split(told),
        };
    }
    if settings.retry_status.contains(&status) {
        return Settlement::later(told);
    }
    let may_mean_success = match &settings.success.status {
        Some(statuses) => statuses.contains(&status),
        None => response.is_success(),
    };
    if !may_mean_success {
        return Problem::new("target_refused", told).into();
    }
    if let Some(pointer) = &settings.success.pointer
        && !response.json_at::<Value>(pointer).is_some_and(|value| says_yes(&value))
    {
        return Problem::new("target_refused", format!("{told}; it does not say at {pointer} that it took the page"))
            .into();
    }
    match &settings.rejected {
        Some(rejected) => rejections(rejected, size, response),
        None => Settlement::taken(),
    }
}

fn says_yes(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(true) => true,
    }
}

fn rejections(rejected: &Rejected, size: u32, response: &Response) -> Settlement {
    let listed: Option<Vec<Map<String, Value>>> = response.json_at(&rejected.pointer);
    let mut rejections = Vec::new();
    for entry in listed.unwrap_or_default() {
        let index = entry.get(&rejected.index).and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok());
        let Some(index) = index.filter(|index| *index < size) else {
            let message = format!("the target rejects a record that is not of the page: see {}", rejected.pointer);
            return Problem::new("target_unreadable", message).into();
        };
        let why = entry.get(&rejected.message).and_then(Value::as_str).unwrap_or("the target gave no reason");
        rejections.push(Rejection::new(index, Problem::new("target_rejected", why)));
    }
    Settlement::Accepted(rejections)
}

fn told(settings: &Settings, response: &Response) -> String {
    let status = response.status;
    let pointer = settings.success.error_pointer.as_deref();
    let error = pointer.and_then(|pointer| response.json_at::<Value>(pointer)).filter(says_yes);
    match error {
        Some(Value::String(error)) => format!("HTTP status {status}: {error}"),
        Some(error) => format!("HTTP status {status}: {error}"),
        None => format!("HTTP status {status}"),
    }
}
