//! Takes connections: a bound on how many there are, TLS where it is set up, HTTP/1.1 and 2, and an end for those that
//! hold a connection without saying anything.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::{
    config::{ConnectionSettings, ProxySettings},
    paths::normalise,
    tls::Tls,
};

/// How long a TLS handshake may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Headers of one request.
const HEADERS_MAX: usize = 100;
/// Bytes of one request's headers.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Requests under way at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// How often an HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIME_MAX: Duration = Duration::from_secs(20);
/// Pause after the system refuses a connection (too many open files): trying at once would only spin.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// How connections are served, the same for all.
struct Service {
    router: Router,
    tls: Option<Tls>,
    http: Builder<TokioExecutor>,
    idle: Duration,
    proxies: ProxySettings,
    stopped: watch::Receiver<bool>,
}

/// Answers calls until told to stop, then finishes those under way. At most `bounds.most` connections are open;
/// more wait in the system's own queue.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    bounds: ConnectionSettings,
    proxies: ProxySettings,
    mut stopped: watch::Receiver<bool>,
) {
    let (http, stopped_too) = (http(bounds.idle), stopped.clone());
    let service = Arc::new(Service { router, tls, http, idle: bounds.idle, proxies, stopped: stopped_too });
    let places = Arc::new(Semaphore::new(bounds.most));
    let connections = TaskTracker::new();
    loop {
        let next = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (accept(&listener).await, place)
        };
        let ((stream, peer), place) = tokio::select! {
            next = next => next,
            // An error means that the server itself is gone, which is also a reason to stop.
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        let service = Arc::clone(&service);
        connections.spawn(async move {
            if let Err(error) = service.connection(stream, peer).await {
                tracing::debug!(%peer, %error, "a connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_peers(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be taken; trying again");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

/// Whether it was one peer that went away between knocking and being let in.
fn is_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn http(idle: Duration) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIME_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX));
    http
}

impl Service {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), String> {
        // Answers are small and waited for; a stream that refuses this only answers later.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.requests(stream, peer).await,
            Some(tls) => {
                let handshake = timeout(HANDSHAKE_TIME_MAX, tls.acceptor().accept(stream)).await;
                let stream = handshake.map_err(|_| "no TLS handshake in time".to_owned())?;
                self.requests(stream.map_err(|error| format!("TLS: {error}"))?, peer).await
            }
        }
    }

    async fn requests<S>(&self, stream: S, peer: SocketAddr) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asked = AtomicBool::new(false);
        let answer = service_fn(|mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let caller = self.proxies.caller(peer.ip(), request.headers());
            request.extensions_mut().insert(caller);
            self.router.clone().oneshot(normalise(request.map(Body::new)))
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), answer);
        let mut connection = std::pin::pin!(connection);
        let mut stopped = self.stopped.clone();
        let first = tokio::time::sleep(self.idle);
        let mut first = std::pin::pin!(first);
        let (mut stopping, mut waiting) = (false, true);
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
                _ = stopped.wait_for(|stopped| *stopped), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = first.as_mut(), if waiting => {
                    waiting = false;
                    if !asked.load(Ordering::Relaxed) {
                        return Err("no request came in time".to_owned());
                    }
                }
            }
        }
    }
}
