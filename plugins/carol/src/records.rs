//! A page as the array of flat records that the intake takes.

use std::collections::BTreeMap;

use engate_sdk::{Change, Problem};
use serde_json::value::RawValue;

/// The records as they are spelled; those that are gone with their mark.
pub(crate) fn array(changes: &[Change], deleted_field: &str) -> Result<String, Problem> {
    let room: usize = changes.iter().map(|change| change.data.len() + 2).sum();
    let mut body = String::with_capacity(room + 2);
    body.push('[');
    for (index, change) in changes.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        if change.is_delete() {
            body.push_str(&marked(change, deleted_field)?);
        } else {
            body.push_str(&change.data);
        }
    }
    body.push(']');
    Ok(body)
}

/// The record with its mark, which takes the place of one that is there already.
fn marked(change: &Change, field: &str) -> Result<String, Problem> {
    let mut members: BTreeMap<&str, &RawValue> = change.json()?;
    members.remove(field);
    let mut text = String::with_capacity(change.data.len() + field.len() + 8);
    text.push('{');
    for (name, value) in members {
        let name = serde_json::to_string(name).unwrap_or_default();
        text.push_str(&name);
        text.push(':');
        text.push_str(value.get());
        text.push(',');
    }
    text.push_str(&format!("{}:true}}", serde_json::to_string(field).unwrap_or_default()));
    Ok(text)
}
