//! A partner with field names of its own, who answers 200 and then says in the body that it failed.
use engate_sdk::*;
use serde_json::value::RawValue;

#[derive(serde::Deserialize, serde::Serialize)]
struct Order<'a> {
    #[serde(borrow, rename(serialize = "PEDIDO"))]
    order: &'a RawValue, // raw: the value goes out exactly as it came in
    #[serde(borrow, rename(serialize = "VALOR"))]
    total: &'a RawValue,
}

struct Partner;

impl Integrator for Partner {
    fn describe() -> Manifest {
        Manifest::new("thirty-lines", "0.1.0").interpret(InterpretWhen::Always)
    }
    fn transform(event: &Event, context: &Context) -> Result<Plan, Problem> {
        let request = Request::post(&context.endpoint.url).header("x-event", &event.id);
        Ok(request.json(&event.json::<Order>()?)?.into())
    }
    fn interpret(exchange: &Exchange) -> Verdict {
        match exchange.response.json_at::<String>("/erro") {
            Some(text) => Verdict::fail("refused_by_partner", text),
            None => Verdict::by_status(&exchange.response),
        }
    }
}

engate_sdk::export!(Partner);
#[cfg(test)]
mod tests;
