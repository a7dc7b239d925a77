//! Secrets that are kept reach nobody by a detour: not by another address, not by a plugin that was not meant, not by a
//! plugin's new version.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{
    App, Receiver, Setup,
    api::{Answer, Api, id},
    app::endpoint,
    guests::{Guest, guest, store},
    run, run_with,
};

/// A text that must come to the partner it was given for, and to nobody else.
const SECRET: &str = "canary-kept-secret-4711";

/// A client of a role; one of the role `integrator` is the test's partner.
async fn client(app: &App, role: &str, more: Value) -> Api {
    let mut body = json!({"client": format!("{role}-{}", more.to_string().len()), "role": role});
    if role == "integrator" {
        body["integrator"] = json!("partner");
    }
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = app.api.post("/v1/tokens", &body).await.expect(201);
    app.api.with_token(made["token"].as_str().unwrap())
}

async fn push(api: &Api, guest: Guest, query: &str) -> Answer {
    let path = format!("/v1/plugins?{query}");
    api.send(Method::POST, &path, &[("content-type", "application/wasm")], guest.build().into()).await
}

/// The template in a version of its own.
fn version(number: &str) -> Guest {
    guest().swap("(i32.const 2064) \"0.1.0\"", &format!("(i32.const 2064) {number:?}"))
}

#[test]
fn a_kept_secret_does_not_go_along_to_another_address() {
    run(async |app| {
        let mine = Receiver::start().await;
        mine.always("/mine", 200);
        app.receiver.always("/hook", 200);
        app.receiver.always("/moved", 200);
        let auth = json!({"type": "basic", "username": "ons", "password": SECRET});
        let fields = json!({"url": app.receiver.url("/hook"), "event_types": ["P1"], "auth": auth,
            "headers": {"x-key": "a"}});
        let path = format!("/v1/endpoints/{}", id(&app.endpoint(fields).await));
        let narrowed = client(app, "admin", json!({"scopes": ["endpoints:write", "deliveries:write"]})).await;
        let operator = client(app, "operator", json!({})).await;
        let partner = client(app, "integrator", json!({})).await;
        let url = mine.url("/mine");
        for client in [&operator, &partner, &narrowed] {
            let alone = client.patch(&path, &json!({"url": url})).await;
            assert!(String::from_utf8_lossy(&alone.body).contains("give it again"), "the cure is told");
            assert_eq!(alone.expect_problem(422, "invalid"), ["auth", "headers"]);
            // A form that is sent back without the password it was never shown gives nothing anew.
            let form = json!({"url": url, "auth": {"type": "basic", "username": "ons"}, "headers": {"x-key": "a"}});
            assert_eq!(client.patch(&path, &form).await.expect_problem(422, "invalid"), ["auth"]);
            client.post(&format!("{path}/test"), &json!({"event_type": "P1"})).await.expect(200);
        }
        assert_eq!(mine.seen_total(), 0, "a kept secret went to another address");
        assert_eq!(app.receiver.seen("/hook").len(), 3);
        // Another path of the same address is free.
        partner.patch(&path, &json!({"url": app.receiver.url("/moved")})).await.expect(200);
        // What is given anew goes there, and what is given up need not be.
        let anew = json!({"url": url, "auth": {"type": "basic", "username": "me", "password": "own"}, "headers": {}});
        partner.patch(&path, &anew).await.expect(200);
        partner.post(&format!("{path}/test"), &json!({"event_type": "P1"})).await.expect(200);
        assert_eq!(mine.only("/mine").await.header("authorization"), "Basic bWU6b3du");
        let back = json!({"url": app.receiver.url("/hook"), "auth": {"type": "none"}});
        operator.patch(&path, &back).await.expect(200);
        // Whoever may set secrets may move them.
        app.api.patch(&path, &json!({"auth": {"type": "authorization", "value": SECRET}})).await.expect(200);
        app.api
            .patch(&path, &json!({"url": app.receiver.url("/hook").replace("127.0.0.1", "localhost")}))
            .await
            .expect(200);
    });
}

