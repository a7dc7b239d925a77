//! The last step: the two jobs, made so that nothing runs before the operator says so, and what they need to reach the
//! other side. Done again, it adds what is new and leaves what the operator changed.

use std::collections::BTreeMap;

use engate_model::{
    EndpointId, Secret, WizardId,
    job::{Job, JobSettings, PollJob, Work},
    line::Ordering,
    plugin::PluginRef,
    schedule::Schedule,
    sync::{
        Partition, PluginSink, SoftDelete, StreamSpec, SyncJob, SyncSink, SyncSource,
        job::{LOOKBACK_MS_DEFAULT, PAGE_BYTES_DEFAULT, PAGE_ROWS_DEFAULT, QUARANTINE_DEFAULT, SAFETY_LAG_MS_DEFAULT},
    },
    token::Principal,
    wizard::{Company, Entity, LINK_JOB, MadeJob, SOFT_DELETE, Step, TABLES_JOB, WATERMARK, Wizard, services::Service},
};
use serde_json::json;

use super::{Doing, VerbError, credentials::welcome_of};
use crate::{
    engine::Engine,
    verbs::{
        demand::Demand,
        endpoints::{AuthFields, AuthKind, EndpointChange, EndpointNew},
        event_types::EventTypeNew,
        integrators::IntegratorNew,
        jobs::{Change, JobChange},
    },
};

/// The integrator that the endpoints belong to.
const INTEGRATOR: &str = "carol";
/// The type of the events that messages of the queue become.
const MESSAGE_TYPE: &str = "smartlink.message";
/// The plugins.
const CAROL: &str = "carol";
const SMARTLINK: &str = "smartlink";
/// How the queue is looked at where the operator does not say otherwise: as TOTVS' own reader does.
const LINK_EVERY_MS: u64 = 60_000;
/// How often all keys are compared, for rows that were deleted for good.
const RECONCILE_EVERY_MS: u64 = 24 * 3_600_000;
/// Requests of a job to one endpoint at once.
const IN_FLIGHT: u32 = 4;
/// How long one request may take.
const TIMEOUT_MS: u64 = 60_000;
/// The scope that RAC is asked for.
const SCOPE: &str = "authorization_api";

/// An endpoint as a job needs it.
struct Reach {
    description: &'static str,
    url: String,
    auth: (AuthKind, AuthFields),
    headers: Vec<(String, String)>,
}

impl Engine {
    /// Makes the jobs, or adds what is new to those that are there.
    pub(crate) async fn wizard_jobs(&self, principal: &Principal, id: WizardId) -> Result<Wizard, VerbError> {
        let mut doing = self.wizard_enter(principal, id, Step::Jobs).await?;
        let tables = self.tables_job(principal, &doing).await?;
        let link = self.link_job(principal, &doing).await?;
        doing.wizard.progress.jobs = Some(vec![link, tables]);
        self.wizard_leave(principal, Step::Jobs, doing).await
    }

