//! Where a page goes and what it looks like.

use std::collections::BTreeMap;

use engate_sdk::{Change, Page, Pass, Problem, Request, encoding::percent};
use serde_json::value::RawValue;

use crate::settings::{Deleted, Format, Settings};

/// The URL with what its parts in braces stand for.
pub(crate) fn filled(template: &str, pass: &Pass, page: Option<&Page>) -> Result<String, Problem> {
    let mut url = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        url.push_str(before);
        let (name, after) = after.split_once('}').ok_or_else(|| unknown(template, "a { that nothing closes"))?;
        let value = match (name, page) {
            ("stream", _) => Some(pass.stream.name.clone()),
            ("target", _) => Some(pass.stream.target.clone()),
            ("pass", _) => Some(pass.id.clone()),
            ("page", Some(page)) => Some(page.id.clone()),
            ("sequence", Some(page)) => Some(page.sequence.to_string()),
            _ => name.strip_prefix("partition.").and_then(|column| {
                let found = pass.partition.iter().find(|(name, _)| name == column);
                found.map(|(_, value)| value.clone())
            }),
        };
        let value = value.ok_or_else(|| unknown(template, &format!("{{{name}}}, which stands for nothing here")))?;
        url.push_str(&percent(&value));
        rest = after;
    }
    url.push_str(rest);
    Ok(url)
}

fn unknown(template: &str, what: &str) -> Problem {
    Problem::new("invalid_config", format!("the URL {template} holds {what}; correct the setting"))
}

/// The request with the page's records as its body.
pub(crate) fn with_body(request: Request, settings: &Settings, page: &Page) -> Result<Request, Problem> {
    let room: usize = page.changes.iter().map(|change| change.data.len() + 1).sum();
    let mut body = String::with_capacity(room + 64);
    let wrap = settings.wrap.as_deref().filter(|_| matches!(settings.format, Format::Array));
    if let Some(member) = wrap {
        body.push_str(&format!("{{{}:", serde_json::Value::from(member)));
    }
    let (open, between, close, media) = match settings.format {
        Format::Array => ("[", ",", "]", "application/json"),
        Format::Ndjson => ("", "\n", "\n", "application/x-ndjson"),
    };
    body.push_str(open);
    for (index, change) in page.changes.iter().enumerate() {
        if index > 0 {
            body.push_str(between);
        }
        if change.is_delete() {
            body.push_str(&marked(change, &settings.deleted)?);
        } else {
            body.push_str(&change.data);
        }
    }
    body.push_str(close);
    if wrap.is_some() {
        body.push('}');
    }
    if body.len() > settings.max_bytes {
        let message = format!("a body of {} bytes; the setting max_bytes allows {}", body.len(), settings.max_bytes);
        return Err(Problem::page_too_large(message));
    }
    Ok(request.body(media, body))
}

/// A record that is gone, with its mark in the place of a field of that name.
fn marked(change: &Change, deleted: &Deleted) -> Result<String, Problem> {
    let value = RawValue::from_string(deleted.value.to_string())
        .map_err(|error| Problem::new("invalid_config", format!("deleted.value: {error}")))?;
    let mut members: BTreeMap<&str, &RawValue> = change.json()?;
    members.insert(&deleted.field, &value);
    serde_json::to_string(&members)
        .map_err(|error| Problem::new("invalid_record", format!("the record {:?}: {error}", change.key)))
}
