//! What SINtegre's users do with their webhooks: see them and the catalogue, send by hand, edit.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{App, Reply, Setup, api::id, app::endpoint, eventually, run, run_with};

/// A second try in an hour: a test sees it scheduled, never made.
pub(crate) const SCHEDULE_FAR: [u64; 2] = [0, 3_600_000];
/// A catalogue of two macro-processes, as SINtegre shows it.
const CATALOG: [(&str, &str, &str); 4] = [
    ("COIG", "Auditoria", "Contratos"),
    ("BDO", "Operação", "Tempo real"),
    ("BSO", "Operação", "Tempo real"),
    ("PMO", "Operação", "Programação"),
];

async fn catalogue(app: &App) {
    for (key, macro_process, process) in CATALOG {
        let entry =
            json!({"key": key, "title": format!("Boletim {key}"), "macro_process": macro_process, "process": process});
        app.api.post("/v1/event-types", &entry).await.expect(201);
    }
}

/// Every type of an endpoint's catalogue by key.
pub(crate) async fn entries(app: &App, endpoint: &str) -> serde_json::Map<String, Value> {
    let catalog = app.api.get(&format!("/v1/endpoints/{endpoint}/catalog")).await.expect(200);
    let mut entries = serde_json::Map::new();
    for group in catalog["groups"].as_array().unwrap() {
        for process in group["processes"].as_array().unwrap() {
            for entry in process["event_types"].as_array().unwrap() {
                entries.insert(entry["key"].as_str().unwrap().to_owned(), entry.clone());
            }
        }
    }
    entries
}

pub(crate) async fn send(app: &App, endpoint: &str, key: &str) -> crate::harness::api::Answer {
    app.api.post(&format!("/v1/endpoints/{endpoint}/event-types/{key}/send"), &json!({})).await
}

pub(crate) async fn act(app: &App, endpoint: &str, action: &str) -> Value {
    app.api.post(&format!("/v1/endpoints/{endpoint}/{action}"), &json!({})).await.expect(200)
}

/// An endpoint at a path with these types, its second try an hour away.
pub(crate) async fn webhook(app: &App, path: &str, event_types: &[&str]) -> String {
    let retry = json!({"schedule_ms": SCHEDULE_FAR});
    id(&app.endpoint(json!({"url": app.receiver.url(path), "event_types": event_types, "retry": retry})).await)
}

/// Waits until nothing is in hand.
pub(crate) async fn at_rest(app: &App) {
    eventually("no attempt is under way", async || {
        let left = app.api.delivery_count("state=delivering").await;
        if left == 0 { Ok(()) } else { Err(format!("{left}")) }
    })
    .await;
}

