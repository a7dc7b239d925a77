//! A row as one compact JSON object.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::sync::ColumnShape;

use crate::{
    catalog::{Form, SourceColumn},
    error::SourceError,
    query::{Cell, Row},
};

/// A column that is carried.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    /// `"NAME":`, as JSON.
    name: String,
    pub(crate) select: String,
    form: Form,
}

/// What marks a row as deleted.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) select: String,
    pub(crate) value: String,
}

impl Carried {
    pub(crate) fn new(column: &SourceColumn, select: String) -> Self {
        Self { name: format!("{}:", quoted(&column.shape.name)), select, form: column.form }
    }
}

impl Mark {
    /// Whether a row that holds this is deleted; blanks at the end count for nothing.
    pub(crate) fn is_set(&self, cell: Cell<'_>) -> bool {
        match cell {
            Cell::Text(text) => text.trim_end() == self.value,
            Cell::Int(number) => self.value == number.to_string(),
            Cell::Null | Cell::Real(_) | Cell::Blob(_) => false,
        }
    }
}

/// The names of columns, for what is told of a key alone.
pub(crate) fn key_object(columns: &[ColumnShape], key: &[String], values: &[String]) -> String {
    let pairs = key.iter().zip(values).map(|(name, value)| {
        let kind = columns.iter().find(|column| column.name == *name).map(|column| column.kind);
        let is_number =
            matches!(kind, Some(engate_model::sink::ColumnKind::Integer | engate_model::sink::ColumnKind::Decimal))
                && is_number(value);
        format!("{}:{}", quoted(name), if is_number { value.clone() } else { quoted(value) })
    });
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

/// Writes the columns of a row, each with its place in it.
pub(crate) fn object(columns: &[Carried], row: &Row<'_>, places: &[usize]) -> Result<String, SourceError> {
    let mut out = String::with_capacity(columns.len() * 32);
    out.push('{');
    for (n, (column, place)) in columns.iter().zip(places).enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(&column.name);
        write(&mut out, column.form, row.cell(*place)?);
    }
    out.push('}');
    Ok(out)
}

fn write(out: &mut String, form: Form, cell: Cell<'_>) {
    match cell {
        Cell::Null => out.push_str("null"),
        Cell::Int(number) if form == Form::Boolean && (0..=1).contains(&number) => {
            out.push_str(if number == 1 { "true" } else { "false" });
        }
        Cell::Int(number) => _ = write!(out, "{number}"),
        Cell::Real(number) if number.is_finite() => out.push_str(&real(number)),
        Cell::Real(number) => push_quoted(out, &number.to_string()),
        Cell::Blob(bytes) => push_quoted(out, &STANDARD.encode(bytes)),
        Cell::Text(text) => write_text(out, form, text),
    }
}

fn write_text(out: &mut String, form: Form, text: &str) {
    match form {
        Form::Integer | Form::Unsigned | Form::Decimal | Form::Float | Form::Bits if is_number(text) => {
            out.push_str(text)
        }
        Form::Boolean if matches!(text, "true" | "false") => out.push_str(text),
        Form::Date if text.starts_with("0000-00-00") => out.push_str("null"),
        Form::Local | Form::Instant if text.starts_with("0000-00-00") => out.push_str("null"),
        Form::Local | Form::Instant => push_quoted(out, &instant(text)),
        Form::Json => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(_) => compact(out, text),
            Err(_) => push_quoted(out, text),
        },
        _ => push_quoted(out, text),
    }
}

/// JSON text of a number: never `1.` or `.5`, and what was whole stays recognisable as a fraction.
fn real(number: f64) -> String {
    serde_json::Number::from_f64(number).map_or_else(|| "null".to_owned(), |number| number.to_string())
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// As [`quoted`], without a text of its own where nothing has to be escaped.
fn push_quoted(out: &mut String, text: &str) {
    if text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        return out.push_str(&quoted(text));
    }
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// Whether a text is a JSON number as it stands.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leading_zero =
        digits.len() > 1 && digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && !leading_zero
        && serde_json::from_str::<serde_json::Number>(text).is_ok()
}

/// `2026-01-31 12:00:00.5`, with or without an offset of zero, as RFC 3339; another form stays as it is.
fn instant(text: &str) -> String {
    let bytes = text.as_bytes();
    let plain = bytes.len() >= 19 && matches!(bytes.get(10), Some(b' ' | b'T')) && bytes.get(4) == Some(&b'-');
    if !plain {
        return text.to_owned();
    }
    let (day, time) = text.split_at(10);
    let time = time.get(1..).unwrap_or_default();
    let time = ["+00:00", "+00", "Z"].iter().find_map(|zone| time.strip_suffix(zone)).unwrap_or(time);
    if time.bytes().all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.')) {
        return format!("{day}T{time}Z");
    }
    // Another offset: SQLite keeps what was written.
    chrono::DateTime::parse_from_rfc3339(&format!("{day}T{time}"))
        .map_or_else(|_| text.to_owned(), |at| at.to_utc().to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}

/// Copies JSON text that is known to be sound, white space between its tokens left out.
fn compact(out: &mut String, text: &str) {
    let (mut inside, mut escaped) = (false, false);
    for c in text.chars() {
        if inside {
            out.push(c);
            inside = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if !c.is_ascii_whitespace() {
            out.push(c);
            inside = c == '"';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form, text: &str) -> String {
        let mut out = String::new();
        write(&mut out, form, Cell::Text(text));
        out
    }

    #[test]
    fn values_keep_their_spelling() {
        assert_eq!(written(Form::Decimal, "1.50"), "1.50");
        assert_eq!(written(Form::Decimal, "123456789012345678901234.000000001"), "123456789012345678901234.000000001");
        assert_eq!(written(Form::Float, "1e+20"), "1e+20");
        assert_eq!(written(Form::Float, "NaN"), "\"NaN\"");
        assert_eq!(written(Form::Integer, "007"), "\"007\"");
        assert_eq!(written(Form::Text, "A\"ç \n"), r#""A\"ç \n""#);
        assert_eq!(written(Form::Local, "2026-01-31 12:00:00"), "\"2026-01-31T12:00:00Z\"");
        assert_eq!(written(Form::Instant, "2026-01-31 12:00:00.123+00"), "\"2026-01-31T12:00:00.123Z\"");
        assert_eq!(written(Form::Local, "2026-01-31T09:00:00-03:00"), "\"2026-01-31T12:00:00Z\"");
        assert_eq!(written(Form::Local, "infinity"), "\"infinity\"");
        assert_eq!(written(Form::Date, "0000-00-00"), "null");
        assert_eq!(written(Form::Json, "{\"a b\": [1, 2.50, \"x \\\" y\"]}"), r#"{"a b":[1,2.50,"x \" y"]}"#);
        assert_eq!(written(Form::Boolean, "true"), "true");
        let mut out = String::new();
        for cell in [Cell::Real(1.0), Cell::Real(0.1), Cell::Null, Cell::Blob(&[0, 255])] {
            write(&mut out, Form::Other, cell);
            out.push(' ');
        }
        assert_eq!(out, "1.0 0.1 null \"AP8=\" ");
    }
}
