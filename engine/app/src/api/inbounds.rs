//! `/v1/inbounds`: where partners call. The calls themselves come in at [`inbound`](super::inbound).

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{
    Timestamp,
    inbound::{BODY_BYTES_CEILING, Inbound},
    plugin::PluginRef,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    conditional::{IfMatch, IfMatchHeader, Shown, Tagged},
    extract::{At, Body, Caller, Params},
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    rate::CallRate,
    routes::Routes,
};
use crate::{
    engine::Engine,
    verbs::inbounds::{InboundChange, InboundNew},
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadInbounds, list)
        .add(__path_create, Permission::ManageInbounds, create)
        .add(__path_get, Permission::ReadInbounds, get)
        .add(__path_update, Permission::ManageInbounds, update)
        .add(__path_delete, Permission::ManageInbounds, delete)
}

/// An address for a partner to call.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = InboundNew, example = json!({
    "name": "bank", "description": "Payments of the bank", "plugin": "bank-receiver", "enabled": true,
    "max_body_bytes": 65536, "rate_limit": {"per_second": 20, "burst": 40}
}))]
struct InboundNewBody {
    /// What it is called by, in the path: lower-case letters, digits and `. - _`; unique over all tenants.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// What people call it.
    #[schema(max_length = 1024)]
    description: Option<String>,
    /// The plugin that checks and answers its calls, of the world `receiver`: `name`, `name@1.2.0` or `name@channel`.
    #[schema(min_length = 1, max_length = 128)]
    plugin: String,
    /// Settings for the plugin, above the installation's.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// Whether it answers; true where it is left out. One that does not is as if it were not there.
    enabled: Option<bool>,
    /// Largest body it takes, before and after it is inflated; 1 MiB where it is left out.
    #[schema(minimum = 1, maximum = 1_048_576)]
    max_body_bytes: Option<u32>,
    /// How many calls it takes; 20 a second and 40 at once where it is left out.
    rate_limit: Option<CallRate>,
}

/// What to change of an inbound; what is left out stays, a null `config` takes it away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = InboundChange, example = json!({"enabled": false}))]
struct InboundChangeBody {
    /// What people call it.
    #[schema(max_length = 1024)]
    description: Option<String>,
    /// The plugin that checks and answers its calls.
    #[schema(min_length = 1, max_length = 128)]
    plugin: Option<String>,
    /// Settings for the plugin, all of them.
    #[serde(default, deserialize_with = "super::extract::present")]
    #[schema(value_type = Option<Object>)]
    config: Option<Option<Value>>,
    /// Whether it answers.
    enabled: Option<bool>,
    /// Largest body it takes.
    #[schema(minimum = 1, maximum = 1_048_576)]
    max_body_bytes: Option<u32>,
    /// How many calls it takes.
    rate_limit: Option<CallRate>,
}

/// An address for a partner to call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Inbound, example = json!({
    "name": "bank", "path": "/v1/inbound/bank", "description": "Payments of the bank", "plugin": "bank-receiver",
    "config": null, "enabled": true, "max_body_bytes": 65536, "rate_limit": {"per_second": 20, "burst": 40},
    "created_at": "2026-01-31T12:00:00.000000Z", "updated_at": "2026-01-31T12:00:00.000000Z"
}))]
struct InboundView {
    /// What it is called by.
    name: String,
    /// Where partners call, on this engine.
    path: String,
    /// What people call it.
    description: String,
    /// The plugin that checks and answers its calls.
    #[schema(value_type = String)]
    plugin: PluginRef,
    /// Settings for the plugin.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// Whether it answers.
    enabled: bool,
    /// Largest body it takes.
    max_body_bytes: u32,
    /// How many calls it takes.
    rate_limit: CallRate,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl Shown for InboundView {}

impl InboundView {
    fn of(inbound: Inbound) -> Self {
        Self {
            path: format!("/v1/inbound/{}", inbound.name),
            name: inbound.name,
            description: inbound.description,
            plugin: inbound.plugin,
            config: inbound.config,
            enabled: inbound.enabled,
            max_body_bytes: inbound.body_bytes_max,
            rate_limit: inbound.rate_limit.into(),
            created_at: inbound.created_at,
            updated_at: inbound.updated_at,
        }
    }
}

/// Lists inbounds.
#[utoipa::path(get, path = "/v1/inbounds", tag = "inbounds", operation_id = "inbound_list", params(PageParams),
    responses((status = 200, description = "One page, by name", body = Listing<InboundView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<InboundView>>, Problem> {
    let inbounds = engine.inbound_list(&principal).await?;
    Ok(Json(page.cut(inbounds, |inbound| inbound.name.clone(), InboundView::of)?))
}

/// Makes an inbound: from now on its plugin answers at `/v1/inbound/{name}`.
#[utoipa::path(post, path = "/v1/inbounds", tag = "inbounds", operation_id = "inbound_create",
    request_body = InboundNewBody,
    responses((status = 201, description = "Made", body = InboundView), (status = 409, description = "The name is taken")))]
async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Body(body): Body<InboundNewBody>,
) -> Result<(StatusCode, Tagged<InboundView>), Problem> {
    let new = InboundNew {
        name: body.name,
        description: body.description.unwrap_or_default(),
        plugin: body.plugin,
        config: body.config,
        enabled: body.enabled.unwrap_or(true),
        body_bytes_max: body.max_body_bytes.unwrap_or(BODY_BYTES_CEILING),
        rate_limit: body.rate_limit.map(Into::into).unwrap_or_default(),
    };
    let inbound = engine.inbound_create(&principal, new).await?;
    Ok((StatusCode::CREATED, Tagged::new(&engine, InboundView::of(inbound))))
}

/// Shows an inbound.
#[utoipa::path(get, path = "/v1/inbounds/{name}", tag = "inbounds", operation_id = "inbound_get",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "The inbound", body = InboundView), (status = 404, description = "There is none")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
) -> Result<Tagged<InboundView>, Problem> {
    Ok(Tagged::new(&engine, InboundView::of(engine.inbound_get(&principal, &name).await?)))
}

/// Changes what is given of an inbound; its name stays.
#[utoipa::path(patch, path = "/v1/inbounds/{name}", tag = "inbounds", operation_id = "inbound_update",
    params(("name" = String, Path, description = "Its name"), IfMatchHeader), request_body = InboundChangeBody,
    responses((status = 200, description = "Changed", body = InboundView), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered")))]
async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    if_match: IfMatch,
    Body(body): Body<InboundChangeBody>,
) -> Result<Tagged<InboundView>, Problem> {
    let change = InboundChange {
        description: body.description,
        plugin: body.plugin,
        config: body.config,
        enabled: body.enabled,
        body_bytes_max: body.max_body_bytes,
        rate_limit: body.rate_limit.map(Into::into),
    };
    Ok(Tagged::new(
        &engine,
        InboundView::of(engine.inbound_update(&principal, &name, change, &if_match.demand(InboundView::of)).await?),
    ))
}

/// Deletes an inbound and what its plugin kept for it; the events that came by it stay.
#[utoipa::path(delete, path = "/v1/inbounds/{name}", tag = "inbounds", operation_id = "inbound_delete",
    params(("name" = String, Path, description = "Its name"), IfMatchHeader),
    responses((status = 204, description = "Deleted"), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered")))]
async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    engine.inbound_delete(&principal, &name, &if_match.demand(InboundView::of)).await?;
    Ok(StatusCode::NO_CONTENT)
}
