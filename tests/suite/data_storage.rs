//! Voalle's *Webhook Data Storage* (seeds V1 to V39): the deliveries screen's listing, through the API.

use engate_model::Timestamp;
use serde_json::{Value, json};

use crate::harness::{
    App, Backend, Reply, Setup,
    api::{Api, id},
    app::endpoint,
    eventually, run, run_on,
};

/// An integrator with a service; gives its id.
async fn integrator(app: &App, slug: &str, name: &str) -> String {
    let body = json!({"slug": slug, "name": name, "active": true, "services": ["cobrança"]});
    id(&app.api.post("/v1/integrators", &body).await.expect(201))
}

/// An endpoint of an integrator at a path of the receiver; gives its id.
async fn webhook(app: &App, integrator: &str, path: &str, event_types: &[&str]) -> String {
    let fields = json!({"integrator": integrator, "url": app.receiver.url(path), "event_types": event_types});
    id(&app.endpoint(fields).await)
}

async fn token(app: &App, role: &str, integrator: Option<&str>) -> Api {
    let mut body = json!({"client": format!("v-{role}"), "role": role});
    if let Some(slug) = integrator {
        body["integrator"] = json!(slug);
    }
    let created = app.api.post("/v1/tokens", &body).await.expect(201);
    app.api.with_token(created["token"].as_str().unwrap())
}

fn codes(rows: &[Value]) -> Vec<i64> {
    rows.iter().map(|row| row["code"].as_i64().unwrap()).collect()
}

async fn listed(app: &App, query: &str) -> Vec<i64> {
    codes(&app.api.deliveries(query).await)
}

/// Six rows: two webhooks of two integrators, three firings; one webhook fails.
async fn six(app: &App) -> [String; 2] {
    integrator(app, "ons", "Operação Nacional").await;
    integrator(app, "acme", "=1+1 \"Acme\", Ltda").await;
    app.receiver.always("/ok", 200);
    app.receiver.always("/bad", 500);
    let good = webhook(app, "ons", "/ok", &["bill.paid", "order.created"]).await;
    let bad = webhook(app, "acme", "/bad", &["bill.paid", "order.created"]).await;
    for (n, kind) in ["bill.paid", "order.created", "bill.paid"].into_iter().enumerate() {
        app.api.event(json!({"type": kind, "subject": format!("entidade-{n}"), "payload": {}})).await;
    }
    app.api.settled().await;
    [good, bad]
}

#[test]
fn v1_v3_each_firing_is_a_row_for_each_webhook() {
    run(async |app| {
        six(app).await;
        let list = app.api.get("/v1/deliveries").await.expect(200);
        assert_eq!((list["total"].as_u64(), list["items"].as_array().unwrap().len()), (Some(6), 6));
    });
}

#[test]
fn v2_an_integrator_sees_its_own_rows_and_takes_none_out() {
    run(async |app| {
        let [good, bad] = six(app).await;
        let ons = token(app, "integrator", Some("ons")).await;
        let own = ons.deliveries("").await;
        assert_eq!(own.len(), 3);
        assert!(own.iter().all(|row| row["endpoint"] == good.as_str()));
        assert_eq!(ons.deliveries(&format!("endpoint={bad}")).await.len(), 0);
        ons.get("/v1/deliveries?integrator=acme").await.expect_problem(422, "invalid");
        let other = app.api.deliveries(&format!("endpoint={bad}")).await.remove(0);
        ons.get(&format!("/v1/deliveries/{}", id(&other))).await.expect_problem(404, "not_found");
        for path in ["deliveries.csv", "deliveries.ndjson", "deliveries.pdf", "deliveries/print", "settings", "audit"] {
            ons.get(&format!("/v1/{path}")).await.expect_problem(403, "forbidden");
            assert_eq!(app.api.get(&format!("/v1/{path}")).await.status, 200, "{path}");
        }
        let audit = app.api.get("/v1/audit?limit=500").await.expect(200);
        let exports = audit["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "delivery.export");
        let forms: Vec<_> = exports.map(|entry| entry["detail"]["form"].as_str().unwrap()).collect();
        assert_eq!(forms, ["print", "pdf", "ndjson", "csv"], "what is taken out is written down");
    });
}

#[test]
fn v4_the_switch_gates_what_fires_from_then_on() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let hook = app.endpoint_at("/hook", &["bill.paid", "order.created"]).await;
        let put = async |body: Value| app.api.put("/v1/settings", &body).await.expect(200);
        assert_eq!(put(json!({"use_webhooks": false})).await["service_desk.use_webhooks"], false);
        let off = app.api.event(json!({"type": "bill.paid", "payload": 1})).await;
        assert_eq!((off["deliveries"].as_u64(), off["reason"].as_str()), (Some(0), Some("webhooks_disabled")));
        put(json!({"service_desk.use_webhooks": true})).await;
        assert_eq!(app.api.event(json!({"type": "bill.paid", "payload": 2})).await["deliveries"], 1);
        // One module alone.
        put(json!({"bill.use_webhooks": false})).await;
        let off = app.api.event(json!({"type": "bill.paid", "payload": 3})).await;
        assert_eq!((off["deliveries"].as_u64(), off["reason"].as_str()), (Some(0), Some("webhooks_disabled")));
        assert_eq!(app.api.event(json!({"type": "order.created", "payload": 4})).await["deliveries"], 1);
        put(json!({"bill.use_webhooks": true})).await;
        assert_eq!(app.api.event(json!({"type": "bill.paid", "payload": 5})).await["deliveries"], 1);
        app.api.settled().await;
        let mut bodies: Vec<_> = app.receiver.seen("/hook").iter().map(|seen| seen.text().to_owned()).collect();
        bodies.sort();
        assert_eq!(bodies, ["2", "4", "5"], "what fired meanwhile does not come later");
        assert_eq!(app.api.delivery_count(&format!("endpoint={hook}")).await, 3);
    });
}

