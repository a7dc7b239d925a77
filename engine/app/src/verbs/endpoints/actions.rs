//! What people do with one endpoint's versions: send the newest of an event type now (*Enviar*), of all of them (*Enviar
//! Tudo*), or of those that failed (*Reenviar Pendentes*).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use engate_model::{
    DeliveryId, EndpointId, EventId, callback,
    delivery::{Attempt, Delivery, DeliveryState},
    endpoint::Endpoint,
    event::{Event, NoDelivery},
    line::Ordering,
    routing::FILTERED,
    token::Principal,
};
use engate_store::{Actor, Taken, Version, WantedNow};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::catalog::takes;
use crate::{
    carried::Carried,
    engine::Engine,
    verbs::VerbError,
    worker::{Doubt, Job},
};

/// How long a sending may take, the wait for an attempt under way included; below what a call of the API may take.
pub(super) const SEND_TIME_MAX: Duration = Duration::from_secs(130);
/// Pause between two looks at a delivery that another attempt or node holds.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Sendings under way at once of those that one call asks for; the endpoint's own bound counts as well.
const AT_ONCE_MAX: usize = 16;

/// Newest events of a type that are looked through for one that the endpoint's filter takes.
const LOOKED_BACK_MAX: u32 = 200;

/// Why a version was not sent that the engine could not send at the moment; its log says more.
pub(crate) const UNAVAILABLE: &str = "unavailable";
/// The endpoint has a newer version than the one that would be sent.
const NEWER_VERSION: &str = "newer_version";

/// A version that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// Key of its type.
    pub(crate) event_type: String,
    /// The event.
    pub(crate) event: EventId,
    /// Its delivery.
    pub(crate) delivery: DeliveryId,
    /// The attempt, as it was written down.
    pub(crate) attempt: Attempt,
    /// Whether the attempt was under way already when it was asked for.
    pub(crate) joined: bool,
}

/// What became of all versions that were to be sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct SentAll {
    /// Those that were sent, by key.
    pub(crate) sent: Vec<Sent>,
    /// Keys of those that were not, and why: a stable code.
    pub(crate) skipped: Vec<(String, &'static str)>,
}

/// Which versions are to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The newest of each type.
    All,
    /// The newest of those types whose last notification failed.
    Failed,
}

/// What became of one wish.
enum Sending {
    Sent(Box<Sent>),
    NeverPublished,
    Blocked(i64),
    Filtered,
    Outdated,
    InProgress,
    EndpointDisabled,
}

impl Engine {
    /// Sends the newest version of an event type now, and answers how it went.
    pub(crate) async fn endpoint_send(
        self: &Arc<Self>,
        principal: &Principal,
        id: EndpointId,
        event_type: &str,
    ) -> Result<Sent, VerbError> {
        let endpoint = self.endpoint_to_send(principal, id).await?;
        if !takes(&endpoint, event_type) {
            self.event_type_get(principal, event_type).await?;
            let detail = format!("the endpoint does not subscribe to {event_type}; add it to event_types first");
            return Err(VerbError::conflict("not_subscribed", detail));
        }
        // Which of the engine's own facts an endpoint may hear is decided as they happen, fact by fact.
        if callback::is_system(event_type) {
            let detail = "what the engine itself tells goes out as it happens and is not sent by hand; try the endpoint \
                          with an example instead";
            return Err(VerbError::Forbidden(detail.to_owned()));
        }
        let view = self.views.get(&self.store, principal.tenant).await?;
        if let Some(reason) = view.catalog.switched_off(event_type) {
            return Err(switched_off(reason, event_type));
        }
        let (engine, actor, key) = (Arc::clone(self), self.actor(principal), event_type.to_owned());
        let until = Instant::now() + SEND_TIME_MAX;
        let work = async move { engine.send_version(&actor, &endpoint, &key, "endpoint.send", until).await };
        match Carried::new(work).await? {
            Sending::Sent(sent) => Ok(*sent),
            Sending::NeverPublished => {
                let detail = format!("nothing of type {event_type} was ever published");
                Err(VerbError::conflict("never_published", detail))
            }
            Sending::Blocked(code) => {
                let detail = format!("delivery {code} comes first and is not finished; the endpoint keeps its order");
                Err(VerbError::conflict("waits_behind", detail))
            }
            Sending::Filtered => {
                let detail = format!(
                    "the endpoint's filter takes none of the newest {LOOKED_BACK_MAX} events of type {event_type}"
                );
                Err(VerbError::conflict(FILTERED, detail))
            }
            Sending::Outdated => {
                let detail = format!(
                    "the endpoint has a newer event of type {event_type} than the newest that its filter takes; nothing \
                     older is sent after it"
                );
                Err(VerbError::conflict(NEWER_VERSION, detail))
            }
            Sending::InProgress => Err(VerbError::conflict(
                "in_progress",
                "an attempt is queued or under way and did not end in time; it goes on, look at the delivery",
            )),
            Sending::EndpointDisabled => Err(disabled()),
        }
    }

