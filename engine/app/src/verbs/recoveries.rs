//! Recoveries: after a partner's outage or a plugin's defect all that failed in a time is tried again, one delivery after
//! the other at a rate, for as long as it takes.
//!
//! Who acts here: an operator, who counts first, starts, looks and calls off; and every node's `recoveries_keep`, which
//! goes on with whatever is due. A node remembers nothing of one: its place and counts are in its row, and the store
//! moves them in the transaction that sets the delivery due.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use engate_model::{
    EndpointId, IntegratorId, Invalid, RecoveryId, Timestamp,
    delivery::{Delivery, DeliveryState},
    invalid::Complaints,
    listing::Sort,
    recovery::{ENDPOINT_DELETED, RUNNING_MAX, Recovery, RecoveryFilter, RecoveryState, refused_in},
    token::Principal,
};
use engate_store::{
    DeliveryFilter, PLUGIN_FAULTY, Page, RecoveryCancelled, RecoveryPage, Stepped, StoreError, StretchTime,
    SuccessFilter, TOTAL_EXACT_MAX,
};
use tokio::sync::watch;

use super::VerbError;
use crate::{engine::Engine, metrics::RecoveryLabels};

/// Between two looks for what is due, where nothing is due before.
const EVERY: Duration = Duration::from_secs(1);
/// Between the beginnings of two looks at least: one costs a listing, and goes through several deliveries where the rate has
/// them.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Recoveries that are gone on with in one look.
const RECOVERIES_PER_LOOK: u32 = 20;
/// Deliveries of one recovery that one look goes through.
const STEPS_PER_LOOK: u64 = 100;
/// How long a look goes on searching for a recovery's next delivery, and how long for one part of the codes. No person
/// waits for it, but others' recoveries do, and the end of the node.
const SEARCH_TIME: StretchTime = StretchTime { enough: Duration::from_millis(500), most: Duration::from_secs(10) };
/// How long one is left alone after what it needs did not work.
const TROUBLE_PAUSE: Duration = Duration::from_secs(10);
/// Deliveries read at a time while they are counted.
const ROWS_AT_ONCE: u32 = 500;

/// What an operator wants to have tried again.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecoveryWish {
    /// Which deliveries, but for the integrators.
    pub(crate) filter: RecoveryFilter,
    /// Of one of these integrators, by id or slug.
    pub(crate) integrators: Vec<String>,
    /// Created at this instant or later.
    pub(crate) since: Timestamp,
    /// Created before this instant; none: up to now.
    pub(crate) until: Option<Timestamp>,
    /// Deliveries a second.
    pub(crate) rate: u32,
}

/// What would be tried again, and what not.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecoveryFound {
    /// Deliveries that match, or a number that they are not below.
    pub(crate) matched: u64,
    /// Whether it is such a number: only the first of them, by code, were looked at for what follows.
    pub(crate) estimated: bool,
    /// How many of those looked at go to each endpoint; the most first.
    pub(crate) endpoints: Vec<(EndpointId, IntegratorId, u64)>,
    /// How many of them there are of each reason; the most first.
    pub(crate) reasons: Vec<(Option<String>, u64)>,
    /// How many of them cannot be tried again as they are now, by why.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
}

/// A wish, read.
struct Settled {
    filter: RecoveryFilter,
    since: Timestamp,
    until: Timestamp,
}

impl Engine {
    /// Counts what a recovery would go through; nothing is changed.
    pub(crate) async fn recovery_count(
        &self,
        principal: &Principal,
        wish: RecoveryWish,
    ) -> Result<RecoveryFound, VerbError> {
        let settled = self.recovery_settled(principal, wish).await?;
        self.recovery_found(principal, &settled).await
    }

