//! Lets lanes go on that rest for a while: by their endpoint's rate, or until a probe is due.

use std::{sync::Arc, time::Duration};

use crate::engine::Engine;

/// Shortest pause between two looks; also how often it looks while no more requests may be under way.
const PAUSE_MIN: Duration = Duration::from_millis(1);

impl Engine {
    /// Starts what may go again, until the engine stops.
    pub(crate) async fn pace(self: Arc<Self>) {
        while !self.health.is_stopping() {
            match self.worker.next_pace() {
                Some(at) => {
                    let pause = at.since(self.now()).max(PAUSE_MIN);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.worker.pace.notified() => {}
                    }
                }
                None => self.worker.pace.notified().await,
            }
            self.start_ready();
        }
    }
}
