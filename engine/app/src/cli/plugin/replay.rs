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
use engate_host::Secrets;
use engate_model::plugin::Limits;
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::guest::Guest;
use crate::{
    cli::{
        client::Client,
        failure::Failure,
        present::{Field, Screen, Tone, plain},
    },
    replay::{Change, Differing, Player, Recorded, made_up_keys},
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
    /// The new component; with --remote an installed one: NAME@VERSION or NAME@CHANNEL
    #[arg(value_name = "FILE")]
    pub(super) component: PathBuf,

    /// Compare inside the engine, which reads its own history, and not here
    #[arg(long)]
    pub(super) remote: bool,

    /// With --remote: the version or channel to compare with
    #[arg(long, value_name = "VERSION", requires = "remote", default_value = engate_model::plugin::CHANNEL_DEFAULT)]
    pub(super) base: String,

    #[command(flatten)]
    pub(super) history: History,
}

/// A choice of recorded attempts.
#[derive(Debug, Args)]
pub(super) struct History {
    /// Only attempts of this plugin, whatever its version
    #[arg(long, value_name = "NAME")]
    pub(super) plugin: Option<String>,

    /// Only attempts for this integrator, by slug or id
    #[arg(long, value_name = "SLUG|ID")]
    pub(super) integrator: Option<String>,

    /// How far back, such as 90m, 24h or 7d
    #[arg(long, value_name = "AGE", default_value = "7d", value_parser = age)]
    since: Duration,
}

impl History {
    /// The instant it begins at, as the API writes it.
    pub(super) fn since(&self) -> String {
        (chrono::Utc::now() - self.since).to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    }

    async fn records(&self, client: &Client, plugin: Option<&str>) -> Result<Vec<Recorded>, Failure> {
        let mut query = vec![("since", self.since())];
        query.extend(plugin.map(|plugin| ("plugin", plugin.to_owned())));
        query.extend(self.integrator.clone().map(|integrator| ("integrator", integrator)));
        client.list_all(&["v1", "replays"], &query).await?.rows()
    }
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
    let (pairs, left_out) = match &args.component {
        Some(file) => {
            let guest = guests.file(file).await?;
            (records.into_iter().map(|recorded| (Arc::clone(&guest), recorded)).collect(), 0)
        }
        None => guests.of_records(records, screen).await?,
    };
    let tasks = pairs.into_iter().map(|(guest, recorded)| async move {
        let changes = player(&guest, None).play(&recorded).await.against_record(&recorded);
        Differing::of(&recorded, changes)
    });
    at_work("replayed", tasks, left_out, screen).await
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
    let (pairs, left_out) = guests.of_records(records, screen).await?;
    let tasks = pairs.into_iter().map(|(old, recorded)| {
        let new = Arc::clone(&new);
        async move { compared(&old, &new, &recorded).await }
    });
    at_work("compared", tasks, left_out, screen).await
}

