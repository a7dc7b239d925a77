//! The bundled plugins' compiled code, handed on from one test's engine to the next: a start with it takes a tenth
//! of a second instead of one or two. Each run of the tests compiles anew; the engine checks what it finds.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Where an engine keeps it, below its data folder.
const CACHE: &str = "plugins";

/// Whether this run has kept any yet.
static KEPT: Mutex<bool> = Mutex::new(false);

fn store() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("engate-compiled-{}", std::process::id()))
}

/// Gives a new engine what an earlier one compiled.
pub(super) fn lend(data: &Path) {
    if *KEPT.lock().unwrap_or_else(PoisonError::into_inner) {
        private_folder(data).unwrap();
        copy(&store(), &data.join(CACHE)).unwrap();
    }
}

/// Keeps what the first engine of this run has compiled.
pub(super) fn keep(data: &Path) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if !*kept {
        forget_earlier_runs();
        copy(&data.join(CACHE), &store()).unwrap();
        *kept = true;
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    private_folder(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn forget_earlier_runs() {
    for entry in fs::read_dir(env!("CARGO_TARGET_TMPDIR")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix("engate-compiled-").and_then(|id| id.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
