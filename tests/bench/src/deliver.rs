//! `raw`, `raw-durable` and `deliver`, run in turn so that the machine's moods hit all alike.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use tokio::process::Command;

use crate::{
    Contender, DeliverOptions, Error, guest,
    http1::Connection,
    load::{self, Target},
    process::{self, Running},
    report::{self, Figure, Ratio},
};

/// The admin token of engines started here; they listen on loopback and live for one run.
pub(crate) const TOKEN: &str = "bench-only-token-of-an-engine-on-loopback";
/// Requests under way at once towards the sink, the same for every engine.
const IN_FLIGHT: u32 = 64;

/// The plugin of a run.
#[derive(Clone, Copy)]
struct Guest<'a> {
    component: &'a Path,
    /// `fresh` for each call, or kept `warm`.
    instances: &'static str,
}

/// Runs all benches in turn, `runs` times.
pub(crate) async fn run(options: &DeliverOptions) -> Result<(), Error> {
    let sink = Running::start(Command::new(process::own_program()?).arg("sink")).await?;
    let component = guest::component(options.plugin.as_deref())?;
    let names = ["raw", "raw-durable", "deliver", "deliver with plugin", "deliver with warm plugin"];
    let [mut raw, mut durable, mut plain, mut plugin, mut warm] = names.map(|name| Figure::new(name, "deliveries/s"));
    let wanted = |contender| options.only.is_empty() || options.only.contains(&contender);
    let guest = |instances| Some(Guest { component: &component, instances });
    for _ in 0..options.runs {
        if wanted(Contender::Raw) {
            raw.runs.push(run_raw(&sink.address, options).await?);
        }
        if wanted(Contender::RawDurable) {
            run_durable(&sink.address, options, &mut durable).await?;
        }
        if wanted(Contender::Plain) {
            run_engate(&sink.address, options, None, &mut plain).await?;
        }
        if wanted(Contender::Plugin) {
            run_engate(&sink.address, options, guest("fresh"), &mut plugin).await?;
        }
        if wanted(Contender::Warm) {
            run_engate(&sink.address, options, guest("warm"), &mut warm).await?;
        }
    }
    sink.stop().await?;
    let ratio = |name: &str, a: &Figure, b: &Figure| {
        let value = (!a.runs.is_empty() && !b.runs.is_empty()).then(|| a.median() / b.median())?;
        Some(Ratio { name: name.to_owned(), value })
    };
    let ratios = [
        ratio("raw-durable / raw", &durable, &raw),
        ratio("deliver / raw", &plain, &raw),
        ratio("deliver / raw-durable", &plain, &durable),
        ratio("deliver with plugin / raw-durable", &plugin, &durable),
        ratio("deliver with plugin / deliver", &plugin, &plain),
        ratio("deliver with warm plugin / raw-durable", &warm, &durable),
        ratio("deliver with warm plugin / deliver", &warm, &plain),
    ];
    let ratios: Vec<_> = ratios.into_iter().flatten().collect();
    let mut figures = vec![raw, durable, plain, plugin, warm];
    figures.retain(|figure| !figure.runs.is_empty());
    report::print(&figures, &ratios, options.json)
}

/// The ceiling: posts straight to the sink.
async fn run_raw(sink: &str, options: &DeliverOptions) -> Result<f64, Error> {
    // Distinct ids, so that the sink does the same work for everyone.
    let mut watch = Connection::open(sink).await?;
    watch.call("POST", "/reset", &[], Bytes::new()).await?;
    let start = std::time::Instant::now();
    let producers = (0..options.producers).map(|n| async move {
        let mut connection = Connection::open(sink).await?;
        for event in (n..options.events).step_by(options.producers) {
            let id = event.to_string();
            let headers = [("content-type", "application/json"), ("webhook-id", id.as_str())];
            connection.call("POST", "/", &headers, Bytes::from(load::order(event))).await?;
        }
        Ok::<_, Error>(())
    });
    futures_util::future::try_join_all(producers).await?;
    Ok(options.events as f64 / start.elapsed().as_secs_f64())
}

async fn run_durable(sink: &str, options: &DeliverOptions, figure: &mut Figure) -> Result<(), Error> {
    let data = tempfile::tempdir()?;
    let mut command = Command::new(process::own_program()?);
    command.arg("durable").args(["--sink", sink]).arg("--data").arg(data.path());
    let engine = Running::start(&mut command).await?;
    let headers = [("content-type", "application/json")];
    let body = |n| Bytes::from(load::order(n));
    let before = engine.cpu_us();
    let target = Target { address: &engine.address, path: "/events", headers: &headers, body, taken: 202 };
    let rate = load::timed(&target, sink, options.events, options.producers).await?;
    let mut ask = Connection::open(&engine.address).await?;
    let (_, text) = ask.call("GET", "/durability", &[], Bytes::new()).await?;
    figure.durability = Some(String::from_utf8_lossy(&text).into_owned());
    wait_until_written(&mut ask, "/finished", &[], options.events).await?;
    figure.runs.push(rate);
    figure.engine_cpu_us.extend(cpu_of_one(&engine, before, options.events));
    engine.stop().await
}

