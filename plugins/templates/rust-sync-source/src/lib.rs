//! A source is the near side of a sync job: `pull` gives the next changes after a cursor. It may have the engine make HTTP
//! requests; the engine does everything else: credentials, checkpoints, retries.

use engate_sdk::{Change, Feed, Manifest, Problem, Pull, Request, Source, config, http};
use serde::{Deserialize, Serialize};

/// The settings of a job, as a JSON Schema.
const SCHEMA: &str = r#"{
    "type": "object", "additionalProperties": false, "required": ["url"],
    "properties": {"url": {"description": "The list, without its page.", "type": "string", "pattern": "^https?://"}}
}"#;

struct Plugin;

/// What the feed answers.
#[derive(Deserialize)]
struct List {
    items: Vec<Order>,
    pages: u32,
}

/// A record of it; what is not named here is left out.
#[derive(Serialize, Deserialize)]
struct Order {
    id: String,
    customer: String,
}

impl Source for Plugin {
    /// Asked once, when the plugin is installed. More to say: `.title`, `.host`, `.credential`, `.secret`.
    fn describe() -> Manifest {
        Manifest::new("{{name}}", env!("CARGO_PKG_VERSION")).config_schema(SCHEMA)
    }

    /// Here a list is read page by page, and in the next pass from its beginning. The cursor of a page is handed back once
    /// its changes are stored, and not before.
    fn pull(pull: &Pull) -> Result<Feed, Problem> {
        let url: String = config::get_or("/url", String::new())?;
        let page: u32 = pull.cursor()?.unwrap_or(1);
        let response = http::fetch(&Request::get(&format!("{url}?page={page}")))?;
        let unreadable = || Problem::new("feed_unreadable", "the answer is no list of orders").retryable();
        let list: List = response.json().ok_or_else(unreadable)?;
        let more = page < list.pages;
        let mut feed = Feed::after(&if more { page + 1 } else { 1 })?.more(more);
        for order in &list.items {
            feed.push(Change::upsert(&order.id, order)?);
        }
        Ok(feed)
    }
}

engate_sdk::export_source!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use engate_sdk::testing;

    #[test]
    fn the_golden_files_hold() {
        testing::run_source_fixtures::<Plugin>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
    }
}
