//! `engate export` and `engate apply`: a tenant's configuration as one declarative file.
//!
//! Who acts here: [`document`] is the file, TOML read into the API's own shapes, with secrets as references that
//! [`references`] resolves; [`present`] is what the engine has; [`export`] makes a file of that, with variables that
//! [`names`] calls and the [`components`] of plugins beside it; [`plan`] names each difference between file and engine
//! ([`plugins`] those of plugins); and [`carry`] makes them, over the HTTP API like any other client. TOML, since the
//! engine's own settings are TOML, a value's type is spelled and never guessed, and its parser is here already.

mod carry;
mod components;
mod document;
mod export;
mod job_run;
mod kind;
mod names;
mod plan;
mod plugins;
mod present;
mod references;

use std::{
    fs::File,
    io::{Read as _, Write as _, stderr},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};

use self::{
    carry::{Done, DrawnKey},
    export::{Exported, SIGN},
    kind::KINDS,
    plan::Plan,
    present::Present,
};
pub(super) use self::{document::Document, names::VARIABLES};
use super::{
    client::Client,
    failure::Failure,
    given,
    plain::plain,
    present::{Screen, Tone},
    remote::Remote,
};

/// What `engate export --help` adds.
pub(super) const EXPORT_HELP: &str = "\
The file holds settings, secrets, event types, plugins, integrators, endpoints, inbounds and jobs. Secrets are references \
to variables (ENGATE_APPLY_...): nobody can read them back, so give the values that partners have. With --output the \
components of your own plugins are written into FILE's folder, below NAME.plugins; without it they are named. A FILE that \
is there already is written over where an export wrote it, and else refused. Not in it: \
tokens, tenants, wizards, pauses of queues and jobs, passed challenges, development versions, checkpoints of syncs, what \
plugins keep, and everything that happened. The file's first lines say so, with what of this engine it concerns.";

/// What `engate apply --help` adds.
pub(super) const APPLY_HELP: &str = "\
The file has a table for each kind of thing: settings, secrets, event_types, plugins, integrators, endpoints, inbounds, \
jobs; `engate export` writes one. What an entry leaves out stays as it is in the engine, and kinds that the file does not \
have are not looked at. A value that is a secret, or differs between installations, is a reference: {env = \"NAME\"} or \
{file = \"PATH\"}. An endpoint is known by its integrator and description (its url where it has none), anything else by \
its name. Where a new endpoint is given no signing.secret the engine draws one, which is told here and never again. \
A dry run compares; what the engine refuses shows when it is applied. Applied again, the same file changes nothing.";

/// `engate export`
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Where to write, components of plugins beside it; without it standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `engate apply`
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// The file, TOML as `engate export` writes it, - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: String,

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
    if let Some(file) = &args.output {
        require_exported(file)?;
    }
    let present = Present::read(&client, &KINDS).await?;
    let folder = args.output.as_deref().map(components_folder);
    let exported = Exported::of(&present, folder.as_deref())?;
    for note in &exported.notes {
        // Nobody there to tell is no reason not to export.
        let _ = writeln!(stderr(), "note: {}", plain(note));
    }
    let Some(file) = &args.output else {
        if screen.json {
            return screen.line(Value::Object(exported.document.sections).to_string());
        }
        return screen.line(exported.to_toml()?.trim_end());
    };
    let text = exported.to_toml()?;
    for component in &exported.components {
        component.write(&client, folder_of(file)).await?;
    }
    std::fs::write(file, text).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    screen.line(format!("{} is written; secrets are references in it, which `engate apply` resolves.", file.display()))
}

/// Refuses to write over a file that no export wrote: the settings of `engate serve` are TOML too.
fn require_exported(file: &Path) -> Result<(), Failure> {
    // What is no file (`/dev/stdout`) has nothing to lose, nor has an empty one.
    if !file.is_file() {
        return Ok(());
    }
    let mut head = Vec::new();
    let opened = File::open(file).and_then(|file| file.take(SIGN.len() as u64).read_to_end(&mut head));
    opened.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    if head.is_empty() || head == SIGN.as_bytes() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{}: is there already and was not written by an export; name another file, or remove it",
        file.display()
    )))
}

/// Where a file's components are, relative to it: `tenant.plugins` beside `tenant.toml`.
fn components_folder(file: &Path) -> String {
    format!("{}.plugins", file.file_stem().unwrap_or_default().to_string_lossy())
}

/// Where a file's relative paths begin; those of standard input (`-`) in the current folder.
fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("."))
}

/// Runs `engate apply`.
pub(super) async fn apply(args: &ApplyArgs, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    let text = given::text("--file", &args.file)?;
    let origin = if args.file == "-" { "standard input" } else { args.file.as_str() };
    let folder = folder_of(Path::new(&args.file));
    let document = Document::read(&text, folder, &|name| std::env::var(name).ok())
        .map_err(|complaint| Failure::usage(format!("{origin}: {complaint}")))?;
    let present = Present::read(&client, &document.kinds()).await?;
    let plan = Plan::make(&document, &present, args.prune, folder)?;
    if !screen.json {
        show(&plan, screen)?;
    }
    if args.dry_run {
        let said = "Nothing was changed: this was a dry run.".to_owned();
        return screen.line(if screen.json { told(&plan, None).to_string() } else { said });
    }
    let mut done = Done::default();
    let ended = carry::out(&plan, &client, &mut done).await;
    // What was drawn before a call was refused is told too: the engine does not tell it twice.
    if screen.json {
        screen.line(told(&plan, Some((&done, ended.is_ok()))).to_string())?;
    } else {
        show_drawn(&done.drawn, screen)?;
    }
    ended.map_err(|failure| halfway(failure, done.changed))?;
    match done.changed {
        _ if screen.json => Ok(()),
        0 => screen.line("Nothing was changed: the engine is as the file says."),
        changed => screen.line(format!("{changed} changed.")),
    }
}

/// Says that a file was applied in part.
fn halfway(failure: Failure, changed: u64) -> Failure {
    if changed == 0 {
        return failure;
    }
    failure.followed_by(&format!("{changed} changed before that; nothing is undone. Mend it and apply the file again."))
}

/// Applies a document without a word, for the engine's own use.
pub(super) async fn settle(document: &Document, client: &Client, folder: &Path) -> Result<(), Failure> {
    let plan = Plan::make(document, &Present::read(client, &document.kinds()).await?, false, folder)?;
    carry::out(&plan, client, &mut Done::default()).await
}

/// For programs: what was planned, and what came of it.
fn told(plan: &Plan, done: Option<(&Done, bool)>) -> Value {
    let drawn = done.map(|(done, _)| done.drawn.as_slice()).unwrap_or_default().iter();
    let drawn: Vec<Value> = drawn
        .map(|DrawnKey { name, endpoint, key }| {
            json!({ "name": name, "endpoint": endpoint, "signing_secret": key.expose() })
        })
        .collect();
    json!({
        "actions": plan.told(), "applied": done.is_some_and(|(_, is_whole)| is_whole),
        "changed": done.map(|(done, _)| done.changed), "signing_secrets": drawn,
    })
}

fn show_drawn(drawn: &[DrawnKey], screen: Screen) -> Result<(), Failure> {
    if drawn.is_empty() {
        return Ok(());
    }
    screen.line(screen.paint(
        "Signing keys that the engine drew, told this once: give each to its partner, and keep it for signing.secret",
        Tone::Waiting,
    ))?;
    for DrawnKey { name, endpoint, key } in drawn {
        screen.line(format!("    {} ({endpoint}): {}", plain(name), key.expose()))?;
    }
    Ok(())
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
