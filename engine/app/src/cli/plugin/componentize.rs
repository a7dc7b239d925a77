//! Makes a component of a core module, so that any language that compiles to WebAssembly can write a plugin.

use std::path::Path;

use serde::Deserialize;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract of this version.
pub(super) const CONTRACT: &str = include_str!("../../../../../wit/v0.1/engate.wit");
/// The world that a module is taken for.
const WORLD: &str = "integrator";
/// What a section is called in which a module carries its world.
const METADATA: &str = "component-type";
/// What a component begins with: `\0asm`, then version 13 of layer 1.
const COMPONENT_HEADER: [u8; 8] = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];

/// How a core module's strings are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    /// Most languages.
    #[default]
    Utf8,
    /// AssemblyScript, JavaScript engines, .NET.
    Utf16,
}

/// What a core module is made a component with.
#[derive(Debug, Default)]
pub(super) struct Recipe<'a> {
    /// File or folder of the contract; none: [`CONTRACT`]. A module that carries its world needs none.
    pub(super) wit: Option<&'a Path>,
    /// Adapter for imports of `wasi_snapshot_preview1`, `.wasm` or `.wat`; none: wasmtime's for libraries.
    pub(super) adapter: Option<&'a Path>,
    /// Of a module that does not carry its world.
    pub(super) encoding: Encoding,
}

/// Whether it is a component already.
pub(super) fn is_component(bytes: &[u8]) -> bool {
    bytes.starts_with(&COMPONENT_HEADER)
}

/// The component that `module` becomes.
///
/// # Errors
/// Why not, in words for the plugin's author.
pub(super) fn componentize(mut module: Vec<u8>, recipe: &Recipe<'_>) -> Result<Vec<u8>, String> {
    let chain = |error: &dyn std::fmt::Display| format!("no component can be made of it: {error:#}");
    if !carries_world(&module).map_err(|error| format!("this is no WebAssembly module: {error}"))? {
        let (resolve, world) = contract(recipe.wit)?;
        let encoding = match recipe.encoding {
            Encoding::Utf8 => StringEncoding::UTF8,
            Encoding::Utf16 => StringEncoding::UTF16,
        };
        embed_component_metadata(&mut module, &resolve, world, encoding).map_err(|error| chain(&error))?;
    }
    let adapter = match recipe.adapter {
        Some(path) => wat::parse_file(path).map_err(|error| format!("adapter: {error}"))?,
        None => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER.to_vec(),
    };
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, &adapter))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("no component can be made of it: {error:#}"))
}

fn contract(path: Option<&Path>) -> Result<(Resolve, wit_parser::WorldId), String> {
    let mut resolve = Resolve::default();
    let package = match path {
        Some(path) => resolve.push_path(path).map(|(package, _)| package),
        None => resolve.push_str("engate.wit", CONTRACT),
    };
    let package = package.map_err(|error| format!("wit: {error:#}"))?;
    let world = resolve.select_world(&[package], Some(WORLD)).map_err(|error| format!("wit: {error:#}"))?;
    Ok((resolve, world))
}

/// Whether wit-bindgen or a like tool left the module's world in it.
pub(super) fn carries_world(module: &[u8]) -> Result<bool, wasmparser::BinaryReaderError> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload?
            && section.name().starts_with(METADATA)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_become_a_component_says_why() {
        let made = |wat: &str| componentize(wat::parse_str(wat).unwrap(), &Recipe::default());
        let missing = made("(module (memory (export \"memory\") 1))").unwrap_err();
        assert!(missing.contains("describe"), "{missing}");
        let unknown = made(r#"(module (import "env" "clock" (func)))"#).unwrap_err();
        assert!(unknown.contains("env"), "{unknown}");
        assert!(componentize(b"(module)".to_vec(), &Recipe::default()).unwrap_err().contains("no WebAssembly"));
        assert!(is_component(b"\0asm\x0d\0\x01\0...") && !is_component(b"\0asm\x01\0\0\0"));
    }
}
