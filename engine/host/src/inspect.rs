//! What a component is, before any of it is compiled: read in the compiling child.

use semver::Version;
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures, types::Types};

use crate::{
    config::{COMPONENT_BYTES_MAX, MEMORY_BYTES_CEILING},
    engine::{MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX},
    error::{InstallCode, InstallError},
    log::printable,
    v0_1, wasi,
};

/// Bytes of a page of linear memory.
const PAGE_BYTES: u64 = 64 << 10;
/// The package of the contract.
const CONTRACT: &str = "engate:plugin";
/// What a component begins with: `\0asm`, then version 13 of layer 1.
const COMPONENT_HEADER: [u8; 8] = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];

/// The checks that cost nothing: size and first bytes. The engine itself makes them, before it starts a child.
///
/// # Errors
/// `too_large` or `not_a_component`.
pub(crate) fn at_first_glance(bytes: &[u8]) -> Result<(), InstallError> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(InstallError::new(
            InstallCode::TooLarge,
            format!(
                "{} bytes; a component has at most {COMPONENT_BYTES_MAX}. Strip debug information and optimise for size",
                bytes.len()
            ),
        ));
    }
    if bytes.starts_with(&COMPONENT_HEADER) {
        return Ok(());
    }
    let what = if bytes.starts_with(b"\0asm") {
        "a core module; make a component of it (engate plugin build, or the target wasm32-wasip2)"
    } else if bytes.trim_ascii_start().starts_with(b"(") {
        "WebAssembly text; assemble it first"
    } else {
        "no WebAssembly at all; push the .wasm file that the plugin's build made"
    };
    Err(InstallError::new(InstallCode::NotAComponent, format!("this is {what}")))
}

/// Validates a component and checks what it needs and offers; its types.
///
/// # Errors
/// What is wrong, with its name.
pub(crate) fn inspect(bytes: &[u8], features: WasmFeatures) -> Result<Types, InstallError> {
    at_first_glance(bytes)?;
    let types = Validator::new_with_features(features)
        .validate_all(bytes)
        .map_err(|error| invalid(format!("not a valid component: {error}")))?;
    let mut survey = Survey::default();
    for payload in Parser::new(0).parse_all(bytes) {
        survey.take(payload.map_err(|error| invalid(error.to_string()))?)?;
    }
    check_world(&survey.imports, &survey.exports)?;
    Ok(types)
}

/// Complaints about a component's world that are told.
const COMPLAINTS_MAX: usize = 16;

/// Checks the names at the outside, all of them: who has three to mend should not have to push four times.
fn check_world(imports: &[String], exports: &[String]) -> Result<(), InstallError> {
    let pulls = exports.iter().any(|name| {
        Name::parse(name).is_some_and(|name| name.package == CONTRACT && name.interface == v0_1::EXPORT_OF_SOURCES)
    });
    let mut complaints: Vec<InstallError> = imports.iter().filter_map(|name| check_import(name, pulls).err()).collect();
    complaints.extend(check_exports(exports));
    let Some(first) = complaints.first() else { return Ok(()) };
    let code = first.code;
    let mut told: Vec<_> = complaints.iter().take(COMPLAINTS_MAX).map(|complaint| complaint.message.as_str()).collect();
    let more = complaints.len().saturating_sub(COMPLAINTS_MAX);
    let rest = format!("and {more} more");
    if more > 0 {
        told.push(&rest);
    }
    Err(InstallError::new(code, told.join("; ")))
}