/// Hands in an event and waits until every endpoint has had its try.
pub(crate) async fn publish(app: &App, event_type: &str, version: u64) {
    let event = app.api.emit(event_type, json!({"version": version})).await;
    eventually("the event was tried", async || {
        let found = app.api.deliveries(&format!("event={event}")).await;
        let tried = found.iter().all(|one| one["attempts"] != 0 && one["state"] != "delivering");
        if tried { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

pub(crate) fn versions(app: &App, path: &str) -> Vec<u64> {
    app.receiver.seen(path).iter().map(|received| received.json()["version"].as_u64().unwrap()).collect()
}

#[test]
fn o16_of_what_the_filter_takes_the_newest_is_sent() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let filter = json!({"path": "/version", "lt": 10});
        let body = json!({"url": app.receiver.url("/hook"), "event_types": ["BDO"], "filter": filter,
            "retry": {"schedule_ms": SCHEDULE_FAR}});
        let endpoint = id(&app.endpoint(body).await);
        publish(app, "BDO", 1).await;
        publish(app, "BDO", 2).await;
        for filtered in [11, 12] {
            app.api.emit("BDO", json!({"version": filtered})).await;
        }
        let sent = send(app, &endpoint, "BDO").await.expect(200);
        assert_eq!(sent["outcome"], "success", "{sent}");
        assert_eq!(versions(app, "/hook"), [1, 2, 2], "the newest that the filter takes");
        let all = act(app, &endpoint, "send-all").await;
        assert_eq!((all["sent"].as_array().unwrap().len(), versions(app, "/hook").last()), (1, Some(&2)), "{all}");
        // Where it takes none at all, that is said.
        let none = json!({"filter": {"path": "/version", "lt": 0}});
        app.api.patch(&format!("/v1/endpoints/{endpoint}"), &none).await.expect(200);
        send(app, &endpoint, "BDO").await.expect_problem(409, "filtered");
        at_rest(app).await;
    });
}

#[test]
fn o4_nobody_sees_another_partners_webhooks_or_acts_on_them() {
    run(async |app| {
        let other = json!({"slug": "other", "name": "Other", "active": true, "services": ["x"]});
        app.api.post("/v1/integrators", &other).await.expect(201);
        let token = json!({"client": "partner-client", "role": "integrator", "integrator": "partner"});
        let token = app.api.post("/v1/tokens", &token).await.expect(201);
        let partner = app.api.with_token(token["token"].as_str().unwrap());
        let url = app.receiver.url("/hook");
        let own = id(&app.endpoint(json!({"url": url, "event_types": ["P1"]})).await);
        let foreign = id(&app.endpoint(json!({"url": url, "event_types": ["P1"], "integrator": "other"})).await);

        let listed = partner.get("/v1/endpoints").await.expect(200);
        assert_eq!(listed["total"], 1, "{listed}");
        assert_eq!(id(&listed["items"][0]), own);
        partner.get(&format!("/v1/endpoints/{own}/catalog")).await.expect(200);
        let at = |rest: &str| format!("/v1/endpoints/{foreign}{rest}");
        for path in [at(""), at("/catalog")] {
            partner.get(&path).await.expect_problem(404, "not_found");
        }
        partner.patch(&at(""), &json!({"description": "mine"})).await.expect_problem(404, "not_found");
        partner.delete(&at("")).await.expect_problem(404, "not_found");
        for action in ["/event-types/P1/send", "/send-all", "/resend-pending", "/test", "/rotate-secret"] {
            partner.post(&at(action), &json!({})).await.expect_problem(404, "not_found");
        }
        assert!(app.receiver.seen("/hook").is_empty());
        app.api.get(&at("")).await.expect(200);
    });
}

#[test]
fn o5_a_new_partner_has_an_empty_list() {
    run(async |app| {
        let token = json!({"client": "partner-client", "role": "integrator", "integrator": "partner"});
        let token = app.api.post("/v1/tokens", &token).await.expect(201);
        let listed = app.api.with_token(token["token"].as_str().unwrap()).get("/v1/endpoints").await.expect(200);
        assert_eq!((&listed["items"], &listed["total"]), (&json!([]), &json!(0)));
    });
}

#[test]
fn o6_a_webhook_is_description_url_and_products() {
    run(async |app| {
        let without = endpoint(json!({"description": "Boletins", "event_types": ["BDO"]}));
        assert_eq!(app.api.post("/v1/endpoints", &without).await.expect_problem(422, "invalid"), ["url"]);
        let url = app.receiver.url("/hook");
        let made = app.endpoint(json!({"description": "Boletins", "url": url, "event_types": ["BDO", "PMO"]})).await;
        let shown = app.api.get(&format!("/v1/endpoints/{}", id(&made))).await.expect(200);
        assert_eq!(
            (&shown["description"], &shown["url"], &shown["event_types"]),
            (&json!("Boletins"), &json!(url), &json!(["BDO", "PMO"]))
        );
    });
}

#[test]
fn o13_the_catalogue_is_a_tree_with_what_is_subscribed() {
    run(async |app| {
        catalogue(app).await;
        let hook = webhook(app, "/hook", &["BDO"]).await;
        let catalog = app.api.get(&format!("/v1/endpoints/{hook}/catalog")).await.expect(200);
        let groups = catalog["groups"].as_array().unwrap();
        let told: Vec<_> = groups
            .iter()
            .map(|group| {
                let processes = group["processes"].as_array().unwrap();
                let of = |process: &Value| process["event_types"].as_array().unwrap().len();
                (group["macro_process"].as_str().unwrap(), processes.iter().map(of).sum::<usize>())
            })
            .collect();
        // The engine's own facts are types of the catalogue too.
        assert_eq!(told, [("Auditoria", 1), ("Engate", 9), ("Operação", 3)], "{catalog}");
        let processes: Vec<_> = groups[2]["processes"].as_array().unwrap().iter().map(|one| &one["process"]).collect();
        assert_eq!(processes, ["Programação", "Tempo real"]);
        let all = entries(app, &hook).await;
        let subscribed: Vec<_> =
            all.iter().filter(|(_, entry)| entry["subscribed"] == true).map(|(key, _)| key).collect();
        assert_eq!(subscribed, ["BDO"]);
        assert_eq!(all["BDO"]["title"], "Boletim BDO");
        let everything = webhook(app, "/hook", &["*"]).await;
        assert!(entries(app, &everything).await.values().all(|entry| entry["subscribed"] == true));
    });
}

#[test]
fn o14_the_selection_stays_as_it_was_made() {
    run(async |app| {
        catalogue(app).await;
        let hook = webhook(app, "/hook", &["COIG"]).await;
        let ticked = async || {
            let all = entries(app, &hook).await;
            ["COIG", "BDO", "BSO"].map(|key| all[key]["subscribed"].as_bool().unwrap())
        };
        assert_eq!(ticked().await, [true, false, false]);
        let change = json!({"event_types": ["BSO"]});
        app.api.patch(&format!("/v1/endpoints/{hook}"), &change).await.expect(200);
        assert_eq!(ticked().await, [false, false, true]);
    });
}

#[test]
fn o15_the_catalogue_tells_how_the_last_notification_of_each_product_went() {
    run(async |app| {
        catalogue(app).await;
        let broken = Arc::new(Mutex::new(vec!["BSO"]));
        let kept = Arc::clone(&broken);
        app.receiver.on("/hook", move |got| {
            let of = got.json()["of"].as_str().unwrap().to_owned();
            Reply::status(if kept.lock().unwrap().contains(&of.as_str()) { 500 } else { 200 })
        });
        let hook = webhook(app, "/hook", &["BDO", "BSO", "PMO"]).await;
        let publish = async |key: &str| {
            app.api.emit(key, json!({"of": key})).await;
            app.receiver.wait("/hook", 1).await;
            at_rest(app).await;
        };
        publish("BDO").await;
        publish("BSO").await;
        let statuses = async || {
            let all = entries(app, &hook).await;
            ["BDO", "BSO", "PMO", "COIG"].map(|key| all[key]["status"].as_str().unwrap().to_owned())
        };
        assert_eq!(statuses().await, ["success", "failed", "never_sent", "never_sent"]);
        let all = entries(app, &hook).await;
        assert!(all["BDO"]["at"].is_string() && all["BDO"]["code"].is_i64() && all["BDO"]["reason"].is_null());
        assert_eq!(all["BSO"]["reason"], "server_error");
        assert!(all["PMO"]["at"].is_null() && all["PMO"]["code"].is_null());
        broken.lock().unwrap().push("BDO");
        publish("BDO").await;
        assert_eq!(statuses().await, ["failed", "failed", "never_sent", "never_sent"]);
        // A later product that waits for its first try.
        let late = json!({"retry": {"schedule_ms": [3_600_000]}});
        app.api.patch(&format!("/v1/endpoints/{hook}"), &late).await.expect(200);
        app.api.emit("PMO", json!({"of": "PMO"})).await;
        assert_eq!(statuses().await[2], "pending");
    });
}

#[test]
fn o16_enviar_sends_now_and_answers_how_it_went() {
    run(async |app| {
        app.receiver.script(
            "/hook",
            [
                Reply::status(200),
                Reply::status(202).body("recebido"),
                Reply::status(500).json(&json!({"erro": "indisponível"})),
            ],
        );
        let hook = webhook(app, "/hook", &["P1"]).await;
        send(app, &hook, "P1").await.expect_problem(409, "never_published");
        send(app, &hook, "nothing").await.expect_problem(404, "not_found");
        publish(app, "P1", 1).await;
        let sent = send(app, &hook, "P1").await.expect(200);
        assert_eq!((&sent["outcome"], &sent["status_code"]), (&json!("success"), &json!(202)), "{sent}");
        assert_eq!((&sent["response_body"], &sent["attempt"]), (&json!("recebido"), &json!(2)));
        assert!(sent["latency_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(versions(app, "/hook"), [1, 1], "exactly one more");
        let failed = send(app, &hook, "P1").await.expect(200);
        assert_eq!((&failed["outcome"], &failed["code"]), (&json!("failed"), &json!("server_error")), "{failed}");
        assert_eq!(failed["response_body"], r#"{"erro":"indisponível"}"#);
        let delivery = app.api.delivery(&hook, |_| true).await;
        assert_eq!(id(&delivery), failed["delivery"].as_str().unwrap());
        assert_eq!((&delivery["attempts"], &delivery["success"]), (&json!(3), &json!(false)));
        assert!(delivery["integrated_at"].is_string(), "when it succeeded is never rewritten");
        let attempts = app.api.attempts(&delivery).await;
        assert_eq!((&attempts[1]["trigger"], &attempts[2]["trigger"]), (&json!("manual"), &json!("manual")));

        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let down = json!({"url": format!("http://{}/", free.local_addr().unwrap())});
        drop(free);
        app.api.patch(&format!("/v1/endpoints/{hook}"), &down).await.expect(200);
        let failed = send(app, &hook, "P1").await.expect(200);
        assert_eq!((&failed["outcome"], &failed["code"]), (&json!("failed"), &json!("connect_refused")), "{failed}");
        assert!(failed["status_code"].is_null() && failed["response_body"].is_null());
        assert_eq!(app.api.delivery(&hook, |_| true).await["attempts"], 4, "one attempt more");
        assert_eq!(entries(app, &hook).await["P1"]["status"], "failed");
    });
}

#[test]
fn v10_sendings_by_hand_count_as_attempts() {
    run(async |app| {
        app.receiver.script("/hook", [Reply::status(500), Reply::status(500), Reply::status(200)]);
        let hook = webhook(app, "/hook", &["P1"]).await;
        publish(app, "P1", 1).await;
        assert_eq!(send(app, &hook, "P1").await.expect(200)["outcome"], "failed");
        assert_eq!(send(app, &hook, "P1").await.expect(200)["outcome"], "success");
        assert_eq!(app.api.delivery_in(&hook, "succeeded").await["attempts"], 3);
    });
}

#[test]
fn o16_two_clicks_at_once_make_one_attempt() {
    run(async |app| {
        app.receiver.script("/hook", [Reply::status(200), Reply::status(200).after(Duration::from_millis(600))]);
        let hook = webhook(app, "/hook", &["P1"]).await;
        publish(app, "P1", 1).await;
        let (one, two) = tokio::join!(send(app, &hook, "P1"), send(app, &hook, "P1"));
        let (one, two) = (one.expect(200), two.expect(200));
        assert_eq!((&one["attempt"], &two["attempt"]), (&json!(2), &json!(2)), "{one} {two}");
        assert_eq!([&one["joined"], &two["joined"]].iter().filter(|joined| **joined == true).count(), 1);
        assert_eq!(app.receiver.seen("/hook").len(), 2);
    });
}

#[test]
fn o16_an_endpoint_younger_than_the_event_gets_a_delivery_of_its_own() {
    run(async |app| {
        app.receiver.always("/old", 200);
        app.receiver.always("/new", 200);
        webhook(app, "/old", &["P1"]).await;
        publish(app, "P1", 1).await;
        let young = webhook(app, "/new", &["P1"]).await;
        assert_eq!(entries(app, &young).await["P1"]["status"], "never_sent");
        let sent = send(app, &young, "P1").await.expect(200);
        assert_eq!((&sent["outcome"], &sent["attempt"]), (&json!("success"), &json!(1)), "{sent}");
        assert_eq!(versions(app, "/new"), [1]);
        assert_eq!(app.api.delivery_in(&young, "succeeded").await["event"], sent["event"]);
        assert_eq!(entries(app, &young).await["P1"]["status"], "success");
        assert_eq!(app.receiver.seen("/old").len(), 1);
    });
}

#[test]
fn o17_enviar_tudo_sends_the_last_version_of_each_product() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let hook = webhook(app, "/hook", &["P1", "P2", "P3"]).await;
        for (key, version) in [("P1", 11), ("P1", 12), ("P2", 21)] {
            publish(app, key, version).await;
        }
        at_rest(app).await;
        let before = app.receiver.seen("/hook").len();
        let answer = act(app, &hook, "send-all").await;
        let mut sent = versions(app, "/hook").split_off(before);
        sent.sort_unstable();
        assert_eq!(sent, [12, 21], "the last version of each, and nothing else");
        assert_eq!((&answer["succeeded"], &answer["failed"]), (&json!(2), &json!(0)), "{answer}");
        assert_eq!(answer["skipped"], json!([{"event_type": "P3", "reason": "never_published"}]));
        let outcomes: Vec<_> = answer["sent"].as_array().unwrap().iter().map(|one| &one["event_type"]).collect();
        assert_eq!(outcomes, ["P1", "P2"]);
        assert_eq!(app.api.delivery_count(&format!("endpoint={hook}")).await, 3, "no row is added");
    });
}

#[test]
fn o18_reenviar_pendentes_sends_the_last_version_of_what_failed() {
    run(async |app| {
        let down = Arc::new(Mutex::new(true));
        let kept = Arc::clone(&down);
        app.receiver.on("/hook", move |got| {
            let version = got.json()["version"].as_u64().unwrap();
            Reply::status(if *kept.lock().unwrap() && version > 20 { 500 } else { 200 })
        });
        for schedule in [vec![0], SCHEDULE_FAR.to_vec()] {
            *down.lock().unwrap() = true;
            let keys = [format!("A{}", schedule.len()), format!("B{}", schedule.len()), format!("C{}", schedule.len())];
            let fields = json!({
                "url": app.receiver.url("/hook"), "event_types": keys, "retry": {"schedule_ms": schedule},
            });
            let hook = id(&app.endpoint(fields).await);
            for (key, version) in [(&keys[0], 1), (&keys[1], 21), (&keys[1], 22)] {
                publish(app, key, version).await;
            }
            at_rest(app).await;
            *down.lock().unwrap() = false;
            let before = app.receiver.seen("/hook").len();
            let answer = act(app, &hook, "resend-pending").await;
            assert_eq!(versions(app, "/hook").split_off(before), [22], "{answer}");
            let reasons: Vec<_> = answer["skipped"].as_array().unwrap().iter().map(|one| &one["reason"]).collect();
            assert_eq!(reasons, ["not_failed", "never_published"], "{answer}");
            let rows = app.api.deliveries(&format!("endpoint={hook}&event_type={}&sort=code", keys[1])).await;
            let told: Vec<_> = rows.iter().map(|row| (&row["state"], &row["reason"])).collect();
            assert_eq!(told, [(&json!("superseded"), &json!("newer_version")), (&json!("succeeded"), &Value::Null)]);
            let again = act(app, &hook, "resend-pending").await;
            assert_eq!(again["sent"], json!([]), "nothing is left that failed");
        }
    });
}

#[test]
fn o19_an_edit_of_url_auth_and_products_holds_for_attempts_not_yet_started() {
    run(async |app| {
        app.receiver.always("/old", 500);
        app.receiver.always("/new", 200);
        for ordering in ["parallel", "latest"] {
            let (before, key) = (app.receiver.seen("/new").len(), format!("P-{ordering}"));
            let fields = json!({
                "url": app.receiver.url("/old"), "event_types": [key], "ordering": ordering,
                "auth": {"type": "basic", "username": "ons", "password": "old"},
                "retry": {"schedule_ms": [0, 1_500]},
            });
            let hook = id(&app.endpoint(fields).await);
            publish(app, &key, 1).await;
            let change = json!({
                "url": app.receiver.url("/new"), "auth": {"type": "authorization", "value": "nova-chave"},
                "event_types": ["another"],
            });
            app.api.patch(&format!("/v1/endpoints/{hook}"), &change).await.expect(200);
            let retried = app.receiver.wait("/new", before + 1).await;
            assert_eq!(retried[before].header("authorization"), "nova-chave");
            app.api.delivery_in(&hook, "succeeded").await;
            let unticked = app.api.event(json!({"type": key, "payload": {"version": 2}})).await;
            assert_eq!((&unticked["deliveries"], &unticked["reason"]), (&json!(0), &json!("no_match")));
            send(app, &hook, &key).await.expect_problem(409, "not_subscribed");
            assert_eq!(app.receiver.seen("/new").len(), before + 1);
        }
    });
}

#[test]
fn o20_an_action_on_one_webhook_touches_no_other() {
    run(async |app| {
        app.receiver.always("/a", 200);
        app.receiver.always("/b", 500);
        let a = webhook(app, "/a", &["P1", "P2"]).await;
        let b = webhook(app, "/b", &["P1", "P2"]).await;
        publish(app, "P1", 1).await;
        publish(app, "P2", 2).await;
        at_rest(app).await;
        let rows = async |hook: &str| app.api.deliveries(&format!("endpoint={hook}")).await;
        let (seen, before) = (app.receiver.seen("/b").len(), rows(&b).await);
        act(app, &a, "send-all").await;
        act(app, &a, "resend-pending").await;
        send(app, &a, "P1").await.expect(200);
        assert_eq!(app.receiver.seen("/a").len(), 2 + 2 + 1);
        assert_eq!((app.receiver.seen("/b").len(), rows(&b).await), (seen, before));
    });
}

#[test]
fn nothing_is_sent_by_hand_to_what_is_switched_off() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let hook = webhook(app, "/hook", &["P1"]).await;
        publish(app, "P1", 1).await;
        let at = format!("/v1/endpoints/{hook}");
        let refused = async |code: &str| {
            send(app, &hook, "P1").await.expect_problem(409, code);
            for action in ["send-all", "resend-pending", "test"] {
                app.api.post(&format!("{at}/{action}"), &json!({})).await.expect_problem(409, code);
            }
        };
        app.api.patch(&at, &json!({"enabled": false})).await.expect(200);
        refused("endpoint_disabled").await;
        app.api.patch(&at, &json!({"enabled": true})).await.expect(200);
        app.api.post(&format!("/v1/queues/{hook}/pause"), &json!({})).await.expect_any();
        refused("queue_paused").await;
        app.api.post(&format!("/v1/queues/{hook}/resume"), &json!({})).await.expect_any();
        app.api.patch("/v1/integrators/partner", &json!({"active": false})).await.expect(200);
        refused("integrator_inactive").await;
        app.api.patch("/v1/integrators/partner", &json!({"active": true})).await.expect(200);
        app.api.put("/v1/settings", &json!({"use_webhooks": false})).await.expect(200);
        refused("webhooks_disabled").await;
        app.api.put("/v1/settings", &json!({"use_webhooks": true})).await.expect(200);
        app.api.patch("/v1/event-types/P1", &json!({"enabled": false})).await.expect(200);
        send(app, &hook, "P1").await.expect_problem(409, "event_type_disabled");
        let all = act(app, &hook, "send-all").await;
        assert_eq!((&all["sent"], &all["skipped"][0]["reason"]), (&json!([]), &json!("event_type_disabled")), "{all}");
        app.api.post(&format!("{at}/test"), &json!({})).await.expect_problem(409, "event_type_disabled");
        assert_eq!(app.receiver.seen("/hook").len(), 1);
    });
}

