//! A partner's call, from what the API read of it to what it answers: the plugin checks the call and turns it into
//! events, the events are committed, and only then the answer leaves. Strangers call here, so whatever goes wrong inside
//! is told to the log and not to them, and the credentials they send reach the plugin and nothing else.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_host::{CallFailed, CallRecord, IdText, InboundAnswer, InboundEvent, ReceiveCall, Reception};
use engate_model::{
    Invalid, event::check_name, inbound::Inbound, invalid::Complaints, plugin::Fault, verdict::Failure,
};
use engate_store::{InboundState, StoreError};
use serde::de::IgnoredAny;
use serde_json::json;

use crate::{
    accept::{NewEvent, NotTaken},
    engine::Engine,
    media_type::JSON,
    metrics::FaultLabels,
    plugin_calls::REVEALED,
    views::{Binding, PluginBinding, View},
};

/// Headers that show who the caller is.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];
/// Shortest credential that is masked in a log; anything shorter would be found in every other word.
const MASKED_BYTES_MIN: usize = 4;
/// What stands in its place.
const MASK: &str = "***";

/// A call as it came in.
#[derive(Clone)]
pub(crate) struct IncomingCall {
    /// HTTP method.
    pub(crate) method: String,
    /// Path without the query.
    pub(crate) path: String,
    /// Query without the `?`.
    pub(crate) query: String,
    /// Names in lower case, credentials included.
    pub(crate) headers: Vec<(String, String)>,
    /// Inflated.
    pub(crate) body: Vec<u8>,
    /// The caller's IP address.
    pub(crate) remote_address: String,
}

/// An inbound that may be called now, with its tenant's view.
pub(crate) struct OpenInbound {
    view: Arc<View>,
    /// The inbound.
    pub(crate) inbound: Arc<Inbound>,
}

/// Why a call has no answer of its plugin's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReceived {
    /// There is no inbound of that name, or it is disabled: a stranger is not told which.
    #[error("there is no such inbound")]
    NotFound,
    /// More calls than it takes.
    #[error("more calls than this inbound takes")]
    RateLimited(Duration),
    /// The plugin cannot run now, or broke a limit or a rule.
    #[error("{}: {}", .0.code, .0.message)]
    Fault(Failure),
    /// The plugin refused.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(Failure),
    /// An event that the plugin made cannot be taken.
    #[error("{0}")]
    EventRefused(Invalid),
    /// An event's idempotency key was used before with another body.
    #[error("the idempotency key of event {0} was used before with another body")]
    IdConflict(usize),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NotReceived {
    /// A bounded word for it, for counts.
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::RateLimited(_) => "rate_limited",
            Self::Fault(_) => "plugin_fault",
            Self::Refused(_) => "refused",
            Self::EventRefused(_) => "event_refused",
            Self::IdConflict(_) => "id_conflict",
            Self::Store(_) => "unavailable",
        }
    }
}

impl Engine {
    /// Whether that inbound takes a call now; nothing of the body need be read where it does not.
    pub(crate) async fn inbound_open(&self, name: &str) -> Result<OpenInbound, NotReceived> {
        let found = self.views.inbound(&self.store, name).await?;
        let Some((view, inbound)) = found.filter(|(_, inbound)| inbound.enabled) else {
            return Err(NotReceived::NotFound);
        };
        let allowance = self.inbound_rates.take(name.to_owned(), inbound.rate_limit, self.now());
        if let Some(wait) = allowance.wait {
            return Err(NotReceived::RateLimited(wait));
        }
        Ok(OpenInbound { view, inbound })
    }

    /// Has the plugin check and answer a call, and commits what came of it. The answer is given when that is on disk.
    pub(crate) async fn inbound_receive(
        self: &Arc<Self>,
        open: &OpenInbound,
        call: &IncomingCall,
    ) -> Result<InboundAnswer, NotReceived> {
        let OpenInbound { view, inbound } = open;
        let binding = view.inbound_binding(&self.store, inbound).await?;
        let binding = match &*binding {
            Binding::Plugin(binding) => binding,
            Binding::Broken(failure) => return Err(NotReceived::Fault(failure.clone())),
            Binding::BuiltIn => return Err(NotReceived::NotFound),
        };
        let mask = Mask::of(&call.headers);
        let (reception, record) = self.inbound_call(binding, inbound, call, &mask).await?;
        let answer = match reception {
            Reception::Answered(answer) => answer,
            Reception::Refused(failure) => {
                let message = mask.over(&failure.message);
                return Err(NotReceived::Refused(Failure { message, ..failure }));
            }
        };
        self.inbound_commit(view, binding, inbound, answer, record).await
    }

