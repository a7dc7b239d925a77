//! `/v1/plugins`: what shapes requests and judges responses.

mod credentials;
mod diffs;
mod push;
mod shapes;
mod trial;

use std::{cmp::Reverse, sync::Arc};

use axum::{Json, extract::State, http::header, response::IntoResponse};
use engate_model::{
    Timestamp,
    plugin::{CHANNEL_DEFAULT, Grants},
};
use engate_store::PluginVersion;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use self::shapes::{ChannelView, GrantsBody, GrantsView, LimitsBody, LimitsView, PluginVersionView, PluginView};
use super::{
    conditional::{IfMatch, IfMatchHeader, Shown, Tagged},
    extract::{At, Body, Caller, Params},
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{engine::Engine, verbs::VerbError};

/// The media type of a component.
const WASM: &str = "application/wasm";

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadPlugins, list)
        .add(push::__path_push, Permission::ManagePlugins, push::push)
        .add(__path_get, Permission::ReadPlugins, get)
        .add(__path_versions, Permission::ReadPlugins, versions)
        .add(__path_version, Permission::ReadPlugins, version)
        .add(__path_component, Permission::ReadPlugins, component)
        .add(__path_grants_get, Permission::ReadPlugins, grants_get)
        // A grant opens a secret to a plugin: whoever may not set secrets may not do that either.
        .add(__path_grants_put, Permission::ManageSecrets, grants_put)
        .add(__path_limits_get, Permission::ReadPlugins, limits_get)
        .add(__path_limits_put, Permission::ManagePlugins, limits_put)
        .add(__path_config_get, Permission::ReadPlugins, config_get)
        .add(__path_config_put, Permission::ManagePlugins, config_put)
        .add(__path_channels, Permission::ReadPlugins, channels)
        .add(__path_channel_bind, Permission::ManagePlugins, channel_bind)
        .add(__path_promote, Permission::ManagePlugins, promote)
        .add(__path_rollback, Permission::ManagePlugins, rollback)
        .add(diffs::__path_start, Permission::ManagePlugins, diffs::start)
        .add(diffs::__path_get, Permission::ReadPlugins, diffs::get)
        .add(diffs::__path_cancel, Permission::ManagePlugins, diffs::cancel)
        .add(trial::__path_try_plugin, Permission::ManagePlugins, trial::try_plugin)
}

/// Which version a channel is to mean.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"version": "1.2.0"}))]
struct ChannelBody {
    /// An installed version.
    #[schema(min_length = 1, max_length = 64)]
    version: String,
}

/// Which version is to go into production.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"version": "1.2.0"}))]
struct PromoteBody {
    /// An installed version.
    #[schema(min_length = 1, max_length = 64)]
    version: String,
    /// The channel; none: `stable`.
    #[schema(min_length = 1, max_length = 64)]
    channel: Option<String>,
}

/// What is to be taken back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"channel": "stable"}))]
struct RollbackBody {
    /// The channel; none: `stable`.
    #[schema(min_length = 1, max_length = 64)]
    channel: Option<String>,
}

/// What a channel means now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"channel": "stable", "version": "1.2.0", "previous": "1.1.0"}))]
struct ChannelBound {
    /// The channel.
    channel: String,
    /// The version it means now.
    version: String,
    /// The version it meant before.
    previous: Option<String>,
}

/// The configuration of a plugin's installation, the lowest of the three layers: checked against the manifest's
/// schema, though what that requires may also come from integrators and endpoints.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object, example = json!({"names": "camel"}))]
struct PluginConfig(Map<String, Value>);

impl Shown for PluginConfig {}

impl PluginConfig {
    fn of(config: Option<Value>) -> Self {
        match config {
            Some(Value::Object(config)) => Self(config),
            _ => Self(Map::new()),
        }
    }
}

/// Lists plugins, the newest version of each; a development version only where there is no other.
#[utoipa::path(get, path = "/v1/plugins", tag = "plugins", operation_id = "plugin_list", params(PageParams),
    responses((status = 200, description = "One page, by name", body = Listing<PluginVersionView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<PluginVersionView>>, Problem> {
    let plugins = engine.plugin_list(&principal).await?;
    Ok(Json(page.cut(plugins, |version| version.name.clone(), PluginVersionView::of)?))
}

/// Shows a plugin: versions, channels, grants and settings.
#[utoipa::path(get, path = "/v1/plugins/{name}", tag = "plugins", operation_id = "plugin_get",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "The plugin", body = PluginView), (status = 404, description = "There is none")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
) -> Result<Json<PluginView>, Problem> {
    Ok(Json(PluginView::of(engine.plugin_get(&principal, &name).await?)))
}

/// Lists a plugin's versions.
#[utoipa::path(get, path = "/v1/plugins/{name}/versions", tag = "plugins", operation_id = "plugin_versions",
    params(("name" = String, Path, description = "Its name"), PageParams),
    responses((status = 200, description = "One page, the newest first", body = Listing<PluginVersionView>),
        (status = 404, description = "There is none")))]
