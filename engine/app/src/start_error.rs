//! Why an engine did not start.

use std::net::SocketAddr;

/// Why the engine did not start; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder or file cannot be used.
    #[error("{what}: {cause}")]
    Files {
        /// Which, and what for.
        what: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}; choose another with --listen")]
    Listen {
        /// The address wanted.
        address: SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The database cannot be used.
    #[error("database: {0}")]
    Store(#[from] engate_store::StoreError),
    /// A setting that only shows itself to be wrong when used.
    #[error("{0}")]
    Setting(String),
}
