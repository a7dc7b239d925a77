//! How the engine shows who it is.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::{
    Invalid, Secret,
    endpoint::{Auth, Oauth2},
    invalid::Complaints,
};
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};

use crate::{
    headers::{check_name, check_value},
    identity,
};

/// Longest client id or scope, in bytes.
const CLIENT_BYTES_MAX: usize = 1_024;

/// The auth header of a request.
pub(crate) struct AuthHeader {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
}

/// Checks auth parameters when an endpoint is registered, so that no send can fail on them.
///
/// # Errors
/// Every field at fault (`auth.username`, `auth.name`, `auth.value`): a user name that is empty or holds a colon
/// (RFC 7617), a header name that is illegal or the engine's own, a value that HTTP would not carry exactly as given, a
/// client certificate or key that is none, or that do not belong together. No message repeats a secret. Whether a
/// certificate has run out is for whoever has a clock: [`certificate_facts`](crate::certificate_facts).
pub fn check_auth(auth: &Auth) -> Result<(), Invalid> {
    let mut complaints = Complaints::default();
    match auth {
        Auth::None => {}
        Auth::Basic { username, password } => {
            if username.is_empty() && password.expose().is_empty() {
                complaints.add("auth.username", "must not be empty where the password is too");
            }
            if username.contains(':') {
                complaints.add("auth.username", "must not contain a colon: the receiver would split it there");
            }
            for (field, text) in [("auth.username", username.as_str()), ("auth.password", password.expose())] {
                if text.chars().any(char::is_control) {
                    complaints.add(field, "must not contain control characters");
                }
            }
        }
        Auth::Authorization { value } => {
            complain(&mut complaints, "auth.value", check_secret(value.expose()));
        }
        Auth::Header { name, value } => {
            complain(&mut complaints, "auth.name", check_name(name));
            complain(&mut complaints, "auth.value", check_secret(value.expose()));
        }
        Auth::Oauth2(client) => check_client(client, &mut complaints),
        Auth::Mtls(identity) => drop(complaints.take(identity::read(identity))),
        Auth::Headers { headers } => {
            for (name, value) in headers {
                complain(&mut complaints, &format!("auth.headers.{name}"), check_name(name));
                complain(&mut complaints, &format!("auth.headers.{name}"), check_secret(value.expose()));
            }
        }
    }
    complaints.finish(())
}

/// Where the token URL leads is judged apart, as that of the endpoint is.
fn check_client(client: &Oauth2, complaints: &mut Complaints) {
    let texts = [
        ("auth.client_id", Some(client.client_id.as_str())),
        ("auth.client_secret", Some(client.client_secret.expose())),
        ("auth.scope", client.scope.as_deref()),
    ];
    for (field, text) in texts {
        let Some(text) = text else { continue };
        if text.is_empty() {
            complaints.add(field, "must not be empty");
        }
        if field != "auth.client_secret" && text.len() > CLIENT_BYTES_MAX {
            complaints.add(field, format!("at most {CLIENT_BYTES_MAX} bytes"));
        }
        if text.chars().any(char::is_control) {
            complaints.add(field, "must not contain control characters");
        }
    }
}

fn complain(complaints: &mut Complaints, field: &str, result: Result<(), String>) {
    if let Err(message) = result {
        complaints.add(field, message);
    }
}

fn check_secret(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("must not be empty; use auth type none for no header".to_owned());
    }
    check_value(value)
}

