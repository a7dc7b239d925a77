//! The HTTP API: routes, who may call them, what they take, what they answer. It calls verbs and holds neither
//! a pool nor SQL.
//!
//! A call's path is put into its normal form by [`paths`](crate::paths). It passes [`calls`] (id, span, count, time, panics, language,
//! access entry), [`cors`], then [`auth`] (token, rate, origin, routes, scopes, permission, names of query parameters,
//! repeats under an idempotency key), then its handler, which reads its input through [`extract`] and answers JSON or a
//! [`problem::Problem`].

mod audit;
mod auth;
mod calls;
mod cloudevents;
mod conditional;
mod contract;
mod cors;
mod deliveries;
mod describe;
mod docs;
mod endpoints;
mod event_types;
mod events;
mod examples;
mod extract;
mod files;
mod health;
mod help;
mod html;
mod idempotency;
mod inbound;
mod inbounds;
mod intake;
mod integrators;
mod jobs;
mod linger;
mod meanings;
mod openapi;
mod page;
mod permission;
mod plugins;
mod portuguese;
mod problem;
mod queues;
mod rate;
mod recoveries;
mod redact;
mod replays;
mod routes;
mod schema;
mod secrets;
mod settings;
mod tenants;
mod text;
mod tokens;
mod wizards;

use std::sync::Arc;

pub(crate) use self::audit::{AuditView, fault_text};
#[cfg(test)]
pub(crate) use self::contract::contract;
use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};

use self::{permission::Permission, problem::Problem, routes::Routes};
use crate::engine::Engine;

/// Every route.
fn routes() -> Routes {
    Routes::default()
        .add(openapi::__path_openapi_json, Permission::ReadDocs, openapi::openapi_json)
        .merge(docs::routes())
        .merge(health::routes())
        .merge(events::routes())
        .merge(deliveries::routes())
        .merge(help::routes())
        .merge(queues::routes())
        .merge(recoveries::routes())
        .merge(files::routes())
        .merge(event_types::routes())
        .merge(integrators::routes())
        .merge(endpoints::routes())
        .merge(inbounds::routes())
        .merge(inbound::routes())
        .merge(jobs::routes())
        .merge(plugins::routes())
        .merge(replays::routes())
        .merge(secrets::routes())
        .merge(settings::routes())
        .merge(tokens::routes())
        .merge(tenants::routes())
        .merge(wizards::routes())
        .merge(audit::routes())
}

/// What every call passes before its handler. One layer, since each costs every call a copy of the route it wraps.
async fn pass(State(gate): State<auth::Gate>, request: Request, next: Next) -> Response {
    let admit = |request, call| cors::through(&gate, request, |request| auth::admit(&gate, request, call, next));
    calls::observe(&gate.engine, request, admit).await
}

/// The API of `engine`, ready to be served; its requests are to come through [`normalise`](crate::paths::normalise).
pub(crate) fn router(engine: Arc<Engine>) -> Router {
    contract::made_by(openapi::put_together);
    let routes = routes();
    let gate = auth::Gate { engine: Arc::clone(&engine), rules: Arc::new(routes.rules) };
    routes
        .router
        .fallback(async || Problem::of("not_found", "there is no such path"))
        .method_not_allowed_fallback(async || Problem::of("method_not_allowed", "the path has no such method"))
        .layer(middleware::from_fn_with_state(gate, pass))
        .with_state(engine)
}
