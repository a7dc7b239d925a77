//! How limits of rates look in requests and answers.

use engate_model::rate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many may begin on each node: so many a second over time, so many at once after a pause.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"per_second": 20, "burst": 40}))]
pub(super) struct RateLimit {
    /// A second, over time.
    #[schema(minimum = 1, maximum = 10_000)]
    per_second: u32,
    /// At once, after a pause.
    #[schema(minimum = 1, maximum = 10_000)]
    burst: u32,
}

impl From<RateLimit> for rate::RateLimit {
    fn from(limit: RateLimit) -> Self {
        Self { per_second: limit.per_second, burst: limit.burst }
    }
}

impl From<rate::RateLimit> for RateLimit {
    fn from(limit: rate::RateLimit) -> Self {
        Self { per_second: limit.per_second, burst: limit.burst }
    }
}
