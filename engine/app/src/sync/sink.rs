//! A target as the engine knows it: a `sink` plugin, and the address and credentials of an endpoint.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use engate_egress::{Failed, Outbound, Received};
use engate_host::{
    CallFailed, IdText, LoadedPlugin, OutgoingRequest, SinkCloseCall, SinkEncodeCall, SinkOpenCall, SinkSettleCall,
    SyncContext, SyncDone, host_granted,
};
use engate_model::{
    EndpointId, JobId, TypedId as _,
    delivery::Response,
    endpoint::{Auth, Endpoint},
    plugin::{Fault, FaultCode},
    sink::{Page, Pass, Refusal, Settlement, StreamInfo, Totals},
    verdict::Failure,
};

use super::{Asked, Sendable, Target, Writes};
use crate::{
    engine::Engine,
    metrics::FaultLabels,
    own_origin::{own_auth, own_headers},
    planted::Point,
    scheduler::debug::{DebugLog, exchange},
    views::PluginBinding,
};

/// A sink plugin with an endpoint's way out.
pub(crate) struct SinkTarget {
    engine: Arc<Engine>,
    endpoint: Arc<Endpoint>,
    binding: PluginBinding,
    job: JobId,
    plugin: Arc<LoadedPlugin>,
    /// How long the last answer took, for the call that judges it.
    elapsed_ms: AtomicU64,
    debug: Arc<DebugLog>,
}

impl Sendable for OutgoingRequest {
    fn bytes(&self) -> u64 {
        self.body.len() as u64
    }
}

impl SinkTarget {
    /// Loads the plugin.
    ///
    /// # Errors
    /// `load_failed`.
    pub(crate) async fn new(
        engine: &Arc<Engine>,
        endpoint: Arc<Endpoint>,
        binding: PluginBinding,
        job: JobId,
        debug: &Arc<DebugLog>,
    ) -> Result<Self, Failure> {
        let plugin = engine.plugin_load(&binding.digest, binding.development).await?;
        let elapsed_ms = AtomicU64::new(0);
        Ok(Self { engine: Arc::clone(engine), endpoint, binding, job, plugin, elapsed_ms, debug: Arc::clone(debug) })
    }

    /// The plugin's installed name.
    pub(crate) fn plugin(&self) -> &str {
        &self.binding.name
    }

    async fn context<'a>(&'a self, id: IdText<'a>, kept: &Writes) -> Result<SyncContext<'a>, Failure> {
        let mut state = std::collections::BTreeMap::new();
        if self.plugin.uses_state() {
            let place = EndpointId::from_uuid(self.job.uuid());
            let stored = self.engine.store.plugin_state_get(self.endpoint.tenant, &self.binding.name, place).await;
            state.extend(stored.map_err(|error| failure(error.code(), error.to_string(), true))?);
            for (key, value) in kept {
                match value {
                    Some(value) => state.insert(key.clone(), value.clone()),
                    None => state.remove(key),
                };
            }
        }
        let (reuse, limits) = self.engine.call_rules(&self.binding.calls, self.binding.component_bytes);
        Ok(SyncContext {
            installation: &self.binding.installation,
            limits: limits.for_sync(),
            reuse,
            config: Arc::clone(&self.binding.config),
            secrets: self.binding.secrets.clone(),
            state: Arc::new(state),
            id,
            now: self.engine.now(),
        })
    }

    fn fault(&self, fault: Fault) -> Failure {
        self.engine.metrics.plugin_faults.get_or_create(&FaultLabels { code: fault.code.code() }).inc();
        fault.into()
    }

    /// Writes down which secrets a call read whole, before anything of them goes out.
    async fn told<A>(&self, done: &Result<SyncDone<A>, CallFailed>) -> Result<(), Failure> {
        let revealed = match done {
            Ok(done) => done.record.revealed.clone(),
            Err(failed) => failed.record.revealed.clone(),
        };
        let job = self.job.to_string();
        let told = self.engine.tell_revealed(self.endpoint.tenant, &self.binding, ("job", &job), &revealed).await;
        told.map_err(|error| failure(error.code(), error.to_string(), true))
    }

    fn answered<V>(&self, done: Result<SyncDone<Result<V, Refusal>>, CallFailed>) -> Result<Asked<V>, Failure> {
        match done {
            Ok(SyncDone { answer: Ok(value), record }) => Ok(Asked { value, writes: record.state_writes }),
            Ok(SyncDone { answer: Err(refusal), .. }) => {
                Err(failure(&refusal.code, refusal.message, refusal.retryable))
            }
            Err(CallFailed { fault, .. }) => Err(self.fault(fault)),
        }
    }

    /// Where a test has this process die.
    fn come_by(&self, point: Point) {
        if let Some(death) = &self.engine.death {
            death.reach(point);
        }
    }

