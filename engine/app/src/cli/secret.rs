//! `engate secret`: values that plugins may use and nobody can read back, and the key they are sealed with.

use std::{
    io::{IsTerminal as _, read_to_string, stdin},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use engate_model::Clock as _;
use engate_store::{Database, SecretKey, Store};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    failure::Failure,
    given::without_line_end,
    present::{Field, Screen, plain, short_time},
    remote::Remote,
    settings::SettingsArgs,
};
use crate::{
    clock::{Chance, SystemClock},
    config::Config,
    installation::{self, Key},
};

/// `engate secret`
#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// List secrets by name; values are never shown
    List,
    /// Set a secret; its value comes from standard input or a file, since other users can see command lines
    Set {
        /// What plugins ask for it by
        name: String,
        /// Where its value is; without it standard input. One newline at its end is left out
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Delete a secret; a plugin that it is granted to is refused it from its next call on
    Delete {
        /// Its name
        name: String,
    },
    /// Replace the key that secrets are sealed with, while no engine runs
    #[command(after_help = ROTATE_HELP)]
    RotateKey(RotateArgs),
}

/// What `engate secret rotate-key --help` adds.
const ROTATE_HELP: &str = "\
Works on the database itself: stop every engine first. Everything sealed is opened with the old key and sealed with the
new one. It may be interrupted at any time; until it was run to its end with the same keys, no engine starts.

Where the key is a file in --data, the new one is made beside it as secret.key.next and takes its place at the end; the
old one stays as secret.key.OLD-ID, for backups of the database from before. Where ENGATE_SECRET_KEY has the key, name
the new one with --new-key-file, and set the variable to it afterwards.";

/// Which keys.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// Base64 of the new key's 32 bytes (openssl rand -base64 32)
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,

    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Deserialize)]
struct Secret {
    name: String,
    created_at: String,
    updated_at: String,
}

/// Runs `engate secret`.
pub(super) async fn run(command: SecretCommand, remote: &Remote) -> Result<(), Failure> {
    let screen = remote.screen();
    match command {
        SecretCommand::List => {
            let listing = remote.client()?.list_all(&["v1", "secrets"], &[]).await?;
            if screen.json {
                return screen.line(serde_json::to_string(&listing).unwrap_or_default());
            }
            let rows = listing.rows::<Secret>()?.into_iter().map(|secret| {
                let times = [&secret.created_at, &secret.updated_at].map(|at| Field::new(short_time(at)));
                std::iter::once(Field::new(&secret.name)).chain(times).collect()
            });
            screen.table(&["NAME", "CREATED (UTC)", "SET (UTC)"], rows.collect(), "No secret.")
        }
        SecretCommand::Set { name, file } => {
            let body = json!({ "value": value(file.as_deref())? });
            let answer = remote.client()?.send(Method::PUT, &["v1", "secrets", &name], &body).await?;
            screen.line(if screen.json { answer } else { format!("{} is set.", plain(&name)) })
        }
        SecretCommand::Delete { name } => {
            let answer = remote.client()?.act(Method::DELETE, &["v1", "secrets", &name]).await?;
            if screen.json {
                return screen.line(if answer.is_empty() { "{}" } else { &answer });
            }
            screen.line(format!("{} is deleted.", plain(&name)))
        }
        SecretCommand::RotateKey(args) => rotate(&args, screen).await,
    }
}

fn value(file: Option<&Path>) -> Result<String, Failure> {
    let read = match file {
        Some(file) => std::fs::read_to_string(file),
        None => {
            if stdin().is_terminal() {
                return Err(Failure::usage(
                    "give the value on standard input (engate secret set NAME < FILE), or with --file",
                ));
            }
            read_to_string(stdin())
        }
    };
    read.map(without_line_end).map_err(|error| Failure::usage(format!("the value cannot be read: {error}")))
}

async fn rotate(args: &RotateArgs, screen: Screen) -> Result<(), Failure> {
    let config = args.settings.config()?;
    let old = match installation::key(&config) {
        Key::There(key) => key,
        Key::Absent(path) => {
            let path = path.display();
            return Err(Failure::usage(format!(
                "there is neither secret_key nor {path}; name the database's own with --data"
            )));
        }
        Key::Unusable(path, cause) => return Err(Failure::usage(format!("{}: {cause}", path.display()))),
    };
    let new = new_key(args.new_key_file.as_deref(), &config)?;
    let (from, to) = (SecretKey::new(old), SecretKey::new(new));
    if from.id() == to.id() {
        return Err(Failure::usage("the new key is the one in use already"));
    }
    let in_file = config.secret_key.is_none();
    if in_file {
        installation::key_prepare(&config, [old, new], &from.id()).map_err(Failure::failed)?;
    }
    let database = Database::parse(&config.database);
    let rotated = Store::rotate_key(&database, &from, &to, SystemClock.now()).await.map_err(Failure::failed)?;
    if in_file {
        let taken = installation::key_replace(&config, new);
        taken.map_err(|error| Failure::failed(format!("the key file: {error}; run this again")))?;
        if !matches!(installation::key(&config), Key::There(left) if left == new) {
            let file = installation::key_file(&config);
            let cure = "somebody else writes it; put the new key there before you start an engine";
            return Err(Failure::failed(format!("{} does not hold the new key: {cure}", file.display())));
        }
    }
    if screen.json {
        let done =
            json!({ "old_key": from.id(), "new_key": to.id(), "values": rotated.values, "was_done": rotated.was_done });
        return screen.line(done.to_string());
    }
    screen.line(format!(
        "{} values are sealed with the key {} now; {} is needed no more.",
        rotated.values,
        to.id(),
        from.id()
    ))?;
    if !in_file {
        screen.line("Set ENGATE_SECRET_KEY to the new key before you start an engine.")?;
    }
    Ok(())
}

/// The key named, or the one made for this, or one made now.
fn new_key(named: Option<&Path>, config: &Config) -> Result<[u8; 32], Failure> {
    if let Some(path) = named {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("--new-key-file {}: {error}", path.display())))?;
        let key = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        let unusable = || Failure::usage(format!("--new-key-file {}: must hold base64 of 32 bytes", path.display()));
        return key.ok_or_else(unusable);
    }
    if config.secret_key.is_some() {
        return Err(Failure::usage("the old key comes from secret_key; name the new one with --new-key-file"));
    }
    let made = installation::key_next(config, || Chance::from_machine().key());
    made.map_err(Failure::failed)
}
