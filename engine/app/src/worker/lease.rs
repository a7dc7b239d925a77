//! Keeps this node's claim on the deliveries it holds.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use engate_store::{NodeSerial, Renewal, StoreError};

use crate::{engine::Engine, health::Part};

/// Breath taken before a new serial, so that one fault that hits many tasks counts once.
const DOUBT_PAUSE: Duration = Duration::from_millis(100);

impl Engine {
    /// Takes a serial for this node; what an earlier one of its name held is given back.
    pub(crate) async fn lease_take(&self) -> Result<(), StoreError> {
        let lease = self.config.limits.lease;
        let now = self.now();
        let serial = self.store.node_register(&self.node_name(), lease, now).await?;
        *self.worker.serial() = Some(serial);
        self.worker.lease_until.store(now.after(lease).as_micros(), Ordering::Release);
        self.health.alive(Part::Lease, now);
        Ok(())
    }

    /// Renews the lease until the engine stops.
    pub(crate) async fn lease_keep(self: Arc<Self>) {
        let pause = self.config.limits.lease / 3;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.worker.doubt.notified() => tokio::time::sleep(DOUBT_PAUSE).await,
            }
            if self.health.is_stopping() {
                return;
            }
            if let Err(error) = self.lease_turn().await {
                tracing::error!(%error, "the node's lease could not be renewed; trying again");
            }
        }
    }

    async fn lease_turn(&self) -> Result<(), StoreError> {
        let serial = *self.worker.serial();
        let Some(serial) = serial else { return self.lease_take().await };
        if self.worker.suspect.swap(false, Ordering::AcqRel) {
            tracing::warn!("store and memory may differ after a fault; taking a new serial and fetching work again");
            return self.lease_anew(serial).await.inspect_err(|_| self.worker.suspect.store(true, Ordering::Release));
        }
        let lease = self.config.limits.lease;
        let now = self.now();
        match self.store.node_renew(serial, lease, now).await? {
            Renewal::Renewed => {
                self.worker.lease_until.store(now.after(lease).as_micros(), Ordering::Release);
                self.health.alive(Part::Lease, now);
                Ok(())
            }
            Renewal::Lost => {
                tracing::warn!("this node was silent for longer than its lease; its deliveries went to others");
                self.lease_anew(serial).await
            }
        }
    }

    /// Forgets everything queued, and takes a new serial. Attempts under way go on, but those that keep an order; the
    /// store refuses what they bring if another has taken over by then.
    async fn lease_anew(&self, old: NodeSerial) -> Result<(), StoreError> {
        *self.worker.serial() = None;
        drop(self.worker.lanes().drain());
        self.worker.break_off_lines().await;
        self.store.node_leave(old, self.now()).await?;
        self.lease_take().await?;
        self.worker.wake();
        Ok(())
    }

    /// Waits for what is under way, then gives everything still held back to the store.
    pub(crate) async fn drain(&self) {
        self.worker.stopping.store(true, Ordering::Release);
        drop(self.worker.lanes().drain());
        if !self.worker.settle(self.config.limits.drain).await {
            tracing::warn!("requests were still under way at the end of the drain; their deliveries are tried again");
        }
        let serial = self.worker.serial().take();
        self.worker.break_off_lines().await;
        if let Some(serial) = serial
            && let Err(error) = self.store.node_leave(serial, self.now()).await
        {
            tracing::warn!(%error, "what this node held could not be given back; it is taken over when the lease ends");
        }
    }

    fn node_name(&self) -> String {
        self.config.node.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
            format!("{}:{}", host.trim(), self.config.listen.port())
        })
    }
}
