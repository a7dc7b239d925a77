//! A component in a throw-away host, called the way a golden file says.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc, time::Duration};

use engate_host::{
    AttemptView, CallContext, CallFailed, CallRecord, DeliveryView, Digest, Effort, EndpointView, EventView,
    GrantedSecret, Host, IdText, InboundAnswer, InboundEvent, Installed, InterpretCall, LoadedPlugin, OutgoingRequest,
    Plan, ReceiveCall, Reception, Reuse, Secrets, TransformCall,
};
use engate_model::{
    Secret, Timestamp,
    delivery::Response,
    plugin::{Fault, Limits},
    verdict::{Failure as Refusal, Verdict},
};
use engate_sdk::{self as sdk, testing::Fixture};
use serde_json::{Map, Value};

use super::{check, finished};
use crate::cli::{failure::Failure, scratch::Scratch};

/// A component, compiled and in memory.
pub(super) struct Guest {
    /// Where it is loaded.
    pub(super) host: Host,
    /// The component in memory.
    pub(super) plugin: Arc<LoadedPlugin>,
    /// What its installation said.
    pub(super) installed: Installed,
    _scratch: Scratch,
}

/// A call that ended in a fault, with what the plugin wrote until then.
#[derive(Debug)]
pub(super) struct Faulty {
    fault: Fault,
    log: String,
}

impl From<CallFailed> for Faulty {
    fn from(failed: CallFailed) -> Self {
        Self { fault: failed.fault, log: failed.record.log }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        self.log.lines().try_for_each(|line| write!(f, "\n    log: {line}"))
    }
}

/// What one call cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    /// Wall time of the call in an instance of its own.
    pub(super) elapsed: Duration,
    /// The most memory the instance held.
    pub(super) memory_peak_bytes: usize,
    /// What it ran, where that is counted.
    pub(super) fuel: Option<u64>,
}

/// A plugin's private state, by key.
type State = Arc<BTreeMap<String, Vec<u8>>>;

/// What a file's calls run with.
pub(super) struct Setting {
    config: Arc<Value>,
    secrets: Secrets,
    state: State,
}

impl Setting {
    /// The installation that `fixture` describes.
    pub(super) fn of(fixture: &Fixture) -> Self {
        let granted = |(name, key): (&String, &String)| {
            (name.clone(), GrantedSecret { value: Ok(Secret::new(key.clone())), reveal: true })
        };
        let state = fixture.state().iter().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        Self {
            config: Arc::new(fixture.config().cloned().unwrap_or_else(|| Value::Object(Map::new()))),
            secrets: Secrets::granted(Arc::new(fixture.secrets().iter().map(granted).collect())),
            state: Arc::new(state.collect()),
        }
    }

    /// What every call gets: settings, secrets, state.
    pub(super) fn parts(&self) -> (Arc<Value>, Secrets, State) {
        (Arc::clone(&self.config), self.secrets.clone(), Arc::clone(&self.state))
    }

    /// The merged settings.
    pub(super) fn config(&self) -> &Value {
        &self.config
    }
}

impl Guest {
    /// Installs and loads the component in `file`.
    pub(super) async fn load(file: &Path) -> Result<Self, Failure> {
        Self::of(&file.display().to_string(), finished(file)?).await
    }

    /// Installs and loads a component; `name` says which in messages.
    pub(super) async fn of(name: &str, bytes: Vec<u8>) -> Result<Self, Failure> {
        Self::in_host(name, bytes, false, Effort::Full).await
    }

    /// The same, compiled quickly: for who is waiting.
    pub(super) async fn quick(name: &str, bytes: Vec<u8>) -> Result<Self, Failure> {
        Self::in_host(name, bytes, false, Effort::Quick).await
    }

    /// The same in a host that counts what the guest runs. That is the same however it is compiled.
    pub(super) async fn metered(name: &str, bytes: Vec<u8>) -> Result<Self, Failure> {
        Self::in_host(name, bytes, true, Effort::Quick).await
    }

