//! What may be called: the rules on a URL, a host name and the addresses behind it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use url::{Host, Url};

use crate::{
    address::{Allowed, DeniedAddress},
    config::{ConfigError, EgressConfig},
};

/// Longest URL, bytes.
pub const URL_BYTES_MAX: usize = 8 * 1024;

/// Names under which clouds serve a machine's credentials. They stand for the metadata address, whatever a resolver
/// says, so that a split view of DNS cannot help.
const METADATA_NAMES: [&str; 8] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.platformequinix.com",
    "metadata.tencentyun.com",
    "instance-data",
    "instance-data.ec2.internal",
];
const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A URL that may be called, as far as its text tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The URL in canonical form, without its fragment.
    pub url: Url,
    /// Host in lower case, without brackets and trailing dot.
    pub host: String,
    /// The port, also where the URL leaves it out.
    pub port: u16,
    pub(crate) kind: HostKind,
}

impl Target {
    /// `scheme://host:port`: equal for two URLs exactly when they lead to the same server.
    pub fn origin(&self) -> String {
        let host = self.url.host_str().unwrap_or_default().trim_end_matches('.');
        format!("{}://{host}:{}", self.url.scheme(), self.port)
    }
}

/// What stands for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostKind {
    /// A name that has to be resolved.
    Name,
    /// `localhost` or a name below it: always the loopback addresses (RFC 6761, section 6.3).
    Localhost,
    /// An address.
    Address(IpAddr),
}

/// A call that the rules refuse. Its text is for people, names the setting that would allow the call, and never
/// holds a URL's path or query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    code: &'static str,
    host: String,
    address: Option<IpAddr>,
    message: String,
    retryable: bool,
}

impl Denied {
    /// `egress_denied`, or `invalid_url` where the text is no URL that can be called.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The host that was asked for, empty where there is none.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address that is refused, where it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether another try may end otherwise: only where DNS gave the address.
    pub fn retryable(&self) -> bool {
        self.retryable
    }

    fn invalid(host: &str, message: impl Into<String>) -> Self {
        Self { code: "invalid_url", host: host.to_owned(), address: None, message: message.into(), retryable: false }
    }

    fn policy(host: &str, message: String) -> Self {
        Self { code: "egress_denied", host: host.to_owned(), address: None, message, retryable: false }
    }

