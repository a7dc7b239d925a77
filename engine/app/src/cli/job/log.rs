//! `engate job log`: runs, and what one of them wrote.

use serde::Deserialize;

use super::{
    args::LogArgs,
    find,
    show::state_tone,
    told::{LogLine, Run},
};
use crate::cli::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen, plain, short_time},
};

/// Shows a job's runs, or the log of one.
pub(super) async fn log(args: &LogArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let id = find(client, &args.job).await?;
    if let Some(run) = &args.run {
        return log_of(&client.get(&["v1", "jobs", &id, "runs", run], &[]).await?, screen);
    }
    let mut query = vec![("limit", args.number.to_string())];
    query.extend(args.state.clone().map(|state| ("state", state)));
    let listing = client.list(&["v1", "jobs", &id, "runs"], &query).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Run>()?.into_iter().map(|run| {
        let why = run.error.map(|error| format!("{}: {}", error.code, error.message)).or(run.reason);
        vec![
            Field::new(&run.id),
            Field::new(short_time(&run.scheduled_at)),
            Field::new(run.started_at.as_deref().map_or_else(|| "-".to_owned(), short_time)),
            Field::new(&run.trigger),
            Field::new(&run.state).tone(state_tone(&run.state)),
            Field::number(run.rows),
            Field::number(run.requests),
            Field::number(run.quarantined),
            Field::new(why.as_deref().unwrap_or("-")),
        ]
    });
    let header = ["RUN", "FOR (UTC)", "STARTED", "BY", "STATE", "ROWS", "REQUESTS", "SET ASIDE", "WHY"];
    screen.table(&header, rows.collect(), "It has not run yet.")
}

fn log_of(answer: &str, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    #[derive(Deserialize)]
    struct Detail {
        log: Vec<LogLine>,
    }
    let lines = read::<Detail>(answer)?.log;
    if lines.is_empty() {
        return screen.line("The run logged nothing.");
    }
    for line in lines {
        let at = line.at.as_deref().map_or_else(String::new, short_time);
        screen.line(format!("{at} {} {}", plain(&line.level), plain(&line.message)))?;
    }
    Ok(())
}
