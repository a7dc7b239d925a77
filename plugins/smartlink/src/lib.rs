//! SmartLink: tables as numbered messages in envelopes, and its queue as a feed. A message is acknowledged by the pull after
//! the one that brought it, since only then are its changes stored.

mod queue;
mod sending;
#[cfg(test)]
mod tests;

use engate_sdk::{
    Feed, Manifest, Page, Pass, Problem, Pull, Request, Response, Sent, Settlement, Sink, Source, config,
};
use serde::Deserialize;

struct SmartLink;

/// The settings of a job.
#[derive(Debug, Deserialize)]
struct Settings {
    base_url: String,
    tenant_id: String,
    #[serde(default)]
    credential: Option<String>,
    #[serde(default)]
    send: Send,
    #[serde(default)]
    receive: Receive,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Send {
    path: String,
    r#type: String,
    batch: Batch,
    max_bytes: usize,
    compress: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Batch {
    RangeStart,
    StartedAt,
}

impl Default for Send {
    fn default() -> Self {
        Self {
            path: "/api/v1/ingestion".to_owned(),
            r#type: "{target}".to_owned(),
            batch: Batch::RangeStart,
            max_bytes: 350_000,
            compress: true,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Receive {
    audience: Option<String>,
    max_messages: u32,
}

impl Default for Receive {
    fn default() -> Self {
        Self { audience: None, max_messages: 50 }
    }
}

impl Settings {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url.trim_end_matches('/'))
    }

    fn authorized(&self, request: Request) -> Request {
        match &self.credential {
            Some(name) => request.credential(name),
            None => request,
        }
    }
}

fn manifest() -> Manifest {
    Manifest::new("smartlink", env!("CARGO_PKG_VERSION"))
        .title("SmartLink")
        .config_schema(include_str!("config.schema.json"))
        .host("https://*.totvs.app")
        .credential("rac", "The client of RAC: a token by client credentials.")
}

impl Sink for SmartLink {
    fn describe() -> Manifest {
        manifest()
    }

    fn encode(pass: &Pass, page: &Page) -> Result<Request, Problem> {
        sending::request(&config::all()?, pass, page)
    }

    fn settle(page: &Sent, response: &Response) -> Settlement {
        sending::settle(page.size, response)
    }
}

impl Source for SmartLink {
    fn describe() -> Manifest {
        manifest()
    }

    fn pull(pull: &Pull) -> Result<Feed, Problem> {
        queue::pull(&config::all()?, pull)
    }
}

engate_sdk::export_sink!(SmartLink, SmartLink);
