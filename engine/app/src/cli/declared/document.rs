//! The file: kinds of things as TOML tables, in the API's own shapes.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    kind::{KINDS, Kind, name_of},
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
        let mut sections: Map<String, Value> = toml::from_str(text).map_err(|error| malformed(text, &error))?;
        let mut resolver = Resolver { folder, variable, complaints: Vec::new() };
        for (name, section) in &mut sections {
            match section {
                Value::Object(fields) => resolver.resolve_each(name, fields),
                other => resolver.resolve(name, other),
            }
        }
        let mut complaints = resolver.complaints;
        // Only now, so that nothing in such a text is taken for a reference.
        for kind in KINDS {
            read_texts(kind, &mut sections, &mut complaints);
        }
        for (name, section) in &sections {
            check_section(name, section, &mut complaints);
        }
        if complaints.is_empty() { Ok(Self { sections }) } else { Err(complaints.join("\n  ")) }
    }

    /// The kinds that the file has.
    pub(in crate::cli) fn kinds(&self) -> Vec<Kind> {
        KINDS.into_iter().filter(|kind| self.sections.contains_key(kind.section())).collect()
    }

    /// Entries of a kind; none where the file does not have it.
    pub(in crate::cli) fn entries(&self, kind: Kind) -> Option<&Value> {
        self.sections.get(kind.section())
    }

    /// As TOML.
    ///
    /// # Errors
    /// Where a value has no form in TOML.
    pub(in crate::cli) fn to_toml(&self) -> Result<String, Failure> {
        let mut text = String::new();
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

/// Where it is no TOML, and why. The line itself is not shown: a secret may stand in it.
fn malformed(text: &str, error: &toml::de::Error) -> String {
    let why = error.message();
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return why.to_owned() };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {why}")
}

/// Reads the fields that are texts of JSON, as a file of its own is (`{file = "order.schema.json"}`).
fn read_texts(kind: Kind, sections: &mut Map<String, Value>, complaints: &mut Vec<String>) {
    let name = kind.section();
    let entries = sections.get_mut(name).and_then(Value::as_array_mut);
    for (n, entry) in entries.into_iter().flatten().enumerate() {
        let Some(fields) = entry.as_object_mut() else { continue };
        for field in kind.texts() {
            let Some(Value::String(text)) = fields.get(*field) else { continue };
            match serde_json::from_str::<Value>(text) {
                Ok(read) => {
                    fields.insert((*field).to_owned(), read);
                }
                Err(error) => {
                    complaints.push(format!("{name}[{n}].{field}: is neither a table nor a text of JSON: {error}"));
                }
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
        let key = [kind.key()];
        let own = if kind == Kind::Endpoints { ["integrator", "url"].as_slice() } else { &key };
        for field in own {
            if entry.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
                complaints.push(format!("{name}[{n}].{field}: is required, a text"));
            }
        }
        for field in entry.as_object().into_iter().flat_map(Map::keys) {
            if !kind.fields().contains(&field.as_str()) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Document, String> {
        Document::read(text, Path::new("."), &|name| (name == "A").then(|| "resolved".to_owned()))
    }

    #[test]
    fn what_is_somebodys_own_is_read_as_a_table_and_as_a_text_of_json() {
        let text = r#"
[[endpoints]]
integrator = "ons"
url = { env = "A" }
filter = '{"path": "/a", "in": [null, 1]}'
config = { link = { env = "A" } }
headers = '{"env": "A"}'

[[jobs]]
name = "nightly"
schedule = { kind = "cron", expression = "0 2 * * *", start = 2030-01-01T00:00:00Z }
run = '{"kind": "emit", "event": {"type": "t", "payload": null}}'
"#;
        let document = read(text).unwrap();
        let endpoint = &document.sections["endpoints"][0];
        assert_eq!(endpoint["filter"], json!({"path": "/a", "in": [null, 1]}));
        assert_eq!((&endpoint["url"], &endpoint["config"]), (&json!("resolved"), &json!({"link": "resolved"})));
        assert_eq!(endpoint["headers"], json!({"env": "A"}), "what a text of JSON says is no reference");
        let job = &document.sections["jobs"][0];
        assert_eq!(job["run"]["event"], json!({"type": "t", "payload": null}));
        assert_eq!(job["schedule"]["start"], "2030-01-01T00:00:00Z");
        let refused = read("[[inbounds]]\nname = \"bank\"\nconfig = \"{\"\n").unwrap_err();
        assert!(refused.contains("inbounds[0].config: is neither a table nor a text of JSON"), "{refused}");
    }

    #[test]
    fn a_mistake_is_told_by_its_place_and_not_by_its_line() {
        for text in [
            "[secrets]\nlink = hunter2\n",
            "[secrets]\nlink = \"hunter2\nb = 1\n",
            "[secrets]\nlink = 'hunter2\n",
            "[secrets]\nlink = \"ç\" hunter2\n",
            "[secrets]\nlink = { value = \"hunter2\" \n",
            "[secrets]\nlink = \"\\qhunter2\"\n",
            "[secrets]\nlink = \"hunter2\"\nlink = \"hunter2\"\n",
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.starts_with("line ") && refused.contains(", column "), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        let refused = read("[secrets]\na = { \"ç\" = \"b\", c = x }\n").unwrap_err();
        assert!(refused.starts_with("line 2, column 22: "), "{refused}");
    }

    #[test]
    fn a_secret_may_be_called_as_references_are_written() {
        let document = read("[secrets]\nenv = \"a text\"\n").unwrap();
        assert_eq!(document.sections["secrets"], json!({"env": "a text"}));
        let document = read("[secrets]\nfile = { env = \"A\" }\n").unwrap();
        assert_eq!(document.sections["secrets"], json!({"file": "resolved"}));
    }
}
