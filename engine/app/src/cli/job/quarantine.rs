//! Records that the streams of a sync have set aside.

use reqwest::Method;

use super::{args::RecordArgs, find, streams::partition_words, told::Quarantined};
use crate::cli::{
    client::Client,
    failure::Failure,
    present::{Field, Screen, plain, short_time},
};

/// Lists them, with why.
pub(super) async fn list(client: &Client, screen: Screen, job: &str) -> Result<(), Failure> {
    let id = find(client, job).await?;
    let listing = client.list_all(&["v1", "jobs", &id, "quarantine"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Quarantined>()?.into_iter().map(|record| {
        vec![
            Field::new(&record.id),
            Field::new(&record.stream),
            Field::new(partition_words(&record.partition)),
            Field::new(&record.key),
            Field::new(short_time(&record.created_at)),
            Field::new(&record.state),
            Field::new(format!("{}: {}", record.code, record.message)),
        ]
    });
    let header = ["RECORD", "STREAM", "PARTITION", "KEY", "SINCE (UTC)", "STATE", "WHY"];
    screen.table(&header, rows.collect(), "Nothing is set aside.")
}

/// Has a record sent again with the next run.
pub(super) async fn replay(client: &Client, screen: Screen, args: &RecordArgs) -> Result<(), Failure> {
    let id = find(client, &args.job).await?;
    client.act(Method::POST, &["v1", "jobs", &id, "quarantine", &args.record, "replay"]).await?;
    told(screen, args, "is sent again with the next run")
}

/// Gives a record up.
pub(super) async fn discard(client: &Client, screen: Screen, args: &RecordArgs) -> Result<(), Failure> {
    let id = find(client, &args.job).await?;
    client.act(Method::DELETE, &["v1", "jobs", &id, "quarantine", &args.record]).await?;
    told(screen, args, "is given up")
}

fn told(screen: Screen, args: &RecordArgs, what: &str) -> Result<(), Failure> {
    if screen.json { screen.line("{}") } else { screen.line(format!("{} {what}", plain(&args.record))) }
}
