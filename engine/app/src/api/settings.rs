//! `/v1/settings`: the parameters of a tenant.

use std::{collections::HashMap, sync::Arc};

use axum::extract::State;
use engate_store::USE_WEBHOOKS;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    conditional::{IfMatch, IfMatchHeader, Shown, Tagged},
    extract::{Body, Caller},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{engine::Engine, verbs::settings::JOBS_PAUSED};

pub(super) fn routes() -> Routes {
    Routes::default().add(__path_get, Permission::ReadSettings, get).add(__path_put, Permission::ManageSettings, put)
}

/// Settings to change; what is left out stays. `MODULE.use_webhooks` is the switch of one module: of the event types
/// whose keys begin with `MODULE.`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"use_webhooks": false, "billing.use_webhooks": true, "locale.timezone": "America/Sao_Paulo"}))]
struct SettingsChange {
    /// The parameter UTILIZAR WEBHOOKS: false lets no event go anywhere.
    #[serde(rename = "service_desk.use_webhooks")]
    #[schema(nullable = false)]
    service_desk_use_webhooks: Option<bool>,
    /// Short for `service_desk.use_webhooks`.
    #[schema(nullable = false)]
    use_webhooks: Option<bool>,
    /// Zone in which days are meant where nobody says another: a name of the IANA database.
    #[serde(rename = "locale.timezone")]
    #[schema(max_length = 64, nullable = false)]
    locale_timezone: Option<String>,
    /// Language of what people read where nobody says another: `pt-BR` or `en`.
    #[serde(rename = "locale.language")]
    #[schema(max_length = 16, nullable = false)]
    locale_language: Option<String>,
    /// Holds all jobs back: no run begins.
    #[serde(rename = "jobs.paused")]
    #[schema(nullable = false)]
    jobs_paused: Option<bool>,
    /// Switches of single modules, `MODULE.use_webhooks`: true or false.
    // Of any type here, so that a name that nobody knows is told as such whatever its value.
    #[serde(flatten)]
    modules: HashMap<String, Value>,
}

impl SettingsChange {
    fn given(self) -> Map<String, Value> {
        let switches = [
            (USE_WEBHOOKS, self.service_desk_use_webhooks),
            ("use_webhooks", self.use_webhooks),
            (JOBS_PAUSED, self.jobs_paused),
        ];
        let texts = [("locale.timezone", self.locale_timezone), ("locale.language", self.locale_language)];
        let switches = switches.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::Bool(value?))));
        let texts = texts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::String(value?))));
        switches.chain(texts).chain(self.modules).collect()
    }
}

/// Every setting with its present value, under its dotted key and its short one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = Object, example = json!({
    "service_desk.use_webhooks": true, "use_webhooks": true, "locale.timezone": "America/Sao_Paulo",
    "locale.language": "pt-BR", "jobs.paused": false, "billing.use_webhooks": false
}))]
struct Settings(Map<String, Value>);

impl Shown for Settings {}

/// Shows every setting.
#[utoipa::path(get, path = "/v1/settings", tag = "settings", operation_id = "setting_list",
    responses((status = 200, description = "Every setting, defaults included", body = Settings)))]
async fn get(State(engine): State<Arc<Engine>>, Caller(principal): Caller) -> Result<Tagged<Settings>, Problem> {
    Ok(Tagged::new(&engine, Settings(engine.setting_list(&principal).await?)))
}

/// Changes the settings given: all of them or, where one cannot be taken, none.
#[utoipa::path(put, path = "/v1/settings", tag = "settings", operation_id = "setting_put",
    params(IfMatchHeader), request_body = SettingsChange,
    responses((status = 200, description = "Every setting after the change", body = Settings),
        (status = 412, description = "They were changed since that `ETag` was answered")))]
async fn put(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    if_match: IfMatch,
    Body(change): Body<SettingsChange>,
) -> Result<Tagged<Settings>, Problem> {
    let demand = if_match.demand(Settings);
    Ok(Tagged::new(&engine, Settings(engine.setting_put(&principal, &change.given(), &demand).await?)))
}