#[test]
fn v5_settings_are_named_by_module_and_their_changes_audited() {
    run(async |app| {
        let settings = app.api.get("/v1/settings").await.expect(200);
        assert_eq!(settings["service_desk.use_webhooks"], true);
        assert_eq!(settings["locale.timezone"], "America/Sao_Paulo");
        assert_eq!(settings["locale.language"], "pt-BR");
        let change = json!({"service_desk.use_webhooks": false, "locale.timezone": "America/Manaus"});
        app.api.put("/v1/settings", &change).await.expect(200);
        app.api.put("/v1/settings", &change).await.expect(200);
        app.api.put("/v1/settings", &json!({"use_webhooks": true})).await.expect(200);
        let audit = app.api.get("/v1/audit?order=oldest&limit=500").await.expect(200);
        let changes = audit["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "setting.put");
        let mut told: Vec<_> = changes
            .map(|entry| {
                assert_eq!(entry["client"], "first-admin");
                assert!(Timestamp::parse(entry["at"].as_str().unwrap()).is_ok());
                json!([entry["object"], entry["detail"]["old"], entry["detail"]["new"]])
            })
            .collect();
        told.sort_by_key(Value::to_string);
        assert_eq!(
            told,
            [
                json!(["locale.timezone", null, "America/Manaus"]),
                json!(["service_desk.use_webhooks", false, true]),
                json!(["service_desk.use_webhooks", null, false]),
            ],
            "a change is told once, what changes nothing not at all"
        );
        let wrong = json!({"locale.timezone": "Brazil", "nope": true, "bill.use_webhooks": true});
        let mut fields = app.api.put("/v1/settings", &wrong).await.expect_problem(422, "invalid");
        fields.sort();
        assert_eq!(fields, ["locale.timezone", "nope"]);
        assert_eq!(app.api.get("/v1/settings").await.expect(200).get("bill.use_webhooks"), None, "all or none");
    });
}

#[test]
fn v6_a_webhook_needs_an_integrator_with_a_service() {
    run(async |app| {
        let create = async |slug: &str| {
            let fields = json!({"integrator": slug, "url": app.receiver.url("/x"), "event_types": ["bill.paid"]});
            app.api.post("/v1/endpoints", &endpoint(fields)).await
        };
        assert_eq!(create("nobody").await.expect_problem(422, "invalid"), ["integrator"]);
        let bare = json!({"slug": "bare", "name": "Bare", "active": true, "services": []});
        app.api.post("/v1/integrators", &bare).await.expect(201);
        assert_eq!(create("bare").await.expect_problem(422, "invalid"), ["integrator"]);
        app.api.patch("/v1/integrators/bare", &json!({"services": ["boleto"], "active": false})).await.expect(200);
        create("bare").await.expect(201);
        let event = app.api.event(json!({"type": "bill.paid", "payload": {}})).await;
        assert_eq!((event["deliveries"].as_u64(), event["reason"].as_str()), (Some(0), Some("integrator_inactive")));
    });
}

#[test]
fn v7_v10_v11_v13_a_row_tells_its_tries() {
    run(async |app| {
        let reply = Reply::status;
        app.receiver.script("/hook", vec![reply(500), reply(500), reply(200)]);
        let schedule = json!({"schedule_ms": [0, 10, 600_000]});
        let fields = json!({"url": app.receiver.url("/hook"), "event_types": ["bill.paid"], "retry": schedule});
        let hook = id(&app.endpoint(fields).await);
        let fired = app.api.event(json!({"type": "bill.paid", "payload": {}})).await;
        let waiting = app.api.delivery(&hook, |row| row["attempts"] == 2).await;
        assert_eq!((&waiting["success"], &waiting["integrated_at"]), (&json!(false), &Value::Null));
        // The third one is sent by hand, and counts.
        app.api.post(&format!("/v1/deliveries/{}/retry", id(&waiting)), &json!({})).await.expect(202);
        let done = app.api.delivery_in(&hook, "succeeded").await;
        assert_eq!(done["attempts"], 3);
        assert_eq!(done["created_at"], waiting["created_at"], "when it fired, whatever became of it");
        let event = app.api.get(&format!("/v1/events/{}", id(&fired))).await.expect(200);
        assert_eq!(done["created_at"], event["accepted_at"]);
        let attempts = app.api.attempts(&done).await;
        assert_eq!(done["last_attempt_at"], attempts[2]["at"]);
        assert_eq!(attempts[2]["request"]["url"], app.receiver.url("/hook").as_str());
        let at = |text: &Value| Timestamp::parse(text.as_str().unwrap()).unwrap();
        let took = at(&done["integrated_at"]).since(at(&attempts[2]["at"]));
        assert!(took.as_millis() < 5_000, "it was integrated by the third try: {took:?}");
        assert_eq!(app.api.deliveries(&format!("endpoint={hook}")).await.len(), 1, "a retry adds no row");
    });
}

#[test]
fn v11_before_the_first_try_there_is_no_last() {
    run(async |app| {
        let retry = json!({"schedule_ms": [600_000]});
        let fields = json!({"url": app.receiver.url("/later"), "event_types": ["bill.paid"], "retry": retry});
        let hook = id(&app.endpoint(fields).await);
        app.api.emit("bill.paid", json!({})).await;
        let row = app.api.delivery_in(&hook, "pending").await;
        for empty in ["last_attempt_at", "integrated_at", "success", "reason"] {
            assert_eq!(row[empty], Value::Null, "{empty}");
        }
        assert_eq!(row["attempts"], 0);
        assert!(row["next_attempt_at"].is_string());
    });
}

#[test]
fn v8_v9_a_row_names_integrator_and_trigger_as_they_are_registered() {
    run(async |app| {
        let ons = integrator(app, "ons", "Operador Nacional").await;
        app.receiver.always("/hook", 200);
        let hook = webhook(app, "ons", "/hook", &["bill.paid"]).await;
        app.api.emit("bill.paid", json!({})).await;
        let row = app.api.delivery_in(&hook, "succeeded").await;
        assert_eq!(
            (row["integrator"].as_str(), row["integrator_name"].as_str()),
            (Some(ons.as_str()), Some("Operador Nacional"))
        );
        assert_eq!(row["event_type"], "bill.paid");
        app.api.patch("/v1/integrators/ons", &json!({"name": "ONS"})).await.expect(200);
        let row = app.api.get(&format!("/v1/deliveries/{}", id(&row))).await.expect(200);
        assert_eq!(row["integrator_name"], "ONS", "as the register has it now");
    });
}

#[test]
fn v15_v16_help_and_summary_are_pages_of_their_own() {
    run(async |app| {
        let get = async |path: &str| {
            let answer = app.api.get(path).await;
            let kind = answer.headers.get("content-type").unwrap().to_str().unwrap().to_owned();
            (kind, answer.expect(200).as_str().unwrap().to_owned())
        };
        let (kind, help) = get("/console/help/deliveries").await;
        assert!(kind.starts_with("text/html"));
        assert!(help.contains("lang=\"pt-BR\"") && help.contains("Data/Hora da Criação") && !help.contains("<script"));
        let (_, summary) = get("/console/help/deliveries/summary").await;
        assert!(summary.contains("resumo da rotina") && summary.len() > 300);
        let (_, english) = get("/console/help/deliveries?lang=en").await;
        assert!(english.contains("lang=\"en\"") && english.contains("Created at"));
        app.api.put("/v1/settings", &json!({"locale.language": "en"})).await.expect(200);
        assert!(get("/console/help/deliveries/summary").await.1.contains("summary"));
        app.api.get("/console/help/deliveries?lang=fr").await.expect_problem(422, "invalid");
    });
}

#[test]
fn v17_chosen_rows_are_printed_and_nothing_in_them_is_markup() {
    run(async |app| {
        integrator(app, "evil", "<b>&\"Ação\"</b>").await;
        app.receiver.always("/hook", 200);
        webhook(app, "evil", "/hook", &["bill.paid"]).await;
        for n in 0..3 {
            app.api.emit("bill.paid", json!(n)).await;
        }
        app.api.settled().await;
        let rows = app.api.deliveries("").await;
        let ids: Vec<_> = rows.iter().map(id).collect();
        let html = app.api.get(&format!("/v1/deliveries/print?ids={},{}", ids[0], ids[2])).await;
        assert!(html.headers.get("content-type").unwrap().to_str().unwrap().starts_with("text/html"));
        let html = html.expect(200).as_str().unwrap().to_owned();
        assert!(html.contains(&ids[0]) && !html.contains(&ids[1]) && html.contains(&ids[2]));
        assert!(
            html.contains("@media print") && html.contains("&lt;b&gt;&amp;&quot;Ação&quot;") && !html.contains("<b>")
        );
        assert!(html.contains("Data/Hora da última tentativa"));
        assert!(
            app.api.get("/v1/deliveries/print?ids=nobody").await.expect_problem(422, "invalid")[0].starts_with("ids")
        );
    });
}

/// The texts of a PDF's pages, as a reader would take them out.
fn pdf_text(bytes: &[u8]) -> String {
    let mut text = String::new();
    let find = |from: usize, what: &[u8]| bytes[from..].windows(what.len()).position(|w| w == what).map(|at| from + at);
    let mut from = 0;
    while let Some(begin) = find(from, b"stream\n") {
        let end = find(begin, b"endstream").unwrap();
        for line in bytes[begin + 7..end].split(|byte| *byte == b'\n') {
            let Some(shown) = line.strip_suffix(b" Tj") else { continue };
            let raw: Vec<u8> = if shown.first() == Some(&b'<') {
                let digits = &shown[1..shown.len() - 1];
                digits
                    .chunks(2)
                    .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                    .collect()
            } else {
                let inner = &shown[1..shown.len() - 1];
                let mut escaped = false;
                inner
                    .iter()
                    .filter(|byte| {
                        escaped = **byte == b'\\' && !escaped;
                        !escaped
                    })
                    .copied()
                    .collect()
            };
            // Latin 1 where these texts are concerned.
            text.extend(raw.into_iter().map(char::from));
            text.push('\n');
        }
        from = end + 9;
    }
    text
}

#[test]
fn v18_a_pdf_of_what_is_filtered() {
    run(async |app| {
        six(app).await;
        let answer = app.api.get("/v1/deliveries.pdf?success=yes&integrator=ons").await;
        assert_eq!(answer.headers.get("content-type").unwrap(), "application/pdf");
        assert_eq!(answer.status, 200);
        assert!(answer.body.starts_with(b"%PDF-1.") && answer.body.ends_with(b"%%EOF"));
        let text = pdf_text(&answer.body);
        for row in app.api.deliveries("success=yes").await {
            assert!(text.contains(&id(&row)), "{text}");
        }
        for row in app.api.deliveries("success=no").await {
            assert!(!text.contains(&id(&row)));
        }
        assert!(text.contains("Operação Nacional") && text.contains("Data/Hora da última tentativa"), "{text}");
        assert!(text.contains("Filtros: success=yes; integrator=ons") && text.contains("Página 1 de 1"), "{text}");
        // Several pages, in English.
        let events: Vec<_> = (0..60).map(|n| json!({"type": "bill.paid", "payload": n})).collect();
        app.api.post("/v1/events", &json!(events)).await.expect(202);
        let text = pdf_text(
            &app.api.get("/v1/deliveries.pdf?lang=en&state=succeeded,pending,delivering,failed,parked").await.body,
        );
        assert!(text.contains("Page 3 of 3") && text.contains("Created at"), "{text}");
        let empty = pdf_text(&app.api.get("/v1/deliveries.pdf?attempts_gte=9").await.body);
        assert!(empty.contains("Registros: 0."), "{empty}");
    });
}

#[test]
fn v18_more_than_a_pdf_holds_is_refused_and_sent_to_the_csv() {
    run(async |app| {
        // They wait, so that nothing is sent.
        let retry = json!({"schedule_ms": [600_000]});
        let fields = json!({"url": app.receiver.url("/later"), "event_types": ["bill.paid"], "retry": retry});
        app.endpoint(fields).await;
        let events: Vec<_> = (0..1_000).map(|n| json!({"type": "bill.paid", "payload": n})).collect();
        for _ in 0..10 {
            app.api.post("/v1/events", &json!(events)).await.expect(202);
        }
        let full = app.api.get("/v1/deliveries.pdf").await;
        assert!(full.status == 200 && full.body.starts_with(b"%PDF-1."), "{}", full.status);
        app.api.emit("bill.paid", json!({})).await;
        let refused = app.api.get("/v1/deliveries.pdf").await;
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(text.contains("/v1/deliveries.csv"), "{text}");
        refused.expect_problem(422, "too_many_rows");
        assert_eq!(app.api.get("/v1/deliveries.pdf?q=10001").await.status, 200, "fewer by a filter");
        let csv = app.api.get("/v1/deliveries.csv").await;
        assert_eq!(csv.body.iter().filter(|byte| **byte == b'\n').count(), 10_002);
        let list = app.api.get("/v1/deliveries?limit=1").await.expect(200);
        assert_eq!((&list["total"], &list["total_estimated"]), (&json!(10_000), &json!(true)));
    });
}

/// Reads RFC 4180.
fn csv_rows(text: &str, separator: char) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.push(chars.next().unwrap()),
            '"' => quoted = !quoted,
            c if c == separator && !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {
                assert_eq!(chars.next(), Some('\n'), "lines end as RFC 4180 says");
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    assert!(cell.is_empty() && row.is_empty() && !quoted, "the last line is whole");
    rows
}

#[test]
fn v19_a_csv_that_spreadsheets_read_and_do_not_run() {
    run(async |app| {
        let [_, bad] = six(app).await;
        let answer = app.api.get("/v1/deliveries.csv?sort=code").await;
        assert!(answer.headers.get("content-type").unwrap().to_str().unwrap().starts_with("text/csv"));
        assert!(answer.headers.get("content-disposition").unwrap().to_str().unwrap().contains("deliveries.csv"));
        let rows = csv_rows(std::str::from_utf8(&answer.body).unwrap(), ',');
        assert_eq!(
            rows[0],
            [
                "Data/Hora da Criação",
                "Integrador",
                "Webhook",
                "Tentativas de envio",
                "Data/Hora da última tentativa",
                "Sucesso",
                "Data/Hora da integração"
            ]
        );
        assert_eq!(rows.len(), 7);
        let list = app.api.deliveries("sort=code").await;
        for (row, delivery) in rows[1..].iter().zip(&list) {
            let failed = delivery["endpoint"] == bad.as_str();
            assert_eq!(row[1], if failed { "'=1+1 \"Acme\", Ltda" } else { "Operação Nacional" });
            assert_eq!((row[2].as_str(), row[3].as_str()), (delivery["event_type"].as_str().unwrap(), "1"));
            assert_eq!((row[5].as_str(), row[6].is_empty()), (if failed { "Não" } else { "Sim" }, failed));
            assert_eq!(row[0].len(), "21/11/2026 10:11:12".len());
        }
        let excel = app.api.get("/v1/deliveries.csv?bom=true&separator=%3B&columns=code,subject,success&lang=en").await;
        let text = std::str::from_utf8(&excel.body).unwrap();
        let rows = csv_rows(text.strip_prefix('\u{feff}').unwrap(), ';');
        assert_eq!(rows[0], ["Code", "Subject", "Success"]);
        assert_eq!(rows[1][1..], ["entidade-0", "Yes"]);
        let lines = app.api.get("/v1/deliveries.ndjson?success=no").await;
        let lines: Vec<Value> =
            std::str::from_utf8(&lines.body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, app.api.deliveries("success=no").await, "the same rows as the list's");
        app.api.get("/v1/deliveries.csv?columns=colour").await.expect_problem(422, "invalid");
        app.api.get("/v1/deliveries.csv?limit=5").await.expect_problem(422, "invalid");
        // Read with another separator than it was written with, the text would be three cells, one of them a formula.
        app.api.event(json!({"type": "bill.paid", "subject": "x;=1+1;y", "payload": {}})).await;
        app.api.settled().await;
        for separator in ["", "&separator=%3B", "&separator=tab"] {
            let csv = app.api.get(&format!("/v1/deliveries.csv?columns=subject,code&sort=code{separator}")).await;
            let text = String::from_utf8(csv.body.to_vec()).unwrap();
            assert_eq!(text.matches("\n\"x;'=1+1;y\"").count(), 2, "{text}");
        }
    });
}

#[test]
fn v19_exports_have_every_page() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["bill.paid"]).await;
        let events: Vec<_> = (0..1_000).map(|n| json!({"type": "bill.paid", "payload": n})).collect();
        app.api.post("/v1/events", &json!(events)).await.expect(202);
        app.api.post("/v1/events", &json!(events[..300])).await.expect(202);
        app.api.settled().await;
        let csv = app.api.get("/v1/deliveries.csv?columns=code&sort=-code").await;
        let rows = csv_rows(std::str::from_utf8(&csv.body).unwrap(), ',');
        let codes: Vec<i64> = rows[1..].iter().map(|row| row[0].parse().unwrap()).collect();
        assert_eq!(codes, (1..=1_300).rev().collect::<Vec<_>>());
        let lines = app.api.get("/v1/deliveries.ndjson").await;
        assert_eq!(lines.body.iter().filter(|byte| **byte == b'\n').count(), 1_300);
    });
}

