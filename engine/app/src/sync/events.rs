//! A table's changes as events, for whoever subscribes: accepted as a producer's are, a page in one transaction. Each is known
//! by its page and place, so that a page that is sent again makes no second event.

use std::{collections::BTreeMap, sync::Arc};

use engate_model::{
    TenantId,
    delivery::Response,
    sink::{Operation, Page, Pass, Settlement, StreamInfo, Totals},
    sync::EventSink,
    verdict::Failure,
};

use super::{Asked, Sendable, Target, Writes};
use crate::{
    accept::{NewEvent, NotTaken, SCHEMA_MISMATCH, subject_of},
    engine::Engine,
    media_type::JSON,
};

/// What an accept counts as, for what judges answers.
const ACCEPTED: u16 = 202;
/// What payloads count as that do not meet their schema.
const REFUSED: u16 = 422;

/// The engine itself as a target.
pub(super) struct EventTarget {
    engine: Arc<Engine>,
    tenant: TenantId,
    sink: EventSink,
}

/// A page's events.
pub(super) struct Events(Vec<NewEvent>);

impl Sendable for Events {
    fn bytes(&self) -> u64 {
        self.0.iter().map(|event| event.payload.len() as u64).sum()
    }
}

impl EventTarget {
    pub(super) fn new(engine: &Arc<Engine>, tenant: TenantId, sink: &EventSink) -> Self {
        Self { engine: Arc::clone(engine), tenant, sink: sink.clone() }
    }
}

fn asked<V>(value: V) -> Asked<V> {
    Asked { value, writes: BTreeMap::new() }
}

impl Target for EventTarget {
    type Request = Events;

    async fn open(&self, _: &StreamInfo) -> Result<Asked<Vec<Events>>, Failure> {
        Ok(asked(Vec::new()))
    }

    async fn encode(&self, pass: &Pass, page: &Page) -> Result<Asked<Events>, Failure> {
        let event_type = self.sink.event_type_of(&pass.stream.target);
        let events = page.changes.iter().enumerate().map(|(n, change)| {
            let operation = if change.operation == Operation::Delete { "delete" } else { "upsert" };
            let own = [("operation", operation), ("stream", pass.stream.name.as_str())];
            let mut labels: Vec<_> =
                own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            labels.extend(pass.partition.iter().cloned());
            NewEvent {
                event_type: event_type.clone(),
                subject: Some(subject_of(self.sink.subject.as_deref(), change)),
                payload: change.data.clone().into_bytes(),
                content_type: JSON.to_owned(),
                idempotency_key: Some(format!("sync:{}:{}:{n}", pass.id, page.id)),
                occurred_at: None,
                deliver_at: None,
                labels,
                correlation_id: None,
            }
        });
        let events: Vec<_> = events.collect();
        for event in &events {
            // One bad row is found by halving the page, as with any target.
            event.check().map_err(|invalid| failure("invalid_event", invalid.to_string(), false))?;
        }
        Ok(asked(Events(events)))
    }

    async fn send(&self, request: &Events) -> Result<Response, Failure> {
        match self.engine.accept_with(self.tenant, request.0.clone(), None, None).await {
            Ok(_) => Ok(Response { status: ACCEPTED, headers: Vec::new(), body: Vec::new(), truncated: false }),
            Err(NotTaken::IdConflict { index }) => {
                Err(failure("id_conflict", format!("row {index} of the page was published in another form"), false))
            }
            // Judged as a target's refusal: the page is halved until the row is found that is to blame.
            Err(NotTaken::SchemaMismatch(found)) => {
                let body = format!("{SCHEMA_MISMATCH}: {found}").into_bytes();
                Ok(Response { status: REFUSED, headers: Vec::new(), body, truncated: false })
            }
            Err(NotTaken::Store(error)) => Err(failure(error.code(), error.to_string(), true)),
        }
    }

    async fn settle(
        &self,
        _: &str,
        _: &str,
        _: u32,
        response: &Response,
        _: &Writes,
    ) -> Result<Asked<Settlement>, Failure> {
        Ok(asked(match response.status {
            REFUSED => Settlement::Split(String::from_utf8_lossy(&response.body).into_owned()),
            _ => Settlement::Accepted(Vec::new()),
        }))
    }

    async fn close(&self, _: &Pass, _: Totals) -> Result<Asked<Option<Events>>, Failure> {
        Ok(asked(None))
    }
}

fn failure(code: &str, message: String, retryable: bool) -> Failure {
    Failure { code: code.to_owned(), message, retryable }
}
