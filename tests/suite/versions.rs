//! Which version *Enviar*, *Enviar Tudo* and *Reenviar Pendentes* send where the newest event was not sent by itself: it was
//! filtered, or nobody was there to take it, or the catalogue does not know its type.

use serde_json::{Value, json};

use crate::{
    actions::{SCHEDULE_FAR, act, at_rest, entries, publish, send, versions, webhook},
    harness::{App, Reply, api::id, database::meddle, run},
};

/// Fails the first request at a path and takes all that follow.
fn fails_once(app: &App, path: &str) {
    app.receiver.script(path, [Reply::status(500), Reply::status(200)]);
}

fn told(answer: &Value, list: &str) -> Vec<(String, String)> {
    let word = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let second = if list == "sent" { "outcome" } else { "reason" };
    answer[list].as_array().unwrap().iter().map(|one| (word(one, "event_type"), word(one, second))).collect()
}

fn pair(key: &str, word: &str) -> (String, String) {
    (key.to_owned(), word.to_owned())
}

#[test]
fn o15_o18_what_was_filtered_since_hides_no_failure() {
    run(async |app| {
        fails_once(app, "/hook");
        let body = json!({"url": app.receiver.url("/hook"), "event_types": ["BDO"],
            "filter": {"path": "/version", "lt": 10}, "retry": {"schedule_ms": SCHEDULE_FAR}});
        let hook = id(&app.endpoint(body).await);
        publish(app, "BDO", 1).await;
        let failed = entries(app, &hook).await["BDO"].clone();
        app.api.emit("BDO", json!({"version": 11})).await;
        let shown = entries(app, &hook).await["BDO"].clone();
        assert_eq!((&shown["status"], &shown["delivery"]), (&json!("failed"), &failed["delivery"]), "{shown}");
        let answer = act(app, &hook, "resend-pending").await;
        assert_eq!(told(&answer, "sent"), [pair("BDO", "success")], "{answer}");
        assert_eq!(versions(app, "/hook"), [1, 1], "what Enviar would have sent");
        assert_eq!(entries(app, &hook).await["BDO"]["status"], "success");
        let again = act(app, &hook, "resend-pending").await;
        assert_eq!((&again["sent"], told(&again, "skipped")), (&json!([]), vec![pair("BDO", "not_failed")]));
        // Nor is it tried with what its filter keeps from it.
        app.api.post(&format!("/v1/endpoints/{hook}/test"), &json!({"event_type": "BDO"})).await.expect(200);
        assert_eq!(versions(app, "/hook"), [1, 1, 1]);
    });
}

