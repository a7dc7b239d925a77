//! Settings: what there is to set, where a value came from, and the typed result.
//!
//! Every setting is a line in `engate.toml`, an `ENGATE_...` variable and, where it matters, a flag of
//! `engate serve`. A later source wins: default, file, variable, flag.

mod definitions;
mod load;
mod parse;
mod sources;

pub(crate) use sources::is_variable as is_connection_variable;

pub use crate::proxies::{ForwardedHeader, ProxySettings};
pub use definitions::{SETTINGS, Setting};
pub use load::{Loaded, Resolved, Source, load};
pub use parse::{
    AuditSettings, Config, ConnectionSettings, EgressSettings, FilesSettings, LimitSettings, LogFormat, LogSettings,
    TlsFiles,
};
pub use sources::NamedConnection;
