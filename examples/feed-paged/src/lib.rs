//! A feed that gives its whole list page by page: `GET URL?page=2&size=100` answers `{"items": [...], "pages": 7}`.
//!
//! Every pass goes through the list once. The cursor is the number of the next page; behind the last one it is the first
//! again. What is as it was before need not be sent anywhere: that is the engine's to see.

#[cfg(test)]
mod tests;

use engate_sdk::{Change, Feed, Manifest, Problem, Pull, Request, Source, config, http};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The settings' schema.
const SCHEMA: &str = r#"{
    "type": "object", "additionalProperties": false, "required": ["url"],
    "properties": {
        "url": {"description": "The list, without page and size.", "type": "string", "pattern": "^https?://[^?#\\s]+$"},
        "size": {"description": "Records of a page.", "type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
        "key": {"description": "The field that tells records apart.", "type": "string", "default": "id"}
    }
}"#;

struct Paged;

#[derive(Deserialize)]
struct Settings {
    url: String,
    #[serde(default = "hundred")]
    size: u32,
    #[serde(default = "id")]
    key: String,
}

const fn hundred() -> u32 {
    100
}

fn id() -> String {
    "id".to_owned()
}

/// Where to go on.
#[derive(Serialize, Deserialize)]
struct Cursor {
    page: u32,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
    pages: u32,
}

impl Source for Paged {
    fn describe() -> Manifest {
        Manifest::new("feed-paged", env!("CARGO_PKG_VERSION")).title("A list, page by page").config_schema(SCHEMA)
    }

    fn pull(pull: &Pull) -> Result<Feed, Problem> {
        let settings: Settings = config::all()?;
        let page = pull.cursor::<Cursor>()?.map_or(1, |cursor| cursor.page);
        // A page must fit into what is asked for, and its size must not change on the way through the list.
        if settings.size > pull.max_changes {
            let message = format!("size is {}, but the job takes {} records at once", settings.size, pull.max_changes);
            return Err(Problem::new("size_too_large", message));
        }
        let request = Request::get(&format!("{}?page={page}&size={}", settings.url, settings.size));
        let response = http::fetch(&request)?;
        let unreadable = || Problem::new("feed_unreadable", format!("page {page} is no list of items")).retryable();
        let list: List<'_> = response.json().ok_or_else(unreadable)?;
        let more = page < list.pages;
        let mut feed = Feed::after(&Cursor { page: if more { page + 1 } else { 1 } })?.more(more);
        for item in list.items {
            feed.push(Change::upsert(key(item, &settings.key)?, item)?);
        }
        Ok(feed)
    }
}

/// The record's key, whether a text or a number.
fn key(item: &RawValue, field: &str) -> Result<String, Problem> {
    let record: serde_json::Map<String, serde_json::Value> = serde_json::from_str(item.get()).unwrap_or_default();
    match record.get(field) {
        Some(serde_json::Value::String(key)) if !key.is_empty() => Ok(key.clone()),
        Some(serde_json::Value::Number(key)) => Ok(key.to_string()),
        _ => Err(Problem::new("no_key", format!("a record has no field {field}; correct the setting key"))),
    }
}

engate_sdk::export_source!(Paged);
