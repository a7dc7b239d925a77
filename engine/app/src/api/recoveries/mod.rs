//! `/v1/recoveries`: all that failed in a time is tried again, at a rate.

mod shapes;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use engate_model::{RecoveryId, recovery::Recovery};
use engate_store::Total;

use self::shapes::{DryRunView, RecoveryBody, RecoveryView};
use super::{
    extract::{At, Body, Caller, Params},
    page::{LIMIT_DEFAULT, Listing, PageParams, cursor_id, cursor_write},
    permission::Permission,
    problem::Problem,
    redact::{check_query, check_shown},
    routes::Routes,
};
use crate::{engine::Engine, verbs::access::Grant};

/// The field of a delivery by which what is skipped is counted.
const STATE: &str = "state";

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_start, Permission::ManageRecoveries, start)
        .add(__path_list, Permission::ReadRecoveries, list)
        .add(__path_get, Permission::ReadRecoveries, get)
        .add(__path_cancel, Permission::ManageRecoveries, cancel)
}

/// Tries all deliveries of a filter and a time again, one after the other by their codes, or says how much that would be.
///
/// Each is set due now under the rules of a retry by hand; what cannot be is counted by why. It goes on until it went
/// through all there is, whatever dies or stops meanwhile, and sets no delivery due twice. What is created after it was
/// started is none of it. With `dry_run` nothing is changed. The answer counts by `state`: a token that is not shown that is
/// refused (`redacted`).
#[utoipa::path(post, path = "/v1/recoveries", tag = "deliveries", operation_id = "recovery_start",
    request_body = RecoveryBody,
    responses((status = 200, description = "How much it would be; nothing was changed", body = DryRunView),
        (status = 202, description = "Started", body = RecoveryView),
        (status = 429, description = "`too_many_recoveries`: five of this tenant are under way")))]
async fn start(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    grant: Option<Extension<Arc<Grant>>>,
    Body(body): Body<RecoveryBody>,
) -> Result<Response, Problem> {
    if let Some(redaction) = grant.as_ref().and_then(|Extension(grant)| grant.redaction.as_ref()) {
        check_shown(redaction, STATE)?;
        check_query(redaction, &body.as_query())?;
    }
    let dry_run = body.dry_run;
    let wish = body.read(engine.locale(&principal).await?.zone)?;
    if dry_run {
        return Ok(Json(DryRunView::of(engine.recovery_count(&principal, wish).await?)).into_response());
    }
    let recovery = engine.recovery_start(&principal, wish).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(recovery, grant.as_ref()))).into_response())
}

/// The recoveries, the newest first.
#[utoipa::path(get, path = "/v1/recoveries", tag = "deliveries", operation_id = "recovery_list", params(PageParams),
    responses((status = 200, description = "One page", body = Listing<RecoveryView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    grant: Option<Extension<Arc<Grant>>>,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<RecoveryView>>, Problem> {
    let after = page.cursor.as_deref().map(cursor_id::<RecoveryId>).transpose()?;
    let page = engine.recovery_list(&principal, after, page.limit.unwrap_or(LIMIT_DEFAULT)).await?;
    let next = page.next.map(|id| cursor_write(&id.to_string()));
    let Total { count, exact } = page.total;
    let items = page.items.into_iter().map(|one| shown(one, grant.as_ref())).collect();
    Ok(Json(Listing { items, total: Some(count), total_estimated: !exact, next }))
}

/// A recovery and how far it is.
#[utoipa::path(get, path = "/v1/recoveries/{id}", tag = "deliveries", operation_id = "recovery_get",
    params(("id" = String, Path, description = "The recovery's id")),
    responses((status = 200, description = "How far it is", body = RecoveryView), (status = 404, description = "There is none")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    grant: Option<Extension<Arc<Grant>>>,
    At(id): At<RecoveryId>,
) -> Result<Json<RecoveryView>, Problem> {
    Ok(Json(shown(engine.recovery_get(&principal, id).await?, grant.as_ref())))
}

/// Calls a recovery off: it goes through no more deliveries. What it set due before goes on.
#[utoipa::path(post, path = "/v1/recoveries/{id}/cancel", tag = "deliveries", operation_id = "recovery_cancel",
    params(("id" = String, Path, description = "The recovery's id")),
    responses((status = 200, description = "Called off", body = RecoveryView), (status = 404, description = "There is none"),
        (status = 409, description = "`not_allowed_in_state`: it is over")))]
async fn cancel(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    grant: Option<Extension<Arc<Grant>>>,
    At(id): At<RecoveryId>,
) -> Result<Json<RecoveryView>, Problem> {
    Ok(Json(shown(engine.recovery_cancel(&principal, id).await?, grant.as_ref())))
}

/// A recovery as this token's holder is shown it: what was skipped is counted by state.
fn shown(recovery: Recovery, grant: Option<&Extension<Arc<Grant>>>) -> RecoveryView {
    let redaction = grant.and_then(|Extension(grant)| grant.redaction.as_ref());
    let hidden = redaction.is_some_and(|redaction| redaction.hides_member(STATE));
    let skipped = if hidden { BTreeMap::new() } else { recovery.skipped };
    RecoveryView::of(Recovery { skipped, ..recovery })
}
