//! Between the engine's types and those of the world `receiver`.

use engate_model::{
    Timestamp,
    plugin::{Fault, Limits},
};

use super::{
    bindings::{
        engate::plugin::types::Problem,
        exports::engate::plugin::inbound::{Answer, Call, NewEvent},
    },
    convert::{bytes, failure, payload},
};
use crate::{
    log::PluginLog,
    reception::{self, InboundAnswer, InboundEvent, ReceiveCall, Reception},
};

/// The argument of `receive`.
pub(super) fn call(call: &ReceiveCall<'_>) -> Call {
    Call {
        method: call.method.to_owned(),
        path: call.path.to_owned(),
        query: call.query.to_owned(),
        headers: call.headers.to_vec(),
        body: payload(call.body),
        remote_address: call.remote_address.to_owned(),
        now: call.now.as_millis(),
    }
}

/// What `receive` answered.
///
/// # Errors
/// A fault where the answer cannot be sent or is too large.
pub(crate) fn reception(
    answer: Result<Answer, Problem>,
    limits: &Limits,
    log: &mut PluginLog,
) -> Result<Reception, Fault> {
    match answer {
        Err(problem) => Ok(Reception::Refused(failure(problem))),
        Ok(answer) => reception::checked(inbound_answer(answer), limits, log).map(Reception::Answered),
    }
}

fn inbound_answer(answer: Answer) -> InboundAnswer {
    InboundAnswer {
        status: answer.status,
        headers: answer.headers,
        body: bytes(answer.body),
        events: answer.events.into_iter().map(inbound_event).collect(),
    }
}

fn inbound_event(event: NewEvent) -> InboundEvent {
    let instant = |ms: u64| Timestamp::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    InboundEvent {
        idempotency_key: event.idempotency_key,
        event_type: event.event_type,
        subject: event.subject,
        occurred_at: event.occurred_at.map(instant),
        labels: event.labels,
        correlation_id: event.correlation_id,
        content_type: event.content_type,
        data: bytes(event.data),
    }
}
