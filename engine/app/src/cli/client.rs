//! Speaks the HTTP API of a running engine, as any other client would.

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use engate_model::Secret;
use futures_util::StreamExt as _;
use reqwest::{
    Method,
    header::{CONTENT_TYPE, ETAG, IF_MATCH},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use url::{Host, Url};

use super::failure::{Failure, Problem};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take; a synchronous send waits for a partner.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);
/// How long an answer may take that comes bit by bit.
const STREAM_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);
/// Rows asked for at a time; the API's own maximum.
const PAGE_ROWS: u32 = 500;
/// Pages that `--all` reads at most: a million rows.
const PAGES_MAX: usize = 2_000;

/// What is said of another URL.
pub(super) const URL_WANTED: &str =
    "--url, or the variable ENGATE_URL, must be an http:// or https:// URL such as http://127.0.0.1:8080";

/// The header of an answer from which the token's `redact` took something.
const REDACTED: &str = "engate-redacted";

/// A running engine.
#[derive(Debug, Clone)]
pub(super) struct Client {
    base: Url,
    token: Option<Secret>,
    http: reqwest::Client,
    /// Whether an answer lacked something; clones share it.
    is_shown_less: Arc<AtomicBool>,
}

/// A page of any listing, its rows as they came.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Listing {
    /// The rows.
    pub(super) items: Vec<Box<RawValue>>,
    /// How many there are altogether, where the engine counts them.
    #[serde(default)]
    pub(super) total: Option<u64>,
    /// Whether `total` is a guess.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) total_estimated: bool,
    /// The cursor of the next page.
    #[serde(default)]
    pub(super) next: Option<String>,
}

impl Listing {
    /// The rows, read as `T`.
    pub(super) fn rows<T: DeserializeOwned>(&self) -> Result<Vec<T>, Failure> {
        self.items.iter().map(|row| read(row.get())).collect()
    }
}

