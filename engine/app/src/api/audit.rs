//! `/v1/audit`: who did what.

use std::sync::Arc;

use axum::{Json, extract::State};
use engate_model::{AuditId, Invalid, Timestamp, TokenId};
use engate_store::{AuditEntry, Order};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    extract::{Caller, Params},
    page::{LIMIT_DEFAULT, Listing, cursor_read, cursor_write},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::engine::Engine;

pub(super) fn routes() -> Routes {
    Routes::default().add(__path_list, Permission::ReadAudit, list)
}

/// In which order entries come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AuditOrder {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
}

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Items a page holds at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before, in the same order; none: the first page.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
    /// `newest` (first, the default) or `oldest`.
    #[param(inline)]
    order: Option<AuditOrder>,
}

/// One change, and who made it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry, example = json!({
    "id": "aud_0192f0c1a2b37c4d8e5f60718293a4b5", "at": "2026-01-31T12:00:00.000000Z",
    "token": "tok_0192f0c1a2b37c4d8e5f60718293a4b5", "client": "first-admin", "action": "endpoint.create",
    "object": "ep_0192f0c1a2b37c4d8e5f60718293a4b5", "detail": {}
}))]
struct AuditView {
    /// Its id.
    #[schema(value_type = String)]
    id: AuditId,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Id of the token used; null for the engine itself.
    #[schema(value_type = Option<String>)]
    token: Option<TokenId>,
    /// Who held it.
    client: String,
    /// What was done.
    action: String,
    /// To what: an id or a name.
    object: String,
    /// More, never a secret.
    #[schema(value_type = Object)]
    detail: Value,
}

impl AuditView {
    fn of(entry: AuditEntry) -> Self {
        let AuditEntry { id, tenant: _, at, token, client, action, object, detail } = entry;
        Self { id, at, token, client, action, object, detail }
    }
}

/// Lists the tenant's audit entries.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "audit_list", params(ListParams),
    responses((status = 200, description = "One page; `total` is null where there is more than one",
        body = Listing<AuditView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<AuditView>>, Problem> {
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    let after = params.cursor.as_deref().map(place).transpose()?;
    let order = match params.order.unwrap_or_default() {
        AuditOrder::Newest => Order::Descending,
        AuditOrder::Oldest => Order::Ascending,
    };
    // One more than is shown tells whether there is a next page.
    let mut entries = engine.audit_list(&principal, after, order, limit.saturating_add(1)).await?;
    let found = entries.len();
    entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let more = entries.len() < found;
    let next = entries.last().filter(|_| more).map(|last| cursor_write(&last.id.to_string()));
    // Only a list that fits one page is counted by reading it.
    let whole = !more && after.is_none();
    let total = u64::try_from(found).ok().filter(|_| whole);
    let items = entries.into_iter().map(AuditView::of).collect();
    Ok(Json(Listing { items, total, total_estimated: false, next }))
}

fn place(cursor: &str) -> Result<AuditId, Invalid> {
    let wrong = |_| Invalid::field("cursor", "not a cursor of this list; pass on `next` of the page before as it is");
    cursor_read(cursor)?.parse().map_err(wrong)
}
