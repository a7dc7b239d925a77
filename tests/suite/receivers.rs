//! Receivers as strangers and operators meet them: limits, refusals, credentials, state, and what is bound to what.

use axum::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    harness::{
        App,
        api::Answer,
        eventually,
        guests::{Guest, receiver},
        run,
    },
    inbound::counted,
};

const LOOP: &str = "(loop $l (br $l))";

/// Installs a receiver that the template makes, and lets it answer at `calls`.
async fn open(app: &App, guest: Guest, fields: Value) {
    let path = "/v1/plugins?channel=stable";
    let pushed = app.api.send(Method::POST, path, &[("content-type", "application/wasm")], guest.build().into()).await;
    assert!(matches!(pushed.status, 200..=202), "{}", String::from_utf8_lossy(&pushed.body));
    let mut inbound = json!({"name": "calls", "plugin": "calls"});
    inbound.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    app.api.post("/v1/inbounds", &inbound).await.expect(201);
}

async fn call(app: &App, headers: &[(&str, &str)]) -> Answer {
    app.api.anonymous().send(Method::POST, "/v1/inbound/calls", headers, Bytes::from("{}")).await
}

#[test]
fn more_calls_than_allowed_are_told_when_to_come_again() {
    run(async |app| {
        open(app, receiver(), json!({"rate_limit": {"per_second": 1, "burst": 3}})).await;
        let began = std::time::Instant::now();
        let (mut taken, mut refused) = (0_u64, 0_u64);
        for _ in 0..20 {
            let answer = call(app, &[]).await;
            if answer.status == 200 {
                taken += 1;
                continue;
            }
            let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert_eq!(wait, 1);
            answer.expect_problem(429, "rate_limited");
            refused += 1;
        }
        let allowed = 3 + began.elapsed().as_secs() + 1;
        assert!((3..=allowed).contains(&taken) && refused > 0, "{taken} taken, {refused} refused, {allowed} allowed");
        assert_eq!(counted(app, "rate_limited").await, refused);
        // It comes back by itself.
        eventually("a call is taken again", async || match call(app, &[]).await.status {
            200 => Ok(()),
            status => Err(status.to_string()),
        })
        .await;
    });
}

#[test]
fn a_receiver_that_loops_fails_its_caller_and_nobody_else() {
    run(async |app| {
        open(app, receiver().at("receive", LOOP), json!({})).await;
        for _ in 0..12 {
            let answer = call(app, &[]).await;
            let told = String::from_utf8_lossy(&answer.body).into_owned();
            answer.expect_problem(502, "plugin_fault");
            assert!(!told.contains("cpu_limit") && !told.contains("calls@"), "a stranger is told too much: {told}");
        }
        assert_eq!(counted(app, "plugin_fault").await, 12);
        assert!(app.engine.log().contains("cpu_limit"), "whoever runs the engine is told why");
        app.receiver.always("/good", 200);
        let good = app.endpoint_at("/good", &["order.paid"]).await;
        app.api.emit("order.paid", json!({})).await;
        app.api.delivery_in(&good, "succeeded").await;
        assert_eq!(app.api.get("/healthz").await.status, 200);
        // A version that works is in use from the next call on.
        let better = receiver().swap("(i32.const 2064) \"0.1.0\"", "(i32.const 2064) \"0.1.1\"").build();
        let headers = [("content-type", "application/wasm")];
        let pushed = app.api.send(Method::POST, "/v1/plugins?channel=stable", &headers, better.into()).await;
        assert!(matches!(pushed.status, 200..=202), "{}", String::from_utf8_lossy(&pushed.body));
        assert_eq!(call(app, &[]).await.status, 200);
    });
}

#[test]
fn a_refusal_is_told_by_whether_another_try_is_of_use() {
    let problem = |retryable: u32| {
        let words = [(1200, 1), (1204, 2112), (1208, 3), (1212, 2080), (1216, 5), (1220, retryable)];
        words.map(|(at, word)| format!("(i32.store (i32.const {at}) (i32.const {word}))")).concat()
    };
    run(async |app| {
        open(app, receiver().at("receive", &problem(0)), json!({})).await;
        let answer = call(app, &[]).await;
        assert!(!String::from_utf8_lossy(&answer.body).contains("Calls"), "the plugin's words are the operator's");
        answer.expect_problem(400, "inbound_refused");
        let later = receiver().at("receive", &problem(1));
        let later = later.swap("(i32.const 2064) \"0.1.0\"", "(i32.const 2064) \"0.1.1\"").build();
        let headers = [("content-type", "application/wasm")];
        app.api.send(Method::POST, "/v1/plugins?channel=stable", &headers, later.into()).await.expect_any();
        let answer = call(app, &[]).await;
        assert_eq!(answer.headers["retry-after"], "2");
        answer.expect_problem(503, "inbound_unavailable");
        assert_eq!(counted(app, "refused").await, 2);
    });
}

