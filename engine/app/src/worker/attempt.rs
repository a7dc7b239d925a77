//! One try: the plugin shapes the request, the request goes out, the answer is judged, the model decides.
//! Without a plugin the engine answers `transform` and `interpret` itself; the path is the same.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use engate_egress::{Failed, Outbound, Received, SignInput};
use engate_host::{
    AttemptView, CallContext, CallFailed, CallRecord, DeliveryView, EndpointView, EventView, IdText, InterpretCall,
    LoadedPlugin, OutgoingRequest, Plan, TransformCall, host_granted,
};
use engate_model::{
    Timestamp,
    circuit::Impression,
    delivery::{Attempt, HostAnswers, Replay, Request, Response},
    endpoint::{Auth, Endpoint},
    event::NoDelivery,
    lanes::Pace,
    plugin::{Fault, FaultCode},
    retry::{self, RetryPolicy},
    transition::{Circumstances, Transition, after},
    verdict::{Failure, Outcome, Verdict, asks_to_slow_down, judge_status},
};
use engate_store::StoreError;

use super::Job;
use crate::{
    engine::Engine,
    metrics::FaultLabels,
    own_origin::{own_auth, own_headers},
    views::{Binding, PluginBinding, View, with_catalog_labels},
};

/// State writes of a plugin: key, and the value or none to delete it.
type StateWrites = Vec<(String, Option<Vec<u8>>)>;

/// A finished try.
pub(super) struct Done {
    /// What is recorded.
    pub(super) attempt: Attempt,
    /// What follows.
    pub(super) transition: Transition,
    /// How the partner keeps up.
    pub(super) pace: Pace,
    /// The plugin's name and what it wants kept.
    pub(super) plugin_state: Option<(String, StateWrites)>,
    /// Whether the plugin did not do its part; a refusal of its own is none of that.
    pub(super) faulty: bool,
    /// What it says of the endpoint.
    pub(super) impression: Impression,
}

/// Makes one try of `job`. Whatever happens in it is data in the answer; an error means that the store could
/// not be read and nothing was sent.
pub(super) async fn run(
    engine: &Engine,
    view: &View,
    endpoint: &Endpoint,
    binding: &Binding,
    job: &Job,
) -> Result<Done, StoreError> {
    let now = engine.now();
    let slug = view.catalog.integrator(endpoint.integrator).map_or("", |integrator| integrator.slug.as_str());
    let attempt = Try {
        engine,
        endpoint,
        job,
        binding,
        integrator: slug,
        catalog_labels: view.catalog_labels(&job.delivery.event_type),
        now,
        seen: Seen::default(),
    };
    attempt.make().await
}

/// What a try knows when it starts.
struct Try<'a> {
    engine: &'a Engine,
    endpoint: &'a Endpoint,
    job: &'a Job,
    binding: &'a Binding,
    integrator: &'a str,
    catalog_labels: &'a [(String, String)],
    now: Timestamp,
    seen: Seen,
}

/// What a try has seen so far; all of it goes into the attempt's record.
#[derive(Default)]
struct Seen {
    request: Option<Request>,
    response: Option<Response>,
    /// From the start of the request to the end of the body.
    elapsed: Duration,
    replay: Replay,
    state_writes: StateWrites,
    /// Secrets that the plugin read whole, and that are not written down yet.
    revealed: Vec<String>,
    faulty: bool,
}

/// A plugin at work in one try.
struct Guest<'a> {
    plugin: Arc<LoadedPlugin>,
    context: CallContext<'a>,
}

impl<'a> Try<'a> {
    async fn make(mut self) -> Result<Done, StoreError> {
        let outcome = match self.binding {
            Binding::BuiltIn => self.without_plugin().await,
            Binding::Broken(failure) => Outcome::Plugin(failure.clone()),
            // In a box: calls of a plugin take much room, which an attempt without one need not carry along.
            Binding::Plugin(binding) => Box::pin(self.with_plugin(binding)).await?,
        };
        Ok(self.conclude(outcome))
    }

