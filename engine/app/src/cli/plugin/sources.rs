//! What a project's files are at a moment, and which of them changed since.
//!
//! They are looked at a few times a second instead of being watched by the system: a plugin has some tens of them, and
//! this also sees what comes through a container's or a virtual machine's shared folder, which sends no notices.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{project::Project, test};

/// A project's files as they were looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    files: BTreeMap<PathBuf, Seen>,
    fixtures: PathBuf,
}

/// One file.
#[derive(Debug, Clone, Copy)]
struct Seen {
    modified: Option<SystemTime>,
    length: u64,
    content: u64,
}

/// What is different from before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Changed {
    /// What the component may be made of.
    pub(super) sources: Vec<PathBuf>,
    /// Golden files.
    pub(super) fixtures: Vec<PathBuf>,
}

impl Changed {
    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.fixtures.is_empty()
    }
}

impl Sources {
    /// The project's files now. What looks as it did in `before` is not read again.
    pub(super) fn of(project: &Project, before: &Self) -> Self {
        let golden = test::files_of(&project.fixtures()).unwrap_or_default();
        let paths = project.sources().into_iter().chain(golden);
        let files = paths.filter_map(|path| {
            let seen = seen(&path, before.files.get(&path))?;
            Some((path, seen))
        });
        Self { files: files.collect(), fixtures: project.fixtures() }
    }

    /// What changed in content, came or went since `before`.
    pub(super) fn since(&self, before: &Self) -> Changed {
        let other = |path: &PathBuf, seen: &Seen, files: &BTreeMap<PathBuf, Seen>| {
            files.get(path).is_none_or(|other| other.content != seen.content)
        };
        let new = self.files.iter().filter(|(path, seen)| other(path, seen, &before.files));
        let gone = before.files.iter().filter(|(path, _)| !self.files.contains_key(*path));
        let all = new.chain(gone).map(|(path, _)| path.clone());
        let (fixtures, sources) = all.partition(|path| path.starts_with(&self.fixtures));
        Changed { sources, fixtures }
    }
}

/// A file now; none where it went in between.
fn seen(path: &Path, before: Option<&Seen>) -> Option<Seen> {
    let data = fs::metadata(path).ok()?;
    let (modified, length) = (data.modified().ok(), data.len());
    if let Some(before) = before
        && modified.is_some()
        && (before.modified, before.length) == (modified, length)
    {
        return Some(*before);
    }
    // The content decides: a tool that writes the same again has changed nothing.
    let mut hasher = DefaultHasher::new();
    fs::read(path).ok()?.hash(&mut hasher);
    Some(Seen { modified, length, content: hasher.finish() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_by_content_and_golden_files_from_sources() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| fs::write(at(name), text).unwrap();
        write("engate-plugin.toml", "[build]\ncommands = []\noutput = \"out.wasm\"\n");
        for made in ["fixtures", "target", ".git"] {
            fs::create_dir(at(made)).unwrap();
        }
        write("a.rs", "1");
        write("fixtures/one.json", "{}");
        let project = Project::read(folder.path()).unwrap();
        let first = Sources::of(&project, &Sources::default());
        assert!(Sources::of(&project, &first).since(&first).is_empty());

        for made in ["out.wasm", "plugin.wasm", "target/x", ".git/index", "fixtures/notes.txt"] {
            write(made, "made");
        }
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        write("a.rs", "1");
        fs::File::options().write(true).open(at("a.rs")).unwrap().set_modified(later).unwrap();
        let second = Sources::of(&project, &first);
        assert!(second.since(&first).is_empty(), "{:?}", second.since(&first));

        write("a.rs", "22");
        write("b.rs", "");
        write("fixtures/one.json", "{ }");
        let third = Sources::of(&project, &second);
        let expected = Changed { sources: vec![at("a.rs"), at("b.rs")], fixtures: vec![at("fixtures/one.json")] };
        assert_eq!(third.since(&second), expected);
        fs::remove_file(at("b.rs")).unwrap();
        assert_eq!(Sources::of(&project, &third).since(&third).sources, [at("b.rs")]);
    }
}
