//! Building requests.

use serde::Serialize;

use crate::{Payload, Problem, Request};

impl Request {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Payload::Empty,
            compress: false,
            credential: None,
        }
    }

    /// `POST`.
    #[must_use]
    pub fn post(url: &str) -> Self {
        Self::new("POST", url)
    }

    /// `PUT`.
    #[must_use]
    pub fn put(url: &str) -> Self {
        Self::new("PUT", url)
    }

    /// `PATCH`.
    #[must_use]
    pub fn patch(url: &str) -> Self {
        Self::new("PATCH", url)
    }

    /// `DELETE`.
    #[must_use]
    pub fn delete(url: &str) -> Self {
        Self::new("DELETE", url)
    }

    /// `GET`.
    #[must_use]
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// Sets a header, in place of one of the same name. `host`, `content-length` and `authorization` are the engine's.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        let name = name.to_ascii_lowercase();
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.into()));
        self
    }

    /// The value as compact JSON, with `content-type: application/json` unless one is set already.
    ///
    /// # Errors
    /// `invalid_body` where the value has no JSON form, such as a map whose keys are no strings.
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Result<Self, Problem> {
        let text = serde_json::to_string(value)
            .map_err(|error| Problem::new("invalid_body", format!("the request body has no JSON form: {error}")))?;
        Ok(self.with_default_type("application/json").payload(text))
    }

    /// The text as it is, with this content type.
    #[must_use]
    pub fn body(self, content_type: &str, body: impl Into<Payload>) -> Self {
        self.header("content-type", content_type).payload(body)
    }

    /// Has the engine gzip the body.
    #[must_use]
    pub fn compressed(mut self) -> Self {
        self.compress = true;
        self
    }

    /// Has the engine apply a named credential profile in place of the endpoint's own.
    #[must_use]
    pub fn credential(mut self, name: &str) -> Self {
        self.credential = Some(name.to_owned());
        self
    }

    fn payload(mut self, body: impl Into<Payload>) -> Self {
        self.body = body.into();
        self
    }

    fn with_default_type(self, content_type: &str) -> Self {
        if self.headers.iter().any(|(name, _)| name == "content-type") {
            self
        } else {
            self.header("content-type", content_type)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_header_is_set_once_and_in_lower_case() {
        let request = Request::post("https://x.example/").header("X-A", "1").header("x-a", "2");
        assert_eq!(request.headers, [("x-a".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn json_is_compact_and_keeps_a_content_type_that_is_set() {
        let request = Request::post("u").header("content-type", "application/vnd.x+json").json(&[1, 2]).unwrap();
        assert_eq!(request.text(), Some("[1,2]"));
        assert_eq!(request.headers, [("content-type".to_owned(), "application/vnd.x+json".to_owned())]);
        assert_eq!(Request::post("u").json("é").unwrap().headers[0].1, "application/json");
    }
}
