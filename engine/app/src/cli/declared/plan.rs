//! What has to be done to make an engine as a file says, each difference named. Secrets cannot be read back, so an entry
//! that has one is always sent, and the engine says whether it was a change.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Map, Value, json};

use super::{
    document::Document,
    job_run,
    kind::{KINDS, Kind, name_of},
    present::Present,
};
use crate::cli::{failure::Failure, present::Tone};

/// What is done with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Verb {
    /// It is not there.
    Create,
    /// It is otherwise, or holds a secret that only the engine can compare.
    Change,
    /// The file does not have it.
    Delete,
}

impl Verb {
    /// How it is shown.
    pub(in crate::cli) const fn sign(self) -> (&'static str, Tone) {
        match self {
            Self::Create => ("+", Tone::Good),
            Self::Change => ("~", Tone::Waiting),
            Self::Delete => ("-", Tone::Bad),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Delete => "delete",
        }
    }
}

/// One call to make.
#[derive(Debug)]
pub(in crate::cli) struct Action {
    /// Of what.
    pub(in crate::cli) kind: Kind,
    /// Which.
    pub(in crate::cli) name: String,
    /// What is done.
    pub(in crate::cli) verb: Verb,
    /// What is different, for people; never a secret.
    pub(in crate::cli) differences: Vec<String>,
    /// Where below `/v1`, in segments.
    pub(in crate::cli) path: Vec<String>,
    /// The method.
    pub(in crate::cli) method: reqwest::Method,
    /// The body: JSON, or a component's bytes.
    pub(in crate::cli) body: Body,
}

/// What a call carries.
#[derive(Debug)]
pub(in crate::cli) enum Body {
    /// Nothing.
    None,
    /// JSON.
    Json(Value),
    /// A component, and the channel that is to mean it.
    Component(Vec<u8>, String),
}

/// Everything to do, in an order in which it can be done.
#[derive(Debug, Default)]
pub(in crate::cli) struct Plan {
    /// The calls.
    pub(in crate::cli) actions: Vec<Action>,
}

/// Fields of an entry that hold secrets, and which parts of them are: never shown, never read back. (A certificate is told as what
/// it says of itself.)
pub(super) const SEALED: [&str; 2] = ["auth", "signing"];
pub(super) const SECRETS: [&str; 6] = ["password", "value", "client_secret", "certificate", "key", "secret"];

impl Plan {
    /// Compares a file with an engine.
    ///
    /// # Errors
    /// Where a component is missing or cannot be read, where the engine has two endpoints of a name, and where a job names
    /// an endpoint, or an endpoint an integrator, that is not there.
    pub(in crate::cli) fn make(
        document: &Document,
        present: &Present,
        prune: bool,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let mut plan = Self::default();
        require_integrators(document, present)?;
        for kind in KINDS {
            let Some(section) = document.entries(kind) else { continue };
            match kind {
                Kind::Secrets => plan.secrets(section, present),
                Kind::Settings => plan.settings(section, present),
                Kind::Plugins => {
                    for entry in section.as_array().into_iter().flatten() {
                        plan.plugin(entry, present, folder)?;
                    }
                }
                _ => {
                    for entry in section.as_array().into_iter().flatten() {
                        let mut entry = entry.clone();
                        if kind == Kind::Jobs {
                            job_run::name_endpoints(&mut entry, present.entries(Kind::Endpoints));
                            require_endpoints(&entry, document, present)?;
                        }
                        plan.entry(kind, &entry, present)?;
                    }
                }
            }
        }
        if prune {
            for kind in KINDS.into_iter().rev() {
                if let Some(section) = document.entries(kind) {
                    plan.prune(kind, section, present);
                }
            }
        }
        Ok(plan)
    }

    /// How many of each verb.
    pub(in crate::cli) fn counts(&self) -> [usize; 3] {
        [Verb::Create, Verb::Change, Verb::Delete]
            .map(|verb| self.actions.iter().filter(|action| action.verb == verb).count())
    }

    /// For programs.
    pub(in crate::cli) fn told(&self) -> Value {
        let told = self.actions.iter().map(|action| {
            json!({ "kind": action.kind.section(), "name": action.name, "action": action.verb.word(),
                    "differences": action.differences })
        });
        told.collect()
    }

