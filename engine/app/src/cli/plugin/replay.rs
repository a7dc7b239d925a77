//! `engate plugin replay` and `engate plugin diff`: recorded history through a component, here and without sending
//! anything.

use std::{
    collections::{BTreeMap, HashMap},
    io::IsTerminal as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use engate_host::{GrantedSecret, Secrets};
use engate_model::Secret;
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::guest::Guest;
use crate::{
    cli::{
        client::Client,
        failure::Failure,
        present::{Field, Screen, Tone, plain},
    },
    replay::{Change, Player, Recorded},
};

/// Longest part of a value that a table shows.
const SHOWN_CHARS_MAX: usize = 120;
/// Attempts under way at once, for each core.
const TASKS_PER_CORE: usize = 4;
/// Attempts that differ and are shown one by one.
const SHOWN_MAX: usize = 20;

/// Which attempts to replay.
#[derive(Debug, Args)]
pub(in crate::cli) struct ReplayArgs {
    /// A delivery's id (dlv_...); none: what --since, --plugin and --integrator choose
    #[arg(value_name = "DELIVERY", conflicts_with_all = ["plugin", "integrator", "since"])]
    delivery: Option<String>,

    /// Only this attempt of each delivery
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,

    /// A component to replay with; none: the version that made each attempt
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,

    #[command(flatten)]
    history: History,
}

/// Which history to compare over.
#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArgs {
    /// The new component
    #[arg(value_name = "FILE")]
    component: PathBuf,

    #[command(flatten)]
    history: History,
}

/// A choice of recorded attempts.
#[derive(Debug, Args)]
struct History {
    /// Only attempts of this plugin, whatever its version
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,

    /// Only attempts for this integrator, by slug or id
    #[arg(long, value_name = "SLUG|ID")]
    integrator: Option<String>,

    /// How far back, such as 90m, 24h or 7d
    #[arg(long, value_name = "AGE", default_value = "7d", value_parser = age)]
    since: Duration,
}

impl History {
    async fn records(&self, client: &Client, plugin: Option<&str>) -> Result<Vec<Recorded>, Failure> {
        let since = chrono::Utc::now() - self.since;
        let mut query = vec![("since", since.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))];
        query.extend(plugin.map(|plugin| ("plugin", plugin.to_owned())));
        query.extend(self.integrator.clone().map(|integrator| ("integrator", integrator)));
        client.list_all(&["v1", "replays"], &query).await?.rows()
    }
}

/// An attempt and what differs in it.
#[derive(Debug, Serialize)]
struct Differing {
    delivery: String,
    attempt: u32,
    event_type: String,
    plugin: String,
    changes: Vec<Change>,
}

/// Replays recorded attempts and compares each with its record.
pub(super) async fn replay(args: &ReplayArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let mut records = match &args.delivery {
        Some(delivery) => {
            client.list_all(&["v1", "replays"], &[("delivery", delivery.clone())]).await?.rows::<Recorded>()?
        }
        None => args.history.records(client, args.history.plugin.as_deref()).await?,
    };
    records.retain(|recorded| args.attempt.is_none_or(|number| recorded.number == number));
    if records.is_empty() {
        return Err(Failure::failed("no plugin had part in such an attempt; there is nothing to replay"));
    }
    let mut guests = Guests::new(client);
    let mut pairs = Vec::with_capacity(records.len());
    for recorded in records {
        let guest = match &args.component {
            Some(file) => guests.file(file).await?,
            None => guests.recorded(&recorded).await?,
        };
        pairs.push((guest, recorded));
    }
    let tasks = pairs.into_iter().map(|(guest, recorded)| async move {
        let changes = player(&guest, None).play(&recorded).await.against_record(&recorded);
        (!changes.is_empty()).then(|| differing_of(&recorded, changes))
    });
    at_work("replayed", tasks, screen).await
}

/// Runs the recorded version and the new one over history, and shows what would change.
pub(super) async fn diff(args: &DiffArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let mut guests = Guests::new(client);
    let new = guests.file(&args.component).await?;
    let plugin = args.history.plugin.as_ref().unwrap_or(&new.installed.manifest.id);
    let records = args.history.records(client, Some(plugin)).await?;
    if records.is_empty() {
        let plugin = plain(plugin);
        return Err(Failure::failed(format!("no attempt of {plugin} in that time; --since looks further back")));
    }
    let mut pairs = Vec::with_capacity(records.len());
    for recorded in records {
        pairs.push((guests.recorded(&recorded).await?, recorded));
    }
    let tasks = pairs.into_iter().map(|(old, recorded)| {
        let new = Arc::clone(&new);
        async move { compared(&old, &new, &recorded).await }
    });
    at_work("compared", tasks, screen).await
}

