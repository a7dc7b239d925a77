//! Tables to any HTTP target, by configuration alone.

mod answer;
mod page;
mod settings;
#[cfg(test)]
mod tests;

use engate_sdk::{Manifest, Page, Pass, Problem, Request, Response, Sent, Settlement, Sink, Totals, config, time};
use serde_json::json;

use settings::Settings;

struct HttpTable;

impl Sink for HttpTable {
    fn describe() -> Manifest {
        Manifest::new("http-table", env!("CARGO_PKG_VERSION"))
            .title("Tables to any HTTP target")
            .config_schema(include_str!("config.schema.json"))
    }

    fn encode(pass: &Pass, page: &Page) -> Result<Request, Problem> {
        let settings: Settings = config::all()?;
        let url = page::filled(&settings.url, pass, Some(page))?;
        let request = page::with_body(Request::new(settings.method.word(), &url), &settings, page)?;
        Ok(if settings.compress { settings.shown(request).compressed() } else { settings.shown(request) })
    }

    fn settle(page: &Sent, response: &Response) -> Settlement {
        match config::all() {
            Ok(settings) => answer::settle(&settings, page.size, response),
            Err(problem) => problem.into(),
        }
    }

    fn close(pass: &Pass, totals: &Totals) -> Result<Option<Request>, Problem> {
        let settings: Settings = config::all()?;
        let Some(url) = &settings.close_url else { return Ok(None) };
        let told = json!({
            "pass": pass.id,
            "stream": pass.stream.name,
            "records": totals.records,
            "requests": totals.requests,
            "started_at": time::rfc3339(totals.started_at),
            "ended_at": time::rfc3339(totals.ended_at),
        });
        let request = settings.shown(Request::post(&page::filled(url, pass, None)?));
        request.json(&told).map(Some)
    }
}

engate_sdk::export_sink!(HttpTable);
