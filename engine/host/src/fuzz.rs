//! What a plugin may say, in every shape that a search finds: manifests, requests and verdicts are made by changing
//! good ones. Each target runs for `ENGATE_FUZZ_SECONDS` (one, unless it is set); a case that fails is made as small as it
//! can be and kept in `proptest-regressions`, from where every later run tries it first.

use std::time::{Duration, Instant};

use engate_model::{
    Timestamp,
    delivery::DeliveryState,
    plugin::{Limits, Manifest, check_plugin_name},
    retry::{JITTER, RetryPolicy, WAIT_MAX},
    transition::{Circumstances, after},
    verdict::{Outcome, Verdict},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::json;

use crate::{
    call::OutgoingRequest,
    log::PluginLog,
    manifest,
    request::{checked, host_granted},
    schema::validate_config,
    v0_1,
};

/// Cases between two looks at the clock.
const ROUND: u32 = 256;
/// Longest complaint, in bytes: what is quoted in it is cut.
const COMPLAINT_BYTES_MAX: usize = 2_000;

/// Texts that break things: line ends, NUL, direction marks, the look of other syntaxes, very long ones.
const NASTY: &[&str] = &[
    "",
    " ",
    "\r\n",
    "a\r\nhost: b",
    "\0",
    "\u{202e}",
    "\u{1b}[2J",
    "%00",
    "%0d%0a",
    "..",
    "/",
    "\\",
    "*",
    "@",
    ":",
    "#",
    "?",
    "__proto__",
    "a.b",
    "-",
    "--",
    "é",
    "\u{fdd0}",
    "xn--",
    "1.2.3",
    "null",
    "{}",
    "[]",
    "\"",
    "//",
    "https://",
    "http://a@b/",
    "https://*.com",
    "https://127.1/",
    "https://[::1]/",
    "ftp://a.example/",
    "javascript:0",
    "data:,",
    "https://a.example:65536/",
];

/// Runs `check` over cases of `strategy` until the time is over.
fn search<S: Strategy>(strategy: &S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let seconds = std::env::var("ENGATE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (started, patience) = (Instant::now(), Duration::from_secs(seconds));
    let config = Config { cases: ROUND, max_shrink_iters: 10_000, ..Config::with_source_file(file!()) };
    let ran = std::cell::Cell::new(0_u64);
    let check = |case| {
        ran.set(ran.get() + 1);
        check(case)
    };
    while ran.get() == 0 || started.elapsed() < patience {
        // A new one each time: a runner that has had its cases has had enough.
        let mut runner = TestRunner::new(config.clone());
        if let Err(failure) = runner.run(strategy, check) {
            panic!("after {} cases: {failure}", ran.get());
        }
    }
    println!("{} cases", ran.get());
}

/// A text that is nasty, arbitrary, or a good one changed somewhere.
fn text(good: &'static [&'static str]) -> impl Strategy<Value = String> {
    let changed = (prop::sample::select(good), any::<prop::sample::Index>(), prop::sample::select(NASTY), 0_usize..4);
    let changed = changed.prop_map(|(good, at, nasty, cut)| {
        let chars: Vec<char> = good.chars().collect();
        let at = at.index(chars.len() + 1);
        let head: String = chars.iter().take(at).collect();
        let tail: String = chars.iter().skip(at + cut).collect();
        format!("{head}{nasty}{tail}")
    });
    let long = (prop::sample::select(good), 1_usize..20_000).prop_map(|(good, times)| good.repeat(times % 600 + 1));
    prop_oneof![
        4 => prop::sample::select(good).prop_map(str::to_owned),
        4 => changed,
        1 => prop::sample::select(NASTY).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => long,
    ]
}

fn printable(complaint: &str) -> Result<(), TestCaseError> {
    prop_assert!(complaint.len() <= COMPLAINT_BYTES_MAX, "{} bytes of complaint", complaint.len());
    prop_assert!(!complaint.chars().any(|c| c.is_control() || c == '\u{202e}'), "not printable: {complaint:?}");
    Ok(())
}

/// Fields of a manifest by name, good or not.
fn manifests() -> impl Strategy<Value = serde_json::Value> {
    let needs = || {
        let need = (text(&["link-key", "a/b.c"]), text(&["Signs links."]));
        prop::collection::vec(need.prop_map(|(name, purpose)| json!({"name": name, "purpose": purpose})), 0..4)
    };
    let schemas = prop_oneof![
        Just(json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^a+$"}}})),
        Just(json!({"$ref": "https://a.example/schema"})),
        Just(json!({"$ref": "#"})),
        Just(json!({"type": "object", "patternProperties": {"(a+)+$": {"$ref": "#/x"}}})),
        Just(json!(true)),
        Just(json!([1])),
        text(&["object", "string"]).prop_map(|kind| json!({"type": kind, "pattern": kind, "$id": kind})),
    ];
    let lists = |good| prop::collection::vec(text(good), 0..4);
    let hosts = lists(&["https://api.example.com", "https://*.example.com", "http://a.example:8080"]);
    let event_types = lists(&["order.*", "*", "bill.paid"]);
    let when = prop::sample::select(&["always", "never", "non_2xx"][..]);
    let head = (text(&["acme.billing", "gsan"]), text(&["1.2.0", "1.0.0-rc.1"]), text(&["Billing"]));
    (head, schemas, event_types, when, hosts, needs(), needs()).prop_map(
        |((id, version, title), config_schema, event_types, interpret, hosts, credentials, secrets)| {
            json!({
                "id": id, "version": version, "title": title, "config_schema": config_schema, "event_types": event_types,
                "interpret": interpret, "hosts": hosts, "credentials": credentials, "secrets": secrets, "worlds": ["integrator"],
            })
        },
    )
}

#[test]
fn fuzz_any_manifest_is_taken_or_refused_by_field() {
    search(&manifests(), |document| {
        let manifest: Manifest =
            serde_json::from_value(document).map_err(|error| TestCaseError::fail(error.to_string()))?;
        match manifest::check(&manifest) {
            Ok(()) => {
                prop_assert!(check_plugin_name(&manifest.id).is_ok() && !manifest.title.chars().any(char::is_control));
                // Whatever the schema, settings are judged, not choked on.
                let _ = validate_config(&manifest.config_schema, &json!({"a": "aaaaaaaaaaaaaaaaaaaaaaaa!"}));
                Ok(())
            }
            Err(refused) => {
                prop_assert!(refused.message.starts_with("the manifest's "), "{}", refused.message);
                printable(&refused.message)
            }
        }
    });
}

fn requests() -> impl Strategy<Value = OutgoingRequest> {
    let header = (text(&["Content-Type", "x-a", "Host", "transfer-encoding"]), text(&["application/json", "a\tb"]));
    let headers = prop::collection::vec(header, 0..6);
    let url = text(&["https://api.example.com/v1?a=b", "http://a.example:8080/%41", "https://bücher.example/"]);
    let body = prop::collection::vec(any::<u8>(), 0..64);
    let credential = prop::option::of(text(&["partner"]));
    (text(&["POST", "GET", "X-ODD"]), url, headers, body, any::<bool>(), credential).prop_map(
        |(method, url, headers, body, compress, credential)| OutgoingRequest {
            method,
            url,
            headers,
            body,
            compress,
            credential,
        },
    )
}

#[test]
fn fuzz_any_request_is_refused_or_fits_the_wire() {
    search(&requests(), |request| {
        let granted = ["https://*.example.com".to_owned()];
        let checked = checked(request, &Limits::default(), &mut PluginLog::new(8 << 10));
        let request = match checked {
            Ok(request) => request,
            Err(fault) => return printable(&fault.message),
        };
        let ends = |text: &str| text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0));
        prop_assert!(!ends(&request.method) && !request.method.contains(' ') && !request.url.contains(' '));
        prop_assert!(!ends(&request.url) && request.url.is_ascii(), "{:?}", request.url);
        for (name, value) in &request.headers {
            prop_assert!(!ends(name) && !ends(value) && !name.is_empty() && !name.contains(':'), "{name:?}");
            prop_assert!(!matches!(name.as_str(), "host" | "authorization" | "content-length" | "transfer-encoding"));
        }
        let url = url::Url::parse(&request.url).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none());
        if host_granted(&request.url, "https://own.example.net/", &granted).is_ok() {
            let host = url.host_str().unwrap_or_default();
            let own = host == "own.example.net" && url.scheme() == "https" && url.port().is_none();
            let below = host.ends_with(".example.com") && url.scheme() == "https" && url.port().is_none();
            prop_assert!(own || below, "{url} was let through");
        }
        Ok(())
    });
}

