//! Deliveries as CSV and as lines of JSON, page by page: memory holds one page, however many there are.

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderValue, header},
    response::Response,
};
use engate_model::{delivery::Delivery, listing::Column};
use futures_util::stream;
use serde::Deserialize;
use utoipa::{
    IntoParams, ToSchema,
    openapi::path::{Parameter, ParameterIn},
};

use super::{
    query::DeliveryQuery,
    shapes::DeliveryView,
    sheet::{ColumnName, Rows, USUAL, cell},
};
use crate::{
    api::{
        extract::{Caller, Params},
        problem::Problem,
    },
    engine::Engine,
    language::Locale,
    views::View,
};

/// What stands between the cells.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
pub(super) enum Separator {
    #[default]
    #[serde(rename = ",")]
    Comma,
    #[serde(rename = ";")]
    Semicolon,
    #[serde(rename = "tab")]
    Tab,
}

/// How a CSV is written.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CsvForm {
    /// Columns in turn; the seven of the screen where nothing is said.
    #[param(inline, value_type = Option<Vec<ColumnName>>, style = Form, explode = false, min_items = 1, max_items = 16)]
    columns: Option<Vec<ColumnName>>,
    /// Begins with a byte order mark, by which Excel knows UTF-8.
    bom: Option<bool>,
    /// `,`, `;` (what Excel expects in Brazil; write `%3B`) or `tab`.
    #[param(inline)]
    separator: Option<Separator>,
}

/// Which deliveries, and how they are written.
#[derive(Debug, Deserialize)]
pub(super) struct CsvQuery {
    #[serde(flatten)]
    query: DeliveryQuery,
    #[serde(flatten)]
    form: CsvForm,
}

impl IntoParams for CsvQuery {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let paged = ["limit", "cursor"];
        let mut parameters = DeliveryQuery::into_params(&parameter_in);
        parameters.retain(|parameter| !paged.contains(&parameter.name.as_str()));
        parameters.extend(CsvForm::into_params(&parameter_in));
        parameters
    }
}

/// Which deliveries: a query without pages.
#[derive(Debug, Deserialize)]
pub(super) struct WholeQuery(pub(super) DeliveryQuery);

impl IntoParams for WholeQuery {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let paged = ["limit", "cursor"];
        let parameters = DeliveryQuery::into_params(parameter_in).into_iter();
        parameters.filter(|parameter| !paged.contains(&parameter.name.as_str())).collect()
    }
}

/// Deliveries as CSV (RFC 4180), for spreadsheets.
///
/// The same filters and order as the list, every page of it. A text that a spreadsheet would take for a formula gets an
/// apostrophe in front, and so does what looks like one behind a `,`, a `;`, a tab or a line end: whoever reads the file with
/// another separator would have it in a cell of its own. Cells that hold one of these are in quotes, whatever the separator.
#[utoipa::path(get, path = "/v1/deliveries.csv", tag = "deliveries", operation_id = "delivery_export_csv", params(CsvQuery),
    responses((status = 200, description = "A heading and a line for each", body = String, content_type = "text/csv")))]
pub(super) async fn csv(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    RawQuery(asked): RawQuery,
    Params(CsvQuery { query, form }): Params<CsvQuery>,
) -> Result<Response, Problem> {
    let wanted = query.read(engine.locale(&principal).await?)?;
    let names = engine.views.get(&engine.store, principal.tenant).await?;
    let filter = engine.delivery_wish(&principal, wanted.wish).await?;
    let sheet = Csv {
        columns: form.columns.map_or_else(|| USUAL.to_vec(), |names| names.into_iter().map(Column::from).collect()),
        separator: form.separator.unwrap_or_default(),
        locale: wanted.locale,
    };
    let first = sheet.head(form.bom.unwrap_or(false));
    let rows = Rows::new(Arc::clone(&engine), principal.clone(), filter, wanted.sort);
    let write = move |page: &[Delivery]| sheet.lines(page, &names).into_bytes();
    let response = streamed(rows, first.into_bytes(), write, "text/csv; charset=utf-8; header=present", "csv").await?;
    engine.delivery_exported(&principal, "csv", &asked.unwrap_or_default()).await?;
    Ok(response)
}

