//! Asks a plugin for what is new and makes events of it: pull, commit the events, and only then the resume point. A page
//! that came twice, since the engine died in between, is known by its events' ids.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use engate_egress::Outbound;
use engate_host::{
    CallFailed, HttpAccess, HttpAnswer, HttpBudget, HttpDoer, HttpFailure, IdText, LoadedPlugin, OutgoingRequest,
    SourcePullCall, SyncContext,
};
use engate_model::{
    EndpointId, TypedId as _,
    endpoint::{Auth, Endpoint},
    feed::FeedGuard,
    job::PollJob,
    run::{RunCounts, RunEnd, RunFailure},
    sink::{Change, FeedPage, Operation},
};
use engate_store::StoreError;
use ring::digest::{SHA256, digest};

use super::{HeldRun, work::failed};
use crate::{
    accept::{JSON, NewEvent, NotTaken, SCHEMA_MISMATCH, subject_of},
    api::hexadecimal,
    engine::Engine,
    views::{Binding, PluginBinding, source_binding},
};

/// How long a request may take where no endpoint says it.
const TIMEOUT_DEFAULT: Duration = Duration::from_millis(engate_model::endpoint::TIMEOUT_MS_DEFAULT);
/// Records of one page at most.
const CHANGES_MAX: u32 = 500;

/// A source's way out, with the credentials it may use.
struct Doer {
    engine: Arc<Engine>,
    endpoint: Option<Arc<Endpoint>>,
    credentials: BTreeMap<String, Result<Auth, String>>,
}

#[async_trait]
impl HttpDoer for Doer {
    async fn send(&self, request: OutgoingRequest, body_bytes_max: usize) -> Result<HttpAnswer, HttpFailure> {
        let nobody = Auth::None;
        let auth = match (&request.credential, &self.endpoint) {
            (Some(name), _) => match self.credentials.get(name) {
                Some(Ok(auth)) => auth,
                Some(Err(why)) => return Err(HttpFailure::Denied(why.clone())),
                None => return Err(HttpFailure::Denied(format!("credential profile `{name}` is not granted"))),
            },
            (None, Some(endpoint)) if same_origin(&request.url, &endpoint.url) => &endpoint.auth,
            (None, _) => &nobody,
        };
        let deadline = self.endpoint.as_ref().map_or(TIMEOUT_DEFAULT, |endpoint| endpoint.timeout);
        let outbound = Outbound {
            method: &request.method,
            url: &request.url,
            headers: request.headers.clone(),
            body: Bytes::from(request.body.clone()),
            compress: request.compress,
            auth,
            sign: None,
            deadline,
            response_bytes_max: body_bytes_max,
            http1_title_case: false,
        };
        match self.engine.egress.send(outbound).await {
            Ok(received) => {
                let elapsed_ms = u32::try_from(received.elapsed.as_millis()).unwrap_or(u32::MAX);
                Ok(HttpAnswer { response: received.response, elapsed_ms })
            }
            Err(failed) => Err(match failed.failure.code.as_str() {
                "egress_denied" => HttpFailure::Denied(failed.failure.message),
                "dns_failed" => HttpFailure::Dns,
                "connect_refused" | "connect_failed" => HttpFailure::Connect,
                "tls_failed" | "client_certificate_required" | "client_certificate_refused" => HttpFailure::Tls,
                "timeout" => HttpFailure::Timeout,
                _ => HttpFailure::Other(failed.failure.message),
            }),
        }
    }
}

fn same_origin(one: &str, other: &str) -> bool {
    let origin = |url: &str| url::Url::parse(url).map(|url| url.origin()).ok();
    origin(one).is_some_and(|one| Some(one) == origin(other))
}

/// What pulls of one pass need.
struct Feed {
    binding: PluginBinding,
    plugin: Arc<LoadedPlugin>,
    http: HttpAccess,
}