    /// Sends the newest version of every type that the endpoint subscribes to, or of those whose last notification failed.
    pub(crate) async fn endpoint_send_all(
        self: &Arc<Self>,
        principal: &Principal,
        id: EndpointId,
        which: Which,
    ) -> Result<SentAll, VerbError> {
        let endpoint = self.endpoint_to_send(principal, id).await?;
        let view = self.views.get(&self.store, principal.tenant).await?;
        let (types, mut versions) = self.types_of(&endpoint).await?;
        let keys =
            types.into_iter().map(|entry| entry.key).filter(|key| takes(&endpoint, key) && !callback::is_system(key));
        let (mut keys, off): (Vec<_>, Vec<_>) = keys.partition(|key| view.catalog.switched_off(key).is_none());
        keys.sort_unstable();
        versions.retain(|version| keys.binary_search(&version.event_type).is_ok());
        let lasts = if which == Which::Failed { self.lasts(&endpoint, &versions).await? } else { HashMap::new() };
        let is_wanted = |key: &str| which == Which::All || lasts.get(key).is_some_and(has_failed);
        let mut all = SentAll::default();
        all.skipped.extend(off.into_iter().filter_map(|key| {
            let reason = view.catalog.switched_off(&key)?.code();
            Some((key, reason))
        }));
        let published: HashSet<_> = versions.iter().map(|version| version.event_type.clone()).collect();
        for key in keys {
            match published.contains(&key) {
                false => all.skipped.push((key, "never_published")),
                true if !is_wanted(&key) => all.skipped.push((key, "not_failed")),
                true => continue,
            }
        }
        versions.retain(|version| is_wanted(&version.event_type));
        // In the order of the line where the endpoint keeps one.
        versions.sort_by_key(|version| version.delivery.as_ref().map_or(i64::MAX, |delivery| delivery.code));
        let (engine, actor) = (Arc::clone(self), self.actor(principal));
        let work = async move { engine.send_versions(actor, endpoint, versions, which, all).await };
        Carried::new(work).await
    }

    async fn send_versions(
        self: Arc<Self>,
        actor: Actor,
        endpoint: Endpoint,
        versions: Vec<Version>,
        which: Which,
        mut all: SentAll,
    ) -> Result<SentAll, VerbError> {
        let until = Instant::now() + SEND_TIME_MAX;
        let action = match which {
            Which::All => "endpoint.send_all",
            Which::Failed => "endpoint.resend_pending",
        };
        let id = endpoint.id;
        let at_once = if endpoint.ordering == Ordering::Fifo { 1 } else { AT_ONCE_MAX };
        let (actor, endpoint) = (Arc::new(actor), Arc::new(endpoint));
        let sendings = versions.into_iter().map(move |version| {
            let (engine, actor, endpoint) = (Arc::clone(&self), Arc::clone(&actor), Arc::clone(&endpoint));
            let key = version.event_type;
            async move {
                let sending = engine.send_version(&actor, &endpoint, &key, action, until).await;
                (key, sending)
            }
        });
        let mut sendings = stream::iter(sendings).buffer_unordered(at_once);
        let mut failure = None;
        while let Some((key, sending)) = sendings.next().await {
            let skipped = match sending {
                Ok(Sending::Sent(sent)) => {
                    all.sent.push(*sent);
                    continue;
                }
                Ok(Sending::NeverPublished) => "never_published",
                Ok(Sending::Blocked(_)) => "waits_behind",
                Ok(Sending::Filtered) => FILTERED,
                Ok(Sending::Outdated) => NEWER_VERSION,
                Ok(Sending::InProgress) => "in_progress",
                Ok(Sending::EndpointDisabled) => "endpoint_disabled",
                Err(error) => {
                    tracing::warn!(endpoint = %id, event_type = %key, %error, "a version was not sent");
                    failure = Some(error);
                    UNAVAILABLE
                }
            };
            all.skipped.push((key, skipped));
        }
        // Where nothing was sent, why is the answer.
        if let Some(error) = failure
            && all.sent.is_empty()
        {
            return Err(error);
        }
        all.sent.sort_by(|a, b| a.event_type.cmp(&b.event_type));
        all.skipped.sort();
        Ok(all)
    }

