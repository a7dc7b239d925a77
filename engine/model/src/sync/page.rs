//! What a page and a pass are called, and the sums by which sets of keys are compared.

use std::{collections::VecDeque, fmt::Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{job::Partition, pace::PageSize};
use crate::id::{JobId, TrackId, TypedId as _};

/// Some of the changes of the page in hand: those from `from` up to `to`, which is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The first one.
    pub from: u32,
    /// One behind the last one.
    pub to: u32,
}

impl Piece {
    /// All of so many changes.
    pub const fn all(changes: u32) -> Self {
        Self { from: 0, to: changes }
    }

    /// How many.
    pub const fn len(self) -> u32 {
        self.to - self.from
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.to == self.from
    }
}

/// What tells two versions of a record apart: half of a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowHash(pub [u8; 16]);

impl RowHash {
    /// Of a record as it is sent, and whether it is gone.
    pub fn of(data: &[u8], deleted: bool) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([u8::from(deleted)]);
        hasher.update(data);
        Self(half(&hasher.finalize()))
    }

    /// Its hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

impl std::fmt::Debug for RowHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// A sum over a set of keys that does not depend on their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// How many.
    pub count: u64,
    /// The wrapping sum of their hashes.
    pub sum: u64,
}

impl Checksum {
    /// Adds a key.
    pub fn add(&mut self, key: &str) {
        let digest = Sha256::digest(key.as_bytes());
        let mut first = [0; 8];
        first.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        self.count += 1;
        self.sum = self.sum.wrapping_add(u64::from_le_bytes(first));
    }

    /// Adds all keys of another set.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Cuts changes of these lengths, in bytes, into pieces of at most `size`, in their order. One change that is longer by itself
/// is a piece of its own.
pub fn cut(lengths: impl IntoIterator<Item = usize>, size: PageSize) -> VecDeque<Piece> {
    let (mut pieces, mut piece, mut bytes) = (VecDeque::new(), Piece { from: 0, to: 0 }, 0_usize);
    for length in lengths {
        let is_full = piece.len() >= size.rows.max(1) || bytes.saturating_add(length) > size.bytes as usize;
        if is_full && !piece.is_empty() {
            pieces.push_back(piece);
            (piece, bytes) = (Piece { from: piece.to, to: piece.to }, 0);
        }
        piece.to += 1;
        bytes = bytes.saturating_add(length);
    }
    if !piece.is_empty() {
        pieces.push_back(piece);
    }
    pieces
}

/// The track of a job's stream in a partition: the same for whoever asks.
pub fn track_id(job: JobId, stream: &str, partition: &Partition) -> TrackId {
    let job = job.to_string();
    let pairs = partition.iter().flat_map(|(dimension, value)| [dimension.as_str(), value.as_str()]);
    let parts: Vec<_> = [job.as_str(), stream].into_iter().chain(pairs).collect();
    TrackId::from_uuid(Uuid::from_bytes(digest(&parts)))
}

/// What a pass is called: the same for the same pass of the same track, whoever asks.
pub fn pass_id(track: &str, epoch: u32, number: u64) -> String {
    name(&[track, &epoch.to_string(), &number.to_string()])
}

/// What a page is called: the same whenever it is sent. Beside what it covers it depends on its place in the pass, since
/// a target that knows it from an earlier pass must not take newer records for a repeat.
pub fn page_id(track: &str, epoch: u32, pass: &str, sequence: u32, first_key: &str, last_key: &str) -> String {
    name(&[track, &epoch.to_string(), pass, &sequence.to_string(), first_key, last_key])
}

fn name(parts: &[&str]) -> String {
    hex(&digest(parts))
}

fn digest(parts: &[&str]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    half(&hasher.finalize())
}

fn half(digest: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    half
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_page_is_cut_without_a_gap_within_its_bounds(
            lengths in prop::collection::vec(0_usize..50, 0..80), rows in 0_u32..20, bytes in 0_u32..100,
        ) {
            let pieces = cut(lengths.iter().copied(), PageSize { rows, bytes });
            let mut next = 0;
            for piece in &pieces {
                prop_assert_eq!(piece.from, next);
                prop_assert!(!piece.is_empty() && piece.len() <= rows.max(1));
                let sum: usize = lengths[piece.from as usize..piece.to as usize].iter().sum();
                prop_assert!(sum <= bytes as usize || piece.len() == 1);
                next = piece.to;
            }
            prop_assert_eq!(next as usize, lengths.len());
        }
    }

    #[test]
    fn ids_depend_on_every_part_and_on_where_it_ends() {
        assert_eq!(page_id("t", 1, "p", 1, "a", "b"), page_id("t", 1, "p", 1, "a", "b"));
        let ids = [
            page_id("t", 1, "p", 1, "a", "b"),
            page_id("t", 1, "p", 1, "ab", ""),
            page_id("t", 2, "p", 1, "a", "b"),
            page_id("t", 1, "p", 2, "a", "b"),
            page_id("t", 1, "q", 1, "a", "b"),
        ];
        for (n, id) in ids.iter().enumerate() {
            assert!(!ids[n + 1..].contains(id), "{n}");
            assert_eq!(id.len(), 32);
        }
        assert_ne!(RowHash::of(b"{}", false), RowHash::of(b"{}", true));
    }

    #[test]
    fn sums_of_keys_do_not_depend_on_their_order() {
        let (mut one, mut other) = (Checksum::default(), Checksum::default());
        ["a", "b", "c"].iter().for_each(|key| one.add(key));
        ["c", "a", "b"].iter().for_each(|key| other.add(key));
        assert_eq!(one, other);
        other.add("d");
        assert_ne!(one, other);
    }
}