    fn secrets(&mut self, section: &Value, present: &Present) {
        for (name, value) in section.as_object().into_iter().flatten() {
            let is_there = present.names(Kind::Secrets).any(|there| there == name);
            let told = if is_there { "value: compared by the engine" } else { "value: (secret)" };
            self.actions.push(Action {
                kind: Kind::Secrets,
                name: name.clone(),
                verb: if is_there { Verb::Change } else { Verb::Create },
                differences: vec![told.to_owned()],
                path: vec!["secrets".into(), name.clone()],
                method: reqwest::Method::PUT,
                body: Body::Json(json!({ "value": value })),
            });
        }
    }

    fn settings(&mut self, section: &Value, present: &Present) {
        let mut wanted = Map::new();
        let mut differences = Vec::new();
        for (name, value) in section.as_object().into_iter().flatten() {
            let now = present.setting(name);
            if now != Some(value) {
                differences.push(format!("{name}: {} -> {value}", shown(now)));
                wanted.insert(name.clone(), value.clone());
            }
        }
        if !wanted.is_empty() {
            self.actions.push(Action {
                kind: Kind::Settings,
                name: "of the tenant".to_owned(),
                verb: Verb::Change,
                differences,
                path: vec!["settings".into()],
                method: reqwest::Method::PUT,
                body: Body::Json(Value::Object(wanted)),
            });
        }
    }

    fn entry(&mut self, kind: Kind, entry: &Value, present: &Present) -> Result<(), Failure> {
        let name = name_of(kind, entry);
        let mut alike = present.entries(kind).iter().filter(|there| name_of(kind, there) == name);
        let there = alike.next();
        if alike.next().is_some() {
            return Err(Failure::usage(format!(
                "{name}: the engine has more than one {} of this name; give each a description of its own there first",
                kind.noun()
            )));
        }
        let Some(there) = there else {
            let fields = entry.as_object().into_iter().flatten();
            let differences = fields.map(|(field, value)| format!("{field}: {}", masked(field, value)));
            self.actions.push(Action {
                kind,
                differences: differences.collect(),
                name,
                verb: Verb::Create,
                path: vec![kind.path().into()],
                method: reqwest::Method::POST,
                body: Body::Json(entry.clone()),
            });
            return Ok(());
        };
        let mut change = Map::new();
        let mut differences = Vec::new();
        let moved = entry.get("url").is_some_and(|url| Some(url) != there.get("url"));
        for (field, wanted) in entry.as_object().into_iter().flatten() {
            if field == kind.key() && kind != Kind::Endpoints || field == "integrator" {
                continue;
            }
            if !is_as(field, wanted, there.get(field)) {
                differences.push(format!("{field}: {} -> {}", shown(there.get(field)), masked(field, wanted)));
                change.insert(field.clone(), wanted.clone());
            } else if field == "headers" && moved {
                // They stay behind where the address changes, unless they are given for the new one.
                change.insert(field.clone(), wanted.clone());
            } else if has_secret(field, wanted) {
                differences.push(format!("{field}: its secret is compared by the engine"));
                change.insert(field.clone(), wanted.clone());
            }
        }
        if !change.is_empty() {
            self.actions.push(Action {
                kind,
                name,
                verb: Verb::Change,
                differences,
                path: vec![kind.path().into(), id_of(kind, there)],
                method: reqwest::Method::PATCH,
                body: Body::Json(Value::Object(change)),
            });
        }
        Ok(())
    }

    /// Plugins stay: their versions are history that deliveries name. A setting has no absence.
    fn prune(&mut self, kind: Kind, section: &Value, present: &Present) {
        if matches!(kind, Kind::Plugins | Kind::Settings) {
            return;
        }
        let named: Vec<String> = match section {
            Value::Object(values) => values.keys().cloned().collect(),
            entries => entries.as_array().into_iter().flatten().map(|entry| name_of(kind, entry)).collect(),
        };
        for there in present.entries(kind) {
            let name = name_of(kind, there);
            // The engine's own types stay, and what a wizard is about to set up; an integrator that is inactive already is as
            // gone as its deliveries let it be.
            let stays = [("system", json!(true)), ("active", json!(false)), ("state", json!("needs_configuration"))];
            let stays = stays.iter().any(|(field, is)| there.get(*field) == Some(is));
            if named.contains(&name) || stays {
                continue;
            }
            self.actions.push(Action {
                kind,
                name,
                verb: Verb::Delete,
                differences: Vec::new(),
                path: vec![kind.path().into(), id_of(kind, there)],
                method: reqwest::Method::DELETE,
                body: Body::None,
            });
        }
    }
}

