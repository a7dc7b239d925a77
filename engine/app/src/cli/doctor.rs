//! `engate doctor`: looks at everything an engine needs on this machine, and says how to cure what is wrong.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use engate_egress::{EgressConfig, Guard};
use serde::Serialize;
use tokio::net::TcpListener;

use super::{
    failure::{Exit, Failure},
    plugin::throw_away_host,
    present::{Field, Screen, Tone, size},
    scratch::Scratch,
    settings::{Gathered, SettingsArgs},
};
use crate::{
    config::Config,
    installation::{self, Key},
};

/// What `engate doctor --help` adds.
pub(super) const HELP: &str = "\
It needs no running engine and may run beside one. It opens the database as `engate serve` does, which brings it to \
this version's schema; it changes nothing else. Exit code 0 if no check failed, 1 if one did.";

/// Orphans that are named one by one.
const ORPHANS_SHOWN: usize = 10;
/// Addresses that must stay out of reach: this machine, a private network, the cloud's own credentials.
const FORBIDDEN: [&str; 4] = ["http://127.0.0.1/", "http://[::1]/", "http://10.0.0.1/", "http://169.254.169.254/"];
/// How long an engine at the configured address may take to answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

fn ok(check: &'static str, detail: impl Into<String>) -> Check {
    Check { check, state: State::Ok, detail: detail.into(), cure: None }
}

fn skipped(check: &'static str, detail: impl Into<String>) -> Check {
    Check { check, state: State::Skipped, detail: detail.into(), cure: None }
}

fn warning(check: &'static str, detail: impl Into<String>, cure: impl Into<String>) -> Check {
    Check { check, state: State::Warning, detail: detail.into(), cure: Some(cure.into()) }
}

fn failed(check: &'static str, detail: impl Into<String>, cure: impl Into<String>) -> Check {
    Check { check, state: State::Failed, detail: detail.into(), cure: Some(cure.into()) }
}

/// Runs every check that the ones before allow.
pub(super) async fn run(settings: &SettingsArgs, screen: Screen) -> Result<Exit, Failure> {
    let checks = checks(settings).await;
    let bad = checks.iter().any(|check| check.state == State::Failed);
    if screen.json {
        let items = serde_json::json!({ "healthy": !bad, "items": checks });
        screen.line(items.to_string())?;
    } else {
        print(&checks, screen)?;
    }
    Ok(if bad { Exit::Failed } else { Exit::Done })
}

async fn checks(settings: &SettingsArgs) -> Vec<Check> {
    let gathered = match settings.gather() {
        Ok(gathered) => gathered,
        Err(failure) => return vec![settings_failed(&failure)],
    };
    let config = match Config::parse(&gathered.loaded) {
        Ok(config) => config,
        Err(invalid) => return vec![settings_failed(&super::settings::refused(&invalid))],
    };
    let mut checks = vec![settings_check(&gathered)];
    checks.push(data_check(&config.data));
    let key = installation::key(&config);
    checks.push(key_check(&config, &key));
    checks.extend(database_checks(&config, &key).await);
    checks.push(cache_check(&installation::plugin_cache(&config)));
    checks.push(plugins_check().await);
    checks.push(guard_check(&config));
    checks.push(files_check(config.files.root.as_deref()));
    checks.push(listen_check(config.listen).await);
    checks
}

fn settings_failed(failure: &Failure) -> Check {
    failed(
        "settings",
        failure.text().replace('\n', " "),
        "`engate config show` prints every setting and where it came from",
    )
}

fn settings_check(gathered: &Gathered) -> Check {
    let file = gathered.file.as_ref().map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
    if gathered.stray.is_empty() {
        return ok("settings", format!("valid ({file})"));
    }
    let stray = gathered.stray.join(", ");
    warning("settings", format!("valid ({file}), but {stray} is no setting and is ignored"), "check the spelling")
}

/// The folder is private, and a file can be made in it.
fn data_check(data: &Path) -> Check {
    const NAME: &str = "data folder";
    let shown = data.display();
    let Ok(metadata) = fs::metadata(data) else {
        return skipped(NAME, format!("{shown} is not there yet; the first start makes it"));
    };
    if !metadata.is_dir() {
        return failed(NAME, format!("{shown} is no folder"), "name another with --data");
    }
    let probe = data.join(".engate-doctor");
    let written = fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe));
    if let Err(error) = written {
        return failed(NAME, format!("{shown} cannot be written: {error}"), "give it to the user that runs the engine");
    }
    match open_to_others(&metadata) {
        Some(mode) => warning(
            NAME,
            format!("{shown} is open to other users (mode {mode:o}); it may hold the key of all secrets"),
            format!("chmod 700 {shown}"),
        ),
        None => ok(NAME, shown.to_string()),
    }
}

