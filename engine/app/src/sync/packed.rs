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

use super::{Writes, reading::Batch};

/// Bytes of an unpacked page at most: a page's bound, and room for what is around the records.
const UNPACKED_MAX: u64 = 256 << 20;

/// A change with what is written down once it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(rename = "k")]
    pub(crate) key: String,
    #[serde(rename = "o")]
    pub(crate) operation: Operation,
    #[serde(rename = "d")]
    pub(crate) data: String,
    #[serde(rename = "h")]
    pub(crate) hash: RowHash,
    #[serde(rename = "s")]
    pub(crate) stamp: Option<Timestamp>,
    /// Whether the source has nothing of it any more, not even a mark.
    #[serde(rename = "g", default)]
    pub(crate) gone: bool,
}

impl Entry {
    pub(super) fn change(&self) -> Change {
        Change { key: self.key.clone(), operation: self.operation, data: self.data.clone() }
    }
}

/// What the source's plugin wants kept with it stands behind the changes, where there is any.
fn pack(entries: &[Entry], kept: &Writes) -> Result<Vec<u8>, RunFailure> {
    let pack = || {
        // As one piece: a packer is slow with many small ones.
        let mut text = serde_json::to_vec(entries)?;
        if !kept.is_empty() {
            serde_json::to_writer(&mut text, kept)?;
        }
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
        let (entries, kept) = (std::mem::take(&mut batch.entries), std::mem::take(&mut batch.kept));
        let packing = tokio::task::spawn_blocking(move || pack(&entries, &kept).map(|packed| (entries, kept, packed)));
        let packed;
        (batch.entries, batch.kept, packed) = packing.await.unwrap_or_else(|_| Err(unreadable("packing broke off")))?;
        Ok(Self { batch, packed })
    }
}

pub(super) fn unpack(packed: &[u8]) -> Result<(Vec<Entry>, Writes), RunFailure> {
    let mut text = Vec::new();
    let read = DeflateDecoder::new(packed).take(UNPACKED_MAX).read_to_end(&mut text);
    read.map_err(|error| unreadable(&error.to_string()))?;
    let unreadable = |error: serde_json::Error| unreadable(&error.to_string());
    let mut reader = serde_json::Deserializer::from_slice(&text);
    let entries = Vec::deserialize(&mut reader).map_err(unreadable)?;
    let kept = reader.into_iter().next().transpose().map_err(unreadable)?;
    Ok((entries, kept.unwrap_or_default()))
}

fn unreadable(why: &str) -> RunFailure {
    RunFailure {
        code: "page_unreadable".to_owned(),
        message: format!("the page in hand cannot be kept or read: {why}"),
        retryable: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_unpacked_as_it_was_with_what_a_plugin_keeps() {
        let entry = |n: u8| Entry {
            key: format!("k{n}"),
            operation: if n == 1 { Operation::Delete } else { Operation::Upsert },
            data: format!("{{\"n\": {n}}}"),
            hash: RowHash([n; 16]),
            stamp: (n == 0).then(|| Timestamp::from_millis(5)),
            gone: n == 1,
        };
        let entries: Vec<_> = (0..3).map(entry).collect();
        for kept in [Writes::new(), Writes::from([("a".to_owned(), Some(vec![0, 255])), ("b".to_owned(), None)])] {
            let packed = pack(&entries, &kept).unwrap();
            assert_eq!(unpack(&packed).unwrap(), (entries.clone(), kept));
            assert_eq!(unpack(&packed[..packed.len() / 2]).unwrap_err().code, "page_unreadable");
        }
    }
}
