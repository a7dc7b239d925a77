//! Whether this node, which is to run the jobs, reaches the eight services.

use engate_model::{
    WizardId,
    token::Principal,
    wizard::{Step, Wizard, services::Service},
};
use futures_util::future::join_all;

use super::{VerbError, calls::DEADLINE, credentials::welcome_of};
use crate::engine::Engine;

impl Engine {
    /// Looks how far a call to each of the eight comes: name, connection, TLS, answer. All are looked at, whatever fails.
    pub(crate) async fn wizard_preflight(&self, principal: &Principal, id: WizardId) -> Result<Wizard, VerbError> {
        let mut doing = self.wizard_enter(principal, id, Step::Preflight).await?;
        let welcome = welcome_of(&doing.wizard)?;
        let mut probes = Vec::with_capacity(Service::PREFLIGHT.len());
        for service in Service::PREFLIGHT {
            // A registry that cannot be asked fails its own row; the others are tried where they usually are.
            let address = self.wizard_address(welcome, service).await;
            let address = address.unwrap_or_else(|_| service.usual().to_owned());
            probes.push(async move { self.egress.probe(service, &address, DEADLINE).await });
        }
        doing.wizard.progress.preflight = Some(join_all(probes).await);
        self.wizard_leave(principal, Step::Preflight, doing).await
    }
}