    /// A plugin's request may go to the endpoint's origin, or to a granted host without what is the endpoint's own, and with
    /// credentials that were granted.
    fn auth_of(&self, request: &OutgoingRequest) -> Result<&Auth, Failure> {
        // Somebody has to grant it: trying again within the run would only hide that.
        let denied = |message: String| {
            let failure = Failure::from(Fault::new(FaultCode::HostDenied, message));
            Failure { retryable: false, ..failure }
        };
        if request.url != self.endpoint.url {
            let target = self.engine.egress.check_url(&self.endpoint.url);
            let origin = target.map_err(|error| failure(error.code(), error.to_string(), error.retryable()))?.origin();
            host_granted(&request.url, &origin, &self.binding.grants.hosts).map_err(|fault| denied(fault.message))?;
        }
        match &request.credential {
            None => Ok(own_auth(&self.endpoint, &request.url)),
            Some(name) => match self.binding.credentials.get(name) {
                Some(Ok(auth)) => Ok(auth),
                Some(Err(why)) => Err(denied(why.clone())),
                None => Err(denied(format!("credential profile `{name}` is not granted"))),
            },
        }
    }
}

impl Target for SinkTarget {
    type Request = OutgoingRequest;

    async fn open(&self, info: &StreamInfo) -> Result<Asked<Vec<OutgoingRequest>>, Failure> {
        let context = self.context(IdText::of(&info.name), &Writes::new()).await?;
        let done = self.engine.host.sink_open(&self.plugin, SinkOpenCall { context, stream: info }).await;
        self.told(&done).await?;
        self.answered(done)
    }

    async fn encode(&self, pass: &Pass, page: &Page) -> Result<Asked<OutgoingRequest>, Failure> {
        let context = self.context(IdText::of(&page.id), &Writes::new()).await?;
        let done = self.engine.host.sink_encode(&self.plugin, SinkEncodeCall { context, pass, page }).await;
        self.told(&done).await?;
        match done {
            // The record that a plugin does not get over is looked for as one that the target refuses.
            Err(CallFailed { fault, .. }) => Err(Failure { retryable: false, ..self.fault(fault) }),
            done => {
                self.come_by(Point::BeforeSend);
                self.answered(done)
            }
        }
    }

    async fn send(&self, request: &OutgoingRequest) -> Result<Response, Failure> {
        let auth = self.auth_of(request)?;
        let own = own_headers(&self.endpoint, &request.url).iter();
        let overridden = |name: &str| own.clone().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let theirs = request.headers.iter().filter(|(name, _)| !overridden(name));
        let outbound = Outbound {
            method: &request.method,
            url: &request.url,
            headers: theirs.chain(own.clone()).cloned().collect(),
            body: Bytes::from(request.body.clone()),
            compress: request.compress,
            auth,
            sign: None,
            deadline: self.endpoint.timeout,
            response_bytes_max: self.engine.config.limits.response_bytes_max,
            http1_title_case: false,
        };
        match self.engine.egress.send(outbound).await {
            Ok(Received { response, elapsed, sent }) => {
                let now = self.engine.now();
                self.debug.record(now, || exchange(now, Some(&sent), Ok(&response)));
                self.elapsed_ms.store(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
                Ok(response)
            }
            Err(failed) => {
                let Failed { failure, sent, .. } = *failed;
                let now = self.engine.now();
                self.debug.record(now, || exchange(now, sent.as_ref(), Err(&failure)));
                Err(failure)
            }
        }
    }

    async fn settle(
        &self,
        pass: &str,
        page: &str,
        size: u32,
        response: &Response,
        kept: &Writes,
    ) -> Result<Asked<Settlement>, Failure> {
        let context = self.context(IdText::of(&page), kept).await?;
        let elapsed_ms = u32::try_from(self.elapsed_ms.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        let call = SinkSettleCall { context, pass_id: pass, page_id: page, size, response, elapsed_ms };
        let done = self.engine.host.sink_settle(&self.plugin, call).await;
        self.told(&done).await?;
        self.come_by(Point::AfterAnswer);
        match done {
            Ok(SyncDone { answer, record }) => Ok(Asked { value: answer, writes: record.state_writes }),
            Err(CallFailed { fault, .. }) => Err(self.fault(fault)),
        }
    }

    async fn close(&self, pass: &Pass, totals: Totals) -> Result<Asked<Option<OutgoingRequest>>, Failure> {
        self.come_by(Point::BeforeClose);
        let context = self.context(IdText::of(&pass.id), &Writes::new()).await?;
        let done = self.engine.host.sink_close(&self.plugin, SinkCloseCall { context, pass, totals }).await;
        self.told(&done).await?;
        self.answered(done)
    }
}

fn failure(code: &str, message: String, retryable: bool) -> Failure {
    Failure { code: code.to_owned(), message, retryable }
}
