//! The other cases of the suite, while the process dies.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::{Case, Point, run_case, scaled, writers::beside};
use crate::harness::{api::id, source::Kind, within};

/// Points that a page passes, in turn.
pub(super) const ON_THE_WAY: [Point; 3] = [Point::BeforeSend, Point::BeforeAnswer, Point::AfterAnswer];

/// A job whose first load is over, and an engine that is down.
pub(super) async fn loaded(case: &mut Case<'_>, stream: Value, page_rows: u32) -> Value {
    let job = case.world.job_with(case.app, stream, json!({"page_rows": page_rows})).await;
    case.world.equal().await;
    case.quiet().await;
    case.app.engine.kill().await;
    job
}

pub(super) fn c6_killed_among_a_thousand_rows_of_one_stamp(kind: Kind) {
    run_case("C6", kind, 1_000, async |case| {
        loaded(case, json!({}), 100).await;
        for n in 0..scaled(2) {
            // One statement's present is one stamp; a tie that commits later has the same.
            let source = &case.world.source;
            source.execute(&format!("UPDATE t SET v = 'tie{n}', S_T_A_M_P_ = {} WHERE id < 2000", source.now())).await;
            let all =
                "UPDATE t SET S_T_A_M_P_ = (SELECT s FROM (SELECT max(S_T_A_M_P_) AS s FROM t) AS m) WHERE id < 2000";
            source.execute(all).await;
            for point in ON_THE_WAY {
                case.dies(point, 3).await;
                let late =
                    "INSERT INTO t SELECT max(id) + 1, 'late', ' ', (SELECT S_T_A_M_P_ FROM t WHERE id = 0) FROM t";
                source.execute(late).await;
            }
            case.app.engine.start_again().await;
            case.world.equal().await;
            case.app.engine.kill().await;
        }
    });
}

pub(super) fn c7_killed_while_a_transaction_is_open_over_passes(kind: Kind) {
    run_case("C7", kind, 400, async |case| {
        loaded(case, json!({}), 50).await;
        // Longer than the safety lag: passes cover the instant of its stamps before it commits.
        let open = Duration::from_secs(u64::from(scaled(6)));
        let source = &case.world.source;
        let mut session = source.session().await;
        session.run(source.begin()).await.unwrap();
        let late = format!("UPDATE t SET v = 'late', S_T_A_M_P_ = {} WHERE id < 60", source.now());
        session.run(&late).await.unwrap();
        let begun = std::time::Instant::now();
        let mut n = 0;
        while begun.elapsed() < open || n < 3 {
            if kind == Kind::Sqlite {
                // Nobody else can write: passes find nothing, and move on.
                case.app.engine.start_again().await;
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                case.app.engine.kill().await;
                case.kills += 1;
            } else {
                let sql = format!("UPDATE t SET v = 'c{n}', S_T_A_M_P_ = {} WHERE id >= 100", source.now());
                source.execute(&sql).await;
                case.dies(ON_THE_WAY[n % 3], 2).await;
            }
            n += 1;
        }
        session.run("COMMIT").await.unwrap();
    });
}

pub(super) fn c9_killed_among_rows_from_before_there_were_stamps(kind: Kind) {
    run_case("C9", kind, 500, async |case| {
        let source = &case.world.source;
        source.execute("UPDATE t SET S_T_A_M_P_ = NULL").await;
        case.app.engine.set("planted", "dies:after_answer:2");
        case.app.engine.kill().await;
        case.app.engine.start_again().await;
        case.world.job_with(case.app, json!({}), json!({"page_rows": 50})).await;
        case.app.engine.killed_itself().await;
        case.app.engine.unset("planted");
        case.kills += 1;
        for n in 0..scaled(2) as usize {
            case.dies(ON_THE_WAY[n % 3], 2).await;
            // Some get their first stamp.
            let sql = format!("UPDATE t SET v = 'first{n}', S_T_A_M_P_ = {} WHERE id % 7 = {}", source.now(), n % 7);
            source.execute(&sql).await;
        }
    });
}

pub(super) fn c10_killed_among_deletes_and_a_key_that_comes_back(kind: Kind) {
    run_case("C10", kind, 300, async |case| {
        loaded(case, json!({"reconcile_ms": 1_000}), 40).await;
        let source = &case.world.source;
        for n in 0..scaled(3) {
            let (now, at) = (source.now(), n * 7 % 100);
            let again: Vec<_> = (at + 20..at + 40).map(|id| format!("({id}, 'back{n}', ' ', {now})")).collect();
            let sql = format!(
                "UPDATE t SET d = '*', S_T_A_M_P_ = {now} WHERE id BETWEEN {at} AND {at} + 3; \
                 DELETE FROM t WHERE id BETWEEN {at} + 10 AND {at} + 15; \
                 DELETE FROM t WHERE id BETWEEN {at} + 20 AND {at} + 39; \
                 INSERT INTO t VALUES {}; \
                 UPDATE t SET v = 'k{n}', S_T_A_M_P_ = {now} WHERE id BETWEEN {at} + 80 AND {at} + 160",
                again.join(",")
            );
            source.execute(&sql).await;
            case.dies(ON_THE_WAY[n as usize % 3], 1 + n % 2).await;
        }
    });
}

