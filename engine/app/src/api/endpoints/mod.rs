//! `/v1/endpoints`: registered URLs of integrators.

mod actions;
mod auth;
mod shapes;

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use engate_model::EndpointId;
use serde::Deserialize;
use utoipa::IntoParams;

use self::shapes::{EndpointChangeBody, EndpointNewBody, EndpointVerification, EndpointView};
use super::{
    conditional::{IfMatch, IfMatchHeader, Tagged},
    extract::{At, Body, Caller, Params},
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::engine::Engine;

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadEndpoints, list)
        .add(__path_create, Permission::ManageEndpoints, create)
        .add(__path_get, Permission::ReadEndpoints, get)
        .add(__path_update, Permission::ManageEndpoints, update)
        .add(__path_delete, Permission::ManageEndpoints, delete)
        .add(__path_rotate_secret, Permission::ManageEndpoints, rotate_secret)
        .add(__path_verify, Permission::ManageEndpoints, verify)
        .merge(actions::routes())
}

/// Which endpoints.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Slug or id of the integrator whose endpoints are wanted.
    #[param(min_length = 1, max_length = 64)]
    integrator: Option<String>,
    /// Items a page holds at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before; none: the first page.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// Lists endpoints; a token of one integrator sees that one's.
#[utoipa::path(get, path = "/v1/endpoints", tag = "endpoints", operation_id = "endpoint_list", params(ListParams),
    responses((status = 200, description = "One page, the oldest first", body = Listing<EndpointView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<EndpointView>>, Problem> {
    let endpoints = engine.endpoint_list(&principal, params.integrator.as_deref()).await?;
    let page = PageParams { limit: params.limit, cursor: params.cursor };
    Ok(Json(page.cut(endpoints, |registered| registered.endpoint.id.to_string(), EndpointView::of)?))
}

/// Registers an endpoint; the answer tells its signing key, this once.
#[utoipa::path(post, path = "/v1/endpoints", tag = "endpoints", operation_id = "endpoint_create",
    request_body = EndpointNewBody,
    responses((status = 201, description = "Registered, with `signing_secret`", body = EndpointView)))]
async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Body(body): Body<EndpointNewBody>,
) -> Result<(StatusCode, Tagged<EndpointView>), Problem> {
    let registered = engine.endpoint_create(&principal, body.into_new()?).await?;
    Ok((StatusCode::CREATED, Tagged::new(&engine, EndpointView::with_secret(registered))))
}

/// Shows an endpoint, secrets left out.
#[utoipa::path(get, path = "/v1/endpoints/{id}", tag = "endpoints", operation_id = "endpoint_get",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The endpoint", body = EndpointView),
        (status = 404, description = "There is none, or it is another integrator's")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<EndpointId>,
) -> Result<Tagged<EndpointView>, Problem> {
    Ok(Tagged::new(&engine, EndpointView::of(engine.endpoint_get(&principal, id).await?)))
}

/// Changes what is given of an endpoint; attempts that have not begun run under the new settings.
#[utoipa::path(patch, path = "/v1/endpoints/{id}", tag = "endpoints", operation_id = "endpoint_update",
    params(("id" = String, Path, description = "Its id"), IfMatchHeader), request_body = EndpointChangeBody,
    responses((status = 200, description = "Changed", body = EndpointView),
        (status = 404, description = "There is none, or it is another integrator's"),
        (status = 412, description = "It was changed since that `ETag` was answered")))]
async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<EndpointId>,
    if_match: IfMatch,
    Body(body): Body<EndpointChangeBody>,
) -> Result<Tagged<EndpointView>, Problem> {
    let (change, demand) = (body.into_change()?, if_match.demand(EndpointView::of));
    Ok(Tagged::new(&engine, EndpointView::of(engine.endpoint_update(&principal, id, change, &demand).await?)))
}

/// Deletes an endpoint; its deliveries that have not finished are called off.
#[utoipa::path(delete, path = "/v1/endpoints/{id}", tag = "endpoints", operation_id = "endpoint_delete",
    params(("id" = String, Path, description = "Its id"), IfMatchHeader),
    responses((status = 204, description = "Deleted"),
        (status = 404, description = "There is none, or it is another integrator's"),
        (status = 412, description = "It was changed since that `ETag` was answered")))]
async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<EndpointId>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    engine.endpoint_delete(&principal, id, &if_match.demand(EndpointView::of)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new signing key and tells it, this once; the old one signs beside it for 24 hours.
#[utoipa::path(post, path = "/v1/endpoints/{id}/rotate-secret", tag = "endpoints",
    operation_id = "endpoint_rotate_secret", params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "Rotated, with `signing_secret`", body = EndpointView),
        (status = 404, description = "There is none, or it is another integrator's")))]
async fn rotate_secret(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<EndpointId>,
) -> Result<Tagged<EndpointView>, Problem> {
    Ok(Tagged::new(&engine, EndpointView::with_secret(engine.endpoint_rotate_secret(&principal, id).await?)))
}

/// Challenges an endpoint: it is sent `{"type": "endpoint.verification", "endpoint": "ep_...", "challenge": "..."}`, signed
/// and authenticated as every request, and passes by answering 2xx with `{"challenge": "..."}` or the value alone.
///
/// One that passed, or has authentication set, may hear of the engine's own facts. A change of URL or authentication
/// makes the challenge void.
#[utoipa::path(post, path = "/v1/endpoints/{id}/verify", tag = "endpoints",
    operation_id = "endpoint_verify", params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "How it ended", body = EndpointVerification),
        (status = 404, description = "There is none, or it is another integrator's"),
        (status = 409, description = "`conflict`: it was edited while it was challenged")))]
async fn verify(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<EndpointId>,
) -> Result<Json<EndpointVerification>, Problem> {
    Ok(Json(EndpointVerification::of(engine.endpoint_verify(&principal, id).await?)))
}
