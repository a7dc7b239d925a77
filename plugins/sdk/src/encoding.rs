//! Bytes as text, for signatures in headers and links.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Base64 with padding (RFC 4648, section 4).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    let mut text = six_bits_each(bytes, STANDARD);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Base64 for URLs, without padding (RFC 4648, section 5; RFC 7515 for JWT).
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    six_bits_each(bytes, URL_SAFE)
}

/// Percent-encoded for a URL (RFC 3986): everything but letters, digits and `-._~`.
#[must_use]
pub fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&hex(&[byte]).to_ascii_uppercase());
        }
    }
    encoded
}

/// Hexadecimal in lower case.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes of a hexadecimal text, in either case; none if it is no such text.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

fn six_bits_each(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut block = [0; 4];
        for (slot, byte) in block.iter_mut().skip(1).zip(chunk) {
            *slot = *byte;
        }
        let bits = u32::from_be_bytes(block);
        for position in 0..=chunk.len() {
            let six = (bits >> (18 - 6 * position)) & 63;
            text.extend(alphabet.get(six as usize).copied().map(char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_url_cannot_carry_is_percent_encoded() {
        assert_eq!(super::percent("a-Z_0.9~"), "a-Z_0.9~");
        assert_eq!(super::percent("a b/ç?&"), "a%20b%2F%C3%A7%3F%26");
    }

    use super::*;

    #[test]
    fn rfc_4648_vectors() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(base64url(bytes.as_bytes()), text.trim_end_matches('='));
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn hex_is_in_lower_case() {
        assert_eq!(hex(&[0x00, 0xaf, 0x10]), "00af10");
    }

    #[test]
    fn hex_is_read_in_either_case_and_nothing_else_is() {
        assert_eq!(unhex("00aF10"), Some(vec![0x00, 0xaf, 0x10]));
        assert_eq!(unhex(""), Some(Vec::new()));
        for text in ["0", "0g", "+1", "0x10", "é", " 0"] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}
