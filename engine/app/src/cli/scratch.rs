//! A folder for what one command needs and nobody keeps.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::failure::Failure;

/// A folder of this process alone, removed with everything in it at the end.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes the folder where the system keeps temporary files.
    pub(super) fn make() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("engate-{:016x}", rand::random::<u64>()));
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| cannot_write(&path, &error))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file below it, its folders included.
    pub(super) fn write(&self, below: &Path, content: &str) -> Result<(), Failure> {
        let path = self.path.join(below);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, content));
        written.map_err(|error| cannot_write(&path, &error))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean up, as all temporary files are.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{}: {error}; set TMPDIR to a folder that can be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_everything_in_it() {
        let scratch = Scratch::make().unwrap();
        scratch.write(Path::new("files/ipdo/a.txt"), "IPDO").unwrap();
        let path = scratch.path().to_owned();
        assert_eq!(fs::read_to_string(path.join("files/ipdo/a.txt")).unwrap(), "IPDO");
        drop(scratch);
        assert!(!path.exists());
    }
}
