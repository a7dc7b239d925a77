//! What a plugin may do, and the settings of its installation. A manifest asks; only a grant gives.

use engate_egress::check_auth;
use engate_host::check_host_pattern;
use engate_model::{
    Invalid, Secret, TenantId,
    credential::{Credential, Means},
    invalid::Complaints,
    plugin::{Grants, Manifest},
    token::Principal,
};
use engate_store::{PluginSettings, StoreError};
use serde_json::Value;

use super::fit::{Planned, check_part, refuse};
use crate::{
    engine::Engine,
    verbs::{VerbError, demand::Demand, integrators::check_config, secrets::check_secret_name},
};

/// Hosts one plugin may be granted.
pub(crate) const HOSTS_MAX: usize = 64;
/// Secrets one plugin may be granted.
pub(crate) const SECRETS_MAX: usize = 64;
/// Credential profiles one plugin may be granted.
pub(crate) const CREDENTIALS_MAX: usize = 16;
/// Longest name of a credential profile, in bytes.
const CREDENTIAL_NAME_BYTES_MAX: usize = 64;

/// What a plugin may do, beside what it asks for.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    /// What it may do.
    pub(crate) grants: Grants,
    /// What the current version asks for.
    pub(crate) manifest: Option<Manifest>,
    /// Granted secrets that are not there yet.
    pub(crate) secrets_missing: Vec<String>,
    /// Where its requests go and may carry secrets, though that was not granted.
    pub(crate) addresses_not_granted: Vec<String>,
}

impl Engine {
    /// What a plugin may do.
    pub(crate) async fn plugin_grants_get(&self, principal: &Principal, name: &str) -> Result<Granted, VerbError> {
        let plugin = self.plugin_get(principal, name).await?;
        Ok(Granted {
            grants: plugin.settings.grants,
            manifest: plugin.current.manifest,
            secrets_missing: plugin.secrets_missing,
            addresses_not_granted: plugin.addresses_not_granted,
        })
    }

    /// Sets what a plugin may do, all of it. Secrets need not be there yet: they are found when a call asks.
    pub(crate) async fn plugin_grants_put(
        &self,
        principal: &Principal,
        name: &str,
        grants: Grants,
        demand: &Demand<Granted>,
    ) -> Result<Granted, VerbError> {
        let grants = checked(grants)?;
        self.check_token_urls(&grants).await?;
        demand.settle(|| Box::pin(self.grants_change(principal, name, grants.clone(), demand))).await
    }

    async fn grants_change(
        &self,
        principal: &Principal,
        name: &str,
        grants: Grants,
        demand: &Demand<Granted>,
    ) -> Result<Granted, VerbError> {
        let plugin = self.plugin_get(principal, name).await?;
        let before = plugin.settings;
        let granted = Granted {
            grants: before.grants.clone(),
            manifest: plugin.current.manifest,
            secrets_missing: plugin.secrets_missing,
            addresses_not_granted: plugin.addresses_not_granted,
        };
        demand.check(&granted)?;
        let reveal_since = grants.revealing_since(&before.grants, self.now());
        let settings = PluginSettings { grants: Grants { reveal_since, ..grants }, ..before.clone() };
        self.settings_store(principal, name, &before, &settings).await?;
        let secrets_missing = self.secrets_missing(principal.tenant, &settings.grants).await?;
        let addresses_not_granted = self.addresses_not_granted(principal.tenant, name, &settings.grants).await?;
        Ok(Granted { grants: settings.grants, secrets_missing, addresses_not_granted, ..granted })
    }

    /// Judges where profiles fetch their tokens, as the URL of an endpoint is judged; it is again at every fetch.
    async fn check_token_urls(&self, grants: &Grants) -> Result<(), VerbError> {
        let mut complaints = Complaints::default();
        for (n, credential) in grants.credentials.iter().enumerate() {
            if let Means::Oauth2 { token_url, .. } = &credential.means {
                self.check_url_of(&format!("credentials[{n}].token_url"), token_url, &mut complaints).await;
            }
        }
        Ok(complaints.finish(())?)
    }

    /// Writes an installation's settings where they differ and still are as `before`.
    pub(super) async fn settings_store(
        &self,
        principal: &Principal,
        name: &str,
        before: &PluginSettings,
        settings: &PluginSettings,
    ) -> Result<(), VerbError> {
        if settings != before {
            self.store.plugin_settings_put(&self.actor(principal), principal.tenant, name, before, settings).await?;
            self.views.follow_change(&self.store, principal.tenant).await;
        }
        Ok(())
    }

    /// Sets the configuration of a plugin's installation, the lowest of the three layers; none takes it away.
    pub(crate) async fn plugin_config_put(
        &self,
        principal: &Principal,
        name: &str,
        config: Option<Value>,
        demand: &Demand<Option<Value>>,
    ) -> Result<Option<Value>, VerbError> {
        check_config(config.as_ref())?;
        demand.settle(|| Box::pin(self.config_change(principal, name, config.clone(), demand))).await
    }

    async fn config_change(
        &self,
        principal: &Principal,
        name: &str,
        config: Option<Value>,
        demand: &Demand<Option<Value>>,
    ) -> Result<Option<Value>, VerbError> {
        let plugin = self.plugin_get(principal, name).await?;
        demand.check(&plugin.settings.config)?;
        if let (Some(config), Some(manifest)) = (&config, &plugin.current.manifest) {
            check_part(&manifest.config_schema, config)?;
        }
        let misfits = self.misfits(principal.tenant, Planned::Installation(name, config.as_ref())).await?;
        refuse("config", &misfits)?;
        let settings = PluginSettings { config, ..plugin.settings.clone() };
        self.settings_store(principal, name, &plugin.settings, &settings).await?;
        Ok(settings.config)
    }

