//! Seed S1's notification: its body to the byte, and a link that needs no authentication.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use crate::harness::{App, Received, Reply, Setup, api::Answer, api::id, eventually, run_with};

/// The key of the links, which the tests also forge with.
const LINK_KEY: &str = "canary-link-key-0123456789abcdef";
/// What the linked file holds.
const FILE: &[u8] = b"%PDF-1.7 Informativo\x00\xff";

/// Gives the bundled plugin its key.
pub(crate) async fn prepare(app: &App) {
    let stored = app.api.put("/v1/secrets/sintegre-link", &json!({"value": LINK_KEY})).await;
    assert!(matches!(stored.status, 200 | 201), "{}", String::from_utf8_lossy(&stored.body));
    app.api.put("/v1/plugins/sintegre/grants", &json!({"secrets": ["sintegre-link"]})).await.expect(200);
}

/// Registers a SINtegre endpoint; `fields` go over the defaults, and `config` into its link settings.
pub(crate) async fn endpoint(app: &App, path: &str, event_type: &str, fields: Value) -> String {
    let mut whole = json!({
        "url": app.receiver.url(path), "event_types": [event_type], "plugin": "sintegre",
        "config": {"link": {"base": app.api.url("/v1/files")}},
    });
    for (name, value) in fields.as_object().unwrap() {
        whole[name] = value.clone();
    }
    id(&app.endpoint(whole).await)
}

/// The captured daily product (wire-formats, 2.1).
pub(crate) fn daily(file: &str) -> Value {
    json!({
        "nome": "IPDO (Informativo Preliminar Diário da Operação)", "processo": "Operação em Tempo Real",
        "macro_processo": "Operação do Sistema", "periodicidade": "diaria", "referencia": "2025-02-20", "arquivo": file,
    })
}

/// A monthly product.
pub(crate) fn monthly(referencia: &str, file: &str) -> Value {
    json!({
        "nome": "Boletim Mensal de Geração Eólica", "processo": "Resultados da operação",
        "macro_processo": "Operação do Sistema", "periodicidade": "mensal", "referencia": referencia, "arquivo": file,
    })
}

/// The engine with a folder of files to link to.
fn serving_files() -> (tempfile::TempDir, Setup) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("ipdo")).unwrap();
    std::fs::write(root.join("ipdo/2025-02-20.pdf"), FILE).unwrap();
    std::fs::write(folder.path().join("outside.txt"), "outside").unwrap();
    let setup = Setup::new().set("files.root", root.to_str().unwrap());
    (folder, setup)
}

/// A GET of a link as a partner makes it, who has no token.
async fn fetch(app: &App, link: &str) -> Answer {
    let path = link.strip_prefix(&app.api.url("")).unwrap_or_else(|| panic!("{link} leads elsewhere"));
    app.api.anonymous().get(path).await
}

/// The body with its link cut out, and the link.
fn split_link(received: &Received) -> (String, String) {
    let body = received.json();
    let link = body["url"].as_str().or(body["Uri"].as_str()).unwrap().to_owned();
    (received.text().replace(&link, "LINK"), link)
}

/// The notification of a product, its link cut out.
async fn notification(app: &App, payload: Value, names: &str) -> String {
    let name = format!("{names}-{}", app.receiver.seen_total());
    let path = format!("/{name}");
    app.receiver.always(&path, 200);
    let config = json!({"names": names, "link": {"base": app.api.url("/v1/files")}});
    endpoint(app, &path, &name, json!({"config": config})).await;
    app.api.emit(&name, payload).await;
    split_link(&app.receiver.only(&path).await).0
}

#[test]
fn o22_the_body_is_the_captured_one_to_the_byte() {
    run_with(serving_files().1, async |app| {
        prepare(app).await;
        assert_eq!(
            notification(app, daily("ipdo/2025-02-20.pdf"), "camel").await,
            concat!(
                r#"{"nome":"IPDO (Informativo Preliminar Diário da Operação)","processo":"Operação em Tempo Real","#,
                r#""dataProduto":"20/02/2025","macroProcesso":"Operação do Sistema","#,
                r#""periodicidade":"2025-02-20T00:00:00","periodicidadeFinal":"2025-02-20T23:59:59","url":"LINK"}"#
            )
        );
        assert_eq!(
            notification(app, monthly("2025-09-10", "eolica.pdf"), "camel").await,
            concat!(
                r#"{"nome":"Boletim Mensal de Geração Eólica","processo":"Resultados da operação","#,
                r#""dataProduto":"09/2025","macroProcesso":"Operação do Sistema","#,
                r#""periodicidade":"2025-09-01T00:00:00","periodicidadeFinal":"2025-09-30T23:59:59","url":"LINK"}"#
            )
        );
    });
}

