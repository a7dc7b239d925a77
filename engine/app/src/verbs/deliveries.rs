//! Deliveries: reading them, trying one again, calling one off.

use engate_model::{
    DeliveryId, IntegratorId, Invalid,
    delivery::{Attempt, Delivery},
    token::Principal,
};
use engate_store::{Cancelled, DeliveryFilter, DeliveryPage, Page, Retried};

use super::{Scope, VerbError};
use crate::engine::Engine;

/// Why a delivery ended that someone called off.
const CANCELLED_BY_HAND: &str = "cancelled_by_operator";

impl Engine {
    /// A delivery.
    pub(crate) async fn delivery_get(&self, principal: &Principal, id: DeliveryId) -> Result<Delivery, VerbError> {
        let delivery = self.store.delivery_get(principal.tenant, id).await?;
        let delivery = delivery.ok_or(VerbError::NotFound("delivery"))?;
        Scope::of(principal).require(delivery.integrator, "delivery")?;
        Ok(delivery)
    }

    /// A page of deliveries.
    pub(crate) async fn delivery_list(
        &self,
        principal: &Principal,
        mut filter: DeliveryFilter,
        integrator: Option<&str>,
        page: Page,
    ) -> Result<DeliveryPage, VerbError> {
        if let Some(named) = integrator {
            filter.integrator = Some(self.integrator_named(principal, named).await?);
        }
        match Scope::of(principal) {
            Scope::Tenant => {}
            Scope::Integrator(own) => filter.integrator = Some(own),
            Scope::Nothing => return Err(VerbError::Forbidden("this token is bound to no integrator".to_owned())),
        }
        Ok(self.store.delivery_list(principal.tenant, &filter, page).await?)
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
        self.delivery_get(principal, id).await?;
        match self.store.delivery_retry(&self.actor(principal), principal.tenant, id).await? {
            Retried::Scheduled => self.worker.wake(),
            Retried::InProgress => {
                return Err(VerbError::conflict("in_progress", "a try is under way; wait for how it ends"));
            }
            Retried::EndpointDeleted => {
                return Err(VerbError::conflict("not_allowed_in_state", "the endpoint of this delivery was deleted"));
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
