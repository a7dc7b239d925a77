//! Credential profiles: what the engine shows for a plugin that asks for it by name. Their secrets are named here, and
//! nobody but the engine reads them.

use serde::{Deserialize, Serialize};

use crate::{
    endpoint::{Auth, Oauth2},
    secret::Secret,
};

/// A named way to show who the engine is, granted to a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The name by which the plugin asks for it.
    pub name: String,
    /// What is shown.
    #[serde(flatten)]
    pub means: Means,
}

/// What a credential profile shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Means {
    /// One header or several.
    Headers {
        /// Which, with their values.
        headers: Vec<CredentialHeader>,
    },
    /// A token by OAuth 2 client credentials.
    Oauth2 {
        /// Where tokens are given out.
        token_url: String,
        /// Who asks.
        client_id: String,
        /// Name of the secret that shows that it is so.
        client_secret: String,
        /// What is asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
    },
}

/// One header of a credential profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialHeader {
    /// Its name.
    pub name: String,
    /// Name of the secret that is its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Its value, where that is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl Credential {
    /// Names of the secrets in it.
    pub fn secrets(&self) -> impl Iterator<Item = &String> {
        let (headers, client): (&[CredentialHeader], _) = match &self.means {
            Means::Headers { headers } => (headers, None),
            Means::Oauth2 { client_secret, .. } => (&[], Some(client_secret)),
        };
        headers.iter().filter_map(|header| header.secret.as_ref()).chain(client)
    }

    /// What is shown, with the secrets that `secret` knows.
    ///
    /// # Errors
    /// Which secret is not there, in words.
    pub fn auth(&self, secret: impl Fn(&str) -> Option<Secret>) -> Result<Auth, String> {
        let find = |name: &str| {
            secret(name).ok_or_else(|| {
                format!("the credential profile {} wants the secret {name}, which is not there; set it", self.name)
            })
        };
        match &self.means {
            Means::Headers { headers } => {
                let header = |header: &CredentialHeader| {
                    let value = match &header.secret {
                        Some(name) => find(name)?,
                        None => Secret::new(header.value.clone().unwrap_or_default()),
                    };
                    Ok((header.name.clone(), value))
                };
                let headers = headers.iter().map(header).collect::<Result<_, String>>()?;
                Ok(Auth::Headers { headers })
            }
            Means::Oauth2 { token_url, client_id, client_secret, scope } => Ok(Auth::Oauth2(Oauth2 {
                token_url: token_url.clone(),
                client_id: client_id.clone(),
                client_secret: find(client_secret)?,
                scope: scope.clone(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_names_its_secrets_and_is_filled_with_them() {
        let text = r#"{"name":"carol","type":"headers","headers":[{"name":"x-auth-key","secret":"carol-key"},
                       {"name":"x-auth-connectorid","value":"c-1"}]}"#;
        let profile: Credential = serde_json::from_str(text).unwrap();
        assert_eq!(profile.secrets().collect::<Vec<_>>(), ["carol-key"]);
        let auth = profile.auth(|name| Some(Secret::new(format!("<{name}>")))).unwrap();
        let headers =
            [("x-auth-key", "<carol-key>"), ("x-auth-connectorid", "c-1")].map(|(n, v)| (n.to_owned(), Secret::new(v)));
        assert_eq!(auth, Auth::Headers { headers: headers.to_vec() });
        assert!(profile.auth(|_| None).unwrap_err().contains("carol-key"));
        let back: Credential = serde_json::from_str(&serde_json::to_string(&profile).unwrap()).unwrap();
        assert_eq!(back, profile);
    }

    #[test]
    fn a_client_of_oauth2_has_its_secret_by_name() {
        let text = r#"{"name":"rac","type":"oauth2","token_url":"https://a.example/t","client_id":"id","client_secret":"rac-secret"}"#;
        let profile: Credential = serde_json::from_str(text).unwrap();
        assert_eq!(profile.secrets().collect::<Vec<_>>(), ["rac-secret"]);
        let Auth::Oauth2(client) = profile.auth(|_| Some(Secret::new("hush"))).unwrap() else { panic!() };
        assert_eq!((client.client_secret.expose(), client.scope), ("hush", None));
    }
}
