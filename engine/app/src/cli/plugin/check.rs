//! `engate plugin check`: everything an installation would check, here and without an engine.

use std::{path::Path, sync::Arc};

use engate_host::{CompilerCommand, Effort, Host, HostConfig, InstallError, Installed};
use engate_model::plugin::{InterpretWhen, Manifest, Need, World};
use serde_json::json;
use wasmparser::{BinaryReaderError, Parser, Payload};

use super::finished;
use crate::{
    cli::{
        failure::Failure,
        present::{Field, Screen, Tone, size},
        scratch::Scratch,
    },
    clock::SystemClock,
};

/// The package of the contract.
const CONTRACT: &str = "engate:plugin/";
/// Worlds of the contract by the interface that makes them.
const WORLDS: [(&str, &str); 4] =
    [("delivery", "integrator"), ("sink", "sync-target"), ("source", "sync-source"), ("inbound", "receiver")];
/// Plugins that run at a time in a check.
const INSTANCES: u32 = 8;

/// What a component says at its outside.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outside {
    imports: Vec<String>,
    exports: Vec<String>,
}

/// Checks the plugin in `file` and prints what it is.
pub(super) async fn run(file: &Path, screen: Screen) -> Result<(), Failure> {
    let bytes = finished(file)?;
    let scratch = Scratch::make()?;
    let host = throw_away_host(&scratch)?;
    let installed =
        host.install(&bytes, Effort::Full).await.map_err(|error| refused(&file.display().to_string(), &error))?;
    let outside = outside(&bytes).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    if screen.json {
        return screen.line(
            json!({
                "file": file,
                "digest": installed.digest.to_string(),
                "size_bytes": installed.size_bytes,
                "compile_ms": u64::try_from(installed.compile_time.as_millis()).unwrap_or(u64::MAX),
                "worlds": outside.worlds(),
                "exports": outside.exports,
                "imports": outside.imports,
                "manifest": installed.manifest,
            })
            .to_string(),
        );
    }
    print(&installed, &outside, screen)?;
    screen.line(screen.paint("\nIt can be installed.", Tone::Good))
}

/// A plugin host with a cache that goes with `scratch`; its compiler is this program.
pub(in crate::cli) fn throw_away_host(scratch: &Scratch) -> Result<Host, Failure> {
    host(scratch, false)
}

/// The same; one that is `metered` counts what guests run.
pub(super) fn host(scratch: &Scratch, metered: bool) -> Result<Host, Failure> {
    let program = std::env::current_exe();
    let program = program.map_err(|error| Failure::failed(format!("this program's own path: {error}")))?;
    let compiler = CompilerCommand { program, args: vec!["compile-plugin".to_owned()] };
    let mut config = HostConfig::new(scratch.path().join("plugins"), compiler, Arc::new(SystemClock));
    config.pool_instances = INSTANCES;
    config.metered = metered;
    Host::start(config).map_err(Failure::failed)
}

pub(super) fn refused(name: &str, error: &InstallError) -> Failure {
    Failure::failed(format!("{name} cannot be installed ({})\n  {}", error.code.code(), error.message))
}

fn print(installed: &Installed, outside: &Outside, screen: Screen) -> Result<(), Failure> {
    let manifest = &installed.manifest;
    let kinds = if manifest.event_types.is_empty() { "any".to_owned() } else { manifest.event_types.join(", ") };
    let mut facts = vec![
        ("plugin", Field::new(format!("{} {}", manifest.id, manifest.version))),
        ("title", Field::new(&manifest.title)),
        ("world", Field::new(outside.worlds().join(", "))),
        ("exports", Field::new(outside.exports.join(", "))),
        ("imports", Field::new(outside.imports.join(", "))),
        ("size", Field::new(format!("{}, compiled in {:.2?}", size(installed.size_bytes), installed.compile_time))),
        ("digest", Field::new(installed.digest.to_string())),
        ("event types", Field::new(kinds)),
        ("config", Field::new(properties(manifest))),
    ];
    if manifest.fills(World::Integrator) {
        facts.push(("judges", Field::new(judges(manifest.interpret))));
    }
    screen.facts(&facts)?;
    screen.heading("What it asks for (an operator grants it)")?;
    let asked = asked(manifest);
    if asked.is_empty() { screen.line("nothing") } else { screen.facts(&asked) }
}

const fn judges(interpret: InterpretWhen) -> &'static str {
    match interpret {
        InterpretWhen::Never => "no answer: 2xx is success",
        InterpretWhen::Non2xx => "every answer but 2xx",
        InterpretWhen::Always => "every answer: a 200 may be a failure",
    }
}

/// The names at the top of its configuration.
fn properties(manifest: &Manifest) -> String {
    let properties = manifest.config_schema.get("properties").and_then(|properties| properties.as_object());
    match properties {
        Some(properties) if !properties.is_empty() => properties.keys().cloned().collect::<Vec<_>>().join(", "),
        _ => "none".to_owned(),
    }
}

fn asked(manifest: &Manifest) -> Vec<(&'static str, Field)> {
    let need = |need: &Need| Field::new(format!("{} ({})", need.name, need.purpose));
    let hosts = manifest.hosts.iter().map(|host| ("host", Field::new(host)));
    let secrets = manifest.secrets.iter().map(|secret| ("secret", need(secret)));
    let credentials = manifest.credentials.iter().map(|credential| ("credential", need(credential)));
    hosts.chain(secrets).chain(credentials).collect()
}

/// Reads the names of what a component imports and exports.
fn outside(bytes: &[u8]) -> Result<Outside, BinaryReaderError> {
    let mut outside = Outside::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            // Every module and component inside begins with its version and has an end.
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    outside.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    outside.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(outside)
}

impl Outside {
    /// The worlds of the contract it fills, each with its version: `integrator (0.1.0)`.
    fn worlds(&self) -> Vec<String> {
        let exported = self.exports.iter().filter_map(|name| name.strip_prefix(CONTRACT)?.split_once('@'));
        exported
            .filter_map(|(interface, version)| {
                let (_, world) = WORLDS.iter().find(|(makes, _)| *makes == interface)?;
                Some(format!("{world} ({version})"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_told_from_the_exports_and_inner_modules_do_not_count() {
        let component = wat::parse_str(
            r#"(component
                (core module (import "env" "inner" (func)) (func (export "inside")))
                (import "engate:plugin/log@0.1.0" (instance))
                (component $c (import "a" (func)))
                (instance $delivery)
                (export "engate:plugin/delivery@0.1.0" (instance $delivery)))"#,
        )
        .unwrap();
        let outside = outside(&component).unwrap();
        assert_eq!(outside.imports, ["engate:plugin/log@0.1.0"]);
        assert_eq!(outside.exports, ["engate:plugin/delivery@0.1.0"]);
        assert_eq!(outside.worlds(), ["integrator (0.1.0)"]);
    }
}
