//! What an operator sets about calls to the outside.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use url::Url;

/// Settings of [`crate::Egress`]. The default allows the public internet and nothing else.
#[derive(Clone)]
pub struct EgressConfig {
    /// Networks that may be called although they are denied by default (`ENGATE_EGRESS_ALLOW`).
    pub allow: Vec<IpNet>,
    /// Host names that are refused; `*.example.com` takes every name below `example.com`, not that name itself.
    pub deny_hosts: Vec<String>,
    /// Host names that may be called, written like `deny_hosts`; empty: any.
    pub allow_hosts: Vec<String>,
    /// PEM file of certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy, http or https; user name and password may stand in it. Proxies named in the environment are
    /// ignored.
    pub proxy: Option<Url>,
    /// The `user-agent` of every request.
    pub user_agent: String,
    /// Longest time for TCP and TLS; the deadline of a request may be shorter.
    pub connect_timeout: Duration,
    /// Idle connections kept to one host at most.
    pub pool_idle_per_host: usize,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Duration,
    /// Most bytes of a response body that are kept, whatever a request asks for.
    pub response_bytes_max: usize,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny_hosts: Vec::new(),
            allow_hosts: Vec::new(),
            ca_file: None,
            proxy: None,
            user_agent: concat!("engate/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(5),
            pool_idle_per_host: 64,
            pool_idle_timeout: Duration::from_secs(60),
            response_bytes_max: 64 * 1024,
        }
    }
}

impl fmt::Debug for EgressConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The proxy's URL may hold a password, so only its host is shown.
        f.debug_struct("EgressConfig")
            .field("allow", &self.allow)
            .field("deny_hosts", &self.deny_hosts)
            .field("allow_hosts", &self.allow_hosts)
            .field("ca_file", &self.ca_file)
            .field("proxy", &self.proxy.as_ref().map(|proxy| proxy.host_str().unwrap_or_default().to_owned()))
            .field("user_agent", &self.user_agent)
            .field("connect_timeout", &self.connect_timeout)
            .field("pool_idle_per_host", &self.pool_idle_per_host)
            .field("pool_idle_timeout", &self.pool_idle_timeout)
            .field("response_bytes_max", &self.response_bytes_max)
            .finish()
    }
}

/// Reads the value of `ENGATE_EGRESS_ALLOW`: networks (`10.0.0.0/8`) and single addresses, separated by commas.
///
/// # Errors
/// The first part that is neither.
pub fn parse_allow(text: &str) -> Result<Vec<IpNet>, ConfigError> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let network = part.parse::<IpNet>().ok().or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from));
            network.ok_or_else(|| ConfigError::Network { part: part.to_owned() })
        })
        .collect()
}

/// Why an [`crate::Egress`] could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A part of the allowed networks is none.
    #[error("ENGATE_EGRESS_ALLOW: {part:?} is neither a network like 10.0.0.0/8 nor an address")]
    Network {
        /// The part.
        part: String,
    },
    /// A pattern of `deny_hosts` or `allow_hosts` is no host name.
    #[error("{setting}: {pattern:?} is neither a host name nor *. and a host name")]
    HostPattern {
        /// The setting to blame.
        setting: &'static str,
        /// What it holds.
        pattern: String,
    },
    /// The file of extra certificates cannot be used.
    #[error("ca_file {path}: {reason}", path = path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The proxy's URL is neither http nor https, or has no host.
    #[error("proxy: only http://host:port and https://host:port are understood")]
    Proxy,
    /// The user agent cannot stand in a header.
    #[error("user_agent: not a legal header value")]
    UserAgent,
    /// TLS or the HTTP client refused its settings.
    #[error("outgoing HTTP cannot be set up: {0}")]
    Client(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_networks_are_read_from_one_line() {
        let networks = parse_allow(" 127.0.0.0/8,10.1.2.3, ::1 ,fd00::/8,").unwrap();
        assert_eq!(
            networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["127.0.0.0/8", "10.1.2.3/32", "::1/128", "fd00::/8"]
        );
        assert_eq!(parse_allow("").unwrap(), []);
        assert!(parse_allow("10.0.0.0/8,localhost").unwrap_err().to_string().contains("\"localhost\""));
    }

    #[test]
    fn debug_text_shows_no_password_of_the_proxy() {
        let config = EgressConfig {
            proxy: Some(Url::parse("http://someone:hush@proxy.test:3128").unwrap()),
            ..EgressConfig::default()
        };
        let text = format!("{config:?}");
        assert!(text.contains("proxy.test") && !text.contains("hush") && !text.contains("someone"), "{text}");
    }
}
