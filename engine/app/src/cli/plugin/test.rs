//! `engate plugin test`: golden files through the component itself, under the limits of a delivery.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use engate_host::validate_config;
use engate_sdk::testing::{Answers, Difference, Fixture};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::{
    build, finished,
    guest::{Cost, Guest, Setting, bytes},
    project::Project,
};
use crate::cli::{
    failure::Failure,
    present::{Field, Screen, Tone, size},
};

/// What to test.
#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// The plugin's folder; none: this one
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,

    /// Another component than the project's own, which is built where it is missing or older than its sources
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,

    /// Golden files from another folder than the project's
    #[arg(long, value_name = "FOLDER")]
    fixtures: Option<PathBuf>,

    /// Write what the plugin does into the golden files; what you typed stays as you typed it
    #[arg(long)]
    update: bool,

    /// Leave out the second run that counts what each file makes the plugin run; it compiles the component once more
    #[arg(long)]
    no_fuel: bool,
}

/// What the golden files of a project showed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    plugin: String,
    version: String,
    #[serde(skip)]
    size_bytes: u64,
    /// Whether every file passed.
    pub(super) passed: bool,
    files: Vec<Outcome>,
}

/// What one golden file showed.
#[derive(Debug, Serialize)]
struct Outcome {
    file: String,
    passed: bool,
    /// Why it could not be compared at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    differences: Vec<Differs>,
    calls: usize,
    slowest_us: u64,
    /// What all its calls ran; null where it was not counted.
    fuel: Option<u64>,
    memory_peak_bytes: usize,
    /// The event's payload and the answers' bodies.
    bytes_in: usize,
    /// The request's body.
    bytes_out: usize,
}

/// An answer that is not as the file has it.
#[derive(Debug, Serialize)]
struct Differs {
    place: String,
    expected: Option<String>,
    actual: String,
}

/// Runs every golden file of the project.
pub(super) async fn run(args: &TestArgs, screen: Screen) -> Result<(), Failure> {
    let (component, fixtures) = places(args, screen)?;
    let name = component.display().to_string();
    let component = finished(&component)?;
    let files = files_of(&fixtures)?;
    let report =
        golden(&name, component, &files, Wanted { update: args.update, fuel: !args.no_fuel, quick: false }).await?;
    if screen.json {
        screen.line(serde_json::to_string(&report).map_err(Failure::failed)?)?;
    } else {
        report.print(screen)?;
    }
    report.verdict()
}

/// How golden files are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// What the plugin does is written into them.
    pub(super) update: bool,
    /// Each is run once more in a host that counts what the plugin runs.
    pub(super) fuel: bool,
    /// The component is compiled quickly; its times say little then.
    pub(super) quick: bool,
}

/// Runs golden files through a component.
pub(super) async fn golden(
    name: &str,
    component: Vec<u8>,
    files: &[PathBuf],
    wanted: Wanted,
) -> Result<Report, Failure> {
    // Compiled differently, and slower: what is measured there is only fuel.
    let meter = if wanted.fuel { Some(Guest::metered(name, component.clone()).await?) } else { None };
    let guest = if wanted.quick { Guest::quick(name, component).await? } else { Guest::of(name, component).await? };
    let mut outcomes = Vec::with_capacity(files.len());
    for file in files {
        let fuel = match &meter {
            Some(meter) => fuel_of(meter, file).await,
            None => None,
        };
        outcomes.push(Outcome { fuel, ..one(&guest, file, wanted.update).await });
    }
    Ok(Report {
        plugin: guest.installed.manifest.id.clone(),
        version: guest.installed.manifest.version.clone(),
        size_bytes: guest.installed.size_bytes,
        passed: outcomes.iter().all(|outcome| outcome.passed),
        files: outcomes,
    })
}

