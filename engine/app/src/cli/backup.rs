//! `engate backup` and `engate restore`: the SQLite file, on this machine. PostgreSQL has its own tools for both
//! (`docs/operations.md`).

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use engate_store::{Database, sqlite_check, sqlite_copy, sqlite_is_free};
use serde_json::json;

use super::{failure::Failure, present::Screen, settings::SettingsArgs};
use crate::{
    config::Config,
    installation::{self, Key},
};

/// `engate backup`
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The file to write; it must not be there yet
    file: PathBuf,

    #[command(flatten)]
    settings: SettingsArgs,
}

/// `engate restore`
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// A file that `engate backup` wrote
    file: PathBuf,

    /// Put the present database aside (as FILE.before-restore) where there is one
    #[arg(long)]
    replace: bool,

    #[command(flatten)]
    settings: SettingsArgs,
}

/// Runs `engate backup`.
pub(super) async fn backup(args: &BackupArgs, screen: Screen) -> Result<(), Failure> {
    let config = args.settings.config()?;
    let database = sqlite(&config)?;
    if args.file.exists() {
        return Err(Failure::usage(format!("{} is there already; name another file", args.file.display())));
    }
    let partial = beside(&args.file, ".partial");
    let _ = fs::remove_file(&partial);
    let copied = sqlite_copy(&database, &partial).await;
    copied.inspect_err(|_| drop(fs::remove_file(&partial))).map_err(Failure::failed)?;
    fs::rename(&partial, &args.file).map_err(|error| named(&args.file, &error))?;
    let bytes = fs::metadata(&args.file).map(|told| told.len()).unwrap_or_default();
    if screen.json {
        return screen.line(json!({ "file": args.file, "bytes": bytes }).to_string());
    }
    screen.line(format!("{} holds the database as it was a moment ago, {bytes} bytes.", args.file.display()))?;
    match installation::key(&config) {
        Key::There(_) if config.secret_key.is_some() => {
            screen.line("Keep ENGATE_SECRET_KEY with it: its secrets open with that alone.")
        }
        _ => screen.line(format!(
            "Keep {} too, elsewhere: its secrets open with that key alone.",
            installation::key_file(&config).display()
        )),
    }
}

/// Runs `engate restore`.
pub(super) async fn restore(args: &RestoreArgs, screen: Screen) -> Result<(), Failure> {
    let config = args.settings.config()?;
    let database = sqlite(&config)?;
    sqlite_check(&args.file).await.map_err(|error| Failure::usage(format!("{}: {error}", args.file.display())))?;
    let key = match installation::key(&config) {
        Key::There(key) => key,
        Key::Absent(path) => {
            let cure = "put the backup's key file there first, or set ENGATE_SECRET_KEY";
            return Err(Failure::usage(format!("{} is not there; {cure}", path.display())));
        }
        Key::Unusable(path, why) => return Err(Failure::usage(format!("{}: {why}", path.display()))),
    };
    if database.exists() {
        require_replaceable(&database, args.replace).await?;
    }
    // Tried out beside the place it is for: version, key and content are all right before anything is moved.
    let coming = beside(&database, ".restoring");
    remove_with_log(&coming);
    fs::copy(&args.file, &coming).map_err(|error| named(&coming, &error))?;
    let tried = Config { database: format!("sqlite:{}", coming.display()), ..config.clone() };
    let opened = installation::open_store(&tried, key).await;
    let store = opened.inspect_err(|_| remove_with_log(&coming)).map_err(Failure::failed)?;
    let depths = store.queue_depths().await.map_err(Failure::failed)?;
    let waiting: u64 = depths.iter().map(|depth| depth.waiting).sum();
    store.close().await;
    if !sqlite_is_free(&coming).await.map_err(Failure::failed)? {
        return Err(Failure::failed(format!("{} is in use", coming.display())));
    }
    let aside = beside(&database, ".before-restore");
    let replaced = database.exists();
    if replaced {
        fs::rename(&database, &aside).map_err(|error| named(&database, &error))?;
    }
    fs::rename(&coming, &database).map_err(|error| named(&database, &error))?;
    if screen.json {
        let aside = replaced.then_some(aside);
        return screen.line(json!({ "database": database, "waiting": waiting, "aside": aside }).to_string());
    }
    screen.line(format!(
        "{} is restored; {waiting} deliveries in it wait and go out with the next start.",
        database.display()
    ))?;
    if replaced {
        screen.line(format!("What was there is {}.", aside.display()))?;
    }
    screen.line("What was delivered after the backup is not known to it: such deliveries are sent again, with the same webhook-id.")
}

async fn require_replaceable(database: &Path, replace: bool) -> Result<(), Failure> {
    if !replace {
        let cure = "--replace puts it aside";
        return Err(Failure::usage(format!("there is a database at {} already; {cure}", database.display())));
    }
    if sqlite_is_free(database).await.map_err(Failure::failed)? {
        return Ok(());
    }
    Err(Failure::failed(format!("an engine has {} open; stop it first", database.display())))
}

fn sqlite(config: &Config) -> Result<PathBuf, Failure> {
    match Database::parse(&config.database) {
        Database::Sqlite(path) => Ok(path),
        Database::Postgres(_) => Err(Failure::usage(
            "the database is PostgreSQL's; its own pg_dump and pg_restore do this (docs/operations.md)",
        )),
    }
}

/// The same path with something behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove_with_log(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        // Most of them are not there.
        let _ = fs::remove_file(beside(path, suffix));
    }
}

fn named(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}