    /// One version: takes its delivery in hand, or joins the attempt that is under way.
    async fn send_version(
        self: &Arc<Self>,
        actor: &Actor,
        endpoint: &Endpoint,
        key: &str,
        action: &str,
        until: Instant,
    ) -> Result<Sending, VerbError> {
        let asked_at = self.now();
        let (mut waited, mut outdated) = (false, None);
        while Instant::now() < until {
            let versions = self.store.version_list(endpoint.tenant, endpoint.id, &[key]).await?;
            let Some(newest) = versions.into_iter().next() else { return Ok(Sending::NeverPublished) };
            let Some(version) = self.version_taken(endpoint, newest).await? else { return Ok(Sending::Filtered) };
            // While this one waited for another of its line, the engine may have sent it by itself.
            if let Some(sent) =
                version.delivery.as_ref().filter(|sent| waited && sent.last_attempt_at >= Some(asked_at))
                && let Some(attempt) = self.attempt_made(sent, sent.attempts).await?
            {
                return Ok(sending(sent, attempt, true));
            }
            let wanted = WantedNow {
                tenant: endpoint.tenant,
                endpoint: endpoint.id,
                integrator: endpoint.integrator,
                version: &version,
                id: DeliveryId::new(self.now(), self.chance.bits()),
                action,
            };
            let Some(serial) = self.worker.serial_to_take() else { return Err(no_lease()) };
            let doubt = Doubt::of(&self.worker);
            let taken = self.store.delivery_take(actor, serial, &wanted).await?;
            let tried = match taken {
                Taken::InHand(claimed) => {
                    let delivery = claimed.delivery.clone();
                    let (job, attempt) = Job::awaited(*claimed, serial);
                    self.hand_over_first(job, endpoint.lane_rules());
                    doubt.settle();
                    match tokio::time::timeout_at(until, attempt).await {
                        Ok(Ok(attempt)) => Some((delivery, attempt, false)),
                        // It was put off (parked, given back), or takes too long.
                        Ok(Err(_)) | Err(_) => return Ok(Sending::InProgress),
                    }
                }
                other => {
                    doubt.settle();
                    match other {
                        Taken::Busy(busy) => self.under_way(&busy, until).await?.map(|attempt| (*busy, attempt, true)),
                        Taken::Blocked { code } => return Ok(Sending::Blocked(code)),
                        Taken::NoEndpoint => return Ok(Sending::EndpointDisabled),
                        // A newer one came meanwhile; where it is the same one again, the filter does not take that.
                        Taken::Outdated if outdated == Some(version.event) => return Ok(Sending::Outdated),
                        Taken::Outdated => {
                            outdated = Some(version.event);
                            None
                        }
                        Taken::InHand(_) | Taken::Behind => None,
                    }
                }
            };
            if let Some((delivery, attempt, joined)) = tried {
                return Ok(sending(&delivery, attempt, joined));
            }
            waited = true;
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(Sending::InProgress)
    }

    /// The attempt of a delivery in hand, once it is written down; none where it ended without one.
    async fn under_way(&self, busy: &Delivery, until: Instant) -> Result<Option<Attempt>, VerbError> {
        while Instant::now() < until {
            let Some(now) = self.store.delivery_get(busy.tenant, busy.id).await? else { return Ok(None) };
            if now.attempts > busy.attempts {
                return self.attempt_made(busy, busy.attempts.saturating_add(1)).await;
            }
            if now.state != DeliveryState::Delivering {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(None)
    }

    /// The newest version that the endpoint's filter takes: `newest`, or one of the [`LOOKED_BACK_MAX`] before it.
    pub(super) async fn version_taken(
        &self,
        endpoint: &Endpoint,
        newest: Version,
    ) -> Result<Option<Version>, VerbError> {
        if endpoint.filter.is_none() {
            return Ok(Some(newest));
        }
        let view = self.views.get(&self.store, endpoint.tenant).await?;
        let is_filtered = |event: &Event| {
            let routes = view.catalog.route(event);
            routes.to.iter().any(|route| route.endpoint == endpoint.id && route.skipped == Some(FILTERED))
        };
        match self.store.event_get(endpoint.tenant, newest.event).await? {
            Some(event) if is_filtered(&event) => {}
            _ => return Ok(Some(newest)),
        }
        let events = self.store.event_newest(endpoint.tenant, &newest.event_type, LOOKED_BACK_MAX).await?;
        let Some(event) = events.iter().find(|event| !is_filtered(event)) else { return Ok(None) };
        let delivery = self.store.delivery_of(endpoint.tenant, event.id, endpoint.id).await?;
        Ok(Some(Version { event_type: newest.event_type, event: event.id, delivery }))
    }

    async fn attempt_made(&self, delivery: &Delivery, number: u32) -> Result<Option<Attempt>, VerbError> {
        let attempts = self.store.attempt_list(delivery.tenant, delivery.id).await?;
        Ok(attempts.into_iter().find(|attempt| attempt.number == number))
    }

    /// The endpoint, if anything may be sent to it.
    pub(super) async fn endpoint_to_send(&self, principal: &Principal, id: EndpointId) -> Result<Endpoint, VerbError> {
        let (endpoint, integrator) = self.endpoint_find(principal, id).await?;
        if !endpoint.enabled {
            return Err(disabled());
        }
        if endpoint.paused_at.is_some() {
            let detail = "the endpoint's queue is paused; resume it first";
            return Err(VerbError::conflict("queue_paused", detail));
        }
        if !integrator.active {
            let detail = format!("integrator {} is not active; activate it first", integrator.slug);
            return Err(VerbError::conflict("integrator_inactive", detail));
        }
        if !self.views.get(&self.store, principal.tenant).await?.catalog.use_webhooks {
            return Err(VerbError::conflict(
                "webhooks_disabled",
                "the setting use_webhooks is off; switch it on first",
            ));
        }
        Ok(endpoint)
    }
}

fn sending(delivery: &Delivery, attempt: Attempt, joined: bool) -> Sending {
    let (event_type, event) = (delivery.event_type.clone(), delivery.event);
    Sending::Sent(Box::new(Sent { event_type, event, delivery: delivery.id, attempt, joined }))
}

/// Whether a type's last notification failed, and nobody called it off since.
fn has_failed(last: &Delivery) -> bool {
    last.success == Some(false)
        && matches!(last.state, DeliveryState::Failed | DeliveryState::Pending | DeliveryState::Parked)
}

/// The refusal of a type that is switched off.
pub(super) fn switched_off(reason: NoDelivery, key: &str) -> VerbError {
    let detail = match reason {
        NoDelivery::EventTypeDisabled => format!("{key} is disabled in the catalogue; enable it there first"),
        _ => format!("webhooks are switched off for {key}; switch them on first"),
    };
    VerbError::Conflict { code: reason.code(), detail }
}

fn disabled() -> VerbError {
    VerbError::conflict("endpoint_disabled", "the endpoint is disabled; enable it with PATCH first")
}

pub(super) fn no_lease() -> VerbError {
    engate_store::StoreError::Unavailable("this node takes no work at the moment; try again".to_owned()).into()
}
