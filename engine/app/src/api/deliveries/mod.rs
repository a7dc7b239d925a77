//! `/v1/deliveries`: what became of events, and what to do about it.

mod export;
mod pdf;
mod print;
mod query;
pub(crate) mod shapes;
mod sheet;

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{DeliveryId, delivery::Delivery, token::Principal};
use engate_store::Page;

use self::{query::DeliveryQuery, shapes::AttemptView};
pub(super) use self::{
    query::Success,
    shapes::{DeliveryView, ResponseView, by_name},
};
use super::{
    extract::{At, Caller, Params},
    page::{LIMIT_DEFAULT, Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::engine::Engine;

pub(super) fn routes() -> Routes {
    Routes::default()
        .describe::<query::Success>()
        .describe::<sheet::ColumnName>()
        .add(__path_list, Permission::ReadDeliveries, list)
        .add(export::__path_csv, Permission::ExportDeliveries, export::csv)
        .add(export::__path_ndjson, Permission::ExportDeliveries, export::ndjson)
        .add(pdf::__path_pdf, Permission::ExportDeliveries, pdf::pdf)
        .add(print::__path_print, Permission::ExportDeliveries, print::print)
        .add(__path_get, Permission::ReadDeliveries, get)
        .add(__path_attempts, Permission::ReadDeliveries, attempts)
        .add(__path_retry, Permission::ManageDeliveries, retry)
        .add(__path_cancel, Permission::ManageDeliveries, cancel)
}

/// Lists deliveries, by their codes where no other order is asked for.
///
/// All filters combine. A listing that cannot be found within two seconds is refused as `narrow_the_range`.
#[utoipa::path(get, path = "/v1/deliveries", tag = "deliveries", operation_id = "delivery_list", params(DeliveryQuery),
    responses((status = 200, description = "One page", body = Listing<DeliveryView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(query): Params<DeliveryQuery>,
) -> Result<Json<Listing<DeliveryView>>, Problem> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    let wanted = query.read(engine.locale(&principal).await?)?;
    let page = Page { after: wanted.after()?, limit };
    let filter = engine.delivery_wish(&principal, wanted.wish).await?;
    let page = engine.delivery_list(&principal, filter, &wanted.sort, &page).await?;
    let names = engine.views.get(&engine.store, principal.tenant).await?;
    Ok(Json(Listing {
        items: page.items.into_iter().map(|delivery| DeliveryView::of(delivery, &names)).collect(),
        total: page.total.map(|total| total.count),
        total_estimated: page.total.is_some_and(|total| !total.exact),
        next: page.next.map(|place| query::place_write(&wanted.fingerprint, &place)),
    }))
}

async fn show(engine: &Engine, principal: &Principal, delivery: Delivery) -> Result<Json<DeliveryView>, Problem> {
    let names = engine.views.get(&engine.store, principal.tenant).await?;
    Ok(Json(DeliveryView::of(delivery, &names)))
}

/// A delivery.
#[utoipa::path(get, path = "/v1/deliveries/{id}", tag = "deliveries", operation_id = "delivery_get",
    params(("id" = String, Path, description = "The delivery's id")),
    responses((status = 200, description = "The delivery", body = DeliveryView), (status = 404, description = "No such delivery")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<DeliveryId>,
) -> Result<Json<DeliveryView>, Problem> {
    show(&engine, &principal, engine.delivery_get(&principal, id).await?).await
}

/// Every try of a delivery, the first one first.
#[utoipa::path(get, path = "/v1/deliveries/{id}/attempts", tag = "deliveries", operation_id = "attempt_list",
    params(("id" = String, Path, description = "The delivery's id"), PageParams),
    responses((status = 200, description = "One page", body = Listing<AttemptView>), (status = 404, description = "No such delivery")))]
async fn attempts(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<DeliveryId>,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<AttemptView>>, Problem> {
    let attempts = engine.attempt_list(&principal, id).await?;
    Ok(Json(page.cut(attempts, |attempt| attempt.number, AttemptView::from)?))
}

/// Has a delivery tried again now. It need not have failed for good: one that waits for its next try goes now.
#[utoipa::path(post, path = "/v1/deliveries/{id}/retry", tag = "deliveries", operation_id = "delivery_retry",
    params(("id" = String, Path, description = "The delivery's id")),
    responses((status = 202, description = "It is tried now", body = DeliveryView),
        (status = 404, description = "No such delivery"),
        (status = 409, description = "`in_progress`, or `not_allowed_in_state`: it succeeded or was superseded")))]
async fn retry(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<DeliveryId>,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    let delivery = engine.delivery_retry(&principal, id).await?;
    Ok((StatusCode::ACCEPTED, show(&engine, &principal, delivery).await?))
}

/// Calls off a delivery that waits.
#[utoipa::path(post, path = "/v1/deliveries/{id}/cancel", tag = "deliveries", operation_id = "delivery_cancel",
    params(("id" = String, Path, description = "The delivery's id")),
    responses((status = 200, description = "Called off", body = DeliveryView),
        (status = 404, description = "No such delivery"),
        (status = 409, description = "`in_progress`, or `not_allowed_in_state`: it is finished")))]
async fn cancel(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<DeliveryId>,
) -> Result<Json<DeliveryView>, Problem> {
    show(&engine, &principal, engine.delivery_cancel(&principal, id).await?).await
}