/// What is asked for: a path in segments, and a query.
pub(super) type Query<'a> = &'a [(&'a str, String)];

impl Client {
    /// A client of the engine at `base`.
    pub(super) fn new(base: Url, token: Option<Secret>) -> Result<Self, Failure> {
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            // Not repeated: it may hold a password.
            return Err(Failure::usage(format!("{URL_WANTED}: it begins with {}:", base.scheme())));
        }
        // The first one to come sets it; every room of this program takes the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("engate-cli/", env!("CARGO_PKG_VERSION")));
        // A proxy from the environment cannot know this machine's own addresses.
        let builder = if is_loopback(&base) { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|error| Failure::failed(format!("no HTTP client: {error}")))?;
        Ok(Self { base, token, http, is_shown_less: Arc::default() })
    }

    /// Whether an answer until now lacked what the token's `redact` hides.
    pub(super) fn is_shown_less(&self) -> bool {
        self.is_shown_less.load(Ordering::Relaxed)
    }

    /// `GET`, the answer as text.
    pub(super) async fn get(&self, path: &[&str], query: Query<'_>) -> Result<String, Failure> {
        self.answer(self.request(Method::GET, path, query)).await
    }

    /// `GET` of what can be edited: the answer as text, and its `ETag`.
    pub(super) async fn get_tagged(&self, path: &[&str]) -> Result<(String, Option<String>), Failure> {
        let response = self.sent(self.request(Method::GET, path, &[])).await?;
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        Ok((response.text().await.map_err(|error| self.unreachable(error))?, tag))
    }

    /// An edit; with a `tag` only of what that `ETag` stands for, else the engine refuses it (412).
    pub(super) async fn edit(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
        tag: Option<&str>,
    ) -> Result<String, Failure> {
        let mut request = self.request(method, path, &[]);
        if let Some(tag) = tag {
            request = request.header(IF_MATCH, tag);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    /// A call with a JSON body.
    pub(super) async fn send<T: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &[&str],
        body: &T,
    ) -> Result<String, Failure> {
        self.answer(self.request(method, path, &[]).json(body)).await
    }

    /// A call without a body.
    pub(super) async fn act(&self, method: Method, path: &[&str]) -> Result<String, Failure> {
        self.answer(self.request(method, path, &[])).await
    }

    /// `POST` of bytes.
    pub(super) async fn upload(
        &self,
        path: &[&str],
        query: Query<'_>,
        media_type: &str,
        body: Vec<u8>,
    ) -> Result<String, Failure> {
        self.answer(self.request(Method::POST, path, query).header(CONTENT_TYPE, media_type).body(body)).await
    }

    /// `GET` of bytes.
    pub(super) async fn download(&self, path: &[&str]) -> Result<Vec<u8>, Failure> {
        let response = self.sent(self.request(Method::GET, path, &[])).await?;
        let body = response.bytes().await.map_err(|error| self.unreachable(error))?;
        Ok(body.to_vec())
    }

    /// `GET` of bytes as they arrive, written to `to`; takes as long as it takes.
    pub(super) async fn stream(
        &self,
        path: &[&str],
        query: Query<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), Failure> {
        let response = self.sent(self.request(Method::GET, path, query).timeout(STREAM_TIMEOUT)).await?;
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| self.unreachable(error))?;
            to.write_all(&piece).await.map_err(|error| Failure::failed(format!("cannot write: {error}")))?;
        }
        Ok(())
    }

    /// One page of a listing.
    pub(super) async fn list(&self, path: &[&str], query: Query<'_>) -> Result<Listing, Failure> {
        read(&self.get(path, query).await?)
    }

    /// Every page of a listing, as one.
    pub(super) async fn list_all(&self, path: &[&str], query: Query<'_>) -> Result<Listing, Failure> {
        let mut whole = Listing::default();
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            query.push(("limit", PAGE_ROWS.to_string()));
            query.extend(whole.next.take().map(|cursor| ("cursor", cursor)));
            let page = self.list(path, &query).await?;
            whole.items.extend(page.items);
            whole.total = page.total;
            whole.total_estimated = page.total_estimated;
            whole.next = page.next;
            if whole.next.is_none() {
                return Ok(whole);
            }
        }
        let rows = whole.items.len();
        Err(Failure::failed(format!("there are more than {rows} rows; narrow them down with a filter")))
    }

    fn request(&self, method: Method, path: &[&str], query: Query<'_>) -> reqwest::RequestBuilder {
        let request = self.http.request(method, self.address(path, query));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// The URL of a path; segments and values are escaped.
    fn address(&self, path: &[&str], query: Query<'_>) -> Url {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        // Fails only for URLs without a host, and those were refused.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<String, Failure> {
        self.sent(request).await?.text().await.map_err(|error| self.unreachable(error))
    }

    /// The response, if it is a success.
    async fn sent(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            if response.headers().contains_key(REDACTED) {
                self.is_shown_less.store(true, Ordering::Relaxed);
            }
            return Ok(response);
        }
        let body = response.text().await.map_err(|error| self.unreachable(error))?;
        Err(Failure::Answered(Box::new(Problem::read(status.as_u16(), body))))
    }

    fn unreachable(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        if error.is_builder() {
            return Failure::usage("the token holds characters that cannot go into a header");
        }
        // The innermost cause is the telling one; the outer layers repeat the URL.
        let mut cause = error.to_string();
        let mut inner = error.source();
        while let Some(source) = inner {
            cause = source.to_string();
            inner = source.source();
        }
        if error.is_timeout() {
            cause = format!("no answer in time ({cause})");
        }
        Failure::Unreachable { url: public(&self.base), cause }
    }
}

/// Reads an answer of the engine.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::failed(format!(
            "the engine's answer cannot be read ({error}); are this program and the engine of one version?"
        ))
    })
}

