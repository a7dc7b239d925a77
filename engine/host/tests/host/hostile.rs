//! Guests that mean harm, or do it by mistake: each is one delivery's fault, with its own code.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engate_host::{InstallCode, Plan};
use engate_model::plugin::{FaultCode, Limits};

use crate::{
    guests::{guest, store},
    rig::{Setup, rig},
};

const LOOP: &str = "(loop $l (br $l))";

#[tokio::test]
async fn isolation_01_an_endless_loop_ends_within_its_budget_wherever_it_is() {
    let rig = rig();
    for (place, code) in [
        ("transform", LOOP),
        ("realloc", LOOP),
        ("more", "(func $start (loop $l (br $l))) (start $start)"),
        ("more", r#"(func (export "cabi_post_engate:plugin/delivery@0.1.0#transform") (param i32) (loop $l (br $l)))"#),
    ] {
        let started = Instant::now();
        let (code, message, record) = rig.fault(guest().at(place, code).build()).await;
        assert_eq!(code, FaultCode::CpuLimit, "{place}: {message}");
        assert_eq!(record.cpu_ticks, 11, "{place}: the budget of 10 ticks and one more");
        assert!(started.elapsed() < Duration::from_secs(5), "{place}");
    }
    let plugin = rig.load(guest().at("interpret", LOOP).build()).await;
    let failed = rig.interpret(&plugin, &Setup::default()).await.unwrap_err();
    assert_eq!(failed.fault.code, FaultCode::CpuLimit);
}

/// Endless loops at once, each with the least processor time that can be given.
const LOOPS: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn isolation_02_a_thousand_endless_loops_end_and_others_go_on() {
    let rig = Arc::new(rig());
    let bad = rig.load(guest().at("transform", LOOP).build()).await;
    let good = rig.load(guest().build()).await;
    let short = Setup { limits: Limits { cpu: Duration::from_millis(5), ..Limits::default() }, ..Setup::default() };
    let loops: Vec<_> = (0..LOOPS)
        .map(|_| {
            let (rig, bad, short) = (Arc::clone(&rig), Arc::clone(&bad), short.clone());
            tokio::spawn(async move { rig.transform(&bad, &short).await.unwrap_err().fault.code })
        })
        .collect();
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    while started.elapsed() < Duration::from_millis(200) {
        let call = Instant::now();
        rig.transform(&good, &Setup::default()).await.unwrap();
        slowest = slowest.max(call.elapsed());
        tokio::task::yield_now().await;
    }
    // At most a quarter of the pool loops at a time, and each gives way at every tick.
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    for ended in loops {
        let code = ended.await.unwrap();
        assert!(matches!(code, FaultCode::CpuLimit | FaultCode::WallLimit), "{code:?}");
    }
    assert_eq!(rig.host.stats().instances_taken, 0);
}

#[tokio::test]
async fn isolation_03_memory_without_end_is_a_memory_limit_and_not_a_panic() {
    let rig = rig();
    let greedy = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
    let (code, message, record) = rig.fault(guest().at("transform", greedy).build()).await;
    assert_eq!(code, FaultCode::MemoryLimit, "{message}");
    assert!(message.contains("67108864 bytes"), "{message}");
    assert!(record.memory_peak_bytes <= 64 << 20 && record.memory_peak_bytes > 62 << 20);
    let at_once = "(drop (memory.grow (i32.const 65000))) (unreachable)";
    assert_eq!(rig.fault(guest().at("transform", at_once).build()).await.0, FaultCode::MemoryLimit);
    let to_begin_with = guest().swap("(memory (export \"memory\") 1)", "(memory (export \"memory\") 2000)");
    assert_eq!(rig.fault(to_begin_with.build()).await.0, FaultCode::MemoryLimit);
}

#[tokio::test]
async fn isolation_04_a_table_bomb_is_a_memory_limit() {
    let bomb = guest().at("more", "(table $t 1 funcref)").at(
        "transform",
        "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1)))) (unreachable)",
    );
    let (code, message, _) = rig().fault(bomb.build()).await;
    assert_eq!(code, FaultCode::MemoryLimit, "{message}");
    assert!(message.contains("65536"), "{message}");
}

#[tokio::test]
async fn isolation_04_several_memories_in_one_module_are_refused() {
    let component = wat::parse_str("(component (core module (memory 1) (memory 1)))").unwrap();
    let error = rig().install(&component).await.unwrap_err();
    assert_eq!(error.code, InstallCode::InvalidComponent, "{}", error.message);
    assert!(error.message.contains("multiple memories"), "{}", error.message);
}

#[tokio::test]
async fn isolation_05_recursion_without_end_is_a_stack_overflow() {
    let (code, message, _) = rig().fault(guest().at("transform", "(drop (call $recurse (i32.const 0)))").build()).await;
    assert_eq!(code, FaultCode::StackOverflow, "{message}");
}

#[tokio::test]
async fn isolation_06_output_beyond_the_limit_or_out_of_memory_is_refused() {
    let rig = rig();
    let large = |bytes: u32| {
        guest()
            .swap("(memory (export \"memory\") 1)", "(memory (export \"memory\") 900)")
            .at("transform", &(store(1236, 65_536) + &store(1240, bytes)))
            .build()
    };
    let just_over = rig.fault(large((1 << 20) + 1)).await;
    assert_eq!(just_over.0, FaultCode::OutputTooLarge, "{}", just_over.1);
    assert_eq!(rig.fault(large(50 << 20)).await.0, FaultCode::OutputTooLarge);
    let headers = |count: u32| guest().at("transform", &store(1228, count)).build();
    for (count, code) in [(10_000_000, FaultCode::BadAbi), (200, FaultCode::BadAbi)] {
        assert_eq!(rig.fault(headers(count)).await.0, code);
    }
    for pointer in [0xffff_ff00, 70_000] {
        let (code, message, _) = rig.fault(guest().at("transform", &store(1236, pointer)).build()).await;
        assert_eq!(code, FaultCode::BadAbi, "{message}");
    }
    let nowhere = guest().at("transform", "(return (i32.const 0x7ffffffc))");
    assert_eq!(rig.fault(nowhere.build()).await.0, FaultCode::BadAbi);
    let memo = guest().at("transform", &format!("{}{}{}", store(1260, 1), store(1264, 40_000), store(1268, 5000)));
    assert_eq!(rig.fault(memo.build()).await.0, FaultCode::OutputTooLarge);
}

#[tokio::test]
async fn isolation_07_what_breaks_the_abi_is_bad_abi_and_never_a_panic_of_the_host() {
    let rig = rig();
    for (address, value) in [(1200, 2), (1204, 9), (1232, 7), (1248, 3)] {
        let (code, message, _) = rig.fault(guest().at("transform", &store(address, value)).build()).await;
        assert_eq!(code, FaultCode::BadAbi, "{address}: {message}");
    }
    let unaligned = guest().at("transform", "(return (i32.const 1201))");
    assert_eq!(rig.fault(unaligned.build()).await.0, FaultCode::BadAbi);
    for text in [r"\ff\fe", r"\ed\a0\80"] {
        let guest = guest().swap("2160) \"{}\"", &format!("2160) \"{text}\""));
        assert_eq!(rig.fault(guest.build()).await.0, FaultCode::BadAbi, "{text}");
    }
}

#[tokio::test]
async fn isolation_08_a_flood_of_host_calls_runs_out_of_budget() {
    let rig = rig();
    for call in [
        "(call $log (i32.const 1) (i32.const 2048) (i32.const 5) (i32.const 0) (i32.const 0))",
        "(call $config (i32.const 2240) (i32.const 4) (i32.const 4096))",
        "(call $state_get (i32.const 2256) (i32.const 3) (i32.const 4096))",
        "(call $hmac (i32.const 2256) (i32.const 3) (i32.const 2048) (i32.const 5) (i32.const 4096))",
    ] {
        let flood =
            guest().at("realloc", "(return (i32.const 16384))").at("transform", &format!("(loop $l {call} (br $l))"));
        let (code, message, record) = rig.fault(flood.build()).await;
        assert_eq!(code, FaultCode::CallBudget, "{call}: {message}");
        assert_eq!(record.host_calls, 1_000);
        assert!(record.log.matches("[log truncated]").count() <= 1 && record.log.len() < 8_300);
    }
}

#[tokio::test]
async fn isolation_09_hostile_log_lines_are_written_out() {
    let log = "(call $log (i32.const 2) (i32.const 2272) (i32.const 16) (i32.const 0) (i32.const 0))";
    let (_, record) = rig().plan(guest().at("transform", log).build(), &Setup::default()).await;
    assert_eq!(record.log, "warn \\u{1b}[31mred\\r\\nforged\n");
}

#[tokio::test]
async fn isolation_10_requests_that_could_split_the_wire_are_refused() {
    let rig = rig();
    let one_header = || guest().at("transform", &store(1228, 1));
    assert!(
        matches!(rig.plan(one_header().build(), &Setup::default()).await.0, Plan::Send { request, .. } if request.headers == [("x-a".to_owned(), "b-c".to_owned())])
    );
    for guest in [
        one_header().swap("\"x-a\"", r#""x\0da""#),
        one_header().swap("\"x-a\"", r#""x\00a""#),
        one_header().swap("\"b-c\"", r#""b\0ac""#),
        one_header().swap("\"b-c\"", r#""b\00c""#),
        guest().swap("\"POST\"", r#""GE\0d\0a""#),
        guest().swap("https://a.example/in", "https://u@a.example/"),
        guest().swap("https://a.example/in", "file:///etc/password"),
        guest().swap("https://a.example/in", r"https://a.example/\0d\0a"),
        guest()
            .swap("(memory (export \"memory\") 1)", "(memory (export \"memory\") 17)")
            .at("transform", &(store(1216, 65_536) + &store(1220, 1 << 20))),
    ] {
        let (code, message, _) = rig.fault(guest.build()).await;
        assert_eq!(code, FaultCode::InvalidRequest, "{message}");
    }
}

#[tokio::test]
async fn isolation_13_traps_and_exits_are_a_fault_with_a_story() {
    let rig = rig();
    let (code, message, _) = rig.fault(guest().at("transform", "(unreachable)").build()).await;
    assert_eq!(code, FaultCode::PluginPanic);
    assert!(message.contains("unreachable"), "{message}");
    for status in [0, 1] {
        let exit = guest()
            .contract("world integrator {", "world integrator { import wasi:cli/exit@0.2.0;")
            .contract(
                "/// What every other",
                "package wasi:cli@0.2.0 { interface exit { exit: func(status: result); } }\n/// What every other",
            )
            .at("imports", r#"(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#)
            .at("transform", &format!("(call $exit (i32.const {status}))"));
        let (code, message, _) = rig.fault(exit.build()).await;
        assert_eq!(code, FaultCode::PluginPanic);
        assert!(message.contains(&format!("exit({status})")), "{message}");
    }
}

#[tokio::test]
async fn isolation_16_a_guest_that_sleeps_for_ever_runs_out_of_wall_time() {
    let rig = rig();
    let sleeper = guest()
        .contract("world integrator {", "world integrator { import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0;")
        .contract(
            "/// What every other",
            "package wasi:io@0.2.0 { interface poll { resource pollable { block: func(); } } }
             package wasi:clocks@0.2.0 { interface monotonic-clock { use wasi:io/poll@0.2.0.{pollable}; subscribe-duration: func(when: u64) -> pollable; } }
             /// What every other",
        )
        .at("imports", r#"(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
                          (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#)
        .at("transform", "(call $block (call $timer (i64.const 3600000000000)))");
    let plugin = rig.load(sleeper.build()).await;
    let limits = Limits { wall: Duration::from_millis(100), ..Limits::default() };
    let failed = rig.transform(&plugin, &Setup { limits, ..Setup::default() }).await.unwrap_err();
    assert_eq!(failed.fault.code, FaultCode::WallLimit, "{}", failed.fault);
    assert!(failed.record.elapsed < Duration::from_secs(1));
    assert_eq!(rig.host.stats().instances_taken, 0, "the place came back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_26_a_full_pool_is_waited_for_and_what_is_uninstalled_finishes() {
    let rig = Arc::new(rig());
    let plugin = rig.load(guest().build()).await;
    // The pool has sixteen places, of which one plugin gets four.
    let calls: Vec<_> = (0..400)
        .map(|n| {
            let (rig, plugin) = (Arc::clone(&rig), Arc::clone(&plugin));
            tokio::spawn(async move {
                if n == 200 {
                    rig.host.forget(plugin.digest());
                }
                rig.transform(&plugin, &Setup::default()).await.map(drop)
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(rig.host.stats().instances_taken, 0);
    assert_eq!(rig.host.stats().loaded, 0, "it is gone; who had it in hand finished with it");
}

#[tokio::test]
async fn isolation_22_a_write_before_a_trap_is_not_kept() {
    let put = "(call $state_put (i32.const 2256) (i32.const 3) (i32.const 2048) (i32.const 5) (i32.const 4096))";
    let rig = rig();
    let (_, record) = rig.plan(guest().at("transform", put).build(), &Setup::default()).await;
    assert_eq!(record.state_writes.get("key"), Some(&Some(b"guest".to_vec())));
    let (_, _, record) = rig.fault(guest().at("transform", &format!("{put} (unreachable)")).build()).await;
    assert!(record.state_writes.is_empty());
}
