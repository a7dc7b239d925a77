//! Instances that serve more than one call.

use engate_host::{Plan, Reuse};
use engate_model::plugin::FaultCode;

use crate::{
    guests::{Guest, guest, store},
    rig::{Rig, Setup, rig},
};

/// Its body has as many bytes as this instance served calls before.
fn counting() -> Guest {
    guest().at("transform", &format!("(i32.store (i32.const 1240) (global.get $calls)) {}", store(1232, 2)))
}

async fn served_before(rig: &Rig, plugin: &engate_host::LoadedPlugin, setup: &Setup) -> usize {
    let Plan::Send { request, .. } = rig.transform(plugin, setup).await.unwrap().plan else { panic!() };
    request.body.len()
}

fn warm(max_calls: u32) -> Setup {
    Setup { reuse: Reuse::Warm { max_idle: 2, max_calls }, ..Setup::default() }
}

#[tokio::test]
async fn isolation_15_a_fresh_instance_remembers_nothing() {
    let rig = rig();
    let plugin = rig.load(counting().build()).await;
    for _ in 0..3 {
        assert_eq!(served_before(&rig, &plugin, &Setup::default()).await, 0);
    }
}

#[tokio::test]
async fn isolation_15_a_warm_instance_is_retired_after_its_calls_and_never_shared() {
    let rig = rig();
    let plugin = rig.load(counting().build()).await;
    for before in [0, 1, 2, 0, 1, 2, 0] {
        assert_eq!(served_before(&rig, &plugin, &warm(3)).await, before);
    }
    let other = Setup { installation: "other", ..warm(3) };
    assert_eq!(served_before(&rig, &plugin, &other).await, 0);
    assert_eq!(rig.host.stats().instances_idle, 2);
    assert_eq!(rig.host.stats().instances_taken, 2);
}

#[tokio::test]
async fn isolation_15_no_instance_is_used_again_after_an_error() {
    let rig = rig();
    // The second call of an instance traps; what it sends at the third would show that it was used again.
    let guest = counting().at("transform", "(if (i32.eq (global.get $calls) (i32.const 1)) (then (unreachable)))");
    let plugin = rig.load(guest.build()).await;
    for _ in 0..3 {
        assert_eq!(served_before(&rig, &plugin, &warm(100)).await, 0);
        assert_eq!(rig.transform(&plugin, &warm(100)).await.unwrap_err().fault.code, FaultCode::PluginPanic);
        assert_eq!(rig.host.stats().instances_taken, 0);
    }
}

#[tokio::test]
async fn isolation_15_an_instance_that_grew_past_the_mark_is_retired() {
    let rig = rig();
    let plugin = rig.load(counting().at("transform", "(drop (memory.grow (i32.const 600)))").build()).await;
    for _ in 0..2 {
        assert_eq!(served_before(&rig, &plugin, &warm(100)).await, 0);
    }
}

#[tokio::test]
async fn idle_instances_give_their_place_to_those_that_need_one() {
    let rig = rig();
    let plugin = rig.load(counting().build()).await;
    let many = Setup { reuse: Reuse::warm(100), ..Setup::default() };
    let names: [&'static str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    for installation in names {
        let setup = Setup { installation, ..many.clone() };
        assert_eq!(served_before(&rig, &plugin, &setup).await, 0);
    }
    // A quarter of the pool of 16 is the most one plugin may hold, idle ones included.
    assert!(rig.host.stats().instances_taken <= 4);
    let now = engate_model::Timestamp::from_millis(crate::rig::NOW_MS);
    rig.host.unload_idle(now.after(std::time::Duration::from_secs(61)));
    assert_eq!(rig.host.stats().instances_taken, 0);
}
