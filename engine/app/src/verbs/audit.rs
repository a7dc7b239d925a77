//! Who did what.

use engate_model::{AuditId, token::Principal};
use engate_store::{AuditEntry, Order};

use super::VerbError;
use crate::engine::Engine;

impl Engine {
    /// Entries in `order`, those after `after` of it, at most `limit`.
    pub(crate) async fn audit_list(
        &self,
        principal: &Principal,
        after: Option<AuditId>,
        order: Order,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, VerbError> {
        Ok(self.store.audit_list(principal.tenant, after, order, limit).await?)
    }
}