async fn versions(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<PluginVersionView>>, Problem> {
    let versions = engine.plugin_versions(&principal, &name).await?;
    Ok(Json(page.cut(versions, newest_first, PluginVersionView::of)?))
}

/// Shows one version of a plugin, above all whether it can run.
#[utoipa::path(get, path = "/v1/plugins/{name}/versions/{version}", tag = "plugins", operation_id = "plugin_version",
    params(("name" = String, Path, description = "Its name"), ("version" = String, Path, description = "The version")),
    responses((status = 200, description = "The version", body = PluginVersionView),
        (status = 404, description = "There is none")))]
async fn version(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((name, version)): At<(String, String)>,
) -> Result<Json<PluginVersionView>, Problem> {
    Ok(Json(PluginVersionView::of(engine.plugin_version(&principal, &name, &version).await?)))
}

/// Where a version stands in a list.
fn newest_first(version: &PluginVersion) -> (Reverse<Timestamp>, Reverse<String>) {
    (Reverse(version.created_at), Reverse(version.version.clone()))
}

/// The component of an installed version, as it was pushed.
#[utoipa::path(get, path = "/v1/plugins/{name}/versions/{version}/component", tag = "plugins",
    operation_id = "plugin_component",
    params(("name" = String, Path, description = "Its name"), ("version" = String, Path, description = "The version")),
    responses((status = 200, description = "Its bytes", body = Vec<u8>, content_type = "application/wasm"),
        (status = 404, description = "There is none")))]
async fn component(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((name, version)): At<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let bytes = engine.plugin_component(&principal, &name, &version).await?;
    Ok(([(header::CONTENT_TYPE, WASM)], bytes))
}

/// Shows what a plugin may do, beside what it asks for.
#[utoipa::path(get, path = "/v1/plugins/{name}/grants", tag = "plugins", operation_id = "plugin_grants_get",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "Its grants", body = GrantsView), (status = 404, description = "There is none")))]
async fn grants_get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
) -> Result<Tagged<GrantsView>, Problem> {
    Ok(Tagged::new(&engine, GrantsView::of(engine.plugin_grants_get(&principal, &name).await?)))
}

/// Sets what a plugin may do, all of it. Secrets need not be there yet; `secrets_missing` names those.
/// `addresses_not_granted` tells where they are sent from now on beside the granted hosts.
#[utoipa::path(put, path = "/v1/plugins/{name}/grants", tag = "plugins", operation_id = "plugin_grants_put",
    params(("name" = String, Path, description = "Its name"), IfMatchHeader), request_body = GrantsBody,
    responses((status = 200, description = "Set", body = GrantsView), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered")))]
async fn grants_put(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    if_match: IfMatch,
    Body(body): Body<GrantsBody>,
) -> Result<Tagged<GrantsView>, Problem> {
    let grants: Grants = body.into();
    Ok(Tagged::new(
        &engine,
        GrantsView::of(engine.plugin_grants_put(&principal, &name, grants, &if_match.demand(GrantsView::of)).await?),
    ))
}

/// Shows what a plugin's calls may cost and whether its instances are kept: what was set, and what applies.
#[utoipa::path(get, path = "/v1/plugins/{name}/limits", tag = "plugins", operation_id = "plugin_limits_get",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "Its limits", body = LimitsView), (status = 404, description = "There is none")))]
async fn limits_get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
) -> Result<Tagged<LimitsView>, Problem> {
    Ok(Tagged::new(&engine, LimitsView::of(engine.plugin_limits_get(&principal, &name).await?)))
}

/// Sets what a plugin's calls may cost and whether its instances are kept, all of it: what is left out follows the engine's
/// settings. It counts from the next call on.
#[utoipa::path(put, path = "/v1/plugins/{name}/limits", tag = "plugins", operation_id = "plugin_limits_put",
    params(("name" = String, Path, description = "Its name"), IfMatchHeader), request_body = LimitsBody,
    responses((status = 200, description = "Set", body = LimitsView), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered")))]
async fn limits_put(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    if_match: IfMatch,
    Body(body): Body<LimitsBody>,
) -> Result<Tagged<LimitsView>, Problem> {
    let calls = body.into();
    Ok(Tagged::new(
        &engine,
        LimitsView::of(engine.plugin_limits_put(&principal, &name, calls, &if_match.demand(LimitsView::of)).await?),
    ))
}

/// Shows the configuration of a plugin's installation; empty where none was set.
#[utoipa::path(get, path = "/v1/plugins/{name}/config", tag = "plugins", operation_id = "plugin_config_get",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "Its configuration", body = PluginConfig),
        (status = 404, description = "There is none")))]
async fn config_get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
) -> Result<Tagged<PluginConfig>, Problem> {
    Ok(Tagged::new(&engine, PluginConfig::of(engine.plugin_get(&principal, &name).await?.settings.config)))
}

