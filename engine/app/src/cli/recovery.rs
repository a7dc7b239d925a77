//! `engate recovery`: all that failed in a time is tried again, at a rate.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    client::{Client, read},
    delivery::SelectionArgs,
    failure::Failure,
    object::spelled,
    present::{Field, Screen, Tone, plain, short_time},
    remote::Remote,
};

/// How often a watch looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// `engate recovery`
#[derive(Debug, Subcommand)]
pub(super) enum RecoveryCommand {
    /// Try all deliveries of a filter and a time again, one after the other
    #[command(after_help = "\
Without --state and --success it is what failed for good.

Examples:
  engate recovery start --since 2026-11-28 --endpoint ep_... --dry-run   how much it would be
  engate recovery start --since 2026-11-28T09:00:00Z --endpoint ep_... --watch
  engate recovery start --since 2026-11-28 --until 2026-11-28 --success no --rate 50")]
    Start(StartArgs),
    /// List recoveries, the newest first
    List,
    /// Show one recovery and how far it is
    Show {
        /// The recovery's id (rec_...), as `engate recovery list` prints it
        id: String,

        /// Show how far it is until it is over
        #[arg(long)]
        watch: bool,
    },
    /// Call a recovery off; what it set due before goes on
    Cancel {
        /// The recovery's id (rec_...)
        id: String,
    },
}

/// What is to be tried again.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// Created then or later: a day or an RFC 3339 time
    #[arg(long, value_name = "WHEN")]
    since: String,

    /// Created then or earlier; a day counts to its end; without it: up to now
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,

    /// Deliveries a second at most; without it: 10
    #[arg(long, value_name = "DELIVERIES")]
    rate: Option<u32>,

    /// Only say how much it would be; nothing is changed
    #[arg(long)]
    dry_run: bool,

    /// Show how far it is until it is over
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,

    #[command(flatten)]
    of: SelectionArgs,
}

/// A recovery as the API tells it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Recovery {
    id: String,
    state: String,
    #[serde(default)]
    filter: Map<String, Value>,
    since: String,
    until: String,
    rate: u32,
    matched: u64,
    matched_estimated: bool,
    retried: u64,
    skipped: BTreeMap<String, u64>,
    #[serde(default)]
    trouble: Option<String>,
    created_by: String,
    started_at: String,
    #[serde(default)]
    finished_at: Option<String>,
}

