//! `engate plugin try`: an event in, its request out; an answer in, its verdict out, all inside the engine.

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::cli::{
    client::{Client, read},
    failure::Failure,
    given,
    object::spelled,
    present::{Field, Screen, plain, plain_lines},
};

/// What to try.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  engate plugin try gsan '{\"event\": {\"type\": \"t\", \"payload\": {\"total\": 10.50}}, \"response\": {\"status\": 200, \"body\": {\"error\": \"busy\"}}}'")]
pub(in crate::cli) struct TryArgs {
    /// The plugin's name
    name: String,

    /// The trial as JSON, {"event": {"type", "payload", ...}, "response", "version", "endpoint", "config"}, of which all but
    /// the event may be left out: a file, - for standard input, or the JSON itself
    #[arg(value_name = "FILE|-|JSON")]
    trial: String,
}

/// What came of it, as the API tells it.
#[derive(Deserialize)]
struct Tried {
    plugin: String,
    #[serde(default)]
    plan: Option<Plan>,
    #[serde(default)]
    skip: Option<String>,
    #[serde(default)]
    problem: Option<Said>,
    #[serde(default)]
    fault: Option<Said>,
    #[serde(default)]
    verdict: Option<Verdict>,
    log: String,
}

#[derive(Deserialize)]
struct Plan {
    method: String,
    url: String,
    headers: Map<String, Value>,
    body: String,
    body_encoding: String,
}

#[derive(Deserialize)]
struct Said {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct Verdict {
    outcome: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
    by: String,
}

/// Tries it; a rule that the plugin broke is a failure.
pub(super) async fn run(args: &TryArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let trial: Box<RawValue> = given::json("the trial", &args.trial)?;
    let answer = client.send(Method::POST, &["v1", "plugins", &args.name, "try"], &trial).await?;
    let tried: Tried = read(&answer)?;
    if screen.json {
        screen.line(&answer)?;
    } else {
        print(&tried, screen)?;
    }
    match &tried.fault {
        Some(fault) => Err(Failure::failed(format!(
            "{} broke a rule: {}: {}",
            plain(&tried.plugin),
            plain(&fault.code),
            plain(&fault.message)
        ))),
        None => Ok(()),
    }
}

fn print(tried: &Tried, screen: Screen) -> Result<(), Failure> {
    screen.facts(&[("plugin", Field::new(&tried.plugin))])?;
    if let Some(reason) = &tried.skip {
        screen.line(format!("Nothing would be sent: {}", plain(reason)))?;
    }
    if let Some(problem) = &tried.problem {
        screen.line(format!("The plugin refuses: {}: {}", plain(&problem.code), plain(&problem.message)))?;
    }
    if let Some(plan) = &tried.plan {
        screen.line(format!("\n  > {} {}", plain(&plan.method), plain(&plan.url)))?;
        for (name, value) in &plan.headers {
            screen.line(format!("  {}: {}", plain(name), plain(&spelled(value))))?;
        }
        screen.line("")?;
        if plan.body_encoding == "base64" {
            screen.line("  (no text; base64:)")?;
        }
        plain_lines(&plan.body).lines().try_for_each(|line| screen.line(format!("  {line}")))?;
    }
    if let Some(verdict) = &tried.verdict {
        screen.heading("Verdict")?;
        screen.facts(&[
            ("outcome", Field::code(&verdict.outcome)),
            ("code", Field::new(verdict.code.as_deref().unwrap_or("-"))),
            ("message", Field::new(verdict.message.as_deref().unwrap_or("-"))),
            ("by", Field::new(&verdict.by)),
        ])?;
    }
    if tried.log.is_empty() {
        return Ok(());
    }
    screen.heading("Log")?;
    screen.line(plain_lines(&tried.log))
}
