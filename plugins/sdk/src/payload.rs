//! Reading bodies: as JSON, as text, as bytes.

use serde::Deserialize;

use crate::{Event, Exchange, Payload, Problem, Request, Response, pointer};

impl Payload {
    /// The bytes; none for an empty payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The text, if it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Empty => Some(""),
            Self::Text(text) => Some(text),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        if text.is_empty() { Self::Empty } else { Self::Text(text) }
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Vec<u8>> for Payload {
    /// Text where the bytes are valid UTF-8, as the contract has it.
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(error) => Self::Bytes(error.into_bytes()),
        }
    }
}

impl Event {
    /// The payload as `T`, which may borrow from it: `&serde_json::value::RawValue` keeps a part as it is spelled.
    ///
    /// # Errors
    /// `invalid_payload`, with the place and what was expected there.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        let invalid = |what: &str| {
            let message = format!("the payload of an event `{}` is not as expected: {what}", self.event_type);
            Problem::new("invalid_payload", message)
        };
        // All JSON is read as text: reading bytes too would put serde_json into the component twice.
        let text = self.text().ok_or_else(|| invalid("it is no UTF-8 text"))?;
        serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))
    }

    /// The payload as text, if it is text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.data.as_text()
    }

    /// The payload's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.data.as_bytes()
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        find(&self.labels, |label| label == name)
    }
}

impl Request {
    /// The body as text, if it is text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.body.as_text()
    }
}

impl Response {
    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as `T`; none if it is not JSON of that shape. What that means is for the plugin to say.
    #[must_use]
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.text()?).ok()
    }

    /// The value that a JSON Pointer names in the body, as `T`; none if there is none of that shape, or the body is not
    /// JSON.
    #[must_use]
    pub fn json_at<'a, T: Deserialize<'a>>(&'a self, pointer: &str) -> Option<T> {
        serde_json::from_str(pointer::find(self.text()?, pointer)?.get()).ok()
    }

    /// The body as text, if it is text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.body.as_text()
    }

    /// The body's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.body.as_bytes()
    }

    /// The value of the first header of that name; the name's case does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, |header| header.eq_ignore_ascii_case(name))
    }
}

impl Exchange {
    /// The memo as `T`; none if `transform` left none of that shape.
    #[must_use]
    pub fn memo_json<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.memo.as_deref()?).ok()
    }
}

fn find(pairs: &[(String, String)], is_it: impl Fn(&str) -> bool) -> Option<&str> {
    pairs.iter().find(|(name, _)| is_it(name)).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::*;
    use crate::testing;

    #[test]
    fn spelling_survives_in_raw_values() {
        let event = testing::event("paid").with_text(r#"{"value":10.50,"big":12345678901234567890123}"#);
        let raw: std::collections::BTreeMap<&str, &RawValue> = event.json().unwrap();
        assert_eq!(raw["value"].get(), "10.50");
        assert_eq!(raw["big"].get(), "12345678901234567890123");
    }

    #[test]
    fn a_payload_of_another_shape_is_a_problem_that_names_the_place() {
        let problem = testing::event("paid").with_json(json!({"a": 1})).json::<Vec<u8>>().unwrap_err();
        assert_eq!((problem.code.as_str(), problem.retryable), ("invalid_payload", false));
        assert!(problem.message.contains("`paid`") && problem.message.contains("line 1"), "{}", problem.message);
        let mut event = testing::event("paid");
        event.data = vec![b'"', 0xff, b'"'].into();
        assert!(event.json::<String>().unwrap_err().message.ends_with("it is no UTF-8 text"));
    }

    #[test]
    fn bytes_become_text_where_they_are_utf8() {
        assert_eq!(Payload::from("é".as_bytes().to_vec()), Payload::Text("é".to_owned()));
        assert_eq!(Payload::from(vec![0xff]), Payload::Bytes(vec![0xff]));
        assert_eq!(Payload::from(Vec::new()), Payload::Empty);
        assert_eq!(Payload::Bytes(vec![0xff]).as_text(), None);
    }

    #[test]
    fn headers_are_found_in_any_case_and_pointers_in_json_only() {
        let response = testing::response(200).with_header("retry-after", "3").with_json(json!({"a": {"b": [1]}}));
        assert_eq!(response.header("Retry-After"), Some("3"));
        assert_eq!(response.json_at::<u32>("/a/b/0"), Some(1));
        assert_eq!(response.json_at::<String>("/a/b/0"), None);
        assert_eq!(response.json_at::<u32>("/a/c"), None);
        assert_eq!(testing::response(200).with_text("OK").json_at::<u32>("/a"), None);
    }
}
