//! `engate plugin build`: runs the project's own toolchain and finishes what it leaves.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use clap::Args;

use super::{
    check,
    componentize::{self, Recipe},
    project::{Need, Project},
};
use crate::cli::{failure::Failure, present::Screen};

/// What to build.
#[derive(Debug, Args)]
pub(in crate::cli) struct BuildArgs {
    /// The plugin's folder; none: this one
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
}

/// Builds the project and checks the component.
pub(super) async fn run(args: &BuildArgs, screen: Screen) -> Result<(), Failure> {
    let project = Project::read(&args.folder)?;
    let started = Instant::now();
    make(&project, screen)?;
    if !screen.json {
        screen.line(format!("built {} in {:.1?}\n", project.component().display(), started.elapsed()))?;
    }
    check::run(&project.component(), screen).await
}

/// Runs the commands and leaves the component.
pub(super) fn make(project: &Project, screen: Screen) -> Result<(), Failure> {
    let missing: Vec<_> = project.build.needs.iter().filter(|need| !is_there(need)).collect();
    if !missing.is_empty() {
        let lines = missing.iter().map(|need| format!("\n  {}: {}", need.program, need.install));
        return Err(Failure::usage(format!("this build needs what is not there:{}", lines.collect::<String>())));
    }
    for command in &project.build.commands {
        if !screen.json {
            screen.line(format!("$ {command}"))?;
        }
        step(project.folder(), command)?;
    }
    finish(project)
}

/// Turns what the commands left into the component.
fn finish(project: &Project) -> Result<(), Failure> {
    let output = project.output();
    let named = |error: String| Failure::failed(format!("{}: {error}", output.display()));
    let bytes = fs::read(&output).map_err(|error| named(format!("the build did not leave it: {error}")))?;
    let component = if componentize::is_component(&bytes) {
        bytes
    } else {
        let (wit, adapter) = (project.wit(), project.adapter());
        let recipe = Recipe { wit: wit.as_deref(), adapter: adapter.as_deref(), encoding: project.build.encoding };
        componentize::componentize(bytes, &recipe).map_err(named)?
    };
    let path = project.component();
    fs::write(&path, component).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

/// Whether the program is found where commands are looked for.
fn is_there(need: &Need) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(&need.program).is_file())
}

/// Runs one command; what it prints goes to standard error, since standard output is for results.
fn step(folder: &Path, command: &str) -> Result<(), Failure> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(folder).stdin(Stdio::null()).stdout(std::io::stderr());
    // Set by a cargo that runs this program; a toolchain that is cargo again must not inherit them.
    for name in ["CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        shell.env_remove(name);
    }
    let status = shell.status().map_err(|error| Failure::failed(format!("sh: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::failed(format!("`{command}` ended with {status}; its messages are above")))
}
