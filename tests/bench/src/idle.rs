//! `idle`: what an engine with much installed, many jobs that are not due, and nothing to do costs, and how soon it is ready
//! after a start.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    Error, IdleOptions,
    deliver::TOKEN,
    guest,
    http1::Connection,
    process::{self, Running},
    report::{self, Figure},
};

/// The name in the bench guest's manifest. The copies that are installed differ in it alone, and it keeps its length.
const GUEST_NAME: &str = "bench-order";
/// Where nothing is ever sent. No name: a registration looks its host up, and waits where nobody answers.
const URL: &str = "https://127.0.0.1/hook";
/// Installations and endpoints that are made at once.
const SETTING_UP: usize = 2;
/// How long the engine is left alone before it is looked at, and how long it is looked at.
const SETTLE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(20);

/// Sets up once, then starts the engine on that `runs` times.
pub(crate) async fn run(options: &IdleOptions) -> Result<(), Error> {
    let component = std::fs::read(guest::component(None)?)?;
    let data = tempfile::tempdir()?;
    let engine = start(options, data.path()).await?;
    set_up(&engine, options, &component).await?;
    engine.terminate().await?;
    let [mut ready, mut memory, mut processor] =
        [("ready after start", "ms"), ("resident memory", "MB"), ("processor", "%")]
            .map(|(name, unit)| Figure::new(name, unit));
    for _ in 0..options.runs {
        let started = Instant::now();
        let engine = start(options, data.path()).await?;
        wait_until_ready(&engine).await?;
        ready.runs.push(started.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(SETTLE).await;
        let before = engine.cpu_us();
        tokio::time::sleep(LOOK).await;
        let used = engine.cpu_us().zip(before).map(|(after, before)| after - before);
        processor.runs.extend(used.map(|us| us / 1e6 / LOOK.as_secs_f64() * 100.0));
        memory.runs.extend(engine.resident_mb());
        engine.terminate().await?;
    }
    report::print(&[ready, memory, processor], &[], options.json)
}

async fn start(options: &IdleOptions, data: &Path) -> Result<Running, Error> {
    let mut command = Command::new(process::program_beside(options.engate.as_deref(), "engate")?);
    command.arg("serve").args(["--listen", "127.0.0.1:0"]).arg("--data").arg(data);
    command.env("ENGATE_ADMIN_TOKEN", TOKEN).env("ENGATE_LOG_LEVEL", "warn").env("ENGATE_EGRESS_ALLOW", "127.0.0.0/8");
    Running::start(&mut command).await
}

async fn wait_until_ready(engine: &Running) -> Result<(), Error> {
    let mut ask = Connection::open(&engine.address).await?;
    for _ in 0..10_000 {
        let (status, _) = ask.call("GET", "/readyz", &[], Bytes::new()).await?;
        if status == 200 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err("the engine did not become ready".into())
}

/// Installs the plugins, each its own component, and gives every one its share of the endpoints.
async fn set_up(engine: &Running, options: &IdleOptions, component: &[u8]) -> Result<(), Error> {
    let authorization = format!("Bearer {TOKEN}");
    let post = |path: &'static str, media: &'static str, body: Bytes| {
        let authorization = &authorization;
        async move {
            let mut ask = Connection::open(&engine.address).await?;
            let headers = [("content-type", media), ("authorization", authorization.as_str())];
            let (status, answer) = ask.call("POST", path, &headers, body).await?;
            if status != 201 {
                return Err::<(), Error>(format!("{path}: {status} {}", String::from_utf8_lossy(&answer)).into());
            }
            Ok(())
        }
    };
    let integrator = json!({"slug": "idle", "name": "Idle", "active": true, "services": ["orders"]});
    post("/v1/integrators", "application/json", integrator.to_string().into()).await?;
    let names = (0..options.plugins).map(|n| format!("bench-{n:05}"));
    let pushes = names.clone().map(|name| post("/v1/plugins", "application/wasm", renamed(component, &name)));
    futures_util::stream::iter(pushes).buffer_unordered(SETTING_UP).try_collect::<()>().await?;
    let names: Vec<_> = names.collect();
    let endpoints = (0..options.endpoints).map(|n| {
        let endpoint = json!({
            "integrator": "idle", "description": format!("endpoint {n}"), "url": URL,
            "auth": {"type": "none"}, "event_types": ["order.created"], "enabled": true,
            "plugin": names.get(n % options.plugins.max(1)).map_or(Value::Null, |name| Value::from(name.as_str())),
        });
        post("/v1/endpoints", "application/json", endpoint.to_string().into())
    });
    futures_util::stream::iter(endpoints).buffer_unordered(SETTING_UP).try_collect::<()>().await?;
    let jobs = (0..options.jobs).map(|n| post("/v1/jobs", "application/json", job(n).to_string().into()));
    futures_util::stream::iter(jobs).buffer_unordered(SETTING_UP).try_collect::<()>().await
}

/// A job that publishes an event once a year, and not before some months from now.
fn job(n: usize) -> Value {
    let month = (farthest_month() + n % 2) % 12 + 1;
    json!({
        "name": format!("job-{n:05}"),
        "schedule": {"kind": "cron", "expression": format!("{} {} {} {month} *", n % 60, n % 24, n % 28 + 1),
            "timezone": "America/Sao_Paulo"},
        "run": {"kind": "emit", "event": {"type": "order.created", "payload": {"job": n}}},
    })
}

/// The month half a year away, from 0: nothing that is due then is due in a run.
fn farthest_month() -> usize {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let month_of_30_days = (seconds / 86_400 % 365 / 30) as usize;
    (month_of_30_days + 5) % 12
}

/// The same component under another name of the same length.
fn renamed(component: &[u8], name: &str) -> Bytes {
    let mut bytes = component.to_vec();
    let places: Vec<_> = bytes
        .windows(GUEST_NAME.len())
        .enumerate()
        .filter(|(_, window)| *window == GUEST_NAME.as_bytes())
        .map(|(at, _)| at)
        .collect();
    for at in places {
        if let Some(place) = bytes.get_mut(at..at + GUEST_NAME.len()) {
            place.copy_from_slice(name.as_bytes());
        }
    }
    bytes.into()
}
