//! What the ladder's plugins have to do: an event, an answer, and what they may ask for in between.

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use engate_bench_guest::{refusal, reshape};
use engate_host::{GrantedSecret, Secrets};
use engate_model::Secret;
use engate_sdk::{Plan, Verdict, testing};
use rust_partner::Partner;
use serde_json::{Value, json};

use crate::{Error, load};

/// The secret that the invoice partner signs with.
const SECRET: &str = "partner-key";
const KEY: &str = "an example key";

/// One event and one answer.
pub(crate) struct Work {
    pub(crate) event_type: &'static str,
    pub(crate) payload: String,
    pub(crate) answer: &'static str,
    pub(crate) config: Value,
    /// The same and the secret, as the host takes them.
    hosted: (Arc<Value>, Secrets),
    native: fn(&Work, usize) -> Result<(), Error>,
}

impl Work {
    /// The benches' own: an order is renamed and nested anew, the answer says `ok`.
    pub(crate) fn order() -> Self {
        Self {
            event_type: "order.created",
            payload: load::order(1),
            answer: r#"{"status":"ok"}"#,
            hosted: hosted(&json!({})),
            config: json!({}),
            native: orders,
        }
    }

    /// The examples' partner: dates, money, two settings, a signature, a verdict from the body.
    pub(crate) fn invoice() -> Self {
        let payload = json!({
            "invoice": {
                "number": "NF-1020", "issued_at": "2025-02-20T12:30:00Z", "amount_cents": 1_234_567, "currency": "BRL",
            },
            "customer": {
                "name": "Ana Souza", "document": "12345678909",
                "address": {"city": "Recife", "state": "PE", "zip": "50000000"},
            },
            "items": [{"sku": "A-1", "description": "Serviço", "quantity": 2, "unit_cents": 617_283}],
        });
        Self {
            event_type: "invoice.paid",
            payload: payload.to_string(),
            answer: r#"{"resultado":"ok","protocolo":"P-77"}"#,
            hosted: hosted(&json!({"store": "loja-7"})),
            config: json!({"store": "loja-7"}),
            native: invoices,
        }
    }

    /// The secret.
    pub(crate) const fn key(&self) -> &'static str {
        KEY
    }

    /// Settings and secrets as the host takes them.
    pub(crate) const fn shared(&self) -> &(Arc<Value>, Secrets) {
        &self.hosted
    }

    /// The same work done by Rust in this process; microseconds for one event and answer.
    pub(crate) fn native(&self, calls: usize) -> Result<f64, Error> {
        let start = std::time::Instant::now();
        (self.native)(self, calls)?;
        Ok(start.elapsed().as_secs_f64() * 1e6 / calls as f64)
    }
}

fn hosted(config: &Value) -> (Arc<Value>, Secrets) {
    let key = GrantedSecret { value: Ok(Secret::new(KEY)), reveal: false };
    let secrets = BTreeMap::from([(SECRET.to_owned(), key)]);
    (Arc::new(config.clone()), Secrets::granted(Arc::new(secrets)))
}

fn orders(work: &Work, calls: usize) -> Result<(), Error> {
    for _ in 0..calls {
        let sent = reshape(black_box(&work.payload))?;
        if black_box(sent).is_empty() || refusal(black_box(work.answer)).is_some() {
            return Err("the plugin's own code refuses the bench's order".into());
        }
    }
    Ok(())
}

fn invoices(work: &Work, calls: usize) -> Result<(), Error> {
    let host = testing::Host::new().config(work.config.clone()).secret(SECRET, KEY);
    let event = testing::event(work.event_type).with_text(&work.payload);
    let (context, exchange) = (testing::context(), testing::exchange(testing::response(200).with_text(work.answer)));
    for _ in 0..calls {
        let plan = host.transform::<Partner>(black_box(&event), &context);
        let verdict = host.interpret::<Partner>(black_box(&exchange));
        if !matches!(plan, Ok(Plan::Send(_))) || !matches!(verdict, Verdict::Success(_)) {
            return Err("the partner's own code refuses the bench's invoice".into());
        }
    }
    Ok(())
}
