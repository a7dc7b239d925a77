//! Ranges of the indexes of deliveries, as text: by state and success, in hand, beside some codes.

use engate_model::delivery::DeliveryState;

use super::filter::{DeliveryFilter, SuccessFilter};
use crate::{commit::finish::success_number, compose::Range};

/// Ranges of an index that is ordered by state, success and code: each pair that the filter takes, so that a page of
/// what failed is read without passing over millions that did not.
/// `start` ends with what joins another condition to it, or is nothing; `keys` come before state and success in the index.
pub(super) fn states(
    index: &'static str,
    start: &str,
    keys: &[(&'static str, String)],
    filter: &DeliveryFilter,
) -> Vec<Range> {
    let mut ranges = Vec::new();
    for state in DeliveryState::ALL {
        // What is in hand is in none of these indexes.
        if state == DeliveryState::Delivering || !(filter.states.is_empty() || filter.states.contains(&state)) {
            continue;
        }
        let successes: &[SuccessFilter] = match state {
            DeliveryState::Succeeded => &[SuccessFilter::Yes],
            _ => &[SuccessFilter::Pending, SuccessFilter::No, SuccessFilter::Yes],
        };
        for success in successes.iter().filter(|one| filter.success.is_empty() || filter.success.contains(one)) {
            let number = success_number(success.success());
            let mut keys = keys.to_vec();
            keys.extend([("state", format!("'{}'", state.code())), ("success", number.to_string())]);
            ranges.push(Range { index: Some(index), condition: format!("{start}owner IS NULL"), keys, codes: None });
        }
    }
    ranges
}

/// What is in hand; there is never much of it.
pub(super) fn in_hand(start: &str, filter: &DeliveryFilter) -> Option<Range> {
    if !(filter.states.is_empty() || filter.states.contains(&DeliveryState::Delivering)) {
        return None;
    }
    Some(Range::of(Some("deliveries_owner"), format!("{start} AND owner IS NOT NULL{}", successes(filter))))
}

/// The condition of the filter's successes; nothing where any will do.
pub(super) fn successes(filter: &DeliveryFilter) -> String {
    if filter.success.is_empty() {
        return String::new();
    }
    let numbers = filter.success.iter().map(|success| success_number(success.success()).to_string());
    format!(" AND success IN ({})", numbers.collect::<Vec<_>>().join(", "))
}

/// The codes that are in none of these, which do not overlap.
pub(super) fn beside(codes: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut codes = codes.to_vec();
    codes.sort_unstable();
    let mut gaps = Vec::new();
    let mut next = Some(1);
    for (first, last) in codes {
        if let Some(from) = next.filter(|from| *from < first) {
            gaps.push((from, first - 1));
        }
        next = next.and_then(|from| last.checked_add(1).map(|after| after.max(from)));
    }
    gaps.extend(next.map(|from| (from, i64::MAX)));
    gaps
}

#[cfg(test)]
mod tests {
    use super::beside;

    #[test]
    fn what_is_beside_some_codes() {
        assert_eq!(beside(&[]), [(1, i64::MAX)]);
        assert_eq!(beside(&[(1, i64::MAX)]), []);
        assert_eq!(beside(&[(4_097, 8_192), (12_289, i64::MAX)]), [(1, 4_096), (8_193, 12_288)]);
        assert_eq!(beside(&[(9, 9), (3, 8)]), [(1, 2), (10, i64::MAX)]);
    }
}
