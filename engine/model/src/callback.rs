//! The engine's own facts as events: deliveries that ended, endpoints that fail. They are events of system types,
//! which only the engine makes; whoever wants them subscribes to them by name or prefix (`delivery.*`; not by `*`)
//! and must be verified. A fact about a delivery of such an event is no event: callbacks never cause callbacks.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    circuit::Failing,
    delivery::{Attempt, Delivery, DeliveryState},
    endpoint::Endpoint,
    id::{EndpointId, EventId, IntegratorId, WizardId},
    job::{Job, Run, RunState},
    time::Timestamp,
    transition::Transition,
};

/// A delivery reached its partner.
pub const DELIVERY_SUCCEEDED: &str = "delivery.succeeded";
/// A delivery ended without: rejected, or out of tries.
pub const DELIVERY_FAILED: &str = "delivery.failed";
/// An endpoint fails, or still does.
pub const ENDPOINT_FAILING: &str = "endpoint.failing";
/// An endpoint that failed takes deliveries again.
pub const ENDPOINT_RECOVERED: &str = "endpoint.recovered";
/// An endpoint was disabled, by the engine or by hand.
pub const ENDPOINT_DISABLED: &str = "endpoint.disabled";

/// A run of a job went well.
pub const RUN_SUCCEEDED: &str = "run.succeeded";
/// A run of a job failed.
pub const RUN_FAILED: &str = "run.failed";
/// A job was paused, by the engine or by hand.
pub const JOB_PAUSED: &str = "job.paused";

/// What a wizard had provisioned is there.
pub const WIZARD_PROVISIONED: &str = "wizard.provisioned";

/// Every system type with its title.
pub const SYSTEM_TYPES: [(&str, &str); 9] = [
    (DELIVERY_SUCCEEDED, "A delivery succeeded"),
    (DELIVERY_FAILED, "A delivery failed for good"),
    (ENDPOINT_FAILING, "An endpoint fails"),
    (ENDPOINT_RECOVERED, "An endpoint recovered"),
    (ENDPOINT_DISABLED, "An endpoint was disabled"),
    (RUN_SUCCEEDED, "A run of a job succeeded"),
    (RUN_FAILED, "A run of a job failed"),
    (JOB_PAUSED, "A job was paused"),
    (WIZARD_PROVISIONED, "What a wizard had provisioned is there"),
];
/// Where they stand in the catalogue's tree.
pub const MACRO_PROCESS: &str = "Engate";

/// Whether only the engine makes events of that type.
pub fn is_system(key: &str) -> bool {
    SYSTEM_TYPES.iter().any(|(known, _)| *known == key)
}

/// Whether a subscription takes a system type: `*` alone does not.
pub fn subscribes(subscription: &str, key: &str) -> bool {
    subscription != "*" && crate::endpoint::subscribes(subscription, key)
}

/// Whose facts an endpoint hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackScope {
    /// Its own integrator's.
    #[default]
    Integrator,
    /// The whole tenant's.
    Tenant,
}

impl CallbackScope {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Integrator => "integrator",
            Self::Tenant => "tenant",
        }
    }

    /// Reads a code.
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::Integrator, Self::Tenant].into_iter().find(|scope| scope.code() == code)
    }
}

/// A fact of the engine's own, about an endpoint or what was delivered to it, or about a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// The system type.
    pub key: &'static str,
    /// The endpoint it is about, which does not hear of itself; none: a job is the tenant's.
    pub endpoint: Option<EndpointId>,
    /// Whose endpoint that is.
    pub integrator: Option<IntegratorId>,
    /// What it is about: the id of the delivery, the endpoint, the run or the job.
    pub subject: String,
    /// What happened.
    pub payload: Value,
    /// The original event's.
    pub correlation_id: Option<String>,
}

impl Fact {
    /// What became of a delivery; none where it goes on, or is itself one of a callback.
    pub fn of_end(delivery: &Delivery, attempt: &Attempt, transition: &Transition) -> Option<Self> {
        let (key, outcome) = ended(transition.state)?;
        if is_system(&delivery.event_type) {
            return None;
        }
        let succeeded = transition.success == Some(true);
        let payload = json!({
            "event": delivery.event,
            "event_type": delivery.event_type,
            "subject": delivery.subject,
            "correlation_id": delivery.correlation_id,
            "delivery": delivery.id,
            "code": delivery.code,
            "endpoint": delivery.endpoint,
            "integrator": delivery.integrator,
            "outcome": outcome,
            "reason": if succeeded { None } else { transition.code.as_deref() },
            "message": transition.message,
            "status": attempt.response.as_ref().map(|response| response.status),
            "attempts": attempt.number,
            "at": attempt.at.after(attempt.duration),
        });
        Some(Self {
            key,
            endpoint: Some(delivery.endpoint),
            integrator: Some(delivery.integrator),
            subject: delivery.id.to_string(),
            payload,
            correlation_id: delivery.correlation_id.clone(),
        })
    }

