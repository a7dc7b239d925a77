//! Reading on after a refusal. Who is sending a large body finds its connection closed if nobody reads it, and reports
//! that instead of the answer that says why.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody as _},
    extract::Request,
};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::verbs::plugins::COMPONENT_BYTES_MAX;

/// How much is read on: the largest body that any call takes.
const BYTES_MAX: usize = COMPONENT_BYTES_MAX;
/// For how long.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Reads what is left of a refused call and throws it away, beside the answer, within bounds of size and time.
pub(super) fn read_on(request: Request) {
    let body = request.into_body();
    if !body.is_end_stream() {
        tokio::spawn(timeout(TIME_MAX, throw_away(body)));
    }
}

async fn throw_away(body: Body) {
    let (mut body, mut left) = (body.into_data_stream(), BYTES_MAX);
    while let Some(Ok(chunk)) = body.next().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
