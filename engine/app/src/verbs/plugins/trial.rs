//! Trying a plugin out: an event in, its request out; a response in, its verdict out. Nothing is sent, nothing is
//! kept, and what goes wrong in the plugin is part of the answer.

use std::{collections::BTreeMap, sync::Arc};

use engate_host::{
    AttemptView, CallContext, CallFailed, CallRecord, DeliveryView, Digest, EndpointView, EventView, GrantedSecret,
    IdText, InterpretCall, LoadedPlugin, OutgoingRequest, Plan, Reuse, Secrets, TransformCall, host_granted,
    validate_config,
};
use engate_model::{
    DeliveryId, EndpointId, EventId, Invalid, Secret, TenantId, Timestamp,
    delivery::Response,
    endpoint::Endpoint,
    event::{check_key, check_labels},
    integrator::Integrator,
    invalid::Complaints,
    plugin::{Fault, FaultCode, Grants, Limits, Manifest, Pin, PluginRef, World},
    token::Principal,
    verdict::{Failure, Verdict, judge_status},
};
use engate_store::StoreError;
use serde_json::Value;

use super::blame;
use crate::{
    engine::Engine,
    verbs::{VerbError, integrators::check_config},
    views::{merged, with_catalog_labels},
};

/// Where the request of a try without an endpoint would go (RFC 2606 keeps the name free).
const URL_STAND_IN: &str = "https://partner.example/";
/// Integrator of a try without an endpoint.
const INTEGRATOR_STAND_IN: &str = "try";

/// What to try.
#[derive(Debug, Clone)]
pub(crate) struct TrialNew {
    /// Version or channel; none: `stable`, else the newest.
    pub(crate) version: Option<String>,
    /// The endpoint whose URL, configuration and state are used; none: a stand-in.
    pub(crate) endpoint: Option<EndpointId>,
    /// Configuration in the place of the endpoint's.
    pub(crate) config: Option<Value>,
    /// The event.
    pub(crate) event: TrialEvent,
    /// What the partner is to have answered.
    pub(crate) response: Option<Response>,
}

/// An event that need not exist.
#[derive(Debug, Clone)]
pub(crate) struct TrialEvent {
    /// Key of its type.
    pub(crate) event_type: String,
    /// What it is about.
    pub(crate) subject: Option<String>,
    /// Payload bytes.
    pub(crate) payload: Vec<u8>,
    /// Media type of the payload.
    pub(crate) content_type: String,
    /// When it happened; none: now.
    pub(crate) occurred_at: Option<Timestamp>,
    /// Names and values.
    pub(crate) labels: Vec<(String, String)>,
    /// Ties it to its cause.
    pub(crate) correlation_id: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    /// `name@version` that ran.
    pub(crate) plugin: String,
    /// sha256 of its component.
    pub(crate) digest: String,
    /// The merged configuration it saw.
    pub(crate) config: Value,
    /// What became of the event.
    pub(crate) shaped: Shaped,
    /// What became of the response, where one was given and a request came of the event.
    pub(crate) judged: Option<Judged>,
    /// What the call of `transform` cost and wrote.
    pub(crate) transform: CallRecord,
    /// What the call of `interpret` cost and wrote, where it was made.
    pub(crate) interpret: Option<CallRecord>,
}

/// What became of the event.
#[derive(Debug, Clone)]
pub(crate) enum Shaped {
    /// This request would be sent.
    Send {
        /// The plugin's part of it.
        request: OutgoingRequest,
        /// What `interpret` gets.
        memo: Option<String>,
    },
    /// Nothing would be sent.
    Skip(String),
    /// The plugin refused.
    Refused(Failure),
    /// The plugin broke a limit or a rule.
    Fault(Fault),
}

/// What became of the response.
#[derive(Debug, Clone)]
pub(crate) enum Judged {
    /// The plugin's word.
    ByPlugin(Verdict),
    /// The engine's word: the plugin does not want to be asked about this status.
    ByStatus(Verdict),
    /// The plugin broke a limit or a rule.
    Fault(Fault),
}

/// What is stored and a try needs.
struct Scene {
    label: String,
    installation: String,
    digest: Digest,
    development: bool,
    manifest: Manifest,
    grants: Grants,
    config: Arc<Value>,
    secrets: Secrets,
    state: Arc<BTreeMap<String, Vec<u8>>>,
    endpoint: Option<Endpoint>,
    integrator: String,
    limits: Limits,
}

/// Everything that the calls of a try share.
struct Bench<'a> {
    engine: &'a Engine,
    plugin: Arc<LoadedPlugin>,
    scene: &'a Scene,
    context: CallContext<'a>,
    event: EventView<'a>,
}

