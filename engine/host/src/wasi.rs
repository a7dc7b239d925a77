//! The part of WASI 0.2 that language runtimes import, linked interface by interface, over nothing: no files, no
//! environment, no arguments, no sockets; the clock stands at the attempt's time and random is seeded by it.
//!
//! wasmtime-wasi's own `add_to_linker_async` would add sockets and is never called.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use rand::TryRng;
use tokio::io::AsyncWrite;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView,
    cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _},
    clocks::{WasiClocks, WasiClocksView as _},
    filesystem::{WasiFilesystem, WasiFilesystemView as _},
    p2::{OutputStream, Pollable, StreamResult, bindings},
    random::WasiRandom,
};

use crate::log::{PluginLog, Stream};

/// Handles (streams, pollables) one instance may hold.
const HANDLES_MAX: usize = 256;
/// Random bytes asked for at once.
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// What a stream says it takes at once; more than the log keeps is dropped behind it.
const WRITE_BYTES: usize = 64 << 10;

/// Every interface that [`add_to_linker`] links, as `package/interface`, all of WASI 0.2.
const LINKED: [&str; 20] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];

/// Whether `package/interface` is linked.
pub(crate) fn is_linked(package: &str, interface: &str) -> bool {
    LINKED.iter().any(|name| name.split_once('/') == Some((package, interface)))
}

/// What WASI sees of a call; shared with the streams and clocks that a guest may keep over calls.
#[derive(Debug)]
pub(crate) struct World {
    log: Mutex<PluginLog>,
    now_ms: AtomicU64,
    random: AtomicU64,
}

/// WASI of one instance; built when the guest first asks for any of it, which most calls never do.
#[derive(Default)]
pub(crate) struct Wasi {
    parts: Option<Box<(WasiCtx, ResourceTable)>>,
}

impl World {
    /// A world at `now_ms`, with `seed` for its random numbers and an empty log of `log_bytes`.
    pub(crate) fn new(now_ms: u64, seed: u64, log_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::new(PluginLog::new(log_bytes)),
            now_ms: AtomicU64::new(now_ms),
            random: AtomicU64::new(seed),
        })
    }

    /// Turns to the next call.
    pub(crate) fn renew(&self, now_ms: u64, seed: u64, log_bytes: usize) {
        *self.log() = PluginLog::new(log_bytes);
        self.now_ms.store(now_ms, Ordering::Relaxed);
        self.random.store(seed, Ordering::Relaxed);
    }

    /// The call's log.
    pub(crate) fn log(&self) -> MutexGuard<'_, PluginLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SplitMix64 over the seed: repeatable, and nothing that a plugin may build secrets on.
    fn next_random(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let mut z = self.random.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Wasi {
    /// The context and the table of handles.
    pub(crate) fn view(&mut self, world: &Arc<World>) -> WasiCtxView<'_> {
        let parts = self.parts.get_or_insert_with(|| Box::new(build(world)));
        WasiCtxView { ctx: &mut parts.0, table: &mut parts.1 }
    }
}

fn build(world: &Arc<World>) -> (WasiCtx, ResourceTable) {
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES_MAX);
    let seed = u128::from(world.next_random()) << 64 | u128::from(world.next_random());
    let ctx = WasiCtx::builder()
        .stdout(Output { world: Arc::clone(world), stream: Stream::Stdout })
        .stderr(Output { world: Arc::clone(world), stream: Stream::Stderr })
        .wall_clock(Frozen(Arc::clone(world)))
        .monotonic_clock(Frozen(Arc::clone(world)))
        .secure_random(Seeded(Arc::clone(world)))
        .insecure_random(Seeded(Arc::clone(world)))
        .insecure_random_seed(seed)
        .max_random_size(RANDOM_BYTES_MAX)
        .build();
    (ctx, table)
}

/// Links what [`LINKED`] lists.
///
/// # Errors
/// What wasmtime says.
pub(crate) fn add_to_linker<T: WasiView>(l: &mut Linker<T>) -> wasmtime::Result<()> {
    use bindings::{cli, clocks, filesystem, io, random};

    cli::environment::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::exit::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stderr::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_input::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_output::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stderr::add_to_linker::<T, WasiCli>(l, T::cli)?;
    clocks::monotonic_clock::add_to_linker::<T, WasiClocks>(l, T::clocks)?;
    clocks::wall_clock::add_to_linker::<T, WasiClocks>(l, T::clocks)?;
    filesystem::preopens::add_to_linker::<T, WasiFilesystem>(l, T::filesystem)?;
    filesystem::types::add_to_linker::<T, WasiFilesystem>(l, T::filesystem)?;
    io::error::add_to_linker::<T, Handles>(l, |t| t.ctx().table)?;
    io::poll::add_to_linker::<T, Handles>(l, |t| t.ctx().table)?;
    io::streams::add_to_linker::<T, Handles>(l, |t| t.ctx().table)?;
    random::random::add_to_linker::<T, WasiRandom>(l, |t| t.ctx().ctx.random())?;
    random::insecure::add_to_linker::<T, WasiRandom>(l, |t| t.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<T, WasiRandom>(l, |t| t.ctx().ctx.random())?;
    Ok(())
}

struct Handles;

impl HasData for Handles {
    type Data<'a> = &'a mut ResourceTable;
}

/// The attempt's time, which does not pass.
struct Frozen(Arc<World>);

impl HostWallClock for Frozen {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now_ms.load(Ordering::Relaxed))
    }
}

impl HostMonotonicClock for Frozen {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        self.0.now_ms.load(Ordering::Relaxed).saturating_mul(1_000_000)
    }
}

/// Random numbers that repeat with the delivery and the attempt.
struct Seeded(Arc<World>);

impl TryRng for Seeded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0.next_random() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_random())
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        for chunk in buffer.chunks_mut(8) {
            for (byte, random) in chunk.iter_mut().zip(self.0.next_random().to_le_bytes()) {
                *byte = random;
            }
        }
        Ok(())
    }
}

/// Standard output or standard error: the call's log.
#[derive(Clone)]
struct Output {
    world: Arc<World>,
    stream: Stream,
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.world.log().raw(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.world.log().raw(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
