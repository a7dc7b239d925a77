//! Write an Engate plugin in Rust: implement [`Integrator`], then one line, [`export!`]; or, for a partner that calls us,
//! [`Receiver`] and [`export_receiver!`].
//!
//! Two parties meet here. The *engine* owns everything that acts: HTTP, credentials, clock, retries, storage. The
//! *plugin* only says what to send ([`Integrator::transform`]) and what an answer means ([`Integrator::interpret`]). It is
//! a pure function of its arguments and of what [`config`], [`secrets`] and [`state`] answer, and so can be replayed.
//!
//! ```
//! use engate_sdk::{Context, Event, Integrator, Manifest, Plan, Problem, Request};
//!
//! struct Hello;
//!
//! impl Integrator for Hello {
//!     fn describe() -> Manifest {
//!         Manifest::new("hello", env!("CARGO_PKG_VERSION"))
//!     }
//!
//!     fn transform(event: &Event, context: &Context) -> Result<Plan, Problem> {
//!         let name: String = event.json()?;
//!         let request = Request::post(&context.endpoint.url).json(&format!("Hello, {name}"))?;
//!         Ok(request.into())
//!     }
//! }
//!
//! engate_sdk::export!(Hello);
//!
//! # use engate_sdk::testing::{self, Host};
//! let plan = Host::new().transform::<Hello>(&testing::event("greeting").with_json("Ana"), &testing::context());
//! let sent = testing::sent(plan).request;
//! assert_eq!(sent.text(), Some(r#""Hello, Ana""#));
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` with `crate-type = ["cdylib"]` makes the component. The same crate
//! compiles natively, where the imports are served by the fake engine of `testing`: a plugin is tested by `cargo test`.

#[doc(hidden)]
pub mod bindings;
mod compact;
pub mod config;
pub mod encoding;
mod engine;
mod integrator;
pub mod log;
mod manifest;
mod outcome;
mod payload;
mod pointer;
mod receiver;
mod request;
pub mod secrets;
pub mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod time;

pub use integrator::{Context, Integrator};
pub use receiver::Receiver;

#[doc(inline)]
pub use bindings::delivering::exports::engate::plugin::delivery::{
    Attempt, DeliveryInfo as Delivery, Endpoint, Event, Exchange, Outgoing, Plan, Verdict,
};
#[doc(inline)]
pub use bindings::describing::engate::plugin::types::{
    HttpRequest as Request, HttpResponse as Response, Payload, Problem, Retry,
};
#[doc(inline)]
pub use bindings::describing::exports::engate::plugin::plugin::{InterpretWhen, Manifest, Need};

#[doc(inline)]
pub use bindings::receiving::exports::engate::plugin::inbound::{Answer, Call, NewEvent};

#[doc(hidden)]
pub use integrator::Guest as __Guest;
#[doc(hidden)]
pub use receiver::ReceiverGuest as __ReceiverGuest;

/// Makes the given [`Integrator`] the component's plugin. Once per crate; natively it only checks the type.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            const fn is_an_integrator<P: $crate::Integrator>() {}
            is_an_integrator::<$plugin>()
        };

        // Only in a component do the exports have a meaning: natively their names are not even fit for a linker.
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the component's entry points, generated")]
        const _: () = {
            type Guest = $crate::__Guest<$plugin>;
    $crate::bindings::describing::export_plugin!(Guest with_types_in $crate::bindings::describing);
    $crate::bindings::delivering::export_delivery!(Guest with_types_in $crate::bindings::delivering);
        };
    };
}

/// Makes the given [`Receiver`] the component's plugin. Once per crate, and not beside [`export!`]; natively it only checks
/// the type.
#[macro_export]
macro_rules! export_receiver {
    ($plugin:ty) => {
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            const fn is_a_receiver<P: $crate::Receiver>() {}
            is_a_receiver::<$plugin>()
        };

        // Only in a component do the exports have a meaning: natively their names are not even fit for a linker.
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the component's entry points, generated")]
        const _: () = {
            type Guest = $crate::__ReceiverGuest<$plugin>;
    $crate::bindings::describing::export_plugin!(Guest with_types_in $crate::bindings::describing);
    $crate::bindings::receiving::export_inbound!(Guest with_types_in $crate::bindings::receiving);
        };
    };
}
