//! The one `unsafe` of the engine: machine code from a file becomes a component, or a library of one.

use std::path::Path;

use wasmtime::{Engine, Module, component::Component};

/// Maps compiled code whose seal the cache has just checked.
///
/// # Errors
/// What wasmtime says: another engine's code, another version's, a file that is none.
#[expect(unsafe_code, reason = "wasmtime cannot tell its own machine code from someone else's")]
pub(crate) fn map(engine: &Engine, sealed: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file must hold what `Engine::precompile_component` wrote, and must not change while it is mapped.
    // `cache::Cache` is the only caller. It hands over files of its own directory (mode 0700, so that only this
    // user's processes write there, and none does so in place: files come by rename and go by unlink, which leave a
    // mapped inode as it is), right after checking the seal over the file's bytes, which only `Cache::store` writes,
    // for output of the compiling child.
    unsafe { Component::deserialize_file(engine, sealed) }
}

/// Maps the compiled code of a library whose seal the cache has just checked.
///
/// # Errors
/// As [`map`].
#[expect(unsafe_code, reason = "as above")]
pub(crate) fn map_library(engine: &Engine, sealed: &Path) -> wasmtime::Result<Module> {
    // SAFETY: as above, with what `Engine::precompile_module` wrote. A file of the other kind is refused by wasmtime.
    unsafe { Module::deserialize_file(engine, sealed) }
}
