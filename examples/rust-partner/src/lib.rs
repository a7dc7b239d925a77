//! A partner that speaks Portuguese, wants money and dates the Brazilian way and a signature of its own, and says in
//! the body whether it took the invoice. The rules are in `examples/partner/README.md`.

mod answer;
mod format;
mod invoice;
mod notice;
#[cfg(test)]
mod tests;

use engate_sdk::{
    Context, Event, Exchange, Integrator, InterpretWhen, Manifest, Outgoing, Plan, Problem, Request, Verdict, config,
    encoding, secrets,
};

use crate::invoice::Paid;
use crate::notice::Notice;

/// The name under which the engine holds the key. The plugin never sees the key itself.
const KEY: &str = "partner-key";
/// The partner's zone where none is configured: Brasília.
const UTC_OFFSET_MINUTES: i64 = -180;

/// The partner.
#[derive(Debug)]
pub struct Partner;

impl Integrator for Partner {
    fn describe() -> Manifest {
        Manifest::new("rust-partner", env!("CARGO_PKG_VERSION"))
            .title("Invoices, in Rust")
            .config_schema(include_str!("config.schema.json"))
            .event_types(&["invoice.paid"])
            .interpret(InterpretWhen::Always)
            .secret(KEY, "signs x-partner-signature")
    }

    fn transform(event: &Event, context: &Context) -> Result<Plan, Problem> {
        let paid: Paid = event.json()?;
        if paid.invoice.internal {
            return Ok(Plan::skip("internal invoice"));
        }
        let notice = Notice::of(&paid, config::get_or("/utc_offset_minutes", UTC_OFFSET_MINUTES)?)?;
        let mut request = Request::post(&context.endpoint.url).json(&notice)?;
        if let Some(store) = config::get::<String>("/store")? {
            request = request.header("x-partner-store", store);
        }
        Ok(Outgoing::from(signed(request, context)?).memo(paid.invoice.number).into())
    }

    fn interpret(exchange: &Exchange) -> Verdict {
        answer::judge(exchange)
    }
}

/// Adds the time and the partner's signature over time and body. Every attempt gets a signature of its own.
fn signed(request: Request, context: &Context) -> Result<Request, Problem> {
    let timestamp = (context.attempt.now / 1000).to_string();
    let body = request.text().unwrap_or_default();
    let signature = secrets::hmac_sha256(KEY, format!("{timestamp}.{body}").as_bytes())?;
    Ok(request
        .header("x-partner-timestamp", timestamp)
        .header("x-partner-signature", format!("sha256={}", encoding::hex(&signature))))
}

engate_sdk::export!(Partner);
