//! A feed that tells what changed: `GET URL?since=STAMP&after=ID&limit=500` answers `{"items": [...], "more": true}`, in the order
//! of (`updated_at`, `id`). A record that is gone has `"deleted": true`.
//!
//! The cursor is that pair of the last record, a total order: records with one stamp are neither skipped nor sent for ever.

#[cfg(test)]
mod tests;

use engate_sdk::{Change, Feed, Manifest, Operation, Problem, Pull, Request, Source, config, encoding::percent, http};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The settings' schema.
const SCHEMA: &str = r#"{
    "type": "object", "additionalProperties": false, "required": ["url"],
    "properties": {
        "url": {"description": "The feed, without since, after and limit.", "type": "string", "pattern": "^https?://[^?#\\s]+$"},
        "credential": {"description": "A granted credential profile.", "type": "string", "minLength": 1, "maxLength": 64}
    }
}"#;

struct Incremental;

#[derive(Deserialize)]
struct Settings {
    url: String,
    #[serde(default)]
    credential: Option<String>,
}

/// The last record that was handed over.
#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    since: String,
    after: String,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
    more: bool,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    updated_at: String,
    #[serde(default)]
    deleted: bool,
}

impl Source for Incremental {
    fn describe() -> Manifest {
        Manifest::new("feed-incremental", env!("CARGO_PKG_VERSION"))
            .title("A feed of changes")
            .config_schema(SCHEMA)
            .credential("feed", "Opens the feed, where it asks who calls.")
    }

    fn pull(pull: &Pull) -> Result<Feed, Problem> {
        let settings: Settings = config::all()?;
        let mut cursor: Cursor = pull.cursor()?.unwrap_or_default();
        let (since, after, limit) = (percent(&cursor.since), percent(&cursor.after), pull.max_changes);
        let mut request = Request::get(&format!("{}?since={since}&after={after}&limit={limit}", settings.url));
        if let Some(name) = &settings.credential {
            request = request.credential(name);
        }
        let response = http::fetch(&request)?;
        let unreadable = |what: &str| Problem::new("feed_unreadable", format!("the feed's answer {what}")).retryable();
        let page: Page<'_> = response.json().ok_or_else(|| unreadable("has no items"))?;
        let mut changes = Vec::with_capacity(page.items.len());
        for raw in page.items {
            let item: Item =
                serde_json::from_str(raw.get()).map_err(|error| unreadable(&format!("has a bad item: {error}")))?;
            let operation = if item.deleted { Operation::Delete } else { Operation::Upsert };
            changes.push(Change { key: item.id.clone(), operation, data: raw.get().to_owned() });
            cursor = Cursor { since: item.updated_at, after: item.id };
        }
        let mut feed = Feed::after(&cursor)?.more(page.more && !changes.is_empty());
        changes.into_iter().for_each(|change| feed.push(change));
        Ok(feed)
    }
}

engate_sdk::export_source!(Incremental);