impl HeldRun {
    /// One pass over the feed: pulls until the source has no more.
    pub(super) async fn poll(&self, poll: &PollJob) -> RunEnd {
        let feed = match self.feed(poll).await {
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
            let (page, writes) = match self.pull(&feed, poll, after.as_deref()).await {
                Ok(pulled) => pulled,
                Err(failure) => return RunEnd::Failed(failure),
            };
            if let Err(failure) = self.publish(poll, &page).await {
                return RunEnd::Failed(failure);
            }
            let kept = (feed.binding.name.clone(), writes);
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

    async fn feed(&self, poll: &PollJob) -> Result<Feed, RunFailure> {
        let failure = |code: &str, message: String, retryable| RunFailure { code: code.to_owned(), message, retryable };
        let stored = |error: StoreError| failure(error.code(), error.to_string(), true);
        let view = self.engine.views.get(&self.engine.store, self.job.tenant).await.map_err(stored)?;
        let endpoint = match poll.endpoint {
            None => None,
            Some(id) => match view.catalog.endpoint(id).filter(|endpoint| endpoint.enabled) {
                Some(endpoint) => Some(Arc::clone(endpoint)),
                None => return Err(failure("endpoint_disabled", format!("{id} is disabled or not there"), true)),
            },
        };
        let binding = source_binding(&self.engine.store, &view, self.job.tenant, endpoint.as_deref(), poll).await;
        let binding = match binding.map_err(stored)? {
            Binding::Plugin(binding) => *binding,
            Binding::Broken(broken) => return Err(failure(&broken.code, broken.message, broken.retryable)),
            Binding::BuiltIn => return Err(failure("load_failed", "a source is a plugin".to_owned(), false)),
        };
        let plugin = self.engine.plugin_load(&binding.digest, binding.development).await;
        let plugin = plugin.map_err(|broken| failure(broken.code.code(), broken.message, true))?;
        let doer = Doer {
            engine: Arc::clone(&self.engine),
            endpoint: endpoint.clone(),
            credentials: binding.credentials.clone(),
        };
        let http = HttpAccess {
            doer: Arc::new(doer),
            endpoint_url: endpoint.map(|endpoint| endpoint.url.clone()),
            hosts: binding.grants.hosts.clone().into(),
            budget: HttpBudget::default(),
        };
        Ok(Feed { binding, plugin, http })
    }

    async fn pull(
        &self,
        feed: &Feed,
        poll: &PollJob,
        after: Option<&[u8]>,
    ) -> Result<(FeedPage, Vec<(String, Option<Vec<u8>>)>), RunFailure> {
        let binding = &feed.binding;
        let mut state = BTreeMap::new();
        if feed.plugin.uses_state() {
            let place = EndpointId::from_uuid(self.job.id.uuid());
            let stored = self.engine.store.plugin_state_get(self.job.tenant, &binding.name, place).await;
            state.extend(stored.map_err(|error| RunFailure {
                code: error.code().to_owned(),
                message: error.to_string(),
                retryable: true,
            })?);
        }
        let (reuse, limits) = self.engine.call_rules(&binding.calls, binding.component_bytes);
        let context = SyncContext {
            installation: &binding.installation,
            limits: limits.for_sync(),
            reuse,
            config: Arc::clone(&binding.config),
            secrets: binding.secrets.clone(),
            state: Arc::new(state),
            id: IdText::of(&self.run.id),
            now: self.engine.now(),
        };
        let call =
            SourcePullCall { context, stream: &poll.stream, after, max_changes: CHANGES_MAX, http: feed.http.clone() };
        match self.engine.host.source_pull(&feed.plugin, call).await {
            Ok(done) => match done.answer {
                Ok(page) => {
                    self.count(RunCounts { requests: 1, ..RunCounts::default() });
                    Ok((page, done.record.state_writes.into_iter().collect()))
                }
                Err(refusal) => {
                    Err(RunFailure { code: refusal.code, message: refusal.message, retryable: refusal.retryable })
                }
            },
            Err(CallFailed { fault, .. }) => {
                Err(RunFailure { code: fault.code.code().to_owned(), message: fault.message, retryable: true })
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
            idempotency_key: Some(format!("poll:{}", hexadecimal(digest(&SHA256, said.as_bytes()).as_ref()))),
            occurred_at: None,
            deliver_at: None,
            labels: vec![("operation".to_owned(), operation.to_owned())],
            // Not the run's id: a repeat in a later run has to be the same event.
            correlation_id: None,
        }
    }
}