    /// Starts a recovery; some node goes on with it within a second.
    pub(crate) async fn recovery_start(
        &self,
        principal: &Principal,
        wish: RecoveryWish,
    ) -> Result<Recovery, VerbError> {
        let rate = wish.rate;
        let settled = self.recovery_settled(principal, wish).await?;
        let found = self.recovery_found(principal, &settled).await?;
        let now = self.now();
        let recovery = Recovery {
            id: RecoveryId::new(now, self.chance.bits()),
            tenant: principal.tenant,
            filter: settled.filter,
            since: settled.since,
            until: settled.until,
            rate,
            state: RecoveryState::Running,
            matched: found.matched,
            matched_estimated: found.estimated,
            position: 0,
            retried: 0,
            skipped: BTreeMap::new(),
            trouble: None,
            created_by: principal.client.clone(),
            started_at: now,
            finished_at: None,
            next_at: Some(now),
        };
        match self.store.recovery_create(&self.actor(principal), &recovery).await {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => {
                let detail = format!(
                    "{RUNNING_MAX} recoveries of this tenant are under way; wait for one to end, or cancel one"
                );
                return Err(VerbError::Busy { code: "too_many_recoveries", detail });
            }
            Err(error) => return Err(error.into()),
        }
        // As for a single retry: an endpoint that is left alone because it failed gets its probe with the first one.
        for (endpoint, ..) in &found.endpoints {
            self.worker.probe_now(*endpoint, now);
        }
        Ok(recovery)
    }

    /// One recovery.
    pub(crate) async fn recovery_get(&self, principal: &Principal, id: RecoveryId) -> Result<Recovery, VerbError> {
        let found = self.store.recovery_get(principal.tenant, id).await?;
        found.ok_or(VerbError::NotFound("recovery"))
    }

    /// The tenant's recoveries, the newest first.
    pub(crate) async fn recovery_list(
        &self,
        principal: &Principal,
        after: Option<RecoveryId>,
        limit: u32,
    ) -> Result<RecoveryPage, VerbError> {
        Ok(self.store.recovery_list(principal.tenant, after, limit).await?)
    }

    /// Calls a recovery off; what it set due goes on.
    pub(crate) async fn recovery_cancel(&self, principal: &Principal, id: RecoveryId) -> Result<Recovery, VerbError> {
        match self.store.recovery_cancel(&self.actor(principal), principal.tenant, id).await? {
            RecoveryCancelled::Cancelled => self.recovery_get(principal, id).await,
            RecoveryCancelled::AlreadyOver(state) => {
                let detail = format!("the recovery is {} already", state.code());
                Err(VerbError::conflict("not_allowed_in_state", detail))
            }
        }
    }

    /// Names found, times checked, and what failed for good where the wish says neither state nor success.
    async fn recovery_settled(&self, principal: &Principal, wish: RecoveryWish) -> Result<Settled, VerbError> {
        let now = self.now();
        let mut complaints = Complaints::default();
        match wish.until {
            _ if wish.since >= now => complaints.add("since", "must be in the past"),
            Some(until) if until <= wish.since => complaints.add("until", "must be later than `since`"),
            _ => {}
        }
        let RecoveryFilter { attempts_min, attempts_max, .. } = wish.filter;
        if attempts_min.zip(attempts_max).is_some_and(|(least, most)| least > most) {
            complaints.add("filter.attempts_lte", "must not be less than attempts_gte");
        }
        complaints.finish(())?;
        let mut filter = wish.filter;
        if filter.states.is_empty() && filter.success.is_empty() {
            filter.states = vec![DeliveryState::Failed];
        }
        for named in &wish.integrators {
            match self.integrator_named(principal, named).await {
                Ok(id) => filter.integrators.push(id),
                Err(VerbError::Invalid(invalid)) => return Err(invalid.below("filter").into()),
                Err(error) => return Err(error),
            }
        }
        // What comes in from now on is none of it, however long it takes.
        Ok(Settled { filter, since: wish.since, until: wish.until.map_or(now, |until| until.min(now)) })
    }

