//! TLS and HTTP/2.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use engate_egress::{Egress, EgressConfig, Outbound};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;

use crate::loopback::{Names, open, post};

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "egress", "tls", name].iter().collect()
}

/// Answers with the version spoken and the header names seen; says when a connection came.
async fn server(protocols: &[&str]) -> (u16, mpsc::UnboundedReceiver<()>) {
    let chain = vec![CertificateDer::from_pem_file(fixture("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (came, connections) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, came) = (acceptor.clone(), came.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let _ = came.send(());
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let stream = TokioIo::new(stream);
                if http2 {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(stream, service_fn(answer)).await;
                } else {
                    let builder = hyper::server::conn::http1::Builder::new();
                    let _ = builder.serve_connection(stream, service_fn(answer)).await;
                }
            });
        }
    });
    (port, connections)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let length = body.collect().await?.to_bytes().len();
    let text = format!("{:?} {} {length}", parts.version, parts.headers.contains_key("host"));
    Ok(Response::new(Full::from(text)))
}

fn trusting() -> Egress {
    let config = EgressConfig { ca_file: Some(fixture("ca.pem")), ..open() };
    Egress::with_lookup(config, Names::new("partner.test", &[&["127.0.0.1"]])).unwrap()
}

#[tokio::test]
async fn http2_is_spoken_where_the_partner_offers_it_over_one_connection() {
    let (port, mut connections) = server(&["h2", "http/1.1"]).await;
    let (egress, url) = (trusting(), format!("https://partner.test:{port}/"));
    egress.send(post(&url)).await.unwrap();
    let sends = (0..50).map(|_| egress.send(post(&url)));
    for received in futures_util::future::join_all(sends).await {
        let received = received.unwrap();
        assert_eq!(received.response.body, b"HTTP/2.0 false 7");
        assert!(received.sent.headers.contains(&("host".to_owned(), format!("partner.test:{port}"))));
    }
    assert!(connections.recv().await.is_some());
    assert!(connections.try_recv().is_err(), "one connection carries all");
}

#[tokio::test]
async fn title_case_names_keep_to_http1_even_where_http2_is_offered() {
    let (port, _connections) = server(&["h2", "http/1.1"]).await;
    let url = format!("https://127.0.0.1:{port}/");
    let received = trusting().send(Outbound { http1_title_case: true, ..post(&url) }).await.unwrap();
    assert_eq!(received.response.body, b"HTTP/1.1 true 7");
    let (old, _connections) = server(&[]).await;
    let received = trusting().send(post(&format!("https://127.0.0.1:{old}/"))).await.unwrap();
    assert_eq!(received.response.body, b"HTTP/1.1 true 7");
}

#[tokio::test]
async fn certificates_are_verified() {
    let (port, _connections) = server(&["h2"]).await;
    let untrusted = Egress::new(open()).unwrap();
    let failed = untrusted.send(post(&format!("https://127.0.0.1:{port}/?hush"))).await.unwrap_err();
    assert_eq!(failed.failure.code, "tls_failed", "{:?}", failed.failure);
    assert!(failed.failure.message.contains("UnknownIssuer"), "{}", failed.failure.message);
    assert!(!failed.failure.message.contains("hush"));
    let other_name = trusting().send(post(&format!("https://localhost:{port}/"))).await.unwrap_err();
    assert_eq!(other_name.failure.code, "tls_failed", "{:?}", other_name.failure);
}

#[tokio::test]
async fn a_partner_without_tls_is_tls_failed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let failed = trusting().send(post(&url)).await.unwrap_err();
    assert_eq!(failed.failure.code, "tls_failed", "{:?}", failed.failure);
}
