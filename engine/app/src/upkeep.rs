//! What has to be done from time to time, and waits for nobody: the audit's chain is linked, last uses and refused calls are
//! written down, entries older than they are kept are forgotten. Every step may be done twice or on several nodes at once.

use std::{sync::Arc, time::Duration};

use engate_store::StoreError;
use tokio::sync::watch;

use crate::engine::Engine;

/// Between two looks for audit entries to be linked.
const EVERY: Duration = Duration::from_secs(1);
/// Looks between two times that counts are written down.
const NOTES_EVERY: u64 = 10;
/// Looks between two times that old entries are looked for.
const FORGET_EVERY: u64 = 600;
/// Steps of forgetting in a row, so that nothing else waits long.
const FORGET_STEPS_MAX: u32 = 50;

impl Engine {
    /// Does it all until told to stop, and a last time then.
    pub(crate) async fn upkeep(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut look: u64 = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            tell(self.seal_audit().await, "the audit could not be linked; trying again");
            if look.is_multiple_of(NOTES_EVERY) {
                tell(self.write_notes().await, "last uses and refused calls could not be written down; trying again");
            }
            if look.is_multiple_of(FORGET_EVERY) {
                tell(self.forget_audit().await, "old entries could not be forgotten; trying again");
                tell(self.tracks_forget().await, "what deleted jobs left could not be forgotten; trying again");
            }
            look += 1;
        }
    }

    /// The last of it, once no more calls come.
    pub(crate) async fn upkeep_end(&self) {
        tell(self.write_notes().await, "last uses and refused calls could not be written down");
        tell(self.seal_audit().await, "the audit could not be linked; the next start does it");
    }

    async fn seal_audit(&self) -> Result<(), StoreError> {
        for tenant in self.store.audit_unsealed().await? {
            self.store.audit_seal(tenant).await?;
        }
        Ok(())
    }

    async fn write_notes(&self) -> Result<(), StoreError> {
        let used = self.tokens.take_used();
        if !used.is_empty() {
            // What is lost here is made good by the token's next use.
            self.store.token_touch(&used).await?;
        }
        let refused = self.strangers.take();
        if !refused.is_empty()
            && let Err(error) = self.store.access_refused_add(&refused).await
        {
            self.strangers.put_back(refused);
            return Err(error);
        }
        Ok(())
    }

    /// The audit's own: what else is old is the business of `retention`.
    async fn forget_audit(&self) -> Result<(), StoreError> {
        let Some(kept) = self.config.audit.entries else { return Ok(()) };
        let before = self.now().before(kept);
        for tenant in self.store.audit_tenants().await? {
            for _ in 0..FORGET_STEPS_MAX {
                if self.store.audit_purge(&self.system_actor(), tenant, before).await? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn tell(done: Result<(), StoreError>, what: &'static str) {
    if let Err(error) = done {
        tracing::warn!(%error, what, "upkeep");
    }
}
