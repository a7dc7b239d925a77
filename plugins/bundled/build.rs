//! Compiles the bundled plugins to components, with a cargo inside the cargo.
//!
//! Nothing else may set this off, and it may set off nothing else: it reruns only when a guest's sources change, uses a
//! target folder of its own (cargo holds the lock of the outer one), and never goes to the network for crates.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Folder below `plugins/`, which is the plugin's name, and its package.
const GUESTS: [(&str, &str); 7] = [
    ("carol", "engate-plugin-carol"),
    ("gsan", "engate-plugin-gsan"),
    ("http-table", "engate-plugin-http-table"),
    ("sintegre", "engate-plugin-sintegre"),
    ("smartlink", "engate-plugin-smartlink"),
    ("standard", "engate-plugin-standard"),
    ("voalle", "engate-plugin-voalle"),
];
const TARGET: &str = "wasm32-wasip2";
/// The profile of that name in the workspace's Cargo.toml.
const PROFILE: &str = "guest";

/// What the outer build was given for the host, or by clippy and the like, and must not reach the guests.
const NOT_FOR_GUESTS: [&str; 8] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("cargo::error={why}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let workspace = variable("CARGO_MANIFEST_DIR")?.join("../..");
    let out = variable("OUT_DIR")?;
    rerun_on_sources(&workspace);
    // One folder for every profile and for clippy: under OUT_DIR each would compile all guests anew.
    let guests = target_folder(&workspace, &out).join("guests");
    ensure_target()?;
    compile(&workspace, &guests)?;
    carry(&guests.join(TARGET).join(PROFILE), &out)
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo has not set {name}"))
}

/// Sources only: in a folder that cargo writes to, a change would follow from every build.
fn rerun_on_sources(workspace: &Path) {
    println!("cargo::rerun-if-changed=build.rs");
    for path in ["wit", "Cargo.toml", "Cargo.lock", "plugins/sdk/src", "plugins/sdk/Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    for (name, _) in GUESTS {
        for path in ["src", "Cargo.toml"] {
            println!("cargo::rerun-if-changed={}", workspace.join("plugins").join(name).join(path).display());
        }
    }
}

/// The outer build's target folder, wherever a flag, a variable or a configuration file put it: cargo leaves this
/// file in its root. `CARGO_TARGET_DIR` alone would miss the flag, and may be relative to a folder that is not known here.
fn target_folder(workspace: &Path, out: &Path) -> PathBuf {
    let root = out.ancestors().find(|folder| folder.join(".rustc_info.json").is_file());
    let configured = || env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    root.map(Path::to_path_buf).or_else(configured).unwrap_or_else(|| workspace.join("target"))
}

fn ensure_target() -> Result<(), String> {
    if target_is_there()? {
        return Ok(());
    }
    let add = format!("rustup target add {TARGET}");
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    if added.is_ok_and(|status| status.success()) && target_is_there()? {
        return Ok(());
    }
    Err(format!("the plugins need the target {TARGET}: {add}"))
}

fn target_is_there() -> Result<bool, String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("rustc does not start: {error}"))?;
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(folder.trim()).is_dir())
}

fn compile(workspace: &Path, guests: &Path) -> Result<(), String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args(["build", "--offline", "--locked", "--profile", PROFILE, "--target", TARGET]);
    cargo.arg("--target-dir").arg(guests);
    for (_, package) in GUESTS {
        cargo.args(["--package", package]);
    }
    for name in NOT_FOR_GUESTS {
        cargo.env_remove(name);
    }
    let output = cargo.output().map_err(|error| format!("cargo does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    // Cargo shows this with the failure of the build script.
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Err("the bundled plugins do not compile; what rustc says is above".to_owned())
}

/// Copies the components beside the crate's other output, so that a later build of the guests, for another profile, does
/// not change what this one embeds; and lists them.
fn carry(built: &Path, out: &Path) -> Result<(), String> {
    let mut list = "&[\n".to_owned();
    for (name, package) in GUESTS {
        let file = built.join(package.replace('-', "_")).with_extension("wasm");
        let wasm = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let copy = out.join(name).with_extension("wasm");
        write_if_new(&copy, &wasm)?;
        let copy = copy.as_os_str().to_str().ok_or("the target folder's path is not UTF-8")?;
        writeln!(list, "    BundledPlugin {{ name: {name:?}, wasm: include_bytes!({copy:?}) }},")
            .map_err(|error| error.to_string())?;
    }
    list.push(']');
    write_if_new(&out.join("plugins.rs"), list.as_bytes())
}

/// Leaves a file alone whose content is the same, so that nothing is compiled again for its time stamp.
fn write_if_new(path: &Path, content: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(path, content).map_err(|error| format!("{}: {error}", path.display()))
}
