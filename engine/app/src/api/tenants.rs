//! `/v1/tenants`: whose data it is.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{TenantId, Timestamp, integrator::Tenant};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    conditional::{IfMatch, IfMatchHeader, Shown, Tagged},
    extract::{At, Body, Caller, Params},
    idempotency::{Once, ToldOnce},
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
    tokens::TokenMadeView,
};
use crate::engine::Engine;

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ManageTenants, list)
        .add(__path_create, Permission::ManageTenants, create)
        .add(__path_get, Permission::ManageTenants, get)
        .add(__path_update, Permission::ManageTenants, update)
        .add(__path_delete, Permission::ManageTenants, delete)
}

/// A tenant to enter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantNew, example = json!({"slug": "saae", "name": "SAAE Exemplo"}))]
struct TenantNewBody {
    /// What it is named by: lower-case letters, digits and `. - _`.
    #[schema(min_length = 1, max_length = 64)]
    slug: String,
    /// What people read; the slug where it is left out.
    #[schema(max_length = 255)]
    name: Option<String>,
}

/// What to change of a tenant; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantChange, example = json!({"name": "SAAE Exemplo S.A."}))]
struct TenantChangeBody {
    /// What it is named by.
    #[schema(min_length = 1, max_length = 64)]
    slug: Option<String>,
    /// What people read.
    #[schema(min_length = 1, max_length = 255)]
    name: Option<String>,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant, example = json!({
    "id": "ten_0192f0c1a2b37c4d8e5f60718293a4b5", "slug": "default", "name": "Default",
    "created_at": "2026-01-31T12:00:00.000000Z"
}))]
struct TenantView {
    /// Its id.
    #[schema(value_type = String)]
    id: TenantId,
    /// What it is named by.
    slug: String,
    /// What people read.
    name: String,
    /// When it was entered.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// A tenant just entered, with the way in.
#[derive(Serialize, ToSchema)]
#[schema(as = TenantMade)]
struct TenantMadeView {
    /// The tenant.
    #[serde(flatten)]
    tenant: TenantView,
    /// Its first admin token, with the value this once. Where that was lost nobody gets in: delete the tenant and enter it
    /// anew.
    admin_token: TokenMadeView,
}

impl ToldOnce for TenantMadeView {
    fn untold(self) -> Self {
        Self { admin_token: self.admin_token.untold(), ..self }
    }
}

impl Shown for TenantView {}

impl TenantView {
    fn of(tenant: Tenant) -> Self {
        Self { id: tenant.id, slug: tenant.slug, name: tenant.name, created_at: tenant.created_at }
    }
}

/// Lists tenants; only for an admin of the tenant `default`.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants", operation_id = "tenant_list", params(PageParams),
    responses((status = 200, description = "One page, the oldest first", body = Listing<TenantView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<TenantView>>, Problem> {
    let tenants = engine.tenant_list(&principal).await?;
    Ok(Json(page.cut(tenants, |tenant| tenant.id.to_string(), TenantView::of)?))
}

/// Enters a tenant and tells its first admin token, this once; only for an admin of the tenant `default`.
#[utoipa::path(post, path = "/v1/tenants", tag = "tenants", operation_id = "tenant_create", request_body = TenantNewBody,
    responses((status = 201, description = "Entered, with its first token in `admin_token`", body = TenantMadeView),
        (status = 409, description = "The slug is taken")))]
async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Body(body): Body<TenantNewBody>,
) -> Result<(StatusCode, Once<TenantMadeView>), Problem> {
    let (tenant, made) = engine.tenant_create(&principal, body.slug, body.name).await?;
    let answer = TenantMadeView { tenant: TenantView::of(tenant), admin_token: TokenMadeView::of(made) };
    Ok((StatusCode::CREATED, Once(answer)))
}

/// Shows a tenant; only for an admin of the tenant `default`.
#[utoipa::path(get, path = "/v1/tenants/{tenant}", tag = "tenants", operation_id = "tenant_get",
    params(("tenant" = String, Path, description = "Its id or slug")),
    responses((status = 200, description = "The tenant", body = TenantView), (status = 404, description = "There is none")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
) -> Result<Tagged<TenantView>, Problem> {
    Ok(Tagged::new(&engine, TenantView::of(engine.tenant_get(&principal, &name).await?)))
}

/// Changes a tenant's slug or name; only for an admin of the tenant `default`, which keeps its own slug.
#[utoipa::path(patch, path = "/v1/tenants/{tenant}", tag = "tenants", operation_id = "tenant_update",
    params(("tenant" = String, Path, description = "Its id or slug"), IfMatchHeader), request_body = TenantChangeBody,
    responses((status = 200, description = "Changed", body = TenantView), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered"),
        (status = 409, description = "`already_exists`: the slug is taken; `system_record`: it is the first one")))]
async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    if_match: IfMatch,
    Body(body): Body<TenantChangeBody>,
) -> Result<Tagged<TenantView>, Problem> {
    let demand = if_match.demand(TenantView::of);
    Ok(Tagged::new(
        &engine,
        TenantView::of(engine.tenant_update(&principal, &name, body.slug, body.name, &demand).await?),
    ))
}

/// Deletes a tenant; only for an admin of the tenant `default`, which stays.
///
/// Its tokens, secrets, inbounds, endpoints, wizards and jobs go at once, what waits is called off and runs under way are
/// stopped. Its events, deliveries and audit stay as long as any history does. The slug is free again.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}", tag = "tenants", operation_id = "tenant_delete",
    params(("tenant" = String, Path, description = "Its id or slug"), IfMatchHeader),
    responses((status = 204, description = "Deleted"), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered"),
        (status = 409, description = "`system_record`: it is the first one")))]
async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    engine.tenant_delete(&principal, &name, &if_match.demand(TenantView::of)).await?;
    Ok(StatusCode::NO_CONTENT)
}
