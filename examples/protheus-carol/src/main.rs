//! The tables of a "Protheus" kept equal in the stand-in of Carol, from one command:
//!
//! ```text
//! cargo run -p engate-protheus-carol
//! ```
//!
//! Who acts here: [`protheus`] is the database with its tables and triggers; [`load`] the people who work in it; the
//! engine, a process of its own, is set up by its own wizard and carries what they do; `engate-carol-stub` takes it, and
//! [`compare`] asks both sides in the end. Exit code 0: they are equal.

mod client;
mod compare;
mod load;
mod protheus;

use std::{
    path::Path,
    process::{ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use engate_carol_stub::{Options, Stub};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

use self::{
    client::Client,
    compare::{Line, compare},
    load::{Done, User},
    protheus::Protheus,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Set for the children of this program that are `engate` itself.
const ROLE: &str = "PROTHEUS_CAROL_ROLE";
/// What `engate serve` says when it listens.
const LISTENING: &str = "listening on ";
/// How long the engine may take to start: its first start compiles the bundled plugins.
const START_MAX: Duration = Duration::from_secs(180);
/// How long source and target may differ once nobody writes any more.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// How long a user of the Protheus may take to finish what is under way.
const USERS_MAX: usize = 32;
/// Numbers that each user has for new rows.
const NUMBERS_PER_USER: i64 = 1_000_000;

/// Keeps the tables of a "Protheus" equal in a stand-in of Carol while people work in it, and shows it.
///
/// Makes the tables, starts the stand-in and the engine, sets the engine up with its own wizard, lets users insert, change
/// and delete, and compares both sides in the end. Everything is thrown away afterwards.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How long the users work, in seconds
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Rows of each table before anybody works
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    rows: u32,
    /// Users at work, on each company
    #[arg(long, default_value_t = 2)]
    users: usize,
    /// Companies, as they stand in the tables' names
    #[arg(long, value_delimiter = ',', default_value = "01,03")]
    companies: Vec<String>,
    /// A PostgreSQL database in which the tables are made anew, postgres://USER@HOST/DATABASE; without it SQLite
    #[arg(long, value_name = "URL", alias = "postgres", value_parser = postgres)]
    source: Option<String>,
}

/// A database that its tables may be made anew in.
fn postgres(url: &str) -> Result<String, String> {
    let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    is_postgres.then(|| url.to_owned()).ok_or_else(|| "write postgres://USER@HOST/DATABASE, or leave it out".to_owned())
}

fn main() -> ExitCode {
    // The engine also starts itself again, without variables, to compile a plugin.
    let compiles = std::env::args().nth(1).is_some_and(|first| first == "compile-plugin");
    if compiles || std::env::var_os(ROLE).is_some() {
        return engate::cli::main();
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(run(&arguments)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, Error> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("protheus.db");
    let url = arguments.source.clone().unwrap_or_else(|| format!("sqlite:{}?mode=rwc", file.display()));
    println!("Making {} rows in each table of companies {} ...", arguments.rows, arguments.companies.join(", "));
    let protheus = Protheus::make(&url, &arguments.companies, arguments.rows).await?;
    let stub = Stub::start(Options::new(folder.path().join("carol"))).await?;
    let source = arguments.source.clone().unwrap_or_else(|| format!("sqlite:{}", file.display()));
    let engine = Engine::start(folder.path(), &source).await?;
    println!("Carol's stand-in is at {}, the engine at {}.\n", stub.address(), engine.url);
    engine.set_up(&stub, arguments).await?;
    let target = Client::new(stub.address(), None)?;
    let worked = work(&protheus, arguments, &target).await?;
    println!("\nThe users are done: {worked}.");
    let equal = settle(&protheus, arguments, &target, &engine).await?;
    engine.stop().await?;
    stub.stop().await;
    Ok(equal)
}

/// The engine, a child of this program.
struct Engine {
    child: Child,
    url: String,
    token: String,
}

impl Engine {
    async fn start(folder: &Path, source: &str) -> Result<Self, Error> {
        let token = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(folder)
            .env(ROLE, "engate")
            .env("ENGATE_DATA", folder.join("engate"))
            .env("ENGATE_ADMIN_TOKEN", &token)
            // The stand-in is on this machine.
            .env("ENGATE_EGRESS_ALLOW", "127.0.0.0/8")
            .env("ENGATE_CONNECTIONS_PROTHEUS_URL", source)
            .env("ENGATE_LOG_LEVEL", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the engine has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, url)) = line.split_once(LISTENING) {
                    return Ok(url.trim().to_owned());
                }
            }
            Err::<_, Error>("the engine ended before it listened; see its messages above".into())
        };
        let url = tokio::time::timeout(START_MAX, listening).await??;
        // The rest is read away, so that the engine never waits for a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, url, token })
    }

    /// Goes through the wizard as an operator would, and starts the job that sends the tables.
    async fn set_up(&self, stub: &Stub, arguments: &Arguments) -> Result<(), Error> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["wizard", "carol", "--connection", "protheus", "--contract", "EXAMPLE-1", "--upddistr"]);
        command.arg("--service-url").arg(format!("registry={}/api/v1/services", stub.address()));
        let versions =
            ["--release", "12.1.2410", "--dbaccess", "23.1.1.4", "--appserver", "24.3.0.5", "--lib", "20251103"];
        command.args(versions);
        for company in &arguments.companies {
            command.args(["--company", company]);
        }
        command.env(ROLE, "engate").env("ENGATE_URL", &self.url).env("ENGATE_TOKEN", &self.token).stdin(Stdio::null());
        let status = command.status().await?;
        if !status.success() {
            return Err("the wizard did not get to its end".into());
        }
        let api = Client::new(&self.url, Some(&self.token))?;
        let jobs = api.get_with("/v1/jobs", &[("name", "FWTECHFINJOB".to_owned())]).await?;
        let job = jobs.pointer("/items/0").ok_or("the wizard made no job FWTECHFINJOB")?;
        let id = job.get("id").and_then(Value::as_str).ok_or("a job without id")?;
        let mut work = job.get("run").cloned().unwrap_or_default();
        // In earnest a look back of ten minutes and a comparison of all keys a day are fine; nobody watches that long.
        let quick = |object: &mut Value, name: &str, value: u64| {
            if let Some(fields) = object.as_object_mut() {
                fields.insert(name.to_owned(), value.into());
            }
        };
        quick(&mut work, "safety_lag_ms", 500);
        quick(&mut work, "lookback_ms", 10_000);
        for stream in work.get_mut("streams").and_then(Value::as_array_mut).into_iter().flatten() {
            quick(stream, "reconcile_ms", 5_000);
        }
        api.patch(&format!("/v1/jobs/{id}"), &json!({ "run": work })).await?;
        api.post(&format!("/v1/jobs/{id}/start"), None).await?;
        Ok(())
    }

    /// What the last runs of the job say of themselves, where they failed.
    async fn failures(&self) -> Result<Vec<String>, Error> {
        let api = Client::new(&self.url, Some(&self.token))?;
        let jobs = api.get_with("/v1/jobs", &[("name", "FWTECHFINJOB".to_owned())]).await?;
        let id = jobs.pointer("/items/0/id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let runs = api.get(&format!("/v1/jobs/{id}/runs?limit=5")).await?;
        let runs = runs.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(runs
            .iter()
            .filter_map(|run| run.get("error").filter(|error| !error.is_null()))
            .map(Value::to_string)
            .collect())
    }

    async fn stop(mut self) -> Result<(), Error> {
        self.child.kill().await?;
        Ok(())
    }
}

