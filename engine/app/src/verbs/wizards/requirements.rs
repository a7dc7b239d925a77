//! What the Protheus must have: versions, the dictionary, the watermark of every table.

use std::collections::BTreeMap;

use engate_model::{
    WizardId,
    invalid::Complaints,
    token::Principal,
    wizard::{
        SOFT_DELETE, Step, Wizard,
        requirements::{self, Requirement, Watermark},
    },
};

use super::{VerbError, credentials::welcome_of, tables::Found};
use crate::engine::Engine;

/// Tables that are looked at in one wizard at most.
const TABLES_MAX: usize = 1_000;
/// What every table of a Protheus has.
const ROW_NUMBER: &str = "R_E_C_N_O_";

/// What the step takes.
#[derive(Debug, Clone)]
pub(crate) struct RequirementsInput {
    /// The release of the Protheus.
    pub(crate) release: String,
    /// Of each artefact: its key, the version that is there, the newest of the portal.
    pub(crate) artefacts: [(&'static str, String, String); 3],
    /// Whether the dictionary's differences were applied.
    pub(crate) upddistr: bool,
    /// Tables to look at; none: all that look like a Protheus'.
    pub(crate) tables: Vec<String>,
    /// Where missing watermarks are added; none: their statements are shown.
    pub(crate) administration: Option<Administration>,
}

/// A connection whose user may change tables, and that it is to be used for that.
#[derive(Debug, Clone)]
pub(crate) struct Administration {
    /// Its name.
    pub(crate) connection: String,
    /// Whether the statements are to run.
    pub(crate) confirmed: bool,
}

impl Engine {
    /// Looks at every requirement; a row each says what is there and what is needed.
    pub(crate) async fn wizard_requirements(
        &self,
        principal: &Principal,
        id: WizardId,
        input: RequirementsInput,
    ) -> Result<Wizard, VerbError> {
        let mut doing = self.wizard_enter(principal, id, Step::Requirements).await?;
        let mut complaints = Complaints::default();
        if input.tables.len() > TABLES_MAX {
            complaints.add("tables", format!("at most {TABLES_MAX} tables"));
        }
        let connection = welcome_of(&doing.wizard)?.connection.clone();
        if let Some(administration) = &input.administration {
            self.administration_check(principal, administration, &connection, &mut complaints).await?;
        }
        complaints.finish(())?;
        let mut found = self.wizard_tables(principal, &connection, &input.tables).await?;
        let mut failures = BTreeMap::new();
        if let Some(administration) = &input.administration {
            for row in watermarks(&found, &input.tables).into_iter().filter(|row| row.ddl.is_some()) {
                if let Err(error) = self.watermark_add(principal, administration, &row, &found).await {
                    failures.insert(row.key, format!("connection {}: {error}", administration.connection));
                }
            }
            found = self.wizard_tables(principal, &connection, &input.tables).await?;
        }
        let mut rows = vec![requirements::release(&input.release)];
        rows.extend(input.artefacts.iter().map(|(key, have, newest)| requirements::artefact(key, have, newest)));
        rows.push(requirements::upddistr(input.upddistr));
        rows.extend(watermarks(&found, &input.tables).into_iter().map(|row| match failures.remove(&row.key) {
            Some(failure) => Requirement { ok: false, cure: Some(failure), ..row },
            None => row,
        }));
        doing.wizard.progress.requirements = Some(rows);
        self.wizard_leave(principal, Step::Requirements, doing).await
    }

    async fn administration_check(
        &self,
        principal: &Principal,
        administration: &Administration,
        reader: &str,
        complaints: &mut Complaints,
    ) -> Result<(), VerbError> {
        let Administration { connection, confirmed } = administration;
        if connection == reader {
            let message = "name another connection than the wizard's, whose user only reads";
            complaints.add("administration.connection", message);
        } else if let Err(failure) = self.sources.configured(connection, &self.tenant_slug(principal.tenant).await?) {
            complaints.add("administration.connection", failure.message);
        }
        if !confirmed {
            complaints.add("administration.confirmed", "say true once you have read the statements of `ddl`");
        }
        Ok(())
    }

    /// Adds a table's watermark with what keeps it.
    ///
    /// # Errors
    /// A sentence for people.
    async fn watermark_add(
        &self,
        principal: &Principal,
        administration: &Administration,
        row: &Requirement,
        found: &Found,
    ) -> Result<(), String> {
        let table = row.key.trim_start_matches(requirements::WATERMARK_KEY);
        let tenant = self.tenant_slug(principal.tenant).await.map_err(|error| error.to_string())?;
        let connection = self.sources.configured(&administration.connection, &tenant);
        let url = &connection.map_err(|failure| failure.message)?.url;
        let state = found.table(table).map_or(Watermark::Missing, |table| table.watermark);
        let steps = requirements::watermark_steps(table, state, found.dialect);
        engate_source::administer(url.expose(), &steps).await.map_err(|error| error.to_string())?;
        tracing::info!(table, connection = administration.connection, "the watermark was added");
        Ok(())
    }
}

fn watermarks(found: &Found, named: &[String]) -> Vec<Requirement> {
    let row = |table: &str| match found.table(table) {
        Some(table) => requirements::watermark(&table.name, table.watermark, found.dialect),
        None => requirements::no_table(table),
    };
    if !named.is_empty() {
        return named.iter().map(|table| row(table)).collect();
    }
    let of_protheus =
        found.tables.iter().filter(|table| table.column(SOFT_DELETE).is_some() && table.column(ROW_NUMBER).is_some());
    let mut rows: Vec<_> = of_protheus.take(TABLES_MAX).map(|table| row(&table.name)).collect();
    if rows.is_empty() {
        rows.push(Requirement {
            key: "tables".to_owned(),
            have: "none".to_owned(),
            need: format!("tables with {SOFT_DELETE} and {ROW_NUMBER}"),
            ok: false,
            cure: Some("check that the connection leads to the Protheus' own schema, or name the tables".to_owned()),
            ddl: None,
        });
    }
    rows
}