impl Engine {
    /// Runs an event, and a response where one is given, through an installed version.
    pub(crate) async fn plugin_try(
        &self,
        principal: &Principal,
        name: &str,
        new: TrialNew,
    ) -> Result<Trial, VerbError> {
        let scene = self.trial_scene(principal, name, &new).await?;
        let loaded = match self.plugin_load(&scene.digest, scene.development).await {
            Ok(loaded) => loaded,
            Err(fault) => return Ok(scene.of_fault(fault)),
        };
        let now = self.now();
        let endpoint = scene.endpoint.as_ref();
        let (delivery, stand_in) = (DeliveryId::new(now, self.chance.bits()), EndpointId::new(now, self.chance.bits()));
        let event_id = EventId::new(now, self.chance.bits());
        let context = CallContext {
            installation: &scene.installation,
            limits: scene.limits,
            reuse: Reuse::Fresh,
            config: Arc::clone(&scene.config),
            secrets: scene.secrets.clone(),
            state: Arc::clone(&scene.state),
            delivery: DeliveryView {
                id: IdText::of(&delivery),
                code: 0,
                created_at: now,
                tenant: IdText::of(&principal.tenant),
                correlation_id: new.event.correlation_id.as_deref(),
            },
            endpoint: EndpointView {
                id: IdText::of(endpoint.map_or(&stand_in, |endpoint| &endpoint.id)),
                url: endpoint.map_or(URL_STAND_IN, |endpoint| endpoint.url.as_str()),
                integrator: scene.integrator.as_str(),
                labels: &[],
            },
            attempt: AttemptView { number: 1, first_at: now, now },
        };
        let view = self.views.get(&self.store, principal.tenant).await?;
        let labels = with_catalog_labels(&new.event.labels, view.catalog_labels(&new.event.event_type));
        let event = EventView {
            id: IdText::of(&event_id),
            event_type: &new.event.event_type,
            subject: new.event.subject.as_deref(),
            occurred_at: new.event.occurred_at.unwrap_or(now),
            content_type: &new.event.content_type,
            data: &new.event.payload,
            labels: &labels,
        };
        let bench = Bench { engine: self, plugin: loaded, scene: &scene, context, event };
        Ok(bench.run(new.response.as_ref()).await)
    }

    /// Everything a try needs that is stored: the version, the merged configuration, secrets and state.
    async fn trial_scene(&self, principal: &Principal, name: &str, new: &TrialNew) -> Result<Scene, VerbError> {
        check_event(&new.event)?;
        check_config(new.config.as_ref())?;
        let plugin = self.plugin_get(principal, name).await?;
        let reference = match &new.version {
            Some(version) => {
                let reference = format!("{name}@{version}").parse();
                reference.map_err(|message: String| Invalid::field("version", message))?
            }
            None => PluginRef { name: name.to_owned(), pin: Pin::Version(plugin.current.version.clone()) },
        };
        let usable = self.plugin_usable(principal.tenant, &reference).await;
        let (version, manifest) = usable.map_err(|error| blame(error, "version"))?;
        if !manifest.fills(World::Integrator) {
            let message = "delivers no events, being of another world; try it with `engate plugin test`";
            return Err(VerbError::field("version", message));
        }
        let (endpoint, integrator) = self.trial_endpoint(principal, new.endpoint).await?;
        let own = new.config.as_ref().or(endpoint.as_ref().and_then(|endpoint| endpoint.config.as_ref()));
        let between = integrator.as_ref().and_then(|integrator| integrator.config.as_ref());
        let config = merged([plugin.settings.config.as_ref(), between, own]);
        validate_config(&manifest.config_schema, &config).map_err(|invalid| invalid.below("config"))?;
        let state = match &endpoint {
            Some(endpoint) => self.store.plugin_state_get(principal.tenant, name, endpoint.id).await?,
            None => Vec::new(),
        };
        let digest = version.digest.parse().map_err(|_| VerbError::Internal("a digest is unreadable".to_owned()))?;
        let (_, limits) = self.call_rules(&plugin.settings.calls, version.size_bytes);
        Ok(Scene {
            label: format!("{}@{}", version.name, version.version),
            // Not the installation's own key: a try must not share anything with deliveries.
            installation: format!("{}/{name}/try", principal.tenant),
            digest,
            development: version.development,
            manifest,
            config: Arc::new(config),
            secrets: self.trial_secrets(principal.tenant, &plugin.settings.grants).await?,
            grants: plugin.settings.grants,
            state: Arc::new(state.into_iter().collect()),
            endpoint,
            integrator: integrator.map_or_else(|| INTEGRATOR_STAND_IN.to_owned(), |integrator| integrator.slug),
            limits,
        })
    }

