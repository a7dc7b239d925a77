//! From text to typed settings, with every complaint at once.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::{Invalid, Secret, invalid::Complaints};
use ipnet::IpNet;
use url::Url;

use super::{
    load::Loaded,
    sources::{self, NamedConnection},
};
use crate::proxies::{ForwardedHeader, ProxySettings};

/// Shortest admin token that is accepted, in characters.
const ADMIN_TOKEN_CHARS_MIN: usize = 32;

/// All settings, typed and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Database URL with the SQLite file's path resolved.
    pub database: String,
    /// Folder of everything the engine writes beside a PostgreSQL database.
    pub data: PathBuf,
    /// This node's name; none: derived from the host.
    pub node: Option<String>,
    /// First admin token.
    pub admin_token: Option<Secret>,
    /// Key that encrypts stored secrets, 32 bytes.
    pub secret_key: Option<[u8; 32]>,
    /// Where partners reach this engine.
    pub public_url: Option<Url>,
    /// What the API's connections are encrypted with; none: they are not.
    pub tls: Option<TlsFiles>,
    /// Where the tables of other systems are, by the names that jobs use.
    pub sources: BTreeMap<String, NamedConnection>,
    /// Bounds of the API's connections.
    pub connections: ConnectionSettings,
    /// Proxies that are believed when they say for whom they call.
    pub proxies: ProxySettings,
    /// Origins whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// Signed links.
    pub files: FilesSettings,
    /// Deliveries.
    pub limits: LimitSettings,
    /// What may be dialled.
    pub egress: EgressSettings,
    /// How long history is kept.
    pub retention: RetentionSettings,
    /// How long it is kept who did what.
    pub audit: AuditSettings,
    /// Logging.
    pub log: LogSettings,
}

/// How long history is kept; none: for ever.
#[derive(Debug, Clone, Copy)]
pub struct RetentionSettings {
    /// Events with their payloads.
    pub events: Option<Duration>,
    /// Attempts.
    pub attempts: Option<Duration>,
    /// Deliveries.
    pub deliveries: Option<Duration>,
    /// The keys by which events are known again.
    pub idempotency_keys: Option<Duration>,
    /// Runs of jobs.
    pub runs: Option<Duration>,
}

/// How long it is kept who did and called what; none: for ever.
#[derive(Debug, Clone)]
pub struct AuditSettings {
    /// Entries of the chain.
    pub entries: Option<Duration>,
    /// Access entries.
    pub access: Option<Duration>,
}

/// Where the API's certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate first, then those that vouch for it.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// Bounds of the API's connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    /// Connections open at once; more wait.
    pub most: usize,
    /// How long a connection may take to send a request's headers, or say nothing at all.
    pub idle: Duration,
}

/// Signed links.
#[derive(Debug, Clone)]
pub struct FilesSettings {
    /// Folder whose files may be served.
    pub root: Option<PathBuf>,
}

/// Bounds of events, deliveries and plugin calls.
#[derive(Debug, Clone)]
pub struct LimitSettings {
    /// Largest payload of one event.
    pub payload_bytes_max: usize,
    /// Requests under way at once.
    pub in_flight_max: usize,
    /// Deliveries held in memory.
    pub queued_max: usize,
    /// Bytes held in memory over all lanes.
    pub queued_bytes_max: usize,
    /// Bytes of an answer that are read.
    pub response_bytes_max: usize,
    /// How long a silent node keeps its deliveries.
    pub lease: Duration,
    /// How long a stop waits.
    pub drain: Duration,
    /// When an endpoint that fails is left alone, and when it is disabled.
    pub circuits: engate_model::circuit::CircuitRules,
    /// What one plugin call may cost.
    pub plugin: engate_model::plugin::Limits,
    /// The most that one installation may be given.
    pub plugin_ceiling: engate_model::plugin::Limits,
}

/// What may be dialled.
#[derive(Debug, Clone)]
pub struct EgressSettings {
    /// Otherwise blocked networks that may be reached.
    pub allow: Vec<IpNet>,
    /// Hosts never reached.
    pub deny_hosts: Vec<String>,
    /// The only hosts reached; empty: any.
    pub allow_hosts: Vec<String>,
    /// More certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Proxy for deliveries.
    pub proxy: Option<Url>,
}

