//! The host's settings, and the figures behind them.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use engate_model::{Clock, plugin::Limits};

/// Largest component that is taken, in bytes.
pub(crate) const COMPONENT_BYTES_MAX: usize = 64 << 20;
/// Largest linear memory that any installation may be given, in bytes: the script class of the contract.
pub(crate) const MEMORY_BYTES_CEILING: usize = 256 << 20;
/// Processor time between two ticks: the grain of `Limits::cpu`.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Instances at a time, unless the settings say otherwise.
const POOL_INSTANCES_DEFAULT: u32 = 256;
/// How long a plugin stays loaded without a call, unless the settings say otherwise.
const IDLE_AFTER_DEFAULT: Duration = Duration::from_secs(600);
/// Wall time of one compilation: Python's 18 MiB take 10 s on a 2-core machine.
const COMPILE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// Processor time of one compilation, over all its threads.
const COMPILE_CPU_DEFAULT: Duration = Duration::from_secs(240);
/// Address space of the compiling child, its own code and thread stacks included.
const COMPILE_MEMORY_BYTES_DEFAULT: u64 = 6 << 30;
/// Processor time of `describe`: it runs once, on cold pages.
const DESCRIBE_CPU: Duration = Duration::from_millis(250);
/// Wall time of `describe`.
const DESCRIBE_WALL: Duration = Duration::from_secs(5);

/// How the compiling child is started; the paths of input and output are appended to the arguments.
#[derive(Debug, Clone)]
pub struct CompilerCommand {
    /// The program, usually the engine's own.
    pub program: PathBuf,
    /// Its arguments before the two paths.
    pub args: Vec<String>,
}

/// The host's settings.
#[derive(Clone)]
pub struct HostConfig {
    /// Where compiled code is kept. Created with mode 0700; nobody else may write there.
    pub cache_dir: PathBuf,
    /// Key of the MAC over compiled code; none: a checksum, which finds damage but not malice.
    pub cache_key: Option<[u8; 32]>,
    /// How the compiling child is started.
    pub compiler: CompilerCommand,
    /// Tells when a plugin was last used. What plugins see comes with each call.
    pub clock: Arc<dyn Clock>,
    /// Instances at a time; no plugin gets more than a quarter of them. Each reserves 4 GiB of address space.
    pub pool_instances: u32,
    /// How long a plugin stays loaded without a call.
    pub idle_after: Duration,
    /// Wall time of one compilation.
    pub compile_timeout: Duration,
    /// Processor time of one compilation.
    pub compile_cpu: Duration,
    /// Address space of the compiling child, in bytes.
    pub compile_memory_bytes: u64,
    /// What `describe` may cost.
    pub limits_describe: Limits,
    /// Counts the instructions that guests run, in wasmtime's fuel, for [`CallRecord::fuel`](crate::CallRecord::fuel).
    /// A measuring mode: code becomes slower, every limit stays, and compiled code is of no use to a host without it.
    pub metered: bool,
}

impl HostConfig {
    /// Settings with every limit at its default.
    pub fn new(cache_dir: impl Into<PathBuf>, compiler: CompilerCommand, clock: Arc<dyn Clock>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            cache_key: None,
            compiler,
            clock,
            pool_instances: POOL_INSTANCES_DEFAULT,
            idle_after: IDLE_AFTER_DEFAULT,
            compile_timeout: COMPILE_TIMEOUT_DEFAULT,
            compile_cpu: COMPILE_CPU_DEFAULT,
            compile_memory_bytes: COMPILE_MEMORY_BYTES_DEFAULT,
            limits_describe: Limits {
                cpu: DESCRIBE_CPU,
                wall: DESCRIBE_WALL,
                memory_bytes: MEMORY_BYTES_CEILING,
                ..Limits::default()
            },
            metered: false,
        }
    }
}

impl fmt::Debug for HostConfig {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostConfig")
            .field("cache_dir", &self.cache_dir)
            .field("compiler", &self.compiler)
            .field("pool_instances", &self.pool_instances)
            .finish_non_exhaustive()
    }
}
