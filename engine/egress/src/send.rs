//! The one call to the outside.

use std::{net::IpAddr, sync::Arc, time::Duration};

use engate_model::{
    Secret,
    delivery::{Request, Response},
    endpoint::Auth,
    verdict::Failure,
};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use url::Url;

use crate::{
    clients::Clients,
    config::{ConfigError, EgressConfig},
    failure::{self, Certificate, Phase},
    guard::{Denied, Guard, Target},
    identity::watched,
    oauth::Tokens,
    request::{Outbound, Prepared, prepare},
    resolve::{Lookup, Resolved, Resolver, SystemLookup, Unreachable},
};

/// The status of a token that is not, or no longer, taken.
const UNAUTHORIZED: u16 = 401;
/// How long registration waits for a name server.
const REGISTRATION_LOOKUP_MAX: Duration = Duration::from_secs(5);
/// Headers of a response that are kept at most.
const RESPONSE_HEADERS_MAX: usize = 100;
/// Bytes of names and values of a response's headers that are kept; one that does not fit is left out.
const RESPONSE_HEADER_BYTES_MAX: usize = 32 * 1024;

/// Sends requests and judges where they may go. One for the whole process; it is used through a shared reference.
pub struct Egress {
    guard: Arc<Guard>,
    resolver: Resolver,
    clients: Clients,
    pub(crate) tokens: Tokens,
    user_agent: HeaderValue,
    proxied: bool,
    connect_timeout: Duration,
    response_bytes_max: usize,
}

/// A response came, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The response; headers that do not fit the bounds are left out, and so are `content-encoding` and
    /// `content-length` of a body that was decompressed.
    pub response: Response,
    /// From the call of `send` to the end of the body.
    pub elapsed: Duration,
    /// The request as it went on the wire, body before compression, secrets masked.
    pub sent: Request,
}

/// No complete response came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What happened, as a stable code: `egress_denied`, `dns_failed`, `connect_refused`, `connect_failed`,
    /// `tls_failed`, `client_certificate_required`, `client_certificate_refused`, `timeout`, `connection_closed`,
    /// `protocol_error`, `body_failed`, `invalid_request`; before the request itself, where its token cannot be had, `oauth2_refused` and `oauth2_failed`.
    pub failure: Failure,
    /// The request as it was to go out; none only where none could be built (`invalid_request`).
    pub sent: Option<Request>,
    /// What came of the response, where its body broke off.
    pub response: Option<Response>,
    /// From the call of `send` to the failure.
    pub elapsed: Duration,
}

/// What goes out, through which client.
struct Call {
    client: reqwest::Client,
    request: reqwest::Request,
    /// Whether the client shows a certificate.
    identified: bool,
}

impl Egress {
    /// Sets up clients and trust. Reads certificate files, so it blocks; it does not dial.
    ///
    /// # Errors
    /// A setting that cannot be used, named. A machine without certificates is no error.
    pub fn new(config: EgressConfig) -> Result<Self, ConfigError> {
        Self::with_lookup(config, Arc::new(SystemLookup::new()))
    }

    /// Like [`Egress::new`], with another source of addresses than the machine's resolver.
    ///
    /// # Errors
    /// As [`Egress::new`].
    pub fn with_lookup(config: EgressConfig, lookup: Arc<dyn Lookup>) -> Result<Self, ConfigError> {
        let guard = Arc::new(Guard::new(&config)?);
        let user_agent = HeaderValue::from_str(&config.user_agent).map_err(|_| ConfigError::UserAgent)?;
        let proxy_host = config.proxy.as_ref().map(proxy_host).transpose()?;
        let resolver = Resolver::new(Arc::clone(&guard), lookup, proxy_host.as_deref());
        Ok(Self {
            guard,
            user_agent,
            proxied: proxy_host.is_some(),
            connect_timeout: config.connect_timeout,
            response_bytes_max: config.response_bytes_max,
            clients: Clients::new(config, resolver.clone())?,
            tokens: Tokens::default(),
            resolver,
        })
    }

    /// The rules, for whoever wants to judge without a network.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether a proxy makes the connections.
    pub(crate) const fn is_proxied(&self) -> bool {
        self.proxied
    }

    /// The addresses of a target that passed the guard.
    pub(crate) async fn addresses(&self, target: &Target) -> Result<Vec<IpAddr>, Unreachable> {
        self.resolver.target(target).await
    }

    /// [`Guard::check_url`].
    ///
    /// # Errors
    /// As [`Guard::check_url`].
    pub fn check_url(&self, url: &str) -> Result<Target, Denied> {
        self.guard.check_url(url)
    }