#[test]
fn v20_v24_days_are_the_viewers_and_whole() {
    run(async |app| {
        let [_, bad] = six(app).await;
        let rows = app.api.deliveries("").await;
        let at = rows[2]["created_at"].as_str().unwrap().to_owned();
        let exactly = listed(app, &format!("created_from={at}&created_to={at}")).await;
        assert!(exactly.contains(&rows[2]["code"].as_i64().unwrap()), "both ends belong to the range");
        let to_the_millisecond = format!("{}Z", &at[..23]);
        assert!(
            listed(app, &format!("created_from={to_the_millisecond}&created_to={to_the_millisecond}"))
                .await
                .contains(&rows[2]["code"].as_i64().unwrap())
        );
        // The day as it is in a zone, whatever the time of this test.
        for zone in ["America/Sao_Paulo", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
            let zone_of: engate_model::Zone = zone.parse().unwrap();
            let day = zone_of.local(Timestamp::parse(&at).unwrap()).unwrap().date();
            let before = day.pred_opt().unwrap();
            let of =
                async |day| listed(app, &format!("created_from={day}&created_to={day}&timezone={zone}")).await.len();
            let (_, midnight) = zone_of.day(before).unwrap();
            let all_on_it =
                rows.iter().all(|row| Timestamp::parse(row["created_at"].as_str().unwrap()).unwrap() >= midnight);
            assert!(all_on_it && of(day).await + of(day.succ_opt().unwrap()).await == 6, "{zone}");
            assert_eq!(of(before).await, 0, "{zone}");
        }
        let integrated = app.api.deliveries("integrated_from=2020-01-01&integrated_to=2100-01-01").await;
        assert_eq!(integrated.len(), 3, "what was never integrated is left out");
        assert!(integrated.iter().all(|row| row["endpoint"] != bad.as_str() && row["integrated_at"].is_string()));
        assert_eq!(listed(app, "integrated_to=2020-01-01").await, [] as [i64; 0]);
        for (query, field) in [
            ("created_from=21/11/2026", "created_from"),
            ("created_from=2026-02-01&created_to=2026-01-31", "created_to"),
            ("integrated_to=yesterday", "integrated_to"),
            ("timezone=Brazil", "timezone"),
        ] {
            let fields = app.api.get(&format!("/v1/deliveries?{query}")).await.expect_problem(422, "invalid");
            assert_eq!(fields, [field]);
        }
    });
}

