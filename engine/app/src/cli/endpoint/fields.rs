//! What `engate endpoint create` and `update` take: the fields of an endpoint in options.

use clap::{Args, builder::PossibleValuesParser};
use serde_json::{Map, Value, json};

use super::auth::{AuthArgs, SecretNeed};
use crate::cli::{
    failure::Failure,
    given::{self, SecretOptions},
    remote::Guard,
};

/// Where a signing key of one's own comes from.
const SIGNING_SECRET: SecretOptions = SecretOptions {
    file: "--signing-secret-file",
    variable: "--signing-secret-env",
    question: "Signing key, whsec_... (not shown)",
};

/// A new endpoint.
#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    /// Where requests go: an http:// or https:// URL
    // Another id than the engine's own `--url`, which is `--engine-url` here.
    #[arg(id = "endpoint_url", long = "url", value_name = "URL")]
    endpoint_url: String,

    /// The partner it belongs to: its slug or id; a token of one integrator may leave it out
    #[arg(long, value_name = "SLUG|ID")]
    integrator: Option<String>,

    #[command(flatten)]
    fields: FieldArgs,
}

/// Changes of an endpoint.
#[derive(Debug, Args)]
pub(in crate::cli) struct UpdateArgs {
    /// The endpoint's id (ep_...), as `engate endpoint list` prints it
    pub(super) id: String,

    /// Where requests go from now on, those of retries too
    #[arg(id = "endpoint_url", long = "url", value_name = "URL")]
    endpoint_url: Option<String>,

    /// A type of event to hear of beside those it hears of; may be given several times
    #[arg(long, value_name = "KEY", conflicts_with = "event_types")]
    subscribe: Vec<String>,

    /// A type of event to hear of no more; may be given several times
    #[arg(long, value_name = "KEY", conflicts_with = "event_types")]
    unsubscribe: Vec<String>,

    #[command(flatten)]
    fields: FieldArgs,

    /// Take one of its fields away
    #[arg(long = "clear", value_name = "FIELD")]
    #[arg(value_parser = PossibleValuesParser::new(CLEARED))]
    cleared: Vec<String>,

    #[command(flatten)]
    pub(super) guard: Guard,
}

/// Fields that may be taken away.
const CLEARED: [&str; 8] =
    ["description", "event-types", "plugin", "config", "filter", "rate-limit", "retry", "headers"];

/// The API's fields, and the options that they come from; a part of one comes before the whole.
pub(super) const OPTIONS: &[(&str, &str)] = &[
    ("url", "--url"),
    ("integrator", "--integrator"),
    ("description", "--description"),
    ("event_types", "--event-type"),
    ("plugin", "--plugin"),
    ("config", "--config"),
    ("filter", "--filter"),
    ("enabled", "--enabled"),
    ("ordering", "--ordering"),
    ("rate_limit", "--rate-limit"),
    ("max_in_flight", "--max-in-flight"),
    ("timeout_ms", "--timeout"),
    ("retry.schedule_ms", "--retry"),
    ("retry", "--retry"),
    ("headers", "--header"),
    ("signing.secret", SIGNING_SECRET.file),
    ("signing", "--signing"),
    ("callbacks", "--callbacks"),
    ("auth.username", "--auth-user"),
    ("auth.name", "--auth-header"),
    ("auth.token_url", "--auth-token-url"),
    ("auth.client_id", "--auth-client-id"),
    ("auth.scope", "--auth-scope"),
    ("auth.certificate", "--auth-certificate"),
    ("auth.password", "--auth-secret-file"),
    ("auth.value", "--auth-secret-file"),
    ("auth.client_secret", "--auth-secret-file"),
    ("auth.key", "--auth-secret-file"),
    ("auth.type", "--auth"),
    ("auth", "--auth"),
];

/// What an endpoint is.
#[derive(Debug, Args)]
pub(super) struct FieldArgs {
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// A type of event it hears of: a key, order.* for all keys below, or * for all; may be given several times, and is all
    /// of them
    #[arg(long = "event-type", value_name = "KEY")]
    event_types: Vec<String>,

    /// The plugin that shapes its requests (new: the integrator's, else the engine's own behaviour)
    #[arg(long, value_name = "NAME|NAME@VERSION|NAME@CHANNEL")]
    plugin: Option<String>,

    /// Settings for the plugin, a JSON object: a file, - for standard input, or the JSON itself
    #[arg(long, value_name = "FILE|-|JSON")]
    config: Option<String>,

    /// Which events of its types it wants, as clauses: a file, - for standard input, or the JSON itself
    #[arg(long, value_name = "FILE|-|JSON")]
    filter: Option<String>,

    /// Whether deliveries go out; a new one's do
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    enabled: Option<bool>,

    /// In which order: parallel, fifo (per subject one after the other), latest (the newest only)
    #[arg(long, value_name = "ORDERING", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(["parallel", "fifo", "latest"]))]
    ordering: Option<String>,

