//! The queue as a feed. The cursor carries the receipts of what was handed over; the next pull acknowledges them.

use engate_sdk::{Change, Feed, Operation, Problem, Pull, Request, encoding::percent, http};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use crate::Settings;

/// Bytes that the receipts of one cursor may take; a cursor has 4 KiB.
const RECEIPTS_BYTES_MAX: usize = 3_900;
/// Longest key that the engine takes, in bytes.
const KEY_BYTES_MAX: usize = 1_000;

/// What is to be acknowledged.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cursor {
    receipts: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Taken<'a> {
    #[serde(borrow, default)]
    messages: Vec<Message<'a>>,
}

#[derive(Debug, Deserialize)]
struct Message<'a> {
    receipt: String,
    #[serde(default)]
    r#type: Option<String>,
    #[serde(borrow)]
    message: &'a RawValue,
}

/// What is read of an envelope.
#[derive(Debug, Default, Deserialize)]
struct Envelope {
    #[serde(default)]
    id: Option<String>,
}

pub(crate) fn pull(settings: &Settings, pull: &Pull) -> Result<Feed, Problem> {
    let before: Cursor = pull.cursor()?.unwrap_or_default();
    if !before.receipts.is_empty() {
        let acknowledge = Request::post(&settings.url("/api/v1/link/ack")).json(&before)?;
        // One that was acknowledged before is not known any more, which is no failure of this call.
        http::fetch(&settings.authorized(acknowledge))?;
    }
    let most = pull.max_changes.min(settings.receive.max_messages).max(1);
    let audience = settings.receive.audience.as_deref();
    let audience = audience.map_or_else(String::new, |audience| format!("&audience={}", percent(audience)));
    let get = Request::get(&settings.url(&format!("/api/v1/link/get?max={most}{audience}")));
    let response = http::fetch(&settings.authorized(get))?;
    let taken: Taken<'_> = response.json().ok_or_else(|| {
        Problem::new("smartlink_unreadable", "SmartLink's answer has no list of messages").retryable()
    })?;
    let mut cursor = Cursor::default();
    let mut changes: Vec<Change> = Vec::new();
    let mut bytes = 0;
    for message in taken.messages {
        bytes += message.receipt.len() + 3;
        if bytes > RECEIPTS_BYTES_MAX {
            // The rest is not acknowledged, and so comes again.
            break;
        }
        let change = change(&message);
        // The same message twice has two receipts and is one change.
        if !changes.iter().any(|other| other.key == change.key) {
            changes.push(change);
        }
        cursor.receipts.push(message.receipt);
    }
    let more = !cursor.receipts.is_empty();
    let mut feed = Feed::after(&cursor)?.more(more);
    feed.changes = changes;
    Ok(feed)
}

/// The message's envelope, known by its id or, where it has none, by what it says. One that is no JSON object is handed over
/// all the same: refused, it would stand in the queue's way.
fn change(message: &Message<'_>) -> Change {
    let unquoted: Option<String> = serde_json::from_str(message.message.get()).ok();
    let text = unquoted.as_deref().unwrap_or(message.message.get());
    let object = serde_json::from_str::<&RawValue>(text).ok().filter(|raw| raw.get().starts_with('{'));
    let data = match object {
        Some(raw) => raw.get().to_owned(),
        None => json!({"type": message.r#type, "unreadable": text}).to_string(),
    };
    let envelope: Envelope = serde_json::from_str(&data).unwrap_or_default();
    let id = envelope.id.filter(|id| !id.is_empty() && id.len() <= KEY_BYTES_MAX);
    Change { key: id.unwrap_or_else(|| fingerprint(&data)), operation: Operation::Upsert, data }
}

/// 128 bits of FNV-1a over the text.
fn fingerprint(text: &str) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = text.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}
