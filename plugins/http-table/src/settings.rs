//! The settings, as the schema describes them.

use std::collections::BTreeMap;

use engate_sdk::Request;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) method: Method,
    #[serde(default)]
    pub(crate) format: Format,
    #[serde(default)]
    pub(crate) wrap: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    credential: Option<String>,
    #[serde(default)]
    pub(crate) compress: bool,
    #[serde(default = "max_bytes")]
    pub(crate) max_bytes: usize,
    #[serde(default)]
    pub(crate) deleted: Deleted,
    #[serde(default)]
    pub(crate) success: Success,
    #[serde(default)]
    pub(crate) rejected: Option<Rejected>,
    #[serde(default = "retry_status")]
    pub(crate) retry_status: Vec<u16>,
    #[serde(default = "split_status")]
    pub(crate) split_status: Vec<u16>,
    #[serde(default)]
    pub(crate) close_url: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    #[default]
    Post,
    Put,
    Patch,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Array,
    Ndjson,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Deleted {
    pub(crate) field: String,
    #[serde(default = "yes")]
    pub(crate) value: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Success {
    pub(crate) status: Option<Vec<u16>>,
    pub(crate) pointer: Option<String>,
    pub(crate) error_pointer: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Rejected {
    pub(crate) pointer: String,
    #[serde(default = "index")]
    pub(crate) index: String,
    #[serde(default = "message")]
    pub(crate) message: String,
}

impl Default for Deleted {
    fn default() -> Self {
        Self { field: "deleted".to_owned(), value: yes() }
    }
}

impl Method {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

impl Settings {
    /// The request with the headers that are set and the credential that is named.
    pub(crate) fn shown(&self, request: Request) -> Request {
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value.clone()));
        match &self.credential {
            Some(name) => request.credential(name),
            None => request,
        }
    }
}

const fn yes() -> Value {
    Value::Bool(true)
}

const fn max_bytes() -> usize {
    8 << 20
}

fn retry_status() -> Vec<u16> {
    vec![408, 425, 429, 500, 502, 503, 504]
}

fn split_status() -> Vec<u16> {
    vec![413, 422]
}

fn index() -> String {
    "index".to_owned()
}

fn message() -> String {
    "message".to_owned()
}
