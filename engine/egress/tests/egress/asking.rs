//! A partner that asks for a client certificate and writes down who came, and authorities that give some out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};
use tokio_rustls::TlsAcceptor;

/// Who gives out certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pub(crate) pem: String,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
    /// PEM.
    pub(crate) certificate: String,
    /// PEM, PKCS#8.
    pub(crate) key: String,
    der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = params.self_signed(&key).unwrap();
        Self { der: made.der().clone(), pem: made.pem(), issuer: Issuer::new(params, key) }
    }

    /// A client's certificate, good for long.
    pub(crate) fn client(&self, name: &str) -> Identity {
        self.issue(name, params(name, &[]), KeyPair::generate().unwrap())
    }

    /// A client's certificate that ran out at the beginning of 2020.
    pub(crate) fn expired(&self, name: &str) -> Identity {
        let mut params = params(name, &[]);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        self.issue(name, params, KeyPair::generate().unwrap())
    }

    /// Another certificate for the key of `identity`.
    pub(crate) fn renewed(&self, identity: &Identity, name: &str) -> Identity {
        self.issue(name, params(name, &[]), KeyPair::from_pem(&identity.key).unwrap())
    }

    fn issue(&self, name: &str, params: CertificateParams, key: KeyPair) -> Identity {
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Identity { name: name.to_owned(), certificate: made.pem(), key: key.serialize_pem(), der: made.der().clone() }
    }
}

impl Identity {
    /// The certificate's fingerprint, in hexadecimal.
    pub(crate) fn sha256(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.der);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The key in DER.
    pub(crate) fn key_der(&self) -> Vec<u8> {
        KeyPair::from_pem(&self.key).unwrap().serialize_der()
    }
}

fn params(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A request, and who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The certificate's name; none: the caller showed none.
    pub(crate) who: Option<String>,
    pub(crate) path: String,
    /// Which connection, in the order they were made.
    pub(crate) connection: usize,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub(crate) version: String,
    /// Whether the handshake went on with an earlier session.
    pub(crate) resumed: bool,
}

/// What is asked of callers.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// Whose certificates are taken.
    pub(crate) authority: &'a Authority,
    /// Whether one must be shown.
    pub(crate) required: bool,
    /// Whether one is asked for.
    pub(crate) asks: bool,
    /// Whether a connection is reset as soon as its handshake is done.
    pub(crate) cuts: bool,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) protocols: &'static [&'static str],
}

impl<'a> Asking<'a> {
    pub(crate) fn of(authority: &'a Authority) -> Self {
        let (versions, protocols) = (rustls::ALL_VERSIONS, &["h2", "http/1.1"]);
        Self { authority, required: true, asks: true, cuts: false, versions, protocols }
    }
}

/// A partner that runs.
pub(crate) struct Partner {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    known: Arc<Mutex<HashMap<Vec<u8>, String>>>,
}

impl Partner {
    /// Starts on a free port, with a certificate of `authority` for 127.0.0.1 and `partner.test`. It answers 200 with the
    /// body that it was sent.
    pub(crate) async fn start(asking: Asking<'_>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(asking.authority.der.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = if asking.required { verifier } else { verifier.allow_unauthenticated() };
        let key = KeyPair::generate().unwrap();
        let params = params("partner", &["127.0.0.1", "partner.test"]);
        let own = params.signed_by(&key, &asking.authority.issuer).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(asking.versions)
            .unwrap()
            .with_client_cert_verifier(if asking.asks {
                verifier.build().unwrap()
            } else {
                WebPkiClientVerifier::no_client_auth()
            })
            .with_single_cert(vec![own.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        config.alpn_protocols = asking.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let partner = Self { port, heard: Arc::default(), known: Arc::default() };
        let (heard, known) = (Arc::clone(&partner.heard), Arc::clone(&partner.known));
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), asking.cuts, heard, known));
        partner
    }

    /// Knows `identity` by its name from now on.
    pub(crate) fn meet(&self, identity: &Identity) {
        self.known.lock().unwrap().insert(identity.der.to_vec(), identity.name.clone());
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// What came since it was asked last.
    pub(crate) fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    /// Who came since it was asked last; one that is not known is `?`.
    pub(crate) fn callers(&self) -> Vec<String> {
        self.take().into_iter().map(|heard| heard.who.unwrap_or_else(|| "nobody".to_owned())).collect()
    }
}

type Known = Arc<Mutex<HashMap<Vec<u8>, String>>>;

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, cuts: bool, heard: Arc<Mutex<Vec<Heard>>>, known: Known) {
    let mut connection = 0;
    while let Ok((stream, _)) = listener.accept().await {
        connection += 1;
        let (acceptor, heard, known) = (acceptor.clone(), Arc::clone(&heard), Arc::clone(&known));
        tokio::spawn(async move {
            let stream = match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => stream,
                Err((_, mut refused)) => {
                    // In TLS 1.3 the request is under way already. Closed upon it, the alert would be lost in a reset.
                    let _ = refused.shutdown().await;
                    let _ = tokio::io::copy(&mut refused, &mut tokio::io::sink()).await;
                    return;
                }
            };
            if cuts {
                stream.get_ref().0.set_zero_linger().unwrap();
                return;
            }
            let session = stream.get_ref().1;
            let shown = session.peer_certificates().and_then(|chain| chain.first()).map(|first| first.to_vec());
            let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            let http2 = session.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request: Request<Incoming>| {
                let (heard, known, shown) = (Arc::clone(&heard), Arc::clone(&known), shown.clone());
                async move {
                    let who = shown.map(|der| known.lock().unwrap().get(&der).cloned().unwrap_or_else(|| "?".into()));
                    let (path, version) = (request.uri().path().to_owned(), format!("{:?}", request.version()));
                    heard.lock().unwrap().push(Heard { who, path, connection, version, resumed });
                    let body: Bytes = request.into_body().collect().await?.to_bytes();
                    Ok::<_, hyper::Error>(Response::new(Full::new(body)))
                }
            });
            let stream = TokioIo::new(stream);
            if http2 {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(stream, service).await;
            } else {
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
            }
        });
    }
}
