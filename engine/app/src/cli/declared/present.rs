//! What an engine has, read over its API.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    job_run,
    kind::{GRANTS, KINDS, Kind, LIMITS},
};
use crate::cli::{
    client::{Client, read},
    failure::Failure,
};

/// Status of what a token may not do.
const FORBIDDEN: u16 = 403;

/// A tenant's configuration as the API shows it.
#[derive(Debug, Default)]
pub(in crate::cli) struct Present {
    entries: BTreeMap<&'static str, Vec<Value>>,
    settings: Map<String, Value>,
}

impl Present {
    /// Reads what there is of `kinds`, and of those that theirs name: jobs endpoints, endpoints integrators.
    ///
    /// # Errors
    /// Where a token may not read one of `kinds`, or is not shown all of it.
    pub(in crate::cli) async fn read(client: &Client, kinds: &[Kind]) -> Result<Self, Failure> {
        let mut present = Self::default();
        for kind in KINDS {
            let is_asked = kinds.contains(&kind);
            if !is_asked && !is_named_by(kind, kinds) {
                continue;
            }
            match present.add(client, kind).await {
                // Who registers endpoints need not be let to the integrators: what it names the engine checks.
                Err(Failure::Answered(problem))
                    if !is_asked && kind == Kind::Integrators && problem.status == FORBIDDEN => {}
                added => added?,
            }
        }
        require_whole(client)?;
        Ok(present)
    }

    async fn add(&mut self, client: &Client, kind: Kind) -> Result<(), Failure> {
        if kind == Kind::Settings {
            self.settings = read(&client.get(&["v1", "settings"], &[]).await?)?;
            return Ok(());
        }
        let mut entries: Vec<Value> = client.list_all(&["v1", kind.path()], &[]).await?.rows()?;
        if kind == Kind::Plugins {
            for plugin in &mut entries {
                complete(client, plugin).await?;
            }
        }
        if kind == Kind::Jobs {
            // Endpoints come before them.
            for job in &mut entries {
                job_run::name_endpoints(job, self.entries(Kind::Endpoints));
                job_run::drop_null_payload(job);
            }
        }
        self.entries.insert(kind.section(), entries);
        Ok(())
    }

    /// Whether it is known what there is of a kind that has entries.
    pub(super) fn has_read(&self, kind: Kind) -> bool {
        self.entries.contains_key(kind.section())
    }

    /// Entries of a kind.
    pub(in crate::cli) fn entries(&self, kind: Kind) -> &[Value] {
        self.entries.get(kind.section()).map(Vec::as_slice).unwrap_or_default()
    }

    /// Names of a kind's entries.
    pub(in crate::cli) fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.entries(kind).iter().filter_map(move |entry| entry.get(kind.key())?.as_str())
    }

    /// Each setting once: by its dotted name where it has a short one too.
    pub(in crate::cli) fn settings(&self) -> Value {
        let is_short =
            |name: &str| !name.contains('.') && self.settings.keys().any(|key| key.ends_with(&format!(".{name}")));
        let settings = self.settings.iter().filter(|(name, value)| !is_short(name) && !value.is_null());
        Value::Object(settings.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// A setting by either of its names.
    pub(in crate::cli) fn setting(&self, name: &str) -> Option<&Value> {
        self.settings.get(name)
    }
}

/// Whether entries of `kinds` name entries of this one.
fn is_named_by(kind: Kind, kinds: &[Kind]) -> bool {
    match kind {
        Kind::Endpoints => kinds.contains(&Kind::Jobs),
        Kind::Integrators => kinds.contains(&Kind::Endpoints),
        _ => false,
    }
}

/// Refuses a token that is shown less than there is: what it does not see would be missing in a file, and would seem to be
/// otherwise than a file says.
pub(super) fn require_whole(client: &Client) -> Result<(), Failure> {
    if client.is_shown_less() {
        return Err(Failure::usage("this token is not shown every field (redact); use one that is"));
    }
    Ok(())
}

/// What a listing leaves out of a plugin, in the form a file has it; all that is as in a new installation is left out.
async fn complete(client: &Client, plugin: &mut Value) -> Result<(), Failure> {
    let name = plugin.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let shown: Value = read(&client.get(&["v1", "plugins", &name], &[]).await?)?;
    let limits: Value = read(&client.get(&["v1", "plugins", &name, "limits"], &[]).await?)?;
    let Some(fields) = plugin.as_object_mut() else { return Ok(()) };
    let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let channels = shown.get("channels").and_then(Value::as_array).into_iter().flatten();
    let channels = channels.map(|channel| (text(channel, "channel"), Value::String(text(channel, "version"))));
    fields.insert("channels".to_owned(), Value::Object(channels.collect()));
    let grants = shown.get("grants").map(|grants| said(grants, &GRANTS)).unwrap_or_default();
    let limits = said(&limits, &LIMITS);
    for (field, value) in [("grants", grants), ("limits", limits)] {
        if !value.is_empty() {
            fields.insert(field.to_owned(), Value::Object(value));
        }
    }
    let config = shown.get("config").filter(|config| config.as_object().is_some_and(|fields| !fields.is_empty()));
    match config {
        Some(config) => fields.insert("config".to_owned(), config.clone()),
        None => fields.remove("config"),
    };
    let versions = shown.get("versions").cloned().unwrap_or_default();
    fields.insert("versions".to_owned(), versions);
    Ok(())
}

/// The parts of grants or limits that say something: one that is left out means nothing, as an empty one does.
pub(super) fn said(value: &Value, names: &[&str]) -> Map<String, Value> {
    let told = names.iter().filter_map(|name| Some(((*name).to_owned(), value.get(*name)?.clone())));
    told.filter(|(_, value)| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())).collect()
}
