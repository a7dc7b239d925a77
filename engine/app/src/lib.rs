//! Engate, the integration engine: the crate that wires the others together.
//!
//! Who acts here: [`serve::Server`] starts and stops everything; [`engine::Engine`] holds what the rooms share;
//! `accept` takes events in; `worker` carries deliveries out; `verbs` are what operators do, called by `api`
//! (and by a console later), which hold no pool and know no SQL; `cli` speaks the HTTP API like anyone else.

pub(crate) mod accept;
pub(crate) mod api;
pub(crate) mod callbacks;
pub(crate) mod carried;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub(crate) mod first_start;
pub(crate) mod health;
mod hexadecimal;
pub(crate) mod inbound;
pub(crate) mod installation;
pub(crate) mod language;
pub(crate) mod listener;
mod media_type;
pub(crate) mod metrics;
mod own_origin;
pub(crate) mod paths;
mod payloads;
#[doc(hidden)]
pub mod planted;
pub(crate) mod plugin_calls;
pub(crate) mod proxies;
pub(crate) mod pulling;
pub(crate) mod rates;
pub(crate) mod replay;
pub(crate) mod retention;
mod revealed;
pub(crate) mod scheduler;
pub mod serve;
pub mod start_error;
pub(crate) mod strangers;
pub(crate) mod sync;
mod tag_key;
pub mod telemetry;
pub(crate) mod tls;
pub(crate) mod upkeep;
pub(crate) mod verbs;
pub(crate) mod views;
pub(crate) mod worker;
