//! Lists: `{items, total, next}`, at most 500 a page, with an opaque cursor.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use engate_model::Invalid;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
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
    /// Cuts a page out of a whole list that is held in memory. `place` says where an item stands among the others: the
    /// list comes in that order, and a page begins behind the last place of the page before, whatever was entered or
    /// deleted meanwhile.
    pub(crate) fn cut<I, P: Ord + Serialize + DeserializeOwned, T: ToSchema>(
        &self,
        mut items: Vec<I>,
        place: impl Fn(&I) -> P,
        show: impl Fn(I) -> T,
    ) -> Result<Listing<T>, Invalid> {
        let limit = usize::try_from(self.limit.unwrap_or(LIMIT_DEFAULT)).unwrap_or(usize::MAX);
        let total = items.len();
        items.sort_by_cached_key(&place);
        let start = match self.cursor.as_deref() {
            None => 0,
            Some(cursor) => {
                let last: P = place_read(cursor)?;
                items.partition_point(|item| place(item) <= last)
            }
        };
        let page: Vec<_> = items.into_iter().skip(start).take(limit).collect();
        let more = start.saturating_add(page.len()) < total;
        let next = page.last().filter(|_| more).map(|last| place_write(&place(last)));
        let items = page.into_iter().map(show).collect();
        Ok(Listing { items, total: u64::try_from(total).ok(), total_estimated: false, next })
    }
}

fn place_write<P: Serialize>(place: &P) -> String {
    cursor_write(&serde_json::to_string(place).unwrap_or_default())
}

fn place_read<P: DeserializeOwned>(cursor: &str) -> Result<P, Invalid> {
    let wrong = |_| Invalid::field("cursor", "not a cursor of this list; pass on `next` of the page before as it is");
    serde_json::from_str(&cursor_read(cursor)?).map_err(wrong)
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

/// The id that a cursor of a list in the order of ids names.
pub(crate) fn cursor_id<T: std::str::FromStr>(cursor: &str) -> Result<T, Invalid> {
    let wrong = |_| Invalid::field("cursor", "not a cursor of this list; pass on `next` of the page before as it is");
    cursor_read(cursor)?.parse().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(items: &str, limit: u32, cursor: Option<String>) -> Listing<String> {
        let params = PageParams { limit: Some(limit), cursor };
        let items = items.chars().map(String::from).collect();
        params.cut(items, String::clone, |item| item).unwrap()
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let first = page("dbaec", 2, None);
        assert_eq!((first.items.concat().as_str(), first.total), ("ab", Some(5)));
        let second = page("abcde", 2, first.next);
        assert_eq!(second.items.concat(), "cd");
        let third = page("abcde", 2, second.next);
        assert_eq!((third.items.concat().as_str(), third.next), ("e", None));
        assert_eq!(page("abcde", 5, None).next, None);
    }

    #[test]
    fn what_is_entered_or_deleted_meanwhile_shifts_nothing() {
        let first = page("bdfh", 2, None);
        assert_eq!(first.items.concat(), "bd");
        // The last one shown is gone, one came before it and one after.
        assert_eq!(page("abefh", 2, first.next).items.concat(), "ef");
    }

    #[test]
    fn a_spoilt_cursor_is_named() {
        for spoilt in ["%%".to_owned(), cursor_write("no number"), cursor_write("\"1\"")] {
            let params = PageParams { limit: None, cursor: Some(spoilt) };
            let error = params.cut(vec![1], |n| *n, |n: i32| n.to_string()).unwrap_err();
            assert_eq!(error.0.first().unwrap().field, "cursor");
        }
    }
}
