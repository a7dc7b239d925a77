//! `engate plugin dev`: from a saved source to a running engine, at every change.

use std::{
    io::{Write as _, stderr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    build, component,
    project::Project,
    sources::{Changed, Sources},
    test::{self, Wanted},
};
use crate::cli::{
    client::{Client, read},
    failure::Failure,
    present::{Screen, Tone, plain},
};

/// How often the project's files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Looks at most until files that are being written are taken as they are.
const SETTLING_LOOKS_MAX: usize = 20;
/// Rounds in a row that only a build's own writing may cause.
const OWN_ROUNDS_MAX: usize = 3;

/// What to work on.
#[derive(Debug, Args)]
pub(in crate::cli) struct DevArgs {
    /// The plugin's folder; none: this one
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,

    /// The channel that is to mean what was built last; not stable
    #[arg(long, default_value = engate_model::plugin::CHANNEL_DEVELOPMENT)]
    channel: String,

    /// Swap only what passes its golden files
    #[arg(long)]
    strict: bool,

    /// Build, swap and test once, then end; the exit code says whether all of it went well
    #[arg(long)]
    once: bool,
}

/// What is told; with --json one line each.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    /// The loop begins.
    Watching { folder: &'a Path, channel: &'a str },
    /// Files are different from what was built last.
    Changed { files: &'a [PathBuf] },
    /// The component is finished.
    Built { took_ms: u64 },
    /// The engine runs it.
    Swapped {
        #[serde(flatten)]
        pushed: Pushed,
        /// From the finished component until the channel means it.
        took_ms: u64,
    },
    /// The golden files were run.
    Tested {
        #[serde(flatten)]
        report: Option<&'a test::Report>,
        took_ms: u64,
    },
    /// A step did not succeed; the loop goes on.
    Failed { step: Step, message: &'a str },
}

/// What a round consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Build,
    Swap,
    Test,
}

/// What the engine says of a push.
#[derive(Debug, Serialize, Deserialize)]
struct Pushed {
    #[serde(rename(deserialize = "name", serialize = "plugin"))]
    plugin: String,
    version: String,
    channel: String,
    digest: String,
}

struct Dev<'a> {
    args: &'a DevArgs,
    client: &'a Client,
    screen: Screen,
}

/// Works until it is interrupted, or once.
pub(super) async fn run(args: &DevArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let mut project = Project::read(&args.folder)?;
    let dev = Dev { args, client, screen };
    if args.once {
        return dev.round(&project, true, true).await?.map_or(Ok(()), Err);
    }
    dev.tell(&Event::Watching { folder: &args.folder, channel: &args.channel })?;
    let mut seen = Sources::of(&project, &Sources::default());
    let (mut build, mut swap, mut own_rounds) = (project.is_stale(), true, 0);
    loop {
        // What went wrong has been told, and the next change may be its cure.
        let _ = dev.round(&project, build, swap).await?;
        let now = Sources::of(&project, &seen);
        let mut changed = now.since(&seen);
        seen = now;
        // Somebody went on typing, or the build writes into its own sources, which must not go on for ever.
        own_rounds = if changed.is_empty() { 0 } else { own_rounds + 1 };
        if own_rounds > OWN_ROUNDS_MAX {
            dev.failed(Step::Build, &own_writing(&changed))?;
            changed = Changed::default();
        }
        if changed.is_empty() {
            own_rounds = 0;
            changed = next_change(&project, &mut seen).await;
        }
        let Changed { sources, fixtures } = &changed;
        dev.tell(&Event::Changed { files: &[sources.as_slice(), fixtures].concat() })?;
        (build, swap) = (!sources.is_empty(), !sources.is_empty() || args.strict);
        match Project::read(&args.folder) {
            Ok(read) => project = read,
            Err(failure) => dev.failed(Step::Build, &failure)?,
        }
    }
}

/// Waits until the files are different from `seen` and nobody is writing them any more.
async fn next_change(project: &Project, seen: &mut Sources) -> Changed {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut now = Sources::of(project, seen);
        if now.since(seen).is_empty() {
            continue;
        }
        for _ in 0..SETTLING_LOOKS_MAX {
            tokio::time::sleep(LOOK_EVERY).await;
            let later = Sources::of(project, &now);
            let settled = later.since(&now).is_empty();
            now = later;
            if settled {
                break;
            }
        }
        let changed = now.since(seen);
        *seen = now;
        // What was written and taken back is no change.
        if !changed.is_empty() {
            return changed;
        }
    }
}

