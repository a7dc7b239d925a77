//! How many events a store accepts and finishes in a second, by how many producers.
//!
//! `cargo run --workspace --example throughput -- <database> <producers> <seconds> [fan-out] [calls]`
//!
//! Each producer accepts one event with `fan-out` deliveries handed over to it, finishes each of them, and
//! begins anew: what an engine does to its store for each event, and nothing else. With `calls` each accept brings the
//! access entry of its call along. The line before it says what
//! the disk can do: commits a second of a file that is appended to and synced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use engate_model::{
    CallId, DeliveryId, EndpointId, EventId, IntegratorId, Secret, TenantId, Timestamp, TokenId,
    delivery::{Attempt, DeliveryState, Request, Response, Trigger},
    endpoint::{Auth, Endpoint, Signing},
    event::Event,
    integrator::{Integrator, Tenant},
    retry::RetryPolicy,
    transition::Transition,
};
use engate_store::{
    AcceptEvent, AcceptRequest, Accepted, AccessEntry, AccessOfAccept, Actor, Database, FinishItem, Finished,
    NewDelivery, NodeSerial, SecretKey, Start, Store, StoreOptions,
};

static COUNT: AtomicU64 = AtomicU64::new(1);

fn unique() -> u128 {
    u128::from(COUNT.fetch_add(1, Ordering::Relaxed)) << 32
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let database = Database::parse(&args.next().unwrap_or_else(|| "throughput.db".to_owned()));
    let producers: usize = args.next().map_or(64, |n| n.parse().unwrap());
    let seconds: u64 = args.next().map_or(5, |n| n.parse().unwrap());
    let fan_out: usize = args.next().map_or(1, |n| n.parse().unwrap());
    let calls = args.next().is_some_and(|word| word == "calls");
    if let Database::Sqlite(path) = &database {
        println!("disk: {} synced writes/s", synced_writes(path));
    }
    let store = Store::open(&database, &SecretKey::new([1; 32]), StoreOptions::default(), now()).await.unwrap();
    let world = Arc::new(World::furnish(store, calls).await);
    let finished = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..producers)
        .map(|_| {
            let (world, finished) = (Arc::clone(&world), Arc::clone(&finished));
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while Instant::now() < end {
                    let started = Instant::now();
                    let (accept, codes) = world.accept(fan_out).await;
                    waits.push(started.elapsed().as_micros());
                    let finishes = codes.iter().enumerate().map(|(n, code)| world.finish(&accept, n, *code));
                    futures_util::future::join_all(finishes).await;
                    finished.fetch_add(u64::try_from(codes.len()).unwrap(), Ordering::Relaxed);
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.append(&mut task.await.unwrap());
    }
    waits.sort_unstable();
    let wait = |percent: usize| waits.get(waits.len() * percent / 100).copied().unwrap_or_default();
    let took = begin.elapsed().as_secs_f64();
    let count = finished.load(Ordering::Relaxed);
    println!(
        "{}: {producers} producers, fan-out {fan_out}, calls {calls}: {:.0} deliveries accepted and finished/s ({count} in {took:.1} s), \
         accept waits {} us median, {} us p99, {} us at most",
        world.store.backend(),
        f64::from(u32::try_from(count).unwrap()) / took,
        wait(50),
        wait(99),
        waits.last().copied().unwrap_or_default(),
    );
    world.store.node_leave(world.node, now()).await.unwrap();
    world.store.close().await;
}

fn synced_writes(path: &std::path::Path) -> u32 {
    let probe = path.with_extension("probe");
    let mut file = std::fs::File::create(&probe).unwrap();
    let end = Instant::now() + Duration::from_secs(1);
    let mut count = 0;
    while Instant::now() < end {
        file.write_all(&[1; 4_096]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    std::fs::remove_file(probe).unwrap();
    count
}

struct World {
    store: Store,
    node: NodeSerial,
    tenant: TenantId,
    integrator: IntegratorId,
    endpoints: Vec<EndpointId>,
    revision: i64,
    calls: bool,
}

impl World {
    async fn furnish(store: Store, calls: bool) -> Self {
        let actor = || Actor::system(now(), unique() << 20);
        let at = now();
        let (tenant, integrator) = (TenantId::new(at, unique()), IntegratorId::new(at, unique()));
        let row = Tenant { id: tenant, slug: tenant.to_string(), name: String::new(), created_at: at };
        store.tenant_create(&actor(), &row, None).await.unwrap();
        let row = Integrator {
            id: integrator,
            tenant,
            slug: "i".into(),
            name: String::new(),
            active: true,
            services: vec![],
            plugin: None,
            config: None,
            created_at: at,
            updated_at: at,
        };
        store.integrator_create(&actor(), &row).await.unwrap();
        let mut endpoints = Vec::new();
        for _ in 0..10 {
            let id = EndpointId::new(at, unique());
            store.endpoint_create(&actor(), &endpoint(id, tenant, integrator)).await.unwrap();
            endpoints.push(id);
        }
        let revision = store.revision_get(tenant).await.unwrap();
        let node = store.node_register("bench", Duration::from_secs(3_600), at).await.unwrap();
        Self { store, node, tenant, integrator, endpoints, revision, calls }
    }

    async fn accept(&self, fan_out: usize) -> (AcceptEvent, Vec<i64>) {
        let at = now();
        let event = Event {
            id: EventId::new(at, unique()),
            tenant: self.tenant,
            event_type: "order.created".into(),
            subject: Some("customer-1".into()),
            payload: vec![b'x'; 300],
            content_type: "application/json".into(),
            occurred_at: at,
            accepted_at: at,
            deliver_at: None,
            labels: vec![],
            correlation_id: None,
            idempotency_key: None,
            reason: None,
        };
        let delivery = |n: usize| NewDelivery {
            id: DeliveryId::new(at, unique()),
            endpoint: self.endpoints[n % self.endpoints.len()],
            integrator: self.integrator,
            ordering: engate_model::line::Ordering::Parallel,
            start: Start::HandedOver(self.node),
        };
        let first = usize::try_from(COUNT.load(Ordering::Relaxed)).unwrap();
        let deliveries = (0..fan_out).map(|n| delivery(first + n)).collect();
        let accept = AcceptEvent { event: Arc::new(event), body_hash: [0; 32], deliveries };
        let request = AcceptRequest {
            tenant: self.tenant,
            revision: self.revision,
            events: vec![accept.clone()],
            state: None,
            call: self.calls.then(|| AccessOfAccept {
                entry: AccessEntry {
                    id: CallId::new(at, unique()),
                    tenant: self.tenant,
                    token: TokenId::MIN,
                    route: "POST /v1/events".into(),
                    status: 202,
                    duration: Duration::ZERO,
                    source: "10.1.2.3".into(),
                },
                status_repeat: 200,
                started: tokio::time::Instant::now(),
            }),
        };
        match self.store.event_accept(request).await.unwrap() {
            Accepted::Stored(mut events) => (accept, events.remove(0).codes),
            other => panic!("{other:?}"),
        }
    }

    async fn finish(&self, accept: &AcceptEvent, n: usize, code: i64) {
        let delivery = accept.delivery(n, code).unwrap();
        let attempt = Attempt {
            number: 1,
            at: now(),
            trigger: Trigger::Event,
            plugin: Some("gsan@1.2.0".into()),
            plugin_digest: Some("ab".repeat(32)),
            request: Some(Request {
                method: "POST".into(),
                url: "https://example.com/hook".into(),
                headers: vec![("content-type".into(), "application/json".into())],
                body: accept.event.payload.clone(),
                body_kept: true,
            }),
            response: Some(Response { status: 200, headers: vec![], body: b"ok".to_vec(), truncated: false }),
            outcome: "success".into(),
            code: None,
            message: None,
            duration: Duration::from_millis(2),
            replay: Some(engate_model::delivery::Replay::default()),
        };
        let transition = Transition {
            state: DeliveryState::Succeeded,
            next_attempt_at: None,
            success: Some(true),
            outcome: "success",
            code: None,
            message: None,
            disable_endpoint: None,
        };
        let item = FinishItem::new(&delivery, &accept.event, self.node, &attempt, &transition);
        assert_eq!(self.store.delivery_finish(item).await.unwrap(), Finished::Finished);
    }
}

fn endpoint(id: EndpointId, tenant: TenantId, integrator: IntegratorId) -> Endpoint {
    Endpoint {
        id,
        tenant,
        integrator,
        description: String::new(),
        url: "https://example.com".into(),
        auth: Auth::None,
        plugin: None,
        config: None,
        event_types: vec!["*".into()],
        enabled: true,
        disabled_reason: None,
        ordering: engate_model::line::Ordering::Parallel,
        max_in_flight: 16,
        timeout: Duration::from_secs(15),
        retry: RetryPolicy::default(),
        headers: vec![],
        signing: Signing { enabled: false, secret: Secret::new("whsec_x"), previous: None },
        rate_limit: None,
        filter: None,
        paused_at: None,
        verified_at: None,
        callbacks: engate_model::callback::CallbackScope::Tenant,
        revision: 1,
        created_at: now(),
        updated_at: now(),
    }
}
