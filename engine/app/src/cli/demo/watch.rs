//! Watches deliveries through the API, as anyone could.

use std::{collections::HashMap, time::Instant};

use super::super::{
    client::Client,
    delivery::{Attempt, Delivery},
    failure::Failure,
};

/// Deliveries of a partner whose attempts are looked into.
const SAMPLES_MAX: usize = 20;
/// How far back a poll looks, in seconds: every delivery of the demo ends within a few.
const WINDOW_SECONDS: i64 = 120;

/// A delivery as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tracked {
    /// `dlv_...`, which partners know as `webhook-id`.
    pub(super) id: String,
    /// The running number.
    pub(super) code: i64,
    /// `evt_...`
    pub(super) event: String,
    /// Key of the event's type.
    pub(super) event_type: String,
    /// Which partner.
    pub(super) partner: usize,
    /// Stable code of where it stands.
    pub(super) state: String,
    /// What last went wrong.
    pub(super) reason: Option<String>,
    /// Tries made.
    pub(super) attempts: u32,
}

impl Tracked {
    /// Whether nothing more happens to it.
    pub(super) fn is_finished(&self) -> bool {
        !matches!(self.state.as_str(), "pending" | "delivering" | "parked")
    }

    /// Whether the partner took it.
    pub(super) fn is_taken(&self) -> bool {
        self.state == "succeeded"
    }
}

/// All deliveries of the demo.
#[derive(Debug)]
pub(super) struct Watch {
    deliveries: HashMap<String, Tracked>,
    since: chrono::DateTime<chrono::Utc>,
    /// When an event's 202 was here, by the event's id.
    pub(super) accepted: HashMap<String, Instant>,
    /// Deliveries that the engine's 202s spoke of.
    pub(super) promised: usize,
}

impl Watch {
    /// Nothing seen yet.
    pub(super) fn new() -> Self {
        Self { deliveries: HashMap::new(), since: chrono::Utc::now(), accepted: HashMap::new(), promised: 0 }
    }

    /// Asks the engine; gives the deliveries that moved on, by code.
    pub(super) async fn poll(
        &mut self,
        client: &Client,
        partner_of: &HashMap<String, usize>,
    ) -> Result<Vec<Tracked>, Failure> {
        let window = chrono::Utc::now() - chrono::TimeDelta::seconds(WINDOW_SECONDS);
        let from = window.max(self.since - chrono::TimeDelta::seconds(1));
        let query = [("created_from", from.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))];
        let listing = client.list_all(&["v1", "deliveries"], &query).await?;
        let mut moved = Vec::new();
        for delivery in listing.rows::<Delivery>()? {
            let Some(partner) = partner_of.get(&delivery.endpoint) else { continue };
            let tracked = Tracked {
                id: delivery.id,
                code: delivery.code,
                event: delivery.event,
                event_type: delivery.event_type,
                partner: *partner,
                state: delivery.state,
                reason: delivery.reason,
                attempts: delivery.attempts,
            };
            if self.deliveries.get(&tracked.id) != Some(&tracked) {
                self.deliveries.insert(tracked.id.clone(), tracked.clone());
                moved.push(tracked);
            }
        }
        moved.sort_unstable_by_key(|tracked| tracked.code);
        Ok(moved)
    }

    /// A partner's deliveries, by code.
    pub(super) fn of(&self, partner: usize) -> Vec<&Tracked> {
        let mut of: Vec<_> = self.deliveries.values().filter(|tracked| tracked.partner == partner).collect();
        of.sort_unstable_by_key(|tracked| tracked.code);
        of
    }

    /// Every delivery, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Tracked> {
        self.deliveries.values()
    }

    /// Whether everything that was promised is there and finished.
    pub(super) fn is_complete(&self) -> bool {
        self.deliveries.len() == self.promised && self.all().all(Tracked::is_finished)
    }

    /// The last attempts of a partner's first finished deliveries.
    pub(super) async fn last_attempts(&self, client: &Client, partner: usize) -> Result<Vec<Attempt>, Failure> {
        let mut last = Vec::new();
        for tracked in self.of(partner).into_iter().filter(|tracked| tracked.is_finished()).take(SAMPLES_MAX) {
            let attempts = client.list(&["v1", "deliveries", &tracked.id, "attempts"], &[]).await?;
            last.extend(attempts.rows::<Attempt>()?.into_iter().max_by_key(|attempt| attempt.number));
        }
        Ok(last)
    }
}