#[test]
fn v21_v22_v23_v25_v26_filters_take_one_or_several_and_all_hold() {
    run(async |app| {
        integrator(app, "a", "A").await;
        integrator(app, "b", "B").await;
        integrator(app, "c", "C").await;
        app.receiver.always("/ok", 200);
        app.receiver.always("/bad", 500);
        webhook(app, "a", "/ok", &["bill.paid"]).await;
        webhook(app, "b", "/ok", &["order.created"]).await;
        webhook(app, "c", "/bad", &["order.cancelled"]).await;
        let fields = json!({"integrator": "c", "url": app.receiver.url("/bad"), "event_types": ["late"],
            "retry": {"schedule_ms": [0, 5, 5, 600_000]}});
        let retried = id(&app.endpoint(fields).await);
        let later = json!({"integrator": "a", "url": app.receiver.url("/ok"), "event_types": ["later"],
            "retry": {"schedule_ms": [600_000]}});
        app.endpoint(later).await;
        for kind in ["bill.paid", "order.created", "order.cancelled", "late", "later"] {
            app.api.emit(kind, json!({})).await;
        }
        app.api.delivery(&retried, |row| row["attempts"] == 3).await;
        eventually("the others are tried", async || {
            let tried = app.api.delivery_count("attempts_eq=1").await;
            if tried == 3 { Ok(()) } else { Err(format!("{tried} of 3")) }
        })
        .await;
        assert_eq!(listed(app, "attempts_gte=2").await, [4]);
        assert_eq!(listed(app, "attempts_lte=1").await, [1, 2, 3, 5]);
        assert_eq!(listed(app, "attempts_eq=0").await, [5]);
        assert_eq!(listed(app, "integrator=a,b").await, [1, 2, 5]);
        assert_eq!(listed(app, "integrator=a,b&event_type=bill.paid,order.cancelled").await, [1]);
        assert_eq!(listed(app, "event_type=bill.paid,order.cancelled").await, [1, 3]);
        let (yes, no, pending) =
            (listed(app, "success=yes").await, listed(app, "success=no").await, listed(app, "success=pending").await);
        assert_eq!((yes.as_slice(), no.as_slice(), pending.as_slice()), (&[1, 2][..], &[3, 4][..], &[5][..]));
        assert_eq!(listed(app, "success=no,pending&state=pending&sort=-code").await, [5, 4]);
        app.api.get("/v1/deliveries?integrator=a,nobody").await.expect_problem(422, "invalid");
        app.api.get("/v1/deliveries?attempts_eq=1&attempts_gte=1").await.expect_problem(422, "invalid");
    });
}