/// The headers that `auth` asks for; none for [`Auth::None`], which sends no header at all. `token` is that of
/// [`Auth::Oauth2`].
///
/// # Errors
/// A sentence without the secret, where [`check_auth`] would have refused.
pub(crate) fn auth_headers(auth: &Auth, token: Option<&Secret>) -> Result<Vec<AuthHeader>, String> {
    // Shown in the handshake, and read once for all its connections.
    if matches!(auth, Auth::Mtls(_)) {
        return Ok(Vec::new());
    }
    check_auth(auth).map_err(|invalid| invalid.to_string())?;
    let one = |name: HeaderName, text: &str| {
        let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| "auth.value: illegal".to_owned())?;
        value.set_sensitive(true);
        Ok(AuthHeader { name, value })
    };
    let named = |name: &str| HeaderName::from_bytes(name.as_bytes()).map_err(|_| "auth.name: illegal".to_owned());
    match auth {
        Auth::None | Auth::Mtls(_) => Ok(Vec::new()),
        Auth::Basic { username, password } => {
            let pair = format!("{username}:{}", password.expose());
            Ok(vec![one(AUTHORIZATION, &format!("Basic {}", STANDARD.encode(pair)))?])
        }
        Auth::Authorization { value } => Ok(vec![one(AUTHORIZATION, value.expose())?]),
        Auth::Header { name, value } => Ok(vec![one(named(name)?, value.expose())?]),
        Auth::Oauth2(_) => {
            let token = token.ok_or_else(|| "auth: there is no token".to_owned())?;
            Ok(vec![one(AUTHORIZATION, &format!("Bearer {}", token.expose()))?])
        }
        Auth::Headers { headers } => headers.iter().map(|(name, value)| one(named(name)?, value.expose())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use engate_model::Secret;

    use super::*;

    fn text(auth: &Auth) -> Option<(String, Vec<u8>)> {
        auth_headers(auth, None)
            .unwrap()
            .into_iter()
            .next()
            .map(|header| (header.name.to_string(), header.value.as_bytes().to_vec()))
    }

    fn fields(auth: &Auth) -> Vec<String> {
        check_auth(auth).map_or_else(|invalid| invalid.0.into_iter().map(|error| error.field).collect(), |()| vec![])
    }

    #[test]
    fn o09_basic_is_base64_of_the_utf8_pair() {
        let auth = Auth::Basic { username: "ons".to_owned(), password: Secret::new("a:b ç") };
        let (name, value) = text(&auth).unwrap();
        assert_eq!(name, "authorization");
        let encoded = String::from_utf8(value).unwrap();
        assert_eq!(STANDARD.decode(encoded.strip_prefix("Basic ").unwrap()).unwrap(), "ons:a:b ç".as_bytes());
        let colon = Auth::Basic { username: "o:ns".to_owned(), password: Secret::new("x") };
        assert_eq!(fields(&colon), ["auth.username"]);
    }

    #[test]
    fn o10_the_token_is_the_whole_value_and_no_scheme_is_added() {
        for value in ["ninguemsabe", "Bearer x", "çã"] {
            let auth = Auth::Authorization { value: Secret::new(value) };
            assert_eq!(text(&auth), Some(("authorization".to_owned(), value.as_bytes().to_vec())));
        }
    }

    #[test]
    fn o11_none_is_no_header() {
        assert_eq!(text(&Auth::None), None);
    }

    #[test]
    fn what_http_cannot_carry_is_refused_at_registration_by_field() {
        for value in ["", "a\r\nX: y", "a\0", "a\n", " a", "a ", "\u{7f}"] {
            let secret = Auth::Authorization { value: Secret::new(value) };
            assert_eq!(fields(&secret), ["auth.value"], "{value:?}");
        }
        for name in ["", "a b", "x:y", "ü", "Host", "content-length", "Transfer-Encoding", "webhook-id", "x\r\ny"] {
            let named = Auth::Header { name: name.to_owned(), value: Secret::new("v") };
            assert_eq!(fields(&named), ["auth.name"], "{name:?}");
        }
        let both = Auth::Header { name: "a b".to_owned(), value: Secret::new("hush\r\nhush") };
        assert_eq!(fields(&both), ["auth.name", "auth.value"]);
        assert!(!check_auth(&both).unwrap_err().to_string().contains("hush"));
        let client = |id: &str, secret: &str, scope: &str| {
            let (client_id, client_secret) = (id.to_owned(), Secret::new(secret));
            let scope = Some(scope.to_owned());
            Auth::Oauth2(Oauth2 { token_url: "https://a.example/t".to_owned(), client_id, client_secret, scope })
        };
        assert_eq!(fields(&client("a", "b", "c")), Vec::<String>::new());
        assert_eq!(fields(&client("", "", "a\nb")), ["auth.client_id", "auth.client_secret", "auth.scope"]);
        let headers = vec![("x-a".to_owned(), Secret::new("1")), ("host".to_owned(), Secret::new("2"))];
        assert_eq!(fields(&Auth::Headers { headers }), ["auth.headers.host"]);
        let authorization = Auth::Header { name: "Authorization".to_owned(), value: Secret::new("v") };
        assert_eq!(fields(&authorization), Vec::<String>::new());
    }
}
