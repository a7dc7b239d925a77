//! The client that RAC knows: asked for a token before anything is kept.

use engate_model::{
    Invalid, Secret, WizardId,
    token::Principal,
    wizard::{CheckedClient, Step, Welcome, Wizard, services::Service},
};
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::{
    VerbError,
    calls::{Answer, Sent, unusable},
};
use crate::engine::Engine;

/// The one scope that is asked for.
const SCOPE: &str = "authorization_api";

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

/// A token, and where it came from.
pub(super) struct Given {
    pub(super) token: Secret,
    url: String,
}

impl Engine {
    /// Checks the client at RAC; a right one is kept, its secret sealed.
    pub(crate) async fn wizard_credentials(
        &self,
        principal: &Principal,
        id: WizardId,
        client_id: String,
        client_secret: Secret,
    ) -> Result<Wizard, VerbError> {
        let mut doing = self.wizard_enter(principal, id, Step::Credentials).await?;
        let welcome = welcome_of(&doing.wizard)?;
        let given = self.wizard_token(welcome, &client_id, &client_secret).await?;
        doing.wizard.progress.credentials =
            Some(CheckedClient { client_id, token_url: given.url, checked_at: self.now() });
        doing.secrets.client_secret = Some(client_secret);
        self.wizard_leave(principal, Step::Credentials, doing).await
    }

    /// A token for the client. Where RAC is not where the registry said before, the registry is asked again.
    pub(super) async fn wizard_token(
        &self,
        welcome: &Welcome,
        client_id: &str,
        client_secret: &Secret,
    ) -> Result<Given, VerbError> {
        let mut url = self.wizard_address(welcome, Service::Rac).await?;
        let form = || {
            let mut form = Serializer::new(String::new());
            form.append_pair("grant_type", "client_credentials").append_pair("client_id", client_id);
            form.append_pair("client_secret", client_secret.expose()).append_pair("scope", SCOPE);
            Sent::Form(form.finish())
        };
        let mut answer = self.wizard_call(&url, form(), None).await;
        let is_elsewhere = answer.as_ref().map_or(true, |answer| matches!(answer.status, 404 | 405 | 410 | 500..));
        if is_elsewhere && let Some(moved) = self.wizard_moved(welcome, Service::Rac, &url).await? {
            url = moved;
            answer = self.wizard_call(&url, form(), None).await;
        }
        let answer = answer.map_err(|why| unusable(Service::Rac, why))?;
        if matches!(answer.status, 400 | 401 | 403) {
            return Err(refused(&answer));
        }
        if !answer.is_ok() {
            return Err(unusable(Service::Rac, answer.told()));
        }
        let Token { access_token } = answer.read().map_err(|why| unusable(Service::Rac, why))?;
        Ok(Given { token: Secret::new(access_token), url })
    }

    /// A token for the client that the wizard keeps.
    pub(super) async fn wizard_own_token(&self, doing: &super::Doing) -> Result<Secret, VerbError> {
        let (client, secret) = (doing.wizard.progress.credentials.as_ref(), doing.secrets.client_secret.as_ref());
        let (Some(client), Some(secret)) = (client, secret) else {
            return Err(VerbError::Internal("a wizard behind `credentials` without them".to_owned()));
        };
        Ok(self.wizard_token(welcome_of(&doing.wizard)?, &client.client_id, secret).await?.token)
    }
}

fn refused(answer: &Answer) -> VerbError {
    let message = format!("RAC does not take the client's id with this secret; it answered {}", answer.told());
    VerbError::Refused { code: "credentials_refused", invalid: Invalid::field("client_secret", message) }
}

/// What the first step settled: every later one is locked without it.
pub(super) fn welcome_of(wizard: &Wizard) -> Result<&Welcome, VerbError> {
    let none = || VerbError::Internal("a wizard behind `welcome` without it".to_owned());
    wizard.progress.welcome.as_ref().ok_or_else(none)
}
