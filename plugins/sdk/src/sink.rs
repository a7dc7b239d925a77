//! The trait of a sync target, and the types it speaks.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::bindings::{describing::exports::engate::plugin::plugin, sinking::exports::engate::plugin::sink};
use crate::{
    Change, Manifest, Operation, Page, Pass, Problem, Rejection, Request, Response, Retry, Settlement, Stream, Totals,
};

/// A plugin of the world `sync-target`: the far side of a sync job. The engine owns the loop, the clock and the checkpoint;
/// the plugin says what to send and what an answer means.
pub trait Sink {
    /// What the plugin is and what it asks for. Called once, at install, when no import answers.
    fn describe() -> Manifest;

    /// Requests that prepare the target, such as for its schema: before the first page, and when the columns change. They
    /// go out in order, and the *last* one decides: it must be answered with 2xx before a page goes out. One before it may be
    /// refused, as a request that creates is where there is something already. By default none.
    ///
    /// # Errors
    /// A [`Problem`] stops the stream; a retryable one has it tried again.
    fn open(stream: &Stream) -> Result<Vec<Request>, Problem> {
        let _ = stream;
        Ok(Vec::new())
    }

    /// Page in, request out. Called again when the page is sent again, and must then make the same request.
    ///
    /// # Errors
    /// As [`Sink::open`]; and [`Problem::page_too_large`], whereupon the engine halves the page.
    fn encode(pass: &Pass, page: &Page) -> Result<Request, Problem>;

    /// Response in, settlement out: by default as [`Settlement::by_status`].
    #[must_use]
    fn settle(page: &Sent, response: &Response) -> Settlement {
        let _ = page;
        Settlement::by_status(response)
    }

    /// The request that closes a pass, once its last page was taken; by default none.
    ///
    /// # Errors
    /// As [`Sink::open`].
    fn close(pass: &Pass, totals: &Totals) -> Result<Option<Request>, Problem> {
        let _ = (pass, totals);
        Ok(None)
    }
}

/// A page that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The pass's id.
    pub pass_id: String,
    /// The page's id.
    pub page_id: String,
    /// How many changes it has.
    pub size: u32,
}

/// Stands between the generated entry points and a [`Sink`].
pub struct SinkGuest<P>(PhantomData<P>);

impl<P: Sink> plugin::Guest for SinkGuest<P> {
    fn describe() -> Manifest {
        P::describe()
    }
}

impl<P: Sink> sink::Guest for SinkGuest<P> {
    fn open(info: Stream) -> Result<Vec<Request>, Problem> {
        P::open(&info)
    }

    fn encode(pass: Pass, page: Page) -> Result<Request, Problem> {
        P::encode(&pass, &page)
    }

    fn settle(pass_id: String, page_id: String, size: u32, response: Response) -> Settlement {
        P::settle(&Sent { pass_id, page_id, size }, &response)
    }

    fn close(pass: Pass, totals: Totals) -> Result<Option<Request>, Problem> {
        P::close(&pass, &totals)
    }
}

impl Settlement {
    /// What a plain target means: 2xx, all taken; 413, too large; 408, 425, 429 and 5xx, later; anything else stops the
    /// stream, since the next page would fare no better.
    #[must_use]
    pub fn by_status(response: &Response) -> Self {
        match response.status {
            200..=299 => Self::taken(),
            413 => Self::split("HTTP status 413: the page is too large"),
            408 | 425 | 429 | 500..=599 => Self::later(format!("HTTP status {}", response.status)),
            status => Problem::new("target_refused", format!("HTTP status {status}")).into(),
        }
    }

    /// All of the page was taken.
    #[must_use]
    pub const fn taken() -> Self {
        Self::Accepted(Vec::new())
    }

    /// The same page again, by the engine's schedule.
    #[must_use]
    pub fn later(reason: impl Into<String>) -> Self {
        Self::Retry(Retry { after_ms: None, reason: reason.into() })
    }

    /// Too large, or one of its changes is bad: the engine halves the page and sends the halves.
    #[must_use]
    pub fn split(reason: impl Into<String>) -> Self {
        Self::Split(reason.into())
    }
}

impl From<Problem> for Settlement {
    /// Stops the stream where the problem is final, else has the page sent again.
    fn from(problem: Problem) -> Self {
        if problem.retryable { Self::later(problem.message) } else { Self::Fail(problem) }
    }
}

impl Problem {
    /// The page does not fit into one request of the target: the engine halves it. A page of one record goes to quarantine.
    #[must_use]
    pub fn page_too_large(message: impl Into<String>) -> Self {
        Self::new("page_too_large", message)
    }
}

impl Rejection {
    /// The change at `index`, from 0, was not taken.
    #[must_use]
    pub fn new(index: u32, problem: Problem) -> Self {
        Self { index, problem }
    }
}

impl Change {
    /// A record that was created or changed, whole, as compact JSON.
    ///
    /// # Errors
    /// `invalid_record` where the value has no JSON form.
    pub fn upsert(key: impl Into<String>, record: &(impl Serialize + ?Sized)) -> Result<Self, Problem> {
        let data = serde_json::to_string(record)
            .map_err(|error| Problem::new("invalid_record", format!("a record has no JSON form: {error}")))?;
        Ok(Self { key: key.into(), operation: Operation::Upsert, data })
    }

    /// A record that is gone; `record` is what is known of it, at least its key.
    ///
    /// # Errors
    /// As [`Change::upsert`].
    pub fn delete(key: impl Into<String>, record: &(impl Serialize + ?Sized)) -> Result<Self, Problem> {
        Ok(Self { operation: Operation::Delete, ..Self::upsert(key, record)? })
    }

    /// Whether it is a deletion.
    #[must_use]
    pub const fn is_delete(&self) -> bool {
        matches!(self.operation, Operation::Delete)
    }

    /// The record as `T`, which may borrow from it: `&serde_json::value::RawValue` keeps a part as it is spelled.
    ///
    /// # Errors
    /// `invalid_record`, with the key and what was expected.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        serde_json::from_str(&self.data).map_err(|error| {
            Problem::new("invalid_record", format!("the record {:?} is not as expected: {error}", self.key))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing;

    #[test]
    fn a_plain_target_is_judged_by_its_status() {
        for (status, expected) in [
            (204, Settlement::taken()),
            (413, Settlement::split("HTTP status 413: the page is too large")),
            (503, Settlement::later("HTTP status 503")),
            (400, Settlement::Fail(Problem::new("target_refused", "HTTP status 400"))),
        ] {
            assert_eq!(Settlement::by_status(&testing::response(status)), expected);
        }
        let again = Settlement::from(Problem::new("busy", "later").retryable());
        assert_eq!(again, Settlement::later("later"));
    }

    #[test]
    fn a_change_is_read_as_it_is_spelled() {
        let change = Change { key: "1".to_owned(), operation: Operation::Upsert, data: r#"{"v":10.50}"#.to_owned() };
        let parts: std::collections::BTreeMap<&str, &serde_json::value::RawValue> = change.json().unwrap();
        assert_eq!(parts["v"].get(), "10.50");
        assert!(change.json::<Vec<u8>>().unwrap_err().message.contains("\"1\""));
        assert!(Change::delete("1", &serde_json::json!({"id": 1})).unwrap().is_delete());
    }
}
