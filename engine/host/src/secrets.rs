//! Secrets of one call: what is granted, by name, and what a replay answers instead.

use std::{collections::BTreeMap, fmt, sync::Arc};

use engate_model::Secret;
use ring::hmac;

/// Length of an HMAC-SHA256, in bytes.
pub(crate) const MAC_BYTES: usize = 32;

/// A secret that the operator granted to an installation.
#[derive(Debug, Clone)]
pub struct GrantedSecret {
    /// Its value, or why it cannot be read now. The reason reaches the plugin: it must not hold a secret.
    pub value: Result<Secret, String>,
    /// Whether the plugin may read it whole. Each such read is in the call's record.
    pub reveal: bool,
}

/// The secrets a call may use. Printing it shows names only.
#[derive(Clone, Default)]
pub struct Secrets(Source);

#[derive(Clone, Default)]
enum Source {
    #[default]
    None,
    Granted(Arc<BTreeMap<String, GrantedSecret>>),
    Recorded(Arc<[(String, [u8; MAC_BYTES])]>),
}

/// Why a plugin gets no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretError {
    Denied,
    Unavailable(String),
}

impl Secrets {
    /// No secret at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Secrets by the name that the plugin uses.
    pub fn granted(secrets: Arc<BTreeMap<String, GrantedSecret>>) -> Self {
        Self(Source::Granted(secrets))
    }

    /// Answers of an earlier call in their order, for a replay without keys.
    pub fn recorded(macs: impl Into<Arc<[(String, [u8; MAC_BYTES])]>>) -> Self {
        Self(Source::Recorded(macs.into()))
    }

    /// HMAC-SHA256 of `data` under the secret's text; `asked` counts the answers given before.
    pub(crate) fn mac(&self, name: &str, data: &[u8], asked: usize) -> Result<[u8; MAC_BYTES], SecretError> {
        match &self.0 {
            Source::None => Err(SecretError::Denied),
            Source::Recorded(macs) => match macs.get(asked) {
                Some((recorded, mac)) if recorded == name => Ok(*mac),
                _ => Err(SecretError::Denied),
            },
            Source::Granted(secrets) => {
                let key = value(secrets.get(name).ok_or(SecretError::Denied)?)?;
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
                let mut mac = [0; MAC_BYTES];
                mac.copy_from_slice(hmac::sign(&key, data).as_ref());
                Ok(mac)
            }
        }
    }

    /// The secret itself, where that is allowed.
    pub(crate) fn reveal(&self, name: &str) -> Result<String, SecretError> {
        let Source::Granted(secrets) = &self.0 else { return Err(SecretError::Denied) };
        let granted = secrets.get(name).filter(|granted| granted.reveal).ok_or(SecretError::Denied)?;
        Ok(value(granted)?.expose().to_owned())
    }
}

fn value(granted: &GrantedSecret) -> Result<&Secret, SecretError> {
    granted.value.as_ref().map_err(|reason| SecretError::Unavailable(reason.clone()))
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::None => f.write_str("Secrets(none)"),
            Source::Granted(secrets) => f.debug_set().entries(secrets.keys()).finish(),
            Source::Recorded(macs) => f.debug_set().entries(macs.iter().map(|(name, _)| name)).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(reveal: bool) -> Secrets {
        let key = GrantedSecret { value: Ok(Secret::new("key")), reveal };
        let lost = GrantedSecret { value: Err("the vault is closed".to_owned()), reveal: true };
        Secrets::granted(Arc::new(BTreeMap::from([("hmac".to_owned(), key), ("lost".to_owned(), lost)])))
    }

    #[test]
    fn a_mac_is_that_of_rfc_2104_and_an_ungranted_name_looks_like_a_missing_one() {
        let mac = granted(false).mac("hmac", b"The quick brown fox jumps over the lazy dog", 0).unwrap();
        assert_eq!(mac[..4], [0xf7, 0xbc, 0x83, 0xf4]);
        assert_eq!(granted(false).mac("other", b"", 0), Err(SecretError::Denied));
        assert_eq!(Secrets::none().mac("hmac", b"", 0), Err(SecretError::Denied));
        assert_eq!(granted(false).mac("lost", b"", 0), Err(SecretError::Unavailable("the vault is closed".to_owned())));
    }

    #[test]
    fn a_secret_is_revealed_only_where_that_is_allowed() {
        assert_eq!(granted(false).reveal("hmac"), Err(SecretError::Denied));
        assert_eq!(granted(true).reveal("hmac").as_deref(), Ok("key"));
    }

    #[test]
    fn a_replay_answers_in_order_and_has_no_keys() {
        let recorded = Secrets::recorded([("a".to_owned(), [1; 32]), ("b".to_owned(), [2; 32])]);
        assert_eq!(recorded.mac("a", b"x", 0), Ok([1; 32]));
        assert_eq!(recorded.mac("b", b"x", 1), Ok([2; 32]));
        assert_eq!(recorded.mac("a", b"x", 1), Err(SecretError::Denied));
        assert_eq!(recorded.reveal("a"), Err(SecretError::Denied));
    }

    #[test]
    fn printing_shows_names_only() {
        assert_eq!(format!("{:?}", granted(true)), r#"{"hmac", "lost"}"#);
    }
}
