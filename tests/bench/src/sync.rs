//! `sync`: a table carried to a staging target by the engine, against a plain loop that reads, packs and posts.

mod intake;
mod plain;
mod table;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::process::Command;

pub(crate) use intake::run as serve_intake;

use crate::{
    Error, SyncOptions,
    deliver::TOKEN,
    http1::Connection,
    process::{self, Running},
    report::{self, Figure, Ratio},
};
use intake::Received;
use table::{Place, TABLE};

/// How often the engine's memory is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A reconciliation is not due within a run.
const RECONCILE_MS: u64 = 7 * 86_400_000;

/// Carries one table in turn by each, `runs` times.
pub(crate) async fn run(options: &SyncOptions) -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let place = Place::of(&options.source, folder.path());
    place.fill(options.rows).await?;
    let sink = Running::start(Command::new(process::own_program()?).arg("intake")).await?;
    let done = all(options, &place, &sink.address).await;
    place.drop_table().await?;
    sink.stop().await?;
    let (figures, memory) = done?;
    let [plain, engine, ledger] = &figures;
    let ratio = |name: &str, a: &Figure| Ratio { name: name.to_owned(), value: a.median() / plain.median() };
    let ratios = [ratio("sync / sync-plain", engine), ratio("sync with ledger / sync-plain", ledger)];
    let measured = |ratio: &Ratio| ratio.value > 0.0 && ratio.value.is_finite();
    let ratios: Vec<_> = ratios.into_iter().filter(measured).collect();
    let figures: Vec<_> = figures.into_iter().chain(memory).filter(|figure| !figure.runs.is_empty()).collect();
    report::print(&figures, &ratios, options.json)
}

async fn all(options: &SyncOptions, place: &Place, sink: &str) -> Result<([Figure; 3], Vec<Figure>), Error> {
    let [mut plain, mut engine, mut ledger] =
        ["sync-plain", "sync", "sync with ledger"].map(|name| Figure::new(name, "rows/s"));
    let names = ["memory, least", "memory, median", "memory, peak", "memory, growth per million rows"];
    let mut memory = names.map(|name| Figure::new(name, "MB"));
    for _ in 0..options.runs {
        if !options.no_plain {
            run_plain(options, place, sink, &mut plain).await?;
        }
        let looks = run_engine(options, place, sink, None, &mut engine).await?;
        looks.tell(options.rows, &mut memory);
        if !options.no_ledger {
            run_engine(options, place, sink, Some(RECONCILE_MS), &mut ledger).await?;
        }
    }
    Ok(([plain, engine, ledger], memory.into()))
}

async fn run_plain(options: &SyncOptions, place: &Place, sink: &str, figure: &mut Figure) -> Result<(), Error> {
    let mut watch = Connection::open(sink).await?;
    watch.call("POST", "/reset", &[], Bytes::new()).await?;
    let (before, started) = (process::own_cpu_us(), Instant::now());
    plain::carry(place, sink, options.page_rows).await?;
    let seconds = started.elapsed().as_secs_f64();
    let used = process::own_cpu_us().zip(before).map(|(after, before)| after - before);
    check(received(&mut watch).await?, options.rows)?;
    figure.runs.push(options.rows as f64 / seconds);
    figure.engine_cpu_us.extend(used.map(|us| us / options.rows as f64));
    Ok(())
}

/// Every row came once, and whole.
fn check(received: Received, rows: u64) -> Result<(), Error> {
    let cents = (0..rows).map(|n| n * 37 % 1_000_003).sum::<u64>();
    if received.rows == rows && received.distinct == rows && received.cents == cents {
        return Ok(());
    }
    Err(format!("of {rows} rows the sink received {received:?}, and their credits are {cents} cents").into())
}

async fn received(watch: &mut Connection) -> Result<Received, Error> {
    let (_, body) = watch.call("GET", "/received", &[], Bytes::new()).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// The engine's memory, look by look, with how many rows had come by then.
struct Looks {
    seen: Vec<(f64, f64)>,
    peak: Option<f64>,
}

impl Looks {
    fn tell(&self, rows: u64, [least, median, peak, growth]: &mut [Figure; 4]) {
        // What is taken at the start is none of the load's.
        let first = rows as f64 * 0.1;
        let seen: Vec<_> = self.seen.iter().filter(|(rows, _)| *rows >= first).copied().collect();
        let memory: Vec<_> = seen.iter().map(|(_, memory)| *memory).collect();
        least.runs.extend(memory.iter().copied().reduce(f64::min));
        median.runs.extend(report::median(&memory));
        peak.runs.extend(self.peak);
        growth.runs.extend(slope(&seen).map(|per_row| per_row * 1e6));
    }
}

/// By how much the second grows with the first: the line that fits best.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let over = points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>();
    (points.len() > 2 && over > 0.0).then(|| points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / over)
}

