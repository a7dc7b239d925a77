//! Whether this process does its work.

use std::time::Duration;

use crate::engine::Engine;

/// How long the database may take to answer before it counts as down.
const PING_TIME_MAX: Duration = Duration::from_secs(3);

/// What works and what does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Whether the database answers.
    pub(crate) database: bool,
    /// Background parts that fell silent.
    pub(crate) silent: Vec<&'static str>,
    /// Whether the engine was told to stop.
    pub(crate) stopping: bool,
}

impl Report {
    /// Whether everything works.
    pub(crate) fn is_healthy(&self) -> bool {
        self.database && self.silent.is_empty()
    }

    /// Whether calls should come here.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_healthy() && !self.stopping
    }
}

impl Engine {
    /// Asks the database and the background parts.
    pub(crate) async fn health_report(&self) -> Report {
        let database = match tokio::time::timeout(PING_TIME_MAX, self.store.ping()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database does not answer");
                false
            }
            Err(_) => {
                tracing::warn!("the database does not answer in time");
                false
            }
        };
        Report { database, silent: self.health.silent(self.now()), stopping: self.health.is_stopping() }
    }
}
