//! Client certificates: partners that ask who calls, in the handshake.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    auth::{everything_below, find},
    harness::{
        App, Setup,
        api::id,
        app,
        asking::{Asking, Authority, Identity, Partner},
        eventually, run_with,
    },
    sync_world::World,
};

/// An engine that trusts the authority, which also signs the clients' certificates.
fn with_authority(test: impl AsyncFnOnce(&mut App, &Authority)) {
    with_authority_and(Setup::new(), test);
}

fn with_authority_and(setup: Setup, test: impl AsyncFnOnce(&mut App, &Authority)) {
    let authority = Authority::new("authority of the test");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &authority.pem).unwrap();
    let setup = setup.set("egress.ca_file", file.path().to_str().unwrap());
    run_with(setup, async |app| test(app, &authority).await);
}

fn auth(identity: &Identity) -> Value {
    json!({"type": "mtls", "certificate": identity.certificate, "key": identity.key})
}

async fn partner(authority: &Authority, known: &[&Identity]) -> Partner {
    let partner = Partner::start(Asking::of(authority)).await;
    known.iter().for_each(|identity| partner.meet(identity));
    partner
}

async fn endpoint(app: &App, partner: &Partner, path: &str, auth: Value) -> String {
    id(&app.endpoint(json!({"url": partner.url(path), "event_types": ["P1"], "auth": auth})).await)
}

/// What is base64 of a key: whatever form it goes out in, these lines would be there.
fn lines_of(key: &str) -> Vec<&str> {
    key.lines().filter(|line| !line.starts_with("-----") && line.len() > 16).collect()
}

#[test]
fn every_way_out_shows_the_certificate_and_its_answer_tells_it() {
    with_authority(async |app, authority| {
        let one = authority.client("one");
        let partner = partner(authority, &[&one]).await;
        let made = app.endpoint(json!({"url": partner.url("/one"), "event_types": ["P1"], "auth": auth(&one)})).await;
        let endpoint = id(&made);
        app.api.emit("P1", json!({"n": 1})).await;
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(partner.callers(), ["one"]);
        let attempt = app.api.attempt(&delivery).await;
        assert!(!attempt.to_string().contains("PRIVATE"), "{attempt}");
        let at = |rest: &str| format!("/v1/endpoints/{endpoint}{rest}");
        let tried = app.api.post(&at("/test"), &json!({"event_type": "P1", "payload": {}})).await.expect(200);
        assert_eq!((&tried["outcome"], partner.callers()), (&json!("success"), vec!["one".to_owned()]), "{tried}");
        let verified = app.api.post(&at("/verify"), &json!({})).await.expect(200);
        assert_eq!((&verified["verified"], partner.callers()), (&json!(true), vec!["one".to_owned()]), "{verified}");

        let shown = app.api.get(&at("")).await.expect(200);
        let certificate = &shown["auth"]["certificate"];
        assert!(certificate["subject"].as_str().unwrap().contains("CN=one"), "{shown}");
        assert_eq!(certificate["sha256"], one.sha256(), "{shown}");
        assert_eq!(certificate["not_after"], "4096-01-01T00:00:00.000000Z", "{shown}");
        assert_eq!((&shown["auth"]["type"], &shown["auth"]["secret_set"]), (&json!("mtls"), &json!(true)));
        assert!(shown["auth"].get("key").is_none() && made["auth"] == shown["auth"], "{shown}");
    });
}

#[test]
fn pages_of_a_sync_show_the_certificate_too() {
    let source = crate::harness::block_on(crate::harness::source::Source::create(crate::harness::source::Kind::Sqlite));
    let source = source.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new().set("connections.erp.url", &source.url);
    with_authority_and(setup, async move |app, authority| {
        let _world = World::new(source, folder.path().join("stub"), 10).await;
        let one = authority.client("one");
        let partner = partner(authority, &[&one]).await;
        let endpoint = endpoint(app, &partner, "/pages", auth(&one)).await;
        let run = json!({
            "kind": "sync", "source": {"kind": "table", "connection": "erp"},
            "sink": {"plugin": "http-table", "endpoint": endpoint, "config": {"url": partner.url("/pages")}},
            "streams": [{"name": "customers", "table": "t", "key": ["id"], "watermark": "S_T_A_M_P_", "target": "c"}]
        });
        let job = json!({"name": "pages", "schedule": {"kind": "always"}, "run": run});
        app.api.post("/v1/jobs", &job).await.expect(201);
        eventually("a page came", async || {
            let callers = partner.callers();
            assert!(callers.iter().all(|who| who == "one"), "{callers:?}");
            if callers.is_empty() { Err("none yet".to_owned()) } else { Ok(()) }
        })
        .await;
    });
}

