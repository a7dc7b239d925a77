//! Secrets granted by name. The key stays with the engine, which signs on request.

use crate::{Problem, engine};

#[doc(inline)]
pub use crate::bindings::describing::engate::plugin::secrets::Error;

/// Bytes of an HMAC-SHA256.
pub const HMAC_SHA256_BYTES: usize = 32;

/// The HMAC-SHA256 of `data` under the named secret.
///
/// # Errors
/// `secret_denied` if the secret was not granted or does not exist; `secret_unavailable`, which is retryable, if it cannot
/// be read now.
pub fn hmac_sha256(name: &str, data: &[u8]) -> Result<[u8; HMAC_SHA256_BYTES], Problem> {
    let signature = engine::secrets::hmac_sha256(name, data).map_err(|error| problem(name, &error))?;
    signature.try_into().map_err(|_| {
        let message = format!("the engine's HMAC under the secret `{name}` is not {HMAC_SHA256_BYTES} bytes long");
        Problem::new("secret_unavailable", message).retryable()
    })
}

/// Whether `given` is the HMAC-SHA256 of `data` under the named secret. It is compared in a time that does not tell how
/// much of it was right.
///
/// # Errors
/// As [`hmac_sha256`].
pub fn hmac_sha256_is(name: &str, data: &[u8], given: &[u8]) -> Result<bool, Problem> {
    let right = hmac_sha256(name, data)?;
    let differing = right.iter().zip(given).fold(0, |differing, (a, b)| differing | (a ^ b));
    Ok(given.len() == right.len() && std::hint::black_box(differing) == 0)
}

/// The secret itself, audited and refused unless the operator allows it. Where a signature will do, use [`hmac_sha256`].
///
/// # Errors
/// As [`hmac_sha256`].
pub fn reveal(name: &str) -> Result<String, Problem> {
    engine::secrets::reveal(name).map_err(|error| problem(name, &error))
}

fn problem(name: &str, error: &Error) -> Problem {
    match error {
        Error::Denied => Problem::new(
            "secret_denied",
            format!("the secret `{name}` is not there for this plugin: create it and grant it"),
        ),
        Error::Unavailable(why) => {
            Problem::new("secret_unavailable", format!("the secret `{name}` cannot be read now: {why}")).retryable()
        }
    }
}
