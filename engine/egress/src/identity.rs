//! Who the engine is in a TLS handshake: a chain of certificates and the key of its first one, read from PEM.

use std::{cell::Cell, fmt::Write as _, sync::Arc};

use engate_model::{Invalid, Timestamp, endpoint::ClientIdentity, invalid::Complaints};
use ring::digest::{SHA256, digest};
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    crypto::{CryptoProvider, ring::default_provider},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _, SectionKind},
    },
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// Bytes of a chain or a key, as PEM.
const PEM_BYTES_MAX: usize = 64 * 1024;
/// Certificates of a chain.
const CHAIN_MAX: usize = 10;
/// Longest subject that is told, characters.
const SUBJECT_CHARS_MAX: usize = 500;

tokio::task_local! {
    /// Set once a partner asks for the engine's certificate, in a handshake of the request under way.
    static ASKED: Cell<bool>;
}

/// Runs a request; says as well whether a partner asked for the engine's certificate in a handshake made for it. Over
/// TLS 1.3 a partner judges after the handshake, and its alert may be lost with a connection that closes at once.
pub(crate) async fn watched<T>(request: impl Future<Output = T>) -> (T, bool) {
    let watched = async {
        let output = request.await;
        (output, ASKED.with(Cell::get))
    };
    ASKED.scope(Cell::new(false), watched).await
}

/// Shows a certificate, or none, and notes that one was asked for.
#[derive(Debug)]
pub(crate) struct Shown(pub(crate) Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], _sigschemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // A connection that is made for a later request has nobody to tell.
        let _ = ASKED.try_with(|asked| asked.set(true));
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// What a client certificate says of itself. None of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whom it names: `CN=engate, O=Acme`.
    pub subject: String,
    /// From when it is good.
    pub not_before: Timestamp,
    /// Until when it is good.
    pub not_after: Timestamp,
    /// SHA-256 of its DER form, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// What the first certificate of a PEM chain says of itself.
///
/// # Errors
/// A sentence that says what it is instead.
pub fn certificate_facts(pem: &str) -> Result<CertificateFacts, String> {
    let chain = chain(pem)?;
    let first = chain.first().ok_or_else(|| "holds no certificate".to_owned())?;
    let (_, parsed) = X509Certificate::from_der(first).map_err(|error| unreadable(0, &error))?;
    let validity = parsed.validity();
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_micros(time.timestamp().saturating_mul(1_000_000));
    let mut sha256 = String::with_capacity(64);
    for byte in digest(&SHA256, first).as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(sha256, "{byte:02x}");
    }
    Ok(CertificateFacts {
        subject: printable(&parsed.subject().to_string()),
        not_before: at(validity.not_before),
        not_after: at(validity.not_after),
        sha256,
    })
}

/// Chain and key, ready to sign handshakes.
///
/// # Errors
/// `auth.certificate` and `auth.key`, whichever are at fault. No message repeats anything of the key.
pub(crate) fn read(identity: &ClientIdentity) -> Result<CertifiedKey, Invalid> {
    let mut complaints = Complaints::default();
    let provider = default_provider();
    let chain = complaints.take(chain(&identity.certificate).map_err(|why| Invalid::field("auth.certificate", why)));
    let key = key(identity.key.expose(), &provider).map_err(|why| Invalid::field("auth.key", why));
    let key = complaints.take(key);
    let certified = chain.zip(key).map(|(chain, key)| CertifiedKey::new(chain, key));
    if let Some(certified) = &certified
        && certified.keys_match().is_err()
    {
        complaints.add("auth.key", "is not the key of the first certificate; give the two that were made together");
    }
    match (complaints.finish(()), certified) {
        (Ok(()), Some(certified)) => Ok(certified),
        (Ok(()), None) => Err(Invalid::field("auth.certificate", "cannot be used")),
        (Err(invalid), _) => Err(invalid),
    }
}

/// The certificates of a PEM text, each of which can be read.
fn chain(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    check_size(text)?;
    let mut chain = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        match section.map_err(|error| not_pem(&error))? {
            (SectionKind::Certificate, der) => chain.push(CertificateDer::from(der)),
            (SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _) => {
                return Err("holds a private key; that belongs into auth.key, and nowhere else".to_owned());
            }
            _ => {}
        }
    }
    match chain.len() {
        0 => return Err("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned()),
        1..=CHAIN_MAX => {}
        more => return Err(format!("holds {more} certificates; at most {CHAIN_MAX}, the engine's own first")),
    }
    for (n, certificate) in chain.iter().enumerate() {
        let (rest, _) = X509Certificate::from_der(certificate).map_err(|error| unreadable(n, &error))?;
        if !rest.is_empty() {
            return Err(format!("certificate {} of the chain is followed by something else", n + 1));
        }
        // What rustls itself asks of a certificate, which knows version 3 only.
        if n == 0 && rustls::server::ParsedCertificate::try_from(certificate).is_err() {
            return Err("its first certificate is not an X.509 version 3 certificate for TLS".to_owned());
        }
    }
    Ok(chain)
}

/// The one private key of a PEM text.
fn key(text: &str, provider: &CryptoProvider) -> Result<std::sync::Arc<dyn rustls::sign::SigningKey>, String> {
    check_size(text)?;
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("is encrypted with a passphrase; decrypt it first (openssl pkey -in KEY), the engine seals it \
                    when it is stored"
            .to_owned());
    }
    let mut found: Option<PrivateKeyDer<'static>> = None;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        // The reader's own words may quote the text.
        let (kind, der) = section.map_err(|_| "is not PEM, or broken off".to_owned())?;
        let key = match kind {
            SectionKind::PrivateKey => PrivateKeyDer::Pkcs8(der.into()),
            SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(der.into()),
            SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(der.into()),
            SectionKind::Certificate => {
                return Err("holds a certificate; that belongs into auth.certificate".to_owned());
            }
            _ => continue,
        };
        if found.replace(key).is_some() {
            return Err("holds several private keys; give the one of the first certificate".to_owned());
        }
    }
    let key = found.ok_or_else(|| {
        "holds no private key in PEM form (BEGIN PRIVATE KEY, BEGIN EC PRIVATE KEY or BEGIN RSA PRIVATE KEY)".to_owned()
    })?;
    provider.key_provider.load_private_key(key).map_err(|_| {
        "is no key that TLS can sign with here: RSA of 2048 bits or more, P-256, P-384 or Ed25519".to_owned()
    })
}

fn check_size(text: &str) -> Result<(), String> {
    if text.len() > PEM_BYTES_MAX { Err(format!("at most {PEM_BYTES_MAX} bytes of PEM")) } else { Ok(()) }
}

fn not_pem(error: &pem::Error) -> String {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "its END line is missing",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is broken",
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is not base64",
        _ => "it cannot be read",
    };
    format!("is not PEM: {what}")
}

fn unreadable(n: usize, error: &x509_parser::nom::Err<x509_parser::error::X509Error>) -> String {
    let why = match error {
        x509_parser::nom::Err::Error(why) | x509_parser::nom::Err::Failure(why) => why.to_string(),
        x509_parser::nom::Err::Incomplete(_) => "it breaks off".to_owned(),
    };
    format!("certificate {} of the chain cannot be read: {}", n + 1, printable(&why))
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(SUBJECT_CHARS_MAX).collect()
}
