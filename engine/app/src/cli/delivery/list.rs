//! `engate delivery list`: a page, all of them, or what changes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use clap::Args;

use super::{Delivery, filter::FilterArgs, partners};
use crate::cli::{
    client::{Client, Listing, read},
    failure::Failure,
    present::{Field, Screen, Tone, short_time},
};

/// Heading of the table.
const HEADER: [&str; 8] = ["CODE", "CREATED (UTC)", "PARTNER", "EVENT TYPE", "STATE", "TRIES", "REASON", "ID"];
/// How often a watch looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Rows that a watch looks at: the newest, and those tried last.
const WATCHED_ROWS: u32 = 500;
/// Rows whose state a watch remembers; beyond, it begins anew.
const REMEMBERED_MAX: usize = 100_000;

/// Which deliveries, and how many.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// Rows at most
    #[arg(long, value_name = "ROWS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,

    /// Every row, page after page
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// Show what there is, then whatever changes, until Ctrl-C
    #[arg(long, conflicts_with_all = ["all", "sort"])]
    watch: bool,

    /// End a watch after so many seconds
    #[arg(long, value_name = "SECONDS", requires = "watch")]
    watch_for: Option<u64>,
}

/// Runs `engate delivery list`.
pub(super) async fn list(args: &ListArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    if args.watch {
        return watch(args, client, screen).await;
    }
    let path = ["v1", "deliveries"];
    let mut query = args.filter.query("-code");
    let listing = if args.all {
        client.list_all(&path, &query).await?
    } else {
        query.push(("limit", args.limit.to_string()));
        let answer = client.get(&path, &query).await?;
        if screen.json {
            return screen.line(answer);
        }
        read(&answer)?
    };
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let deliveries: Vec<Delivery> = listing.rows()?;
    let partners = partners(client).await;
    let rows = deliveries.iter().map(|delivery| row(delivery, &partners)).collect();
    screen.table(&HEADER, rows, "No delivery matches.")?;
    more(&listing, screen)
}

/// Prints the rows that are new or changed, look after look.
async fn watch(args: &ListArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let path = ["v1", "deliveries"];
    let end = args.watch_for.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let partners = partners(client).await;
    let mut known: HashMap<i64, (String, u32)> = HashMap::new();
    // At first what is there already, as much of it as a list shows.
    let mut limit = args.limit;
    loop {
        let mut changed: HashMap<i64, (Delivery, String)> = HashMap::new();
        for sort in ["-code", "-last_attempt_at"] {
            let mut query = args.filter.query(sort);
            query.push(("limit", limit.to_string()));
            let listing = client.list(&path, &query).await?;
            for (delivery, text) in listing.rows::<Delivery>()?.into_iter().zip(&listing.items) {
                let present = (delivery.state.clone(), delivery.attempts);
                if known.get(&delivery.code) != Some(&present) {
                    changed.insert(delivery.code, (delivery, text.get().to_owned()));
                }
            }
        }
        if known.len() > REMEMBERED_MAX {
            known.clear();
        }
        let mut changed: Vec<_> = changed.into_values().collect();
        changed.sort_by_key(|(delivery, _)| delivery.code);
        for (delivery, _) in &changed {
            known.insert(delivery.code, (delivery.state.clone(), delivery.attempts));
        }
        if screen.json {
            changed.iter().try_for_each(|(_, text)| screen.line(text))?;
        } else if !changed.is_empty() {
            let rows = changed.iter().map(|(delivery, _)| row(delivery, &partners)).collect();
            screen.line(screen.render(&HEADER, rows))?;
        }
        limit = WATCHED_ROWS;
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(());
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

/// Says that there is more than what is shown.
fn more(listing: &Listing, screen: Screen) -> Result<(), Failure> {
    if listing.next.is_none() {
        return Ok(());
    }
    let shown = listing.items.len();
    let total = match (listing.total, listing.total_estimated) {
        (Some(total), false) => format!("{shown} of {total}"),
        (Some(total), true) => format!("{shown} of about {total}"),
        (None, _) => format!("the first {shown}"),
    };
    screen.line(screen.paint(&format!("{total} shown; --limit or --all shows more"), Tone::Faint))
}

fn row(delivery: &Delivery, partners: &HashMap<String, String>) -> Vec<Field> {
    vec![
        Field::number(delivery.code),
        Field::new(short_time(&delivery.created_at)),
        Field::new(partners.get(&delivery.integrator).unwrap_or(&delivery.integrator)),
        Field::new(&delivery.event_type),
        Field::code(&delivery.state),
        Field::number(delivery.attempts),
        Field::new(delivery.reason.as_deref().unwrap_or("-")),
        Field::new(&delivery.id),
    ]
}
