//! Setting a Protheus up for Carol, step by step: `engine/model/src/wizard` says which step is open and what passes it, a
//! module here for each step does what it takes.
//!
//! A step reads the wizard, asks whom it has to ask, and writes what it found in one transaction; a process that dies in
//! between leaves the wizard at the same step, and every call to the outside may be made twice.

mod calls;
mod companies;
mod credentials;
mod entities;
mod jobs;
mod preflight;
mod provisioning;
mod registry;
mod requirements;
mod tables;
mod welcome;

use engate_model::{
    WizardId,
    token::Principal,
    wizard::{Handover, Progress, Step, Wizard, WizardSecrets, provisioning::ProvisioningState},
};
use engate_store::AcceptEvent;

pub(crate) use self::{
    companies::CompanyInput,
    provisioning::ProvisioningInput,
    registry::Registries,
    requirements::{Administration, RequirementsInput},
    welcome::WelcomeInput,
};
use super::VerbError;
use crate::engine::Engine;

/// A wizard at hand, while a step is done.
struct Doing {
    wizard: Wizard,
    secrets: WizardSecrets,
    facts: Vec<AcceptEvent>,
}

impl Engine {
    /// The tenant's wizards, the newest first.
    pub(crate) async fn wizard_list(&self, principal: &Principal) -> Result<Vec<Wizard>, VerbError> {
        Ok(self.store.wizard_list(principal.tenant).await?)
    }

    /// One wizard.
    pub(crate) async fn wizard_get(&self, principal: &Principal, id: WizardId) -> Result<Wizard, VerbError> {
        Ok(self.wizard_find(principal, id).await?.wizard)
    }

    /// Begins a wizard at its first step.
    pub(crate) async fn wizard_create(&self, principal: &Principal) -> Result<Wizard, VerbError> {
        let now = self.now();
        let wizard = Wizard {
            id: WizardId::new(now, self.chance.bits()),
            tenant: principal.tenant,
            progress: Progress::default(),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let full = "there are as many wizards as may be; delete one that is not needed any more";
        let stored = self.store.wizard_create(&self.actor(principal), &wizard).await;
        stored.map_err(super::on_conflict("too_many_wizards", full))?;
        Ok(wizard)
    }

    /// Deletes a wizard and the secrets it holds; what it made stays.
    pub(crate) async fn wizard_delete(&self, principal: &Principal, id: WizardId) -> Result<(), VerbError> {
        Ok(self.store.wizard_delete(&self.actor(principal), principal.tenant, id).await?)
    }

    /// Hands over, once, the credentials that provisioning made. They count as handed over before the answer leaves.
    pub(crate) async fn wizard_handover(&self, principal: &Principal, id: WizardId) -> Result<Handover, VerbError> {
        let Doing { mut wizard, mut secrets, .. } = self.wizard_find(principal, id).await?;
        let provisioning = wizard.progress.provisioning.as_mut();
        let Some(provisioning) = provisioning.filter(|made| made.state == ProvisioningState::Done) else {
            let detail = "nothing was provisioned yet; the step `provisioning` says how far it is";
            return Err(VerbError::conflict("not_provisioned", detail));
        };
        let Some(handover) = secrets.handover.take() else {
            let code = if provisioning.handed_over_at.is_some() { "already_handed_over" } else { "not_provisioned" };
            let detail = if provisioning.handed_over_at.is_some() {
                "the credentials were handed over before, and are not kept; ask TOTVS for new ones where they are lost"
            } else {
                "the credentials came another way than by this wizard"
            };
            return Err(VerbError::Busy { code, detail: detail.to_owned() });
        };
        wizard.updated_at = self.now();
        provisioning.handed_over_at = Some(wizard.updated_at);
        let actor = self.actor(principal);
        self.store.wizard_update(&actor, Some("wizard.hand_over"), &wizard, &secrets, &[]).await?;
        Ok(handover)
    }

    async fn wizard_find(&self, principal: &Principal, id: WizardId) -> Result<Doing, VerbError> {
        let found = self.store.wizard_get(principal.tenant, id).await?;
        let (wizard, secrets) = found.ok_or(VerbError::NotFound("wizard"))?;
        Ok(Doing { wizard, secrets, facts: Vec::new() })
    }

    /// The wizard, where `step` is not locked; what the steps behind it found is forgotten.
    async fn wizard_enter(&self, principal: &Principal, id: WizardId, step: Step) -> Result<Doing, VerbError> {
        let mut doing = self.wizard_find(principal, id).await?;
        if let Some(first) = doing.wizard.progress.first_before(step) {
            let detail = format!("the step `{}` is locked until `{}` is passed", step.key(), first.key());
            return Err(VerbError::conflict("step_locked", detail));
        }
        doing.wizard.progress.forget_behind(step);
        Ok(doing)
    }

    /// Writes what a step found.
    async fn wizard_leave(&self, principal: &Principal, step: Step, doing: Doing) -> Result<Wizard, VerbError> {
        let Doing { mut wizard, secrets, facts } = doing;
        wizard.updated_at = self.now();
        let action = format!("wizard.{}", step.key());
        self.store.wizard_update(&self.actor(principal), Some(&action), &wizard, &secrets, &facts).await?;
        wizard.revision += 1;
        Ok(wizard)
    }
}
