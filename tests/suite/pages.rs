//! Lists page by page, while things are entered and deleted between the pages: what was there all the time is seen once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{App, run};

/// A list, and how something gets into it and out again under a name.
struct List {
    path: &'static str,
    field: &'static str,
    make: fn(&App, &str) -> (String, Value),
    put: bool,
}

const LISTS: [List; 5] = [
    List {
        path: "/v1/event-types",
        field: "key",
        make: |_, name| ("/v1/event-types".into(), json!({ "key": name })),
        put: false,
    },
    List {
        path: "/v1/integrators",
        field: "slug",
        make: |_, name| ("/v1/integrators".into(), json!({ "slug": name })),
        put: false,
    },
    List {
        path: "/v1/secrets",
        field: "name",
        make: |_, name| (format!("/v1/secrets/{name}"), json!({ "value": "any" })),
        put: true,
    },
    List {
        path: "/v1/tokens",
        field: "client",
        make: |_, name| ("/v1/tokens".into(), json!({ "client": name, "role": "producer" })),
        put: false,
    },
    List {
        path: "/v1/endpoints",
        field: "description",
        make: |app, name| {
            let url = app.receiver.url("/never");
            ("/v1/endpoints".into(), json!({ "integrator": "partner", "url": url, "description": name }))
        },
        put: false,
    },
];

async fn enter(app: &App, list: &List, name: &str) {
    let (path, body) = (list.make)(app, name);
    let answer = if list.put { app.api.put(&path, &body).await } else { app.api.post(&path, &body).await };
    answer.expect_any();
}

/// Deletes what a page showed.
async fn delete(app: &App, list: &List, shown: &Value) {
    let id = shown.get("id").filter(|_| list.field != "slug").unwrap_or(&shown[list.field]);
    app.api.delete(&format!("{}/{}", list.path, id.as_str().unwrap())).await.expect(204);
}

#[test]
fn pages_survive_what_is_entered_and_deleted_between_them() {
    run(async |app| {
        for list in &LISTS {
            for name in ["bb", "dd", "ff", "hh", "jj", "ll", "nn"] {
                enter(app, list, name).await;
            }
            let whole = app.api.get(&format!("{}?limit=500", list.path)).await.expect(200);
            let name = |item: &Value| item[list.field].as_str().unwrap().to_owned();
            let mut there: BTreeSet<_> = whole["items"].as_array().unwrap().iter().map(name).collect();
            assert_eq!(whole["total"], there.len(), "{}", list.path);
            let (mut seen, mut cursor, mut round) = (Vec::new(), String::new(), 0);
            loop {
                let page = app.api.get(&format!("{}?limit=2{cursor}", list.path)).await.expect(200);
                assert!(page["total"].is_u64(), "{}: {page}", list.path);
                let items = page["items"].as_array().unwrap();
                seen.extend(items.iter().map(name));
                // One is entered before this place, one behind it, and the last one shown goes, with its place.
                for new in [format!("a{round}a"), format!("zz{round}")] {
                    enter(app, list, &new).await;
                }
                if let Some(last) = items.last().filter(|last| name(last).len() == 2) {
                    delete(app, list, last).await;
                    there.remove(&name(last));
                }
                round += 1;
                match page["next"].as_str() {
                    Some(next) if round < 20 => cursor = format!("&cursor={next}"),
                    _ => break,
                }
            }
            let distinct: BTreeSet<_> = seen.iter().cloned().collect();
            assert_eq!(distinct.len(), seen.len(), "{}: something came twice: {seen:?}", list.path);
            let missed: Vec<_> = there.difference(&distinct).collect();
            assert!(missed.is_empty(), "{}: {missed:?} were there all the time and not seen in {seen:?}", list.path);
        }
    });
}

#[test]
fn events_and_versions_page_newest_first() {
    run(async |app| {
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(app.api.emit("t", json!({ "n": n })).await);
        }
        // The list is in the order of ids; two of one millisecond differ by chance.
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.api.get(&format!("/v1/events?limit=2{cursor}")).await.expect(200);
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            app.api.emit("t", json!({})).await;
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, ids);
        let wrong = app.api.get("/v1/events?cursor=bm9wZQ").await;
        assert_eq!(wrong.expect_problem(422, "invalid"), ["cursor"]);
        let wrong = app.api.get("/v1/integrators?cursor=bm9wZQ").await;
        assert_eq!(wrong.expect_problem(422, "invalid"), ["cursor"]);
    });
}
