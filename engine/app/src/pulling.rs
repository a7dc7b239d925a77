//! A `source` plugin that is asked for what is new, whoever asks: a poll makes events of it, a sync carries it to a target.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use engate_egress::{Failed, Outbound, Received};
use engate_host::{
    CallFailed, HttpAccess, HttpAnswer, HttpBudget, HttpDoer, HttpFailure, IdText, LoadedPlugin, OutgoingRequest,
    SourcePullCall, SyncContext,
};
use engate_model::{
    EndpointId, JobId, TenantId, TypedId as _,
    endpoint::{Auth, Endpoint},
    plugin::PluginRef,
    run::RunFailure,
    sink::FeedPage,
};
use engate_store::StoreError;
use serde_json::Value;

use crate::{
    engine::Engine,
    metrics::FaultLabels,
    own_origin::{NOBODY, own_auth},
    scheduler::debug::{DebugLog, exchange},
    views::{Binding, PluginBinding, source_binding},
};

/// How long a request may take where no endpoint says it.
const TIMEOUT_DEFAULT: Duration = Duration::from_millis(engate_model::endpoint::TIMEOUT_MS_DEFAULT);

/// Whose feed it is, and what its job says of it.
pub(crate) struct FeedOf<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) job: JobId,
    pub(crate) plugin: &'a PluginRef,
    /// The plugin's settings, above those of installation, integrator and endpoint.
    pub(crate) config: Option<&'a Value>,
    /// Whose address, settings and credentials it may use.
    pub(crate) endpoint: Option<EndpointId>,
    /// What it sends and gets, for whoever looks for a fault.
    pub(crate) debug: &'a Arc<DebugLog>,
}

/// What is asked of a feed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pull<'a> {
    /// In the plugin's own words.
    pub(crate) stream: &'a str,
    /// Where to go on; none: at its beginning.
    pub(crate) after: Option<&'a [u8]>,
    /// Records at most.
    pub(crate) most: u32,
    /// Tells this call from others.
    pub(crate) id: IdText<'a>,
}

/// What came, and what the plugin wants kept once that is accepted.
pub(crate) type Pulled = (FeedPage, BTreeMap<String, Option<Vec<u8>>>);

/// A plugin with its grants, in memory.
pub(crate) struct Feed {
    engine: Arc<Engine>,
    tenant: TenantId,
    job: JobId,
    binding: PluginBinding,
    plugin: Arc<LoadedPlugin>,
    http: HttpAccess,
}

impl Feed {
    /// Looks the plugin up and loads it.
    ///
    /// # Errors
    /// `endpoint_disabled`, `load_failed`, or when the database gives no answer.
    pub(crate) async fn open(engine: &Arc<Engine>, of: FeedOf<'_>) -> Result<Self, RunFailure> {
        let FeedOf { tenant, job, plugin, config, endpoint, debug } = of;
        let view = engine.views.get(&engine.store, tenant).await.map_err(of_store)?;
        let endpoint = match endpoint {
            None => None,
            Some(id) => match view.catalog.endpoint(id).filter(|endpoint| endpoint.enabled) {
                Some(endpoint) => Some(Arc::clone(endpoint)),
                None => return Err(failure("endpoint_disabled", format!("{id} is disabled or not there"), true)),
            },
        };
        let binding = source_binding(&engine.store, &view, tenant, endpoint.as_deref(), plugin, config).await;
        let binding = match binding.map_err(of_store)? {
            Binding::Plugin(binding) => *binding,
            Binding::Broken(broken) => return Err(failure(&broken.code, broken.message, broken.retryable)),
            Binding::BuiltIn => return Err(failure("load_failed", "a source is a plugin".to_owned(), false)),
        };
        let plugin = engine.plugin_load(&binding.digest, binding.development).await;
        let plugin = plugin.map_err(|broken| failure(broken.code.code(), broken.message, true))?;
        let doer = Doer {
            engine: Arc::clone(engine),
            endpoint: endpoint.clone(),
            credentials: binding.credentials.clone(),
            debug: Arc::clone(debug),
        };
        let http = HttpAccess {
            doer: Arc::new(doer),
            endpoint_url: endpoint.map(|endpoint| endpoint.url.clone()),
            hosts: binding.grants.hosts.clone().into(),
            budget: HttpBudget::default(),
        };
        Ok(Self { engine: Arc::clone(engine), tenant, job, binding, plugin, http })
    }

    /// The plugin's installed name.
    pub(crate) fn plugin(&self) -> &str {
        &self.binding.name
    }

