//! Compiled code on disk, by component and by everything that machine code depends on.
//!
//! Each `.cwasm` has a `.seal` beside it: an HMAC over the name it belongs to and every byte. A file that is stale,
//! foreign, cut short, swapped with another or changed does not match its seal, is never executed, and is compiled
//! again. With a key of the operator's the seal also withstands someone who can write to the directory.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use ring::hmac;
use wasmtime::{Engine, component::Component};

use crate::{config::HostConfig, digest::Digest, engine, error::HostError, mapped};

/// Where compilations under way keep their files.
const WORK_DIR: &str = "work";
/// Hexadecimal digits of the compatibility hash in a file's name.
const COMPATIBILITY_DIGITS: usize = 32;
/// Key of the seal where the operator gave none: it finds damage, not malice.
const CHECKSUM_KEY: [u8; 32] = *b"engate compiled plugin code v1  ";

/// The directory, and what belongs into it.
pub(crate) struct Cache {
    dir: PathBuf,
    compatibility: String,
    key: hmac::Key,
    serial: AtomicU64,
}

/// Why there is no code.
pub(crate) enum Miss {
    /// It was never compiled by this build, or what is there is not what was written.
    Absent,
    /// wasmtime does not take it, in its own words: it needs more than the pool gives.
    Refused(String),
}

/// A file that is removed when this goes out of use.
pub(crate) struct WorkFile(PathBuf);

impl WorkFile {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkFile {
    fn drop(&mut self) {
        // It may be gone already: a finished file is moved, not copied.
        let _ = fs::remove_file(&self.0);
    }
}

impl Cache {
    /// Opens the directory, makes it private, and clears out what an earlier engine left.
    ///
    /// # Errors
    /// [`HostError::Cache`].
    pub(crate) fn open(config: &HostConfig, engine: &Engine) -> Result<Self, HostError> {
        let dir = config.cache_dir.clone();
        let cache = Self {
            compatibility: engine::compatibility(engine).chars().take(COMPATIBILITY_DIGITS).collect(),
            key: hmac::Key::new(hmac::HMAC_SHA256, config.cache_key.as_ref().unwrap_or(&CHECKSUM_KEY)),
            serial: AtomicU64::new(0),
            dir,
        };
        cache
            .prepare()
            .map_err(|error| HostError::Cache { path: cache.dir.display().to_string(), cause: error.to_string() })?;
        Ok(cache)
    }

    /// The component's code.
    ///
    /// # Errors
    /// Why there is none; what was there and unfit is gone then.
    pub(crate) fn load(&self, engine: &Engine, digest: &Digest) -> Result<Component, Miss> {
        let code = self.code_path(digest);
        let seal = fs::read(self.seal_path(digest)).map_err(|_| Miss::Absent)?;
        if !self.is_sound(digest, &code, &seal) {
            tracing::warn!(%digest, "compiled plugin code does not match its seal; it is compiled again");
            self.remove(digest);
            return Err(Miss::Absent);
        }
        mapped::map(engine, &code).map_err(|error| {
            self.remove(digest);
            Miss::Refused(format!("{error:#}"))
        })
    }

    /// Keeps the compiler's output as the component's code.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn store(&self, digest: &Digest, compiled: &WorkFile) -> io::Result<()> {
        fs::set_permissions(compiled.path(), Permissions::from_mode(0o600))?;
        let seal = self.seal(digest, compiled.path())?;
        let seal_file = self.work_file("seal");
        fs::write(seal_file.path(), seal.as_ref())?;
        fs::set_permissions(seal_file.path(), Permissions::from_mode(0o600))?;
        fs::rename(compiled.path(), self.code_path(digest))?;
        fs::rename(seal_file.path(), self.seal_path(digest))
    }

    /// Forgets the component's code.
    pub(crate) fn remove(&self, digest: &Digest) {
        for path in [self.code_path(digest), self.seal_path(digest)] {
            // What is not there need not be removed; what cannot be removed is never executed either.
            let _ = fs::remove_file(path);
        }
    }

    /// A path of its own for a file under way.
    pub(crate) fn work_file(&self, extension: &str) -> WorkFile {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        WorkFile(self.dir.join(WORK_DIR).join(format!("{}-{serial}.{extension}", std::process::id())))
    }

    fn prepare(&self) -> io::Result<()> {
        for dir in [self.dir.clone(), self.dir.join(WORK_DIR)] {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            if fs::symlink_metadata(&dir)?.permissions().mode() & 0o077 != 0 {
                fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
            }
        }
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let ours = path.extension().is_some_and(|extension| extension == "cwasm" || extension == "seal");
            if ours && !stem.ends_with(&self.compatibility) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Compares as long as there is something to compare, wherever the first difference is.
    fn is_sound(&self, digest: &Digest, code: &Path, seal: &[u8]) -> bool {
        self.seal(digest, code).is_ok_and(|expected| {
            let expected = expected.as_ref();
            let differences =
                expected.iter().zip(seal).fold(0, |differences, (one, other)| differences | (one ^ other));
            expected.len() == seal.len() && differences == 0
        })
    }

    fn seal(&self, digest: &Digest, code: &Path) -> io::Result<hmac::Tag> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(digest.as_bytes());
        context.update(self.compatibility.as_bytes());
        let mut file = File::open(code)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = file.read(&mut buffer)?;
            let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
            context.update(read);
        }
        Ok(context.sign())
    }

    fn code_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}-{}.cwasm", self.compatibility))
    }

    fn seal_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}-{}.seal", self.compatibility))
    }
}