    /// An endpoint fails by what `cause` says of it last.
    pub fn failing(endpoint: &Endpoint, failing: Failing, disable_at: Option<Timestamp>, cause: &Cause<'_>) -> Self {
        let detail = json!({
            "failing_since": failing.since,
            "left_alone_until": failing.probe_at,
            "warning": failing.warnings,
            "disabled_at_latest": disable_at,
            "reason": cause.reason,
            "event": cause.event,
        });
        Self::about(ENDPOINT_FAILING, endpoint, cause.at, detail)
    }

    /// An endpoint takes deliveries again.
    pub fn recovered(endpoint: &Endpoint, cause: &Cause<'_>) -> Self {
        Self::about(ENDPOINT_RECOVERED, endpoint, cause.at, json!({ "event": cause.event }))
    }

    /// An endpoint was disabled for `reason`.
    pub fn disabled(endpoint: &Endpoint, reason: &str, at: Timestamp) -> Self {
        Self::about(ENDPOINT_DISABLED, endpoint, at, json!({ "reason": reason }))
    }

    /// A run of `job` is over; none where its end is no news (it was stopped, or left out).
    pub fn of_run(job: &Job, run: &Run) -> Option<Self> {
        let key = run_ended(run.state)?;
        let payload = json!({
            "job": job.id,
            "name": job.settings.name,
            "kind": job.settings.work.kind(),
            "run": run.id,
            "scheduled_at": run.scheduled_at,
            "started_at": run.started_at,
            "at": run.finished_at,
            "trigger": run.trigger,
            "outcome": if key == RUN_SUCCEEDED { "succeeded" } else { "failed" },
            "reason": run.error.as_ref().map(|(code, _)| code),
            "message": run.error.as_ref().map(|(_, message)| message),
            "attempts": run.attempts,
            "counts": run.counts,
            "correlation_id": run.id,
        });
        let correlation_id = Some(run.id.to_string());
        Some(Self { key, endpoint: None, integrator: None, subject: run.id.to_string(), payload, correlation_id })
    }

    /// A job was paused.
    pub fn job_paused(job: &Job, by: &str, reason: &str, at: Timestamp) -> Self {
        let payload = json!({ "job": job.id, "name": job.settings.name, "by": by, "reason": reason, "at": at });
        let subject = job.id.to_string();
        Self { key: JOB_PAUSED, endpoint: None, integrator: None, subject, payload, correlation_id: None }
    }

    /// What a wizard had provisioned is there, for the contract that it was told.
    pub fn wizard_provisioned(wizard: WizardId, contract: &str, at: Timestamp) -> Self {
        let payload = json!({ "wizard": wizard, "contract": contract, "at": at });
        let subject = wizard.to_string();
        Self { key: WIZARD_PROVISIONED, endpoint: None, integrator: None, subject, payload, correlation_id: None }
    }

    fn about(key: &'static str, endpoint: &Endpoint, at: Timestamp, detail: Value) -> Self {
        let mut payload = json!({
            "endpoint": endpoint.id,
            "integrator": endpoint.integrator,
            "url": endpoint.url,
            "description": endpoint.description,
            "at": at,
        });
        crate::json::merge(&mut payload, &detail);
        Self {
            key,
            endpoint: Some(endpoint.id),
            integrator: Some(endpoint.integrator),
            subject: endpoint.id.to_string(),
            payload,
            correlation_id: None,
        }
    }
}

/// The type of the fact that a delivery in that state ended, and its word for it.
pub const fn ended(state: DeliveryState) -> Option<(&'static str, &'static str)> {
    match state {
        DeliveryState::Succeeded => Some((DELIVERY_SUCCEEDED, "succeeded")),
        DeliveryState::Failed => Some((DELIVERY_FAILED, "failed")),
        _ => None,
    }
}

/// The type of the fact that a run ended so.
pub const fn run_ended(state: RunState) -> Option<&'static str> {
    match state {
        RunState::Succeeded => Some(RUN_SUCCEEDED),
        RunState::Failed | RunState::Abandoned => Some(RUN_FAILED),
        _ => None,
    }
}

/// The attempt that showed something about its endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// The event that was to be delivered.
    pub event: EventId,
    /// Stable code of what went wrong.
    pub reason: Option<&'a str>,
    /// When it ended.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_star_takes_no_system_types_and_a_prefix_does() {
        assert!(SYSTEM_TYPES.iter().all(|(key, _)| is_system(key) && !subscribes("*", key)));
        assert!(subscribes("delivery.*", DELIVERY_FAILED) && subscribes(DELIVERY_FAILED, DELIVERY_FAILED));
        assert!(!subscribes("endpoint.*", DELIVERY_FAILED));
        assert!(!is_system("delivery.created") && !is_system("delivery.failed.late"));
    }
}
