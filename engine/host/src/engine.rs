//! One wasmtime engine, configured once: the compiling child and the host must agree on every setting that shapes
//! machine code, and differ only in how instances are allocated.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use wasmtime::{
    CacheStore, Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    RegallocAlgorithm,
};

use crate::{code::Effort, config::MEMORY_BYTES_CEILING, digest::write_hex, error::HostError};

/// Core instances inside one component: a linked Python guest has some twenty libraries.
pub(crate) const CORE_INSTANCES_MAX: u32 = 64;
/// Linear memories inside one component; each takes a permit of the pool.
pub(crate) const MEMORIES_MAX: u32 = 4;
/// Tables inside one component.
pub(crate) const TABLES_MAX: u32 = 16;
/// Entries of one table: an interpreter's function table has some 20,000.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 65_536;

/// Stack of the guest, in bytes; beyond it is `stack_overflow`. Code that was compiled quickly takes more than twice as
/// much of it as optimised code: an interpreter inside a guest did not get by with half.
const WASM_STACK_BYTES: usize = 1 << 20;
/// Stack of the fiber a call runs on: the guest's and that of the host functions it calls.
const FIBER_STACK_BYTES: usize = 2 << 20;
/// Bytes of a memory that are cleaned in place rather than given back, where the kernel can tell which were written.
const MEMORY_KEEP_RESIDENT_BYTES: usize = 512 << 10;
/// The same for tables.
const TABLE_KEEP_RESIDENT_BYTES: usize = 256 << 10;
/// Unused slots of the pool that keep their plugin's memory image.
const WARM_SLOTS_MAX: u32 = 32;
/// The smallest pool worth running with.
const POOL_INSTANCES_MIN: u32 = 16;

/// An engine that only compiles; `metered` code counts its instructions. Where `parts` are given, functions that are
/// in them are not compiled again.
///
/// # Errors
/// What wasmtime says.
pub(crate) fn compiler(metered: bool, effort: Effort, parts: Option<Arc<dyn CacheStore>>) -> wasmtime::Result<Engine> {
    let mut config = code_settings(metered);
    if effort == Effort::Quick {
        // Neither changes what code does or how it is called, so that one engine runs both kinds.
        config.cranelift_opt_level(OptLevel::None).cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
        // Nobody reads offsets or unwinds natively: a trap's report names functions, which it finds by frame pointers.
        config.generate_address_map(false).native_unwind_info(false);
    }
    if let Some(parts) = parts {
        config.enable_incremental_compilation(parts)?;
    }
    Engine::new(&config)
}

/// An engine that runs plugins compiled for the same `metered`, and how many instances it holds. Where the address space for `instances` is not to
/// be had, half of them are tried, and so on.
///
/// # Errors
/// [`HostError::Pool`] where not even the smallest pool can be reserved.
pub(crate) fn runner(instances: u32, metered: bool) -> Result<(Engine, u32), HostError> {
    let tuned = may_tune();
    let mut instances = instances.max(POOL_INSTANCES_MIN);
    loop {
        let mut config = code_settings(metered);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances, tuned)));
        match Engine::new(&config) {
            Ok(engine) => return Ok((engine, instances)),
            Err(error) if instances / 2 >= POOL_INSTANCES_MIN => {
                tracing::warn!(
                    instances,
                    error = format!("{error:#}"),
                    "no address space for the plugin pool; halving it"
                );
                instances /= 2;
            }
            Err(error) => return Err(HostError::Pool { instances, cause: format!("{error:#}") }),
        }
    }
}

/// Everything that machine code depends on: processor, flags, features and the full wasmtime version, as 64
/// hexadecimal digits.
pub(crate) fn compatibility(engine: &Engine) -> String {
    let mut hasher = Sha256Hasher(ring::digest::Context::new(&ring::digest::SHA256));
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let mut text = String::with_capacity(64);
    // Writing to a String does not fail.
    let _ = write_hex(&mut text, hasher.0.finish().as_ref());
    text
}

fn code_settings(metered: bool) -> Config {
    let mut config = Config::new();
    config
        // Time is bounded by epochs, metered or not: fuel only counts.
        .epoch_interruption(true)
        .consume_fuel(metered)
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .memory_init_cow(true)
        // Not needed by any toolchain that was tried, and a surface of its own. Several memories in one module are
        // refused in what is installed; wasmtime's own adapters between nested components (TypeScript) have them.
        .wasm_memory64(false)
        // Its results may differ between processors; a recorded call must repeat exactly.
        .wasm_relaxed_simd(false);
    config
}

fn pool(instances: u32, tuned: bool) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_memories(instances)
        .total_stacks(instances)
        .total_tables(instances.saturating_mul(TABLES_MAX))
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_MAX))
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .max_memories_per_module(1)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(MEMORY_BYTES_CEILING);
    if tuned {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES)
            .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
            .max_unused_warm_slots(WARM_SLOTS_MAX);
    }
    pool
}

/// Whether slots may be cleaned in place. With swap they may not: wasmtime 48.0.8 does not see a dirty page that was
/// swapped out, and the next instance in that slot could read it.
fn may_tune() -> bool {
    if !PoolingAllocationConfig::is_pagemap_scan_available() {
        tracing::info!("plugin instances are given back whole: the kernel has no PAGEMAP_SCAN (Linux 6.7 has it)");
        return false;
    }
    if machine_has_swap() {
        tracing::info!("plugin instances are given back whole, which is slower: this machine has swap");
        return false;
    }
    tracing::info!("plugin instances are cleaned in place: no swap on this machine");
    true
}

/// Whether a swap area is in use; also true where that cannot be told.
fn machine_has_swap() -> bool {
    std::fs::read_to_string("/proc/swaps")
        .map_or(true, |table| table.lines().skip(1).any(|line| !line.trim().is_empty()))
}

/// Feeds what wasmtime hashes into sha256, so that the result is the same in every process and build of std.
struct Sha256Hasher(ring::digest::Context);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
