//! A partner: answers as it is told to and records what reached it, byte for byte.

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, Uri},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::PATIENCE;

/// How long a partner that hangs keeps a connection.
const HANG: Duration = Duration::from_secs(120);
/// What a request gets that the test did not foresee.
const UNFORESEEN: u16 = 599;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Without the question mark.
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
    pub(crate) wall: SystemTime,
    /// How many requests that path had before.
    pub(crate) before: usize,
}

impl Received {
    /// A header's value as text; fails where it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers));
        std::str::from_utf8(value.as_bytes()).unwrap()
    }

    /// The delivery's id.
    pub(crate) fn webhook_id(&self) -> &str {
        self.header("webhook-id")
    }

    /// How long ago the moment was, on arrival, that a member of the body names in microseconds since 1970.
    pub(crate) fn delay_of(&self, member: &str) -> Duration {
        let sent = Duration::from_micros(self.json()[member].as_u64().unwrap());
        self.wall.duration_since(UNIX_EPOCH).unwrap().saturating_sub(sent)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// An answer to give.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    delay: Duration,
}

impl Reply {
    /// A status without a body.
    pub(crate) const fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), delay: Duration::ZERO }
    }

    /// No answer, for longer than anyone waits.
    pub(crate) const fn hang() -> Self {
        Self::status(200).after(HANG)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Waits before it answers.
    pub(crate) const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Behaviour = Arc<dyn Fn(Received) -> BoxFuture<'static, Reply> + Send + Sync>;

#[derive(Default)]
struct Shared {
    behaviours: Mutex<HashMap<String, Behaviour>>,
    seen: Mutex<HashMap<String, Vec<Received>>>,
    changed: watch::Sender<u64>,
}

/// Partners on one address, one per path.
#[derive(Clone)]
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: Arc<AbortOnDrop>,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Receiver {
    /// Listens on a free port; no path is programmed yet.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, _server: Arc::new(AbortOnDrop(server)) }
    }

    /// The URL of a path here.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Programs a path to answer by what it got, taking its time.
    pub(crate) fn on_async<F>(&self, path: &str, behaviour: impl Fn(Received) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let behaviour: Behaviour = Arc::new(move |received| behaviour(received).boxed());
        lock(&self.shared.behaviours).insert(path.to_owned(), behaviour);
    }

    /// Programs a path to answer by what it got.
    pub(crate) fn on(&self, path: &str, behaviour: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        self.on_async(path, move |received| std::future::ready(behaviour(&received)));
    }

    /// Programs a path to give these answers one after the other; the last one stays.
    pub(crate) fn script(&self, path: &str, replies: impl Into<Vec<Reply>>) {
        let replies = replies.into();
        self.on(path, move |received| replies[received.before.min(replies.len() - 1)].clone());
    }

    /// Programs a path to answer always the same status.
    pub(crate) fn always(&self, path: &str, status: u16) {
        self.script(path, [Reply::status(status)]);
    }

    /// What a path has got so far.
    pub(crate) fn seen(&self, path: &str) -> Vec<Received> {
        lock(&self.shared.seen).get(path).cloned().unwrap_or_default()
    }

    /// How many requests all paths together have got so far.
    pub(crate) fn seen_total(&self) -> usize {
        lock(&self.shared.seen).values().map(Vec::len).sum()
    }

    /// Waits until a path has got at least `count` requests.
    pub(crate) async fn wait(&self, path: &str, count: usize) -> Vec<Received> {
        let mut changed = self.shared.changed.subscribe();
        let enough = async {
            loop {
                let seen = self.seen(path);
                if seen.len() >= count {
                    return seen;
                }
                changed.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(PATIENCE, enough).await;
        waited.unwrap_or_else(|_| panic!("{path} got {} requests, not {count}", self.seen(path).len()))
    }

    /// The only request a path has got; waits for it.
    pub(crate) async fn only(&self, path: &str) -> Received {
        let mut seen = self.wait(path, 1).await;
        assert_eq!(seen.len(), 1, "{path} got more than one request: {seen:?}");
        seen.remove(0)
    }

    /// Requests to paths that nobody programmed.
    pub(crate) fn unforeseen(&self) -> Vec<Received> {
        let known = lock(&self.shared.behaviours);
        let seen = lock(&self.shared.seen);
        seen.iter().filter(|(path, _)| !known.contains_key(*path)).flat_map(|(_, seen)| seen.clone()).collect()
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let path = uri.path().to_owned();
    let received = {
        let mut seen = lock(&shared.seen);
        let of_path = seen.entry(path.clone()).or_default();
        let received = Received {
            method,
            path: path.clone(),
            query: uri.query().unwrap_or_default().to_owned(),
            headers,
            body,
            at: Instant::now(),
            wall: SystemTime::now(),
            before: of_path.len(),
        };
        of_path.push(received.clone());
        received
    };
    shared.changed.send_modify(|count| *count += 1);
    let behaviour = lock(&shared.behaviours).get(&path).cloned();
    let reply = match behaviour {
        Some(behaviour) => behaviour(received).await,
        None => Reply::status(UNFORESEEN),
    };
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
