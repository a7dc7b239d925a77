//! A bank that calls when bills were paid. It signs what it sends, writes amounts the Brazilian way, and expects answers of
//! its own form. Each lot becomes one event for GSAN and whoever else wants to know. The rules are in the README.

mod amount;
mod lot;
#[cfg(test)]
mod tests;

use engate_sdk::{Answer, Call, Manifest, NewEvent, Problem, Receiver, encoding, secrets};
use serde::Serialize;

use crate::lot::{Lot, Rejection};

/// The name under which the engine holds the key. The plugin never sees the key itself.
const KEY: &str = "bank-inbound";
/// The header of the bank's signature over the body, and how its value begins.
const SIGNATURE: &str = "x-bank-signature";
const SIGNATURE_PREFIX: &str = "sha256=";
/// What GSAN's plugin takes.
const EVENT_TYPE: &str = "client-transaction";

struct Bank;

impl Receiver for Bank {
    fn describe() -> Manifest {
        Manifest::new("bank-receiver", env!("CARGO_PKG_VERSION"))
            .title("Payments from the bank")
            .event_types(&[EVENT_TYPE])
            .secret(KEY, "checks x-bank-signature")
    }

    fn receive(call: &Call) -> Result<Answer, Problem> {
        if call.method != "POST" {
            let refusal = refusal(405, "metodo_invalido", "envie os pagamentos com POST")?;
            return Ok(refusal.header("allow", "POST"));
        }
        if !is_signed(call)? {
            return refusal(401, "assinatura_invalida", "x-bank-signature não confere com o corpo");
        }
        match Lot::read(call.text().unwrap_or_default()) {
            Ok(lot) => taken(&lot),
            Err(Rejection { code, message }) => refusal(422, code, &message),
        }
    }
}

/// Whether the bank, or whoever has its key, wrote the body. A key that is not there is no fault of the bank's: it is asked
/// to try again.
fn is_signed(call: &Call) -> Result<bool, Problem> {
    let given = call.header(SIGNATURE).and_then(|value| value.strip_prefix(SIGNATURE_PREFIX));
    let Some(given) = given.and_then(encoding::unhex) else { return Ok(false) };
    secrets::hmac_sha256_is(KEY, call.bytes(), &given).map_err(Problem::retryable)
}

/// One event for the whole lot: the bank repeats a lot whole, and a repeat is known by its number.
fn taken(lot: &Lot<'_>) -> Result<Answer, Problem> {
    #[derive(Serialize)]
    struct Taken<'a> {
        protocolo: &'a str,
        recebidos: usize,
    }
    let event = NewEvent::json(EVENT_TYPE, &lot.transactions)?;
    let event = event.idempotency_key(&lot.number).correlation_id(&lot.number);
    let answer = Answer::status(200).json(&Taken { protocolo: &lot.number, recebidos: lot.transactions.len() })?;
    Ok(answer.event(event))
}

/// A refusal as the bank reads it.
fn refusal(status: u16, code: &str, message: &str) -> Result<Answer, Problem> {
    #[derive(Serialize)]
    struct Refusal<'a> {
        codigo: &'a str,
        mensagem: &'a str,
    }
    Answer::status(status).json(&Refusal { codigo: code, mensagem: message })
}

engate_sdk::export_receiver!(Bank);
