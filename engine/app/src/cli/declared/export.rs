//! What an engine has, as a file: secrets as references, ids as names, what is as in anything new left out.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    components::{Component, Needs},
    document::Document,
    job_run,
    kind::{KINDS, Kind, name_of},
    names::{Names, of_endpoint, of_secret},
    present::Present,
    references::is_reference,
};
use crate::cli::{failure::Failure, plain::plain};

/// Integers that TOML has; JSON's may be larger.
const INTEGER_MAX: u64 = i64::MAX.unsigned_abs();

/// How a file is known for one that an export wrote.
pub(super) const SIGN: &str = "# Written by `engate export`";

/// What every file begins with: [`SIGN`], and what its reader has to know.
const HEAD: &str = "\
# Written by `engate export`; `engate apply -f FILE` makes an engine so.
#
# Secrets are references to variables, which `engate apply` reads; {file = \"PATH\"} in the place of one is good too. Nobody
# can read a secret back, signing keys among them: give those that the partners have. Where `signing.secret` is taken out of
# an endpoint that is not there yet, apply has a key drawn and tells it once.
#
# Not in this file, and so to be seen to by hand:
#   tokens; tenants; wizards, and the jobs of one that nobody started yet;
#   that a queue or a job is paused, and that payloads are logged;
#   that an endpoint passed its challenge (`engate endpoint verify`), and signing keys from before a rotation;
#   development versions of plugins, what plugins keep, checkpoints of syncs (a sync begins with a full load);
#   events, deliveries, runs, the audit; and the settings of `engate serve`, with its connections.
";

/// An export.
#[derive(Debug)]
pub(super) struct Exported {
    /// The file.
    pub(super) document: Document,
    /// What of this engine is not in it, or has to be there before it can be applied.
    pub(super) notes: Vec<String>,
    /// Components that it refers to.
    pub(super) components: Vec<Component>,
}

impl Exported {
    /// Exports; with a folder, relative to the file, components are referred to as files in it.
    ///
    /// # Errors
    /// Where the file could not be applied.
    pub(super) fn of(present: &Present, folder: Option<&str>) -> Result<Self, Failure> {
        refuse_twins(present)?;
        let names = Names::of(secrets_of(present))?;
        let mut needs = Needs::of(present, folder);
        let mut sections = Map::new();
        for kind in KINDS {
            let section = match kind {
                Kind::Settings => present.settings(),
                Kind::Secrets => {
                    let secrets = present.names(kind);
                    Value::Object(secrets.map(|name| (name.to_owned(), names.reference(&of_secret(name)))).collect())
                }
                Kind::Plugins => {
                    let plugins = present.entries(kind).iter().filter_map(|plugin| needs.plugin(plugin));
                    Value::Array(plugins.map(|plugin| exported(kind, &plugin, &names)).collect())
                }
                _ => {
                    let mut entries: Vec<&Value> =
                        present.entries(kind).iter().filter(|entry| is_exported(kind, entry)).collect();
                    // By name, and not in the order in which they came to be: another engine has another.
                    entries.sort_by_key(|entry| name_of(kind, entry));
                    Value::Array(entries.into_iter().map(|entry| exported(kind, entry, &names)).collect())
                }
            };
            let is_empty =
                section.as_array().is_some_and(Vec::is_empty) || section.as_object().is_some_and(Map::is_empty);
            if !is_empty {
                sections.insert(kind.section().to_owned(), section);
            }
        }
        let mut notes = left_out(present);
        notes.append(&mut needs.notes);
        Ok(Self { document: Document { sections }, notes, components: needs.components })
    }

    /// As TOML, with what is not in it said above.
    ///
    /// # Errors
    /// Where a value has no form in TOML.
    pub(super) fn to_toml(&self) -> Result<String, Failure> {
        let mut text = HEAD.to_owned();
        if !self.notes.is_empty() {
            text.push_str("#\n# Of this engine:\n");
            // On one line each: what is in a name must not become part of the file.
            self.notes.iter().for_each(|note| text.push_str(&format!("#   {}\n", plain(note))));
        }
        text.push_str(&self.document.to_toml()?);
        Ok(text)
    }
}