fn verdicts() -> impl Strategy<Value = v0_1::RawVerdict> {
    let said = || text(&["busy", "schema_error", "Pedido recusado"]);
    let problem = (said(), said(), any::<bool>()).prop_map(|(code, message, retryable)| v0_1::RawProblem {
        code,
        message,
        retryable,
    });
    prop_oneof![
        prop::option::of(said()).prop_map(v0_1::RawVerdict::Success),
        (said(), prop::option::of(prop_oneof![any::<u64>(), Just(u64::MAX), 0_u64..10_000]))
            .prop_map(|(reason, after_ms)| v0_1::RawVerdict::Retry(v0_1::RawRetry { reason, after_ms })),
        problem.prop_map(v0_1::RawVerdict::Fail),
        said().prop_map(v0_1::RawVerdict::DisableEndpoint),
    ]
}

#[test]
fn fuzz_any_verdict_leads_to_a_state_that_holds() {
    let policy = RetryPolicy::default();
    let cases = (verdicts(), 1_u32..40, any::<u64>(), 0.0..1.0_f64);
    search(&cases, |(raw, tries, now_ms, chance)| {
        let now = Timestamp::from_millis(i64::try_from(now_ms % 10_000_000_000_000).unwrap_or_default());
        let verdict = v0_1::verdict(raw);
        let wish = match &verdict {
            Verdict::Retry { after, .. } => *after,
            _ => None,
        };
        prop_assert!(wish.is_none_or(|wait| wait <= WAIT_MAX));
        let case = Circumstances { policy: &policy, tries, retry_after: None, now, chance };
        let next = after(Outcome::Judged(verdict.clone()), case);
        prop_assert_eq!(next.state == DeliveryState::Pending, next.next_attempt_at.is_some());
        if let Some(at) = next.next_attempt_at {
            prop_assert!(at >= now && at <= now.after(WAIT_MAX.mul_f64(1.0 + JITTER)), "{at:?}");
        }
        prop_assert_eq!(next.success == Some(true), matches!(verdict, Verdict::Success { .. }));
        prop_assert_eq!(next.state == DeliveryState::Succeeded, matches!(verdict, Verdict::Success { .. }));
        prop_assert_eq!(next.disable_endpoint.is_some(), matches!(verdict, Verdict::Disable { .. }));
        let code = next.code.unwrap_or_default();
        prop_assert!(code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{code:?}");
        prop_assert!(!next.message.unwrap_or_default().chars().any(|c| c.is_control() && c != '\n'));
        Ok(())
    });
}
