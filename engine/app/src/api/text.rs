//! Bytes as JSON can carry them, and the bounds of texts and numbers inside lists and maps, where a field's own
//! attributes cannot say them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use utoipa::ToSchema;

/// A name in a list.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 255)]
#[allow(dead_code, reason = "a description only")]
pub(crate) struct NameText(String);

/// A value in a map.
#[derive(ToSchema)]
#[schema(max_length = 8192)]
#[allow(dead_code, reason = "a description only")]
pub(crate) struct ValueText(String);

/// A wait in milliseconds, up to seven days.
#[derive(ToSchema)]
#[schema(minimum = 0, maximum = 604_800_000)]
#[allow(dead_code, reason = "a description only")]
pub(crate) struct WaitMs(u64);

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