/// Logging.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Filter.
    pub level: String,
    /// For people or for collectors.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Types and checks all settings.
    ///
    /// # Errors
    /// Names every setting that cannot be taken, and the cure.
    pub fn parse(loaded: &Loaded) -> Result<Self, Invalid> {
        let mut read = Reader { loaded, complaints: Complaints::default() };
        let data = PathBuf::from(read.text("data"));
        let config = Self {
            listen: read.listen(),
            database: read.database(&data),
            node: read.optional("node", |text| Ok(text.to_owned())),
            admin_token: read.optional("admin_token", admin_token),
            secret_key: read.optional("secret_key", secret_key),
            public_url: read.optional("public_url", http_url),
            tls: read.tls(),
            sources: read.sources(),
            connections: ConnectionSettings {
                most: read.size("server.connections_max", 1, 1_000_000),
                idle: read.millis("server.idle_ms", 100, 600_000),
            },
            proxies: read.proxies(),
            cors_origins: read.origins(),
            files: FilesSettings { root: read.optional("files.root", |text| Ok(PathBuf::from(text))) },
            limits: read.limits(),
            egress: EgressSettings {
                allow: read.list("egress.allow"),
                deny_hosts: read.list("egress.deny_hosts"),
                allow_hosts: read.list("egress.allow_hosts"),
                ca_file: read.optional("egress.ca_file", |text| Ok(PathBuf::from(text))),
                proxy: read.optional("egress.proxy", http_url),
            },
            retention: read.retention(),
            audit: AuditSettings { entries: read.days("audit.keep_days"), access: read.days("audit.access_keep_days") },
            log: LogSettings { level: read.text("log.level").to_owned(), format: read.log_format() },
            data,
        };
        read.complaints.finish(config)
    }
}

struct Reader<'a> {
    loaded: &'a Loaded,
    complaints: Complaints,
}

