//! What has to be done to make a plugin as a file says: its components, what it may do, and what its channels mean.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    components::{sha256, versions_of},
    kind::Kind,
    plan::{Action, Body, Plan, Verb, shown, text},
    present::{Present, said},
};
use crate::cli::failure::Failure;

/// The channel that production binds to.
const STABLE: &str = "stable";

/// A component that a file names.
struct Component {
    /// Which version it is, where the file says so.
    version: Option<String>,
    file: String,
    bytes: Vec<u8>,
}

impl Plan {
    /// # Errors
    /// Where a component cannot be read, or is neither there nor in the file.
    pub(super) fn plugin(&mut self, entry: &Value, present: &Present, folder: &Path) -> Result<(), Failure> {
        let name = text(entry, "name");
        let there = present.entries(Kind::Plugins).iter().find(|plugin| text(plugin, "name") == name);
        let components = components_of(entry, &name, folder)?;
        let mut channels = entry.get("channels").and_then(Value::as_object).cloned().unwrap_or_default();
        require_versions(&name, &channels, &components, there)?;
        let before = there.and_then(|there| there.get("channels")?.as_object()).cloned().unwrap_or_default();
        let mut now = before.clone();
        let mut act = |verb, differences: Vec<String>, path: &[&str], method, body| {
            let path = ["plugins"].iter().chain(path).map(|part| (*part).to_owned()).collect();
            self.actions.push(Action {
                kind: Kind::Plugins,
                name: name.clone(),
                verb,
                differences,
                path,
                method,
                body,
            });
        };
        let mut is_new = there.is_none();
        for Component { version, file, bytes } in ordered(components, &channels) {
            let found = sha256(&bytes);
            if there.into_iter().flat_map(versions_of).any(|version| text(version, "digest") == found) {
                continue;
            }
            // A push moves a channel: the one that is to mean this version, or one that is put back below.
            let channel = channel_of(version.as_deref(), &channels);
            if let (Some(version), Some(before)) = (&version, before.get(&channel))
                && !channels.contains_key(&channel)
                && before != version
            {
                channels.insert(channel.clone(), before.clone());
            }
            now.insert(channel.clone(), version.map_or(Value::Null, Value::String));
            let verb = if std::mem::take(&mut is_new) { Verb::Create } else { Verb::Change };
            let told = vec![format!("component: {file}")];
            act(verb, told, &[], reqwest::Method::POST, Body::Component(bytes, channel));
        }
        let empty = json!({});
        for field in ["grants", "config", "limits"] {
            let Some(wanted) = entry.get(field) else { continue };
            let present = there.and_then(|there| there.get(field)).unwrap_or(&empty);
            let is_so = match wanted.as_object().filter(|_| field != "config") {
                Some(parts) => {
                    let names: Vec<_> = parts.keys().map(String::as_str).collect();
                    present == &Value::Object(said(wanted, &names))
                }
                None => present == wanted,
            };
            if !is_so {
                let difference = format!("{field}: {present} -> {wanted}");
                let body = Body::Json(wanted.clone());
                act(Verb::Change, vec![difference], &[&name, field], reqwest::Method::PUT, body);
            }
        }
        for (channel, version) in &channels {
            if now.get(channel) != Some(version) {
                let difference = format!("channels.{channel}: {} -> {version}", shown(before.get(channel)));
                let body = Body::Json(json!({ "version": version }));
                act(Verb::Change, vec![difference], &[&name, "channels", channel], reqwest::Method::POST, body);
            }
        }
        Ok(())
    }
}