#[test]
fn o22_the_guides_own_spelling_is_one_setting_away() {
    run_with(serving_files().1, async |app| {
        prepare(app).await;
        assert_eq!(
            notification(app, daily("ipdo/2025-02-20.pdf"), "pascal").await,
            concat!(
                r#"{"DataProduto":"20/02/2025","MacroProcesso":"Operação do Sistema","#,
                r#""Nome":"IPDO (Informativo Preliminar Diário da Operação)","Periodicidade":"2025-02-20T00:00:00","#,
                r#""PeriodicidadeFinal":"2025-02-20T23:59:59","Processo":"Operação em Tempo Real","Uri":"LINK"}"#
            )
        );
    });
}

#[test]
fn o22_what_the_event_leaves_out_comes_from_the_catalogue() {
    run_with(serving_files().1, async |app| {
        prepare(app).await;
        let entry = json!({"key": "ipdo", "title": "IPDO", "macro_process": "Operação", "process": "Tempo Real"});
        app.api.post("/v1/event-types", &entry).await.expect(201);
        app.receiver.always("/hook", 200);
        endpoint(app, "/hook", "ipdo", json!({})).await;
        let payload = json!({"periodicidade": "diaria", "referencia": "2025-02-20", "arquivo": "https://x.example/f"});
        app.api.emit("ipdo", payload).await;
        let body = app.receiver.only("/hook").await.json();
        let told = [&body["nome"], &body["macroProcesso"], &body["processo"], &body["url"]];
        assert_eq!(told, ["IPDO", "Operação", "Tempo Real", "https://x.example/f"]);
    });
}

#[test]
fn o23_o24_o25_first_instant_last_second_and_display_of_each_period() {
    run_with(serving_files().1, async |app| {
        prepare(app).await;
        let daily_on = |date: &str| {
            let mut payload = daily("x.pdf");
            payload["referencia"] = json!(date);
            payload
        };
        let cases = [
            (monthly("2020-08-15", "x.pdf"), "2020-08-01T00:00:00", "2020-08-31T23:59:59", "08/2020"),
            (monthly("2024-02-01", "x.pdf"), "2024-02-01T00:00:00", "2024-02-29T23:59:59", "02/2024"),
            (monthly("2025-09-30", "x.pdf"), "2025-09-01T00:00:00", "2025-09-30T23:59:59", "09/2025"),
            (daily_on("2025-02-20"), "2025-02-20T00:00:00", "2025-02-20T23:59:59", "20/02/2025"),
            (daily_on("2024-12-31"), "2024-12-31T00:00:00", "2024-12-31T23:59:59", "31/12/2024"),
        ];
        for (payload, first, last, display) in cases {
            let body: Value = serde_json::from_str(&notification(app, payload, "camel").await).unwrap();
            let told = [&body["periodicidade"], &body["periodicidadeFinal"], &body["dataProduto"]];
            assert_eq!(told, [first, last, display]);
        }
    });
}

#[test]
fn o26_the_link_needs_no_authentication_until_its_time_is_over_and_a_resend_carries_a_new_one() {
    let (_folder, setup) = serving_files();
    run_with(setup, async |app| {
        prepare(app).await;
        app.receiver.script("/hook", [Reply::status(500), Reply::status(200)]);
        let config = json!({"link": {"base": app.api.url("/v1/files"), "ttl_s": 3}});
        let retry = json!({"schedule_ms": [0, 5_000]});
        endpoint(app, "/hook", "ipdo", json!({"config": config, "retry": retry})).await;
        app.api.emit("ipdo", daily("ipdo/2025-02-20.pdf")).await;
        let (_, first) = split_link(&app.receiver.wait("/hook", 1).await[0]);
        let answer = fetch(app, &first).await;
        assert_eq!((answer.status, &answer.body[..]), (200, FILE));
        eventually("the link expires", async || match fetch(app, &first).await.status {
            403 | 410 => Ok(()),
            other => Err(other.to_string()),
        })
        .await;
        let (_, second) = split_link(&app.receiver.wait("/hook", 2).await[1]);
        let answer = fetch(app, &second).await;
        assert_eq!((answer.status, &answer.body[..]), (200, FILE), "minted at sending time");
        assert_ne!(first, second);
    });
}