    /// Requests that each node begins at most: so many a second over time, and so many at once after a pause
    #[arg(long, value_name = "PER_SECOND/BURST", value_parser = rate)]
    rate_limit: Option<(u32, u32)>,

    /// Requests under way at once (new: 16)
    #[arg(long, value_name = "NUMBER")]
    max_in_flight: Option<u32>,

    /// One deadline for the whole exchange, such as 15s or 500ms (new: 15s)
    #[arg(long, value_name = "TIME", value_parser = given::millis)]
    timeout: Option<u64>,

    /// The wait before each try, the first one's included: 0,5s,5m,1h (new: ten tries over three and a half days)
    #[arg(long, value_name = "TIMES", value_delimiter = ',', value_parser = given::millis)]
    retry: Vec<u64>,

    /// A header set on every request, which everybody may see (keys go with --auth header); may be given several times, and
    /// is all of them
    // Taken apart later: clap would repeat a wrong one, key and all.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,

    /// Whether requests are signed (Standard Webhooks); a new one's are
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    signing: Option<bool>,

    /// A file with a signing key of your own (whsec_...), - for standard input (new: one is made)
    #[arg(long, value_name = "FILE|-")]
    signing_secret_file: Option<String>,

    /// The name of a variable that holds a signing key of your own
    #[arg(long, value_name = "VARIABLE", conflicts_with = "signing_secret_file")]
    signing_secret_env: Option<String>,

    /// Whose facts it hears where it subscribes to the engine's own (delivery.failed): its integrator's or the whole tenant's
    #[arg(long, value_name = "WHOSE")]
    #[arg(value_parser = PossibleValuesParser::new(["integrator", "tenant"]))]
    callbacks: Option<String>,

    #[command(flatten)]
    auth: AuthArgs,
}

impl CreateArgs {
    /// What was given, as the API takes it.
    pub(super) fn body(self) -> Result<Map<String, Value>, Failure> {
        let mut body = given::fields([
            ("integrator", self.integrator.map(Value::from)),
            ("url", Some(Value::from(self.endpoint_url))),
        ]);
        body.extend(self.fields.body(SecretNeed::New)?);
        Ok(body)
    }
}

impl UpdateArgs {
    /// Whether the change leans on what the endpoint hears of now.
    pub(super) fn is_relative(&self) -> bool {
        !(self.subscribe.is_empty() && self.unsubscribe.is_empty())
    }

    /// What was given, as the API takes it, but for what leans on the present state.
    pub(super) fn body(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = given::fields([("url", self.endpoint_url.clone().map(Value::from))]);
        body.extend(self.fields.body(SecretNeed::Kept)?);
        if self.is_relative() && self.cleared.iter().any(|name| name == "event-types") {
            let said = "--clear event-types and --subscribe or --unsubscribe say two things; leave one out";
            return Err(Failure::usage(said));
        }
        given::clear(&mut body, &self.cleared, |name| match name {
            "description" => Value::from(""),
            "event-types" => json!([]),
            "headers" => json!({}),
            _ => Value::Null,
        })?;
        Ok(body)
    }

    /// What the endpoint hears of after this, if it hears of `present` now.
    pub(super) fn event_types(&self, mut present: Vec<String>) -> Result<Vec<String>, Failure> {
        for gone in &self.unsubscribe {
            let before = present.len();
            present.retain(|key| key != gone);
            if present.len() == before {
                let hears = if present.is_empty() { "nothing".to_owned() } else { present.join(", ") };
                return Err(Failure::usage(format!("--unsubscribe {gone}: it does not name that; it names {hears}")));
            }
        }
        for new in &self.subscribe {
            if !present.contains(new) {
                present.push(new.clone());
            }
        }
        Ok(present)
    }
}

impl FieldArgs {
    fn body(&self, need: SecretNeed) -> Result<Map<String, Value>, Failure> {
        let sources = [
            ("--config", self.config.as_deref()),
            ("--filter", self.filter.as_deref()),
            (SIGNING_SECRET.file, self.signing_secret_file.as_deref()),
        ];
        given::require_one_stdin(&[&sources[..], &self.auth.sources()[..]].concat())?;
        let json = |option: &str, source: &Option<String>| -> Result<Option<Value>, Failure> {
            source.as_deref().map(|source| given::json(option, source)).transpose()
        };
        let headers = self.headers()?;
        let rate = self.rate_limit.map(|(per_second, burst)| json!({ "per_second": per_second, "burst": burst }));
        Ok(given::fields([
            ("description", self.description.clone().map(Value::from)),
            ("event_types", (!self.event_types.is_empty()).then(|| json!(self.event_types))),
            ("plugin", self.plugin.clone().map(Value::from)),
            ("config", json("--config", &self.config)?),
            ("filter", json("--filter", &self.filter)?),
            ("enabled", self.enabled.map(Value::from)),
            ("ordering", self.ordering.clone().map(Value::from)),
            ("rate_limit", rate),
            ("max_in_flight", self.max_in_flight.map(Value::from)),
            ("timeout_ms", self.timeout.map(Value::from)),
            ("retry", (!self.retry.is_empty()).then(|| json!({ "schedule_ms": self.retry }))),
            ("headers", (!headers.is_empty()).then_some(Value::Object(headers))),
            ("signing", self.signing()?),
            ("callbacks", self.callbacks.clone().map(Value::from)),
            ("auth", self.auth.body(need)?),
        ]))
    }

