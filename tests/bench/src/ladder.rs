//! `plugin`: what one `transform` + `interpret` costs, rung by rung, in microseconds.

use std::{sync::Arc, time::Instant};

use engate_bench_guest::{refusal, reshape};
use engate_host::{
    AttemptView, CallContext, CompilerCommand, DeliveryView, Digest, Effort, EndpointView, EventView, Host, HostConfig,
    IdText, InterpretCall, LoadedPlugin, Reuse, Secrets, TransformCall,
};
use engate_model::{Clock, DeliveryId, EndpointId, EventId, TenantId, Timestamp, delivery::Response, plugin::Limits};
use serde_json::Value;

use crate::{
    Error, PluginOptions,
    bare::Bare,
    guest, load, process,
    report::{self, Figure, Ratio},
};

/// What the sink answers.
const ANSWER: &str = r#"{"status":"ok"}"#;
/// Idle instances of the warm rung.
const WARM_IDLE: u32 = 4;

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }
}

/// Measures every rung, `runs` times in turn.
pub(crate) async fn run(options: &PluginOptions) -> Result<(), Error> {
    let component = std::fs::read(guest::component(options.plugin.as_deref())?)?;
    let folder = tempfile::tempdir()?;
    let program = process::program_beside(options.engate.as_deref(), "engate")?;
    let compiler = CompilerCommand { program, args: vec!["compile-plugin".to_owned()] };
    let host = Host::start(HostConfig::new(folder.path().join("cache"), compiler, Arc::new(Frozen)))?;
    let installed = host.install(&component, Effort::Full).await.map_err(|error| error.message)?;
    let plugin = host.load(&Digest::of(&component), Effort::Full, || async { Ok(component.clone()) }).await?;
    let bare = Bare::new(&component)?;
    let mut figures = [
        "native Rust",
        "bare wasmtime, fresh instances",
        "bare wasmtime, one instance",
        "host, fresh instance",
        "host, warm instance",
    ]
    .map(|name| Figure::new(name, "us per transform + interpret"));
    for _ in 0..options.runs {
        let measured = [
            native(options.calls)?,
            bare.run(true, options.calls, ANSWER)?,
            bare.run(false, options.calls, ANSWER)?,
            hosted(&host, &plugin, Reuse::Fresh, options.calls).await?,
            hosted(&host, &plugin, Reuse::warm(WARM_IDLE), options.calls).await?,
        ];
        figures.iter_mut().zip(measured).for_each(|(figure, us)| figure.runs.push(us));
    }
    let [native, bare_fresh, bare_warm, fresh, warm] = &figures;
    let more = |name: &str, figure: &Figure| Ratio { name: name.to_owned(), value: figure.median() - native.median() };
    let ratios = [
        more("bare wasmtime fresh, us more than native", bare_fresh),
        more("bare wasmtime in one instance, us more than native", bare_warm),
        more("host fresh, us more than native", fresh),
        more("host warm, us more than native", warm),
    ];
    println!("component: {} bytes, compiled in {:?}", installed.size_bytes, installed.compile_time);
    report::print(&figures, &ratios, options.json)
}

fn native(calls: usize) -> Result<f64, Error> {
    let order = load::order(1);
    let start = Instant::now();
    for _ in 0..calls {
        let sent = reshape(std::hint::black_box(&order))?;
        if std::hint::black_box(sent).is_empty() || refusal(std::hint::black_box(ANSWER)).is_some() {
            return Err("the plugin's own code refuses the bench's order".into());
        }
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / calls as f64)
}

async fn hosted(host: &Host, plugin: &LoadedPlugin, reuse: Reuse, calls: usize) -> Result<f64, Error> {
    let order = load::order(1);
    let config = Arc::new(Value::Object(serde_json::Map::new()));
    let now = Frozen.now();
    let (event, endpoint, delivery) = (EventId::new(now, 1), EndpointId::new(now, 1), DeliveryId::new(now, 1));
    let response = Response { status: 200, headers: Vec::new(), body: ANSWER.into(), truncated: false };
    let tenant = TenantId::new(now, 1);
    let context = || CallContext {
        installation: "bench",
        limits: Limits::default(),
        reuse,
        config: Arc::clone(&config),
        secrets: Secrets::none(),
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
    let start = Instant::now();
    for _ in 0..calls {
        let event_view = EventView {
            id: IdText::of(&event),
            event_type: "order.created",
            subject: Some("1"),
            occurred_at: now,
            content_type: "application/json",
            data: order.as_bytes(),
            labels: &[],
        };
        host.transform(plugin, TransformCall { context: context(), event: event_view })
            .await
            .map_err(|failed| failed.fault)?;
        let call = InterpretCall {
            context: context(),
            event_id: IdText::of(&event),
            event_type: "order.created",
            subject: Some("1"),
            memo: None,
            response: &response,
            elapsed_ms: 1,
        };
        host.interpret(plugin, call).await.map_err(|failed| failed.fault)?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / calls as f64)
}
