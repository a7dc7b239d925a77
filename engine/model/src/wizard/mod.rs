//! Setting a Protheus up for Carol, step by step: which step is open, what each needs to be passed, what they found.
//!
//! Steps come in one order and each is locked until those before it are passed. A step may be done again while the wizard
//! is not finished; what later steps found is then forgotten, since it rests on it. Nothing in here reaches out: the app
//! asks, and puts what it was answered into [`Progress`].

pub mod provisioning;
pub mod requirements;
pub mod services;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Secret, TenantId, WizardId,
    time::Timestamp,
    wizard::{
        provisioning::{Provisioning, ProvisioningState},
        requirements::Requirement,
        services::{Probe, Service},
    },
};

/// Wizards of one tenant at most.
pub const WIZARDS_MAX: u64 = 100;
/// Companies of one wizard at most.
pub const COMPANIES_MAX: usize = 200;
/// Branches of one company at most.
pub const BRANCHES_MAX: usize = 200;

/// The job that reads the SmartLink queue.
pub const LINK_JOB: &str = "FWTOTVSLINKJOB";
/// The job that sends the tables.
pub const TABLES_JOB: &str = "FWTECHFINJOB";
/// The column by which a Protheus tells when a row was last written.
pub const WATERMARK: &str = "S_T_A_M_P_";
/// The column that marks a row as deleted.
pub const SOFT_DELETE: &str = "D_E_L_E_T_";

/// A step, in the order they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Where the tables are, and addresses that differ from the usual ones.
    Welcome,
    /// The work on TOTVS' side that buying the offer sets going.
    Provisioning,
    /// Versions, dictionary and watermarks of the Protheus.
    Requirements,
    /// Which companies and branches are carried.
    Companies,
    /// The client that RAC knows.
    Credentials,
    /// Whether this node reaches every service.
    Preflight,
    /// Which tables, and the connector's credentials.
    Entities,
    /// The two jobs.
    Jobs,
}

impl Step {
    /// In their order.
    pub const ALL: [Self; 8] = [
        Self::Welcome,
        Self::Provisioning,
        Self::Requirements,
        Self::Companies,
        Self::Credentials,
        Self::Preflight,
        Self::Entities,
        Self::Jobs,
    ];

    /// The stable key.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::Provisioning => "provisioning",
            Self::Requirements => "requirements",
            Self::Companies => "companies",
            Self::Credentials => "credentials",
            Self::Preflight => "preflight",
            Self::Entities => "entities",
            Self::Jobs => "jobs",
        }
    }
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// An earlier one is not passed.
    Locked,
    /// It is the next one to do.
    Open,
    /// It waits for others.
    Running,
    /// It was tried and is not passed.
    Failed,
    /// It is passed.
    Done,
}

/// The wizard's state that is no step.
pub const FINISHED: &str = "finished";

/// What the first step settles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The connection, as the engine's configuration names it.
    pub connection: String,
    /// Addresses that differ from what the registry says.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub urls: std::collections::BTreeMap<Service, String>,
}

/// A company whose rows are carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Company {
    /// The part that it has in the tables' names: `01` of `SA1010`.
    pub code: String,
    /// Only these branches; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
}

/// The client that RAC let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedClient {
    /// Its id; the secret is kept sealed.
    pub client_id: String,
    /// Where it was let in.
    pub token_url: String,
    /// When.
    pub checked_at: Timestamp,
}

/// A table that Carol wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// What Carol calls it.
    pub entity: String,
    /// The table without the company's part: `SA1`.
    pub table: String,
    /// The staging table.
    pub target: String,
    /// The columns that identify a record.
    pub key: Vec<String>,
}

impl Entity {
    /// Its table in the database of `company`.
    pub fn table_of(&self, company: &str) -> String {
        format!("{}{company}0", self.table)
    }

