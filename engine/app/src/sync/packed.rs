//! The page in hand as it is kept: packed, and the same after it is unpacked.

use std::io::{Read as _, Write as _};

use engate_model::{
    Timestamp,
    run::RunFailure,
    sink::{Change, Operation},
    sync::RowHash,
};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde::{Deserialize, Serialize};

use super::reading::Batch;

/// Bytes of an unpacked page at most: a page's bound, and room for what is around the records.
const UNPACKED_MAX: u64 = 256 << 20;

/// A change with what is written down once it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "k")]
    pub(super) key: String,
    #[serde(rename = "o")]
    pub(super) operation: Operation,
    #[serde(rename = "d")]
    pub(super) data: String,
    #[serde(rename = "h")]
    pub(super) hash: RowHash,
    #[serde(rename = "s")]
    pub(super) stamp: Option<Timestamp>,
    /// Whether the source has nothing of it any more, not even a mark.
    #[serde(rename = "g", default)]
    pub(super) gone: bool,
}

impl Entry {
    pub(super) fn change(&self) -> Change {
        Change { key: self.key.clone(), operation: self.operation, data: self.data.clone() }
    }
}

fn pack(entries: &[Entry]) -> Result<Vec<u8>, RunFailure> {
    let pack = || {
        // As one piece: a packer is slow with many small ones.
        let text = serde_json::to_vec(entries)?;
        let mut encoder = DeflateEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
        encoder.write_all(&text)?;
        encoder.finish()
    };
    pack().map_err(|error: std::io::Error| unreadable(&error.to_string()))
}

/// What was read, and its changes as they are written down.
pub(super) struct Ahead {
    pub(super) batch: Batch,
    pub(super) packed: Vec<u8>,
}

impl Ahead {
    /// Packs what was read where other tasks do not wait for it.
    pub(super) async fn of(mut batch: Batch) -> Result<Self, RunFailure> {
        let entries = std::mem::take(&mut batch.entries);
        let packing = tokio::task::spawn_blocking(move || pack(&entries).map(|packed| (entries, packed)));
        let (entries, packed) = packing.await.unwrap_or_else(|_| Err(unreadable("packing broke off")))?;
        batch.entries = entries;
        Ok(Self { batch, packed })
    }
}

pub(super) fn unpack(packed: &[u8]) -> Result<Vec<Entry>, RunFailure> {
    let mut text = Vec::new();
    let read = DeflateDecoder::new(packed).take(UNPACKED_MAX).read_to_end(&mut text);
    read.map_err(|error| unreadable(&error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| unreadable(&error.to_string()))
}

fn unreadable(why: &str) -> RunFailure {
    RunFailure {
        code: "page_unreadable".to_owned(),
        message: format!("the page in hand cannot be kept or read: {why}"),
        retryable: false,
    }
}