async fn run_engine(
    options: &SyncOptions,
    place: &Place,
    sink: &str,
    reconcile_ms: Option<u64>,
    figure: &mut Figure,
) -> Result<Looks, Error> {
    let data = tempfile::tempdir()?;
    let engine = start(options, place, data.path()).await?;
    let mut api = Api { ask: Connection::open(&engine.address).await?, authorization: format!("Bearer {TOKEN}") };
    let job = api.set_up(options, sink, reconcile_ms).await?;
    let mut watch = Connection::open(sink).await?;
    watch.call("POST", "/reset", &[], Bytes::new()).await?;
    let (before, started) = (engine.cpu_us(), Instant::now());
    let made = api.send("POST", &format!("/v1/jobs/{job}/run"), &Value::Null).await?;
    let run = format!("/v1/jobs/{job}/runs/{}", text(&made, "id"));
    let mut looks = Looks { seen: Vec::new(), peak: None };
    let mut looked = Instant::now();
    loop {
        let at = received(&mut watch).await?;
        if at.distinct >= options.rows {
            break;
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            looks.seen.extend(engine.resident_mb().map(|memory| (at.distinct as f64, memory)));
            api.still_runs(&run).await?;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    api.wait_for_end(&run, options.rows).await?;
    let used = engine.cpu_us().zip(before).map(|(after, before)| after - before);
    check(received(&mut watch).await?, options.rows)?;
    figure.runs.push(options.rows as f64 / seconds);
    figure.engine_cpu_us.extend(used.map(|us| us / options.rows as f64));
    figure.durability = api.durability().await?;
    looks.peak = engine.peak_mb();
    engine.stop().await?;
    Ok(looks)
}

async fn start(options: &SyncOptions, place: &Place, data: &Path) -> Result<Running, Error> {
    let mut command = Command::new(process::program_beside(options.engate.as_deref(), "engate")?);
    command.arg("serve").args(["--listen", "127.0.0.1:0"]).arg("--data").arg(data);
    command.env("ENGATE_ADMIN_TOKEN", TOKEN).env("ENGATE_EGRESS_ALLOW", "127.0.0.0/8").env("ENGATE_LOG_LEVEL", "warn");
    command.env("ENGATE_CONNECTIONS_BENCH_URL", place.url());
    Running::start(&mut command).await
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The engine's API.
struct Api {
    ask: Connection,
    authorization: String,
}

impl Api {
    async fn send(&mut self, method: &str, path: &str, body: &Value) -> Result<Value, Error> {
        let headers = [("content-type", "application/json"), ("authorization", self.authorization.as_str())];
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let (status, answer) = self.ask.call(method, path, &headers, body).await?;
        if !(200..300).contains(&status) {
            return Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&answer)).into());
        }
        Ok(serde_json::from_slice(&answer).unwrap_or_else(|_| String::from_utf8_lossy(&answer).into()))
    }

    /// Makes the job; gives its id.
    async fn set_up(&mut self, options: &SyncOptions, sink: &str, reconcile: Option<u64>) -> Result<String, Error> {
        let integrator = json!({"slug": "bench", "name": "Bench", "active": true, "services": ["staging"]});
        self.send("POST", "/v1/integrators", &integrator).await?;
        let endpoint = json!({
            "integrator": "bench", "description": "staging", "url": format!("http://{sink}/staging"),
            "auth": {"type": "none"}, "event_types": [], "enabled": true,
        });
        let endpoint = self.send("POST", "/v1/endpoints", &endpoint).await?;
        let mut stream = json!({
            "name": "customers", "table": TABLE, "key": ["A1_FILIAL", "A1_COD", "A1_LOJA"], "watermark": "S_T_A_M_P_",
            "soft_delete": {"column": "D_E_L_E_T_", "value": "*"}, "target": "customers",
        });
        if let (Some(every), Some(stream)) = (reconcile, stream.as_object_mut()) {
            stream.insert("reconcile_ms".to_owned(), every.into());
        }
        let job = json!({
            "name": "bench", "schedule": {"kind": "manual"}, "timeout_ms": 86_400_000, "run": {
                "kind": "sync", "source": {"kind": "table", "connection": "bench"}, "page_rows": options.page_rows,
                "sink": {"plugin": "http-table", "endpoint": text(&endpoint, "id"),
                    "config": {"url": format!("http://{sink}/staging"), "compress": true}},
                "streams": [stream],
            },
        });
        let job = self.send("POST", "/v1/jobs", &job).await?;
        Ok(text(&job, "id").to_owned())
    }

    async fn still_runs(&mut self, run: &str) -> Result<(), Error> {
        let run = self.send("GET", run, &Value::Null).await?;
        match text(&run, "state") {
            "failed" | "cancelled" | "skipped" => Err(format!("the run ended before all rows were sent: {run}").into()),
            _ => Ok(()),
        }
    }

    /// The run has to end well, with every row counted, or it does not count.
    async fn wait_for_end(&mut self, run: &str, rows: u64) -> Result<(), Error> {
        for _ in 0..6_000 {
            let run = self.send("GET", run, &Value::Null).await?;
            match (text(&run, "state"), run.get("rows").and_then(Value::as_u64)) {
                ("succeeded", Some(counted)) if counted == rows => return Ok(()),
                ("queued" | "running", _) => {}
                _ => return Err(format!("the run did not end as it should: {run}").into()),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("the run did not end".into())
    }

    async fn durability(&mut self) -> Result<Option<String>, Error> {
        let metrics = self.send("GET", "/metrics", &Value::Null).await?;
        let lines = metrics.as_str().unwrap_or_default().lines();
        let info =
            lines.filter_map(|line| line.strip_prefix("engate_store_info{durability=\"")?.strip_suffix("\"} 1")).next();
        Ok(info.map(str::to_owned))
    }
}