    /// Runs the plugin; what it logged goes into the engine's log, and what it cost into the counts.
    async fn inbound_call(
        &self,
        binding: &PluginBinding,
        inbound: &Inbound,
        call: &IncomingCall,
        mask: &Mask,
    ) -> Result<(Reception, CallRecord), NotReceived> {
        let fault = |fault: Fault| {
            self.metrics.plugin_faults.get_or_create(&FaultLabels { code: fault.code.code() }).inc();
            let failure = Failure::from(fault);
            NotReceived::Fault(Failure { message: mask.over(&failure.message), ..failure })
        };
        let plugin = self.plugin_load(&binding.digest, binding.development).await.map_err(fault)?;
        let state = if plugin.uses_state() {
            self.store.inbound_state_get(inbound.tenant, &binding.name, &inbound.name).await?.into_iter().collect()
        } else {
            BTreeMap::new()
        };
        let id = format!("{:032x}", self.chance.bits());
        let (reuse, limits) = self.call_rules(&binding.calls, binding.component_bytes);
        let receive = ReceiveCall {
            installation: &binding.installation,
            limits,
            reuse,
            config: Arc::clone(&binding.config),
            secrets: binding.secrets.clone(),
            state: Arc::new(state),
            id: IdText::of(&id),
            method: &call.method,
            path: &call.path,
            query: &call.query,
            headers: &call.headers,
            body: &call.body,
            remote_address: &call.remote_address,
            now: self.now(),
        };
        let called = self.host.receive(&plugin, receive).await;
        let (outcome, record) = match called {
            Ok(done) => (Ok(done.reception), done.record),
            Err(CallFailed { fault, record }) => (Err(fault), *record),
        };
        for line in mask.over(&record.log).lines() {
            tracing::info!(inbound = inbound.name, plugin = binding.label, line, "a receiver's log");
        }
        for secret in &record.revealed {
            let detail = json!({ "plugin": binding.name, "inbound": inbound.name });
            let actor = self.system_actor();
            self.store.audit_append(&actor, inbound.tenant, REVEALED, secret, &detail).await?;
        }
        Ok((outcome.map_err(fault)?, record))
    }

    /// Takes the answer's events, all or none, with what the plugin wants kept.
    async fn inbound_commit(
        self: &Arc<Self>,
        view: &View,
        binding: &PluginBinding,
        inbound: &Inbound,
        mut answer: InboundAnswer,
        record: CallRecord,
    ) -> Result<InboundAnswer, NotReceived> {
        let events: Vec<_> = std::mem::take(&mut answer.events).into_iter().map(new_event).collect();
        check_events(&events, self.config.limits.payload_bytes_max).map_err(NotReceived::EventRefused)?;
        if let Some(index) = events.iter().position(|event| !view.knows(&event.event_type)) {
            // It may have been entered on another node a moment ago.
            let fresh = self.views.refresh(&self.store, inbound.tenant).await?;
            let unknown = |(index, event): (usize, &NewEvent)| {
                let message = format!("the catalogue has no event type {}; enter it first", event.event_type);
                (!fresh.knows(&event.event_type)).then(|| Invalid::field(format!("events[{index}].type"), message))
            };
            if let Some(invalid) = events.iter().enumerate().skip(index).find_map(unknown) {
                return Err(NotReceived::EventRefused(invalid));
            }
        }
        let writes: Vec<_> = record.state_writes.into_iter().collect();
        let state = (!writes.is_empty()).then(|| InboundState {
            plugin: binding.name.clone(),
            inbound: inbound.name.clone(),
            writes,
        });
        if events.is_empty() && state.is_none() {
            return Ok(answer);
        }
        match self.accept_with(inbound.tenant, events, state, None).await {
            Ok(taken) => {
                let duplicates = taken.iter().filter(|taken| taken.duplicate).count();
                tracing::debug!(inbound = inbound.name, events = taken.len(), duplicates, "events of an inbound");
                Ok(answer)
            }
            Err(NotTaken::IdConflict { index }) => Err(NotReceived::IdConflict(index)),
            Err(NotTaken::SchemaMismatch(found)) => {
                let errors = found.into_errors(|index, field| format!("events[{index}].{field}"));
                Err(NotReceived::EventRefused(Invalid(errors)))
            }
            // What the checks above let through and the database does not take is the plugin's event all the same.
            Err(NotTaken::Store(StoreError::Data(why))) => {
                Err(NotReceived::EventRefused(Invalid::field("events", format!("the database refuses them: {why}"))))
            }
            Err(NotTaken::Store(error)) => Err(error.into()),
        }
    }
}

