//! Installing: what is taken, and what is refused by which name.

use std::time::Duration;

use engate_host::{CompilerCommand, Digest, Effort, Host, HostConfig, InstallCode};
use engate_model::plugin::InterpretWhen;
use tempfile::TempDir;

use crate::{
    guests::{Guest, guest, store},
    rig::{config, rig},
};

/// Why that component is not installed.
async fn refusal(component: &[u8]) -> (InstallCode, String) {
    let error = rig().install(component).await.unwrap_err();
    (error.code, error.message)
}

/// A component around a core module of so many empty functions.
fn functions(count: u32) -> Vec<u8> {
    let number = |mut n: usize| {
        let mut bytes = Vec::new();
        while n >= 0x80 {
            bytes.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
        bytes
    };
    let section = |id: u8, content: Vec<u8>| [vec![id], number(content.len()), content].concat();
    let all = |one: &[u8]| [number(count as usize), one.repeat(count as usize)].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 0, 0]),
        section(3, all(&[0])),
        section(10, all(&[2, 0, 0x0b])),
    ]
    .concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, module)].concat()
}

/// Components inside components.
fn nested(depth: usize) -> Vec<u8> {
    let mut inside = Vec::new();
    for _ in 0..depth {
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        if !inside.is_empty() {
            component.push(4);
            let mut length = inside.len();
            while length >= 0x80 {
                component.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            component.push(length as u8);
            component.append(&mut inside);
        }
        inside = component;
    }
    inside
}

async fn refused(component: &[u8], code: InstallCode, words: &[&str]) {
    let (found, message) = refusal(component).await;
    assert_eq!(found, code, "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

#[tokio::test]
async fn a_plain_guest_is_installed_with_its_manifest() {
    let (rig, component) = (rig(), guest().build());
    let installed = rig.install(&component).await.unwrap();
    assert_eq!(installed.digest, Digest::of(&component));
    assert_eq!(installed.size_bytes, component.len() as u64);
    assert!(installed.compile_time > Duration::ZERO);
    assert_eq!((installed.manifest.id.as_str(), installed.manifest.version.as_str()), ("guest", "0.1.0"));
    assert_eq!(installed.manifest.interpret, InterpretWhen::Always);
    // The second time its code is there.
    assert_eq!(rig.install(&component).await.unwrap().compile_time, Duration::ZERO);
}

#[tokio::test]
async fn isolation_17_what_is_malformed_is_refused() {
    let component = guest().build();
    refused(b"", InstallCode::NotAComponent, &[]).await;
    refused(b"\0asm", InstallCode::NotAComponent, &["core module"]).await;
    refused(&guest().module(), InstallCode::NotAComponent, &["core module"]).await;
    refused(b"(component)", InstallCode::NotAComponent, &["text"]).await;
    refused(&vec![0; (64 << 20) + 1], InstallCode::TooLarge, &["67108864"]).await;
    refused(&component[..component.len() / 2], InstallCode::InvalidComponent, &[]).await;
    refused(&component[..8], InstallCode::WrongWorld, &["engate:plugin/plugin@0.1.x"]).await;
    let mut garbled = component.clone();
    for byte in garbled.iter_mut().skip(8).step_by(7) {
        *byte ^= 0x5a;
    }
    refused(&garbled, InstallCode::InvalidComponent, &[]).await;
    refused(&functions(1_000_001), InstallCode::InvalidComponent, &["functions"]).await;
    let (code, message) = refusal(&nested(5_000)).await;
    assert!(matches!(code, InstallCode::InvalidComponent | InstallCode::WrongWorld), "{message}");
}

#[tokio::test]
async fn isolation_17_a_compiler_that_hangs_or_dies_harms_nobody() {
    let dir = TempDir::new().unwrap();
    let shell =
        |script: &str| CompilerCommand { program: "/bin/sh".into(), args: vec!["-c".to_owned(), script.to_owned()] };
    let with = |compiler| HostConfig { compiler, compile_timeout: Duration::from_millis(300), ..config(dir.path()) };
    for (script, code) in [
        ("exec sleep 60", InstallCode::CompileTimeout),
        ("kill -9 $$", InstallCode::CompileFailed),
        ("exit 0", InstallCode::CompileFailed),
        ("head -c 10000000 /dev/zero; exit 1", InstallCode::CompileFailed),
    ] {
        let host = Host::start(with(shell(script))).unwrap();
        let error = host.install(&guest().build(), Effort::Full).await.unwrap_err();
        assert_eq!(error.code, code, "{script}: {error}");
    }
    let missing = CompilerCommand { program: "/nonexistent".into(), args: vec![] };
    let error = Host::start(with(missing)).unwrap().install(&guest().build(), Effort::Full).await.unwrap_err();
    assert_eq!(error.code, InstallCode::Unavailable);
    let left = std::fs::read_dir(dir.path().join("cache/work")).unwrap().count();
    assert_eq!(left, 0, "files under way are cleared away");
}

#[tokio::test]
async fn isolation_17_the_compiler_keeps_to_its_memory() {
    let dir = TempDir::new().unwrap();
    let host = Host::start(HostConfig { compile_memory_bytes: 24 << 20, ..config(dir.path()) }).unwrap();
    let large =
        guest().at("more", &"(func (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))".repeat(20_000));
    let error = host.install(&large.build(), Effort::Full).await.unwrap_err();
    assert!(matches!(error.code, InstallCode::CompileFailed | InstallCode::Unavailable), "{error}");
}

#[tokio::test]
async fn isolation_18_another_world_or_version_is_refused_by_name() {
    let other = |guest: Guest| guest.contract("engate:plugin@0.1.0", "engate:plugin@0.2.0").swap("@0.1.0", "@0.2.0");
    refused(&other(guest()).build(), InstallCode::UnsupportedVersion, &["@0.2.0", "0.1.x"]).await;
    let newer = |guest: Guest| guest.contract("engate:plugin@0.1.0", "engate:plugin@0.1.9").swap("@0.1.0", "@0.1.9");
    assert!(rig().install(&newer(guest()).build()).await.is_ok(), "0.1.x only adds");
    refused(
        &wat::parse_str("(component)").unwrap(),
        InstallCode::WrongWorld,
        &["engate:plugin/plugin@0.1.x", "integrator"],
    )
    .await;
    let silent = guest().contract("export delivery; }", "}").swap("engate:plugin/delivery@0.1.0#", "");
    refused(&silent.build(), InstallCode::WrongWorld, &["engate:plugin/delivery@0.1.x"]).await;
    let altered = guest()
        .contract("transform: func(event: event,", "transform: func(event: event, more: u32,")
        .contract("record manifest {", "record manifest { more: u32,");
    refused(&altered.build(), InstallCode::WrongWorld, &["transform has another type", "describe has another type"])
        .await;
}

#[tokio::test]
async fn isolation_18_an_import_that_is_not_offered_is_refused_by_name() {
    let import = |interface: &str, package: &str| {
        guest()
            .contract("world integrator {", &format!("world integrator {{ import {interface};"))
            .contract("/// What every other", &format!("{package}\n/// What every other"))
            .at("imports", &format!("(import \"{interface}\" \"f\" (func $f (result i32)))"))
            .at("transform", "(drop (call $f))")
            .build()
    };
    for (name, package) in [
        ("wasi:sockets/tcp@0.2.0", "package wasi:sockets@0.2.0 { interface tcp { f: func() -> u32; } }"),
        (
            "wasi:http/outgoing-handler@0.2.0",
            "package wasi:http@0.2.0 { interface outgoing-handler { f: func() -> u32; } }",
        ),
        ("wasi:io/poll@0.3.0", "package wasi:io@0.3.0 { interface poll { f: func() -> u32; } }"),
        ("acme:tools/clock@1.0.0", "package acme:tools@1.0.0 { interface clock { f: func() -> u32; } }"),
    ] {
        refused(&import(name, package), InstallCode::UnknownImport, &[name]).await;
    }
    // A function that the known interface lacks.
    let more = guest()
        .contract("interface config {", "interface config { f: func() -> u32;")
        .at("imports", r#"(import "engate:plugin/config@0.1.0" "f" (func $f (result i32)))"#)
        .at("transform", "(drop (call $f))");
    refused(&more.build(), InstallCode::UnknownImport, &["engate:plugin/config@0.1.0"]).await;
}

#[tokio::test]
async fn isolation_03_and_04_memory_and_tables_beyond_the_limits_are_refused_at_install() {
    let memory = guest().swap("(memory (export \"memory\") 1)", "(memory (export \"memory\") 4097)");
    refused(&memory.build(), InstallCode::TooManyResources, &["268500992 bytes"]).await;
    let table = guest().at("more", "(table 70000 funcref)");
    refused(&table.build(), InstallCode::TooManyResources, &["70000 entries"]).await;
    let tables = guest().at("more", &"(table 1 funcref)".repeat(17));
    refused(&tables.build(), InstallCode::TooManyResources, &["17 tables"]).await;
    let memory = b"\0asm\x01\0\0\0\x05\x03\x01\0\x01";
    refused(&with_instances(memory, 5), InstallCode::TooManyResources, &["6 Wasm linear memories"]).await;
    refused(&with_instances(b"\0asm\x01\0\0\0", 100), InstallCode::TooManyResources, &["core module instances", "64"])
        .await;
    assert!(rig().install(&with_instances(memory, 3)).await.is_ok());
}

/// The plain guest with `count` more instances of a small core module.
fn with_instances(module: &[u8], count: u8) -> Vec<u8> {
    use wasmparser::{Parser, Payload};
    let mut component = guest().build();
    let modules = Parser::new(0)
        .parse_all(&component)
        .filter(|payload| matches!(payload, Ok(Payload::ModuleSection { .. })))
        .count();
    component.extend([1, module.len() as u8]);
    component.extend(module);
    component.push(2);
    let mut section = vec![count];
    section.extend([0, modules as u8, 0].repeat(usize::from(count)));
    let length = section.len();
    component.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
    component.extend(section);
    component
}

#[tokio::test]
async fn the_plugins_that_come_with_the_engine_install_under_their_names() {
    let rig = rig();
    for plugin in engate_bundled::PLUGINS {
        let installed = rig.install(plugin.wasm).await.unwrap();
        assert_eq!(installed.manifest.id, plugin.name);
    }
}

#[tokio::test]
async fn isolation_01_a_describe_that_loops_or_traps_is_refused_within_its_limits() {
    for (place, code, words) in [
        ("describe", "(loop $l (br $l))", "cpu_limit"),
        ("describe", "(unreachable)", "plugin_panic"),
        ("describe", "(drop (call $recurse (i32.const 0)))", "stack_overflow"),
        ("more", "(func $start (loop $l (br $l))) (start $start)", "cpu_limit"),
        ("more", "(func $start unreachable) (start $start)", "plugin_panic"),
    ] {
        refused(&guest().at(place, code).build(), InstallCode::DescribeFailed, &[words]).await;
    }
    refused(&guest().at("describe", &store(1024, 0xffff_fff0)).build(), InstallCode::DescribeFailed, &["bad_abi"])
        .await;
}

#[tokio::test]
async fn isolation_20_a_manifest_that_lies_is_refused() {
    let bad = InstallCode::BadManifest;
    refused(&guest().swap("2048) \"guest\"", "2048) \"Guest\"").build(), bad, &["id", "kebab"]).await;
    refused(&guest().swap("\"0.1.0\"", "\"0.1.x\"").build(), bad, &["version", "SemVer"]).await;
    refused(&guest().swap("2096) \"{}\"", "2096) \"[]\"").build(), bad, &["config_schema"]).await;
    refused(&guest().swap("2096) \"{}\"", "2096) \"{x\"").build(), bad, &["config_schema", "JSON"]).await;
    let long = guest()
        .swap("(memory (export \"memory\") 1)", "(memory (export \"memory\") 4)")
        .at("describe", &(store(1048, 8192) + &store(1052, 70_000)));
    refused(&long.build(), bad, &["config_schema", "64 KiB"]).await;
}
