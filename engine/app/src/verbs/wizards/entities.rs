//! Which tables Carol wants, which of them can be carried, and the credentials of its connector.

use engate_model::{
    Secret, WizardId,
    token::Principal,
    wizard::{
        Company, Entities, Entity, RefusedTable, Step, WATERMARK, Wizard, requirements::Watermark, services::Service,
    },
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Doing, VerbError,
    calls::{Sent, unusable},
    credentials::welcome_of,
    tables::Found,
};
use crate::engine::Engine;

/// Tables that are taken from the other side at most: streams of one job.
const ENTITIES_MAX: usize = engate_model::sync::job::STREAMS_MAX;

#[derive(Deserialize)]
struct Wanted {
    entities: Vec<Entity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connector {
    connector_id: String,
    api_token: String,
    endpoint: String,
    tenant_id: Option<String>,
}

impl Engine {
    /// Fetches what Carol wants and how to reach it, and looks at each table here.
    pub(crate) async fn wizard_entities(&self, principal: &Principal, id: WizardId) -> Result<Wizard, VerbError> {
        let mut doing = self.wizard_enter(principal, id, Step::Entities).await?;
        let token = self.wizard_own_token(&doing).await?;
        let Wanted { entities } = self.fetch(&doing, Service::Entities, &token).await?;
        if entities.len() > ENTITIES_MAX {
            return Err(unusable(Service::Entities, format!("it names more than {ENTITIES_MAX} entities")));
        }
        let connector: Connector = self.fetch(&doing, Service::CarolCredentials, &token).await?;
        let welcome = welcome_of(&doing.wizard)?;
        // The address that the operator gives counts, also over what came with the credentials.
        let endpoint =
            welcome.urls.get(&Service::Carol).unwrap_or(&connector.endpoint).trim_end_matches('/').to_owned();
        self.egress.check_url(&endpoint).map_err(|denied| unusable(Service::CarolCredentials, denied.to_string()))?;
        let companies = doing.wizard.progress.companies.clone().unwrap_or_default();
        let names = entities.iter().flat_map(|entity| companies.iter().map(|company| entity.table_of(&company.code)));
        let found = self.wizard_tables(principal, &welcome.connection, &names.collect::<Vec<_>>()).await?;
        let (entities, refused) = sort_out(entities, &companies, &found);
        doing.wizard.progress.entities = Some(Entities {
            entities,
            refused,
            connector_id: connector.connector_id,
            endpoint,
            tenant_id: connector.tenant_id,
        });
        doing.secrets.connector_key = Some(Secret::new(connector.api_token));
        self.wizard_leave(principal, Step::Entities, doing).await
    }

    async fn fetch<T: DeserializeOwned>(
        &self,
        doing: &Doing,
        service: Service,
        token: &Secret,
    ) -> Result<T, VerbError> {
        let url = self.wizard_address(welcome_of(&doing.wizard)?, service).await?;
        let answer = self.wizard_call(&url, Sent::Nothing, Some(token)).await.map_err(|why| unusable(service, why))?;
        if !answer.is_ok() {
            return Err(unusable(service, answer.told()));
        }
        answer.read().map_err(|why| unusable(service, why))
    }
}

/// What can be carried, named as the source names it, and what cannot. A table that one company lacks is left out for
/// all: a job carries the same tables of each.
fn sort_out(wanted: Vec<Entity>, companies: &[Company], found: &Found) -> (Vec<Entity>, Vec<RefusedTable>) {
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for entity in wanted {
        let looked: Vec<_> = companies.iter().map(|company| look(&entity, &company.code, found)).collect();
        let before = refused.len();
        let mut named = None;
        for one in looked {
            match one {
                Ok(entity) => named = Some(entity),
                Err(table) => refused.push(table),
            }
        }
        taken.extend(named.filter(|_| refused.len() == before));
    }
    (taken, refused)
}

fn look(entity: &Entity, company: &str, found: &Found) -> Result<Entity, RefusedTable> {
    let table = entity.table_of(company);
    let refuse = |reason: String| Err(RefusedTable { table: table.clone(), reason });
    let Some(facts) = found.table(&table) else {
        return refuse("it is not in the database, or the connection's user may not see it".to_owned());
    };
    if facts.watermark != Watermark::There {
        let has = if facts.watermark == Watermark::Begun { "nothing keeps its" } else { "it has no" };
        return refuse(format!("{has} {WATERMARK}; the step `requirements` prints what adds it"));
    }
    let mut key = Vec::with_capacity(entity.key.len());
    for name in &entity.key {
        match facts.column(name) {
            Some(column) => key.push(column.to_owned()),
            None => return refuse(format!("it has no column {name}, which is part of the key")),
        }
    }
    if key.is_empty() {
        return refuse("Carol names no key for it".to_owned());
    }
    // Databases differ in the case in which they keep names.
    let alias = facts.name.get(..entity.table.len()).unwrap_or(&entity.table).to_owned();
    Ok(Entity { table: alias, key, ..entity.clone() })
}

#[cfg(test)]
mod tests {
    use engate_model::wizard::requirements::{Dialect, Watermark};

    use super::*;
    use crate::verbs::wizards::tables::TableFacts;

    #[test]
    fn p10_a_table_without_its_watermark_is_refused_by_name() {
        let facts = |name: &str, columns: &[&str]| TableFacts {
            name: name.to_owned(),
            columns: columns.iter().map(ToString::to_string).collect(),
            watermark: if columns.contains(&"s_t_a_m_p_") { Watermark::There } else { Watermark::Missing },
        };
        let found = Found {
            dialect: Dialect::Postgres,
            tables: vec![
                facts("sa1010", &["a1_cod", "s_t_a_m_p_"]),
                facts("sa1030", &["a1_cod", "s_t_a_m_p_"]),
                facts("sc5010", &["c5_num", "s_t_a_m_p_"]),
                facts("sc5030", &["c5_num"]),
            ],
        };
        let entity = |table: &str, key: &str| Entity {
            entity: table.to_lowercase(),
            table: table.to_owned(),
            target: table.to_lowercase(),
            key: vec![key.to_owned()],
        };
        let companies = ["01", "03"].map(|code| Company { code: code.to_owned(), branches: vec![] });
        let wanted = vec![entity("SA1", "A1_COD"), entity("SC5", "C5_NUM"), entity("SB1", "B1_COD")];
        let (taken, refused) = sort_out(wanted, &companies, &found);
        assert_eq!(
            taken.iter().map(|one| (one.table.as_str(), one.key[0].as_str())).collect::<Vec<_>>(),
            [("sa1", "a1_cod")]
        );
        let tables: Vec<_> = refused.iter().map(|one| one.table.as_str()).collect();
        assert_eq!(tables, ["SC5030", "SB1010", "SB1030"]);
        assert!(refused[0].reason.contains("S_T_A_M_P_"));
    }
}
