//! What was asked of the services: the latest calls, and how many there were of each kind. Kept in memory; what was
//! *stored* is in the store and outlives the process, this does not.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

/// Calls kept; older ones are only counted.
const CALLS_KEPT: usize = 20_000;
/// Different paths counted; the rest is counted together.
const PATHS_COUNTED: usize = 2_000;

/// One call, as it was answered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Call {
    /// 1, 2, 3 ... since the stub started.
    pub(crate) number: u64,
    /// Milliseconds since 1970.
    pub(crate) at_ms: i64,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// Bytes of the body as they came.
    pub(crate) bytes: usize,
    /// `X-Auth-ConnectorId`, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connector: Option<String>,
    /// What was answered; none: the connection was closed, or the caller went away first.
    pub(crate) status: Option<u16>,
    /// Why it was refused, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    /// The fault that spoiled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<u64>,
    /// Whether the service did what was asked, whatever was answered.
    pub(crate) applied: bool,
}

#[derive(Default)]
struct Kept {
    number: u64,
    calls: VecDeque<Call>,
    counts: BTreeMap<String, u64>,
}

/// The calls.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Kept>);

impl Journal {
    pub(crate) fn add(&self, mut call: Call) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.number += 1;
        call.number = kept.number;
        let kind = format!("{} {}", call.method, call.path);
        let kind = if kept.counts.len() < PATHS_COUNTED || kept.counts.contains_key(&kind) { kind } else { "*".into() };
        *kept.counts.entry(kind).or_default() += 1;
        if kept.calls.len() == CALLS_KEPT {
            kept.calls.pop_front();
        }
        kept.calls.push_back(call);
    }

    /// The calls numbered above `after` whose path begins with `path`, oldest first.
    pub(crate) fn list(&self, after: u64, path: &str, most: usize) -> Vec<Call> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |call: &&Call| call.number > after && call.path.starts_with(path);
        kept.calls.iter().filter(wanted).take(most).cloned().collect()
    }

    /// How many calls each method and path had, and how many there were.
    pub(crate) fn counts(&self) -> (u64, BTreeMap<String, u64>) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.number, kept.counts.clone())
    }

    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }
}
