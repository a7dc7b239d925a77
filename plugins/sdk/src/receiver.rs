//! The trait a receiver implements, how the component's entry points reach it, and the types it speaks.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::bindings::{describing::exports::engate::plugin::plugin, receiving::exports::engate::plugin::inbound};
use crate::{Answer, Call, Manifest, NewEvent, Payload, Problem};

/// A plugin of the world `receiver`: checks a partner's call, turns it into events, and answers it.
pub trait Receiver {
    /// What the plugin is and what it asks for. Called once, at install, when no import answers.
    fn describe() -> Manifest;

    /// Call in, answer and events out. The events are committed, all or none, before the answer leaves; where that
    /// fails the caller gets an error of the engine's and will call again.
    ///
    /// # Errors
    /// A [`Problem`] is for the operator: the caller gets a 503 where it is retryable, else a bare 400. What the partner is
    /// to read, such as its own kind of refusal, is an [`Answer`].
    fn receive(call: &Call) -> Result<Answer, Problem>;
}

/// Stands between the generated entry points and a [`Receiver`].
pub struct ReceiverGuest<P>(PhantomData<P>);

impl<P: Receiver> plugin::Guest for ReceiverGuest<P> {
    fn describe() -> Manifest {
        P::describe()
    }
}

impl<P: Receiver> inbound::Guest for ReceiverGuest<P> {
    fn receive(call: Call) -> Result<Answer, Problem> {
        P::receive(&call)
    }
}

impl Call {
    /// The body as `T`, which may borrow from it: `&serde_json::value::RawValue` keeps a part as it is spelled.
    ///
    /// # Errors
    /// `invalid_body`, with the place and what was expected there.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        let invalid = |what: &str| Problem::new("invalid_body", format!("the body is not as expected: {what}"));
        let text = self.text().ok_or_else(|| invalid("it is no UTF-8 text"))?;
        serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))
    }

    /// The body as text, if it is text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.body.as_text()
    }

    /// The body's bytes, which a signature is made over.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.body.as_bytes()
    }

    /// The value of the first header of that name; the name's case does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl Answer {
    /// A status without a body.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Payload::Empty, events: Vec::new() }
    }

    /// Sets a header, in place of one of the same name. What belongs to the connection and `set-cookie` are left out by
    /// the engine.
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
            .map_err(|error| Problem::new("invalid_body", format!("the answer's body has no JSON form: {error}")))?;
        let typed = self.headers.iter().any(|(name, _)| name == "content-type");
        let mut answer = if typed { self } else { self.header("content-type", "application/json") };
        answer.body = text.into();
        Ok(answer)
    }

    /// The text as it is, with this content type.
    #[must_use]
    pub fn body(self, content_type: &str, body: impl Into<Payload>) -> Self {
        let mut answer = self.header("content-type", content_type);
        answer.body = body.into();
        answer
    }

    /// Adds an event: committed before the answer leaves.
    #[must_use]
    pub fn event(mut self, event: NewEvent) -> Self {
        self.events.push(event);
        self
    }
}

impl NewEvent {
    /// An event with the value as compact JSON for its payload.
    ///
    /// # Errors
    /// `invalid_payload` where the value has no JSON form, such as a map whose keys are no strings.
    pub fn json(event_type: &str, payload: &(impl Serialize + ?Sized)) -> Result<Self, Problem> {
        let text = serde_json::to_string(payload).map_err(|error| {
            Problem::new("invalid_payload", format!("the payload of `{event_type}` has no JSON form: {error}"))
        })?;
        Ok(Self::new(event_type, "application/json", text))
    }

    /// An event with exactly this payload.
    #[must_use]
    pub fn new(event_type: &str, content_type: &str, payload: impl Into<Payload>) -> Self {
        Self {
            idempotency_key: None,
            event_type: event_type.to_owned(),
            subject: None,
            occurred_at: None,
            labels: Vec::new(),
            correlation_id: None,
            content_type: content_type.to_owned(),
            data: payload.into(),
        }
    }

    /// What a repeat is known by: the same key with the same event again is taken once, with another it is refused. Take it
    /// from the call, with something of the partner's own in front: keys are shared by the whole tenant.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// What it is about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// When it happened, in ms since the Unix epoch; without it, when it is taken. Take it from the call, not from its
    /// `now`: a repeat must be the same event.
    #[must_use]
    pub const fn occurred_at(mut self, ms: u64) -> Self {
        self.occurred_at = Some(ms);
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: impl Into<String>) -> Self {
        self.labels.push((name.to_owned(), value.into()));
        self
    }

    /// Handed through to every delivery.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{json, value::RawValue};

    use super::*;
    use crate::testing;

    #[test]
    fn a_call_is_read_as_it_is_spelled() {
        let call = testing::call().with_text(r#"{"value":10.50}"#).with_header("X-Sign", "abc");
        let parts: std::collections::BTreeMap<&str, &RawValue> = call.json().unwrap();
        assert_eq!((parts["value"].get(), call.header("x-sign"), call.header("y")), ("10.50", Some("abc"), None));
        let problem = testing::call().with_text("{").json::<serde::de::IgnoredAny>().unwrap_err();
        assert_eq!((problem.code.as_str(), problem.retryable), ("invalid_body", false));
    }

    #[test]
    fn an_answer_has_each_header_once_and_its_events_in_order() {
        let event = |key: &str| NewEvent::json("paid", &json!([1])).unwrap().idempotency_key(key).label("a", "b");
        let answer =
            Answer::status(202).header("Content-Type", "application/x+json").json(&json!({"ok": true})).unwrap();
        let answer = answer.header("x-a", "1").header("X-A", "2").event(event("1")).event(event("2"));
        assert_eq!(answer.headers.len(), 2);
        assert_eq!(answer.headers[1], ("x-a".to_owned(), "2".to_owned()));
        assert_eq!(answer.body.as_text(), Some(r#"{"ok":true}"#));
        let keys: Vec<_> = answer.events.iter().filter_map(|event| event.idempotency_key.as_deref()).collect();
        assert_eq!(keys, ["1", "2"]);
        let plain = Answer::status(200).body("text/plain", "ok");
        assert_eq!(plain.headers, [("content-type".to_owned(), "text/plain".to_owned())]);
    }
}