#[test]
fn v27_a_word_is_found_wherever_it_is_shown() {
    run(async |app| {
        let [good, _] = six(app).await;
        let kind = json!({"key": "order.created", "title": "Pedido incluído", "macro_process": "Vendas"});
        app.api.post("/v1/event-types", &kind).await.expect_problem(409, "already_exists");
        let titled = json!({"title": "Pedido incluído", "macro_process": "Vendas"});
        app.api.patch("/v1/event-types/order.created", &titled).await.expect(200);
        let found = async |q: &str| {
            let q: String = url::form_urlencoded::byte_serialize(q.as_bytes()).collect();
            app.api.deliveries(&format!("q={q}&sort=code")).await
        };
        let count = async |q: &str| found(q).await.len();
        assert_eq!(count("opera").await, 3, "the integrator's name, without its accents");
        assert_eq!(count("OPERAÇÃO").await, 3);
        assert_eq!(count("incluido").await, 2, "the event type's title");
        assert_eq!(count("bill.").await, 4, "its key");
        assert_eq!(count("entidade-2").await, 2, "the subject");
        assert_eq!(count("server_error").await, 3, "the reason");
        assert_eq!(count("integrado").await, 3, "the state as it is shown");
        assert_eq!(count("não").await, 3, "the column Sucesso");
        assert_eq!(count(&good).await, 3, "an id");
        assert_eq!(count("nada-disso").await, 0);
        assert_eq!(count("opera bill.paid").await, 2, "every word must be found");
        let first = found("opera").await.remove(0);
        let local = engate_model::Zone::default()
            .local(Timestamp::parse(first["created_at"].as_str().unwrap()).unwrap())
            .unwrap();
        for format in ["%d/%m", "%d/%m/%Y", "%m/%Y", "%Y-%m-%d"] {
            let date = local.format(format).to_string();
            assert!(found(&date).await.iter().any(|row| row["code"] == first["code"]), "{date}");
        }
        // As sheets and prints show the time, and as the API itself does.
        let whole = first["created_at"].as_str().unwrap();
        let shown = ["%d/%m/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%d/%m %H:%M", "%d/%m/%Y %H:%M"];
        let mut shown = shown.map(|format| local.format(format).to_string()).to_vec();
        shown.extend([whole.to_owned(), format!("{}Z", whole.split('.').next().unwrap())]);
        for time in &shown {
            let rows = found(time).await;
            assert!(rows.iter().any(|row| row["code"] == first["code"]), "{time}: {rows:?}");
            assert!(found(&format!("{time} opera")).await.iter().any(|row| row["code"] == first["code"]), "{time}");
        }
        let names = ["created_at", "last_attempt_at", "integrated_at", "next_attempt_at"];
        for row in found(whole).await {
            assert!(names.iter().any(|name| row[name] == whole), "to the microsecond: {row}");
        }
        for none in ["01/01/1999", "01/01/1999 10:11:12", "1999-01-01T10:11:12Z"] {
            assert_eq!(count(none).await, 0, "{none}");
        }
        assert_eq!(codes(&found("4").await), [4], "the code");
        let many = "a ".repeat(9);
        app.api.get(&format!("/v1/deliveries?q={}", many.replace(' ', "+"))).await.expect_problem(422, "invalid");
    });
}

