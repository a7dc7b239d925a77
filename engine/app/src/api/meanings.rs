//! Every code the API answers, what it means, and what to do about it: the one list, from which answers take
//! status and title and `/docs/problems` its table.

use axum::http::StatusCode;

/// What a code means.
#[derive(Debug)]
pub(crate) struct Meaning {
    /// Stable snake_case code.
    pub(crate) code: &'static str,
    /// HTTP status it usually comes with.
    pub(crate) status: StatusCode,
    /// One line.
    pub(crate) title: &'static str,
    /// What to do about it.
    pub(crate) cure: &'static str,
}

const fn meaning(code: &'static str, status: StatusCode, title: &'static str, cure: &'static str) -> Meaning {
    Meaning { code, status, title, cure }
}

/// Every code the API answers, as `/docs/problems` lists them.
pub(crate) const MEANINGS: &[Meaning] = &[
    meaning(
        "invalid_json",
        StatusCode::BAD_REQUEST,
        "The body is no JSON",
        "Send one JSON value in UTF-8; `detail` says where it breaks.",
    ),
    meaning(
        "invalid_body",
        StatusCode::BAD_REQUEST,
        "The body cannot be read",
        "Send the whole body as announced in the headers.",
    ),
    meaning(
        "unauthorized",
        StatusCode::UNAUTHORIZED,
        "No valid token",
        "Send `Authorization: Bearer TOKEN` with a token that is neither revoked nor expired.",
    ),
    meaning(
        "forbidden",
        StatusCode::FORBIDDEN,
        "Not allowed for this token",
        "Use a token whose role, routes and scopes include this; `detail` says what is missing.",
    ),
    meaning(
        "origin_not_allowed",
        StatusCode::FORBIDDEN,
        "The token does not work from here",
        "Call from one of the token's `origins`, or have an admin change them.",
    ),
    meaning(
        "not_a_sync",
        StatusCode::CONFLICT,
        "The job is no sync",
        "Only jobs whose `run` is of the kind `sync` have checkpoints and a quarantine.",
    ),
    meaning(
        "no_catalogue",
        StatusCode::CONFLICT,
        "A plugin has no catalogue",
        "Only connections list their tables; what a plugin hands over is named in the job's `streams`, with `columns` where the target needs them.",
    ),
    meaning(
        "run_in_progress",
        StatusCode::CONFLICT,
        "A run of the job is not over",
        "Wait for it, cancel it, or give the job another rule for overlaps.",
    ),
    meaning(
        "run_over",
        StatusCode::CONFLICT,
        "The run is over",
        "There is nothing to stop; run the job again if need be.",
    ),
    meaning(
        "needs_configuration",
        StatusCode::CONFLICT,
        "The job is not finished",
        "Give it a schedule of the kinds cron, every or always, then start it with `POST /v1/jobs/{id}/start`.",
    ),
    meaning(
        "redacted",
        StatusCode::FORBIDDEN,
        "The answer may tell what this token is not shown",
        "Ask for JSON or NDJSON, from which hidden fields are taken out, and neither filter nor sort by them.",
    ),
    meaning("link_forged", StatusCode::FORBIDDEN, "The link is not valid", "Use the link exactly as it was delivered."),
    meaning(
        "link_not_yet_valid",
        StatusCode::FORBIDDEN,
        "The link is not valid yet",
        "Compare the clocks of the two machines.",
    ),
    meaning(
        "already_handed_over",
        StatusCode::GONE,
        "The credentials were handed over before",
        "Use those that were handed over; ask TOTVS for new ones where they are lost.",
    ),
    meaning(
        "not_provisioned",
        StatusCode::CONFLICT,
        "There are no credentials to hand over",
        "Wait until the step `provisioning` is done; it says how far it is.",
    ),
    meaning(
        "step_locked",
        StatusCode::CONFLICT,
        "An earlier step is not passed",
        "Do the step that `detail` names first; `steps` of the wizard says how each stands.",
    ),
    meaning(
        "too_many_wizards",
        StatusCode::CONFLICT,
        "There are as many wizards as may be",
        "Delete one that is not needed any more.",
    ),
    meaning(
        "credentials_refused",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The service does not take these credentials",
        "Compare them with the e-mail of TOTVS; `errors` says what the service answered.",
    ),
    meaning(
        "source_unusable",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The connection gives no answer that can be used",
        "Check the connection's URL and what its user may see; `errors` says what the database answered.",
    ),
    meaning(
        "service_unusable",
        StatusCode::UNPROCESSABLE_ENTITY,
        "A service gives no answer that can be used",
        "Run the step `preflight`, or give the service's address in `welcome`; `errors` says what came.",
    ),
    meaning(
        "link_expired",
        StatusCode::GONE,
        "The link has expired",
        "Ask for the delivery to be sent again: it carries a new link.",
    ),
    meaning(
        "not_found",
        StatusCode::NOT_FOUND,
        "There is no such thing",
        "Check the id and the path; what belongs to another tenant or integrator is not found either.",
    ),
    meaning(
        "files_not_served",
        StatusCode::NOT_FOUND,
        "This engine serves no files",
        "Set `files.root` to serve signed links.",
    ),
    meaning(
        "method_not_allowed",
        StatusCode::METHOD_NOT_ALLOWED,
        "The path has no such method",
        "The `Allow` header lists the methods.",
    ),
    meaning(
        "request_timeout",
        StatusCode::REQUEST_TIMEOUT,
        "The body did not arrive in time",
        "Send it again, faster.",
    ),
    meaning(
        "conflict",
        StatusCode::CONFLICT,
        "It collides with what is there",
        "Read the present state and decide again.",
    ),
    meaning(
        "precondition_failed",
        StatusCode::PRECONDITION_FAILED,
        "It was changed since you read it",
        "Read it again, decide anew, and send the new `ETag` as `If-Match`.",
    ),
    meaning(
        "id_conflict",
        StatusCode::CONFLICT,
        "The id was used with another body",
        "Use a new id for a new fact; repeat the same body to be safe.",
    ),
    meaning(
        "narrow_the_range",
        StatusCode::UNPROCESSABLE_ENTITY,
        "Finding these takes too long",
        "Say from when on, filter by one more field, or sort by another column; no listing reads for more than two seconds.",
    ),
    meaning(
        "too_many_rows",
        StatusCode::UNPROCESSABLE_ENTITY,
        "More rows than this form holds",
        "Narrow the range, choose single ids, or take `/v1/deliveries.csv`, which has no bound.",
    ),
    meaning(
        "not_allowed_in_state",
        StatusCode::CONFLICT,
        "Not possible in this state",
        "`detail` says which state it is in.",
    ),
    meaning(
        "too_many_diffs",
        StatusCode::TOO_MANY_REQUESTS,
        "As many comparisons run as may",
        "Wait for one of them to end, or cancel one.",
    ),
    meaning(
        "too_many_recoveries",
        StatusCode::TOO_MANY_REQUESTS,
        "As many recoveries run as may",
        "Wait for one of them to end, or cancel one.",
    ),
    meaning(
        "newer_version",
        StatusCode::CONFLICT,
        "A newer version took its place",
        "Send the newest one, or let the endpoint's filter take it: nothing older goes after it.",
    ),
    meaning(
        "event_not_kept",
        StatusCode::CONFLICT,
        "What was to be sent is kept no longer",
        "Publish the event anew; `retention.payload_days` says how long events are kept.",
    ),
    meaning(
        "never_published",
        StatusCode::CONFLICT,
        "Nothing of this type was ever published",
        "Publish an event of the type first, or try the endpoint with `/test`.",
    ),
    meaning(
        "not_subscribed",
        StatusCode::CONFLICT,
        "The endpoint does not subscribe to this type",
        "Add it to the endpoint's `event_types` first.",
    ),
    meaning(
        "endpoint_disabled",
        StatusCode::CONFLICT,
        "The endpoint is disabled",
        "Enable it with PATCH (`enabled: true`) first.",
    ),
    meaning(
        "integrator_inactive",
        StatusCode::CONFLICT,
        "The integrator is not active",
        "Activate the integrator first.",
    ),
    meaning(
        "webhooks_disabled",
        StatusCode::CONFLICT,
        "Webhooks are switched off",
        "Switch the setting `use_webhooks` on first.",
    ),
    meaning(
        "queue_paused",
        StatusCode::CONFLICT,
        "The endpoint's queue is paused",
        "Resume it with `/v1/queues/{endpoint}/resume` first.",
    ),
    meaning(
        "filtered",
        StatusCode::CONFLICT,
        "The endpoint's filter does not take it",
        "Change the filter, or publish an event that passes it.",
    ),
    meaning(
        "event_type_disabled",
        StatusCode::CONFLICT,
        "The event type is disabled",
        "Enable it in the catalogue first.",
    ),
    meaning(
        "waits_behind",
        StatusCode::CONFLICT,
        "An earlier one has to be finished first",
        "The endpoint keeps its order (`fifo`): wait for the delivery that `detail` names, retry or cancel it.",
    ),
    meaning(
        "idempotency_key_reused",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The Idempotency-Key means another call",
        "Use a new key for a new action; repeat the same request to get its answer again.",
    ),
    meaning(
        "outcome_unknown",
        StatusCode::CONFLICT,
        "What became of the call is not known",
        "Read the present state to see whether it was carried out, then decide and use a new `Idempotency-Key`.",
    ),
    meaning("in_progress", StatusCode::CONFLICT, "It is being worked on", "Try again in a moment."),
    meaning(
        "invalid_url",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The URL cannot be used",
        "Give an absolute http:// or https:// URL with a host.",
    ),
    meaning(
        "egress_denied",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The address must not be called",
        "Use a public address, or have the operator allow the network with `egress.allow`.",
    ),
    meaning(
        "already_exists",
        StatusCode::CONFLICT,
        "It exists already",
        "Change what is there, or choose another name.",
    ),
    meaning("in_use", StatusCode::CONFLICT, "Something else uses it", "`detail` says what; take that away first."),
    meaning(
        "system_record",
        StatusCode::CONFLICT,
        "It belongs to the engine",
        "Leave it as it is; enter one of your own.",
    ),
    meaning(
        "client_has_token",
        StatusCode::CONFLICT,
        "The client has a live token",
        "Regenerate that one, or revoke it first.",
    ),
    meaning(
        "last_admin_token",
        StatusCode::CONFLICT,
        "Nobody would be left to mend things",
        "Make another admin token without `routes`, `scopes`, `origins` and `expires_at` first.",
    ),
    meaning(
        "version_taken",
        StatusCode::CONFLICT,
        "The version has other content",
        "`name@version` never changes; raise the version in the manifest.",
    ),
    meaning(
        "config_mismatch",
        StatusCode::CONFLICT,
        "Configurations in use do not fit",
        "`detail` names them; push to another channel, adjust them, then bind the channel.",
    ),
    meaning(
        "inbound_refused",
        StatusCode::BAD_REQUEST,
        "The call is not taken here",
        "Compare it with what was agreed; whoever runs the engine finds the reason in its log, under `x-request-id`.",
    ),
    meaning(
        "rate_limited",
        StatusCode::TOO_MANY_REQUESTS,
        "Too many calls",
        "Try again after the seconds in `Retry-After`; the token's or the inbound's `rate_limit` can be raised.",
    ),
    meaning(
        "inbound_event_refused",
        StatusCode::INTERNAL_SERVER_ERROR,
        "What was made of the call cannot be taken",
        "The engine's log names the event and its field: enter its type in the catalogue, or correct the plugin.",
    ),
    meaning(
        "plugin_fault",
        StatusCode::BAD_GATEWAY,
        "The plugin failed",
        "Try again; the engine's log has the fault under the `x-request-id` of this answer.",
    ),
    meaning(
        "inbound_unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        "The call cannot be taken just now",
        "Try again after the seconds in `Retry-After`; the engine's log has the plugin's reason.",
    ),
    meaning("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large", "`detail` says the bound."),
    meaning(
        "unsupported_media_type",
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The content type is not taken here",
        "Set `Content-Type` to one that `detail` names.",
    ),
    meaning(
        "schema_mismatch",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The payload does not meet its type's schema",
        "`errors` names the place in the payload and the rule; correct it, or change `schema` of the event type.",
    ),
    meaning(
        "invalid",
        StatusCode::UNPROCESSABLE_ENTITY,
        "Fields cannot be taken",
        "`errors` names each field and what to write instead.",
    ),
    meaning(
        "too_large",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component is too large",
        "Build it smaller; `errors` says the bound.",
    ),
    meaning(
        "not_a_component",
        StatusCode::UNPROCESSABLE_ENTITY,
        "It is no WebAssembly component",
        "Build a component, not a core module or text; `engate plugin build` does.",
    ),
    meaning(
        "invalid_component",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component is not valid",
        "Build it again; `errors` says what the validator found.",
    ),
    meaning(
        "wrong_world",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component lacks an interface",
        "Export what the contract's world asks for; `errors` names it.",
    ),
    meaning(
        "unknown_import",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component imports what the engine does not offer",
        "Import what the contract offers only; `errors` names the import.",
    ),
    meaning(
        "unsupported_version",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component speaks another version of the contract",
        "Build it against a version that `errors` lists.",
    ),
    meaning(
        "too_many_resources",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component wants too much memory or too many tables",
        "Lower what it reserves; `errors` says the bound.",
    ),
    meaning(
        "compile_failed",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component could not be compiled",
        "`errors` says why.",
    ),
    meaning(
        "compile_timeout",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component took too long to compile",
        "Build it smaller or simpler.",
    ),
    meaning(
        "describe_failed",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component does not describe itself",
        "`describe` must answer without any import; `errors` says what happened.",
    ),
    meaning(
        "bad_manifest",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component's manifest cannot be taken",
        "Correct what `errors` names.",
    ),
    meaning(
        "headers_too_large",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The headers are too large",
        "Send fewer or shorter headers.",
    ),
    meaning(
        "internal",
        StatusCode::INTERNAL_SERVER_ERROR,
        "The engine failed",
        "Its log has a line with the `x-request-id` of this answer.",
    ),
    meaning(
        "unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        "The database is not available",
        "Try again after the seconds in `Retry-After`. What was to be changed may have been: read it first, where a repeat would \
         do it twice.",
    ),
    meaning(
        "timeout",
        StatusCode::SERVICE_UNAVAILABLE,
        "The engine took too long",
        "Try again after the seconds in `Retry-After`.",
    ),
];

