//! Instances kept for the next call of the same installation.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use engate_model::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;

use crate::{code::Code, instance::CallState, v0_1::Instance};

/// A live instance with its place in the pool. The store goes first, then the place.
pub(crate) struct Live {
    pub(crate) instance: Instance,
    pub(crate) store: Store<CallState>,
    pub(crate) calls: u32,
    pub(crate) permits: Permits,
}

/// A place in the pool and one in the plugin's share of it.
pub(crate) struct Permits {
    pub(crate) _share: OwnedSemaphorePermit,
    pub(crate) _pool: OwnedSemaphorePermit,
}

/// Idle instances by machine code and installation, never one without the other.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<HashMap<(Code, String), Vec<Idle>>>);

struct Idle {
    live: Live,
    since: Timestamp,
}

impl Shelf {
    /// The instance that was last put back, whose memory is the warmest.
    pub(crate) fn take(&self, code: &Code, installation: &str) -> Option<Live> {
        let mut shelf = self.lock();
        let key = (*code, installation.to_owned());
        let idle = shelf.get_mut(&key)?;
        let live = idle.pop().map(|idle| idle.live);
        if idle.is_empty() {
            shelf.remove(&key);
        }
        live
    }

    /// Keeps an instance, unless `max_idle` are there or the host keeps `total_max` already.
    pub(crate) fn put(
        &self,
        code: &Code,
        installation: &str,
        live: Live,
        max_idle: u32,
        total_max: usize,
        since: Timestamp,
    ) {
        let surplus = {
            let mut shelf = self.lock();
            let total: usize = shelf.values().map(Vec::len).sum();
            let here = shelf.entry((*code, installation.to_owned())).or_default();
            if here.len() < max_idle as usize && total < total_max {
                here.push(Idle { live, since });
                None
            } else {
                Some(live)
            }
        };
        // Tearing an instance down takes a while; nobody waits for the lock meanwhile.
        drop(surplus);
    }

    /// Drops idle instances that `keep` does not want; says how many.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&Code, Timestamp) -> bool) -> usize {
        let mut dropped = Vec::new();
        self.lock().retain(|(code, _), idle| {
            dropped.extend(idle.extract_if(.., |idle| !keep(code, idle.since)));
            !idle.is_empty()
        });
        dropped.len()
    }

    /// Idle instances kept.
    pub(crate) fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Code, String), Vec<Idle>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
