//! `engate audit`: who did what, and whether anybody tampered with the record of it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use engate_store::{ChainCheck, ExportCheck};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen, Tone, plain, short_time},
    remote::Remote,
};
use crate::{
    api::{AuditView, fault_text},
    hexadecimal,
};

/// `engate audit`
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List changes, the newest first
    List(ListArgs),
    /// List calls of the API, the newest first
    Access(AccessArgs),
    /// Count calls that came without a valid token, by address and minute, the newest first
    Refused {
        /// Rows at most
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: u16,
    },
    /// Compute the chain of entries again and say whether it is whole; the exit code is 1 where it is not
    ///
    /// Note the place and hash that it prints somewhere else: given back with --seq and --hash, they show later whether
    /// the chain was made anew since.
    Verify(VerifyArgs),
    /// Write every entry as a line of JSON, for `engate audit verify --file`
    Export {
        /// Where to; without it standard output
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Which changes.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Of this action (endpoint.create); with a dot at its end, of all that begin so (endpoint.)
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// By this client
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Of this object: an id or a name
    #[arg(long, value_name = "ID|NAME")]
    object: Option<String>,
    /// From this time or later, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// From before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Rows at most
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: u16,
}

/// Which calls.
#[derive(Debug, Args)]
pub(super) struct AccessArgs {
    /// With the token of this id
    #[arg(long, value_name = "ID")]
    token: Option<String>,
    /// Of this route, such as "GET /v1/deliveries/{id}"
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Begun at this time or later
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Begun before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Rows at most
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: u16,
}

/// What to check.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Check an export on this machine; no engine is asked
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seq", "hash"])]
    file: Option<PathBuf>,
    /// A place that was noted before
    #[arg(long, value_name = "NUMBER", requires = "hash")]
    seq: Option<u64>,
    /// The hash that stood there
    #[arg(long, value_name = "HASH", requires = "seq")]
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    seq: Option<u64>,
    at: String,
    client: String,
    action: String,
    object: String,
    detail: Value,
}

#[derive(Deserialize)]
struct Call {
    at: String,
    client: String,
    route: String,
    status: u16,
    duration_ms: f64,
    source: String,
}

/// Calls without a valid token from one address within one minute.
#[derive(Deserialize)]
struct Refused {
    minute: String,
    source: String,
    calls: u64,
}

#[derive(Deserialize)]
struct Check {
    valid: bool,
    entries: u64,
    first_seq: u64,
    last_seq: u64,
    hash: String,
    faults: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    code: String,
    seq: Option<u64>,
    entry: Option<String>,
}

/// Runs `engate audit`.
pub(super) async fn run(command: AuditCommand, remote: &Remote) -> Result<(), Failure> {
    let screen = remote.screen();
    match command {
        AuditCommand::List(args) => list(args, &remote.client()?, screen).await,
        AuditCommand::Access(args) => access(args, &remote.client()?, screen).await,
        AuditCommand::Refused { limit } => refused(limit, &remote.client()?, screen).await,
        AuditCommand::Verify(VerifyArgs { file: Some(file), .. }) => verify_file(&file, screen),
        AuditCommand::Verify(args) => verify(args, &remote.client()?, screen).await,
        AuditCommand::Export { file } => export(file.as_deref(), &remote.client()?, screen).await,
    }
}

