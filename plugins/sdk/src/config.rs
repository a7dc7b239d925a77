//! The settings: of the installation, the integrator and the endpoint, merged, and valid against the manifest's schema.

use serde::de::DeserializeOwned;

use crate::{Problem, engine};

/// The setting that a JSON Pointer names (`"/link/base"`); none if it is not set.
///
/// # Errors
/// `invalid_config` if it is no `T`: the manifest's schema allows what the plugin cannot read.
pub fn get<T: DeserializeOwned>(pointer: &str) -> Result<Option<T>, Problem> {
    let Some(text) = engine::config::get(pointer) else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Problem::new("invalid_config", format!("the setting `{pointer}` is not as expected: {error}")))
}

/// The setting that a JSON Pointer names, or a default.
///
/// # Errors
/// As [`get`].
pub fn get_or<T: DeserializeOwned>(pointer: &str, default: T) -> Result<T, Problem> {
    Ok(get(pointer)?.unwrap_or(default))
}

/// All settings in one structure. Where nothing is set it is read from `{}`.
///
/// # Errors
/// As [`get`].
pub fn all<T: DeserializeOwned>() -> Result<T, Problem> {
    let text = engine::config::get("");
    serde_json::from_str(text.as_deref().unwrap_or("{}"))
        .map_err(|error| Problem::new("invalid_config", format!("the settings are not as expected: {error}")))
}
