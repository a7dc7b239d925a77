//! C8: the clocks of source and engine are five minutes apart, and the source's own is set back.

use serde_json::json;

use super::{
    Case,
    cases::{ON_THE_WAY, loaded},
    run_case_with, scaled,
    writers::beside,
};
use crate::{
    harness::{
        Setup,
        source::{Kind, Source},
    },
    sync_world::World,
};

/// How far the engine's clock is from the machine's, by which the source goes.
const APART_S: [i32; 2] = [-300, 300];
const ROWS: u32 = 300;

pub(super) fn c8_killed_while_the_clocks_differ(kind: Kind) {
    for apart in APART_S {
        let setup = Setup::new().set("planted.clock", &apart.to_string());
        run_case_with("C8", kind, setup, ROWS, async |case| {
            let world = case.world;
            if kind == Kind::Postgres {
                own_clock(&world.source).await;
            }
            loaded(case, json!({}), 40).await;
            killed_beside_writers(case).await;
            if kind == Kind::Postgres {
                // Set back first, so that rows get stamps that passes have covered long ago; the engine is at work then.
                for seconds in [-300, 0] {
                    set_clock(&world.source, seconds).await;
                    case.app.engine.kill().await;
                    killed_beside_writers(case).await;
                }
            }
        });
    }
}

/// Begins with an engine that is down, and ends with one that has nothing left to do.
async fn killed_beside_writers(case: &mut Case<'_>) {
    let world: &World = case.world;
    let ((), committed) = beside(&world.source, i64::from(ROWS), async || {
        for n in 0..scaled(3) as usize {
            case.dies(ON_THE_WAY[n % 3], 1).await;
        }
        case.app.engine.start_again().await;
    })
    .await;
    assert!(committed > 0, "nobody wrote");
    world.equal().await;
    case.quiet().await;
}

/// Gives a database of PostgreSQL a clock that can be set: its sessions find this function before the server's own.
async fn own_clock(source: &Source) {
    source
        .execute(
            "CREATE TABLE clock_apart (by interval NOT NULL); INSERT INTO clock_apart VALUES ('0'); \
             CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS \
             'SELECT pg_catalog.clock_timestamp() + by FROM public.clock_apart'; \
             DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$",
        )
        .await;
    let there = source.query("SELECT CAST(current_schema() AS text) AS schema").await;
    assert_eq!(there[0]["schema"], "public");
}

async fn set_clock(source: &Source, seconds: i32) {
    source.execute(&format!("UPDATE clock_apart SET by = make_interval(secs => {seconds})")).await;
    let sql =
        "SELECT CAST(round(extract(epoch FROM clock_timestamp() - pg_catalog.clock_timestamp())) AS integer) AS apart";
    assert_eq!(source.query(sql).await[0]["apart"], json!(seconds), "the clock that sessions read");
}