/// How much one would be.
#[derive(Debug, Deserialize)]
struct DryRun {
    matched: u64,
    matched_estimated: bool,
    by_endpoint: Vec<OfEndpoint>,
    by_reason: Vec<OfReason>,
    skipped: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct OfEndpoint {
    endpoint: String,
    #[serde(default)]
    integrator: String,
    matched: u64,
}

/// An endpoint by what people know it by.
#[derive(Deserialize)]
struct Known {
    id: String,
    integrator: String,
    #[serde(default)]
    description: String,
}

#[derive(Debug, Deserialize)]
struct OfReason {
    #[serde(default)]
    reason: Option<String>,
    matched: u64,
}

impl StartArgs {
    /// As the API takes it.
    fn body(&self) -> Value {
        let lists = self.of.lists().map(|(name, list)| (name, json!(list)));
        let numbers = self.of.numbers().map(|(name, number)| (name, json!(number)));
        let filter: Map<_, _> = lists.chain(numbers).map(|(name, value)| (name.to_owned(), value)).collect();
        let mut body = json!({ "filter": filter, "since": self.since, "dry_run": self.dry_run });
        let given = [("until", self.until.as_ref().map(|until| json!(until))), ("rate", self.rate.map(|n| json!(n)))];
        if let Some(body) = body.as_object_mut() {
            body.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        body
    }
}

/// Runs `engate recovery`.
pub(super) async fn run(command: RecoveryCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        RecoveryCommand::Start(args) => start(&args, &client, screen).await,
        RecoveryCommand::List => list(&client, screen).await,
        RecoveryCommand::Show { id, watch: true } => watch(&id, &client, screen).await,
        RecoveryCommand::Show { id, watch: false } => show(&client.get(&["v1", "recoveries", &id], &[]).await?, screen),
        RecoveryCommand::Cancel { id } => {
            show(&client.act(Method::POST, &["v1", "recoveries", &id, "cancel"]).await?, screen)
        }
    }
}

async fn start(args: &StartArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let answer = client.send(Method::POST, &["v1", "recoveries"], &args.body()).await?;
    if args.dry_run {
        if screen.json {
            return screen.line(answer);
        }
        let found: DryRun = read(&answer)?;
        let known = if found.by_endpoint.is_empty() { Vec::new() } else { endpoints(client).await };
        return show_dry_run(&found, &known, screen);
    }
    if args.watch {
        let started: Recovery = read(&answer)?;
        return watch(&started.id, client, screen).await;
    }
    show(&answer, screen)
}

/// The endpoints that there are. A token that may not read them sees ids only.
async fn endpoints(client: &Client) -> Vec<Known> {
    let listing = client.list_all(&["v1", "endpoints"], &[]).await;
    listing.and_then(|listing| listing.rows()).unwrap_or_default()
}

fn show_dry_run(found: &DryRun, known: &[Known], screen: Screen) -> Result<(), Failure> {
    let what = if found.matched == 1 { "delivery matches" } else { "deliveries match" };
    screen.line(format!("{} {what}; nothing was changed", about(found.matched, found.matched_estimated)))?;
    if found.matched == 0 {
        return Ok(());
    }
    let rows = found.by_endpoint.iter().map(|of| {
        // One that is deleted is not there to be named.
        let known = known.iter().find(|known| known.id == of.endpoint);
        let partner = known.map_or(of.integrator.as_str(), |known| known.integrator.as_str());
        let description = known.map_or("-", |known| known.description.as_str());
        vec![Field::number(of.matched), Field::new(partner), Field::new(description), Field::new(&of.endpoint)]
    });
    screen.line("")?;
    screen.table(&["MATCHED", "PARTNER", "DESCRIPTION", "ENDPOINT"], rows.collect(), "")?;
    let reason = |of: &OfReason| Field::new(of.reason.as_deref().unwrap_or("-"));
    let rows = found.by_reason.iter().map(|of| vec![Field::number(of.matched), reason(of)]);
    screen.line("")?;
    screen.table(&["MATCHED", "REASON"], rows.collect(), "")?;
    if found.skipped.is_empty() {
        return Ok(());
    }
    screen.line("")?;
    screen.line(format!("Of these cannot be tried again as they are now: {}", counts(&found.skipped)))
}

async fn list(client: &Client, screen: Screen) -> Result<(), Failure> {
    let listing = client.list_all(&["v1", "recoveries"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Recovery>()?.into_iter().map(|recovery| {
        vec![
            Field::new(short_time(&recovery.started_at)),
            Field::code(&recovery.state),
            Field::number(recovery.retried),
            Field::number(recovery.skipped.values().sum::<u64>()),
            Field::new(about(recovery.matched, recovery.matched_estimated)),
            Field::new(&recovery.created_by),
            Field::new(&recovery.id),
            Field::new(chosen(&recovery.filter)),
        ]
    });
    let header = ["STARTED (UTC)", "STATE", "RETRIED", "SKIPPED", "MATCHED", "BY", "ID", "FILTER"];
    screen.table(&header, rows.collect(), "There was no recovery.")
}

fn show(answer: &str, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    let recovery: Recovery = read(answer)?;
    let or_dash = |text: &Option<String>| Field::new(text.as_deref().unwrap_or("-"));
    let finished = recovery.finished_at.as_deref().map(short_time);
    screen.facts(&[
        ("id", Field::new(&recovery.id)),
        ("state", Field::code(&recovery.state)),
        ("filter", Field::new(chosen(&recovery.filter))),
        ("created (UTC)", Field::new(format!("{} to {}", short_time(&recovery.since), short_time(&recovery.until)))),
        ("rate", Field::new(format!("{} a second", recovery.rate))),
        ("matched", Field::new(about(recovery.matched, recovery.matched_estimated))),
        ("retried", Field::new(recovery.retried.to_string())),
        ("skipped", Field::new(counts(&recovery.skipped))),
        ("trouble", or_dash(&recovery.trouble)),
        ("started by", Field::new(&recovery.created_by)),
        ("started (UTC)", Field::new(short_time(&recovery.started_at))),
        ("finished (UTC)", or_dash(&finished)),
    ])
}

/// Prints how far it is whenever that changed, until it is over.
async fn watch(id: &str, client: &Client, screen: Screen) -> Result<(), Failure> {
    let mut told = None;
    loop {
        let answer = client.get(&["v1", "recoveries", id], &[]).await?;
        let recovery: Recovery = read(&answer)?;
        let is_over = recovery.state != "running";
        if told.as_ref() != Some(&recovery) {
            screen.line(if screen.json { answer } else { progress(&recovery, screen) })?;
        }
        if is_over {
            return if screen.json { Ok(()) } else { screen.line(how_they_went(&recovery)) };
        }
        told = Some(recovery);
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

/// `rec_...: running, 120 of 900 tried again, skipped newer_version 3`
fn progress(recovery: &Recovery, screen: Screen) -> String {
    let state = screen.paint(&plain(&recovery.state), Tone::of_code(&recovery.state));
    let matched = about(recovery.matched, recovery.matched_estimated);
    let mut line = format!("{}: {state}, {} of {matched} tried again", plain(&recovery.id), recovery.retried);
    if !recovery.skipped.is_empty() {
        line.push_str(&format!(", skipped {}", plain(&counts(&recovery.skipped))));
    }
    if let Some(trouble) = &recovery.trouble {
        line.push_str(&format!("; does not go on at present: {}", plain(trouble)));
    }
    line
}

/// What a filter chooses, `state failed; endpoint ep_1, ep_2`, or a dash.
fn chosen(filter: &Map<String, Value>) -> String {
    if filter.is_empty() {
        return "-".to_owned();
    }
    filter.iter().map(|(name, value)| format!("{name} {}", joined(value, ", "))).collect::<Vec<_>>().join("; ")
}

fn joined(value: &Value, between: &str) -> String {
    match value {
        Value::Array(items) => items.iter().map(spelled).collect::<Vec<_>>().join(between),
        one => spelled(one),
    }
}

/// Where to look, since a recovery only sets tries due. Their states and numbers of tries are others by then.
fn how_they_went(recovery: &Recovery) -> String {
    let of = ["integrator", "endpoint", "event_type"].into_iter().filter_map(|name| {
        let value = recovery.filter.get(name)?;
        Some(format!(" --{} '{}'", name.replace('_', "-"), plain(&joined(value, ","))))
    });
    format!(
        "How the tries went: `engate delivery list --created-from {} --created-to {}{}`",
        plain(&recovery.since),
        plain(&recovery.until),
        of.collect::<String>()
    )
}

/// A number that may be one that the true one is not below.
fn about(count: u64, estimated: bool) -> String {
    if estimated { format!("at least {count}") } else { count.to_string() }
}

/// `endpoint_deleted 2, newer_version 3`, or a dash.
fn counts(of: &BTreeMap<String, u64>) -> String {
    if of.is_empty() {
        return "-".to_owned();
    }
    of.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_line_that_says_what_was_left_out() {
        let screen = Screen { json: false, terminal: false, colour: false };
        let mut recovery = Recovery {
            id: "rec_1".into(),
            state: "running".into(),
            filter: Map::new(),
            since: "2026-11-28T00:00:00Z".into(),
            until: "2026-11-29T00:00:00Z".into(),
            rate: 10,
            matched: 900,
            matched_estimated: false,
            retried: 120,
            skipped: BTreeMap::new(),
            trouble: None,
            created_by: "ana".into(),
            started_at: String::new(),
            finished_at: None,
        };
        assert_eq!(progress(&recovery, screen), "rec_1: running, 120 of 900 tried again");
        recovery.skipped = [("newer_version".to_owned(), 3), ("endpoint_deleted".to_owned(), 2)].into();
        recovery.matched_estimated = true;
        recovery.trouble = Some("busy".into());
        assert_eq!(
            progress(&recovery, screen),
            "rec_1: running, 120 of at least 900 tried again, skipped endpoint_deleted 2, newer_version 3; does not go on \
             at present: busy"
        );
        assert_eq!(chosen(&recovery.filter), "-");
        let filter = json!({"state": ["failed"], "event_type": ["a", "b"], "attempts_gte": 2});
        recovery.filter = filter.as_object().unwrap().clone();
        let told = chosen(&recovery.filter);
        assert!(["state failed", "event_type a, b", "attempts_gte 2"].iter().all(|part| told.contains(part)), "{told}");
        assert_eq!(
            how_they_went(&recovery),
            "How the tries went: `engate delivery list --created-from 2026-11-28T00:00:00Z --created-to \
             2026-11-29T00:00:00Z --event-type 'a,b'`"
        );
    }

    #[test]
    fn what_is_not_said_is_not_sent() {
        let args = StartArgs {
            since: "2026-11-28".into(),
            until: None,
            rate: Some(5),
            dry_run: true,
            watch: false,
            of: SelectionArgs { success: vec!["no".into()], attempts_lte: Some(3), ..SelectionArgs::default() },
        };
        let body = json!({"filter": {"success": ["no"], "attempts_lte": 3}, "since": "2026-11-28", "rate": 5, "dry_run": true});
        assert_eq!(args.body(), body);
    }
}
