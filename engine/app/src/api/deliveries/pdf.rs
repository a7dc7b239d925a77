//! Deliveries as a PDF: a table across A4 pages, in the fonts that every reader has.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawQuery, State},
    response::Response,
};
use engate_model::{Invalid, Timestamp, delivery::Delivery, listing::Column};
use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str, TextStr};

use super::{
    export::{WholeQuery, attached},
    print::COLUMNS,
    sheet::{Rows, cell},
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

/// Rows that one document holds at most; beyond, a CSV serves better.
const ROWS_MAX: usize = 10_000;
/// A4 across, in points.
const PAGE: (f32, f32) = (842.0, 595.0);
const MARGIN: f32 = 28.0;
/// Every character of Courier is 0.6 of this wide: 200 fit beside each other.
const SIZE: f32 = 6.5;
const LINE: f32 = 9.0;
const ROWS_OF_PAGE: usize = 52;
/// Characters of each of [`COLUMNS`]; what is longer is cut.
const WIDTHS: [usize; 9] = [9, 20, 24, 24, 19, 29, 8, 23, 36];
const LINE_CHARS: usize = 200;
const TITLE_SIZE: f32 = 12.0;
const PLAIN: Name<'static> = Name(b"F1");
const BOLD: Name<'static> = Name(b"F2");

/// Deliveries as a PDF, up to 10,000.
///
/// The same filters and order as the list. More rows are refused as `too_many_rows`; `/v1/deliveries.csv` has no bound.
#[utoipa::path(get, path = "/v1/deliveries.pdf", tag = "deliveries", operation_id = "delivery_export_pdf", params(WholeQuery),
    responses((status = 200, description = "A document", body = Vec<u8>, content_type = "application/pdf")))]
pub(super) async fn pdf(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    RawQuery(asked): RawQuery,
    Params(WholeQuery(query)): Params<WholeQuery>,
) -> Result<Response, Problem> {
    let wanted = query.read(engine.locale(&principal).await?)?;
    let names = engine.views.get(&engine.store, principal.tenant).await?;
    let filter = engine.delivery_wish(&principal, wanted.wish).await?;
    let mut rows = Rows::new(Arc::clone(&engine), principal.clone(), filter, wanted.sort);
    let mut deliveries = Vec::new();
    while let Some(mut page) = rows.next().await? {
        deliveries.append(&mut page);
        if deliveries.len() > ROWS_MAX {
            let detail =
                format!("a PDF holds at most {ROWS_MAX} deliveries; narrow the range, or take /v1/deliveries.csv");
            return Err(Problem::refused("too_many_rows", Invalid::field("created_from", detail)));
        }
    }
    let asked = asked.unwrap_or_default();
    let sheet = Sheet { locale: wanted.locale, names: &names, asked: filters(&asked), printed_at: engine.now() };
    let document = sheet.document(&deliveries);
    engine.delivery_exported(&principal, "pdf", &asked).await?;
    Ok(attached(Body::from(document), "application/pdf", "pdf"))
}

/// The filters as they were asked for, readable.
fn filters(query: &str) -> String {
    let pairs = url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("; ")
}

struct Sheet<'a> {
    locale: Locale,
    names: &'a View,
    asked: String,
    printed_at: Timestamp,
}

