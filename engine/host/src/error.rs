//! What can go wrong outside of a call: starting the host, installing a component.

use serde::{Deserialize, Serialize};

/// Why the host could not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The cache of compiled code cannot be used.
    #[error(
        "the plugin cache at {path} cannot be used: {cause}; give the engine a directory of its own that it may write"
    )]
    Cache {
        /// Its directory.
        path: String,
        /// What the system said.
        cause: String,
    },
    /// The address space for the pool of instances cannot be reserved.
    #[error(
        "no address space for {instances} plugin instances: {cause}; lift the limit on address space (ulimit -v) or \
         lower the number of plugin instances"
    )]
    Pool {
        /// Instances asked for at the last try.
        instances: u32,
        /// What wasmtime said.
        cause: String,
    },
    /// The settings contradict each other.
    #[error("{0}")]
    Config(String),
    /// wasmtime refused its configuration or its interfaces: a defect of this build.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
}

/// Why a component is not installed: a stable code and a sentence that names the thing and the cure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {message}", code.code())]
pub struct InstallError {
    /// Which check failed.
    pub code: InstallCode,
    /// For the plugin's developer.
    pub message: String,
}

impl InstallError {
    /// A refusal.
    pub(crate) fn new(code: InstallCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Which check of an installation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstallCode {
    /// Longer than the engine takes.
    TooLarge,
    /// Text, a core module or something else altogether.
    NotAComponent,
    /// A component, but not a valid one.
    InvalidComponent,
    /// It lacks an interface that the contract asks for, or exports it with other types.
    WrongWorld,
    /// It imports what the engine does not offer.
    UnknownImport,
    /// It speaks a version of the contract that this engine does not know.
    UnsupportedVersion,
    /// Memories, tables or instances beyond the limits before it even runs.
    TooManyResources,
    /// The compiler gave up, or ran out of memory or processor time.
    CompileFailed,
    /// The compiler took too long.
    CompileTimeout,
    /// `describe` did not answer.
    DescribeFailed,
    /// What `describe` answered cannot be taken.
    BadManifest,
    /// The engine itself could not do it (a full disk); nothing is wrong with the component.
    Unavailable,
}

impl InstallCode {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotAComponent => "not_a_component",
            Self::InvalidComponent => "invalid_component",
            Self::WrongWorld => "wrong_world",
            Self::UnknownImport => "unknown_import",
            Self::UnsupportedVersion => "unsupported_version",
            Self::TooManyResources => "too_many_resources",
            Self::CompileFailed => "compile_failed",
            Self::CompileTimeout => "compile_timeout",
            Self::DescribeFailed => "describe_failed",
            Self::BadManifest => "bad_manifest",
            Self::Unavailable => "unavailable",
        }
    }
}
