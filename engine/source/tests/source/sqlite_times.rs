//! SQLite keeps times as text or numbers; both are compared by what they mean.

use engate_model::sync::{PageSize, Position};
use engate_source::Scan;

use crate::harness::{Subject, instant, stream};

async fn keys(t: &Subject, table: &str, from: &str, reach: &str) -> Vec<String> {
    let plan = t.plan(&stream(table, &["id"])).await;
    let position = Position::Stamp(instant(from));
    let scan = Scan { by_stamp: true, position: &position, reach: instant(reach) };
    let page = t.source.page(&plan, scan, PageSize { rows: 100, bytes: 1 << 20 }).await.unwrap();
    page.rows.into_iter().map(|row| row.key).collect()
}

#[tokio::test]
async fn text_is_compared_by_what_it_means() {
    let t = Subject::sqlite().await.unwrap();
    t.run(
        "CREATE TABLE m (id int NOT NULL PRIMARY KEY, s_t_a_m_p_ TIMESTAMP); INSERT INTO m VALUES (1, '2026-01-01 \
         12:00:00'), (2, '2026-01-01T12:00:00.500Z'), (3, '2026-01-01T09:00:01-03:00'), (4, '2026-01-01 12:00:02'), (5, NULL), \
         (6, '2026-01-01 01:00:00')",
    )
    .await;
    assert_eq!(keys(&t, "m", "2026-01-01T12:00:00Z", "2026-01-01T12:00:01.9Z").await, ["1", "2", "3"]);
    let plan = t.plan(&stream("m", &["id"])).await;
    let all = t.all(&plan, true, Position::Start, 1).await;
    assert_eq!(all.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["6", "1", "2", "3", "4"]);
    assert_eq!(all[2].stamp, Some(instant("2026-01-01T12:00:00.5Z")));
    assert!(all[3].data.contains("\"2026-01-01T12:00:01Z\""), "{}", all[3].data);
}

#[tokio::test]
async fn numbers_are_seconds_milliseconds_or_microseconds_by_their_size() {
    let t = Subject::sqlite().await.unwrap();
    for (table, one) in [("s", 1_i64), ("ms", 1_000), ("us", 1_000_000)] {
        let base = 1_767_268_800 * one;
        t.run(&format!(
            "CREATE TABLE {table} (id int NOT NULL PRIMARY KEY, s_t_a_m_p_ INTEGER); INSERT INTO {table} VALUES (1, {base}), (2, \
             {}), (3, {}), (4, NULL)",
            base + one,
            base + 2 * one
        ))
        .await;
        assert_eq!(keys(&t, table, "2026-01-01T12:00:00Z", "2026-01-01T12:00:01Z").await, ["1", "2"], "{table}");
    }
    t.run("CREATE TABLE none (id int NOT NULL PRIMARY KEY, s_t_a_m_p_ INTEGER)").await;
    assert!(keys(&t, "none", "2026-01-01T12:00:00Z", "2026-01-01T12:00:01Z").await.is_empty());
}
