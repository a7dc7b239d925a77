//! TLS of the API: certificate and key from PEM files, read again on SIGHUP and when a file changes, so that a renewed
//! certificate needs no restart.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What connections are encrypted with at this moment.
#[derive(Clone)]
pub(crate) struct Tls {
    files: TlsFiles,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Says which file cannot be used and why.
    pub(crate) fn read(files: TlsFiles) -> Result<Self, String> {
        let config = Arc::new(ArcSwap::from_pointee(server_config(&files)?));
        Ok(Self { files, config })
    }

    /// What the next connection is taken with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Reads the files again whenever they change or SIGHUP comes, until told to stop. Files that cannot be used leave
    /// the certificate as it is.
    pub(crate) async fn keep_fresh(self, mut stopped: watch::Receiver<bool>) {
        let mut seen = stamps(&self.files);
        let mut hangup = signal(SignalKind::hangup())
            .inspect_err(
                |error| tracing::warn!(%error, "SIGHUP cannot be heard; a changed certificate is found by its file"),
            )
            .ok();
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => false,
                () = heard(hangup.as_mut()) => true,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            let stamps = stamps(&self.files);
            if asked || stamps != seen {
                seen = stamps;
                match server_config(&self.files) {
                    Ok(config) => {
                        self.config.store(Arc::new(config));
                        tracing::info!("the TLS certificate was read again");
                    }
                    Err(error) => tracing::warn!(%error, "the TLS certificate stays as it was"),
                }
            }
        }
    }
}

async fn heard(hangup: Option<&mut tokio::signal::unix::Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// When each file was last written, and its size.
fn stamps(files: &TlsFiles) -> [Option<(SystemTime, u64)>; 2] {
    [&files.certificate, &files.key].map(|file| {
        let told = std::fs::metadata(file).ok()?;
        Some((told.modified().ok()?, told.len()))
    })
}

fn server_config(files: &TlsFiles) -> Result<ServerConfig, String> {
    let told = |path: &Path, why: String| format!("{}: {why}", path.display());
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| told(&files.certificate, error.to_string()))?;
    if certificates.is_empty() {
        return Err(told(&files.certificate, "holds no certificate in PEM form".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| told(&files.key, error.to_string()))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key);
    let mut config = config.map_err(|error| told(&files.certificate, format!("does not go with the key: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
