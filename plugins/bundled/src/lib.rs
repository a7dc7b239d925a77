//! The plugins that come with the engine. This crate's build compiles them to components and carries them in the binary;
//! the engine installs them as it would any other.

/// A plugin that comes with the engine.
#[derive(Debug, Clone, Copy)]
pub struct BundledPlugin {
    /// The name it is installed under, which is its manifest's id.
    pub name: &'static str,
    /// The WebAssembly component.
    pub wasm: &'static [u8],
}

/// All of them, by name.
pub static PLUGINS: &[BundledPlugin] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));
