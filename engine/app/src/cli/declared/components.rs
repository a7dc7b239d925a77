//! Components of an export: those that channels mean or that something names by version, and that do not come with every
//! engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::{kind::Kind, kind::name_of, present::Present};
use crate::cli::{client::Client, failure::Failure};

/// A component that a file refers to.
#[derive(Debug)]
pub(super) struct Component {
    plugin: String,
    version: String,
    digest: String,
    /// Relative to the file.
    file: String,
}

impl Component {
    /// Downloads it to its place below `folder`.
    pub(super) async fn write(&self, client: &Client, folder: &Path) -> Result<(), Failure> {
        let path = ["v1", "plugins", &self.plugin, "versions", &self.version, "component"];
        let bytes = client.download(&path).await?;
        if sha256(&bytes) != self.digest {
            return Err(Failure::failed(format!(
                "the component of {}@{} does not have the digest {}; try again",
                self.plugin, self.version, self.digest
            )));
        }
        let file = folder.join(&self.file);
        let unwritable = |error: std::io::Error| Failure::usage(format!("{}: {error}", file.display()));
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).map_err(unwritable)?;
        }
        std::fs::write(&file, bytes).map_err(unwritable)
    }
}

/// What is found to be needed while plugins are exported.
pub(super) struct Needs<'p> {
    present: &'p Present,
    folder: Option<&'p str>,
    /// Digests of the plugins that come with the engine, by name.
    bundled: BTreeMap<&'static str, String>,
    /// What cannot be in the file.
    pub(super) notes: Vec<String>,
    /// What is to be written beside the file.
    pub(super) components: Vec<Component>,
}

impl<'p> Needs<'p> {
    /// None yet; without a folder components are not written, but named.
    pub(super) fn of(present: &'p Present, folder: Option<&'p str>) -> Self {
        let bundled = engate_bundled::PLUGINS.iter().map(|plugin| (plugin.name, sha256(plugin.wasm))).collect();
        Self { present, folder, bundled, notes: Vec::new(), components: Vec::new() }
    }

    /// A plugin as a file has it, with its components; none where it is as in any new engine.
    pub(super) fn plugin(&mut self, plugin: &Value) -> Option<Value> {
        let name = name_of(Kind::Plugins, plugin);
        let mut channels = plugin.get("channels").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut needed = BTreeMap::new();
        let mut wanted = pinned(self.present, plugin);
        wanted.extend(channels.values().filter_map(Value::as_str).map(str::to_owned));
        for version in versions_of(plugin) {
            let text = |field: &str| version.get(field).and_then(Value::as_str).unwrap_or_default();
            let number = text("version");
            if !wanted.contains(number) {
                continue;
            }
            if version.get("development") == Some(&json!(true)) {
                channels.retain(|_, meant| meant != number);
                self.notes.push(format!(
                    "{name}@{number} is a development version and left out; push it as a version that stays where \
                     something names it or a channel of it"
                ));
            } else if self.bundled.get(name.as_str()).is_some_and(|digest| digest == text("digest")) {
                // The version that an engine brings along is the one that its channel means at first.
                channels.retain(|channel, meant| channel != "stable" || meant != number);
            } else {
                needed.insert(number.to_owned(), text("digest").to_owned());
            }
        }
        let component = self.component(&name, needed, &channels);
        let mut fields = plugin.as_object()?.clone();
        fields.remove("channels");
        if !channels.is_empty() {
            fields.insert("channels".to_owned(), Value::Object(channels));
        }
        fields.extend(component.map(|component| ("component".to_owned(), component)));
        let says = Kind::Plugins.fields().iter().filter(|field| fields.contains_key(**field)).count();
        (says > 1).then_some(Value::Object(fields))
    }

    /// The file of the one version that there is, or a file for each.
    fn component(
        &mut self,
        plugin: &str,
        needed: BTreeMap<String, String>,
        channels: &Map<String, Value>,
    ) -> Option<Value> {
        let Some(folder) = self.folder else {
            for (version, digest) in needed {
                self.notes.push(format!(
                    "{plugin}@{version} needs its component (sha256 {digest}), which `engate export -o FILE` writes beside the \
                     file: install it first, or add component = \"FILE\" to its entry"
                ));
            }
            return None;
        };
        let mut files = Map::new();
        for (version, digest) in needed {
            let file = format!("{folder}/{}", file_name(plugin, &version));
            files.insert(version.clone(), Value::String(file.clone()));
            self.components.push(Component { plugin: plugin.to_owned(), version, digest, file });
        }
        let only = files.iter().next().filter(|_| files.len() == 1);
        let is_meant = |version: &str| channels.values().any(|meant| meant == version);
        match only {
            Some((version, file)) if is_meant(version) => Some(file.clone()),
            _ => (!files.is_empty()).then_some(Value::Object(files)),
        }
    }
}

