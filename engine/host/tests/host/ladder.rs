//! What a call costs: `cargo test -p engate-host --test host ladder -- --ignored --nocapture`.

use std::time::Instant;

use engate_host::{Plan, Reuse};

use crate::{
    guests::guest,
    rig::{Rig, Setup, rig},
};

const ROUNDS: u32 = 20_000;

async fn measure(rig: &Rig, name: &str, component: Vec<u8>, reuse: Reuse) {
    let plugin = rig.load(component).await;
    let setup = Setup { reuse, data: format!(r#"{{"text": "{}"}}"#, "x".repeat(700)).into_bytes(), ..Setup::default() };
    let mut best = f64::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        for _ in 0..ROUNDS / 5 {
            match rig.transform(&plugin, &setup).await {
                Ok(done) => assert!(matches!(done.plan, Plan::Send { .. } | Plan::Refused(_) | Plan::Skip(_))),
                Err(failed) => panic!("{failed}"),
            }
            rig.interpret(&plugin, &setup).await.unwrap();
        }
        best = best.min(started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS / 5));
    }
    println!("{name:<28} {reuse:?}: {best:.1} us for transform + interpret");
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
