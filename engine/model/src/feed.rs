//! What keeps a pass over a feed from running for ever: a source names its own resume points, and may name them badly.

use std::collections::HashSet;

use crate::sink::{FeedPage, Refusal};

/// Longest resume point, in bytes.
pub const CURSOR_BYTES_MAX: usize = 4 << 10;
/// Pulls of one pass at most. What is left is the next pass's.
pub const PULLS_MAX: u32 = 10_000;
/// Empty pages in a row that still promise more.
pub const EMPTY_PAGES_MAX: u32 = 100;

/// The resume points of one pass. One that comes twice means that the feed goes in a circle.
#[derive(Debug, Default)]
pub struct FeedGuard {
    seen: HashSet<Vec<u8>>,
    pulls: u32,
    empty: u32,
}

impl FeedGuard {
    /// A pass that begins at `after`.
    pub fn begin(after: Option<&[u8]>) -> Self {
        Self { seen: after.map(<[u8]>::to_vec).into_iter().collect(), ..Self::default() }
    }

    /// Takes note of a page; says whether to pull again.
    ///
    /// # Errors
    /// `feed_loop` or `feed_empty`: the pass stops, and its last resume point is kept.
    pub fn goes_on(&mut self, page: &FeedPage) -> Result<bool, Refusal> {
        self.pulls = self.pulls.saturating_add(1);
        self.empty = if page.changes.is_empty() { self.empty.saturating_add(1) } else { 0 };
        if !page.more {
            return Ok(false);
        }
        if !self.seen.insert(page.next.clone()) {
            return Err(stuck(
                "feed_loop",
                "the source says that there is more, and names a resume point of this pass again; a cursor must go forward",
            ));
        }
        if self.empty >= EMPTY_PAGES_MAX {
            return Err(stuck(
                "feed_empty",
                "the source says that there is more, and has sent nothing but empty pages; it must say more = false at \
                 the end",
            ));
        }
        Ok(self.pulls < PULLS_MAX)
    }
}

fn stuck(code: &str, message: &str) -> Refusal {
    Refusal { code: code.to_owned(), message: message.to_owned(), retryable: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Change, Operation};

    fn page(next: &[u8], more: bool, empty: bool) -> FeedPage {
        let change = Change { key: "1".to_owned(), operation: Operation::Upsert, data: "{}".to_owned() };
        FeedPage { changes: if empty { vec![] } else { vec![change] }, next: next.to_vec(), more }
    }

    fn code(result: Result<bool, Refusal>) -> Result<bool, String> {
        result.map_err(|refusal| refusal.code)
    }

    #[test]
    fn isolation_23_a_cursor_that_stands_still_or_goes_back_stops_the_pass() {
        let mut guard = FeedGuard::begin(Some(b"a"));
        assert_eq!(code(guard.goes_on(&page(b"b", true, false))), Ok(true));
        assert_eq!(code(guard.goes_on(&page(b"c", true, false))), Ok(true));
        assert_eq!(code(guard.goes_on(&page(b"a", true, false))), Err("feed_loop".to_owned()));
        let mut guard = FeedGuard::begin(Some(b"a"));
        assert_eq!(code(guard.goes_on(&page(b"a", true, false))), Err("feed_loop".to_owned()));
        // The end of a pass may be where it began: nothing came.
        assert_eq!(code(FeedGuard::begin(Some(b"a")).goes_on(&page(b"a", false, true))), Ok(false));
    }

    #[test]
    fn isolation_23_empty_pages_for_ever_stop_the_pass_and_a_long_one_is_cut() {
        let mut guard = FeedGuard::begin(None);
        let ended =
            (0_u32..).find_map(|n| guard.goes_on(&page(&n.to_le_bytes(), true, true)).err().map(|e| (n, e.code)));
        assert_eq!(ended, Some((EMPTY_PAGES_MAX - 1, "feed_empty".to_owned())));
        let mut guard = FeedGuard::begin(None);
        let cut = (0_u32..).find(|n| !guard.goes_on(&page(&n.to_le_bytes(), true, false)).unwrap());
        assert_eq!(cut, Some(PULLS_MAX - 1));
    }
}
