//! Write an Engate plugin in Rust: implement [`Integrator`], then one line, [`export!`]; or, for a partner that calls us,
//! [`Receiver`] and [`export_receiver!`]. The two sides of a sync job are [`Sink`] with [`export_sink!`] and [`Source`] with
//! [`export_source!`].
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
pub mod http;
mod integrator;
pub mod log;
mod manifest;
mod outcome;
mod payload;
mod pointer;
mod receiver;
mod request;
pub mod secrets;
mod sink;
mod source;
pub mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod time;

pub use integrator::{Context, Integrator};
pub use receiver::Receiver;
pub use sink::{Sent, Sink};
pub use source::{Pull, Source};

#[doc(inline)]
pub use bindings::delivering::exports::engate::plugin::delivery::{
    Attempt, DeliveryInfo as Delivery, Endpoint, Event, Exchange, Outgoing, Plan, Verdict,
};
#[doc(inline)]
pub use bindings::describing::engate::plugin::types::{
    Change, HttpRequest as Request, HttpResponse as Response, Operation, Payload, Problem, Retry,
};
#[doc(inline)]
pub use bindings::describing::exports::engate::plugin::plugin::{InterpretWhen, Manifest, Need};

#[doc(inline)]
pub use bindings::receiving::exports::engate::plugin::inbound::{Answer, Call, NewEvent};

#[doc(inline)]
pub use bindings::sinking::exports::engate::plugin::sink::{
    Column, ColumnKind, Page, Pass, Rejection, Settlement, StreamInfo as Stream, Totals,
};
#[doc(inline)]
pub use bindings::sourcing::exports::engate::plugin::source::Page as Feed;

#[doc(hidden)]
pub use integrator::Guest as __Guest;
#[doc(hidden)]
pub use receiver::ReceiverGuest as __ReceiverGuest;
#[doc(hidden)]
pub use sink::SinkGuest as __SinkGuest;
#[doc(hidden)]
pub use source::SourceGuest as __SourceGuest;

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

/// Makes the given [`Sink`] the component's plugin; with a [`Source`] beside it, both worlds in one. Once per crate, and not
/// beside [`export!`]; natively it only checks the types.
#[macro_export]
macro_rules! export_sink {
    ($sink:ty) => {
        $crate::export_sink!(@checked $sink);
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the component's entry points, generated")]
        const _: () = {
            type Guest = $crate::__SinkGuest<$sink>;
    $crate::bindings::describing::export_plugin!(Guest with_types_in $crate::bindings::describing);
    $crate::bindings::sinking::export_sink!(Guest with_types_in $crate::bindings::sinking);
        };
    };
    ($sink:ty, $source:ty) => {
        $crate::export_sink!($sink);
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the component's entry points, generated")]
        const _: () = {
            type Feed = $crate::__SourceGuest<$source>;
    $crate::bindings::sourcing::export_source!(Feed with_types_in $crate::bindings::sourcing);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            const fn is_a_source<P: $crate::Source>() {}
            is_a_source::<$source>()
        };
    };
    (@checked $sink:ty) => {
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            const fn is_a_sink<P: $crate::Sink>() {}
            is_a_sink::<$sink>()
        };
    };
}

/// Makes the given [`Source`] the component's plugin. Once per crate, and not beside [`export!`]; natively it only checks the
/// type.
#[macro_export]
macro_rules! export_source {
    ($source:ty) => {
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            const fn is_a_source<P: $crate::Source>() {}
            is_a_source::<$source>()
        };

        // Only in a component do the exports have a meaning: natively their names are not even fit for a linker.
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the component's entry points, generated")]
        const _: () = {
            type Guest = $crate::__SourceGuest<$source>;
    $crate::bindings::describing::export_plugin!(Guest with_types_in $crate::bindings::describing);
    $crate::bindings::sourcing::export_source!(Guest with_types_in $crate::bindings::sourcing);
        };
    };
}