    async fn trial_endpoint(
        &self,
        principal: &Principal,
        id: Option<EndpointId>,
    ) -> Result<(Option<Endpoint>, Option<Integrator>), VerbError> {
        let Some(id) = id else { return Ok((None, None)) };
        match self.endpoint_find(principal, id).await {
            Ok((endpoint, integrator)) => Ok((Some(endpoint), Some(integrator))),
            Err(VerbError::NotFound(_)) => Err(VerbError::field("endpoint", "there is no such endpoint")),
            Err(error) => Err(error),
        }
    }

    /// The granted secrets. Those the plugin may read whole are stood in for by a harmless text: the answer of a
    /// try goes to a person, who may try plugins but not see secrets.
    async fn trial_secrets(&self, tenant: TenantId, grants: &Grants) -> Result<Secrets, StoreError> {
        let mut secrets = BTreeMap::new();
        for name in grants.secrets.iter().filter(|name| !grants.reveal.contains(name)) {
            if let Some(value) = self.store.secret_get_for_engine(tenant, name).await? {
                secrets.insert(name.clone(), GrantedSecret { value: Ok(value), reveal: false });
            }
        }
        for name in &grants.reveal {
            let value = Ok(Secret::new(format!("the-secret-{name}")));
            secrets.insert(name.clone(), GrantedSecret { value, reveal: true });
        }
        Ok(Secrets::granted(Arc::new(secrets)))
    }
}

impl Bench<'_> {
    async fn run(self, response: Option<&Response>) -> Trial {
        let (shaped, transform) = self.shape().await;
        let (judged, interpret) = match (&shaped, response) {
            (Shaped::Send { memo, .. }, Some(response)) => self.judge(memo.as_deref(), response).await,
            _ => (None, None),
        };
        Trial { judged, transform, interpret, ..self.scene.trial(shaped) }
    }

    async fn shape(&self) -> (Shaped, CallRecord) {
        let call = TransformCall { context: self.context.clone(), event: self.event };
        match self.engine.host.transform(&self.plugin, call).await {
            Err(CallFailed { fault, record }) => (Shaped::Fault(fault), *record),
            Ok(done) => {
                let shaped = match done.plan {
                    Plan::Skip(reason) => Shaped::Skip(reason),
                    Plan::Refused(failure) => Shaped::Refused(failure),
                    Plan::Send { request, memo } => match self.check_host(&request) {
                        Ok(()) => Shaped::Send { request, memo },
                        Err(fault) => Shaped::Fault(fault),
                    },
                };
                (shaped, done.record)
            }
        }
    }

    /// The same rule as at a delivery: the endpoint's own URL and origin, or a granted host.
    fn check_host(&self, request: &OutgoingRequest) -> Result<(), Fault> {
        let granted = |name: &String| self.scene.grants.credentials.iter().any(|credential| credential.name == *name);
        if let Some(name) = request.credential.as_ref().filter(|name| !granted(name)) {
            return Err(Fault::new(FaultCode::HostDenied, format!("credential profile `{name}` is not granted")));
        }
        if request.url == self.context.endpoint.url {
            return Ok(());
        }
        let target = self.engine.egress.check_url(self.context.endpoint.url);
        let origin = target.map_err(|denied| Fault::new(FaultCode::HostDenied, denied.to_string()))?.origin();
        host_granted(&request.url, &origin, &self.scene.grants.hosts)
    }

    async fn judge(&self, memo: Option<&str>, response: &Response) -> (Option<Judged>, Option<CallRecord>) {
        if !self.scene.manifest.interpret.asks(response.status) {
            return (Some(Judged::ByStatus(judge_status(response.status))), None);
        }
        let call = InterpretCall {
            context: self.context.clone(),
            event_id: self.event.id,
            event_type: self.event.event_type,
            subject: self.event.subject,
            memo,
            response,
            elapsed_ms: 0,
        };
        match self.engine.host.interpret(&self.plugin, call).await {
            Ok(done) => (Some(Judged::ByPlugin(done.verdict)), Some(done.record)),
            Err(CallFailed { fault, record }) => (Some(Judged::Fault(fault)), Some(*record)),
        }
    }
}

impl Scene {
    fn trial(&self, shaped: Shaped) -> Trial {
        Trial {
            plugin: self.label.clone(),
            digest: self.digest.to_string(),
            config: self.config.as_ref().clone(),
            shaped,
            judged: None,
            transform: CallRecord::default(),
            interpret: None,
        }
    }

    fn of_fault(&self, fault: Fault) -> Trial {
        self.trial(Shaped::Fault(fault))
    }
}

fn check_event(event: &TrialEvent) -> Result<(), Invalid> {
    let mut complaints = Complaints::default();
    complaints.take(check_key("event.type", &event.event_type));
    let labels = check_labels(&event.labels);
    complaints.take(labels.map_err(|mut invalid| {
        invalid.0.iter_mut().for_each(|error| error.field.insert_str(0, "event."));
        invalid
    }));
    complaints.finish(())
}
