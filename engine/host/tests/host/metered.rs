//! The measuring mode: instructions are counted, and every wall stays where it is.

use engate_host::{Host, HostConfig};
use engate_model::plugin::FaultCode;
use tempfile::TempDir;

use crate::{
    guests::{Guest, guest},
    rig::{Rig, Setup, config, rig},
};

fn metered() -> Rig {
    let dir = TempDir::new().unwrap();
    let config = HostConfig { metered: true, ..config(dir.path()) };
    Rig::of(Host::start(config).unwrap(), dir)
}

async fn fuel(rig: &Rig, guest: Guest) -> u64 {
    rig.plan(guest.build(), &Setup::default()).await.1.fuel.unwrap()
}

#[tokio::test]
async fn the_same_call_takes_the_same_fuel_and_more_work_takes_more() {
    let rig = metered();
    let once = fuel(&rig, guest()).await;
    assert_eq!(fuel(&rig, guest()).await, once);
    assert_eq!(fuel(&metered(), guest()).await, once, "in another host too");
    let busier = guest().at("transform", &"(drop (i32.add (memory.size) (i32.const 1)))".repeat(100));
    let busier = fuel(&rig, busier).await;
    assert!((300..400).contains(&(busier - once)), "{once}, with a hundred additions {busier}");
}

#[tokio::test]
async fn a_host_that_does_not_measure_counts_nothing() {
    assert_eq!(rig().plan(guest().build(), &Setup::default()).await.1.fuel, None);
}

#[tokio::test]
async fn measuring_weakens_no_limit() {
    let rig = metered();
    let (code, ..) = rig.fault(guest().at("transform", "(loop $again (br $again))").build()).await;
    assert_eq!(code, FaultCode::CpuLimit);
    let (code, ..) = rig.fault(guest().at("transform", "(drop (call $recurse (i32.const 0)))").build()).await;
    assert_eq!(code, FaultCode::StackOverflow);
}