/// Runs `tasks` on all cores, in order, and reports what they found.
async fn at_work<T>(verb: &str, tasks: impl ExactSizeIterator<Item = T>, screen: Screen) -> Result<(), Failure>
where
    T: Future<Output = Option<Differing>> + Send + 'static,
{
    let count = tasks.len();
    let bar = bar(count, screen);
    let started = Instant::now();
    let together = std::thread::available_parallelism().map_or(2, usize::from) * TASKS_PER_CORE;
    let mut running = stream::iter(tasks.map(tokio::spawn)).buffered(together);
    let mut differing = Vec::new();
    while let Some(one) = running.next().await {
        differing.extend(one.map_err(Failure::failed)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    report(verb, count, &differing, started.elapsed(), screen)
}

/// Both versions sign with the same made-up keys, so that a signature differs only where what is signed does.
async fn compared(old: &Guest, new: &Guest, recorded: &Recorded) -> Option<Differing> {
    let names = [old, new].map(|guest| guest.installed.manifest.secrets.iter().map(|need| need.name.clone()));
    let stand_in = |name: String| {
        let value = Ok(Secret::new(format!("made-up key of {name}")));
        (name, GrantedSecret { value, reveal: true })
    };
    let secrets: BTreeMap<_, _> = names.into_iter().flatten().map(stand_in).collect();
    let secrets = Secrets::granted(Arc::new(secrets));
    let before = player(old, Some(secrets.clone())).play(recorded).await;
    let after = player(new, Some(secrets)).play(recorded).await;
    let changes = before.against(&after);
    (!changes.is_empty()).then(|| differing_of(recorded, changes))
}

fn player(guest: &Guest, secrets: Option<Secrets>) -> Player<'_> {
    Player { host: &guest.host, plugin: &guest.plugin, interpret: guest.installed.manifest.interpret, secrets }
}

fn differing_of(recorded: &Recorded, changes: Vec<Change>) -> Differing {
    Differing {
        delivery: recorded.delivery.clone(),
        attempt: recorded.number,
        event_type: recorded.event_type.clone(),
        plugin: recorded.plugin.clone(),
        changes,
    }
}

/// Components, each loaded once.
struct Guests<'a> {
    client: &'a Client,
    loaded: HashMap<String, Arc<Guest>>,
}

impl<'a> Guests<'a> {
    fn new(client: &'a Client) -> Self {
        Self { client, loaded: HashMap::new() }
    }

    async fn file(&mut self, file: &std::path::Path) -> Result<Arc<Guest>, Failure> {
        let key = file.display().to_string();
        if let Some(guest) = self.loaded.get(&key) {
            return Ok(Arc::clone(guest));
        }
        let guest = Arc::new(Guest::load(file).await?);
        self.loaded.insert(key, Arc::clone(&guest));
        Ok(guest)
    }

    /// The version that made the attempt, as the engine keeps it.
    async fn recorded(&mut self, recorded: &Recorded) -> Result<Arc<Guest>, Failure> {
        if let Some(guest) = self.loaded.get(&recorded.plugin_digest) {
            return Ok(Arc::clone(guest));
        }
        let (name, version) = recorded.plugin.split_once('@').unwrap_or((&recorded.plugin, ""));
        let bytes = self.client.download(&["v1", "plugins", name, "versions", version, "component"]).await?;
        let guest = Arc::new(Guest::of(&recorded.plugin, bytes).await?);
        self.loaded.insert(recorded.plugin_digest.clone(), Arc::clone(&guest));
        Ok(guest)
    }
}

fn bar(length: usize, screen: Screen) -> ProgressBar {
    if screen.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(u64::try_from(length).ok(), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta}");
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

fn report(verb: &str, count: usize, differing: &[Differing], took: Duration, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        screen.line(json!({"attempts": count, "took_ms": took_ms, "differing": differing}).to_string())?;
    } else {
        differing.iter().take(SHOWN_MAX).try_for_each(|one| show(one, screen))?;
        if differing.len() > SHOWN_MAX {
            screen.line(format!("\nand {} more; --json has them all", differing.len() - SHOWN_MAX))?;
        }
        let speed = count as f64 / took.as_secs_f64().max(1e-6);
        screen.line(format!(
            "\n{count} attempts {verb} in {took:.2?}, {speed:.0} a second: {} the same to the byte, {} differ",
            count - differing.len(),
            differing.len()
        ))?;
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("{} of {count} attempts differ", differing.len())))
}

fn show(one: &Differing, screen: Screen) -> Result<(), Failure> {
    screen.heading(&format!("{} attempt {} ({}, {})", one.delivery, one.attempt, one.event_type, one.plugin))?;
    let shown = |value: &Option<String>| Field::new(value.as_deref().map_or("-".to_owned(), shortened));
    let row = |change: &Change| {
        let (before, after) = (shown(&change.before), shown(&change.after));
        vec![Field::new(&change.what), before.tone(Tone::Bad), after.tone(Tone::Good)]
    };
    screen.table(&["WHAT", "BEFORE", "AFTER"], one.changes.iter().map(row).collect(), "")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or(text)),
        None => text.to_owned(),
    }
}

/// `90m`, `24h`, `7d`.
fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no age; write minutes, hours or days, such as 90m, 24h or 7d");
    let split = text.len().checked_sub(1).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(seconds)
        .filter(|seconds| *seconds < 100 * 366 * 86_400)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_minutes_hours_or_days() {
        assert_eq!(age("90m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(age("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "d", "7", "7w", "-1d", "é", "99999999999999999999d", "1000000d"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
