//! Recorded attempts with everything a replay needs.

use engate_model::{
    DeliveryId, Timestamp,
    delivery::{Attempt, Delivery},
    listing::{Sort, SortValue},
    token::Principal,
};
use engate_store::{DeliveryFilter, Page, StoreError, Total};

use super::VerbError;
use crate::{engine::Engine, replay::Recorded};

/// Which attempts.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplayFilter {
    /// Of this delivery.
    pub(crate) delivery: Option<DeliveryId>,
    /// Of this integrator, by id or slug.
    pub(crate) integrator: Option<String>,
    /// Made by this plugin, whatever its version.
    pub(crate) plugin: Option<String>,
    /// Of events taken at this instant or later.
    pub(crate) since: Option<Timestamp>,
    /// Of events taken before this instant.
    pub(crate) until: Option<Timestamp>,
}

/// One page, by deliveries.
#[derive(Debug)]
pub(crate) struct ReplayPage {
    /// The attempts of the page's deliveries that a plugin had part in.
    pub(crate) items: Vec<Recorded>,
    /// Code of the last delivery looked at, where there are more.
    pub(crate) next: Option<i64>,
    /// How many attempts there are on all pages; an estimate, by deliveries, where there are several pages.
    pub(crate) total: Total,
}

impl Engine {
    /// Recorded attempts, the oldest delivery first; `limit` counts deliveries.
    pub(crate) async fn replay_list(
        &self,
        principal: &Principal,
        filter: &ReplayFilter,
        after: Option<i64>,
        limit: u32,
    ) -> Result<ReplayPage, VerbError> {
        let (deliveries, next, all) = match filter.delivery {
            Some(id) => (vec![self.delivery_get(principal, id).await?], None, None),
            None => {
                let mut wanted = DeliveryFilter {
                    created_from: filter.since,
                    created_before: filter.until,
                    ..DeliveryFilter::default()
                };
                if let Some(named) = &filter.integrator {
                    wanted.integrators.push(self.integrator_named(principal, named).await?);
                }
                let page = Page { after: after.map(|code| vec![SortValue::Int(code)]), limit };
                let page = self.delivery_list(principal, wanted, &Sort::default(), &page).await?;
                let next = page.next.and_then(|_| page.items.last().map(|last| last.code));
                (page.items, next, page.total)
            }
        };
        let mut items = Vec::new();
        for delivery in &deliveries {
            items.extend(self.recorded_attempts(delivery, filter.plugin.as_deref()).await?);
        }
        let here = Total { count: u64::try_from(items.len()).unwrap_or(u64::MAX), exact: true };
        let only_page = after.is_none() && next.is_none();
        let total = all.filter(|_| !only_page).map_or(here, |all| Total { exact: false, ..all });
        Ok(ReplayPage { items, next, total })
    }

    /// A delivery's attempts that a plugin (this one, whatever its version) had part in and that can be replayed.
    pub(super) async fn recorded_attempts(
        &self,
        delivery: &Delivery,
        plugin: Option<&str>,
    ) -> Result<Vec<Recorded>, StoreError> {
        if delivery.attempts == 0 {
            return Ok(Vec::new());
        }
        let attempts = self.store.attempt_list(delivery.tenant, delivery.id).await?;
        let attempts: Vec<_> = attempts.into_iter().filter(|attempt| made_by(attempt, plugin)).collect();
        if attempts.is_empty() {
            return Ok(Vec::new());
        }
        // An event whose payload is kept no longer cannot be replayed.
        let Some(event) = self.store.event_get(delivery.tenant, delivery.event).await? else { return Ok(Vec::new()) };
        Ok(attempts.into_iter().filter_map(|attempt| Recorded::of(delivery, &event, attempt)).collect())
    }

    /// The component of an installed version.
    pub(crate) async fn plugin_component(
        &self,
        principal: &Principal,
        name: &str,
        version: &str,
    ) -> Result<Vec<u8>, VerbError> {
        let version = self.store.plugin_version_get(principal.tenant, name, version).await?;
        let version = version.ok_or(VerbError::NotFound("plugin version"))?;
        let component = self.store.plugin_component(&version.digest).await?;
        component.ok_or(VerbError::NotFound("component"))
    }
}

fn made_by(attempt: &Attempt, plugin: Option<&str>) -> bool {
    let name = attempt.plugin.as_deref().and_then(|label| label.split('@').next());
    name.is_some() && plugin.is_none_or(|wanted| name == Some(wanted))
}
