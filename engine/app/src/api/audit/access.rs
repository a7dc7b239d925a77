//! `/v1/audit/access` and `/v1/audit/refused`: who called what, and how often somebody without a token tried.

use std::sync::Arc;

use axum::{Json, extract::State};
use engate_model::{CallId, Invalid, Timestamp, TokenId};
use engate_store::{AccessEntry, AccessFilter, RefusedCalls, Total};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        extract::{Caller, Params},
        page::{LIMIT_DEFAULT, Listing, PageParams, cursor_id, cursor_read, cursor_write},
        permission::Permission,
        problem::Problem,
        routes::Routes,
    },
    AuditOrder,
};
use crate::engine::Engine;

pub(super) fn routes() -> Routes {
    Routes::default().add(__path_list, Permission::ReadAudit, list).add(__path_refused, Permission::ReadAudit, refused)
}

/// Which calls.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AccessParams {
    /// With the token of this id only.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64)]
    token: Option<TokenId>,
    /// Of this route only, as a token's `routes` name it: `GET /v1/deliveries/{id}`.
    #[param(min_length = 1, max_length = 255)]
    route: Option<String>,
    /// Answered with this status or a higher one.
    #[param(minimum = 100, maximum = 599)]
    status_gte: Option<u16>,
    /// Answered with this status or a lower one.
    #[param(minimum = 100, maximum = 599)]
    status_lte: Option<u16>,
    /// Begun at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Begun before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Items a page holds at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before, under the same filters and order; none: the first page.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
    /// `newest` (first, the default) or `oldest`.
    #[param(inline)]
    order: Option<AuditOrder>,
}

/// One call with a valid token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccessEntry, example = json!({
    "id": "req_0192f0c1a2b37c4d8e5f60718293a4b5", "at": "2026-01-31T12:00:00.000000Z",
    "token": "tok_0192f0c1a2b37c4d8e5f60718293a4b5", "client": "billing", "route": "POST /v1/events", "status": 202,
    "duration_ms": 3.2, "source": "10.1.2.3"
}))]
struct AccessView {
    /// Its id; was answered as `x-request-id`.
    #[schema(value_type = String)]
    id: CallId,
    /// When it began, to the millisecond.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Id of its token.
    #[schema(value_type = String)]
    token: TokenId,
    /// Who held the token.
    client: String,
    /// Method and route, never the path itself; `unmatched` where there is no such path. A HEAD counts as its GET.
    route: String,
    /// Status of the answer; 499 where the caller hung up before it.
    status: u16,
    /// From its arrival to its answer; for events, to their commit.
    duration_ms: f64,
    /// The address it came from.
    source: String,
}

impl AccessView {
    fn of((entry, client): (AccessEntry, String)) -> Self {
        Self {
            id: entry.id,
            at: entry.id.at(),
            token: entry.token,
            client,
            route: entry.route.to_string(),
            status: entry.status,
            duration_ms: entry.duration.as_secs_f64() * 1_000.0,
            source: entry.source.to_string(),
        }
    }
}

/// Lists calls of the tenant's tokens: one entry for each, whether it was carried out or refused.
///
/// An entry is written with the next commit, that of a `POST /v1/events` with its events. Beyond 10,000 `total` is that
/// number and `total_estimated` is true.
#[utoipa::path(get, path = "/v1/audit/access", tag = "audit", operation_id = "access_list", params(AccessParams),
    responses((status = 200, description = "One page", body = Listing<AccessView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(params): Params<AccessParams>,
) -> Result<Json<Listing<AccessView>>, Problem> {
    let after = params.cursor.as_deref().map(cursor_id::<CallId>).transpose()?;
    let filter = AccessFilter {
        token: params.token,
        route: params.route,
        status_from: params.status_gte,
        status_to: params.status_lte,
        from: params.from,
        before: params.to,
    };
    let order = params.order.unwrap_or_default().into();
    let page = engine.access_list(&principal, &filter, after, order, params.limit.unwrap_or(LIMIT_DEFAULT)).await?;
    let next = page.next.map(|id| cursor_write(&id.to_string()));
    let Total { count, exact } = page.total;
    let items = page.items.into_iter().map(AccessView::of).collect();
    Ok(Json(Listing { items, total: Some(count), total_estimated: !exact, next }))
}

/// Calls without a valid token from one address within one minute.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RefusedCalls, example = json!({"minute": "2026-01-31T12:00:00.000000Z", "source": "203.0.113.7", "calls": 12}))]
struct RefusedView {
    /// The minute they came in.
    #[schema(value_type = String, format = DateTime)]
    minute: Timestamp,
    /// The address they came from; `others` stands for those beyond the ones told apart.
    source: String,
    /// How many.
    calls: u64,
}

/// Lists calls that came without a valid token, by source and minute. They belong to no tenant: only the tenant `default`
/// sees them. Beyond 10,000 `total` is that number and `total_estimated` is true.
#[utoipa::path(get, path = "/v1/audit/refused", tag = "audit", operation_id = "access_refused_list", params(PageParams),
    responses((status = 200, description = "One page, the newest minute first", body = Listing<RefusedView>)))]
async fn refused(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<RefusedView>>, Problem> {
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT);
    let after = page.cursor.as_deref().map(refused_place).transpose()?;
    // One more than is shown tells whether there is a next page.
    let (mut rows, total) = engine.access_refused_list(&principal, after, limit.saturating_add(1)).await?;
    let found = rows.len();
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let last = rows.last().filter(|_| rows.len() < found);
    let next = last.map(|last| cursor_write(&format!("{} {}", last.minute.as_micros(), last.source)));
    let items = rows.into_iter().map(|RefusedCalls { minute, source, calls }| RefusedView { minute, source, calls });
    let Total { count, exact } = total;
    Ok(Json(Listing { items: items.collect(), total: Some(count), total_estimated: !exact, next }))
}

fn refused_place(cursor: &str) -> Result<(Timestamp, String), Invalid> {
    let place = cursor_read(cursor)?;
    let parts = place.split_once(' ').and_then(|(at, source)| Some((at.parse().ok()?, source.to_owned())));
    let (at, source) = parts.ok_or_else(|| Invalid::field("cursor", "not a cursor of this list"))?;
    Ok((Timestamp::from_micros(at), source))
}