    /// The job that sends the tables.
    async fn tables_job(&self, principal: &Principal, doing: &Doing) -> Result<MadeJob, VerbError> {
        let none = || VerbError::Internal("a wizard behind `entities` without them".to_owned());
        let progress = &doing.wizard.progress;
        let (found, key) = (progress.entities.as_ref().ok_or_else(none)?, doing.secrets.connector_key.as_ref());
        let reach = Reach {
            description: "Carol: staging intake",
            url: found.endpoint.clone(),
            auth: header_auth("X-Auth-Key", key.ok_or_else(none)?),
            headers: vec![("X-Auth-ConnectorId".to_owned(), found.connector_id.clone())],
        };
        let before = self.store.job_find(principal.tenant, TABLES_JOB).await?;
        let used = before.as_ref().and_then(|job| match &job.settings.work {
            Work::Sync(sync) => sync.sink.endpoint(),
            _ => None,
        });
        let endpoint = self.reach(principal, used, reach).await?;
        let companies = progress.companies.as_deref().unwrap_or_default();
        let wanted = SyncJob {
            source: SyncSource::Table { connection: welcome_of(&doing.wizard)?.connection.clone() },
            sink: SyncSink::Plugin(PluginSink {
                plugin: plugin(CAROL)?,
                config: Some(json!({ "base_url": found.endpoint, "connector_id": found.connector_id })),
                endpoint,
            }),
            streams: streams(&found.entities, companies),
            partitions: partitions(companies),
            safety_lag_ms: SAFETY_LAG_MS_DEFAULT,
            lookback_ms: LOOKBACK_MS_DEFAULT,
            page_rows: PAGE_ROWS_DEFAULT,
            page_bytes: PAGE_BYTES_DEFAULT,
            quarantine_max: QUARANTINE_DEFAULT,
        };
        let work = match before.as_ref().map(|job| &job.settings.work) {
            Some(Work::Sync(there)) => Work::Sync(Box::new(merged(there, wanted))),
            _ => Work::Sync(Box::new(wanted)),
        };
        self.provide(principal, before, JobSettings::new(TABLES_JOB, Schedule::Always, work)).await
    }

    /// The job that reads the queue.
    async fn link_job(&self, principal: &Principal, doing: &Doing) -> Result<MadeJob, VerbError> {
        let none = || VerbError::Internal("a wizard behind `credentials` without them".to_owned());
        let welcome = welcome_of(&doing.wizard)?;
        let client = doing.wizard.progress.credentials.as_ref().ok_or_else(none)?;
        let url = self.wizard_address(welcome, Service::Link).await?;
        let fields = AuthFields {
            token_url: Some(client.token_url.clone()),
            client_id: Some(client.client_id.clone()),
            client_secret: Some(doing.secrets.client_secret.clone().ok_or_else(none)?),
            scope: Some(SCOPE.to_owned()),
            ..AuthFields::default()
        };
        let reach = Reach {
            description: "SmartLink: queue",
            url: url.clone(),
            auth: (AuthKind::Oauth2, fields),
            headers: Vec::new(),
        };
        let before = self.store.job_find(principal.tenant, LINK_JOB).await?;
        let there = before.as_ref().and_then(|job| match &job.settings.work {
            Work::Poll(poll) => Some(poll.clone()),
            _ => None,
        });
        let endpoint = self.reach(principal, there.as_ref().and_then(|poll| poll.endpoint), reach).await?;
        if self.store.event_type_get(principal.tenant, MESSAGE_TYPE).await?.is_none() {
            let new = EventTypeNew {
                key: MESSAGE_TYPE.to_owned(),
                title: Some("A message of SmartLink".to_owned()),
                macro_process: "Protheus".to_owned(),
                process: "SmartLink".to_owned(),
                enabled: true,
                schema: None,
            };
            self.event_type_create(principal, new).await?;
        }
        let found = doing.wizard.progress.entities.as_ref();
        let tenant = found.and_then(|found| found.tenant_id.clone()).unwrap_or_else(|| client.client_id.clone());
        let wanted = PollJob {
            plugin: plugin(SMARTLINK)?,
            config: Some(json!({ "base_url": url, "tenant_id": tenant })),
            stream: "queue".to_owned(),
            event_type: MESSAGE_TYPE.to_owned(),
            subject: None,
            endpoint: Some(endpoint),
        };
        // Where the operator lets it publish, and from which plugin, is the operator's.
        let work = there.map_or(wanted, |there| PollJob { endpoint: Some(endpoint), ..there });
        let schedule = Schedule::Every { interval_ms: LINK_EVERY_MS, phase_ms: 0 };
        self.provide(principal, before, JobSettings::new(LINK_JOB, schedule, Work::Poll(work))).await
    }

