//! The examples' partner in every language: built by its own toolchain, checked against the golden files, and at work
//! in a real engine against a partner that answers.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ring::hmac;
use serde_json::{Value, json};

use crate::harness::{App, Reply, api::id, run, skipped};

/// A command of a toolchain (a first `npm ci`, a compiler's first run) may take this long.
const BUILD_PATIENCE: Duration = Duration::from_secs(600);
const KEY: &str = "the key of this test, long enough for anyone";

fn example(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(format!("{language}-partner"))
}

fn engate(folder: &Path, args: &[&str]) -> Output {
    let started = std::time::Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_engate")).args(args).current_dir(folder).output().unwrap();
    assert!(started.elapsed() < BUILD_PATIENCE, "{args:?} took {:?}", started.elapsed());
    output
}

/// Runs an `engate` command that must succeed; gives what it printed.
pub(crate) fn passes(folder: &Path, args: &[&str]) -> String {
    let output = engate(folder, args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{args:?} in {}: {stdout}\n{stderr}", folder.display());
    stdout
}

/// Whether the language's programs are here; a missing one that is required is an error.
pub(crate) fn is_there(programs: &[&str]) -> bool {
    let found = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let missing: Vec<_> = programs.iter().filter(|program| !found(program)).collect();
    missing.iter().for_each(|program| skipped(program));
    missing.is_empty()
}

/// The payload of the invoice partner's event.
pub(crate) fn invoice() -> Value {
    json!({
        "invoice": {"number": "NF-1020", "issued_at": "2025-02-20T12:30:00Z", "amount_cents": 1_234_567, "currency": "BRL"},
        "customer": {"name": "Ana Souza", "document": "12345678909"},
        "items": [{"sku": "A-1", "description": "Serviço", "quantity": 2, "unit_cents": 617_283}],
    })
}

const SENT: &str = r#"{"documento":"NF-1020","emissao":"20/02/2025 09:30","valor":"R$ 12.345,67","moeda":"BRL","cliente":{"nome":"Ana Souza","cpf":"123.456.789-09"},"itens":[{"codigo":"A-1","descricao":"Serviço","quantidade":2,"total":"R$ 12.345,66"}]}"#;

/// Builds the language's example, once in a run of the tests; none where its programs are not here.
pub(crate) fn built(language: &str, programs: &[&str]) -> Option<PathBuf> {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if !is_there(programs) {
        return None;
    }
    let folder = example(language);
    // One toolchain at a time is enough for a machine, and no two tests work in one folder.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains(language) {
        passes(&folder, &["plugin", "build"]);
        built.insert(language.to_owned());
    }
    Some(folder)
}

/// Installs the language's example and binds an endpoint at `path` to it.
pub(crate) async fn install(app: &App, language: &str, path: &str, schedule_ms: &[u64]) -> String {
    let plugin = format!("{language}-partner");
    let file = example(language).join("plugin.wasm");
    let pushed = app.engine.client(&["plugin", "push", file.to_str().unwrap()]).await;
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    app.api.put("/v1/secrets/partner-key", &json!({"value": KEY})).await.expect_any();
    let grants = json!({"hosts": [], "secrets": ["partner-key"], "reveal": []});
    app.api.put(&format!("/v1/plugins/{plugin}/grants"), &grants).await.expect(200);
    let fields = json!({
        "url": app.receiver.url(path), "event_types": ["invoice.paid"], "plugin": plugin,
        "config": {"store": "loja-7"}, "retry": {"schedule_ms": schedule_ms},
    });
    id(&app.endpoint(fields).await)
}

