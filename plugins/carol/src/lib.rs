//! Carol: tables into its staging area. One pass is one batch, pages are numbered in it, and the summary tells true counts.

mod answer;
mod records;
mod schema;
#[cfg(test)]
mod tests;

use engate_sdk::{
    Manifest, Page, Pass, Problem, Request, Response, Sent, Settlement, Sink, Stream, Totals, config,
    encoding::percent, time,
};
use serde::Deserialize;
use serde_json::json;

struct Carol;

/// The settings of a job.
#[derive(Debug, Deserialize)]
struct Settings {
    base_url: String,
    connector_id: String,
    #[serde(default)]
    credential: Option<String>,
    #[serde(default = "v3")]
    api: String,
    #[serde(default = "mdm_deleted")]
    deleted_field: String,
    #[serde(default = "yes")]
    manage_schema: bool,
    #[serde(default)]
    flexible: bool,
    #[serde(default = "yes")]
    export_data: bool,
    #[serde(default = "yes")]
    close_batch: bool,
}

fn v3() -> String {
    "v3".to_owned()
}

fn mdm_deleted() -> String {
    "mdmDeleted".to_owned()
}

const fn yes() -> bool {
    true
}

impl Settings {
    /// A URL below `staging`; `rest` begins with no slash and carries what of the query is its own.
    fn url(&self, rest: &str) -> String {
        let joint = if rest.contains('?') { '&' } else { '?' };
        let (base, connector) = (self.base_url.trim_end_matches('/'), percent(&self.connector_id));
        format!("{base}/api/{}/staging/{rest}{joint}connectorId={connector}", self.api)
    }

    /// The request as the connector.
    fn authorized(&self, request: Request) -> Request {
        match &self.credential {
            Some(name) => request.credential(name),
            None => request,
        }
    }
}

impl Sink for Carol {
    fn describe() -> Manifest {
        Manifest::new("carol", env!("CARGO_PKG_VERSION"))
            .title("Carol")
            .config_schema(include_str!("config.schema.json"))
            .host("https://*.carol.ai")
            .credential("carol", "The connector: headers X-Auth-Key and X-Auth-ConnectorId.")
    }

    /// Makes the table, which is refused where it is there, and then widens it, which decides.
    fn open(stream: &Stream) -> Result<Vec<Request>, Problem> {
        let settings: Settings = config::all()?;
        if !settings.manage_schema {
            return Ok(Vec::new());
        }
        let body = schema::of(stream, &settings)?;
        let url = settings.url(&format!("tables/{}/schema", percent(&stream.target)));
        let request = |request: Request| request.json(&body).map(|request| settings.authorized(request));
        Ok(vec![request(Request::post(&url))?, request(Request::put(&url))?])
    }

    fn encode(pass: &Pass, page: &Page) -> Result<Request, Problem> {
        let settings: Settings = config::all()?;
        let (table, batch) = (percent(&pass.stream.target), percent(&pass.id));
        let sequence = page.sequence;
        let url = settings.url(&format!("intake/{table}?returnData=false&batchId={batch}&batchIdSequence={sequence}"));
        let body = records::array(&page.changes, &settings.deleted_field)?;
        Ok(settings.authorized(Request::post(&url).body("application/json", body).compressed()))
    }

    fn settle(page: &Sent, response: &Response) -> Settlement {
        answer::settle(page.size, response)
    }

    fn close(pass: &Pass, totals: &Totals) -> Result<Option<Request>, Problem> {
        let settings: Settings = config::all()?;
        // Of a batch in which nothing was sent Carol knows nothing.
        if !settings.close_batch || totals.requests == 0 {
            return Ok(None);
        }
        let url = settings.url(&format!("batch/{}/summary", percent(&pass.id)));
        let summary = json!({
            "totalRecords": totals.records,
            "totalRequests": totals.requests,
            "timestampStart": time::rfc3339(totals.started_at),
            "timestampEnd": time::rfc3339(totals.ended_at),
        });
        Request::post(&url).json(&summary).map(|request| Some(settings.authorized(request)))
    }
}

engate_sdk::export_sink!(Carol);