#[test]
fn every_kind_of_secret_that_a_partner_is_sent_stays_with_its_address() {
    run(async |app| {
        let operator = client(app, "operator", json!({})).await;
        let kinds = [
            json!({"type": "authorization", "value": SECRET}),
            json!({"type": "header", "name": "x-key", "value": SECRET}),
            json!({"type": "oauth2", "token_url": app.receiver.url("/token"), "client_id": "a", "client_secret": SECRET}),
        ];
        for auth in kinds {
            let made = app.endpoint(json!({"url": "https://127.0.0.1:9/a", "event_types": ["P1"], "auth": auth})).await;
            let path = format!("/v1/endpoints/{}", id(&made));
            for url in ["https://127.0.0.1:10/a", "http://127.0.0.1:9/a", "https://127.0.0.2:9/a"] {
                let refused = operator.patch(&path, &json!({"url": url})).await;
                assert_eq!(refused.expect_problem(422, "invalid"), ["auth"], "{auth} {url}");
            }
            operator.patch(&path, &json!({"url": "https://127.0.0.1:9/b"})).await.expect(200);
            operator.patch(&path, &json!({"url": "https://127.0.0.1:10/b", "auth": auth})).await.expect(200);
        }
    });
}

/// A guest that asks for the credential `key` on its way to a URL.
fn showing(url: &str) -> Guest {
    let length = u32::try_from(url.len()).unwrap();
    let request = [(1216, 3000), (1220, length), (1248, 1), (1252, 2256), (1256, 3)];
    guest()
        .at("data", &format!("(data (i32.const 3000) {url:?})"))
        .at("transform", &request.map(|(address, value)| store(address, value)).concat())
}

/// A guest of a version that sends to a URL, and asks for no credential.
fn going(number: &str, url: &str) -> Guest {
    let length = u32::try_from(url.len()).unwrap();
    version(number)
        .at("data", &format!("(data (i32.const 3000) {url:?})"))
        .at("transform", &[(1216, 3000), (1220, length)].map(|(address, value)| store(address, value)).concat())
}

#[test]
fn an_endpoints_own_secret_and_headers_go_to_no_other_host_that_its_plugin_was_granted() {
    run(async |app| {
        let granted = Receiver::start().await;
        granted.always("/elsewhere", 200);
        app.receiver.always("/other", 200);
        push(&app.api, going("0.1.0", &granted.url("/elsewhere")), "channel=stable").await.expect_any();
        app.api.put("/v1/plugins/guest/grants", &json!({"hosts": [granted.url("")]})).await.expect(200);
        let auth = json!({"type": "authorization", "value": SECRET});
        app.endpoint(json!({"url": app.receiver.url("/hook"), "event_types": ["P1"], "plugin": "guest", "auth": auth,
            "headers": {"x-own": SECRET}}))
            .await;
        app.api.emit("P1", json!({})).await;
        let there = granted.only("/elsewhere").await;
        for name in ["authorization", "x-own"] {
            assert!(there.headers.get(name).is_none(), "{name} went to another host: {:?}", there.headers);
        }
        app.api.settled().await;
        // Any path of its own origin is its own address.
        push(&app.api, going("0.2.0", &app.receiver.url("/other")), "channel=stable").await.expect_any();
        app.api.emit("P1", json!({})).await;
        let here = app.receiver.only("/other").await;
        assert_eq!((here.header("authorization"), here.header("x-own")), (SECRET, SECRET));
        app.api.settled().await;
    });
}

/// A credential profile of the secret `key`.
fn profile(name: &str) -> Value {
    json!({"name": name, "type": "headers", "headers": [{"name": "x-auth-key", "secret": "key"}]})
}

