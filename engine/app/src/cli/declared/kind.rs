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
    /// What runs when.
    Jobs,
    /// The tenant's switches, by name.
    Settings,
}

/// Every kind, in the order in which one may lean on those before it. Switches come first, so that nothing goes out, and no
/// job runs, that a file holds back.
pub(in crate::cli) const KINDS: [Kind; 8] = [
    Kind::Settings,
    Kind::Secrets,
    Kind::EventTypes,
    Kind::Plugins,
    Kind::Integrators,
    Kind::Endpoints,
    Kind::Inbounds,
    Kind::Jobs,
];

/// What may be granted to a plugin: `grants` of an entry.
pub(super) const GRANTS: [&str; 4] = ["hosts", "secrets", "reveal", "credentials"];
/// What a plugin's calls may be limited by: `limits` of an entry.
pub(super) const LIMITS: [&str; 4] = ["instances", "cpu_ms", "wall_ms", "memory_mib"];

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
            Self::Jobs => "jobs",
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
            Self::Jobs => "job",
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

    /// Whether the API knows its entries by an id, and not by their key.
    pub(super) const fn has_id(self) -> bool {
        matches!(self, Self::Endpoints | Self::Jobs)
    }

    /// Fields of the API's view that a file says, in the order it says them.
    pub(super) const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::EventTypes => &["key", "title", "macro_process", "process", "enabled", "schema"],
            Self::Integrators => &["slug", "name", "active", "services", "plugin", "config"],
            Self::Endpoints => &[
                "integrator",
                "description",
                "url",
                "enabled",
                "plugin",
                "event_types",
                "callbacks",
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
            Self::Plugins => &["name", "component", "channels", "grants", "limits", "config"],
            Self::Jobs => &[
                "name",
                "enabled",
                "jitter_ms",
                "timeout_ms",
                "start_deadline_ms",
                "pause_after_failures",
                "schedule",
                "run",
                "overlap",
                "catchup",
                "retry",
            ],
            Self::Secrets | Self::Settings => &[],
        }
    }

    /// Fields whose content is somebody's own: a file may have them as a text of JSON, for what TOML has no form for.
    pub(super) const fn texts(self) -> &'static [&'static str] {
        match self {
            Self::EventTypes => &["schema"],
            Self::Integrators | Self::Inbounds => &["config"],
            Self::Endpoints => &["filter", "config", "headers"],
            Self::Plugins => &["channels", "config"],
            Self::Jobs => &["run"],
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        super::plan::{SEALED, SECRETS},
        *,
    };
    use crate::api::contract;

    /// The schema that is meant: an optional one is told as a choice between it and null.
    fn resolved(schema: &'static Value) -> &'static Value {
        let choices =
            ["oneOf", "anyOf", "allOf"].iter().find_map(|word| schema.get(*word)?.as_array()).into_iter().flatten();
        let reference = choices.chain([schema]).find_map(|one| one.get("$ref")?.as_str());
        let Some(reference) = reference else { return schema };
        contract().value.pointer(reference.trim_start_matches('#')).expect("a reference that leads somewhere")
    }

    /// What a route's body may hold, by the API's description.
    fn body(method: &str, path: &str) -> &'static Value {
        let operation = &contract().value["paths"][path][method];
        let schema = operation.pointer("/requestBody/content/application~1json/schema");
        &resolved(schema.unwrap_or_else(|| panic!("{method} {path} takes no JSON")))["properties"]
    }

    fn names(properties: &'static Value) -> BTreeSet<&'static str> {
        let names: BTreeSet<_> = properties.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(!names.is_empty());
        names
    }

    #[test]
    fn every_field_that_the_api_takes_is_in_a_file() {
        // What a file does not say, and why: what the engine's own types are is nobody else's to set.
        let left_out = [(Kind::EventTypes, "system")];
        for (kind, parameter) in [
            (Kind::EventTypes, "key"),
            (Kind::Integrators, "integrator"),
            (Kind::Endpoints, "id"),
            (Kind::Inbounds, "name"),
            (Kind::Jobs, "id"),
        ] {
            let path = format!("/v1/{}", kind.path());
            let mut taken = names(body("post", &path));
            taken.extend(names(body("patch", &format!("{path}/{{{parameter}}}"))));
            for (_, name) in left_out.iter().filter(|(of, _)| *of == kind) {
                assert!(taken.remove(name), "{name} of {path} is no exception any more");
            }
            let told: BTreeSet<_> = kind.fields().iter().copied().collect();
            assert_eq!(told, taken, "{}: what a file says, and what the API takes", kind.section());
        }
        assert_eq!(BTreeSet::from(GRANTS), names(body("put", "/v1/plugins/{name}/grants")));
        assert_eq!(BTreeSet::from(LIMITS), names(body("put", "/v1/plugins/{name}/limits")));
    }

    #[test]
    fn every_part_that_is_only_written_is_known_as_a_secret() {
        let endpoint = body("post", "/v1/endpoints");
        for field in SEALED {
            let parts = resolved(&endpoint[field])["properties"].as_object().unwrap();
            let written = parts.iter().filter(|(_, part)| part["writeOnly"] == true);
            let written: BTreeSet<_> = written.map(|(name, _)| name.as_str()).collect();
            let known: BTreeSet<_> = SECRETS.into_iter().filter(|name| parts.contains_key(*name)).collect();
            assert!(!written.is_empty(), "{field}");
            assert_eq!(written, known, "{field}");
        }
    }
}
