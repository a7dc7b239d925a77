//! Lists: `{items, total, next}`, at most 500 a page, with an opaque cursor.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use engate_model::Invalid;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Page where the caller names no size.
pub(crate) const LIMIT_DEFAULT: u32 = 100;

/// Which page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// Items a page holds at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub(super) limit: Option<u32>,
    /// `next` of the page before; none: the first page.
    #[param(min_length = 1, max_length = 512)]
    pub(super) cursor: Option<String>,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listing<T: ToSchema> {
    /// The page's items.
    pub(crate) items: Vec<T>,
    /// How many there are on all pages; null where they were not counted.
    pub(crate) total: Option<u64>,
    /// Set where `total` is an estimate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) total_estimated: bool,
    /// Cursor of the next page; null on the last.
    pub(crate) next: Option<String>,
}

impl PageParams {
    /// Cuts a page out of a whole list that is held in memory. `key` names an item among the others; the list
    /// must be in a stable order.
    pub(crate) fn cut<I, T: ToSchema>(
        &self,
        items: Vec<I>,
        key: impl Fn(&I) -> String,
        show: impl Fn(I) -> T,
    ) -> Result<Listing<T>, Invalid> {
        let limit = usize::try_from(self.limit.unwrap_or(LIMIT_DEFAULT)).unwrap_or(usize::MAX);
        let total = items.len();
        let start = match self.cursor.as_deref() {
            None => 0,
            Some(cursor) => {
                let last = cursor_read(cursor)?;
                // The item may be gone by now; then there is no telling where the page began.
                let at = items.iter().position(|item| key(item) == last);
                at.ok_or_else(|| Invalid::field("cursor", "its place is gone; begin again without a cursor"))? + 1
            }
        };
        let page: Vec<_> = items.into_iter().skip(start).take(limit).collect();
        let next = (start + page.len() < total).then(|| page.last().map(|last| cursor_write(&key(last)))).flatten();
        let items = page.into_iter().map(show).collect();
        Ok(Listing { items, total: u64::try_from(total).ok(), total_estimated: false, next })
    }
}

/// A cursor that names a place.
pub(crate) fn cursor_write(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

/// The place that a cursor names.
pub(crate) fn cursor_read(cursor: &str) -> Result<String, Invalid> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let place = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    place.ok_or_else(|| Invalid::field("cursor", "not a cursor; pass on `next` of the page before as it is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: u32, cursor: Option<String>) -> Listing<String> {
        let items = vec!["a", "b", "c", "d", "e"];
        let params = PageParams { limit: Some(limit), cursor };
        params.cut(items, |item| (*item).to_owned(), |item| item.to_owned()).unwrap()
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let first = page(2, None);
        assert_eq!((first.items.concat().as_str(), first.total), ("ab", Some(5)));
        let second = page(2, first.next);
        assert_eq!(second.items.concat(), "cd");
        let third = page(2, second.next);
        assert_eq!((third.items.concat().as_str(), third.next), ("e", None));
        assert_eq!(page(5, None).next, None);
    }

    #[test]
    fn a_spoilt_cursor_is_named() {
        let params = PageParams { limit: None, cursor: Some("%%".into()) };
        let error = params.cut(vec![1], i32::to_string, |n| n.to_string()).unwrap_err();
        assert_eq!(error.0.first().unwrap().field, "cursor");
    }
}
