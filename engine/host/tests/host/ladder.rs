//! What `transform` and `interpret` of one delivery cost together:
//! `cargo test -p engate-host --test host ladder -- --ignored --nocapture`.

use std::time::Instant;

use engate_host::{Plan, Reuse};

use crate::{
    guests::guest,
    rig::{Rig, Setup, rig},
};

/// Calls of each function in a block.
const ROUNDS: u32 = 2_000;
/// Blocks, of which the best counts.
const BLOCKS: u32 = 20;

async fn measure(rig: &Rig, name: &str, component: Vec<u8>, reuse: Reuse) {
    let plugin = rig.load(component).await;
    let setup = Setup { reuse, data: format!(r#"{{"text": "{}"}}"#, "x".repeat(700)).into_bytes(), ..Setup::default() };
    let (mut wall, mut cpu) = (f64::MAX, f64::MAX);
    for _ in 0..BLOCKS {
        let (started, busy) = (Instant::now(), on_cpu_ns());
        for _ in 0..ROUNDS {
            match rig.transform(&plugin, &setup).await {
                Ok(done) => assert!(matches!(done.plan, Plan::Send { .. } | Plan::Refused(_) | Plan::Skip(_))),
                Err(failed) => panic!("{failed}"),
            }
            rig.interpret(&plugin, &setup).await.unwrap();
        }
        wall = wall.min(started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
        cpu = cpu.min((on_cpu_ns() - busy) as f64 / 1e3 / f64::from(ROUNDS));
    }
    println!("{name:<20} {reuse:?}: {wall:.1} us of wall time, {cpu:.1} us of processor time");
}

/// What this thread ran, in ns: on a busy machine the wall says little.
fn on_cpu_ns() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default()
}

#[tokio::test]
#[ignore = "a measurement"]
async fn ladder_of_a_call() {
    let rig = rig();
    for reuse in [Reuse::Fresh, Reuse::warm(4)] {
        measure(&rig, "hand-written guest", guest().build(), reuse).await;
        for plugin in engate_bundled::PLUGINS {
            measure(&rig, plugin.name, plugin.wasm.to_vec(), reuse).await;
        }
    }
}
