//! The small private state that a call sees: a snapshot, and the call's own writes over it.

use std::{collections::BTreeMap, sync::Arc};

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// State of one call.
#[derive(Debug, Default)]
pub(crate) struct StateView {
    snapshot: Arc<BTreeMap<String, Vec<u8>>>,
    writes: BTreeMap<String, Option<Vec<u8>>>,
    reads: Vec<(String, Option<Vec<u8>>)>,
    bytes: usize,
    bytes_max: usize,
}

/// Why a write is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateError {
    TooLarge,
    Quota,
}

/// Reads in their order, and writes.
pub(crate) type ReadsAndWrites = (Vec<(String, Option<Vec<u8>>)>, BTreeMap<String, Option<Vec<u8>>>);

impl StateView {
    /// A view over `snapshot` that may grow to `bytes_max`, keys and values together.
    pub(crate) fn new(snapshot: Arc<BTreeMap<String, Vec<u8>>>, bytes_max: usize) -> Self {
        let bytes = snapshot.iter().map(|(key, value)| key.len() + value.len()).sum();
        Self { snapshot, bytes, bytes_max, ..Self::default() }
    }

    /// The value under `key`. A read of the snapshot is recorded once: it cannot change within the call.
    pub(crate) fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        if let Some(written) = self.writes.get(key) {
            return written.clone();
        }
        let value = self.snapshot.get(key).cloned();
        if key.len() <= KEY_BYTES_MAX && !self.reads.iter().any(|(read, _)| read == key) {
            self.reads.push((key.to_owned(), value.clone()));
        }
        value
    }

    /// Sets `key`.
    pub(crate) fn put(&mut self, key: String, value: Vec<u8>) -> Result<(), StateError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || value.len() > self.bytes_max {
            return Err(StateError::TooLarge);
        }
        let bytes = self.bytes - self.size_of(&key) + key.len() + value.len();
        if bytes > self.bytes_max {
            return Err(StateError::Quota);
        }
        self.bytes = bytes;
        self.writes.insert(key, Some(value));
        Ok(())
    }

    /// Removes `key`.
    pub(crate) fn delete(&mut self, key: String) -> Result<(), StateError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(StateError::TooLarge);
        }
        self.bytes -= self.size_of(&key);
        self.writes.insert(key, None);
        Ok(())
    }

    /// What was read and what is to be written.
    pub(crate) fn finish(self) -> ReadsAndWrites {
        (self.reads, self.writes)
    }

    fn size_of(&self, key: &str) -> usize {
        match self.writes.get(key) {
            Some(written) => written.as_ref().map_or(0, |value| key.len() + value.len()),
            None => self.snapshot.get(key).map_or(0, |value| key.len() + value.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> StateView {
        StateView::new(Arc::new(BTreeMap::from([("a".to_owned(), vec![1, 2, 3])])), 10)
    }

    #[test]
    fn own_writes_are_seen_and_only_reads_of_the_snapshot_are_recorded() {
        let mut state = view();
        assert_eq!(state.get("a"), Some(vec![1, 2, 3]));
        state.put("a".to_owned(), vec![9]).unwrap();
        assert_eq!(state.get("a"), Some(vec![9]));
        state.delete("a".to_owned()).unwrap();
        assert_eq!(state.get("a"), None);
        assert_eq!(state.get("b"), None);
        assert_eq!(state.get("b"), None);
        let (reads, writes) = state.finish();
        assert_eq!(reads, [("a".to_owned(), Some(vec![1, 2, 3])), ("b".to_owned(), None)]);
        assert_eq!(writes, BTreeMap::from([("a".to_owned(), None)]));
    }

    #[test]
    fn isolation_22_the_quota_counts_keys_and_values_and_frees_what_is_replaced() {
        let mut state = view();
        assert_eq!(state.put("b".to_owned(), vec![0; 6]), Err(StateError::Quota));
        assert_eq!(state.put("b".to_owned(), vec![0; 5]), Ok(()));
        assert_eq!(state.put("c".to_owned(), vec![]), Err(StateError::Quota));
        state.delete("a".to_owned()).unwrap();
        assert_eq!(state.put("c".to_owned(), vec![0; 3]), Ok(()));
        assert_eq!(state.put("c".to_owned(), vec![0; 3]), Ok(()));
        assert_eq!(state.put("d".to_owned(), vec![0; 1 << 20]), Err(StateError::TooLarge));
        assert_eq!(state.put("k".repeat(1 << 20), vec![]), Err(StateError::TooLarge));
    }
}
