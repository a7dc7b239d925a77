//! `engate job`: what runs when.

use std::{fs, path::PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen, Tone, plain, short_time},
    remote::Remote,
};

/// `engate job`
#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    /// List jobs
    List,
    /// Make a job from a file with its JSON: {"name", "schedule", "run", ...}
    Create {
        /// The file; - reads standard input
        file: PathBuf,
    },
    /// Show one job
    Show {
        /// Its name or id
        job: String,
    },
    /// Change when a job runs, or everything that a file says
    Edit(EditArgs),
    /// Show when a job, or a schedule that is not stored, comes next
    Next(NextArgs),
    /// Run a job now
    Run {
        /// Its name or id
        job: String,
    },
    /// Pause a job: its instants pass and are not made up for
    Pause {
        /// Its name or id
        job: String,
        /// Why, for whoever finds it paused
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Let a paused job run again
    Resume {
        /// Its name or id
        job: String,
    },
    /// Start a job that a wizard made, once its schedule is finished
    Start {
        /// Its name or id
        job: String,
    },
    /// Run a job for the instants of its schedule in times past
    Backfill {
        /// Its name or id
        job: String,
        /// From this instant on (2026-01-31T00:00:00Z)
        #[arg(long, value_name = "TIME")]
        start: String,
        /// Before this instant
        #[arg(long, value_name = "TIME")]
        end: String,
        /// How many run side by side
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        max: u32,
    },
    /// See a job's runs, or the log of one
    Log(LogArgs),
    /// Watch how far a first load or a reconciliation is, until it is over
    Watch {
        /// Its name or id
        job: String,
    },
    /// Stop a run
    Cancel {
        /// Its job's name or id
        job: String,
        /// The run's id (run_...), as `engate job log` prints it
        run: String,
    },
    /// Log request and response of every page, secrets masked, for a while: it costs speed and space
    Debug {
        /// Its name or id
        job: String,
        /// Stop it now
        #[arg(long)]
        off: bool,
        /// Seconds after which it ends of itself
        #[arg(long, value_name = "SECONDS", default_value_t = 900)]
        ttl: u64,
    },
    /// See the tables of a connection, with the keys and watermarks that a sync needs
    Discover {
        /// The connection's name in the engine's configuration
        connection: String,
        /// Only tables whose names begin so
        prefix: Option<String>,
    },
    /// Delete a job with its history
    Delete {
        /// Its name or id
        job: String,
    },
}

/// What to change.
#[derive(Debug, Args)]
pub(super) struct EditArgs {
    /// Its name or id
    job: String,

    #[command(flatten)]
    schedule: ScheduleArgs,

    /// A file with the JSON of what changes; - reads standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// A schedule in flags.
#[derive(Debug, Args)]
pub(super) struct ScheduleArgs {
    /// minute hour day month weekday, or six fields with seconds in front
    #[arg(long, value_name = "EXPRESSION", group = "kind")]
    cron: Option<String>,

    /// The zone that --cron means; without it America/Sao_Paulo
    #[arg(long, value_name = "ZONE", requires = "cron")]
    timezone: Option<String>,

    /// Seconds between two runs
    #[arg(long, value_name = "SECONDS", group = "kind")]
    every: Option<u64>,

    /// Again as soon as it is done
    #[arg(long, group = "kind")]
    always: bool,
}

impl ScheduleArgs {
    fn json(&self) -> Option<Value> {
        if let Some(expression) = &self.cron {
            let mut cron = Map::new();
            cron.insert("kind".to_owned(), "cron".into());
            cron.insert("expression".to_owned(), expression.clone().into());
            if let Some(zone) = &self.timezone {
                cron.insert("timezone".to_owned(), zone.clone().into());
            }
            return Some(cron.into());
        }
        if let Some(seconds) = self.every {
            return Some(json!({ "kind": "every", "interval_ms": seconds.saturating_mul(1_000) }));
        }
        self.always.then(|| json!({ "kind": "always" }))
    }
}

/// Whose instants.
#[derive(Debug, Args)]
pub(super) struct NextArgs {
    /// A job's name or id
    #[arg(required_unless_present_any = ["cron", "every"])]
    job: Option<String>,

