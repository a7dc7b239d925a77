//! `engate plugin`: what shapes a partner's requests.

mod build;
mod check;
mod componentize;
mod dev;
mod diff;
mod guest;
mod limits;
mod new;
mod project;
mod replay;
mod show;
mod sources;
mod sync_guest;
mod test;
mod trial;

pub(super) use check::throw_away_host;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use engate_model::plugin::Grants;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen, plain, size},
    remote::Remote,
};

/// State of a version that can be used in a moment.
const COMPILING: &str = "compiling";
/// State of a version that cannot be used.
const FAILED: &str = "failed";
/// How long a push waits for the engine's compiler, which has less, and its queue.
const COMPILED_WITHIN: Duration = Duration::from_secs(300);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// `engate plugin`
#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Make a project that builds at once, in your language
    New(new::NewArgs),
    /// Build the project in this folder: its own toolchain, then a component of whatever that leaves
    ///
    /// Runs what engate-plugin.toml says, makes a component where the result is a core module, writes plugin.wasm, and
    /// checks it as `engate plugin check` does.
    Build(build::BuildArgs),
    /// Run the project's golden files through the component, under the limits of a delivery
    Test(test::TestArgs),
    /// Work on the project in this folder: at every change of it, build, swap it into a running engine, run its golden files
    ///
    /// The engine gets it as a development version (1.2.0-dev.3) under the channel dev, so that an endpoint that is bound
    /// to NAME@dev uses it at once. What fails is shown, and the next change is waited for.
    Dev(dev::DevArgs),
    /// Install a plugin in the engine and point a channel at it
    ///
    /// A version is immutable: the same bytes again change nothing, other bytes under the same version are refused. A large
    /// component is compiled by the engine after it took it; this waits until it can be used.
    Push(PushArgs),
    /// Check a plugin here, without an engine: world, imports, size, manifest, what it asks for
    ///
    /// These are the checks of an installation, compilation included; what passes here is installed.
    Check {
        /// The plugin, a WebAssembly component (.wasm)
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Run a delivery's recorded attempts again, here, and compare bytes and verdicts with the record
    ///
    /// Everything the calls were given was recorded: the time, settings, state, signatures (never keys). Nothing is sent.
    Replay(replay::ReplayArgs),
    /// Run a new component and the recorded version over history and show what would change, before switching
    Diff(replay::DiffArgs),
    /// Point a channel at an installed version, at once for every endpoint that is bound to it
    Promote(ChannelArgs),
    /// Let a channel mean the version before the present one; once more goes one further back
    Rollback(RollbackArgs),
    /// List installed plugins
    List,
    /// Show one plugin: its versions, what its channels mean, what it asks for and may do
    Show {
        /// The plugin's name
        name: String,
    },
    /// Show or set the configuration of an installation, below those of integrators and endpoints
    Config(show::ConfigArgs),
    /// Run an event, and perhaps an answer, through an installed version in the engine; nothing is sent or kept
    Try(trial::TryArgs),
    /// Say what a plugin may reach and use; these grants replace the ones before
    Grant(GrantArgs),
    /// Show or set what a plugin's calls may cost, and whether its instances are kept; what is set replaces all before
    Limits(limits::LimitsArgs),
}

/// What to install.
#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// The plugin (.wasm): a component, or a core module that carries its world
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Install it only if this is its name; a plugin says its own name
    #[arg(long)]
    name: Option<String>,

    /// The channel that will mean this version; endpoints bind to stable unless they say otherwise
    #[arg(long, default_value = engate_model::plugin::CHANNEL_DEFAULT)]
    channel: String,

    /// Do not wait until a large component is compiled; `engate plugin list` shows its state
    #[arg(long)]
    no_wait: bool,
}

/// Which version a channel is to mean.
#[derive(Debug, Args)]
pub(in crate::cli) struct ChannelArgs {
    /// The plugin's name
    name: String,

    /// The version, as `engate plugin list` prints it
    version: String,

    /// The channel
    #[arg(long, default_value = engate_model::plugin::CHANNEL_DEFAULT)]
    channel: String,
}

/// What to take back.
#[derive(Debug, Args)]
pub(in crate::cli) struct RollbackArgs {
    /// The plugin's name
    name: String,

    /// The channel
    #[arg(long, default_value = engate_model::plugin::CHANNEL_DEFAULT)]
    channel: String,
}

/// What to grant.
#[derive(Debug, Args)]
pub(super) struct GrantArgs {
    /// The plugin's name
    name: String,

    /// An origin its requests may go to beside the endpoint's own (https://api.example.com, https://*.example.com);
    /// may be given several times
    #[arg(long = "host", value_name = "ORIGIN")]
    hosts: Vec<String>,

    /// A secret it may have signatures computed with; may be given several times
    #[arg(long = "secret", value_name = "NAME")]
    secrets: Vec<String>,