    /// Looks at what matches, up to what a listing counts exactly.
    async fn recovery_found(&self, principal: &Principal, settled: &Settled) -> Result<RecoveryFound, VerbError> {
        let view = self.views.get(&self.store, principal.tenant).await?;
        let filter = listed(&settled.filter, settled.since, settled.until);
        let sort = Sort::default();
        let mut found = RecoveryFound::default();
        let mut endpoints: HashMap<(EndpointId, IntegratorId), u64> = HashMap::new();
        let mut reasons: HashMap<Option<String>, u64> = HashMap::new();
        let mut page = Page { after: None, limit: ROWS_AT_ONCE };
        let mut total = None;
        loop {
            // The total is asked for once.
            let read = if page.after.is_none() {
                self.store.delivery_list(principal.tenant, &filter, &sort, &page).await
            } else {
                self.store.delivery_rows(principal.tenant, &filter, &sort, &page).await
            };
            let read = read.map_err(too_broad)?;
            total = total.or(read.total);
            for delivery in read.items {
                found.matched += 1;
                *endpoints.entry((delivery.endpoint, delivery.integrator)).or_default() += 1;
                let known = view.catalog.endpoint(delivery.endpoint).is_some();
                if let Some(why) = foreseen(&delivery, known) {
                    *found.skipped.entry(why).or_default() += 1;
                }
                *reasons.entry(delivery.reason).or_default() += 1;
            }
            page.after = read.next;
            if page.after.is_none() {
                break;
            }
            if found.matched >= TOTAL_EXACT_MAX {
                found.estimated = true;
                found.matched = found.matched.max(total.map_or(0, |total| total.count));
                break;
            }
        }
        found.endpoints = endpoints.into_iter().map(|((endpoint, integrator), n)| (endpoint, integrator, n)).collect();
        found.endpoints.sort_by_key(|(endpoint, _, count)| (std::cmp::Reverse(*count), *endpoint));
        found.reasons = reasons.into_iter().collect();
        found.reasons.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(found)
    }

    /// Goes on with recoveries of all tenants until told to stop.
    pub(crate) async fn recoveries_keep(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut pause = EVERY;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let begun = tokio::time::Instant::now();
            let due = self.recoveries_look(&stopped).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "recoveries could not be looked at; trying again");
                EVERY
            });
            pause = due.max(PAUSE_MIN.saturating_sub(begun.elapsed()));
        }
    }

    /// One look; gives how long it is until something is due.
    async fn recoveries_look(&self, stopped: &watch::Receiver<bool>) -> Result<Duration, StoreError> {
        let until = |next: Option<Timestamp>, now| next.map_or(EVERY, |at| at.since(now).min(EVERY));
        let now = self.now();
        let (due, next) = self.store.recovery_due(now, RECOVERIES_PER_LOOK).await?;
        if due.is_empty() {
            return Ok(until(next, now));
        }
        for recovery in due {
            if *stopped.borrow() {
                return Ok(EVERY);
            }
            let id = recovery.id;
            if let Err(error) = self.recovery_advance(recovery, stopped).await {
                tracing::warn!(%error, recovery = %id, "a recovery could not be gone on with; trying again");
                self.store.recovery_trouble(id, trouble(&error), self.now().after(TROUBLE_PAUSE)).await?;
            }
        }
        let now = self.now();
        let (due, next) = self.store.recovery_due(now, 1).await?;
        Ok(until(if due.is_empty() { next } else { Some(now) }, now))
    }

    /// Goes through as many deliveries of one recovery as its rate allows now; where much has to be passed over before the
    /// next, its place moves on all the same.
    async fn recovery_advance(
        &self,
        mut recovery: Recovery,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(), StoreError> {
        let room = recovery.room(self.now()).min(STEPS_PER_LOOK);
        let Ok(limit @ 1..) = u32::try_from(room) else { return Ok(()) };
        let filter = listed(&recovery.filter, recovery.since, recovery.until);
        let (tenant, after) = (recovery.tenant, recovery.position);
        let stretch = self.store.delivery_stretch(tenant, &filter, after, limit, SEARCH_TIME).await?;
        let mut retried = 0_u64;
        for delivery in &stretch.items {
            // What is left is due at once wherever someone looks next.
            if *stopped.borrow() {
                return Ok(());
            }
            let stepped = self.store.recovery_step(self.now(), &mut recovery, delivery).await;
            let outcome = match stepped {
                Ok(Stepped::Retried) => {
                    retried += 1;
                    "retried"
                }
                Ok(Stepped::Skipped(reason)) => reason,
                Ok(Stepped::Overtaken) => return Ok(()),
                Err(error) => {
                    self.worker.wake();
                    return Err(error);
                }
            };
            self.metrics.recovered.get_or_create(&RecoveryLabels { outcome }).inc();
        }
        if retried > 0 {
            self.worker.wake();
        }
        if !stretch.ended {
            if stretch.reached > recovery.position {
                self.store.recovery_pass(&recovery, stretch.reached).await?;
            }
        } else if self.store.recovery_end(self.now(), &recovery).await? {
            let Recovery { retried, skipped, .. } = &recovery;
            tracing::info!(recovery = %recovery.id, retried, ?skipped, "a recovery went through all there is");
        }
        Ok(())
    }
}

