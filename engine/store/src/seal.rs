//! Encryption at rest: what goes into a sealed column can be read only with the key given at open.
//!
//! A sealed value is `version (1) | key's mark (4) | nonce (12) | ciphertext and tag`, AES-256-GCM. The place
//! where it is kept is authenticated with it, so that a value copied into another row does not open.

use std::fmt;

use engate_model::Secret;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hmac,
    rand::{SecureRandom as _, SystemRandom},
};

use crate::error::StoreError;

const VERSION: u8 = 1;
const MARK_BYTES: usize = 4;

/// The key that seals secrets in the database.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// Wraps 32 random bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What the key is called by: eight hexadecimal digits that tell nothing of it.
    pub fn id(&self) -> String {
        let [a, b, c, d] = mark(self);
        format!("{a:02x}{b:02x}{c:02x}{d:02x}")
    }

    /// A key for one `purpose` and nothing else, the same wherever this key is: whoever holds it learns neither this key nor
    /// that of another purpose.
    pub fn derived(&self, purpose: &str) -> [u8; 32] {
        let mut derived = [0; 32];
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), purpose.as_bytes());
        derived.iter_mut().zip(mac.as_ref()).for_each(|(to, from)| *to = *from);
        derived
    }
}

/// What values that were sealed with it begin with.
fn mark(key: &SecretKey) -> [u8; MARK_BYTES] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"engate sealing key mark");
    context.update(&key.0);
    let mut mark = [0; MARK_BYTES];
    mark.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    mark
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

/// Seals and opens values.
pub(crate) struct Sealer {
    key: LessSafeKey,
    mac_key: hmac::Key,
    mark: [u8; MARK_BYTES],
    random: SystemRandom,
}

impl Sealer {
    pub(crate) fn new(key: &SecretKey) -> Result<Self, StoreError> {
        let unbound = UnboundKey::new(&AES_256_GCM, &key.0).map_err(|_| StoreError::WrongKey)?;
        let mac_key = hmac::Key::new(hmac::HMAC_SHA256, &key.derived("engate audit entries"));
        Ok(Self { key: LessSafeKey::new(unbound), mac_key, mark: mark(key), random: SystemRandom::new() })
    }

    /// What values sealed with this key carry after their version.
    pub(crate) const fn mark(&self) -> [u8; MARK_BYTES] {
        self.mark
    }

    /// Shows that `content` was written by someone with the key.
    pub(crate) fn mac(&self, content: &[u8]) -> Vec<u8> {
        hmac::sign(&self.mac_key, content).as_ref().to_vec()
    }

    /// Whether `mac` is that of `content`; compared in constant time.
    pub(crate) fn is_mac_of(&self, content: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.mac_key, content, mac).is_ok()
    }

    /// Seals `plain` for `place` (`secrets/<tenant>/<name>`).
    ///
    /// The nonce is drawn here and not handed in: a nonce used twice breaks the cipher, so no caller, not even
    /// a test, may choose it.
    pub(crate) fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_LEN];
        let no_randomness = |_| StoreError::Unavailable("the system gives no random bytes".to_owned());
        self.random.fill(&mut nonce).map_err(no_randomness)?;
        let mut sealed = Vec::with_capacity(1 + MARK_BYTES + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        let mut body = plain.to_vec();
        let place = Aad::from(place.as_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), place, &mut body)
            .map_err(|_| StoreError::Data("too long to be sealed".to_owned()))?;
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.mark);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens what was sealed for the same `place`.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let unreadable = || StoreError::Corrupt(format!("the sealed value of {place}"));
        let (&version, rest) = sealed.split_first().ok_or_else(unreadable)?;
        let (mark, rest) = rest.split_first_chunk::<MARK_BYTES>().ok_or_else(unreadable)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(unreadable)?;
        if version != VERSION {
            return Err(unreadable());
        }
        if *mark != self.mark {
            return Err(StoreError::WrongKey);
        }
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.key.open_in_place(nonce, Aad::from(place.as_bytes()), &mut body).map_err(|_| unreadable())?;
        Ok(plain.to_vec())
    }

    pub(crate) fn seal_secret(&self, place: &str, secret: &Secret) -> Result<Vec<u8>, StoreError> {
        self.seal(place, secret.expose().as_bytes())
    }

    pub(crate) fn open_secret(&self, place: &str, sealed: &[u8]) -> Result<Secret, StoreError> {
        let plain = self.open(place, sealed)?;
        String::from_utf8(plain)
            .map(Secret::from)
            .map_err(|_| StoreError::Corrupt(format!("the sealed value of {place}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_with_its_key_in_its_place() {
        let sealer = Sealer::new(&SecretKey::new([7; 32])).unwrap();
        let other = Sealer::new(&SecretKey::new([8; 32])).unwrap();
        let sealed = sealer.seal("secrets/a", b"opensesame").unwrap();
        assert_ne!(sealed, sealer.seal("secrets/a", b"opensesame").unwrap(), "nonces differ");
        assert_eq!(sealer.open("secrets/a", &sealed).unwrap(), b"opensesame");
        assert_eq!(sealer.open("secrets/b", &sealed).unwrap_err().code(), "store_corrupt");
        assert_eq!(other.open("secrets/a", &sealed), Err(StoreError::WrongKey));
        assert_eq!(sealer.open("secrets/a", &sealed[..9]).unwrap_err().code(), "store_corrupt");
        let mut bent = sealed.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert_eq!(sealer.open("secrets/a", &bent).unwrap_err().code(), "store_corrupt");
        assert_eq!(format!("{:?}", SecretKey::new([7; 32])), "SecretKey(***)");
    }

    #[test]
    fn each_purpose_has_a_key_of_its_own() {
        let key = SecretKey::new([7; 32]);
        assert_eq!(key.derived("a"), SecretKey::new([7; 32]).derived("a"));
        for other in [key.derived("b"), SecretKey::new([8; 32]).derived("a"), [7; 32]] {
            assert_ne!(key.derived("a"), other);
        }
    }
}
