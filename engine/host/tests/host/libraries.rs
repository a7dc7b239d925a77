//! Libraries inside a component: compiled once, shared, sealed, and let go.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use engate_host::{Digest, Effort, Host, Plan};
use tempfile::TempDir;
use wasm_encoder::{Component, InstanceSection, ModuleArg, RawSection};
use wasmparser::{Instance, Parser, Payload};

use crate::{
    guests::guest,
    rig::{Rig, Setup, config},
};

/// Where the guest's memory has the first letter of its request's method.
const METHOD_AT: u32 = 2112;

/// A library that, when it starts, writes a letter over the first of the method.
fn library(letter: char) -> Vec<u8> {
    let filling: String = (0..8_000)
        .map(|n| format!("(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const {n}000))) "))
        .collect();
    let text = format!(
        r#"(module (@custom "dylink.0" (before first) "") (import "main" "memory" (memory 1))
            (func $start (i32.store8 (i32.const {METHOD_AT}) (i32.const {}))) (start $start) {filling})"#,
        u32::from(letter)
    );
    wat::parse_str(text).unwrap()
}

/// The plain guest, large enough for its parts to be looked for, with a library over its memory.
fn linked(id: &str, library: &[u8]) -> Vec<u8> {
    let data: String = (0..20).map(|_| format!("(data (i32.const 30000) \"{}\")", "x".repeat(60_000))).collect();
    let component = guest()
        .swap("\"guest\"", &format!("\"{id}\""))
        .at("data", &data)
        .swap("\"memory\") 1", "\"memory\") 2")
        .build();
    let (mut out, mut depth, mut modules, mut instances, mut main) = (Component::new(), 0, 0, 0, None);
    for payload in Parser::new(0).parse_all(&component) {
        let payload = payload.unwrap();
        match &payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ModuleSection { .. } if depth == 1 => modules += 1,
            Payload::InstanceSection(section) if depth == 1 => {
                for instance in section.clone() {
                    if matches!(instance.unwrap(), Instance::Instantiate { module_index: 0, .. }) {
                        main = Some(instances);
                    }
                    instances += 1;
                }
            }
            _ => {}
        }
        if let (1, Some((id, range))) = (depth, payload.as_section()) {
            out.section(&RawSection { id, data: &component[range] });
        }
    }
    out.section(&RawSection { id: 1, data: library });
    let mut section = InstanceSection::new();
    section.instantiate(modules, [("main", ModuleArg::Instance(main.unwrap()))]);
    out.section(&section);
    out.finish()
}

/// Files of libraries' machine code.
fn libraries(dir: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path().join("cache")).unwrap().map(|entry| entry.unwrap().path());
    let is_code = |path: &PathBuf| path.extension().is_some_and(|found| found == "cwasm");
    let is_library = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("library-");
    let mut files: Vec<_> = entries.filter(|path| is_code(path) && is_library(path)).collect();
    files.sort();
    files
}

fn written(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

/// The method of the request that the component's plugin makes.
async fn method(host: &Host, component: &[u8], least: Effort) -> String {
    let plugin = host.load(&Digest::of(component), least, || async { Ok(component.to_vec()) }).await.unwrap();
    let done = Rig::of(host.clone(), TempDir::new().unwrap()).transform(&plugin, &Setup::default()).await.unwrap();
    let Plan::Send { request, .. } = done.plan else { panic!("{:?}", done.plan) };
    request.method
}

#[tokio::test]
async fn a_library_is_compiled_once_for_all_that_have_it() {
    let dir = TempDir::new().unwrap();
    let host = Host::start(config(dir.path())).unwrap();
    let (one, two, other) =
        (linked("first", &library('G')), linked("other", &library('G')), linked("third", &library('H')));
    assert!(one.len() > 1 << 20);
    for effort in [Effort::Quick, Effort::Full] {
        host.install(&one, effort).await.unwrap();
        assert_eq!(method(&host, &one, effort).await, "GOST", "the library ran over the guest's memory");
        let kept = libraries(&dir);
        assert_eq!(kept.len(), if effort == Effort::Quick { 1 } else { 2 }, "one of each effort: {kept:?}");
        let at: Vec<_> = kept.iter().map(|path| written(path)).collect();
        host.install(&two, effort).await.unwrap();
        assert_eq!(method(&host, &two, effort).await, "GOST");
        assert_eq!(libraries(&dir), kept);
        assert_eq!(kept.iter().map(|path| written(path)).collect::<Vec<_>>(), at, "and was not compiled again");
    }
    // What took more effort serves where less would do.
    let third = linked("again", &library('G'));
    host.install(&third, Effort::Quick).await.unwrap();
    assert_eq!(method(&host, &third, Effort::Quick).await, "GOST");
    host.install(&other, Effort::Quick).await.unwrap();
    assert_eq!(method(&host, &other, Effort::Quick).await, "HOST");
    assert_eq!(libraries(&dir).len(), 3);

    // A host that starts lets go of what nobody has, and of nothing else.
    for component in [&one, &two, &other] {
        host.forget(&Digest::of(component));
    }
    drop(host);
    let host = Host::start(config(dir.path())).unwrap();
    assert_eq!(libraries(&dir).len(), 2, "the third has the one, of either effort");
    assert_eq!(method(&host, &third, Effort::Quick).await, "GOST");
}

#[tokio::test]
async fn isolation_19_a_librarys_code_is_sealed_like_any_other() {
    let dir = TempDir::new().unwrap();
    let component = linked("first", &library('G'));
    let (theirs, ours) = (linked("other", &library('H')), linked("third", &library('G')));
    let host = Host::start(config(dir.path())).unwrap();
    host.install(&component, Effort::Full).await.unwrap();
    let code = libraries(&dir)[0].clone();
    let sound = fs::read(&code).unwrap();
    host.install(&theirs, Effort::Full).await.unwrap();
    let another = fs::read(libraries(&dir).into_iter().find(|path| *path != code).unwrap()).unwrap();
    let mut flipped = sound.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    drop(host);
    for tampered in [flipped, another, sound[..sound.len() - 1].to_vec(), vec![]] {
        // By rename, as whoever gets at the directory would: what is mapped stays what it is.
        let planted = dir.path().join("planted");
        fs::write(&planted, &tampered).unwrap();
        fs::rename(&planted, &code).unwrap();
        let host = Host::start(config(dir.path())).unwrap();
        assert_eq!(method(&host, &component, Effort::Full).await, "GOST", "{} bytes", tampered.len());
        assert_eq!(fs::read(&code).unwrap().len(), sound.len(), "it was compiled again");
    }
    // One that is new is not handed a library that is not sound either.
    fs::write(&code, b"\x7fELF").unwrap();
    let host = Host::start(config(dir.path())).unwrap();
    host.install(&ours, Effort::Full).await.unwrap();
    assert_eq!(method(&host, &ours, Effort::Full).await, "GOST");
}