#[test]
fn o15_o18_what_came_while_it_was_disabled_goes_in_place_of_what_failed() {
    run(async |app| {
        fails_once(app, "/hook");
        // One try, so that nothing goes by itself when it is enabled again.
        let hook = app.endpoint_at("/hook", &["P1"]).await;
        publish(app, "P1", 1).await;
        let at = format!("/v1/endpoints/{hook}");
        app.api.patch(&at, &json!({"enabled": false})).await.expect(200);
        app.api.emit("P1", json!({"version": 2})).await;
        app.api.patch(&at, &json!({"enabled": true})).await.expect(200);
        assert_eq!(entries(app, &hook).await["P1"]["status"], "failed", "what was skipped is no notification");
        let answer = act(app, &hook, "resend-pending").await;
        assert_eq!(told(&answer, "sent"), [pair("P1", "success")], "{answer}");
        assert_eq!(versions(app, "/hook"), [1, 2]);
        let rows = app.api.deliveries(&format!("endpoint={hook}&sort=code")).await;
        let states: Vec<_> = rows.iter().map(|row| row["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["superseded", "succeeded"]);
    });
}

#[test]
fn o15_o18_what_was_published_while_nothing_was_to_be_sent_goes_in_place_of_what_failed() {
    run(async |app| {
        for (way, off, on) in [
            ("inactive", json!({"active": false}), json!({"active": true})),
            ("off", json!({"use_webhooks": false}), json!({"use_webhooks": true})),
            ("unticked", json!({"event_types": ["other"]}), json!({"event_types": ["P-unticked"]})),
        ] {
            let (path, key) = (format!("/{way}"), format!("P-{way}"));
            fails_once(app, &path);
            let hook = webhook(app, &path, &[&key]).await;
            publish(app, &key, 1).await;
            let switch = async |body: &Value| match way {
                "inactive" => app.api.patch("/v1/integrators/partner", body).await.expect(200),
                "off" => app.api.put("/v1/settings", body).await.expect(200),
                _ => app.api.patch(&format!("/v1/endpoints/{hook}"), body).await.expect(200),
            };
            switch(&off).await;
            let event = app.api.event(json!({"type": key, "payload": {"version": 2}})).await;
            assert_eq!(event["deliveries"], 0, "{way}: {event}");
            switch(&on).await;
            assert_eq!(entries(app, &hook).await[&key]["status"], "failed", "{way}");
            let answer = act(app, &hook, "resend-pending").await;
            assert_eq!(told(&answer, "sent"), [pair(&key, "success")], "{way}: {answer}");
            assert_eq!(versions(app, &path), [1, 2], "{way}: the newest version of what failed");
            let rows = app.api.deliveries(&format!("endpoint={hook}&sort=code")).await;
            let states: Vec<_> = rows.iter().map(|row| row["state"].as_str().unwrap()).collect();
            assert_eq!(states, ["superseded", "succeeded"], "{way}");
            assert_eq!(entries(app, &hook).await[&key]["status"], "success", "{way}");
            let again = act(app, &hook, "resend-pending").await;
            assert_eq!(told(&again, "skipped"), [pair(&key, "not_failed")], "{way}");
        }
    });
}

#[test]
fn o15_o17_o18_types_that_only_a_pattern_takes_are_products_too() {
    run(async |app| {
        app.receiver.script("/all", [Reply::status(500), Reply::status(200)]);
        let retry = json!({"schedule_ms": SCHEDULE_FAR});
        let all = json!({"url": app.receiver.url("/all"), "event_types": ["novo.*"], "retry": retry});
        let all = id(&app.endpoint(all).await);
        let one = webhook(app, "/one", &["P1"]).await;
        publish(app, "novo.tipo", 1).await;
        let shown = entries(app, &all).await["novo.tipo"].clone();
        assert_eq!((&shown["status"], &shown["subscribed"]), (&json!("failed"), &json!(true)), "{shown}");
        assert_eq!((&shown["title"], &shown["system"]), (&json!("novo.tipo"), &json!(false)), "{shown}");
        assert!(!entries(app, &one).await.contains_key("novo.tipo"), "nobody else has it");
        app.api.get("/v1/event-types/novo.tipo").await.expect_problem(404, "not_found");
        let answer = act(app, &all, "resend-pending").await;
        assert_eq!(told(&answer, "sent"), [pair("novo.tipo", "success")], "{answer}");
        assert_eq!(send(app, &all, "novo.tipo").await.expect(200)["outcome"], "success");
        // One that the catalogue has no more, and one that was only tried.
        let listed = json!({"key": "novo.listado", "title": "L", "macro_process": "M", "process": "P"});
        app.api.post("/v1/event-types", &listed).await.expect(201);
        publish(app, "novo.listado", 2).await;
        assert_eq!(app.api.delete("/v1/event-types/novo.listado").await.status, 204);
        let example = json!({"event_type": "novo.exemplo", "payload": {"version": 9}});
        app.api.post(&format!("/v1/endpoints/{all}/test"), &example).await.expect(200);
        let answer = act(app, &all, "send-all").await;
        assert_eq!(told(&answer, "sent"), [pair("novo.listado", "success"), pair("novo.tipo", "success")], "{answer}");
        assert_eq!(answer["skipped"], json!([]), "{answer}");
        assert!(!entries(app, &all).await.contains_key("novo.exemplo"), "an example is no version");
    });
}

#[test]
fn o21_a_version_that_was_never_sent_here_goes_before_no_newer_one() {
    run(async |app| {
        app.receiver.always("/hook", 500);
        for ordering in ["parallel", "latest"] {
            let key = format!("P-{ordering}");
            // Before there is an endpoint for it.
            app.api.emit(&key, json!({"version": 1, "region": "SE"})).await;
            let region = |name: &str| json!({"path": "/region", "eq": name});
            let body = json!({"url": app.receiver.url("/hook"), "event_types": [key], "ordering": ordering,
                "filter": region("NE"), "retry": {"schedule_ms": SCHEDULE_FAR}});
            let hook = id(&app.endpoint(body).await);
            let before = app.receiver.seen("/hook").len();
            app.api.emit(&key, json!({"version": 2, "region": "NE"})).await;
            app.api.delivery(&hook, |one| one["attempts"] == 1 && one["state"] == "pending").await;
            let at = format!("/v1/endpoints/{hook}");
            app.api.patch(&at, &json!({"filter": region("SE")})).await.expect(200);
            send(app, &hook, &key).await.expect_problem(409, "newer_version");
            let answer = act(app, &hook, "send-all").await;
            assert_eq!(told(&answer, "skipped"), [pair(&key, "newer_version")], "{ordering}: {answer}");
            let only = app.api.delivery_in(&hook, "pending").await;
            assert_eq!((&only["success"], &only["attempts"]), (&json!(false), &json!(1)), "{ordering}: as it was");
            app.api.patch(&at, &json!({"filter": null})).await.expect(200);
            assert_eq!(send(app, &hook, &key).await.expect(200)["delivery"], only["id"], "{ordering}");
            let sent = versions(app, "/hook").split_off(before);
            assert_eq!(sent, [2, 2], "{ordering}: nothing older after it");
        }
    });
}

#[test]
fn o17_o18_what_the_engine_cannot_send_is_told_with_what_it_sent() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        // Its filter has the newest event of each type read before anything is taken in hand.
        let body = json!({"url": app.receiver.url("/hook"), "event_types": ["P1", "P2", "P3"],
            "filter": {"path": "/version", "gte": 0}});
        let hook = id(&app.endpoint(body).await);
        for (key, version) in [("P1", 1), ("P2", 2), ("P3", 3)] {
            publish(app, key, version).await;
        }
        at_rest(app).await;
        // What is no JSON cannot be read back.
        meddle(app.engine.database_url(), "UPDATE events SET labels = '{' WHERE event_type = 'P2'").await;
        let answer = act(app, &hook, "send-all").await;
        assert_eq!(told(&answer, "sent"), [pair("P1", "success"), pair("P3", "success")], "{answer}");
        assert_eq!(told(&answer, "skipped"), [pair("P2", "unavailable")], "{answer}");
        assert!(app.engine.log().contains("a version was not sent"), "the log says why");
    });
}
