//! What authentication towards an endpoint looks like in requests and answers.

use engate_egress::{CertificateFacts, certificate_facts};
use engate_model::{Secret, Timestamp, endpoint::Auth};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::verbs::endpoints::{AuthFields, AuthKind};

/// How the engine shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AuthType {
    /// No header at all.
    None,
    /// User name and password.
    Basic,
    /// The whole value of `Authorization`, no scheme added.
    Authorization,
    /// A header of any other name.
    Header,
    /// `Authorization: Bearer` with a token that the engine gets by OAuth 2 client credentials.
    Oauth2,
    /// A client certificate, shown in the TLS handshake.
    Mtls,
}

impl AuthType {
    const fn kind(self) -> AuthKind {
        match self {
            Self::None => AuthKind::None,
            Self::Basic => AuthKind::Basic,
            Self::Authorization => AuthKind::Authorization,
            Self::Header => AuthKind::Header,
            Self::Oauth2 => AuthKind::Oauth2,
            Self::Mtls => AuthKind::Mtls,
        }
    }
}

/// Authentication towards an endpoint: a type and the fields of that type only. `basic` takes `username` and
/// `password`, `authorization` takes `value`, `header` takes `name` and `value`, `oauth2` takes `token_url`, `client_id`,
/// `client_secret` and perhaps `scope`, `mtls` takes `certificate` and `key`. Secrets are write-only; a change that keeps the
/// type may leave them out to keep them: that of `oauth2` only with the same `token_url`, and any that is sent to the partner
/// only where the URL keeps scheme, host and port, unless the caller may set secrets.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"type": "basic", "username": "ons", "password": "a:b ç"}))]
pub(super) struct EndpointAuthNew {
    /// Exactly one way.
    #[serde(rename = "type")]
    kind: AuthType,
    /// Of `basic`: the user name, without a colon.
    #[schema(max_length = 1024)]
    username: Option<String>,
    /// Of `basic`: any text.
    #[schema(max_length = 4096, write_only)]
    password: Option<String>,
    /// Of `header`: the header's name.
    #[schema(max_length = 255)]
    name: Option<String>,
    /// Of `authorization` and `header`: exactly what is sent.
    #[schema(max_length = 8192, write_only)]
    value: Option<String>,
    /// Of `oauth2`: where tokens are fetched (`grant_type=client_credentials`, form-encoded). Judged as the endpoint's own URL is.
    #[schema(max_length = 2048)]
    token_url: Option<String>,
    /// Of `oauth2`: who asks.
    #[schema(max_length = 1024)]
    client_id: Option<String>,
    /// Of `oauth2`: what shows that it is so.
    #[schema(max_length = 4096, write_only)]
    client_secret: Option<String>,
    /// Of `oauth2`: what is asked for; none: what the server thinks fit.
    #[schema(max_length = 1024)]
    scope: Option<String>,
    /// Of `mtls`: PEM, the engine's certificate first and then up to nine that lead to its authority. It must not have run out.
    /// The endpoint's URL must be https. A change may leave it out to keep it.
    #[schema(max_length = 65536, write_only)]
    certificate: Option<String>,
    /// Of `mtls`: PEM, the private key of the first certificate (PKCS#8, SEC1 or PKCS#1), without a passphrase. A change may
    /// leave it out where the certificate was renewed for the same key.
    #[schema(max_length = 65536, write_only)]
    key: Option<String>,
}

impl EndpointAuthNew {
    pub(super) fn fields(self) -> (AuthKind, AuthFields) {
        let fields = AuthFields {
            username: self.username,
            password: self.password.map(Secret::from),
            name: self.name,
            value: self.value.map(Secret::from),
            token_url: self.token_url,
            client_id: self.client_id,
            client_secret: self.client_secret.map(Secret::from),
            scope: self.scope,
            certificate: self.certificate,
            key: self.key.map(Secret::from),
        };
        (self.kind.kind(), fields)
    }
}

/// Authentication towards an endpoint; secrets are only said to be there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"type": "basic", "username": "ons", "secret_set": true}))]
pub(super) struct EndpointAuth {
    /// Which way.
    #[serde(rename = "type")]
    kind: AuthType,
    /// Of `basic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// Of `header`.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Of `oauth2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_url: Option<String>,
    /// Of `oauth2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// Of `oauth2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// Of `mtls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<ClientCertificate>,
    /// Whether a password, value, client secret or key is kept.
    secret_set: bool,
}

/// A client certificate, as what it says of itself; its key is never answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "subject": "CN=engate.acme.example, O=Acme", "not_before": "2026-01-31T12:00:00.000000Z",
    "not_after": "2027-01-31T12:00:00.000000Z",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
}))]
pub(super) struct ClientCertificate {
    /// Whom it names.
    subject: String,
    /// From when it is good.
    #[schema(value_type = String, format = DateTime)]
    not_before: Timestamp,
    /// Until when it is good; partners refuse it after that.
    #[schema(value_type = String, format = DateTime)]
    not_after: Timestamp,
    /// SHA-256 of its DER form, in hexadecimal, as `openssl x509 -fingerprint -sha256` shows it without the colons.
    sha256: String,
}

impl ClientCertificate {
    /// None where it cannot be read, which no certificate is that was taken.
    fn of(pem: &str) -> Option<Self> {
        let CertificateFacts { subject, not_before, not_after, sha256 } = certificate_facts(pem).ok()?;
        Some(Self { subject, not_before, not_after, sha256 })
    }
}

impl EndpointAuth {
    pub(super) fn of(auth: Auth) -> Self {
        let plain = |kind: AuthType| Self {
            kind,
            username: None,
            name: None,
            token_url: None,
            client_id: None,
            scope: None,
            certificate: None,
            secret_set: kind != AuthType::None,
        };
        match auth {
            Auth::None => plain(AuthType::None),
            Auth::Basic { username, .. } => Self { username: Some(username), ..plain(AuthType::Basic) },
            Auth::Authorization { .. } => plain(AuthType::Authorization),
            Auth::Header { name, .. } => Self { name: Some(name), ..plain(AuthType::Header) },
            // Several headers are a credential profile's, which no endpoint has.
            Auth::Headers { headers } => {
                Self { name: headers.into_iter().next().map(|(name, _)| name), ..plain(AuthType::Header) }
            }
            Auth::Oauth2(client) => Self {
                token_url: Some(client.token_url),
                client_id: Some(client.client_id),
                scope: client.scope,
                ..plain(AuthType::Oauth2)
            },
            Auth::Mtls(identity) => {
                Self { certificate: ClientCertificate::of(&identity.certificate), ..plain(AuthType::Mtls) }
            }
        }
    }
}
