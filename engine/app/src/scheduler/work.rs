//! The one thing that a job runs.

use std::{sync::Arc, time::Duration};

use engate_model::{
    TokenId,
    job::{EmitEvent, EngineTask, Work},
    run::{RunCounts, RunEnd, RunFailure},
    token::{Principal, Role},
};

use super::HeldRun;
use crate::{
    accept::{NewEvent, NotTaken, SCHEMA_MISMATCH},
    verbs::{
        VerbError,
        endpoints::actions::{UNAVAILABLE, Which},
    },
};

impl HeldRun {
    /// Does it, or a bounded part of it.
    pub(super) async fn work(self: &Arc<Self>) -> RunEnd {
        match &self.job.settings.work {
            Work::Emit { event } => self.emit(event).await,
            Work::Engine(EngineTask::ResendPending { endpoint }) => self.resend_pending(*endpoint).await,
            Work::Engine(EngineTask::Retention) => self.retention().await,
            Work::Sync(settings) => Box::pin(self.sync(settings)).await,
            Work::Poll(poll) => Box::pin(self.poll(poll)).await,
        }
    }

    /// How long this work rests at most while it finds nothing; none: the scheduler's own bound.
    pub(super) const fn idle_bound(&self) -> Option<Duration> {
        match &self.job.settings.work {
            // Nobody tells of a row that changed or a message that came.
            Work::Sync(_) | Work::Poll(_) => Some(Duration::from_secs(1)),
            Work::Emit { .. } | Work::Engine(_) => None,
        }
    }

    /// Publishes the job's event. Its id is job and nominal time, so that a second try finds the first one's.
    async fn emit(&self, event: &EmitEvent) -> RunEnd {
        let new = NewEvent::of_job(event);
        let bytes = new.payload.len() as u64;
        let new = NewEvent {
            idempotency_key: Some(format!("{}:{}:{}", self.job.id, self.run.id, self.run.scheduled_at)),
            occurred_at: Some(self.run.scheduled_at),
            correlation_id: new.correlation_id.or_else(|| Some(self.run.id.to_string())),
            ..new
        };
        if let Err(invalid) = new.check() {
            return failed("invalid_event", invalid.to_string(), false);
        }
        match self.engine.accept_with(self.job.tenant, vec![new], None, None).await {
            Ok(_) => {
                self.count(RunCounts { rows: 1, bytes, ..RunCounts::default() });
                RunEnd::Idle
            }
            Err(NotTaken::IdConflict { .. }) => {
                failed("id_conflict", "the event was published before with another body".to_owned(), false)
            }
            Err(NotTaken::SchemaMismatch(found)) => failed(SCHEMA_MISMATCH, found.to_string(), false),
            Err(NotTaken::Store(error)) => failed(error.code(), error.to_string(), true),
        }
    }

    async fn resend_pending(&self, endpoint: Option<engate_model::EndpointId>) -> RunEnd {
        let principal = self.principal();
        let endpoints = match endpoint {
            Some(endpoint) => vec![endpoint],
            None => match self.engine.views.get(&self.engine.store, self.job.tenant).await {
                Ok(view) => view.catalog.endpoints().filter(|endpoint| endpoint.enabled).map(|e| e.id).collect(),
                Err(error) => return failed(error.code(), error.to_string(), true),
            },
        };
        for endpoint in endpoints {
            if self.stopped().is_cancelled() {
                return RunEnd::Stopped;
            }
            match self.engine.endpoint_send_all(&principal, endpoint, Which::Failed).await {
                Ok(all) => {
                    let requests = all.sent.len() as u64;
                    self.count(RunCounts { rows: requests, requests, ..RunCounts::default() });
                    if let Some((key, code)) = all.skipped.iter().find(|(_, code)| *code == UNAVAILABLE) {
                        let message = format!("{key} could not be sent to {endpoint}; the engine's log says why");
                        return failed(code, message, true);
                    }
                }
                // Disabled or deleted meanwhile: there is nothing to resend.
                Err(VerbError::NotFound(_) | VerbError::Conflict { .. }) => {
                    self.note("info", format!("{endpoint} takes nothing at present"));
                }
                Err(VerbError::Store(error)) => return failed(error.code(), error.to_string(), true),
                Err(error) => return failed("refused", error.to_string(), false),
            }
        }
        RunEnd::Idle
    }

    async fn retention(&self) -> RunEnd {
        self.engine.retention_round().await;
        RunEnd::Idle
    }

    /// A job acts as an operator without a token.
    fn principal(&self) -> Principal {
        Principal {
            token: TokenId::MIN,
            tenant: self.job.tenant,
            client: format!("job {}", self.job.settings.name),
            role: Role::Operator,
            integrator: None,
            manages_secrets: false,
        }
    }
}

pub(super) fn failed(code: &str, message: String, retryable: bool) -> RunEnd {
    RunEnd::Failed(RunFailure { code: code.to_owned(), message, retryable })
}
