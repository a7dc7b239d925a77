//! What operators set up and change from the command line: partners, the catalogue, endpoints, settings. The program is
//! the real one; secrets reach it by file, standard input and variable.

use std::process::Output;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{App, api::id, app::INTEGRATOR, eventually, run};

/// Waits that no test lives to see the end of.
const FAR: &str = "0,10m";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a command prints that must succeed.
async fn told(app: &App, args: &[&str]) -> String {
    let output = app.engine.client(args).await;
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The JSON of a command that must succeed.
async fn answered(app: &App, args: &[&str]) -> Value {
    let text = told(app, &[args, &["--json"]].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

/// What a command says that must end with this exit code.
async fn refused(app: &App, args: &[&str], code: i32) -> String {
    let output = app.engine.client(args).await;
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
    said(&output)
}

/// What a basic authentication that reached a partner says.
fn basic(header: &str) -> String {
    String::from_utf8(STANDARD.decode(header.strip_prefix("Basic ").unwrap()).unwrap()).unwrap()
}

#[test]
fn o06_an_endpoint_is_registered_from_the_command_line() {
    run(async |app| {
        let create = ["endpoint", "create", "--integrator", INTEGRATOR];
        assert!(refused(app, &create, 2).await.contains("--url"), "no URL");
        let wrong = refused(app, &[&create[..], &["--url", "ftp://partner.example"]].concat(), 6).await;
        assert!(wrong.contains("- --url: "), "{wrong}");
        let url = app.receiver.url("/in");
        let types = ["--event-type", "boletim.diario", "--event-type", "order.*"];
        let line = [&create[..], &["--url", &url, "--description", "Boletins"], &types].concat();
        let made = answered(app, &line).await;
        assert!(made["signing_secret"].as_str().unwrap().starts_with("whsec_"), "{made}");
        let path = format!("/v1/endpoints/{}", id(&made));
        let read = app.api.get(&path).await.expect(200);
        assert_eq!(
            (&read["url"], &read["description"], &read["event_types"]),
            (&json!(url), &json!("Boletins"), &json!(["boletim.diario", "order.*"]))
        );

        // For people: the signing secret once, and only then.
        let once = told(app, &line).await;
        assert!(once.contains("whsec_") && once.contains("only this once"), "{once}");
        let shown = told(app, &["endpoint", "show", made["id"].as_str().unwrap()]).await;
        assert!(shown.contains("Boletins") && shown.contains("etag") && !shown.contains("whsec_"), "{shown}");
        let rotated = answered(app, &["endpoint", "rotate-secret", made["id"].as_str().unwrap()]).await;
        assert!(rotated["signing_secret"].as_str().unwrap().starts_with("whsec_"), "{rotated}");
        assert_ne!(rotated["signing_secret"], made["signing_secret"]);
        let again = told(app, &["endpoint", "rotate-secret", made["id"].as_str().unwrap()]).await;
        assert!(again.contains("old one signs until"), "{again}");
        // What people gave is named as they gave it, and for programs as the API has it.
        let basic = ["endpoint", "create", "--integrator", INTEGRATOR, "--url", &url, "--auth", "basic"];
        let basic = [&basic[..], &["--auth-secret-env", "PARTNER_KEY"]].concat();
        let nobody = app.engine.client_with(&basic, &[("PARTNER_KEY", "hush")]).await;
        assert!(nobody.status.code() == Some(6) && said(&nobody).contains("--auth-user"), "{}", said(&nobody));
        let json = app.engine.client_with(&[&basic[..], &["--json"]].concat(), &[("PARTNER_KEY", "hush")]).await;
        assert!(said(&json).contains("auth.username"), "{}", said(&json));
        let disabled = made["id"].as_str().unwrap();
        told(app, &["endpoint", "update", disabled, "--enabled", "false"]).await;
        let sent = refused(app, &["endpoint", "send-all", disabled], 1).await;
        assert!(sent.contains("--enabled true"), "{sent}");
    });
}

#[test]
fn o06_every_field_of_an_endpoint_has_its_option() {
    run(async |app| {
        let folder = tempfile::tempdir().unwrap();
        let (filter, key) = (folder.path().join("filter.json"), folder.path().join("signing.key"));
        std::fs::write(&filter, r#"{"path": "/total", "gte": 100}"#).unwrap();
        let own = format!("whsec_{}", STANDARD.encode([7; 32]));
        std::fs::write(&key, format!("{own}\n")).unwrap();
        let url = app.receiver.url("/in");
        let made = answered(
            app,
            &[
                &["endpoint", "create", "--integrator", INTEGRATOR, "--url", &url, "--plugin", "gsan"][..],
                &["--config", r#"{"success": {"status": [200]}}"#, "--filter", filter.to_str().unwrap()],
                &["--enabled", "false", "--ordering", "latest", "--rate-limit", "20/40", "--max-in-flight", "3"],
                &[
                    "--timeout",
                    "500ms",
                    "--retry",
                    "0,5s,1m",
                    "--header",
                    "x-system=engate",
                    "--callbacks",
                    "integrator",
                ],
                &["--signing-secret-file", key.to_str().unwrap(), "--event-type", "t"],
            ]
            .concat(),
        )
        .await;
        let expected = json!({
            "plugin": "gsan", "config": {"success": {"status": [200]}}, "filter": {"path": "/total", "gte": 100},
            "enabled": false, "ordering": "latest", "rate_limit": {"per_second": 20, "burst": 40}, "max_in_flight": 3,
            "timeout_ms": 500, "retry": {"schedule_ms": [0, 5_000, 60_000]}, "headers": {"x-system": "engate"},
            "callbacks": "integrator", "signing_secret": own, "event_types": ["t"],
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&made[field], value, "{field} of {made}");
        }
        let endpoint = made["id"].as_str().unwrap();
        let cleared = ["plugin", "config", "filter", "rate-limit", "headers", "event-types"];
        let clear: Vec<_> = cleared.iter().flat_map(|field| ["--clear", field]).collect();
        let bare = answered(app, &[&["endpoint", "update", endpoint, "--enabled", "true"][..], &clear].concat()).await;
        for field in ["plugin", "config", "filter", "rate_limit"] {
            assert_eq!(bare[field], Value::Null, "{field} of {bare}");
        }
        assert_eq!((&bare["headers"], &bare["event_types"]), (&json!({}), &json!([])));
        assert_eq!((&bare["enabled"], &bare["ordering"]), (&json!(true), &json!("latest")), "what is not given stays");
    });
}

#[test]
fn o06_o08_o12_secrets_come_from_a_file_standard_input_or_a_variable_at_the_command_line() {
    run(async |app| {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, "a:b ç\n").unwrap();
        let mut everything = String::new();
        for path in ["/file", "/variable", "/stdin"] {
            app.receiver.always(path, 200);
        }
        let (file, variable, stdin) =
            (app.receiver.url("/file"), app.receiver.url("/variable"), app.receiver.url("/stdin"));
        let create = |url: &str, auth: &[&'static str]| -> Vec<String> {
            let fixed = ["endpoint", "create", "--json", "--integrator", INTEGRATOR, "--event-type", "t", "--url", url];
            fixed.iter().chain(auth).map(|word| (*word).to_owned()).collect()
        };
        fn words(line: &[String]) -> Vec<&str> {
            line.iter().map(String::as_str).collect()
        }

        let mut line = create(&file, &["--auth", "basic", "--auth-user", "ons", "--auth-secret-file"]);
        line.push(password.to_str().unwrap().to_owned());
        let output = app.engine.client(&words(&line)).await;
        assert!(output.status.success(), "{}", said(&output));
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        everything += &said(&output);

        let line = create(&variable, &["--auth", "authorization", "--auth-secret-env", "PARTNER_KEY"]);
        let output = app.engine.client_with(&words(&line), &[("PARTNER_KEY", "ninguemsabe")]).await;
        assert!(output.status.success(), "{}", said(&output));
        everything += &said(&output);
        let unset = app.engine.client(&words(&line)).await;
        assert!(unset.status.code() == Some(2) && said(&unset).contains("--auth-secret-env"), "{}", said(&unset));

        let line = create(&stdin, &["--auth", "header", "--auth-header", "x-api-key", "--auth-secret-file", "-"]);
        let output = app.engine.client_fed(&words(&line), "k-1\n").await;
        assert!(output.status.success(), "{}", said(&output));
        everything += &said(&output);

        // Nobody can be asked here, and nothing can be written into the argument.
        let none = app.engine.client(&words(&create(&stdin, &["--auth", "basic", "--auth-user", "ons"]))).await;
        assert!(none.status.code() == Some(2) && said(&none).contains("--auth-secret-file"), "{}", said(&none));
        let typed = create(&stdin, &["--auth", "authorization", "--auth-secret-file", "ninguemsabe"]);
        let typed = app.engine.client(&words(&typed)).await;
        assert_eq!(typed.status.code(), Some(2), "{}", said(&typed));
        everything += &said(&typed);

        app.api.emit("t", json!({})).await;
        assert_eq!(basic(app.receiver.only("/file").await.header("authorization")), "ons:a:b ç");
        assert_eq!(app.receiver.only("/variable").await.header("authorization"), "ninguemsabe");
        assert_eq!(app.receiver.only("/stdin").await.header("x-api-key"), "k-1");
        // The same type keeps its secret where none is given.
        let endpoint = id(&made);
        everything += &told(app, &["endpoint", "update", &endpoint, "--auth", "basic", "--auth-user", "other"]).await;
        everything += &told(app, &["endpoint", "list", "--json"]).await;
        app.api.settled().await;
        app.api.emit("t", json!({})).await;
        let again = app.receiver.wait("/file", 2).await;
        assert_eq!(basic(again[1].header("authorization")), "other:a:b ç");
        app.api.settled().await;
        for secret in ["a:b", "ninguemsabe", "k-1"] {
            assert!(!everything.contains(secret), "{secret} was printed: {everything}");
        }
    });
}

#[test]
fn o19_an_endpoint_is_edited_from_the_command_line() {
    run(async |app| {
        app.receiver.always("/old", 500);
        app.receiver.always("/new", 200);
        let (old, new) = (app.receiver.url("/old"), app.receiver.url("/new"));
        let line =
            ["endpoint", "create", "--integrator", INTEGRATOR, "--url", &old, "--event-type", "P1", "--retry", FAR];
        let endpoint = id(&answered(app, &line).await);
        app.api.emit("P1", json!({"version": 1})).await;
        let waiting = app.api.delivery(&endpoint, |delivery| delivery["attempts"] == 1).await;

        // The edit holds for the attempt that has not begun.
        let auth = ["--auth", "authorization", "--auth-secret-env", "NEW_KEY"];
        let edit = [&["endpoint", "update", &endpoint, "--url", &new][..], &auth].concat();
        let output = app.engine.client_with(&edit, &[("NEW_KEY", "nova-chave")]).await;
        assert!(output.status.success(), "{}", said(&output));
        told(app, &["delivery", "retry", waiting["id"].as_str().unwrap()]).await;
        assert_eq!(app.receiver.only("/new").await.header("authorization"), "nova-chave");
        app.api.delivery_in(&endpoint, "succeeded").await;

        // Ticking and unticking leaves what others ticked.
        let ticked = answered(app, &["endpoint", "update", &endpoint, "--subscribe", "P2", "--subscribe", "P3"]).await;
        assert_eq!(ticked["event_types"], json!(["P1", "P2", "P3"]));
        let unticked = answered(app, &["endpoint", "update", &endpoint, "--unsubscribe", "P1"]).await;
        assert_eq!(unticked["event_types"], json!(["P2", "P3"]));
        assert_eq!(app.api.event(json!({"type": "P1", "payload": {}})).await["deliveries"], 0);
        let unknown = refused(app, &["endpoint", "update", &endpoint, "--unsubscribe", "P9"], 2).await;
        assert!(unknown.contains("P2, P3"), "{unknown}");
        assert!(refused(app, &["endpoint", "update", &endpoint], 2).await.contains("nothing to change"));
        // A partner's address is never taken for the engine's, to which the token goes.
        let elsewhere = ["endpoint", "update", &endpoint, "--url", &old, "--engine-url", "http://127.0.0.1:1"];
        refused(app, &elsewhere, 5).await;

        told(app, &["endpoint", "delete", &endpoint]).await;
        refused(app, &["endpoint", "show", &endpoint], 4).await;
    });
}

#[test]
fn o19_an_edit_may_be_held_to_what_was_seen_from_the_command_line() {
    run(async |app| {
        let endpoint = app.endpoint_at("/in", &["t"]).await;
        let shown = told(app, &["endpoint", "show", &endpoint]).await;
        let tag = shown.lines().find_map(|line| line.strip_prefix("etag")).unwrap().trim().to_owned();
        let update = ["endpoint", "update", endpoint.as_str(), "--if-match", &tag, "--description"];
        told(app, &[&update[..], &["first"]].concat()).await;
        let late = refused(app, &[&update[..], &["second"]].concat(), 1).await;
        assert!(late.contains("changed meanwhile"), "{late}");
        // Shells take the quotes away.
        let bare = tag.trim_matches('"');
        refused(app, &["endpoint", "delete", &endpoint, "--if-match", bare], 1).await;
        let read = app.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
        assert_eq!(read["description"], "first");
    });
}

#[test]
fn v05_settings_are_shown_and_set_from_the_command_line() {
    run(async |app| {
        let shown = answered(app, &["settings", "show"]).await;
        assert_eq!((&shown["use_webhooks"], &shown["locale.language"]), (&json!(true), &json!("pt-BR")));
        let set = ["settings", "set", "use_webhooks=false", "locale.timezone=America/Manaus"];
        let changed = answered(app, &set).await;
        assert_eq!(changed["service_desk.use_webhooks"], false);
        let off = app.api.event(json!({"type": "bill.paid", "payload": 1})).await;
        assert_eq!((&off["deliveries"], &off["reason"]), (&json!(0), &json!("webhooks_disabled")));
        let audit = told(app, &["audit", "list", "--action", "setting."]).await;
        assert!(audit.contains("service_desk.use_webhooks") && audit.contains("America/Manaus"), "{audit}");
        // One that cannot be taken, and none is.
        let wrong = refused(app, &["settings", "set", "locale.timezone=Brazil", "bill.use_webhooks=false"], 6).await;
        assert!(wrong.contains("locale.timezone"), "{wrong}");
        // A name that nobody knows is told as such, with those that there are.
        let misspelt = refused(app, &["settings", "set", "locale.timezon=America/Manaus"], 6).await;
        assert!(misspelt.contains("no such setting") && misspelt.contains("jobs.paused"), "{misspelt}");
        let null = app.api.put("/v1/settings", &json!({"use_webhooks": null})).await;
        assert_eq!(null.expect_problem(422, "invalid"), ["use_webhooks"]);
        let other = refused(app, &["settings", "set", "use_webhooks=null"], 6).await;
        assert!(other.contains("must be true or false") && !other.contains("null or"), "{other}");
        let table = told(app, &["settings", "show"]).await;
        assert!(table.contains("America/Manaus") && table.contains("etag"), "{table}");
        assert!(!table.contains("bill.use_webhooks"), "{table}");
    });
}

#[test]
fn v30_integrators_are_entered_changed_and_disabled_from_the_command_line() {
    run(async |app| {
        let create = ["integrator", "create", "ons", "--name", "Operador Nacional", "--service", "Publicação"];
        let made = answered(
            app,
            &[&create[..], &["--plugin", "gsan", "--config", r#"{"success": {"status": [200]}}"#]].concat(),
        )
        .await;
        assert_eq!((&made["name"], &made["active"]), (&json!("Operador Nacional"), &json!(true)), "{made}");
        assert_eq!(
            (&made["services"], &made["config"]),
            (&json!(["Publicação"]), &json!({"success": {"status": [200]}}))
        );
        let again = refused(app, &create, 1).await;
        assert!(again.contains("already_exists"), "{again}");
        let list = told(app, &["integrator", "list"]).await;
        assert!(list.contains("ons") && list.contains(INTEGRATOR) && list.contains("Publicação"), "{list}");
        let update = ["integrator", "update", "ons", "--active", "false", "--slug", "ons-br", "--clear", "config"];
        let changed = answered(app, &update).await;
        assert_eq!((&changed["active"], &changed["config"]), (&json!(false), &Value::Null));
        assert_eq!(changed["plugin"], "gsan", "what is not given stays");
        assert!(told(app, &["integrator", "show", "ons-br"]).await.contains("Operador Nacional"));
        told(app, &["integrator", "delete", "ons-br"]).await;
        refused(app, &["integrator", "show", "ons-br"], 4).await;
    });
}

#[test]
fn v32_triggers_are_entered_and_tell_where_they_are_used_from_the_command_line() {
    run(async |app| {
        let schema = r#"{"type": "object", "required": ["total"]}"#;
        let line = ["event-type", "create", "bill.paid", "--title", "Conta paga", "--macro-process", "Cobrança"];
        let made = answered(app, &[&line[..], &["--process", "Pagamentos", "--schema", schema]].concat()).await;
        assert_eq!((&made["process"], &made["schema"]["required"]), (&json!("Pagamentos"), &json!(["total"])));
        refused(app, &["event", "send", "bill.paid", "--payload", "{}"], 6).await;
        let changed =
            answered(app, &["event-type", "update", "bill.paid", "--clear", "schema", "--title", "Paga"]).await;
        assert_eq!((&changed["schema"], &changed["title"]), (&Value::Null, &json!("Paga")));
        assert_eq!(changed["macro_process"], "Cobrança", "what is not given stays");
        let listed = told(app, &["event-type", "list"]).await;
        assert!(listed.contains("bill.paid") && listed.contains("the engine's"), "{listed}");

        assert!(told(app, &["event-type", "usage", "bill.paid"]).await.contains("No endpoint"));
        let exact = app.endpoint_at("/x", &["bill.paid"]).await;
        let pattern = app.endpoint_at("/y", &["bill.*"]).await;
        let usage = told(app, &["event-type", "usage", "bill.paid"]).await;
        for part in [exact.as_str(), pattern.as_str(), INTEGRATOR, "bill.*"] {
            assert!(usage.contains(part), "{part}: {usage}");
        }
        let used = refused(app, &["event-type", "delete", "bill.paid"], 1).await;
        assert!(used.contains("in_use"), "{used}");
        told(app, &["endpoint", "update", &exact, "--event-type", "order.created"]).await;
        told(app, &["event-type", "delete", "bill.paid"]).await;
        refused(app, &["event-type", "usage", "bill.paid"], 4).await;
        // The engine's own may only be switched off.
        refused(app, &["event-type", "delete", "delivery.failed"], 1).await;
        let off = answered(app, &["event-type", "update", "delivery.failed", "--enabled", "false"]).await;
        assert_eq!(off["enabled"], false);
    });
}

#[test]
fn deliveries_are_called_off_and_printed_from_the_command_line() {
    run(async |app| {
        app.receiver.always("/in", 500);
        app.receiver.always("/ok", 200);
        let endpoint = app.endpoint_retrying("/in", "t", &[0, 600_000]).await;
        let other = app.endpoint_at("/ok", &["t2"]).await;
        for n in 0..2 {
            app.api.emit("t", json!({"n": n})).await;
        }
        app.receiver.wait("/in", 2).await;
        app.api.emit("t2", json!({})).await;
        let done = id(&app.api.delivery_in(&other, "succeeded").await);
        let waiting = eventually("both wait", async || {
            let found = app.api.deliveries(&format!("endpoint={endpoint}&state=pending&attempts_eq=1")).await;
            if found.len() == 2 { Ok(found) } else { Err(format!("{found:?}")) }
        })
        .await;
        let ids: Vec<_> = waiting.iter().map(id).collect();
        // One that is over does not keep the others.
        let said = refused(app, &["delivery", "cancel", &done, &ids[0], &ids[1]], 1).await;
        assert!(said.contains("not_allowed_in_state") && said.contains(&done), "{said}");
        assert_eq!(app.api.delivery_count(&format!("endpoint={endpoint}&state=cancelled")).await, 2);

        // Those that are not there are not found, one or several.
        let unknown = ["1", "2"].map(|digit| format!("dlv_{}", digit.repeat(32)));
        refused(app, &["delivery", "cancel", &unknown[0], &unknown[1]], 4).await;
        refused(app, &["delivery", "cancel", &unknown[0], &done], 1).await;
        for format in ["csv", "ndjson", "pdf", "html"] {
            let nowhere = ["delivery", "export", "--format", format, "--output", "/nonexistent/x"];
            assert!(refused(app, &nowhere, 2).await.contains("/nonexistent/x"), "{format}");
        }

        let page = told(app, &["delivery", "export", "--format", "html", "--id", &ids[0]]).await;
        assert!(page.contains("<table") && !page.contains(&ids[1]), "{page}");
    });
}

#[test]
fn what_the_engine_has_is_looked_at_from_the_command_line() {
    run(async |app| {
        let event = app.api.emit("t", json!({"total": 1.5})).await;
        assert!(told(app, &["event", "list", "--event-type", "t"]).await.contains(&event));
        assert!(told(app, &["event", "show", &event]).await.contains("\"total\":1.5"));
        let plugin = told(app, &["plugin", "show", "gsan"]).await;
        assert!(plugin.contains("stable") && plugin.contains("may use hosts"), "{plugin}");
        let config = r#"{"success": {"status": [201]}}"#;
        let set = answered(app, &["plugin", "config", "gsan", "--set", config]).await;
        assert_eq!(set["success"]["status"], json!([201]));
        assert_eq!(answered(app, &["plugin", "config", "gsan"]).await, set);
        let event = json!({"type": "client-transaction", "payload": [{"idtransaction": 1, "idcliente": "01400-2", "valorpago": 10}]});
        let trial = json!({"event": event, "response": {"status": 500, "body": ""}});
        let tried = told(app, &["plugin", "try", "gsan", &trial.to_string()]).await;
        assert!(tried.contains("> POST ") && tried.contains("outcome"), "{tried}");
        assert!(told(app, &["tenant", "show", "default"]).await.contains("default"));
        assert!(told(app, &["job", "connections"]).await.contains("No connection"));
        app.api.anonymous().get("/v1/settings").await.expect_problem(401, "unauthorized");
        eventually("the refused call is counted", async || {
            let counted = told(app, &["audit", "refused"]).await;
            if counted.contains("127.0.0.1") { Ok(()) } else { Err(counted) }
        })
        .await;

        let wizard = app.api.post("/v1/wizards/carol", &json!({})).await.expect(201);
        let wizard = wizard["id"].as_str().unwrap();
        assert!(told(app, &["wizard", "show", wizard]).await.contains("welcome"));
        told(app, &["wizard", "delete", wizard]).await;
        refused(app, &["wizard", "show", wizard], 4).await;

        let made = answered(app, &["token", "create", "--client", "once", "--role", "auditor"]).await;
        let token = made["token"].as_str().unwrap();
        told(app, &["token", "revoke", "self", "--token", token]).await;
        refused(app, &["token", "list", "--token", token], 3).await;
    });
}

#[test]
fn a_command_line_that_cannot_be_used_says_so_without_what_is_secret() {
    run(async |app| {
        // As JSON where that is asked for, the errors of the command line itself too.
        let output = app.engine.client(&["delivery", "list", "--json", "--nope"]).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{}", said(&output));
        let told: Value = serde_json::from_slice(&output.stderr).unwrap_or_else(|_| panic!("{}", said(&output)));
        assert!(told["code"] == "usage" && told["detail"].as_str().unwrap().contains("--nope"), "{told}");
        assert!(refused(app, &["delivery", "list", "--nope"], 2).await.starts_with("error: "));

        let nobody = refused(app, &["delivery", "list", "--url", "http://ana:hushpw@127.0.0.1:1/?token=hush"], 5).await;
        assert!(nobody.contains("http://127.0.0.1:1/") && !nobody.contains("hush"), "{nobody}");
        let output = app.engine.client_with(&["delivery", "list"], &[("ENGATE_URL", "foo")]).await;
        assert!(output.status.code() == Some(2) && said(&output).contains("ENGATE_URL"), "{}", said(&output));
        assert!(said(&output).contains("such as http://"), "{}", said(&output));

        let create = ["endpoint", "create", "--integrator", INTEGRATOR, "--url", "https://partner.example"];
        let header = refused(app, &[&create[..], &["--header", "Authorization: Bearer hush"]].concat(), 2).await;
        assert!(header.contains("--header: write NAME=VALUE") && !header.contains("hush"), "{header}");
        let missing = refused(app, &[&create[..], &["--config", "nofile.json"]].concat(), 2).await;
        assert!(missing.contains("nofile.json: there is no such file"), "{missing}");
        let both = ["endpoint", "update", "ep_1", "--plugin", "gsan", "--clear", "plugin"];
        assert!(refused(app, &both, 2).await.contains("--clear plugin and --plugin say two things"));
    });
}
