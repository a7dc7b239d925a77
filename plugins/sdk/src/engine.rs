//! The one door to the engine's imports: the real ones in a component, the fake of `testing` natively.

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::{
    describing::engate::plugin::{config, log, secrets, state},
    sourcing::engate::plugin::http,
};
#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::imports::{config, http, log, secrets, state};
