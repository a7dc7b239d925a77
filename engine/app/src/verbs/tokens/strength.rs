//! Whether a token value that a client brings along is hard enough to guess (seed G8).

/// Shortest value, in characters.
pub(crate) const VALUE_CHARS_MIN: usize = 32;
/// Longest value, in characters: it has to fit into a header beside everything else.
pub(crate) const VALUE_CHARS_MAX: usize = 512;
/// Least estimated entropy, in bits.
pub(crate) const VALUE_BITS_MIN: f64 = 128.0;

/// Share of characters that may belong to runs or repetitions before only the rest is counted. A random value
/// stays well below it by chance.
const PATTERN_SHARE_MAX: f64 = 0.25;

/// Checks a value: length, characters that survive a header, and an estimate of its entropy.
///
/// # Errors
/// A sentence for people with the cure.
pub(crate) fn check_value(value: &str) -> Result<(), String> {
    let length = value.chars().count();
    if !(VALUE_CHARS_MIN..=VALUE_CHARS_MAX).contains(&length) {
        return Err(format!(
            "must have {VALUE_CHARS_MIN} to {VALUE_CHARS_MAX} characters; `openssl rand -base64 32` makes one, or leave \
             it out to have one made"
        ));
    }
    if !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("may hold visible ASCII characters only, no spaces; it travels in a header".to_owned());
    }
    if estimated_bits(value.as_bytes()) < VALUE_BITS_MIN {
        return Err(format!(
            "is too easy to guess (an estimate of under {VALUE_BITS_MIN} bits); `openssl rand -base64 32` makes a good \
             one, or leave it out to have one made"
        ));
    }
    Ok(())
}

/// Length times bits per character of the character classes in use, counting patterns (a repeated part, runs like
/// `aaaa` and `1234`) once. An upper bound: it refuses what is plainly weak and cannot prove strength.
fn estimated_bits(value: &[u8]) -> f64 {
    let whole = as_count(value.len());
    let free = as_count(without_runs(value).min(period(value)));
    let counted = if free < whole * (1.0 - PATTERN_SHARE_MAX) { free } else { whole };
    counted * pool(value).log2()
}

/// Characters that do not merely continue a run of equal, rising or falling ones.
fn without_runs(value: &[u8]) -> usize {
    let step = |pair: &[u8]| match pair {
        [a, b] => i16::from(*b) - i16::from(*a),
        _ => i16::MAX,
    };
    let steps: Vec<i16> = value.windows(2).map(step).collect();
    let continued = steps.windows(2).filter(|pair| matches!(pair, [a, b] if a == b && a.abs() <= 1)).count();
    value.len() - continued
}

/// Length of the part whose repetition gives the value.
fn period(value: &[u8]) -> usize {
    let repeats = |n: &usize| value.iter().zip(value.iter().skip(*n)).all(|(a, b)| a == b);
    (1..value.len()).find(repeats).unwrap_or(value.len())
}

/// Whether a character is of a class.
type Class = fn(&u8) -> bool;

/// How many characters the classes in use offer, though no more than can be told from the value itself.
fn pool(value: &[u8]) -> f64 {
    if value.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        || value.iter().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
    {
        let digits_only = value.iter().all(u8::is_ascii_digit);
        return if digits_only { 10.0 } else { 16.0 };
    }
    let classes: [(Class, f64); 4] = [
        (u8::is_ascii_lowercase, 26.0),
        (u8::is_ascii_uppercase, 26.0),
        (u8::is_ascii_digit, 10.0),
        (u8::is_ascii_punctuation, 32.0),
    ];
    let offered: f64 = classes.iter().filter(|(is, _)| value.iter().any(is)).map(|(_, size)| size).sum();
    let mut seen = value.to_vec();
    seen.sort_unstable();
    seen.dedup();
    // Few different characters are a small alphabet, whatever classes they come from.
    if seen.len() < 8 { as_count(seen.len()) } else { offered }
}

#[allow(clippy::cast_precision_loss, reason = "lengths are at most VALUE_CHARS_MAX")]
const fn as_count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_values_of_the_usual_spellings_are_taken() {
        for value in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "jk3Vh9Zq0mT7yB2xN5wLr8sKd1fGp4Ha",
            "N2Y4ZTBkM2ItYzQ5MS00NmY3LWE1ZTItOWQ4Y2IxNzA=",
            "engate_q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA",
        ] {
            assert_eq!(check_value(value), Ok(()), "{value}");
        }
    }

    #[test]
    fn short_patterned_and_unsendable_values_are_refused_with_the_cure() {
        let weak = [
            "abc".to_owned(),
            "x".repeat(64),
            "password".repeat(8),
            "0123456789".repeat(4),
            "abcdefghijklmnopqrstuvwxyz0123456789".to_owned(),
            "01".repeat(20),
            "12345678901234567890123456789012".to_owned(),
            "with a space 9f86d081884c7d659a2feaa0c55ad015".to_owned(),
            "ç".repeat(40),
            "9f86d081884c7d65".repeat(4),
        ];
        for value in weak {
            assert!(check_value(&value).is_err(), "{value}");
        }
        assert!(check_value("abc").unwrap_err().contains("32 to 512"));
        assert!(check_value(&"x".repeat(64)).unwrap_err().contains("openssl rand"));
    }
}
