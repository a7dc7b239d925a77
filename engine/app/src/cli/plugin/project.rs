//! A plugin's project folder: what `engate-plugin.toml` says of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::componentize::Encoding;
use crate::cli::failure::Failure;

/// The file that makes a folder a plugin's project.
pub(super) const FILE: &str = "engate-plugin.toml";
/// The finished component, beside that file.
pub(super) const COMPONENT: &str = "plugin.wasm";

/// Folders of what toolchains make or fetch; nothing in them is a source.
const MADE: [&str; 6] = ["node_modules", "build", "target", "bindings", "dist", "__pycache__"];

/// Files that are looked at; a plugin has some tens.
const SOURCES_MAX: usize = 10_000;

/// A project as its file describes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Project {
    #[serde(skip)]
    folder: PathBuf,
    /// How the component is made.
    pub(super) build: Build,
    #[serde(default)]
    test: Test,
}

/// `[build]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    /// What is run in the folder, in order, each by `sh -c`.
    pub(super) commands: Vec<String>,
    output: PathBuf,
    wit: Option<PathBuf>,
    adapter: Option<PathBuf>,
    /// How a core module's strings are encoded.
    #[serde(default)]
    pub(super) encoding: Encoding,
    /// What must be installed.
    #[serde(default)]
    pub(super) needs: Vec<Need>,
}

/// `[[build.needs]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Need {
    /// A program that must be found.
    pub(super) program: String,
    /// The command or page that gets it.
    pub(super) install: String,
}

/// `[test]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    fixtures: PathBuf,
}

impl Default for Test {
    fn default() -> Self {
        Self { fixtures: PathBuf::from("fixtures") }
    }
}

impl Project {
    /// Reads the project in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).map_err(|error| {
            Failure::usage(format!(
                "{}: {error}\n  Run this in a plugin's folder, or name one; `engate plugin new` makes one.",
                path.display()
            ))
        })?;
        let project: Self =
            toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        Ok(Self { folder: folder.to_owned(), ..project })
    }

    /// The project's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the build's commands leave: a component or a core module.
    pub(super) fn output(&self) -> PathBuf {
        self.folder.join(&self.build.output)
    }

    /// The finished component.
    pub(super) fn component(&self) -> PathBuf {
        self.folder.join(COMPONENT)
    }

    /// Whether the component is missing, or older than a file it may be made of.
    pub(super) fn is_stale(&self) -> bool {
        let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
        let Some(made) = changed(&self.component()) else { return true };
        self.sources().iter().any(|path| changed(path).is_some_and(|at| at > made))
    }

    /// Every file that the component may be made of, [`SOURCES_MAX`] at most.
    pub(super) fn sources(&self) -> Vec<PathBuf> {
        let (mut found, mut folders) = (Vec::new(), vec![self.folder.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                let name = name.to_string_lossy();
                let made = MADE.contains(&name.as_ref()) || path == self.component() || path == self.output();
                if name.starts_with('.') || made || path == self.fixtures() {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else if found.len() < SOURCES_MAX {
                    found.push(path);
                }
            }
        }
        found
    }

    /// The contract for a core module that does not carry it; none: this version's.
    pub(super) fn wit(&self) -> Option<PathBuf> {
        self.build.wit.as_ref().map(|path| self.folder.join(path))
    }

    /// The adapter for a core module's preview1 imports; none: the usual one.
    pub(super) fn adapter(&self) -> Option<PathBuf> {
        self.build.adapter.as_ref().map(|path| self.folder.join(path))
    }

    /// The folder of golden files.
    pub(super) fn fixtures(&self) -> PathBuf {
        self.folder.join(&self.test.fixtures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_read_and_unknown_lines_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = format!("{:?}", Project::read(folder.path()).unwrap_err());
        assert!(missing.contains("engate plugin new"), "{missing}");
        let write = |text: &str| fs::write(folder.path().join(FILE), text).unwrap();
        write("[build]\ncommands = [\"true\"]\noutput = \"a.wasm\"\nencoding = \"utf16\"\n");
        let project = Project::read(folder.path()).unwrap();
        assert_eq!(project.output(), folder.path().join("a.wasm"));
        assert_eq!(project.fixtures(), folder.path().join("fixtures"));
        assert_eq!(project.build.encoding, Encoding::Utf16);
        assert!(project.is_stale());
        fs::write(project.component(), "").unwrap();
        assert!(!project.is_stale());
        write("[build]\ncommands = []\noutput = \"a\"\nlanguage = \"c\"\n");
        assert!(format!("{:?}", Project::read(folder.path()).unwrap_err()).contains("language"));
    }
}
