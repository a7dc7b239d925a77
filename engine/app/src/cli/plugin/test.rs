//! `engate plugin test`: golden files through the component itself, under the limits of a delivery.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use engate_host::validate_config;
use engate_sdk::testing::{Answers, Difference, Fixture};
use serde::Serialize;
use serde_json::json;
use similar::{ChangeTag, TextDiff};

use super::{
    build,
    guest::{Cost, Guest, Setting},
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
    memory_peak_bytes: usize,
    body_bytes: usize,
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
    let guest = Guest::load(&component).await?;
    let files = files_of(&fixtures)?;
    let mut outcomes = Vec::with_capacity(files.len());
    for file in &files {
        outcomes.push(one(&guest, file, args.update).await);
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    if screen.json {
        let manifest = &guest.installed.manifest;
        let report =
            json!({"plugin": manifest.id, "version": manifest.version, "passed": failed == 0, "files": outcomes});
        screen.line(report.to_string())?;
    } else {
        print(&guest, &outcomes, screen)?;
    }
    if failed == 0 {
        return Ok(());
    }
    let cure = "read the differences above; `--update` writes what the plugin does into the files";
    Err(Failure::failed(format!("{failed} of {} golden files differ: {cure}", outcomes.len())))
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

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
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
        memory_peak_bytes: tally.cost.memory_peak_bytes,
        body_bytes: tally.body_bytes,
    }
}

/// What a file's calls cost together.
#[derive(Default)]
struct Tally {
    calls: usize,
    cost: Cost,
    body_bytes: usize,
}

impl Tally {
    fn add(&mut self, cost: Cost) {
        self.calls += 1;
        self.cost = self.cost.max(cost);
    }
}

async fn check(guest: &Guest, file: &Path, update: bool, tally: &mut Tally) -> Result<Vec<Difference>, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let fixture = Fixture::parse(&text)?;
    let setting = Setting::of(&fixture);
    validate_config(&guest.installed.manifest.config_schema, setting.config())
        .map_err(|invalid| format!("config: {invalid}"))?;
    let mut answers = Answers::default();
    if let Some((event, context)) = fixture.transform()? {
        let (plan, cost) = guest.transform(&setting, &event, &context).await.map_err(|fault| fault.to_string())?;
        tally.add(cost);
        if let Ok(engate_sdk::Plan::Send(outgoing)) = &plan {
            tally.body_bytes = outgoing.request.text().map_or(0, str::len);
        }
        answers.plan = Some(plan);
    }
    for (index, exchange) in fixture.exchanges()?.iter().enumerate() {
        let answered = guest.interpret(&setting, exchange).await;
        let (verdict, cost) = answered.map_err(|fault| format!("exchanges[{index}]: {fault}"))?;
        tally.add(cost);
        answers.verdicts.push(verdict);
    }
    if let Some(call) = fixture.call()? {
        let (answer, cost) = guest.receive(&setting, &call).await.map_err(|fault| fault.to_string())?;
        tally.add(cost);
        if let Ok(answer) = &answer {
            tally.body_bytes = answer.body.as_bytes().len();
        }
        answers.answer = Some(answer);
    }
    if update && answers.plan.is_none() && answers.verdicts.is_empty() && answers.answer.is_none() {
        let nothing = "it has neither an event with a payload nor exchanges nor a call; there is nothing to write";
        return Err(nothing.to_owned());
    }
    if update {
        fs::write(file, Fixture::recorded(&text, answers)?).map_err(|error| error.to_string())?;
        return Ok(Vec::new());
    }
    fixture.differences(answers)
}

fn print(guest: &Guest, outcomes: &[Outcome], screen: Screen) -> Result<(), Failure> {
    let manifest = &guest.installed.manifest;
    screen.line(format!("{} {}, {}\n", manifest.id, manifest.version, size(guest.installed.size_bytes)))?;
    let rows = outcomes.iter().map(|outcome| {
        let (word, tone) = if outcome.passed { ("ok", Tone::Good) } else { ("differs", Tone::Bad) };
        vec![
            Field::new(&outcome.file),
            Field::new(word).tone(tone),
            Field::number(outcome.calls),
            Field::number(format!(
                "{:.2} ms",
                std::time::Duration::from_micros(outcome.slowest_us).as_secs_f64() * 1e3
            )),
            Field::number(size(u64::try_from(outcome.memory_peak_bytes).unwrap_or(u64::MAX))),
            Field::number(outcome.body_bytes),
        ]
    });
    let header = ["FILE", "RESULT", "CALLS", "SLOWEST", "MEMORY", "BODY BYTES"];
    screen.table(&header, rows.collect(), "")?;
    for outcome in outcomes.iter().filter(|outcome| !outcome.passed) {
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