#[test]
fn who_shows_none_or_a_wrong_one_is_refused_and_the_attempt_says_so() {
    with_authority(async |app, authority| {
        let stranger = Authority::new("nobody knows it").client("stranger");
        let partner = partner(authority, &[]).await;
        let cases = [
            ("/none", json!({"type": "none"}), "client_certificate_required", "mtls"),
            ("/stranger", auth(&stranger), "client_certificate_refused", "UnknownCA"),
        ];
        for (path, auth, code, told) in cases {
            let endpoint = endpoint(app, &partner, path, auth).await;
            // In TLS 1.3 the refusal follows the handshake: where it comes before the request is on its way, all that is known is
            // that the connection closed. Tried again, it is told.
            eventually("the attempt says who is refused", async || {
                app.api.emit("P1", json!({})).await;
                let newest = format!("/v1/deliveries?endpoint={endpoint}&state=failed&sort=-code");
                let failed = app.api.get(&newest).await.expect(200)["items"][0].clone();
                if failed.is_null() {
                    return Err("no attempt yet".to_owned());
                }
                let attempt = app.api.attempt(&failed).await.to_string();
                let known = failed["reason"] == code && attempt.contains(code);
                assert!(known || failed["reason"] == "connection_closed", "{failed} {attempt}");
                let refused = known && attempt.contains(told);
                if refused { Ok(()) } else { Err(attempt) }
            })
            .await;
            eventually("a verification says so too", async || {
                let verified = app.api.post(&format!("/v1/endpoints/{endpoint}/verify"), &json!({})).await.expect(200);
                assert_eq!(verified["verified"], false, "{verified}");
                if verified["code"] == code { Ok(()) } else { Err(verified.to_string()) }
            })
            .await;
            app.api.patch(&format!("/v1/endpoints/{endpoint}"), &json!({"enabled": false})).await.expect(200);
        }
        assert_eq!(partner.callers(), Vec::<String>::new(), "no request was heard");
    });
}

#[test]
fn identities_at_one_host_never_mix_and_keep_their_connections() {
    const EVENTS: usize = 60;
    with_authority(async |app, authority| {
        let all = ["one", "two", "three"].map(|name| authority.client(name));
        let partner = partner(authority, &all.each_ref()).await;
        for identity in &all {
            let path = format!("/{}", identity.name);
            endpoint(app, &partner, &path, auth(identity)).await;
        }
        for _ in 0..2 {
            let events: Vec<_> = (0..EVENTS / 2).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect();
            app.api.post("/v1/events", &json!(events)).await.expect(202);
            app.api.settled().await;
        }
        let heard = partner.take();
        assert_eq!(heard.len(), all.len() * EVENTS);
        for heard in &heard {
            assert_eq!(heard.who.as_deref(), heard.path.strip_prefix('/'), "{heard:?}");
        }
        let connections: BTreeSet<_> = heard.iter().map(|heard| heard.connection).collect();
        assert!(connections.len() < heard.len() / 4, "{} connections", connections.len());
        for connection in connections {
            let who: BTreeSet<_> =
                heard.iter().filter(|one| one.connection == connection).map(|one| &one.who).collect();
            assert_eq!(who.len(), 1, "connection {connection}: {who:?}");
        }
    });
}

