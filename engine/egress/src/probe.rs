//! Whether a service can be reached from here, and where it ends if not: name, connection, TLS, answer.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use engate_model::{
    endpoint::Auth,
    verdict::Failure,
    wizard::services::{Phase, Probe, Service},
};
use tokio::{net::TcpStream, time::Instant};

use crate::{failure, guard::Target, request::Outbound, resolve::Unreachable, send::Egress};

/// Bytes of the answer that are read: it only has to come.
const RESPONSE_BYTES_MAX: usize = 1_024;

impl Egress {
    /// Looks how far a GET of `url` comes, within `deadline`. What the guard refuses is told as `egress_denied`, as a
    /// send would be. Any status is an answer.
    pub async fn probe(&self, service: Service, url: &str, deadline: Duration) -> Probe {
        let started = Instant::now();
        let untried = Phase::NotTried;
        let mut probe = Probe {
            service,
            url: url.to_owned(),
            dns: untried,
            tcp: untried,
            tls: untried,
            http: untried,
            status: None,
            code: None,
            message: None,
            elapsed_ms: 0,
        };
        let failed = self.walk(&mut probe, url, deadline).await.err();
        probe.code = failed.as_ref().map(|failure| failure.code.clone());
        probe.message = failed.map(|failure| failure.message);
        probe.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        probe
    }

    async fn walk(&self, probe: &mut Probe, url: &str, deadline: Duration) -> Result<(), Failure> {
        let target = self.check_url(url).map_err(|denied| {
            probe.dns = Phase::Failed;
            failure::denied(&denied)
        })?;
        let found = tokio::time::timeout(deadline, self.resolve(&target)).await;
        let found = found.unwrap_or_else(|_| Err(failure::timeout(&target, deadline, failure::Phase::Waiting)));
        let addresses = found.inspect_err(|_| probe.dns = Phase::Failed)?;
        probe.dns = Phase::Ok;
        match addresses {
            None => probe.tcp = Phase::NotUsed,
            Some(addresses) => {
                probe.tcp = Phase::Failed;
                connect(&target, &addresses, deadline).await?;
                probe.tcp = Phase::Ok;
            }
        }
        let secured = target.url.scheme() == "https";
        let outbound = Outbound {
            method: "GET",
            url,
            headers: Vec::new(),
            body: Bytes::new(),
            compress: false,
            auth: &Auth::None,
            sign: None,
            deadline,
            response_bytes_max: RESPONSE_BYTES_MAX,
            http1_title_case: false,
        };
        let answer = self.send(outbound).await;
        let handshake = !answer.as_ref().is_err_and(|failed| failed.failure.code == "tls_failed");
        probe.tls = match (secured, handshake) {
            (false, _) => Phase::NotUsed,
            (true, true) => Phase::Ok,
            (true, false) => Phase::Failed,
        };
        let answer = answer.map_err(|failed| failed.failure).inspect_err(|_| {
            if handshake {
                probe.http = Phase::Failed;
            }
        })?;
        probe.http = Phase::Ok;
        probe.status = Some(answer.response.status);
        Ok(())
    }

    /// Addresses to connect to; none: a proxy resolves and connects.
    async fn resolve(&self, target: &Target) -> Result<Option<Vec<SocketAddr>>, Failure> {
        if self.is_proxied() {
            return Ok(None);
        }
        match self.addresses(target).await {
            Ok(addresses) => {
                let port = target.url.port_or_known_default().unwrap_or(443);
                Ok(Some(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()))
            }
            Err(Unreachable::Denied(denied)) => Err(failure::denied(&denied)),
            Err(Unreachable::NotFound(error)) => Err(failure::dns_failed(&target.host, &error)),
        }
    }
}

/// Connects to the first address that takes a connection, and leaves it at that.
async fn connect(target: &Target, addresses: &[SocketAddr], deadline: Duration) -> Result<(), Failure> {
    let mut last = failure::timeout(target, deadline, failure::Phase::Waiting);
    let each = async {
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(_) => return true,
                Err(error) => {
                    let code = match error.kind() {
                        std::io::ErrorKind::ConnectionRefused => "connect_refused",
                        _ => "connect_failed",
                    };
                    let message = format!("no connection to {}: {error}", target.origin());
                    last = Failure { code: code.to_owned(), message, retryable: true };
                }
            }
        }
        false
    };
    match tokio::time::timeout(deadline, each).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(last),
        Err(_) => Err(failure::timeout(target, deadline, failure::Phase::Waiting)),
    }
}
