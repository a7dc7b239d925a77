//! GSAN: tells a partner of paid bills, and believes the answer's body more than its status.

mod answer;
#[cfg(test)]
mod tests;
mod transactions;

use engate_sdk::{
    Context, Event, Exchange, Integrator, InterpretWhen, Manifest, Plan, Problem, Request, Verdict, config,
};

struct Gsan;

impl Integrator for Gsan {
    fn describe() -> Manifest {
        Manifest::new("gsan", env!("CARGO_PKG_VERSION"))
            .title("GSAN")
            .config_schema(include_str!("config.schema.json"))
            .event_types(&[transactions::EVENT_TYPE])
            .interpret(InterpretWhen::Always)
    }

    fn transform(event: &Event, context: &Context) -> Result<Plan, Problem> {
        let Some(body) = transactions::body(event)? else {
            return Ok(Plan::skip("the event lists no transaction"));
        };
        Ok(Request::post(&context.endpoint.url).body("application/json", body).into())
    }

    fn interpret(exchange: &Exchange) -> Verdict {
        match config::all() {
            Ok(settings) => answer::judge(&exchange.response, &settings),
            Err(problem) => problem.into(),
        }
    }
}

engate_sdk::export!(Gsan);