    async fn in_host(name: &str, bytes: Vec<u8>, metered: bool, effort: Effort) -> Result<Self, Failure> {
        let scratch = Scratch::make()?;
        let host = check::host(&scratch, metered)?;
        let installed = host.install(&bytes, effort).await.map_err(|error| check::refused(name, &error))?;
        let plugin = host.load(&Digest::of(&bytes), effort, || async { Ok(bytes) }).await.map_err(Failure::failed)?;
        Ok(Self { host, plugin, installed, _scratch: scratch })
    }

    /// Event in, request out. The outer error is a fault of the plugin, not its refusal.
    pub(super) async fn transform(
        &self,
        setting: &Setting,
        event: &sdk::Event,
        context: &sdk::Context,
    ) -> Result<(Result<sdk::Plan, sdk::Problem>, Cost), Faulty> {
        let view = EventView {
            id: IdText::of(&event.id),
            event_type: &event.event_type,
            subject: event.subject.as_deref(),
            occurred_at: instant(event.occurred_at),
            content_type: &event.content_type,
            data: bytes(&event.data),
            labels: &event.labels,
        };
        let (delivery, endpoint, attempt) = (&context.delivery, &context.endpoint, &context.attempt);
        let call = TransformCall { context: self.views(setting, delivery, endpoint, attempt), event: view };
        let done = self.host.transform(&self.plugin, call).await?;
        let plan = match done.plan {
            Plan::Send { request, memo } => Ok(sdk::Plan::Send(sdk::Outgoing { request: sent(request), memo })),
            Plan::Skip(reason) => Ok(sdk::Plan::Skip(reason)),
            Plan::Refused(refusal) => Err(problem(refusal)),
        };
        Ok((plan, Cost::of(&done.record)))
    }

    /// Response in, verdict out.
    pub(super) async fn interpret(
        &self,
        setting: &Setting,
        exchange: &sdk::Exchange,
    ) -> Result<(sdk::Verdict, Cost), Faulty> {
        let response = Response {
            status: exchange.response.status,
            headers: exchange.response.headers.clone(),
            body: bytes(&exchange.response.body).to_vec(),
            truncated: exchange.response.truncated,
        };
        let call = InterpretCall {
            context: self.views(setting, &exchange.delivery, &exchange.endpoint, &exchange.attempt),
            event_id: IdText::of(&exchange.event_id),
            event_type: &exchange.event_type,
            subject: exchange.subject.as_deref(),
            memo: exchange.memo.as_deref(),
            response: &response,
            elapsed_ms: exchange.response.elapsed_ms,
        };
        let done = self.host.interpret(&self.plugin, call).await?;
        Ok((verdict(done.verdict), Cost::of(&done.record)))
    }

    /// Call in, answer out.
    pub(super) async fn receive(
        &self,
        setting: &Setting,
        call: &sdk::Call,
    ) -> Result<(Result<sdk::Answer, sdk::Problem>, Cost), Faulty> {
        let receive = ReceiveCall {
            installation: "test",
            limits: self.limits(),
            reuse: Reuse::Fresh,
            config: Arc::clone(&setting.config),
            secrets: setting.secrets.clone(),
            state: Arc::clone(&setting.state),
            id: IdText::of(&"test"),
            method: &call.method,
            path: &call.path,
            query: &call.query,
            headers: &call.headers,
            body: bytes(&call.body),
            remote_address: &call.remote_address,
            now: instant(call.now),
        };
        let done = self.host.receive(&self.plugin, receive).await?;
        let answer = match done.reception {
            Reception::Answered(answer) => Ok(given(answer)),
            Reception::Refused(refusal) => Err(problem(refusal)),
        };
        Ok((answer, Cost::of(&done.record)))
    }

