//! Where the services are, as TOTVS' registry says: asked once, kept for a while, and asked again when a service is not
//! where it was.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use engate_model::{
    Timestamp,
    wizard::{Welcome, services::Service},
};
use serde::Deserialize;

use super::{
    VerbError,
    calls::{Sent, unusable},
};
use crate::engine::Engine;

/// How long what a registry says is believed.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Registries kept; beyond it all are asked anew.
const REGISTRIES_MAX: usize = 64;

/// What a registry says: addresses by name.
type Registered = BTreeMap<String, String>;

/// What the registries said, by their address.
#[derive(Default)]
pub(crate) struct Registries(Mutex<HashMap<String, (Timestamp, Registered)>>);

impl Registries {
    fn get(&self, url: &str, now: Timestamp) -> Option<Registered> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(url).filter(|(at, _)| *at > now.before(KEPT_FOR)).map(|(_, said)| said.clone())
    }

    fn put(&self, url: &str, now: Timestamp, said: Registered) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= REGISTRIES_MAX {
            kept.clear();
        }
        kept.insert(url.to_owned(), (now, said));
    }

    fn forget(&self, url: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
    }
}

#[derive(Deserialize)]
struct Answer {
    services: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    url: String,
}

impl Engine {
    /// Where a service is. The registry is asked only for what the operator does not say.
    pub(super) async fn wizard_address(&self, welcome: &Welcome, service: Service) -> Result<String, VerbError> {
        if let Some(said) = welcome.urls.get(&service) {
            return Ok(said.clone());
        }
        let registry = Service::Registry.address(&welcome.urls, &BTreeMap::new());
        if service == Service::Registry {
            return Ok(registry);
        }
        let now = self.now();
        let registered = match self.registries.get(&registry, now) {
            Some(registered) => registered,
            None => {
                let answer = self.wizard_call(&registry, Sent::Nothing, None).await;
                let answer = answer.map_err(|why| unusable(Service::Registry, why))?;
                if !answer.is_ok() {
                    return Err(unusable(Service::Registry, answer.told()));
                }
                let Answer { services } = answer.read().map_err(|why| unusable(Service::Registry, why))?;
                let registered: Registered = services.into_iter().map(|entry| (entry.name, entry.url)).collect();
                self.registries.put(&registry, now, registered.clone());
                registered
            }
        };
        Ok(service.address(&welcome.urls, &registered).trim_end_matches('/').to_owned())
    }

    /// The service's address asked for anew, after it was not found at `old`; none: it is where it was.
    pub(super) async fn wizard_moved(
        &self,
        welcome: &Welcome,
        service: Service,
        old: &str,
    ) -> Result<Option<String>, VerbError> {
        self.registries.forget(&Service::Registry.address(&welcome.urls, &BTreeMap::new()));
        let address = self.wizard_address(welcome, service).await?;
        Ok((address != old).then_some(address))
    }
}