/// Sets the configuration of a plugin's installation, all of it. It is refused where an endpoint's merged settings
/// would not fit the plugin any more.
#[utoipa::path(put, path = "/v1/plugins/{name}/config", tag = "plugins", operation_id = "plugin_config_put",
    params(("name" = String, Path, description = "Its name"), IfMatchHeader), request_body = PluginConfig,
    responses((status = 200, description = "Set", body = PluginConfig), (status = 404, description = "There is none"),
        (status = 412, description = "It was changed since that `ETag` was answered")))]
async fn config_put(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    if_match: IfMatch,
    Body(PluginConfig(config)): Body<PluginConfig>,
) -> Result<Tagged<PluginConfig>, Problem> {
    // An empty document says the same as none.
    let config = Some(Value::Object(config)).filter(|config| *config != Value::Object(Map::new()));
    let set = engine.plugin_config_put(&principal, &name, config, &if_match.demand(PluginConfig::of)).await;
    Ok(Tagged::new(&engine, PluginConfig::of(set.map_err(whole_body)?)))
}

/// Here the body is the configuration: its fields have no `config` before them.
fn whole_body(error: VerbError) -> VerbError {
    let VerbError::Invalid(mut invalid) = error else { return error };
    for error in &mut invalid.0 {
        error.field = match error.field.strip_prefix("config") {
            Some("") => "body".to_owned(),
            Some(below) => below.trim_start_matches('.').to_owned(),
            None => continue,
        };
    }
    VerbError::Invalid(invalid)
}

/// Lists what each channel of a plugin means.
#[utoipa::path(get, path = "/v1/plugins/{name}/channels", tag = "plugins", operation_id = "plugin_channels",
    params(("name" = String, Path, description = "Its name"), PageParams),
    responses((status = 200, description = "One page, by name", body = Listing<ChannelView>),
        (status = 404, description = "There is none")))]
async fn channels(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<ChannelView>>, Problem> {
    let channels = engine.plugin_channels(&principal, &name).await?;
    Ok(Json(page.cut(channels, |channel| channel.channel.clone(), ChannelView::of)?))
}

/// Lets a channel mean a version from the next attempt on; calls under way finish on the version before.
#[utoipa::path(post, path = "/v1/plugins/{name}/channels/{channel}", tag = "plugins",
    operation_id = "plugin_channel_bind",
    params(("name" = String, Path, description = "Its name"), ("channel" = String, Path, description = "`stable`, `next`")),
    request_body = ChannelBody,
    responses((status = 200, description = "Bound", body = ChannelBound), (status = 404, description = "There is none"),
        (status = 409, description = "Configurations in use do not fit that version")))]
async fn channel_bind(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((name, channel)): At<(String, String)>,
    Body(body): Body<ChannelBody>,
) -> Result<Json<ChannelBound>, Problem> {
    let previous = engine.plugin_channel_bind(&principal, &name, &channel, &body.version).await?;
    Ok(Json(ChannelBound { channel, version: body.version, previous }))
}

/// Lets a channel mean a version from the next attempt on; calls under way finish on the version before. The same as
/// `POST /v1/plugins/{name}/channels/{channel}`, with the channel left out for `stable`.
#[utoipa::path(post, path = "/v1/plugins/{name}/promote", tag = "plugins", operation_id = "plugin_promote",
    params(("name" = String, Path, description = "Its name")), request_body = PromoteBody,
    responses((status = 200, description = "Promoted", body = ChannelBound), (status = 404, description = "There is none"),
        (status = 409, description = "Configurations in use do not fit that version")))]
async fn promote(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    Body(body): Body<PromoteBody>,
) -> Result<Json<ChannelBound>, Problem> {
    let channel = body.channel.unwrap_or_else(|| CHANNEL_DEFAULT.to_owned());
    let previous = engine.plugin_channel_bind(&principal, &name, &channel, &body.version).await?;
    Ok(Json(ChannelBound { channel, version: body.version, previous }))
}

/// Lets a channel mean the version it meant before the present one; once more goes one further back.
#[utoipa::path(post, path = "/v1/plugins/{name}/rollback", tag = "plugins", operation_id = "plugin_rollback",
    params(("name" = String, Path, description = "Its name")), request_body = RollbackBody,
    responses((status = 200, description = "Rolled back", body = ChannelBound),
        (status = 404, description = "There is none"),
        (status = 409, description = "`not_allowed_in_state`: the channel never meant another version; or configurations in \
          use do not fit that version")))]
async fn rollback(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    Body(body): Body<RollbackBody>,
) -> Result<Json<ChannelBound>, Problem> {
    let channel = body.channel.unwrap_or_else(|| CHANNEL_DEFAULT.to_owned());
    let (version, previous) = engine.plugin_rollback(&principal, &name, &channel).await?;
    Ok(Json(ChannelBound { channel, version, previous }))
}
