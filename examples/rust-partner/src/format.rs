//! Money, times and documents the Brazilian way.

use engate_sdk::time::{self, Date};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: u64 = 3_600_000;

/// Cents as `R$ 1.234.567,89`; below zero `-R$ 0,05`.
pub(crate) fn money(cents: i128) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let (reais, cents) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
    format!("{sign}R$ {},{cents:02}", with_thousands(&reais.to_string()))
}

/// A dot before every three digits, counted from the end.
fn with_thousands(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('.');
        }
        text.push(digit);
    }
    text
}

/// An RFC 3339 instant as `DD/MM/YYYY HH:MM` in the zone of that offset; none if it is no such instant.
pub(crate) fn local_time(rfc3339: &str, utc_offset_minutes: i64) -> Option<String> {
    let local = time::parse_rfc3339(rfc3339)?.checked_add_signed(utc_offset_minutes * MINUTE_MS)?;
    let date = Date::of(local);
    let (hour, minute) = (local / HOUR_MS % 24, local % HOUR_MS / MINUTE_MS.unsigned_abs());
    Some(format!("{:02}/{:02}/{:04} {hour:02}:{minute:02}", date.day(), date.month(), date.year()))
}

/// The text's characters in the places of the mask's `#`.
pub(crate) fn masked(mask: &str, text: &str) -> String {
    let mut characters = text.chars();
    mask.chars().filter_map(|place| if place == '#' { characters.next() } else { Some(place) }).collect()
}
