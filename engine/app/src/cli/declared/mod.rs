//! `engate export` and `engate apply`: a tenant's configuration as one declarative file.
//!
//! Who acts here: [`document`] is the file, TOML read into the API's own shapes, with secrets as references that
//! [`references`] resolves; [`present`] is what the engine has; [`plan`] names each difference between the two; and
//! [`carry`] makes them, over the HTTP API like any other client. TOML, since the engine's own settings are TOML, a value's
//! type is spelled and never guessed, and its parser is here already.

mod carry;
mod document;
mod kind;
mod plan;
mod present;
mod references;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

pub(super) use self::{document::Document, plan::Plan, present::Present};
use super::{
    client::Client,
    failure::Failure,
    present::{Screen, Tone},
    remote::Remote,
};

/// What `engate apply --help` adds.
pub(super) const APPLY_HELP: &str = "\
The file has a table for each kind of thing: settings, secrets, event_types, integrators, plugins, endpoints, inbounds; \
`engate export` writes one. What an entry leaves out stays as it is in the engine, and kinds that the file does not have \
are not looked at. A value that is a secret, or differs between installations, is a reference: {env = \"NAME\"} or \
{file = \"PATH\"}. An endpoint is known by its integrator and description (its url where it has none), anything else by \
its name. Applied again, the same file changes nothing.";

/// `engate export`
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Where to write; without it standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `engate apply`
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// The file, TOML as `engate export` writes it
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    /// Only show what would change
    #[arg(long)]
    dry_run: bool,

    /// Delete what the engine has and the file, in the kinds it names, does not
    #[arg(long)]
    prune: bool,
}

/// Runs `engate export`.
pub(super) async fn export(args: &ExportArgs, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    let document = Document::of(&Present::read(&client).await?);
    if screen.json && args.output.is_none() {
        return screen.line(Value::Object(document.sections).to_string());
    }
    let text = document.to_toml()?;
    match &args.output {
        None => screen.line(text.trim_end()),
        Some(file) => {
            std::fs::write(file, text).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
            screen.line(format!(
                "{} is written; secrets are references in it, which `engate apply` resolves.",
                file.display()
            ))
        }
    }
}

/// Runs `engate apply`.
pub(super) async fn apply(args: &ApplyArgs, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    let named = |error: std::io::Error| Failure::usage(format!("{}: {error}", args.file.display()));
    let text = std::fs::read_to_string(&args.file).map_err(named)?;
    let folder = args.file.parent().unwrap_or(Path::new("."));
    let document = Document::read(&text, folder, &|name| std::env::var(name).ok())
        .map_err(|complaint| Failure::usage(format!("{}: {complaint}", args.file.display())))?;
    let plan = Plan::make(&document, &Present::read(&client).await?, args.prune, folder)?;
    if !screen.json {
        show(&plan, screen)?;
    }
    let done = if args.dry_run { None } else { Some(carry::out(&plan, &client).await?) };
    if screen.json {
        let told = json!({ "actions": plan.told(), "applied": done.is_some(), "changed": done });
        return screen.line(told.to_string());
    }
    match done {
        None => screen.line("Nothing was changed: this was a dry run."),
        Some(0) => screen.line("Nothing was changed: the engine is as the file says."),
        Some(changed) => screen.line(format!("{changed} changed.")),
    }
}

/// Applies a document without a word, for the engine's own use.
pub(super) async fn settle(document: &Document, client: &Client, folder: &Path) -> Result<u64, Failure> {
    let plan = Plan::make(document, &Present::read(client).await?, false, folder)?;
    carry::out(&plan, client).await
}

fn show(plan: &Plan, screen: Screen) -> Result<(), Failure> {
    for action in &plan.actions {
        let (sign, tone) = action.verb.sign();
        screen.line(screen.paint(&format!("{sign} {} {}", action.kind.noun(), action.name), tone))?;
        for difference in &action.differences {
            screen.line(format!("    {difference}"))?;
        }
    }
    let [create, change, delete] = plan.counts();
    screen.line(
        screen.paint(&format!("{create} to create, {change} to change or compare, {delete} to delete"), Tone::Faint),
    )
}