#[test]
fn an_example_is_tried_once_and_is_no_version() {
    run(async |app| {
        app.receiver.script("/hook", [Reply::status(200), Reply::status(500).body("não")]);
        let hook = webhook(app, "/hook", &["P1", "P2"]).await;
        publish(app, "P1", 7).await;
        let at = format!("/v1/endpoints/{hook}/test");
        let tried = app.api.post(&at, &json!({})).await.expect(200);
        assert_eq!((&tried["outcome"], &tried["status_code"]), (&json!("failed"), &json!(500)), "{tried}");
        assert_eq!((&tried["event_type"], &tried["attempt"]), (&json!("P1"), &json!(1)));
        assert_eq!(versions(app, "/hook"), [7, 7], "the newest payload is the example");
        let row = app.api.get(&format!("/v1/deliveries/{}", tried["delivery"].as_str().unwrap())).await.expect(200);
        assert_eq!(
            (&row["state"], &row["attempts"]),
            (&json!("failed"), &json!(1)),
            "tried once, whatever the schedule"
        );
        let event = app.api.get(&format!("/v1/events/{}", tried["event"].as_str().unwrap())).await.expect(200);
        assert_eq!((&event["reason"], &event["labels"]["engate.test"]), (&json!("test"), &json!("true")), "{event}");
        let all = entries(app, &hook).await;
        assert_eq!([&all["P1"]["status"], &all["P2"]["status"]], [&json!("success"), &json!("never_sent")]);
        let own = json!({"event_type": "P2", "subject": "x", "payload": {"version": 99}});
        app.api.post(&at, &own).await.expect(200);
        assert_eq!(versions(app, "/hook"), [7, 7, 99]);
        send(app, &hook, "P2").await.expect_problem(409, "never_published");
        let unknown = app.api.post(&at, &json!({"event_type": "nothing"})).await;
        assert_eq!(unknown.expect_problem(422, "invalid"), ["event_type"]);
        assert_eq!(act(app, &hook, "resend-pending").await["sent"], json!([]));
    });
}

