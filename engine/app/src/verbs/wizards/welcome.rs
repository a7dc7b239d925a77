//! The first step: which connection, and addresses that differ from the usual ones.

use std::collections::BTreeMap;

use engate_model::{
    WizardId,
    invalid::Complaints,
    token::Principal,
    wizard::{Step, Welcome, Wizard, services::Service},
};

use super::VerbError;
use crate::engine::Engine;

/// What the step takes.
#[derive(Debug, Clone)]
pub(crate) struct WelcomeInput {
    /// The connection's name.
    pub(crate) connection: String,
    /// Addresses by the service's key.
    pub(crate) urls: BTreeMap<String, String>,
}

impl Engine {
    /// Settles where the tables are and where the services.
    pub(crate) async fn wizard_welcome(
        &self,
        principal: &Principal,
        id: WizardId,
        input: WelcomeInput,
    ) -> Result<Wizard, VerbError> {
        let mut doing = self.wizard_enter(principal, id, Step::Welcome).await?;
        let mut complaints = Complaints::default();
        let mut urls = BTreeMap::new();
        for (key, url) in input.urls {
            let field = format!("urls.{key}");
            match (Service::from_key(&key), self.egress.check_url(&url)) {
                (None, _) => complaints.add(field, format!("no such service; there are {}", keys())),
                (_, Err(denied)) => complaints.add(field, denied.to_string()),
                (Some(service), Ok(_)) => drop(urls.insert(service, url.trim_end_matches('/').to_owned())),
            }
        }
        complaints.finish(())?;
        // Whether it can be opened, and read, shows here and not in the middle of the night.
        self.wizard_tables(principal, &input.connection, &[]).await?;
        doing.wizard.progress.welcome = Some(Welcome { connection: input.connection, urls });
        self.wizard_leave(principal, Step::Welcome, doing).await
    }
}

fn keys() -> String {
    Service::ALL.map(Service::key).join(", ")
}
