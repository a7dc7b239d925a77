//! `engate delivery export`: every row that a filter takes, written as it arrives.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::filter::FilterArgs;
use crate::cli::{client::Client, failure::Failure};

/// Which deliveries, in which form.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// How they are written
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,

    /// Columns of a CSV: created_at, integrator, event_type, attempts, last_attempt_at, success, integrated_at, ...
    #[arg(long, value_name = "COLUMNS")]
    columns: Option<String>,

    /// A CSV as Excel reads it in Brazil: semicolons and a byte order mark
    #[arg(long)]
    excel: bool,

    /// Language of headings and words: pt-BR or en
    #[arg(long, value_name = "LANGUAGE")]
    lang: Option<String>,

    /// File to write; without it, standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A form of export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For spreadsheets
    Csv,
    /// A JSON object a line, for programs
    Ndjson,
    /// For paper, up to 10,000 rows
    Pdf,
    /// A page for a browser to print, up to 2,000 rows
    Html,
}

impl ExportArgs {
    fn query(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let mut query = self.filter.query("code");
        query.extend(self.lang.clone().map(|lang| ("lang", lang)));
        if self.format != Format::Csv && (self.columns.is_some() || self.excel) {
            return Err(Failure::usage("--columns and --excel go with --format csv"));
        }
        query.extend(self.columns.clone().map(|columns| ("columns", columns)));
        if self.excel {
            query.extend([("bom", "true".to_owned()), ("separator", ";".to_owned())]);
        }
        Ok(query)
    }
}

/// Runs `engate delivery export`.
pub(super) async fn export(args: &ExportArgs, client: &Client) -> Result<(), Failure> {
    let query = args.query()?;
    let path: &[&str] = match args.format {
        Format::Csv => &["v1", "deliveries.csv"],
        Format::Ndjson => &["v1", "deliveries.ndjson"],
        Format::Pdf => &["v1", "deliveries.pdf"],
        Format::Html => &["v1", "deliveries", "print"],
    };
    match &args.output {
        None => write(client, path, &query, &mut tokio::io::stdout()).await,
        Some(name) => {
            // A refusal must leave no empty file behind, and a half one no file of that name.
            let unfinished = name.with_extension("unfinished");
            let failed = |error: std::io::Error| {
                Failure::usage(format!("--output: cannot write {}: {error}; name another file", name.display()))
            };
            let mut file = tokio::fs::File::create(&unfinished).await.map_err(failed)?;
            let written = write(client, path, &query, &mut file).await;
            match written {
                Ok(()) => tokio::fs::rename(&unfinished, name).await.map_err(failed),
                Err(error) => {
                    // What matters is told by the first error.
                    let _ = tokio::fs::remove_file(&unfinished).await;
                    Err(error)
                }
            }
        }
    }
}

async fn write(
    client: &Client,
    path: &[&str],
    query: &[(&str, String)],
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Failure> {
    client.stream(path, query, to).await?;
    to.flush().await.map_err(|error| Failure::failed(format!("cannot write: {error}")))
}