fn key_check(config: &Config, key: &Key) -> Check {
    const NAME: &str = "secret key";
    match key {
        Key::There(_) if config.secret_key.is_some() => ok(NAME, "configured"),
        Key::There(_) => {
            let path = installation::key_file(config);
            let open = fs::metadata(&path).ok().and_then(|metadata| open_to_others(&metadata));
            match open {
                Some(mode) => warning(
                    NAME,
                    format!("{} can be read by other users (mode {mode:o})", path.display()),
                    format!("chmod 600 {}", path.display()),
                ),
                None => ok(NAME, format!("{}; keep a copy where the database's backups are not", path.display())),
            }
        }
        Key::Absent(path) if installation::database_file(config).is_some_and(|file| file.exists()) => failed(
            NAME,
            format!("{} is gone, and the database's secrets cannot be read without it", path.display()),
            "restore it from its backup, or set ENGATE_SECRET_KEY to what it held",
        ),
        Key::Absent(_) => skipped(NAME, "none yet; the first start makes one"),
        Key::Unusable(path, cause) => {
            failed(NAME, format!("{}: {cause}", path.display()), "restore it from its backup; do not make a new one")
        }
    }
}

async fn database_checks(config: &Config, key: &Key) -> Vec<Check> {
    const NAME: &str = "database";
    if let Some(file) = installation::database_file(config).filter(|file| !file.exists()) {
        return vec![skipped(NAME, format!("{} is not there yet; the first start makes it", file.display()))];
    }
    let Key::There(key) = key else {
        return vec![skipped(NAME, "not opened: it takes the secret key")];
    };
    let store = match installation::open_store(config, *key).await {
        Ok(store) => store,
        Err(error) => {
            return vec![failed(
                NAME,
                error.to_string(),
                "see that the database runs and that its URL, user and password are right",
            )];
        }
    };
    let mut checks = vec![ok(NAME, format!("{}, reachable, of this version's schema", store.backend()))];
    checks.push(orphans_check(&store).await);
    store.close().await;
    checks
}

/// "Accepted, but neither finished nor scheduled" must be empty.
async fn orphans_check(store: &engate_store::Store) -> Check {
    const NAME: &str = "no lost delivery";
    match store.doctor_orphans().await {
        Ok(orphans) if orphans.is_empty() => ok(NAME, "every accepted event is delivered, scheduled, or says why not"),
        Ok(orphans) => {
            let name = |orphan: &engate_store::Orphan| match &orphan.delivery {
                Some(delivery) => format!("{delivery} of {}: {}", orphan.event, orphan.what),
                None => format!("{}: {}", orphan.event, orphan.what),
            };
            let shown: Vec<_> = orphans.iter().take(ORPHANS_SHOWN).map(name).collect();
            failed(
                NAME,
                format!("{} found: {}", orphans.len(), shown.join("; ")),
                "`engate delivery retry ID` sends them; please report it, for this must not happen",
            )
        }
        Err(error) => failed(NAME, error.to_string(), "run it again when the database is well"),
    }
}

/// Compiled code is run as it is found, so nobody else may write there.
fn cache_check(cache: &Path) -> Check {
    const NAME: &str = "plugin cache";
    let Ok(metadata) = fs::metadata(cache) else {
        return skipped(NAME, format!("{} is not there yet", cache.display()));
    };
    if let Some(mode) = open_to_others(&metadata) {
        return failed(
            NAME,
            format!("{} is open to other users (mode {mode:o}); what lies there is run", cache.display()),
            format!("chmod 700 {}", cache.display()),
        );
    }
    let files = fs::read_dir(cache).map(|entries| entries.filter_map(|entry| entry.ok()?.metadata().ok()).collect());
    match files {
        Ok(files) => {
            let files: Vec<fs::Metadata> = files;
            let bytes = files.iter().map(fs::Metadata::len).sum();
            ok(NAME, format!("{}: {} entries, {}", cache.display(), files.len(), size(bytes)))
        }
        Err(error) => failed(NAME, format!("{}: {error}", cache.display()), "give it to the user that runs the engine"),
    }
}

/// Compiles and starts every bundled plugin, in a cache of its own.
async fn plugins_check() -> Check {
    const NAME: &str = "plugins run";
    let cure = "see the limits of this user (ulimit -v, -u) and that this program may start itself";
    match install_bundled().await {
        Ok(names) => ok(NAME, format!("compiled and asked: {}", names.join(", "))),
        Err(failure) => failed(NAME, failure.text(), cure),
    }
}

