//! Who may call what, route by route. The table is written here a second time on purpose: a change of the engine's own shows.

use std::collections::BTreeMap;

use axum::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::harness::{App, api::Api, run};

const ROLES: [&str; 5] = ["admin", "operator", "integrator", "auditor", "producer"];

/// The roles that may, and the operations.
const MAY: &[(&str, &str)] = &[
    ("admin", "plugin_grants_put secret_put secret_delete setting_put tenant_list tenant_create tenant_get"),
    ("admin", "tenant_update tenant_delete"),
    (
        "admin",
        "wizard_create wizard_delete wizard_credentials_get wizard_welcome wizard_provisioning wizard_requirements",
    ),
    ("admin", "wizard_companies wizard_credentials wizard_preflight wizard_entities wizard_jobs"),
    ("admin operator auditor", "wizard_list wizard_get"),
    ("admin", "token_create token_revoke token_regenerate token_update"),
    (
        "admin auditor",
        "audit_list audit_export audit_verify access_list access_refused_list secret_list setting_list token_list token_get",
    ),
    ("admin operator", "event_type_create event_type_replace event_type_delete event_type_update"),
    ("admin operator", "inbound_create inbound_delete inbound_update"),
    ("admin operator", "integrator_create integrator_replace integrator_delete integrator_update"),
    (
        "admin operator",
        "plugin_push plugin_channel_bind plugin_config_put plugin_diff_start plugin_diff_cancel plugin_limits_put",
    ),
    ("admin operator", "plugin_promote plugin_rollback plugin_try"),
    ("admin operator producer", "event_send"),
    (
        "admin operator auditor",
        "metrics event_list event_get event_explain inbound_list inbound_get replay_list delivery_export_csv delivery_export_ndjson",
    ),
    (
        "admin operator auditor",
        "plugin_list plugin_get plugin_channels plugin_config_get plugin_diff_get plugin_grants_get",
    ),
    ("admin operator auditor", "plugin_limits_get plugin_versions plugin_version plugin_component"),
    (
        "admin operator",
        "job_backfill job_create job_debug_file job_debug_files job_debug_off job_debug_on job_delete job_pause job_resume",
    ),
    ("admin operator", "job_run job_start job_update run_cancel checkpoint_approve checkpoint_epoch checkpoint_rewind"),
    ("admin operator", "quarantine_discard quarantine_replay"),
    (
        "admin operator auditor",
        "job_get job_list job_next job_preview run_get run_list checkpoint_history checkpoint_list quarantine_list",
    ),
    ("admin operator auditor", "connection_list connection_tables"),
    ("admin operator auditor", "delivery_export_pdf delivery_print"),
    ("admin operator integrator", "delivery_cancel delivery_retry"),
    ("admin operator", "recovery_start recovery_cancel"),
    ("admin operator auditor", "recovery_list recovery_get"),
    (
        "admin operator integrator",
        "endpoint_create endpoint_delete endpoint_update endpoint_rotate_secret endpoint_verify",
    ),
    ("admin operator integrator", "queue_pause queue_resume"),
    ("admin operator integrator", "endpoint_send endpoint_send_all endpoint_resend_pending endpoint_test"),
    (
        "admin operator integrator auditor",
        "docs docs_problems docs_asset openapi_json delivery_list delivery_get attempt_list event_type_usage",
    ),
    ("admin operator integrator auditor", "help_deliveries help_deliveries_summary"),
    (
        "admin operator integrator auditor",
        "endpoint_list endpoint_get endpoint_catalog event_type_list event_type_get integrator_list integrator_get queue_list",
    ),
    ("admin operator integrator auditor producer", "token_revoke_self"),
    // No token at all: health, what a signature in the link checks, what a plugin checks.
    ("public", "healthz readyz file_download inbound_call_get inbound_call_put inbound_call_post inbound_call_delete"),
    ("public", "inbound_call_options inbound_call_patch"),
];

