//! Jobs and their instants, shown.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    args::NextArgs,
    find,
    told::{Job, Next},
};
use crate::cli::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen, Tone, short_time},
};

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A schedule in a few words.
fn schedule_words(schedule: &Value) -> String {
    match text(schedule, "kind") {
        "cron" => format!("{} {}", text(schedule, "expression"), text(schedule, "timezone")),
        "every" => {
            let millis = schedule.get("interval_ms").and_then(Value::as_u64).unwrap_or_default();
            format!("every {} s", millis as f64 / 1_000.0)
        }
        other => other.to_owned(),
    }
}

/// How a state of a job or a run is to be taken.
pub(super) fn state_tone(state: &str) -> Tone {
    match state {
        "active" | "succeeded" => Tone::Good,
        "failed" | "abandoned" => Tone::Bad,
        _ => Tone::of_code(state),
    }
}

/// Lists the jobs.
pub(super) async fn list(client: &Client, screen: Screen) -> Result<(), Failure> {
    let listing = client.list_all(&["v1", "jobs"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Job>()?.into_iter().map(|job| {
        vec![
            Field::new(&job.name),
            Field::new(text(&job.run, "kind")),
            Field::new(schedule_words(&job.schedule)),
            Field::new(&job.state).tone(state_tone(&job.state)),
            Field::new(job.next_at.as_deref().map_or_else(|| "-".to_owned(), short_time)),
            Field::number(job.failures),
        ]
    });
    let header = ["NAME", "RUNS", "SCHEDULE", "STATE", "NEXT (UTC)", "FAILED IN A ROW"];
    screen.table(&header, rows.collect(), "No job yet; `engate job create` makes one.")
}

/// Shows one job.
pub(super) fn show(answer: &str, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    let job: Job = read(answer)?;
    let paused = job.paused.map_or_else(|| "-".to_owned(), |paused| format!("by {}: {}", paused.by, paused.reason));
    screen.facts(&[
        ("id", Field::new(&job.id)),
        ("name", Field::new(&job.name)),
        ("state", Field::new(&job.state).tone(state_tone(&job.state))),
        ("paused", Field::new(paused)),
        ("schedule", Field::new(schedule_words(&job.schedule))),
        ("next (UTC)", Field::new(job.next_at.as_deref().map_or_else(|| "-".to_owned(), short_time))),
        ("runs", Field::new(job.run.to_string())),
        ("failed in a row", Field::number(job.failures)),
        ("missed", Field::number(job.missed)),
    ])
}

/// Shows the next instants.
pub(super) async fn next(args: &NextArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let answer = if let Some(schedule) = args.schedule.json() {
        let mut body = json!({ "schedule": schedule, "n": args.number });
        if let (Some(from), Some(body)) = (&args.from, body.as_object_mut()) {
            body.insert("from".to_owned(), from.clone().into());
        }
        client.send(Method::POST, &["v1", "jobs", "preview"], &body).await?
    } else {
        let id = find(client, args.job.as_deref().unwrap_or_default()).await?;
        let mut query = vec![("n", args.number.to_string())];
        query.extend(args.from.clone().map(|from| ("from", from)));
        client.get(&["v1", "jobs", &id, "next"], &query).await?
    };
    if screen.json {
        return screen.line(answer);
    }
    #[derive(Deserialize)]
    struct Items {
        items: Vec<Next>,
    }
    let rows = read::<Items>(&answer)?.items.into_iter().map(|next| {
        let local = next.local.as_deref().unwrap_or("-").replace('T', " ");
        vec![
            Field::new(short_time(&next.utc)),
            Field::new(format!("{local} {}", next.offset.as_deref().unwrap_or(""))),
            Field::code(next.note.as_deref().unwrap_or("-")),
        ]
    });
    screen.table(&["UTC", "LOCAL", "CLOCK CHANGE"], rows.collect(), "It has no instants of its own.")
}
