//! Who may call Carol: a connector with its key, or a user with a token; and where both come from.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    routing::{delete, get, post},
};
use http::{HeaderMap, header::AUTHORIZATION};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Shared,
    answers::Refusal,
    fresh_id, now_ms,
    store::clients::{Kind, Token},
};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/{version}/oauth2/token", post(user_token))
        .route("/api/{version}/apiKey/issue", post(key_issue))
        .route("/api/{version}/apiKey/details", get(key_details))
        .route("/api/{version}/apiKey/revoke", delete(key_revoke))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The token of `Authorization`, bare or behind `Bearer`: both are in use.
fn token_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    Some(value.strip_prefix("Bearer ").unwrap_or(value).trim())
}

/// A call to Carol: answers the connector it is for.
pub(crate) async fn carol(shared: &Shared, headers: &HeaderMap, asked: Option<&str>) -> Result<String, Refusal> {
    let (id, key) = (header(headers, "x-auth-connectorid"), header(headers, "x-auth-key"));
    if let (Some(id), Some(key)) = (id, key) {
        if !shared.store.connector_has(id, key).await? {
            return Err(Refusal::unauthorized("bad_connector_key", "the connector's key is not valid"));
        }
        if asked.is_some_and(|asked| asked != id) {
            let message = "connectorId names another connector than X-Auth-ConnectorId";
            return Err(Refusal::bad("other_connector", message).about("connectorId"));
        }
        return Ok(id.to_owned());
    }
    let Some(token) = token_of(headers) else {
        let message = "X-Auth-Key with X-Auth-ConnectorId, or a user's token in Authorization, is needed";
        return Err(Refusal::unauthorized("no_credentials", message));
    };
    known(shared, Kind::User, token).await?;
    let Some(asked) = asked else {
        return Err(Refusal::bad("no_connector", "connectorId is needed with a user's token").about("connectorId"));
    };
    Ok(asked.to_owned())
}

/// A call with a token of RAC's.
pub(crate) async fn rac(shared: &Shared, headers: &HeaderMap) -> Result<Token, Refusal> {
    let value = header(headers, "authorization").and_then(|value| value.strip_prefix("Bearer "));
    let Some(token) = value else {
        return Err(Refusal::unauthorized("no_credentials", "Authorization: Bearer with a token of RAC is needed"));
    };
    known(shared, Kind::Rac, token).await
}

async fn known(shared: &Shared, kind: Kind, token: &str) -> Result<Token, Refusal> {
    match shared.store.token_find(kind, token).await? {
        None => Err(Refusal::unauthorized("bad_token", "the token is not valid")),
        Some(token) if token.is_expired => Err(Refusal::unauthorized("expired_token", "the token has expired")),
        Some(token) => Ok(token),
    }
}

/// Carol's own tokens are for people: its users are the clients of RAC here, under their id and secret.
async fn user_token(State(shared): crate::State, body: Bytes) -> Result<Json<Value>, Refusal> {
    let fields: HashMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let (owner, tenant) = match field("grant_type") {
        "password" => match shared.store.client_tenant(field("username"), field("password")).await? {
            Some(tenant) => (field("username").to_owned(), tenant),
            None => return Err(Refusal::unauthorized("bad_password", "user or password is wrong")),
        },
        "refresh_token" => {
            let token = known(&shared, Kind::Refresh, field("refresh_token")).await?;
            (token.owner, token.tenant)
        }
        _ => {
            let message = "grant_type is password (with username, password) or refresh_token (with refresh_token)";
            return Err(Refusal::bad("bad_grant", message).about("grant_type"));
        }
    };
    let ttl_s = shared.options.token_ttl_s;
    let access = shared.store.token_issue(Kind::User, &owner, &tenant, ttl_s).await?;
    let refresh = shared.store.token_issue(Kind::Refresh, &owner, &tenant, ttl_s.saturating_mul(24)).await?;
    Ok(Json(json!({
        "access_token": access, "refresh_token": refresh, "expires_in": ttl_s, "timeIssuedInMillis": now_ms(),
        "token_type": "Bearer",
    })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    connector_id: Option<String>,
    api_key: Option<String>,
}

async fn key_issue(
    State(shared): crate::State,
    headers: HeaderMap,
    Query(key): Query<Key>,
) -> Result<Json<Value>, Refusal> {
    let token = token_of(&headers).unwrap_or_default();
    known(&shared, Kind::User, token).await?;
    let (id, value) = (key.connector_id.unwrap_or_else(fresh_id), fresh_id());
    shared.store.connector_put(&id, &value).await?;
    Ok(Json(json!({"X-Auth-Key": value, "X-Auth-ConnectorId": id})))
}

async fn key_details(
    State(shared): crate::State,
    Path(_version): Path<String>,
    Query(key): Query<Key>,
) -> Result<Json<Value>, Refusal> {
    let (id, value) = (key.connector_id.unwrap_or_default(), key.api_key.unwrap_or_default());
    if !shared.store.connector_has(&id, &value).await? {
        return Err(Refusal::unauthorized("bad_connector_key", "the connector's key is not valid"));
    }
    Ok(Json(json!({"connectorId": id, "active": true})))
}

async fn key_revoke(
    State(shared): crate::State,
    headers: HeaderMap,
    Query(key): Query<Key>,
) -> Result<Json<Value>, Refusal> {
    known(&shared, Kind::User, token_of(&headers).unwrap_or_default()).await?;
    let (id, value) = (key.connector_id.unwrap_or_default(), key.api_key.unwrap_or_default());
    if !shared.store.connector_revoke(&id, &value).await? {
        return Err(Refusal::new(http::StatusCode::NOT_FOUND, "bad_connector_key", "there is no such key"));
    }
    Ok(Json(json!({"success": true})))
}
