//! The file: kinds of things as TOML tables, in the API's own shapes.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    kind::{KINDS, Kind, name_of},
    present::Present,
    references::Resolver,
};
use crate::cli::failure::Failure;

/// A file's content, references resolved.
#[derive(Debug, Default)]
pub(in crate::cli) struct Document {
    /// By section.
    pub(in crate::cli) sections: Map<String, Value>,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// Says what cannot be read, all of it.
    pub(in crate::cli) fn read(
        text: &str,
        folder: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let sections: Map<String, Value> = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut whole = Value::Object(sections);
        let mut resolver = Resolver { folder, variable, complaints: Vec::new() };
        if let Value::Object(sections) = &mut whole {
            for (name, section) in sections {
                resolver.resolve(name, section);
            }
        }
        let mut complaints = resolver.complaints;
        let Value::Object(mut sections) = whole else { return Err("is no table".to_owned()) };
        read_schemas(&mut sections, &mut complaints);
        for (name, section) in &sections {
            check_section(name, section, &mut complaints);
        }
        if complaints.is_empty() { Ok(Self { sections }) } else { Err(complaints.join("\n  ")) }
    }

    /// Entries of a kind; none where the file does not have it.
    pub(in crate::cli) fn entries(&self, kind: Kind) -> Option<&Value> {
        self.sections.get(kind.section())
    }

    /// What an engine has, as a file: secrets as references, what is as in anything new left out.
    pub(in crate::cli) fn of(present: &Present) -> Self {
        let mut sections = Map::new();
        for kind in KINDS {
            let section = match kind {
                Kind::Secrets => {
                    let names = present.names(kind);
                    Value::Object(names.map(|name| (name.to_owned(), reference(&[name]))).collect())
                }
                Kind::Settings => present.settings(),
                _ => {
                    let entries =
                        present.entries(kind).iter().filter(|entry| entry.get("system") != Some(&json!(true)));
                    Value::Array(entries.map(|entry| exported(kind, entry)).collect())
                }
            };
            let is_empty =
                section.as_array().is_some_and(Vec::is_empty) || section.as_object().is_some_and(Map::is_empty);
            if !is_empty {
                sections.insert(kind.section().to_owned(), section);
            }
        }
        Self { sections }
    }

    /// As TOML.
    ///
    /// # Errors
    /// Where a value has no form in TOML.
    pub(in crate::cli) fn to_toml(&self) -> Result<String, Failure> {
        let head = "# Written by `engate export`; `engate apply -f FILE` makes an engine so. Secrets are references.\n";
        let mut text = head.to_owned();
        for kind in KINDS {
            if let Some(section) = self.sections.get(kind.section()) {
                let mut whole = Map::new();
                whole.insert(kind.section().to_owned(), section.clone());
                let part = toml::to_string_pretty(&whole).map_err(|error| {
                    Failure::failed(format!("{} cannot be written as TOML: {error}", kind.section()))
                })?;
                text.push('\n');
                text.push_str(part.trim_end());
                text.push('\n');
            }
        }
        Ok(text)
    }
}

/// A variable's name made of what it is for.
fn reference(parts: &[&str]) -> Value {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = parts.join("_").chars().map(plain).collect();
    json!({ "env": name })
}

fn exported(kind: Kind, entry: &Value) -> Value {
    let mut fields = Map::new();
    for name in kind.fields() {
        let Some(value) = entry.get(*name) else { continue };
        let value = match (kind, *name) {
            (Kind::Endpoints, "auth") => auth_exported(entry, value),
            // As text: TOML has no null, which a schema may name, and a reader knows the text.
            (Kind::EventTypes, "schema") if value.is_object() => {
                Value::String(serde_json::to_string_pretty(value).unwrap_or_default())
            }
            (Kind::Endpoints, "signing") => json!({ "enabled": value.get("enabled") }),
            _ => value.clone(),
        };
        if let Some(value) = without_nulls(value) {
            fields.insert((*name).to_owned(), value);
        }
    }
    Value::Object(fields)
}

/// Authentication with references in the place of its secret, and of what is told in another form than it is given in.
fn auth_exported(endpoint: &Value, auth: &Value) -> Value {
    let mut auth = auth.clone();
    let kind = auth.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let written: &[&str] = match kind.as_str() {
        "basic" => &["password"],
        "authorization" | "header" => &["value"],
        "oauth2" => &["client_secret"],
        "mtls" => &["certificate", "key"],
        _ => &[],
    };
    if let Some(fields) = auth.as_object_mut() {
        fields.remove("secret_set");
        for field in written {
            fields.insert((*field).to_owned(), reference(&[&name_of(Kind::Endpoints, endpoint), field]));
        }
    }
    auth
}

/// TOML has no null: what is null is left out, which says the same in every shape of the API.
fn without_nulls(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(fields) => {
            let fields = fields.into_iter().filter_map(|(name, field)| Some((name, without_nulls(field)?)));
            Some(Value::Object(fields.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_nulls).collect())),
        other => Some(other),
    }
}

/// Reads the schemas of event types that are texts of JSON, as a file of its own is (`{file = "order.schema.json"}`).
fn read_schemas(sections: &mut Map<String, Value>, complaints: &mut Vec<String>) {
    let name = Kind::EventTypes.section();
    let entries = sections.get_mut(name).and_then(Value::as_array_mut);
    for (n, entry) in entries.into_iter().flatten().enumerate() {
        let Some(schema) = entry.get_mut("schema") else { continue };
        let Value::String(text) = schema else { continue };
        match serde_json::from_str(text) {
            Ok(read) => *schema = read,
            Err(error) => {
                complaints.push(format!("{name}[{n}].schema: is neither a table nor a text of JSON: {error}"))
            }
        }
    }
}

fn check_section(name: &str, section: &Value, complaints: &mut Vec<String>) {
    let Some(kind) = KINDS.into_iter().find(|kind| kind.section() == name) else {
        let known = KINDS.map(Kind::section).join(", ");
        complaints.push(format!("{name}: there is no such table; there is {known}"));
        return;
    };
    if kind.is_named() {
        if !section.is_object() {
            complaints.push(format!("{name}: must be a table of names and values"));
        }
        return;
    }
    let Some(entries) = section.as_array() else {
        complaints.push(format!("{name}: must be a list: [[{name}]]"));
        return;
    };
    let mut seen: Vec<String> = Vec::new();
    for (n, entry) in entries.iter().enumerate() {
        let own = match kind {
            Kind::Endpoints => ["integrator", "url"].as_slice(),
            _ => std::slice::from_ref(match kind {
                Kind::EventTypes => &"key",
                Kind::Integrators => &"slug",
                _ => &"name",
            }),
        };
        for field in own {
            if entry.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
                complaints.push(format!("{name}[{n}].{field}: is required, a text"));
            }
        }
        for field in entry.as_object().into_iter().flat_map(Map::keys) {
            let known = kind.fields().contains(&field.as_str()) || (kind == Kind::Plugins && field == "component");
            if !known {
                complaints
                    .push(format!("{name}[{n}].{field}: is not known here; there is {}", kind.fields().join(", ")));
            }
        }
        let called = name_of(kind, entry);
        if seen.contains(&called) {
            complaints.push(format!("{name}[{n}]: {called} is there twice; give endpoints descriptions of their own"));
        }
        seen.push(called);
    }
}
