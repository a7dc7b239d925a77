//! What `wit-bindgen` makes of the contract. Use the names that the crate's root gives them.

#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "generated: the canonical ABI is pointers, and the WIT carries the documentation"
)]

wit_bindgen::generate!({
    world: "integrator",
    path: "../../wit/v0.1",
    pub_export_macro: true,
    export_macro_name: "export_integrator",
    default_bindings_module: "engate_sdk::bindings",
    additional_derives: [PartialEq, Eq],
});

/// The world `receiver`; what it shares with the other one is the other one's.
pub mod receiver {
    wit_bindgen::generate!({
        world: "receiver",
        path: "../../wit/v0.1",
        pub_export_macro: true,
        export_macro_name: "export_receiver",
        default_bindings_module: "engate_sdk::bindings::receiver",
        additional_derives: [PartialEq, Eq],
        with: {
            "engate:plugin/types@0.1.0": crate::bindings::engate::plugin::types,
            "engate:plugin/log@0.1.0": crate::bindings::engate::plugin::log,
            "engate:plugin/config@0.1.0": crate::bindings::engate::plugin::config,
            "engate:plugin/secrets@0.1.0": crate::bindings::engate::plugin::secrets,
            "engate:plugin/state@0.1.0": crate::bindings::engate::plugin::state,
        },
    });
}
