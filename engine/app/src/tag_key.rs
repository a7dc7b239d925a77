//! The key that entity tags are made under.

use engate_store::SecretKey;
use ring::hmac;
use serde_json::Value;

use crate::hexadecimal;

/// What the key is for.
const PURPOSE: &str = "engate entity tags";
/// Bytes of the MAC that a tag shows.
const TAG_BYTES: usize = 16;

/// The same on every node of an installation and after every start, until its key of secrets is replaced.
#[derive(Debug, Clone)]
pub(crate) struct TagKey(hmac::Key);

impl TagKey {
    /// Derives it from the installation's key.
    pub(crate) fn of(key: &SecretKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key.derived(PURPOSE)))
    }

    /// The tag of what is shown, in its quotes.
    pub(crate) fn tag(&self, shown: &Value) -> String {
        let mac = hmac::sign(&self.0, shown.to_string().as_bytes());
        format!("\"{}\"", hexadecimal::digits(mac.as_ref().get(..TAG_BYTES).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tag_tells_nothing_to_who_has_no_key() {
        let key = |byte| TagKey::of(&SecretKey::new([byte; 32]));
        let shown = json!({"id": "x", "cpf": "123"});
        let tag = key(7).tag(&shown);
        assert_eq!(tag, key(7).tag(&shown), "it stays the same after a start, and on another node");
        assert_eq!((tag.len(), tag.matches('"').count()), (TAG_BYTES * 2 + 2, 2));
        assert_ne!(tag, key(8).tag(&shown));
        assert_ne!(tag, key(7).tag(&json!({"id": "x", "cpf": "124"})));
        let digest = ring::digest::digest(&ring::digest::SHA256, shown.to_string().as_bytes());
        assert_ne!(tag, format!("\"{}\"", hexadecimal::digits(&digest.as_ref()[..TAG_BYTES])));
    }
}
