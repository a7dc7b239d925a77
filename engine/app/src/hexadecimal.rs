//! Bytes as hexadecimal digits.

/// Bytes in hexadecimal digits.
pub(crate) fn digits(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hash that 64 hexadecimal digits spell.
pub(crate) fn hash_read(text: &str) -> Option<[u8; 32]> {
    let pairs = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let digits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    pairs.collect::<Option<Vec<_>>>().filter(|_| digits)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_survives_its_digits() {
        let hash: [u8; 32] = std::array::from_fn(|n| u8::try_from(n * 8).unwrap());
        assert_eq!(hash_read(&digits(&hash)), Some(hash));
        assert_eq!((hash_read("ab"), hash_read(&"+1".repeat(32)), hash_read(&"zz".repeat(32))), (None, None, None));
    }
}
