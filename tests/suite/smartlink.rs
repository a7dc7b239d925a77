//! SmartLink through a whole engine, against its stand-in: tables as numbered messages, and the queue as a feed.

use std::{collections::BTreeSet, time::Duration};

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    harness::{App, api::id, within},
    sync_world::{World, with_world},
};

/// An endpoint at the stand-in, with a client of RAC.
async fn endpoint(app: &App, world: &World) -> String {
    let ready = world.stub.ready();
    let auth = json!({"type": "oauth2", "token_url": format!("{}/totvs.rac/connect/token", world.stub.address()),
        "client_id": ready.client_id, "client_secret": ready.client_secret, "scope": "authorization_api"});
    id(&app.endpoint(json!({"url": format!("{}/", world.stub.address()), "event_types": [], "auth": auth})).await)
}

fn config(world: &World) -> Value {
    json!({"base_url": world.stub.address(), "tenant_id": world.stub.ready().tenant})
}

/// Answers that the stand-in refused, with the reason it wrote down.
async fn refused(world: &World) -> Vec<Value> {
    let calls = world.stub(Method::GET, "requests?path=/api/v1/ingestion&limit=10000", Value::Null).await;
    let is_refused = |call: &&Value| call["reason"].is_string();
    calls["items"].as_array().unwrap().iter().filter(is_refused).cloned().collect()
}

#[test]
fn p24_a_table_goes_to_smartlink_in_numbered_messages_whatever_is_killed() {
    with_world(400, async |app, world| {
        let endpoint = endpoint(app, world).await;
        let body = json!({"name": "smartlink", "schedule": {"kind": "always"}, "run": {
            "kind": "sync", "source": {"kind": "table", "connection": "erp"},
            "sink": {"plugin": "smartlink", "endpoint": endpoint, "config": config(world)},
            "streams": [{"name": "customers", "table": "t", "key": ["id"], "watermark": "S_T_A_M_P_",
                "soft_delete": {"column": "d", "value": "*"}, "target": "customers"}],
            "page_rows": 50
        }});
        app.api.post("/v1/jobs", &body).await.expect(201);
        world.equal().await;
        for n in 0..6_u32 {
            let now = world.source.now();
            // Two changes within a second are two passes, as a rule.
            for half in 0..2 {
                let sql = format!("UPDATE t SET v = 'c{n}-{half}', S_T_A_M_P_ = {now} WHERE id % 5 = {}", n % 5);
                world.source.execute(&sql).await;
                tokio::time::sleep(Duration::from_millis(350)).await;
            }
            world.source.execute(&format!("UPDATE t SET d = '*', S_T_A_M_P_ = {now} WHERE id = {}", 300 + n)).await;
            if n.is_multiple_of(2) {
                app.engine.kill().await;
                app.engine.start_again().await;
            }
        }
        let rows = world.equal().await;
        assert_eq!(rows, 394);
        assert_eq!(refused(world).await, Vec::<Value>::new(), "no number twice, none left out");
    });
}

