//! A sink is the far side of a sync job: `encode` says how a page of records is sent, `settle` says what the answer means. The
//! engine does everything that acts: reading, HTTP, credentials, checkpoints, retries.

use engate_sdk::{Manifest, Page, Pass, Problem, Request, Response, Sent, Settlement, Sink, config};

/// The settings of a job, as a JSON Schema.
const SCHEMA: &str = r#"{
    "type": "object", "additionalProperties": false, "required": ["url"],
    "properties": {"url": {"description": "Where pages go.", "type": "string", "pattern": "^https?://"}}
}"#;

struct Plugin;

impl Sink for Plugin {
    /// Asked once, when the plugin is installed. More to say: `.title`, `.host`, `.credential`, `.secret`.
    fn describe() -> Manifest {
        Manifest::new("{{name}}", env!("CARGO_PKG_VERSION")).config_schema(SCHEMA)
    }

    /// Page in, request out. Called again when the page is sent again, and must then make the same request: `page.id` is
    /// the same, so that the target can tell a repeat. A record goes on byte for byte; `change.json::<T>()?` reads it.
    fn encode(pass: &Pass, page: &Page) -> Result<Request, Problem> {
        let url: String = config::get_or("/url", String::new())?;
        let mut records = Vec::new();
        for change in &page.changes {
            let gone = change.is_delete();
            records.push(format!(r#"{{"gone":{gone},"record":{}}}"#, change.data));
        }
        let url = format!("{url}/{}?page={}", pass.stream.target, page.id);
        Ok(Request::post(&url).body("application/json", format!("[{}]", records.join(","))))
    }

    /// Answer in, settlement out.
    fn settle(_page: &Sent, response: &Response) -> Settlement {
        match response.json_at::<String>("/error") {
            // Final: the stream stops, its checkpoint stays. `Settlement::split(why)` has the engine look for a bad record.
            Some(text) => Problem::new("refused_by_target", text).into(),
            // 2xx is taken, 413 is halved, 429 and 5xx are sent again, anything else stops the stream.
            None => Settlement::by_status(response),
        }
    }
}

engate_sdk::export_sink!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use engate_sdk::testing;

    #[test]
    fn the_golden_files_hold() {
        testing::run_sink_fixtures::<Plugin>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
    }
}
