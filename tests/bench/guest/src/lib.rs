//! The plugin of the benches: an order's fields are renamed and nested anew, the verdict is read from the body.
//! [`reshape`] and [`refusal`] are what it does; the ladder runs them natively too.

use std::borrow::Cow;

use engate_sdk::{Context, Event, Exchange, Integrator, InterpretWhen, Manifest, Plan, Problem, Request, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Order<'a> {
    pedido: u64,
    #[serde(borrow)]
    cliente: Customer<'a>,
    #[serde(borrow)]
    emissao: Cow<'a, str>,
    #[serde(borrow)]
    total: Cow<'a, str>,
    #[serde(borrow)]
    itens: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Customer<'a> {
    #[serde(borrow)]
    codigo: Cow<'a, str>,
    #[serde(borrow)]
    nome: Cow<'a, str>,
    #[serde(borrow)]
    cidade: Cow<'a, str>,
}

#[derive(Deserialize, Serialize)]
struct Item<'a> {
    #[serde(borrow, rename(serialize = "sku"))]
    codigo: Cow<'a, str>,
    #[serde(borrow, rename(serialize = "description"))]
    descricao: Cow<'a, str>,
    #[serde(borrow, rename(serialize = "quantity"))]
    quantidade: &'a RawValue,
    #[serde(borrow, rename(serialize = "price"))]
    valor: Cow<'a, str>,
}

#[derive(Serialize)]
struct Sent<'a> {
    id: String,
    issued: &'a str,
    total: &'a str,
    customer: Party<'a>,
    lines: &'a [Item<'a>],
}

#[derive(Serialize)]
struct Party<'a> {
    code: &'a str,
    name: &'a str,
    city: &'a str,
}

/// The partner's form of an order.
///
/// # Errors
/// Says where the order does not fit.
pub fn reshape(order: &str) -> Result<String, String> {
    let order: Order<'_> = serde_json::from_str(order).map_err(|error| error.to_string())?;
    let customer = Party { code: &order.cliente.codigo, name: &order.cliente.nome, city: &order.cliente.cidade };
    let id = format!("PED-{:08}", order.pedido);
    let sent = Sent { id, issued: &order.emissao, total: &order.total, customer, lines: &order.itens };
    serde_json::to_string(&sent).map_err(|error| error.to_string())
}

/// Why the partner's answer is a refusal, where it is one.
pub fn refusal(answer: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        status: Cow<'a, str>,
    }
    match serde_json::from_str::<Answer<'_>>(answer) {
        Ok(answer) if answer.status == "ok" => None,
        Ok(answer) => Some(answer.status.into_owned()),
        Err(error) => Some(error.to_string()),
    }
}

struct Bench;

impl Integrator for Bench {
    fn describe() -> Manifest {
        Manifest::new("bench-order", "0.1.0").interpret(InterpretWhen::Always)
    }

    fn transform(event: &Event, context: &Context) -> Result<Plan, Problem> {
        let order = event.text().ok_or_else(|| Problem::new("invalid_payload", "an order is JSON text"))?;
        let body = reshape(order).map_err(|message| Problem::new("invalid_payload", message))?;
        Ok(Request::post(&context.endpoint.url).body("application/json", body).into())
    }

    fn interpret(exchange: &Exchange) -> Verdict {
        match exchange.response.text().and_then(refusal) {
            Some(text) => Verdict::fail("refused_by_partner", text),
            None => Verdict::by_status(&exchange.response),
        }
    }
}

engate_sdk::export!(Bench);