impl Report {
    /// A failure that names the cure, where a file differs.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let failed = self.files.iter().filter(|outcome| !outcome.passed).count();
        if failed == 0 {
            return Ok(());
        }
        let cure =
            "read the differences above; `engate plugin test --update` writes what the plugin does into the files";
        Err(Failure::failed(format!("{failed} of {} golden files differ: {cure}", self.files.len())))
    }

    /// How many files there are.
    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    fn print(&self, screen: Screen) -> Result<(), Failure> {
        screen.line(format!("{} {}, {}\n", self.plugin, self.version, size(self.size_bytes)))?;
        let rows = self.files.iter().map(Outcome::row).collect();
        let header = ["FILE", "RESULT", "CALLS", "SLOWEST", "FUEL", "MEMORY", "BYTES IN", "BYTES OUT"];
        screen.table(&header, rows, "")?;
        self.print_differences(screen)
    }

    /// What differs in each file, line by line.
    pub(super) fn print_differences(&self, screen: Screen) -> Result<(), Failure> {
        for outcome in self.files.iter().filter(|outcome| !outcome.passed) {
            screen.heading(&outcome.file)?;
            if let Some(error) = &outcome.error {
                screen.line(format!("  {error}"))?;
            }
            for differs in &outcome.differences {
                screen.line(format!("  {}", differs.place))?;
                screen.line(lines(differs, screen))?;
            }
        }
        Ok(())
    }
}

impl Outcome {
    fn row(&self) -> Vec<Field> {
        let (word, tone) = if self.passed { ("ok", Tone::Good) } else { ("differs", Tone::Bad) };
        let slowest = Duration::from_micros(self.slowest_us).as_secs_f64() * 1e3;
        vec![
            Field::new(&self.file),
            Field::new(word).tone(tone),
            Field::number(self.calls),
            Field::number(format!("{slowest:.2} ms")),
            Field::number(self.fuel.map_or_else(|| "-".to_owned(), |fuel| fuel.to_string())),
            Field::number(size(u64::try_from(self.memory_peak_bytes).unwrap_or(u64::MAX))),
            Field::number(self.bytes_in),
            Field::number(self.bytes_out),
        ]
    }
}

fn places(args: &TestArgs, screen: Screen) -> Result<(PathBuf, PathBuf), Failure> {
    if let (Some(component), Some(fixtures)) = (&args.component, &args.fixtures) {
        return Ok((component.clone(), fixtures.clone()));
    }
    let project = Project::read(&args.folder)?;
    let component = match &args.component {
        Some(component) => component.clone(),
        None => {
            if project.is_stale() {
                build::make(&project, screen)?;
            }
            project.component()
        }
    };
    Ok((component, args.fixtures.clone().unwrap_or_else(|| project.fixtures())))
}

/// The golden files of a folder, by name.
pub(super) fn files_of(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let named = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", folder.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| named(&error))? {
        let path = entry.map_err(|error| named(&error))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() { Err(named(&"no golden file (*.json) is there")) } else { Ok(files) }
}

async fn one(guest: &Guest, file: &Path, update: bool) -> Outcome {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut tally = Tally::default();
    let checked = check(guest, file, update, &mut tally).await;
    let (error, differences) = match checked {
        Ok(differences) => (None, differences),
        Err(error) => (Some(error), Vec::new()),
    };
    let differs = |Difference { place, expected, actual }| Differs { place, expected, actual };
    Outcome {
        file: name,
        passed: error.is_none() && differences.is_empty(),
        error,
        differences: differences.into_iter().map(differs).collect(),
        calls: tally.calls,
        slowest_us: u64::try_from(tally.cost.elapsed.as_micros()).unwrap_or(u64::MAX),
        fuel: None,
        memory_peak_bytes: tally.cost.memory_peak_bytes,
        bytes_in: tally.bytes_in,
        bytes_out: tally.bytes_out,
    }
}

/// What a file's calls run, where all of them end well.
async fn fuel_of(meter: &Guest, file: &Path) -> Option<u64> {
    let fixture = Fixture::parse(&fs::read_to_string(file).ok()?).ok()?;
    let mut tally = Tally::default();
    answers(meter, &fixture, &mut tally).await.ok()?;
    tally.cost.fuel
}

/// What a file's calls cost together.
#[derive(Default)]
struct Tally {
    calls: usize,
    cost: Cost,
    bytes_in: usize,
    bytes_out: usize,
}

