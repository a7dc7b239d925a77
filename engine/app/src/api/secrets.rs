//! `/v1/secrets`: names come out, values go in.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{Secret, Timestamp};
use engate_store::SecretEntry;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    extract::{At, Body, Caller, Params},
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::engine::Engine;

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadSecrets, list)
        .add(__path_put, Permission::ManageSecrets, put)
        .add(__path_delete, Permission::ManageSecrets, delete)
}

/// A secret's value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"value": "a long random text"}))]
struct SecretBody {
    /// Any text; kept encrypted and never answered.
    #[schema(min_length = 1, max_length = 16384, write_only)]
    value: String,
}

/// A secret by name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Secret, example = json!({
    "name": "sintegre-link", "created_at": "2026-01-31T12:00:00.000000Z", "updated_at": "2026-01-31T12:00:00.000000Z"
}))]
struct SecretView {
    /// What plugins ask for it by.
    name: String,
    /// When it was first set.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last set.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl SecretView {
    fn of(entry: SecretEntry) -> Self {
        Self { name: entry.name, created_at: entry.created_at, updated_at: entry.updated_at }
    }
}

/// Lists secrets by name, without values.
#[utoipa::path(get, path = "/v1/secrets", tag = "secrets", operation_id = "secret_list", params(PageParams),
    responses((status = 200, description = "One page, by name", body = Listing<SecretView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<SecretView>>, Problem> {
    let secrets = engine.secret_list(&principal).await?;
    Ok(Json(page.cut(secrets, |entry| entry.name.clone(), SecretView::of)?))
}

/// Sets a secret, new or not. Plugins see the new value from their next call on.
#[utoipa::path(put, path = "/v1/secrets/{name}", tag = "secrets", operation_id = "secret_put",
    params(("name" = String, Path, description = "Lower-case letters, digits and `. - _`")), request_body = SecretBody,
    responses((status = 200, description = "Set", body = SecretView)))]
async fn put(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    Body(body): Body<SecretBody>,
) -> Result<Json<SecretView>, Problem> {
    let entry = engine.secret_put(&principal, &name, Secret::new(body.value)).await?;
    Ok(Json(SecretView::of(entry)))
}

/// Deletes a secret; a plugin it is granted to is refused it from its next call on.
#[utoipa::path(delete, path = "/v1/secrets/{name}", tag = "secrets", operation_id = "secret_delete",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 204, description = "Deleted"), (status = 404, description = "There is none")))]
async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
) -> Result<StatusCode, Problem> {
    engine.secret_delete(&principal, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
