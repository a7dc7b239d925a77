//! Building a manifest.

use crate::compact::compact;
use crate::{InterpretWhen, Manifest, Need};

impl Manifest {
    /// A plugin that takes any event, has no settings, asks for nothing, and leaves the verdict to the engine.
    /// `id` is kebab-case, `version` is SemVer; the title is the id until [`Manifest::title`] says better.
    #[must_use]
    pub fn new(id: &str, version: &str) -> Self {
        Self {
            id: id.to_owned(),
            version: version.to_owned(),
            title: id.to_owned(),
            config_schema: r#"{"type":"object","additionalProperties":false}"#.to_owned(),
            event_types: Vec::new(),
            interpret: InterpretWhen::Never,
            hosts: Vec::new(),
            credentials: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// The name that people see.
    #[must_use]
    pub fn title(mut self, title: &str) -> Self {
        title.clone_into(&mut self.title);
        self
    }

    /// The JSON Schema 2020-12 of the settings, as text: `include_str!("config.schema.json")`.
    #[must_use]
    pub fn config_schema(mut self, schema: &str) -> Self {
        self.config_schema = compact(schema);
        self
    }

    /// The event types it takes: `"order.created"`, `"order.*"`.
    #[must_use]
    pub fn event_types(mut self, keys: &[&str]) -> Self {
        self.event_types = keys.iter().map(|&key| key.to_owned()).collect();
        self
    }

    /// Which responses [`Integrator::interpret`](crate::Integrator::interpret) wants to see.
    #[must_use]
    pub fn interpret(mut self, when: InterpretWhen) -> Self {
        self.interpret = when;
        self
    }

    /// Asks for a host beside the endpoint's own: `"https://*.example.com"`.
    #[must_use]
    pub fn host(mut self, pattern: &str) -> Self {
        self.hosts.push(pattern.to_owned());
        self
    }

    /// Asks for a named credential profile.
    #[must_use]
    pub fn credential(mut self, name: &str, purpose: &str) -> Self {
        self.credentials.push(Need::new(name, purpose));
        self
    }

    /// Asks for a named secret.
    #[must_use]
    pub fn secret(mut self, name: &str, purpose: &str) -> Self {
        self.secrets.push(Need::new(name, purpose));
        self
    }
}

impl Need {
    /// Something the operator is asked to grant, and what for.
    #[must_use]
    pub fn new(name: &str, purpose: &str) -> Self {
        Self { name: name.to_owned(), purpose: purpose.to_owned() }
    }
}
