//! The one way in which the engine shows who it is to an endpoint, read from flat fields: exactly one type, and
//! the fields of that type only (seeds O8 to O12).

use engate_model::{
    Invalid, Secret,
    endpoint::{Auth, ClientIdentity, Oauth2},
    invalid::Complaints,
};

/// Every field that some type of authentication takes, beside `type`.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuthFields {
    /// Of `basic`.
    pub(crate) username: Option<String>,
    /// Of `basic`; absent in a change: the stored one stays.
    pub(crate) password: Option<Secret>,
    /// Of `header`.
    pub(crate) name: Option<String>,
    /// Of `authorization` and `header`; absent in a change: the stored one stays.
    pub(crate) value: Option<Secret>,
    /// Of `oauth2`.
    pub(crate) token_url: Option<String>,
    /// Of `oauth2`.
    pub(crate) client_id: Option<String>,
    /// Of `oauth2`; absent in a change: the stored one stays.
    pub(crate) client_secret: Option<Secret>,
    /// Of `oauth2`; absent in a change of anything else: the stored one stays.
    pub(crate) scope: Option<String>,
    /// Of `mtls`: PEM; absent in a change: the stored one stays.
    pub(crate) certificate: Option<String>,
    /// Of `mtls`: PEM; absent in a change: the stored one stays.
    pub(crate) key: Option<Secret>,
}

/// A type of authentication, as requests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AuthKind {
    /// No header at all.
    #[default]
    None,
    /// User name and password.
    Basic,
    /// The whole value of `Authorization`.
    Authorization,
    /// A header of any other name.
    Header,
    /// A token by OAuth 2 client credentials.
    Oauth2,
    /// A client certificate.
    Mtls,
}

impl AuthKind {
    /// The word in requests and answers.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "basic",
            Self::Authorization => "authorization",
            Self::Header => "header",
            Self::Oauth2 => "oauth2",
            Self::Mtls => "mtls",
        }
    }

    const fn takes(self, field: &str) -> bool {
        matches!(
            (self, field.as_bytes()),
            (Self::Basic, b"username" | b"password")
                | (Self::Header, b"name")
                | (Self::Authorization | Self::Header, b"value")
                | (Self::Oauth2, b"token_url" | b"client_id" | b"client_secret" | b"scope")
                | (Self::Mtls, b"certificate" | b"key")
        )
    }
}

/// What `fields` say for `kind`. `stored` is what the endpoint has: where its type is the same, a secret or name
/// that is not given is kept, so that a form can be sent back without the password it was never shown.
///
/// # Errors
/// Every field to blame, below `auth`.
pub(crate) fn auth_of(kind: AuthKind, fields: AuthFields, stored: Option<&Auth>) -> Result<Auth, Invalid> {
    let mut complaints = Complaints::default();
    refuse_others(kind, &fields, &mut complaints);
    let auth = match kind {
        AuthKind::None => Auth::None,
        AuthKind::Mtls => {
            let (certificate, key) = match stored {
                Some(Auth::Mtls(stored)) => (Some(&stored.certificate), Some(&stored.key)),
                _ => (None, None),
            };
            // Space around PEM is the file's it came from, and would make another identity of the same.
            let given = fields.certificate.map(|pem| pem.trim().to_owned());
            let given_key = fields.key.map(|pem| Secret::new(pem.expose().trim()));
            Auth::Mtls(ClientIdentity {
                certificate: required("auth.certificate", given, certificate, &mut complaints),
                key: required("auth.key", given_key, key, &mut complaints),
            })
        }
        AuthKind::Oauth2 => Auth::Oauth2(client(fields, stored, &mut complaints)),
        AuthKind::Basic => {
            let (username, password) = match stored {
                Some(Auth::Basic { username, password }) => (Some(username), Some(password)),
                _ => (None, None),
            };
            Auth::Basic {
                username: required("auth.username", fields.username, username, &mut complaints),
                password: required("auth.password", fields.password, password, &mut complaints),
            }
        }
        AuthKind::Authorization => {
            let value = if let Some(Auth::Authorization { value }) = stored { Some(value) } else { None };
            Auth::Authorization { value: required("auth.value", fields.value, value, &mut complaints) }
        }
        AuthKind::Header => {
            let (name, value) = match stored {
                Some(Auth::Header { name, value }) => (Some(name), Some(value)),
                _ => (None, None),
            };
            Auth::Header {
                name: required("auth.name", fields.name, name, &mut complaints),
                value: required("auth.value", fields.value, value, &mut complaints),
            }
        }
    };
    complaints.finish(auth)
}

/// A stored secret goes to no other token URL: whoever may change an endpoint could have it sent to a place of his own.
fn client(fields: AuthFields, stored: Option<&Auth>, complaints: &mut Complaints) -> Oauth2 {
    let stored = if let Some(Auth::Oauth2(stored)) = stored { Some(stored) } else { None };
    let token_url = required("auth.token_url", fields.token_url, stored.map(|client| &client.token_url), complaints);
    let kept = stored.filter(|client| client.token_url == token_url);
    Oauth2 {
        client_id: required("auth.client_id", fields.client_id, stored.map(|client| &client.client_id), complaints),
        client_secret: required(
            "auth.client_secret",
            fields.client_secret,
            kept.map(|client| &client.client_secret),
            complaints,
        ),
        scope: fields.scope.or_else(|| stored.and_then(|client| client.scope.clone())),
        token_url,
    }
}