#[test]
fn actions_under_latest_send_nothing_older() {
    run(async |app| {
        app.receiver.on("/hook", |got| match got.before {
            0 => Reply::status(500).after(Duration::from_millis(700)),
            _ => Reply::status(200),
        });
        let fields = json!({
            "url": app.receiver.url("/hook"), "event_types": ["P1"], "ordering": "latest",
            "retry": {"schedule_ms": SCHEDULE_FAR},
        });
        let hook = id(&app.endpoint(fields).await);
        app.api.emit("P1", json!({"version": 1})).await;
        app.receiver.wait("/hook", 1).await;
        app.api.emit("P1", json!({"version": 2})).await;
        // Version 1 hangs at the partner: the click waits for it, and sends version 2.
        let sent = send(app, &hook, "P1").await.expect(200);
        assert_eq!(sent["outcome"], "success", "{sent}");
        let rows = app.api.deliveries(&format!("endpoint={hook}&sort=code")).await;
        assert_eq!((&rows[0]["state"], &rows[1]["state"]), (&json!("superseded"), &json!("succeeded")), "{rows:?}");
        assert_eq!(id(&rows[1]), sent["delivery"].as_str().unwrap());
        assert_eq!(versions(app, "/hook"), [1, 2]);
    });
}

#[test]
fn the_command_line_acts_on_an_endpoint() {
    run(async |app| {
        app.receiver.script("/hook", [Reply::status(200), Reply::status(200), Reply::status(503)]);
        let hook = webhook(app, "/hook", &["P1", "P2"]).await;
        publish(app, "P1", 1).await;
        let command = async |args: &[&str]| {
            let output = app.engine.client(args).await;
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let (code, shown) = command(&["endpoint", "catalog", &hook]).await;
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains("SUBSCRIBED") && shown.contains("success") && shown.contains("never_sent"), "{shown}");
        let (code, shown) = command(&["endpoint", "send", &hook, "P1"]).await;
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains("success"), "{shown}");
        let (code, shown) = command(&["endpoint", "send-all", &hook, "--json"]).await;
        assert_eq!(code, Some(1), "one that the partner did not take: {shown}");
        let answer: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&answer["failed"], &answer["skipped"][0]["reason"]), (&json!(1), &json!("never_published")));
        let (code, shown) = command(&["endpoint", "resend-pending", &hook]).await;
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains("never_published") && shown.contains("unavailable"), "{shown}");
        let (code, shown) =
            command(&["endpoint", "test", &hook, "--event-type", "P2", "--payload", "{\"version\":5}"]).await;
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains("failed"), "{shown}");
    });
}