#[test]
fn a_plugins_credentials_go_to_no_address_that_was_not_granted_to_it() {
    run(async |app| {
        let mine = Receiver::start().await;
        let (url, origin) = (mine.url("/mine"), mine.url(""));
        push(&app.api, showing(&url), "channel=stable").await.expect_any();
        app.api.put("/v1/secrets/key", &json!({"value": SECRET})).await.expect_any();
        let granted =
            app.api.put("/v1/plugins/guest/grants", &json!({"credentials": [profile("key")]})).await.expect(200);
        assert_eq!(granted["addresses_not_granted"], json!([]), "nothing uses it yet");
        app.api.post("/v1/event-types", &json!({"key": "P1"})).await.expect(201);
        let operator = client(app, "operator", json!({})).await;
        let partner = client(app, "integrator", json!({})).await;
        let new = |fields: Value| endpoint(fields);
        let with = json!({"url": url, "event_types": ["P1"], "plugin": "guest"});
        let without = json!({"url": url, "event_types": ["P1"]});

        // A partner does not choose a plugin, whatever it may do.
        assert_eq!(partner.post("/v1/endpoints", &new(with.clone())).await.expect_problem(422, "invalid"), ["plugin"]);
        let gsan = json!({"url": url, "event_types": ["P1"], "plugin": "gsan"});
        assert_eq!(partner.post("/v1/endpoints", &new(gsan)).await.expect_problem(422, "invalid"), ["plugin"]);
        let own = format!("/v1/endpoints/{}", id(&partner.post("/v1/endpoints", &new(without)).await.expect(201)));
        let named = json!({"plugin": "guest"});
        assert_eq!(partner.patch(&own, &named).await.expect_problem(422, "invalid"), ["plugin"]);

        // An operator does, but not for an address that nobody granted, by whichever way.
        assert_eq!(operator.post("/v1/endpoints", &new(with.clone())).await.expect_problem(422, "invalid"), ["url"]);
        assert_eq!(operator.patch(&own, &named).await.expect_problem(422, "invalid"), ["plugin"]);
        let inherited = operator.patch("/v1/integrators/partner", &named).await;
        assert!(String::from_utf8_lossy(&inherited.body).contains(&origin), "the address is told");
        assert_eq!(inherited.expect_problem(422, "invalid"), ["plugin"]);
        let plain = json!({"url": app.receiver.url("/hook"), "event_types": [], "plugin": "guest"});
        let there = format!("/v1/endpoints/{}", id(&app.api.post("/v1/endpoints", &new(plain)).await.expect(201)));
        assert_eq!(operator.patch(&there, &json!({"url": url})).await.expect_problem(422, "invalid"), ["url"]);
        app.api.emit("P1", json!({})).await;
        app.api.settled().await;
        assert!(mine.seen("/mine").iter().all(|got| got.headers.get("x-auth-key").is_none()));

        // What those who may manage secrets set up, or was there before the grant, is told of.
        let shown = app.api.get("/v1/plugins/guest/grants").await.expect(200);
        assert_eq!(shown["addresses_not_granted"], json!([app.receiver.url("")]));
        let here = json!({"credentials": [profile("key")], "hosts": [app.receiver.url("")]});
        let granted = app.api.put("/v1/plugins/guest/grants", &here).await.expect(200);
        assert_eq!(granted["addresses_not_granted"], json!([]));

        // Once it is granted, both do.
        mine.always("/mine", 200);
        let grants = json!({"credentials": [profile("key")], "hosts": [origin]});
        app.api.put("/v1/plugins/guest/grants", &grants).await.expect(200);
        operator.patch("/v1/integrators/partner", &named).await.expect(200);
        partner.patch(&own, &named).await.expect(200);
        app.api.delete(&there).await.expect(204);
        let before = mine.seen_total();
        app.api.emit("P1", json!({})).await;
        let seen = mine.wait("/mine", before + 1).await;
        assert_eq!(seen.last().unwrap().header("x-auth-key"), SECRET);
        // What the integrator's record names shapes a partner's endpoints at granted addresses only.
        let elsewhere = json!({"url": app.receiver.url("/hook"), "event_types": []});
        assert_eq!(partner.post("/v1/endpoints", &new(elsewhere)).await.expect_problem(422, "invalid"), ["url"]);
        partner.patch(&own, &json!({"url": mine.url("/other")})).await.expect(200);
        app.api.settled().await;
    });
}

#[test]
fn a_partner_takes_no_plugin_off_that_it_could_not_put_back() {
    run(async |app| {
        push(&app.api, version("0.1.0"), "channel=stable").await.expect_any();
        let fields = json!({"url": app.receiver.url("/hook"), "event_types": ["P1"], "plugin": "guest"});
        let path = format!("/v1/endpoints/{}", id(&app.endpoint(fields).await));
        let partner = client(app, "integrator", json!({})).await;
        let none = json!({"plugin": null});
        assert_eq!(partner.patch(&path, &none).await.expect_problem(422, "invalid"), ["plugin"]);
        partner.patch(&path, &json!({"plugin": "guest", "description": "ours"})).await.expect(200);
        app.api.patch("/v1/integrators/partner", &json!({"plugin": "guest"})).await.expect(200);
        partner.patch(&path, &none).await.expect(200);
        partner.patch(&path, &json!({"plugin": "guest"})).await.expect(200);
        // None that there never was stays none.
        app.api.patch("/v1/integrators/partner", &none).await.expect(200);
        app.api.patch(&path, &none).await.expect(200);
        partner.patch(&path, &json!({"plugin": null, "description": "still ours"})).await.expect(200);
    });
}