#[test]
fn a_new_certificate_is_shown_from_the_next_attempt_on() {
    with_authority(async |app, authority| {
        let one = authority.client("one");
        let (renewed, two) = (authority.renewed(&one, "renewed"), authority.client("two"));
        let partner = partner(authority, &[&one, &renewed, &two]).await;
        let endpoint = endpoint(app, &partner, "/hook", auth(&one)).await;
        let at = format!("/v1/endpoints/{endpoint}");
        let send = async || {
            app.api.emit("P1", json!({})).await;
            app.api.settled().await;
            partner.callers()
        };
        assert_eq!((send().await, send().await), (vec!["one".to_owned()], vec!["one".to_owned()]));
        // Renewed for the same key: that need not be given again.
        let change = json!({"auth": {"type": "mtls", "certificate": renewed.certificate}});
        let shown = app.api.patch(&at, &change).await.expect(200);
        assert_eq!(shown["auth"]["certificate"]["sha256"], renewed.sha256());
        assert_eq!(send().await, ["renewed"]);
        // Another key is no key of that certificate, and another certificate has another key.
        for change in [json!({"key": two.key}), json!({"certificate": two.certificate})] {
            let mut auth = json!({"type": "mtls"});
            auth.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let refused = app.api.patch(&at, &json!({ "auth": auth })).await;
            assert_eq!(refused.expect_problem(422, "invalid"), ["auth.key"]);
        }
        assert_eq!(send().await, ["renewed"]);
        let same = app.api.patch(&at, &json!({"auth": {"type": "mtls"}})).await.expect(200);
        assert_eq!(same["revision"], shown["revision"], "nothing was changed");
        app.api.patch(&at, &json!({"auth": auth(&two)})).await.expect(200);
        assert_eq!(send().await, ["two"]);
        app.api.patch(&at, &json!({"auth": {"type": "none"}})).await.expect(200);
        app.api.emit("P1", json!({})).await;
        app.api.settled().await;
        let failed = app.api.deliveries("state=failed").await;
        assert_eq!(failed[0]["reason"], "client_certificate_required", "{failed:?}");
        assert_eq!(partner.callers(), Vec::<String>::new());
    });
}

#[test]
fn what_is_no_identity_is_refused_when_it_is_written() {
    with_authority(async |app, authority| {
        let (one, two, old) = (authority.client("one"), authority.client("two"), authority.expired("old"));
        let url = "https://127.0.0.1:9/hook";
        let cases = [
            (url, json!({"type": "mtls"}), vec!["auth.certificate", "auth.key"]),
            (url, json!({"type": "mtls", "certificate": "x", "key": "y"}), vec!["auth.certificate", "auth.key"]),
            (url, json!({"type": "mtls", "certificate": one.certificate, "key": two.key}), vec!["auth.key"]),
            (url, json!({"type": "mtls", "certificate": one.key, "key": one.key}), vec!["auth.certificate"]),
            (url, json!({"type": "mtls", "certificate": one.certificate, "key": one.key.repeat(2)}), vec!["auth.key"]),
            (url, auth(&old), vec!["auth.certificate"]),
            (url, json!({"type": "basic", "username": "u", "password": "p", "key": one.key}), vec!["auth.key"]),
            (url, json!({"type": "mtls", "certificate": "x".repeat(70_000), "key": one.key}), vec!["auth.certificate"]),
            ("http://127.0.0.1:9/hook", auth(&one), vec!["url"]),
        ];
        for (url, auth, fields) in cases {
            let new = app::endpoint(json!({"url": url, "event_types": ["P1"], "auth": auth}));
            let refused = app.api.post("/v1/endpoints", &new).await;
            let told = String::from_utf8_lossy(&refused.body).into_owned();
            assert!(!lines_of(&one.key).iter().any(|line| told.contains(line)), "{told}");
            assert_eq!(refused.expect_problem(422, "invalid"), fields, "{told}");
        }
        let endpoint = id(&app.endpoint(json!({"url": url, "event_types": ["P1"], "auth": auth(&one)})).await);
        let plain = json!({"url": "http://127.0.0.1:9/hook"});
        let refused = app.api.patch(&format!("/v1/endpoints/{endpoint}"), &plain).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["url"]);
    });
}