/// What a route names an entry by.
fn id_of(kind: Kind, entry: &Value) -> String {
    text(entry, if kind.has_id() { "id" } else { kind.key() })
}

/// Entries that the file lists of a kind.
fn listed(document: &Document, kind: Kind) -> impl Iterator<Item = &Value> {
    document.entries(kind).and_then(Value::as_array).into_iter().flatten()
}

/// The integrators that endpoints name are there, or will be.
fn require_integrators(document: &Document, present: &Present) -> Result<(), Failure> {
    // Where they could not be listed, the engine says which it does not know.
    if !present.has_read(Kind::Integrators) {
        return Ok(());
    }
    let known: BTreeSet<String> = listed(document, Kind::Integrators)
        .chain(present.entries(Kind::Integrators))
        .map(|integrator| name_of(Kind::Integrators, integrator))
        .collect();
    let lost = listed(document, Kind::Endpoints).filter(|endpoint| !known.contains(&text(endpoint, "integrator")));
    let complaints: Vec<String> = lost
        .map(|endpoint| {
            format!(
                "endpoints: {}: its integrator {} is neither in the file nor in the engine; add it as [[integrators]], or \
                 name one that is there",
                name_of(Kind::Endpoints, endpoint),
                text(endpoint, "integrator")
            )
        })
        .collect();
    if complaints.is_empty() { Ok(()) } else { Err(Failure::usage(complaints.join("\n  "))) }
}

/// The endpoints that a job names are there, or will be.
fn require_endpoints(job: &Value, document: &Document, present: &Present) -> Result<(), Failure> {
    let known = listed(document, Kind::Endpoints)
        .chain(present.entries(Kind::Endpoints))
        .map(|endpoint| name_of(Kind::Endpoints, endpoint));
    let known: Vec<String> = known.collect();
    for named in job_run::endpoints_of(job).filter(|named| !job_run::is_id(named)) {
        if !known.iter().any(|name| name == named) {
            let job = name_of(Kind::Jobs, job);
            return Err(Failure::usage(format!(
                "jobs: {job}: its run names the endpoint {named}, which neither the file nor the engine has; write \
                 INTEGRATOR/DESCRIPTION (INTEGRATOR/URL where it has none)"
            )));
        }
    }
    Ok(())
}

pub(super) fn text(entry: &Value, field: &str) -> String {
    entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Whether what the API shows says all that is wanted; secrets are left out, since nobody can see them.
fn is_as(field: &str, wanted: &Value, now: Option<&Value>) -> bool {
    let Some(now) = now else { return false };
    match (field, wanted, now) {
        (_, Value::Object(wanted), Value::Object(now)) if SEALED.contains(&field) => {
            let mut open = wanted.iter().filter(|(part, _)| !SECRETS.contains(&part.as_str()));
            open.all(|(part, value)| now.get(part) == Some(value))
        }
        // `name@stable` says the same as `name`.
        ("plugin", Value::String(wanted), Value::String(now)) => {
            wanted.strip_suffix("@stable").unwrap_or(wanted) == now.strip_suffix("@stable").unwrap_or(now)
        }
        _ => wanted == now,
    }
}

/// Whether a field of an entry holds a secret.
fn has_secret(field: &str, value: &Value) -> bool {
    let parts = value.as_object().filter(|_| SEALED.contains(&field));
    parts.is_some_and(|parts| parts.keys().any(|part| SECRETS.contains(&part.as_str())))
}

pub(super) fn shown(value: Option<&Value>) -> String {
    value.filter(|value| !value.is_null()).map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// A field's value as people may see it.
fn masked(field: &str, value: &Value) -> String {
    let mut value = value.clone();
    let parts = value.as_object_mut().filter(|_| SEALED.contains(&field));
    for (_, part) in parts.into_iter().flatten().filter(|(part, _)| SECRETS.contains(&part.as_str())) {
        *part = json!("(secret)");
    }
    value.to_string()
}
