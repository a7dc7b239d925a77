//! Chosen deliveries on paper: a page of HTML that prints well, everything in it escaped.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    extract::{RawQuery, State},
    http::{HeaderValue, header},
    response::{Html, IntoResponse as _, Response},
};
use engate_model::{Invalid, listing::Column};

use super::{
    export::WholeQuery,
    sheet::{Rows, cell},
};
use crate::{
    api::{
        extract::{Caller, Params},
        html::{breakable, escaped, page},
        problem::Problem,
    },
    engine::Engine,
};

/// Rows that one page of print shows; whoever wants more exports.
const ROWS_MAX: usize = 2_000;

/// Columns on paper, across.
pub(super) const COLUMNS: [Column; 9] = [
    Column::Code,
    Column::CreatedAt,
    Column::Integrator,
    Column::EventType,
    Column::Attempts,
    Column::LastAttemptAt,
    Column::Success,
    Column::IntegratedAt,
    Column::Id,
];

/// How a column's cells look.
const fn class_of(column: Column) -> &'static str {
    match column {
        Column::Id => " class=\"id\"",
        Column::CreatedAt | Column::LastAttemptAt | Column::IntegratedAt => " class=\"time\"",
        _ => "",
    }
}

/// Chosen deliveries as a page to print.
///
/// `ids` chooses them (*Imprimir* the selected); filters and order are those of the list.
#[utoipa::path(get, path = "/v1/deliveries/print", tag = "deliveries", operation_id = "delivery_print", params(WholeQuery),
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub(super) async fn print(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    RawQuery(asked): RawQuery,
    Params(WholeQuery(query)): Params<WholeQuery>,
) -> Result<Response, Problem> {
    let wanted = query.read(engine.locale(&principal).await?)?;
    let (locale, names) = (wanted.locale, engine.views.get(&engine.store, principal.tenant).await?);
    let filter = engine.delivery_wish(&principal, wanted.wish).await?;
    let mut rows = Rows::new(Arc::clone(&engine), principal.clone(), filter, wanted.sort);
    let headings = COLUMNS.map(|column| escaped(locale.language.heading(column)));
    let mut table = String::from("<table class=\"rows\"><thead><tr>");
    for heading in &headings {
        let _ = write!(table, "<th scope=\"col\">{heading}</th>");
    }
    table.push_str("</tr></thead><tbody>");
    let mut count = 0;
    while let Some(deliveries) = rows.next().await? {
        count += deliveries.len();
        if count > ROWS_MAX {
            let detail = format!("more than {ROWS_MAX} deliveries; choose some by `ids`, or take /v1/deliveries.csv");
            return Err(Problem::refused("too_many_rows", Invalid::field("ids", detail)));
        }
        for delivery in &deliveries {
            table.push_str("<tr>");
            for (column, heading) in COLUMNS.into_iter().zip(&headings) {
                let shown = breakable(&cell(column, delivery, &names, locale));
                let _ = write!(table, "<td{} data-label=\"{heading}\">{shown}</td>", class_of(column));
            }
            table.push_str("</tr>");
        }
    }
    table.push_str("</tbody></table>");
    let language = locale.language;
    let title = language.pick("Webhook Data Storage: registros selecionados", "Webhook Data Storage: selected records");
    let printed = format!(
        "<h1>{title}</h1><p>{}: {count}. {}: {}.</p>{table}",
        language.pick("Registros", "Records"),
        language.pick("Impresso em", "Printed at"),
        escaped(&locale.time(engine.now())),
    );
    engine.delivery_exported(&principal, "print", &asked.unwrap_or_default()).await?;
    let mut response = Html(page(language, title, &printed)).into_response();
    let policy = HeaderValue::from_static(crate::api::html::POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}
