//! `ETag`, `If-Match` and `If-None-Match` on everything that can be read and edited; edits that meet lose nothing.

use axum::http::Method;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::{
    cluster::run_with_two,
    harness::{
        Api, App, Backend, Setup,
        api::{Answer, id},
        run, run_on,
    },
};

/// What can be edited: where it is, an edit that differs each time, and how it is edited.
struct Edited {
    path: String,
    method: Method,
    body: fn(u32) -> Value,
}

async fn everything(app: &App) -> Vec<Edited> {
    let endpoint = app.endpoint(json!({"url": app.receiver.url("/in"), "event_types": ["t"]})).await;
    let inbound = json!({"name": "bank", "plugin": "standard", "config": {}});
    let inbound = app.api.post("/v1/inbounds", &inbound).await;
    let mut all = vec![
        Edited {
            path: "/v1/settings".into(),
            method: Method::PUT,
            body: |n| json!({format!("m{n}.use_webhooks"): false}),
        },
        Edited {
            path: format!("/v1/endpoints/{}", id(&endpoint)),
            method: Method::PATCH,
            body: |n| json!({"description": n.to_string()}),
        },
        Edited {
            path: "/v1/integrators/partner".into(),
            method: Method::PATCH,
            body: |n| json!({"name": n.to_string()}),
        },
        Edited {
            path: "/v1/integrators/partner".into(),
            method: Method::PUT,
            body: |n| json!({"slug": "partner", "name": n.to_string()}),
        },
        Edited { path: "/v1/event-types/t".into(), method: Method::PATCH, body: |n| json!({"title": n.to_string()}) },
        Edited { path: "/v1/event-types/t".into(), method: Method::PUT, body: |n| json!({"title": n.to_string()}) },
        Edited {
            path: "/v1/plugins/gsan/limits".into(),
            method: Method::PUT,
            body: |n| json!({"cpu_ms": 10 + n % 50}),
        },
        Edited {
            path: "/v1/plugins/gsan/grants".into(),
            method: Method::PUT,
            body: |n| json!({"hosts": [format!("https://h{n}.example.com")]}),
        },
        Edited {
            path: "/v1/plugins/gsan/config".into(),
            method: Method::PUT,
            body: |n| json!({"success": {"status": [200 + n % 99]}}),
        },
    ];
    let token = app.api.post("/v1/tokens", &json!({"client": "bi", "role": "auditor"})).await.expect(201);
    all.push(Edited {
        path: format!("/v1/tokens/{}", id(&token)),
        method: Method::PATCH,
        body: |n| json!({"redact": [n.to_string()]}),
    });
    app.api.post("/v1/tenants", &json!({"slug": "saae"})).await.expect(201);
    all.push(Edited {
        path: "/v1/tenants/saae".into(),
        method: Method::PATCH,
        body: |n| json!({"name": n.to_string()}),
    });
    if inbound.status == 201 {
        let body = |n: u32| json!({"description": n.to_string()});
        all.push(Edited { path: "/v1/inbounds/bank".into(), method: Method::PATCH, body });
    }
    all
}

fn tag(answer: &Answer) -> String {
    answer.headers.get("etag").expect("an ETag").to_str().unwrap().to_owned()
}

async fn edit(api: &Api, edited: &Edited, n: u32, if_match: Option<&str>) -> Answer {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(if_match.map(|tag| ("if-match", tag)));
    api.send(edited.method.clone(), &edited.path, &headers, (edited.body)(n).to_string().into()).await
}

