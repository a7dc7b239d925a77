//! Compiled code on disk, by component and by everything that machine code depends on.
//!
//! Each `.cwasm` has a `.seal` beside it: an HMAC over the name it belongs to and every byte. A file that is stale,
//! foreign, cut short, swapped with another or changed does not match its seal, is never executed, and is compiled
//! again. With a key of the operator's the seal also withstands someone who can write to the directory.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use ring::hmac;
use wasmtime::{Engine, Module, component::Component};

use crate::{
    code::{Code, Effort},
    config::HostConfig,
    digest::Digest,
    engine,
    error::HostError,
    libraries, mapped, parts,
};

/// What files of machine code end in.
const CODE: &str = "cwasm";
/// What names of files with a library's machine code begin with.
const LIBRARY: &str = "library-";
/// What the list of a component's libraries ends in; also what the compiling child calls it.
pub(crate) const USES: &str = "uses";
/// What seals end in.
const SEAL: &str = "seal";
/// Name and ending of the file of parts.
const PARTS: &str = "parts";
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
    /// Who writes the file of parts.
    parts: Mutex<()>,
    /// Libraries that somebody has in memory.
    libraries: Mutex<HashMap<Code, Weak<Library>>>,
}

/// A component's code in memory.
pub(crate) struct Mapped {
    pub(crate) component: Component,
    /// What it imports of libraries.
    pub(crate) libraries: Vec<Arc<Library>>,
}

/// A library's code in memory.
pub(crate) struct Library {
    pub(crate) digest: Digest,
    pub(crate) module: Module,
}

/// Why there is no code.
pub(crate) enum Miss {
    /// It was never compiled by this build, or what is there is not what was written.
    Absent,
    /// wasmtime does not take it, in its own words: it needs more than the pool gives.
    Refused(String),
}

/// A file, or a directory with all that is in it, that is removed when this goes out of use.
pub(crate) struct WorkFile(PathBuf);

impl WorkFile {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkFile {
    fn drop(&mut self) {
        // It may be gone already: a finished file is moved, not copied. What stays is cleared away at the next start.
        let _ = fs::remove_file(&self.0).or_else(|_| fs::remove_dir_all(&self.0));
    }
}

/// What a library's files are called, without what belongs to the engine's build.
fn library_name(code: &Code) -> String {
    format!("{LIBRARY}{}", code.name())
}

/// The library that a file of machine code belongs to.
fn library_of(file_name: &str) -> Option<Digest> {
    let name = file_name.strip_suffix(CODE)?.strip_prefix(LIBRARY)?;
    name.split('-').next()?.parse().ok()
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
            parts: Mutex::default(),
            libraries: Mutex::default(),
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
    pub(crate) fn load(&self, engine: &Engine, code: &Code) -> Result<Mapped, Miss> {
        let name = code.name();
        if !self.is_sound(&name, CODE).ok_or(Miss::Absent)? {
            tracing::warn!(code = name, "compiled plugin code does not match its seal; it is compiled again");
            self.remove(code);
            return Err(Miss::Absent);
        }
        let component = mapped::map(engine, &self.path(&name, CODE)).map_err(|error| {
            self.remove(code);
            Miss::Refused(format!("{error:#}"))
        })?;
        let ty = component.component_type();
        let imported = ty.imports(engine).filter_map(|(name, _)| libraries::imported(name));
        let libraries = imported.map(|digest| self.library(engine, digest, code.effort)).collect::<Option<_>>();
        match libraries {
            Some(libraries) => Ok(Mapped { component, libraries }),
            None => {
                self.remove(code);
                Err(Miss::Absent)
            }
        }
    }

    /// Libraries whose code is here and sound, made with at least that effort.
    pub(crate) fn libraries(&self, engine: &Engine, least: Effort) -> Vec<Arc<Library>> {
        let digests: BTreeSet<_> = self.names().iter().filter_map(|name| library_of(name)).collect();
        digests.into_iter().filter_map(|digest| self.library(engine, digest, least)).collect()
    }

    /// A library's code, made with at least that effort; what is here and unfit is gone then.
    fn library(&self, engine: &Engine, digest: Digest, least: Effort) -> Option<Arc<Library>> {
        let efforts = [Effort::Full, Effort::Quick].into_iter().filter(|effort| *effort >= least);
        efforts.map(|effort| Code::new(digest, effort)).find_map(|code| {
            if let Some(library) = self.libraries_mapped().get(&code).and_then(Weak::upgrade) {
                return Some(library);
            }
            let name = library_name(&code);
            let module = match self.is_sound(&name, CODE)? {
                true => mapped::map_library(engine, &self.path(&name, CODE)).ok(),
                false => None,
            };
            let Some(module) = module else {
                tracing::warn!(code = name, "compiled code of a library does not match its seal; it is compiled again");
                self.remove_named(&name, CODE);
                return None;
            };
            let library = Arc::new(Library { digest, module });
            let mut mapped = self.libraries_mapped();
            mapped.retain(|_, library| library.strong_count() > 0);
            mapped.insert(code, Arc::downgrade(&library));
            Some(library)
        })
    }

    fn libraries_mapped(&self) -> MutexGuard<'_, HashMap<Code, Weak<Library>>> {
        self.libraries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are files of the component's code; [`Cache::load`] says whether they are fit.
    pub(crate) fn has(&self, code: &Code) -> bool {
        self.path(&code.name(), CODE).exists()
    }

    /// Keeps the compiler's output as the component's code, and that of libraries that were not here.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn store(&self, code: &Code, compiled: &WorkFile, libraries: Option<&WorkFile>) -> io::Result<()> {
        if let Some(dir) = libraries {
            self.store_libraries(code, dir.path())?;
        }
        self.keep(&code.name(), compiled.path())
    }

