//! Takes connections, and can hang up: a call whose answer is marked with [`HangUp`] sees its connection close without
//! a byte.

use std::{io, sync::Arc};

use axum::{Router, body::Body};
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Connections open at once; more wait in the system's own queue.
const CONNECTIONS_MAX: usize = 1_024;

/// Marks an answer that must not be written: the connection is closed instead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HangUp;

/// Answers calls until told to stop, then finishes those under way.
pub(crate) async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accepted => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (router, stopped) = (router.clone(), stopped.clone());
        connections.spawn(async move {
            if let Err(error) = connection(stream, router, stopped).await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) -> Result<(), hyper::Error> {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request: Request<Incoming>| answer(router.clone(), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn answer(router: Router, request: Request<Incoming>) -> io::Result<Response<Body>> {
    // A router has an answer to everything; what it answers with cannot fail.
    let response = router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {});
    match response.extensions().get::<HangUp>() {
        Some(HangUp) => Err(io::ErrorKind::ConnectionAborted.into()),
        None => Ok(response),
    }
}