#[test]
fn the_key_is_neither_told_nor_logged_nor_written_in_the_clear() {
    with_authority_and(Setup::new().set("log.level", "trace"), async |app, authority| {
        let (one, stranger) = (authority.client("one"), Authority::new("nobody knows it").client("stranger"));
        let partner = partner(authority, &[&one]).await;
        let mut told = String::new();
        for (path, identity) in [("/one", &one), ("/stranger", &stranger)] {
            let new = json!({"url": partner.url(path), "event_types": ["P1"], "auth": auth(identity)});
            let made = app.endpoint(new).await;
            let at = format!("/v1/endpoints/{}", id(&made));
            told += &made.to_string();
            told += &app
                .api
                .patch(&at, &json!({"description": "changed", "auth": auth(identity)}))
                .await
                .expect(200)
                .to_string();
        }
        app.api.emit("P1", json!({})).await;
        app.api.settled().await;
        for delivery in app.api.deliveries("").await {
            told += &format!("{delivery}{:?}", app.api.attempts(&delivery).await);
        }
        for path in ["/v1/endpoints", "/v1/audit?limit=500", "/v1/replays", "/v1/queues", "/metrics"] {
            told += &String::from_utf8_lossy(&app.api.get(path).await.body);
        }
        told += &String::from_utf8_lossy(&app.engine.client(&["endpoint", "list", "--json"]).await.stdout);
        told += &String::from_utf8_lossy(&app.engine.client(&["export"]).await.stdout);
        let log = app.engine.log();
        app.engine.terminate().await;
        let files = everything_below(app.engine.data().parent().unwrap());
        assert!(log.contains("TRACE") && find(&files, b"P1") && told.contains("CN=one"));
        for identity in [&one, &stranger] {
            for line in lines_of(&identity.key) {
                assert!(!told.contains(line), "an answer tells it");
                assert!(!log.contains(line), "the log tells it");
                assert!(!find(&files, line.as_bytes()), "a file tells it");
            }
            assert!(!find(&files, &identity.key_der()), "a file tells it, in DER");
            let certificate = lines_of(&identity.certificate);
            assert!(!find(&files, certificate[0].as_bytes()), "the certificate is sealed with it");
        }
    });
}

#[test]
fn a_file_declares_a_client_certificate_and_an_export_refers_to_it() {
    with_authority(async |app, authority| {
        let one = authority.client("one");
        let partner = partner(authority, &[&one]).await;
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("client.pem", &one.certificate);
        write("client.key", &one.key);
        let file = format!(
            "[[endpoints]]\nintegrator = \"partner\"\ndescription = \"secured\"\nurl = \"{}\"\nevent_types = [\"P1\"]\n\
             auth = {{ type = \"mtls\", certificate = {{ file = \"client.pem\" }}, key = {{ file = \"client.key\" }} }}\n",
            partner.url("/hook")
        );
        write("engine.toml", &file);
        let path = folder.path().join("engine.toml");
        let apply = async |path: &std::path::Path, variables: &[(&str, &str)]| {
            let output = app.engine.client_with(&["apply", "--json", "-f", path.to_str().unwrap()], variables).await;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let told = String::from_utf8(output.stdout).unwrap();
            assert!(!lines_of(&one.key).iter().any(|line| told.contains(line)), "{told}");
            serde_json::from_str::<Value>(&told).unwrap()
        };
        let first = apply(&path, &[]).await;
        assert_eq!(first["changed"], 1);
        assert_eq!(apply(&path, &[]).await["changed"], 0);
        app.api.emit("P1", json!({})).await;
        app.api.settled().await;
        assert_eq!(partner.callers(), ["one"]);
        let exported = app.engine.client(&["export"]).await;
        let text = String::from_utf8(exported.stdout).unwrap();
        write("exported.toml", &text);
        let variables = [
            ("ENGATE_APPLY_ENDPOINT_PARTNER_SECURED_KEY", one.key.as_str()),
            ("ENGATE_APPLY_ENDPOINT_PARTNER_SECURED_CERTIFICATE", &one.certificate),
            (
                "ENGATE_APPLY_ENDPOINT_PARTNER_SECURED_SIGNING_SECRET",
                first["signing_secrets"][0]["signing_secret"].as_str().unwrap(),
            ),
        ];
        assert!(variables.iter().all(|(name, _)| text.contains(name)), "{text}");
        let again = apply(&folder.path().join("exported.toml"), &variables).await;
        assert_eq!(again["changed"], 0, "{again}");
    });
}
