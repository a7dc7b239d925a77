//! `plugin`: what one `transform` + `interpret` costs, rung by rung and language by language, and what it takes to get
//! there: size, compilation, loading, memory.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use comfy_table::Table;
use engate_host::{
    AttemptView, CallContext, CallRecord, CompilerCommand, DeliveryView, Digest, Effort, EndpointView, EventView, Host,
    HostConfig, IdText, InterpretCall, LoadedPlugin, Plan, Reuse, TransformCall,
};
use engate_model::{Clock, DeliveryId, EndpointId, EventId, TenantId, Timestamp, delivery::Response, plugin::Limits};
use serde::Serialize;

use crate::{
    Error, PluginOptions,
    bare::Bare,
    guest, process,
    report::{self, Figure},
    work::Work,
};

/// The examples that do the same in every language.
const LANGUAGES: [&str; 7] = ["rust", "c", "assemblyscript", "typescript", "javascript", "go", "python"];
/// Idle instances of the warm rung.
const WARM_IDLE: u32 = 4;
/// Calls of a slow guest are fewer: a run of each rung takes this long at most.
const RUN_MAX: Duration = Duration::from_secs(5);
/// Calls after which a warm instance does the same at each.
const SETTLING_CALLS: usize = 20;
/// Calls by which a run's length is guessed.
const SAMPLE_CALLS: usize = 3;

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }
}

/// What was measured of one component.
#[derive(Debug, Serialize)]
struct Ladder {
    plugin: String,
    size_bytes: u64,
    /// As production gets it.
    compile_ms: f64,
    /// As `engate plugin dev` gets it: with nothing known of it, and with its unchanged functions at hand.
    quick_ms: f64,
    quick_again_ms: f64,
    /// From compiled code on disk to functions that can be called.
    load_ms: f64,
    /// The first call after that, its instance included.
    first_call_ms: f64,
    memory_peak_bytes: usize,
    /// Instructions of a warm call, in wasmtime's fuel: the same whatever else the machine does.
    warm_fuel: u64,
    rungs: Vec<Figure>,
}

/// Measures every component, `runs` times each rung, in turn.
pub(crate) async fn run(options: &PluginOptions) -> Result<(), Error> {
    let engate = process::program_beside(options.engate.as_deref(), "engate")?;
    let wanted = |language: &str| options.only.is_empty() || options.only.iter().any(|only| only == language);
    if let Some(unknown) = options.only.iter().find(|only| !LANGUAGES.contains(&only.as_str())) {
        return Err(format!("--only {unknown}: there are {}", LANGUAGES.join(", ")).into());
    }
    let mut ladders = Vec::new();
    if options.only.is_empty() {
        let own = guest::component(options.plugin.as_deref())?;
        ladders.push(ladder("bench (order)", &own, &engate, &Work::order(), options).await?);
    }
    if options.plugin.is_none() {
        for language in LANGUAGES.into_iter().filter(|language| wanted(language)) {
            let measured = match example(language, &engate) {
                Ok(component) => ladder(language, &component, &engate, &Work::invoice(), options).await,
                Err(error) => Err(error),
            };
            match measured {
                Ok(measured) => ladders.push(measured),
                Err(error) => eprintln!("{language}: left out: {error}"),
            }
        }
    }
    print(&ladders, options.json)
}

/// The language's example, built where it is not there yet.
fn example(language: &str, engate: &Path) -> Result<PathBuf, Error> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(format!("{language}-partner"));
    let component = folder.join("plugin.wasm");
    if !component.exists() {
        let built = Command::new(engate).args(["plugin", "build", "--json"]).current_dir(&folder).output()?;
        if !built.status.success() {
            return Err(String::from_utf8_lossy(&built.stderr).into_owned().into());
        }
    }
    Ok(component)
}

fn host(engate: &Path, cache: &Path) -> Result<Host, Error> {
    Ok(Host::start(config(engate, cache))?)
}

fn config(engate: &Path, cache: &Path) -> HostConfig {
    let compiler = CompilerCommand { program: engate.to_owned(), args: vec!["compile-plugin".to_owned()] };
    HostConfig::new(cache, compiler, Arc::new(Frozen))
}

