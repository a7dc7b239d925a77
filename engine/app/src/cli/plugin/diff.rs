//! `engate plugin diff --remote`: the engine compares two installed versions over its own history.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::replay::{DiffArgs, Findings, bar};
use crate::{
    cli::{
        client::{Client, read},
        failure::Failure,
        present::{Screen, plain},
    },
    replay::Differing,
};

/// How often the engine is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Differing attempts asked for at a time.
const PAGE_ROWS: u32 = 500;

/// A comparison as the API tells it.
#[derive(Debug, Deserialize)]
struct Diff {
    id: String,
    state: String,
    progress: Progress,
    counts: Counts,
    message: Option<String>,
    #[serde(default)]
    differences: Differences,
}

#[derive(Debug, Deserialize)]
struct Progress {
    done: u64,
    total: u64,
}

#[derive(Debug, Deserialize)]
struct Counts {
    attempts: usize,
    differing: usize,
    kept: usize,
}

#[derive(Debug, Default, Deserialize)]
struct Differences {
    items: Vec<Differing>,
    next: Option<String>,
}

/// Starts a comparison, waits for its end and prints what it found. Interrupted, it calls the comparison off.
pub(super) async fn run(args: &DiffArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let reference = args.component.to_string_lossy();
    let cure =
        || Failure::usage(format!("{reference}: with --remote give an installed one, NAME@VERSION or NAME@CHANNEL"));
    let (name, candidate) = reference.split_once('@').ok_or_else(cure)?;
    if args.history.plugin.as_deref().is_some_and(|plugin| plugin != name) {
        return Err(Failure::usage(format!(
            "--plugin: with --remote only attempts of {name} are compared; leave it out"
        )));
    }
    let body = json!({
        "base": args.base, "candidate": candidate, "since": args.history.since(), "integrator": args.history.integrator,
    });
    let started = Instant::now();
    let diff: Diff = read(&client.send(Method::POST, &["v1", "plugins", name, "diffs"], &body).await?)?;
    let path = ["v1", "plugins", name, "diffs", &diff.id];
    let ended = tokio::select! {
        ended = until_it_ends(client, &path, screen) => ended?,
        _ = tokio::signal::ctrl_c() => {
            client.act(Method::DELETE, &path).await?;
            return Err(Failure::failed("interrupted; the comparison was called off"));
        }
    };
    match ended.state.as_str() {
        "done" => {}
        state => {
            let message = ended.message.as_deref().unwrap_or("somebody called it off");
            return Err(Failure::failed(format!("the comparison is {}: {}", plain(state), plain(message))));
        }
    }
    let took = started.elapsed();
    let found = all(client, &path, ended.counts.kept).await?;
    let Counts { attempts, differing, kept } = ended.counts;
    if attempts == 0 {
        let name = plain(name);
        return Err(Failure::failed(format!("no attempt of {name} in that time; --since looks further back")));
    }
    if kept < differing && !screen.json {
        screen.line(format!("{differing} attempts differ; the engine kept the first {kept} to be shown"))?;
    }
    Findings { verb: "compared", count: attempts, found, differing, left_out: 0, took }.report(screen)
}

async fn until_it_ends(client: &Client, path: &[&str], screen: Screen) -> Result<Diff, Failure> {
    let bar = bar(0, screen);
    loop {
        let diff: Diff = read(&client.get(path, &[("limit", "1".to_owned())]).await?)?;
        bar.set_length(diff.progress.total);
        bar.set_position(diff.progress.done);
        if diff.state != "running" {
            bar.finish_and_clear();
            return Ok(diff);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Every page of what was found, `kept` attempts in all.
async fn all(client: &Client, path: &[&str], kept: usize) -> Result<Vec<Differing>, Failure> {
    let (mut found, mut cursor) = (Vec::with_capacity(kept), None::<String>);
    loop {
        let mut query = vec![("limit", PAGE_ROWS.to_string())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: Diff = read(&client.get(path, &query).await?)?;
        found.extend(page.differences.items);
        cursor = page.differences.next;
        if cursor.is_none() || found.len() >= kept {
            return Ok(found);
        }
    }
}