#[test]
fn v28_details_show_the_request_as_it_was_sent() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let fields = json!({"url": app.receiver.url("/hook"), "event_types": ["bill.paid"],
            "auth": {"type": "authorization", "value": "segredo-muito-secreto"}});
        let hook = id(&app.endpoint(fields).await);
        let body = r#"{"valorpago":10.50,"nome":"Operação","b":[1,2]}"#;
        app.api.post_text("/v1/events", &format!(r#"{{"type":"bill.paid","payload":{body}}}"#)).await.expect(202);
        let row = app.api.delivery_in(&hook, "succeeded").await;
        let sent = app.receiver.only("/hook").await;
        assert_eq!(sent.header("authorization"), "segredo-muito-secreto");
        let attempt = app.api.attempt(&row).await;
        let request = &attempt["request"];
        assert_eq!((request["method"].as_str(), request["body"].as_str()), (Some("POST"), Some(sent.text())));
        assert_eq!(sent.text(), body, "bytes as the producer spelled them");
        assert_eq!(request["url"], app.receiver.url("/hook").as_str());
        let headers = request["headers"].as_object().unwrap();
        let header =
            |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
        assert_eq!(header("webhook-id"), Some(json!(sent.webhook_id())));
        assert_eq!(header("authorization"), Some(json!("***")));
        assert!(!attempt.to_string().contains("segredo-muito-secreto"));
    });
}

