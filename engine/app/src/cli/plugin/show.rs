//! `engate plugin show` and `config`: one installed plugin.

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::{
    client::{Client, read},
    failure::Failure,
    given, object,
    present::{Field, Screen, short_time, size},
    remote::Guard,
};

/// Whose configuration, and what it is to be. Without `--set` it is shown.
#[derive(Debug, Args)]
pub(in crate::cli) struct ConfigArgs {
    /// The plugin's name
    name: String,

    /// What it is to be, all of it, a JSON object: a file, - for standard input, or the JSON itself; {} takes it away
    #[arg(long, value_name = "FILE|-|JSON")]
    set: Option<String>,

    #[command(flatten)]
    guard: Guard,
}

/// A plugin as the API tells it.
#[derive(Deserialize)]
struct Installed {
    name: String,
    versions: Vec<Version>,
    channels: Vec<Channel>,
    grants: Grants,
    asks: Asks,
    #[serde(default)]
    config: Option<Value>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    state: String,
    size_bytes: u64,
    created_at: String,
    digest: String,
}

#[derive(Deserialize)]
struct Channel {
    channel: String,
    version: String,
    set_at: String,
}

#[derive(Deserialize)]
struct Grants {
    hosts: Vec<String>,
    secrets: Vec<String>,
    reveal: Vec<String>,
    #[serde(default)]
    credentials: Vec<Named>,
}

#[derive(Deserialize)]
struct Asks {
    hosts: Vec<String>,
    secrets: Vec<Named>,
    credentials: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Shows one plugin.
pub(super) async fn show(name: &str, client: &Client, screen: Screen) -> Result<(), Failure> {
    let answer = client.get(&["v1", "plugins", name], &[]).await?;
    if screen.json {
        return screen.line(answer);
    }
    let plugin: Installed = read(&answer)?;
    let some = |list: &[String]| Field::new(if list.is_empty() { "-".to_owned() } else { list.join(", ") });
    let names = |list: &[Named]| some(&list.iter().map(|one| one.name.clone()).collect::<Vec<_>>());
    let config = plugin.config.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
    screen.facts(&[
        ("plugin", Field::new(&plugin.name)),
        ("asks for hosts", some(&plugin.asks.hosts)),
        ("asks for secrets", names(&plugin.asks.secrets)),
        ("asks for credentials", names(&plugin.asks.credentials)),
        ("may use hosts", some(&plugin.grants.hosts)),
        ("may use secrets", some(&plugin.grants.secrets)),
        ("may read secrets", some(&plugin.grants.reveal)),
        ("may use credentials", names(&plugin.grants.credentials)),
        ("configuration", Field::new(config)),
    ])?;
    screen.heading("Channels")?;
    let rows = plugin.channels.iter().map(|channel| {
        vec![Field::new(&channel.channel), Field::new(&channel.version), Field::new(short_time(&channel.set_at))]
    });
    let nothing = "None; `engate plugin promote` points one at a version.";
    screen.table(&["CHANNEL", "VERSION", "SINCE (UTC)"], rows.collect(), nothing)?;
    screen.heading("Versions")?;
    let rows = plugin.versions.iter().map(|version| {
        vec![
            Field::new(&version.version),
            Field::code(&version.state),
            Field::new(size(version.size_bytes)),
            Field::new(short_time(&version.created_at)),
            Field::new(version.digest.chars().take(16).collect::<String>()),
        ]
    });
    screen.table(&["VERSION", "STATE", "SIZE", "INSTALLED (UTC)", "DIGEST"], rows.collect(), "None.")
}

/// Shows or sets the configuration of an installation.
pub(super) async fn config(args: &ConfigArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let path = ["v1", "plugins", args.name.as_str(), "config"];
    let Some(source) = &args.set else { return object::show(client, &path, screen).await };
    let config: Map<String, Value> = given::json("--set", source)?;
    let body = Value::Object(config);
    object::print(&client.edit(Method::PUT, &path, Some(&body), args.guard.tag()).await?, None, screen)
}
