//! Amounts the Brazilian way.

/// Digits before a dot, where dots are used.
const GROUP_DIGITS: usize = 3;

/// `1.234,50` as the JSON number `1234.50`: each digit as it was, only the marks differ. None where it is no amount.
pub(crate) fn number(text: &str) -> Option<String> {
    let (whole, cents) = text.split_once(',').map_or((text, None), |(whole, cents)| (whole, Some(cents)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut groups = whole.split('.');
    let first = groups.next().unwrap_or_default();
    let mut number = first.to_owned();
    for group in groups {
        if group.len() != GROUP_DIGITS || first.len() > GROUP_DIGITS {
            return None;
        }
        number.push_str(group);
    }
    if !digits(first) || !digits(&number) {
        return None;
    }
    // JSON knows no leading zeros.
    let number = number.trim_start_matches('0');
    let number = if number.is_empty() { "0" } else { number };
    match cents {
        None => Some(number.to_owned()),
        Some(cents) if cents.len() == 2 && digits(cents) => Some(format!("{number}.{cents}")),
        Some(_) => None,
    }
}