/// Whether an entry is the file's to say.
fn is_exported(kind: Kind, entry: &Value) -> bool {
    match kind {
        // The engine's own types are in every engine; all that may differ is whether they go anywhere.
        Kind::EventTypes => !is(entry, "system", &json!(true)) || is(entry, "enabled", &json!(false)),
        Kind::Jobs => !is(entry, "state", &json!("needs_configuration")),
        _ => true,
    }
}

fn is(entry: &Value, field: &str, value: &Value) -> bool {
    entry.get(field) == Some(value)
}

/// Two of one name would be one and the same in a file.
fn refuse_twins(present: &Present) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    let names = present.entries(Kind::Endpoints).iter().map(|endpoint| name_of(Kind::Endpoints, endpoint));
    let twins: BTreeSet<String> = names.filter(|name| !seen.insert(name.clone())).collect();
    if twins.is_empty() {
        return Ok(());
    }
    let told: Vec<_> =
        twins.iter().map(|name| format!("  - {}: {}", plain(name), ids_of(present, name).join(", "))).collect();
    Err(Failure::failed(format!(
        "a file knows an endpoint by its integrator and description (its URL where it has none), and these cannot be told \
         apart; give each a description of its own (`engate endpoint update ID --description ...`), then export again\n{}",
        told.join("\n")
    )))
}

fn ids_of<'a>(present: &'a Present, name: &str) -> Vec<&'a str> {
    let alike = present.entries(Kind::Endpoints).iter().filter(|endpoint| name_of(Kind::Endpoints, endpoint) == name);
    alike.filter_map(|endpoint| endpoint.get("id")?.as_str()).collect()
}

/// What this engine has, and the file does not.
fn left_out(present: &Present) -> Vec<String> {
    let mut notes = Vec::new();
    for endpoint in present.entries(Kind::Endpoints) {
        if endpoint.get("paused_at").is_some_and(|at| !at.is_null()) {
            notes.push(format!("the queue of {} is paused", name_of(Kind::Endpoints, endpoint)));
        }
    }
    for job in present.entries(Kind::Jobs) {
        let name = name_of(Kind::Jobs, job);
        if !is_exported(Kind::Jobs, job) {
            notes.push(format!("the job {name} is left out: a wizard made it, and nobody started it yet"));
        } else if job.get("paused").is_some_and(|pause| !pause.is_null()) {
            notes.push(format!("the job {name} is paused, and is not where this file is applied anew"));
        }
        if let Some(gone) = job_run::endpoints_of(job).find(|endpoint| job_run::is_id(endpoint)) {
            notes.push(format!("the job {name} names an endpoint that is gone: {gone}"));
        }
    }
    notes.sort();
    notes
}

/// What every secret of an engine is called.
fn secrets_of(present: &Present) -> Vec<String> {
    let mut sources: Vec<String> = present.names(Kind::Secrets).map(of_secret).collect();
    for endpoint in present.entries(Kind::Endpoints) {
        let name = name_of(Kind::Endpoints, endpoint);
        let parts = endpoint.get("auth").map(written).unwrap_or_default().iter().chain(&["signing_secret"]);
        sources.extend(parts.map(|part| of_endpoint(&name, part)));
    }
    sources
}

/// What has to be written of authentication: its secrets, and what is told in another form than it is given in.
fn written(auth: &Value) -> &'static [&'static str] {
    match auth.get("type").and_then(Value::as_str) {
        Some("basic") => &["password"],
        Some("authorization" | "header") => &["value"],
        Some("oauth2") => &["client_secret"],
        Some("mtls") => &["certificate", "key"],
        _ => &[],
    }
}

