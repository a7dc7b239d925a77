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

/// What every plugin has: its manifest, what it may ask of the engine, and the types of all.
pub mod describing {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        inline: "
            package engate:sdk;
            world describing {
                import engate:plugin/log@0.1.0;
                import engate:plugin/config@0.1.0;
                import engate:plugin/secrets@0.1.0;
                import engate:plugin/state@0.1.0;
                export engate:plugin/plugin@0.1.0;
            }
        ",
        world: "describing",
        pub_export_macro: true,
        export_macro_name: "export_plugin",
        default_bindings_module: "engate_sdk::bindings::describing",
        additional_derives: [PartialEq, Eq],
        generate_all,
    });
}

/// With [`describing`] the world `integrator`. The worlds come in parts, which the linker puts together: an export that two
/// of them have could be generated once only.
pub mod delivering {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        inline: "
            package engate:sdk;
            world delivering { export engate:plugin/delivery@0.1.0; }
        ",
        world: "delivering",
        pub_export_macro: true,
        export_macro_name: "export_delivery",
        default_bindings_module: "engate_sdk::bindings::delivering",
        additional_derives: [PartialEq, Eq],
        generate_all,
        with: { "engate:plugin/types@0.1.0": crate::bindings::describing::engate::plugin::types },
    });
}

/// With [`describing`] the world `receiver`.
pub mod receiving {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        inline: "
            package engate:sdk;
            world receiving { export engate:plugin/inbound@0.1.0; }
        ",
        world: "receiving",
        pub_export_macro: true,
        export_macro_name: "export_inbound",
        default_bindings_module: "engate_sdk::bindings::receiving",
        additional_derives: [PartialEq, Eq],
        generate_all,
        with: { "engate:plugin/types@0.1.0": crate::bindings::describing::engate::plugin::types },
    });
}

/// With [`describing`] the world `sync-target`.
pub mod sinking {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        inline: "
            package engate:sdk;
            world sinking { export engate:plugin/sink@0.1.0; }
        ",
        world: "sinking",
        pub_export_macro: true,
        export_macro_name: "export_sink",
        default_bindings_module: "engate_sdk::bindings::sinking",
        additional_derives: [PartialEq, Eq],
        generate_all,
        with: { "engate:plugin/types@0.1.0": crate::bindings::describing::engate::plugin::types },
    });
}

/// With [`describing`] the world `sync-source`, whose import is its own: no other plugin may ask for HTTP.
pub mod sourcing {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        inline: "
            package engate:sdk;
            world sourcing { import engate:plugin/http@0.1.0; export engate:plugin/source@0.1.0; }
        ",
        world: "sourcing",
        pub_export_macro: true,
        export_macro_name: "export_source",
        default_bindings_module: "engate_sdk::bindings::sourcing",
        additional_derives: [PartialEq, Eq],
        generate_all,
        with: { "engate:plugin/types@0.1.0": crate::bindings::describing::engate::plugin::types },
    });
}