    /// Judges a URL and every address that its name has now; for registration. A name that does not resolve within
    /// five seconds is no error here: it may exist tomorrow, and every send checks again.
    ///
    /// # Errors
    /// [`Denied`] as [`Guard::check_url`], or where one of the addresses must not be called.
    pub async fn check_resolved(&self, url: &str) -> Result<Resolved, Denied> {
        let target = self.guard.check_url(url)?;
        match tokio::time::timeout(REGISTRATION_LOOKUP_MAX, self.resolver.target(&target)).await {
            Ok(Ok(addresses)) => Ok(Resolved::Addresses(addresses)),
            Ok(Err(Unreachable::Denied(denied))) => Err(denied),
            Ok(Err(Unreachable::NotFound(error))) => Ok(Resolved::Unresolved(error.to_string())),
            Err(_) => Ok(Resolved::Unresolved("the name servers did not answer in time".to_owned())),
        }
    }

    /// Sends one request and reads its response, within one deadline. The URL is judged again, and only addresses that
    /// the guard let through are dialled; an open connection to the same origin is used again, without a new
    /// look-up. Redirects are answers like any other.
    ///
    /// With a proxy configured all requests go to the proxy, which the guard does not judge. URL and addresses of the
    /// target are judged here before; but the proxy resolves the name itself, so it must refuse what is to be refused,
    /// and a name that only the proxy can resolve passes.
    ///
    /// Under [`Auth::Mtls`] connections and TLS sessions are those of that certificate and key alone, and the URL must be
    /// https. A proxy that is spoken to in TLS and asks for a certificate is shown it as well.
    ///
    /// Under [`Auth::Oauth2`] the token is fetched where there is none, within the same deadline; where it is answered with
    /// 401, it is fetched anew and the request sent once more.
    ///
    /// # Errors
    /// [`Failed`] where no complete response came; any status is a response.
    pub async fn send(&self, outbound: Outbound<'_>) -> Result<Received, Box<Failed>> {
        let Auth::Oauth2(client) = outbound.auth else { return self.dispatch(outbound, None).await };
        let started = Instant::now();
        let left = || outbound.deadline.saturating_sub(started.elapsed());
        let mut refused: Option<Secret> = None;
        loop {
            let fetched = tokio::time::timeout(left(), self.token(client, refused.as_ref(), left())).await;
            let token = match fetched.unwrap_or_else(|_| Err(failure::token_timeout(outbound.deadline))) {
                Ok(token) => token,
                Err(failure) => {
                    return Err(Box::new(Failed { failure, sent: None, response: None, elapsed: started.elapsed() }));
                }
            };
            let again = Outbound { deadline: left(), ..outbound.clone() };
            let mut ended = self.dispatch(again, Some(&token)).await;
            match &mut ended {
                Ok(received) => received.elapsed = started.elapsed(),
                Err(failed) => failed.elapsed = started.elapsed(),
            }
            let unauthorized = ended.as_ref().is_ok_and(|received| received.response.status == UNAUTHORIZED);
            if !unauthorized || refused.is_some() {
                return ended;
            }
            refused = Some(token);
        }
    }

