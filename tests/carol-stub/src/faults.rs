//! Answers spoiled on command: before the service did anything, or after it did.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt as _, Limited};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

use crate::{
    Shared,
    answers::{Reason, Refusal, carol_error},
    journal::Call,
    now_ms,
    server::HangUp,
};

/// Faults that may wait at once.
pub(crate) const FAULTS_MAX: usize = 100;
/// Longest a call is held.
const HOLD_MAX: Duration = Duration::from_secs(600);
/// Bytes of a request that are read at all.
const BODY_MAX: usize = 64 << 20;

/// Which calls a fault is for. What is left out fits any.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Match {
    /// `POST`, `GET` ...
    method: Option<String>,
    /// The path; `*` stands for any run of characters.
    path: Option<String>,
    /// Text that the body holds, after gzip is taken off.
    body_contains: Option<String>,
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum When {
    /// The service does not see the call.
    #[default]
    Before,
    /// The service has done what was asked; its answer is lost.
    After,
}

/// What a fault does.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Action {
    /// Answers this instead.
    Answer {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after_s: Option<u32>,
        /// The body; none: Carol's error form.
        #[serde(default)]
        body: Option<serde_json::Value>,
    },
    /// Says nothing for this long, then closes the connection.
    Hang {
        /// Milliseconds, at most 600,000.
        hold_ms: u64,
    },
    /// Closes the connection without a byte.
    Close,
    /// Answers as it should, this much later.
    Delay {
        /// Milliseconds, at most 600,000.
        hold_ms: u64,
    },
}

/// A fault as it is ordered.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// For which calls.
    #[serde(default, rename = "match")]
    fits: Match,
    /// Before or after the service acts.
    #[serde(default)]
    when: When,
    /// What happens.
    action: Action,
    /// So many calls that fit pass by before it strikes any.
    #[serde(default)]
    skip: u32,
    /// Strikes so many times, then is over; none: until it is taken back.
    #[serde(default)]
    next: Option<u32>,
    /// The share of the calls it strikes, 0 to 1.
    #[serde(default = "always")]
    rate: f64,
    /// Seeds the choice.
    #[serde(default)]
    seed: u64,
}

const fn always() -> f64 {
    1.0
}

impl Order {
    /// What is wrong with it, if anything is.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let bad = |field: &str, message: &str| Err(Refusal::bad("bad_fault", message).about(field));
        if !(0.0..=1.0).contains(&self.rate) {
            return bad("rate", "a rate is a share between 0 and 1");
        }
        match &self.action {
            Action::Answer { status, .. } if StatusCode::from_u16(*status).is_err() => {
                bad("action.status", "a status is a number from 100 to 999")
            }
            Action::Hang { hold_ms } | Action::Delay { hold_ms } if Duration::from_millis(*hold_ms) > HOLD_MAX => {
                bad("action.hold_ms", "a call is held for at most 600,000 ms")
            }
            _ => Ok(()),
        }
    }
}

/// A fault that waits.
#[derive(Debug, Serialize)]
pub(crate) struct Fault {
    id: u64,
    #[serde(flatten)]
    order: Order,
    /// How often it struck.
    struck: u64,
    #[serde(skip)]
    choice: StdRng,
}

/// All faults; the first that fits a call and strikes is the one.
#[derive(Default)]
pub(crate) struct Faults(Mutex<(u64, Vec<Fault>)>);

struct Strike {
    id: u64,
    when: When,
    action: Action,
}

impl Faults {
    pub(crate) fn add(&self, order: Order) -> Result<u64, Refusal> {
        order.check()?;
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.1.len() >= FAULTS_MAX {
            return Err(Refusal::bad("too_many_faults", "at most 100 faults wait at once; DELETE /_stub/faults"));
        }
        faults.0 += 1;
        let id = faults.0;
        let choice = StdRng::seed_from_u64(order.seed);
        faults.1.push(Fault { id, order, struck: 0, choice });
        Ok(id)
    }

    /// All that wait, as JSON.
    pub(crate) fn list(&self) -> serde_json::Value {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_value(&faults.1).unwrap_or_default()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clear();
    }