/// Deliveries as JSON, one a line, as the list shows them.
#[utoipa::path(get, path = "/v1/deliveries.ndjson", tag = "deliveries", operation_id = "delivery_export_ndjson",
    params(WholeQuery),
    responses((status = 200, description = "A line for each", body = String, content_type = "application/x-ndjson",
        example = json!("{\"code\":1042,\"state\":\"succeeded\"}\n"))))]
pub(super) async fn ndjson(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    RawQuery(asked): RawQuery,
    Params(WholeQuery(query)): Params<WholeQuery>,
) -> Result<Response, Problem> {
    let wanted = query.read(engine.locale(&principal).await?)?;
    let names = engine.views.get(&engine.store, principal.tenant).await?;
    let filter = engine.delivery_wish(&principal, wanted.wish).await?;
    let rows = Rows::new(Arc::clone(&engine), principal.clone(), filter, wanted.sort);
    let write = move |page: &[Delivery]| {
        let mut lines = Vec::new();
        for delivery in page {
            // Plain fields cannot fail to be written.
            let _ = serde_json::to_writer(&mut lines, &DeliveryView::of(delivery.clone(), &names));
            lines.push(b'\n');
        }
        lines
    };
    let response = streamed(rows, Vec::new(), write, "application/x-ndjson", "ndjson").await?;
    engine.delivery_exported(&principal, "ndjson", &asked.unwrap_or_default()).await?;
    Ok(response)
}

/// Answers page after page. The first is read before the answer begins, so that what cannot be listed is refused
/// properly; one that fails later breaks the answer off, which every client notices.
async fn streamed(
    mut rows: Rows,
    mut first: Vec<u8>,
    write: impl Fn(&[Delivery]) -> Vec<u8> + Send + 'static,
    content_type: &'static str,
    ending: &str,
) -> Result<Response, Problem> {
    if let Some(page) = rows.next().await? {
        first.append(&mut write(&page));
    }
    let pages = stream::try_unfold((Some(first), rows, write), |(first, mut rows, write)| async move {
        if let Some(first) = first {
            return Ok(Some((Bytes::from(first), (None, rows, write))));
        }
        match rows.next().await {
            Ok(page) => Ok(page.map(|page| (Bytes::from(write(&page)), (None, rows, write)))),
            Err(error) => {
                tracing::warn!(%error, "an export broke off");
                Err(std::io::Error::other("the listing cannot be read on"))
            }
        }
    });
    Ok(attached(Body::from_stream(pages), content_type, ending))
}

/// A file to be saved.
pub(super) fn attached(body: Body, content_type: &'static str, ending: &str) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"deliveries.{ending}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

struct Csv {
    columns: Vec<Column>,
    separator: Separator,
    locale: Locale,
}

impl Csv {
    fn head(&self, bom: bool) -> String {
        let mut text = if bom { "\u{feff}".to_owned() } else { String::new() };
        self.line(self.columns.iter().map(|column| self.locale.language.heading(*column).to_owned()), &mut text);
        text
    }

    fn lines(&self, page: &[Delivery], names: &View) -> String {
        let mut text = String::new();
        for delivery in page {
            self.line(self.columns.iter().map(|column| cell(*column, delivery, names, self.locale)), &mut text);
        }
        text
    }

    fn line(&self, cells: impl Iterator<Item = String>, text: &mut String) {
        let separator = match self.separator {
            Separator::Comma => ',',
            Separator::Semicolon => ';',
            Separator::Tab => '\t',
        };
        for (n, cell) in cells.enumerate() {
            if n > 0 {
                text.push(separator);
            }
            quote(&guarded(&cell), text);
        }
        text.push_str("\r\n");
    }
}

/// What a spreadsheet takes for the beginning of a formula, in either width.
const SIGNS: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
/// Where a spreadsheet may begin a cell: which separator a file is read with, it is the reader who decides.
const SEPARATORS: [char; 5] = [',', ';', '\t', '\r', '\n'];

/// A text that a spreadsheet would run is made one that it shows (OWASP, CSV injection): by an apostrophe in front of it, and
/// in front of every sign that comes first in a part of it, where another separator than the file's would make it a cell.
fn guarded(cell: &str) -> Cow<'_, str> {
    let mut text = if cell.starts_with(['\t', '\r', '\n']) { "'".to_owned() } else { String::new() };
    let mut first = true;
    for c in cell.chars() {
        if first && SIGNS.contains(&c) {
            text.push('\'');
        }
        text.push(c);
        // Quotes at the beginning of a part may be taken for those around a cell.
        first = SEPARATORS.contains(&c) || (first && c == '"');
    }
    if text.len() == cell.len() { Cow::Borrowed(cell) } else { Cow::Owned(text) }
}