impl Sheet<'_> {
    fn document(&self, deliveries: &[Delivery]) -> Vec<u8> {
        let mut next = 0;
        let mut id = || {
            next += 1;
            Ref::new(next)
        };
        let (catalog, tree, info, plain, bold) = (id(), id(), id(), id(), id());
        // An empty listing has a page too.
        let sheets: Vec<&[Delivery]> =
            if deliveries.is_empty() { vec![&[]] } else { deliveries.chunks(ROWS_OF_PAGE).collect() };
        let ids: Vec<(Ref, Ref)> = sheets.iter().map(|_| (id(), id())).collect();
        let mut pdf = Pdf::new();
        pdf.catalog(catalog).pages(tree).lang(TextStr(self.locale.language.tag()));
        pdf.document_info(info).title(TextStr("Webhook Data Storage")).producer(TextStr("Engate"));
        pdf.pages(tree).kids(ids.iter().map(|(page, _)| *page)).count(i32::try_from(ids.len()).unwrap_or(i32::MAX));
        for (font, base) in [(plain, Name(b"Courier")), (bold, Name(b"Courier-Bold"))] {
            pdf.type1_font(font).base_font(base).encoding_predefined(Name(b"WinAnsiEncoding"));
        }
        for (n, (rows, (page_id, content_id))) in sheets.iter().zip(&ids).enumerate() {
            let mut page = pdf.page(*page_id);
            page.parent(tree).media_box(Rect::new(0.0, 0.0, PAGE.0, PAGE.1)).contents(*content_id);
            page.resources().fonts().pair(PLAIN, plain).pair(BOLD, bold);
            page.finish();
            pdf.stream(*content_id, &self.content(rows, n + 1, sheets.len(), deliveries.len()));
        }
        pdf.finish()
    }

    fn content(&self, rows: &[Delivery], number: usize, of: usize, total: usize) -> Vec<u8> {
        let language = self.locale.language;
        let mut content = Content::new();
        let mut text = |font: Name, size: f32, x: f32, y: f32, line: &str| {
            content.begin_text().set_font(font, size).next_line(x, y).show(Str(&win_ansi(line))).end_text();
        };
        let mut y = PAGE.1 - MARGIN - TITLE_SIZE;
        text(BOLD, TITLE_SIZE, MARGIN, y, "Webhook Data Storage");
        y -= 1.5 * LINE;
        let asked = if self.asked.is_empty() { language.pick("nenhum", "none") } else { &self.asked };
        let filters = format!("{}: {asked}", language.pick("Filtros", "Filters"));
        text(PLAIN, SIZE, MARGIN, y, &cut(&filters, LINE_CHARS));
        y -= LINE;
        let printed = format!(
            "{}: {total}. {} {} ({})",
            language.pick("Registros", "Records"),
            language.pick("Emitido em", "Made at"),
            self.locale.time(self.printed_at),
            self.locale.zone,
        );
        text(PLAIN, SIZE, MARGIN, y, &printed);
        y -= 2.0 * LINE;
        text(BOLD, SIZE, MARGIN, y, &line(|column| language.heading(column).to_owned()));
        for delivery in rows {
            y -= LINE;
            text(PLAIN, SIZE, MARGIN, y, &line(|column| cell(column, delivery, self.names, self.locale)));
        }
        let footer = format!("{} {number} {} {of}", language.pick("Página", "Page"), language.pick("de", "of"));
        text(PLAIN, SIZE, MARGIN, MARGIN - LINE, &footer);
        content.finish().to_vec()
    }
}

/// One line of the table, each cell as wide as its column.
fn line(cell: impl Fn(Column) -> String) -> String {
    let cells = COLUMNS.iter().zip(WIDTHS).map(|(column, width)| {
        let text = cut(&cell(*column), width);
        let missing = width.saturating_sub(text.chars().count());
        text + &" ".repeat(missing)
    });
    cells.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars.saturating_sub(1)).chain(['…']).collect()
}

/// What WinAnsi (Windows-1252) has between 0x80 and 0x9f.
const SPECIALS: [(char, u8); 27] = [
    ('€', 0x80),
    ('‚', 0x82),
    ('ƒ', 0x83),
    ('„', 0x84),
    ('…', 0x85),
    ('†', 0x86),
    ('‡', 0x87),
    ('ˆ', 0x88),
    ('‰', 0x89),
    ('Š', 0x8a),
    ('‹', 0x8b),
    ('Œ', 0x8c),
    ('Ž', 0x8e),
    ('‘', 0x91),
    ('’', 0x92),
    ('“', 0x93),
    ('”', 0x94),
    ('•', 0x95),
    ('–', 0x96),
    ('—', 0x97),
    ('˜', 0x98),
    ('™', 0x99),
    ('š', 0x9a),
    ('›', 0x9b),
    ('œ', 0x9c),
    ('ž', 0x9e),
    ('Ÿ', 0x9f),
];

/// A text in the encoding of the fonts; what they lack is a question mark.
fn win_ansi(text: &str) -> Vec<u8> {
    // An accent of its own becomes one with its letter, where there is such a letter.
    let composed = engate_model::listing::composed(text);
    let byte = |c: char| match c {
        ' '..='~' | '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(c)).unwrap_or(b'?'),
        other => SPECIALS.iter().find(|(special, _)| *special == other).map_or(b'?', |(_, byte)| *byte),
    };
    composed.chars().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v18_accents_are_those_of_the_font() {
        assert_eq!(win_ansi("Operação €…"), b"Opera\xe7\xe3o \x80\x85");
        assert_eq!(win_ansi("A\u{301}日"), b"\xc1?");
        assert_eq!(cut("abcdef", 4), "abc…");
    }

    #[test]
    fn a_line_fits_across_the_page() {
        let heading = line(|column| crate::language::Language::Portuguese.heading(column).to_owned());
        assert!(!heading.contains('…'), "{heading}");
        assert!(WIDTHS.iter().sum::<usize>() + WIDTHS.len() - 1 <= LINE_CHARS);
        let width = f32::from(u16::try_from(LINE_CHARS).unwrap()) * SIZE * 0.6;
        assert!(width <= PAGE.0 - 2.0 * MARGIN, "{width}");
    }
}
