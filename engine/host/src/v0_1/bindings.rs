//! Generated from `wit/v0.1`: not written by hand, not documented twice.

// Owned types: for a record that no function of the world uses (`change`), bindgen 48 generates borrowed fields
// without their lifetime. The copies cost well under a microsecond.
wasmtime::component::bindgen!({
    path: "../../wit/v0.1",
    world: "integrator",
    imports: { default: trappable },
    exports: { default: async },
});
