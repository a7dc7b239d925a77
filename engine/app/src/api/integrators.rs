//! `/v1/integrators`: partner companies.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{IntegratorId, Timestamp, integrator::Integrator, plugin::PluginRef};
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
    verbs::integrators::{IntegratorChange, IntegratorNew},
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadIntegrators, list)
        .add(__path_create, Permission::ManageIntegrators, create)
        .add(__path_get, Permission::ReadIntegrators, get)
        .add(__path_replace, Permission::ManageIntegrators, replace)
        .add(__path_update, Permission::ManageIntegrators, update)
        .add(__path_delete, Permission::ManageIntegrators, delete)
}

/// A partner company to enter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IntegratorNew, example = json!({
    "slug": "ons", "name": "Operador Nacional do Sistema", "active": true, "services": ["Publicação de produtos"]
}))]
struct IntegratorNewBody {
    /// What it is named by: lower-case letters, digits and `. - _`.
    #[schema(min_length = 1, max_length = 64)]
    slug: String,
    /// What people read; the slug where it is left out.
    #[schema(max_length = 255)]
    name: Option<String>,
    /// Whether its endpoints get events; true where it is left out.
    active: Option<bool>,
    /// The services it offers.
    #[schema(max_items = 100, value_type = Option<Vec<super::text::NameText>>)]
    services: Option<Vec<String>>,
    /// The plugin of its endpoints that name none: `name`, `name@1.2.0` or `name@channel`.
    #[schema(max_length = 128)]
    plugin: Option<String>,
    /// Settings of its endpoints' plugins, below the endpoints' own.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
}

/// What to change of an integrator; what is left out stays, null takes away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IntegratorChange, example = json!({"active": false}))]
struct IntegratorChangeBody {
    /// What it is named by.
    #[schema(min_length = 1, max_length = 64)]
    slug: Option<String>,
    /// What people read; empty: the slug.
    #[schema(max_length = 255)]
    name: Option<String>,
    /// Whether its endpoints get events.
    active: Option<bool>,
    /// The services it offers, all of them.
    #[schema(max_items = 100, value_type = Option<Vec<super::text::NameText>>)]
    services: Option<Vec<String>>,
    /// The plugin of its endpoints that name none.
    #[serde(default, deserialize_with = "super::extract::present")]
    #[schema(value_type = Option<String>, max_length = 128)]
    plugin: Option<Option<String>>,
    /// Settings of its endpoints' plugins, all of them.
    #[serde(default, deserialize_with = "super::extract::present")]
    #[schema(value_type = Option<Object>)]
    config: Option<Option<Value>>,
}

/// A partner company.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Integrator, example = json!({
    "id": "int_0192f0c1a2b37c4d8e5f60718293a4b5", "slug": "ons", "name": "Operador Nacional do Sistema", "active": true,
    "services": ["Publicação de produtos"], "plugin": "sintegre", "config": null,
    "created_at": "2026-01-31T12:00:00.000000Z", "updated_at": "2026-01-31T12:00:00.000000Z"
}))]
struct IntegratorView {
    /// Its id.
    #[schema(value_type = String)]
    id: IntegratorId,
    /// What it is named by.
    slug: String,
    /// What people read.
    name: String,
    /// Whether its endpoints get events.
    active: bool,
    /// The services it offers.
    services: Vec<String>,
    /// The plugin of its endpoints that name none.
    #[schema(value_type = Option<String>)]
    plugin: Option<PluginRef>,
    /// Settings of its endpoints' plugins.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// When it was entered.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl Shown for IntegratorView {}

impl IntegratorView {
    fn of(integrator: Integrator) -> Self {
        Self {
            id: integrator.id,
            slug: integrator.slug,
            name: integrator.name,
            active: integrator.active,
            services: integrator.services,
            plugin: integrator.plugin,
            config: integrator.config,
            created_at: integrator.created_at,
            updated_at: integrator.updated_at,
        }
    }
}

/// Lists integrators; a token of one sees that one.
#[utoipa::path(get, path = "/v1/integrators", tag = "integrators", operation_id = "integrator_list", params(PageParams),
    responses((status = 200, description = "One page, by slug", body = Listing<IntegratorView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<IntegratorView>>, Problem> {
    let integrators = engine.integrator_list(&principal).await?;
    Ok(Json(page.cut(integrators, |integrator| integrator.slug.clone(), IntegratorView::of)?))
}

/// Enters an integrator.
#[utoipa::path(post, path = "/v1/integrators", tag = "integrators", operation_id = "integrator_create",
    request_body = IntegratorNewBody,
    responses((status = 201, description = "Entered", body = IntegratorView), (status = 409, description = "The slug is taken")))]
async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Body(body): Body<IntegratorNewBody>,
) -> Result<(StatusCode, Tagged<IntegratorView>), Problem> {
    let new = IntegratorNew {
        slug: body.slug,
        name: body.name,
        active: body.active.unwrap_or(true),
        services: body.services.unwrap_or_default(),
        plugin: body.plugin,
        config: body.config,
    };
    let integrator = engine.integrator_create(&principal, new).await?;
    Ok((StatusCode::CREATED, Tagged::new(&engine, IntegratorView::of(integrator))))
}

