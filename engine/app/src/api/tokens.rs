//! `/v1/tokens`: clients' keys.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use engate_model::{
    IntegratorId, Secret, Timestamp, TokenId,
    token::{Role, Token},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    extract::{At, BODY_BYTES_MAX, Body, Caller, Params, read_body, read_json},
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{
    engine::Engine,
    verbs::tokens::{TokenMade, TokenNew},
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadTokens, list)
        .add(__path_create, Permission::ManageTokens, create)
        .add(__path_revoke_self, Permission::RevokeSelf, revoke_self)
        .add(__path_get, Permission::ReadTokens, get)
        .add(__path_revoke, Permission::ManageTokens, revoke)
        .add(__path_regenerate, Permission::ManageTokens, regenerate)
}

/// What a token's holder may do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenRole {
    /// Everything in the tenant.
    Admin,
    /// Everything but tokens, secrets and settings.
    Operator,
    /// What belongs to one integrator.
    Integrator,
    /// Reads everything, changes nothing.
    Auditor,
    /// Posts events, reads nothing.
    Producer,
}

impl From<TokenRole> for Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Admin => Self::Admin,
            TokenRole::Operator => Self::Operator,
            TokenRole::Integrator => Self::Integrator,
            TokenRole::Auditor => Self::Auditor,
            TokenRole::Producer => Self::Producer,
        }
    }
}

impl From<Role> for TokenRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Operator => Self::Operator,
            Role::Integrator => Self::Integrator,
            Role::Auditor => Self::Auditor,
            Role::Producer => Self::Producer,
        }
    }
}

/// A token to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenNew, example = json!({"client": "billing", "role": "producer"}))]
struct TokenNewBody {
    /// Who will hold it; a client holds one live token.
    #[schema(min_length = 1, max_length = 255)]
    client: String,
    /// What they may do.
    role: TokenRole,
    /// Slug or id of the integrator it is bound to, for the role `integrator`.
    #[schema(min_length = 1, max_length = 64)]
    integrator: Option<String>,
    /// When it stops working; left out: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// A value that the client brings along: at least 32 visible ASCII characters that are hard to guess. Left out:
    /// one is made.
    #[schema(max_length = 512, write_only)]
    value: Option<String>,
}

/// How to make a token anew.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenRegenerate, example = json!({}))]
struct TokenRegenerateBody {
    /// A value that the client brings along; left out: one is made.
    #[schema(max_length = 512, write_only)]
    value: Option<String>,
}

/// A token, without its value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token, example = json!({
    "id": "tok_0192f0c1a2b37c4d8e5f60718293a4b5", "client": "billing", "role": "producer", "integrator": null,
    "expires_at": null, "revoked_at": null, "created_at": "2026-01-31T12:00:00.000000Z"
}))]
pub(super) struct TokenView {
    /// Its id.
    #[schema(value_type = String)]
    id: TokenId,
    /// Who holds it.
    client: String,
    /// What they may do.
    role: TokenRole,
    /// Id of the integrator it is bound to.
    #[schema(value_type = Option<String>)]
    integrator: Option<IntegratorId>,
    /// When it stops working; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was revoked; null: it was not.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// A token just made, with its value.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenMade, example = json!({
    "id": "tok_0192f0c1a2b37c4d8e5f60718293a4b5", "client": "billing", "role": "producer", "integrator": null,
    "expires_at": null, "revoked_at": null, "created_at": "2026-01-31T12:00:00.000000Z",
    "token": "engate_q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA"
}))]
pub(super) struct TokenMadeView {
    /// The token.
    #[serde(flatten)]
    made: TokenView,
    /// Its value, this once: nobody can ask for it again.
    token: String,
}

impl TokenView {
    fn of(token: Token) -> Self {
        Self {
            id: token.id,
            client: token.client,
            role: token.role.into(),
            integrator: token.integrator,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            created_at: token.created_at,
        }
    }
}

impl TokenMadeView {
    pub(super) fn of(made: TokenMade) -> Self {
        Self { made: TokenView::of(made.token), token: made.value.expose().to_owned() }
    }
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
) -> Result<(StatusCode, Json<TokenMadeView>), Problem> {
    let new = TokenNew {
        client: body.client,
        role: body.role.into(),
        integrator: body.integrator,
        expires_at: body.expires_at,
        value: body.value.map(Secret::from),
    };
    let made = engine.token_create(&principal, new).await?;
    Ok((StatusCode::CREATED, Json(TokenMadeView::of(made))))
}

/// Shows a token, without its value.
#[utoipa::path(get, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "token_get",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The token", body = TokenView), (status = 404, description = "There is none")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<TokenId>,
) -> Result<Json<TokenView>, Problem> {
    Ok(Json(TokenView::of(engine.token_get(&principal, id).await?)))
}

/// Gives a client another value and tells it, this once. The old value is dead at once, and its token with it: the
/// answer has a new id. The body may be left out.
#[utoipa::path(post, path = "/v1/tokens/{id}/regenerate", tag = "tokens", operation_id = "token_regenerate",
    params(("id" = String, Path, description = "Its id")), request_body = Option<TokenRegenerateBody>,
    responses((status = 200, description = "Made anew, with its value in `token`", body = TokenMadeView),
        (status = 404, description = "There is none"), (status = 409, description = "It was revoked or has expired")))]
async fn regenerate(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<TokenId>,
    request: Request,
) -> Result<Json<TokenMadeView>, Problem> {
    let bytes = read_body(request.into_body(), BODY_BYTES_MAX).await?;
    let body = if bytes.is_empty() { TokenRegenerateBody::default() } else { read_json(&bytes)? };
    let made = engine.token_regenerate(&principal, id, body.value.map(Secret::from)).await?;
    Ok(Json(TokenMadeView::of(made)))
}

/// Ends a token; the next call with it is refused.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "token_revoke",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 204, description = "Revoked"), (status = 404, description = "There is none")))]
async fn revoke(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<TokenId>,
) -> Result<StatusCode, Problem> {
    engine.token_revoke(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the token this call is made with; every holder may.
#[utoipa::path(delete, path = "/v1/tokens/self", tag = "tokens", operation_id = "token_revoke_self",
    responses((status = 204, description = "Revoked")))]
async fn revoke_self(State(engine): State<Arc<Engine>>, Caller(principal): Caller) -> Result<StatusCode, Problem> {
    engine.token_revoke(&principal, principal.token).await?;
    Ok(StatusCode::NO_CONTENT)
}
