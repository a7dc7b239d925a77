//! `/v1/event-types`: the catalogue.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{EndpointId, IntegratorId, Timestamp, event::EventType};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    conditional::{IfMatch, IfMatchHeader, Shown, Tagged},
    extract::{At, Body, Caller, Params},
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{
    engine::Engine,
    verbs::{
        VerbError,
        event_types::{EventTypeChange, EventTypeNew, Usage},
    },
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadEventTypes, list)
        .add(__path_create, Permission::ManageEventTypes, create)
        .add(__path_get, Permission::ReadEventTypes, get)
        .add(__path_replace, Permission::ManageEventTypes, replace)
        .add(__path_update, Permission::ManageEventTypes, update)
        .add(__path_usage, Permission::ReadEventTypes, usage)
        .add(__path_delete, Permission::ManageEventTypes, delete)
}

/// A type of event to enter into the catalogue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EventTypeNew, example = json!({
    "key": "client-transaction", "title": "Transação de cliente", "macro_process": "Cobrança", "process": "Pagamentos",
    "schema": {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number", "minimum": 0}}}
}))]
struct EventTypeNewBody {
    /// What producers and endpoints name it by: letters, digits and `. - _ / :`.
    #[schema(min_length = 1, max_length = 255)]
    key: String,
    /// What people read; the key where it is left out.
    #[schema(max_length = 255)]
    title: Option<String>,
    /// First level of the tree.
    #[schema(max_length = 255)]
    macro_process: Option<String>,
    /// Second level of the tree.
    #[schema(max_length = 255)]
    process: Option<String>,
    /// Only the engine enters types of its own: may be false at most.
    system: Option<bool>,
    /// Whether its events go anywhere; true where it is left out.
    enabled: Option<bool>,
    /// The JSON Schema (draft 2020-12, at most 64 KiB, nothing outside of it referred to) that payloads have to meet to be
    /// accepted; left out: any payload is taken.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
}

/// What to change of a type; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EventTypeChange, example = json!({"title": "Transação"}))]
struct EventTypeChangeBody {
    /// What people read; empty: the key.
    #[schema(max_length = 255)]
    title: Option<String>,
    /// First level of the tree; empty: none.
    #[schema(max_length = 255)]
    macro_process: Option<String>,
    /// Second level of the tree; empty: none.
    #[schema(max_length = 255)]
    process: Option<String>,
    /// Cannot change: what the type is, at most.
    system: Option<bool>,
    /// Whether its events go anywhere: the one thing that may change of the engine's own types.
    enabled: Option<bool>,
    /// What payloads have to meet to be accepted, all of the schema; null: any payload is taken. Events that are stored
    /// already are not looked at again.
    #[serde(default, deserialize_with = "crate::api::extract::present")]
    #[schema(value_type = Option<Object>)]
    schema: Option<Option<Value>>,
    /// Cannot change: the type's own key, at most.
    #[schema(min_length = 1, max_length = 255)]
    key: Option<String>,
}

/// A type of event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventType, example = json!({
    "key": "client-transaction", "title": "Transação de cliente", "macro_process": "Cobrança", "process": "Pagamentos",
    "system": false, "enabled": true, "schema": {"type": "object", "required": ["amount"]},
    "created_at": "2026-01-31T12:00:00.000000Z"
}))]
struct EventTypeView {
    /// What it is named by.
    key: String,
    /// What people read.
    title: String,
    /// First level of the tree; empty: none.
    macro_process: String,
    /// Second level of the tree; empty: none.
    process: String,
    /// Whether it is the engine's own.
    system: bool,
    /// Whether its events go anywhere.
    enabled: bool,
    /// The JSON Schema that payloads have to meet to be accepted; null: any payload is taken.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
    /// When it was entered.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl Shown for EventTypeView {}

impl EventTypeView {
    fn of(event_type: EventType) -> Self {
        let EventType { tenant: _, key, title, macro_process, process, system, enabled, schema, created_at } =
            event_type;
        Self { key, title, macro_process, process, system, enabled, schema, created_at }
    }
}

fn require_not_system(system: Option<bool>) -> Result<(), VerbError> {
    match system {
        Some(true) => Err(VerbError::field("system", "is the engine's to set, and not built yet; leave it out")),
        _ => Ok(()),
    }
}

fn require_key(given: Option<&str>, key: &str) -> Result<(), VerbError> {
    match given {
        Some(given) if given != key => {
            Err(VerbError::field("key", "cannot change; enter a new type and delete this one"))
        }
        _ => Ok(()),
    }
}

/// Lists the catalogue.
#[utoipa::path(get, path = "/v1/event-types", tag = "event types", operation_id = "event_type_list", params(PageParams),
    responses((status = 200, description = "One page, by key", body = Listing<EventTypeView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<EventTypeView>>, Problem> {
    let types = engine.event_type_list(&principal).await?;
    Ok(Json(page.cut(types, |event_type| event_type.key.clone(), EventTypeView::of)?))
}

/// Enters a type.
#[utoipa::path(post, path = "/v1/event-types", tag = "event types", operation_id = "event_type_create",
    request_body = EventTypeNewBody,
    responses((status = 201, description = "Entered", body = EventTypeView), (status = 409, description = "The key is taken")))]
async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Body(body): Body<EventTypeNewBody>,
) -> Result<(StatusCode, Tagged<EventTypeView>), Problem> {
    require_not_system(body.system)?;
    let new = EventTypeNew {
        key: body.key,
        title: body.title,
        macro_process: body.macro_process.unwrap_or_default(),
        process: body.process.unwrap_or_default(),
        enabled: body.enabled.unwrap_or(true),
        schema: body.schema,
    };
    let event_type = engine.event_type_create(&principal, new).await?;
    Ok((StatusCode::CREATED, Tagged::new(&engine, EventTypeView::of(event_type))))
}