/// One delivery that the partner takes and one that it refuses in the body of a 200.
async fn at_work(app: &App, language: &str) {
    let endpoint = install(app, language, "/invoices", &[0, 3_600_000]).await;
    let taken = json!({"resultado": "ok", "protocolo": "P-77"});
    let refused = json!({"resultado": "erro", "codigo": "CPF_INVALIDO", "mensagem": "CPF não confere"});
    app.receiver.script("/invoices", [Reply::status(200).json(&taken), Reply::status(200).json(&refused)]);
    app.api.emit("invoice.paid", invoice()).await;
    let received = app.receiver.only("/invoices").await;
    assert_eq!((received.text(), received.header("x-partner-store")), (SENT, "loja-7"));
    let signed = format!("{}.{}", received.header("x-partner-timestamp"), received.text());
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), signed.as_bytes());
    let hex: String = mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(received.header("x-partner-signature"), format!("sha256={hex}"));
    let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
    let attempt = app.api.attempt(&delivery).await;
    assert_eq!(attempt["verdict"]["message"], "P-77", "{attempt}");
    assert_eq!(attempt["plugin"], format!("{language}-partner@0.1.0"));

    app.api.emit("invoice.paid", invoice()).await;
    app.receiver.wait("/invoices", 2).await;
    app.api.settled().await;
    let failed = app.api.deliveries(&format!("endpoint={endpoint}&state=failed")).await;
    let [failed] = failed.as_slice() else { panic!("{failed:?}") };
    assert_eq!(failed["reason"], "partner_cpf_invalido");
}

fn partner(language: &str, programs: &[&str]) {
    let Some(folder) = built(language, programs) else { return };
    let tested = passes(&folder, &["plugin", "test", "--json"]);
    let report: Value = serde_json::from_str(&tested).unwrap();
    let files = report["files"].as_array().unwrap();
    assert_eq!((&report["passed"], files.len()), (&json!(true), 7), "{report}");
    for figure in ["fuel", "memory_peak_bytes", "bytes_in"] {
        assert!(files.iter().all(|file| file[figure].as_u64().is_some_and(|figure| figure > 0)), "{figure}: {report}");
    }
    run(async |app| at_work(app, language).await);
}

/// From an empty folder to a component that passes its golden files, with what `plugin new` wrote.
fn template(language: &str, programs: &[&str]) {
    if !is_there(programs) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    passes(folder.path(), &["plugin", "new", "acme-orders", "--lang", language]);
    let project = folder.path().join("acme-orders");
    passes(&project, &["plugin", "build"]);
    let said = passes(&project, &["plugin", "test"]);
    assert!(said.contains("acme-orders") && said.contains("hello"), "{said}");
    let fixture = project.join("fixtures/hello.json");
    let golden = std::fs::read_to_string(&fixture).unwrap();
    std::fs::write(&fixture, golden.replacen("\"POST\"", "\"PUT\"", 1)).unwrap();
    let differs = engate(&project, &["plugin", "test"]);
    let text = String::from_utf8_lossy(&differs.stdout).into_owned();
    assert_eq!(differs.status.code(), Some(1), "{text}");
    assert!(text.contains(r#""method": "PUT""#) && text.contains(r#""method": "POST""#), "{text}");
    passes(&project, &["plugin", "test", "--update"]);
    passes(&project, &["plugin", "test"]);
}

#[test]
fn a_new_sink_and_a_new_source_build_and_pass() {
    if !is_there(&["cargo"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for world in ["sync-target", "sync-source"] {
        let name = format!("acme-{world}");
        passes(folder.path(), &["plugin", "new", &name, "--lang", "rust", "--world", world]);
        let project = folder.path().join(&name);
        passes(&project, &["plugin", "build"]);
        let told = passes(&project, &["plugin", "check", "plugin.wasm"]);
        assert!(told.contains(&format!("{world} (0.1.0)")), "{told}");
        passes(&project, &["plugin", "test"]);
    }
}

macro_rules! languages {
    ($($language:ident: $programs:expr;)*) => {$(
        mod $language {
            #[test]
            fn the_partner_is_delivered_to_and_judged() {
                super::partner(stringify!($language), $programs);
            }

            #[test]
            fn a_new_project_builds_and_passes() {
                super::template(stringify!($language), $programs);
            }
        }
    )*};
}

languages! {
    rust: &["cargo"];
    typescript: &["npm"];
    javascript: &["npm"];
    python: &["python3"];
    c: &["python3"];
    go: &["python3"];
}

#[test]
fn a_core_module_of_a_language_without_bindings_works_too() {
    partner("assemblyscript", &["npm"]);
}
