//! `/v1/audit`: who did what, as a chain that shows when it was tampered with, and who called what.

mod access;

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use engate_model::{AuditId, Invalid, TenantId, Timestamp, TokenId, token::Principal};
use engate_store::{AuditEntry, AuditFilter, ChainFault, Link, Order, Total};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    extract::{Caller, Params},
    page::{LIMIT_DEFAULT, Listing, cursor_id, cursor_write},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{
    engine::Engine,
    hexadecimal::{self, hash_read},
    verbs::{VerbError, audit::Witness},
};

/// Entries that an export reads at a time.
const EXPORT_STEP: u32 = 500;

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadAudit, list)
        .add(__path_export, Permission::ReadAudit, export)
        .add(__path_verify, Permission::ReadAudit, verify)
        .merge(access::routes())
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

impl From<AuditOrder> for Order {
    fn from(order: AuditOrder) -> Self {
        match order {
            AuditOrder::Newest => Self::Descending,
            AuditOrder::Oldest => Self::Ascending,
        }
    }
}

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Of this action only (`endpoint.create`); with a dot at its end, of all that begin so (`endpoint.`).
    #[param(min_length = 1, max_length = 255)]
    action: Option<String>,
    /// By this client only.
    #[param(min_length = 1, max_length = 255)]
    client: Option<String>,
    /// With the token of this id only.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64)]
    token: Option<TokenId>,
    /// Of this object only: an id or a name.
    #[param(min_length = 1, max_length = 255)]
    object: Option<String>,
    /// From this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// From before this time.
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

/// One change, and who made it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntry, example = json!({
    "seq": 17, "id": "aud_0192f0c1a2b37c4d8e5f60718293a4b5", "tenant": "ten_0192f0c1a2b37c4d8e5f60718293a4b5",
    "at": "2026-01-31T12:00:00.000000Z", "token": "tok_0192f0c1a2b37c4d8e5f60718293a4b5", "client": "first-admin",
    "action": "endpoint.create", "object": "ep_0192f0c1a2b37c4d8e5f60718293a4b5", "detail": {},
    "previous": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "hash": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
}))]
pub(crate) struct AuditView {
    /// Its place in the tenant's chain; null in the moment before it has one.
    seq: Option<u64>,
    /// Its id.
    #[schema(value_type = String)]
    id: AuditId,
    /// Whose data was changed.
    #[schema(value_type = String)]
    tenant: TenantId,
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
    detail: Box<RawValue>,
    /// The predecessor's hash.
    previous: Option<String>,
    /// SHA-256 over the predecessor's hash, the place and the entry.
    hash: Option<String>,
}

impl AuditView {
    fn of(entry: AuditEntry) -> Self {
        let AuditEntry { id, tenant, at, token, client, action, object, detail, sealed } = entry;
        // It is kept as it was written; what somebody made of it since is shown as a text.
        let detail = RawValue::from_string(detail.clone())
            .or_else(|_| serde_json::value::to_raw_value(&detail))
            .unwrap_or_else(|_| RawValue::NULL.to_owned());
        let hash = |of: fn(Link) -> [u8; 32]| sealed.map(|link| hexadecimal::digits(&of(link)));
        Self {
            seq: sealed.map(|link| link.seq),
            id,
            tenant,
            at,
            token,
            client,
            action,
            object,
            detail,
            previous: hash(|link| link.previous),
            hash: hash(|link| link.hash),
        }
    }

    /// The entry as it is hashed; none where it has no place or no readable hash.
    pub(crate) fn entry(self) -> Option<AuditEntry> {
        let (seq, previous, hash) = (self.seq?, hash_read(&self.previous?)?, hash_read(&self.hash?)?);
        Some(AuditEntry {
            id: self.id,
            tenant: self.tenant,
            at: self.at,
            token: self.token,
            client: self.client,
            action: self.action,
            object: self.object,
            detail: self.detail.get().to_owned(),
            sealed: Some(Link { seq, previous, hash }),
        })
    }
}

/// Lists the tenant's audit entries.
///
/// Beyond 10,000 `total` is that number and `total_estimated` is true.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "audit_list", params(ListParams),
    responses((status = 200, description = "One page", body = Listing<AuditView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<AuditView>>, Problem> {
    let after = params.cursor.as_deref().map(cursor_id::<AuditId>).transpose()?;
    let filter = AuditFilter {
        action: params.action,
        client: params.client,
        token: params.token,
        object: params.object,
        from: params.from,
        before: params.to,
    };
    let order = params.order.unwrap_or_default().into();
    let page = engine.audit_list(&principal, &filter, after, order, params.limit.unwrap_or(LIMIT_DEFAULT)).await?;
    let next = page.next.map(|id| cursor_write(&id.to_string()));
    let Total { count, exact } = page.total;
    let items = page.items.into_iter().map(AuditView::of).collect();
    Ok(Json(Listing { items, total: Some(count), total_estimated: !exact, next }))
}

/// Every entry in the chain's order, one JSON object a line: what `engate audit verify --file` checks without an engine.
#[utoipa::path(get, path = "/v1/audit.ndjson", tag = "audit", operation_id = "audit_export",
    responses((status = 200, description = "One entry a line", body = AuditView, content_type = "application/x-ndjson")))]
