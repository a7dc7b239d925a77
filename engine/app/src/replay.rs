//! Replaying: a recorded attempt's calls again with everything they were given then, and what comes out differently.
//!
//! Nothing here asks the store, a clock or the network, so it is the same in the engine and in a developer's hands.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_host::{
    AttemptView, CallContext, DeliveryView, EndpointView, EventView, GrantedSecret, Host, IdText, InterpretCall,
    LoadedPlugin, OutgoingRequest, Plan, Reuse, Secrets, TransformCall,
};
use engate_model::{
    Secret, Timestamp,
    delivery::{Attempt, Delivery, HostAnswers, Response},
    event::Event,
    plugin::{InterpretWhen, Limits, Manifest},
    retry::RetryPolicy,
    transition::{Circumstances, after},
    verdict::{Outcome, judge_status},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::views::with_catalog_labels;

/// Bytes as JSON carries them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Body {
    text: String,
    /// `utf8` or `base64`.
    encoding: String,
}

impl Body {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { text: text.to_owned(), encoding: "utf8".to_owned() },
            Err(_) => Self { text: STANDARD.encode(bytes), encoding: "base64".to_owned() },
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self.encoding.as_str() {
            "base64" => STANDARD.decode(&self.text).unwrap_or_default(),
            _ => self.text.clone().into_bytes(),
        }
    }
}

/// A recorded attempt with every input of its plugin's calls.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RecordedAttempt)]
pub(crate) struct Recorded {
    pub(crate) delivery: String,
    code: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    tenant: String,
    correlation_id: Option<String>,
    event: String,
    pub(crate) event_type: String,
    subject: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
    content_type: String,
    /// Name and value of what the plugin saw.
    labels: Vec<(String, String)>,
    payload: Body,
    endpoint: String,
    endpoint_url: String,
    integrator: String,
    pub(crate) number: u32,
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    /// When it began; the only clock the plugin had.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `name@version`.
    pub(crate) plugin: String,
    /// sha256 of the component.
    pub(crate) plugin_digest: String,
    /// The merged configuration that the plugin saw.
    #[schema(value_type = Value)]
    config: Arc<Value>,
    #[schema(value_type = Object)]
    transform: HostAnswers,
    #[schema(value_type = Object)]
    interpret: HostAnswers,
    memo: Option<String>,
    elapsed_ms: Option<u32>,
    /// Names of the headers that came from the plugin; null in records of older engines.
    header_names: Option<Vec<String>>,
    request: Option<Sent>,
    response: Option<Got>,
    outcome: String,
    outcome_code: Option<String>,
    message: Option<String>,
}

/// A request as it went out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RecordedRequest)]
struct Sent {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Body,
}

/// A response as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RecordedResponse)]
struct Got {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    truncated: bool,
}

impl Recorded {
    /// The attempt as it can be replayed; none where no plugin ran.
    pub(crate) fn of(delivery: &Delivery, event: &Event, attempt: Attempt) -> Option<Self> {
        let replay = attempt.replay?;
        Some(Self {
            delivery: delivery.id.to_string(),
            code: delivery.code,
            created_at: delivery.created_at,
            tenant: delivery.tenant.to_string(),
            correlation_id: delivery.correlation_id.clone(),
            event: event.id.to_string(),
            event_type: event.event_type.clone(),
            subject: event.subject.clone(),
            occurred_at: event.occurred_at,
            content_type: event.content_type.clone(),
            labels: with_catalog_labels(&event.labels, &replay.catalog_labels),
            payload: Body::of(&event.payload),
            endpoint: delivery.endpoint.to_string(),
            endpoint_url: replay.endpoint_url,
            integrator: replay.integrator,
            number: attempt.number,
            first_at: delivery.first_attempt_at.unwrap_or(attempt.at),
            at: attempt.at,
            plugin: attempt.plugin?,
            plugin_digest: attempt.plugin_digest?,
            config: replay.config,
            transform: replay.transform,
            interpret: replay.interpret,
            memo: replay.memo,
            elapsed_ms: replay.elapsed_ms,
            header_names: replay.header_names,
            request: attempt.request.map(|request| Sent {
                method: request.method,
                url: request.url,
                headers: request.headers,
                body: Body::of(&request.body),
            }),
            response: attempt.response.map(|response| Got {
                status: response.status,
                headers: response.headers,
                body: Body::of(&response.body),
                truncated: response.truncated,
            }),
            outcome: attempt.outcome,
            outcome_code: attempt.code,
            message: attempt.message,
        })
    }
}

/// A component that calls can be made to.
pub(crate) struct Player<'a> {
    /// Where it is loaded.
    pub(crate) host: &'a Host,
    /// The component.
    pub(crate) plugin: &'a LoadedPlugin,
    /// When it wants to judge.
    pub(crate) interpret: InterpretWhen,
    /// What a call may cost.
    pub(crate) limits: Limits,
    /// What it may sign with; none: the answers that were recorded, which need no key.
    pub(crate) secrets: Option<Secrets>,
}