#[test]
fn the_callers_credentials_reach_the_plugin_and_no_log() {
    // Logs every header, and answers with every header.
    let echo = "(call $log (i32.const 3) (i32.const 2080) (i32.const 5) (local.get 6) (local.get 7))
                (i32.store (i32.const 1208) (local.get 6)) (i32.store (i32.const 1212) (local.get 7))";
    run(async |app| {
        open(app, receiver().at("receive", echo), json!({})).await;
        let headers =
            [("authorization", "Basic YmFuazpDQU5BUlkx"), ("cookie", "session=CANARY2"), ("x-own", "visible")];
        let answer = call(app, &headers).await;
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(
            (header("authorization"), header("cookie")),
            (Some("Basic YmFuazpDQU5BUlkx"), Some("session=CANARY2"))
        );
        assert_eq!(header("content-length"), Some("0"), "the engine's own, not what the plugin repeats");
        assert!(header("content-security-policy").unwrap().contains("sandbox"));
        assert_eq!(answer.status, 200);
        let log = app.engine.log();
        assert!(log.contains("x-own=visible"), "what the plugin logs is kept");
        assert!(!log.contains("CANARY") && !log.contains("YmFuazpDQU5BUlkx"), "a credential is in the log");
    });
}

#[test]
fn a_receiver_keeps_its_state_from_call_to_call_and_over_a_restart() {
    // Answers with what it kept, then keeps its title.
    let keep = "(call $state_get (i32.const 2112) (i32.const 3) (i32.const 4096))
                (i32.store (i32.const 1216) (i32.load8_u (i32.const 4100)))
                (i32.store (i32.const 1220) (i32.load (i32.const 4104)))
                (i32.store (i32.const 1224) (i32.load (i32.const 4108)))
                (call $state_put (i32.const 2112) (i32.const 3) (i32.const 2080) (i32.const 5) (i32.const 4128))";
    run(async |app| {
        open(app, receiver().at("receive", keep), json!({})).await;
        assert_eq!(call(app, &[]).await.body, Bytes::new());
        assert_eq!(call(app, &[]).await.body, Bytes::from("Calls"));
        app.engine.kill().await;
        app.engine.start_again().await;
        assert_eq!(call(app, &[]).await.body, Bytes::from("Calls"));
        app.api.delete("/v1/inbounds/calls").await.expect(204);
        app.api.post("/v1/inbounds", &json!({"name": "calls", "plugin": "calls"})).await.expect(201);
        assert_eq!(call(app, &[]).await.body, Bytes::new(), "what was kept went with the inbound");
    });
}

#[test]
fn a_name_that_is_disabled_looks_like_one_that_is_not_there() {
    run(async |app| {
        open(app, receiver(), json!({})).await;
        assert_eq!(call(app, &[]).await.status, 200);
        app.api.patch("/v1/inbounds/calls", &json!({"enabled": false})).await.expect(200);
        let disabled = call(app, &[]).await;
        let nobody = app.api.anonymous().send(Method::POST, "/v1/inbound/nobody", &[], Bytes::from("{}")).await;
        assert_eq!(disabled.body, nobody.body);
        disabled.expect_problem(404, "not_found");
        app.api.patch("/v1/inbounds/calls", &json!({"enabled": true})).await.expect(200);
        assert_eq!(call(app, &[]).await.status, 200);
        app.api.delete("/v1/inbounds/calls").await.expect(204);
        call(app, &[]).await.expect_problem(404, "not_found");
        assert_eq!(counted(app, "not_found").await, 3);
    });
}