/// The URL without what may be a secret: user, password, query and fragment.
fn public(url: &Url) -> Url {
    let mut public = url.clone();
    // Fails only for URLs without a host, which hold neither.
    let _ = public.set_username("");
    let _ = public.set_password(None);
    public.set_query(None);
    public.set_fragment(None);
    public
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        extract::RawQuery,
        http::{HeaderMap, StatusCode, Uri},
        routing::any,
    };

    use super::super::failure::Exit;
    use super::*;

    async fn engine(app: Router) -> Client {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Client::new(base, Some(Secret::new("hush"))).unwrap()
    }

    #[tokio::test]
    async fn paths_are_escaped_and_the_token_goes_as_bearer() {
        let echo = |headers: HeaderMap, uri: Uri| async move {
            let sent = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            serde_json::json!({ "uri": uri.to_string(), "authorization": sent }).to_string()
        };
        let client = engine(Router::new().fallback(any(echo))).await;
        let answer: Value =
            read(&client.get(&["v1", "event-types", "a/b c?"], &[("q", "x&y".to_owned())]).await.unwrap()).unwrap();
        assert_eq!(answer["uri"], "/v1/event-types/a%2Fb%20c%3F?q=x%26y");
        assert_eq!(answer["authorization"], "Bearer hush");
        assert!(!format!("{client:?}").contains("hush"));
    }

    #[tokio::test]
    async fn all_pages_are_read_and_rows_stay_as_they_came() {
        let pages = |RawQuery(query): RawQuery| async move {
            let query = query.unwrap_or_default();
            assert!(query.contains("limit=500"), "{query}");
            if query.contains("cursor=c2") {
                r#"{"items":[{"valorpago":10.50}],"total":3,"next":null}"#
            } else {
                r#"{"items":[{"n":1},{"n":2}],"total":3,"next":"c2"}"#
            }
        };
        let client = engine(Router::new().route("/v1/deliveries", any(pages))).await;
        let whole = client.list_all(&["v1", "deliveries"], &[]).await.unwrap();
        assert_eq!(
            serde_json::to_string(&whole).unwrap(),
            r#"{"items":[{"n":1},{"n":2},{"valorpago":10.50}],"total":3,"next":null}"#
        );
    }

    #[tokio::test]
    async fn what_an_answer_lacks_is_remembered() {
        let app = Router::new()
            .route("/v1/whole", any(|| async { "{}" }))
            .route("/v1/less", any(|| async { ([(REDACTED, "true")], "{}") }));
        let client = engine(app).await;
        client.get(&["v1", "whole"], &[]).await.unwrap();
        assert!(!client.is_shown_less());
        client.clone().get(&["v1", "less"], &[]).await.unwrap();
        client.get(&["v1", "whole"], &[]).await.unwrap();
        assert!(client.is_shown_less());
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_status_and_nobody_there_is_told_apart() {
        let client = engine(Router::new().fallback(any(|| async { (StatusCode::NOT_FOUND, "{}") }))).await;
        assert_eq!(client.get(&["v1"], &[]).await.unwrap_err().exit(), Exit::NotFound);
        let free = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = free.local_addr().unwrap();
        let base = Url::parse(&format!("http://ana:hushpw@{address}/?token=hushtoken#hushpart")).unwrap();
        drop(free);
        let failure = Client::new(base, None).unwrap().get(&["healthz"], &[]).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Unreachable);
        for json in [false, true] {
            let told = failure.message(json).unwrap();
            assert!(told.contains(&format!("http://{address}/")) && told.contains("engate serve"), "{told}");
            assert!(!told.contains("hush") && !told.contains("ana"), "{told}");
        }
    }

    #[test]
    fn only_http_urls_are_taken() {
        for url in ["ftp://u:hushpw@x", "file:///x", "mailto:x@y", "ana:hushpw@x"] {
            let failure = Client::new(Url::parse(url).unwrap(), None).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{url}");
            let told = failure.message(false).unwrap();
            assert!(told.contains("ENGATE_URL") && !told.contains("hushpw"), "{told}");
        }
    }
}
