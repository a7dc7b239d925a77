//! A plugin is two pure functions: `transform` says what to send, `interpret` says what an answer means. The engine
//! does everything that acts: HTTP, credentials, retries, storage.

use engate_sdk::{Context, Event, Exchange, Integrator, InterpretWhen, Manifest, Plan, Problem, Request, Verdict};

struct Plugin;

impl Integrator for Plugin {
    /// Asked once, when the plugin is installed. More to say: `.title`, `.config_schema`, `.event_types`, `.secret`.
    fn describe() -> Manifest {
        Manifest::new("{{name}}", env!("CARGO_PKG_VERSION"))
            // Ask for every answer: a 200 may carry a refusal.
            .interpret(InterpretWhen::Always)
    }

    /// Event in, request out. Here the payload goes on byte for byte; `event.json::<T>()?` reads it, and
    /// `Request::json(&value)?` sends something else. `Plan::skip("why")` sends nothing.
    fn transform(event: &Event, context: &Context) -> Result<Plan, Problem> {
        let request = Request::post(&context.endpoint.url)
            .header("x-event-id", &event.id)
            .body(&event.content_type, event.data.clone());
        Ok(request.into())
    }

    /// Answer in, verdict out.
    fn interpret(exchange: &Exchange) -> Verdict {
        match exchange.response.json_at::<String>("/error") {
            // Final: the same again would be refused again. `Verdict::retry(why)` asks for another try.
            Some(text) => Verdict::fail("refused_by_partner", text),
            // 2xx is success, anything else is tried again.
            None => Verdict::by_status(&exchange.response),
        }
    }
}

engate_sdk::export!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use engate_sdk::testing;

    #[test]
    fn the_golden_files_hold() {
        testing::run_fixtures::<Plugin>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
    }
}
