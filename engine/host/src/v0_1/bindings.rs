//! Generated from `wit/v0.1`: not written by hand, not documented twice.

// One world over those that are installed, so that what they share is one set of types. Owned types: the copies of
// an event cost well under a microsecond, those of a page of 8 MiB a millisecond or two.
wasmtime::component::bindgen!({
    path: "../../wit/v0.1",
    inline: "
        package engate:host;
        world installed {
            include engate:plugin/integrator@0.1.0;
            include engate:plugin/receiver@0.1.0;
            include engate:plugin/sync-target@0.1.0;
            include engate:plugin/sync-source@0.1.0;
        }
    ",
    world: "engate:host/installed",
    imports: { "engate:plugin/http.send": async | trappable, default: trappable },
    exports: { default: async },
});