    async fn without_plugin(&mut self) -> Outcome {
        let request = OutgoingRequest {
            method: "POST".to_owned(),
            url: self.endpoint.url.clone(),
            headers: vec![("content-type".to_owned(), self.job.event.content_type.clone())],
            body: self.job.event.payload.clone(),
            compress: false,
            credential: None,
        };
        match self.send(request).await {
            Ok(status) => Outcome::Judged(judge_status(status)),
            Err(failure) => Outcome::Transport(failure),
        }
    }

    async fn with_plugin(&mut self, binding: &'a PluginBinding) -> Result<Outcome, StoreError> {
        let guest = match self.load(binding).await {
            Ok(loaded) => loaded?,
            Err(fault) => return Ok(self.fault(fault)),
        };
        let planned = self.transform(&guest).await;
        self.tell_revealed(binding).await?;
        let (request, memo) = match planned {
            Ok(Plan::Send { request, memo }) => (request, memo),
            Ok(Plan::Skip(reason)) => return Ok(Outcome::Skipped(reason)),
            Ok(Plan::Refused(failure)) => return Ok(Outcome::Plugin(failure)),
            Err(fault) => return Ok(self.fault(fault)),
        };
        if let Err(fault) = self.check(&request, binding) {
            return Ok(self.fault(fault));
        }
        self.seen.replay.memo = memo;
        let status = match self.send(request).await {
            Ok(status) => status,
            Err(failure) => return Ok(Outcome::Transport(failure)),
        };
        if !binding.manifest.interpret.asks(status) {
            return Ok(Outcome::Judged(judge_status(status)));
        }
        let judged = self.interpret(guest).await;
        if let Err(error) = self.tell_revealed(binding).await {
            // The request is out: to try again would send it twice. The next such read is written down.
            tracing::warn!(%error, plugin = binding.label, "a secret that was read whole is not in the audit yet");
        }
        match judged {
            Ok(verdict) => Ok(Outcome::Judged(verdict)),
            Err(fault) => Ok(self.fault(fault)),
        }
    }

    /// The component in memory, and the context of its calls.
    async fn load(&self, binding: &'a PluginBinding) -> Result<Result<Guest<'a>, StoreError>, Fault> {
        let store = &self.engine.store;
        let plugin = self.engine.plugin_load(&binding.digest, binding.development).await?;
        let (tenant, endpoint) = (self.job.delivery.tenant, self.endpoint.id);
        let state = if plugin.uses_state() {
            match store.plugin_state_get(tenant, &binding.name, endpoint).await {
                Ok(state) => state.into_iter().collect(),
                Err(error) => return Ok(Err(error)),
            }
        } else {
            std::collections::BTreeMap::new()
        };
        let (reuse, limits) = self.engine.call_rules(&binding.calls, binding.component_bytes);
        let context = CallContext {
            installation: &binding.installation,
            limits,
            reuse,
            config: Arc::clone(&binding.config),
            secrets: binding.secrets.clone(),
            state: Arc::new(state),
            delivery: self.delivery_view(),
            endpoint: self.endpoint_view(),
            attempt: self.attempt_view(),
        };
        Ok(Ok(Guest { plugin, context }))
    }

    fn delivery_view(&self) -> DeliveryView<'a> {
        let delivery = &self.job.delivery;
        DeliveryView {
            id: IdText::of(&delivery.id),
            code: delivery.code,
            created_at: delivery.created_at,
            tenant: IdText::of(&delivery.tenant),
            correlation_id: delivery.correlation_id.as_deref(),
        }
    }