/// What a warm call runs, after some that settle the instance.
async fn warm_fuel(engate: &Path, cache: &Path, component: &[u8], work: &Work) -> Result<u64, Error> {
    let host = Host::start(HostConfig { metered: true, ..config(engate, cache) })?;
    let plugin = host.load(&Digest::of(component), Effort::Full, || async { Ok(component.to_vec()) }).await?;
    let mut fuel = 0;
    for _ in 0..SETTLING_CALLS {
        let records = call(&host, &plugin, work, Reuse::warm(1), component.len() as u64).await?;
        fuel = records.iter().filter_map(|record| record.fuel).sum();
    }
    Ok(fuel)
}

async fn ladder(name: &str, path: &Path, engate: &Path, work: &Work, options: &PluginOptions) -> Result<Ladder, Error> {
    let component = std::fs::read(path)?;
    let digest = Digest::of(&component);
    let folder = tempfile::tempdir()?;
    let cache = folder.path().join("cache");
    let (mut compile_ms, mut quick_ms, mut quick_again_ms) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs.min(3) {
        let _ = std::fs::remove_dir_all(&cache);
        let host = host(engate, &cache)?;
        for (effort, times) in
            [(Effort::Quick, &mut quick_ms), (Effort::Quick, &mut quick_again_ms), (Effort::Full, &mut compile_ms)]
        {
            host.forget(&digest);
            let installed = host.install(&component, effort).await.map_err(|error| error.message)?;
            times.push(ms(installed.compile_time));
            // What is put away behind an installation's back is there for the next.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    let (mut load_ms, mut first_call_ms) = (Vec::new(), Vec::new());
    let mut memory_peak_bytes = 0;
    for _ in 0..options.runs {
        let host = host(engate, &cache)?;
        let start = Instant::now();
        let plugin = host.load(&digest, Effort::Full, || async { Err("it is compiled".to_owned()) }).await?;
        load_ms.push(ms(start.elapsed()));
        let start = Instant::now();
        let [transform, _] = call(&host, &plugin, work, Reuse::Fresh, component.len() as u64).await?;
        first_call_ms.push(ms(start.elapsed()));
        memory_peak_bytes = memory_peak_bytes.max(transform.memory_peak_bytes);
    }
    let host = host(engate, &cache)?;
    let plugin = host.load(&digest, Effort::Full, || async { Err("it is compiled".to_owned()) }).await?;
    let bare = Bare::new(&component, work)?;
    let size_bytes = component.len() as u64;
    let mut rungs = ["native Rust", "bare fresh", "bare in one instance", "host fresh", "host warm"]
        .map(|name| Figure::new(name, "us per transform + interpret"));
    let fewer = |us: f64| {
        let most = RUN_MAX.as_secs_f64() * 1e6 / us.max(0.1);
        options.calls.min(most as usize).max(SAMPLE_CALLS)
    };
    for _ in 0..options.runs {
        let fresh = fewer(hosted(&host, &plugin, work, Reuse::Fresh, SAMPLE_CALLS, size_bytes).await?);
        let measured = [
            work.native(options.calls)?,
            bare.run(true, fresh)?,
            bare.run(false, options.calls)?,
            hosted(&host, &plugin, work, Reuse::Fresh, fresh, size_bytes).await?,
            hosted(&host, &plugin, work, Reuse::warm(WARM_IDLE), options.calls, size_bytes).await?,
        ];
        rungs.iter_mut().zip(measured).for_each(|(figure, us)| figure.runs.push(us));
    }
    Ok(Ladder {
        plugin: name.to_owned(),
        size_bytes,
        compile_ms: report::median(&compile_ms).unwrap_or_default(),
        quick_ms: report::median(&quick_ms).unwrap_or_default(),
        quick_again_ms: report::median(&quick_again_ms).unwrap_or_default(),
        load_ms: report::median(&load_ms).unwrap_or_default(),
        first_call_ms: report::median(&first_call_ms).unwrap_or_default(),
        memory_peak_bytes,
        warm_fuel: warm_fuel(engate, &folder.path().join("metered"), &component, work).await?,
        rungs: rungs.into(),
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

async fn hosted(
    host: &Host,
    plugin: &LoadedPlugin,
    work: &Work,
    reuse: Reuse,
    calls: usize,
    size_bytes: u64,
) -> Result<f64, Error> {
    let start = Instant::now();
    for _ in 0..calls {
        call(host, plugin, work, reuse, size_bytes).await?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / calls as f64)
}

/// One event and one answer through the host; the records of both calls.
async fn call(
    host: &Host,
    plugin: &LoadedPlugin,
    work: &Work,
    reuse: Reuse,
    size_bytes: u64,
) -> Result<[CallRecord; 2], Error> {
    let now = Frozen.now();
    let (event, endpoint, delivery) = (EventId::new(now, 1), EndpointId::new(now, 1), DeliveryId::new(now, 1));
    let response = Response { status: 200, headers: Vec::new(), body: work.answer.into(), truncated: false };
    let tenant = TenantId::new(now, 1);
    let context = || CallContext {
        installation: "bench",
        // A machine that is busy otherwise must not end the bench.
        limits: Limits { cpu: Duration::from_secs(2), wall: Duration::from_secs(20), ..Limits::default() }
            .for_component(size_bytes),
        reuse,
        config: Arc::clone(&work.shared().0),
        secrets: work.shared().1.clone(),
        state: Arc::default(),
        delivery: DeliveryView {
            id: IdText::of(&delivery),
            code: 1,
            created_at: now,
            tenant: IdText::of(&tenant),
            correlation_id: None,
        },
        endpoint: EndpointView {
            id: IdText::of(&endpoint),
            url: "http://127.0.0.1:9/",
            integrator: "bench",
            labels: &[],
        },
        attempt: AttemptView { number: 1, first_at: now, now },
    };
    let event_view = EventView {
        id: IdText::of(&event),
        event_type: work.event_type,
        subject: Some("1"),
        occurred_at: now,
        content_type: "application/json",
        data: work.payload.as_bytes(),
        labels: &[],
    };
    let done = host
        .transform(plugin, TransformCall { context: context(), event: event_view })
        .await
        .map_err(|failed| failed.fault)?;
    let Plan::Send { memo, .. } = &done.plan else {
        return Err("the plugin refuses the bench's event".into());
    };
    let call = InterpretCall {
        context: context(),
        event_id: IdText::of(&event),
        event_type: work.event_type,
        subject: Some("1"),
        memo: memo.as_deref(),
        response: &response,
        elapsed_ms: 1,
    };
    let interpreted = host.interpret(plugin, call).await.map_err(|failed| failed.fault)?;
    Ok([done.record, interpreted.record])
}

fn print(ladders: &[Ladder], json: bool) -> Result<(), Error> {
    if json {
        let whole = serde_json::json!({"machine": report::machine(), "plugins": ladders});
        println!("{}", serde_json::to_string_pretty(&whole)?);
        return Ok(());
    }
    println!("machine: {}", report::machine());
    let mut calls = Table::new();
    calls.set_header(["us per transform + interpret", "native", "bare fresh", "bare warm", "host fresh", "host warm"]);
    let mut costs = Table::new();
    costs.set_header([
        "what it takes",
        "size KiB",
        "compile ms",
        "quick ms",
        "quick again ms",
        "load ms",
        "first call ms",
        "memory KiB",
        "warm fuel",
    ]);
    for ladder in ladders {
        let figures = ladder.rungs.iter().map(|figure| format!("{:.1}", figure.median()));
        calls.add_row([ladder.plugin.clone()].into_iter().chain(figures));
        costs.add_row([
            ladder.plugin.clone(),
            (ladder.size_bytes >> 10).to_string(),
            format!("{:.0}", ladder.compile_ms),
            format!("{:.0}", ladder.quick_ms),
            format!("{:.0}", ladder.quick_again_ms),
            format!("{:.1}", ladder.load_ms),
            format!("{:.1}", ladder.first_call_ms),
            (ladder.memory_peak_bytes >> 10).to_string(),
            ladder.warm_fuel.to_string(),
        ]);
    }
    println!("{calls}\n{costs}");
    Ok(())
}
