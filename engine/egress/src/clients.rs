//! The pooled HTTP clients and whom they trust.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use engate_model::endpoint::ClientIdentity;
use reqwest::{Client, Proxy, redirect};
use ring::digest::{Context, SHA256};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::time::Instant;

use crate::{
    config::{ConfigError, EgressConfig},
    identity,
    resolve::Resolver,
};

/// How often an HTTP/2 connection with requests under way is asked whether it still lives.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to answer. A dead one must not swallow request after request.
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Identities whose clients are kept. Beyond it the one that was used longest ago goes, and connects anew.
const IDENTITIES_MAX: usize = 4_096;
/// After how long without use an identity's client goes; the key goes from memory with it.
const IDENTITY_IDLE_MAX: Duration = Duration::from_secs(600);
/// Hosts whose TLS sessions an identity remembers.
const IDENTITY_SESSIONS: usize = 16;

/// The clients: one for everybody, one for partners that want `Title-Case` names over HTTP/1.1, and one for each client
/// certificate. A client has its connections and its TLS sessions to itself, so that what is spoken under one identity
/// is never spoken under another, and a certificate that was replaced is not used again.
pub(crate) struct Clients {
    normal: Client,
    title_case: OnceLock<Client>,
    identified: Mutex<HashMap<Key, Kept>>,
    tls: ClientConfig,
    config: EgressConfig,
    resolver: Resolver,
}

/// An identity and whether names go out as `Title-Case`: a digest, so that no key is kept twice.
type Key = [u8; 32];

struct Kept {
    client: Client,
    used: Instant,
}

impl Clients {
    pub(crate) fn new(config: EgressConfig, resolver: Resolver) -> Result<Self, ConfigError> {
        let tls = tls_config(config.ca_file.as_deref())?;
        let normal = client(&config, &tls, &resolver, false)?;
        Ok(Self { normal, title_case: OnceLock::new(), identified: Mutex::default(), tls, config, resolver })
    }

    /// The client of whoever shows `identity`, or none.
    ///
    /// # Errors
    /// A certificate or key that cannot be used, without a word of the key.
    pub(crate) fn get(&self, title_case: bool, identity: Option<&ClientIdentity>) -> Result<Client, ConfigError> {
        if let Some(identity) = identity {
            return self.identified(title_case, identity);
        }
        if !title_case {
            return Ok(self.normal.clone());
        }
        if let Some(client) = self.title_case.get() {
            return Ok(client.clone());
        }
        let built = client(&self.config, &self.tls, &self.resolver, true)?;
        Ok(self.title_case.get_or_init(|| built).clone())
    }

    fn identified(&self, title_case: bool, identity: &ClientIdentity) -> Result<Client, ConfigError> {
        let (key, used) = (key(title_case, identity), Instant::now());
        let held = || self.identified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = held().get_mut(&key) {
            kept.used = used;
            return Ok(kept.client.clone());
        }
        let certified = identity::read(identity).map_err(|invalid| ConfigError::Client(invalid.to_string()))?;
        let mut tls = self.tls.clone();
        tls.client_auth_cert_resolver = Arc::new(identity::Shown(Some(Arc::new(certified))));
        // A resumed session is the one who began it, to the partner.
        tls.resumption = Resumption::in_memory_sessions(IDENTITY_SESSIONS);
        let built = client(&self.config, &tls, &self.resolver, title_case)?;
        let mut held = held();
        held.retain(|_, kept| used.saturating_duration_since(kept.used) < IDENTITY_IDLE_MAX);
        if held.len() >= IDENTITIES_MAX {
            let oldest = held.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| *key);
            oldest.map(|oldest| held.remove(&oldest));
        }
        // Whoever built it at the same time has connections under way.
        Ok(held.entry(key).or_insert(Kept { client: built, used }).client.clone())
    }
}

fn key(title_case: bool, identity: &ClientIdentity) -> Key {
    let mut context = Context::new(&SHA256);
    context.update(&[u8::from(title_case)]);
    for part in [identity.certificate.as_str(), identity.key.expose()] {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

fn client(
    config: &EgressConfig,
    tls: &ClientConfig,
    resolver: &Resolver,
    title_case: bool,
) -> Result<Client, ConfigError> {
    let mut tls = tls.clone();
    tls.alpn_protocols =
        if title_case { vec![b"http/1.1".to_vec()] } else { vec![b"h2".to_vec(), b"http/1.1".to_vec()] };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Arc::new(resolver.clone()))
        // Without this the client would read proxies from the environment, around the guard.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(config.pool_idle_timeout)
        .pool_max_idle_per_host(config.pool_idle_per_host)
        .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
        .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT);
    if let Some(proxy) = &config.proxy {
        builder = builder.proxy(Proxy::all(proxy.clone()).map_err(|_| ConfigError::Proxy)?);
    }
    if title_case {
        builder = builder.http1_only().http1_title_case_headers();
    }
    builder.build().map_err(|error| ConfigError::Client(error.to_string()))
}

/// TLS 1.2 and newer with ring. The machine's own certificates are trusted, since that is where an operator sets
/// them; a machine that has none (a container from scratch) trusts Mozilla's list, so that it can call anybody at all.
fn tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, ConfigError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        tracing::info!(errors = native.errors.len(), ignored, "no system certificates; trusting the built-in list");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = ca_file {
        add_ca_file(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| ConfigError::Client(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.client_auth_cert_resolver = Arc::new(identity::Shown(None));
    Ok(config)
}

fn add_ca_file(roots: &mut RootCertStore, path: &Path) -> Result<(), ConfigError> {
    let wrong = |reason: String| ConfigError::CaFile { path: path.to_owned(), reason };
    let mut added = 0_usize;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        added += 1;
    }
    if added == 0 { Err(wrong("holds no PEM certificate".to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_must_exist_and_hold_certificates() {
        let missing = add_ca_file(&mut RootCertStore::empty(), Path::new("/nonexistent/ca.pem"));
        assert!(missing.unwrap_err().to_string().starts_with("ca_file /nonexistent/ca.pem"));
        let empty = tempfile::NamedTempFile::new().unwrap();
        let error = add_ca_file(&mut RootCertStore::empty(), empty.path()).unwrap_err();
        assert!(error.to_string().contains("no PEM certificate"), "{error}");
    }
}