impl<'a> Reader<'a> {
    fn text(&self, key: &str) -> &'a str {
        self.loaded.value(key)
    }

    fn optional<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key);
        if text.is_empty() {
            return None;
        }
        self.complaints.take(parse(text).map_err(|message| Invalid::field(key, message)))
    }

    fn sources(&mut self) -> BTreeMap<String, NamedConnection> {
        self.complaints.take(sources::complete(self.loaded.connections())).unwrap_or_default()
    }

    fn list<T: FromStr>(&mut self, key: &str) -> Vec<T> {
        let items = self.text(key).split(',').map(str::trim).filter(|item| !item.is_empty());
        let mut list = Vec::new();
        for item in items {
            match item.parse() {
                Ok(value) => list.push(value),
                Err(_) => self
                    .complaints
                    .add(key, format!("`{item}` cannot be read; write a list like 10.0.0.0/8,127.0.0.0/8")),
            }
        }
        list
    }

    fn number(&mut self, key: &str, least: u64, most: u64) -> u64 {
        match self.text(key).replace('_', "").parse::<u64>() {
            Ok(value) if (least..=most).contains(&value) => value,
            _ => {
                self.complaints.add(key, format!("must be a whole number from {least} to {most}"));
                least
            }
        }
    }

    fn size(&mut self, key: &str, least: u64, most: u64) -> usize {
        usize::try_from(self.number(key, least, most)).unwrap_or(usize::MAX)
    }

    fn millis(&mut self, key: &str, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.number(key, least, most))
    }

    /// 0: none.
    fn days(&mut self, key: &str) -> Option<Duration> {
        let days = self.number(key, 0, 36_500);
        (days > 0).then(|| Duration::from_secs(days * 24 * 3_600))
    }

    fn retention(&mut self) -> RetentionSettings {
        let [events, attempts, deliveries] =
            ["retention.payload_days", "retention.attempt_days", "retention.delivery_days"].map(|key| self.days(key));
        let for_ever = |kept: Option<Duration>| kept.unwrap_or(Duration::MAX);
        if for_ever(deliveries) < for_ever(events).max(for_ever(attempts)) {
            let message = "must not be less than retention.payload_days and retention.attempt_days (0 is the longest)";
            self.complaints.add("retention.delivery_days", message);
        }
        let idempotency_keys = self.days("retention.idempotency_key_days");
        let runs = self.days("retention.run_days");
        RetentionSettings { events, attempts, deliveries, idempotency_keys, runs }
    }

    fn listen(&mut self) -> SocketAddr {
        let fallback = SocketAddr::from(([127, 0, 0, 1], 0));
        let Ok(address) = self.text("listen").parse::<SocketAddr>() else {
            self.complaints.add("listen", "must be ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080");
            return fallback;
        };
        match self.text("insecure_bind") {
            "true" => {}
            "false" if address.ip().is_loopback() || !self.text("tls.certificate").is_empty() => {}
            "false" => self.complaints.add(
                "listen",
                "is reachable from other machines without TLS; set tls.certificate and tls.key, or put a TLS proxy before \
                 the engine and set insecure_bind = true",
            ),
            _ => self.complaints.add("insecure_bind", "must be true or false"),
        }
        address
    }

    fn tls(&mut self) -> Option<TlsFiles> {
        let (certificate, key) = (self.text("tls.certificate"), self.text("tls.key"));
        match (certificate.is_empty(), key.is_empty()) {
            (true, true) => None,
            (false, true) => {
                self.complaints
                    .add("tls.key", "is missing beside tls.certificate; name the PEM file of its private key");
                None
            }
            (true, false) => {
                self.complaints
                    .add("tls.certificate", "is missing beside tls.key; name the PEM file of the certificate");
                None
            }
            (false, false) => Some(TlsFiles { certificate: certificate.into(), key: key.into() }),
        }
    }

    /// Origins as browsers spell them: scheme and host, a port that is not the usual one, no path.
    fn proxies(&mut self) -> ProxySettings {
        let trusted: Vec<Network> = self.list("server.trusted_proxies");
        if trusted.iter().any(|network| network.0.prefix_len() == 0) {
            let message = "trusts everybody, who could then call from any address; name the proxies' own networks";
            self.complaints.add("server.trusted_proxies", message);
        }
        let header = match self.text("server.forwarded_header").to_ascii_lowercase().as_str() {
            "x-forwarded-for" => ForwardedHeader::XForwardedFor,
            "forwarded" => ForwardedHeader::Forwarded,
            _ => {
                self.complaints.add("server.forwarded_header", "must be x-forwarded-for or forwarded");
                ForwardedHeader::XForwardedFor
            }
        };
        ProxySettings { trusted: trusted.into_iter().map(|network| network.0).collect(), header }
    }

    fn origins(&mut self) -> Vec<String> {
        let given: Vec<String> = self.list("cors.origins");
        for origin in &given {
            let spelled = http_url(origin).map(|url| url.origin().ascii_serialization());
            if spelled.as_deref() != Ok(origin.as_str()) {
                let message =
                    format!("`{origin}` is no origin; write https://app.example.com, without a slash at its end");
                self.complaints.add("cors.origins", message);
            }
        }
        given
    }

    fn database(&mut self, data: &std::path::Path) -> String {
        let url = self.text("database");
        if let Some(file) = url.strip_prefix("sqlite:") {
            let file = file.strip_prefix("//").unwrap_or(file);
            if file.is_empty() || file.contains('?') || file.contains(":memory:") {
                self.complaints.add(
                    "database",
                    "name a file: sqlite:engate.db (in the data folder) or sqlite:/var/lib/engate/engate.db",
                );
            }
            return format!("sqlite:{}", data.join(file).display());
        }
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            self.complaints.add("database", "must begin with sqlite: or postgres://");
        }
        url.to_owned()
    }

    fn limits(&mut self) -> LimitSettings {
        let plugin = engate_model::plugin::Limits {
            cpu: self.millis("plugins.cpu_ms", 5, 10_000),
            wall: self.millis("plugins.wall_ms", 10, 60_000),
            memory_bytes: self.size("plugins.memory_mib", 1, 256) << 20,
            ..engate_model::plugin::Limits::default()
        };
        let plugin_ceiling = engate_model::plugin::Limits {
            cpu: self.millis("plugins.cpu_max_ms", 5, 10_000).max(plugin.cpu),
            wall: self.millis("plugins.wall_max_ms", 10, 60_000).max(plugin.wall),
            memory_bytes: (self.size("plugins.memory_max_mib", 1, 256) << 20).max(plugin.memory_bytes),
            ..plugin
        };
        LimitSettings {
            payload_bytes_max: self.size("events.payload_bytes_max", 1, 16 << 20),
            in_flight_max: self.size("delivery.in_flight_max", 1, 65_536),
            queued_max: self.size("delivery.queued_max", 1, 1_000_000),
            queued_bytes_max: self.size("delivery.queued_bytes_max", 1 << 20, 1 << 40),
            response_bytes_max: self.size("delivery.response_bytes_max", 1, 16 << 20),
            lease: self.millis("delivery.lease_ms", 2_000, 600_000),
            drain: self.millis("delivery.drain_ms", 0, 3_600_000),
            circuits: engate_model::circuit::CircuitRules {
                failures: u32::try_from(self.number("delivery.breaker_failures", 0, 1_000)).unwrap_or_default(),
                probe_wait: self.millis("delivery.breaker_probe_ms", 100, 300_000),
                disable_after: self.millis("delivery.disable_after_ms", 0, 366 * 86_400_000),
            },
            plugin,
            plugin_ceiling,
        }
    }

    fn log_format(&mut self) -> LogFormat {
        match self.text("log.format") {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => {
                self.complaints.add("log.format", "must be text or json");
                LogFormat::Text
            }
        }
    }
}

