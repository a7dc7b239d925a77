//! Small private state per endpoint. Writes are stored together with the verdict, so a retry never sees half of one.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Problem, engine};

#[doc(inline)]
pub use crate::bindings::describing::engate::plugin::state::Error;

/// The bytes under a key.
///
/// # Errors
/// `state_unavailable`, which is retryable.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Problem> {
    engine::state::get(key).map_err(|error| problem(key, &error))
}

/// Sets the bytes under a key.
///
/// # Errors
/// `state_too_large` if the key or the value is too long, `state_quota` if all keys together are,
/// `state_unavailable`, which is retryable.
pub fn put(key: &str, value: &[u8]) -> Result<(), Problem> {
    engine::state::put(key, value).map_err(|error| problem(key, &error))
}

/// Removes a key; it need not exist.
///
/// # Errors
/// As [`get`].
pub fn delete(key: &str) -> Result<(), Problem> {
    engine::state::delete(key).map_err(|error| problem(key, &error))
}

/// The JSON value under a key.
///
/// # Errors
/// As [`get`], and `state_unreadable` if the bytes are no `T`: an older version of the plugin may have left them.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Problem> {
    let Some(bytes) = get(key)? else {
        return Ok(None);
    };
    let unreadable =
        |what: &str| Problem::new("state_unreadable", format!("the state under `{key}` is not as expected: {what}"));
    let text = std::str::from_utf8(&bytes).map_err(|error| unreadable(&error.to_string()))?;
    serde_json::from_str(text).map(Some).map_err(|error| unreadable(&error.to_string()))
}

/// Sets a JSON value under a key.
///
/// # Errors
/// As [`put`], and `invalid_state` where the value has no JSON form.
pub fn put_json(key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Problem> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Problem::new("invalid_state", format!("the state for `{key}` has no JSON form: {error}")))?;
    put(key, &bytes)
}

fn problem(key: &str, error: &Error) -> Problem {
    match error {
        Error::TooLarge => Problem::new("state_too_large", format!("the state under `{key}` is too large")),
        Error::Quota => Problem::new("state_quota", format!("no room is left for the state under `{key}`")),
        Error::Unavailable(why) => {
            Problem::new("state_unavailable", format!("the state under `{key}` cannot be reached: {why}")).retryable()
        }
    }
}
