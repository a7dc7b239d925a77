//! The plugin host: the only crate that knows wasmtime.
//!
//! Who acts here:
//! - the **[`Host`]** owns the wasmtime engine, the pool of instances, the clock of ticks and the cache of compiled
//!   code. It installs components, loads them when they are needed and drops them when they are idle;
//! - the **compiling child** ([`compile_child_main`]) is the only code that ever validates or compiles a component
//!   that came from outside. It runs in a process of its own, under limits it sets on itself, so that a component
//!   made to break a compiler breaks that process;
//! - a **call** ([`Host::transform`], [`Host::interpret`], [`Host::receive`]; for a sync [`Host::sink_encode`] and its kin,
//!   and [`Host::source_pull`]) runs one function of one plugin in an instance that nobody else sees, under limits on processor time, wall time, memory, host calls and output, and comes back
//!   with an answer that has been checked, or with a [`Fault`](engate_model::plugin::Fault) that is one delivery's alone.
//!
//! What never happens here: no socket is opened (a source's requests are checked here and sent by the caller's
//! [`HttpDoer`]), no database is read, no clock is asked for what a plugin sees (its
//! only clock is `attempt.now`, or `call.now`), no guest behaviour panics the process, and no secret reaches a log or an error.
//!
//! Each released version of the contract (`wit/v0.1`) has a module of its own ([`v0_1`]) with its bindings, its
//! imports and its conversions; everything else here speaks the engine's types only.

mod cache;
mod call;
mod code;
mod compile;
mod config;
mod digest;
mod engine;
mod error;
mod fault;
#[cfg(test)]
mod fuzz;
mod host;
mod http;
mod inspect;
mod install;
mod instance;
mod libraries;
mod limiter;
mod loaded;
mod log;
mod manifest;
mod mapped;
mod parts;
mod reception;
mod request;
mod run;
mod schema;
mod secrets;
mod state;
mod syncing;
mod ticker;
mod v0_1;
mod warm;
mod wasi;

pub use call::{
    AttemptView, CallContext, CallFailed, CallRecord, DeliveryView, EndpointView, EventView, IdText, InterpretCall,
    InterpretDone, OutgoingRequest, Plan, Reuse, TransformCall, TransformDone,
};
pub use code::Effort;
pub use compile::compile_child_main;
pub use config::{CompilerCommand, HostConfig};
pub use digest::Digest;
pub use error::{HostError, InstallCode, InstallError};
pub use host::{Host, HostStats};
pub use http::{HttpAccess, HttpAnswer, HttpBudget, HttpDoer, HttpFailure};
pub use install::Installed;
pub use loaded::LoadedPlugin;
pub use reception::{InboundAnswer, InboundEvent, ReceiveCall, ReceiveDone, Reception};
pub use request::{check_host_pattern, host_granted};
pub use schema::validate_config;
pub use secrets::{GrantedSecret, Secrets};
pub use syncing::{SinkCloseCall, SinkEncodeCall, SinkOpenCall, SinkSettleCall, SourcePullCall, SyncContext, SyncDone};
