//! `{env = "NAME"}` and `{file = "PATH"}` in the place of a text.
//!
//! What was made of a text of JSON is not looked through: there such a table is only what it says.

use std::path::Path;

use serde_json::{Map, Value};

/// What a reference is resolved with.
pub(super) struct Resolver<'r> {
    /// Where relative paths begin.
    pub(super) folder: &'r Path,
    /// A variable of the environment.
    pub(super) variable: &'r dyn Fn(&str) -> Option<String>,
    /// What could not be resolved, all of it.
    pub(super) complaints: Vec<String>,
}

/// How the parser hands on a date that is not written as a text.
const DATE: &str = "$__toml_private_datetime";

/// Whether a table would be taken for a reference, or for what the parser makes of a date.
pub(super) fn is_reference(fields: &Map<String, Value>) -> bool {
    reference(fields).is_some() || fields.contains_key(DATE)
}

impl Resolver<'_> {
    /// The same below a table whose own names are somebody's (`[secrets] file = ..`).
    pub(super) fn resolve_each(&mut self, at: &str, fields: &mut Map<String, Value>) {
        for (name, field) in fields {
            self.resolve(&format!("{at}.{name}"), field);
        }
    }

    /// Puts texts in the place of all references below `value`.
    pub(super) fn resolve(&mut self, at: &str, value: &mut Value) {
        match value {
            Value::Object(fields) => match reference(fields) {
                Some(reference) => {
                    let text = self.text(at, reference);
                    *value = Value::String(text.unwrap_or_default());
                }
                // The API has dates as texts.
                None => match fields.get(DATE).cloned() {
                    Some(date) => *value = date,
                    None => self.resolve_each(at, fields),
                },
            },
            Value::Array(items) => {
                for (n, item) in items.iter_mut().enumerate() {
                    self.resolve(&format!("{at}[{n}]"), item);
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, at: &str, reference: Reference) -> Option<String> {
        let found = match &reference {
            Reference::Variable(name) => {
                (self.variable)(name).ok_or_else(|| format!("{at}: the environment has no {name}; set it"))
            }
            Reference::File(path) => {
                let path = self.folder.join(path);
                let text = std::fs::read_to_string(&path);
                // One newline at the end is the editor's, not the secret's.
                text.map(|text| text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
                    .map_err(|error| format!("{at}: {}: {error}", path.display()))
            }
        };
        found.map_err(|complaint| self.complaints.push(complaint)).ok()
    }
}

enum Reference {
    Variable(String),
    File(String),
}

/// A table of nothing but one such key is a reference.
fn reference(fields: &Map<String, Value>) -> Option<Reference> {
    let mut all = fields.iter();
    let (Some((name, Value::String(text))), None) = (all.next(), all.next()) else { return None };
    match name.as_str() {
        "env" => Some(Reference::Variable(text.clone())),
        "file" => Some(Reference::File(text.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_become_texts_and_each_that_leads_nowhere_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "from a file\n").unwrap();
        let variable = |name: &str| (name == "KEY").then(|| "from the environment".to_owned());
        let mut resolver = Resolver { folder: folder.path(), variable: &variable, complaints: Vec::new() };
        let mut value = json!({"a": {"env": "KEY"}, "b": [{"file": "key"}], "c": {"env": "KEY", "more": 1}});
        resolver.resolve("x", &mut value);
        let expected = json!({"a": "from the environment", "b": ["from a file"], "c": {"env": "KEY", "more": 1}});
        assert_eq!((value, resolver.complaints.len()), (expected, 0));
        let mut value = json!({"a": {"env": "NONE"}, "b": {"file": "none"}});
        resolver.resolve("x", &mut value);
        assert!(resolver.complaints[0].starts_with("x.a: the environment has no NONE"), "{:?}", resolver.complaints);
        assert!(resolver.complaints[1].starts_with("x.b: "), "{:?}", resolver.complaints);
    }
}