    /// Makes a job, or gives one that is there the work of `settings` and nothing else.
    async fn provide(
        &self,
        principal: &Principal,
        before: Option<Job>,
        settings: JobSettings,
    ) -> Result<MadeJob, VerbError> {
        let (name, was_there) = (settings.name.clone(), before.is_some());
        let id = match before {
            None => self.job_provision(principal, settings).await?.id,
            Some(job) => {
                let change = JobChange(vec![Change::Work(Box::new(settings.work))]);
                self.job_update(principal, job.id, change, &Demand::none()).await?.id
            }
        };
        Ok(MadeJob { name, id, was_there })
    }

    /// The endpoint that a job uses, with the present address and credentials; made where there is none.
    async fn reach(
        &self,
        principal: &Principal,
        used: Option<EndpointId>,
        reach: Reach,
    ) -> Result<EndpointId, VerbError> {
        let there = self.endpoint_list(principal, None).await?;
        let of_wizard =
            |integrator: &str, description: &str| integrator == INTEGRATOR && description == reach.description;
        let there = there.iter().find(|one| {
            used == Some(one.endpoint.id) || (used.is_none() && of_wizard(&one.integrator, &one.endpoint.description))
        });
        if let Some(there) = there {
            let change = EndpointChange {
                url: Some(reach.url),
                auth: Some(reach.auth),
                headers: Some(reach.headers),
                ..EndpointChange::default()
            };
            return Ok(self.endpoint_update(principal, there.endpoint.id, change, &Demand::none()).await?.endpoint.id);
        }
        if matches!(self.integrator_get(principal, INTEGRATOR).await, Err(VerbError::NotFound(_))) {
            let new = IntegratorNew {
                slug: INTEGRATOR.to_owned(),
                name: Some("TOTVS Carol".to_owned()),
                active: true,
                services: vec![INTEGRATOR.to_owned()],
                plugin: None,
                config: None,
            };
            self.integrator_create(principal, new).await?;
        }
        let new = EndpointNew {
            integrator: Some(INTEGRATOR.to_owned()),
            description: reach.description.to_owned(),
            url: reach.url,
            auth: reach.auth,
            plugin: None,
            config: None,
            event_types: Vec::new(),
            enabled: true,
            ordering: Ordering::Parallel,
            max_in_flight: IN_FLIGHT,
            timeout_ms: TIMEOUT_MS,
            retry_schedule_ms: None,
            headers: reach.headers,
            signing_enabled: false,
            signing_secret: None,
            rate_limit: None,
            filter: None,
            callbacks: None,
        };
        Ok(self.endpoint_create(principal, new).await?.endpoint.id)
    }
}

fn header_auth(name: &str, value: &Secret) -> (AuthKind, AuthFields) {
    let fields = AuthFields { name: Some(name.to_owned()), value: Some(value.clone()), ..AuthFields::default() };
    (AuthKind::Header, fields)
}

fn plugin(name: &str) -> Result<PluginRef, VerbError> {
    name.parse().map_err(|_| VerbError::Internal(format!("{name} is no plugin's name")))
}

/// What there is with what is new: streams that are there stay as they are, others come after them; the rest is as the
/// wizard has it now, but for what an operator sets.
fn merged(there: &SyncJob, wanted: SyncJob) -> SyncJob {
    let mut streams = there.streams.clone();
    let known = |stream: &StreamSpec| there.streams.iter().any(|other| other.name == stream.name);
    streams.extend(wanted.streams.into_iter().filter(|stream| !known(stream)));
    SyncJob { source: wanted.source, partitions: wanted.partitions, streams, sink: wanted.sink, ..there.clone() }
}