#[test]
fn a_plugin_is_bound_only_to_what_it_is_made_for() {
    run(async |app| {
        open(app, receiver(), json!({})).await;
        let inbound = |plugin: &str| json!({"name": "other", "plugin": plugin});
        let blamed =
            async |plugin: &str| app.api.post("/v1/inbounds", &inbound(plugin)).await.expect_problem(422, "invalid");
        assert_eq!(
            (blamed("gsan").await, blamed("nobody").await),
            (vec!["plugin".to_owned()], vec!["plugin".to_owned()])
        );
        let fields = json!({"url": app.receiver.url("/x"), "event_types": ["a"], "plugin": "calls"});
        let refused = app.api.post("/v1/endpoints", &crate::harness::app::endpoint(fields)).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["plugin"]);
        let config = json!({"name": "other", "plugin": "calls", "config": [1]});
        let refused = app.api.post("/v1/inbounds", &config).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["config"]);
        app.api
            .post("/v1/inbounds", &json!({"name": "calls", "plugin": "calls"}))
            .await
            .expect_problem(409, "already_exists");

        // Nor does a channel move to a version that is made for something else.
        let integrator = crate::harness::guests::guest()
            .swap("(i32.const 2048) \"guest\"", "(i32.const 2048) \"calls\"")
            .swap("(i32.const 2064) \"0.1.0\"", "(i32.const 2064) \"0.2.0\"")
            .build();
        let push = async |channel: &str| {
            let path = format!("/v1/plugins?channel={channel}");
            let headers = [("content-type", "application/wasm")];
            app.api.send(Method::POST, &path, &headers, integrator.clone().into()).await
        };
        let refused = push("stable").await;
        assert!(String::from_utf8_lossy(&refused.body).contains("inbound calls"), "it names who has it");
        refused.expect_problem(409, "config_mismatch");
        push("next").await.expect_any();
        let refused = app.api.post("/v1/plugins/calls/promote", &json!({"version": "0.2.0"})).await;
        refused.expect_problem(409, "config_mismatch");
        assert_eq!(call(app, &[]).await.status, 200);
        let tried = json!({"version": "0.1.0", "event": {"type": "a", "payload": 1}});
        app.api.post("/v1/plugins/calls/try", &tried).await.expect_problem(422, "invalid");
    });
}

#[test]
fn inbounds_are_the_operators_and_each_change_is_audited() {
    run(async |app| {
        open(app, receiver(), json!({"description": "Calls", "max_body_bytes": 77})).await;
        let token = async |role: &str, integrator: Option<&str>| {
            let mut body = json!({"client": role, "role": role});
            if let Some(integrator) = integrator {
                body["integrator"] = json!(integrator);
            }
            let made = app.api.post("/v1/tokens", &body).await.expect(201);
            app.api.with_token(made["token"].as_str().unwrap())
        };
        let (auditor, integrator) = (token("auditor", None).await, token("integrator", Some("partner")).await);
        let shown = auditor.get("/v1/inbounds/calls").await.expect(200);
        assert_eq!((&shown["max_body_bytes"], &shown["rate_limit"]["burst"]), (&json!(77), &json!(40)), "{shown}");
        auditor.patch("/v1/inbounds/calls", &json!({"enabled": false})).await.expect_problem(403, "forbidden");
        auditor.delete("/v1/inbounds/calls").await.expect_problem(403, "forbidden");
        integrator.get("/v1/inbounds").await.expect_problem(403, "forbidden");
        app.api.patch("/v1/inbounds/calls", &json!({"name": "x"})).await.expect_problem(422, "invalid");
        app.api.patch("/v1/inbounds/calls", &json!({"description": "", "config": null})).await.expect(200);
        let listed = app.engine.client(&["inbound", "list"]).await;
        assert!(String::from_utf8_lossy(&listed.stdout).contains("/v1/inbound/calls"));
        let shown = app.engine.client(&["inbound", "show", "calls"]).await;
        assert!(String::from_utf8_lossy(&shown.stdout).contains("20 a second, 40 at once"));
        let deleted = app.engine.client(&["inbound", "delete", "calls"]).await;
        assert!(deleted.status.success());
        app.api.get("/v1/inbounds/calls").await.expect_problem(404, "not_found");
        let audit = app.api.get("/v1/audit?limit=500").await.expect(200);
        let entries = audit["items"].as_array().unwrap().iter().filter(|entry| entry["object"] == "calls");
        let mut actions: Vec<_> = entries.filter_map(|entry| entry["action"].as_str()).collect();
        actions.retain(|action| action.starts_with("inbound."));
        actions.sort_unstable();
        assert_eq!(actions, ["inbound.create", "inbound.delete", "inbound.update"]);
    });
}
