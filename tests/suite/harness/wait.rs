//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// Longest wait for anything that should happen at once; generous, since other work shares the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Looks until `look` finds something; after [`PATIENCE`] fails with `what` and what was seen last.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(PATIENCE, what, look).await
}

/// As [`eventually`], with a deadline of its own.
pub(crate) async fn within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + patience;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= end => panic!("{what}: not after {patience:?}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
