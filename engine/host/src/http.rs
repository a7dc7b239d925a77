//! HTTP that a source asks for: checked and counted here, done by whoever made the call.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use engate_model::{delivery::Response, plugin::Limits};
use tokio::time::{Instant, timeout};

use crate::{
    call::OutgoingRequest,
    instance::CallState,
    log::printable,
    request::{self, host_granted},
};

/// Longest explanation that a plugin gets, in bytes.
const REASON_BYTES_MAX: usize = 1 << 10;

/// Requests of one call, unless something else is set.
const REQUESTS_DEFAULT: u32 = 32;
/// Bytes of their bodies, out and in, unless something else is set.
const BYTES_DEFAULT: usize = 32 << 20;
/// Time they may take together, unless something else is set.
const WAIT_DEFAULT: Duration = Duration::from_secs(60);

/// Sends what a source asks for. Address guard, TLS, credentials and time-outs are its own.
#[async_trait]
pub trait HttpDoer: Send + Sync {
    /// Sends a request that passed every check and goes to a granted host; follows no redirect. Of a body longer than
    /// `body_bytes_max` it may bring the beginning, marked as truncated.
    ///
    /// # Errors
    /// Why there is no response. The words reach the plugin: they must not hold a secret.
    async fn send(&self, request: OutgoingRequest, body_bytes_max: usize) -> Result<HttpAnswer, HttpFailure>;
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The response, its body inflated.
    pub response: Response,
    /// From the start of the request to the end of the body.
    pub elapsed_ms: u32,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpFailure {
    /// The host is not granted, its address is not allowed, or the credential is not.
    Denied(String),
    /// The name did not resolve.
    Dns,
    /// No connection.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The deadline passed.
    Timeout,
    /// The response is longer than the engine takes.
    TooLarge,
    /// The call has used up its requests, bytes or time.
    Budget,
    /// Anything else, in words.
    Other(String),
}

/// What the requests of one call may cost together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpBudget {
    /// How many.
    pub requests: u32,
    /// Bytes of bodies, out and in.
    pub bytes: usize,
    /// Time spent waiting; beside the call's own wall time.
    pub wait: Duration,
}

impl Default for HttpBudget {
    fn default() -> Self {
        Self { requests: REQUESTS_DEFAULT, bytes: BYTES_DEFAULT, wait: WAIT_DEFAULT }
    }
}

/// A source's way out.
#[derive(Clone)]
pub struct HttpAccess {
    /// Who sends.
    pub doer: Arc<dyn HttpDoer>,
    /// The URL of the job's endpoint, whose origin needs no grant; none: only granted hosts.
    pub endpoint_url: Option<String>,
    /// Granted hosts.
    pub hosts: Arc<[String]>,
    /// What one call may cost.
    pub budget: HttpBudget,
}

impl fmt::Debug for HttpAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAccess").field("hosts", &self.hosts).field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// The HTTP of one call.
pub(crate) struct Outbound {
    access: HttpAccess,
    limits: Limits,
    requests: u32,
    bytes: usize,
    waited: Duration,
}

impl Outbound {
    /// Nothing is spent yet.
    pub(crate) fn new(access: HttpAccess, limits: Limits) -> Self {
        Self { access, limits, requests: 0, bytes: 0, waited: Duration::ZERO }
    }

    /// Requests made, and bytes of their bodies out and in.
    pub(crate) const fn spent(&self) -> (u32, usize) {
        (self.requests, self.bytes)
    }

    /// Counts the request; says how long a body may come back and how long that may take.
    fn spend(&mut self, out_bytes: usize) -> Result<(usize, Duration), HttpFailure> {
        let budget = self.access.budget;
        let bytes = self.bytes.saturating_add(out_bytes);
        let wait = budget.wait.saturating_sub(self.waited);
        if self.requests >= budget.requests || bytes >= budget.bytes || wait.is_zero() {
            return Err(HttpFailure::Budget);
        }
        self.requests += 1;
        self.bytes = bytes;
        Ok((self.limits.body_bytes.min(budget.bytes - bytes), wait))
    }
}

impl CallState {
    /// Sends what the guest asks for.
    ///
    /// # Errors
    /// What the guest is told.
    pub(crate) async fn fetch(&mut self, request: OutgoingRequest) -> Result<HttpAnswer, HttpFailure> {
        let Some(outbound) = &mut self.http else {
            return Err(HttpFailure::Denied("HTTP is done for `pull` of a source, and for no other call".to_owned()));
        };
        let checked = request::checked(request, &outbound.limits, &mut self.world.log());
        let request = checked.map_err(|fault| HttpFailure::Other(fault.message))?;
        let access = &outbound.access;
        host_granted(&request.url, access.endpoint_url.as_deref().unwrap_or_default(), &access.hosts)
            .map_err(|fault| HttpFailure::Denied(fault.message))?;
        let (bytes_max, wait) = outbound.spend(request.body.len())?;
        let doer = Arc::clone(&outbound.access.doer);
        let started = Instant::now();
        let ended = timeout(wait, doer.send(request, bytes_max)).await;
        outbound.waited = outbound.waited.saturating_add(started.elapsed());
        // The tick that passed meanwhile is not the guest's.
        self.waited = true;
        let answer = ended.map_err(|_| HttpFailure::Timeout)?.map_err(told)?;
        let came = answer.response.body.len();
        outbound.bytes = outbound.bytes.saturating_add(came);
        if answer.response.truncated || came > bytes_max {
            let ours = bytes_max < outbound.limits.body_bytes;
            return Err(if ours { HttpFailure::Budget } else { HttpFailure::TooLarge });
        }
        Ok(answer)
    }
}

/// The same with its words cut to size.
fn told(failure: HttpFailure) -> HttpFailure {
    match failure {
        HttpFailure::Denied(reason) => HttpFailure::Denied(printable(&reason, REASON_BYTES_MAX)),
        HttpFailure::Other(reason) => HttpFailure::Other(printable(&reason, REASON_BYTES_MAX)),
        failure => failure,
    }
}