fn new_event(event: InboundEvent) -> NewEvent {
    NewEvent {
        event_type: event.event_type,
        subject: event.subject,
        payload: event.data,
        content_type: event.content_type,
        idempotency_key: event.idempotency_key,
        occurred_at: event.occurred_at,
        deliver_at: None,
        labels: event.labels,
        correlation_id: event.correlation_id,
    }
}

/// Checks what the API asks of a producer's events too; complaints name `events[n]`.
fn check_events(events: &[NewEvent], payload_bytes_max: usize) -> Result<(), Invalid> {
    let mut complaints = Complaints::default();
    for (index, event) in events.iter().enumerate() {
        let at = |field: &str| format!("events[{index}].{field}");
        if let Err(Invalid(errors)) = event.check() {
            errors.into_iter().for_each(|error| complaints.add(at(&error.field), error.message));
        }
        complaints.take(check_name(&at("content_type"), &event.content_type));
        if event.payload.len() > payload_bytes_max {
            complaints.add(at("payload"), format!("must have at most {payload_bytes_max} bytes"));
        }
        let media_type = event.content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(JSON)
            && let Err(error) = serde_json::from_slice::<IgnoredAny>(&event.payload)
        {
            complaints.add(at("payload"), format!("is said to be JSON and is not: {error}"));
        }
    }
    complaints.finish(())
}

/// The credentials of one call, to be kept out of what is logged.
struct Mask(Vec<String>);

impl Mask {
    fn of(headers: &[(String, String)]) -> Self {
        let mut texts = Vec::new();
        for (name, value) in headers.iter().filter(|(name, _)| CREDENTIALS.contains(&name.as_str())) {
            texts.push(value.clone());
            if name == "cookie" {
                texts.extend(value.split(';').filter_map(|pair| Some(pair.split_once('=')?.1.trim().to_owned())));
            } else if let Some((_, credential)) = value.split_once(' ') {
                texts.push(credential.trim().to_owned());
                // A Basic credential is a name and a password to whoever decodes it, as a plugin that checks it does.
                let decoded = STANDARD.decode(credential.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                texts.extend(decoded.as_deref().and_then(|text| Some(text.split_once(':')?.1.to_owned())));
                texts.extend(decoded);
            }
        }
        texts.retain(|text| text.len() >= MASKED_BYTES_MIN);
        // The longest first: a part that goes before its whole would leave the rest of it to be read.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(texts)
    }

    /// `text` without them.
    fn over(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(content_type: &str, payload: &str) -> NewEvent {
        NewEvent {
            event_type: "t".to_owned(),
            subject: None,
            payload: payload.as_bytes().to_vec(),
            content_type: content_type.to_owned(),
            idempotency_key: None,
            occurred_at: None,
            deliver_at: None,
            labels: Vec::new(),
            correlation_id: None,
        }
    }

    #[test]
    fn events_of_a_plugin_keep_to_what_producers_keep_to() {
        let fields = |events: &[NewEvent]| {
            let invalid = check_events(events, 10).err().map(|invalid| invalid.0).unwrap_or_default();
            invalid.into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        assert!(fields(&[event("application/json", "[1]"), event("text/plain", "[1"), event("x/y", "")]).is_empty());
        let mut bad = event("application/json; charset=utf-8", "[1");
        bad.event_type = "a b".to_owned();
        bad.idempotency_key = Some(String::new());
        let all = fields(&[event("a/b", "12345678901"), bad, event("", "")]);
        let expected =
            ["events[0].payload", "events[1].type", "events[1].id", "events[1].payload", "events[2].content_type"];
        assert_eq!(all, expected);
    }

    #[test]
    fn credentials_are_masked_whole_and_in_their_parts() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mask = Mask::of(&[
            header("authorization", "Basic YmFuazpodW50ZXIyMg=="),
            header("cookie", "a=1; session=CANARY"),
            header("x-other", "stays"),
        ]);
        let said = "got Basic YmFuazpodW50ZXIyMg==, YmFuazpodW50ZXIyMg==, bank:hunter22, hunter22, CANARY; stays";
        assert_eq!(mask.over(said), "got ***, ***, ***, ***, ***; stays");
        assert_eq!(Mask::of(&[]).over("as it is"), "as it is");
    }
}
