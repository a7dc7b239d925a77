//! The kinds of things that a file may hold: their names, places and fields.

use serde_json::Value;

/// A kind of thing that a file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Kind {
    /// Values that plugins may use, by name.
    Secrets,
    /// The catalogue.
    EventTypes,
    /// Partner companies.
    Integrators,
    /// Installed plugins: component, channels, grants, limits, configuration.
    Plugins,
    /// Registered URLs.
    Endpoints,
    /// Where partners call.
    Inbounds,
    /// The tenant's switches, by name.
    Settings,
}

/// Every kind, in the order in which one may lean on those before it.
pub(in crate::cli) const KINDS: [Kind; 7] = [
    Kind::Secrets,
    Kind::EventTypes,
    Kind::Integrators,
    Kind::Plugins,
    Kind::Endpoints,
    Kind::Inbounds,
    Kind::Settings,
];

impl Kind {
    /// Its table in the file.
    pub(in crate::cli) const fn section(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::EventTypes => "event_types",
            Self::Integrators => "integrators",
            Self::Plugins => "plugins",
            Self::Endpoints => "endpoints",
            Self::Inbounds => "inbounds",
            Self::Settings => "settings",
        }
    }

    /// One of it, in words.
    pub(in crate::cli) const fn noun(self) -> &'static str {
        match self {
            Self::Secrets => "secret",
            Self::EventTypes => "event type",
            Self::Integrators => "integrator",
            Self::Plugins => "plugin",
            Self::Endpoints => "endpoint",
            Self::Inbounds => "inbound",
            Self::Settings => "setting",
        }
    }

    /// Where the API lists it.
    pub(in crate::cli) const fn path(self) -> &'static str {
        match self {
            Self::EventTypes => "event-types",
            other => other.section(),
        }
    }

    /// Whether its table has a value by name, and not a list of entries.
    pub(in crate::cli) const fn is_named(self) -> bool {
        matches!(self, Self::Secrets | Self::Settings)
    }

    /// The field that an entry is known by; an endpoint has its own rule.
    pub(in crate::cli) const fn key(self) -> &'static str {
        match self {
            Self::EventTypes => "key",
            Self::Integrators => "slug",
            _ => "name",
        }
    }

    /// Fields of the API's view that a file says, in the order it says them.
    pub(super) const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::EventTypes => &["key", "title", "macro_process", "process", "schema"],
            Self::Integrators => &["slug", "name", "active", "services", "plugin", "config"],
            Self::Endpoints => &[
                "integrator",
                "description",
                "url",
                "enabled",
                "plugin",
                "event_types",
                "max_in_flight",
                "timeout_ms",
                "ordering",
                "filter",
                "rate_limit",
                "auth",
                "config",
                "headers",
                "retry",
                "signing",
            ],
            Self::Inbounds => &["name", "description", "plugin", "enabled", "max_body_bytes", "config", "rate_limit"],
            Self::Plugins => &["name", "channels", "grants", "limits", "config"],
            Self::Secrets | Self::Settings => &[],
        }
    }
}

/// What an entry is known by. An endpoint has no name of its own: its integrator and description, or its URL.
pub(in crate::cli) fn name_of(kind: Kind, entry: &Value) -> String {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    match kind {
        Kind::Endpoints => {
            let told = [text("description"), text("url")].into_iter().find(|text| !text.is_empty());
            format!("{}/{}", text("integrator"), told.unwrap_or_default())
        }
        _ => text(kind.key()).to_owned(),
    }
}
