//! Jobs: what runs when, and what is done with a job by hand: pause it, start it, look into it.

use std::time::Duration;

use engate_model::{
    JobId, RunId, Timestamp, callback,
    callback::Fact,
    invalid::Complaints,
    job::{Debugging, Job, JobSettings, JobState, Pause, Work},
    plugin::World,
    schedule::{Schedule, Timetable},
    sync::SyncSource,
    token::Principal,
};
use engate_store::AcceptEvent;

use super::{VerbError, demand::Demand, on_conflict};
use crate::{
    accept::NewEvent,
    engine::Engine,
    scheduler::debug::{self, DebugFile},
};

/// Instants that a preview shows at most.
pub(crate) const PREVIEW_MAX: usize = 100;
/// Longest reason of a pause, in bytes.
pub(crate) const REASON_BYTES_MAX: usize = 500;
/// Payloads are logged this long at most, and within this many bytes.
pub(crate) const DEBUG_TTL_MAX: Duration = Duration::from_secs(24 * 3_600);
pub(crate) const DEBUG_BYTES_MAX: u64 = 1 << 30;

/// One instant to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NextFire {
    /// When.
    pub(crate) at: Timestamp,
    /// What the clock of the schedule's zone shows, and its offset in seconds.
    pub(crate) local: Option<(String, i64)>,
    /// What a change of the clock has to do with it.
    pub(crate) note: Option<engate_model::schedule::ClockNote>,
}

/// What to change of a job; none: as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobChange(pub(crate) Vec<Change>);

/// One change.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Its name.
    Name(String),
    /// When it runs.
    Schedule(Schedule),
    /// What it runs.
    Work(Box<Work>),
    /// What becomes of a run while another is not over.
    Overlap(engate_model::schedule::due::Overlap),
    /// What becomes of instants nobody was there for.
    Catchup(engate_model::schedule::due::Catchup),
    /// How long runs wait beyond their instant at most.
    JitterMs(u64),
    /// How long a run may take.
    TimeoutMs(u64),
    /// How late a run may start.
    StartDeadlineMs(u64),
    /// How a run goes about a failure that may pass.
    Retry(engate_model::job::RunRetry),
    /// How many failures in a row pause the job.
    PauseAfterFailures(u32),
    /// Whether it runs at all.
    Enabled(bool),
}

impl JobChange {
    fn apply(self, settings: &mut JobSettings) {
        for change in self.0 {
            match change {
                Change::Name(name) => settings.name = name,
                Change::Schedule(schedule) => settings.schedule = schedule,
                Change::Work(work) => settings.work = *work,
                Change::Overlap(overlap) => settings.overlap = overlap,
                Change::Catchup(catchup) => settings.catchup = catchup,
                Change::JitterMs(millis) => settings.jitter_ms = millis,
                Change::TimeoutMs(millis) => settings.timeout_ms = millis,
                Change::StartDeadlineMs(millis) => settings.start_deadline_ms = millis,
                Change::Retry(retry) => settings.retry = retry,
                Change::PauseAfterFailures(failures) => settings.pause_after_failures = failures,
                Change::Enabled(enabled) => settings.enabled = enabled,
            }
        }
    }
}

impl Engine {
    /// The tenant's jobs.
    pub(crate) async fn job_list(&self, principal: &Principal) -> Result<Vec<Job>, VerbError> {
        Ok(self.store.job_list(principal.tenant).await?)
    }

    /// One job.
    pub(crate) async fn job_get(&self, principal: &Principal, id: JobId) -> Result<Job, VerbError> {
        self.store.job_get(principal.tenant, id).await?.ok_or(VerbError::NotFound("job"))
    }

    /// Makes a job; it runs when its time comes.
    pub(crate) async fn job_create(&self, principal: &Principal, settings: JobSettings) -> Result<Job, VerbError> {
        self.job_enter(principal, settings, false).await
    }

