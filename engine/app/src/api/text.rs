//! Bytes as JSON can carry them.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Base64 of any bytes.
pub(crate) fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes as text where they are UTF-8, else as base64, and which of the two: `utf8` or `base64`.
pub(crate) fn shown(bytes: Vec<u8>) -> (String, &'static str) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, "utf8"),
        Err(error) => (encoded(error.as_bytes()), "base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(shown("é".into()), ("é".to_owned(), "utf8"));
        assert_eq!(shown(vec![0xff]), ("/w==".to_owned(), "base64"));
    }
}