/// Every operation by name: method and path.
pub(crate) async fn operations(app: &App) -> BTreeMap<String, (Method, String)> {
    let document = app.api.get("/openapi.json").await.expect(200);
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.filter_map(move |(method, operation)| {
            let name = operation["operationId"].as_str()?.to_owned();
            Some((name, (method.to_uppercase().parse().unwrap(), path.clone())))
        })
    });
    all.collect()
}

/// A path that fits a template, with ids that exist nowhere.
fn filled(template: &str) -> String {
    let id = |noun: &str| format!("{noun}_{}", "0".repeat(32));
    template
        .replace("/deliveries/{id}", &format!("/deliveries/{}", id("dlv")))
        .replace("/endpoints/{id}", &format!("/endpoints/{}", id("ep")))
        .replace("/queues/{endpoint}", &format!("/queues/{}", id("ep")))
        .replace("/events/{id}", &format!("/events/{}", id("evt")))
        .replace("/tokens/{id}", &format!("/tokens/{}", id("tok")))
        .replace("/wizards/{id}", &format!("/wizards/{}", id("wiz")))
        .replace("/recoveries/{id}", &format!("/recoveries/{}", id("rec")))
        .replace("/diffs/{id}", &format!("/diffs/{}", id("dif")))
        .split('/')
        .map(|part| if part.starts_with('{') { "nobody" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

async fn clients(app: &App) -> Vec<(&'static str, Api)> {
    let mut clients = Vec::new();
    for role in ROLES {
        let mut body = json!({"client": format!("matrix-{role}"), "role": role});
        if role == "integrator" {
            body["integrator"] = json!("partner");
        }
        let created = app.api.post("/v1/tokens", &body).await.expect(201);
        clients.push((role, app.api.with_token(created["token"].as_str().unwrap())));
    }
    clients
}

#[test]
fn every_role_may_call_exactly_its_routes() {
    run(async |app| {
        let operations = operations(app).await;
        let table: BTreeMap<&str, &str> =
            MAY.iter().flat_map(|(roles, names)| names.split(' ').map(move |name| (name, *roles))).collect();
        let described: Vec<_> = operations.keys().map(String::as_str).collect();
        assert_eq!(
            described,
            table.keys().copied().collect::<Vec<_>>(),
            "each operation stands in the table, and no other"
        );
        let clients = clients(app).await;
        // Giving one's own token up comes last.
        let (last, rest): (Vec<_>, Vec<_>) = operations.iter().partition(|(name, _)| *name == "token_revoke_self");
        for (name, (method, template)) in rest.into_iter().chain(last) {
            let roles = table[name.as_str()];
            for (role, client) in &clients {
                let body = if *method == Method::GET { Bytes::new() } else { Bytes::from_static(b"{}") };
                let json = [("content-type", "application/json")];
                let answer = client.send(method.clone(), &filled(template), &json, body).await;
                let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let refused = answer.status == 403 && problem["code"] == "forbidden";
                let allowed = roles == "public" || roles.split(' ').any(|one| one == *role);
                assert_eq!(!refused, allowed, "{role} calls {name}: {} {problem}", answer.status);
                assert!(answer.status != 401 || roles == "public", "{role} calls {name}: {problem}");
                assert!(answer.status < 500, "{role} calls {name}: {problem}");
            }
        }
    });
}

#[test]
fn v2_an_integrator_sees_its_own_rows_only_and_both_are_audited() {
    run(async |app| {
        app.receiver.always("/own", 200);
        app.receiver.always("/other", 200);
        app.endpoint_at("/own", &["P1"]).await;
        let other = json!({"slug": "other", "name": "Other", "services": ["x"]});
        app.api.post("/v1/integrators", &other).await.expect(201);
        let url = app.receiver.url("/other");
        let theirs = app.endpoint(json!({"integrator": "other", "url": url, "event_types": ["P1"]})).await;
        app.api.emit("P1", json!({})).await;
        app.api.settled().await;
        let body = json!({"client": "partner-portal", "role": "integrator", "integrator": "partner"});
        let made = app.api.post("/v1/tokens", &body).await.expect(201);
        let partner = app.api.with_token(made["token"].as_str().unwrap());
        assert_eq!(app.api.deliveries("").await.len(), 2);
        let own = partner.deliveries("").await;
        assert_eq!(own.len(), 1);
        let all = app.api.deliveries("").await;
        let foreign = all.iter().find(|delivery| delivery["id"] != own[0]["id"]).unwrap();
        let id = |of: &Value| of["id"].as_str().unwrap().to_owned();
        partner.get(&format!("/v1/deliveries/{}", id(&own[0]))).await.expect(200);
        for path in [
            format!("/v1/deliveries/{}", id(foreign)),
            format!("/v1/deliveries/{}/attempts", id(foreign)),
            format!("/v1/endpoints/{}", id(&theirs)),
        ] {
            partner.get(&path).await.expect_problem(404, "not_found");
            app.api.get(&path).await.expect(200);
        }
        for path in [
            "/v1/deliveries.csv",
            "/v1/deliveries.ndjson",
            "/v1/settings",
            "/v1/audit",
            "/v1/audit.ndjson",
            "/v1/audit/access",
            "/v1/audit/verify",
            "/v1/replays",
        ] {
            partner.get(path).await.expect_problem(403, "forbidden");
            app.api.get(path).await.expect(200);
        }
        for (token, status) in [(id(&made), 403), ("".to_owned(), 200)] {
            let query = format!("/v1/audit/access?route=GET+/v1/settings&status_gte={status}&status_lte={status}");
            let entries = app.api.get(&query).await.expect(200);
            assert_eq!(entries["total"], 1, "{status} is audited: {entries}");
            assert!(token.is_empty() || entries["items"][0]["token"] == token);
        }
    });
}

#[test]
fn o19_a_partner_subscribes_to_types_that_are_there_and_enters_none() {
    run(async |app| {
        app.api.post("/v1/event-types", &json!({"key": "P1", "macro_process": "M", "process": "P"})).await.expect(201);
        app.api.post("/v1/event-types", &json!({"key": "P2", "macro_process": "M", "process": "P"})).await.expect(201);
        let body = json!({"client": "partner-portal", "role": "integrator", "integrator": "partner"});
        let made = app.api.post("/v1/tokens", &body).await.expect(201);
        let partner = app.api.with_token(made["token"].as_str().unwrap());
        let known = async || app.api.get("/v1/event-types").await.expect(200)["total"].clone();
        let before = known().await;
        let new = |types: Value| {
            crate::harness::app::endpoint(json!({"url": app.receiver.url("/hook"), "event_types": types}))
        };
        let refused = partner.post("/v1/endpoints", &new(json!(["P1", "mine"]))).await;
        let said = String::from_utf8_lossy(&refused.body).into_owned();
        assert_eq!(refused.expect_problem(422, "invalid"), ["event_types[1]"]);
        assert!(said.contains("mine") && said.contains("pattern"), "it says the cure: {said}");
        let made = partner.post("/v1/endpoints", &new(json!(["P1", "mine.*"]))).await.expect(201);
        let at = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
        let refused = partner.patch(&at, &json!({"event_types": ["P1", "P2", "mine"]})).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["event_types[2]"]);
        let changed = partner.patch(&at, &json!({"event_types": ["P2"]})).await.expect(200);
        assert_eq!(changed["event_types"], json!(["P2"]), "unticked and ticked as ever");
        assert_eq!(known().await, before, "the catalogue is as it was");
        // Whoever may enter types does so by naming them.
        app.api.patch(&at, &json!({"event_types": ["P2", "mine"]})).await.expect(200);
        app.api.get("/v1/event-types/mine").await.expect(200);
        partner.patch(&at, &json!({"event_types": ["mine"]})).await.expect(200);
    });
}
