//! The receiving end: counts distinct ids, answers 200 with a small JSON body.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use crate::{Error, process};

/// What the sink has seen since the last reset.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Posts.
    pub(crate) posts: usize,
    /// Distinct `webhook-id`s.
    pub(crate) distinct: usize,
    /// Body bytes.
    pub(crate) bytes: usize,
}

#[derive(Default)]
struct Counts {
    posts: usize,
    bytes: usize,
    ids: HashSet<String>,
}

type Shared = Arc<Mutex<Counts>>;

/// Serves until killed.
pub(crate) async fn run() -> Result<(), Error> {
    let router = Router::new()
        .route("/", post(receive))
        .route("/seen", get(seen))
        .route("/reset", post(reset))
        .with_state(Shared::default());
    let listener = process::announce().await?;
    Ok(axum::serve(listener, router).await?)
}

async fn receive(State(counts): State<Shared>, headers: HeaderMap, body: Bytes) -> &'static str {
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    counts.posts += 1;
    counts.bytes += body.len();
    counts.ids.insert(id.to_owned());
    r#"{"status":"ok"}"#
}

async fn seen(State(counts): State<Shared>) -> Json<Seen> {
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    Json(Seen { posts: counts.posts, distinct: counts.ids.len(), bytes: counts.bytes })
}

async fn reset(State(counts): State<Shared>) {
    *counts.lock().unwrap_or_else(PoisonError::into_inner) = Counts::default();
}