/// Every result must be written, or the run does not count.
async fn wait_until_written(
    ask: &mut Connection,
    path: &str,
    headers: &[(&str, &str)],
    events: usize,
) -> Result<(), Error> {
    for _ in 0..2_000 {
        let (_, body) = ask.call("GET", path, headers, Bytes::new()).await?;
        let text = String::from_utf8_lossy(&body);
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("engate_attempts_total{outcome=\"success\"} "))
            .unwrap_or(&text);
        if count.trim().parse::<usize>().is_ok_and(|count| count >= events) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err("not every result was written".into())
}

async fn run_engate(
    sink: &str,
    options: &DeliverOptions,
    plugin: Option<Guest<'_>>,
    figure: &mut Figure,
) -> Result<(), Error> {
    let data = tempfile::tempdir()?;
    let database = if options.database == "sqlite" { "sqlite:bench.db" } else { &options.database };
    if options.database != "sqlite" {
        empty(&options.database).await?;
    }
    let mut command = Command::new(process::program_beside(options.engate.as_deref(), "engate")?);
    command.arg("serve").args(["--listen", "127.0.0.1:0", "--database", database]).arg("--data").arg(data.path());
    command.env("ENGATE_ADMIN_TOKEN", TOKEN).env("ENGATE_EGRESS_ALLOW", "127.0.0.0/8").env("ENGATE_LOG_LEVEL", "warn");
    let engine = Running::start(&mut command).await?;
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
    let mut ask = Connection::open(&engine.address).await?;
    set_up(&mut ask, &headers, sink, plugin).await?;
    let before = engine.cpu_us();
    let target = Target { address: &engine.address, path: "/v1/events", headers: &headers, body: event, taken: 202 };
    let rate = load::timed(&target, sink, options.events, options.producers).await?;
    wait_until_written(&mut ask, "/metrics", &headers, options.events).await?;
    figure.runs.push(rate);
    figure.engine_cpu_us.extend(cpu_of_one(&engine, before, options.events));
    let (_, metrics) = ask.call("GET", "/metrics", &headers, Bytes::new()).await?;
    let metrics = String::from_utf8_lossy(&metrics);
    let info =
        metrics.lines().find_map(|line| line.strip_prefix("engate_store_info{durability=\"")?.strip_suffix("\"} 1"));
    figure.durability = info.map(str::to_owned);
    engine.stop().await
}

/// Processor time per delivery since `before`, in microseconds.
fn cpu_of_one(engine: &Running, before: Option<f64>, deliveries: usize) -> Option<f64> {
    Some((engine.cpu_us()? - before?) / deliveries as f64)
}

/// Drops whatever the database at `url` holds, so that every run begins alike.
async fn empty(url: &str) -> Result<(), Error> {
    let mut connection = sqlx::PgConnection::connect(url).await?;
    connection.execute("DROP SCHEMA public CASCADE").await?;
    connection.execute("CREATE SCHEMA public").await?;
    Ok(connection.close().await?)
}

fn event(n: usize) -> Bytes {
    Bytes::from(format!(r#"{{"type":"order.created","subject":"{n}","payload":{}}}"#, load::order(n)))
}

async fn set_up(
    ask: &mut Connection,
    headers: &[(&str, &str); 2],
    sink: &str,
    plugin: Option<Guest<'_>>,
) -> Result<(), Error> {
    let integrator = json!({"slug": "bench", "name": "Bench", "active": true, "services": ["orders"]});
    create(ask, headers, "/v1/integrators", &integrator).await?;
    let mut endpoint = json!({
        "integrator": "bench", "description": "sink", "url": format!("http://{sink}/"), "auth": {"type": "none"},
        "event_types": ["order.created"], "enabled": true, "max_in_flight": IN_FLIGHT,
    });
    if let Some(Guest { component, instances }) = plugin {
        let component = Bytes::from(std::fs::read(component)?);
        let [_, authorization] = *headers;
        let wasm = [("content-type", "application/wasm"), authorization];
        let (status, body) = ask.call("POST", "/v1/plugins", &wasm, component).await?;
        let installed: Value = serde_json::from_slice(&body)?;
        if status != 201 {
            return Err(format!("installing the plugin: {status} {installed}").into());
        }
        let name = installed.get("name").and_then(Value::as_str).unwrap_or_default();
        let limits = format!("/v1/plugins/{name}/limits");
        let (status, body) =
            ask.call("PUT", &limits, headers, json!({"instances": instances}).to_string().into()).await?;
        if status != 200 {
            return Err(format!("{limits}: {status} {}", String::from_utf8_lossy(&body)).into());
        }
        let name = Value::from(name);
        endpoint.as_object_mut().map(|fields| fields.insert("plugin".to_owned(), name));
    }
    create(ask, headers, "/v1/endpoints", &endpoint).await
}

async fn create(ask: &mut Connection, headers: &[(&str, &str)], path: &str, body: &Value) -> Result<(), Error> {
    let (status, answer) = ask.call("POST", path, headers, Bytes::from(body.to_string())).await?;
    if status == 201 { Ok(()) } else { Err(format!("{path}: {status} {}", String::from_utf8_lossy(&answer)).into()) }
}