    fn store_libraries(&self, code: &Code, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name() == USES {
                fs::rename(entry.path(), self.path(&code.name(), USES))?;
            } else if let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                self.keep(&library_name(&Code::new(digest, code.effort)), &entry.path())?;
            }
        }
        Ok(())
    }

    /// Puts a file of machine code in its place, with its seal.
    fn keep(&self, name: &str, file: &Path) -> io::Result<()> {
        fs::set_permissions(file, Permissions::from_mode(0o600))?;
        let seal = self.seal_file(name, file)?;
        fs::rename(file, self.path(name, CODE))?;
        fs::rename(seal.path(), self.path(name, SEAL))
    }

    /// Forgets the component's code. Its libraries stay for others, until a cache is opened where nobody has them.
    pub(crate) fn remove(&self, code: &Code) {
        self.remove_named(&code.name(), CODE);
        let _ = fs::remove_file(self.path(&code.name(), USES));
    }

    /// Forgets libraries that no component here has.
    fn remove_unused_libraries(&self) {
        let names = self.names();
        let lists = names.iter().filter(|name| name.ends_with(USES));
        let lists: Vec<_> = lists.filter_map(|name| fs::read_to_string(self.dir.join(name)).ok()).collect();
        let used: BTreeSet<Digest> = lists.iter().flat_map(|list| list.lines()).flat_map(str::parse).collect();
        for digest in names.iter().filter_map(|name| library_of(name)).filter(|digest| !used.contains(digest)) {
            for effort in [Effort::Quick, Effort::Full] {
                self.remove_named(&library_name(&Code::new(digest, effort)), CODE);
            }
        }
    }

    /// The file of parts, whether it is there or not; one that does not match its seal, or has none, is gone.
    pub(crate) fn sound_parts(&self) -> PathBuf {
        let _mine = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let sound = self.is_sound(PARTS, PARTS);
        if sound == Some(false) {
            tracing::warn!("parts of compiled plugin code do not match their seal; they are compiled again");
        }
        if sound != Some(true) {
            self.remove_named(PARTS, PARTS);
        }
        self.path(PARTS, PARTS)
    }

    /// Puts new parts behind the others; where all would be too large, behind none.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn add_parts(&self, new: &WorkFile) -> io::Result<()> {
        let _mine = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(PARTS, PARTS);
        let length = |path: &Path| fs::metadata(path).map_or(0, |there| there.len());
        // Without its seal a file counts for nothing, whenever this ends.
        self.remove_seal(PARTS);
        // A child may be reading: what it has read so far must stay what it is.
        if length(&path).saturating_add(length(new.path())) <= parts::FILE_BYTES_MAX {
            let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
            file.write_all(&fs::read(new.path())?)?;
        } else {
            fs::set_permissions(new.path(), Permissions::from_mode(0o600))?;
            fs::rename(new.path(), &path)?;
        }
        let seal = self.seal_file(PARTS, &path)?;
        fs::rename(seal.path(), self.path(PARTS, SEAL))
    }

    /// Components whose code has been here for at least `age`.
    pub(crate) fn digests(&self, age: Duration) -> io::Result<BTreeSet<Digest>> {
        let mut digests = BTreeSet::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.split('-').next()?.parse().ok());
            // A clock that was set back makes code young, which only keeps it longer.
            let old = |at: SystemTime| SystemTime::now().duration_since(at).is_ok_and(|since| since >= age);
            if let (Some(digest), true) = (digest, entry.metadata()?.modified().is_ok_and(old)) {
                digests.insert(digest);
            }
        }
        Ok(digests)
    }

    /// Names of the files here; none where they cannot be told.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// A directory of its own for files under way.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn work_dir(&self) -> io::Result<WorkFile> {
        let dir = self.work_file("dir");
        DirBuilder::new().mode(0o700).create(dir.path())?;
        Ok(dir)
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
        // What a process that is no more had under way; another may be at work in the same place.
        for entry in fs::read_dir(self.dir.join(WORK_DIR))? {
            let entry = entry?;
            let process = entry.file_name().to_str().and_then(|name| name.split('-').next()?.parse::<u32>().ok());
            if process.is_none_or(|process| !Path::new(&format!("/proc/{process}")).exists()) {
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let ours =
                path.extension().is_some_and(|found| [CODE, SEAL, PARTS, USES].iter().any(|ours| found == *ours));
            if ours && !stem.ends_with(&self.compatibility) {
                fs::remove_file(path)?;
            }
        }
        self.remove_unused_libraries();
        Ok(())
    }

    /// Whether a file matches its seal; none where either is not there. Compares as long as there is something to
    /// compare, wherever the first difference is.
    fn is_sound(&self, name: &str, extension: &str) -> Option<bool> {
        let seal = fs::read(self.path(name, SEAL)).ok()?;
        let path = self.path(name, extension);
        if !path.exists() {
            return None;
        }
        Some(self.seal(name, &path).is_ok_and(|expected| {
            let expected = expected.as_ref();
            let differences =
                expected.iter().zip(&seal).fold(0, |differences, (one, other)| differences | (one ^ other));
            expected.len() == seal.len() && differences == 0
        }))
    }

    /// A seal over `file` under `name`, to be moved to its place.
    fn seal_file(&self, name: &str, file: &Path) -> io::Result<WorkFile> {
        let seal = self.seal(name, file)?;
        let seal_file = self.work_file(SEAL);
        fs::write(seal_file.path(), seal.as_ref())?;
        fs::set_permissions(seal_file.path(), Permissions::from_mode(0o600))?;
        Ok(seal_file)
    }

    fn seal(&self, name: &str, file: &Path) -> io::Result<hmac::Tag> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(name.as_bytes());
        context.update(self.compatibility.as_bytes());
        let mut file = File::open(file)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = file.read(&mut buffer)?;
            let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
            context.update(read);
        }
        Ok(context.sign())
    }

    fn remove_named(&self, name: &str, extension: &str) {
        // What is not there need not be removed; what cannot be removed is never executed either.
        let _ = fs::remove_file(self.path(name, extension));
        self.remove_seal(name);
    }

    fn remove_seal(&self, name: &str) {
        let _ = fs::remove_file(self.path(name, SEAL));
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{name}-{}.{extension}", self.compatibility))
    }
}
