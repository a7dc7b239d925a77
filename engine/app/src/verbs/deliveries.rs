//! Deliveries: reading them, trying one again, calling one off.

use engate_model::{
    DeliveryId, IntegratorId, Invalid,
    delivery::{Attempt, Delivery},
    listing::Sort,
    token::Principal,
};
use engate_store::{Cancelled, DeliveryFilter, DeliveryPage, Page, Retried};

use serde_json::json;

use super::{Scope, VerbError};
use crate::{engine::Engine, language::Locale};

/// Why a delivery ended that someone called off.
const CANCELLED_BY_HAND: &str = "cancelled_by_operator";

/// Which deliveries a caller wants to see.
#[derive(Debug, Default)]
pub(crate) struct DeliveryWish {
    /// What needs no looking up.
    pub(crate) filter: DeliveryFilter,
    /// Of one of these integrators, by id or slug.
    pub(crate) integrators: Vec<String>,
    /// Words that must all be found in what is shown.
    pub(crate) search: Option<String>,
    /// How the caller reads, and so how they write.
    pub(crate) locale: Locale,
}

/// Leaves of a filter what the caller may see.
fn own(principal: &Principal, filter: &mut DeliveryFilter) -> Result<(), VerbError> {
    match Scope::of(principal) {
        Scope::Tenant => {}
        Scope::Integrator(own) => filter.integrators = vec![own],
        Scope::Nothing => return Err(VerbError::Forbidden("this token is bound to no integrator".to_owned())),
    }
    Ok(())
}

impl Engine {
    /// A delivery.
    pub(crate) async fn delivery_get(&self, principal: &Principal, id: DeliveryId) -> Result<Delivery, VerbError> {
        let delivery = self.store.delivery_get(principal.tenant, id).await?;
        let delivery = delivery.ok_or(VerbError::NotFound("delivery"))?;
        Scope::of(principal).require(delivery.integrator, "delivery")?;
        Ok(delivery)
    }

    /// What a caller's wish comes to: names found, words understood, and nothing that is not theirs to see.
    pub(crate) async fn delivery_wish(
        &self,
        principal: &Principal,
        wish: DeliveryWish,
    ) -> Result<DeliveryFilter, VerbError> {
        let DeliveryWish { mut filter, integrators, search, locale } = wish;
        for named in &integrators {
            filter.integrators.push(self.integrator_named(principal, named).await?);
        }
        if let Some(text) = search {
            filter.words = self.search(principal, &text, locale).await?;
        }
        Ok(filter)
    }

    /// A page of deliveries, with the number of all.
    pub(crate) async fn delivery_list(
        &self,
        principal: &Principal,
        mut filter: DeliveryFilter,
        sort: &Sort,
        page: &Page,
    ) -> Result<DeliveryPage, VerbError> {
        own(principal, &mut filter)?;
        Ok(self.store.delivery_list(principal.tenant, &filter, sort, page).await?)
    }

    /// A page of deliveries, not counted.
    pub(crate) async fn delivery_rows(
        &self,
        principal: &Principal,
        mut filter: DeliveryFilter,
        sort: &Sort,
        page: &Page,
    ) -> Result<DeliveryPage, VerbError> {
        own(principal, &mut filter)?;
        Ok(self.store.delivery_rows(principal.tenant, &filter, sort, page).await?)
    }

    /// Writes down that deliveries were taken out: in which form, and by which filter.
    pub(crate) async fn delivery_exported(
        &self,
        principal: &Principal,
        form: &str,
        query: &str,
    ) -> Result<(), VerbError> {
        let detail = json!({ "form": form, "query": query });
        let actor = self.actor(principal);
        Ok(self.store.audit_append(&actor, principal.tenant, "delivery.export", "deliveries", &detail).await?)
    }

    /// The integrator that a filter names by id or slug.
    pub(super) async fn integrator_named(&self, principal: &Principal, named: &str) -> Result<IntegratorId, VerbError> {
        let found = match named.parse::<IntegratorId>() {
            Ok(id) => self.store.integrator_get(principal.tenant, id).await?,
            Err(_) => self.store.integrator_by_slug(principal.tenant, named).await?,
        };
        let seen = found.filter(|integrator| Scope::of(principal).covers(integrator.id));
        let unknown = || Invalid::field("integrator", "there is no integrator of this id or slug");
        Ok(seen.map(|integrator| integrator.id).ok_or_else(unknown)?)
    }

    /// Every try of a delivery, the first one first.
    pub(crate) async fn attempt_list(&self, principal: &Principal, id: DeliveryId) -> Result<Vec<Attempt>, VerbError> {
        let delivery = self.delivery_get(principal, id).await?;
        Ok(self.store.attempt_list(principal.tenant, delivery.id).await?)
    }

    /// Has a delivery tried again now, whatever its schedule says.
    pub(crate) async fn delivery_retry(&self, principal: &Principal, id: DeliveryId) -> Result<Delivery, VerbError> {
        let endpoint = self.delivery_get(principal, id).await?.endpoint;
        match self.store.delivery_retry(&self.actor(principal), principal.tenant, id).await? {
            Retried::Scheduled => {
                self.worker.probe_now(endpoint, self.now());
                self.worker.wake();
            }
            Retried::InProgress => {
                return Err(VerbError::conflict("in_progress", "a try is under way; wait for how it ends"));
            }
            Retried::EndpointDeleted => {
                return Err(VerbError::conflict("not_allowed_in_state", "the endpoint of this delivery was deleted"));
            }
            Retried::EventForgotten => {
                let detail = "the event of this delivery is kept no longer (retention.payload_days); send a new one";
                return Err(VerbError::conflict("event_not_kept", detail));
            }
            Retried::Outdated(newer) => {
                let detail = format!("the endpoint takes the newest version only, and delivery {newer} is newer");
                return Err(VerbError::conflict("newer_version", detail));
            }
            Retried::NotAllowed(state) => {
                let detail = format!("a delivery that is {} cannot be tried again", state.code());
                return Err(VerbError::conflict("not_allowed_in_state", detail));
            }
        }
        self.delivery_get(principal, id).await
    }

    /// Calls a delivery off that waits.
    pub(crate) async fn delivery_cancel(&self, principal: &Principal, id: DeliveryId) -> Result<Delivery, VerbError> {
        self.delivery_get(principal, id).await?;
        let actor = self.actor(principal);
        match self.store.delivery_cancel(&actor, principal.tenant, id, CANCELLED_BY_HAND).await? {
            // What waited behind it may go.
            Cancelled::Cancelled => self.worker.wake(),
            Cancelled::InProgress => {
                return Err(VerbError::conflict("in_progress", "a try is under way; wait for how it ends"));
            }
            Cancelled::AlreadyFinished(state) => {
                let detail = format!("the delivery is {} already", state.code());
                return Err(VerbError::conflict("not_allowed_in_state", detail));
            }
        }
        self.delivery_get(principal, id).await
    }
}
