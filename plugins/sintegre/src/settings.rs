//! The settings, as `config.schema.json` has them.

use serde::Deserialize;

/// All of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) names: Names,
    /// The recipient's user name in the link; none: the integrator's slug.
    pub(crate) username: Option<String>,
    pub(crate) link: LinkSettings,
}

/// How the keys are spelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Names {
    /// As on the wire: every known receiver reads `nome` and `url`.
    #[default]
    Camel,
    /// As the guide prints them, in its order.
    Pascal,
}

/// The download link.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct LinkSettings {
    /// The public address of the engine's `GET /v1/files`.
    pub(crate) base: Option<String>,
    /// How long a link works, in seconds.
    pub(crate) ttl_s: u64,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self { base: None, ttl_s: 86_400 }
    }
}
