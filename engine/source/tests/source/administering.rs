use engate_model::wizard::requirements::{Dialect, Watermark, watermark_steps};
use engate_source::{SourceError, administer};

use crate::harness::{Kind, Subject};

fn dialect(t: &Subject) -> Dialect {
    match t.kind {
        Kind::Postgres => Dialect::Postgres,
        Kind::MariaDb => Dialect::Mysql,
        Kind::Sqlite => Dialect::Sqlite,
    }
}

/// The column as a row of the catalogue, if it is there.
async fn has_stamp(t: &Subject) -> bool {
    let table = t.source.describe("sa1010").await.unwrap();
    table.column("S_T_A_M_P_").is_ok()
}

pub(crate) async fn a_watermark_is_added_whole_with_what_keeps_it(t: &Subject) {
    t.run("CREATE TABLE sa1010 (id INTEGER NOT NULL PRIMARY KEY, v VARCHAR(20))").await;
    t.run("INSERT INTO sa1010 (id, v) VALUES (1, 'before')").await;
    let steps = watermark_steps("sa1010", Watermark::Missing, dialect(t));
    administer(&t.address(), &steps).await.unwrap();
    assert!(has_stamp(t).await);
    // What is there has no stamp before it is written; what is written has the database's present.
    t.run("INSERT INTO sa1010 (id, v) VALUES (2, 'after')").await;
    let plan = t.plan(&crate::harness::stream("sa1010", &["id"])).await;
    let rows = t.all(&plan, false, engate_model::sync::Position::Start, 10).await;
    let stamped: Vec<_> = rows.iter().map(|row| row.stamp.is_some()).collect();
    assert_eq!(stamped, [false, true]);
    t.run("UPDATE sa1010 SET v = 'changed' WHERE id = 1").await;
    let rows = t.all(&plan, false, engate_model::sync::Position::Start, 10).await;
    let now = t.source.clock().await.unwrap();
    let behind = now.since(rows[0].stamp.unwrap());
    assert!(behind < std::time::Duration::from_secs(30), "the stamp is the source's present in UTC: {behind:?}");
    // A second time there is nothing to add, and the database says so.
    assert!(matches!(administer(&t.address(), &steps).await, Err(SourceError::Refused(_))));
}

pub(crate) async fn what_fails_in_the_middle_leaves_nothing_of_its_step(t: &Subject) {
    t.run("CREATE TABLE sa1010 (id INTEGER NOT NULL PRIMARY KEY, v VARCHAR(20))").await;
    let mut steps = watermark_steps("sa1010", Watermark::Missing, dialect(t));
    steps[0] = steps[0].replace("COMMIT;", "CREATE TABLE nowhere.nothing (id INTEGER); COMMIT;");
    if t.kind == Kind::MariaDb {
        // No transaction there over such statements.
        return what_was_begun_is_not_read_and_ended_by_the_rest(t, &steps).await;
    }
    assert!(administer(&t.address(), &steps).await.is_err());
    assert!(!has_stamp(t).await);
    let wrong = administer("oracle://somewhere", &steps).await;
    assert!(matches!(wrong, Err(SourceError::Address(_))));
}

/// Whoever adds the watermark dies after each of the steps but the last.
async fn what_was_begun_is_not_read_and_ended_by_the_rest(t: &Subject, steps: &[String]) {
    let is_unkept = async || t.source.describe("sa1010").await.unwrap().column("S_T_A_M_P_").unwrap().unkept;
    let stream = crate::harness::stream("sa1010", &["id"]);
    for done in 1..steps.len() {
        administer(&t.address(), &steps[..done]).await.unwrap();
        assert!(is_unkept().await, "after {done} steps");
        let refused = t.source.plan(&stream, &engate_model::sync::Partition::new()).await;
        assert!(matches!(&refused, Err(SourceError::Unfit(why)) if why.contains("nothing keeps")), "{refused:?}");
        let rest = watermark_steps("sa1010", Watermark::Begun, dialect(t));
        administer(&t.address(), &rest).await.unwrap();
        assert!(!is_unkept().await);
        t.run(&format!("INSERT INTO sa1010 (id, v) VALUES ({done}, 'new')")).await;
        let rows = t.all(&t.plan(&stream).await, true, engate_model::sync::Position::Start, 10).await;
        assert_eq!(rows.len(), 1, "the row that was written since has a stamp");
        t.run(
            "DROP TRIGGER sa1010_stamp_insert; DROP TRIGGER sa1010_stamp_update; DELETE FROM sa1010; \
             ALTER TABLE sa1010 DROP COLUMN S_T_A_M_P_",
        )
        .await;
    }
}