    /// Makes a job that does not run before its schedule is finished and it is started.
    pub(crate) async fn job_provision(&self, principal: &Principal, settings: JobSettings) -> Result<Job, VerbError> {
        self.job_enter(principal, settings, true).await
    }

    async fn job_enter(
        &self,
        principal: &Principal,
        settings: JobSettings,
        needs_configuration: bool,
    ) -> Result<Job, VerbError> {
        let now = self.now();
        self.job_check(principal, &settings, None, now).await?;
        let mut job = Job {
            id: JobId::new(now, self.chance.bits()),
            tenant: principal.tenant,
            settings,
            needs_configuration,
            pause: None,
            next_at: None,
            failures: 0,
            missed: 0,
            revision: 1,
            debug: None,
            created_at: now,
            updated_at: now,
        };
        job.next_at = next_at(&job, now)?;
        let taken = format!("there is a job {:?} already, or too many jobs; choose another name", job.settings.name);
        let stored = self.store.job_create(&self.actor(principal), &job).await;
        stored.map_err(on_conflict("already_exists", taken))?;
        self.scheduler.wake();
        Ok(job)
    }

    /// Changes what is given; what runs under the old settings ends, an `always` job goes on under the new ones.
    pub(crate) async fn job_update(
        &self,
        principal: &Principal,
        id: JobId,
        change: JobChange,
        demand: &Demand<Job>,
    ) -> Result<Job, VerbError> {
        let edit = |job: &mut Job| {
            change.clone().apply(&mut job.settings);
            Ok(())
        };
        demand.settle(|| Box::pin(self.job_change(principal, id, "job.update", &edit, demand))).await
    }