#[test]
fn a_stale_edit_is_refused_and_changes_nothing() {
    run(async |app| {
        for edited in everything(app).await {
            let name = format!("{} {}", edited.method, edited.path);
            let first = tag(&app.api.get(&edited.path).await);
            assert!(first.starts_with('"') && first.len() == 34, "{name}: {first}");
            let made = edit(&app.api, &edited, 1, Some(&first)).await;
            let second = tag(&made);
            made.expect(200);
            assert_ne!(first, second, "{name}");
            assert_eq!(
                tag(&app.api.get(&edited.path).await),
                second,
                "{name}: an edit answers the tag of what it left"
            );

            let before = app.api.get(&edited.path).await.expect(200);
            edit(&app.api, &edited, 2, Some(&first)).await.expect_problem(412, "precondition_failed");
            edit(&app.api, &edited, 2, Some("W/\"x\"")).await.expect_problem(412, "precondition_failed");
            assert_eq!(app.api.get(&edited.path).await.expect(200), before, "{name}");
            let wrong = edit(&app.api, &edited, 2, Some("no quotes")).await.expect_problem(422, "invalid");
            assert_eq!(wrong, ["If-Match"]);

            edit(&app.api, &edited, 3, Some(&format!("\"other\", {second}"))).await.expect(200);
            edit(&app.api, &edited, 4, Some("*")).await.expect(200);
            // The same again changes nothing, and so the tag stays.
            let fourth = tag(&app.api.get(&edited.path).await);
            assert_eq!(tag(&edit(&app.api, &edited, 4, None).await), fourth, "{name}");
        }
    });
}

#[test]
fn a_reader_that_has_it_already_gets_no_body() {
    run(async |app| {
        for edited in everything(app).await {
            let first = app.api.get(&edited.path).await;
            let known = tag(&first);
            let get = async |tag: &str| {
                app.api.send(Method::GET, &edited.path, &[("if-none-match", tag)], bytes::Bytes::new()).await
            };
            for tag in [known.clone(), format!("W/{known}"), format!("\"a\", {known}"), "*".to_owned()] {
                let again = get(&tag).await;
                assert_eq!((again.status, again.body.len()), (304, 0), "{tag}");
                assert_eq!(again.headers["etag"], known.as_str());
            }
            assert_eq!(get("\"other\"").await.status, 200);
        }
        // The answer that tells a secret once stands for the same endpoint.
        let made =
            app.api.post("/v1/endpoints", &json!({"integrator": "partner", "url": app.receiver.url("/x")})).await;
        let made_tag = tag(&made);
        let endpoint = made.expect(201);
        assert_eq!(tag(&app.api.get(&format!("/v1/endpoints/{}", id(&endpoint))).await), made_tag);
    });
}

#[test]
fn a_tag_outlasts_a_start_and_is_no_digest_of_what_is_shown() {
    run(async |app| {
        for edited in everything(app).await {
            let seen = app.api.get(&edited.path).await;
            // Who is not shown a short field could try what it may be, with nothing but the tag.
            let guessed = digest(&SHA256, &seen.body);
            let guessed: String = guessed.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            let inner = tag(&seen).trim_matches('"').to_owned();
            assert!(!guessed.contains(&inner), "{}", edited.path);
        }
        let path = "/v1/integrators/partner";
        let seen = tag(&app.api.get(path).await);
        app.engine.terminate().await;
        app.engine.start_again().await;
        assert_eq!(tag(&app.api.get(path).await), seen);
    });
}

#[test]
fn nodes_answer_the_same_tag() {
    run_with_two(async |app, _, second| {
        let path = "/v1/integrators/partner";
        let seen = tag(&app.api.get(path).await);
        assert_eq!(tag(&second.get(path).await), seen);
        let headers = [("content-type", "application/json"), ("if-match", seen.as_str())];
        let edit = json!({"name": "Two"}).to_string();
        second.send(Method::PATCH, path, &headers, edit.clone().into()).await.expect(200);
        app.api.send(Method::PATCH, path, &headers, edit.into()).await.expect_problem(412, "precondition_failed");
    });
}

#[test]
fn a_stale_delete_is_refused() {
    run(async |app| {
        app.api.post("/v1/event-types", &json!({"key": "t"})).await.expect(201);
        app.api.post("/v1/integrators", &json!({"slug": "lone"})).await.expect(201);
        let endpoint = app.endpoint(json!({"url": app.receiver.url("/in")})).await;
        app.api.post("/v1/tenants", &json!({"slug": "saae"})).await.expect(201);
        for (path, change) in [
            ("/v1/tenants/saae".to_owned(), json!({"name": "S"})),
            ("/v1/event-types/t".to_owned(), json!({"title": "T"})),
            ("/v1/integrators/lone".to_owned(), json!({"name": "L"})),
            (format!("/v1/endpoints/{}", id(&endpoint)), json!({"description": "E"})),
        ] {
            let seen = tag(&app.api.get(&path).await);
            app.api.patch(&path, &change).await.expect(200);
            let delete =
                async |tag: &str| app.api.send(Method::DELETE, &path, &[("if-match", tag)], bytes::Bytes::new()).await;
            delete(&seen).await.expect_problem(412, "precondition_failed");
            let seen = tag(&app.api.get(&path).await);
            delete(&seen).await.expect(204);
            app.api.get(&path).await.expect_problem(404, "not_found");
        }
    });
}