/// What the calls gave this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Played {
    request: Option<OutgoingRequest>,
    memo: Option<String>,
    /// Outcome, code and message; none where no answer came that could be judged.
    judged: Option<[Option<String>; 3]>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Change {
    /// `request.body`, `verdict.code` and so on.
    pub(crate) what: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// An attempt in which something differs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = DifferingAttempt)]
pub(crate) struct Differing {
    /// The delivery's id.
    pub(crate) delivery: String,
    /// The attempt's number.
    pub(crate) attempt: u32,
    /// The event's type.
    pub(crate) event_type: String,
    /// `name@version` that made the attempt.
    pub(crate) plugin: String,
    /// What differs.
    pub(crate) changes: Vec<Change>,
}

impl Differing {
    /// The attempt, where there are any changes.
    pub(crate) fn of(recorded: &Recorded, changes: Vec<Change>) -> Option<Self> {
        (!changes.is_empty()).then(|| Self {
            delivery: recorded.delivery.clone(),
            attempt: recorded.number,
            event_type: recorded.event_type.clone(),
            plugin: recorded.plugin.clone(),
            changes,
        })
    }
}

/// What two versions that are compared sign with: keys that nobody has, the same ones for both, so that a signature
/// differs only where what is signed does.
pub(crate) fn made_up_keys<'m>(manifests: impl IntoIterator<Item = &'m Manifest>) -> Secrets {
    let names = manifests.into_iter().flat_map(|manifest| manifest.secrets.iter().map(|need| need.name.clone()));
    let keys = names.map(|name| {
        let value = Ok(Secret::new(format!("made-up key of {name}")));
        (name, GrantedSecret { value, reveal: true })
    });
    Secrets::granted(Arc::new(keys.collect()))
}

impl Player<'_> {
    /// Makes the attempt's calls again.
    pub(crate) async fn play(&self, recorded: &Recorded) -> Played {
        let call = TransformCall {
            context: self.context(recorded, &recorded.transform),
            event: EventView {
                id: IdText::of(&recorded.event),
                event_type: &recorded.event_type,
                subject: recorded.subject.as_deref(),
                occurred_at: recorded.occurred_at,
                content_type: &recorded.content_type,
                data: &recorded.payload.bytes(),
                labels: &recorded.labels,
            },
        };
        match self.host.transform(self.plugin, call).await.map(|done| done.plan) {
            Ok(Plan::Send { request, memo }) => {
                let judged = self.judge(recorded, memo.as_deref()).await;
                Played { request: Some(request), memo, judged }
            }
            Ok(Plan::Skip(reason)) => Played::ended(Outcome::Skipped(reason)),
            Ok(Plan::Refused(failure)) => Played::ended(Outcome::Plugin(failure)),
            Err(failed) => Played::ended(Outcome::Plugin(failed.fault.into())),
        }
    }

    async fn judge(&self, recorded: &Recorded, memo: Option<&str>) -> Option<[Option<String>; 3]> {
        let got = recorded.response.as_ref()?;
        // A body that broke off was never judged.
        if recorded.outcome == "transport_error" {
            return None;
        }
        if !self.interpret.asks(got.status) {
            return Some(words(Outcome::Judged(judge_status(got.status))));
        }
        let response = Response {
            status: got.status,
            headers: got.headers.clone(),
            body: got.body.bytes(),
            truncated: got.truncated,
        };
        let call = InterpretCall {
            context: self.context(recorded, &recorded.interpret),
            event_id: IdText::of(&recorded.event),
            event_type: &recorded.event_type,
            subject: recorded.subject.as_deref(),
            memo,
            response: &response,
            elapsed_ms: recorded.elapsed_ms.unwrap_or_default(),
        };
        Some(words(match self.host.interpret(self.plugin, call).await {
            Ok(done) => Outcome::Judged(done.verdict),
            Err(failed) => Outcome::Plugin(failed.fault.into()),
        }))
    }

    fn context<'r>(&self, recorded: &'r Recorded, answers: &HostAnswers) -> CallContext<'r> {
        let secrets = self.secrets.clone().unwrap_or_else(|| {
            let mac =
                |(name, mac): &(String, String)| Some((name.clone(), STANDARD.decode(mac).ok()?.try_into().ok()?));
            Secrets::recorded(answers.hmacs.iter().filter_map(mac).collect::<Vec<_>>())
        });
        // What was read first under a key is what was stored.
        let mut state = BTreeMap::new();
        for (key, value) in answers.state.iter().rev() {
            match value.as_ref().and_then(|value| STANDARD.decode(value).ok()) {
                Some(value) => drop(state.insert(key.clone(), value)),
                None => drop(state.remove(key)),
            }
        }
        CallContext {
            installation: "replay",
            limits: self.limits,
            reuse: Reuse::Fresh,
            config: Arc::clone(&recorded.config),
            secrets,
            state: Arc::new(state),
            delivery: DeliveryView {
                id: IdText::of(&recorded.delivery),
                code: recorded.code,
                created_at: recorded.created_at,
                tenant: IdText::of(&recorded.tenant),
                correlation_id: recorded.correlation_id.as_deref(),
            },
            endpoint: EndpointView {
                id: IdText::of(&recorded.endpoint),
                url: &recorded.endpoint_url,
                integrator: &recorded.integrator,
                labels: &[],
            },
            attempt: AttemptView { number: recorded.number, first_at: recorded.first_at, now: recorded.at },
        }
    }
}

