//! The help and the summary of the deliveries routine (seeds V15 and V16), as plain pages.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{Html, IntoResponse as _, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    extract::{Caller, Params},
    html::{POLICY, page},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{engine::Engine, language::Language};

const HELP: [&str; 2] = [include_str!("help/deliveries.pt-BR.html"), include_str!("help/deliveries.en.html")];
const SUMMARY: [&str; 2] = [include_str!("help/summary.pt-BR.html"), include_str!("help/summary.en.html")];

pub(super) fn routes() -> Routes {
    Routes::default().add(__path_deliveries, Permission::ReadDocs, deliveries).add(
        __path_summary,
        Permission::ReadDocs,
        summary,
    )
}

/// In which language.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HelpQuery {
    /// Language of the page; the setting `locale.language` where nothing is said.
    #[param(inline)]
    lang: Option<Language>,
}

/// Help for the deliveries routine (*Ajuda da Rotina*).
#[utoipa::path(get, path = "/console/help/deliveries", tag = "deliveries", operation_id = "help_deliveries", params(HelpQuery),
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
async fn deliveries(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(HelpQuery { lang }): Params<HelpQuery>,
) -> Result<Response, Problem> {
    let language = lang.unwrap_or(engine.locale(&principal).await?.language);
    Ok(shown(language, language.pick("Ajuda da rotina: entregas", "Help: deliveries"), HELP))
}

/// Summary of the deliveries routine (*Resumo da Rotina*).
#[utoipa::path(get, path = "/console/help/deliveries/summary", tag = "deliveries", operation_id = "help_deliveries_summary",
    params(HelpQuery), responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
async fn summary(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(HelpQuery { lang }): Params<HelpQuery>,
) -> Result<Response, Problem> {
    let language = lang.unwrap_or(engine.locale(&principal).await?.language);
    Ok(shown(language, language.pick("Resumo da rotina: entregas", "Summary: deliveries"), SUMMARY))
}

fn shown(language: Language, title: &str, [portuguese, english]: [&'static str; 2]) -> Response {
    let mut response = Html(page(language, title, language.pick(portuguese, english))).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}
