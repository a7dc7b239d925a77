//! The one `unsafe` of the engine: machine code from a file becomes a component.

use std::path::Path;

use wasmtime::{Engine, component::Component};

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