/// Shows a type.
#[utoipa::path(get, path = "/v1/event-types/{key}", tag = "event types", operation_id = "event_type_get",
    params(("key" = String, Path, description = "Its key, percent-encoded")),
    responses((status = 200, description = "The type", body = EventTypeView), (status = 404, description = "There is none")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(key): At<String>,
) -> Result<Tagged<EventTypeView>, Problem> {
    Ok(Tagged::new(&engine, EventTypeView::of(engine.event_type_get(&principal, &key).await?)))
}

/// Replaces a type's title, place and schema: what is left out is empty then.
#[utoipa::path(put, path = "/v1/event-types/{key}", tag = "event types", operation_id = "event_type_replace",
    params(("key" = String, Path, description = "Its key, percent-encoded"), IfMatchHeader), request_body = EventTypeChangeBody,
    responses((status = 200, description = "Changed", body = EventTypeView), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered"),
        (status = 409, description = "It is the engine's own")))]
async fn replace(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(key): At<String>,
    if_match: IfMatch,
    Body(body): Body<EventTypeChangeBody>,
) -> Result<Tagged<EventTypeView>, Problem> {
    require_not_system(body.system)?;
    require_key(body.key.as_deref(), &key)?;
    let change = EventTypeChange {
        title: Some(body.title.unwrap_or_default()),
        macro_process: Some(body.macro_process.unwrap_or_default()),
        process: Some(body.process.unwrap_or_default()),
        enabled: Some(body.enabled.unwrap_or(true)),
        schema: Some(body.schema.flatten()),
    };
    Ok(Tagged::new(
        &engine,
        EventTypeView::of(
            engine.event_type_update(&principal, &key, change, &if_match.demand(EventTypeView::of)).await?,
        ),
    ))
}

/// Changes what is given of a type.
#[utoipa::path(patch, path = "/v1/event-types/{key}", tag = "event types", operation_id = "event_type_update",
    params(("key" = String, Path, description = "Its key, percent-encoded"), IfMatchHeader), request_body = EventTypeChangeBody,
    responses((status = 200, description = "Changed", body = EventTypeView), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered"),
        (status = 409, description = "It is the engine's own")))]
async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(key): At<String>,
    if_match: IfMatch,
    Body(body): Body<EventTypeChangeBody>,
) -> Result<Tagged<EventTypeView>, Problem> {
    require_not_system(body.system)?;
    require_key(body.key.as_deref(), &key)?;
    let change = EventTypeChange {
        title: body.title,
        macro_process: body.macro_process,
        process: body.process,
        enabled: body.enabled,
        schema: body.schema,
    };
    Ok(Tagged::new(
        &engine,
        EventTypeView::of(
            engine.event_type_update(&principal, &key, change, &if_match.demand(EventTypeView::of)).await?,
        ),
    ))
}

/// An endpoint that hears of a type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventTypeUse, example = json!({
    "endpoint": "ep_0192f0c1a2b37c4d8e5f60718293a4b5", "description": "Contas pagas",
    "integrator": "int_0192f0c1a2b37c4d8e5f60718293a4b5", "integrator_slug": "ons", "enabled": true,
    "subscription": "client-transaction"
}))]
struct UsageView {
    /// The endpoint's id.
    #[schema(value_type = String)]
    endpoint: EndpointId,
    /// What it is described by.
    description: String,
    /// Id of its integrator.
    #[schema(value_type = String)]
    integrator: IntegratorId,
    /// Slug of its integrator.
    integrator_slug: String,
    /// Whether the endpoint is enabled.
    enabled: bool,
    /// By which it hears: the key itself, or a pattern such as `order.*`.
    subscription: String,
}

/// Lists where a type is used: the endpoints that hear of it.
#[utoipa::path(get, path = "/v1/event-types/{key}/usage", tag = "event types", operation_id = "event_type_usage",
    params(("key" = String, Path, description = "Its key, percent-encoded"), PageParams),
    responses((status = 200, description = "One page, in the order of registration", body = Listing<UsageView>),
        (status = 404, description = "There is none")))]
async fn usage(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(key): At<String>,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<UsageView>>, Problem> {
    let show = |usage: Usage| UsageView {
        endpoint: usage.endpoint,
        description: usage.description,
        integrator: usage.integrator,
        integrator_slug: usage.slug,
        enabled: usage.enabled,
        subscription: usage.subscription,
    };
    Ok(Json(page.cut(engine.event_type_usage(&principal, &key).await?, |usage| usage.endpoint.to_string(), show)?))
}

/// Deletes a type that no endpoint names.
#[utoipa::path(delete, path = "/v1/event-types/{key}", tag = "event types", operation_id = "event_type_delete",
    params(("key" = String, Path, description = "Its key, percent-encoded"), IfMatchHeader),
    responses((status = 204, description = "Deleted"), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered"),
        (status = 409, description = "An endpoint subscribes to it, or it is the engine's own")))]
async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(key): At<String>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    engine.event_type_delete(&principal, &key, &if_match.demand(EventTypeView::of)).await?;
    Ok(StatusCode::NO_CONTENT)
}
