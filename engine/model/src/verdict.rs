//! How one try ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What was judged of a response, by the plugin or by its status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Verdict {
    /// The partner took it.
    Success {
        /// The partner's own id for what it took.
        reference: Option<String>,
    },
    /// Not taken; worth another try.
    Retry {
        /// Stable snake_case label.
        code: String,
        /// For people.
        message: String,
        /// The wait the plugin asks for; none: `Retry-After`, else the schedule.
        after: Option<Duration>,
    },
    /// Not taken, and no try will change that.
    Fail {
        /// Stable snake_case label.
        code: String,
        /// For people.
        message: String,
    },
    /// The partner says: stop.
    Disable {
        /// For people.
        message: String,
    },
}

/// How one try ended: a verdict on a response, or what kept the engine from having one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A response came and was judged.
    Judged(Verdict),
    /// No usable response came.
    Transport(Failure),
    /// The plugin did not do its part (a trap, a limit, a refusal of its own).
    Plugin(Failure),
    /// The plugin said that this endpoint need not have the event.
    Skipped(String),
}

/// What kept a try from having a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable snake_case label (`connect_refused`, `cpu_limit`).
    pub code: String,
    /// For people; never a secret.
    pub message: String,
    /// Whether another try can change it.
    pub retryable: bool,
}

/// The engine's own judgement of a status, where no plugin judges: 2xx is success, 410 disables, anything else
/// is worth another try (a redirect is not followed).
pub fn judge_status(status: u16) -> Verdict {
    let code = match status {
        200..=299 => return Verdict::Success { reference: None },
        410 => return Verdict::Disable { message: "the partner answered 410 Gone".to_owned() },
        300..=399 => "redirect_refused",
        401 | 403 | 407 => "auth_rejected",
        404 => "not_found",
        408 => "request_timeout",
        409 => "conflict",
        413 => "payload_too_large",
        429 => "rate_limited",
        400..=499 => "client_error",
        503 => "unavailable",
        _ => "server_error",
    };
    Verdict::Retry { code: code.to_owned(), message: format!("the partner answered {status}"), after: None }
}

/// Whether a status asks the sender to slow down.
pub const fn asks_to_slow_down(status: u16) -> bool {
    matches!(status, 429 | 502..=504)
}