/// The words that an attempt's record would have; they do not depend on the schedule.
fn words(outcome: Outcome) -> [Option<String>; 3] {
    let policy = RetryPolicy::default();
    let now = Timestamp::from_millis(0);
    let transition = after(outcome, Circumstances { policy: &policy, tries: 1, retry_after: None, now, chance: 0.5 });
    [Some(transition.outcome.to_owned()), transition.code, transition.message]
}

impl Played {
    fn ended(outcome: Outcome) -> Self {
        Self { request: None, memo: None, judged: Some(words(outcome)) }
    }

    /// How it differs from what was recorded: nothing where the replay is true.
    pub(crate) fn against_record(&self, recorded: &Recorded) -> Vec<Change> {
        let mut changes = Changes::default();
        let (was, is) = (recorded.request.as_ref(), self.request.as_ref());
        changes.note("request", was.map(|_| "sent".to_owned()), is.map(|_| "sent".to_owned()));
        if let (Some(was), Some(is)) = (was, is) {
            changes.note("request.method", Some(was.method.clone()), Some(is.method.clone()));
            changes.note("request.url", Some(was.url.clone()), Some(is.url.clone()));
            changes.note("request.body", Some(was.body.text.clone()), Some(Body::of(&is.body).text));
            // Headers that the endpoint sets win over the plugin's; those that went out of the plugin's are known.
            let theirs = recorded.header_names.as_deref();
            let from_plugin = |name: &str| theirs.is_none_or(|names| names.iter().any(|own| own == name));
            for (name, value) in &is.headers {
                let sent = was.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
                if sent.is_none() || from_plugin(name) {
                    let sent = sent.map(|(_, value)| value.clone());
                    changes.note(&format!("request.headers.{name}"), sent, Some(value.clone()));
                }
            }
            for name in theirs.unwrap_or_default().iter().filter(|name| !is.headers.iter().any(|(n, _)| n == *name)) {
                let sent = was.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
                changes.note(&format!("request.headers.{name}"), sent.map(|(_, value)| value.clone()), None);
            }
            changes.note("memo", recorded.memo.clone(), self.memo.clone());
        }
        if let Some(judged) = &self.judged {
            let was = [Some(recorded.outcome.clone()), recorded.outcome_code.clone(), recorded.message.clone()];
            changes.judged(was, judged.clone());
        }
        changes.0
    }

    /// How `after` differs from this, both played from the same record.
    pub(crate) fn against(&self, after: &Self) -> Vec<Change> {
        let mut changes = Changes::default();
        let (was, is) = (self.request.as_ref(), after.request.as_ref());
        changes.note("request", was.map(|_| "sent".to_owned()), is.map(|_| "sent".to_owned()));
        if let (Some(was), Some(is)) = (was, is) {
            changes.note("request.method", Some(was.method.clone()), Some(is.method.clone()));
            changes.note("request.url", Some(was.url.clone()), Some(is.url.clone()));
            changes.note("request.body", Some(Body::of(&was.body).text), Some(Body::of(&is.body).text));
            let names = was.headers.iter().chain(&is.headers).map(|(name, _)| name.as_str());
            for name in names.collect::<std::collections::BTreeSet<_>>() {
                let value = |headers: &[(String, String)]| {
                    headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
                };
                changes.note(&format!("request.headers.{name}"), value(&was.headers), value(&is.headers));
            }
            changes.note("request.compress", Some(was.compress.to_string()), Some(is.compress.to_string()));
            changes.note("request.credential", was.credential.clone(), is.credential.clone());
            changes.note("memo", self.memo.clone(), after.memo.clone());
        }
        let none = || [None, None, None];
        changes.judged(self.judged.clone().unwrap_or_else(none), after.judged.clone().unwrap_or_else(none));
        changes.0
    }
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn note(&mut self, what: &str, before: Option<String>, after: Option<String>) {
        if before != after {
            self.0.push(Change { what: what.to_owned(), before, after });
        }
    }

    fn judged(&mut self, before: [Option<String>; 3], after: [Option<String>; 3]) {
        for ((what, before), after) in
            ["verdict.outcome", "verdict.code", "verdict.message"].iter().zip(before).zip(after)
        {
            self.note(what, before, after);
        }
    }
}
