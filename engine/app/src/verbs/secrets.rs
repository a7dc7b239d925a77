//! Named secrets that plugins may be granted. A value goes in and never comes out again.

use engate_model::{Invalid, Secret, token::Principal};
use engate_store::SecretEntry;

use super::VerbError;
use crate::engine::Engine;

/// Longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;
/// Longest value, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 16 << 10;

impl Engine {
    /// Names and dates, no values, by name.
    pub(crate) async fn secret_list(&self, principal: &Principal) -> Result<Vec<SecretEntry>, VerbError> {
        let mut secrets = self.store.secret_list(principal.tenant).await?;
        secrets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(secrets)
    }

    /// Sets a secret, new or not.
    pub(crate) async fn secret_put(
        &self,
        principal: &Principal,
        name: &str,
        value: Secret,
    ) -> Result<SecretEntry, VerbError> {
        check_secret_name("name", name)?;
        if !(1..=VALUE_BYTES_MAX).contains(&value.expose().len()) {
            return Err(Invalid::field("value", format!("must have 1 to {VALUE_BYTES_MAX} bytes")).into());
        }
        // Setting what is there changes nothing, so that a file may be applied again and again.
        if self.store.secret_get_for_engine(principal.tenant, name).await?.as_ref() != Some(&value) {
            self.store.secret_put(&self.actor(principal), principal.tenant, name, &value).await?;
            self.views.follow_change(&self.store, principal.tenant).await;
        }
        let entries = self.store.secret_list(principal.tenant).await?;
        entries.into_iter().find(|entry| entry.name == name).ok_or(VerbError::NotFound("secret"))
    }

    /// Removes a secret. A plugin it is granted to is refused it from the next call on.
    pub(crate) async fn secret_delete(&self, principal: &Principal, name: &str) -> Result<(), VerbError> {
        self.store.secret_delete(&self.actor(principal), principal.tenant, name).await?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(())
    }
}

/// Checks a secret's name: lower-case letters, digits and `.`, `-`, `_`, a letter or digit first.
///
/// # Errors
/// Names `field`.
pub(crate) fn check_secret_name(field: &str, name: &str) -> Result<(), Invalid> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'));
    if first && rest && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "must be 1 to {NAME_BYTES_MAX} lower-case letters, digits and . - _, a letter or digit first (sintegre-link)"
    );
    Err(Invalid::field(field, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_enough_for_a_path() {
        for name in ["sintegre-link", "a", "9.b_c"] {
            assert_eq!(check_secret_name("name", name), Ok(()));
        }
        for name in ["", ".", "..", "-a", "A", "a/b", "ç", &"a".repeat(65)] {
            assert!(check_secret_name("name", name).is_err(), "{name}");
        }
    }
}