/// What `code` means.
pub(crate) fn meaning_of(code: &str) -> Option<&'static Meaning> {
    MEANINGS.iter().find(|meaning| meaning.code == code)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_code_that_is_answered_is_explained() {
        let mut files = Vec::new();
        for room in ["api", "verbs"] {
            sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut files);
        }
        let mut codes = 0;
        // This file names the makers only to look for them.
        for file in files.iter().filter(|file| !file.ends_with("meanings.rs")) {
            let text = std::fs::read_to_string(file).unwrap();
            for maker in ["Problem::of(", "VerbError::conflict(", "Self::conflict("] {
                for after in text.split(maker).skip(1) {
                    let Some(code) = after.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
                    else {
                        continue;
                    };
                    codes += 1;
                    assert!(meaning_of(code).is_some(), "{code} in {} is not explained", file.display());
                }
            }
        }
        assert!(codes > 20, "the search finds what there is");
    }

    /// The table as `docs/problems.md` has it; `ENGATE_BLESS=1` writes it anew.
    #[test]
    fn the_problems_are_documented_one_by_one() {
        let mut text = String::from(
            "# Problem codes\n\nEvery refusal of the API is `application/problem+json` (RFC 9457) with one of these codes in \
             `code`, which stays the same for ever;\n`type` is `/docs/problems#CODE`, which every engine serves. `detail` and \
             `errors` say what happened this time, `title` and\n`detail` in Portuguese where `Accept-Language` asks for it. \
             This file is written by a test from the engine's own table.\n",
        );
        for meaning in MEANINGS {
            let Meaning { code, status, title, cure } = meaning;
            text.push_str(&format!("\n## {code}\n{}: {title}. {cure}\n", status.as_u16()));
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/problems.md");
        if std::env::var_os("ENGATE_BLESS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(written == text, "docs/problems.md differs from the table; run this test with ENGATE_BLESS=1");
    }

    #[test]
    fn codes_are_unique_and_snake_case() {
        for (n, meaning) in MEANINGS.iter().enumerate() {
            assert!(meaning.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", meaning.code);
            assert!(MEANINGS.iter().skip(n + 1).all(|other| other.code != meaning.code), "{}", meaning.code);
        }
    }
}