    fn strike(&self, method: &str, path: &str, body: &dyn Fn() -> Bytes) -> Option<Strike> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = faults.1.iter_mut().position(|fault| fault.strikes(method, path, body))?;
        let fault = faults.1.get_mut(index)?;
        fault.struck += 1;
        let strike = Strike { id: fault.id, when: fault.order.when, action: fault.order.action.clone() };
        let over = fault.order.next.is_some_and(|next| fault.struck >= u64::from(next));
        if over {
            faults.1.remove(index);
        }
        Some(strike)
    }
}

impl Fault {
    fn strikes(&mut self, method: &str, path: &str, body: &dyn Fn() -> Bytes) -> bool {
        let fits = &self.order.fits;
        let fits = fits.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && fits.path.as_deref().is_none_or(|pattern| glob(pattern, path))
            && fits.body_contains.as_deref().is_none_or(|text| contains(&body(), text.as_bytes()));
        if fits && self.order.skip > 0 {
            self.order.skip -= 1;
            return false;
        }
        fits && (self.order.rate >= 1.0 || self.choice.random_bool(self.order.rate))
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// Whether `path` is what `pattern` says, `*` standing for any run of characters.
fn glob(pattern: &str, path: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == path };
    let Some(path) = path.strip_prefix(head) else { return false };
    rest.is_empty() || path.char_indices().any(|(at, _)| path.get(at..).is_some_and(|path| glob(rest, path)))
}

/// In front of all services: reads the body, lets a fault strike, and writes the call into the journal.
pub(crate) async fn spoil(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_MAX).collect().await else {
        return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the request is larger than 64 MiB")
            .into_response();
    };
    let body = body.to_bytes();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut call = Call {
        number: 0,
        at_ms: now_ms(),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        bytes: body.len(),
        connector: header("x-auth-connectorid"),
        status: None,
        reason: None,
        fault: None,
        applied: false,
    };
    let plain = || crate::staging::inflate(&body, BODY_MAX).map_or_else(|| body.clone(), Bytes::from);
    let strike = shared.faults.strike(&call.method, &call.path, &plain);
    call.fault = strike.as_ref().map(|strike| strike.id);
    // Written down even when the caller goes away in the middle.
    let mut entry = Entry { shared: &shared, call: Some(call) };
    let before = strike.as_ref().is_some_and(|strike| strike.when == When::Before);
    let mut served = None;
    if !before || matches!(&strike, Some(Strike { action: Action::Delay { .. }, .. })) {
        if let (true, Some(Strike { action: Action::Delay { hold_ms }, .. })) = (before, &strike) {
            hold(*hold_ms).await;
        }
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        entry.served(&response);
        served = Some(response);
    }
    let response = answer(strike, served, before).await;
    entry.answered(&response);
    response
}

async fn answer(strike: Option<Strike>, served: Option<Response>, before: bool) -> Response {
    let served = || served.unwrap_or_else(hang_up);
    match strike.map(|strike| strike.action) {
        None => served(),
        Some(Action::Delay { .. }) if before => served(),
        Some(Action::Delay { hold_ms }) => {
            hold(hold_ms).await;
            served()
        }
        Some(Action::Hang { hold_ms }) => {
            hold(hold_ms).await;
            hang_up()
        }
        Some(Action::Close) => hang_up(),
        Some(Action::Answer { status, retry_after_s, body }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let body = body.map_or_else(|| carol_error(status, "the stub was told to answer this", None), Json);
            let mut response = (status, body).into_response();
            if let Some(seconds) = retry_after_s {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
    }
}

async fn hold(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis).min(HOLD_MAX)).await;
}

fn hang_up() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(HangUp);
    response
}

/// A call on its way into the journal.
struct Entry<'a> {
    shared: &'a Shared,
    call: Option<Call>,
}

impl Entry<'_> {
    fn served(&mut self, response: &Response) {
        if let Some(call) = &mut self.call {
            call.applied = response.status().is_success();
            call.reason = response.extensions().get::<Reason>().map(|reason| reason.0);
        }
    }

    fn answered(&mut self, response: &Response) {
        if let Some(call) = &mut self.call {
            call.status = response.extensions().get::<HangUp>().is_none().then(|| response.status().as_u16());
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.shared.journal.add(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, path) in
            [("*", "/a"), ("/a/*", "/a/"), ("/a/*/c", "/a/b/c"), ("*/connect/token", "/x/connect/token")]
        {
            assert!(glob(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [("/a", "/a/b"), ("/a/*/c", "/a/b/d"), ("/b*", "/a")] {
            assert!(!glob(pattern, path), "{pattern} {path}");
        }
    }
}
