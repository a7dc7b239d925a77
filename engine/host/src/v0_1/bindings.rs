//! Generated from `wit/v0.1`: not written by hand, not documented twice.

// One world over those that are installed, so that what they share is one set of types. Owned types: for a record that
// no function of the world uses (`change`), bindgen 48 generates borrowed fields without their lifetime. The copies
// cost well under a microsecond.
wasmtime::component::bindgen!({
    path: "../../wit/v0.1",
    inline: "
        package engate:host;
        world installed {
            include engate:plugin/integrator@0.1.0;
            include engate:plugin/receiver@0.1.0;
        }
    ",
    world: "engate:host/installed",
    imports: { default: trappable },
    exports: { default: async },
});
