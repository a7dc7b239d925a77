//! History of many plugins, in three languages, replayed to the byte: what a record holds is all that a call depends on.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    harness::{App, Reply, api::id, run, within},
    languages, replays, sintegre,
};

/// How long the deliveries may take in the long run, on a machine that others use too.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(1_200);
/// Events handed in at a time; the API's own maximum.
const BATCH: u64 = 1_000;

/// Events for each plugin: some hundred, or so many that there are ten thousand attempts.
struct Size {
    gsan: u64,
    sintegre: u64,
    languages: u64,
    attempts_min: u64,
}

fn size() -> Size {
    let long = std::env::var("ENGATE_TEST_LONG").is_ok_and(|long| long == "1");
    if long {
        Size { gsan: 3_500, sintegre: 1_000, languages: 2_400, attempts_min: 10_000 }
    } else {
        Size { gsan: 60, sintegre: 20, languages: 150, attempts_min: 380 }
    }
}

/// A partner that takes most invoices, refuses some in the body of a 200, and is busy now and then.
fn invoice_answers(app: &App, path: &str) {
    let count = AtomicU64::new(0);
    app.receiver.on(path, move |_| match count.fetch_add(1, Ordering::SeqCst) % 7 {
        3 => {
            Reply::status(200).json(&json!({"resultado": "erro", "codigo": "CPF_INVALIDO", "mensagem": "não confere"}))
        }
        5 => Reply::status(503).body("busy"),
        n => Reply::status(200).json(&json!({"resultado": "ok", "protocolo": format!("P-{n}")})),
    });
}

async fn emit(app: &App, events: impl Iterator<Item = Value>) {
    let events: Vec<_> = events.collect();
    for batch in events.chunks(usize::try_from(BATCH).unwrap()) {
        app.api.post("/v1/events", &Value::Array(batch.to_vec())).await.expect(202);
    }
}

/// Attempts of each plugin whose name begins so.
async fn recorded(app: &App, plugin: &str) -> u64 {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let page = app.api.get(&format!("/v1/replays?limit=500&plugin={plugin}{cursor}")).await.expect(200);
        count += page["items"].as_array().unwrap().len() as u64;
        let Some(next) = page["next"].as_str() else { return count };
        cursor = format!("&cursor={next}");
    }
}

#[test]
fn attempts_of_every_kind_of_plugin_replay_to_the_byte() {
    let kinds = [("typescript", &["npm"][..]), ("python", &["python3"])];
    let built: Vec<_> =
        kinds.into_iter().filter(|(name, programs)| languages::built(name, programs).is_some()).collect();
    run(async |app| {
        let size = size();
        sintegre::prepare(app).await;
        let retry = json!({"schedule_ms": [0, 10, 10]});
        replays::mixed_answers(app, "/gsan");
        replays::mixed_answers(app, "/sintegre");
        let gsan = json!({
            "url": app.receiver.url("/gsan"), "event_types": [replays::GSAN], "plugin": "gsan", "retry": retry,
        });
        id(&app.endpoint(gsan).await);
        sintegre::endpoint(app, "/sintegre", "P1", json!({"retry": retry})).await;
        for (language, _) in &built {
            let path = format!("/{language}");
            invoice_answers(app, &path);
            languages::install(app, language, &path, &[0, 10, 10]).await;
        }
        let bills = |n: u64| json!([{"idtransaction": n, "idcliente": "01400-2", "valorpago": n}]);
        emit(app, (0..size.gsan).map(|n| json!({"type": replays::GSAN, "payload": bills(n)}))).await;
        let daily = |n: u64| sintegre::daily(&format!("ipdo/{n}.pdf"));
        emit(app, (0..size.sintegre).map(|n| json!({"type": "P1", "payload": daily(n)}))).await;
        let invoice = |n: u64| {
            let mut invoice = languages::invoice();
            invoice["invoice"]["number"] = json!(format!("NF-{n}"));
            json!({"type": "invoice.paid", "payload": invoice})
        };
        if !built.is_empty() {
            emit(app, (0..size.languages).map(invoice)).await;
        }
        within(DELIVERY_PATIENCE, "all deliveries are finished", async || {
            let left = app.api.delivery_count("state=pending").await + app.api.delivery_count("state=delivering").await;
            if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
        })
        .await;
        for (language, _) in &built {
            let count = recorded(app, &format!("{language}-partner")).await;
            assert!(count > size.languages, "{language}: {count}, retries are among them");
        }
        let started = Instant::now();
        let (code, report) = replays::engate_within(app, &["plugin", "replay"], DELIVERY_PATIENCE).await;
        assert_eq!((code, &report["differing"]), (0, &json!([])), "{report}");
        let attempts = report["attempts"].as_u64().unwrap();
        eprintln!("{attempts} attempts replayed in {:.1?}", started.elapsed());
        assert!(attempts >= size.attempts_min || built.len() < kinds.len(), "{attempts}");
    });
}