    #[command(flatten)]
    schedule: ScheduleArgs,

    /// How many
    #[arg(short, long, default_value_t = 10)]
    number: u32,

    /// From this instant on; without it now
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
}

/// Which runs.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// The job's name or id
    job: String,

    /// One run's log, by its id (run_...)
    run: Option<String>,

    /// Only runs in this state: queued, running, succeeded, failed, skipped, cancelled, abandoned
    #[arg(long, value_name = "STATE")]
    state: Option<String>,

    /// How many runs
    #[arg(short, long, default_value_t = 20)]
    number: u32,
}

/// A job as the API tells it.
#[derive(Deserialize)]
struct Job {
    id: String,
    name: String,
    state: String,
    schedule: Value,
    run: Value,
    #[serde(default)]
    paused: Option<Paused>,
    #[serde(default)]
    next_at: Option<String>,
    failures: u64,
    missed: u64,
}

#[derive(Deserialize)]
struct Paused {
    by: String,
    reason: String,
}

/// A run as the API tells it.
#[derive(Deserialize)]
struct Run {
    id: String,
    scheduled_at: String,
    trigger: String,
    state: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    started_at: Option<String>,
    rows: u64,
    requests: u64,
    quarantined: u64,
    #[serde(default)]
    error: Option<RunError>,
}

#[derive(Deserialize)]
struct RunError {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    at: Option<String>,
    level: String,
    message: String,
}

#[derive(Deserialize)]
struct Next {
    utc: String,
    #[serde(default)]
    local: Option<String>,
    #[serde(default)]
    offset: Option<String>,
    #[serde(default)]
    note: Option<String>,
}

/// Runs `engate job`.
pub(super) async fn run(command: JobCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        JobCommand::List => list(&client, screen).await,
        JobCommand::Create { file } => {
            let body: Value = json_of(&file)?;
            show(&client.send(Method::POST, &["v1", "jobs"], &body).await?, screen)
        }
        JobCommand::Show { job } => {
            let id = find(&client, &job).await?;
            show(&client.get(&["v1", "jobs", &id], &[]).await?, screen)
        }
        JobCommand::Edit(args) => edit(&args, &client, screen).await,
        JobCommand::Next(args) => next(&args, &client, screen).await,
        JobCommand::Run { job } => {
            let id = find(&client, &job).await?;
            let answer = client.act(Method::POST, &["v1", "jobs", &id, "run"]).await?;
            if screen.json {
                return screen.line(answer);
            }
            let run: Run = read(&answer)?;
            screen.line(format!("{} is {}; see `engate job log {}`", plain(&run.id), plain(&run.state), plain(&job)))
        }
        JobCommand::Pause { job, reason } => {
            let id = find(&client, &job).await?;
            let body = json!({ "reason": reason });
            show(&client.send(Method::POST, &["v1", "jobs", &id, "pause"], &body).await?, screen)
        }
        JobCommand::Resume { job } => act(&client, screen, &job, "resume").await,
        JobCommand::Start { job } => act(&client, screen, &job, "start").await,
        JobCommand::Backfill { job, start, end, max } => {
            let id = find(&client, &job).await?;
            let body = json!({ "start": start, "end": end, "max": max });
            let answer = client.send(Method::POST, &["v1", "jobs", &id, "backfill"], &body).await?;
            if screen.json {
                return screen.line(answer);
            }
            let made: Value = read(&answer)?;
            let runs = made.get("runs").and_then(Value::as_u64).unwrap_or_default();
            screen.line(format!("{runs} runs are queued; see `engate job log {}`", plain(&job)))
        }
        JobCommand::Log(args) => log(&args, &client, screen).await,
        JobCommand::Watch { job } => {
            let id = find(&client, &job).await?;
            super::job_watch::watch(&client, screen, &id).await
        }
        JobCommand::Cancel { job, run } => {
            let id = find(&client, &job).await?;
            let answer = client.act(Method::POST, &["v1", "jobs", &id, "runs", &run, "cancel"]).await?;
            if screen.json {
                return screen.line(answer);
            }
            let told: Run = read(&answer)?;
            screen.line(match told.state.as_str() {
                "running" => format!("{} is told to stop", plain(&told.id)),
                state => format!("{} is {}", plain(&told.id), plain(state)),
            })
        }
        JobCommand::Debug { job, off, ttl } => {
            let id = find(&client, &job).await?;
            let path = ["v1", "jobs", &id, "debug"];
            let answer = if off {
                client.act(Method::DELETE, &path).await?
            } else {
                client.send(Method::PUT, &path, &json!({ "ttl_s": ttl })).await?
            };
            show(&answer, screen)
        }
        JobCommand::Discover { connection, prefix } => {
            super::discover::discover(&client, screen, &connection, prefix).await
        }
        JobCommand::Delete { job } => {
            let id = find(&client, &job).await?;
            let answer = client.act(Method::DELETE, &["v1", "jobs", &id]).await?;
            if screen.json {
                return screen.line(if answer.is_empty() { "{}" } else { &answer });
            }
            screen.line(format!("{} is deleted with its history", plain(&job)))
        }
    }
}

