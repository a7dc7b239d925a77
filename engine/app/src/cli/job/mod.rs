//! `engate job`: what runs when, what became of it, and where each stream of a sync is.

mod args;
mod discover;
mod history;
mod log;
mod quarantine;
mod show;
mod streams;
mod told;
mod watch;

use std::{fs, path::PathBuf};

use reqwest::Method;
use serde_json::{Map, Value, json};

pub(super) use self::args::JobCommand;
use self::{
    args::EditArgs,
    show::show,
    told::{Job, Run},
};
use super::{
    client::{Client, read},
    failure::Failure,
    present::{Screen, plain},
    remote::Remote,
};

/// Runs `engate job`.
pub(in crate::cli) async fn run(command: JobCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        JobCommand::List => show::list(&client, screen).await,
        JobCommand::Create { file } => {
            let body: Value = json_of(&file)?;
            show(&client.send(Method::POST, &["v1", "jobs"], &body).await?, screen)
        }
        JobCommand::Show { job } => {
            let id = find(&client, &job).await?;
            show(&client.get(&["v1", "jobs", &id], &[]).await?, screen)
        }
        JobCommand::Edit(args) => edit(&args, &client, screen).await,
        JobCommand::Next(args) => show::next(&args, &client, screen).await,
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
        JobCommand::Log(args) => log::log(&args, &client, screen).await,
        JobCommand::Watch { job } => {
            let id = find(&client, &job).await?;
            watch::watch(&client, screen, &id).await
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
        JobCommand::DebugLog { job, run } => history::debug(&client, screen, &job, run.as_deref()).await,
        JobCommand::History(args) => history::stream(&client, screen, &args).await,
        JobCommand::Connections => discover::connections(&client, screen).await,
        JobCommand::Streams { job } => streams::list(&client, screen, &job).await,
        JobCommand::Approve(args) => streams::act(&client, screen, &args, "approve", &Value::Null).await,
        JobCommand::Epoch(args) => streams::act(&client, screen, &args, "epoch", &Value::Null).await,
        JobCommand::Rewind { stream, to } => {
            streams::act(&client, screen, &stream, "rewind", &json!({ "to": to })).await
        }
        JobCommand::Quarantine { job } => quarantine::list(&client, screen, &job).await,
        JobCommand::Replay(args) => quarantine::replay(&client, screen, &args).await,
        JobCommand::Discard(args) => quarantine::discard(&client, screen, &args).await,
        JobCommand::Discover { connection, prefix } => discover::discover(&client, screen, &connection, prefix).await,
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