    fn address_of(host: &str, asked: IpAddr, denied: DeniedAddress, resolved: bool) -> Self {
        let DeniedAddress { address, kind } = denied;
        let carried = if asked.to_canonical() == address { String::new() } else { format!(" inside {asked}") };
        let who = if host == asked.to_string() { String::new() } else { format!("{host} leads to ") };
        let message = format!(
            "{who}{address}{carried} ({kind}), which must not be called; ENGATE_EGRESS_ALLOW={address}/{} would \
             allow it",
            if address.is_ipv4() { 32 } else { 128 },
        );
        Self { code: "egress_denied", host: host.to_owned(), address: Some(address), message, retryable: resolved }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Denied {}

/// The rules, without any network.
#[derive(Debug, Clone)]
pub struct Guard {
    allowed: Allowed,
    deny_hosts: Vec<HostPattern>,
    allow_hosts: Vec<HostPattern>,
}

impl Guard {
    /// Reads the rules from the settings.
    ///
    /// # Errors
    /// A pattern of host names that cannot match anything.
    pub fn new(config: &EgressConfig) -> Result<Self, ConfigError> {
        let patterns = |setting, texts: &[String]| -> Result<Vec<HostPattern>, ConfigError> {
            let wrong = |pattern: &String| ConfigError::HostPattern { setting, pattern: pattern.clone() };
            texts.iter().map(|text| HostPattern::parse(text).ok_or_else(|| wrong(text))).collect()
        };
        Ok(Self {
            allowed: Allowed::new(&config.allow),
            deny_hosts: patterns("deny_hosts", &config.deny_hosts)?,
            allow_hosts: patterns("allow_hosts", &config.allow_hosts)?,
        })
    }

    /// Judges a URL as text. Spellings of an address (`127.1`, `0x7f000001`, full-width digits) are judged as the
    /// address that they are: the URL is read as the WHATWG standard says, as the HTTP client reads it.
    ///
    /// # Errors
    /// [`Denied`] with `invalid_url` for what is no absolute http or https URL of at most [`URL_BYTES_MAX`] bytes with a
    /// host, a port other than 0 and no user name, with `egress_denied` for a host that must not be called.
    pub fn check_url(&self, text: &str) -> Result<Target, Denied> {
        let mut url = parse_url(text)?;
        url.set_fragment(None);
        let (host, kind) = match url.host() {
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                let local = name == "localhost" || name.ends_with(".localhost");
                (name, if local { HostKind::Localhost } else { HostKind::Name })
            }
            Some(Host::Ipv4(v4)) => (v4.to_string(), HostKind::Address(IpAddr::V4(v4))),
            Some(Host::Ipv6(v6)) => (v6.to_string(), HostKind::Address(IpAddr::V6(v6))),
            None => return Err(Denied::invalid("", "the URL names no host")),
        };
        if host.is_empty() {
            return Err(Denied::invalid("", "the URL names no host"));
        }
        let port = match url.port_or_known_default() {
            Some(port) if port != 0 => port,
            _ => return Err(Denied::invalid(&host, "port 0 cannot be called")),
        };
        self.check_host(&host, kind)?;
        Ok(Target { url, host, port, kind })
    }

    /// Judges one address that `host` leads to.
    ///
    /// # Errors
    /// [`Denied`] where the address, or the IPv4 address inside it, must not be called.
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Denied> {
        self.allowed.judge(address).map_err(|denied| Denied::address_of(host, address, denied, true))
    }

    /// The loopback addresses that may be called.
    pub(crate) fn loopback(&self) -> Vec<IpAddr> {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        both.into_iter().filter(|address| self.allowed.judge(*address).is_ok()).collect()
    }

    fn check_host(&self, host: &str, kind: HostKind) -> Result<(), Denied> {
        if let Some(pattern) = self.deny_hosts.iter().find(|pattern| pattern.matches(host)) {
            let message = format!("{host} is on the list of denied hosts (deny_hosts has {pattern})");
            return Err(Denied::policy(host, message));
        }
        if !self.allow_hosts.is_empty() && !self.allow_hosts.iter().any(|pattern| pattern.matches(host)) {
            let message =
                format!("{host} is not on the list of allowed hosts; adding it to allow_hosts would allow it");
            return Err(Denied::policy(host, message));
        }
        let stands_for = match kind {
            HostKind::Address(address) => address,
            HostKind::Localhost if self.loopback().is_empty() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            HostKind::Name if METADATA_NAMES.contains(&host) => IpAddr::V4(METADATA_ADDRESS),
            _ => return Ok(()),
        };
        self.allowed.judge(stands_for).map_err(|denied| Denied::address_of(host, stands_for, denied, false))
    }
}

fn parse_url(text: &str) -> Result<Url, Denied> {
    if text.len() > URL_BYTES_MAX {
        return Err(Denied::invalid("", format!("the URL is longer than {URL_BYTES_MAX} bytes")));
    }
    // The WHATWG rules silently drop tabs and line ends and trim spaces; a URL that needs that is a mistake or a trick.
    if text.chars().any(|c| c.is_control() || c == ' ') {
        return Err(Denied::invalid("", "the URL holds spaces or control characters"));
    }
    // `http:host` and `http:///host` are read as `http://host`; people who write that mean something else.
    let scheme_ok = ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && !text.get(scheme.len()..).is_some_and(|rest| rest.starts_with(['/', '\\']))
    });
    let url = Url::parse(text).ok().filter(|url| scheme_ok && matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        return Err(Denied::invalid("", "not an absolute http:// or https:// URL with a host"));
    };
    // What stands before an @ is also refused where it is empty: `https://@host` is made to be misread.
    let authority = text.split("://").nth(1).and_then(|rest| rest.split(['/', '\\', '?', '#']).next());
    if authority.is_some_and(|authority| authority.contains('@')) || !url.username().is_empty() {
        let host = url.host_str().unwrap_or_default();
        return Err(Denied::invalid(host, "user name and password must not stand in the URL; set them as auth"));
    }
    Ok(url)
}

/// A host name of the operator's, exact or with every name below it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HostPattern {
    name: String,
    below: bool,
}

impl HostPattern {
    fn parse(text: &str) -> Option<Self> {
        let (name, below) = match text.trim().strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text.trim(), false),
        };
        let host = match name.parse::<Ipv6Addr>() {
            Ok(v6) => Host::Ipv6(v6),
            Err(_) => Host::parse(name).ok()?,
        };
        let name = match host {
            Host::Domain(name) => name.trim_end_matches('.').to_ascii_lowercase(),
            Host::Ipv4(v4) => v4.to_string(),
            Host::Ipv6(v6) => v6.to_string(),
        };
        (!name.is_empty() && !name.contains('*')).then_some(Self { name, below })
    }

    fn matches(&self, host: &str) -> bool {
        if !self.below {
            return host == self.name;
        }
        host.strip_suffix(&self.name).is_some_and(|stem| stem.len() > 1 && stem.ends_with('.'))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