    /// The column that tells the branch: `A1_FILIAL` of `SA1`, `TRB_FILIAL` of `TRB`.
    pub fn branch_column(&self) -> String {
        let alias = self.table.strip_prefix(['S', 's']).filter(|rest| rest.len() == 2).unwrap_or(&self.table);
        let is_small = alias.chars().any(|letter| letter.is_ascii_lowercase());
        format!("{alias}_{}", if is_small { "filial" } else { "FILIAL" })
    }
}

/// A table that the job will not take, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedTable {
    /// Its name.
    pub table: String,
    /// One sentence with the cure.
    pub reason: String,
}

/// What provisioning said of the tables and of the connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entities {
    /// Tables that the job takes.
    pub entities: Vec<Entity>,
    /// Tables that it does not take.
    pub refused: Vec<RefusedTable>,
    /// The connector; its key is kept sealed.
    pub connector_id: String,
    /// Where Carol takes records.
    pub endpoint: String,
    /// The tenant, as SmartLink's envelopes name it; none: it was not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

/// A job that the last step made, or found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeJob {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: crate::JobId,
    /// Whether it was there before; then its schedule and state are as the operator left them.
    pub was_there: bool,
}

/// What the steps settled and found so far. Secrets are kept elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Of [`Step::Welcome`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub welcome: Option<Welcome>,
    /// Of [`Step::Provisioning`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioning: Option<Provisioning>,
    /// Of [`Step::Requirements`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requirements: Option<Vec<Requirement>>,
    /// Of [`Step::Companies`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub companies: Option<Vec<Company>>,
    /// Of [`Step::Credentials`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CheckedClient>,
    /// Of [`Step::Preflight`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Vec<Probe>>,
    /// Of [`Step::Entities`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entities: Option<Entities>,
    /// Of [`Step::Jobs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Vec<MadeJob>>,
}

impl Progress {
    /// How a step stands by itself, whatever is before it; none: it was not tried.
    fn own(&self, step: Step) -> Option<StepStatus> {
        let passed = |is: bool| if is { StepStatus::Done } else { StepStatus::Failed };
        match step {
            Step::Welcome => self.welcome.as_ref().map(|_| StepStatus::Done),
            Step::Provisioning => self.provisioning.as_ref().map(|provisioning| match provisioning.state {
                ProvisioningState::Requested | ProvisioningState::Running => StepStatus::Running,
                ProvisioningState::Done => StepStatus::Done,
                ProvisioningState::Failed => StepStatus::Failed,
            }),
            Step::Requirements => self.requirements.as_ref().map(|rows| passed(rows.iter().all(|row| row.ok))),
            Step::Companies => self.companies.as_ref().map(|companies| passed(!companies.is_empty())),
            Step::Credentials => self.credentials.as_ref().map(|_| StepStatus::Done),
            Step::Preflight => self.preflight.as_ref().map(|probes| passed(probes.iter().all(Probe::is_ok))),
            Step::Entities => self.entities.as_ref().map(|found| passed(!found.entities.is_empty())),
            Step::Jobs => self.jobs.as_ref().map(|_| StepStatus::Done),
        }
    }

    /// How a step stands.
    pub fn status(&self, step: Step) -> StepStatus {
        if self.first_before(step).is_some() {
            return StepStatus::Locked;
        }
        self.own(step).unwrap_or(StepStatus::Open)
    }

    /// The first step before `step` that is not passed: what keeps it locked.
    pub fn first_before(&self, step: Step) -> Option<Step> {
        Step::ALL.into_iter().take_while(|other| *other < step).find(|other| self.own(*other) != Some(StepStatus::Done))
    }

    /// The step to do; none: all are passed.
    pub fn current(&self) -> Option<Step> {
        Step::ALL.into_iter().find(|step| self.own(*step) != Some(StepStatus::Done))
    }

