//! The cases of a sync through a whole `engate serve` that dies by SIGKILL: at each point by its name (C1 to C5), and while
//! the other cases happen. Transactions write to the source meanwhile, in sessions of their own. What was lost or came twice
//! is read from the stand-in's store and the source, never from the engine.
//!
//! The engine ends itself at a point (`tests/planted`), or is killed from outside while the stand-in, having taken a page,
//! holds its answer back. `ENGATE_TEST_LONG=1` has ten times the kills.

mod cases;
mod clocks;
mod hanging;
mod points;
mod writers;

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    harness::{App, Setup, source::Kind, within},
    sync_world::{World, with_world_on},
};

/// Where a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// C1: a page is written down, and not sent.
    BeforeSend,
    /// C2: the target has taken a page, and has not answered.
    BeforeAnswer,
    /// C3: the answer is there, and nothing written down.
    AfterAnswer,
    /// C5: all pages are acknowledged, and the target not told of the pass's end.
    BeforeClose,
    /// C5: the target has taken the end, and has not answered.
    InClose,
}

/// A case on one kind of source.
struct Case<'a> {
    name: &'static str,
    app: &'a mut App,
    world: &'a World,
    kills: u32,
    /// Most pages that came twice after one kill.
    repeats_max: u64,
}

/// Ten times as much where time is given.
fn scaled(short: u32) -> u32 {
    if std::env::var("ENGATE_TEST_LONG").is_ok_and(|long| long == "1") { short * 10 } else { short }
}

fn run_case(name: &'static str, kind: Kind, rows: u32, test: impl AsyncFnOnce(&mut Case<'_>)) {
    run_case_with(name, kind, Setup::new(), rows, test);
}

fn run_case_with(name: &'static str, kind: Kind, setup: Setup, rows: u32, test: impl AsyncFnOnce(&mut Case<'_>)) {
    with_world_on(kind, setup.planted().set("delivery.lease_ms", "2000"), rows, async |app, world| {
        let mut case = Case { name, app, world, kills: 0, repeats_max: 0 };
        test(&mut case).await;
        case.over().await;
    });
}

impl Case<'_> {
    /// Starts the engine, which dies the `pass`-th time that it comes by `point`.
    async fn dies(&mut self, point: Point, pass: u32) {
        let before = self.world.pages().await;
        match point {
            Point::BeforeSend => self.kills_itself("before_send", pass).await,
            Point::AfterAnswer => self.kills_itself("after_answer", pass).await,
            Point::BeforeClose => self.kills_itself("before_close", pass).await,
            Point::BeforeAnswer => self.held("*/staging/intake/*", pass).await,
            Point::InClose => self.held("*/summary", 1).await,
        }
        self.kills += 1;
        let repeats = self.world.pages().await.repeats - before.repeats;
        self.repeats_max = self.repeats_max.max(repeats);
    }

    async fn kills_itself(&mut self, point: &str, pass: u32) {
        self.app.engine.set("planted", &format!("dies:{point}:{pass}"));
        self.app.engine.start_again().await;
        self.app.engine.killed_itself().await;
        self.app.engine.unset("planted");
    }

    /// The stand-in does what the `pass`-th such call asks for, and holds the answer back: the engine is killed then.
    async fn held(&mut self, path: &str, pass: u32) {
        let fault = json!({"match": {"method": "POST", "path": path}, "when": "after", "skip": pass - 1, "next": 1,
            "action": {"do": "hang", "hold_ms": 60_000}});
        self.world.stub(Method::POST, "faults", fault).await;
        let before = self.world.pages().await;
        self.app.engine.start_again().await;
        within(Duration::from_secs(60), "the stand-in did what was asked and holds its answer back", async || {
            let held = self.world.stub(Method::GET, "faults", Value::Null).await;
            // A fault is taken as the call comes in, and what the call asks for is done only after that.
            let is_done = if path.ends_with("/summary") {
                let newest = self.world.stub(Method::GET, "batches?limit=1", Value::Null).await;
                newest["items"][0]["closed"] == json!(true)
            } else {
                let now = self.world.pages().await;
                now.taken + now.repeats >= before.taken + before.repeats + u64::from(pass)
            };
            if held["items"] == json!([]) && is_done { Ok(()) } else { Err(held.to_string()) }
        })
        .await;
        self.app.engine.kill().await;
    }

    /// Waits until nothing is sent any more: the last pass has told its end.
    async fn quiet(&self) {
        let calls = async || self.world.stub(Method::GET, "counts", Value::Null).await["calls"].clone();
        let mut before = calls().await;
        within(Duration::from_secs(60), "nothing is sent any more", async || {
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            let now = calls().await;
            if std::mem::replace(&mut before, now.clone()) == now { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
    }

    /// Source and target are equal once nobody writes, no page ever came twice with another body, and each pass has an end.
    async fn over(&mut self) {
        if self.app.engine.is_stopped() {
            self.app.engine.start_again().await;
        }
        let rows = self.world.equal().await;
        self.world.nothing_refused().await;
        let pages = self.world.pages().await;
        println!(
            "{} on {:?}: {} kills, {rows} rows alive, lost 0, left over 0; {} pages with {} records taken, {} pages came twice \
             (at most {} after one kill)",
            self.name, self.world.source.kind, self.kills, pages.taken, pages.rows, pages.repeats, self.repeats_max
        );
    }
}

/// A list of cases on each of several kinds of source.
macro_rules! cases {
    ($($source:ident $kind:ident),+: $cases:tt) => {$(cases! { @on $source $kind: $cases })+};
    (@on $source:ident $kind:ident: [$($room:ident::$case:ident),+ $(,)?]) => {
        mod $source {
            $(
                #[test]
                fn $case() {
                    super::$room::$case(super::Kind::$kind);
                }
            )+
        }
    };
}

cases! { sqlite Sqlite, postgres Postgres: [
    points::c1_killed_before_a_page_is_sent,
    points::c2_killed_before_the_answer,
    points::c3_killed_before_the_checkpoint,
    points::c4_killed_in_the_initial_load,
    points::c5_killed_around_the_end_of_a_pass,
    cases::c6_killed_among_a_thousand_rows_of_one_stamp,
    cases::c7_killed_while_a_transaction_is_open_over_passes,
    clocks::c8_killed_while_the_clocks_differ,
    cases::c9_killed_among_rows_from_before_there_were_stamps,
    cases::c10_killed_among_deletes_and_a_key_that_comes_back,
    cases::c11_killed_while_the_target_fails_at_random,
    cases::c13_killed_while_a_bad_row_is_looked_for,
    cases::c14_killed_while_columns_come,
    cases::c15_killed_and_nothing_changed,
    cases::c16_killed_while_a_row_changes_in_flight,
] }

cases! { mariadb MariaDb: [
    points::c1_killed_before_a_page_is_sent,
    points::c2_killed_before_the_answer,
    points::c3_killed_before_the_checkpoint,
    cases::c6_killed_among_a_thousand_rows_of_one_stamp,
    cases::c7_killed_while_a_transaction_is_open_over_passes,
    clocks::c8_killed_while_the_clocks_differ,
    cases::c9_killed_among_rows_from_before_there_were_stamps,
    cases::c10_killed_among_deletes_and_a_key_that_comes_back,
] }
