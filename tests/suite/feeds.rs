//! Sources of feeds: the examples, built as they are, in a host of their own, pulling over real HTTP through the guard.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use engate_egress::{Egress, EgressConfig, Outbound};
use engate_host::{
    CompilerCommand, Digest, Effort, Host, HostConfig, HttpAccess, HttpAnswer, HttpBudget, HttpDoer, HttpFailure,
    IdText, LoadedPlugin, OutgoingRequest, Reuse, Secrets, SourcePullCall, SyncContext,
};
use engate_model::{
    Clock, Secret, Timestamp,
    endpoint::Auth,
    feed::FeedGuard,
    plugin::Limits,
    sink::{FeedPage, Refusal},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{Receiver, Reply, block_on},
    languages::{is_there, passes},
};

const NOW_MS: i64 = 1_800_000_000_000;

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOW_MS)
    }
}

/// Sends through the engine's own egress, with the one credential that it knows.
struct Web {
    egress: Egress,
    key: Auth,
}

#[async_trait::async_trait]
impl HttpDoer for Web {
    async fn send(&self, request: OutgoingRequest, body_bytes_max: usize) -> Result<HttpAnswer, HttpFailure> {
        let auth = match request.credential.as_deref() {
            None => &Auth::None,
            Some("feed") => &self.key,
            Some(other) => return Err(HttpFailure::Denied(format!("the credential profile {other} is not granted"))),
        };
        let outbound = Outbound {
            method: &request.method,
            url: &request.url,
            headers: request.headers.clone(),
            body: Bytes::from(request.body.clone()),
            compress: request.compress,
            auth,
            sign: None,
            deadline: Duration::from_secs(20),
            response_bytes_max: body_bytes_max,
            http1_title_case: false,
        };
        let started = Instant::now();
        let sent = self.egress.send(outbound).await;
        let elapsed_ms = u32::try_from(started.elapsed().as_millis()).unwrap();
        match sent {
            Ok(received) => Ok(HttpAnswer { response: received.response, elapsed_ms }),
            Err(failed) => Err(match failed.failure.code.as_str() {
                "egress_denied" => HttpFailure::Denied(failed.failure.message),
                "dns_failed" => HttpFailure::Dns,
                "connect_refused" | "connect_failed" => HttpFailure::Connect,
                "tls_failed" | "client_certificate_required" | "client_certificate_refused" => HttpFailure::Tls,
                "timeout" => HttpFailure::Timeout,
                _ => HttpFailure::Other(failed.failure.message),
            }),
        }
    }
}

/// A source at work, and where its last page ended.
struct Job {
    host: Host,
    plugin: Arc<LoadedPlugin>,
    web: Arc<Web>,
    hosts: Arc<[String]>,
    config: Arc<Value>,
    cursor: Option<Vec<u8>>,
    _folder: TempDir,
}

impl Job {
    /// Builds the example and loads it; none where there is no cargo.
    async fn of(example: &str, config: Value, allowed: &str) -> Option<Self> {
        if !is_there(&["cargo"]) {
            return None;
        }
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(example);
        passes(&project, &["plugin", "build"]);
        passes(&project, &["plugin", "test", "--no-fuel"]);
        let component = std::fs::read(project.join("plugin.wasm")).unwrap();
        let folder = TempDir::new().unwrap();
        let program = env!("CARGO_BIN_EXE_engate").into();
        let compiler = CompilerCommand { program, args: vec!["compile-plugin".to_owned()] };
        let settings = HostConfig::new(folder.path().join("cache"), compiler, Arc::new(Frozen));
        let host = Host::start(HostConfig { pool_instances: 16, ..settings }).unwrap();
        assert_eq!(host.install(&component, Effort::Quick).await.unwrap().manifest.id, example);
        let plugin = host.load(&Digest::of(&component), Effort::Quick, || async { Ok(component) }).await.unwrap();
        let egress = EgressConfig { allow: vec!["127.0.0.0/8".parse().unwrap()], ..EgressConfig::default() };
        let key = Auth::Headers { headers: vec![("x-api-key".to_owned(), Secret::new("feed-key"))] };
        Some(Self {
            host,
            plugin,
            web: Arc::new(Web { egress: Egress::new(egress).unwrap(), key }),
            hosts: Arc::new([allowed.to_owned()]),
            config: Arc::new(config),
            cursor: None,
            _folder: folder,
        })
    }