    /// The wizard's state: the key of its step, or [`FINISHED`].
    pub fn state(&self) -> &'static str {
        self.current().map_or(FINISHED, Step::key)
    }

    /// Forgets what the steps behind `step` found: they rest on it.
    pub fn forget_behind(&mut self, step: Step) {
        let keep = |other: Step| other <= step;
        self.provisioning = self.provisioning.take().filter(|_| keep(Step::Provisioning));
        self.requirements = self.requirements.take().filter(|_| keep(Step::Requirements));
        self.companies = self.companies.take().filter(|_| keep(Step::Companies));
        self.credentials = self.credentials.take().filter(|_| keep(Step::Credentials));
        self.preflight = self.preflight.take().filter(|_| keep(Step::Preflight));
        self.entities = self.entities.take().filter(|_| keep(Step::Entities));
        self.jobs = self.jobs.take().filter(|_| keep(Step::Jobs));
    }

    /// What a step found, as people read it; none: it was not tried.
    pub fn found(&self, step: Step) -> Option<Map<String, Value>> {
        let all = serde_json::to_value(self).ok()?;
        match all.get(step.key())?.clone() {
            Value::Object(fields) => Some(fields),
            list => Some(Map::from_iter([("items".to_owned(), list)])),
        }
    }
}

/// What a wizard knows that nobody reads back but by [`Handover`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WizardSecrets {
    /// The client's secret, once RAC took it.
    pub client_secret: Option<Secret>,
    /// The connector's key.
    pub connector_key: Option<Secret>,
    /// What provisioning made, until it is handed over.
    pub handover: Option<Handover>,
}

/// Credentials that are handed over once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// The client's id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
}

/// A wizard as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wizard {
    /// Its id.
    pub id: WizardId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What was settled and found.
    pub progress: Progress,
    /// Counts its changes.
    pub revision: u64,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provisioned(state: ProvisioningState) -> Provisioning {
        Provisioning { state, ..Provisioning::requested("C-1", Timestamp::from_millis(0)) }
    }

    #[test]
    fn p7_a_step_is_locked_until_those_before_it_are_passed() {
        let mut progress = Progress::default();
        assert_eq!(progress.state(), "welcome");
        assert_eq!(progress.first_before(Step::Companies), Some(Step::Welcome));
        progress.welcome = Some(Welcome { connection: "protheus".into(), urls: [].into() });
        progress.provisioning = Some(provisioned(ProvisioningState::Running));
        let status: Vec<_> = Step::ALL.map(|step| progress.status(step)).into();
        assert_eq!(status[..3], [StepStatus::Done, StepStatus::Running, StepStatus::Locked]);
        assert_eq!((progress.state(), progress.first_before(Step::Jobs)), ("provisioning", Some(Step::Provisioning)));
        progress.provisioning = Some(provisioned(ProvisioningState::Done));
        progress.requirements = Some(vec![requirements::release("12.1.2210")]);
        assert_eq!(progress.status(Step::Requirements), StepStatus::Failed);
        assert_eq!(progress.status(Step::Companies), StepStatus::Locked);
    }

    #[test]
    fn a_step_done_again_forgets_what_rests_on_it() {
        let mut progress = Progress {
            welcome: Some(Welcome { connection: "protheus".into(), urls: [].into() }),
            provisioning: Some(provisioned(ProvisioningState::Done)),
            companies: Some(vec![Company { code: "01".into(), branches: vec![] }]),
            jobs: Some(vec![]),
            ..Progress::default()
        };
        progress.forget_behind(Step::Provisioning);
        assert!(progress.provisioning.is_some() && progress.companies.is_none() && progress.jobs.is_none());
    }

    #[test]
    fn tables_and_their_branch_column_are_named_as_protheus_does() {
        let entity = |table: &str| Entity { entity: "x".into(), table: table.into(), target: "x".into(), key: vec![] };
        assert_eq!(entity("SA1").table_of("01"), "SA1010");
        let columns = ["SA1", "TRB", "sa1"].map(|table| entity(table).branch_column());
        assert_eq!(columns, ["A1_FILIAL", "TRB_FILIAL", "a1_filial"]);
    }
}
