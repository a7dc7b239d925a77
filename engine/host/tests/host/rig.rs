//! A host over a directory of its own, and the arguments of a plain call.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use engate_host::{
    AttemptView, CallContext, CallFailed, CallRecord, CompilerCommand, DeliveryView, Digest, Effort, EndpointView,
    EventView, Host, HostConfig, IdText, InstallError, Installed, InterpretCall, InterpretDone, LoadedPlugin, Plan,
    ReceiveCall, ReceiveDone, Reuse, Secrets, TransformCall, TransformDone,
};
use engate_model::{
    Clock, Timestamp,
    delivery::Response,
    plugin::{FaultCode, Limits},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The instant of every call.
pub(crate) const NOW_MS: i64 = 1_800_000_000_000;

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOW_MS)
    }
}

pub(crate) struct Rig {
    pub(crate) host: Host,
    _dir: TempDir,
}

pub(crate) fn config(dir: &Path) -> HostConfig {
    let compiler = CompilerCommand { program: env!("CARGO_BIN_EXE_engate-compile").into(), args: vec![] };
    HostConfig { pool_instances: 16, ..HostConfig::new(dir.join("cache"), compiler, Arc::new(Frozen)) }
}

pub(crate) fn rig() -> Rig {
    let dir = TempDir::new().unwrap();
    Rig::of(Host::start(config(dir.path())).unwrap(), dir)
}

/// What a test changes of a call.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) installation: &'static str,
    pub(crate) limits: Limits,
    pub(crate) reuse: Reuse,
    pub(crate) config: Value,
    pub(crate) secrets: Secrets,
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    pub(crate) attempt: u32,
    pub(crate) data: Vec<u8>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            installation: "acme",
            limits: Limits::default(),
            reuse: Reuse::Fresh,
            config: json!({"a": {"b": [1, "two"]}}),
            secrets: Secrets::none(),
            state: BTreeMap::new(),
            attempt: 1,
            data: br#"{"n": 1}"#.to_vec(),
        }
    }
}

impl Setup {
    fn context(&self) -> CallContext<'_> {
        let now = Timestamp::from_millis(NOW_MS);
        CallContext {
            installation: self.installation,
            limits: self.limits,
            reuse: self.reuse,
            config: Arc::new(self.config.clone()),
            secrets: self.secrets.clone(),
            state: Arc::new(self.state.clone()),
            delivery: DeliveryView {
                id: IdText::of(&"dlv_00000000000000000000000000000001"),
                code: 7,
                created_at: now,
                tenant: IdText::of(&"ten_2"),
                correlation_id: None,
            },
            endpoint: EndpointView {
                id: IdText::of(&"ep_3"),
                url: "https://a.example/hook",
                integrator: "acme",
                labels: &[],
            },
            attempt: AttemptView { number: self.attempt, first_at: now, now },
        }
    }
}

impl Rig {
    /// A host that keeps its files in `dir`.
    pub(crate) fn of(host: Host, dir: TempDir) -> Self {
        Self { host, _dir: dir }
    }

    pub(crate) async fn install(&self, component: &[u8]) -> Result<Installed, InstallError> {
        self.host.install(component, Effort::Full).await
    }

    pub(crate) async fn load(&self, component: Vec<u8>) -> Arc<LoadedPlugin> {
        self.host.load(&Digest::of(&component), Effort::Full, || async { Ok(component) }).await.unwrap()
    }

    pub(crate) async fn transform(&self, plugin: &LoadedPlugin, setup: &Setup) -> Result<TransformDone, CallFailed> {
        let event = EventView {
            id: IdText::of(&"evt_4"),
            event_type: "order.created",
            subject: Some("order 1"),
            occurred_at: Timestamp::from_millis(NOW_MS),
            content_type: "application/json",
            data: &setup.data,
            labels: &[],
        };
        self.host.transform(plugin, TransformCall { context: setup.context(), event }).await
    }

    pub(crate) async fn interpret(&self, plugin: &LoadedPlugin, setup: &Setup) -> Result<InterpretDone, CallFailed> {
        let response = Response { status: 200, headers: vec![], body: b"{}".to_vec(), truncated: false };
        let call = InterpretCall {
            context: setup.context(),
            event_id: IdText::of(&"evt_4"),
            event_type: "order.created",
            subject: None,
            memo: None,
            response: &response,
            elapsed_ms: 12,
        };
        self.host.interpret(plugin, call).await
    }

    pub(crate) async fn receive(&self, plugin: &LoadedPlugin, setup: &Setup) -> Result<ReceiveDone, CallFailed> {
        let call = ReceiveCall {
            installation: setup.installation,
            limits: setup.limits,
            reuse: setup.reuse,
            config: Arc::new(setup.config.clone()),
            secrets: setup.secrets.clone(),
            state: Arc::new(setup.state.clone()),
            id: IdText::of(&"req_5"),
            method: "POST",
            path: "/v1/inbound/acme",
            query: "a=b",
            headers: &[("authorization".to_owned(), "Basic YTpi".to_owned())],
            body: &setup.data,
            remote_address: "192.0.2.1",
            now: Timestamp::from_millis(NOW_MS),
        };
        self.host.receive(plugin, call).await
    }

    /// The fault of a `transform` of that component.
    pub(crate) async fn fault(&self, component: Vec<u8>) -> (FaultCode, String, CallRecord) {
        let plugin = self.load(component).await;
        let failed = self.transform(&plugin, &Setup::default()).await.unwrap_err();
        assert_eq!(self.host.stats().instances_taken, 0, "the place came back");
        (failed.fault.code, failed.fault.message, *failed.record)
    }

    /// The plan of a `transform` of that component, with its record.
    pub(crate) async fn plan(&self, component: Vec<u8>, setup: &Setup) -> (Plan, CallRecord) {
        let plugin = self.load(component).await;
        let done = self.transform(&plugin, setup).await.unwrap();
        (done.plan, done.record)
    }
}
