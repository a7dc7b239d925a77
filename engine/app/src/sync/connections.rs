//! Sources that are open, by the names that jobs use; and how far behind each stream is.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use engate_model::{Timestamp, run::RunFailure};
use engate_source::{Connection, ConnectionOptions};

use crate::{
    config::NamedConnection,
    metrics::{Metrics, StreamLabels},
};

/// Streams whose lag is told at most.
const LAGS_MAX: usize = 10_000;

/// Connections to the tables of other systems.
pub(crate) struct Sources {
    configured: BTreeMap<String, NamedConnection>,
    open: Mutex<HashMap<String, Connection>>,
    /// Up to when, by this node's clock, a stream's target has everything.
    covered: Mutex<HashMap<StreamLabels, Timestamp>>,
}

impl Sources {
    pub(crate) fn new(configured: BTreeMap<String, NamedConnection>) -> Self {
        Self { configured, open: Mutex::default(), covered: Mutex::default() }
    }

    /// Names of those that a tenant may use.
    pub(crate) fn names(&self, tenant: &str) -> Vec<String> {
        let its = |connection: &NamedConnection| connection.tenants.iter().any(|slug| slug == tenant);
        self.configured.iter().filter(|(_, connection)| its(connection)).map(|(name, _)| name.clone()).collect()
    }

    /// What is configured under a name, for the tenant of that slug; what is another's is as if it were not there.
    ///
    /// # Errors
    /// `no_connection`.
    pub(crate) fn configured(&self, name: &str, tenant: &str) -> Result<&NamedConnection, RunFailure> {
        let its = |connection: &&NamedConnection| connection.tenants.iter().any(|slug| slug == tenant);
        self.configured.get(name).filter(its).ok_or_else(|| {
            let message = format!(
                "no connection of this tenant is called {name}; write its url under [connections.{name}] in the engine's \
                 configuration, and name the tenant in its tenants where that is not the first"
            );
            RunFailure { code: "no_connection".to_owned(), message, retryable: false }
        })
    }

    /// A connection; the same one for whoever may use it.
    ///
    /// # Errors
    /// `no_connection`, or what is wrong with its address.
    pub(crate) fn get(&self, name: &str, tenant: &str) -> Result<Connection, RunFailure> {
        let url = &self.configured(name, tenant)?.url;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = open.get(name) {
            return Ok(connection.clone());
        }
        let opened = Connection::open(url.expose(), ConnectionOptions::default());
        let connection = opened.map_err(|error| RunFailure {
            code: error.code().to_owned(),
            message: format!("connection {name}: {error}"),
            retryable: false,
        })?;
        open.insert(name.to_owned(), connection.clone());
        Ok(connection)
    }

    /// Closes every session.
    pub(crate) async fn close(&self) {
        let open: Vec<_> = self.open.lock().unwrap_or_else(PoisonError::into_inner).drain().collect();
        for (_, connection) in open {
            connection.close().await;
        }
    }

    /// A stream's target has everything up to `at`.
    pub(super) fn cover(&self, stream: StreamLabels, at: Timestamp) {
        let mut covered = self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        if covered.len() < LAGS_MAX || covered.contains_key(&stream) {
            covered.insert(stream, at);
        }
    }

    /// Has the metrics say how far behind each stream is by now.
    pub(crate) fn tell_lags(&self, metrics: &Metrics, now: Timestamp) {
        for (stream, at) in self.covered.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let seconds = i64::try_from(now.since(*at).as_secs()).unwrap_or(i64::MAX);
            metrics.sync_lag.get_or_create(stream).set(seconds);
        }
    }
}
