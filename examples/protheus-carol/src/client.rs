//! Calls to the engine and to the stand-in.

use serde_json::Value;

use crate::Error;

/// Whom to call, as whom.
pub(crate) struct Client {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(base: &str, token: Option<&str>) -> Result<Self, Error> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { base: base.to_owned(), token: token.map(str::to_owned), http })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Error> {
        self.get_with(path, &[]).await
    }

    /// A GET with query parameters.
    pub(crate) async fn get_with(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Error> {
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.base))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.http.get(url)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let call = self.http.post(format!("{}{path}", self.base));
        self.send(if let Some(body) = body { call.json(body) } else { call }).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.send(self.http.patch(format!("{}{path}", self.base)).json(body)).await
    }

    async fn send(&self, call: reqwest::RequestBuilder) -> Result<Value, Error> {
        let call = if let Some(token) = &self.token { call.bearer_auth(token) } else { call };
        let answer = call.send().await?;
        let (status, url) = (answer.status(), answer.url().path().to_owned());
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(format!("{url} answered {status}: {text}").into());
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}
