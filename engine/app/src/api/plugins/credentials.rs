//! What credential profiles look like in requests and answers.

use engate_model::credential::{Credential, CredentialHeader, Means};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A credential profile. `headers` sets headers, `oauth2` gets a token by client credentials; secrets are named, never given.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "carol", "type": "headers", "headers": [
    {"name": "x-auth-key", "secret": "carol-key"}, {"name": "x-auth-connectorid", "value": "0a1b2c"}
]}))]
pub(super) struct CredentialProfile {
    /// The name by which the plugin asks for it.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// What is shown.
    #[serde(rename = "type")]
    kind: CredentialKind,
    /// Of `headers`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    headers: Vec<CredentialHeaderProfile>,
    /// Of `oauth2`: where tokens are fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    token_url: Option<String>,
    /// Of `oauth2`: who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    client_id: Option<String>,
    /// Of `oauth2`: the name of the secret that shows that it is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    client_secret: Option<String>,
    /// Of `oauth2`: what is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    scope: Option<String>,
}

/// How a credential profile shows who the engine is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CredentialKind {
    /// Headers.
    Headers,
    /// A token by OAuth 2 client credentials.
    Oauth2,
}

/// A header of a credential profile: with `secret` or with `value`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CredentialHeaderProfile {
    /// Its name.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// The name of the secret that is its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    secret: Option<String>,
    /// Its value, where that is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 8192)]
    value: Option<String>,
}

impl CredentialProfile {
    /// What is missing of its type becomes empty, and is complained of as such.
    pub(super) fn credential(self) -> Credential {
        let header = |header: CredentialHeaderProfile| CredentialHeader {
            name: header.name,
            secret: header.secret,
            value: header.value,
        };
        let means = match self.kind {
            CredentialKind::Headers => Means::Headers { headers: self.headers.into_iter().map(header).collect() },
            CredentialKind::Oauth2 => Means::Oauth2 {
                token_url: self.token_url.unwrap_or_default(),
                client_id: self.client_id.unwrap_or_default(),
                client_secret: self.client_secret.unwrap_or_default(),
                scope: self.scope,
            },
        };
        Credential { name: self.name, means }
    }

    pub(super) fn of(credential: Credential) -> Self {
        let header = |header: CredentialHeader| CredentialHeaderProfile {
            name: header.name,
            secret: header.secret,
            value: header.value,
        };
        let plain = |name: String, kind: CredentialKind| Self {
            name,
            kind,
            headers: Vec::new(),
            token_url: None,
            client_id: None,
            client_secret: None,
            scope: None,
        };
        match credential.means {
            Means::Headers { headers } => Self {
                headers: headers.into_iter().map(header).collect(),
                ..plain(credential.name, CredentialKind::Headers)
            },
            Means::Oauth2 { token_url, client_id, client_secret, scope } => Self {
                token_url: Some(token_url),
                client_id: Some(client_id),
                client_secret: Some(client_secret),
                scope,
                ..plain(credential.name, CredentialKind::Oauth2)
            },
        }
    }
}
