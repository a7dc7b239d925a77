//! `engate plugin new`: a project that builds at once.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use include_dir::{Dir, include_dir};

use super::componentize::CONTRACT;
use crate::cli::{failure::Failure, present::Screen};

/// One folder a language.
static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../plugins/templates");
/// Longest name of a plugin.
const NAME_BYTES_MAX: usize = 60;
/// What stands for the name, as typed and as an identifier, and for the path of the Rust SDK.
const NAME: &str = "{{name}}";
const SNAKE: &str = "{{snake}}";
const SDK: &str = "{{sdk}}";

/// A language there is a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Language {
    /// Rust
    Rust,
    /// TypeScript
    Typescript,
    /// JavaScript
    Javascript,
    /// Python
    Python,
    /// Go
    Go,
    /// C
    C,
}

impl Language {
    /// The template's folder.
    const fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Typescript => "typescript",
            Self::Javascript => "javascript",
            Self::Python => "python",
            Self::Go => "go",
            Self::C => "c",
        }
    }
}

/// A world there is a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Kind {
    /// Delivers events to a partner
    Integrator,
    /// Takes the pages of a sync job (Rust)
    SyncTarget,
    /// Feeds a sync or polling job (Rust)
    SyncSource,
}

impl Kind {
    /// The folder of what differs from the language's own template.
    const fn folder(self) -> Option<&'static str> {
        match self {
            Self::Integrator => None,
            Self::SyncTarget => Some("rust-sync-target"),
            Self::SyncSource => Some("rust-sync-source"),
        }
    }
}

/// What to make.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// The plugin's name: lower-case letters, digits and hyphens; the folder is called so too
    #[arg(value_name = "NAME")]
    name: String,

    /// The language to write it in
    #[arg(long, value_enum)]
    lang: Language,

    /// What it is for; in languages other than Rust an integrator
    #[arg(long, value_enum, default_value = "integrator")]
    world: Kind,
}

/// Makes the project in a new folder below this one.
pub(super) fn run(args: &NewArgs, screen: Screen) -> Result<(), Failure> {
    check_name(&args.name)?;
    let folder = PathBuf::from(&args.name);
    make(&folder, &args.name, args.lang, args.world)?;
    if screen.json {
        return screen.line(serde_json::json!({"folder": folder, "language": args.lang.folder()}).to_string());
    }
    screen.line(format!(
        "{0} is there. Next:\n\n  cd {0}\n  engate plugin build      # the component, plugin.wasm\n  engate plugin test       # \
         the golden files in fixtures/\n  engate plugin push plugin.wasm\n\nREADME.md says what is where.",
        args.name
    ))
}

fn check_name(name: &str) -> Result<(), Failure> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    if ends && name.len() <= NAME_BYTES_MAX && name.chars().all(legal) && !name.contains("--") {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{name:?} is no name for a plugin: lower-case letters, digits and single hyphens, a letter first, at most \
         {NAME_BYTES_MAX} characters, such as `acme-orders`"
    )))
}

/// Writes the template of `language` to `folder`, which must not be there yet, and over it what is different for the world.
fn make(folder: &Path, name: &str, language: Language, world: Kind) -> Result<(), Failure> {
    let found =
        |place: &str| TEMPLATES.get_dir(place).ok_or_else(|| Failure::failed(format!("there is no template {place}")));
    let template = found(language.folder())?;
    let over = world.folder().map(found).transpose()?;
    if over.is_some() && language != Language::Rust {
        return Err(Failure::usage(
            "sinks and sources have a template in Rust only: --lang rust. In other languages begin with an integrator, \
             whose wit/engate.wit has all worlds",
        ));
    }
    fs::create_dir(folder).map_err(|error| Failure::usage(format!("{}: {error}", folder.display())))?;
    let names = |text: &str| text.replace(NAME, name).replace(SNAKE, &name.replace('-', "_")).replace(SDK, "sdk");
    write_all(template, template.path(), folder, &names)?;
    if let Some(over) = over {
        write_all(over, over.path(), folder, &names)?;
    }
    write(&folder.join("wit/engate.wit"), CONTRACT.as_bytes())?;
    if language == Language::Rust { write_sdk(&folder.join("sdk")) } else { Ok(()) }
}

fn write_all(dir: &Dir<'_>, root: &Path, folder: &Path, names: &impl Fn(&str) -> String) -> Result<(), Failure> {
    for file in dir.files() {
        let below = file.path().strip_prefix(root).unwrap_or(file.path());
        let content = match file.contents_utf8() {
            Some(text) => names(text).into_bytes(),
            None => file.contents().to_vec(),
        };
        write(&folder.join(placed(&names(&below.to_string_lossy()))), &content)?;
    }
    dir.dirs().try_for_each(|dir| write_all(dir, root, folder, names))
}