    /// Asks once.
    ///
    /// # Errors
    /// The plugin's refusal or fault, or when the database gives no answer.
    pub(crate) async fn pull(&self, pull: Pull<'_>) -> Result<Pulled, RunFailure> {
        let binding = &self.binding;
        let mut state = BTreeMap::new();
        if self.plugin.uses_state() {
            let place = EndpointId::from_uuid(self.job.uuid());
            let stored = self.engine.store.plugin_state_get(self.tenant, &binding.name, place).await;
            state.extend(stored.map_err(of_store)?);
        }
        let (reuse, limits) = self.engine.call_rules(&binding.calls, binding.component_bytes);
        let Pull { stream, after, most, id } = pull;
        let context = SyncContext {
            installation: &binding.installation,
            limits: limits.for_sync(),
            reuse,
            config: Arc::clone(&binding.config),
            secrets: binding.secrets.clone(),
            state: Arc::new(state),
            id,
            now: self.engine.now(),
        };
        let call = SourcePullCall { context, stream, after, max_changes: most, http: self.http.clone() };
        let pulled = self.engine.host.source_pull(&self.plugin, call).await;
        let revealed = match &pulled {
            Ok(done) => done.record.revealed.clone(),
            Err(failed) => failed.record.revealed.clone(),
        };
        let job = self.job.to_string();
        self.engine.tell_revealed(self.tenant, binding, ("job", &job), &revealed).await.map_err(of_store)?;
        match pulled {
            Ok(done) => match done.answer {
                Ok(page) => Ok((page, done.record.state_writes)),
                Err(refusal) => Err(failure(&refusal.code, refusal.message, refusal.retryable)),
            },
            Err(CallFailed { fault, .. }) => {
                let code = fault.code.code();
                self.engine.metrics.plugin_faults.get_or_create(&FaultLabels { code }).inc();
                Err(failure(code, fault.message, true))
            }
        }
    }
}

/// A source's way out, with the credentials it may use.
struct Doer {
    engine: Arc<Engine>,
    endpoint: Option<Arc<Endpoint>>,
    credentials: BTreeMap<String, Result<Auth, String>>,
    debug: Arc<DebugLog>,
}

#[async_trait]
impl HttpDoer for Doer {
    async fn send(&self, request: OutgoingRequest, body_bytes_max: usize) -> Result<HttpAnswer, HttpFailure> {
        let auth = match (&request.credential, &self.endpoint) {
            (Some(name), _) => match self.credentials.get(name) {
                Some(Ok(auth)) => auth,
                Some(Err(why)) => return Err(HttpFailure::Denied(why.clone())),
                None => return Err(HttpFailure::Denied(format!("credential profile `{name}` is not granted"))),
            },
            (None, Some(endpoint)) => own_auth(endpoint, &request.url),
            (None, None) => &NOBODY,
        };
        let deadline = self.endpoint.as_ref().map_or(TIMEOUT_DEFAULT, |endpoint| endpoint.timeout);
        let outbound = Outbound {
            method: &request.method,
            url: &request.url,
            headers: request.headers.clone(),
            body: Bytes::from(request.body.clone()),
            compress: request.compress,
            auth,
            sign: None,
            deadline,
            response_bytes_max: body_bytes_max,
            http1_title_case: false,
        };
        let answer = self.engine.egress.send(outbound).await;
        let now = self.engine.now();
        match answer {
            Ok(Received { response, elapsed, sent }) => {
                self.debug.record(now, || exchange(now, Some(&sent), Ok(&response)));
                let elapsed_ms = u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX);
                Ok(HttpAnswer { response, elapsed_ms })
            }
            Err(failed) => {
                let Failed { failure, sent, .. } = *failed;
                self.debug.record(now, || exchange(now, sent.as_ref(), Err(&failure)));
                Err(match failure.code.as_str() {
                    "egress_denied" => HttpFailure::Denied(failure.message),
                    "dns_failed" => HttpFailure::Dns,
                    "connect_refused" | "connect_failed" => HttpFailure::Connect,
                    "tls_failed" | "client_certificate_required" | "client_certificate_refused" => HttpFailure::Tls,
                    "timeout" => HttpFailure::Timeout,
                    _ => HttpFailure::Other(failure.message),
                })
            }
        }
    }
}

fn failure(code: &str, message: String, retryable: bool) -> RunFailure {
    RunFailure { code: code.to_owned(), message, retryable }
}

fn of_store(error: StoreError) -> RunFailure {
    failure(error.code(), error.to_string(), true)
}
