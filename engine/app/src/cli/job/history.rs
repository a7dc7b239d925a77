//! What is kept of a job's past beside its runs: earlier checkpoints of its streams, and the payloads that were logged.

use serde::Deserialize;

use super::{
    args::StreamArgs,
    find,
    streams::{in_words, meant},
};
use crate::cli::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen, plain, short_time, size},
};

/// A checkpoint as it was.
#[derive(Deserialize)]
struct Earlier {
    version: u64,
    at: String,
    reason: String,
    epoch: u32,
    phase: String,
    #[serde(default)]
    committed_upper: Option<String>,
}

/// Lists where a stream was before, partition by partition.
pub(super) async fn stream(client: &Client, screen: Screen, args: &StreamArgs) -> Result<(), Failure> {
    let id = find(client, &args.job).await?;
    for track in &meant(client, &id, args).await? {
        let listing = client.list(&["v1", "jobs", &id, "checkpoints", &track.id, "history"], &[]).await?;
        if screen.json {
            screen.line(serde_json::to_string(&listing).unwrap_or_default())?;
            continue;
        }
        screen.heading(&in_words(track))?;
        let rows = listing.rows::<Earlier>()?.into_iter().map(|earlier| {
            vec![
                Field::number(earlier.version),
                Field::new(short_time(&earlier.at)),
                Field::new(&earlier.reason),
                Field::new(&earlier.phase),
                Field::new(earlier.committed_upper.as_deref().unwrap_or("-")),
                Field::number(earlier.epoch),
            ]
        });
        let header = ["VERSION", "LEFT (UTC)", "BY", "PHASE", "COVERED TO", "EPOCH"];
        screen.table(&header, rows.collect(), "It was nowhere before.")?;
    }
    Ok(())
}

/// Lists the runs whose payloads were logged, or prints the lines of one.
pub(super) async fn debug(client: &Client, screen: Screen, job: &str, run: Option<&str>) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Files {
        items: Vec<Logged>,
    }
    #[derive(Deserialize)]
    struct Logged {
        run: String,
        bytes: u64,
    }
    let id = find(client, job).await?;
    if let Some(run) = run {
        let lines = client.get(&["v1", "jobs", &id, "debug", run], &[]).await?;
        return screen.line(lines.trim_end());
    }
    let answer = client.get(&["v1", "jobs", &id, "debug"], &[]).await?;
    if screen.json {
        return screen.line(answer);
    }
    let rows = read::<Files>(&answer)?.items.into_iter();
    let rows = rows.map(|file| vec![Field::new(&file.run), Field::new(size(file.bytes))]);
    let nothing = format!("This node has none; `engate job debug {}` has them logged for a while.", plain(job));
    screen.table(&["RUN", "LOGGED"], rows.collect(), &nothing)
}
