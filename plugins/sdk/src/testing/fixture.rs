//! Golden files: event in, request out; response in, verdict out; call in, answer out; for a sync, page in, request out. The format is described in the crate's README.

mod sync;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use serde::Deserialize;
use serde_json::Value;

use super::record;
use super::samples;
use super::spec::{AnswerSpec, PlanSpec, Text, VerdictSpec};
use crate::{
    Answer, Call, Context, Event, Exchange, Integrator, Payload, Plan, Problem, Receiver, Response, Sink, Source,
    Verdict, time,
};
pub use sync::{SinkCalls, SourceCall, SyncAnswers};

/// Set to `1`, has [`run_fixtures`] write what the plugin does into the files.
const UPDATE: &str = "ENGATE_FIXTURES_UPDATE";

/// One golden file. What it leaves out is as in the samples of [`testing`](crate::testing).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    #[serde(default, rename = "title")]
    _title: Option<String>,
    #[serde(default)]
    config: Option<Value>,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    #[serde(default)]
    state: BTreeMap<String, String>,
    #[serde(default)]
    event: EventSpec,
    #[serde(default)]
    delivery: DeliverySpec,
    #[serde(default)]
    endpoint: EndpointSpec,
    #[serde(default)]
    attempt: AttemptSpec,
    #[serde(default)]
    plan: Option<PlanSpec>,
    #[serde(default)]
    exchanges: Vec<ExchangeSpec>,
    #[serde(default)]
    call: Option<CallSpec>,
    #[serde(default)]
    answer: Option<AnswerSpec>,
    #[serde(default)]
    sink: Option<sync::SinkSpec>,
    #[serde(default)]
    source: Option<sync::SourceSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CallSpec {
    method: Option<String>,
    path: Option<String>,
    query: Option<String>,
    headers: BTreeMap<String, String>,
    body: Option<Text>,
    remote_address: Option<String>,
    now: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EventSpec {
    id: Option<String>,
    r#type: Option<String>,
    subject: Option<String>,
    occurred_at: Option<String>,
    content_type: Option<String>,
    payload: Option<Text>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DeliverySpec {
    id: Option<String>,
    code: Option<u64>,
    created_at: Option<String>,
    tenant: Option<String>,
    correlation_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EndpointSpec {
    id: Option<String>,
    url: Option<String>,
    integrator: Option<String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AttemptSpec {
    number: Option<u32>,
    first_at: Option<String>,
    now: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExchangeSpec {
    response: ResponseSpec,
    #[serde(default)]
    memo: Option<String>,
    #[serde(default)]
    verdict: Option<VerdictSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseSpec {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Text>,
    #[serde(default)]
    truncated: bool,
}

/// What a plugin answered to the calls of a golden file.
#[derive(Debug, Default)]
pub struct Answers {
    /// To `transform`, where the file has an event.
    pub plan: Option<Result<Plan, Problem>>,
    /// To each `interpret`, in the file's order.
    pub verdicts: Vec<Verdict>,
    /// To `receive`, where the file has a call.
    pub answer: Option<Result<Answer, Problem>>,
    /// To the calls of a sync, where the file has some.
    pub sync: SyncAnswers,
}

/// One answer that is not as the file has it, both as JSON over several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where in the file.
    pub place: String,
    /// What the file has; none where it has nothing yet.
    pub expected: Option<String>,
    /// What the plugin did.
    pub actual: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, expected, actual } = self;
        let expected = expected.as_deref().unwrap_or("nothing yet");
        write!(f, "{place}\n  expected: {expected}\n  actual:   {actual}")
    }
}

/// Checks every `*.json` of a folder against the plugin. With `ENGATE_FIXTURES_UPDATE=1` in the environment the files
/// are written anew instead.
///
/// # Panics
/// If a file is not as the plugin does, or is unreadable, or there is none.
#[track_caller]
pub fn run_fixtures<P: Integrator>(folder: impl AsRef<Path>) {
    run_all(folder.as_ref(), Fixture::run::<P>);
}

/// As [`run_fixtures`], for a [`Receiver`].
///
/// # Panics
/// As [`run_fixtures`].
#[track_caller]
pub fn run_receiver_fixtures<P: Receiver>(folder: impl AsRef<Path>) {
    run_all(folder.as_ref(), Fixture::run_receiver::<P>);
}

/// As [`run_fixtures`], for a [`Sink`].
///
/// # Panics
/// As [`run_fixtures`].
#[track_caller]
pub fn run_sink_fixtures<P: Sink>(folder: impl AsRef<Path>) {
    run_all(folder.as_ref(), |fixture| Ok(Answers { sync: fixture.run_sink::<P>()?, ..Answers::default() }));
}

/// As [`run_fixtures`], for a [`Source`].
///
/// # Panics
/// As [`run_fixtures`].
#[track_caller]
pub fn run_source_fixtures<P: Source>(folder: impl AsRef<Path>) {
    run_all(folder.as_ref(), |fixture| Ok(Answers { sync: fixture.run_source::<P>()?, ..Answers::default() }));
}

#[track_caller]
#[expect(clippy::panic, reason = "an assertion for tests")]
fn run_all(folder: &Path, run: fn(&Fixture) -> Result<Answers, String>) {
    let files = files_of(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    assert!(!files.is_empty(), "no fixture in {}", folder.display());
    let update = env::var_os(UPDATE).is_some_and(|value| value == "1");
    let faults: Vec<String> = files.iter().flat_map(|file| check_file(file, update, run)).collect();
    assert!(faults.is_empty(), "{}\n{UPDATE}=1 writes what the plugin does", faults.join("\n"));
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn check_file(file: &Path, update: bool, run: fn(&Fixture) -> Result<Answers, String>) -> Vec<String> {
    let checked = fs::read_to_string(file).map_err(|error| error.to_string()).and_then(|text| {
        let fixture = Fixture::parse(&text)?;
        if update {
            let recorded = Fixture::recorded(&text, run(&fixture)?)?;
            fs::write(file, recorded).map_err(|error| error.to_string())?;
            return Ok(Vec::new());
        }
        fixture.told(run(&fixture)?)
    });
    let faults = checked.unwrap_or_else(|why| vec![why]);
    faults.into_iter().map(|fault| format!("{}: {fault}", file.display())).collect()
}

impl Fixture {
    /// Reads a golden file.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// Runs the plugin natively; what differs from the file, in words.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn check<P: Integrator>(&self) -> Result<Vec<String>, String> {
        self.told(self.run::<P>()?)
    }

    fn told(&self, answers: Answers) -> Result<Vec<String>, String> {
        Ok(self.differences(answers)?.iter().map(ToString::to_string).collect())
    }

    /// What differs from the file in these answers.
    ///
    /// # Errors
    /// What is wrong with the file or with an answer, in words.
    pub fn differences(&self, answers: Answers) -> Result<Vec<Difference>, String> {
        let mut faults = Vec::new();
        if let Some(plan) = answers.plan {
            faults.extend(difference("plan", self.plan.as_ref(), &PlanSpec::of(plan)?)?);
        }
        for (index, (spec, verdict)) in self.exchanges.iter().zip(answers.verdicts).enumerate() {
            let place = format!("exchanges[{index}].verdict");
            faults.extend(difference(&place, spec.verdict.as_ref(), &VerdictSpec::of(verdict))?);
        }
        if let Some(answer) = answers.answer {
            faults.extend(difference("answer", self.answer.as_ref(), &AnswerSpec::of(answer)?)?);
        }
        faults.extend(self.sync_differences(answers.sync)?);
        let sync = self.sink.is_some() || self.source.is_some();
        if self.plan.is_none() && self.exchanges.is_empty() && self.answer.is_none() && !sync {
            let actual = "it checks nothing".to_owned();
            faults.push(Difference { place: "the file".to_owned(), expected: None, actual });
        }
        Ok(faults)
    }

    /// The file's text with these answers in place of what was expected; the rest stays as it was typed.
    ///
    /// # Errors
    /// What is wrong with the file or with an answer, in words.
    pub fn recorded(text: &str, answers: Answers) -> Result<String, String> {
        let plan = answers.plan.map(PlanSpec::of).transpose()?;
        let verdicts: Vec<_> = answers.verdicts.into_iter().map(VerdictSpec::of).collect();
        let answer = answers.answer.map(AnswerSpec::of).transpose()?;
        let text = record::with_actual(text, plan.as_ref(), &verdicts, answer.as_ref())?;
        sync::recorded(&text, answers.sync)
    }

    /// The installation's settings.
    #[must_use]
    pub const fn config(&self) -> Option<&Value> {
        self.config.as_ref()
    }

    /// The granted secrets: name and key.
    #[must_use]
    pub const fn secrets(&self) -> &BTreeMap<String, String> {
        &self.secrets
    }

    /// The plugin's state before the calls.
    #[must_use]
    pub const fn state(&self) -> &BTreeMap<String, String> {
        &self.state
    }

    /// The arguments of `transform`; none where the file is about responses only.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn transform(&self) -> Result<Option<(Event, Context)>, String> {
        if self.plan.is_none() && self.event.payload.is_none() {
            return Ok(None);
        }
        Ok(Some((self.event()?, self.context()?)))
    }

    /// The argument of each `interpret`.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn exchanges(&self) -> Result<Vec<Exchange>, String> {
        self.exchanges.iter().map(|spec| self.exchange(spec)).collect()
    }

    /// The argument of `receive`; none where the file has no call.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn call(&self) -> Result<Option<Call>, String> {
        let Some(spec) = &self.call else {
            let untold = self.answer.as_ref().map(|_| "it has an answer, and no call to answer".to_owned());
            return untold.map_or(Ok(None), Err);
        };
        let mut call = samples::call();
        set(&mut call.method, spec.method.as_ref());
        set(&mut call.path, spec.path.as_ref());
        set(&mut call.query, spec.query.as_ref());
        call.headers = pairs(&spec.headers);
        call.body = payload(spec.body.as_ref());
        set(&mut call.remote_address, spec.remote_address.as_ref());
        set_instant(&mut call.now, spec.now.as_deref())?;
        Ok(Some(call))
    }

    fn run_receiver<P: Receiver>(&self) -> Result<Answers, String> {
        let answer = self.call()?.map(|call| self.host().receive::<P>(&call));
        Ok(Answers { answer, ..Answers::default() })
    }

    fn run<P: Integrator>(&self) -> Result<Answers, String> {
        let transform = self.transform()?;
        let plan = transform.map(|(event, context)| self.host().transform::<P>(&event, &context));
        let exchanges = self.exchanges()?;
        let verdicts = exchanges.iter().map(|exchange| self.host().interpret::<P>(exchange)).collect();
        Ok(Answers { plan, verdicts, ..Answers::default() })
    }

    fn host(&self) -> super::Host {
        let mut host = super::Host::new();
        if let Some(config) = &self.config {
            host = host.config(config.clone());
        }
        for (name, key) in &self.secrets {
            host = host.secret(name, key);
        }
        for (key, value) in &self.state {
            host = host.state(key, value);
        }
        host
    }

    fn event(&self) -> Result<Event, String> {
        let spec = &self.event;
        let mut event = samples::event(spec.r#type.as_deref().unwrap_or("sample"));
        set(&mut event.id, spec.id.as_ref());
        event.subject.clone_from(&spec.subject);
        set_instant(&mut event.occurred_at, spec.occurred_at.as_deref())?;
        set(&mut event.content_type, spec.content_type.as_ref());
        event.data = payload(spec.payload.as_ref());
        event.labels = pairs(&spec.labels);
        Ok(event)
    }

    fn context(&self) -> Result<Context, String> {
        let mut context = samples::context();
        let delivery = &mut context.delivery;
        set(&mut delivery.id, self.delivery.id.as_ref());
        set(&mut delivery.code, self.delivery.code.as_ref());
        set_instant(&mut delivery.created_at, self.delivery.created_at.as_deref())?;
        set(&mut delivery.tenant, self.delivery.tenant.as_ref());
        delivery.correlation_id.clone_from(&self.delivery.correlation_id);
        let endpoint = &mut context.endpoint;
        set(&mut endpoint.id, self.endpoint.id.as_ref());
        set(&mut endpoint.url, self.endpoint.url.as_ref());
        set(&mut endpoint.integrator, self.endpoint.integrator.as_ref());
        endpoint.labels = pairs(&self.endpoint.labels);
        let attempt = &mut context.attempt;
        set(&mut attempt.number, self.attempt.number.as_ref());
        set_instant(&mut attempt.first_at, self.attempt.first_at.as_deref())?;
        set_instant(&mut attempt.now, self.attempt.now.as_deref())?;
        Ok(context)
    }

    fn exchange(&self, spec: &ExchangeSpec) -> Result<Exchange, String> {
        let (event, context) = (self.event()?, self.context()?);
        let response = Response {
            headers: pairs(&spec.response.headers),
            body: payload(spec.response.body.as_ref()),
            truncated: spec.response.truncated,
            ..samples::response(spec.response.status)
        };
        Ok(Exchange {
            event_id: event.id,
            event_type: event.event_type,
            subject: event.subject,
            delivery: context.delivery,
            endpoint: context.endpoint,
            attempt: context.attempt,
            memo: spec.memo.clone(),
            response,
        })
    }
}

fn set<T: Clone>(field: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

fn set_instant(field: &mut u64, text: Option<&str>) -> Result<(), String> {
    if let Some(text) = text {
        *field = time::parse_rfc3339(text).ok_or_else(|| format!("`{text}` is no RFC 3339 instant"))?;
    }
    Ok(())
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn payload(text: Option<&Text>) -> Payload {
    text.map_or(Payload::Empty, |text| text.0.as_str().into())
}

fn difference<T: PartialEq + serde::Serialize>(
    place: &str,
    expected: Option<&T>,
    actual: &T,
) -> Result<Option<Difference>, String> {
    if expected == Some(actual) {
        return Ok(None);
    }
    let json = |value: &T| serde_json::to_string_pretty(value).map_err(|error: serde_json::Error| error.to_string());
    let expected = expected.map(json).transpose()?;
    Ok(Some(Difference { place: place.to_owned(), expected, actual: json(actual)? }))
}
