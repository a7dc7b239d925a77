//! Exports of many deliveries: however many, the engine holds a page of them.

use axum::http::header;
use futures_util::StreamExt as _;
use serde_json::json;

use crate::harness::{App, Backend, Setup, database::meddle, engine::ADMIN_TOKEN, run_on};

const ROWS: u64 = 130_000;
/// What the engine may need more than before an export. SQLite keeps pages of the file in memory, up to 32 MB for each
/// connection that reads; the exports before the one that is looked at have filled most of them.
const GROWTH_BYTES_MAX: u64 = 32 << 20;
/// The answer is larger than that by far, or the test shows nothing.
const ANSWER_BYTES_MIN: u64 = 2 * GROWTH_BYTES_MAX;

/// Copies the one delivery there is.
async fn copied(app: &App) {
    let url = app.engine.database_url();
    let (series, id) = if url.starts_with("postgres") {
        (format!("WITH s (n) AS (SELECT generate_series(1, {ROWS}))"), "gen_random_uuid()")
    } else {
        let series = format!("WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {ROWS})");
        (series, "randomblob(16)")
    };
    let columns = "tenant_id, event_id, event_type, subject, endpoint_id, integrator_id, state, success, reason, attempts, \
                   created_at, first_attempt_at, last_attempt_at, integrated_at, due_at, correlation_id";
    meddle(
        url,
        &format!(
            "INSERT INTO deliveries (code, id, {columns}) {series} SELECT d.code + s.n, {id}, {columns} FROM deliveries d, s"
        ),
    )
    .await;
    let given = if url.starts_with("postgres") {
        format!("SELECT setval('delivery_code', {})", ROWS + 1)
    } else {
        format!("UPDATE counters SET value = {} WHERE name = 'delivery_code'", ROWS + 1)
    };
    meddle(url, &given).await;
    // The index of texts, which no export here reads, is not to grow meanwhile.
    meddle(url, &format!("UPDATE delivery_marks SET code = {} WHERE name = 'texts'", ROWS + 1)).await;
}

/// Reads an export to its end; says how many lines and bytes it had, and the most memory that the engine held meanwhile.
async fn export(app: &App, path: &str) -> (u64, u64, u64) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call =
        http.get(format!("{}{path}", app.engine.url())).header(header::AUTHORIZATION, format!("Bearer {ADMIN_TOKEN}"));
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let mut body = answer.bytes_stream();
    let (mut lines, mut bytes, mut most) = (0, 0, 0);
    while let Some(part) = body.next().await {
        let part = part.unwrap();
        lines += u64::try_from(part.iter().filter(|byte| **byte == b'\n').count()).unwrap();
        bytes += u64::try_from(part.len()).unwrap();
        most = most.max(app.engine.resident_bytes());
    }
    (lines, bytes, most)
}

fn exports_are_flat(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        app.endpoint_at("/taken", &["bill.paid"]).await;
        app.receiver.always("/taken", 200);
        let subject = "o assunto de que se trata, com um texto de algum tamanho ".repeat(4);
        let event = json!({"type": "bill.paid", "subject": subject, "payload": {}, "correlation_id": "c".repeat(120)});
        app.api.event(event).await;
        app.api.settled().await;
        copied(app).await;
        let columns =
            "code,id,event,event_type,subject,endpoint,integrator,state,created_at,integrated_at,correlation_id";
        for (path, more) in
            [("/v1/deliveries.ndjson".to_owned(), 0), (format!("/v1/deliveries.csv?columns={columns}"), 1)]
        {
            for _ in 0..2 {
                let (lines, _, _) = export(app, &path).await;
                assert_eq!(lines, ROWS + 1 + more, "{path}");
            }
            let before = app.engine.resident_bytes();
            let (_, bytes, most) = export(app, &path).await;
            assert!(bytes > ANSWER_BYTES_MIN, "{path}: {bytes}");
            let growth = most.saturating_sub(before);
            assert!(growth < GROWTH_BYTES_MAX, "{path}: {before} bytes before, {most} while {bytes} went out");
        }
    });
}

#[test]
fn an_export_of_many_rows_holds_a_page_on_sqlite() {
    exports_are_flat(Backend::Sqlite);
}

#[test]
fn an_export_of_many_rows_holds_a_page_on_postgres() {
    exports_are_flat(Backend::Postgres);
}
