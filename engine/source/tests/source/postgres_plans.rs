//! How PostgreSQL finds the rows of a page.

use engate_model::sync::{PageSize, Position};
use engate_source::Scan;
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::harness::{Subject, instant, stream};

const ROWS: u32 = 30_000;

/// Entries of the index that all sessions together have read.
async fn read_of_index(session: &mut PgConnection) -> i64 {
    // Sessions tell their numbers when they end.
    for _ in 0..200 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'engate-source' AND datname = \
                   current_database()";
        let there: i64 = sqlx::query(sql).fetch_one(&mut *session).await.unwrap().get(0);
        if there == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let sql = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'p_s'";
    sqlx::query(sql).fetch_one(session).await.unwrap().get(0)
}

/// A table that was loaded just now has no statistics: the planner takes what is behind a place for a handful of rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_table_without_statistics_are_read_through_its_index() {
    let Some(t) = Subject::postgres().await else { return };
    t.run(&format!(
        "CREATE TABLE p (a varchar(4) NOT NULL, b int NOT NULL, v text, s_t_a_m_p_ timestamp, PRIMARY KEY (a, b)) \
         WITH (autovacuum_enabled = off); \
         INSERT INTO p SELECT '01', n, 'v' || n, timestamp '2026-01-01' + make_interval(secs => n / 7) \
         FROM generate_series(0, {ROWS} - 1) AS n; CREATE INDEX p_s ON p (s_t_a_m_p_, a, b)"
    ))
    .await;
    let plan = t.plan(&stream("p", &["a", "b"])).await;
    let position =
        Position::Row { stamp: Some(instant("2026-01-01T00:10:00Z")), key: vec!["01".into(), "4200".into()] };
    let scan = Scan { by_stamp: true, position: &position, reach: instant("2030-01-01T00:00:00Z") };
    let page = t.source.page(&plan, scan, PageSize { rows: 500, bytes: 8 << 20 }).await.unwrap();
    assert_eq!(page.rows.first().map(|row| row.order.clone()), Some(vec!["01".to_owned(), "4201".to_owned()]));
    assert_eq!(page.rows.len(), 500);
    t.source.close().await;
    let mut session = PgConnection::connect(&t.address()).await.unwrap();
    let read = read_of_index(&mut session).await;
    session.close().await.unwrap();
    assert!((500..1_000).contains(&read), "{read} entries of the index were read for a page of 500 rows");
    t.clean().await;
}
