//! One `engate serve` process, started as an operator starts it.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate::clock::SystemClock;
use engate_model::Clock as _;
use engate_store::{Orphan, SecretKey, Store, StoreOptions};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use super::{Database, PATIENCE, compiled, wait::within};

/// The first admin's token in every test.
pub(crate) const ADMIN_TOKEN: &str = "engate-test-admin-token-0123456789abcdef";
/// A first start compiles the bundled plugins.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Starts on one port before giving up: somebody else's connection may hold it for a moment.
const START_TRIES_MAX: u32 = 20;
/// Lines of the log that a failed test shows.
const LOG_LINES_SHOWN: usize = 80;

/// How an engine is started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    program: PathBuf,
    variables: Vec<(String, String)>,
    name: String,
}

impl Setup {
    /// The engine under test; deliveries may go to this machine, nothing else is set.
    pub(crate) fn new() -> Self {
        let setup = Self { program: env!("CARGO_BIN_EXE_engate").into(), variables: Vec::new(), name: "node".into() };
        setup.set("admin_token", ADMIN_TOKEN).set("egress.allow", "127.0.0.0/8,::1/128")
    }

    /// Sets a line of `engate.toml` through its environment variable.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self = self.unset(key);
        self.variables.push((variable(key), value.to_owned()));
        self
    }

    /// Takes a setting back.
    pub(crate) fn unset(mut self, key: &str) -> Self {
        let variable = variable(key);
        self.variables.retain(|(name, _)| *name != variable);
        self
    }

    /// The program with faults planted, which cargo builds beside the tests; the setting `planted` says which.
    pub(crate) fn planted(mut self) -> Self {
        self.program = Path::new(env!("CARGO_BIN_EXE_engate")).parent().unwrap().join("examples/planted");
        if !self.program.exists() {
            let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
            let build = ["build", "--package", "engate", "--example", "planted"];
            let built = std::process::Command::new(cargo).args(build).current_dir(env!("CARGO_MANIFEST_DIR")).status();
            assert!(built.unwrap().success(), "cargo build --example planted");
        }
        self
    }

    /// Names the process among several on one database: its files go into a folder of that name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }
}

/// The environment variable of a setting.
fn variable(key: &str) -> String {
    format!("ENGATE_{}", key.replace('.', "_").to_uppercase())
}

/// A running engine, or one that was stopped and may be started again on the same data.
pub(crate) struct Engine {
    setup: Setup,
    database_url: String,
    data: PathBuf,
    process: Option<Child>,
    starts: u32,
    address: Option<SocketAddr>,
    scheme: &'static str,
}

impl Engine {
    /// Starts on a free port.
    pub(crate) async fn start(database: &Database, setup: Setup) -> Self {
        Self::start_in(database.folder(), database.url.clone(), setup).await
    }

    /// Starts another engine on the same database; its files lie beside.
    pub(crate) async fn start_beside(other: &Self, setup: Setup) -> Self {
        Self::start_in(other.data.parent().unwrap(), other.database_url.clone(), setup).await
    }

    async fn start_in(folder: &Path, database_url: String, setup: Setup) -> Self {
        let data = folder.join(&setup.name);
        let mut engine = Self { setup, database_url, data, process: None, starts: 0, address: None, scheme: "http" };
        std::fs::create_dir_all(engine.logs()).unwrap();
        compiled::lend(&engine.data);
        engine.start_again().await;
        compiled::keep(&engine.data);
        engine
    }

