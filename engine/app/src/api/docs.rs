//! `/docs`: the description for people, with Swagger UI's own assets (carried by the binary, so it works offline),
//! and `/docs/problems`, which explains every code.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{Html, IntoResponse, Response},
};
use utoipa_swagger_ui::{Config, serve};

use super::{extract::At, meanings::MEANINGS, permission::Permission, portuguese, problem::Problem, routes::Routes};

/// The page itself. Swagger UI's own index refers to its assets relative to a folder, this path has none.
const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Engate API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/swagger-ui-standalone-preset.js"></script>
<script src="/docs/swagger-initializer.js"></script>
</body>
</html>
"#;

/// Nothing from elsewhere; Swagger UI sets styles from its script and embeds icons as data.
const POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_page, Permission::ReadDocs, page)
        .add(__path_problems, Permission::ReadDocs, problems)
        .add(__path_asset, Permission::ReadDocs, asset)
}

fn guarded(content: impl IntoResponse) -> Response {
    let mut response = content.into_response();
    let policy = HeaderName::from_static("content-security-policy");
    response.headers_mut().insert(policy, HeaderValue::from_static(POLICY));
    response
}

/// This API for people. A browser asks for a user name (any) and a password (the token).
#[utoipa::path(get, path = "/docs", tag = "health", operation_id = "docs",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
async fn page() -> Response {
    guarded(Html(PAGE))
}

/// What each problem code means, and what to do about it.
#[utoipa::path(get, path = "/docs/problems", tag = "health", operation_id = "docs_problems",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
async fn problems(headers: HeaderMap) -> Response {
    let in_portuguese = portuguese::is_wanted(&headers);
    let mut rows = String::new();
    for meaning in MEANINGS {
        let portuguese = portuguese::meaning(meaning.code).filter(|_| in_portuguese);
        let (title, cure) = portuguese.unwrap_or((meaning.title, meaning.cure));
        // Writing to a String cannot fail; the texts are the engine's own and hold no markup.
        let _ = write!(
            rows,
            "<tr id=\"{code}\"><td><code>{code}</code></td><td>{status}</td><td>{title}</td><td>{cure}</td></tr>",
            code = meaning.code,
            status = meaning.status.as_u16(),
            cure = cure.replace('`', ""),
        );
    }
    guarded(Html(format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Engate problems</title></head><body>\
         <h1>Problem codes</h1><table><thead><tr><th>code</th><th>status</th><th>meaning</th><th>what to do</th></tr>\
         </thead><tbody>{rows}</tbody></table></body></html>"
    )))
}

/// A file of Swagger UI.
#[utoipa::path(get, path = "/docs/{file}", tag = "health", operation_id = "docs_asset",
    params(("file" = String, Path, description = "The file's name")),
    responses((status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "No such file")))]
async fn asset(At(file): At<String>) -> Result<Response, Problem> {
    // Tokens are typed in once and kept by the page alone; no validator elsewhere is asked.
    let config = Config::from("/openapi.json").validator_url("none").persist_authorization(false);
    match serve(&file, Arc::new(config)) {
        Ok(Some(file)) => {
            let content_type = HeaderValue::from_str(&file.content_type);
            let content_type = content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
            Ok(guarded(([(header::CONTENT_TYPE, content_type)], file.bytes.into_owned())))
        }
        Ok(None) => Err(Problem::not_found("file")),
        Err(error) => {
            tracing::error!(%error, "a file of the documentation cannot be served");
            Err(Problem::internal())
        }
    }
}
