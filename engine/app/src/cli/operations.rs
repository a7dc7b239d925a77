//! Which command does what the API offers: every operation of `/openapi.json`, with the command or why there is none. A
//! new route fails the test below until it is in the list.

use std::collections::BTreeSet;

use serde_json::Value;

use self::Done::{By, Nobody};
use crate::api::contract;

/// Who does an operation at the command line.
enum Done {
    /// A command, as it is written after `engate`.
    By(&'static str),
    /// No command, and why.
    Nobody(&'static str),
}

/// What a browser or a program that watches is to read.
const PROBE: Done = Nobody("for load balancers and Prometheus; `engate doctor` looks at an installation");
/// Pages.
const PAGE: Done = Nobody("a page for a browser; commands explain themselves by --help");
/// PUT beside PATCH.
const WHOLE: Done = Nobody("what PATCH does for those who hold the whole thing; `update` and `engate apply` do it");
/// What others call.
const PARTNERS: Done = Nobody("a partner's call, answered by the inbound's plugin");

const OPERATIONS: &[(&str, Done)] = &[
    ("healthz", PROBE),
    ("readyz", PROBE),
    ("metrics", PROBE),
    ("openapi_json", Nobody("for generators of clients")),
    ("docs", PAGE),
    ("docs_problems", PAGE),
    ("docs_asset", PAGE),
    ("help_deliveries", PAGE),
    ("help_deliveries_summary", PAGE),
    ("event_send", By("event send")),
    ("event_list", By("event list")),
    ("event_get", By("event show")),
    ("event_explain", By("event explain")),
    ("delivery_list", By("delivery list")),
    ("delivery_get", By("delivery show")),
    ("attempt_list", By("delivery show")),
    ("delivery_retry", By("delivery retry")),
    ("delivery_cancel", By("delivery cancel")),
    ("delivery_export_csv", By("delivery export")),
    ("delivery_export_ndjson", By("delivery export")),
    ("delivery_export_pdf", By("delivery export")),
    ("delivery_print", By("delivery export")),
    ("recovery_start", By("recovery start")),
    ("recovery_list", By("recovery list")),
    ("recovery_get", By("recovery show")),
    ("recovery_cancel", By("recovery cancel")),
    ("queue_list", By("queue list")),
    ("queue_pause", By("queue pause")),
    ("queue_resume", By("queue resume")),
    ("file_download", Nobody("a signed link for partners, who come without a token")),
    ("event_type_list", By("event-type list")),
    ("event_type_create", By("event-type create")),
    ("event_type_get", By("event-type show")),
    ("event_type_replace", WHOLE),
    ("event_type_update", By("event-type update")),
    ("event_type_usage", By("event-type usage")),
    ("event_type_delete", By("event-type delete")),
    ("integrator_list", By("integrator list")),
    ("integrator_create", By("integrator create")),
    ("integrator_get", By("integrator show")),
    ("integrator_replace", WHOLE),
    ("integrator_update", By("integrator update")),
    ("integrator_delete", By("integrator delete")),
    ("endpoint_list", By("endpoint list")),
    ("endpoint_create", By("endpoint create")),
    ("endpoint_get", By("endpoint show")),
    ("endpoint_update", By("endpoint update")),
    ("endpoint_delete", By("endpoint delete")),
    ("endpoint_rotate_secret", By("endpoint rotate-secret")),
    ("endpoint_verify", By("endpoint verify")),
    ("endpoint_catalog", By("endpoint catalog")),
    ("endpoint_send", By("endpoint send")),
    ("endpoint_send_all", By("endpoint send-all")),
    ("endpoint_resend_pending", By("endpoint resend-pending")),
    ("endpoint_test", By("endpoint test")),
    ("inbound_list", By("inbound list")),
    ("inbound_create", By("inbound create")),
    ("inbound_get", By("inbound show")),
    ("inbound_update", By("inbound update")),
    ("inbound_delete", By("inbound delete")),
    ("inbound_call_get", PARTNERS),
    ("inbound_call_post", PARTNERS),
    ("inbound_call_put", PARTNERS),
    ("inbound_call_patch", PARTNERS),
    ("inbound_call_delete", PARTNERS),
    ("inbound_call_options", PARTNERS),
    ("job_list", By("job list")),
    ("job_create", By("job create")),
    ("job_get", By("job show")),
    ("job_update", By("job edit")),
    ("job_delete", By("job delete")),
    ("job_next", By("job next")),
    ("job_preview", By("job next")),
    ("job_pause", By("job pause")),
    ("job_resume", By("job resume")),
    ("job_start", By("job start")),
    ("job_run", By("job run")),
    ("job_backfill", By("job backfill")),
    ("run_list", By("job log")),
    ("run_get", By("job log")),
    ("run_cancel", By("job cancel")),
    ("job_debug_on", By("job debug")),
    ("job_debug_off", By("job debug")),
    ("job_debug_files", By("job debug-log")),
    ("job_debug_file", By("job debug-log")),
    ("checkpoint_list", By("job streams")),
    ("checkpoint_history", By("job history")),
    ("checkpoint_rewind", By("job rewind")),
    ("checkpoint_approve", By("job approve")),
    ("checkpoint_epoch", By("job epoch")),
    ("quarantine_list", By("job quarantine")),
    ("quarantine_replay", By("job replay")),
    ("quarantine_discard", By("job discard")),
    ("connection_list", By("job connections")),
    ("connection_tables", By("job discover")),
    ("plugin_list", By("plugin list")),
    ("plugin_push", By("plugin push")),
    ("plugin_get", By("plugin show")),
    ("plugin_versions", By("plugin show")),
    ("plugin_version", By("plugin push")),
    ("plugin_component", By("plugin replay")),
    ("plugin_grants_get", By("plugin show")),
    ("plugin_grants_put", By("plugin grant")),
    ("plugin_limits_get", By("plugin limits")),
    ("plugin_limits_put", By("plugin limits")),
    ("plugin_config_get", By("plugin config")),
    ("plugin_config_put", By("plugin config")),
    ("plugin_channels", By("plugin show")),
    ("plugin_channel_bind", By("plugin promote")),
    ("plugin_promote", By("plugin promote")),
    ("plugin_rollback", By("plugin rollback")),
    ("plugin_diff_start", By("plugin diff")),
    ("plugin_diff_get", By("plugin diff")),
    ("plugin_diff_cancel", By("plugin diff")),
    ("plugin_try", By("plugin try")),
    ("replay_list", By("plugin replay")),
    ("secret_list", By("secret list")),
    ("secret_put", By("secret set")),
    ("secret_delete", By("secret delete")),
    ("setting_list", By("settings show")),
    ("setting_put", By("settings set")),
    ("token_list", By("token list")),
    ("token_create", By("token create")),
    ("token_get", By("token show")),
    ("token_update", By("token update")),
    ("token_regenerate", By("token regenerate")),
    ("token_revoke", By("token revoke")),
    ("token_revoke_self", By("token revoke")),
    ("tenant_list", By("tenant list")),
    ("tenant_create", By("tenant create")),
    ("tenant_get", By("tenant show")),
    ("tenant_update", By("tenant update")),
    ("tenant_delete", By("tenant delete")),
    ("wizard_list", By("wizard list")),
    ("wizard_create", By("wizard carol")),
    ("wizard_get", By("wizard show")),
    ("wizard_delete", By("wizard delete")),
    ("wizard_credentials_get", By("wizard carol")),
    ("wizard_welcome", By("wizard carol")),
    ("wizard_provisioning", By("wizard carol")),
    ("wizard_requirements", By("wizard carol")),
    ("wizard_companies", By("wizard carol")),
    ("wizard_credentials", By("wizard carol")),
    ("wizard_preflight", By("wizard carol")),
    ("wizard_entities", By("wizard carol")),
    ("wizard_jobs", By("wizard carol")),
    ("audit_list", By("audit list")),
    ("audit_export", By("audit export")),
    ("audit_verify", By("audit verify")),
    ("access_list", By("audit access")),
    ("access_refused_list", By("audit refused")),
];

/// Ids of all operations, as clients are generated from them.
fn offered() -> BTreeSet<&'static str> {
    let paths = contract().value["paths"].as_object().unwrap();
    let operations = paths.values().flat_map(|methods| methods.as_object().unwrap().values());
    operations.filter_map(|operation| operation.get("operationId").and_then(Value::as_str)).collect()
}

/// Whether people may write this after `engate`.
fn is_command(path: &str) -> bool {
    let mut at = super::command();
    for name in path.split(' ') {
        let Some(below) = at.find_subcommand(name).filter(|below| !below.is_hide_set()) else { return false };
        at = below.clone();
    }
    !at.has_subcommands()
}

#[test]
fn every_operation_of_the_api_has_its_command_or_a_reason() {
    let listed: BTreeSet<_> = OPERATIONS.iter().map(|(id, _)| *id).collect();
    assert_eq!(listed.len(), OPERATIONS.len(), "an operation is listed twice");
    let offered = offered();
    let missing: Vec<_> = offered.difference(&listed).collect();
    assert!(missing.is_empty(), "say in OPERATIONS which command does it, or why none: {missing:?}");
    let gone: Vec<_> = listed.difference(&offered).collect();
    assert!(gone.is_empty(), "the API has no such operation: {gone:?}");
    for (id, done) in OPERATIONS {
        match done {
            By(path) => assert!(is_command(path), "{id}: there is no command `engate {path}`"),
            Nobody(why) => assert!(why.len() > 10, "{id}: why?"),
        }
    }
}
