//! Why an endpoint did or did not get an event: answered from what was written down at the time where that says it,
//! else judged by the configuration there is now, and marked so.

use serde::{Deserialize, Serialize};

use crate::{
    callback::{self, CallbackScope},
    circuit::ENDPOINT_FAILING,
    delivery::{Delivery, DeliveryState},
    endpoint::{Endpoint, subscribes},
    event::{Event, NoDelivery},
    filter::Subject,
    integrator::Integrator,
    routing::FILTERED,
    time::Timestamp,
};

/// What an answer stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What was written down with the event.
    Record,
    /// The configuration, which has not changed since.
    UnchangedConfiguration,
    /// The configuration of today; it was edited after the event came.
    PresentConfiguration,
}

impl Basis {
    fn of_edit(edited_at: Timestamp, event: &Event) -> Self {
        if edited_at <= event.accepted_at { Self::UnchangedConfiguration } else { Self::PresentConfiguration }
    }
}

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Stable code.
    pub code: String,
    /// What it stands on.
    pub basis: Basis,
    /// The place of the filter's clause that says no, and what that stands on.
    pub clause: Option<(String, Basis)>,
}

impl Explanation {
    fn new(code: impl Into<String>, basis: Basis) -> Self {
        Self { code: code.into(), basis, clause: None }
    }
}

/// Explains what became of `event` at `endpoint`: `delivery` is the row that there is of the two, `integrator` whose
/// endpoint it is.
pub fn explain(
    event: &Event,
    endpoint: &Endpoint,
    integrator: Option<&Integrator>,
    delivery: Option<&Delivery>,
) -> Explanation {
    match delivery {
        Some(delivery) => with_row(event, Some(endpoint), delivery),
        None => without_row(event, endpoint, integrator),
    }
}

/// As [`explain`], where the endpoint has been deleted and its row is all there is.
pub fn explain_deleted(event: &Event, delivery: &Delivery) -> Explanation {
    with_row(event, None, delivery)
}

fn with_row(event: &Event, endpoint: Option<&Endpoint>, delivery: &Delivery) -> Explanation {
    let reason = delivery.reason.as_deref();
    let code = match delivery.state {
        DeliveryState::Succeeded => "delivered",
        DeliveryState::Failed => "failed",
        DeliveryState::Delivering => "in_progress",
        DeliveryState::Superseded => "superseded",
        DeliveryState::Pending if reason == Some(ENDPOINT_FAILING) => ENDPOINT_FAILING,
        DeliveryState::Pending => "waiting",
        DeliveryState::Parked | DeliveryState::Skipped | DeliveryState::Cancelled => {
            reason.unwrap_or(delivery.state.code())
        }
    };
    let mut explanation = Explanation::new(code, Basis::Record);
    if code == FILTERED
        && let Some(endpoint) = endpoint
        && let Some(filter) = &endpoint.filter
    {
        let refusal = filter.refusal(&Subject::new(event));
        explanation.clause = refusal.map(|place| (place.to_owned(), Basis::of_edit(endpoint.updated_at, event)));
    }
    explanation
}

fn without_row(event: &Event, endpoint: &Endpoint, integrator: Option<&Integrator>) -> Explanation {
    if event.reason == Some(NoDelivery::WebhooksDisabled) {
        return Explanation::new(NoDelivery::WebhooksDisabled.code(), Basis::Record);
    }
    if endpoint.created_at > event.accepted_at {
        return Explanation::new("endpoint_younger", Basis::Record);
    }
    if event.reason == Some(NoDelivery::NoMatch) {
        return Explanation::new("not_subscribed", Basis::Record);
    }
    let by_endpoint = Basis::of_edit(endpoint.updated_at, event);
    let system = callback::is_system(&event.event_type);
    let takes = if system { callback::subscribes } else { subscribes };
    if !endpoint.event_types.iter().any(|subscription| takes(subscription, &event.event_type)) {
        return Explanation::new("not_subscribed", by_endpoint);
    }
    if let Some(integrator) = integrator.filter(|integrator| !integrator.active) {
        let basis = match event.reason {
            Some(NoDelivery::IntegratorInactive) => by_endpoint,
            _ => Basis::of_edit(integrator.updated_at, event),
        };
        return Explanation::new(NoDelivery::IntegratorInactive.code(), basis);
    }
    if event.reason == Some(NoDelivery::IntegratorInactive) {
        return Explanation::new(NoDelivery::IntegratorInactive.code(), Basis::Record);
    }
    match endpoint.enabled {
        _ if !system => Explanation::new("configuration_changed", Basis::PresentConfiguration),
        false => Explanation::new("endpoint_disabled", by_endpoint),
        true if !endpoint.is_verified() => Explanation::new("unverified", by_endpoint),
        true if endpoint.callbacks == CallbackScope::Integrator => Explanation::new("not_its_own", by_endpoint),
        true => Explanation::new("configuration_changed", Basis::PresentConfiguration),
    }
}

/// What a code means, for people.
pub fn meaning(code: &str) -> &'static str {
    match code {
        "delivered" => "It was delivered.",
        "failed" => "It was tried and failed for good; the delivery tells why.",
        "waiting" => "It waits for its time or its turn.",
        "in_progress" => "A node has it in hand.",
        "superseded" => "A newer version went instead.",
        ENDPOINT_FAILING => "It waits, since the endpoint is down; one delivery is tried now and then.",
        "paused" => "It waits, since the endpoint's queue is paused.",
        "plugin_faulty" => "It waits, since the plugin fails again and again.",
        "endpoint_disabled" => "The endpoint is disabled.",
        FILTERED => "The endpoint's filter said no.",
        "plugin_skipped" => "The plugin said that it need not go.",
        "webhooks_disabled" => "Deliveries were switched off for the whole tenant when the event came.",
        "integrator_inactive" => "The endpoint's integrator is not active.",
        "endpoint_younger" => "The endpoint was registered after the event came.",
        "not_subscribed" => "The endpoint does not subscribe to the event's type.",
        "unverified" => "The endpoint has neither authentication set nor passed a challenge.",
        "not_its_own" => "The endpoint hears of its own integrator's deliveries only, and never of itself.",
        "configuration_changed" => {
            "By today's configuration it would get the event; it was another one when the event came."
        }
        "endpoint_deleted" => "The endpoint was deleted.",
        _ => "It was called off.",
    }
}
