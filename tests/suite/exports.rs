//! Exports of many deliveries: however many, the engine holds a page of them.

use axum::http::header;
use futures_util::StreamExt as _;
use serde_json::json;

use crate::harness::{App, Backend, Setup, database::meddle, engine::ADMIN_TOKEN, run_on};

const ROWS: u64 = 130_000;
/// What the engine may need more than before an export.
const GROWTH_BYTES_MAX: u64 = 32 << 20;
/// The answer is larger than that by far, or the test shows nothing.
const ANSWER_BYTES_MIN: u64 = 2 * GROWTH_BYTES_MAX;
/// So much of a first export is read before its memory is looked at: more than lies between the two sides' sockets.
const FIRST_BYTES: u64 = 8 << 20;
/// What the engine may need for those, SQLite's pages among it: less than the whole answer.
const FIRST_GROWTH_BYTES_MAX: u64 = ANSWER_BYTES_MIN / 4 * 3;
/// SQLite keeps pages of the file in memory, up to 32 MB for each connection that reads, and opens connections as it
/// needs them: after so many exports at most they are full, and nothing may grow any more.
const EXPORTS_MAX: u32 = 8;

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
    let given = if url.starts_with("postgres") {
        format!("SELECT setval('delivery_code', {})", ROWS + 1)
    } else {
        format!("UPDATE counters SET value = {} WHERE name = 'delivery_code'", ROWS + 1)
    };
    // The index of texts, which no export here reads, is not to grow meanwhile: one transaction with the rest.
    meddle(
        url,
        &format!(
            "BEGIN; INSERT INTO deliveries (code, id, {columns}) {series} \
             SELECT d.code + s.n, {id}, {columns} FROM deliveries d, s; {given}; \
             UPDATE delivery_marks SET code = {} WHERE name = 'texts'; COMMIT",
            ROWS + 1
        ),
    )
    .await;
}

/// What an export had.
struct Exported {
    lines: u64,
    bytes: u64,
    /// The most memory that the engine held meanwhile, in bytes.
    most: u64,
    /// The same until the first [`FIRST_BYTES`] were read.
    most_at_first: u64,
}

/// Reads an export to its end.
async fn export(app: &App, path: &str) -> Exported {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call =
        http.get(format!("{}{path}", app.engine.url())).header(header::AUTHORIZATION, format!("Bearer {ADMIN_TOKEN}"));
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let mut body = answer.bytes_stream();
    let (mut lines, mut bytes, mut most, mut most_at_first) = (0, 0, 0, 0);
    while let Some(part) = body.next().await {
        let part = part.unwrap();
        lines += u64::try_from(part.iter().filter(|byte| **byte == b'\n').count()).unwrap();
        bytes += u64::try_from(part.len()).unwrap();
        most = most.max(app.engine.resident_bytes());
        if bytes < FIRST_BYTES {
            most_at_first = most;
        }
    }
    Exported { lines, bytes, most, most_at_first }
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
            let mut grown = Vec::new();
            for _ in 0..EXPORTS_MAX {
                let before = app.engine.resident_bytes();
                let exported = export(app, &path).await;
                assert_eq!(exported.lines, ROWS + 1 + more, "{path}");
                assert!(exported.bytes > ANSWER_BYTES_MIN, "{path}: {}", exported.bytes);
                // Who puts the answer together before it goes out has it all by now.
                let at_first = exported.most_at_first.saturating_sub(before);
                assert!(
                    at_first < FIRST_GROWTH_BYTES_MAX,
                    "{path}: {before} bytes before, {at_first} more at the beginning"
                );
                grown.push(exported.most.saturating_sub(before));
                if grown.last() < Some(&GROWTH_BYTES_MAX) {
                    break;
                }
            }
            assert!(grown.last() < Some(&GROWTH_BYTES_MAX), "{path}: grew by {grown:?}, export after export");
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