    /// A secret it may read whole; each reading is audited; may be given several times
    #[arg(long = "reveal", value_name = "NAME")]
    reveal: Vec<String>,

    /// A credential profile that the engine applies where the plugin asks for it by name, as JSON:
    /// '{"name": "carol", "type": "headers", "headers": [{"name": "x-auth-key", "secret": "carol-key"}]}'; may be given
    /// several times
    #[arg(long = "credential", value_name = "JSON")]
    credentials: Vec<String>,

    /// Grant nothing: takes back what was granted
    #[arg(long, conflicts_with_all = ["hosts", "secrets", "reveal", "credentials"])]
    nothing: bool,
}

/// A version as the API tells it.
#[derive(Debug, Deserialize)]
struct Plugin {
    name: String,
    version: String,
    #[serde(default)]
    digest: String,
    state: String,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    size_bytes: u64,
}

/// A channel as the API tells it.
#[derive(Debug, Deserialize)]
struct Bound {
    channel: String,
    version: String,
    previous: Option<String>,
}

/// Grants as the API tells them.
#[derive(Debug, Deserialize)]
struct Granted {
    hosts: Vec<String>,
    secrets: Vec<String>,
    reveal: Vec<String>,
    #[serde(default)]
    credentials: Vec<Profile>,
    #[serde(default)]
    secrets_missing: Vec<String>,
    #[serde(default)]
    addresses_not_granted: Vec<String>,
}

/// A credential profile as the API tells it.
#[derive(Debug, Deserialize)]
struct Profile {
    name: String,
}

/// Runs `engate plugin`.
pub(super) async fn run(command: PluginCommand, remote: &Remote) -> Result<(), Failure> {
    let screen = remote.screen();
    match command {
        PluginCommand::Push(args) => push(&args, &remote.client()?, screen).await,
        PluginCommand::New(args) => new::run(&args, screen),
        PluginCommand::Build(args) => build::run(&args, screen).await,
        PluginCommand::Test(args) => test::run(&args, screen).await,
        PluginCommand::Dev(args) => dev::run(&args, &remote.client()?, screen).await,
        PluginCommand::Check { file } => check::run(&file, screen).await,
        PluginCommand::Replay(args) => replay::replay(&args, &remote.client()?, screen).await,
        PluginCommand::Diff(args) if args.remote => diff::run(&args, &remote.client()?, screen).await,
        PluginCommand::Diff(args) => replay::diff(&args, &remote.client()?, screen).await,
        PluginCommand::Promote(args) => promote(&args, &remote.client()?, screen).await,
        PluginCommand::Rollback(args) => rollback(&args, &remote.client()?, screen).await,
        PluginCommand::Show { name } => show::show(&name, &remote.client()?, screen).await,
        PluginCommand::Config(args) => show::config(&args, &remote.client()?, screen).await,
        PluginCommand::Try(args) => trial::run(&args, &remote.client()?, screen).await,
        PluginCommand::List => list(&remote.client()?, screen).await,
        PluginCommand::Grant(args) => grant(args, &remote.client()?, screen).await,
        PluginCommand::Limits(args) => limits::run(&args, &remote.client()?, screen).await,
    }
}

async fn push(args: &PushArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let component = finished(&args.file)?;
    let mut query = vec![("channel", args.channel.clone())];
    query.extend(args.name.clone().map(|name| ("name", name)));
    let answer = client.upload(&["v1", "plugins"], &query, "application/wasm", component).await?;
    let mut pushed: Map<String, Value> = read(&answer)?;
    let mut plugin: Plugin = read(&answer)?;
    if !args.no_wait && plugin.state == COMPILING {
        // What the version has become, beside what only the push tells.
        let now = compiled(client, &plugin.name, &plugin.version).await?;
        plugin = read(&now)?;
        pushed.extend(read::<Map<String, Value>>(&now)?);
    }
    if plugin.state == FAILED {
        let message = plugin.message.unwrap_or_default();
        return Err(Failure::failed(format!("{}@{} cannot be used\n  {message}", plugin.name, plugin.version)));
    }
    if screen.json {
        return screen.line(Value::Object(pushed).to_string());
    }
    let mut facts = vec![
        ("plugin", Field::new(format!("{}@{}", plugin.name, plugin.version))),
        ("channel", Field::new(&args.channel)),
        ("state", Field::code(&plugin.state)),
        ("size", Field::new(size(plugin.size_bytes))),
        ("digest", Field::new(&plugin.digest)),
    ];
    facts.extend(plugin.message.as_deref().map(|message| ("message", Field::new(message))));
    screen.facts(&facts)
}

/// Waits until what was pushed can be used; fails where it never can.
pub(super) async fn usable(client: &Client, pushed: &str) -> Result<(), Failure> {
    let mut plugin: Plugin = read(pushed)?;
    if plugin.state == COMPILING {
        plugin = read(&compiled(client, &plugin.name, &plugin.version).await?)?;
    }
    if plugin.state == FAILED {
        let message = plugin.message.unwrap_or_default();
        return Err(Failure::failed(format!("{}@{} cannot be used\n  {message}", plugin.name, plugin.version)));
    }
    Ok(())
}