fn exported(kind: Kind, entry: &Value, names: &Names) -> Value {
    let mut fields = Map::new();
    let is_system = kind == Kind::EventTypes && is(entry, "system", &json!(true));
    for name in kind.fields() {
        let Some(value) = entry.get(*name).filter(|value| !value.is_null()) else { continue };
        if is_system && !["key", "enabled"].contains(name) {
            continue;
        }
        let value = match (kind, *name) {
            (Kind::Endpoints, "auth") => auth_exported(entry, value, names),
            (Kind::Endpoints, "signing") => signing_exported(entry, value, names),
            // A reader knows the text, and it may name null.
            (Kind::EventTypes, "schema") => as_text(value),
            _ if kind.texts().contains(name) && !has_form(value) => as_text(value),
            _ => without_nulls(value.clone()),
        };
        fields.insert((*name).to_owned(), value);
    }
    Value::Object(fields)
}

/// Authentication with references in the place of what cannot be read back.
fn auth_exported(endpoint: &Value, auth: &Value, names: &Names) -> Value {
    let name = name_of(Kind::Endpoints, endpoint);
    let mut fields = auth.as_object().cloned().unwrap_or_default();
    fields.remove("secret_set");
    for part in written(auth) {
        fields.insert((*part).to_owned(), names.reference(&of_endpoint(&name, part)));
    }
    without_nulls(Value::Object(fields))
}

/// The key is a reference; of one that signs nothing nobody has to know.
fn signing_exported(endpoint: &Value, signing: &Value, names: &Names) -> Value {
    let source = of_endpoint(&name_of(Kind::Endpoints, endpoint), "signing_secret");
    if is(signing, "enabled", &json!(true)) {
        json!({ "enabled": true, "secret": names.reference(&source) })
    } else {
        json!({ "enabled": false })
    }
}

fn as_text(value: &Value) -> Value {
    Value::String(serde_json::to_string_pretty(value).unwrap_or_default())
}

/// Whether TOML can say it, and a file would be read as it is meant: there is no null in it, no larger integer, and nothing
/// that would be taken for a reference.
fn has_form(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Number(number) => number.as_u64().is_none_or(|number| number <= INTEGER_MAX),
        Value::Object(fields) => !is_reference(fields) && fields.values().all(has_form),
        Value::Array(items) => items.iter().all(has_form),
        Value::Bool(_) | Value::String(_) => true,
    }
}

/// TOML has no null: in the API's own shapes what is null is left out, which says the same.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, field)| !field.is_null());
            Value::Object(fields.map(|(name, field)| (name, without_nulls(field))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_toml_cannot_say_or_a_file_would_misread_is_a_text() {
        for value in [
            json!({"path": "/a", "in": [null, 1]}),
            json!({"a": {"env": "PATH"}}),
            json!({"file": "/etc/passwd"}),
            json!([18_446_744_073_709_551_615_u64]),
        ] {
            assert!(!has_form(&value), "{value}");
        }
        for value in [json!({"env": "a", "b": 1}), json!({"env": 1}), json!([-1, 1.5, "x", true, {}])] {
            assert!(has_form(&value), "{value}");
        }
    }

    #[test]
    fn of_the_engines_own_types_those_are_told_that_are_switched_off() {
        let own = |enabled: bool| json!({"key": "delivery.failed", "title": "x", "system": true, "enabled": enabled});
        assert!(!is_exported(Kind::EventTypes, &own(true)) && is_exported(Kind::EventTypes, &own(false)));
        let told = exported(Kind::EventTypes, &own(false), &Names::default());
        assert_eq!(told, json!({"key": "delivery.failed", "enabled": false}));
    }

    #[test]
    fn nothing_of_a_name_becomes_part_of_the_file() {
        let notes = vec!["the queue of a\n[secrets]\nb = \"c\" is paused".to_owned()];
        let exported = Exported { document: Document::default(), notes, components: Vec::new() };
        let text = exported.to_toml().unwrap();
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
        assert!(text.starts_with(SIGN), "it would not be known again: {text}");
    }
}