#[test]
fn messages_of_the_queue_become_events_once_and_are_acknowledged_after_they_are_kept() {
    const MESSAGES: u32 = 60;
    with_world(1, async |app, world| {
        let ready = world.stub.ready();
        world.stub(Method::POST, "queues", json!({"audience": ready.client_id})).await;
        app.receiver.always("/messages", 200);
        app.endpoint_at("/messages", &["smartlink.message"]).await;
        let endpoint = endpoint(app, world).await;
        let mut config = config(world);
        config["receive"] = json!({"max_messages": 7});
        let body = json!({"name": "queue", "schedule": {"kind": "always"}, "run": {"kind": "poll", "plugin": "smartlink",
            "config": config, "stream": "queue", "event_type": "smartlink.message", "subject": "/data/number",
            "endpoint": endpoint}});
        app.api.post("/v1/jobs", &body).await.expect(201);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=authorization_api",
            ready.client_id, ready.client_secret
        );
        let token = http
            .post(format!("{}/totvs.rac/connect/token", world.stub.address()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let token: Value = serde_json::from_str(&token.send().await.unwrap().text().await.unwrap()).unwrap();
        let token = token["access_token"].as_str().unwrap().to_owned();
        for n in 0..MESSAGES {
            let message = json!({"specversion": "1.0", "type": "Invoice", "tenantId": ready.tenant, "id": format!("m-{n}"),
                "time": "2026-03-02T10:00:00Z", "data": {"number": n}});
            let url = format!("{}/api/v1/link/send/Invoice/{}", world.stub.address(), ready.client_id);
            let sent = http.post(url).bearer_auth(&token).body(message.to_string()).send().await.unwrap();
            assert_eq!(sent.status(), 200);
            if n % 20 == 10 {
                app.engine.kill().await;
                app.engine.start_again().await;
            }
        }
        within(Duration::from_secs(90), "every message is acknowledged", async || {
            let messages = world.stub(Method::GET, "messages", Value::Null).await;
            let all = messages["items"].as_array().unwrap();
            let open = all.iter().filter(|message| message["state"] != "done").count();
            if all.len() == MESSAGES as usize && open == 0 { Ok(()) } else { Err(format!("{open} of {}", all.len())) }
        })
        .await;
        app.api.settled().await;
        let events = app.api.get("/v1/events?event_type=smartlink.message&limit=500").await.expect(200);
        let subjects: BTreeSet<_> =
            events["items"].as_array().unwrap().iter().map(|one| one["subject"].as_str().unwrap().to_owned()).collect();
        assert_eq!((events["total"].as_u64(), subjects.len()), (Some(MESSAGES.into()), MESSAGES as usize));
        let came: BTreeSet<_> =
            app.receiver.seen("/messages").iter().map(|one| one.json()["data"]["number"].to_string()).collect();
        assert_eq!(came.len(), MESSAGES as usize);
    });
}

#[test]
fn p12_a_running_job_reaches_no_host_that_is_not_released_to_it() {
    with_world(20, async |app, world| {
        let job = world.job(app).await;
        world.equal().await;
        let path = format!("/v1/jobs/{}", id(&job));
        let failed_with = async |app: &App, code: &str| {
            within(Duration::from_secs(60), "a run fails", async || {
                let runs = app.api.get(&format!("{path}/runs?limit=50")).await.expect(200);
                let found = runs["items"].as_array().unwrap().iter().find(|run| run["error"]["code"] == code).cloned();
                found.ok_or_else(|| runs.to_string())
            })
            .await
        };
        let change = format!("UPDATE t SET v = 'new', S_T_A_M_P_ = {} WHERE id = 7", world.source.now());
        // The plugin names another host than the endpoint's: nobody granted it.
        let mut run = job["run"].clone();
        run["sink"]["config"]["base_url"] = json!("http://127.0.0.9:9");
        app.api.patch(&path, &json!({"run": run, "pause_after_failures": 100})).await.expect(200);
        world.source.execute(&change).await;
        let refused = failed_with(app, "host_denied").await;
        assert!(refused["error"]["message"].as_str().unwrap().contains("127.0.0.9"), "{refused}");
        app.api.patch(&path, &json!({"run": job["run"]})).await.expect(200);
        world.equal().await;
        // The node's operator releases these addresses no more: the job's own calls are refused where they leave.
        app.engine.kill().await;
        app.engine.set("egress.allow", "::1/128");
        app.engine.start_again().await;
        let calls = world.stub(Method::GET, "counts", Value::Null).await["calls"].clone();
        world.source.execute(&change.replace("'new'", "'newer'")).await;
        let refused = failed_with(app, "egress_denied").await;
        assert!(refused["error"]["message"].as_str().unwrap().contains("127.0.0.1"), "{refused}");
        assert_eq!(world.stub(Method::GET, "counts", Value::Null).await["calls"], calls, "nothing went out");
        app.engine.kill().await;
        app.engine.set("egress.allow", "127.0.0.0/8,::1/128");
        app.engine.start_again().await;
        app.api.post(&format!("{path}/run"), &Value::Null).await.expect(202);
        world.equal().await;
    });
}
