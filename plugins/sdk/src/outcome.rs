//! Plans, problems and verdicts.

use crate::{Outgoing, Plan, Problem, Request, Response, Retry, Verdict};

impl Problem {
    /// A refusal that trying again would not cure. `code` is a stable snake_case label; `message` says what is wrong
    /// and what cures it.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), retryable: false }
    }

    /// The same, worth another try.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
}

impl Plan {
    /// Send nothing: the delivery ends as skipped, with this reason.
    #[must_use]
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip(reason.into())
    }
}

impl Outgoing {
    /// Leaves a note, at most 4 KiB, that comes back with the answer as [`Exchange::memo`](crate::Exchange::memo).
    #[must_use]
    pub fn memo(mut self, memo: impl Into<String>) -> Self {
        self.memo = Some(memo.into());
        self
    }
}

impl From<Request> for Outgoing {
    fn from(request: Request) -> Self {
        Self { request, memo: None }
    }
}

impl From<Request> for Plan {
    fn from(request: Request) -> Self {
        Self::Send(request.into())
    }
}

impl From<Outgoing> for Plan {
    fn from(outgoing: Outgoing) -> Self {
        Self::Send(outgoing)
    }
}

impl Verdict {
    /// What the engine itself would say: 2xx is success, anything else is tried again by its schedule.
    #[must_use]
    pub fn by_status(response: &Response) -> Self {
        if response.is_success() { Self::success() } else { Self::retry(format!("HTTP status {}", response.status)) }
    }

    /// Taken.
    #[must_use]
    pub fn success() -> Self {
        Self::Success(None)
    }

    /// Taken, and this is the partner's own id for it.
    #[must_use]
    pub fn success_as(partner_id: impl Into<String>) -> Self {
        Self::Success(Some(partner_id.into()))
    }

    /// Again, by the engine's schedule.
    #[must_use]
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry(Retry { after_ms: None, reason: reason.into() })
    }

    /// Again, after so many milliseconds; the engine clamps them.
    #[must_use]
    pub fn retry_after(after_ms: u64, reason: impl Into<String>) -> Self {
        Self::Retry(Retry { after_ms: Some(after_ms), reason: reason.into() })
    }

    /// Refused, with no further attempt.
    #[must_use]
    pub fn fail(code: &str, message: impl Into<String>) -> Self {
        Self::Fail(Problem::new(code, message))
    }
}

impl From<Problem> for Verdict {
    fn from(problem: Problem) -> Self {
        Self::Fail(problem)
    }
}
