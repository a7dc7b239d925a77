//! What the steps need, from the options or asked for.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::ask;
use crate::cli::failure::Failure;

/// Answers that may be given beforehand.
#[derive(Debug, Args)]
pub(in crate::cli) struct CarolArgs {
    /// The wizard to go on with; without it the newest that is not finished
    #[arg(long, value_name = "WIZARD")]
    pub(super) id: Option<String>,

    /// Begin another wizard
    #[arg(long, conflicts_with = "id")]
    pub(super) new: bool,

    /// welcome: the connection to the Protheus' database, as [connections] of the engine's settings names it
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,

    /// welcome: an address that counts over the registry's, such as rac=https://rac.example/token; may be repeated
    #[arg(long = "service-url", value_name = "SERVICE=URL")]
    service_urls: Vec<String>,

    /// provisioning: what TOTVS calls the contract
    #[arg(long, value_name = "CONTRACT")]
    contract: Option<String>,

    /// provisioning: it was done before, and the credentials came by e-mail
    #[arg(long, conflicts_with = "contract")]
    provisioned: bool,

    /// requirements: the release of the Protheus, such as 12.1.2310
    #[arg(long, value_name = "VERSION")]
    release: Option<String>,

    /// requirements: the version of DBAccess, and the latest of the portal
    #[arg(long, value_name = "HAVE[/LATEST]")]
    dbaccess: Option<String>,

    /// requirements: the version of the application server, and the latest of the portal
    #[arg(long, value_name = "HAVE[/LATEST]")]
    appserver: Option<String>,

    /// requirements: the version of the library, and the latest of the portal
    #[arg(long, value_name = "HAVE[/LATEST]")]
    lib: Option<String>,

    /// requirements: UPDDISTR was run with the latest continuous delivery
    #[arg(long)]
    upddistr: bool,

    /// requirements: a table whose watermark is looked for; may be repeated; without it all of the Protheus
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,

    /// requirements: run the statements that add missing watermarks over this connection, whose user may change tables
    #[arg(long, value_name = "CONNECTION")]
    admin_connection: Option<String>,

    /// companies: a company, and some of its branches: 01 or 01:0101,0102; may be repeated
    #[arg(long = "company", value_name = "CODE[:BRANCH,...]")]
    companies: Vec<String>,

    /// credentials: the client's id of the e-mail
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,

    /// credentials: a file with the client's secret; without it the variable ENGATE_CAROL_CLIENT_SECRET
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
}

impl CarolArgs {
    /// Whether the client's credentials were given.
    pub(super) const fn has_credentials(&self) -> bool {
        self.client_id.is_some()
    }

    pub(super) fn welcome(&mut self) -> Result<Value, Failure> {
        let connection = given(&mut self.connection, "--connection", "Connection to the Protheus' database")?;
        let mut urls = Map::new();
        for entry in &self.service_urls {
            let wrong = || Failure::usage(format!("--service-url {entry}: write SERVICE=URL"));
            let (service, url) = entry.split_once('=').ok_or_else(wrong)?;
            urls.insert(service.to_owned(), url.into());
        }
        Ok(json!({ "connection": connection, "urls": urls }))
    }

    pub(super) fn provisioning(&mut self) -> Result<Value, Failure> {
        if self.provisioned {
            return Ok(json!({ "already_done": true }));
        }
        let question = "Contract (empty where the credentials came by e-mail)";
        let contract = match self.contract.take() {
            Some(contract) => contract,
            None => ask::line("--contract or --provisioned", question)?,
        };
        Ok(if contract.is_empty() { json!({ "already_done": true }) } else { json!({ "contract": contract }) })
    }

    pub(super) fn requirements(&mut self) -> Result<Value, Failure> {
        let release = given(&mut self.release, "--release", "Release of the Protheus (12.1.2310)")?;
        let dbaccess = artefact(&mut self.dbaccess, "--dbaccess", "DBAccess")?;
        let appserver = artefact(&mut self.appserver, "--appserver", "application server")?;
        let lib = artefact(&mut self.lib, "--lib", "library")?;
        let upddistr = self.upddistr
            || ask::yes("--upddistr", "Was UPDDISTR run with the latest continuous delivery and dictionary?")?;
        let administration = self.admin_connection.as_ref();
        let administration = administration.map(|connection| json!({ "connection": connection, "confirmed": true }));
        let mut body = json!({
            "release": release, "dbaccess": dbaccess, "appserver": appserver, "lib": lib, "upddistr": upddistr,
            "tables": self.tables,
        });
        if let (Some(administration), Some(fields)) = (administration, body.as_object_mut()) {
            fields.insert("administration".to_owned(), administration);
        }
        Ok(body)
    }

    pub(super) fn companies(&mut self) -> Result<Value, Failure> {
        let mut companies = std::mem::take(&mut self.companies);
        if companies.is_empty() {
            let line = ask::line("--company", "Companies (01 03, or with branches 01:0101,0102)")?;
            companies = line.split_whitespace().map(str::to_owned).collect();
        }
        let companies = companies.iter().map(|company| match company.split_once(':') {
            Some((code, branches)) => json!({ "code": code, "branches": branches.split(',').collect::<Vec<_>>() }),
            None => json!({ "code": company }),
        });
        Ok(json!({ "companies": companies.collect::<Vec<_>>() }))
    }

    pub(super) fn credentials(&mut self) -> Result<Value, Failure> {
        let client_id = given(&mut self.client_id, "--client-id", "client_id of the e-mail")?;
        let variable = || std::env::var("ENGATE_CAROL_CLIENT_SECRET").ok().filter(|secret| !secret.is_empty());
        let client_secret = match self.client_secret_file.take() {
            Some(file) => {
                let text = std::fs::read_to_string(&file);
                let text = text.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            None => match variable() {
                Some(secret) => secret,
                // It is pasted from a mail.
                None => {
                    ask::hidden("--client-secret-file", "client_secret of the e-mail (not shown)")?.trim().to_owned()
                }
            },
        };
        Ok(json!({ "client_id": client_id, "client_secret": client_secret }))
    }
}

/// What was given, used once: a value that was refused is asked for the next time.
fn given(option: &mut Option<String>, name: &str, question: &str) -> Result<String, Failure> {
    match option.take() {
        Some(value) => Ok(value),
        None => ask::line(name, question),
    }
}

fn artefact(option: &mut Option<String>, name: &str, what: &str) -> Result<Value, Failure> {
    let text = given(option, name, &format!("Version of the {what}, and the latest of the portal (HAVE/LATEST)"))?;
    let (have, latest) = text.split_once('/').unwrap_or((&text, &text));
    Ok(json!({ "have": have.trim(), "latest": latest.trim() }))
}
