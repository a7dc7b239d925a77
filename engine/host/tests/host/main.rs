//! The host from outside: real components, the real compiling child, hostile guests. Case numbers are those of the
//! list of hostile plugins (27 cases) in the design.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the exception for tests does not reach the helpers beside them"
)]

mod cache;
mod calls;
mod fuzz;
mod guests;
mod hostile;
mod install;
mod ladder;
mod libraries;
mod metered;
mod pulling;
mod receiving;
mod rig;
mod syncing;
mod warm;