/// What is shown of an error that keeps a recovery from going on: the database's own words may say more of it than its
/// tenant is to know, and are in the log.
const fn trouble(error: &StoreError) -> &'static str {
    match error {
        StoreError::TooBroad => {
            "finding the next delivery takes too long; cancel this recovery, and start one with a later since or an earlier \
             until"
        }
        StoreError::Unavailable(_) => "the database is not available",
        _ => "the database failed; the engine's log says why",
    }
}

/// Names the bound of a recovery where there is more to look through than a listing may.
fn too_broad(error: StoreError) -> VerbError {
    if error != StoreError::TooBroad {
        return error.into();
    }
    let message = "finding these takes too long; give a later time, or filter by endpoint, integrator, event_type or state \
                   as well";
    VerbError::Refused { code: "narrow_the_range", invalid: Invalid::field("since", message) }
}

/// The listing that a recovery goes through.
fn listed(filter: &RecoveryFilter, since: Timestamp, until: Timestamp) -> DeliveryFilter {
    let ended = |success: &Option<bool>| match success {
        Some(true) => SuccessFilter::Yes,
        Some(false) => SuccessFilter::No,
        None => SuccessFilter::Pending,
    };
    DeliveryFilter {
        states: filter.states.clone(),
        success: filter.success.iter().map(ended).collect(),
        integrators: filter.integrators.clone(),
        endpoints: filter.endpoints.clone(),
        event_types: filter.event_types.clone(),
        created_from: Some(since),
        created_before: Some(until),
        attempts_min: filter.attempts_min,
        attempts_max: filter.attempts_max,
        ..DeliveryFilter::default()
    }
}

/// Why a delivery will be left out, as far as it shows without asking for each: `known` is whether its endpoint is there.
fn foreseen(delivery: &Delivery, known: bool) -> Option<&'static str> {
    let faulty = delivery.reason.as_deref() == Some(PLUGIN_FAULTY);
    refused_in(delivery.state, faulty).or((!known).then_some(ENDPOINT_DELETED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_recovery_from_going_on_is_told_in_the_engines_own_words() {
        let raw = || "relation \"recoveries\" of schema secret".to_owned();
        let errors = [
            StoreError::TooBroad,
            StoreError::Unavailable(raw()),
            StoreError::Corrupt(raw()),
            StoreError::Data(raw()),
            StoreError::Conflict { what: "a row of the same key" },
        ];
        let told = errors.map(|error| trouble(&error));
        assert!(told[0].contains("a later since"), "{told:?}");
        assert_eq!(told[1], "the database is not available");
        assert!(told[2..].iter().all(|one| *one == "the database failed; the engine's log says why"), "{told:?}");
    }
}
