//! C1 to C5: death at one point, again and again, at a page drawn at random.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

use super::{Case, Point, run_case, scaled, writers::beside};
use crate::harness::source::Kind;

/// Rows that are there at first.
const ROWS: u32 = 600;

/// A job with small pages: a load of many.
async fn job(case: &Case<'_>) {
    case.world.job_with(case.app, json!({}), json!({"page_rows": 40})).await;
}

fn dies_at(name: &'static str, kind: Kind, points: &[Point], repeats_max: u64) {
    run_case(name, kind, ROWS, async |case| {
        job(case).await;
        case.world.equal().await;
        case.quiet().await;
        case.app.engine.kill().await;
        let mut random = StdRng::seed_from_u64(3);
        let source = &case.world.source;
        let ((), committed) = beside(source, i64::from(ROWS), async || {
            for n in 0..scaled(4) as usize {
                let point = points[n % points.len()];
                let most = if matches!(point, Point::BeforeClose | Point::InClose) { 2 } else { 4 };
                case.dies(point, random.random_range(1..most)).await;
                // What was in flight changes before anybody comes back to it.
                tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
            }
            case.app.engine.start_again().await;
        })
        .await;
        assert!(committed > 0, "nobody wrote");
        case.world.equal().await;
        assert!(case.repeats_max <= repeats_max, "{} pages came twice after one kill", case.repeats_max);
        println!("{name} on {kind:?}: {committed} transactions committed meanwhile");
    });
}

pub(super) fn c1_killed_before_a_page_is_sent(kind: Kind) {
    dies_at("C1", kind, &[Point::BeforeSend], 0);
}

pub(super) fn c2_killed_before_the_answer(kind: Kind) {
    dies_at("C2", kind, &[Point::BeforeAnswer], 1);
}

pub(super) fn c3_killed_before_the_checkpoint(kind: Kind) {
    dies_at("C3", kind, &[Point::AfterAnswer], 1);
}

pub(super) fn c5_killed_around_the_end_of_a_pass(kind: Kind) {
    dies_at("C5", kind, &[Point::BeforeClose, Point::InClose], 0);
}

pub(super) fn c4_killed_in_the_initial_load(kind: Kind) {
    const LOAD: u32 = 2_000;
    run_case("C4", kind, LOAD, async |case| {
        case.app.engine.set("planted", "dies:before_send:1");
        case.app.engine.kill().await;
        case.app.engine.start_again().await;
        job(case).await;
        case.app.engine.killed_itself().await;
        case.app.engine.unset("planted");
        case.kills += 1;
        let source = &case.world.source;
        beside(source, i64::from(LOAD), async || {
            for n in 0..scaled(4) {
                let point = [Point::BeforeSend, Point::BeforeAnswer, Point::AfterAnswer][n as usize % 3];
                case.dies(point, 2).await;
                let there = case.world.target().await.len();
                assert!(there < LOAD as usize, "the load was over before the {n}th kill");
            }
            case.app.engine.start_again().await;
        })
        .await;
    });
}
