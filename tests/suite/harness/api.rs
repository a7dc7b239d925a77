//! A client of the engine's HTTP API that fails with everything there is to know.

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{engine::ADMIN_TOKEN, eventually};

/// Speaks to one engine under one token.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// What the engine answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    call: String,
}

impl Answer {
    /// The JSON of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        assert_eq!(self.status, status, "{} answered {text}", self.call);
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// The JSON of any success.
    #[track_caller]
    pub(crate) fn expect_any(self) -> Value {
        assert!((200..300).contains(&self.status), "{} answered {}", self.call, self.status);
        let status = self.status;
        self.expect(status)
    }

    /// The refusal with this status and code; gives the fields to blame.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Vec<String> {
        let content_type = self.headers.get("content-type").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let call = self.call.clone();
        let problem = self.expect(status);
        assert_eq!(content_type.as_deref(), Some("application/problem+json"), "{call}: {problem}");
        assert_eq!(
            (problem["code"].as_str(), problem["status"].as_u64()),
            (Some(code), Some(status.into())),
            "{call}: {problem}"
        );
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}

impl Api {
    /// The first admin's client.
    pub(crate) fn admin(base: String) -> Self {
        Self { base, token: Some(ADMIN_TOKEN.to_owned()), http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// The same engine, without a token.
    pub(crate) fn anonymous(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// The same engine under another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The URL of a path of the engine.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string()).await
    }

    /// A JSON body exactly as spelled here.
    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_owned().into()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, &[("content-type", "application/json")], body.to_string().into()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, &[("content-type", "application/json")], body.to_string().into()).await
    }

    /// Any call; fails where the engine does not answer.
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        let call = format!("{method} {path}");
        self.try_send(method, path, headers, body).await.unwrap_or_else(|error| panic!("{call}: {error:?}"))
    }

    /// Any call; the engine may be gone.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, reqwest::Error> {
        let call = format!("{method} {path}");
        let mut request = self.http.request(method, self.url(path)).body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await?, call })
    }

    /// Hands in one new event; gives the 202's body.
    pub(crate) async fn event(&self, event: Value) -> Value {
        self.post("/v1/events", &event).await.expect(202)
    }

    /// Hands in a new event of a type with a payload; gives its id.
    pub(crate) async fn emit(&self, event_type: &str, payload: Value) -> String {
        id(&self.event(json!({"type": event_type, "payload": payload})).await)
    }

    /// Deliveries that a query finds, at most 500.
    pub(crate) async fn deliveries(&self, query: &str) -> Vec<Value> {
        let list = self.get(&format!("/v1/deliveries?limit=500&{query}")).await.expect(200);
        list["items"].as_array().expect("a list has items").clone()
    }

    /// How many deliveries a query finds; counted page by page where the engine only estimates.
    pub(crate) async fn delivery_count(&self, query: &str) -> u64 {
        let list = self.get(&format!("/v1/deliveries?limit=500&{query}")).await.expect(200);
        if list["total_estimated"] != true {
            return list["total"].as_u64().expect("a list has a total");
        }
        let mut count = 0;
        let mut page = list;
        loop {
            count += page["items"].as_array().expect("a list has items").len() as u64;
            let Some(next) = page["next"].as_str() else { return count };
            page = self.get(&format!("/v1/deliveries?limit=500&cursor={next}&{query}")).await.expect(200);
        }
    }

    /// An endpoint's only delivery, once `is` holds for it.
    pub(crate) async fn delivery(&self, endpoint: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually("the endpoint's only delivery gets there", async || {
            let found = self.deliveries(&format!("endpoint={endpoint}")).await;
            assert!(found.len() < 2, "more than one delivery: {found:?}");
            found.first().filter(|delivery| is(delivery)).cloned().ok_or_else(|| format!("{found:?}"))
        })
        .await
    }

    /// An endpoint's only delivery, once it is in that state.
    pub(crate) async fn delivery_in(&self, endpoint: &str, state: &str) -> Value {
        self.delivery(endpoint, |delivery| delivery["state"] == state).await
    }

    /// All attempts of a delivery, oldest first.
    pub(crate) async fn attempts(&self, delivery: &Value) -> Vec<Value> {
        let list = self.get(&format!("/v1/deliveries/{}/attempts", id(delivery))).await.expect(200);
        list["items"].as_array().expect("a list has items").clone()
    }

    /// The only attempt of a delivery.
    pub(crate) async fn attempt(&self, delivery: &Value) -> Value {
        let mut attempts = self.attempts(delivery).await;
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        attempts.remove(0)
    }

    /// Waits until nothing is waiting or under way.
    pub(crate) async fn settled(&self) {
        eventually("all deliveries are finished", async || {
            let left = self.delivery_count("state=pending").await + self.delivery_count("state=delivering").await;
            if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
        })
        .await;
    }
}

/// The `id` of anything the API answers.
#[track_caller]
pub(crate) fn id(of: &Value) -> String {
    of["id"].as_str().unwrap_or_else(|| panic!("no id in {of}")).to_owned()
}
