//! The rung "bare wasmtime": the same component called through wasmtime alone. No budget of time, no limits, no
//! WASI, no fiber, no record of the call: what any host has to pay, and the floor of what ours can cost.

use engate_model::delivery::Response;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, Linker},
};

use self::bindings::{
    IntegratorPre,
    engate::plugin::types::{HttpResponse, Payload},
    exports::engate::plugin::delivery::{Attempt, DeliveryInfo, Endpoint, Event, Exchange, Plan, Verdict},
};
use crate::{Error, load};

#[allow(missing_docs, unreachable_pub, unsafe_code, dead_code, clippy::all, reason = "generated")]
mod bindings {
    wasmtime::component::bindgen!({ path: "../../wit/v0.1", world: "integrator" });
}

/// Bytes of a used memory and table that are cleaned in place, as in the host.
const KEEP_RESIDENT_BYTES: usize = 512 << 10;

/// The component, compiled and linked against traps: it asks for nothing while it works.
pub(crate) struct Bare {
    engine: Engine,
    prepared: IntegratorPre<()>,
}

impl Bare {
    /// Compiles `component`.
    pub(crate) fn new(component: &[u8]) -> Result<Self, Error> {
        let mut pool = PoolingAllocationConfig::new();
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            pool.pagemap_scan(Enabled::Yes)
                .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
                .table_keep_resident(KEEP_RESIDENT_BYTES);
        }
        let mut config = Config::new();
        config.concurrency_support(false).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component)?;
        let prepared = IntegratorPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self { engine, prepared })
    }

    /// `transform` and `interpret`, each in an instance of its own or both in one of many calls; microseconds each.
    pub(crate) fn run(&self, fresh: bool, calls: usize, answer: &str) -> Result<f64, Error> {
        let order = load::order(1);
        let response = Response { status: 200, headers: Vec::new(), body: answer.into(), truncated: false };
        let mut store = Store::new(&self.engine, ());
        let mut guest = self.prepared.instantiate(&mut store)?;
        let start = std::time::Instant::now();
        for _ in 0..calls {
            if fresh {
                store = Store::new(&self.engine, ());
                guest = self.prepared.instantiate(&mut store)?;
            }
            let plan = guest.engate_plugin_delivery().call_transform(
                &mut store,
                &event(&order),
                &delivery(),
                &endpoint(),
                attempt(),
            )?;
            if !matches!(plan, Ok(Plan::Send(_))) {
                return Err("the bench's plugin refuses the bench's order".into());
            }
            if fresh {
                store = Store::new(&self.engine, ());
                guest = self.prepared.instantiate(&mut store)?;
            }
            let verdict = guest.engate_plugin_delivery().call_interpret(&mut store, &exchange(&response))?;
            if !matches!(verdict, Verdict::Success(_)) {
                return Err("the bench's plugin refuses the bench's answer".into());
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / calls as f64)
    }
}

fn event(order: &str) -> Event {
    Event {
        id: "evt_1".to_owned(),
        event_type: "order.created".to_owned(),
        subject: Some("1".to_owned()),
        occurred_at: 1,
        content_type: "application/json".to_owned(),
        data: Payload::Text(order.to_owned()),
        labels: Vec::new(),
    }
}

fn delivery() -> DeliveryInfo {
    DeliveryInfo { id: "dlv_1".to_owned(), code: 1, created_at: 1, tenant: "ten_1".to_owned(), correlation_id: None }
}

fn endpoint() -> Endpoint {
    Endpoint {
        id: "end_1".to_owned(),
        url: "http://127.0.0.1:9/".to_owned(),
        integrator: "bench".to_owned(),
        labels: Vec::new(),
    }
}

fn attempt() -> Attempt {
    Attempt { number: 1, first_at: 1, now: 1 }
}

fn exchange(response: &Response) -> Exchange {
    Exchange {
        event_id: "evt_1".to_owned(),
        event_type: "order.created".to_owned(),
        subject: Some("1".to_owned()),
        delivery: delivery(),
        endpoint: endpoint(),
        attempt: attempt(),
        memo: None,
        response: HttpResponse {
            status: response.status,
            headers: Vec::new(),
            body: Payload::Text(String::from_utf8_lossy(&response.body).into_owned()),
            truncated: false,
            elapsed_ms: 1,
        },
    }
}