/// Waits until a version is compiled.
async fn compiled(client: &Client, name: &str, version: &str) -> Result<String, Failure> {
    let started = Instant::now();
    while started.elapsed() < COMPILED_WITHIN {
        tokio::time::sleep(LOOK_EVERY).await;
        let answer = client.get(&["v1", "plugins", name, "versions", version], &[]).await?;
        if read::<Plugin>(&answer)?.state != COMPILING {
            return Ok(answer);
        }
    }
    Err(Failure::failed(format!(
        "{name}@{version} is installed, but still being compiled after {} s; `engate plugin list` shows its state",
        COMPILED_WITHIN.as_secs()
    )))
}

async fn list(client: &Client, screen: Screen) -> Result<(), Failure> {
    let listing = client.list_all(&["v1", "plugins"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Plugin>()?.into_iter().map(|plugin| {
        vec![
            Field::new(&plugin.name),
            Field::new(&plugin.version),
            Field::code(&plugin.state),
            Field::new(size(plugin.size_bytes)),
            Field::new(plugin.digest.chars().take(16).collect::<String>()),
            Field::new(plugin.message.as_deref().unwrap_or("")),
        ]
    });
    let header = ["NAME", "VERSION", "STATE", "SIZE", "DIGEST", "MESSAGE"];
    screen.table(&header, rows.collect(), "No plugin is installed; `engate plugin push FILE` installs one.")
}

async fn promote(args: &ChannelArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let body = serde_json::json!({"version": args.version, "channel": args.channel});
    bound(&args.name, &client.send(Method::POST, &["v1", "plugins", &args.name, "promote"], &body).await?, screen)
}

async fn rollback(args: &RollbackArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let body = serde_json::json!({"channel": args.channel});
    bound(&args.name, &client.send(Method::POST, &["v1", "plugins", &args.name, "rollback"], &body).await?, screen)
}

fn bound(name: &str, answer: &str, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    let bound: Bound = read(answer)?;
    let before = bound.previous.map_or_else(String::new, |version| format!(", before: {}", plain(&version)));
    screen.line(format!("{}@{} is now {}{before}", plain(name), plain(&bound.channel), plain(&bound.version)))
}

async fn grant(args: GrantArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let GrantArgs { name, hosts, secrets, reveal, credentials, nothing } = args;
    if !nothing && hosts.is_empty() && secrets.is_empty() && reveal.is_empty() && credentials.is_empty() {
        return Err(Failure::usage(
            "say what to grant with --host, --secret, --reveal or --credential, or --nothing to take all back",
        ));
    }
    let profile = |text: &String| {
        serde_json::from_str(text).map_err(|error| Failure::usage(format!("--credential {text}: {error}")))
    };
    let credentials = credentials.iter().map(profile).collect::<Result<_, _>>()?;
    let grants = Grants { hosts, secrets, reveal, credentials, reveal_since: None };
    let answer = client.send(Method::PUT, &["v1", "plugins", &name, "grants"], &grants).await?;
    if screen.json {
        return screen.line(answer);
    }
    let granted: Granted = read(&answer)?;
    let some = |list: &[String]| Field::new(if list.is_empty() { "-".to_owned() } else { list.join(", ") });
    screen.line(format!("{} may now use exactly this:", plain(&name)))?;
    screen.facts(&[
        ("hosts", some(&granted.hosts)),
        ("secrets", some(&granted.secrets)),
        ("reveal", some(&granted.reveal)),
        ("credentials", some(&granted.credentials.into_iter().map(|profile| profile.name).collect::<Vec<_>>())),
    ])?;
    for address in &granted.addresses_not_granted {
        let address = plain(address);
        screen.line(format!(
            "{address} is sent secrets as well: endpoints there use it. Add --host {address}, or give them another plugin."
        ))?;
    }
    for missing in &granted.secrets_missing {
        screen.line(format!("There is no secret {0} yet; `engate secret set {0}` sets it.", plain(missing)))?;
    }
    Ok(())
}

/// The component in `file`, made of it where it is a core module.
fn finished(file: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = component(file)?;
    if componentize::is_component(&bytes) || !bytes.starts_with(b"\0asm") {
        return Ok(bytes);
    }
    // Whether its strings are UTF-8 cannot be told from a module without its world.
    match componentize::carries_world(&bytes) {
        Ok(true) => componentize::componentize(bytes, &componentize::Recipe::default()),
        _ => Err(
            "a core module that does not carry its world; take plugin.wasm, which `engate plugin build` makes of it"
                .to_owned(),
        ),
    }
    .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
}

/// The component's bytes.
pub(super) fn component(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}