/// The component of an entry (`component = "FILE"`), or those of several versions (`component = {"1.2.0" = "FILE", ..}`).
fn components_of(entry: &Value, name: &str, folder: &Path) -> Result<Vec<Component>, Failure> {
    let wrong = || {
        let cure = "must be the path of a file, or a table of versions and such paths";
        Failure::usage(format!("plugins: {name}: component: {cure}"))
    };
    let files: Vec<(Option<String>, &Value)> = match entry.get("component") {
        None => Vec::new(),
        Some(Value::Object(files)) => files.iter().map(|(version, file)| (Some(version.clone()), file)).collect(),
        Some(file) => vec![(None, file)],
    };
    let read = |(version, file): (Option<String>, &Value)| {
        let file = file.as_str().ok_or_else(wrong)?;
        let path = folder.join(file);
        let bytes = std::fs::read(&path);
        let bytes = bytes.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        Ok(Component { version, file: file.to_owned(), bytes })
    };
    files.into_iter().map(read).collect()
}

/// What channels are to mean is there, or comes with the file.
fn require_versions(
    name: &str,
    channels: &Map<String, Value>,
    components: &[Component],
    there: Option<&Value>,
) -> Result<(), Failure> {
    let cure = "add component = \"FILE\" to its entry, or push it first (`engate plugin push FILE`)";
    if there.is_none() && components.is_empty() {
        let said =
            format!("plugins: {name}: is not installed in the engine, and the file has no component for it; {cure}");
        return Err(Failure::usage(said));
    }
    // Which version a component is that stands alone, only the engine reads.
    if components.iter().any(|component| component.version.is_none()) {
        return Ok(());
    }
    for (channel, version) in channels {
        let in_file = components.iter().any(|component| component.version.as_deref() == version.as_str());
        let installed = there.into_iter().flat_map(versions_of).any(|there| there.get("version") == Some(version));
        if !in_file && !installed {
            let said = format!("plugins: {name}: channels.{channel}: the engine has no version {version}; {cure}");
            return Err(Failure::usage(said));
        }
    }
    Ok(())
}

/// Versions that no channel is to mean come first, the one of production last.
fn ordered(mut components: Vec<Component>, channels: &Map<String, Value>) -> Vec<Component> {
    components.sort_by_key(|component| {
        let meant = |version: &String| channels.values().any(|meant| meant == version);
        let is_meant = component.version.as_ref().is_some_and(meant);
        (is_meant, channel_of(component.version.as_deref(), channels) == STABLE)
    });
    components
}

/// The channel that a version is pushed to.
fn channel_of(version: Option<&str>, channels: &Map<String, Value>) -> String {
    let means =
        |channel: &str| version.is_none_or(|version| channels.get(channel).is_some_and(|meant| meant == version));
    if channels.is_empty() || (channels.contains_key(STABLE) && means(STABLE)) {
        return STABLE.to_owned();
    }
    let meant = channels.keys().find(|channel| means(channel));
    meant.or_else(|| channels.keys().find(|channel| *channel != STABLE)).map_or(STABLE, String::as_str).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_version_is_pushed_to_the_channel_that_is_to_mean_it() {
        let two = channels(json!({"next": "0.2.0", "stable": "0.1.0"}));
        assert_eq!(channel_of(Some("0.1.0"), &two), "stable");
        assert_eq!(channel_of(Some("0.2.0"), &two), "next");
        assert_eq!(channel_of(Some("0.0.9"), &two), "next", "production is not for what no channel means");
        assert_eq!(channel_of(None, &two), "stable");
        assert_eq!(channel_of(None, &channels(json!({"next": "0.2.0"}))), "next");
        assert_eq!(channel_of(Some("0.0.9"), &channels(json!({}))), "stable");
        assert_eq!(channel_of(Some("0.0.9"), &channels(json!({"stable": "0.1.0"}))), "stable");
    }

    #[test]
    fn production_comes_last() {
        let component =
            |version: &str| Component { version: Some(version.to_owned()), file: String::new(), bytes: vec![] };
        let all = vec![component("0.1.0"), component("0.2.0"), component("0.0.9")];
        let order = ordered(all, &channels(json!({"next": "0.2.0", "stable": "0.1.0"})));
        let order: Vec<_> = order.into_iter().map(|component| component.version.unwrap()).collect();
        assert_eq!(order, ["0.0.9", "0.2.0", "0.1.0"]);
    }
}