impl Tally {
    fn add(&mut self, cost: Cost) {
        self.calls += 1;
        self.cost = self.cost.and(cost);
    }
}

async fn check(guest: &Guest, file: &Path, update: bool, tally: &mut Tally) -> Result<Vec<Difference>, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let fixture = Fixture::parse(&text)?;
    let answers = answers(guest, &fixture, tally).await?;
    if update && tally.calls == 0 {
        let nothing =
            "it has neither an event with a payload, exchanges, a call, a sink nor a source; there is nothing to write";
        return Err(nothing.to_owned());
    }
    if update {
        fs::write(file, Fixture::recorded(&text, answers)?).map_err(|error| error.to_string())?;
        return Ok(Vec::new());
    }
    fixture.differences(answers)
}

/// Makes the calls that a file describes.
async fn answers(guest: &Guest, fixture: &Fixture, tally: &mut Tally) -> Result<Answers, String> {
    let setting = Setting::of(fixture);
    validate_config(&guest.installed.manifest.config_schema, setting.config())
        .map_err(|invalid| format!("config: {invalid}"))?;
    let mut answers = Answers::default();
    if let Some((event, context)) = fixture.transform()? {
        tally.bytes_in += bytes(&event.data).len();
        let (plan, cost) = guest.transform(&setting, &event, &context).await.map_err(|fault| fault.to_string())?;
        tally.add(cost);
        if let Ok(engate_sdk::Plan::Send(outgoing)) = &plan {
            tally.bytes_out = bytes(&outgoing.request.body).len();
        }
        answers.plan = Some(plan);
    }
    for (index, exchange) in fixture.exchanges()?.iter().enumerate() {
        tally.bytes_in += bytes(&exchange.response.body).len();
        let answered = guest.interpret(&setting, exchange).await;
        let (verdict, cost) = answered.map_err(|fault| format!("exchanges[{index}]: {fault}"))?;
        tally.add(cost);
        answers.verdicts.push(verdict);
    }
    if let Some(call) = fixture.call()? {
        tally.bytes_in += bytes(&call.body).len();
        let (answer, cost) = guest.receive(&setting, &call).await.map_err(|fault| fault.to_string())?;
        tally.add(cost);
        if let Ok(answer) = &answer {
            tally.bytes_out = bytes(&answer.body).len();
        }
        answers.answer = Some(answer);
    }
    if let Some(calls) = fixture.sink()? {
        tally.bytes_in += calls.encode.iter().flat_map(|(_, page)| &page.changes).map(|c| c.data.len()).sum::<usize>();
        answers.sync = guest.sink(&setting, calls, |cost| tally.add(cost)).await.map_err(|fault| fault.to_string())?;
        if let Some(Ok(request)) = &answers.sync.request {
            tally.bytes_out = bytes(&request.body).len();
        }
    }
    if let Some(call) = fixture.source()? {
        let answered = call.web.iter().filter_map(|answer| answer.as_ref().ok());
        tally.bytes_in += answered.map(|response| bytes(&response.body).len()).sum::<usize>();
        answers.sync = guest.source(&setting, call, |cost| tally.add(cost)).await.map_err(|fault| fault.to_string())?;
        if let Some((Ok(feed), _)) = &answers.sync.pulled {
            tally.bytes_out = feed.changes.iter().map(|change| change.data.len()).sum();
        }
    }
    Ok(answers)
}

/// Both sides line by line: what the file has with `-`, what the plugin did with `+`.
fn lines(differs: &Differs, screen: Screen) -> String {
    let expected = differs.expected.as_deref().unwrap_or("");
    let diff = TextDiff::from_lines(expected, &differs.actual);
    let line = |change: similar::Change<&str>| {
        let text = change.value().trim_end_matches('\n');
        match change.tag() {
            ChangeTag::Delete => screen.paint(&format!("  - {text}\n"), Tone::Bad),
            ChangeTag::Insert => screen.paint(&format!("  + {text}\n"), Tone::Good),
            ChangeTag::Equal => format!("    {text}\n"),
        }
    };
    diff.iter_all_changes().map(line).collect::<String>().trim_end().to_owned()
}
