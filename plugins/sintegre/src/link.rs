//! The download link: a JWT that the engine signs and, at `GET /v1/files`, checks.

use engate_sdk::{Context, Problem, encoding, secrets};
use serde::Serialize;

use crate::LINK_SECRET;
use crate::settings::Settings;

/// `{"alg":"HS256","typ":"JWT"}`: the engine takes no other algorithm.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const ISSUER: &str = "engate";
/// A link works at once for a reader whose clock is late by as much.
const CLOCK_SKEW_S: u64 = 60;

/// Names, order and the text "True" are those of the captured links.
#[derive(Serialize)]
struct Claims<'a> {
    #[serde(rename = "URL")]
    path: &'a str,
    username: &'a str,
    #[serde(rename = "nomeProduto")]
    product: &'a str,
    #[serde(rename = "IsFile")]
    is_file: &'a str,
    iss: &'a str,
    aud: &'a str,
    exp: u64,
    nbf: u64,
}

/// A link to a file below `files.root`, for this recipient and from now on. Every attempt mints its own: one that
/// waited a day in a queue would be dead on arrival.
pub(crate) fn mint(path: &str, product: &str, settings: &Settings, context: &Context) -> Result<String, Problem> {
    let base = settings.link.base.as_deref().ok_or_else(|| {
        let message = "the setting `link.base` is missing: give the public address of the engine's GET /v1/files";
        Problem::new("missing_link_base", message)
    })?;
    let now_s = context.attempt.now / 1000;
    let claims = Claims {
        path,
        username: settings.username.as_deref().unwrap_or(&context.endpoint.integrator),
        product,
        is_file: "True",
        iss: ISSUER,
        aud: &context.delivery.tenant,
        exp: now_s.saturating_add(settings.link.ttl_s),
        nbf: now_s.saturating_sub(CLOCK_SKEW_S),
    };
    let joint = if base.contains('?') { '&' } else { '?' };
    Ok(format!("{base}{joint}token={}", sign(&claims)?))
}

fn sign(claims: &Claims<'_>) -> Result<String, Problem> {
    let claims = serde_json::to_string(claims)
        .map_err(|error| Problem::new("invalid_link", format!("the link's claims have no JSON form: {error}")))?;
    let mut token = format!("{}.{}", encoding::base64url(HEADER.as_bytes()), encoding::base64url(claims.as_bytes()));
    let signature = secrets::hmac_sha256(LINK_SECRET, token.as_bytes())?;
    token.push('.');
    token.push_str(&encoding::base64url(&signature));
    Ok(token)
}
