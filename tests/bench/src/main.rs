//! `engate-bench`: figures as ratios, measured side by side in one run.
//!
//! Who acts here: this process is the load (`load`); children of it are the `sink` that receives, and the engine
//! under test: `durable` (the smallest honest one, written here) or `engate serve` itself. `report` prints a
//! table for people and JSON for programs. See `tests/bench/README.md`.

mod bare;
mod deliver;
mod durable;
mod guest;
mod http1;
mod idle;
mod ladder;
mod load;
mod process;
mod report;
mod sink;
mod sync;
mod work;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

type Error = Box<dyn std::error::Error + Send + Sync>;

// The engine's own, so that the yardsticks are not slower for want of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benches of Engate.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// `raw`, `raw-durable`, `deliver` without and with a plugin, side by side.
    Deliver(DeliverOptions),
    /// `transform` + `interpret`, language by language: native Rust, bare wasmtime, our host fresh, our host warm; and
    /// size, compilation, loading, memory.
    Plugin(PluginOptions),
    /// What an engine with many plugins, endpoints and jobs and nothing to do costs, and how soon it is ready.
    Idle(IdleOptions),
    /// A table carried to a staging target, against a plain loop that reads, packs and posts; and the memory meanwhile.
    Sync(SyncOptions),
    /// The receiving end; started by the others.
    #[command(hide = true)]
    Sink,
    /// The receiving end of tables; started by the others.
    #[command(hide = true)]
    Intake,
    /// The smallest honest engine; started by the others.
    #[command(hide = true)]
    Durable {
        /// Where to post.
        #[arg(long)]
        sink: String,
        /// Folder of its database.
        #[arg(long)]
        data: PathBuf,
    },
}

/// How the delivery benches run.
#[derive(Debug, clap::Args)]
struct DeliverOptions {
    /// Events per run.
    #[arg(long, default_value_t = 10_000)]
    events: usize,
    /// Producers, each with one connection.
    #[arg(long, default_value_t = 64)]
    producers: usize,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// The engine's binary; default: `engate` beside this program.
    #[arg(long)]
    engate: Option<PathBuf>,
    /// Component with which `deliver` runs a second time; default: the benches' own, built here.
    #[arg(long)]
    plugin: Option<PathBuf>,
    /// Only these, for looking closer at one; ratios need both their figures.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Contender>,
    /// Database of `deliver`: sqlite, or a postgres:// URL; everything in that database is dropped before each run.
    #[arg(long, default_value = "sqlite")]
    database: String,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What the delivery benches compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Contender {
    /// Posts straight to the sink.
    Raw,
    /// The smallest honest engine.
    RawDurable,
    /// The engine without a plugin.
    Plain,
    /// With a plugin, an instance for each call.
    Plugin,
    /// With a plugin whose instances are kept.
    Warm,
}

/// How the plugin ladder runs.
#[derive(Debug, clap::Args)]
struct PluginOptions {
    /// Only this component, which takes the benches' order; default: the benches' own and the examples', built here.
    #[arg(long)]
    plugin: Option<PathBuf>,
    /// Only these languages' examples; default: the benches' own and every example.
    #[arg(long, value_delimiter = ',', conflicts_with = "plugin")]
    only: Vec<String>,
    /// The engine's binary, which compiles the component; default: `engate` beside this program.
    #[arg(long)]
    engate: Option<PathBuf>,
    /// Calls per run.
    #[arg(long, default_value_t = 2_000)]
    calls: usize,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// How the idle bench runs.
#[derive(Debug, clap::Args)]
struct IdleOptions {
    /// Plugins installed, each a component of its own.
    #[arg(long, default_value_t = 1_000)]
    plugins: usize,
    /// Endpoints registered, spread over the plugins.
    #[arg(long, default_value_t = 10_000)]
    endpoints: usize,
    /// Jobs on a schedule, none of them due meanwhile.
    #[arg(long, default_value_t = 1_000)]
    jobs: usize,
    /// Starts; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// The engine's binary; default: `engate` beside this program.
    #[arg(long)]
    engate: Option<PathBuf>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// How the sync bench runs.
#[derive(Debug, clap::Args)]
struct SyncOptions {
    /// Rows of the table.
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
    /// Rows of a page, the engine's default.
    #[arg(long, default_value_t = 500)]
    page_rows: u32,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Where the table is: sqlite, or a postgres:// URL, in whose database a table of the bench's is made and dropped.
    #[arg(long, default_value = "sqlite")]
    source: String,
    /// The engine's binary; default: `engate` beside this program.
    #[arg(long)]
    engate: Option<PathBuf>,
    /// Leaves out the plain loop, and with it the ratios.
    #[arg(long)]
    no_plain: bool,
    /// Leaves out the job that reconciles, and so keeps a hash of every row.
    #[arg(long)]
    no_ledger: bool,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let done = runtime.block_on(async {
        match arguments.bench {
            Bench::Deliver(options) => deliver::run(&options).await,
            Bench::Plugin(options) => ladder::run(&options).await,
            Bench::Idle(options) => idle::run(&options).await,
            Bench::Sync(options) => sync::run(&options).await,
            Bench::Sink => sink::run().await,
            Bench::Intake => sync::serve_intake().await,
            Bench::Durable { sink, data } => durable::run(&sink, &data).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("engate-bench: {error}");
    ExitCode::FAILURE
}