    fn headers(&self) -> Result<Map<String, Value>, Failure> {
        let wrong = "--header: write NAME=VALUE, such as x-system=engate; it is not repeated, as it may hold a key";
        let pairs = self.headers.iter().map(|text| given::pair(text).map(|(name, value)| (name, Value::from(value))));
        pairs.collect::<Result<_, _>>().map_err(|_| Failure::usage(wrong))
    }

    fn signing(&self) -> Result<Option<Value>, Failure> {
        let secret = SIGNING_SECRET.read(self.signing_secret_file.as_deref(), self.signing_secret_env.as_deref())?;
        let signing = given::fields([("enabled", self.signing.map(Value::from)), ("secret", secret.map(Value::from))]);
        Ok((!signing.is_empty()).then_some(Value::Object(signing)))
    }
}

/// `20/40`: calls a second over time, and at once after a pause.
fn rate(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('/').and_then(|(rate, burst)| Some((rate.parse().ok()?, burst.parse().ok()?)));
    parts.ok_or_else(|| "write calls a second and calls at once, such as 20/40".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Update {
        #[command(flatten)]
        args: UpdateArgs,
    }

    fn update(line: &[&str]) -> UpdateArgs {
        Update::try_parse_from([&["update", "ep_1"][..], line].concat()).unwrap().args
    }

    #[test]
    fn options_become_the_fields_of_the_api() {
        let args = update(&[
            "--url",
            "https://a/b",
            "--event-type",
            "a.*",
            "--event-type",
            "b",
            "--rate-limit",
            "20/40",
            "--timeout",
            "500ms",
            "--retry",
            "0,5s,1m",
            "--header",
            "x-a=b=c",
            "--signing",
            "false",
            "--filter",
            r#"{"path":"/n","gte":1}"#,
            "--clear",
            "config",
            "--auth",
            "basic",
            "--auth-user",
            "ons",
        ]);
        let expected = json!({
            "url": "https://a/b", "event_types": ["a.*", "b"], "rate_limit": {"per_second": 20, "burst": 40},
            "timeout_ms": 500, "retry": {"schedule_ms": [0, 5_000, 60_000]}, "headers": {"x-a": "b=c"},
            "signing": {"enabled": false}, "filter": {"path": "/n", "gte": 1}, "config": null,
            "auth": {"type": "basic", "username": "ons"},
        });
        // The secret was left out: the present one stays.
        assert_eq!(Value::Object(args.body().unwrap()), expected);
        assert!(Update::try_parse_from(["update", "ep_1", "--rate-limit", "20"]).is_err());
        assert!(Update::try_parse_from(["update", "ep_1", "--auth-user", "ons"]).is_err(), "of which authentication?");
    }

    #[test]
    fn what_is_cleared_cannot_be_given_too() {
        for (line, told) in [
            (["--rate-limit", "20/40", "--clear", "rate-limit"], "--clear rate-limit and --rate-limit say two things"),
            (["--event-type", "a", "--clear", "event-types"], "--clear event-types and --event-type say two things"),
            (["--subscribe", "a", "--clear", "event-types"], "--clear event-types and --subscribe"),
        ] {
            let said = update(&line).body().unwrap_err().message(false).unwrap();
            assert!(said.contains(told), "{said}");
        }
    }

    #[test]
    fn a_wrong_header_is_not_repeated() {
        let said = update(&["--header", "Authorization: Bearer hush"]).body().unwrap_err().message(false).unwrap();
        assert!(said.contains("--header: write NAME=VALUE") && !said.contains("hush"), "{said}");
    }

    #[test]
    fn types_are_ticked_and_unticked() {
        let heard = || vec!["a".to_owned(), "b".to_owned()];
        let args = update(&["--subscribe", "c", "--subscribe", "a", "--unsubscribe", "b"]);
        assert!(args.is_relative());
        assert_eq!(args.event_types(heard()).unwrap(), ["a", "c"]);
        let told = update(&["--unsubscribe", "x"]).event_types(heard()).unwrap_err().message(false).unwrap();
        assert!(told.contains("it names a, b"), "{told}");
        assert!(Update::try_parse_from(["update", "ep_1", "--subscribe", "c", "--event-type", "d"]).is_err());
    }

    #[test]
    fn a_type_without_a_secret_takes_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let failure =
            update(&["--auth", "none", "--auth-secret-file", file.path().to_str().unwrap()]).body().unwrap_err();
        assert!(failure.message(false).unwrap().contains("has no secret"));
    }
}