    /// Deletes a job with its history; what is under way is stopped.
    pub(crate) async fn job_delete(
        &self,
        principal: &Principal,
        id: JobId,
        demand: &Demand<Job>,
    ) -> Result<(), VerbError> {
        let delete = || -> futures_util::future::BoxFuture<'_, Result<(), VerbError>> {
            Box::pin(async {
                let job = self.job_get(principal, id).await?;
                demand.check(&job)?;
                Ok(self.store.job_delete(&self.actor(principal), &job).await?)
            })
        };
        demand.settle(delete).await?;
        self.job_gone(id).await;
        Ok(())
    }

    /// A job's row is deleted: its runs on this node hear of it now, and what was written down of its payloads goes.
    pub(super) async fn job_gone(&self, id: JobId) {
        self.scheduler.poke(id);
        // Where there are none, there is nothing to remove.
        let _ = tokio::fs::remove_dir_all(debug::folder(&self.config, id)).await;
    }

    /// Pauses a job: its instants pass and are not made up for. What is under way ends.
    pub(crate) async fn job_pause(&self, principal: &Principal, id: JobId, reason: String) -> Result<Job, VerbError> {
        if reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
            return Err(VerbError::field("reason", format!("must be one line of at most {REASON_BYTES_MAX} bytes")));
        }
        let (by, at) = (principal.client.clone(), self.now());
        let edit = |job: &mut Job| {
            job.pause.get_or_insert_with(|| Pause { at, by: by.clone(), reason: reason.clone() });
            Ok(())
        };
        let demand = Demand::none();
        demand.settle(|| Box::pin(self.job_change(principal, id, "job.pause", &edit, &demand))).await
    }

    /// Lets a paused job run again, from its next instant on.
    pub(crate) async fn job_resume(&self, principal: &Principal, id: JobId) -> Result<Job, VerbError> {
        let edit = |job: &mut Job| {
            job.pause = None;
            Ok(())
        };
        let demand = Demand::none();
        demand.settle(|| Box::pin(self.job_change(principal, id, "job.resume", &edit, &demand))).await
    }

    /// Starts a job that a wizard made, once its schedule is finished.
    pub(crate) async fn job_start(&self, principal: &Principal, id: JobId) -> Result<Job, VerbError> {
        let edit = |job: &mut Job| {
            if job.needs_configuration && matches!(job.settings.schedule, Schedule::Manual) {
                let detail =
                    "its schedule is not finished: give it one of the kinds cron, every or always, then start it";
                return Err(VerbError::conflict("needs_configuration", detail));
            }
            job.needs_configuration = false;
            Ok(())
        };
        let demand = Demand::none();
        demand.settle(|| Box::pin(self.job_change(principal, id, "job.start", &edit, &demand))).await
    }

    /// Has payloads of a job's runs logged for `ttl`, or no longer.
    pub(crate) async fn job_debug(
        &self,
        principal: &Principal,
        id: JobId,
        on: Option<(Duration, u64)>,
    ) -> Result<Job, VerbError> {
        let now = self.now();
        let edit = |job: &mut Job| {
            job.debug = on.map(|(ttl, bytes_max)| Debugging { until: now.after(ttl), bytes_max });
            Ok(())
        };
        let demand = Demand::none();
        demand.settle(|| Box::pin(self.job_change(principal, id, "job.debug", &edit, &demand))).await
    }

    /// The files of payloads that this node holds of a job.
    pub(crate) async fn job_debug_files(&self, principal: &Principal, id: JobId) -> Result<Vec<DebugFile>, VerbError> {
        self.job_get(principal, id).await?;
        Ok(debug::files(&debug::folder(&self.config, id)))
    }

    /// One of them.
    pub(crate) async fn job_debug_file(
        &self,
        principal: &Principal,
        id: JobId,
        run: RunId,
    ) -> Result<String, VerbError> {
        self.job_get(principal, id).await?;
        match tokio::fs::read_to_string(debug::file(&self.config, id, run)).await {
            Ok(lines) => Ok(lines),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(VerbError::NotFound("file of payloads")),
            Err(error) => Err(VerbError::Internal(format!("a file of payloads cannot be read: {error}"))),
        }
    }

    async fn job_change(
        &self,
        principal: &Principal,
        id: JobId,
        action: &str,
        edit: &(dyn Fn(&mut Job) -> Result<(), VerbError> + Sync),
        demand: &Demand<Job>,
    ) -> Result<Job, VerbError> {
        let before = self.job_get(principal, id).await?;
        demand.check(&before)?;
        let mut job = before.clone();
        edit(&mut job)?;
        if job == before {
            return Ok(before);
        }
        let now = self.now();
        if job.settings != before.settings {
            self.job_check(principal, &job.settings, Some(&before.settings), now).await?;
        }
        let moved = job.settings.schedule != before.settings.schedule || job.state() != before.state();
        if moved || job.state() != JobState::Active {
            job.next_at = next_at(&job, now)?;
        }
        // A slice of an `always` job under way makes the next one when it ends.
        if job.settings.schedule == Schedule::Always && before.next_at.is_none() && before.state() == job.state() {
            job.next_at = if moved { job.next_at } else { None };
        }
        job.updated_at = now;
        let taken = format!("there is a job {:?} already; choose another name", job.settings.name);
        let facts = if before.pause.is_none() { self.told_paused(&job).await? } else { Vec::new() };
        let stored = self.store.job_update(&self.actor(principal), action, &job, &facts).await;
        if !facts.is_empty() {
            self.worker.wake();
        }
        job.revision = stored.map_err(on_conflict("already_exists", taken))?;
        self.scheduler.poke(id);
        Ok(job)
    }

    /// The next instants of a stored job.
    pub(crate) async fn job_next(
        &self,
        principal: &Principal,
        id: JobId,
        from: Option<Timestamp>,
        count: usize,
    ) -> Result<Vec<NextFire>, VerbError> {
        let job = self.job_get(principal, id).await?;
        Ok(preview(&Timetable::new(&job.settings.schedule)?, from.unwrap_or_else(|| self.now()), count))
    }

    /// The next instants of a schedule that is not stored.
    pub(crate) async fn job_preview(
        &self,
        _: &Principal,
        schedule: &Schedule,
        from: Option<Timestamp>,
        count: usize,
    ) -> Result<Vec<NextFire>, VerbError> {
        let now = self.now();
        let from = from.unwrap_or(now);
        let timetable = engate_model::schedule::check(schedule, from).map_err(|invalid| invalid.below("schedule"))?;
        Ok(preview(&timetable, from, count))
    }

    /// Checks what a job refers to, besides what it says. What stays as it was `before` may have become wrong since: a job
    /// that is to be paused is not held up by that.
    async fn job_check(
        &self,
        principal: &Principal,
        settings: &JobSettings,
        before: Option<&JobSettings>,
        now: Timestamp,
    ) -> Result<(), VerbError> {
        let mut complaints = Complaints::default();
        complaints.take(settings.check(now));
        let changed = before.is_none_or(|before| before.work != settings.work);
        if let Work::Emit { event } = &settings.work {
            let new = NewEvent::of_job(event);
            let sound = complaints.take(new.check().map_err(|invalid| invalid.below("run.event")));
            if sound.is_some() && changed {
                let fits = self.check_payload(principal.tenant, now, new).await?;
                complaints.take(fits.map_err(|invalid| invalid.below("run.event")));
            }
        }
        if let Work::Engine(engate_model::job::EngineTask::ResendPending { endpoint: Some(id) }) = &settings.work
            && self.views.get(&self.store, principal.tenant).await?.catalog.endpoint(*id).is_none()
        {
            complaints.add("run.endpoint", "there is no such endpoint");
        }
        if let Work::Sync(sync) = &settings.work
            && let SyncSource::Plugin { plugin, config } = &sync.source
        {
            let checked = self.check_own_config(principal.tenant, plugin, config.as_ref(), World::SyncSource).await;
            match checked {
                Err(VerbError::Invalid(invalid)) => drop(complaints.take::<()>(Err(invalid.below("run.source")))),
                checked => checked?,
            }
        }
        if let Work::Sync(sync) = &settings.work
            && let SyncSource::Table { connection } = &sync.source
            && changed
        {
            let tenant = self.tenant_slug(principal.tenant).await?;
            if let Err(failure) = self.sources.configured(connection, &tenant) {
                complaints.add("run.source.connection", failure.message);
            }
        }
        complaints.finish(())?;
        if changed { self.check_plugins_of_job(principal, &settings.work).await } else { Ok(()) }
    }

    /// What listeners are told where a job is paused now.
    async fn told_paused(&self, job: &Job) -> Result<Vec<AcceptEvent>, VerbError> {
        let Some(pause) = &job.pause else { return Ok(Vec::new()) };
        let view = self.views.get(&self.store, job.tenant).await?;
        if !view.catalog.is_heard(callback::JOB_PAUSED) {
            return Ok(Vec::new());
        }
        let fact = Fact::job_paused(job, &pause.by, &pause.reason, pause.at);
        Ok(self.told_to(&view.catalog, job.tenant, fact))
    }
}

/// When a job comes next, as it stands.
fn next_at(job: &Job, now: Timestamp) -> Result<Option<Timestamp>, VerbError> {
    if job.state() != JobState::Active {
        return Ok(None);
    }
    let timetable = Timetable::new(&job.settings.schedule).map_err(|invalid| invalid.below("schedule"))?;
    Ok(if timetable.is_always() { Some(now) } else { timetable.next(now) })
}

fn preview(timetable: &Timetable, from: Timestamp, count: usize) -> Vec<NextFire> {
    // An instant that is exactly `from` counts.
    let mut last = Timestamp::from_micros(from.as_micros().saturating_sub(1));
    let mut fires = Vec::new();
    while fires.len() < count.min(PREVIEW_MAX) {
        let Some(at) = timetable.next(last) else { break };
        fires.push(NextFire { at, local: timetable.local(at), note: timetable.note(at) });
        last = at;
    }
    fires
}