#[test]
fn a_jobs_plugin_shows_its_credentials_at_granted_addresses_only() {
    run_with(Setup::new().set("connections.erp.url", "sqlite:never-opened.db"), async |app| {
        app.api.put("/v1/secrets/key", &json!({"value": SECRET})).await.expect_any();
        app.api.put("/v1/plugins/carol/grants", &json!({"credentials": [profile("carol")]})).await.expect(200);
        let operator = client(app, "operator", json!({})).await;
        let mine = json!({"url": "http://127.0.0.1:9/", "event_types": []});
        let lent = id(&operator.post("/v1/endpoints", &endpoint(mine)).await.expect(201));
        let job = json!({"name": "out", "schedule": {"kind": "manual"}, "run": {
            "kind": "sync", "source": {"kind": "table", "connection": "erp"},
            "sink": {"plugin": "carol", "endpoint": lent, "config": {"base_url": "http://127.0.0.1:9", "connector_id": "c"}},
            "streams": [{"name": "t", "table": "t", "key": ["id"], "watermark": "S_T_A_M_P_", "target": "t"}]
        }});
        let refused = operator.post("/v1/jobs", &job).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["run.sink.plugin"]);
        let grants = json!({"credentials": [profile("carol")], "hosts": ["http://127.0.0.1:9"]});
        app.api.put("/v1/plugins/carol/grants", &grants).await.expect(200);
        operator.post("/v1/jobs", &job).await.expect(201);
        let without = app.api.put("/v1/plugins/carol/grants", &json!({"credentials": [profile("carol")]})).await;
        assert_eq!(without.expect(200)["addresses_not_granted"], json!(["http://127.0.0.1:9"]), "a job is lent it");
        app.api.put("/v1/plugins/carol/grants", &grants).await.expect(200);
        let path = format!("/v1/endpoints/{lent}");
        let moved = operator.patch(&path, &json!({"url": "http://127.0.0.1:10/"})).await;
        assert_eq!(moved.expect_problem(422, "invalid"), ["url"]);
        app.api.patch(&path, &json!({"url": "http://127.0.0.1:10/"})).await.expect(200);
    });
}

#[test]
fn a_version_that_reads_secrets_whole_is_let_run_by_those_who_manage_them() {
    run(async |app| {
        push(&app.api, version("0.1.0"), "channel=stable").await.expect_any();
        app.api.put("/v1/secrets/key", &json!({"value": SECRET})).await.expect_any();
        let grants = json!({"reveal": ["key"], "hosts": [app.receiver.url("")]});
        app.api.put("/v1/plugins/guest/grants", &grants).await.expect(200);
        let operator = client(app, "operator", json!({})).await;
        let next = json!({"version": "0.2.0"});

        let refused = push(&operator, version("0.2.0"), "channel=stable").await;
        assert!(String::from_utf8_lossy(&refused.body).contains("promote"), "the cure is told");
        refused.expect_problem(403, "forbidden");
        push(&operator, version("0.2.0"), "channel=next").await.expect_any();
        for path in ["/v1/plugins/guest/promote", "/v1/plugins/guest/channels/stable"] {
            operator.post(path, &next).await.expect_problem(403, "forbidden");
        }
        let bound =
            |plugin: &str| endpoint(json!({"url": app.receiver.url("/hook"), "event_types": [], "plugin": plugin}));
        for plugin in ["guest@next", "guest@0.2.0"] {
            let refused = operator.post("/v1/endpoints", &bound(plugin)).await;
            assert_eq!(refused.expect_problem(422, "invalid"), ["plugin"], "{plugin}");
        }
        operator.post("/v1/endpoints", &bound("guest")).await.expect(201);
        let elsewhere = json!({"url": "http://127.0.0.1:9/", "event_types": [], "plugin": "guest"});
        let refused = operator.post("/v1/endpoints", &endpoint(elsewhere)).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["url"]);

        // One who manages secrets lets it run; from then on there is a way back, and forth again.
        app.api.post("/v1/plugins/guest/promote", &next).await.expect(200);
        let back = operator.post("/v1/plugins/guest/rollback", &json!({})).await.expect(200);
        assert_eq!(back["version"], "0.1.0", "{back}");
        operator.post("/v1/plugins/guest/promote", &next).await.expect(200);
        // A channel that something uses is no place to put a version aside.
        app.api.post("/v1/endpoints", &bound("guest@next")).await.expect(201);
        push(&operator, version("0.3.0"), "channel=next").await.expect_problem(403, "forbidden");
        push(&operator, version("0.4.0"), "development=true&channel=next").await.expect_problem(403, "forbidden");
        push(&operator, version("0.4.0"), "development=true").await.expect_any();
        // Plugins that read nothing whole go on as ever.
        let plain = |number: &str| version(number).swap("(i32.const 2048) \"guest\"", "(i32.const 2048) \"plain\"");
        push(&operator, plain("0.1.0"), "channel=stable").await.expect_any();
        push(&operator, plain("0.2.0"), "channel=stable").await.expect_any();
        operator.post("/v1/plugins/plain/rollback", &json!({})).await.expect(200);
        operator.post("/v1/endpoints", &bound("plain@0.2.0")).await.expect(201);
    });
}