/// Runs `tasks` on all cores, in order, and reports what they found.
async fn at_work<T>(
    verb: &'static str,
    tasks: impl ExactSizeIterator<Item = T>,
    left_out: usize,
    screen: Screen,
) -> Result<(), Failure>
where
    T: Future<Output = Option<Differing>> + Send + 'static,
{
    let count = tasks.len();
    let bar = bar(count, screen);
    let started = Instant::now();
    let together = std::thread::available_parallelism().map_or(2, usize::from) * TASKS_PER_CORE;
    let mut running = stream::iter(tasks.map(tokio::spawn)).buffered(together);
    let mut found = Vec::new();
    while let Some(one) = running.next().await {
        found.extend(one.map_err(Failure::failed)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Findings { verb, count, differing: found.len(), found, left_out, took: started.elapsed() }.report(screen)
}

/// What the new version does otherwise in an attempt.
async fn compared(old: &Guest, new: &Guest, recorded: &Recorded) -> Option<Differing> {
    let keys = made_up_keys([&old.installed.manifest, &new.installed.manifest]);
    let before = player(old, Some(keys.clone())).play(recorded).await;
    let after = player(new, Some(keys)).play(recorded).await;
    Differing::of(recorded, before.against(&after))
}

fn player(guest: &Guest, secrets: Option<Secrets>) -> Player<'_> {
    Player {
        host: &guest.host,
        plugin: &guest.plugin,
        interpret: guest.installed.manifest.interpret,
        limits: Limits::default().for_component(guest.installed.size_bytes),
        secrets,
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

    /// Attempts with the version that made each; those of versions that are gone are left out, told and counted.
    async fn of_records(
        &mut self,
        records: Vec<Recorded>,
        screen: Screen,
    ) -> Result<(Vec<(Arc<Guest>, Recorded)>, usize), Failure> {
        let (mut pairs, mut gone) = (Vec::with_capacity(records.len()), BTreeMap::<String, usize>::new());
        for recorded in records {
            if gone.contains_key(&recorded.plugin) {
                *gone.entry(recorded.plugin).or_default() += 1;
                continue;
            }
            match self.recorded(&recorded).await? {
                Some(guest) => pairs.push((guest, recorded)),
                None => drop(gone.insert(recorded.plugin, 1)),
            }
        }
        let told = gone.iter().map(|(plugin, count)| format!("{count} of {}", plain(plugin))).collect::<Vec<_>>();
        if !told.is_empty() && !screen.json {
            screen.line(format!("left out, since their version is installed no longer: {}", told.join(", ")))?;
        }
        if pairs.is_empty() {
            return Err(Failure::failed(format!("the versions of all these attempts are gone: {}", told.join(", "))));
        }
        Ok((pairs, gone.values().sum()))
    }

    /// The version that made the attempt, as the engine keeps it; none where it is gone, as development versions go.
    async fn recorded(&mut self, recorded: &Recorded) -> Result<Option<Arc<Guest>>, Failure> {
        if let Some(guest) = self.loaded.get(&recorded.plugin_digest) {
            return Ok(Some(Arc::clone(guest)));
        }
        let (name, version) = recorded.plugin.split_once('@').unwrap_or((&recorded.plugin, ""));
        let bytes = match self.client.download(&["v1", "plugins", name, "versions", version, "component"]).await {
            Ok(bytes) => bytes,
            Err(Failure::Answered(problem)) if problem.status == 404 => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let guest = Arc::new(Guest::of(&recorded.plugin, bytes).await?);
        self.loaded.insert(recorded.plugin_digest.clone(), Arc::clone(&guest));
        Ok(Some(guest))
    }
}

/// A bar on a terminal's standard error, else nothing.
pub(super) fn bar(length: usize, screen: Screen) -> ProgressBar {
    if screen.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(u64::try_from(length).ok(), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta}");
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

/// What attempts showed.
#[derive(Debug)]
pub(super) struct Findings {
    /// What was done with them: `replayed`, `compared`.
    pub(super) verb: &'static str,
    /// Attempts.
    pub(super) count: usize,
    /// Those in which anything differs, or the first of them.
    pub(super) found: Vec<Differing>,
    /// How many they are.
    pub(super) differing: usize,
    /// Attempts whose version is gone.
    pub(super) left_out: usize,
    /// How long it took.
    pub(super) took: Duration,
}

impl Findings {
    /// Prints what differs; fails where anything does.
    pub(super) fn report(&self, screen: Screen) -> Result<(), Failure> {
        let Self { verb, count, found, differing, left_out, took } = self;
        if screen.json {
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let report = json!({"attempts": count, "left_out": left_out, "took_ms": took_ms, "differing": found});
            screen.line(report.to_string())?;
        } else {
            found.iter().take(SHOWN_MAX).try_for_each(|one| show(one, screen))?;
            if found.len() > SHOWN_MAX {
                screen.line(format!("\nand {} more; --json has them all", found.len() - SHOWN_MAX))?;
            }
            let speed = *count as f64 / took.as_secs_f64().max(1e-6);
            let same = count.saturating_sub(*differing);
            screen.line(format!(
                "\n{count} attempts {verb} in {took:.2?}, {speed:.0} a second: {same} the same to the byte, {differing} differ"
            ))?;
        }
        if *differing == 0 {
            return Ok(());
        }
        Err(Failure::failed(format!("{differing} of {count} attempts differ")))
    }
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