/// Names at the top, and sizes anywhere inside.
#[derive(Default)]
struct Survey {
    depth: u32,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Survey {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), InstallError> {
        let parse = |error: wasmparser::BinaryReaderError| invalid(error.to_string());
        match payload {
            Payload::Version { encoding, .. } => {
                self.depth += 1;
                if self.depth == 1 && encoding != Encoding::Component {
                    return Err(InstallError::new(InstallCode::NotAComponent, "this is a core module"));
                }
            }
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if self.depth == 1 => {
                for import in section {
                    self.imports.push(import.map_err(parse)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if self.depth == 1 => {
                for export in section {
                    self.exports.push(export.map_err(parse)?.name.name.to_owned());
                }
            }
            Payload::MemorySection(section) => {
                check_count("memories", section.count(), MEMORIES_MAX)?;
                for memory in section {
                    let bytes = memory.map_err(parse)?.initial.saturating_mul(PAGE_BYTES);
                    if bytes > MEMORY_BYTES_CEILING as u64 {
                        return Err(too_many(format!(
                            "a memory of {bytes} bytes to begin with; at most {MEMORY_BYTES_CEILING} are given"
                        )));
                    }
                }
            }
            Payload::TableSection(section) => {
                check_count("tables", section.count(), TABLES_MAX)?;
                for table in section {
                    let entries = table.map_err(parse)?.ty.initial;
                    if entries > TABLE_ELEMENTS_MAX as u64 {
                        return Err(too_many(format!(
                            "a table of {entries} entries; at most {TABLE_ELEMENTS_MAX} are given"
                        )));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn check_count(what: &str, count: u32, max: u32) -> Result<(), InstallError> {
    if count <= max { Ok(()) } else { Err(too_many(format!("{count} {what} in one module; at most {max} are given"))) }
}

fn too_many(message: String) -> InstallError {
    InstallError::new(InstallCode::TooManyResources, message)
}

fn invalid(message: String) -> InstallError {
    InstallError::new(InstallCode::InvalidComponent, printable(&message, 1_000))
}

/// `package/interface@version`, as far as it goes.
struct Name<'a> {
    package: &'a str,
    interface: &'a str,
    version: Option<Version>,
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let (path, version) = name.split_once('@').map_or((name, None), |(path, version)| (path, Some(version)));
        let (package, interface) = path.split_once('/')?;
        let version = match version {
            Some(text) => Some(Version::parse(text).ok()?),
            None => None,
        };
        Some(Self { package, interface, version })
    }

    fn is_release_of(&self, major: u64, minor: u64) -> bool {
        self.version.as_ref().is_some_and(|v| v.major == major && v.minor == minor && v.pre.is_empty())
    }
}

/// Checks one import of a component that is a source where it `pulls`.
fn check_import(name: &str, pulls: bool) -> Result<(), InstallError> {
    let unknown = |more: &str| {
        let message = format!("it imports {}, which this engine does not offer{more}", printable(name, 200));
        Err(InstallError::new(InstallCode::UnknownImport, message))
    };
    let Some(parsed) = Name::parse(name) else { return unknown("") };
    if parsed.package == CONTRACT {
        if !parsed.is_release_of(0, 1) {
            return Err(other_version(name));
        }
        return match parsed.interface {
            interface if v0_1::IMPORTS.contains(&interface) => Ok(()),
            v0_1::IMPORT_OF_SOURCES if pulls => Ok(()),
            v0_1::IMPORT_OF_SOURCES => unknown(
                " to a plugin that does not export source: an integrator returns its request from transform, a sync \
                 target from encode",
            ),
            _ => unknown("; the contract has log, config, secrets, state and, for a source, http"),
        };
    }
    let linked = wasi::is_linked(parsed.package, parsed.interface);
    match (parsed.package.starts_with("wasi:"), linked, parsed.is_release_of(0, 2)) {
        (true, true, true) => Ok(()),
        (true, true, false) => unknown("; of WASI it knows version 0.2"),
        (true, false, _) => unknown(": plugins have no files, sockets or HTTP of their own"),
        (false, ..) => unknown("; a plugin imports the contract and the plain part of WASI 0.2 only"),
    }
}

/// What the exports lack of the contract, or have of another version.
fn check_exports(exports: &[String]) -> Vec<InstallError> {
    let contract: Vec<(&str, Name<'_>)> = exports
        .iter()
        .filter_map(|name| Name::parse(name).map(|parsed| (name.as_str(), parsed)))
        .filter(|(_, parsed)| parsed.package == CONTRACT)
        .collect();
    let others: Vec<_> = contract.iter().filter(|(_, parsed)| !parsed.is_release_of(0, 1)).collect();
    if !others.is_empty() {
        return others.into_iter().map(|(name, _)| other_version(name)).collect();
    }
    let has = |interface: &str| contract.iter().any(|(_, parsed)| parsed.interface == interface);
    let version = v0_1::VERSION;
    let full = |interface: &str| format!("{CONTRACT}/{interface}@{version}.x");
    let fills = v0_1::EXPORTS.into_iter().any(|(interface, _)| has(interface));
    let mut missing = Vec::new();
    if !has(v0_1::EXPORT_OF_ALL) {
        missing.push(full(v0_1::EXPORT_OF_ALL));
    }
    if !fills {
        missing.push(v0_1::EXPORTS.map(|(interface, _)| full(interface)).join(" or "));
    }
    if missing.is_empty() {
        return Vec::new();
    }
    let mut message = format!("it does not export {}", missing.join(", nor "));
    let known = |interface: &str| {
        let ours = v0_1::EXPORTS.into_iter().map(|(interface, _)| interface);
        ours.chain([v0_1::EXPORT_OF_ALL]).any(|known| known == interface)
    };
    let unknown = contract.iter().filter(|(_, parsed)| !known(parsed.interface));
    let unknown: Vec<_> = unknown.map(|(name, _)| printable(name, 200)).take(COMPLAINTS_MAX).collect();
    if !unknown.is_empty() {
        message.push_str(&format!("; it exports {}, which the contract does not have", unknown.join(" and ")));
    }
    let worlds = v0_1::EXPORTS.map(|(_, world)| format!("world {}", world.code()));
    message.push_str(&format!(". Build it for {} of {CONTRACT}@{version}", worlds.join(" or ")));
    vec![InstallError::new(InstallCode::WrongWorld, message)]
}

fn other_version(name: &str) -> InstallError {
    InstallError::new(
        InstallCode::UnsupportedVersion,
        format!(
            "it speaks {}; this engine knows {CONTRACT} {}.x. Rebuild it for that version, or update the engine",
            printable(name, 200),
            v0_1::VERSION
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<(), InstallError>) -> Result<(), InstallCode> {
        result.map_err(|error| error.code)
    }

    #[test]
    fn isolation_17_what_is_no_component_is_named_at_first_glance() {
        for (bytes, word) in [
            (&b""[..], "no WebAssembly"),
            (b"\0asm", "core module"),
            (b"\0asm\x01\0\0\0", "core module"),
            (b"  (component)", "text"),
            (b"PK\x03\x04", "no WebAssembly"),
        ] {
            let error = at_first_glance(bytes).unwrap_err();
            assert_eq!(error.code, InstallCode::NotAComponent);
            assert!(error.message.contains(word), "{}", error.message);
        }
        assert_eq!(code(at_first_glance(&vec![0; COMPONENT_BYTES_MAX + 1])), Err(InstallCode::TooLarge));
    }

    #[test]
    fn isolation_18_imports_are_known_by_name_and_version() {
        for name in [
            "engate:plugin/log@0.1.0",
            "engate:plugin/types@0.1.7",
            "wasi:io/streams@0.2.6",
            "wasi:random/insecure-seed@0.2.0",
        ] {
            assert_eq!(code(check_import(name, false)), Ok(()), "{name}");
        }
        for name in [
            "wasi:sockets/tcp@0.2.0",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:io/streams@0.3.0",
            "wasi:io/streams",
            "env",
            "acme:x/y@1.0.0",
            "engate:plugin/http@0.1.0",
            "engate:plugin/clock@0.1.0",
            "engate:plugin/log@x",
        ] {
            assert_eq!(code(check_import(name, false)), Err(InstallCode::UnknownImport), "{name}");
        }
        assert_eq!(code(check_import("engate:plugin/http@0.1.0", true)), Ok(()), "a source");
        for name in ["engate:plugin/log@0.2.0", "engate:plugin/log@1.0.0", "engate:plugin/log"] {
            assert_eq!(code(check_import(name, false)), Err(InstallCode::UnsupportedVersion), "{name}");
        }
    }

    #[test]
    fn isolation_18_exports_must_fill_a_world() {
        let exports = |names: &[&str]| check_world(&[], &names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            code(exports(&["engate:plugin/plugin@0.1.0", "engate:plugin/delivery@0.1.0", "wasi:cli/run@0.2.0"])),
            Ok(())
        );
        assert_eq!(code(exports(&["engate:plugin/plugin@0.1.0", "engate:plugin/inbound@0.1.0"])), Ok(()));
        assert_eq!(code(exports(&["wasi:cli/run@0.2.0"])), Err(InstallCode::WrongWorld));
        let nothing = exports(&["engate:plugin/plugin@0.1.0"]).unwrap_err();
        assert!(nothing.message.contains("delivery@0.1.x or engate:plugin/inbound@0.1.x"), "{nothing}");
        assert!(nothing.message.contains("world integrator or world receiver or world sync-target"), "{nothing}");
        assert_eq!(code(exports(&["engate:plugin/inbound@0.1.0"])), Err(InstallCode::WrongWorld));
        assert_eq!(code(exports(&["engate:plugin/plugin@0.1.0", "engate:plugin/sink@0.1.0"])), Ok(()));
        let both = ["engate:plugin/plugin@0.1.0", "engate:plugin/source@0.1.0", "engate:plugin/sink@0.1.0"];
        assert_eq!(code(exports(&both)), Ok(()));
        let next = exports(&["engate:plugin/plugin@0.2.0", "engate:plugin/delivery@0.2.0"]).unwrap_err();
        assert!(next.code == InstallCode::UnsupportedVersion && next.message.contains("0.1.x"), "{next}");
    }
    #[test]
    fn isolation_18_all_that_is_missing_or_unknown_is_named_at_once() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let imports = names(&["wasi:sockets/tcp@0.2.0", "engate:plugin/log@0.1.0", "acme:x/y@1.0.0"]);
        let error = check_world(&imports, &names(&["engate:plugin/delivry@0.1.0"])).unwrap_err();
        assert_eq!(error.code, InstallCode::UnknownImport);
        for word in [
            "wasi:sockets/tcp@0.2.0",
            "acme:x/y@1.0.0",
            "does not export engate:plugin/plugin@0.1.x, nor engate:plugin/delivery@0.1.x or",
            "engate:plugin/delivry@0.1.0, which the contract does not have",
        ] {
            assert!(error.message.contains(word), "{word}: {}", error.message);
        }
        assert!(!error.message.contains("engate:plugin/log"), "{}", error.message);
        let many: Vec<_> = (0..40).map(|n| format!("acme:x/y{n}@1.0.0")).collect();
        let error = check_world(&many, &[]).unwrap_err();
        assert!(error.message.ends_with("and 25 more") && error.message.len() < 4_000, "{}", error.message);
        let both = names(&["engate:plugin/plugin@0.2.0", "engate:plugin/delivery@0.3.0"]);
        let error = check_world(&[], &both).unwrap_err();
        assert!(both.iter().all(|name| error.message.contains(name.as_str())), "{}", error.message);
    }
}