#[test]
fn no_way_leads_back_to_a_version_from_before_secrets_could_be_read_whole() {
    run(async |app| {
        for number in ["0.0.9", "0.1.0"] {
            push(&app.api, version(number), "channel=stable").await.expect_any();
        }
        app.api.put("/v1/secrets/key", &json!({"value": SECRET})).await.expect_any();
        let grants = |reveal: &[&str]| json!({"reveal": reveal, "hosts": [app.receiver.url("")]});
        let granted = app.api.put("/v1/plugins/guest/grants", &grants(&["key"])).await.expect(200);
        assert!(granted.get("reveal_since").is_none(), "{granted}");
        let operator = client(app, "operator", json!({})).await;
        let back = async |api: &Api| api.post("/v1/plugins/guest/rollback", &json!({})).await;
        back(&operator).await.expect_problem(403, "forbidden");
        let old = json!({"version": "0.0.9"});
        operator.post("/v1/plugins/guest/promote", &old).await.expect_problem(403, "forbidden");
        // Somebody who manages secrets goes back: from then on it is a version that was let run, as is the one at the grant.
        back(&app.api).await.expect(200);
        operator.post("/v1/plugins/guest/promote", &json!({"version": "0.1.0"})).await.expect(200);
        back(&operator).await.expect(200);
        // The same grant once more changes nothing; one of another secret has it all looked at again.
        app.api.put("/v1/plugins/guest/grants", &grants(&["key"])).await.expect(200);
        operator.post("/v1/plugins/guest/promote", &json!({"version": "0.1.0"})).await.expect(200);
        app.api.put("/v1/plugins/guest/grants", &grants(&["key", "another"])).await.expect(200);
        back(&operator).await.expect_problem(403, "forbidden");
    });
}

#[test]
fn a_secret_that_a_delivery_reads_whole_is_in_the_audit() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let url = app.receiver.url("/hook");
        let length = u32::try_from(url.len()).unwrap();
        let whole = "(call $reveal (i32.const 2256) (i32.const 3) (i32.const 4096))
                     (i32.store (i32.const 1236) (i32.load (i32.const 4100)))
                     (i32.store (i32.const 1240) (i32.load (i32.const 4104)))";
        let guest = guest()
            .at("data", &format!("(data (i32.const 3000) {url:?})"))
            .at("transform", &format!("{}{}{whole}", store(1216, 3000), store(1220, length)));
        push(&app.api, guest, "channel=stable").await.expect_any();
        app.api.put("/v1/secrets/key", &json!({"value": SECRET})).await.expect_any();
        app.api.put("/v1/plugins/guest/grants", &json!({"reveal": ["key"]})).await.expect(200);
        let made = id(&app.endpoint(json!({"url": url, "event_types": ["P1"], "plugin": "guest"})).await);
        for _ in 0..5 {
            app.api.emit("P1", json!({})).await;
            app.api.settled().await;
        }
        assert!(app.receiver.wait("/hook", 5).await.iter().all(|got| got.text() == SECRET));
        let audit = app.api.get("/v1/audit?action=secret.reveal").await.expect(200);
        assert_eq!(audit["total"], 1, "once for a version and a place: {audit}");
        let entry = &audit["items"][0];
        assert_eq!((&entry["object"], &entry["detail"]["endpoint"]), (&json!("key"), &json!(made)), "{entry}");
        assert!(!audit.to_string().contains(SECRET));
        assert_eq!(app.api.get("/v1/audit/verify").await.expect(200)["valid"], true);
    });
}
