//! Gathers values from defaults, file, environment and flags, and remembers where each came from.

use std::{collections::BTreeMap, fmt};

use engate_model::Invalid;

use super::{
    definitions::{SETTINGS, Setting},
    sources::{self, ConnectionLines},
};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody said otherwise.
    Default,
    /// A line of the configuration file.
    File,
    /// An environment variable.
    Environment,
    /// A flag of the command.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

/// One setting with its value.
#[derive(Clone)]
pub struct Resolved {
    /// Which setting.
    pub setting: &'static Setting,
    /// Its value as text; empty: none.
    pub value: String,
    /// Who said so.
    pub source: Source,
}

impl Resolved {
    /// The value as it may be shown: a secret is masked.
    pub fn shown(&self) -> &str {
        if self.setting.secret && !self.value.is_empty() { "***" } else { &self.value }
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.setting.key, self.shown(), self.source)
    }
}

/// All settings with their values.
#[derive(Debug, Clone)]
pub struct Loaded {
    resolved: Vec<Resolved>,
    connections: BTreeMap<String, ConnectionLines>,
}

impl Loaded {
    /// Every setting in the order people read them.
    pub fn all(&self) -> &[Resolved] {
        &self.resolved
    }

    /// What is said of where the tables of other systems are, by the names that jobs use.
    pub(crate) const fn connections(&self) -> &BTreeMap<String, ConnectionLines> {
        &self.connections
    }

    /// The same with the connections that variables name.
    ///
    /// # Errors
    /// Names the variable that cannot be taken.
    pub fn with_connections(self, variables: impl Iterator<Item = (String, String)>) -> Result<Self, Invalid> {
        let connections = sources::with_environment(self.connections, variables)?;
        Ok(Self { connections, ..self })
    }

    /// The value of `key`; empty where there is none.
    pub fn value(&self, key: &str) -> &str {
        self.resolved.iter().find(|r| r.setting.key == key).map_or("", |r| r.value.as_str())
    }
}

/// Gathers all settings. `file` is the configuration file's text, `environment` looks a variable up, `flags`
/// are keys with the values given on the command line.
///
/// # Errors
/// Names unknown keys of the file, and says when the file is no TOML.
pub fn load(
    file: Option<&str>,
    environment: impl Fn(&str) -> Option<String>,
    flags: &[(&str, String)],
) -> Result<Loaded, Invalid> {
    let mut file = file.map_or_else(|| Ok(BTreeMap::new()), flattened)?;
    let connections = sources::of_file(&mut file)?;
    known(&file)?;
    let resolved = SETTINGS.iter().map(|setting| {
        let flag = flags.iter().find(|(key, _)| *key == setting.key).map(|(_, value)| (value.clone(), Source::Flag));
        let variable = || environment(&setting.variable()).map(|value| (value, Source::Environment));
        let line = || file.get(setting.key).map(|value| (value.clone(), Source::File));
        let (value, source) =
            flag.or_else(variable).or_else(line).unwrap_or_else(|| (setting.default.to_owned(), Source::Default));
        Resolved { setting, value, source }
    });
    Ok(Loaded { resolved: resolved.collect(), connections })
}

fn flattened(text: &str) -> Result<BTreeMap<String, String>, Invalid> {
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| Invalid::field("config", error.message().to_owned()))?;
    let mut flat = BTreeMap::new();
    flatten("", &table, &mut flat);
    Ok(flat)
}

fn known(flat: &BTreeMap<String, String>) -> Result<(), Invalid> {
    for key in flat.keys() {
        if !SETTINGS.iter().any(|setting| setting.key == key) {
            return Err(Invalid::field(key.clone(), "no such setting; `engate config show` lists them all"));
        }
    }
    Ok(())
}

fn flatten(prefix: &str, table: &toml::Table, flat: &mut BTreeMap<String, String>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, flat),
            toml::Value::String(text) => drop(flat.insert(key, text.clone())),
            toml::Value::Array(items) => {
                let items: Vec<_> =
                    items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect();
                flat.insert(key, items.join(","));
            }
            other => drop(flat.insert(key, other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_source_wins_and_is_named() {
        let file =
            "listen = \"127.0.0.1:1\"\n[egress]\nallow = [\"10.0.0.0/8\", \"127.0.0.0/8\"]\n[plugins]\ncpu_ms = 70\n";
        let environment = |name: &str| (name == "ENGATE_LISTEN").then(|| "127.0.0.1:2".to_owned());
        let loaded = load(Some(file), environment, &[("data", "elsewhere".to_owned())]).unwrap();
        let of = |key: &str| loaded.all().iter().find(|r| r.setting.key == key).unwrap().clone();
        assert_eq!((of("listen").value.as_str(), of("listen").source), ("127.0.0.1:2", Source::Environment));
        assert_eq!((of("data").value.as_str(), of("data").source), ("elsewhere", Source::Flag));
        assert_eq!(of("egress.allow").value, "10.0.0.0/8,127.0.0.0/8");
        assert_eq!((of("plugins.cpu_ms").value.as_str(), of("plugins.cpu_ms").source), ("70", Source::File));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = load(Some("[egress]\nallowed = \"x\"\n"), |_| None, &[]).unwrap_err();
        assert_eq!(error.0.first().unwrap().field, "egress.allowed");
    }

    #[test]
    fn secrets_are_masked_wherever_they_are_shown() {
        let loaded =
            load(None, |name| (name == "ENGATE_ADMIN_TOKEN").then(|| "hunter2hunter2".to_owned()), &[]).unwrap();
        assert!(!format!("{loaded:?}").contains("hunter2"));
        assert_eq!(loaded.value("admin_token"), "hunter2hunter2");
    }
}