#[test]
fn a_token_that_was_changed_is_not_revoked_unseen_and_its_uses_are_no_change() {
    run(async |app| {
        let made = app.api.post("/v1/tokens", &json!({"client": "bi", "role": "auditor"})).await.expect(201);
        let path = format!("/v1/tokens/{}", id(&made));
        let seen = tag(&app.api.get(&path).await);
        app.api.with_token(made["token"].as_str().unwrap()).get("/v1/deliveries").await.expect(200);
        let used = app.api.get(&path).await;
        assert_eq!(tag(&used), seen, "{}", used.expect(200));
        app.api.patch(&path, &json!({"redact": ["cpf"]})).await.expect(200);
        let delete =
            async |tag: &str| app.api.send(Method::DELETE, &path, &[("if-match", tag)], bytes::Bytes::new()).await;
        delete(&seen).await.expect_problem(412, "precondition_failed");
        delete(&tag(&app.api.get(&path).await)).await.expect(204);
        let ended = app.api.get(&path).await.expect(200);
        assert!(ended["revoked_at"].is_string(), "{ended}");
    });
}

/// Three edits of three fields at once, again and again: each is there afterwards.
fn edits_that_meet(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        let path = format!("/v1/endpoints/{}", app.endpoint_at("/in", &["t"]).await);
        for n in 1..=15 {
            let changes =
                [json!({"description": n.to_string()}), json!({"max_in_flight": n}), json!({"timeout_ms": n})];
            let edits = changes.map(|change| {
                let (api, path) = (app.api.clone(), path.clone());
                tokio::spawn(async move { api.patch(&path, &change).await.expect(200) })
            });
            for edit in edits {
                edit.await.unwrap();
            }
            let now = app.api.get(&path).await.expect(200);
            let fields = json!([now["description"], now["max_in_flight"], now["timeout_ms"]]);
            assert_eq!(fields, json!([n.to_string(), n, n]), "round {n}");
        }
        let names = (0..12).map(|n| {
            let api = app.api.clone();
            let grants = json!({"secrets": [format!("s{n}")]});
            tokio::spawn(async move { api.put("/v1/plugins/gsan/grants", &grants).await.expect(200) })
        });
        let limits = (0..12).map(|n| {
            let api = app.api.clone();
            tokio::spawn(
                async move { api.put("/v1/plugins/gsan/limits", &json!({"cpu_ms": 10 + n})).await.expect(200) },
            )
        });
        for edit in names.chain(limits).collect::<Vec<_>>() {
            edit.await.unwrap();
        }
        // Two resources in one row: neither takes the other's edit away.
        let limits = app.api.get("/v1/plugins/gsan/limits").await.expect(200);
        let grants = app.api.get("/v1/plugins/gsan/grants").await.expect(200);
        assert!(limits["cpu_ms"].is_u64() && grants["secrets"][0].is_string(), "{limits} {grants}");
    });
}

#[test]
fn edits_that_meet_lose_nothing_on_sqlite() {
    edits_that_meet(Backend::Sqlite);
}

#[test]
fn edits_that_meet_lose_nothing_on_postgres() {
    edits_that_meet(Backend::Postgres);
}

#[test]
fn of_edits_that_saw_the_same_state_one_wins() {
    run(async |app| {
        let path = format!("/v1/endpoints/{}", app.endpoint_at("/in", &["t"]).await);
        let seen = tag(&app.api.get(&path).await);
        let edits = (0..8).map(|n| {
            let (api, path, seen) = (app.api.clone(), path.clone(), seen.clone());
            tokio::spawn(async move {
                let headers = [("content-type", "application/json"), ("if-match", seen.as_str())];
                let body = json!({"description": n.to_string()}).to_string();
                api.send(Method::PATCH, &path, &headers, body.into()).await.status
            })
        });
        let mut statuses = Vec::new();
        for edit in edits.collect::<Vec<_>>() {
            statuses.push(edit.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    });
}
