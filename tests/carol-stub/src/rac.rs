//! RAC: `client_credentials` for a token, and `{"error": ...}` for anything else.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::post,
};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use crate::{Shared, answers::Reason, store::clients::Kind};

/// The one scope that is known to be asked for.
const SCOPE: &str = "authorization_api";

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/totvs.rac/connect/token", post(token))
        // The same service at another address, for a registry that moves it.
        .route("/moved/totvs.rac/connect/token", post(token))
}

fn refused(error: &'static str) -> Response {
    let mut response = (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    response.extensions_mut().insert(Reason(error));
    response
}

async fn token(State(shared): crate::State, headers: HeaderMap, body: Bytes) -> Response {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        return refused("invalid_request");
    }
    let fields: HashMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    match field("grant_type") {
        "client_credentials" => {}
        "" => return refused("invalid_request"),
        _ => return refused("unsupported_grant_type"),
    }
    let (id, secret) = (field("client_id"), field("client_secret"));
    let tenant = match shared.store.client_tenant(id, secret).await {
        Ok(Some(tenant)) => tenant,
        Ok(None) => return refused("invalid_client"),
        Err(error) => return crate::answers::Refusal::from(error).into_response(),
    };
    if !matches!(field("scope"), "" | SCOPE) {
        return refused("invalid_scope");
    }
    let ttl_s = shared.options.token_ttl_s;
    match shared.store.token_issue(Kind::Rac, id, &tenant, ttl_s).await {
        Ok(token) => Json(json!({
            "access_token": token, "expires_in": ttl_s, "token_type": "Bearer", "scope": SCOPE,
        }))
        .into_response(),
        Err(error) => crate::answers::Refusal::from(error).into_response(),
    }
}
