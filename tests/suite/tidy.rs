//! Rules about the tree itself that a reader cannot see at a glance: every row of the seeds has its test, and the
//! crates know only what the map in ARCHITECTURE.md lets them know.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What a row of `seed_rows.txt` may wait for.
const WAITS: [&str; 4] = ["open", "jobs", "console", "untestable"];
/// Folders that hold tests.
const TESTED: [&str; 4] = ["engine", "plugins", "tests", "examples"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every Rust file below `folder`, what was built left out.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "target" | "node_modules" | ".venv") {
            sources(&path, into);
        } else if name.ends_with(".rs") {
            into.push(path);
        }
    }
}

/// The rows that a test's name begins with: `o22_o25_golden` is one of O22 and of O25.
fn rows_of(test: &str) -> Vec<String> {
    let parts = test.split('_').map_while(|part| {
        let (letter, number) = part.split_at_checked(1)?;
        let number: u32 = number.parse().ok()?;
        "ovpg".contains(letter).then(|| format!("{}{number}", letter.to_uppercase()))
    });
    parts.collect()
}

/// Names of the tests in `source`; ignored ones are left out.
fn tests_in(source: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let (mut is_test, mut ignored) = (false, false);
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            ignored |= line.starts_with("#[ignore");
            continue;
        }
        let declared = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let (true, false, Some(rest)) = (is_test, ignored, declared) {
            names.extend(rest.split('(').next());
        }
        (is_test, ignored) = (false, false);
    }
    names
}

#[test]
fn every_row_of_the_seeds_has_its_test() {
    let root = root();
    let mut files = Vec::new();
    TESTED.iter().for_each(|folder| sources(&root.join(folder), &mut files));
    let mut tested = BTreeSet::new();
    for file in files {
        tested.extend(tests_in(&fs::read_to_string(file).unwrap()).into_iter().flat_map(rows_of));
    }
    let list = fs::read_to_string(root.join("tests/seed_rows.txt")).unwrap();
    let rows = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let rows: BTreeMap<_, _> = rows.map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
    assert_eq!(rows.len(), 116, "the seeds have 116 rows");
    let mut wrong = Vec::new();
    for (row, waits) in &rows {
        match (tested.contains(*row), *waits) {
            (true, "") => {}
            (false, waits) if WAITS.contains(&waits) => {}
            (true, waits) => wrong.push(format!("{row} has a test; it waits for `{waits}` no longer")),
            (false, "") => wrong.push(format!("{row} has no test that is named after it")),
            (false, waits) => wrong.push(format!("{row} waits for `{waits}`, which is none of {WAITS:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unknown: Vec<_> = tested.iter().filter(|row| !rows.contains_key(row.as_str())).collect();
    assert!(unknown.is_empty(), "tests are named after rows that the seeds do not have: {unknown:?}");
}

#[test]
fn crates_know_only_what_the_map_lets_them_know() {
    // The crate, and what must not be among its dependencies when it is built (tests may).
    let walls: [(&str, &[&str]); 5] = [
        ("model", &["tokio", "sqlx", "wasmtime", "reqwest", "axum", "engate-store", "engate-host", "engate-egress"]),
        ("store", &["wasmtime", "reqwest", "axum", "engate-host", "engate-egress", "engate"]),
        ("host", &["sqlx", "reqwest", "axum", "engate-store", "engate-egress", "engate"]),
        ("egress", &["sqlx", "wasmtime", "axum", "engate-store", "engate-host", "engate"]),
        ("app", &["sqlx", "wasmtime", "wasmtime-wasi"]),
    ];
    for (room, forbidden) in walls {
        let text = fs::read_to_string(root().join("engine").join(room).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        let known: Vec<_> = forbidden.iter().filter(|name| dependencies.contains_key(**name)).collect();
        assert!(known.is_empty(), "engine/{room} must not know {known:?}");
    }
}

#[test]
fn the_page_on_isolation_names_tests_that_are_there_for_every_case() {
    let root = root();
    let mut files = Vec::new();
    TESTED.iter().for_each(|folder| sources(&root.join(folder), &mut files));
    let texts: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let tests: BTreeSet<_> = texts.iter().flat_map(|text| tests_in(text)).collect();
    let page = fs::read_to_string(root.join("docs/isolation.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let rows: BTreeMap<u32, &str> = rows.filter_map(|(number, rest)| Some((number.parse().ok()?, rest))).collect();
    assert!(rows.keys().copied().eq(1..=27), "{:?}", rows.keys());
    for (number, row) in rows {
        let names: Vec<_> = row.split('`').filter(|name| name.contains('_') && name.len() > 20).collect();
        let unknown: Vec<_> = names.iter().filter(|name| !tests.contains(**name)).collect();
        assert!(unknown.is_empty(), "case {number} names tests that are not there: {unknown:?}");
        assert!(!names.is_empty() || row.contains("waits for"), "case {number} has no test");
    }
}
