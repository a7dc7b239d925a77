//! What many partners take without a plugin of their own: CloudEvents 1.0, structured or binary, and messages to people
//! in Slack and Teams. One setting, `format`, says which.

mod answer;
mod chat;
mod cloudevent;
mod settings;
mod template;
#[cfg(test)]
mod tests;

use engate_sdk::{
    Context, Event, Exchange, Integrator, InterpretWhen, Manifest, Plan, Problem, Request, Verdict, config,
};

use crate::settings::{Format, Settings};

struct Standard;

impl Integrator for Standard {
    fn describe() -> Manifest {
        Manifest::new("standard", env!("CARGO_PKG_VERSION"))
            .title("CloudEvents, Slack, Teams")
            .config_schema(include_str!("config.schema.json"))
            .interpret(InterpretWhen::Always)
    }

    fn transform(event: &Event, context: &Context) -> Result<Plan, Problem> {
        let settings: Settings = config::all()?;
        let request = Request::post(&context.endpoint.url);
        let source = settings.source.as_deref();
        let request = match settings.format {
            Format::CloudEvents => cloudevent::structured(request, event, context, source)?,
            Format::CloudEventsBinary => cloudevent::binary(request, event, context, source),
            Format::Slack => request.json(&chat::slack(event, &settings)?)?,
            Format::Teams => request.json(&chat::teams(event, &settings)?)?,
        };
        Ok(request.into())
    }

    fn interpret(exchange: &Exchange) -> Verdict {
        match config::get_or("/format", Format::default()) {
            Ok(format) => answer::judge(&exchange.response, format),
            Err(problem) => problem.into(),
        }
    }
}

engate_sdk::export!(Standard);
