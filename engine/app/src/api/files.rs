//! `/v1/files`: what a signed link leads to. The link itself is the permission.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::{fs::File, io::AsyncReadExt as _};
use utoipa::IntoParams;

use super::{extract::Params, permission::Permission, problem::Problem, routes::Routes};
use crate::{
    engine::Engine,
    verbs::{
        files::{NoFile, OpenFile},
        links::LinkFault,
    },
};

/// Bytes read from a file at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Content types by a file's extension; anything else is bytes.
const TYPES: &[(&str, &str)] = &[
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("csv", "text/csv; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
];

pub(super) fn routes() -> Routes {
    Routes::default().add(__path_download, Permission::Public, download)
}

/// The link's proof.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LinkQuery {
    /// The JWT that came with the delivery.
    #[param(min_length = 1, max_length = 8192)]
    token: String,
}

/// Serves the file of a signed link, to whoever holds it. Every download is audited.
#[utoipa::path(get, path = "/v1/files", tag = "files", operation_id = "file_download", params(LinkQuery),
    responses((status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 403, description = "`link_forged` or `link_not_yet_valid`"),
        (status = 404, description = "The file is gone, or `files_not_served`"),
        (status = 410, description = "`link_expired`"),
        (status = 422, description = "The token is missing")))]
async fn download(State(engine): State<Arc<Engine>>, Params(link): Params<LinkQuery>) -> Result<Response, Problem> {
    let opened = engine.file_open(&link.token).await.map_err(refusal)?;
    Ok(answer(opened))
}

fn refusal(error: NoFile) -> Problem {
    match error {
        NoFile::NotServed => Problem::of("files_not_served", "this engine serves no files: `files.root` is not set"),
        NoFile::Link(LinkFault::Forged) => Problem::of("link_forged", "the link is not one that this engine made"),
        NoFile::Link(LinkFault::NotYetValid) => Problem::of("link_not_yet_valid", "the link is not valid yet"),
        NoFile::Link(LinkFault::Expired) => {
            Problem::of("link_expired", "the link has expired; a delivery that is sent again carries a new one")
        }
        NoFile::Missing => Problem::of("not_found", "the file of this link is not there"),
        NoFile::Failed(error) => error.into(),
    }
}

fn answer(opened: OpenFile) -> Response {
    let OpenFile { file, name, bytes } = opened;
    let disposition = HeaderValue::from_str(&disposition(&name)).unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type(&name))),
        (header::CONTENT_LENGTH, HeaderValue::from(bytes)),
        (header::CONTENT_DISPOSITION, disposition),
        // Should a browser show it after all, nothing in it runs.
        (HeaderName::from_static("content-security-policy"), HeaderValue::from_static("sandbox; default-src 'none'")),
    ];
    (headers, Body::from_stream(chunks(file, bytes))).into_response()
}

/// A file's first `bytes`, in order: one that grows meanwhile does not break the length announced.
fn chunks(file: File, bytes: u64) -> impl stream::Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold(file.take(bytes), async |mut file| {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = file.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (Bytes::from(chunk), file)))
    })
}

fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    TYPES.iter().find(|(known, _)| *known == extension).map_or("application/octet-stream", |(_, kind)| kind)
}

/// `attachment` with the name twice: plain for old clients, percent-encoded UTF-8 (RFC 8187) for the others.
fn disposition(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '_' };
    let mut text =
        format!("attachment; filename=\"{}\"; filename*=UTF-8''", name.chars().map(plain).collect::<String>());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_header() {
        assert_eq!(disposition("a b.pdf"), "attachment; filename=\"a b.pdf\"; filename*=UTF-8''a%20b.pdf");
        assert_eq!(disposition("ç\"\r\n"), "attachment; filename=\"____\"; filename*=UTF-8''%C3%A7%22%0D%0A");
    }

    #[test]
    fn html_is_never_served_as_html() {
        assert_eq!(content_type("Relatório.PDF"), "application/pdf");
        assert_eq!(content_type("x.html"), "application/octet-stream");
        assert_eq!(content_type("pdf"), "application/octet-stream");
    }
}
