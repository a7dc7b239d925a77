//! How often something may be called, as requests and answers spell it.

use engate_model::rate::RateLimit;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many calls each node takes; one too many is answered 429.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CallRate, example = json!({"per_second": 20, "burst": 40}))]
pub(super) struct CallRate {
    /// Calls a second, over time.
    #[schema(minimum = 1, maximum = 10_000)]
    per_second: u32,
    /// Calls at once, after a pause.
    #[schema(minimum = 1, maximum = 10_000)]
    burst: u32,
}

impl From<CallRate> for RateLimit {
    fn from(rate: CallRate) -> Self {
        Self { per_second: rate.per_second, burst: rate.burst }
    }
}

impl From<RateLimit> for CallRate {
    fn from(limit: RateLimit) -> Self {
        Self { per_second: limit.per_second, burst: limit.burst }
    }
}
