//! Generated from `wit/v0.1`: not written by hand, not documented twice.

wasmtime::component::bindgen!({
    path: "../../wit/v0.1",
    world: "integrator",
    imports: { default: trappable },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