    /// Starts again on the same data and the same port.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.process.is_none(), "the engine is still running");
        for _ in 0..START_TRIES_MAX {
            self.spawn();
            if let Some(address) = self.until_listening().await {
                self.address = Some(address);
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the engine does not start:\n{}", self.log());
    }

    /// `kill -9`; returns when the process is gone.
    pub(crate) async fn kill(&mut self) {
        let mut process = self.process.take().expect("the engine is not running");
        process.kill().await.unwrap();
    }

    /// Waits until it dies of a SIGKILL that it sent itself.
    pub(crate) async fn killed_itself(&mut self) {
        let mut process = self.process.take().expect("the engine is not running");
        let ended = tokio::time::timeout(START_PATIENCE, process.wait()).await;
        let status = ended.expect("the engine does not come by the point at which it is to die").unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::KILL.as_raw()), "{status}");
    }

    /// Stops it in its tracks (SIGSTOP), as a machine that hangs does, or lets it go on (SIGCONT).
    pub(crate) fn freeze(&self, frozen: bool) {
        self.signal(if frozen { Signal::STOP } else { Signal::CONT });
    }

    /// SIGTERM; gives the exit status.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal_terminate();
        let mut process = self.process.take().expect("the engine is not running");
        let ended = tokio::time::timeout(PATIENCE, process.wait()).await;
        ended.expect("the engine does not end after SIGTERM").unwrap()
    }

    /// SIGTERM alone.
    pub(crate) fn signal_terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGHUP.
    pub(crate) fn signal_hangup(&self) {
        self.signal(Signal::HUP);
    }

    /// Memory that it holds at this moment, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let id = self.process.as_ref().and_then(Child::id).expect("the engine is not running");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().and_then(Child::id).expect("the engine is not running");
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Runs another `engate` command with this engine's settings.
    pub(crate) async fn command(&self, args: &[&str]) -> Output {
        let mut command = self.prepared();
        let output = command.args(args).stdin(Stdio::null()).output();
        tokio::time::timeout(START_PATIENCE, output).await.expect("the command does not end").unwrap()
    }

    /// Runs another `engate` command and kills it (`kill -9`) where it takes longer; gives how it ended by itself.
    pub(crate) async fn command_killed_after(&self, args: &[&str], patience: Duration) -> Option<ExitStatus> {
        let mut command = self.prepared();
        let mut child =
            command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        match tokio::time::timeout(patience, child.wait()).await {
            Ok(status) => Some(status.unwrap()),
            Err(_) => {
                child.kill().await.unwrap();
                None
            }
        }
    }

    /// Sets a line of `engate.toml` for the next start.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.setup = self.setup.clone().set(key, value);
    }

    /// Takes a setting back for the next start.
    pub(crate) fn unset(&mut self, key: &str) {
        self.setup = self.setup.clone().unset(key);
    }

    /// Runs an `engate` command that speaks to this engine's API, as its admin.
    pub(crate) async fn client(&self, args: &[&str]) -> Output {
        self.client_within(args, START_PATIENCE).await
    }

    /// The same with more variables.
    pub(crate) async fn client_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.client_command(args);
        let output = command.envs(variables.iter().copied()).output();
        tokio::time::timeout(START_PATIENCE, output).await.expect("the command does not end").unwrap()
    }

    /// The same with something on standard input.
    pub(crate) async fn client_fed(&self, args: &[&str], input: &str) -> Output {
        let mut command = self.client_command(args);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed with the end of the statement, so that the command sees its end.
        process.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = process.wait_with_output();
        tokio::time::timeout(START_PATIENCE, output).await.expect("the command does not end").unwrap()
    }

    fn client_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engate"));
        command.args(args).env("ENGATE_URL", self.url()).env("ENGATE_TOKEN", ADMIN_TOKEN).stdin(Stdio::null());
        command
    }

    /// The same with a patience of its own.
    pub(crate) async fn client_within(&self, args: &[&str], patience: Duration) -> Output {
        let mut command = self.client_command(args);
        tokio::time::timeout(patience, command.output()).await.expect("the command does not end").unwrap()
    }

    /// Whether the process is there and has not ended by itself.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    /// Whether it was stopped by the test.
    pub(crate) const fn is_stopped(&self) -> bool {
        self.process.is_none()
    }

    /// `http://ADDRESS` of the API, or with `https` under TLS.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address.expect("the engine never listened"))
    }

    /// Deliveries that are neither finished nor scheduled, by the database's own word.
    pub(crate) async fn orphans(&self) -> Vec<Orphan> {
        let database = engate_store::Database::parse(&self.database_url);
        let given = self.setup.variables.iter().find(|(name, _)| *name == variable("secret_key"));
        let text = given
            .map_or_else(|| std::fs::read_to_string(self.data.join("secret.key")).unwrap(), |(_, value)| value.clone());
        let key: [u8; 32] = STANDARD.decode(text.trim()).unwrap().try_into().unwrap();
        let now = SystemClock.now();
        let store = Store::open(&database, &SecretKey::new(key), StoreOptions::default(), now).await.unwrap();
        let orphans = store.doctor_orphans().await.unwrap();
        store.close().await;
        orphans
    }

    /// The database, as `engate serve --database` takes it.
    pub(crate) fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The engine's own folder.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Everything that all starts wrote to standard output and error.
    pub(crate) fn log(&self) -> String {
        let files = (1..=self.starts).flat_map(|start| [self.log_file(start, "out"), self.log_file(start, "err")]);
        files.map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()).collect()
    }

    /// Shows the end of the log.
    pub(crate) fn dump(&self) {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let shown = lines.len().saturating_sub(LOG_LINES_SHOWN);
        eprintln!("---- {} (last {} of {} lines)", self.setup.name, lines.len() - shown, lines.len());
        lines[shown..].iter().for_each(|line| eprintln!("{line}"));
    }

    fn spawn(&mut self) {
        self.starts += 1;
        let file = |kind| File::create(self.log_file(self.starts, kind)).unwrap();
        let listen = self.address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
        let (out, err) = (file("out"), file("err"));
        let mut command = self.prepared();
        command.args(["serve", "--listen", &listen]).stdin(Stdio::null()).stdout(out).stderr(err);
        self.process = Some(command.spawn().unwrap());
    }

    /// The program with this engine's settings and nothing of the environment's.
    fn prepared(&self) -> Command {
        let mut command = Command::new(&self.setup.program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENGATE_")) {
            command.env_remove(name);
        }
        command.env("ENGATE_DATA", &self.data).env("ENGATE_DATABASE", &self.database_url);
        command.envs(self.setup.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.logs()).kill_on_drop(true);
        command
    }

    /// The address it says it listens on; none where it ended before.
    async fn until_listening(&mut self) -> Option<SocketAddr> {
        let file = self.log_file(self.starts, "out");
        let said = within(START_PATIENCE, "the engine listens", async || {
            if !self.is_alive() {
                return Ok(None);
            }
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let line =
                text.split_inclusive('\n').find(|line| line.ends_with('\n') && line.contains("listening on http"));
            line.map(|line| Some(line.to_owned())).ok_or(text)
        });
        let Some(line) = said.await else {
            self.process = None;
            return None;
        };
        let (said, address) = line.trim().split_once("://").unwrap();
        self.scheme = if said.ends_with("https") { "https" } else { "http" };
        Some(address.parse().unwrap())
    }

    fn logs(&self) -> PathBuf {
        self.data.with_extension("logs")
    }

    fn log_file(&self, start: u32, kind: &str) -> PathBuf {
        self.logs().join(format!("{start}.{kind}"))
    }
}