/// Where a template's file goes: names that begin with a dot are not kept so in a template.
fn placed(below: &str) -> PathBuf {
    match below {
        "gitignore" => PathBuf::from(".gitignore"),
        "npmrc" => PathBuf::from(".npmrc"),
        "cargo-config.toml" => PathBuf::from(".cargo/config.toml"),
        other => PathBuf::from(other),
    }
}

/// The Rust SDK as it was when this program was built, so that a project builds without this repository.
static RUST_SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../plugins/sdk/src");
/// Its manifest outside of the workspace.
const RUST_SDK_MANIFEST: &str = include_str!("../../../../../plugins/templates/rust-sdk.toml");
/// Where it finds the contract in the workspace, and in a project.
const WIT_HERE: &str = "../../wit/v0.1";
const WIT_THERE: &str = "../wit";

fn write_sdk(folder: &Path) -> Result<(), Failure> {
    write(&folder.join("Cargo.toml"), RUST_SDK_MANIFEST.as_bytes())?;
    write_all(&RUST_SDK, Path::new(""), &folder.join("src"), &|text: &str| text.replace(WIT_HERE, WIT_THERE))
}

fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, content));
    written.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folders_and_identifiers_at_once() {
        for good in ["a", "acme-orders", "x2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for wrong in ["", "A", "2x", "-a", "a-", "a--b", "a_b", "../a", "a b", &"a".repeat(61)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_language_has_a_template_and_no_placeholder_is_left() {
        let folder = tempfile::tempdir().unwrap();
        for language in Language::value_variants() {
            let place = folder.path().join(language.folder());
            make(&place, "acme-orders", *language, Kind::Integrator).unwrap();
            let mut files = Vec::new();
            collect(&place, &mut files);
            for needed in ["engate-plugin.toml", "README.md", ".gitignore", "wit/engate.wit", "fixtures/hello.json"] {
                assert!(place.join(needed).is_file(), "{}: {needed}", language.folder());
            }
            for file in files {
                let text = fs::read_to_string(&file).unwrap_or_default();
                assert!(![NAME, SNAKE, SDK].iter().any(|word| text.contains(word)), "{}", file.display());
            }
            let again = make(&place, "acme-orders", *language, Kind::Integrator);
            assert!(again.is_err(), "a folder that is there is left alone");
        }
    }

    #[test]
    fn a_sink_and_a_source_begin_in_rust() {
        let folder = tempfile::tempdir().unwrap();
        for (world, line) in [(Kind::SyncTarget, "export_sink!"), (Kind::SyncSource, "export_source!")] {
            let place = folder.path().join(line);
            make(&place, "acme-orders", Language::Rust, world).unwrap();
            assert!(fs::read_to_string(place.join("src/lib.rs")).unwrap().contains(line));
            let mut files = Vec::new();
            collect(&place, &mut files);
            for file in files {
                let text = fs::read_to_string(&file).unwrap_or_default();
                assert!(![NAME, SNAKE, SDK].iter().any(|word| text.contains(word)), "{}", file.display());
            }
            let refused = make(&folder.path().join("go"), "acme-orders", Language::Go, world).unwrap_err();
            assert!(format!("{refused:?}").contains("--lang rust"));
        }
    }

    #[test]
    fn a_templates_library_is_the_examples() {
        let libraries = [
            ("typescript", &["src/sdk.ts", "engate.d.ts"][..]),
            ("javascript", &["src/sdk.js", "engate.d.ts"]),
            ("python", &["src/engate.py"]),
            ("c", &["src/engate.c", "src/engate.h", "src/json.c", "src/json.h", "gen"]),
            ("go", &["adapter.wat", "engate"]),
        ];
        for (language, places) in libraries {
            let name = format!("{language}-partner");
            let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(&name);
            let template = TEMPLATES.get_dir(language).unwrap();
            let mut files = Vec::new();
            files_of(template, &mut files);
            let mut compared = 0;
            for file in files {
                let below = file.path().strip_prefix(language).unwrap();
                if places.iter().any(|place| below.starts_with(place)) {
                    let theirs = fs::read_to_string(example.join(below)).unwrap();
                    let ours = file.contents_utf8().unwrap().replace(NAME, &name);
                    assert_eq!(ours, theirs, "{language}: {}", below.display());
                    compared += 1;
                }
            }
            assert!(compared >= places.len(), "{language}: {compared} files compared");
        }
    }

    fn files_of<'a>(dir: &'a Dir<'a>, files: &mut Vec<&'a include_dir::File<'a>>) {
        files.extend(dir.files());
        dir.dirs().for_each(|dir| files_of(dir, files));
    }

    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { collect(&path, files) } else { files.push(path) }
        }
    }
}
