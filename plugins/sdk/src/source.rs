//! The trait of a sync source, and the types it speaks.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use crate::bindings::{describing::exports::engate::plugin::plugin, sourcing::exports::engate::plugin::source};
use crate::{Change, Feed, Manifest, Problem};

/// A plugin of the world `sync-source`: feeds a sync or polling job from where the engine's own table source does not fit. It
/// may call [`http::send`](crate::http::send).
pub trait Source {
    /// What the plugin is and what it asks for. Called once, at install, when no import answers.
    fn describe() -> Manifest;

    /// The next changes after the cursor. The cursor of the page that is given is handed back once its changes are stored,
    /// and not before: what has to be acknowledged at the feed is acknowledged by the *next* pull.
    ///
    /// # Errors
    /// A [`Problem`] ends the pass; the cursor stays. A retryable one has it tried again.
    fn pull(pull: &Pull) -> Result<Feed, Problem>;
}

/// What is asked of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// The stream's name in the job.
    pub stream: String,
    /// Where the last page that was stored ended; none: from the beginning.
    pub after: Option<Vec<u8>>,
    /// Changes of one page at most.
    pub max_changes: u32,
    /// The time, in ms since the Unix epoch. The only clock there is.
    pub now: u64,
}

/// Stands between the generated entry points and a [`Source`].
pub struct SourceGuest<P>(PhantomData<P>);

impl<P: Source> plugin::Guest for SourceGuest<P> {
    fn describe() -> Manifest {
        P::describe()
    }
}

impl<P: Source> source::Guest for SourceGuest<P> {
    fn pull(stream: String, after: Option<Vec<u8>>, max_changes: u32, now: u64) -> Result<Feed, Problem> {
        P::pull(&Pull { stream, after, max_changes, now })
    }
}

impl Pull {
    /// The cursor as [`Feed::after`] wrote it; none: from the beginning.
    ///
    /// # Errors
    /// `invalid_cursor`: an older version of the plugin may have left it. The operator can reset the stream.
    pub fn cursor<T: DeserializeOwned>(&self) -> Result<Option<T>, Problem> {
        let Some(bytes) = &self.after else { return Ok(None) };
        let invalid = |why: &str| Problem::new("invalid_cursor", format!("the cursor is not as expected: {why}"));
        let text = std::str::from_utf8(bytes).map_err(|error| invalid(&error.to_string()))?;
        serde_json::from_str(text).map(Some).map_err(|error| invalid(&error.to_string()))
    }
}

impl Feed {
    /// An empty page whose cursor is the value as compact JSON, at most 4 KiB of it.
    ///
    /// # Errors
    /// `invalid_cursor` where the value has no JSON form.
    pub fn after(cursor: &(impl Serialize + ?Sized)) -> Result<Self, Problem> {
        let next = serde_json::to_vec(cursor)
            .map_err(|error| Problem::new("invalid_cursor", format!("the cursor has no JSON form: {error}")))?;
        Ok(Self { changes: Vec::new(), next, more: false })
    }

    /// Adds a change; an earlier one of the same key is taken out, since a page has the last state of a record only.
    pub fn push(&mut self, change: Change) {
        self.changes.retain(|other| other.key != change.key);
        self.changes.push(change);
    }

    /// Whether to pull again at once.
    #[must_use]
    pub const fn more(mut self, more: bool) -> Self {
        self.more = more;
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing;

    #[test]
    fn a_cursor_comes_back_as_it_was_written() {
        let feed = Feed::after(&("2025-02-20", 7)).unwrap();
        let pull = Pull { after: Some(feed.next), ..testing::pull("orders") };
        assert_eq!(pull.cursor::<(String, u32)>().unwrap(), Some(("2025-02-20".to_owned(), 7)));
        assert_eq!(pull.cursor::<u32>().unwrap_err().code, "invalid_cursor");
        assert_eq!(testing::pull("orders").cursor::<u32>().unwrap(), None);
    }

    #[test]
    fn a_page_has_the_last_state_of_a_record_only() {
        let mut feed = Feed::after(&1).unwrap();
        for (key, value) in [("a", 1), ("b", 2), ("a", 3)] {
            feed.push(Change::upsert(key, &serde_json::json!({"v": value})).unwrap());
        }
        let kept: Vec<_> = feed.changes.iter().map(|change| change.data.as_str()).collect();
        assert_eq!(kept, [r#"{"v":2}"#, r#"{"v":3}"#]);
    }
}