/// RFC 4180 asks for quotes around the file's own separator; around the others they keep the cell in one piece where a reader
/// goes by another one.
fn quote(cell: &str, text: &mut String) {
    if cell.contains('"') || cell.contains(SEPARATORS) || cell.starts_with(' ') || cell.ends_with(' ') {
        text.push('"');
        text.push_str(&cell.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(separator: Separator, cells: &[&str]) -> String {
        let sheet = Csv { columns: Vec::new(), separator, locale: Locale::default() };
        let mut text = String::new();
        sheet.line(cells.iter().map(|cell| (*cell).to_owned()), &mut text);
        text
    }

    #[test]
    fn v19_cells_are_quoted_where_they_must_and_run_nothing() {
        assert_eq!(
            line(Separator::Comma, &["a", "b;c", "d,e", "f\"g", "h\ni"]),
            "a,\"b;c\",\"d,e\",\"f\"\"g\",\"h\ni\"\r\n"
        );
        // Excel splits at the separator of its own language, whatever the file's is.
        assert_eq!(line(Separator::Semicolon, &["b;c", "d,e", "f\tg"]), "\"b;c\";\"d,e\";\"f\tg\"\r\n");
        assert_eq!(line(Separator::Tab, &["a\tb", " c", "d;e"]), "\"a\tb\"\t\" c\"\t\"d;e\"\r\n");
        assert_eq!(
            line(Separator::Comma, &["=1+1", "+1", "-1", "@x", "\tx", "1=1"]),
            "'=1+1,'+1,'-1,'@x,\"'\tx\",1=1\r\n"
        );
        assert_eq!(line(Separator::Comma, &["12", "", "'", "21/11/2026 10:11:12"]), "12,,',21/11/2026 10:11:12\r\n");
    }

    #[test]
    fn v19_what_another_separator_makes_a_cell_runs_nothing_either() {
        for (cell, expected) in [
            ("x;=cmd|'/C calc'!A0;y", "x;'=cmd|'/C calc'!A0;y"),
            ("x,+1", "x,'+1"),
            ("x\t-1\t@y", "x\t'-1\t'@y"),
            ("x\r\n=1", "x\r\n'=1"),
            ("x;;=1", "x;;'=1"),
            ("x;\t\r=1", "x;\t\r'=1"),
            ("x;\"\"=1", "x;\"\"'=1"),
            ("x;\u{ff1d}1", "x;'\u{ff1d}1"),
            ("=1;=1", "'=1;'=1"),
            ("\t=1", "'\t'=1"),
            ("\"=1", "\"'=1"),
        ] {
            assert_eq!(guarded(cell), expected, "{cell}");
            for separator in [Separator::Comma, Separator::Semicolon, Separator::Tab] {
                let quoted = format!("\"{}\"\r\n", expected.replace('"', "\"\""));
                assert_eq!(line(separator, &[cell]), quoted, "{cell}");
            }
        }
        for cell in ["a=1", "a;b=1", "a - b", "a, -b", "a@b;c@d", "1-2", "", "a\"=1"] {
            assert_eq!(guarded(cell), cell);
        }
    }

    #[test]
    fn v19_the_heading_has_the_seven_columns_of_the_screen() {
        let mut sheet = Csv { columns: USUAL.to_vec(), separator: Separator::Semicolon, locale: Locale::default() };
        assert_eq!(
            sheet.head(true),
            "\u{feff}Data/Hora da Criação;Integrador;Webhook;Tentativas de envio;Data/Hora da última tentativa;Sucesso;\
             Data/Hora da integração\r\n"
        );
        sheet.locale.language = crate::language::Language::English;
        assert!(sheet.head(false).starts_with("Created at;Integrator;Webhook;Attempts;"));
    }
}