    /// Sends once, with the token where there is one.
    pub(crate) async fn dispatch(
        &self,
        outbound: Outbound<'_>,
        token: Option<&Secret>,
    ) -> Result<Received, Box<Failed>> {
        let started = Instant::now();
        let fail =
            |failure, sent, response| Err(Box::new(Failed { failure, sent, response, elapsed: started.elapsed() }));
        let checked = self.guard.check_url(outbound.url);
        let url = match &checked {
            Ok(target) => Some(target.url.clone()),
            Err(denied) if denied.code() == "invalid_url" => None,
            Err(_) => Url::parse(outbound.url).ok(),
        };
        let prepared = match (&url, &checked) {
            (Some(url), _) => prepare(&outbound, token, url, &self.user_agent).await.map_err(failure::invalid_request),
            (None, Err(denied)) => Err(failure::denied(denied)),
            (None, Ok(_)) => Err(failure::invalid_request("the URL cannot be read")),
        };
        let Prepared { request, record } = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return fail(failure, None, None),
        };
        let target = match checked {
            Ok(target) => target,
            Err(denied) => return fail(failure::denied(&denied), Some(record), None),
        };
        let identity = if let Auth::Mtls(identity) = outbound.auth { Some(identity) } else { None };
        if identity.is_some() && target.url.scheme() != "https" {
            let failure = failure::invalid_request("a client certificate is shown over https:// only");
            return fail(failure, Some(record), None);
        }
        let client = match self.clients.get(outbound.http1_title_case, identity) {
            Ok(client) => client,
            Err(error) => return fail(failure::invalid_request(error.to_string()), Some(record), None),
        };
        let bytes_max = outbound.response_bytes_max.min(self.response_bytes_max);
        let mut response = None;
        let call = Call { client, request, identified: identity.is_some() };
        let exchange = self.exchange(call, &target, bytes_max, &mut response);
        let deadline = started.checked_add(outbound.deadline).unwrap_or(started);
        let ended = tokio::time::timeout_at(deadline, exchange).await;
        match (ended, response) {
            (Ok(Ok(())), Some(response)) => Ok(Received { response, elapsed: started.elapsed(), sent: record }),
            (Ok(Ok(())), None) => fail(failure::invalid_request("no response was read"), Some(record), None),
            (Ok(Err(failure)), response) => fail(failure, Some(record), response),
            (Err(_), response) => {
                let phase = if response.is_some() { Phase::Body } else { Phase::Waiting };
                fail(failure::timeout(&target, outbound.deadline, phase), Some(record), response)
            }
        }
    }

    /// Puts what came of the response into `response`, so that a deadline that drops this future leaves it there.
    async fn exchange(
        &self,
        call: Call,
        target: &Target,
        bytes_max: usize,
        response: &mut Option<Response>,
    ) -> Result<(), Failure> {
        if self.proxied {
            self.check_behind_proxy(target).await?;
        }
        let Call { client, request, identified } = call;
        let (answer, asked) = watched(client.execute(request)).await;
        let certificate = Certificate { shown: identified, asked };
        let failed = |error| failure::of_request(&error, target, self.connect_timeout, certificate);
        let mut answer = answer.map_err(failed)?;
        let read = response.insert(Response {
            status: answer.status().as_u16(),
            headers: response_headers(answer.headers()),
            body: Vec::new(),
            truncated: false,
        });
        while let Some(chunk) = answer.chunk().await.map_err(|error| failure::of_body(&error, target))? {
            let room = bytes_max.saturating_sub(read.body.len());
            read.body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if chunk.len() > room {
                // The rest is not read: the connection is given up instead.
                read.truncated = true;
                break;
            }
        }
        Ok(())
    }

    async fn check_behind_proxy(&self, target: &Target) -> Result<(), Failure> {
        match self.resolver.target(target).await {
            // A name that only the proxy can resolve is the proxy's to judge.
            Ok(_) | Err(Unreachable::NotFound(_)) => Ok(()),
            Err(Unreachable::Denied(denied)) => Err(failure::denied(&denied)),
        }
    }
}

fn proxy_host(proxy: &Url) -> Result<String, ConfigError> {
    let host = proxy.host_str().filter(|host| !host.is_empty() && matches!(proxy.scheme(), "http" | "https"));
    Ok(host.ok_or(ConfigError::Proxy)?.trim_end_matches('.').to_ascii_lowercase())
}

fn response_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut room = RESPONSE_HEADER_BYTES_MAX;
    let mut kept = Vec::with_capacity(headers.len().min(RESPONSE_HEADERS_MAX));
    for (name, value) in headers {
        let bytes = name.as_str().len().saturating_add(value.len());
        if kept.len() == RESPONSE_HEADERS_MAX {
            break;
        }
        if let Some(rest) = room.checked_sub(bytes) {
            room = rest;
            kept.push((name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_headers_are_bounded_and_small_ones_survive_a_huge_one() {
        let mut headers = HeaderMap::new();
        headers.insert("x-huge", HeaderValue::from_bytes(&vec![b'x'; RESPONSE_HEADER_BYTES_MAX]).unwrap());
        headers.insert("retry-after", HeaderValue::from_static("7"));
        assert_eq!(response_headers(&headers), [("retry-after".to_owned(), "7".to_owned())]);
        for n in 0..2 * RESPONSE_HEADERS_MAX {
            headers.append("x-flood", HeaderValue::from(n));
        }
        assert_eq!(response_headers(&headers).len(), RESPONSE_HEADERS_MAX);
    }

    #[test]
    fn only_http_proxies_are_understood() {
        for wrong in ["socks5://proxy.test:1080", "ftp://proxy.test", "data:x"] {
            let config = EgressConfig { proxy: Url::parse(wrong).ok(), ..EgressConfig::default() };
            assert!(matches!(Egress::new(config), Err(ConfigError::Proxy)), "{wrong}");
        }
    }
}