/// The id of the job that is meant by its name or id.
async fn find(client: &Client, job: &str) -> Result<String, Failure> {
    if job.starts_with("job_") {
        return Ok(job.to_owned());
    }
    let listing = client.list_all(&["v1", "jobs"], &[("name", job.to_owned())]).await?;
    let found = listing.rows::<Job>()?.into_iter().next();
    found.map(|job| job.id).ok_or_else(|| Failure::usage(format!("there is no job {job:?}; see `engate job list`")))
}

fn json_of(file: &PathBuf) -> Result<Value, Failure> {
    let named = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", file.display()));
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).map_err(|error| named(&error))?
    } else {
        fs::read_to_string(file).map_err(|error| named(&error))?
    };
    serde_json::from_str(&text).map_err(|error| named(&error))
}

async fn act(client: &Client, screen: Screen, job: &str, verb: &str) -> Result<(), Failure> {
    let id = find(client, job).await?;
    show(&client.act(Method::POST, &["v1", "jobs", &id, verb]).await?, screen)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A schedule in a few words.
fn schedule_words(schedule: &Value) -> String {
    match text(schedule, "kind") {
        "cron" => format!("{} {}", text(schedule, "expression"), text(schedule, "timezone")),
        "every" => {
            let millis = schedule.get("interval_ms").and_then(Value::as_u64).unwrap_or_default();
            format!("every {} s", millis as f64 / 1_000.0)
        }
        other => other.to_owned(),
    }
}

fn state_tone(state: &str) -> Tone {
    match state {
        "active" | "succeeded" => Tone::Good,
        "failed" | "abandoned" => Tone::Bad,
        _ => Tone::of_code(state),
    }
}

async fn list(client: &Client, screen: Screen) -> Result<(), Failure> {
    let listing = client.list_all(&["v1", "jobs"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Job>()?.into_iter().map(|job| {
        vec![
            Field::new(&job.name),
            Field::new(text(&job.run, "kind")),
            Field::new(schedule_words(&job.schedule)),
            Field::new(&job.state).tone(state_tone(&job.state)),
            Field::new(job.next_at.as_deref().map_or_else(|| "-".to_owned(), short_time)),
            Field::number(job.failures),
        ]
    });
    let header = ["NAME", "RUNS", "SCHEDULE", "STATE", "NEXT (UTC)", "FAILED IN A ROW"];
    screen.table(&header, rows.collect(), "No job yet; `engate job create` makes one.")
}

fn show(answer: &str, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    let job: Job = read(answer)?;
    let paused = job.paused.map_or_else(|| "-".to_owned(), |paused| format!("by {}: {}", paused.by, paused.reason));
    screen.facts(&[
        ("id", Field::new(&job.id)),
        ("name", Field::new(&job.name)),
        ("state", Field::new(&job.state).tone(state_tone(&job.state))),
        ("paused", Field::new(paused)),
        ("schedule", Field::new(schedule_words(&job.schedule))),
        ("next (UTC)", Field::new(job.next_at.as_deref().map_or_else(|| "-".to_owned(), short_time))),
        ("runs", Field::new(job.run.to_string())),
        ("failed in a row", Field::number(job.failures)),
        ("missed", Field::number(job.missed)),
    ])
}

async fn edit(args: &EditArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let mut body = match &args.file {
        Some(file) => json_of(file)?,
        None => json!({}),
    };
    if let (Some(schedule), Some(body)) = (args.schedule.json(), body.as_object_mut()) {
        body.insert("schedule".to_owned(), schedule);
    }
    if body.as_object().is_none_or(Map::is_empty) {
        return Err(Failure::usage("say what to change: --cron, --every, --always or --file".to_owned()));
    }
    let id = find(client, &args.job).await?;
    show(&client.send(Method::PATCH, &["v1", "jobs", &id], &body).await?, screen)
}

async fn next(args: &NextArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let answer = if let Some(schedule) = args.schedule.json() {
        let mut body = json!({ "schedule": schedule, "n": args.number });
        if let (Some(from), Some(body)) = (&args.from, body.as_object_mut()) {
            body.insert("from".to_owned(), from.clone().into());
        }
        client.send(Method::POST, &["v1", "jobs", "preview"], &body).await?
    } else {
        let id = find(client, args.job.as_deref().unwrap_or_default()).await?;
        let mut query = vec![("n", args.number.to_string())];
        query.extend(args.from.clone().map(|from| ("from", from)));
        client.get(&["v1", "jobs", &id, "next"], &query).await?
    };
    if screen.json {
        return screen.line(answer);
    }
    #[derive(Deserialize)]
    struct Items {
        items: Vec<Next>,
    }
    let rows = read::<Items>(&answer)?.items.into_iter().map(|next| {
        let local = next.local.as_deref().unwrap_or("-").replace('T', " ");
        vec![
            Field::new(short_time(&next.utc)),
            Field::new(format!("{local} {}", next.offset.as_deref().unwrap_or(""))),
            Field::code(next.note.as_deref().unwrap_or("-")),
        ]
    });
    screen.table(&["UTC", "LOCAL", "CLOCK CHANGE"], rows.collect(), "It has no instants of its own.")
}

async fn log(args: &LogArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let id = find(client, &args.job).await?;
    if let Some(run) = &args.run {
        return log_of(&client.get(&["v1", "jobs", &id, "runs", run], &[]).await?, screen);
    }
    let mut query = vec![("limit", args.number.to_string())];
    query.extend(args.state.clone().map(|state| ("state", state)));
    let listing = client.list(&["v1", "jobs", &id, "runs"], &query).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Run>()?.into_iter().map(|run| {
        let why = run.error.map(|error| format!("{}: {}", error.code, error.message)).or(run.reason);
        vec![
            Field::new(&run.id),
            Field::new(short_time(&run.scheduled_at)),
            Field::new(run.started_at.as_deref().map_or_else(|| "-".to_owned(), short_time)),
            Field::new(&run.trigger),
            Field::new(&run.state).tone(state_tone(&run.state)),
            Field::number(run.rows),
            Field::number(run.requests),
            Field::number(run.quarantined),
            Field::new(why.as_deref().unwrap_or("-")),
        ]
    });
    let header = ["RUN", "FOR (UTC)", "STARTED", "BY", "STATE", "ROWS", "REQUESTS", "SET ASIDE", "WHY"];
    screen.table(&header, rows.collect(), "It has not run yet.")
}

fn log_of(answer: &str, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    #[derive(Deserialize)]
    struct Detail {
        log: Vec<LogLine>,
    }
    let lines = read::<Detail>(answer)?.log;
    if lines.is_empty() {
        return screen.line("The run logged nothing.");
    }
    for line in lines {
        let at = line.at.as_deref().map_or_else(String::new, short_time);
        screen.line(format!("{at} {} {}", plain(&line.level), plain(&line.message)))?;
    }
    Ok(())
}
