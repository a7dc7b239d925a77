//! The list of settings; `engate config show` prints it, the loader accepts nothing else.

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its line in `engate.toml`; a dot means a table.
    pub key: &'static str,
    /// Value where nobody says otherwise; empty: none.
    pub default: &'static str,
    /// Whether `config show` masks it.
    pub secret: bool,
    /// What it does, units and bounds included.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable: `ENGATE_` and the key in capitals, dots as underscores.
    pub fn variable(&self) -> String {
        format!("ENGATE_{}", self.key.replace('.', "_").to_uppercase())
    }
}

const fn setting(key: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { key, default, secret: false, help }
}

const fn secret(key: &'static str, help: &'static str) -> Setting {
    Setting { key, default: "", secret: true, help }
}

/// Every setting, in the order people read them.
pub const SETTINGS: &[Setting] = &[
    setting("listen", "127.0.0.1:8080", "Address and port of the API; port 0 takes a free one."),
    setting(
        "database",
        "sqlite:engate.db",
        "sqlite:FILE or postgres://USER@HOST/DATABASE. A relative FILE lies in `data`.",
    ),
    setting("data", "data", "Folder for the key file, the plugin cache and the SQLite file; made with mode 0700."),
    setting("node", "", "Name of this node among several on one database; empty: the host's name and the port."),
    setting("insecure_bind", "false", "true allows listening on a non-loopback address without TLS."),
    setting(
        "tls.certificate",
        "",
        "PEM file of the API's certificate, its issuers after it; with `tls.key` the API speaks TLS. Read again when it changes.",
    ),
    setting("tls.key", "", "PEM file of the certificate's private key."),
    setting("server.connections_max", "4096", "Connections open at once; more wait to be taken (1 to 1000000)."),
    setting(
        "server.idle_ms",
        "30000",
        "How long a connection may take to send a request's headers, or say nothing at all (100 to 600000).",
    ),
    setting(
        "server.trusted_proxies",
        "",
        "Networks of the reverse proxies before the API (10.1.0.0/16,192.0.2.7): what they say of whom they call for counts as the caller's address.",
    ),
    setting(
        "server.forwarded_header",
        "x-forwarded-for",
        "The header in which they say it, x-forwarded-for or forwarded (RFC 7239); the other one is not looked at.",
    ),
    setting(
        "cors.origins",
        "",
        "Origins whose pages may call the API from a browser (https://app.example.com,...); empty: none.",
    ),
    secret("admin_token", "First admin token, at least 32 characters. Without it the first start prints one, once."),
    secret("secret_key", "Base64 of 32 bytes; encrypts stored secrets. Without it a key file is made in `data`."),
    setting(
        "public_url",
        "",
        "Where partners reach this engine (https://engate.example.com); empty: the listen address.",
    ),
    setting(
        "files.root",
        "",
        "Folder whose files signed links may serve (tenants/SLUG below it for other tenants than the first); empty: none are.",
    ),
    setting("events.payload_bytes_max", "1048576", "Largest payload of one event, in bytes (up to 16777216)."),
    setting("delivery.in_flight_max", "4096", "Requests under way at once over all endpoints (1 to 65536)."),
    setting(
        "delivery.queued_max",
        "20000",
        "Deliveries held in memory over all endpoints; the rest waits in the database.",
    ),
    setting(
        "delivery.queued_bytes_max",
        "268435456",
        "Bytes of the deliveries held in memory; beyond it only a few of each endpoint are (1048576 and more).",
    ),
    setting("delivery.response_bytes_max", "65536", "Bytes of a partner's answer that are read and kept."),
    setting("delivery.lease_ms", "15000", "How long a node that fell silent keeps its deliveries (2000 to 600000)."),
    setting("delivery.drain_ms", "30000", "How long a stop waits for requests under way."),
    setting(
        "delivery.breaker_failures",
        "10",
        "Failures in a row within a minute (no answer, or a 5xx) after which an endpoint is left alone; 0: never.",
    ),
    setting(
        "delivery.breaker_probe_ms",
        "5000",
        "Wait before such an endpoint is tried again; doubles with each failure, up to 5 minutes (100 to 300000).",
    ),
    setting(
        "delivery.disable_after_ms",
        "432000000",
        "How long every attempt at an endpoint has to fail before it is disabled; 0: never (5 days).",
    ),
    setting(
        "egress.allow",
        "",
        "Networks that deliveries may reach although they are blocked otherwise: 127.0.0.0/8,10.1.0.0/16.",
    ),
    setting("egress.deny_hosts", "", "Hosts that deliveries never reach: example.com,*.internal."),
    setting("egress.allow_hosts", "", "If set, the only hosts that deliveries reach: *.partner.com."),
    setting("egress.ca_file", "", "PEM file of certificate authorities to trust beside the usual ones."),
    setting("egress.proxy", "", "http://HOST:PORT through which deliveries go."),
    setting("plugins.cpu_ms", "50", "Processor time of one plugin call, in ms (5 to 10000)."),
    setting("plugins.wall_ms", "2000", "Wall time of one plugin call, in ms (10 to 60000)."),
    setting("plugins.memory_mib", "64", "Linear memory of one plugin instance, in MiB (1 to 256); 256 with a runtime."),
    setting(
        "plugins.cpu_max_ms",
        "1000",
        "The most `cpu_ms` that one plugin may be given by its limits, in ms (5 to 10000).",
    ),
    setting("plugins.wall_max_ms", "10000", "The most `wall_ms` that one plugin may be given, in ms (10 to 60000)."),
    setting("plugins.memory_max_mib", "256", "The most memory that one plugin may be given, in MiB (1 to 256)."),
    setting(
        "retention.payload_days",
        "30",
        "Days that events are kept with their payloads (1 to 36500); the newest of each type and subject stays, and what is not \
         delivered yet. 0 keeps all.",
    ),
    setting(
        "retention.attempt_days",
        "90",
        "Days that attempts are kept, requests and answers (1 to 36500); the last of each endpoint and event type stays. 0 keeps all.",
    ),
    setting(
        "retention.delivery_days",
        "365",
        "Days that finished deliveries are listed (1 to 36500), not less than the two above; 0 keeps all.",
    ),
    setting(
        "retention.idempotency_key_days",
        "30",
        "Days in which an event's `id` is known again as a repeat (1 to 36500); 0 keeps all.",
    ),
    setting(
        "retention.run_days",
        "90",
        "How long runs of jobs and recoveries that are over are kept, of each job's runs the newest 1,000 at most (1 to 36500); 0 keeps all.",
    ),
    setting(
        "audit.keep_days",
        "0",
        "Days that the audit's entries are kept (1 to 36500); the chain of the rest stays checkable. 0 keeps all.",
    ),
    setting("audit.access_keep_days", "90", "Days that access entries are kept (1 to 36500); 0 keeps all."),
    setting("log.level", "info", "error, warn, info, debug or trace, or a filter such as engate=debug,sqlx=warn."),
    setting("log.format", "text", "text for people, json for collectors."),
];
