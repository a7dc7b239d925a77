//! The body that the integrator gets.

use engate_sdk::{Delivery, Event, Problem, time};
use serde::Serialize;
use serde_json::value::RawValue;

/// One trigger that fired. The names are those of the screen that lists them.
#[derive(Serialize)]
pub(crate) struct Trigger<'a> {
    /// Its type: the key of the event type.
    gatilho: &'a str,
    /// The running number that people see.
    codigo: u64,
    /// When it was entered in the list, which no retry changes.
    criado_em: String,
    /// What it is about, spelled as the producer spelled it: 10.50 is not 10.5.
    dados: &'a RawValue,
}

impl<'a> Trigger<'a> {
    pub(crate) fn fired(event: &'a Event, delivery: &Delivery) -> Result<Self, Problem> {
        let dados: &RawValue = event.json()?;
        if !dados.get().starts_with('{') {
            let message = "the payload must be an object, such as {\"cliente\": 7}: put the value into one";
            return Err(Problem::new("invalid_payload", message));
        }
        Ok(Self {
            gatilho: &event.event_type,
            codigo: delivery.code,
            criado_em: time::rfc3339(delivery.created_at),
            dados,
        })
    }
}