#[test]
fn v29_details_show_the_answer_as_it_came() {
    run(async |app| {
        let answer = json!({"erro": "Operação inválida", "codigo": 17});
        app.receiver.script("/told", vec![Reply::status(422).json(&answer).header("x-protocol", "9")]);
        app.receiver.script("/huge", vec![Reply::status(200).body("ç".repeat(1 << 19))]);
        let told = app.endpoint_at("/told", &["a"]).await;
        let huge = app.endpoint_at("/huge", &["b"]).await;
        app.api.emit("a", json!({})).await;
        app.api.emit("b", json!({})).await;
        let row = app.api.delivery_in(&told, "failed").await;
        let attempt = app.api.attempt(&row).await;
        let response = &attempt["response"];
        assert_eq!((response["status"].as_u64(), response["truncated"].as_bool()), (Some(422), Some(false)));
        assert_eq!(response["body"], answer.to_string());
        assert_eq!(response["headers"]["x-protocol"], "9");
        assert_ne!(attempt["verdict"]["outcome"], "success");
        let row = app.api.delivery_in(&huge, "succeeded").await;
        let attempt = app.api.attempt(&row).await;
        assert_eq!(attempt["response"]["truncated"], true);
        assert_eq!(attempt["response"]["body"].as_str().unwrap().len(), 64 << 10, "what is kept of it");
    });
}

#[test]
fn v30_integrators_are_entered_listed_and_disabled() {
    run(async |app| {
        integrator(app, "ons", "ONS").await;
        let list = app.api.get("/v1/integrators").await.expect(200);
        assert_eq!(list["total"], 2);
        app.api.patch("/v1/integrators/ons", &json!({"active": false})).await.expect(200);
        assert_eq!(app.api.get("/v1/integrators/ons").await.expect(200)["active"], false);
        app.api.delete("/v1/integrators/ons").await.expect(204);
        app.api.get("/v1/integrators/ons").await.expect_problem(404, "not_found");
    });
}

#[test]
fn v31_webhooks_are_entered_listed_changed_and_deleted() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let hook = app.endpoint_at("/hook", &["bill.paid"]).await;
        let path = format!("/v1/endpoints/{hook}");
        assert_eq!(app.api.get("/v1/endpoints").await.expect(200)["total"], 1);
        let change = json!({"description": "Contas", "event_types": ["order.created"]});
        let changed = app.api.patch(&path, &change).await.expect(200);
        assert_eq!((&changed["description"], &changed["event_types"]), (&json!("Contas"), &json!(["order.created"])));
        assert_eq!(app.api.event(json!({"type": "bill.paid", "payload": 1})).await["deliveries"], 0);
        app.api.delete(&path).await.expect(204);
        app.api.get(&path).await.expect_problem(404, "not_found");
    });
}

#[test]
fn v32_a_trigger_tells_where_it_is_used_and_stays_while_it_is() {
    run(async |app| {
        integrator(app, "ons", "ONS").await;
        integrator(app, "acme", "Acme").await;
        let exact = webhook(app, "ons", "/x", &["bill.paid", "order.created"]).await;
        let pattern = webhook(app, "acme", "/y", &["bill.*"]).await;
        let usage = app.api.get("/v1/event-types/bill.paid/usage").await.expect(200);
        let told: Vec<_> = usage["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| json!([one["endpoint"], one["integrator_slug"], one["subscription"]]))
            .collect();
        assert_eq!(told, [json!([exact, "ons", "bill.paid"]), json!([pattern, "acme", "bill.*"])]);
        let ons = token(app, "integrator", Some("ons")).await;
        assert_eq!(ons.get("/v1/event-types/bill.paid/usage").await.expect(200)["total"], 1, "its own only");
        app.api.delete("/v1/event-types/bill.paid").await.expect_problem(409, "in_use");
        app.api.patch(&format!("/v1/endpoints/{exact}"), &json!({"event_types": ["order.created"]})).await.expect(200);
        app.api.delete("/v1/event-types/bill.paid").await.expect(204);
        app.api.get("/v1/event-types/bill.paid/usage").await.expect_problem(404, "not_found");
    });
}

#[test]
fn v36_a_disabled_trigger_goes_nowhere() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["bill.paid"]).await;
        let off = app.api.patch("/v1/event-types/bill.paid", &json!({"enabled": false})).await.expect(200);
        assert_eq!(off["enabled"], false);
        let event = app.api.event(json!({"type": "bill.paid", "payload": 1})).await;
        assert_eq!((event["deliveries"].as_u64(), event["reason"].as_str()), (Some(0), Some("event_type_disabled")));
        app.api.patch("/v1/event-types/bill.paid", &json!({"enabled": true})).await.expect(200);
        assert_eq!(app.api.event(json!({"type": "bill.paid", "payload": 2})).await["deliveries"], 1);
        app.api.settled().await;
    });
}

