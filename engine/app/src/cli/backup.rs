//! `engate backup` and `engate restore`: the SQLite file, on this machine. PostgreSQL has its own tools for both
//! (`docs/operations.md`).

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use engate_store::{Database, sqlite_check, sqlite_copy, sqlite_is_free};
use serde_json::json;

use super::{failure::Failure, present::Screen, settings::SettingsArgs};
use crate::{
    config::Config,
    installation::{self, Key, beside, folder_sync},
};

/// Databases that are put aside under one name at most, numbered from the second on.
const ASIDE_MAX: u32 = 1_000;

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
    let aside = take_place(&coming, &database).await.inspect_err(|_| remove_with_log(&coming))?;
    if screen.json {
        return screen.line(json!({ "database": database, "waiting": waiting, "aside": aside }).to_string());
    }
    screen.line(format!(
        "{} is restored; {waiting} deliveries in it wait and go out with the next start.",
        database.display()
    ))?;
    if let Some(aside) = aside {
        screen.line(format!("What was there is {}.", aside.display()))?;
    }
    screen.line("What was delivered after the backup is not known to it: such deliveries are sent again, with the same webhook-id.")
}

/// Puts a file in the database's place; gives where what was there is now. At every moment in between the one or the other
/// is there: an engine that started on none would make an empty one.
async fn take_place(coming: &Path, database: &Path) -> Result<Option<PathBuf>, Failure> {
    let synced = fs::File::open(coming).and_then(|file| file.sync_all());
    synced.map_err(|error| named(coming, &error))?;
    let replaced = database.exists();
    if replaced {
        // An engine may have been started since it was looked at first.
        require_replaceable(database, true).await?;
    }
    for log in ["-wal", "-journal"].map(|suffix| beside(database, suffix)) {
        if log.exists() {
            let cure = "stop what has that open, or move it away, and restore again";
            return Err(Failure::failed(format!("{} would be taken for the restored one's; {cure}", log.display())));
        }
    }
    let aside = if replaced { Some(put_aside(database)?) } else { None };
    fs::rename(coming, database).map_err(|error| named(database, &error))?;
    folder_sync(database).map_err(|error| named(database, &error))?;
    Ok(aside)
}

/// Gives the database a second name, which nothing has yet.
fn put_aside(database: &Path) -> Result<PathBuf, Failure> {
    for n in 1..=ASIDE_MAX {
        let number = if n == 1 { String::new() } else { format!(".{n}") };
        let aside = beside(database, &format!(".before-restore{number}"));
        match fs::hard_link(database, &aside) {
            Ok(()) => {}
            // A restore that was interrupted gave it that name.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_same(database, &aside) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => {
                let cure = format!("move {} away, and restore without --replace", database.display());
                return Err(Failure::failed(format!("{}: {error}; {cure}", aside.display())));
            }
        }
        folder_sync(&aside).map_err(|error| named(&aside, &error))?;
        return Ok(aside);
    }
    let all = beside(database, ".before-restore.*");
    Err(Failure::failed(format!("{} are {ASIDE_MAX} files already; move some away", all.display())))
}

/// Whether two names are one file's.
fn is_same(one: &Path, other: &Path) -> bool {
    let of = |path| fs::metadata(path).map(|told| (told.dev(), told.ino()));
    matches!((of(one), of(other)), (Ok(one), Ok(other)) if one == other)
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

fn remove_with_log(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        // Most of them are not there.
        let _ = fs::remove_file(beside(path, suffix));
    }
}

fn named(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}
