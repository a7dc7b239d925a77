//! Voalle: sends an integrator what a trigger (*gatilho*) is about, and reads in the answer whether it was taken.

mod answer;
#[cfg(test)]
mod tests;
mod trigger;

use engate_sdk::{
    Context, Event, Exchange, Integrator, InterpretWhen, Manifest, Plan, Problem, Request, Verdict, config,
};

use crate::trigger::Trigger;

struct Voalle;

impl Integrator for Voalle {
    fn describe() -> Manifest {
        Manifest::new("voalle", env!("CARGO_PKG_VERSION"))
            .title("Voalle")
            .config_schema(include_str!("config.schema.json"))
            .interpret(InterpretWhen::Always)
    }

    fn transform(event: &Event, context: &Context) -> Result<Plan, Problem> {
        let trigger = Trigger::fired(event, &context.delivery)?;
        Ok(Request::post(&context.endpoint.url).json(&trigger)?.into())
    }

    fn interpret(exchange: &Exchange) -> Verdict {
        match config::all() {
            Ok(settings) => answer::judge(&exchange.response, &settings),
            Err(problem) => problem.into(),
        }
    }
}

engate_sdk::export!(Voalle);