/// Shows an integrator.
#[utoipa::path(get, path = "/v1/integrators/{integrator}", tag = "integrators", operation_id = "integrator_get",
    params(("integrator" = String, Path, description = "Its id or slug")),
    responses((status = 200, description = "The integrator", body = IntegratorView), (status = 404, description = "There is none")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
) -> Result<Tagged<IntegratorView>, Problem> {
    Ok(Tagged::new(&engine, IntegratorView::of(engine.integrator_get(&principal, &name).await?)))
}

/// Replaces an integrator: what is left out is as in a new one.
#[utoipa::path(put, path = "/v1/integrators/{integrator}", tag = "integrators", operation_id = "integrator_replace",
    params(("integrator" = String, Path, description = "Its id or slug"), IfMatchHeader), request_body = IntegratorNewBody,
    responses((status = 200, description = "Changed", body = IntegratorView), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered"),
        (status = 409, description = "The slug is taken")))]
async fn replace(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    if_match: IfMatch,
    Body(body): Body<IntegratorNewBody>,
) -> Result<Tagged<IntegratorView>, Problem> {
    let change = IntegratorChange {
        slug: Some(body.slug),
        name: Some(body.name.unwrap_or_default()),
        active: Some(body.active.unwrap_or(true)),
        services: Some(body.services.unwrap_or_default()),
        plugin: Some(body.plugin),
        config: Some(body.config),
    };
    Ok(Tagged::new(
        &engine,
        IntegratorView::of(
            engine.integrator_update(&principal, &name, change, &if_match.demand(IntegratorView::of)).await?,
        ),
    ))
}

/// Changes what is given of an integrator.
#[utoipa::path(patch, path = "/v1/integrators/{integrator}", tag = "integrators", operation_id = "integrator_update",
    params(("integrator" = String, Path, description = "Its id or slug"), IfMatchHeader), request_body = IntegratorChangeBody,
    responses((status = 200, description = "Changed", body = IntegratorView), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered"),
        (status = 409, description = "The slug is taken")))]
async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    if_match: IfMatch,
    Body(body): Body<IntegratorChangeBody>,
) -> Result<Tagged<IntegratorView>, Problem> {
    let change = IntegratorChange {
        slug: body.slug,
        name: body.name,
        active: body.active,
        services: body.services,
        plugin: body.plugin,
        config: body.config,
    };
    Ok(Tagged::new(
        &engine,
        IntegratorView::of(
            engine.integrator_update(&principal, &name, change, &if_match.demand(IntegratorView::of)).await?,
        ),
    ))
}

/// Deletes an integrator that never had an endpoint; others are made inactive.
#[utoipa::path(delete, path = "/v1/integrators/{integrator}", tag = "integrators", operation_id = "integrator_delete",
    params(("integrator" = String, Path, description = "Its id or slug"), IfMatchHeader),
    responses((status = 204, description = "Deleted"), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered"),
        (status = 409, description = "It has or had endpoints")))]
async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    engine.integrator_delete(&principal, &name, &if_match.demand(IntegratorView::of)).await?;
    Ok(StatusCode::NO_CONTENT)
}
