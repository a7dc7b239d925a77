//! `/v1/tokens`: clients' keys.

mod shapes;

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use engate_model::{Secret, TokenId};
use serde::Deserialize;
use utoipa::IntoParams;

pub(super) use self::shapes::TokenMadeView;
use self::shapes::{TokenChangeBody, TokenNewBody, TokenRegenerateBody, TokenView};
use super::{
    conditional::{IfMatch, IfMatchHeader, Tagged},
    extract::{At, BODY_BYTES_MAX, Body, Caller, Params, read_body, read_json},
    idempotency::Once,
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{engine::Engine, verbs::demand::Demand};

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadTokens, list)
        .add(__path_create, Permission::ManageTokens, create)
        .add(__path_revoke_self, Permission::RevokeSelf, revoke_self)
        .add(__path_get, Permission::ReadTokens, get)
        .add(__path_update, Permission::ManageTokens, update)
        .add(__path_revoke, Permission::ManageTokens, revoke)
        .add(__path_regenerate, Permission::ManageTokens, regenerate)
}

/// Which tokens.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Whether revoked tokens are listed too.
    revoked: Option<bool>,
    /// Items a page holds at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before; none: the first page.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// Lists tokens, without values.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", operation_id = "token_list", params(ListParams),
    responses((status = 200, description = "One page, the oldest first", body = Listing<TokenView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<TokenView>>, Problem> {
    let tokens = engine.token_list(&principal, params.revoked.unwrap_or_default()).await?;
    let page = PageParams { limit: params.limit, cursor: params.cursor };
    Ok(Json(page.cut(tokens, |token| token.id.to_string(), TokenView::of)?))
}

/// Makes a token and tells its value, this once.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", operation_id = "token_create", request_body = TokenNewBody,
    responses((status = 201, description = "Made, with its value in `token`", body = TokenMadeView),
        (status = 409, description = "The client holds a live token")))]
async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Body(body): Body<TokenNewBody>,
) -> Result<(StatusCode, Once<TokenMadeView>), Problem> {
    let made = engine.token_create(&principal, body.checked()?).await?;
    Ok((StatusCode::CREATED, Once(TokenMadeView::of(made))))
}

/// Shows a token, without its value.
#[utoipa::path(get, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "token_get",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The token", body = TokenView), (status = 404, description = "There is none")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<TokenId>,
) -> Result<Tagged<TokenView>, Problem> {
    Ok(Tagged::new(&engine, TokenView::of(engine.token_get(&principal, id).await?)))
}

/// Changes what a token may do and when it ends. Its value stays; the next call with it goes by the new limits.
#[utoipa::path(patch, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "token_update",
    params(("id" = String, Path, description = "Its id"), IfMatchHeader), request_body = TokenChangeBody,
    responses((status = 200, description = "Changed", body = TokenView), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered"),
        (status = 409, description = "It was revoked, or is the last admin's: `last_admin_token`")))]
async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<TokenId>,
    if_match: IfMatch,
    Body(body): Body<TokenChangeBody>,
) -> Result<Tagged<TokenView>, Problem> {
    let demand = if_match.demand(TokenView::of);
    Ok(Tagged::new(&engine, TokenView::of(engine.token_update(&principal, id, body.checked()?, &demand).await?)))
}

/// Gives a client another value and tells it, this once.
///
/// The old value is dead at once, or after `grace_ms`, and its token with it: the answer has a new id. The body may be left
/// out.
#[utoipa::path(post, path = "/v1/tokens/{id}/regenerate", tag = "tokens", operation_id = "token_regenerate",
    params(("id" = String, Path, description = "Its id")), request_body = Option<TokenRegenerateBody>,
    responses((status = 200, description = "Made anew, with its value in `token`", body = TokenMadeView),
        (status = 404, description = "There is none"), (status = 409, description = "It was revoked or has expired")))]
async fn regenerate(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<TokenId>,
    request: Request,
) -> Result<Once<TokenMadeView>, Problem> {
    let bytes = read_body(request.into_body(), BODY_BYTES_MAX).await?;
    let body = if bytes.is_empty() { TokenRegenerateBody::default() } else { read_json(&bytes)? };
    let grace = Duration::from_millis(body.grace_ms.unwrap_or_default());
    let made = engine.token_regenerate(&principal, id, body.value.map(Secret::from), grace).await?;
    Ok(Once(TokenMadeView::of(made)))
}

/// Ends a token; the next call with it is refused.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "token_revoke",
    params(("id" = String, Path, description = "Its id"), IfMatchHeader),
    responses((status = 204, description = "Revoked"), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered"),
        (status = 409, description = "`last_admin_token`: nobody would be left to mend things")))]
async fn revoke(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<TokenId>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    engine.token_revoke(&principal, id, &if_match.demand(TokenView::of)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the token this call is made with. Every holder may, however the token is narrowed; calls under way are finished.
#[utoipa::path(delete, path = "/v1/tokens/self", tag = "tokens", operation_id = "token_revoke_self",
    responses((status = 204, description = "Revoked"),
        (status = 409, description = "`last_admin_token`: nobody would be left to mend things")))]
async fn revoke_self(State(engine): State<Arc<Engine>>, Caller(principal): Caller) -> Result<StatusCode, Problem> {
    engine.token_revoke(&principal, principal.token, &Demand::none()).await?;
    Ok(StatusCode::NO_CONTENT)
}