    /// What a call may cost where nobody has set anything.
    pub(super) fn limits(&self) -> Limits {
        Limits::default().for_component(self.installed.size_bytes)
    }

    fn views<'a>(
        &self,
        setting: &Setting,
        delivery: &'a sdk::Delivery,
        endpoint: &'a sdk::Endpoint,
        attempt: &sdk::Attempt,
    ) -> CallContext<'a> {
        CallContext {
            installation: "test",
            limits: self.limits(),
            reuse: Reuse::Fresh,
            config: Arc::clone(&setting.config),
            secrets: setting.secrets.clone(),
            state: Arc::clone(&setting.state),
            delivery: DeliveryView {
                id: IdText::of(&delivery.id),
                code: i64::try_from(delivery.code).unwrap_or(i64::MAX),
                created_at: instant(delivery.created_at),
                tenant: IdText::of(&delivery.tenant),
                correlation_id: delivery.correlation_id.as_deref(),
            },
            endpoint: EndpointView {
                id: IdText::of(&endpoint.id),
                url: &endpoint.url,
                integrator: &endpoint.integrator,
                labels: &endpoint.labels,
            },
            attempt: AttemptView {
                number: attempt.number,
                first_at: instant(attempt.first_at),
                now: instant(attempt.now),
            },
        }
    }
}

impl Cost {
    pub(super) fn of(record: &CallRecord) -> Self {
        Self { elapsed: record.elapsed, memory_peak_bytes: record.memory_peak_bytes, fuel: record.fuel }
    }

    /// Of calls one after another: the longest time and the most memory of any, the fuel of all.
    pub(super) fn and(self, other: Self) -> Self {
        let fuel = match (self.fuel, other.fuel) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        Self {
            elapsed: self.elapsed.max(other.elapsed),
            memory_peak_bytes: self.memory_peak_bytes.max(other.memory_peak_bytes),
            fuel,
        }
    }
}

pub(super) fn instant(ms: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// A payload as it comes to the plugin.
pub(super) fn bytes(payload: &sdk::Payload) -> &[u8] {
    match payload {
        sdk::Payload::Empty => &[],
        sdk::Payload::Text(text) => text.as_bytes(),
        sdk::Payload::Bytes(bytes) => bytes,
    }
}

pub(super) fn sent(request: OutgoingRequest) -> sdk::Request {
    sdk::Request {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: request.body.into(),
        compress: request.compress,
        credential: request.credential,
    }
}

fn given(answer: InboundAnswer) -> sdk::Answer {
    let event = |event: InboundEvent| sdk::NewEvent {
        idempotency_key: event.idempotency_key,
        event_type: event.event_type,
        subject: event.subject,
        occurred_at: event.occurred_at.map(Timestamp::as_millis),
        labels: event.labels,
        correlation_id: event.correlation_id,
        content_type: event.content_type,
        data: event.data.into(),
    };
    sdk::Answer {
        status: answer.status,
        headers: answer.headers,
        body: answer.body.into(),
        events: answer.events.into_iter().map(event).collect(),
    }
}

fn problem(refusal: Refusal) -> sdk::Problem {
    sdk::Problem { code: refusal.code, message: refusal.message, retryable: refusal.retryable }
}

/// The engine keeps a retryable failure as a retry with the plugin's own code; here it is told apart again.
fn verdict(verdict: Verdict) -> sdk::Verdict {
    match verdict {
        Verdict::Success { reference } => sdk::Verdict::Success(reference),
        Verdict::Retry { code, message, after } if code == "retry" => sdk::Verdict::Retry(sdk::Retry {
            after_ms: after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            reason: message,
        }),
        Verdict::Retry { code, message, .. } => sdk::Verdict::Fail(sdk::Problem { code, message, retryable: true }),
        Verdict::Fail { code, message } => sdk::Verdict::Fail(sdk::Problem { code, message, retryable: false }),
        Verdict::Disable { message } => sdk::Verdict::DisableEndpoint(message),
    }
}