fn own_writing(changed: &Changed) -> Failure {
    let paths = changed.sources.iter().chain(&changed.fixtures);
    let named = paths.map(|path| format!("\n  {}", path.display())).collect::<String>();
    Failure::failed(format!(
        "these change at every build; what a build makes belongs below build/ or target/, where it is not looked at:{named}"
    ))
}

impl Dev<'_> {
    /// One round; gives what failed first. An error means that nobody can be told any more.
    async fn round(&self, project: &Project, build: bool, swap: bool) -> Result<Option<Failure>, Failure> {
        let started = Instant::now();
        if build {
            if let Err(failure) = build::make(project, self.screen) {
                return self.failed(Step::Build, &failure).map(|()| Some(failure));
            }
            self.tell(&Event::Built { took_ms: millis(started) })?;
        }
        let finished = Instant::now();
        let path = project.component();
        let bytes = match component(&path) {
            Ok(bytes) => bytes,
            Err(failure) => return self.failed(Step::Build, &failure).map(|()| Some(failure)),
        };
        // The engine first: who waits is at the keyboard, and only what is bound to this channel gets to see it.
        let steps = if self.args.strict { [Step::Test, Step::Swap] } else { [Step::Swap, Step::Test] };
        let mut first = None;
        for step in steps {
            let done = match step {
                Step::Swap if swap => self.swap(bytes.clone(), finished).await,
                Step::Test => self.test(project, &path, bytes.clone()).await,
                _ => Ok(()),
            };
            let Err(failure) = done else { continue };
            if matches!(failure, Failure::Output(_)) {
                return Err(failure);
            }
            self.failed(step, &failure)?;
            first.get_or_insert(failure);
            if self.args.strict {
                break;
            }
        }
        Ok(first)
    }

    async fn swap(&self, component: Vec<u8>, finished: Instant) -> Result<(), Failure> {
        let query = [("channel", self.args.channel.clone()), ("development", "true".to_owned())];
        let answer = self.client.upload(&["v1", "plugins"], &query, "application/wasm", component).await?;
        self.tell(&Event::Swapped { pushed: read(&answer)?, took_ms: millis(finished) })
    }

    /// Runs the golden files, where there are any.
    async fn test(&self, project: &Project, path: &Path, component: Vec<u8>) -> Result<(), Failure> {
        let started = Instant::now();
        let Ok(files) = test::files_of(&project.fixtures()) else {
            return self.tell(&Event::Tested { report: None, took_ms: 0 });
        };
        // Fuel is for `engate plugin test`: counting it means compiling once more.
        let wanted = Wanted { update: false, fuel: false, quick: true };
        let report = test::golden(&path.display().to_string(), component, &files, wanted).await?;
        self.tell(&Event::Tested { report: Some(&report), took_ms: millis(started) })?;
        report.verdict()
    }

    fn tell(&self, event: &Event<'_>) -> Result<(), Failure> {
        let screen = self.screen;
        if screen.json {
            return screen.line(serde_json::to_string(event).map_err(Failure::failed)?);
        }
        let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
        match event {
            Event::Watching { folder, channel } => {
                let folder = folder.display();
                screen.line(format!("watching {folder} for the channel {}; Ctrl-C ends it", plain(channel)))
            }
            Event::Changed { files } => {
                let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                screen.heading(&format!("changed: {}", names.join(", ")))
            }
            Event::Built { took_ms } => screen.line(format!("built in {:.2} s", seconds(*took_ms))),
            Event::Swapped { pushed, took_ms } => {
                let Pushed { plugin, version, channel, .. } = pushed;
                let what = format!("{}@{} is now {}", plain(plugin), plain(channel), plain(version));
                screen.line(screen.paint(&format!("swapped in {:.2} s: {what}", seconds(*took_ms)), Tone::Good))
            }
            Event::Tested { report: None, .. } => screen.line("no golden files to run"),
            Event::Tested { report: Some(report), took_ms } if report.passed => {
                let line = format!("{} golden files pass, {:.2} s", report.files(), seconds(*took_ms));
                screen.line(screen.paint(&line, Tone::Good))
            }
            Event::Tested { report: Some(report), .. } => report.print_differences(screen),
            Event::Failed { message, .. } => {
                writeln!(stderr(), "error: {message}")?;
                Ok(())
            }
        }
    }

    /// Tells a failure; with --once the command's own failure does, unless programs read along.
    fn failed(&self, step: Step, failure: &Failure) -> Result<(), Failure> {
        if self.args.once && !self.screen.json {
            return Ok(());
        }
        self.tell(&Event::Failed { step, message: &failure.text() })
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
