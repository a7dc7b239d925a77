//! The work on TOTVS' side: asked for, asked about until it is over, told of once.

use std::{sync::Arc, time::Duration};

use engate_model::{
    Secret, WizardId,
    callback::{Fact, WIZARD_PROVISIONED},
    token::Principal,
    wizard::{
        Handover, Step, Wizard,
        provisioning::{Answer, Provisioning, ProvisioningState},
        services::Service,
    },
};
use engate_store::StoreError;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::{Doing, VerbError, calls::Sent, credentials::welcome_of};
use crate::engine::Engine;

/// Bytes of a contract at most.
pub(crate) const CONTRACT_BYTES_MAX: usize = 200;
/// Between two looks for what is due.
const EVERY: Duration = Duration::from_secs(1);
/// Wizards that are gone on with in one look.
const WIZARDS_PER_LOOK: u32 = 10;

/// What the step takes.
#[derive(Debug, Clone)]
pub(crate) enum ProvisioningInput {
    /// Ask for this contract.
    Contract(String),
    /// It was done before, and the credentials came by e-mail.
    AlreadyDone,
}

#[derive(Deserialize)]
struct Requested {
    id: String,
}

#[derive(Deserialize)]
struct State {
    status: String,
    reason: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

impl Engine {
    /// Asks for the provisioning of a contract, or goes on with what was asked for. The engine asks on by itself until
    /// it is over.
    pub(crate) async fn wizard_provisioning(
        &self,
        principal: &Principal,
        id: WizardId,
        input: ProvisioningInput,
    ) -> Result<Wizard, VerbError> {
        let mut doing = self.wizard_enter(principal, id, Step::Provisioning).await?;
        let now = self.now();
        let progress = &mut doing.wizard.progress;
        match input {
            ProvisioningInput::AlreadyDone => progress.provisioning = Some(Provisioning::outside(now)),
            ProvisioningInput::Contract(contract) => {
                if !(1..=CONTRACT_BYTES_MAX).contains(&contract.len()) || contract.chars().any(char::is_control) {
                    let message = format!("1 to {CONTRACT_BYTES_MAX} bytes without control characters");
                    return Err(VerbError::field("contract", message));
                }
                let under_way = progress
                    .provisioning
                    .as_ref()
                    .is_some_and(|made| made.contract == contract && !matches!(made.state, ProvisioningState::Failed));
                if !under_way {
                    // It is on disk before anybody is asked: whoever dies now finds it there.
                    progress.provisioning = Some(Provisioning::requested(&contract, now));
                    doing.wizard.updated_at = now;
                    let none = &[];
                    let actor = self.actor(principal);
                    self.store.wizard_update(&actor, None, &doing.wizard, &doing.secrets, none).await?;
                    doing.wizard.revision += 1;
                }
                self.wizard_advance(&mut doing).await?;
            }
        }
        self.wizard_leave(principal, Step::Provisioning, doing).await
    }

    /// Goes on with provisionings of all tenants until told to stop.
    pub(crate) async fn wizards_keep(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            if let Err(error) = self.wizards_advance().await {
                tracing::warn!(%error, "a wizard's provisioning could not be gone on with; trying again");
            }
        }
    }

    async fn wizards_advance(&self) -> Result<(), VerbError> {
        for (wizard, secrets) in self.store.wizard_due(self.now(), WIZARDS_PER_LOOK).await? {
            let mut doing = Doing { wizard, secrets, facts: Vec::new() };
            self.wizard_advance(&mut doing).await?;
            doing.wizard.updated_at = self.now();
            let Doing { wizard, secrets, facts } = &doing;
            match self.store.wizard_update(&self.system_actor(), None, wizard, secrets, facts).await {
                // Another node, or the operator, was quicker.
                Ok(()) | Err(StoreError::Stale { .. } | StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes the call that is due, if one is.
    async fn wizard_advance(&self, doing: &mut Doing) -> Result<(), VerbError> {
        let now = self.now();
        let Some(provisioning) = doing.wizard.progress.provisioning.clone().filter(|made| made.is_due(now)) else {
            return Ok(());
        };
        let welcome = welcome_of(&doing.wizard)?;
        let answer = match self.wizard_address(welcome, Service::Provisioning).await {
            Err(error) => Answer::Nothing(error.to_string()),
            Ok(address) => self.ask(&provisioning, &address, doing).await,
        };
        let contract = provisioning.contract.clone();
        let after = provisioning.after(answer, self.now());
        if after.state == ProvisioningState::Done {
            let wizard = &doing.wizard;
            let view = self.views.get(&self.store, wizard.tenant).await?;
            if view.catalog.is_heard(WIZARD_PROVISIONED) {
                let fact = Fact::wizard_provisioned(wizard.id, &contract, self.now());
                doing.facts = self.told_to(&view.catalog, wizard.tenant, fact);
            }
            tracing::info!(wizard = %wizard.id, "what was bought is provisioned; its credentials wait to be handed over");
        }
        doing.wizard.progress.provisioning = Some(after);
        Ok(())
    }

    async fn ask(&self, provisioning: &Provisioning, address: &str, doing: &mut Doing) -> Answer {
        let (url, sent) = match &provisioning.id {
            None => (address.to_owned(), Sent::Json(json!({ "contract": provisioning.contract }))),
            Some(id) => (format!("{address}/{id}"), Sent::Nothing),
        };
        let answer = match self.wizard_call(&url, sent, None).await {
            Ok(answer) if answer.is_ok() => answer,
            Ok(answer) => return Answer::Nothing(format!("answered {}", answer.told())),
            Err(why) => return Answer::Nothing(why),
        };
        if provisioning.id.is_none() {
            return answer.read().map_or_else(Answer::Nothing, |Requested { id }| Answer::Accepted(id));
        }
        let state: State = match answer.read() {
            Ok(state) => state,
            Err(why) => return Answer::Nothing(why),
        };
        match (state.status.as_str(), state.client_id, state.client_secret) {
            ("requested", ..) => Answer::Waiting,
            ("running", ..) => Answer::Working,
            ("failed", ..) => Answer::Failed(state.reason.unwrap_or_else(|| "no reason was given".to_owned())),
            ("done", client_id, client_secret) => {
                let made = client_id.zip(client_secret);
                doing.secrets.handover =
                    made.map(|(client_id, secret)| Handover { client_id, client_secret: Secret::new(secret) });
                Answer::Done
            }
            (other, ..) => Answer::Nothing(format!("answered with the status {other:?}")),
        }
    }
}
