//! What an installation keeps on this machine: its key and its database.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::Clock as _;
use engate_store::{Database, SecretKey, Store, StoreError, StoreOptions};

use crate::{clock::SystemClock, config::Config};

/// File in the data folder that holds the key of stored secrets where none is configured.
const KEY_FILE: &str = "secret.key";
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
        Err(error) if error.kind() == io::ErrorKind::NotFound => Key::Absent(path),
        Err(error) => Key::Unusable(path, error.to_string()),
    }
}

/// Makes the key file, for its owner alone.
///
/// # Errors
/// What the system says; a file that is there already is not written over.
pub(crate) fn key_create(path: &Path, key: [u8; 32]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(STANDARD.encode(key).as_bytes()).and_then(|()| file.sync_all())
}

/// The key that is to replace the one in the key file; `make` makes it, unless an unfinished replacement made one before.
///
/// # Errors
/// What the system says.
pub(crate) fn key_next(config: &Config, make: impl FnOnce() -> [u8; 32]) -> io::Result<[u8; 32]> {
    let path = key_beside(config, "next");
    match fs::read_to_string(&path) {
        Ok(text) => key_of(&text).ok_or_else(|| io::Error::other(format!("{} holds no key", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = make();
            key_create(&path, key)?;
            folder_sync(config)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

/// Puts `key` into the key file; what was there stays beside it under its id.
///
/// # Errors
/// What the system says. Whatever it says, one of the files holds each key.
pub(crate) fn key_replace(config: &Config, key: [u8; 32], old_id: &str) -> io::Result<()> {
    let (file, next, kept) = (key_file(config), key_beside(config, "next"), key_beside(config, old_id));
    match key_create(&next, key) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if !kept.exists() {
        let old = fs::read_to_string(&file)?;
        key_create(&kept, key_of(&old).ok_or_else(|| io::Error::other("it holds no key"))?)?;
    }
    fs::rename(&next, &file)?;
    folder_sync(config)
}

fn key_beside(config: &Config, ending: &str) -> PathBuf {
    config.data.join(format!("{KEY_FILE}.{ending}"))
}

fn key_of(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text.trim()).ok()?.try_into().ok()
}

/// Makes sure that new names of files outlast a loss of power.
fn folder_sync(config: &Config) -> io::Result<()> {
    fs::File::open(&config.data)?.sync_all()
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