async fn install_bundled() -> Result<Vec<String>, Failure> {
    let scratch = Scratch::make()?;
    let host = throw_away_host(&scratch)?;
    let mut names = Vec::new();
    for plugin in engate_bundled::PLUGINS {
        let installed = host.install(plugin.wasm, engate_host::Effort::Full).await;
        let installed = installed.map_err(|error| Failure::failed(format!("{}: {error}", plugin.name)))?;
        names.push(format!("{} {}", installed.manifest.id, installed.manifest.version));
    }
    Ok(names)
}

/// What must be out of reach is, unless the settings allow it.
fn guard_check(config: &Config) -> Check {
    const NAME: &str = "address guard";
    let strict = EgressConfig::default();
    let configured = EgressConfig {
        allow: config.egress.allow.clone(),
        deny_hosts: config.egress.deny_hosts.clone(),
        ..EgressConfig::default()
    };
    let (Ok(strict), Ok(configured)) = (Guard::new(&strict), Guard::new(&configured)) else {
        return failed(NAME, "the rules of `egress` cannot be read", "`engate config check` names the line");
    };
    let open = |guard: &Guard| FORBIDDEN.into_iter().filter(|url| guard.check_url(url).is_ok()).collect::<Vec<_>>();
    let leaks = open(&strict);
    if !leaks.is_empty() {
        return failed(NAME, format!("lets {} through", leaks.join(", ")), "do not run this build; please report it");
    }
    let allowed = open(&configured);
    if allowed.is_empty() {
        return ok(NAME, "this machine, private networks and cloud metadata are out of plugins' and partners' reach");
    }
    warning(
        NAME,
        format!("egress.allow opens {}", allowed.join(", ")),
        "right for a test; in production allow the one network that a partner is in",
    )
}

fn files_check(root: Option<&Path>) -> Check {
    const NAME: &str = "files";
    match root {
        None => skipped(NAME, "files.root is not set; signed links are not served"),
        Some(root) => match fs::read_dir(root) {
            Ok(_) => ok(NAME, root.display().to_string()),
            Err(error) => {
                failed(NAME, format!("{}: {error}", root.display()), "make the folder, or set files.root to another")
            }
        },
    }
}

/// The address is free, or an engine is there.
async fn listen_check(address: SocketAddr) -> Check {
    const NAME: &str = "listen";
    match TcpListener::bind(address).await {
        Ok(_) => ok(NAME, format!("{address} is free; no engine runs there")),
        Err(error) => match health(address).await {
            Some(status @ 200..=299) => ok(NAME, format!("an engine at {address} says it is healthy ({status})")),
            Some(status) => warning(
                NAME,
                format!("what runs at {address} answers /healthz with {status}"),
                "see its log; GET /healthz with a token says which part is down",
            ),
            None => failed(NAME, format!("{address}: {error}"), "choose another with --listen"),
        },
    }
}

async fn health(address: SocketAddr) -> Option<u16> {
    let http = reqwest::Client::builder().no_proxy().timeout(HEALTH_TIMEOUT).build().ok()?;
    let answer = http.get(format!("http://{address}/healthz")).send().await.ok()?;
    Some(answer.status().as_u16())
}

/// The mode where group or others may do anything.
fn open_to_others(metadata: &fs::Metadata) -> Option<u32> {
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

fn print(checks: &[Check], screen: Screen) -> Result<(), Failure> {
    let rows = checks.iter().map(|check| {
        let (word, tone) = match check.state {
            State::Ok => ("ok", Tone::Good),
            State::Warning => ("warning", Tone::Waiting),
            State::Failed => ("FAILED", Tone::Bad),
            State::Skipped => ("skipped", Tone::Faint),
        };
        vec![Field::new(check.check), Field::new(word).tone(tone), Field::new(&check.detail)]
    });
    screen.line(screen.render(&["CHECK", "", "WHAT THERE IS TO SEE"], rows.collect()))?;
    let cures: Vec<_> =
        checks.iter().filter_map(|check| Some((check.check, Field::new(check.cure.as_deref()?)))).collect();
    if !cures.is_empty() {
        screen.heading("What to do")?;
        screen.facts(&cures)?;
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    screen.line(format!(
        "\n{} ok, {} warnings, {} failed, {} skipped.",
        count(State::Ok),
        count(State::Warning),
        count(State::Failed),
        count(State::Skipped)
    ))
}