pub(super) fn c11_killed_while_the_target_fails_at_random(kind: Kind) {
    run_case("C11", kind, 600, async |case| {
        case.world.job_with(case.app, json!({}), json!({"page_rows": 40})).await;
        case.app.engine.kill().await;
        let spoilt = [
            json!({"when": "before", "action": {"do": "answer", "status": 500}}),
            json!({"when": "before", "action": {"do": "answer", "status": 429, "retry_after_s": 0}}),
            json!({"when": "after", "action": {"do": "close"}}),
        ];
        for (n, fault) in spoilt.iter().enumerate() {
            let mut fault = fault.clone();
            fault["match"] = json!({"method": "POST", "path": "*/staging/*"});
            (fault["rate"], fault["seed"]) = (json!(0.07), json!(n));
            case.world.stub(Method::POST, "faults", fault).await;
        }
        beside(&case.world.source, 600, async || {
            for n in 0..scaled(3) as usize {
                let point = [Point::BeforeSend, Point::AfterAnswer][n % 2];
                case.dies(point, 3).await;
            }
            case.app.engine.start_again().await;
        })
        .await;
        case.world.equal().await;
    });
}

pub(super) fn c13_killed_while_a_bad_row_is_looked_for(kind: Kind) {
    run_case("C13", kind, 1_000, async |case| {
        let job = loaded(case, json!({}), 200).await;
        // Neither side gets over it: the one that is refused is another row than the ones around it.
        let fault = json!({"match": {"method": "POST", "path": "*/staging/intake/*", "body_contains": "poison"},
            "action": {"do": "answer", "status": 400}});
        case.world.stub(Method::POST, "faults", fault).await;
        let source = &case.world.source;
        let sql = format!(
            "UPDATE t SET v = 'good', S_T_A_M_P_ = {now} WHERE id <> 777; UPDATE t SET v = 'poison', S_T_A_M_P_ = {now} \
             WHERE id = 777",
            now = source.now()
        );
        source.execute(&sql).await;
        for n in 0..scaled(3) {
            // Each time further into the halving.
            case.dies([Point::BeforeSend, Point::AfterAnswer][n as usize % 2], 2 + n % 3).await;
            let again = format!("UPDATE t SET v = 'good{n}', S_T_A_M_P_ = {} WHERE id <> 777", source.now());
            source.execute(&again).await;
        }
        case.app.engine.start_again().await;
        within(Duration::from_secs(60), "all but one arrive", async || {
            let (lost, left, rows) = case.world.difference().await;
            if (lost, left) == (1, 0) { Ok(()) } else { Err(format!("{lost} lost, {left} left over of {rows}")) }
        })
        .await;
        let path = format!("/v1/jobs/{}/quarantine", id(&job));
        let aside = within(Duration::from_secs(30), "it is set aside", async || {
            let aside = case.app.api.get(&path).await.expect(200);
            if aside["total"] == 1 { Ok(aside) } else { Err(aside.to_string()) }
        })
        .await;
        assert_eq!(aside["items"][0]["key"].as_str().map(|key| key.contains("777")), Some(true), "{aside}");
        // Once it is mended it goes out.
        case.world.stub(Method::DELETE, "faults", Value::Null).await;
        source.execute(&format!("UPDATE t SET v = 'mended', S_T_A_M_P_ = {} WHERE id = 777", source.now())).await;
    });
}

pub(super) fn c14_killed_while_columns_come(kind: Kind) {
    run_case("C14", kind, 400, async |case| {
        loaded(case, json!({}), 40).await;
        let source = &case.world.source;
        for n in 0..scaled(1).min(3) {
            source.execute(&format!("ALTER TABLE t ADD COLUMN w{n} VARCHAR(20)")).await;
            source.execute(&format!("UPDATE t SET w{n} = 'w', S_T_A_M_P_ = {} WHERE id % 3 = 1", source.now())).await;
            // All rows go out again: their records have another column.
            for point in ON_THE_WAY {
                case.dies(point, 3).await;
            }
        }
        case.app.engine.start_again().await;
        case.world.equal().await;
        within(Duration::from_secs(60), "all records have the new column", async || {
            let records = case.world.records("customers").await;
            let is_right = |record: &&Value| (record["id"].as_i64().unwrap() % 3 == 1) == (record["w0"] == "w");
            let wrong = records.iter().filter(|record| !is_right(record)).count();
            if wrong == 0 { Ok(()) } else { Err(format!("{wrong} wrong of {}", records.len())) }
        })
        .await;
    });
}

pub(super) fn c15_killed_and_nothing_changed(kind: Kind) {
    run_case("C15", kind, 200, async |case| {
        loaded(case, json!({}), 50).await;
        let calls = async |case: &Case<'_>| case.world.stub(Method::GET, "counts", Value::Null).await["calls"].clone();
        let before = calls(case).await;
        for _ in 0..scaled(3) {
            case.app.engine.start_again().await;
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            case.app.engine.kill().await;
            case.kills += 1;
        }
        assert_eq!(calls(case).await, before, "nothing changed, nothing is sent");
    });
}

pub(super) fn c16_killed_while_a_row_changes_in_flight(kind: Kind) {
    run_case("C16", kind, 200, async |case| {
        loaded(case, json!({}), 50).await;
        let source = &case.world.source;
        for n in 0..scaled(3) as usize {
            let change =
                |value: &str| format!("UPDATE t SET v = '{value}', S_T_A_M_P_ = {} WHERE id < 120", source.now());
            source.execute(&change(&format!("one{n}"))).await;
            case.dies(ON_THE_WAY[n % 3], 2).await;
            // The page that was in flight goes out as it was; the change comes behind it.
            source.execute(&change(&format!("two{n}"))).await;
        }
    });
}
