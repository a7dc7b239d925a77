//! What the build made: components of their worlds, small, that import nothing they should not.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use engate_bundled::{BundledPlugin, PLUGINS};
use wasmparser::{Encoding, Parser, Payload, Validator};

const BYTES_MAX: usize = 256 * 1024;

/// Interfaces at the component's own level: what it imports, what it exports.
fn interfaces(plugin: &BundledPlugin) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut imports, mut exports) = (BTreeSet::new(), BTreeSet::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(plugin.wasm) {
        match payload.unwrap() {
            Payload::Version { encoding, .. } => {
                if depth == 0 {
                    assert_eq!(encoding, Encoding::Component, "{}", plugin.name);
                }
                depth += 1;
            }
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                imports.extend(section.into_iter().map(|import| import.unwrap().name.name.to_owned()));
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                exports.extend(section.into_iter().map(|export| export.unwrap().name.name.to_owned()));
            }
            _ => {}
        }
    }
    (imports, exports)
}

#[test]
fn the_bundled_plugins_are_these() {
    let names: Vec<_> = PLUGINS.iter().map(|plugin| plugin.name).collect();
    assert_eq!(names, ["carol", "gsan", "http-table", "sintegre", "smartlink", "standard", "voalle"]);
}

#[test]
fn each_is_a_valid_small_component_of_its_world() {
    for plugin in PLUGINS {
        println!("{}: {} KiB", plugin.name, plugin.wasm.len().div_ceil(1024));
        Validator::new().validate_all(plugin.wasm).unwrap();
        assert!(plugin.wasm.len() < BYTES_MAX, "{} is {} bytes", plugin.name, plugin.wasm.len());
        let (_, exports) = interfaces(plugin);
        let fills: &[&str] = match plugin.name {
            "carol" | "http-table" => &["sink"],
            "smartlink" => &["sink", "source"],
            _ => &["delivery"],
        };
        let expected = fills.iter().chain(&["plugin"]).map(|name| format!("engate:plugin/{name}@0.1.0"));
        assert_eq!(exports, expected.collect(), "{}", plugin.name);
    }
}

#[test]
fn none_imports_more_than_the_world_and_what_std_brings() {
    for plugin in PLUGINS {
        for import in interfaces(plugin).0 {
            let http = (plugin.name == "smartlink").then_some("http");
            let ours = ["types", "log", "config", "secrets", "state"]
                .into_iter()
                .chain(http)
                .any(|name| import == format!("engate:plugin/{name}@0.1.0"));
            let std =
                ["wasi:cli/", "wasi:io/", "wasi:clocks/", "wasi:random/"].iter().any(|wasi| import.starts_with(wasi));
            assert!(ours || std, "{} imports {import}", plugin.name);
        }
    }
}