/// A network, or one address.
struct Network(IpNet);

impl FromStr for Network {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).or_else(|_| text.parse::<IpAddr>().map(|address| Self(address.into())))
    }
}

fn admin_token(text: &str) -> Result<Secret, String> {
    if text.chars().count() < ADMIN_TOKEN_CHARS_MIN {
        return Err(format!("must have at least {ADMIN_TOKEN_CHARS_MIN} characters; `openssl rand -hex 32` makes one"));
    }
    Ok(Secret::new(text))
}

fn secret_key(text: &str) -> Result<[u8; 32], String> {
    let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.ok_or_else(|| "must be base64 of exactly 32 bytes; `openssl rand -base64 32` makes one".to_owned())
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| "must be an absolute http:// or https:// URL".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::load::load;
    use super::*;

    fn parse(flags: &[(&str, &str)]) -> Result<Config, Invalid> {
        let flags: Vec<_> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Config::parse(&load(None, |_| None, &flags).unwrap())
    }

    #[test]
    fn defaults_are_valid_and_the_database_lies_in_the_data_folder() {
        let config = parse(&[("data", "/srv/engate")]).unwrap();
        assert_eq!(config.database, "sqlite:/srv/engate/engate.db");
        assert_eq!(parse(&[("database", "sqlite:/tmp/x.db")]).unwrap().database, "sqlite:/tmp/x.db");
    }

    #[test]
    fn every_bad_setting_is_named_at_once() {
        let bad = [
            ("listen", "8080"),
            ("database", "mysql://x"),
            ("admin_token", "short"),
            ("secret_key", "AAAA"),
            ("egress.allow", "10.0.0.0/33"),
            ("plugins.cpu_ms", "0"),
            ("log.format", "xml"),
            ("public_url", "ftp://x"),
            ("tls.key", "key.pem"),
            ("server.idle_ms", "1"),
            ("server.trusted_proxies", "10.0.0.1,0.0.0.0/0"),
            ("server.forwarded_header", "via"),
            ("retention.delivery_days", "20"),
            ("cors.origins", "https://a.example.com,https://b.example.com/"),
        ];
        let invalid = parse(&bad).unwrap_err();
        for (key, _) in bad {
            let blamed = if key == "tls.key" { "tls.certificate" } else { key };
            assert!(invalid.0.iter().any(|error| error.field == blamed), "{key} is not named in {invalid}");
        }
    }

    #[test]
    fn a_public_address_needs_an_explicit_word() {
        assert!(parse(&[("listen", "0.0.0.0:80")]).unwrap_err().to_string().contains("insecure_bind"));
        assert!(parse(&[("listen", "0.0.0.0:80"), ("insecure_bind", "true")]).is_ok());
        let tls = [("listen", "0.0.0.0:80"), ("tls.certificate", "cert.pem"), ("tls.key", "key.pem")];
        assert!(parse(&tls).is_ok());
    }
}
