//! Who did what, and who called what.

use engate_model::{AuditId, CallId, Invalid, Timestamp, token::Principal};
use engate_store::{
    AccessFilter, AccessPage, AuditEntry, AuditFilter, AuditPage, ChainCheck, ChainFault, Order, RefusedCalls, Total,
};

use super::{VerbError, tenants::FIRST_TENANT};
use crate::engine::Engine;

/// A place of the chain with its hash, as it was noted elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Witness {
    /// The place.
    pub(crate) seq: u64,
    /// Its hash then.
    pub(crate) hash: [u8; 32],
}

impl Engine {
    /// A page of entries in `order`, those after `after` of it; everything done so far has its place in the chain.
    pub(crate) async fn audit_list(
        &self,
        principal: &Principal,
        filter: &AuditFilter,
        after: Option<AuditId>,
        order: Order,
        limit: u32,
    ) -> Result<AuditPage, VerbError> {
        self.store.audit_seal(principal.tenant).await?;
        Ok(self.store.audit_list(principal.tenant, filter, after, order, limit).await?)
    }

    /// Entries of the chain in its order, beyond the place `after`. Only what has its place is given out.
    pub(crate) async fn audit_chain(
        &self,
        principal: &Principal,
        after: u64,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, VerbError> {
        if after == 0 {
            self.store.audit_seal(principal.tenant).await?;
        }
        Ok(self.store.audit_chain(principal.tenant, after, limit).await?)
    }

    /// Computes the chain again from its beginning to its end; a `witness` must still be part of it.
    pub(crate) async fn audit_verify(
        &self,
        principal: &Principal,
        witness: Option<Witness>,
    ) -> Result<ChainCheck, VerbError> {
        let mut check = self.store.audit_verify(principal.tenant).await?;
        if let Some(Witness { seq, hash }) = witness {
            if seq < check.first_seq {
                let message = format!("is no longer kept: the chain begins at {}; give a later place", check.first_seq);
                return Err(Invalid::field("seq", message).into());
            }
            let there = self.store.audit_chain(principal.tenant, seq.saturating_sub(1), 1).await?;
            let same = there.first().and_then(|entry| entry.sealed).is_some_and(|at| at.seq == seq && at.hash == hash);
            if !same {
                check.faults.push(ChainFault { code: "differs", seq: Some(seq), entry: None });
            }
        }
        Ok(check)
    }

    /// A page of calls in `order`; every call answered so far is in it.
    pub(crate) async fn access_list(
        &self,
        principal: &Principal,
        filter: &AccessFilter,
        after: Option<CallId>,
        order: Order,
        limit: u32,
    ) -> Result<AccessPage, VerbError> {
        self.store.access_flush().await?;
        Ok(self.store.access_list(principal.tenant, filter, after, order, limit).await?)
    }

    /// Calls without a valid token, the newest minute first, and the number of all rows. They belong to no tenant, so only the first one's see them.
    pub(crate) async fn access_refused_list(
        &self,
        principal: &Principal,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<(Vec<RefusedCalls>, Total), VerbError> {
        let own = self.store.tenant_get(principal.tenant).await?;
        if own.is_none_or(|tenant| tenant.slug != FIRST_TENANT) {
            let detail = format!("only the tenant {FIRST_TENANT} sees calls that belong to no tenant");
            return Err(VerbError::Forbidden(detail));
        }
        let refused = self.strangers.take();
        if let Err(error) = self.store.access_refused_add(&refused).await {
            self.strangers.put_back(refused);
            return Err(error.into());
        }
        Ok((self.store.access_refused_list(after, limit).await?, self.store.access_refused_count().await?))
    }
}
