//! Asks a plugin for what is new and makes events of it: pull, commit the events, and only then the resume point. A page
//! that came twice, since the engine died in between, is known by its events' ids.

use engate_host::IdText;
use engate_model::{
    feed::FeedGuard,
    job::PollJob,
    run::{RunCounts, RunEnd, RunFailure},
    sink::{Change, FeedPage, Operation},
};
use engate_store::StoreError;
use ring::digest::{SHA256, digest};

use super::{HeldRun, work::failed};
use crate::{
    accept::{NewEvent, NotTaken, SCHEMA_MISMATCH, subject_of},
    hexadecimal,
    media_type::JSON,
    pulling::{Feed, FeedOf, Pull},
};

/// Records of one page at most.
const CHANGES_MAX: u32 = 500;

impl HeldRun {
    /// One pass over the feed: pulls until the source has no more.
    pub(super) async fn poll(&self, poll: &PollJob) -> RunEnd {
        let of = FeedOf {
            tenant: self.job.tenant,
            job: self.job.id,
            plugin: &poll.plugin,
            config: poll.config.as_ref(),
            endpoint: poll.endpoint,
            debug: &self.debug,
        };
        let feed = match Feed::open(&self.engine, of).await {
            Ok(feed) => feed,
            Err(failure) => return RunEnd::Failed(failure),
        };
        let (tenant, job, fence) = (self.job.tenant, self.job.id, self.fence);
        let mut after = match self.engine.store.feed_claim(tenant, job, fence, self.engine.now()).await {
            Ok(after) => after,
            Err(error) => return failed(error.code(), error.to_string(), true),
        };
        let mut guard = FeedGuard::begin(after.as_deref());
        loop {
            if self.stopped().is_cancelled() {
                return RunEnd::Stopped;
            }
            let id = IdText::of(&self.run.id);
            let pull = Pull { stream: &poll.stream, after: after.as_deref(), most: CHANGES_MAX, id };
            let (page, writes) = match feed.pull(pull).await {
                Ok(pulled) => pulled,
                Err(failure) => return RunEnd::Failed(failure),
            };
            self.count(RunCounts { requests: 1, ..RunCounts::default() });
            if let Err(failure) = self.publish(poll, &page).await {
                return RunEnd::Failed(failure);
            }
            let kept = (feed.plugin().to_owned(), writes.into_iter().collect());
            let moved = self.engine.store.feed_commit(tenant, job, fence, &page.next, kept, self.engine.now()).await;
            if let Err(error) = moved {
                let lost = matches!(error, StoreError::Stale { .. });
                return if lost { RunEnd::Stopped } else { failed(error.code(), error.to_string(), true) };
            }
            match guard.goes_on(&page) {
                Ok(true) => after = Some(page.next),
                Ok(false) => return if page.more { RunEnd::More } else { RunEnd::Idle },
                Err(refusal) => return failed(&refusal.code, refusal.message, refusal.retryable),
            }
        }
    }

    /// All of a page's events in one transaction, or none.
    async fn publish(&self, poll: &PollJob, page: &FeedPage) -> Result<(), RunFailure> {
        if page.changes.is_empty() {
            return Ok(());
        }
        let bytes = page.changes.iter().map(|change| change.data.len() as u64).sum();
        let events: Vec<_> = page.changes.iter().map(|change| self.event_of(poll, change)).collect();
        let rows = events.len() as u64;
        for event in &events {
            event.check().map_err(|invalid| RunFailure {
                code: "invalid_event".to_owned(),
                message: invalid.to_string(),
                retryable: false,
            })?;
        }
        match self.engine.accept_with(self.job.tenant, events, None, None).await {
            Ok(_) => {
                self.count(RunCounts { rows, bytes, ..RunCounts::default() });
                Ok(())
            }
            Err(NotTaken::IdConflict { index }) => Err(RunFailure {
                code: "id_conflict".to_owned(),
                message: format!("record {index} of the page came before in another form under the same name"),
                retryable: false,
            }),
            // The feed's place stays before the page: a later run finds it again.
            Err(NotTaken::SchemaMismatch(found)) => {
                Err(RunFailure { code: SCHEMA_MISMATCH.to_owned(), message: found.to_string(), retryable: false })
            }
            Err(NotTaken::Store(error)) => {
                Err(RunFailure { code: error.code().to_owned(), message: error.to_string(), retryable: true })
            }
        }
    }

    /// The same record in the same form is the same event.
    fn event_of(&self, poll: &PollJob, change: &Change) -> NewEvent {
        let operation = if change.operation == Operation::Delete { "delete" } else { "upsert" };
        let said = format!("{}\n{operation}\n{}\n{}", self.job.id, change.key, change.data);
        NewEvent {
            event_type: poll.event_type.clone(),
            subject: Some(subject_of(poll.subject.as_deref(), change)),
            payload: change.data.clone().into_bytes(),
            content_type: JSON.to_owned(),
            idempotency_key: Some(format!("poll:{}", hexadecimal::digits(digest(&SHA256, said.as_bytes()).as_ref()))),
            occurred_at: None,
            deliver_at: None,
            labels: vec![("operation".to_owned(), operation.to_owned())],
            // Not the run's id: a repeat in a later run has to be the same event.
            correlation_id: None,
        }
    }
}
