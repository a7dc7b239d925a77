//! `/v1/replays`: recorded attempts with every input of their plugin's calls, for whoever wants to run them again.

use std::sync::Arc;

use axum::{Json, extract::State};
use engate_model::{DeliveryId, Timestamp};
use engate_store::Total;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    extract::{Caller, Params},
    page::{LIMIT_DEFAULT, Listing, cursor_id, cursor_write},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{engine::Engine, replay::Recorded, verbs::replays::ReplayFilter};

pub(super) fn routes() -> Routes {
    Routes::default().add(__path_list, Permission::ReadPlugins, list)
}

/// Which attempts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReplayQuery {
    /// Of this delivery.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64)]
    delivery: Option<DeliveryId>,
    /// Of this integrator, by slug or id.
    #[param(min_length = 1, max_length = 255)]
    integrator: Option<String>,
    /// Made by this plugin, whatever its version.
    #[param(min_length = 1, max_length = 255)]
    plugin: Option<String>,
    /// Of events taken at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Of events taken before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Deliveries a page looks at; it may hold fewer attempts, or more.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before; none: the first page.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// Recorded attempts that a plugin had part in, the oldest delivery first.
///
/// Each has what its calls were given: the event as the plugin saw it, the merged configuration, the time, state that was
/// read, and signatures that the engine computed (never keys). `engate plugin replay` and `engate plugin diff` run them
/// again. A page without items may have a next one. Where there are several pages, `total` counts the deliveries and is an
/// estimate.
#[utoipa::path(get, path = "/v1/replays", tag = "plugins", operation_id = "replay_list", params(ReplayQuery),
    responses((status = 200, description = "One page", body = Listing<Recorded>),
        (status = 404, description = "No such delivery")))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(query): Params<ReplayQuery>,
) -> Result<Json<Listing<Recorded>>, Problem> {
    let after = query.cursor.as_deref().map(cursor_id).transpose()?;
    let filter = ReplayFilter {
        delivery: query.delivery,
        integrator: query.integrator,
        plugin: query.plugin,
        since: query.since,
        until: query.until,
    };
    let page = engine.replay_list(&principal, &filter, after, query.limit.unwrap_or(LIMIT_DEFAULT)).await?;
    let next = page.next.map(|code| cursor_write(&code.to_string()));
    let Total { count, exact } = page.total;
    Ok(Json(Listing { items: page.items, total: Some(count), total_estimated: !exact, next }))
}
