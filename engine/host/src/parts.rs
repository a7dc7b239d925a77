//! Functions that were compiled before, for quick code. A developer's next component differs from the last one in little:
//! a language's runtime inside it is the same every time. Each function's code is kept by the hash that Cranelift
//! computes over everything it depends on, so that a part can be old but never wrong.
//!
//! All parts are one file, which the compiling child reads whole; what is new it writes to a file of its own, and the
//! engine puts that behind the others. The file has a seal like the code that comes of it.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt, fs, io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use wasmtime::CacheStore;

/// Largest file of parts, in bytes; it is begun anew beyond. Python's are some tens of MiB.
pub(crate) const FILE_BYTES_MAX: u64 = 256 << 20;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes before a part: its key and its length.
const HEAD_BYTES: usize = KEY_BYTES + 4;

type Key = [u8; KEY_BYTES];

/// What was there, and what this compilation adds.
pub(crate) struct Parts {
    file: Vec<u8>,
    there: HashMap<Key, std::ops::Range<usize>>,
    new: Mutex<Vec<u8>>,
}

impl Parts {
    /// Reads a file of parts; one that is not there, or ends within a part, has what can be read of it.
    pub(crate) fn read(path: &Path) -> Self {
        let file = fs::read(path).unwrap_or_default();
        let mut there = HashMap::new();
        let mut at = 0;
        while let Some((key, part)) = part_at(&file, at) {
            at = part.end;
            there.insert(key, part);
        }
        Self { file, there, new: Mutex::default() }
    }

    /// Writes what was added; nothing where nothing was.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write_new(&self, path: &Path) -> io::Result<()> {
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        if new.is_empty() { Ok(()) } else { fs::write(path, &*new) }
    }
}

fn part_at(file: &[u8], at: usize) -> Option<(Key, std::ops::Range<usize>)> {
    let head = file.get(at..at + HEAD_BYTES)?;
    let (key, length) = head.split_at(KEY_BYTES);
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let start = at + HEAD_BYTES;
    let end = start.checked_add(length)?;
    (end <= file.len()).then_some((key.try_into().ok()?, start..end))
}

impl CacheStore for Parts {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let range = self.there.get(key)?.clone();
        self.file.get(range).map(Cow::Borrowed)
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let (Ok(key), Ok(length)) = (Key::try_from(key), u32::try_from(value.len())) else { return false };
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.extend_from_slice(&key);
        new.extend_from_slice(&length.to_le_bytes());
        new.extend_from_slice(&value);
        true
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("there", &self.there.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_the_next_time_and_a_torn_end_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let (path, key, other) = (dir.path().join("parts"), [7; KEY_BYTES], [8; KEY_BYTES]);
        let parts = Parts::read(&path);
        parts.write_new(&path).unwrap();
        assert!(!path.exists(), "nothing new, nothing written");
        assert!(
            parts.insert(&key, b"code".to_vec()) && parts.insert(&other, vec![]) && !parts.insert(b"short", vec![])
        );
        assert_eq!(parts.get(&key), None, "this compilation has it already");
        parts.write_new(&path).unwrap();
        let parts = Parts::read(&path);
        assert_eq!(parts.get(&key).as_deref(), Some(&b"code"[..]));
        assert_eq!(parts.get(&other).as_deref(), Some(&b""[..]));
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let parts = Parts::read(&path);
            assert_eq!(parts.get(&key).is_some(), length >= HEAD_BYTES + 4, "{length} bytes");
            assert_eq!(parts.get(&other), None);
        }
    }
}