#[test]
fn o29_a_tunnel_on_the_operators_list_is_refused_at_registration_and_at_every_send() {
    run_with(Setup::new().set("egress.deny_hosts", "serveo.net,*.serveo.net"), async |app| {
        for host in ["serveo.net", "abc.serveo.net", "ABC.Serveo.NET."] {
            let body = endpoint(json!({"url": format!("https://{host}/hook"), "event_types": ["P1"]}));
            let refused = app.api.post("/v1/endpoints", &body).await;
            assert_eq!(refused.expect_problem(422, "egress_denied"), ["url"], "{host}");
        }
        // Another one is allowed, until the operator changes the list: then nothing goes there any more.
        app.receiver.always("/hook", 200);
        let url = app.receiver.url("/hook").replace("127.0.0.1", "localhost");
        let hook = id(&app.endpoint(json!({"url": url, "event_types": ["P1"]})).await);
        publish(app, "P1", 1).await;
        assert_eq!(app.api.delivery(&hook, |_| true).await["state"], "succeeded");
        app.engine.kill().await;
        app.engine.set("egress.deny_hosts", "localhost");
        app.engine.start_again().await;
        let sent = send(app, &hook, "P1").await.expect(200);
        assert_eq!((&sent["outcome"], &sent["code"]), (&json!("failed"), &json!("egress_denied")), "{sent}");
        app.api.emit("P1", json!({"version": 2})).await;
        eventually("the event is refused", async || {
            let found = app.api.deliveries(&format!("endpoint={hook}&state=failed")).await;
            let denied = found.iter().filter(|one| one["reason"] == "egress_denied").count();
            if denied == 2 { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        assert_eq!(app.receiver.seen("/hook").len(), 1);
    });
}
