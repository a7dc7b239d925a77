//! Secrets that plugins read whole, in the audit. An inbound's calls are written down one by one, being few; deliveries and
//! pages are many, so of them the first of each version, place and secret is written, on each node and after each start.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use engate_host::Digest;
use engate_model::TenantId;
use engate_store::StoreError;
use serde_json::json;

use crate::{engine::Engine, views::PluginBinding};

/// What is remembered at most; beyond it all is forgotten, and written down once more.
const HELD_MAX: usize = 65_536;
/// The audit's word for it.
const ACTION: &str = "secret.reveal";

/// What was written down since this node started.
#[derive(Default)]
pub(crate) struct Revealed {
    held: Mutex<HashSet<(TenantId, Digest, String, String)>>,
}

impl Engine {
    /// Writes down, once, that a plugin's version read secrets whole for a place: `endpoint`, `job` and its id.
    ///
    /// # Errors
    /// When the database gives no answer; it is tried again with the next such read then.
    pub(crate) async fn tell_revealed(
        &self,
        tenant: TenantId,
        binding: &PluginBinding,
        (noun, id): (&str, &str),
        secrets: &[String],
    ) -> Result<(), StoreError> {
        for secret in secrets {
            let read = (tenant, binding.digest, id.to_owned(), secret.clone());
            if self.revealed.held.lock().unwrap_or_else(PoisonError::into_inner).contains(&read) {
                continue;
            }
            let detail = json!({ "plugin": binding.label, "digest": binding.digest.to_string(), noun: id });
            self.store.audit_append(&self.system_actor(), tenant, ACTION, secret, &detail).await?;
            let mut held = self.revealed.held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.len() >= HELD_MAX {
                held.clear();
            }
            held.insert(read);
        }
        Ok(())
    }
}
