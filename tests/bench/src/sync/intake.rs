//! The receiving end of a table: unpacks each page, marks each row as received, answers 200.

use std::{
    io::Read as _,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use crate::{Error, process};

/// Bytes of a page's packed body at most.
const BODY_MAX: usize = 64 << 20;

/// What was received since the last reset.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Received {
    /// Pages.
    pub(super) pages: u64,
    /// Rows, repeats included.
    pub(super) rows: u64,
    /// Rows by their number.
    pub(super) distinct: u64,
    /// The sum of a column, so that rows have to be whole.
    pub(super) cents: u64,
    /// Bytes of the pages as they were unpacked.
    pub(super) bytes: u64,
}

/// What it looks at in a row.
#[derive(Deserialize)]
struct Row {
    #[serde(alias = "r_e_c_n_o_", alias = "R_E_C_N_O_")]
    number: u64,
    #[serde(alias = "a1_lc", alias = "A1_LC")]
    credit: f64,
}

#[derive(Default)]
struct Seen {
    counts: Received,
    /// A bit for each row.
    bits: Vec<u64>,
}

type Shared = Arc<Mutex<Seen>>;

/// Serves until killed.
pub(crate) async fn run() -> Result<(), Error> {
    let router = Router::new()
        .route("/staging", post(receive))
        .route("/received", get(received))
        .route("/reset", post(reset))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Shared::default());
    let listener = process::announce().await?;
    Ok(axum::serve(listener, router).await?)
}

async fn receive(State(seen): State<Shared>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    if headers.get("content-encoding").is_none_or(|encoding| encoding != "gzip") {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, r#"{"error":"pages come packed"}"#);
    }
    let mut text = Vec::with_capacity(body.len() * 8);
    let unpacked = GzDecoder::new(body.as_ref()).read_to_end(&mut text);
    let rows = unpacked.ok().and_then(|_| serde_json::from_slice::<Vec<Row>>(&text).ok());
    let Some(rows) = rows else { return (StatusCode::BAD_REQUEST, r#"{"error":"no page of rows"}"#) };
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.counts.pages += 1;
    seen.counts.rows += rows.len() as u64;
    seen.counts.bytes += text.len() as u64;
    for row in rows {
        seen.mark(&row);
    }
    (StatusCode::OK, r#"{"status":"ok"}"#)
}

impl Seen {
    fn mark(&mut self, row: &Row) {
        let (word, bit) = ((row.number / 64) as usize, row.number % 64);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let Some(word) = self.bits.get_mut(word) else { return };
        if *word & (1 << bit) == 0 {
            *word |= 1 << bit;
            self.counts.distinct += 1;
            self.counts.cents += (row.credit * 100.0).round() as u64;
        }
    }
}

async fn received(State(seen): State<Shared>) -> Json<Received> {
    Json(seen.lock().unwrap_or_else(PoisonError::into_inner).counts)
}

async fn reset(State(seen): State<Shared>) {
    *seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
}