fn given(fields: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Vec<(&'static str, String)> {
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

async fn list(args: ListArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let ListArgs { action, client: by, object, from, to, limit } = args;
    let limit = Some(limit.to_string());
    let query =
        given([("action", action), ("client", by), ("object", object), ("from", from), ("to", to), ("limit", limit)]);
    let listing = client.list(&["v1", "audit"], &query).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Entry>()?.into_iter().map(|entry| {
        vec![
            Field::number(entry.seq.map(|seq| seq.to_string()).unwrap_or_default()),
            Field::new(short_time(&entry.at)),
            Field::new(&entry.client),
            Field::new(&entry.action),
            Field::new(&entry.object),
            Field::new(if entry.detail == json!({}) { String::new() } else { entry.detail.to_string() }),
        ]
    });
    screen.table(&["SEQ", "AT (UTC)", "CLIENT", "ACTION", "OBJECT", "DETAIL"], rows.collect(), "No entry.")
}

async fn access(args: AccessArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let AccessArgs { token, route, from, to, limit } = args;
    let limit = Some(limit.to_string());
    let query = given([("token", token), ("route", route), ("from", from), ("to", to), ("limit", limit)]);
    let listing = client.list(&["v1", "audit", "access"], &query).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Call>()?.into_iter().map(|call| {
        let tone = if call.status < 400 { Tone::Good } else { Tone::Bad };
        vec![
            Field::new(short_time(&call.at)),
            Field::new(&call.client),
            Field::new(&call.route),
            Field::number(call.status).tone(tone),
            Field::number(format!("{:.1}", call.duration_ms)),
            Field::new(&call.source),
        ]
    });
    screen.table(&["AT (UTC)", "CLIENT", "ROUTE", "STATUS", "MS", "FROM"], rows.collect(), "No call.")
}

async fn refused(limit: u16, client: &Client, screen: Screen) -> Result<(), Failure> {
    let listing = client.list(&["v1", "audit", "refused"], &[("limit", limit.to_string())]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Refused>()?.into_iter().map(|refused| {
        vec![Field::new(short_time(&refused.minute)), Field::new(&refused.source), Field::number(refused.calls)]
    });
    screen.table(&["MINUTE (UTC)", "FROM", "CALLS"], rows.collect(), "No such call.")
}

async fn verify(args: VerifyArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let query = given([("seq", args.seq.map(|seq| seq.to_string())), ("hash", args.hash)]);
    let answer = client.get(&["v1", "audit", "verify"], &query).await?;
    let check: Check = read(&answer)?;
    if screen.json {
        screen.line(&answer)?;
    }
    tell(&check, screen)
}

fn verify_file(file: &Path, screen: Screen) -> Result<(), Failure> {
    let unusable = |why: String| Failure::usage(format!("--file {}: {why}", file.display()));
    let lines = BufReader::new(File::open(file).map_err(|error| unusable(error.to_string()))?).lines();
    let mut check = ExportCheck::default();
    for (n, line) in lines.enumerate() {
        let line = line.map_err(|error| unusable(error.to_string()))?;
        let view: AuditView =
            serde_json::from_str(&line).map_err(|error| unusable(format!("line {}: {error}", n + 1)))?;
        let entry = view.entry().ok_or_else(|| unusable(format!("line {} has no place or no hash", n + 1)))?;
        check.step(&entry);
    }
    let ChainCheck { entries, first_seq, last_seq, hash, faults } =
        check.finish().ok_or_else(|| unusable("holds no entry".to_owned()))?;
    let faults = faults.into_iter().map(|fault| Fault {
        code: fault.code.to_owned(),
        seq: fault.seq,
        entry: fault.entry.map(|id| id.to_string()),
    });
    let faults: Vec<_> = faults.collect();
    let check =
        Check { valid: faults.is_empty(), entries, first_seq, last_seq, hash: hexadecimal::digits(&hash), faults };
    if screen.json {
        let faults: Vec<_> =
            check.faults.iter().map(|f| json!({ "code": f.code, "seq": f.seq, "entry": f.entry })).collect();
        let shown = json!({
            "valid": check.valid, "entries": entries, "first_seq": first_seq, "last_seq": last_seq, "hash": check.hash,
            "faults": faults,
        });
        screen.line(shown.to_string())?;
    }
    tell(&check, screen)
}

/// Says what was found; a chain that is not whole is a failure.
fn tell(check: &Check, screen: Screen) -> Result<(), Failure> {
    if !screen.json {
        screen.facts(&[
            ("entries", Field::number(check.entries)),
            ("first place", Field::number(check.first_seq)),
            ("last place", Field::number(check.last_seq)),
            ("last hash", Field::new(&check.hash)),
        ])?;
    }
    if check.valid {
        return if screen.json { Ok(()) } else { screen.line("The chain is whole.") };
    }
    let told = check.faults.iter().map(|fault| {
        let at = fault.seq.map(|seq| format!(" at place {seq}")).unwrap_or_default();
        let entry = fault.entry.as_deref().map(|id| format!(" ({})", plain(id))).unwrap_or_default();
        format!("  - {}{at}{entry}: {}", plain(&fault.code), fault_text(&fault.code))
    });
    Err(Failure::failed(format!("the chain is not whole\n{}", told.collect::<Vec<_>>().join("\n"))))
}

async fn export(file: Option<&Path>, client: &Client, screen: Screen) -> Result<(), Failure> {
    let text = client.get(&["v1", "audit.ndjson"], &[]).await?;
    let Some(file) = file else { return screen.line(text.trim_end()) };
    std::fs::write(file, &text).map_err(|error| Failure::usage(format!("--file {}: {error}", file.display())))?;
    screen.line(format!("{} entries are in {}.", text.lines().count(), file.display()))
}