    async fn pull(&self) -> Result<FeedPage, Refusal> {
        let context = SyncContext {
            installation: "feed",
            limits: Limits::default().for_sync(),
            reuse: Reuse::warm(1),
            config: Arc::clone(&self.config),
            secrets: Secrets::none(),
            state: Arc::new(BTreeMap::new()),
            id: IdText::of(&"pass_1"),
            now: Timestamp::from_millis(NOW_MS),
        };
        let http = HttpAccess {
            doer: Arc::<Web>::clone(&self.web),
            endpoint_url: None,
            hosts: Arc::clone(&self.hosts),
            budget: HttpBudget::default(),
        };
        let call = SourcePullCall { context, stream: "orders", after: self.cursor.as_deref(), max_changes: 500, http };
        self.host.source_pull(&self.plugin, call).await.unwrap().answer
    }

    /// One pass, whose pages are taken for stored: the keys that came, those of records that are gone with a minus.
    async fn pass(&mut self) -> Result<Vec<String>, Refusal> {
        let mut guard = FeedGuard::begin(self.cursor.as_deref());
        let mut keys = Vec::new();
        loop {
            let page = self.pull().await?;
            let goes_on = guard.goes_on(&page)?;
            for change in page.changes {
                let gone = change.operation == engate_model::sink::Operation::Delete;
                keys.push(if gone { format!("-{}", change.key) } else { change.key });
            }
            self.cursor = Some(page.next);
            if !goes_on {
                return Ok(keys);
            }
        }
    }
}

fn parameter(query: &str, name: &str) -> String {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).unwrap_or_default()
}

fn origin(receiver: &Receiver) -> String {
    receiver.url("/").trim_end_matches('/').to_owned()
}

#[test]
fn the_paged_example_reads_its_list_over_http_and_goes_on_where_it_was() {
    block_on(async {
        let feed = Receiver::start().await;
        feed.on("/orders", |received| {
            let page: u32 = parameter(&received.query, "page").parse().unwrap();
            // The third answer fails: the pass ends there, and the next one begins there.
            if received.before == 2 {
                return Reply::status(503);
            }
            let items: Vec<_> = (0..100).map(|n| json!({"id": (page - 1) * 100 + n})).collect();
            Reply::status(200).json(&json!({"items": items, "pages": 5}))
        });
        let config = json!({"url": feed.url("/orders")});
        let Some(mut job) = Job::of("feed-paged", config, &origin(&feed)).await else { return };
        let refused = job.pass().await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.retryable), ("http_status", true));
        let rest = job.pass().await.unwrap();
        assert_eq!((rest.len(), rest[0].as_str(), rest[299].as_str()), (300, "200", "499"));
        let again = job.pass().await.unwrap();
        assert_eq!((again.len(), again[0].as_str()), (500, "0"));
    });
}

#[test]
fn the_incremental_example_sees_each_change_once_and_shows_its_key() {
    block_on(async {
        let feed = Receiver::start().await;
        feed.on("/orders", |received| {
            if received.headers.get("x-api-key").is_none_or(|key| key != "feed-key") {
                return Reply::status(401);
            }
            let after = parameter(&received.query, "after").parse::<u32>().map_or(0, |after| after + 1);
            let end = if received.before < 3 { 25 } else { 30 };
            let items: Vec<_> = (after..end.min(after + 10))
                .map(|n| json!({"id": n.to_string(), "updated_at": "2025-02-20T12:00:00Z", "deleted": n == 27}))
                .collect();
            Reply::status(200).json(&json!({"items": items, "more": after + 10 < end}))
        });
        let config = json!({"url": feed.url("/orders"), "credential": "feed"});
        let Some(mut job) = Job::of("feed-incremental", config, &origin(&feed)).await else { return };
        let first = job.pass().await.unwrap();
        assert_eq!(first, (0..25).map(|n: u32| n.to_string()).collect::<Vec<_>>());
        assert_eq!(job.pass().await.unwrap(), ["25", "26", "-27", "28", "29"]);
        assert_eq!(job.pass().await.unwrap(), Vec::<String>::new());
    });
}

#[test]
fn a_feed_that_is_not_granted_is_not_asked() {
    block_on(async {
        let feed = Receiver::start().await;
        feed.always("/orders", 200);
        let config = json!({"url": feed.url("/orders")});
        let Some(mut job) = Job::of("feed-paged", config, "https://feed.example").await else { return };
        let refused = job.pass().await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.retryable), ("http_denied", false));
        assert_eq!(feed.seen_total(), 0);
    });
}
