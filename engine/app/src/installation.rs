//! What an installation keeps on this machine: its key and its database.

use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::Clock as _;
use engate_store::{Database, SecretKey, Store, StoreError, StoreOptions};

use crate::{clock::SystemClock, config::Config};

/// File in the data folder that holds the key of stored secrets where none is configured.
const KEY_FILE: &str = "secret.key";
/// Ending of the file that holds the key that is to replace it.
const NEXT: &str = "next";
/// Behind the name of a file that is being written and means nothing yet, before the id of its key.
const WRITING: &str = ".writing";
/// Folder in the data folder for compiled plugins.
const PLUGIN_CACHE: &str = "plugins";

/// The key of stored secrets.
pub(crate) enum Key {
    /// Configured, or read from the key file.
    There([u8; 32]),
    /// Neither: the first start makes the file.
    Absent(PathBuf),
    /// The key file is there and cannot be used.
    Unusable(PathBuf, String),
}

/// Finds the key, without making one.
pub(crate) fn key(config: &Config) -> Key {
    if let Some(key) = config.secret_key {
        return Key::There(key);
    }
    let path = key_file(config);
    match fs::read_to_string(&path) {
        Ok(text) => match key_of(&text) {
            Some(key) => Key::There(key),
            None => Key::Unusable(path, "does not hold base64 of 32 bytes".to_owned()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Key::Absent(path),
        Err(error) => Key::Unusable(path, error.to_string()),
    }
}

/// Makes a key file, for its owner alone: whole or not at all.
///
/// # Errors
/// What the system says; a file that is there already is not written over (`AlreadyExists`).
pub(crate) fn key_create(path: &Path, key: [u8; 32]) -> io::Result<()> {
    let coming = coming(path, key);
    key_write(&coming, key)?;
    let made = match fs::hard_link(&coming, path) {
        // A file system without links.
        Err(error)
            if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) && !path.exists() =>
        {
            fs::rename(&coming, path)
        }
        linked => linked,
    };
    // It is not there where it was renamed.
    let _ = fs::remove_file(&coming);
    made?;
    folder_sync(path)?;
    // Without links, two that come at the same moment may both have found nothing there.
    if key_in(path)? == Some(key) {
        return Ok(());
    }
    let message = "somebody else made it at the same moment; start again";
    Err(io::Error::new(ErrorKind::AlreadyExists, message))
}

/// Where a key is written before it gets its name: a file of its own for each, so that nobody gives another's a name.
fn coming(path: &Path, key: [u8; 32]) -> PathBuf {
    beside(path, &format!("{WRITING}.{}", SecretKey::new(key).id()))
}

/// Takes away what those left that died while they wrote a key. Not to be called where somebody may be writing one.
fn sweep(file: &Path) {
    let Some(entries) = file.parent().and_then(|folder| fs::read_dir(folder).ok()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(KEY_FILE) && name.contains(WRITING) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes a key to a file that nobody goes by yet; what an earlier try left of it goes.
fn key_write(path: &Path, key: [u8; 32]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(STANDARD.encode(key).as_bytes())?;
    file.sync_all()
}

/// The key in a file; none where there is no file.
fn key_in(path: &Path) -> io::Result<Option<[u8; 32]>> {
    match fs::read_to_string(path) {
        Ok(text) => match key_of(&text) {
            Some(key) => Ok(Some(key)),
            None => Err(io::Error::other(format!("{} holds no key; move it away and run this again", path.display()))),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, &error)),
    }
}

/// Makes sure that a file holds `key`; one that holds another is left as it is, and `cure` says what to do about it.
fn key_keep(path: &Path, key: [u8; 32], cure: &str) -> io::Result<()> {
    if key_in(path)?.is_none() {
        match key_create(path, key) {
            // Somebody was first; what they wrote is looked at.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.map_err(|error| named(path, &error))?,
        }
    }
    if key_in(path)? == Some(key) {
        // Of one that died between giving the file its name and taking the other one away.
        let _ = fs::remove_file(coming(path, key));
        return Ok(());
    }
    Err(io::Error::other(format!("{} holds another key; {cure}", path.display())))
}

/// The key that is to replace the one in the key file; `make` makes it, unless an unfinished replacement made one before.
///
/// # Errors
/// What the system says, with the file.
pub(crate) fn key_next(config: &Config, make: impl FnOnce() -> [u8; 32]) -> io::Result<[u8; 32]> {
    let path = key_beside(config, NEXT);
    if let Some(key) = key_in(&path)? {
        return Ok(key);
    }
    let key = make();
    key_create(&path, key).map_err(|error| named(&path, &error))?;
    Ok(key)
}

/// Makes sure, before anything is sealed with `new`, that both keys outlast whatever happens next: `new` in
/// `secret.key.next`, and `old`, which backups from before need, under its id.
///
/// # Errors
/// What the system says, or a file that holds another key, with the cure.
pub(crate) fn key_prepare(config: &Config, [old, new]: [[u8; 32]; 2], old_id: &str) -> io::Result<()> {
    let begun = "a replacement by that one was begun: run this again without --new-key-file, which goes on with it";
    key_keep(&key_beside(config, NEXT), new, begun)?;
    key_keep(&key_beside(config, old_id), old, "move it away and run this again")
}

/// Puts `key` into the key file, in the place of the one that [`key_prepare`] kept.
///
/// # Errors
/// What the system says. Whatever it says, one of the files holds each key.
pub(crate) fn key_replace(config: &Config, key: [u8; 32]) -> io::Result<()> {
    let (file, next) = (key_file(config), key_beside(config, NEXT));
    let coming = if matches!(key_in(&next), Ok(Some(held)) if held == key) {
        next
    } else {
        // Somebody touched it while the database was sealed anew.
        let coming = coming(&file, key);
        key_write(&coming, key)?;
        coming
    };
    fs::rename(&coming, &file)?;
    sweep(&file);
    folder_sync(&file)
}

fn key_beside(config: &Config, ending: &str) -> PathBuf {
    config.data.join(format!("{KEY_FILE}.{ending}"))
}

fn key_of(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text.trim()).ok()?.try_into().ok()
}

/// The same path with something behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes sure that the new name of a file outlasts a loss of power.
pub(crate) fn folder_sync(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Where the key is kept if it is not configured.
pub(crate) fn key_file(config: &Config) -> PathBuf {
    config.data.join(KEY_FILE)
}

/// The folder of compiled plugins.
pub(crate) fn plugin_cache(config: &Config) -> PathBuf {
    config.data.join(PLUGIN_CACHE)
}

/// The SQLite file where that is what the settings name.
pub(crate) fn database_file(config: &Config) -> Option<PathBuf> {
    match Database::parse(&config.database) {
        Database::Sqlite(path) => Some(path),
        Database::Postgres(_) => None,
    }
}

/// Opens the database as an engine does, which brings it to this version's schema; takes no work from it.
pub(crate) async fn open_store(config: &Config, key: [u8; 32]) -> Result<Store, StoreError> {
    let database = Database::parse(&config.database);
    Store::open(&database, &SecretKey::new(key), StoreOptions::default(), SystemClock.now()).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_file_is_whole_or_not_there_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        // What a death in the midst of writing leaves, and what somebody else is writing.
        fs::write(coming(&path, [1; 32]), "AAAA").unwrap();
        fs::write(coming(&path, [9; 32]), "AAAA").unwrap();
        assert_eq!(key_in(&path).unwrap(), None);
        key_create(&path, [1; 32]).unwrap();
        assert_eq!(key_in(&path).unwrap(), Some([1; 32]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(key_create(&path, [2; 32]).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(key_in(&path).unwrap(), Some([1; 32]));
        assert!(!coming(&path, [1; 32]).exists() && !coming(&path, [2; 32]).exists());
        assert!(coming(&path, [9; 32]).exists());
        sweep(&path);
        assert!(!coming(&path, [9; 32]).exists() && path.exists());
        key_keep(&path, [1; 32], "cure").unwrap();
        let refused = key_keep(&path, [2; 32], "cure").unwrap_err().to_string();
        assert!(refused.contains("secret.key holds another key; cure"), "{refused}");
        fs::write(&path, "").unwrap();
        let refused = key_keep(&path, [1; 32], "cure").unwrap_err().to_string();
        assert!(refused.contains("secret.key holds no key; move it away"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"", "it is left as it is");
    }

    #[test]
    fn of_first_starts_at_the_same_moment_one_makes_the_key_and_the_others_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let made: Vec<_> = std::thread::scope(|scope| {
            let start = |n: u8| {
                let path = &path;
                scope.spawn(move || (n, key_create(path, [n; 32]).map_err(|error| error.kind())))
            };
            let starts: Vec<_> = (1..=8).map(start).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let (first, others): (Vec<_>, Vec<_>) = made.into_iter().partition(|(_, made)| made.is_ok());
        let [(first, _)] = first[..] else { panic!("{first:?}") };
        assert_eq!(key_in(&path).unwrap(), Some([first; 32]));
        assert!(others.iter().all(|(_, made)| *made == Err(ErrorKind::AlreadyExists)), "{others:?}");
    }
}
