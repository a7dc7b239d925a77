//! The trait a plugin implements, and how the component's entry points reach it.

use std::marker::PhantomData;

use crate::bindings::{delivering::exports::engate::plugin::delivery, describing::exports::engate::plugin::plugin};
use crate::{Attempt, Delivery, Endpoint, Event, Exchange, Manifest, Plan, Problem, Verdict};

/// What surrounds an event: which delivery of it, where to, which try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The delivery: its id goes out as `webhook-id`, its tenant owns everything here.
    pub delivery: Delivery,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Which try, and the time.
    pub attempt: Attempt,
}

/// A plugin of the world `integrator`: delivers events to a partner.
pub trait Integrator {
    /// What the plugin is and what it asks for. Called once, at install, when no import answers.
    fn describe() -> Manifest;

    /// Event in, request out. Called anew for every attempt, so what expires is minted fresh.
    ///
    /// # Errors
    /// A [`Problem`] ends the attempt; unless it is retryable, the delivery too.
    fn transform(event: &Event, context: &Context) -> Result<Plan, Problem>;

    /// Response in, verdict out. Called where the manifest's `interpret` asks for it; by default 2xx is success and
    /// anything else is tried again by the engine's schedule.
    #[must_use]
    fn interpret(exchange: &Exchange) -> Verdict {
        Verdict::by_status(&exchange.response)
    }
}

/// Stands between the generated entry points and an [`Integrator`].
pub struct Guest<P>(PhantomData<P>);

impl<P: Integrator> plugin::Guest for Guest<P> {
    fn describe() -> Manifest {
        P::describe()
    }
}

impl<P: Integrator> delivery::Guest for Guest<P> {
    fn transform(event: Event, delivery: Delivery, endpoint: Endpoint, attempt: Attempt) -> Result<Plan, Problem> {
        let context = Context { delivery, endpoint, attempt };
        P::transform(&event, &context)
    }

    fn interpret(exchange: Exchange) -> Verdict {
        P::interpret(&exchange)
    }
}