#[test]
fn v36_what_the_engine_defines_is_not_deleted_but_can_be_switched_off() {
    run(async |app| {
        let types = app.api.get("/v1/event-types?limit=500").await.expect(200);
        let system: Vec<_> = types["items"].as_array().unwrap().iter().filter(|one| one["system"] == true).collect();
        assert!(!system.is_empty());
        for one in system {
            let path = format!("/v1/event-types/{}", one["key"].as_str().unwrap());
            app.api.delete(&path).await.expect_problem(409, "system_record");
            app.api.patch(&path, &json!({"title": "Outro"})).await.expect_problem(409, "system_record");
            let off = app.api.patch(&path, &json!({"enabled": false})).await.expect(200);
            assert_eq!((off["system"].as_bool(), off["enabled"].as_bool()), (Some(true), Some(false)));
            app.api.patch(&path, &json!({"enabled": true})).await.expect(200);
        }
        // A client's own is no record of the engine's.
        app.api.post("/v1/event-types", &json!({"key": "mine"})).await.expect(201);
        app.api.delete("/v1/event-types/mine").await.expect(204);
        app.api.delete("/v1/tenants/default").await.expect_problem(409, "system_record");
    });
}

fn orders_and_pages_on(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        six(app).await;
        let rows = app.api.deliveries("").await;
        assert_eq!(codes(&rows), [1, 2, 3, 4, 5, 6], "by code where nobody says otherwise, without gaps");
        // A stable sort by hand: the last column first.
        let mut wanted = rows.clone();
        wanted.sort_by(|a, b| b["event_type"].as_str().cmp(&a["event_type"].as_str()));
        wanted.sort_by(|a, b| a["integrator_name"].as_str().cmp(&b["integrator_name"].as_str()));
        assert_eq!(listed(app, "sort=integrator,-event_type").await, codes(&wanted));
        for column in engate_model::listing::Column::ALL {
            for minus in ["", "-"] {
                let sorted = app.api.deliveries(&format!("sort={minus}{}", column.name())).await;
                let mut by_hand = rows.clone();
                // What people see of an integrator is the name.
                let shown = if column.name() == "integrator" { "integrator_name" } else { column.name() };
                let key = |row: &Value| match &row[shown] {
                    Value::Null => (0, 0, String::new()),
                    Value::Number(number) => (1, number.as_i64().unwrap(), String::new()),
                    Value::Bool(flag) => (1, i64::from(*flag), String::new()),
                    other => (1, 0, other.as_str().unwrap().to_owned()),
                };
                by_hand.sort_by(|a, b| if minus.is_empty() { key(a).cmp(&key(b)) } else { key(b).cmp(&key(a)) });
                assert_eq!(codes(&sorted), codes(&by_hand), "{minus}{}", column.name());
            }
        }
        let page = async |query: &str| app.api.get(&format!("/v1/deliveries?{query}")).await;
        let first = page("limit=4&sort=-created_at").await.expect(200);
        let next = first["next"].as_str().unwrap().to_owned();
        app.api.emit("bill.paid", json!({})).await;
        let second = page(&format!("limit=4&sort=-created_at&cursor={next}")).await.expect(200);
        let seen: Vec<_> =
            [&first, &second].into_iter().flat_map(|page| codes(page["items"].as_array().unwrap())).collect();
        assert_eq!(seen, listed(app, "sort=-created_at").await[2..], "what came meanwhile moves nothing");
        assert_eq!((second["total"].as_u64(), &second["next"]), (Some(8), &Value::Null));
        for other in ["sort=created_at", "sort=-created_at&success=no", "sort=-created_at&q=x"] {
            let fields = page(&format!("limit=4&{other}&cursor={next}")).await.expect_problem(422, "invalid");
            assert_eq!(fields, ["cursor"]);
        }
        for wrong in ["sort=colour", "sort=code,code", "sort="] {
            assert_eq!(page(wrong).await.expect_problem(422, "invalid"), ["sort"], "{wrong}");
        }
        app.api.settled().await;
    });
}

#[test]
fn v37_v39_orders_and_pages() {
    orders_and_pages_on(Backend::Sqlite);
}

#[test]
fn v37_v39_orders_and_pages_on_postgres() {
    orders_and_pages_on(Backend::Postgres);
}

#[test]
fn v19_v37_the_command_line_lists_watches_and_exports() {
    run(async |app| {
        six(app).await;
        let said = async |args: &[&str]| {
            let output = app.engine.client(args).await;
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let list = async |more: &[&str]| {
            let text = said(&[&["delivery", "list", "--json"], more].concat()).await;
            codes(serde_json::from_str::<Value>(&text).unwrap()["items"].as_array().unwrap())
        };
        assert_eq!(list(&[]).await, [6, 5, 4, 3, 2, 1], "people look for the newest");
        assert_eq!(list(&["--sort", "-attempts,code", "--q", "opera", "--success", "yes"]).await.len(), 3);
        assert_eq!(
            list(&["--integrator", "ons,acme", "--event-type", "order.created", "--sort", "code"]).await.len(),
            2
        );
        let watched = said(&["delivery", "list", "--watch", "--watch-for", "1", "--json", "--attempts-gte", "1"]).await;
        let watched: Vec<Value> = watched.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(codes(&watched), [1, 2, 3, 4, 5, 6], "each once while nothing changes");
        let csv = said(&["delivery", "export", "--success", "no", "--excel", "--columns", "code,success"]).await;
        assert!(csv.starts_with("\u{feff}Código;Sucesso\r\n") && csv.matches("Não").count() == 3, "{csv}");
        let file = app.engine.data().join("out.pdf");
        said(&["delivery", "export", "--format", "pdf", "--output", file.to_str().unwrap()]).await;
        assert!(std::fs::read(&file).unwrap().starts_with(b"%PDF-"));
        let wrong = app.engine.client(&["delivery", "export", "--sort", "colour", "--output", "nothing.csv"]).await;
        assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("sort"));
    });
}
