//! `POST /v1/plugins`: a component comes in.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use engate_store::PluginState;
use serde::Deserialize;
use utoipa::IntoParams;

use super::shapes::PluginPushedView;
use crate::{
    api::{
        extract::{Caller, Params, media_type, read_body},
        problem::Problem,
    },
    engine::Engine,
    verbs::plugins::COMPONENT_BYTES_MAX,
};

/// Media types that a component may be sent as.
const MEDIA_TYPES: [&str; 2] = [super::WASM, "application/octet-stream"];
/// Longest wait for a compilation that a caller may ask for, in seconds.
const WAIT_MAX_S: u64 = 120;

/// How a component is to be installed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PushParams {
    /// The name it must have; none: its manifest says.
    #[param(min_length = 1, max_length = 64)]
    name: Option<String>,
    /// The channel that means it from now on; none: `stable`, for a development version `dev`.
    #[param(min_length = 1, max_length = 64)]
    channel: Option<String>,
    /// Install it as a development version: under the next number behind its own version (`1.2.0-dev.3`), so that the
    /// version need not be raised at every change. It is compiled quickly, and runs slower for it. A channel keeps its last
    /// five; older ones go unless something names them.
    #[param(default = false)]
    development: Option<bool>,
}

/// Installs a component of at most 64 MiB and lets a channel mean it. `name@version` never changes: the same bytes
/// again answer 200, others under a version that is there are refused, unless it is pushed as a development version.
///
/// What is wrong with the component is told at once. One that is larger than 1 MiB is compiled after the answer, which is a
/// 202 with the state `compiling` then; the channel moves, and the version can be bound, when `GET
/// /v1/plugins/{name}/versions/{version}` says `ready`. `Prefer: wait=60` waits for that first.
#[utoipa::path(post, path = "/v1/plugins", tag = "plugins", operation_id = "plugin_push",
    params(PushParams, ("prefer" = Option<String>, Header,
        description = "`wait=N`: answer only when it is compiled, or after N seconds (120 at most)")),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "The component's bytes"),
    responses((status = 201, description = "Installed", body = PluginPushedView),
        (status = 202, description = "Taken, and being compiled", body = PluginPushedView),
        (status = 200, description = "It was there already", body = PluginPushedView),
        (status = 409, description = "The version has other content, or configurations in use do not fit")))]
pub(super) async fn push(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(params): Params<PushParams>,
    request: Request,
) -> Result<(StatusCode, Json<PluginPushedView>), Problem> {
    if !MEDIA_TYPES.contains(&media_type(request.headers()).as_str()) {
        return Err(Problem::of("unsupported_media_type", "send the component with `Content-Type: application/wasm`"));
    }
    let patience = wait_wanted(request.headers());
    let component = read_body(request.into_body(), COMPONENT_BYTES_MAX).await?;
    let (name, channel) = (params.name.as_deref(), params.channel.as_deref());
    let pushed = if params.development == Some(true) {
        engine.plugin_push_development(&principal, &component, name, channel).await?
    } else {
        engine.plugin_push(&principal, &component, name, channel, patience).await?
    };
    let status = match (pushed.version.state, pushed.created) {
        (PluginState::Compiling, _) => StatusCode::ACCEPTED,
        (_, true) => StatusCode::CREATED,
        (_, false) => StatusCode::OK,
    };
    Ok((status, Json(PluginPushedView::of(pushed))))
}

/// `wait` of RFC 7240's `Prefer`; a preference that cannot be read counts for nothing, as it says there.
fn wait_wanted(headers: &HeaderMap) -> Duration {
    let preferences = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
    let wait = preferences.flat_map(|value| value.split([',', ';'])).find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
    });
    Duration::from_secs(wait.unwrap_or(0).min(WAIT_MAX_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_to_wait_is_read_as_rfc_7240_spells_it() {
        let wanted = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", value.parse().unwrap());
            }
            wait_wanted(&headers).as_secs()
        };
        assert_eq!(wanted(&[]), 0);
        assert_eq!(wanted(&["wait=10"]), 10);
        assert_eq!(wanted(&["respond-async, WAIT = \"7\""]), 7);
        assert_eq!(wanted(&["return=minimal", "wait=5;x=1"]), 5);
        assert_eq!(wanted(&["wait=100000"]), WAIT_MAX_S);
        assert_eq!(wanted(&["wait=soon"]), 0);
        assert_eq!(wanted(&["wait"]), 0);
    }
}