/// A token as the plugin mints them, or as somebody would like to.
fn token(header: &Value, claims: &Value, key: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

#[test]
fn o26_forged_expired_and_wandering_links_open_nothing() {
    let (_folder, setup) = serving_files();
    run_with(setup, async |app| {
        prepare(app).await;
        app.receiver.always("/hook", 200);
        endpoint(app, "/hook", "ipdo", json!({})).await;
        app.api.emit("ipdo", daily("ipdo/2025-02-20.pdf")).await;
        let (_, link) = split_link(&app.receiver.only("/hook").await);
        let genuine = link.split("token=").nth(1).unwrap();
        let claims_part = URL_SAFE_NO_PAD.decode(genuine.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims_part).unwrap();
        let now = claims["nbf"].as_u64().unwrap() + 60;
        assert_eq!(claims["exp"].as_u64().unwrap(), now + 86_400, "a day, as the captured links have it");
        let hs256 = json!({"alg": "HS256", "typ": "JWT"});
        let with = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            token(&hs256, &claims, LINK_KEY)
        };
        let cases = [
            (token(&hs256, &claims, LINK_KEY), 200, "made here with the right key"),
            (token(&hs256, &claims, "another key of about that length"), 403, "another key"),
            (token(&json!({"alg": "none"}), &claims, LINK_KEY), 403, "another algorithm"),
            (format!("{}.", genuine.rsplit_once('.').unwrap().0), 403, "no signature"),
            (with("exp", json!(now - 1)), 410, "expired"),
            (with("nbf", json!(now + 3_600)), 403, "not yet valid"),
            (with("aud", json!("ten_00000000000000000000000000000000")), 403, "another tenant"),
            (with("URL", json!("../outside.txt")), 404, "out of the root"),
            (with("URL", json!("ipdo/../../outside.txt")), 404, "out of the root by a detour"),
            (with("URL", json!("/etc/passwd")), 404, "an absolute path"),
            (with("URL", json!("ipdo/none.pdf")), 404, "no such file"),
            (String::new(), 422, "nothing"),
        ];
        for (token, status, what) in cases {
            let answer = app.api.anonymous().get(&format!("/v1/files?token={token}")).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(
                answer.status == status || (status == 404 && answer.status == 403),
                "{what}: {} {text}",
                answer.status
            );
            assert!(!text.contains("outside") && !text.contains("root:"), "{what}: {text}");
        }
    });
}

#[test]
fn a_partner_tries_its_endpoint_with_the_sample_and_not_with_a_payload_of_its_own() {
    let (_folder, setup) = serving_files();
    run_with(setup, async |app| {
        prepare(app).await;
        app.receiver.always("/hook", 200);
        let path = format!("/v1/endpoints/{}/test", endpoint(app, "/hook", "ipdo", json!({})).await);
        let token = json!({"client": "portal", "role": "integrator", "integrator": "partner"});
        let token = app.api.post("/v1/tokens", &token).await.expect(201);
        let partner = app.api.with_token(token["token"].as_str().unwrap());
        // Whatever file it names, the engine would sign a link to it.
        let body = json!({"event_type": "ipdo", "payload": daily("another-partner/contract.pdf")});
        let refused = partner.post(&path, &body).await;
        assert!(String::from_utf8_lossy(&refused.body).contains("`payload`"), "the field is named");
        refused.expect_problem(403, "forbidden");
        assert_eq!(app.receiver.seen_total(), 0);
        app.api.emit("ipdo", daily("ipdo/2025-02-20.pdf")).await;
        app.receiver.wait("/hook", 1).await;
        let sent = partner.post(&path, &json!({"event_type": "ipdo"})).await.expect(200);
        assert_eq!(sent["outcome"], "success", "{sent}");
        let (_, link) = split_link(&app.receiver.wait("/hook", 2).await[1]);
        assert_eq!(&fetch(app, &link).await.body[..], FILE, "the newest event's file");
        app.api.post(&path, &body).await.expect(200);
    });
}

#[test]
fn a_link_of_one_tenant_opens_no_file_of_another() {
    let (folder, setup) = serving_files();
    let theirs = folder.path().join("root/tenants/saae");
    std::fs::create_dir_all(&theirs).unwrap();
    std::fs::write(theirs.join("own.pdf"), b"of saae").unwrap();
    run_with(setup, async |app| {
        prepare(app).await;
        let made = app.api.post("/v1/tenants", &json!({"slug": "saae"})).await.expect(201);
        let admin = app.api.with_token(made["admin_token"]["token"].as_str().unwrap());
        admin
            .put("/v1/secrets/sintegre-link", &json!({"value": "a key of saae's own, as long as it likes"}))
            .await
            .expect_any();
        let first = id(&app.api.get("/v1/tenants/default").await.expect(200));
        let exp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3_600;
        let open = async |tenant: &str, key: &str, path: &str| {
            let claims = json!({"aud": tenant, "URL": path, "exp": exp});
            let token = token(&json!({"alg": "HS256", "typ": "JWT"}), &claims, key);
            let answer = app.api.anonymous().get(&format!("/v1/files?token={token}")).await;
            (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
        };
        let saae = id(&made);
        let by_saae = async |path: &str| open(&saae, "a key of saae's own, as long as it likes", path).await;
        assert_eq!(by_saae("own.pdf").await, (200, "of saae".to_owned()));
        assert_eq!(open(&first, LINK_KEY, "ipdo/2025-02-20.pdf").await.0, 200);
        for path in ["ipdo/2025-02-20.pdf", "../../ipdo/2025-02-20.pdf", "tenants/saae/own.pdf", "../own.pdf"] {
            assert_eq!(by_saae(path).await.0, 404, "{path}");
        }
        for path in ["tenants/saae/own.pdf", "ipdo/../tenants/saae/own.pdf", "own.pdf"] {
            assert_eq!(open(&first, LINK_KEY, path).await.0, 404, "{path}");
        }
        // The folder goes by the slug.
        app.api.patch("/v1/tenants/saae", &json!({"slug": "saae-sul"})).await.expect(200);
        assert_eq!(by_saae("own.pdf").await.0, 404);
    });
}