fn streams(entities: &[Entity], companies: &[Company]) -> Vec<StreamSpec> {
    let with_branches = companies.iter().any(|company| !company.branches.is_empty());
    let stream = |entity: &Entity| StreamSpec {
        name: entity.entity.clone(),
        table: entity.table_of("{company}"),
        key: entity.key.clone(),
        watermark: WATERMARK.to_owned(),
        columns: None,
        soft_delete: Some(SoftDelete { column: SOFT_DELETE.to_owned(), value: "*".to_owned() }),
        // Companies number their records alike: each gets a staging table of its own.
        target: if companies.len() > 1 { format!("{}_{{company}}", entity.target) } else { entity.target.clone() },
        partition_columns: if with_branches {
            BTreeMap::from([("branch".to_owned(), entity.branch_column())])
        } else {
            BTreeMap::new()
        },
        reconcile_ms: Some(RECONCILE_EVERY_MS),
    };
    entities.iter().map(stream).collect()
}

fn partitions(companies: &[Company]) -> Vec<Partition> {
    let of = |company: &Company| -> Vec<Partition> {
        let code = || ("company".to_owned(), company.code.clone());
        if company.branches.is_empty() {
            return vec![Partition::from([code()])];
        }
        let branches = company.branches.iter();
        branches.map(|branch| Partition::from([code(), ("branch".to_owned(), branch.clone())])).collect()
    };
    companies.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn company(code: &str, branches: &[&str]) -> Company {
        Company { code: code.to_owned(), branches: branches.iter().map(ToString::to_string).collect() }
    }

    fn entity() -> Entity {
        let key = vec!["A1_FILIAL".to_owned(), "A1_COD".to_owned()];
        Entity { entity: "customers".to_owned(), table: "SA1".to_owned(), target: "protheus_sa1".to_owned(), key }
    }

    #[test]
    fn companies_and_branches_are_partitions_and_no_other_is_read() {
        let chosen = [company("01", &["0101", "0102"]), company("03", &["0301"])];
        let stream = &streams(&[entity()], &chosen)[0];
        let partitions = partitions(&chosen);
        let read: Vec<_> = partitions.iter().map(|one| (stream.table_of(one), stream.conditions(one))).collect();
        let expected = [("SA1010", "0101"), ("SA1010", "0102"), ("SA1030", "0301")];
        assert_eq!(read, expected.map(|(table, branch)| (table.to_owned(), vec![("A1_FILIAL", branch)])));
        let targets: Vec<_> = partitions.iter().map(|one| stream.target_of(one)).collect();
        assert_eq!(targets, ["protheus_sa1_01", "protheus_sa1_01", "protheus_sa1_03"]);
        assert_eq!(streams(&[entity()], &chosen[..1])[0].target, "protheus_sa1");
    }

    #[test]
    fn p18_what_is_there_stays_and_what_is_new_is_added() {
        let sync = |streams: Vec<StreamSpec>| SyncJob {
            source: SyncSource::Table { connection: "protheus".to_owned() },
            sink: SyncSink::Plugin(PluginSink {
                plugin: plugin(CAROL).unwrap(),
                config: None,
                endpoint: EndpointId::MIN,
            }),
            streams,
            partitions: partitions(&[company("01", &[])]),
            safety_lag_ms: SAFETY_LAG_MS_DEFAULT,
            lookback_ms: LOOKBACK_MS_DEFAULT,
            page_rows: PAGE_ROWS_DEFAULT,
            page_bytes: PAGE_BYTES_DEFAULT,
            quarantine_max: QUARANTINE_DEFAULT,
        };
        let plain = streams(&[entity()], &[company("01", &[])]);
        let mut edited = sync(plain.clone());
        edited.streams[0].columns = Some(vec!["A1_NOME".into()]);
        edited.lookback_ms = 60_000;
        let more = Entity { entity: "orders".to_owned(), table: "SC5".to_owned(), ..entity() };
        let wanted = sync(streams(&[entity(), more], &[company("01", &[])]));
        let merged = merged(&edited, wanted);
        assert_eq!((&merged.streams[0], merged.lookback_ms), (&edited.streams[0], 60_000));
        assert_eq!(merged.streams.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["customers", "orders"]);
    }
}