/// All versions of a plugin.
pub(super) fn versions_of(plugin: &Value) -> impl Iterator<Item = &Value> {
    plugin.get("versions").and_then(Value::as_array).into_iter().flatten()
}

/// SHA-256 in hexadecimal, as versions have it.
pub(super) fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the engine says must not lead out of the folder.
fn file_name(plugin: &str, version: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+') { c } else { '_' };
    format!("{plugin}-{version}.wasm").chars().map(plain).collect()
}

/// The versions of a plugin that something names: `name@1.2.0`.
fn pinned(present: &Present, plugin: &Value) -> BTreeSet<String> {
    let name = plugin.get("name").and_then(Value::as_str).unwrap_or_default();
    let versions: BTreeSet<&str> = versions_of(plugin).filter_map(|version| version.get("version")?.as_str()).collect();
    let bound = [Kind::Integrators, Kind::Endpoints, Kind::Inbounds].into_iter().flat_map(|kind| present.entries(kind));
    let bound = bound.filter_map(|entry| entry.get("plugin"));
    let places = ["/run/plugin", "/run/source/plugin", "/run/sink/plugin"];
    let run = present.entries(Kind::Jobs).iter().flat_map(|job| places.iter().filter_map(|place| job.pointer(place)));
    let references = bound.chain(run).filter_map(Value::as_str).filter_map(|reference| reference.split_once('@'));
    let pins = references.filter(|(of, pin)| *of == name && versions.contains(pin));
    pins.map(|(_, version)| version.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs<'p>(present: &'p Present, folder: Option<&'p str>) -> Needs<'p> {
        let bundled = BTreeMap::from([("gsan", "b".to_owned())]);
        Needs { present, folder, bundled, notes: Vec::new(), components: Vec::new() }
    }

    fn plugin(name: &str, channels: Value) -> Value {
        json!({"name": name, "channels": channels, "versions": [
            {"version": "0.1.0", "digest": "a", "development": false},
            {"version": "0.2.0", "digest": "b", "development": false},
            {"version": "0.3.0-dev.1", "digest": "c", "development": true}
        ]})
    }

    #[test]
    fn each_version_that_is_meant_has_a_file_and_what_every_engine_has_does_not() {
        let present = Present::default();
        let mut needs = needs(&present, Some("x.plugins"));
        let one = needs.plugin(&plugin("own", json!({"stable": "0.1.0"}))).unwrap();
        assert_eq!(one["component"], "x.plugins/own-0.1.0.wasm");
        let two = needs.plugin(&plugin("own", json!({"stable": "0.1.0", "next": "0.2.0"}))).unwrap();
        let files = json!({"0.1.0": "x.plugins/own-0.1.0.wasm", "0.2.0": "x.plugins/own-0.2.0.wasm"});
        assert_eq!(two["component"], files);
        assert_eq!(needs.plugin(&plugin("gsan", json!({"stable": "0.2.0"}))), None);
        let older = needs.plugin(&plugin("gsan", json!({"stable": "0.1.0"}))).unwrap();
        assert_eq!((&older["channels"], older.get("component").is_some()), (&json!({"stable": "0.1.0"}), true));
        assert!(needs.notes.is_empty());
        // A development version has no component that would be that version elsewhere.
        assert_eq!(needs.plugin(&plugin("own", json!({"dev": "0.3.0-dev.1"}))), None);
        assert!(needs.notes[0].contains("own@0.3.0-dev.1"), "{:?}", needs.notes);
    }

    #[test]
    fn without_a_place_for_them_components_are_named() {
        let present = Present::default();
        let mut needs = needs(&present, None);
        let told = needs.plugin(&plugin("own", json!({"stable": "0.1.0"}))).unwrap();
        assert_eq!((told.get("component"), &told["channels"]), (None, &json!({"stable": "0.1.0"})));
        assert!(needs.notes[0].contains("own@0.1.0 needs its component (sha256 a)"), "{:?}", needs.notes);
    }

    #[test]
    fn a_file_stays_in_its_folder() {
        assert_eq!(file_name("../a", "1.0.0/../../b"), ".._a-1.0.0_.._.._b.wasm");
    }
}
