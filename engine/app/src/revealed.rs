//! Which reads of whole secrets stand in the audit already. An inbound's calls are written down one by one, being few;
//! deliveries and pages are many, so of them the first of each version, place and secret is written, on each node and after
//! each start.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use engate_host::Digest;
use engate_model::TenantId;

/// What is remembered at most; beyond it all is forgotten, and written down once more.
const HELD_MAX: usize = 65_536;

/// A secret that a plugin's version read whole for a place, by the place's id.
pub(crate) type Read = (TenantId, Digest, String, String);

/// What was written down since this node started.
#[derive(Default)]
pub(crate) struct Revealed {
    held: Mutex<HashSet<Read>>,
}

impl Revealed {
    /// Whether it was written down.
    pub(crate) fn has(&self, read: &Read) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).contains(read)
    }

    /// It was.
    pub(crate) fn add(&self, read: Read) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= HELD_MAX {
            held.clear();
        }
        held.insert(read);
    }
}