    fn endpoint_view(&self) -> EndpointView<'a> {
        let (id, url) = (IdText::of(&self.endpoint.id), self.endpoint.url.as_str());
        EndpointView { id, url, integrator: self.integrator, labels: &[] }
    }

    fn attempt_view(&self) -> AttemptView {
        let delivery = &self.job.delivery;
        let first_at = delivery.first_attempt_at.unwrap_or(self.now);
        AttemptView { number: delivery.attempts.saturating_add(1), first_at, now: self.now }
    }

    async fn transform(&mut self, guest: &Guest<'a>) -> Result<Plan, Fault> {
        let event = &self.job.event;
        let labels = with_catalog_labels(&event.labels, self.catalog_labels);
        let view = EventView {
            id: IdText::of(&event.id),
            event_type: &event.event_type,
            subject: event.subject.as_deref(),
            occurred_at: event.occurred_at,
            content_type: &event.content_type,
            data: &event.payload,
            labels: &labels,
        };
        let called =
            self.engine.host.transform(&guest.plugin, TransformCall { context: guest.context.clone(), event: view });
        match called.await {
            Ok(done) => {
                self.seen.replay.transform = self.seen.note(done.record);
                Ok(done.plan)
            }
            Err(CallFailed { fault, record }) => {
                self.seen.replay.transform = self.seen.note(*record);
                Err(fault)
            }
        }
    }

    /// Asks about the answer that was received; one is there, since only then this is called.
    async fn interpret(&mut self, guest: Guest<'a>) -> Result<Verdict, Fault> {
        let Some(response) = &self.seen.response else {
            return Err(Fault::new(FaultCode::BadAbi, "there is no answer to be judged".to_owned()));
        };
        let event = &self.job.event;
        let elapsed_ms = u32::try_from(self.seen.elapsed.as_millis()).unwrap_or(u32::MAX);
        let call = InterpretCall {
            context: guest.context,
            event_id: IdText::of(&event.id),
            event_type: &event.event_type,
            subject: event.subject.as_deref(),
            memo: self.seen.replay.memo.as_deref(),
            response,
            elapsed_ms,
        };
        let called = self.engine.host.interpret(&guest.plugin, call).await;
        self.seen.replay.elapsed_ms = Some(elapsed_ms);
        match called {
            Ok(done) => {
                self.seen.replay.interpret = self.seen.note(done.record);
                Ok(done.verdict)
            }
            Err(CallFailed { fault, record }) => {
                self.seen.replay.interpret = self.seen.note(*record);
                Err(fault)
            }
        }
    }

    /// Writes down which secrets the last call read whole, before anything of them goes out.
    async fn tell_revealed(&mut self, binding: &PluginBinding) -> Result<(), StoreError> {
        let revealed = std::mem::take(&mut self.seen.revealed);
        if revealed.is_empty() {
            return Ok(());
        }
        let (tenant, id) = (self.job.delivery.tenant, self.endpoint.id.to_string());
        self.engine.tell_revealed(tenant, binding, ("endpoint", &id), &revealed).await
    }

    /// A plugin's request may go to the endpoint's origin or to a granted host.
    fn check(&self, request: &OutgoingRequest, binding: &PluginBinding) -> Result<(), Fault> {
        if let Some(name) = &request.credential {
            let denied = |why: String| Fault::new(FaultCode::HostDenied, why);
            let profile = binding.credentials.get(name);
            let profile = profile.ok_or_else(|| denied(format!("credential profile `{name}` is not granted")))?;
            profile.as_ref().map_err(|why| denied(why.clone()))?;
        }
        if request.url == self.endpoint.url {
            return Ok(());
        }
        let target = self.engine.egress.check_url(&self.endpoint.url);
        let origin = target.map_err(|denied| Fault::new(FaultCode::HostDenied, denied.to_string()))?.origin();
        host_granted(&request.url, &origin, &binding.grants.hosts)
    }

    /// Sends it, keeps what went out and what came back, and answers the status.
    async fn send(&mut self, request: OutgoingRequest) -> Result<u16, Failure> {
        // The plugin's headers, then the endpoint's, which win where they go along.
        let own = own_headers(self.endpoint, &request.url);
        let mut headers = request.headers;
        headers.retain(|(name, _)| !own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
        if matches!(self.binding, Binding::Plugin(_)) {
            self.seen.replay.header_names = Some(headers.iter().map(|(name, _)| name.clone()).collect());
        }
        headers.extend_from_slice(own);
        let id = self.job.delivery.id.to_string();
        let signing = &self.endpoint.signing;
        let keys = signing.keys_at(self.now).filter(|_| signing.enabled).collect();
        let outbound = Outbound {
            method: &request.method,
            url: &request.url,
            headers,
            body: Bytes::from(request.body),
            compress: request.compress,
            auth: self.auth(&request.url, request.credential.as_deref()),
            sign: Some(SignInput { webhook_id: &id, timestamp: self.now, keys }),
            deadline: self.endpoint.timeout,
            response_bytes_max: self.engine.config.limits.response_bytes_max,
            http1_title_case: false,
        };
        match self.engine.egress.send(outbound).await {
            Ok(Received { response, elapsed, sent }) => {
                let status = response.status;
                self.seen.request = Some(sent);
                self.seen.response = Some(response);
                self.seen.elapsed = elapsed;
                Ok(status)
            }
            Err(failed) => {
                let Failed { failure, sent, response, .. } = *failed;
                self.seen.request = sent;
                self.seen.response = response;
                Err(failure)
            }
        }
    }

    /// The profile that the plugin asked for, which [`Try::check`] found granted; else the endpoint's own, at its own origin.
    fn auth(&self, url: &str, profile: Option<&str>) -> &'a Auth {
        let granted = match (self.binding, profile) {
            (Binding::Plugin(binding), Some(name)) => binding.credentials.get(name).and_then(|auth| auth.as_ref().ok()),
            _ => None,
        };
        granted.unwrap_or_else(|| own_auth(self.endpoint, url))
    }

    fn fault(&mut self, fault: Fault) -> Outcome {
        self.seen.faulty = true;
        self.engine.metrics.plugin_faults.get_or_create(&FaultLabels { code: fault.code.code() }).inc();
        Outcome::Plugin(fault.into())
    }

    /// Lets the model decide, and puts the record together.
    fn conclude(self, outcome: Outcome) -> Done {
        let finished = self.engine.now();
        let number = self.job.delivery.attempts.saturating_add(1);
        let Seen { request, response, mut replay, state_writes, faulty, .. } = self.seen;
        let wish = response.as_ref().and_then(|response| response.header("retry-after"));
        let slow = response.as_ref().is_some_and(|response| asks_to_slow_down(response.status));
        // A test event is tried once, whatever comes of it.
        let once = RetryPolicy::once();
        let is_test = self.job.event.reason == Some(NoDelivery::Test);
        let case = Circumstances {
            policy: if is_test { &once } else { &self.endpoint.retry },
            tries: number,
            retry_after: wish.and_then(|value| retry::retry_after(value, finished)),
            now: finished,
            chance: self.engine.chance.fraction(),
        };
        let status = response.as_ref().map(|response| response.status);
        // What a trial finds is for whoever asked.
        let impression = if is_test { Impression::Nothing } else { Impression::of(&outcome, status) };
        let mut transition = after(outcome, case);
        if is_test {
            transition.disable_endpoint = None;
        }
        let plugin = match self.binding {
            Binding::Plugin(binding) => Some(binding),
            Binding::BuiltIn | Binding::Broken(_) => None,
        };
        if let Some(binding) = plugin {
            replay.endpoint_revision = self.endpoint.revision;
            replay.endpoint_url.clone_from(&self.endpoint.url);
            self.integrator.clone_into(&mut replay.integrator);
            replay.catalog_labels = self.catalog_labels.to_vec();
            replay.config = Arc::clone(&binding.config);
        }
        let attempt = Attempt {
            number,
            at: self.now,
            trigger: self.job.trigger,
            plugin: plugin.map(|binding| binding.label.clone()),
            plugin_digest: plugin.map(|binding| binding.digest.to_string()),
            request,
            response,
            outcome: transition.outcome.to_owned(),
            code: transition.code.clone(),
            message: transition.message.clone(),
            duration: finished.since(self.now),
            replay: plugin.map(|_| replay),
        };
        let plugin_state = plugin.filter(|_| !state_writes.is_empty()).map(|b| (b.name.clone(), state_writes));
        let pace = if slow { Pace::SlowDown } else { Pace::Steady };
        Done { attempt, transition, pace, plugin_state, faulty, impression }
    }
}

impl Seen {
    /// Keeps what a call was answered, wrote and logged.
    fn note(&mut self, record: CallRecord) -> HostAnswers {
        self.replay.log.push_str(&record.log);
        self.state_writes.extend(record.state_writes);
        self.revealed.extend(record.revealed);
        let hmacs = record.hmacs.into_iter().map(|(name, mac)| (name, STANDARD.encode(mac)));
        let state = record.state_reads.into_iter().map(|(key, value)| (key, value.map(|v| STANDARD.encode(v))));
        HostAnswers { hmacs: hmacs.collect(), state: state.collect() }
    }
}