fn refuse_others(kind: AuthKind, fields: &AuthFields, complaints: &mut Complaints) {
    let given = [
        ("username", fields.username.is_some()),
        ("password", fields.password.is_some()),
        ("name", fields.name.is_some()),
        ("value", fields.value.is_some()),
        ("token_url", fields.token_url.is_some()),
        ("client_id", fields.client_id.is_some()),
        ("client_secret", fields.client_secret.is_some()),
        ("scope", fields.scope.is_some()),
        ("certificate", fields.certificate.is_some()),
        ("key", fields.key.is_some()),
    ];
    let own = given.into_iter().filter(|(_, given)| *given).map(|(field, _)| field);
    for field in own.filter(|field| !kind.takes(field)) {
        let message =
            format!("does not belong to type {}; leave it out, or choose the type it belongs to", kind.code());
        complaints.add(format!("auth.{field}"), message);
    }
}

fn required<T: Clone + Default>(field: &str, given: Option<T>, stored: Option<&T>, complaints: &mut Complaints) -> T {
    given.or_else(|| stored.cloned()).unwrap_or_else(|| {
        complaints.add(field, "is missing; this type of authentication needs it");
        T::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(username: Option<&str>, password: Option<&str>, name: Option<&str>, value: Option<&str>) -> AuthFields {
        AuthFields {
            username: username.map(str::to_owned),
            password: password.map(Secret::new),
            name: name.map(str::to_owned),
            value: value.map(Secret::new),
            ..AuthFields::default()
        }
    }

    fn blamed(result: Result<Auth, Invalid>) -> Vec<String> {
        result.unwrap_err().0.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn each_type_alone_is_taken() {
        let basic = auth_of(AuthKind::Basic, fields(Some("ons"), Some("a:b ç"), None, None), None).unwrap();
        assert_eq!(basic, Auth::Basic { username: "ons".into(), password: Secret::new("a:b ç") });
        let value = auth_of(AuthKind::Authorization, fields(None, None, None, Some("ninguemsabe")), None).unwrap();
        assert_eq!(value, Auth::Authorization { value: Secret::new("ninguemsabe") });
        let header = auth_of(AuthKind::Header, fields(None, None, Some("x-key"), Some("k")), None).unwrap();
        assert_eq!(header, Auth::Header { name: "x-key".into(), value: Secret::new("k") });
        assert_eq!(auth_of(AuthKind::None, AuthFields::default(), None), Ok(Auth::None));
    }

    #[test]
    fn fields_of_another_type_are_named() {
        let both = fields(Some("ons"), Some("p"), None, Some("key"));
        assert_eq!(blamed(auth_of(AuthKind::Basic, both.clone(), None)), ["auth.value"]);
        assert_eq!(blamed(auth_of(AuthKind::Authorization, both, None)), ["auth.username", "auth.password"]);
        assert_eq!(blamed(auth_of(AuthKind::None, fields(None, None, None, Some("k")), None)), ["auth.value"]);
        let foreign = AuthFields { certificate: Some("c".into()), ..fields(Some("u"), Some("p"), None, None) };
        assert_eq!(blamed(auth_of(AuthKind::Basic, foreign, None)), ["auth.certificate"]);
        let foreign = AuthFields { token_url: Some("https://a.example".into()), ..AuthFields::default() };
        assert_eq!(blamed(auth_of(AuthKind::None, foreign, None)), ["auth.token_url"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(blamed(auth_of(AuthKind::Basic, AuthFields::default(), None)), ["auth.username", "auth.password"]);
        let missing = blamed(auth_of(AuthKind::Oauth2, AuthFields::default(), None));
        assert_eq!(missing, ["auth.token_url", "auth.client_id", "auth.client_secret"]);
        let missing = blamed(auth_of(AuthKind::Mtls, AuthFields::default(), None));
        assert_eq!(missing, ["auth.certificate", "auth.key"]);
    }

    #[test]
    fn a_renewed_certificate_may_come_without_its_key() {
        let given = |certificate: &str, key: Option<&str>| AuthFields {
            certificate: Some(certificate.to_owned()),
            key: key.map(Secret::new),
            ..AuthFields::default()
        };
        let stored = auth_of(AuthKind::Mtls, given("one", Some("hush")), None).unwrap();
        let renewed = auth_of(AuthKind::Mtls, given("two", None), Some(&stored)).unwrap();
        let expected = ClientIdentity { certificate: "two".into(), key: Secret::new("hush") };
        assert_eq!(renewed, Auth::Mtls(expected));
    }

    #[test]
    fn a_stored_client_secret_stays_with_its_token_url() {
        let given = |url: &str, secret: Option<&str>| AuthFields {
            token_url: Some(url.to_owned()),
            client_id: Some("id".to_owned()),
            client_secret: secret.map(Secret::new),
            scope: Some("all".to_owned()),
            ..AuthFields::default()
        };
        let stored = auth_of(AuthKind::Oauth2, given("https://a.example/token", Some("hush")), None).unwrap();
        let Auth::Oauth2(client) = &stored else { panic!() };
        assert_eq!((client.scope.as_deref(), client.client_secret.expose()), (Some("all"), "hush"));
        let same = auth_of(AuthKind::Oauth2, given("https://a.example/token", None), Some(&stored)).unwrap();
        assert_eq!(same, stored);
        let elsewhere = auth_of(AuthKind::Oauth2, given("https://b.example/token", None), Some(&stored));
        assert_eq!(blamed(elsewhere), ["auth.client_secret"]);
    }

    #[test]
    fn a_change_keeps_the_stored_secret_of_the_same_type_only() {
        let stored = Auth::Basic { username: "old".into(), password: Secret::new("kept") };
        let renamed = auth_of(AuthKind::Basic, fields(Some("new"), None, None, None), Some(&stored)).unwrap();
        assert_eq!(renamed, Auth::Basic { username: "new".into(), password: Secret::new("kept") });
        assert_eq!(blamed(auth_of(AuthKind::Authorization, AuthFields::default(), Some(&stored))), ["auth.value"]);
    }
}