/// Lets the users work, and tells each second how far both sides are.
async fn work(protheus: &Protheus, arguments: &Arguments, target: &Client) -> Result<String, Error> {
    let (done, stop) = (Arc::new(Done::default()), Arc::new(AtomicBool::new(false)));
    let mut users = JoinSet::new();
    for company in &arguments.companies {
        for number in 0..arguments.users.min(USERS_MAX) {
            let number = i64::try_from(number)?;
            let user = User {
                protheus: protheus.clone(),
                company: company.clone(),
                next: i64::from(arguments.rows) + 1 + number * NUMBERS_PER_USER,
                rows: i64::from(arguments.rows),
                seed: number.unsigned_abs(),
            };
            users.spawn(user.work(Arc::clone(&done), Arc::clone(&stop)));
        }
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(arguments.seconds) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counts = target.get("/_stub/counts").await?;
        let number = |pointer: &str| counts.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        let (records, requests) = (number("/pages/records"), number("/pages/requests"));
        println!(
            "{:>4} s  source: {}  target: {records} records in {requests} requests",
            started.elapsed().as_secs(),
            done.line()
        );
    }
    stop.store(true, Relaxed);
    while let Some(user) = users.join_next().await {
        user??;
    }
    Ok(done.line())
}

/// Waits until both sides are equal, or long enough.
async fn settle(protheus: &Protheus, arguments: &Arguments, target: &Client, engine: &Engine) -> Result<bool, Error> {
    let started = Instant::now();
    loop {
        let lines = compare(protheus, &arguments.companies, target).await?;
        let equal = lines.iter().all(|line| line.source == line.target);
        if equal || started.elapsed() > SETTLE_MAX {
            show(&lines);
            println!(
                "After {:.1} s without writes they are {}.",
                started.elapsed().as_secs_f64(),
                if equal { "equal" } else { "NOT equal" }
            );
            for failure in if equal { Vec::new() } else { engine.failures().await? } {
                println!("a run failed: {failure}");
            }
            return Ok(equal);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn show(lines: &[Line]) {
    println!("\n{:<8} {:>10} {:>18} {:>10} {:>18}", "TABLE", "SOURCE", "CHECKSUM", "TARGET", "CHECKSUM");
    for line in lines {
        let (source, target) = (line.source, line.target);
        println!(
            "{:<8} {:>10}   {:016x} {:>10}   {:016x}  {}",
            line.table,
            source.rows,
            source.checksum,
            target.rows,
            target.checksum,
            if source == target { "=" } else { "differs" }
        );
    }
}
