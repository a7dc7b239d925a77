//! The rung "bare wasmtime": the same component called through wasmtime alone. No budget of time, no limits, no WASI beyond
//! traps, no fiber, no record of the call: what any host has to pay, and the floor of what ours can cost.

use ring::hmac;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, HasSelf, Linker},
};

use self::bindings::{
    Integrator, IntegratorPre,
    engate::plugin::{
        config, log, secrets, state,
        types::{self, HttpResponse, Payload},
    },
    exports::engate::plugin::delivery::{Attempt, DeliveryInfo, Endpoint, Event, Exchange, Plan, Verdict},
};
use crate::{Error, work::Work};

#[allow(missing_docs, unreachable_pub, unsafe_code, dead_code, clippy::all, reason = "generated")]
mod bindings {
    wasmtime::component::bindgen!({ path: "../../wit/v0.1", world: "integrator" });
}

/// Bytes of a used memory and table that are cleaned in place, as in the host.
const KEEP_RESIDENT_BYTES: usize = 512 << 10;

/// Answers what the benches' plugins ask the engine for, as shortly as can be.
struct Imports {
    config: serde_json::Value,
    key: hmac::Key,
}

/// The component, compiled and linked.
pub(crate) struct Bare<'a> {
    engine: Engine,
    prepared: IntegratorPre<Imports>,
    work: &'a Work,
}

impl<'a> Bare<'a> {
    /// Compiles `component`, to do that work.
    pub(crate) fn new(component: &[u8], work: &'a Work) -> Result<Self, Error> {
        let mut pool = PoolingAllocationConfig::new();
        pool.max_core_instances_per_component(64)
            .max_memories_per_component(4)
            .max_tables_per_component(16)
            .table_elements(65_536)
            .max_memory_size(256 << 20)
            .total_core_instances(1_000)
            .total_memories(50)
            .total_tables(300);
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
        Integrator::add_to_linker::<_, HasSelf<Imports>>(&mut linker, |imports| imports)?;
        // What a language's runtime imports and does not call while it works.
        linker.define_unknown_imports_as_traps(&component)?;
        let prepared = IntegratorPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self { engine, prepared, work })
    }

    /// `transform` and `interpret`, each in an instance of its own or both in one of many calls; microseconds each.
    pub(crate) fn run(&self, fresh: bool, calls: usize) -> Result<f64, Error> {
        let imports = || Imports {
            config: self.work.config.clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, self.work.key().as_bytes()),
        };
        let mut store = Store::new(&self.engine, imports());
        let mut guest = self.prepared.instantiate(&mut store)?;
        let start = std::time::Instant::now();
        for _ in 0..calls {
            if fresh {
                store = Store::new(&self.engine, imports());
                guest = self.prepared.instantiate(&mut store)?;
            }
            let plan = guest.engate_plugin_delivery().call_transform(
                &mut store,
                &event(self.work),
                &delivery(),
                &endpoint(),
                attempt(),
            )?;
            let Ok(Plan::Send(outgoing)) = plan else {
                return Err("the plugin refuses the bench's event".into());
            };
            if fresh {
                store = Store::new(&self.engine, imports());
                guest = self.prepared.instantiate(&mut store)?;
            }
            let exchange = exchange(self.work, outgoing.memo);
            let verdict = guest.engate_plugin_delivery().call_interpret(&mut store, &exchange)?;
            if !matches!(verdict, Verdict::Success(_)) {
                return Err("the plugin refuses the bench's answer".into());
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / calls as f64)
    }
}

impl types::Host for Imports {}

impl log::Host for Imports {
    fn write(&mut self, _: log::Level, _: String, _: Vec<(String, String)>) {}
}

impl config::Host for Imports {
    fn get(&mut self, pointer: String) -> Option<String> {
        self.config.pointer(&pointer).map(ToString::to_string)
    }
}

impl secrets::Host for Imports {
    fn hmac_sha256(&mut self, _: String, data: Vec<u8>) -> Result<Vec<u8>, secrets::Error> {
        Ok(hmac::sign(&self.key, &data).as_ref().to_vec())
    }

    fn reveal(&mut self, _: String) -> Result<String, secrets::Error> {
        Err(secrets::Error::Denied)
    }
}

impl state::Host for Imports {
    fn get(&mut self, _: String) -> Result<Option<Vec<u8>>, state::Error> {
        Ok(None)
    }

    fn put(&mut self, _: String, _: Vec<u8>) -> Result<(), state::Error> {
        Ok(())
    }

    fn delete(&mut self, _: String) -> Result<(), state::Error> {
        Ok(())
    }
}

fn event(work: &Work) -> Event {
    Event {
        id: "evt_1".to_owned(),
        event_type: work.event_type.to_owned(),
        subject: Some("1".to_owned()),
        occurred_at: 1,
        content_type: "application/json".to_owned(),
        data: Payload::Text(work.payload.clone()),
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

fn exchange(work: &Work, memo: Option<String>) -> Exchange {
    Exchange {
        event_id: "evt_1".to_owned(),
        event_type: work.event_type.to_owned(),
        subject: Some("1".to_owned()),
        delivery: delivery(),
        endpoint: endpoint(),
        attempt: attempt(),
        memo,
        response: HttpResponse {
            status: 200,
            headers: Vec::new(),
            body: Payload::Text(work.answer.to_owned()),
            truncated: false,
            elapsed_ms: 1,
        },
    }
}
