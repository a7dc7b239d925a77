//! The streams of a sync: where each is, and what is done with one by hand.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::Value;

use super::{args::StreamArgs, find, told::Checkpoint};
use crate::cli::{
    client::Client,
    failure::Failure,
    present::{Field, Screen, plain, short_time},
};

/// Lists where each stream is, in each partition.
pub(super) async fn list(client: &Client, screen: Screen, job: &str) -> Result<(), Failure> {
    let id = find(client, job).await?;
    let listing = client.list_all(&["v1", "jobs", &id, "checkpoints"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let time = |at: &Option<String>| at.as_deref().map_or_else(|| "-".to_owned(), short_time);
    let rows = listing.rows::<Checkpoint>()?.into_iter().map(|track| {
        let pass = track.pass.map_or_else(|| "-".to_owned(), |pass| format!("{}, {} records", pass.kind, pass.records));
        vec![
            Field::new(&track.stream),
            Field::new(partition_words(&track.partition)),
            Field::new(&track.phase),
            Field::new(time(&track.committed_upper)),
            Field::new(time(&track.reconciled_at)),
            Field::new(pass),
            Field::number(track.epoch),
        ]
    });
    let header = ["STREAM", "PARTITION", "PHASE", "COVERED TO (UTC)", "COMPARED (UTC)", "UNDER WAY", "EPOCH"];
    screen.table(&header, rows.collect(), "No stream of it has begun.")
}

/// Does something with a stream, in each partition that is meant: `approve`, `epoch`, or `rewind` with its `body`.
pub(super) async fn act(
    client: &Client,
    screen: Screen,
    args: &StreamArgs,
    verb: &str,
    body: &Value,
) -> Result<(), Failure> {
    let id = find(client, &args.job).await?;
    for track in &meant(client, &id, args).await? {
        let path = ["v1", "jobs", &id, "checkpoints", &track.id, verb];
        let answer = if body.is_null() {
            client.act(Method::POST, &path).await?
        } else {
            client.send(Method::POST, &path, body).await?
        };
        if screen.json {
            screen.line(answer)?;
            continue;
        }
        let done = match verb {
            "approve" => "is taken as it is now",
            "epoch" => "begins anew: everything is sent again",
            _ => "is set back",
        };
        screen.line(format!("{} {done}", in_words(track)))?;
    }
    Ok(())
}

/// The stream that is meant, in each partition that is; at least one.
pub(super) async fn meant(client: &Client, job: &str, args: &StreamArgs) -> Result<Vec<Checkpoint>, Failure> {
    let tracks = client.list_all(&["v1", "jobs", job, "checkpoints"], &[]).await?.rows::<Checkpoint>()?;
    if !tracks.iter().any(|track| is_meant(track, args)) {
        return Err(nothing_meant(args, &tracks));
    }
    Ok(tracks.into_iter().filter(|track| is_meant(track, args)).collect())
}

fn is_meant(track: &Checkpoint, args: &StreamArgs) -> bool {
    track.stream == args.stream
        && args.partition.iter().all(|(dimension, value)| track.partition.get(dimension) == Some(value))
}

fn nothing_meant(args: &StreamArgs, tracks: &[Checkpoint]) -> Failure {
    let streams: BTreeSet<_> = tracks.iter().map(|track| track.stream.as_str()).collect();
    let message = if streams.is_empty() {
        format!("no stream of {} has begun; see `engate job log {}`", args.job, args.job)
    } else if streams.contains(args.stream.as_str()) {
        format!("stream {} has no such partition; see `engate job streams {}`", args.stream, args.job)
    } else {
        let streams: Vec<_> = streams.into_iter().collect();
        format!("{} has no stream {}; it has {}", args.job, args.stream, streams.join(", "))
    };
    Failure::usage(message)
}

/// A stream with its partition.
pub(super) fn in_words(track: &Checkpoint) -> String {
    let part = match partition_words(&track.partition).as_str() {
        "-" => String::new(),
        words => format!(" ({words})"),
    };
    plain(&format!("{}{part}", track.stream))
}

/// A partition in a few words; a dash where the table is not parted.
pub(super) fn partition_words(partition: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = partition.iter().map(|(dimension, value)| format!("{dimension}={value}")).collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(" ") }
}
