//! Two versions of a plugin over recorded history, inside the engine: what would a switch change?
//!
//! Who acts here: a [`DiffJob`] knows how far it is and what it found; one background task per job reads recorded attempts
//! page by page and plays each through both versions, sending nothing. All jobs together get half of the cores, one
//! attempt at a time each, so that deliveries keep the rest. Jobs live in this process' memory, for a while: they can be
//! made again from what is recorded.

mod job;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use engate_host::{Digest, LoadedPlugin, Secrets};
use engate_model::{
    DiffId, Invalid, TenantId, Timestamp,
    delivery::Delivery,
    listing::Sort,
    plugin::{CallSettings, Limits, Manifest, PluginRef},
    token::Principal,
};
use engate_store::{DeliveryFilter, PAGE_MAX, Page, PluginVersion};
use futures_util::{StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub(crate) use self::job::{DiffJob, DiffProgress, DiffState};
use super::{Scope, VerbError, plugins::blame};
use crate::{
    engine::Engine,
    replay::{Differing, Player, made_up_keys},
};

/// Comparisons of one tenant under way at once.
const RUNNING_MAX: usize = 2;
/// Comparisons that are kept, of all tenants; beyond, the one that ended first goes.
const KEPT_MAX: usize = 32;
/// How long one is kept after it ended.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(3_600);
/// How the missing of a comparison is told: it may be another node's.
const NOT_HERE: &str = "comparison here: each is in the memory of the engine process that was asked for it, for an hour \
                        after its end; ask that one, or start it anew";
/// Attempts compared where the caller names no number.
pub(crate) const ATTEMPTS_DEFAULT: u64 = 100_000;

/// What to compare.
#[derive(Debug, Clone)]
pub(crate) struct DiffNew {
    /// Version or channel.
    pub(crate) base: String,
    /// Version or channel.
    pub(crate) candidate: String,
    /// Only attempts for this integrator, by id or slug.
    pub(crate) integrator: Option<String>,
    /// Of events taken at this instant or later.
    pub(crate) since: Timestamp,
    /// Of events taken before this instant.
    pub(crate) until: Option<Timestamp>,
    /// Attempts at most.
    pub(crate) limit: u64,
}

/// All comparisons of this process.
#[derive(Debug)]
pub(crate) struct Diffs {
    jobs: Mutex<HashMap<DiffId, Arc<DiffJob>>>,
    /// One for each attempt that is being compared.
    permits: Arc<Semaphore>,
    together: usize,
    stop: CancellationToken,
}

impl Default for Diffs {
    fn default() -> Self {
        let together = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        let permits = Arc::new(Semaphore::new(together));
        Self { jobs: Mutex::default(), permits, together, stop: CancellationToken::new() }
    }
}

impl Diffs {
    /// Ends all that run; the engine stops.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Keeps a new job, where the tenant may have one more.
    fn add(&self, job: DiffJob, now: Timestamp) -> Option<Arc<DiffJob>> {
        let mut jobs = self.jobs();
        let ended = |job: &DiffJob| job.read(|progress| progress.finished_at);
        jobs.retain(|_, job| ended(job).is_none_or(|at| now.since(at) < KEPT_FOR));
        let running = jobs.values().filter(|other| other.tenant == job.tenant && ended(other).is_none());
        if running.count() >= RUNNING_MAX {
            return None;
        }
        while jobs.len() >= KEPT_MAX {
            let first = jobs.values().filter_map(|job| Some((ended(job)?, job.id))).min();
            let Some((_, id)) = first else { break };
            jobs.remove(&id);
        }
        let job = Arc::new(job);
        jobs.insert(job.id, Arc::clone(&job));
        Some(job)
    }

    fn get(&self, tenant: TenantId, plugin: &str, id: DiffId, now: Timestamp) -> Option<Arc<DiffJob>> {
        let job = self.jobs().get(&id).cloned()?;
        let kept = job.read(|progress| progress.finished_at.is_none_or(|at| now.since(at) < KEPT_FOR));
        (kept && job.tenant == tenant && job.plugin == plugin).then_some(job)
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<DiffId, Arc<DiffJob>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything a job's task needs.
struct Plan {
    tenant: TenantId,
    plugin: String,
    filter: DeliveryFilter,
    limit: u64,
    versions: [(PluginVersion, Manifest); 2],
}

/// A version in memory, and what its calls may cost.
struct Side {
    plugin: Arc<LoadedPlugin>,
    manifest: Manifest,
    limits: Limits,
}

/// Both versions, with what they sign with.
struct Pair {
    sides: [Side; 2],
    keys: Secrets,
}

impl Engine {
    /// Starts comparing two versions over recorded attempts.
    pub(crate) async fn plugin_diff_start(
        self: &Arc<Self>,
        principal: &Principal,
        name: &str,
        new: DiffNew,
    ) -> Result<Arc<DiffJob>, VerbError> {
        self.plugin_versions(principal, name).await?;
        if new.until.is_some_and(|until| until <= new.since) {
            return Err(VerbError::field("until", "must be later than since"));
        }
        let versions = [
            self.diff_version(principal, name, "base", &new.base).await?,
            self.diff_version(principal, name, "candidate", &new.candidate).await?,
        ];
        let integrator = match (&new.integrator, Scope::of(principal)) {
            (Some(named), _) => Some(self.integrator_named(principal, named).await?),
            (None, Scope::Integrator(own)) => Some(own),
            (None, _) => None,
        };
        let now = self.now();
        let labels = versions.each_ref().map(|(version, _)| format!("{name}@{}", version.version));
        let id = DiffId::new(now, self.chance.bits());
        let cancel = self.diffs.stop.child_token();
        let job = DiffJob::new((id, principal.tenant), name, labels, now, cancel);
        let Some(job) = self.diffs.add(job, now) else {
            let detail =
                format!("{RUNNING_MAX} comparisons of this tenant are under way; wait for one to end, or cancel one");
            return Err(VerbError::Busy { code: "too_many_diffs", detail });
        };
        let filter = DeliveryFilter {
            integrators: integrator.into_iter().collect(),
            created_from: Some(new.since),
            created_before: new.until,
            ..DeliveryFilter::default()
        };
        let plan = Plan { tenant: principal.tenant, plugin: name.to_owned(), filter, limit: new.limit, versions };
        tokio::spawn(Arc::clone(self).diff_run(Arc::clone(&job), plan));
        Ok(job)
    }

    /// A comparison of this plugin.
    pub(crate) fn plugin_diff_get(
        &self,
        principal: &Principal,
        name: &str,
        id: DiffId,
    ) -> Result<Arc<DiffJob>, VerbError> {
        self.diffs.get(principal.tenant, name, id, self.now()).ok_or(VerbError::NotFound(NOT_HERE))
    }

    /// Calls a comparison off; one that has ended stays as it is.
    pub(crate) fn plugin_diff_cancel(
        &self,
        principal: &Principal,
        name: &str,
        id: DiffId,
    ) -> Result<Arc<DiffJob>, VerbError> {
        let job = self.plugin_diff_get(principal, name, id)?;
        job.end(DiffState::Cancelled, None, self.now());
        Ok(job)
    }

    async fn diff_version(
        &self,
        principal: &Principal,
        name: &str,
        field: &str,
        version: &str,
    ) -> Result<(PluginVersion, Manifest), VerbError> {
        let reference = format!("{name}@{version}").parse::<PluginRef>();
        let reference = reference.map_err(|message| Invalid::field(field, message))?;
        self.plugin_usable(principal.tenant, &reference).await.map_err(|error| blame(error, field))
    }

    /// Works on a job until it ends in one way or another.
    async fn diff_run(self: Arc<Self>, job: Arc<DiffJob>, plan: Plan) {
        // A panic below must not leave a job that runs for ever.
        let work = tokio::spawn(Arc::clone(&self).diff_all(Arc::clone(&job), plan));
        let work = AbortOnDropHandle::new(work);
        let (state, message) = tokio::select! {
            () = job.cancel.cancelled() => (DiffState::Cancelled, None),
            ended = work => match ended {
                Ok(Ok(())) => (DiffState::Done, None),
                Ok(Err(message)) => (DiffState::Failed, Some(message)),
                Err(error) => {
                    tracing::error!(%error, diff = %job.id, "a comparison ended by itself");
                    (DiffState::Failed, Some("the engine failed; its log says why".to_owned()))
                }
            },
        };
        job.end(state, message, self.now());
    }

    async fn diff_all(self: Arc<Self>, job: Arc<DiffJob>, plan: Plan) -> Result<(), String> {
        let Plan { tenant, plugin, filter, limit, versions: [base, candidate] } = plan;
        let keys = made_up_keys([&base.1, &candidate.1]);
        let settings = self.store.plugin_settings_get(tenant, &plugin).await.map_err(|error| error.to_string())?;
        let calls = settings.calls;
        let sides = [self.diff_load(base, &calls).await?, self.diff_load(candidate, &calls).await?];
        let (pair, plugin) = (Arc::new(Pair { sides, keys }), Arc::<str>::from(plugin));
        let mut after = None;
        loop {
            let page = Page { after, limit: PAGE_MAX };
            let page = self.store.delivery_list(tenant, &filter, &Sort::default(), &page).await;
            let page = page.map_err(|error| error.to_string())?;
            if let Some(total) = page.total {
                job.expect(total.count, total.exact);
            }
            let tasks = page.items.into_iter().map(|delivery| {
                let task = Arc::clone(&self).diff_delivery(Arc::clone(&pair), Arc::clone(&plugin), delivery);
                AbortOnDropHandle::new(tokio::spawn(task))
            });
            let mut found = stream::iter(tasks).buffered(self.diffs.together);
            while let Some(found) = found.next().await {
                if !job.note(found.map_err(|error| error.to_string())??, limit) {
                    return Ok(());
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn diff_load(
        &self,
        (version, manifest): (PluginVersion, Manifest),
        calls: &CallSettings,
    ) -> Result<Side, String> {
        let digest = version.digest.parse::<Digest>().map_err(|_| format!("{} has no digest", version.version))?;
        let loaded = self.plugin_load(&digest, version.development).await;
        let plugin = loaded.map_err(|fault| format!("{}@{}: {fault}", version.name, version.version))?;
        let (_, limits) = self.call_rules(calls, version.size_bytes);
        Ok(Side { plugin, manifest, limits })
    }

    /// Compares one delivery's attempts, one after another.
    async fn diff_delivery(
        self: Arc<Self>,
        pair: Arc<Pair>,
        plugin: Arc<str>,
        delivery: Delivery,
    ) -> Result<Vec<Option<Differing>>, String> {
        let permit = Arc::clone(&self.diffs.permits).acquire_owned().await.map_err(|error| error.to_string())?;
        let records = self.recorded_attempts(&delivery, Some(&plugin)).await.map_err(|error| error.to_string())?;
        let mut found = Vec::with_capacity(records.len());
        for recorded in records {
            let [before, after] = pair.sides.each_ref().map(|side| Player {
                host: &self.host,
                plugin: &side.plugin,
                interpret: side.manifest.interpret,
                limits: side.limits,
                secrets: Some(pair.keys.clone()),
            });
            let changes = before.play(&recorded).await.against(&after.play(&recorded).await);
            found.push(Differing::of(&recorded, changes));
            // Whoever has a delivery to make goes first.
            tokio::task::yield_now().await;
        }
        drop(permit);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(tenant: TenantId, number: u128, diffs: &Diffs) -> DiffJob {
        let now = Timestamp::from_millis(0);
        // The lowest bits are those of the format.
        let id = DiffId::new(now, number << 32);
        DiffJob::new((id, tenant), "gsan", ["a".into(), "b".into()], now, diffs.stop.child_token())
    }

    #[test]
    fn a_tenant_has_few_at_once_and_ended_ones_go() {
        let (diffs, now) = (Diffs::default(), Timestamp::from_millis(0));
        let [one, other] = [1, 2].map(|n| TenantId::new(now, n));
        let first = diffs.add(job(one, 1, &diffs), now).unwrap();
        assert!(diffs.add(job(one, 2, &diffs), now).is_some());
        assert!(diffs.add(job(one, 3, &diffs), now).is_none());
        assert!(diffs.add(job(other, 4, &diffs), now).is_some());
        assert!(diffs.get(other, "gsan", first.id, now).is_none(), "another tenant's");
        assert!(diffs.get(one, "other", first.id, now).is_none(), "another plugin's");
        first.end(DiffState::Done, None, now);
        assert!(diffs.add(job(one, 5, &diffs), now).is_some());
        assert!(diffs.get(one, "gsan", first.id, now).is_some());
        assert!(diffs.get(one, "gsan", first.id, now.after(KEPT_FOR)).is_none());
        diffs.add(job(other, 6, &diffs), now.after(KEPT_FOR));
        assert!(!diffs.jobs().contains_key(&first.id));
    }

    #[test]
    fn no_more_are_kept_than_may_be() {
        let (diffs, now) = (Diffs::default(), Timestamp::from_millis(0));
        let tenant = TenantId::new(now, 1);
        let mut ids = Vec::new();
        for n in 0..50 {
            let at = now.after(Duration::from_millis(n));
            let job = diffs.add(job(tenant, n.into(), &diffs), at).unwrap();
            job.end(DiffState::Done, None, at);
            ids.push(job.id);
        }
        let jobs = diffs.jobs();
        assert_eq!(jobs.len(), KEPT_MAX);
        assert!(ids.iter().rev().take(KEPT_MAX).all(|id| jobs.contains_key(id)), "the last ones");
    }

    #[test]
    fn a_stop_of_the_engine_ends_all() {
        let (diffs, now) = (Diffs::default(), Timestamp::from_millis(0));
        let job = diffs.add(job(TenantId::new(now, 1), 1, &diffs), now).unwrap();
        diffs.stop();
        assert!(job.cancel.is_cancelled());
    }
}