    /// Granted secrets that the tenant does not have.
    pub(super) async fn secrets_missing(&self, tenant: TenantId, grants: &Grants) -> Result<Vec<String>, StoreError> {
        if grants.secrets.is_empty() && grants.reveal.is_empty() && grants.credentials.is_empty() {
            return Ok(Vec::new());
        }
        let there = self.store.secret_list(tenant).await?;
        let of_profiles = grants.credentials.iter().flat_map(Credential::secrets);
        let granted = grants.secrets.iter().chain(&grants.reveal).chain(of_profiles);
        let mut missing: Vec<_> =
            granted.filter(|name| !there.iter().any(|entry| entry.name == **name)).cloned().collect();
        missing.sort_unstable();
        missing.dedup();
        Ok(missing)
    }
}

/// Grants with well-formed names, each once.
fn checked(mut grants: Grants) -> Result<Grants, Invalid> {
    let mut complaints = Complaints::default();
    if grants.hosts.len() > HOSTS_MAX {
        complaints.add("hosts", format!("at most {HOSTS_MAX} hosts"));
    }
    for (n, host) in grants.hosts.iter().enumerate() {
        complaints.take(check_host_pattern(host).map_err(|message| Invalid::field(format!("hosts[{n}]"), message)));
    }
    for (field, names) in [("secrets", &grants.secrets), ("reveal", &grants.reveal)] {
        if names.len() > SECRETS_MAX {
            complaints.add(field, format!("at most {SECRETS_MAX} names"));
        }
        for (n, name) in names.iter().enumerate() {
            complaints.take(check_secret_name(&format!("{field}[{n}]"), name));
        }
    }
    credentials(&grants.credentials, &mut complaints);
    for names in [&mut grants.hosts, &mut grants.secrets, &mut grants.reveal] {
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
    }
    complaints.finish(grants)
}

/// Profiles that can be applied, each name once.
fn credentials(credentials: &[Credential], complaints: &mut Complaints) {
    if credentials.len() > CREDENTIALS_MAX {
        complaints.add("credentials", format!("at most {CREDENTIALS_MAX} profiles"));
    }
    for (n, credential) in credentials.iter().enumerate() {
        let place = format!("credentials[{n}]");
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
        if credential.name.is_empty()
            || credential.name.len() > CREDENTIAL_NAME_BYTES_MAX
            || !credential.name.bytes().all(plain)
        {
            complaints.add(format!("{place}.name"), "must be 1 to 64 letters, digits and - _ . /");
        }
        if credentials.iter().take(n).any(|earlier| earlier.name == credential.name) {
            complaints.add(format!("{place}.name"), "is there twice");
        }
        for secret in credential.secrets() {
            complaints.take(check_secret_name(&format!("{place}.secret"), secret));
        }
        if let Means::Headers { headers } = &credential.means {
            if headers.is_empty() {
                complaints.add(format!("{place}.headers"), "must have a header");
            }
            for (h, header) in headers.iter().enumerate() {
                if header.secret.is_some() == header.value.is_some() {
                    complaints.add(
                        format!("{place}.headers[{h}]"),
                        "must have either secret, the name of one, or value, which anyone may see",
                    );
                }
            }
        }
        // A stand-in for the secrets: what HTTP cannot carry of the rest is found now.
        if let Ok(Err(Invalid(errors))) =
            credential.auth(|_| Some(Secret::new("stand-in"))).map(|auth| check_auth(&auth))
        {
            for error in errors {
                complaints.add(error.field.replacen("auth", &place, 1), error.message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_name_what_is_wrong_and_keep_each_name_once() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let good =
            Grants { hosts: names(&["https://api.example.com"]), secrets: names(&["a", "a"]), ..Grants::default() };
        assert_eq!(checked(good).unwrap().secrets, ["a"]);
        let (hosts, secrets, reveal) = (names(&["nope/"]), names(&["ok", "No"]), names(&[""]));
        let bad = Grants { hosts, secrets, reveal, ..Grants::default() };
        let fields: Vec<_> = checked(bad).unwrap_err().0.into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["hosts[0]", "secrets[1]", "reveal[0]"]);
    }

    #[test]
    fn a_credential_profile_is_checked_to_the_header() {
        let profile = |text: &str| serde_json::from_str::<Credential>(text).unwrap();
        let fields = |profiles: &[Credential]| {
            let grants = Grants { credentials: profiles.to_vec(), ..Grants::default() };
            checked(grants).map_or_else(|bad| bad.0.into_iter().map(|e| e.field).collect(), |_| Vec::<String>::new())
        };
        let good = r#"{"name":"c","type":"headers","headers":[{"name":"x-auth-key","secret":"k"}]}"#;
        assert_eq!(fields(&[profile(good)]), Vec::<String>::new());
        assert_eq!(fields(&[profile(good), profile(good)]), ["credentials[1].name"]);
        let host = r#"{"name":"c","type":"headers","headers":[{"name":"host","secret":"No"}]}"#;
        assert_eq!(fields(&[profile(host)]), ["credentials[0].secret", "credentials[0].headers.host"]);
        let neither = r#"{"name":"c d","type":"headers","headers":[{"name":"x","secret":"a","value":"b"}]}"#;
        assert_eq!(fields(&[profile(neither)]), ["credentials[0].name", "credentials[0].headers[0]"]);
        assert_eq!(fields(&[profile(r#"{"name":"c","type":"headers","headers":[]}"#)]), ["credentials[0].headers"]);
        let client =
            r#"{"name":"c","type":"oauth2","token_url":"https://a.example","client_id":"","client_secret":"s"}"#;
        assert_eq!(fields(&[profile(client)]), ["credentials[0].client_id"]);
    }
}
