//! Sync jobs through a whole engine, against the stand-in of Carol: `kill -9` at random while the table is written to, and an
//! oracle that reads the stand-in's store, not the engine. Deaths at each point by its name are in `sync_kills`.

use std::time::{Duration, Instant};

use axum::http::Method;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

use crate::{
    harness::{api::id, within},
    sync_world::{World, with_world},
};

/// Kills of one case.
const KILLS: u32 = 12;

/// Changes some rows, as a Protheus does.
async fn write(world: &World, random: &mut StdRng, round: u32) {
    let id = |random: &mut StdRng| random.random_range(0..1_500);
    let ids: Vec<_> = (0..60).map(|_| id(random).to_string()).collect();
    let stamp = world.source.now();
    let sql = format!(
        "UPDATE t SET v = 'w{round}', S_T_A_M_P_ = {stamp} WHERE id IN ({}); UPDATE t SET d = '*', S_T_A_M_P_ = {stamp} WHERE id \
         = {}; INSERT INTO t SELECT max(id) + 1, 'n{round}', ' ', {stamp} FROM t",
        ids.join(","),
        id(random)
    );
    world.source.execute(&sql).await;
}

#[test]
fn p24_p25_p29_whatever_is_killed_the_target_ends_as_the_source() {
    with_world(1_500, async |app, world| {
        let mut random = StdRng::seed_from_u64(5);
        let job = world.job(app).await;
        for round in 0..KILLS {
            tokio::time::sleep(Duration::from_millis(random.random_range(20..900))).await;
            write(world, &mut random, round).await;
            app.engine.kill().await;
            write(world, &mut random, round + 1_000).await;
            app.engine.start_again().await;
        }
        world.equal().await;
        let counts = world.stub(Method::GET, "counts", json!({})).await;
        let batches = world.stub(Method::GET, "batches?limit=500", json!({})).await;
        let refused = app.api.get(&format!("/v1/jobs/{}/quarantine", id(&job))).await.expect(200);
        assert_eq!(refused["total"], 0);
        let checkpoints = app.api.get(&format!("/v1/jobs/{}/checkpoints", id(&job))).await.expect(200);
        assert_eq!(checkpoints["items"][0]["phase"], "delta");
        println!("{KILLS} kills, lost 0; {counts}; {} batches", batches["items"].as_array().map_or(0, Vec::len));
    });
}

#[test]
fn p20_p26_a_changed_row_arrives_whole_and_soon_and_without_changes_nothing_goes_out() {
    with_world(300, async |app, world| {
        world.job(app).await;
        world.equal().await;
        let mut waits = Vec::new();
        for n in 0..20 {
            tokio::time::sleep(Duration::from_millis(200 + n * 37 % 500)).await;
            let changed = format!("UPDATE t SET v = 'soon{n}', S_T_A_M_P_ = {} WHERE id = {n}", world.source.now());
            world.source.execute(&changed).await;
            let begun = Instant::now();
            within(Duration::from_secs(20), "the row is there", async || {
                let found = world.target().await.get(&i64::try_from(n).unwrap()).cloned().unwrap_or_default();
                if found == format!("soon{n}") { Ok(()) } else { Err(found) }
            })
            .await;
            waits.push(begun.elapsed());
        }
        waits.sort();
        println!("from a change to the target: median {:?}, p95 {:?}", waits[10], waits[18]);
        assert!(waits[18] < Duration::from_secs(2), "{waits:?}");
        world.equal().await;
        let before = world.stub(Method::GET, "counts", json!({})).await["calls"].clone();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(
            world.stub(Method::GET, "counts", json!({})).await["calls"],
            before,
            "nothing changed, nothing is sent"
        );
        let metrics = app.api.get("/metrics").await.expect(200).as_str().unwrap().to_owned();
        assert!(metrics.contains("engate_sync_lag_seconds{job=\"carol\",stream=\"customers\""), "{metrics}");
        let tables = app.engine.client(&["job", "discover", "erp"]).await;
        let shown = String::from_utf8_lossy(&tables.stdout).into_owned();
        assert!(shown.contains("S_T_A_M_P_"), "{shown}");
    });
}
