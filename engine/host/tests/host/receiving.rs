//! Receivers: a call in, an answer out, under the limits of every other call.

use std::collections::BTreeMap;

use engate_host::{InboundAnswer, Reception};
use engate_model::plugin::{FaultCode, World};

use crate::{
    guests::{guest, receiver, store},
    rig::{Setup, rig},
};

/// Leaves a text as the answer's body, at that address and of that length.
fn body(address: u32, length: u32) -> String {
    [store(1216, 1), store(1220, address), store(1224, length)].concat()
}

#[tokio::test]
async fn a_receiver_is_installed_as_one_and_answers() {
    let rig = rig();
    let installed = rig.install(&receiver().build()).await.unwrap();
    assert_eq!((installed.manifest.id.as_str(), installed.manifest.worlds), ("calls", vec![World::Receiver]));
    assert_eq!(rig.install(&guest().build()).await.unwrap().manifest.worlds, [World::Integrator]);
    let plugin = rig.load(receiver().build()).await;
    assert_eq!(plugin.worlds(), [World::Receiver]);
    let done = rig.receive(&plugin, &Setup::default()).await.unwrap();
    let expected = InboundAnswer { status: 200, headers: vec![], body: vec![], events: vec![] };
    assert_eq!(done.reception, Reception::Answered(expected));
}

#[tokio::test]
async fn what_came_in_reaches_the_guest_in_its_order() {
    let rig = rig();
    // Parameters 1 to 8 are pointers and lengths of method, path, query and headers; 9 to 11 the body; 12, 13 the address.
    let told = async |pointer: u32, length: u32| {
        let code = format!(
            "{} (i32.store (i32.const 1220) (local.get {pointer})) (i32.store (i32.const 1224) (local.get {length}))",
            body(0, 0)
        );
        let plugin = rig.load(receiver().at("receive", &code).build()).await;
        let done = rig.receive(&plugin, &Setup::default()).await.unwrap();
        let Reception::Answered(answer) = done.reception else { panic!() };
        String::from_utf8(answer.body).unwrap()
    };
    let parts = [(0, 1), (2, 3), (4, 5), (9, 10), (11, 12)];
    let mut all = Vec::new();
    for (pointer, length) in parts {
        all.push(told(pointer, length).await);
    }
    assert_eq!(all, ["POST", "/v1/inbound/acme", "a=b", r#"{"n": 1}"#, "192.0.2.1"]);
}

#[tokio::test]
async fn a_refusal_comes_back_with_its_code_and_a_status_is_clamped() {
    let rig = rig();
    let problem = [(1200, 1), (1204, 2112), (1208, 3), (1212, 2080), (1216, 5), (1220, 1)];
    let refuse = receiver().at("receive", &problem.map(|(address, value)| store(address, value)).concat());
    let plugin = rig.load(refuse.build()).await;
    let Reception::Refused(failure) = rig.receive(&plugin, &Setup::default()).await.unwrap().reception else {
        panic!()
    };
    assert_eq!((failure.code.as_str(), failure.message.as_str(), failure.retryable), ("key", "Calls", true));
    let plugin = rig.load(receiver().at("receive", &store(1204, 99)).build()).await;
    let done = rig.receive(&plugin, &Setup::default()).await.unwrap();
    assert!(matches!(done.reception, Reception::Answered(answer) if answer.status == 200));
    assert!(done.record.log.contains("the status 99 is not one of an answer and became 200"), "{}", done.record.log);
}

#[tokio::test]
async fn state_is_kept_of_a_good_call_and_of_no_other() {
    let rig = rig();
    let put = "(call $state_put (i32.const 2112) (i32.const 3) (i32.const 2080) (i32.const 5) (i32.const 4096))";
    let plugin = rig.load(receiver().at("receive", put).build()).await;
    let done = rig.receive(&plugin, &Setup::default()).await.unwrap();
    assert_eq!(done.record.state_writes, BTreeMap::from([("key".to_owned(), Some(b"Calls".to_vec()))]));
    let plugin = rig.load(receiver().at("receive", &format!("{put} (unreachable)")).build()).await;
    let failed = rig.receive(&plugin, &Setup::default()).await.unwrap_err();
    assert_eq!((failed.fault.code, failed.record.state_writes), (FaultCode::PluginPanic, BTreeMap::new()));
}

#[tokio::test]
async fn isolation_1_3_6_13_a_hostile_receiver_hits_its_limits() {
    let rig = rig();
    let grow = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
    let cases = [
        ("(loop $l (br $l))".to_owned(), FaultCode::CpuLimit),
        (grow.to_owned(), FaultCode::MemoryLimit),
        ("(unreachable)".to_owned(), FaultCode::PluginPanic),
        (body(0, 1 << 30), FaultCode::BadAbi),
        ([store(1228, 0), store(1232, 10_000_000)].concat(), FaultCode::BadAbi),
        (store(1200, 7), FaultCode::BadAbi),
    ];
    for (code, expected) in cases {
        let plugin = rig.load(receiver().at("receive", &code).build()).await;
        let failed = rig.receive(&plugin, &Setup::default()).await.unwrap_err();
        assert_eq!(failed.fault.code, expected, "{code}: {}", failed.fault);
        assert_eq!(rig.host.stats().instances_taken, 0, "the place came back");
    }
}

#[tokio::test]
async fn a_plugin_that_is_not_made_for_a_call_says_so() {
    let rig = rig();
    let plugin = rig.load(guest().build()).await;
    let failed = rig.receive(&plugin, &Setup::default()).await.unwrap_err();
    assert!(failed.fault.message.contains("not of the world receiver"), "{}", failed.fault);
    let plugin = rig.load(receiver().build()).await;
    let failed = rig.transform(&plugin, &Setup::default()).await.unwrap_err();
    assert!(failed.fault.message.contains("not of the world integrator"), "{}", failed.fault);
    let failed = rig.interpret(&plugin, &Setup::default()).await.unwrap_err();
    assert_eq!(failed.fault.code, FaultCode::BadAbi);
}