async fn export(State(engine): State<Arc<Engine>>, Caller(principal): Caller) -> Result<Response, Problem> {
    let first = lines(&engine, &principal, 0).await?;
    let chain = stream::unfold((engine, principal, Some(first)), async |(engine, principal, page)| {
        let (text, last) = page?;
        let next = match last {
            None => None,
            Some(last) => match lines(&engine, &principal, last).await {
                Ok(page) => Some(page),
                // The answer breaks off, so that nobody takes it for whole.
                Err(error) => return Some((Err(axum::Error::new(error)), (engine, principal, None))),
            },
        };
        Some((Ok(text), (engine, principal, next)))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(chain)).into_response())
}

/// Lines beyond a place, and the last place of theirs where there may be more.
async fn lines(engine: &Engine, principal: &Principal, after: u64) -> Result<(Bytes, Option<u64>), VerbError> {
    let entries = engine.audit_chain(principal, after, EXPORT_STEP).await?;
    let last = entries.last().and_then(|entry| entry.sealed).map(|link| link.seq);
    let mut text = Vec::new();
    for entry in entries {
        let line = serde_json::to_vec(&AuditView::of(entry));
        text.extend(line.map_err(|error| VerbError::Internal(error.to_string()))?);
        text.push(b'\n');
    }
    Ok((text.into(), last))
}

/// A place that was noted before, to be found again.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct VerifyParams {
    /// A place in the chain.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991i64)]
    seq: Option<u64>,
    /// The hash that stood there.
    #[param(min_length = 64, max_length = 64)]
    hash: Option<String>,
}

/// Whether the chain is whole.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditCheck, example = json!({
    "valid": true, "entries": 17, "first_seq": 1, "last_seq": 17,
    "hash": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752", "faults": []
}))]
struct CheckView {
    /// Whether nothing is wrong.
    valid: bool,
    /// Entries that were read, and their hashes computed again.
    entries: u64,
    /// The first place that is kept.
    first_seq: u64,
    /// The last place, by the sealed head.
    last_seq: u64,
    /// The last hash, by the sealed head. Noted elsewhere, it shows later whether the chain was made anew.
    hash: String,
    /// What is wrong, at most 20 things.
    faults: Vec<FaultView>,
}

/// One thing that is wrong with the chain.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditFault, example = json!({
    "code": "edited", "seq": 17, "entry": "aud_0192f0c1a2b37c4d8e5f60718293a4b5",
    "message": "the entry is not the one that was written"
}))]
struct FaultView {
    /// `edited`, `missing`, `moved`, `cut_off`, `added`, `forged`, `differs`, `head_missing` or `head_forged`.
    code: &'static str,
    /// The place concerned.
    seq: Option<u64>,
    /// The entry concerned.
    #[schema(value_type = Option<String>)]
    entry: Option<AuditId>,
    /// For people.
    message: &'static str,
}

impl From<ChainFault> for FaultView {
    fn from(ChainFault { code, seq, entry }: ChainFault) -> Self {
        Self { code, seq, entry, message: fault_text(code) }
    }
}

/// What a fault's code means.
pub(crate) fn fault_text(code: &str) -> &'static str {
    match code {
        "edited" => "the entry is not the one that was written",
        "missing" => "an entry is gone from within the chain",
        "moved" => "the entry does not follow its predecessor",
        "cut_off" => "the chain ends before its last entry",
        "added" => "the entry stands where the engine has put none",
        "forged" => "the entry was put in, or changed, by someone without the engine's key",
        "differs" => "another hash stands at the place that was noted",
        "head_missing" => "the sealed head of the chain is gone",
        _ => "the sealed head of the chain was not written by this engine",
    }
}

/// Computes the chain again from its first entry to its last, and says what is wrong with it.
///
/// With `seq` and `hash`, as an earlier call answered them, it also shows whether that place is still the same.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit", operation_id = "audit_verify", params(VerifyParams),
    responses((status = 200, description = "What was found, whether the chain is whole or not", body = CheckView)))]
async fn verify(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(params): Params<VerifyParams>,
) -> Result<Json<CheckView>, Problem> {
    let witness = match (params.seq, params.hash) {
        (None, None) => None,
        (Some(seq), Some(hash)) => {
            let hash = hash_read(&hash).ok_or_else(|| Invalid::field("hash", "must be 64 hexadecimal digits"))?;
            Some(Witness { seq, hash })
        }
        (Some(_), None) => return Err(Invalid::field("hash", "is missing; `seq` and `hash` go together").into()),
        (None, Some(_)) => return Err(Invalid::field("seq", "is missing; `seq` and `hash` go together").into()),
    };
    let check = engine.audit_verify(&principal, witness).await?;
    Ok(Json(CheckView {
        valid: check.faults.is_empty(),
        entries: check.entries,
        first_seq: check.first_seq,
        last_seq: check.last_seq,
        hash: hexadecimal::digits(&check.hash),
        faults: check.faults.into_iter().map(FaultView::from).collect(),
    }))
}
