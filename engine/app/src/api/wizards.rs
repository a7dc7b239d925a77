//! `/v1/wizards`: setting a Protheus up for Carol, step by step.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{
    Secret, Timestamp, WizardId,
    wizard::{Step, StepStatus, Wizard},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    extract::{At, Body, Caller, Params},
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
    text::{NameText, ValueText},
};
use crate::{
    engine::Engine,
    verbs::wizards::{Administration, CompanyInput, ProvisioningInput, RequirementsInput, WelcomeInput},
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadWizards, list)
        .add(__path_get, Permission::ReadWizards, get)
        .add(__path_create, Permission::ManageWizards, create)
        .add(__path_delete, Permission::ManageWizards, delete)
        .add(__path_credentials_get, Permission::ManageWizards, credentials_get)
        .add(__path_welcome, Permission::ManageWizards, welcome)
        .add(__path_provisioning, Permission::ManageWizards, provisioning)
        .add(__path_requirements, Permission::ManageWizards, requirements)
        .add(__path_companies, Permission::ManageWizards, companies)
        .add(__path_credentials, Permission::ManageWizards, credentials)
        .add(__path_preflight, Permission::ManageWizards, preflight)
        .add(__path_entities, Permission::ManageWizards, entities)
        .add(__path_jobs, Permission::ManageWizards, jobs)
}

/// One step and how it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WizardStep, example = json!({"key": "companies", "status": "done", "found": {"items": [{"code": "01"}]}}))]
struct StepView {
    /// `welcome`, `provisioning`, `requirements`, `companies`, `credentials`, `preflight`, `entities` or `jobs`.
    key: &'static str,
    /// `locked`, `open`, `running`, `failed` or `done`.
    #[schema(value_type = String)]
    status: StepStatus,
    /// What the step settled and found, secrets left out; null where it was not done.
    #[schema(value_type = Option<Object>)]
    found: Option<Map<String, Value>>,
}

/// A setting-up and how far it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Wizard, example = json!({
    "id": "wiz_0192f0c1a2b37c4d8e5f60718293a4b5", "kind": "carol", "state": "companies", "steps": [
        {"key": "welcome", "status": "done", "found": {"connection": "protheus"}},
        {"key": "companies", "status": "open", "found": null}
    ], "created_at": "2026-01-31T12:00:00.000000Z", "updated_at": "2026-01-31T12:00:00.000000Z"
}))]
struct WizardView {
    /// Its id.
    #[schema(value_type = String)]
    id: WizardId,
    /// What is set up: `carol`.
    kind: &'static str,
    /// The key of the step to do, or `finished`.
    state: &'static str,
    /// All steps, in their order.
    steps: Vec<StepView>,
    /// When it was begun.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl WizardView {
    fn of(wizard: Wizard) -> Self {
        let progress = &wizard.progress;
        let step =
            |step: Step| StepView { key: step.key(), status: progress.status(step), found: progress.found(step) };
        Self {
            id: wizard.id,
            kind: "carol",
            state: progress.state(),
            steps: Step::ALL.map(step).into(),
            created_at: wizard.created_at,
            updated_at: wizard.updated_at,
        }
    }
}

/// Where the tables are, and addresses that differ from the usual ones.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WizardWelcome, example = json!({"connection": "protheus", "urls": {"registry": "https://registry.example/api/v1/services"}}))]
struct WelcomeBody {
    /// The connection, as `[connections]` of the engine's configuration names it.
    #[schema(min_length = 1, max_length = 64)]
    connection: String,
    /// Addresses that count over what the registry says, by service: `registry`, `rac`, `entities`, `ingestion`, `carol`,
    /// `carol_credentials`, `link`, `smartlink`, `provisioning`.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, ValueText>)]
    urls: BTreeMap<String, String>,
}

/// What was bought, or that its credentials are there already.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WizardProvisioning, example = json!({"contract": "C-2026-0042"}))]
struct ProvisioningBody {
    /// What TOTVS calls the contract. The same contract again is the same provisioning; one that failed starts anew.
    #[schema(min_length = 1, max_length = 200)]
    contract: Option<String>,
    /// True: it was done before, and the credentials came by e-mail.
    already_done: Option<bool>,
}

/// An artefact of the Protheus.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WizardArtefact, example = json!({"have": "23.1.1.4", "latest": "23.1.1.4"}))]
struct ArtefactBody {
    /// The version that is there.
    #[schema(max_length = 64)]
    have: String,
    /// The latest of the TOTVS portal.
    #[schema(max_length = 64)]
    latest: String,
}

/// The Protheus as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WizardRequirements, example = json!({
    "release": "12.1.2310", "dbaccess": {"have": "23.1.1.4", "latest": "23.1.1.4"},
    "appserver": {"have": "20.3.2.9", "latest": "20.3.2.9"}, "lib": {"have": "20251103", "latest": "20251103"},
    "upddistr": true, "tables": ["SA1010", "SC5010"]
}))]
struct RequirementsBody {
    /// Its release, 12.1.2310 or newer.
    #[schema(max_length = 64)]
    release: String,
    /// DBAccess.
    dbaccess: ArtefactBody,
    /// The application server.
    appserver: ArtefactBody,
    /// The library.
    lib: ArtefactBody,
    /// Whether the latest continuous delivery and the dictionary's differences were applied with UPDDISTR.
    upddistr: bool,
    /// Tables whose watermark is looked for; left out or empty: all that have the columns of a Protheus table.
    #[serde(default)]
    #[schema(max_items = 1000, value_type = Vec<NameText>)]
    tables: Vec<String>,
    /// Has missing watermarks added; left out: their statements are shown, and nothing runs.
    administration: Option<AdministrationBody>,
}

/// A connection whose user may change tables. Used for this step alone, in a session of its own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WizardAdministration, example = json!({"connection": "protheus-admin", "confirmed": true}))]
struct AdministrationBody {
    /// Its name in the engine's configuration; another one than that of `welcome`.
    #[schema(min_length = 1, max_length = 64)]
    connection: String,
    /// True: the statements that were shown as `ddl` are to run.
    confirmed: bool,
}

/// A company whose rows are carried.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WizardCompany, example = json!({"code": "01", "branches": ["0101", "0102"]}))]
struct CompanyBody {
    /// Its part of the tables' names: `01` of `SA1010`.
    #[schema(min_length = 1, max_length = 12)]
    code: String,
    /// Only these branches; left out or empty: all. Named of every company or of none.
    #[serde(default)]
    #[schema(max_items = 200, value_type = Vec<NameText>)]
    branches: Vec<String>,
}

/// The companies whose rows are carried; those of others are not read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WizardCompanies, example = json!({"companies": [{"code": "01"}, {"code": "03"}]}))]
struct CompaniesBody {
    /// Each of them.
    #[schema(min_items = 1, max_items = 200)]
    companies: Vec<CompanyBody>,
}

/// The client that TOTVS sent by e-mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WizardCredentials, example = json!({"client_id": "protheus", "client_secret": "a long random text"}))]
struct CredentialsBody {
    /// `client_id`.
    #[schema(min_length = 1, max_length = 1024)]
    client_id: String,
    /// `client_secret`: kept encrypted and never answered.
    #[schema(min_length = 1, max_length = 1024, write_only)]
    client_secret: String,
}

/// Credentials that provisioning made.
#[derive(Serialize, ToSchema)]
#[schema(as = WizardHandover, example = json!({"client_id": "protheus", "client_secret": "a long random text"}))]
struct HandoverView {
    /// `client_id`.
    client_id: String,
    /// `client_secret`.
    client_secret: String,
}

/// Lists wizards.
#[utoipa::path(get, path = "/v1/wizards", tag = "wizards", operation_id = "wizard_list", params(PageParams),
    responses((status = 200, description = "One page, the newest first", body = Listing<WizardView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<WizardView>>, Problem> {
    let wizards = engine.wizard_list(&principal).await?;
    Ok(Json(page.cut(wizards, |wizard| wizard.id.to_string(), WizardView::of)?))
}

/// Begins to set a Protheus up for Carol.
#[utoipa::path(post, path = "/v1/wizards/carol", tag = "wizards", operation_id = "wizard_create",
    responses((status = 201, description = "Begun, at the step `welcome`", body = WizardView),
        (status = 409, description = "There are as many as may be")))]
async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
) -> Result<(StatusCode, Json<WizardView>), Problem> {
    Ok((StatusCode::CREATED, Json(WizardView::of(engine.wizard_create(&principal).await?))))
}

/// Shows how far a wizard is.
#[utoipa::path(get, path = "/v1/wizards/{id}", tag = "wizards", operation_id = "wizard_get",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The wizard with all its steps", body = WizardView),
        (status = 404, description = "There is none")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<WizardId>,
) -> Result<Json<WizardView>, Problem> {
    Ok(Json(WizardView::of(engine.wizard_get(&principal, id).await?)))
}

/// Deletes a wizard and the secrets it holds; endpoint and jobs that it made stay.
#[utoipa::path(delete, path = "/v1/wizards/{id}", tag = "wizards", operation_id = "wizard_delete",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 204, description = "Deleted"), (status = 404, description = "There is none")))]
async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<WizardId>,
) -> Result<StatusCode, Problem> {
    engine.wizard_delete(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hands over, once, the credentials that provisioning made.
#[utoipa::path(get, path = "/v1/wizards/{id}/credentials", tag = "wizards", operation_id = "wizard_credentials_get",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The credentials; no later call answers them", body = HandoverView),
        (status = 404, description = "There is none"), (status = 409, description = "Nothing was provisioned"),
        (status = 410, description = "They were handed over before")))]
async fn credentials_get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<WizardId>,
) -> Result<Json<HandoverView>, Problem> {
    let made = engine.wizard_handover(&principal, id).await?;
    let client_secret = made.client_secret.expose().to_owned();
    Ok(Json(HandoverView { client_id: made.client_id, client_secret }))
}

/// Settles where the tables are and where the services; the connection is tried.
#[utoipa::path(post, path = "/v1/wizards/{id}/steps/welcome", tag = "wizards", operation_id = "wizard_welcome",
    params(("id" = String, Path, description = "Its id")), request_body = WelcomeBody,
    responses((status = 200, description = "Done", body = WizardView), (status = 404, description = "There is none")))]
async fn welcome(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<WizardId>,
    Body(body): Body<WelcomeBody>,
) -> Result<Json<WizardView>, Problem> {
    let input = WelcomeInput { connection: body.connection, urls: body.urls };
    Ok(Json(WizardView::of(engine.wizard_welcome(&principal, id, input).await?)))
}

/// Asks TOTVS for the provisioning of a contract; the engine asks on until it is over. Asking again for the same
/// contract answers how far it is.
#[utoipa::path(post, path = "/v1/wizards/{id}/steps/provisioning", tag = "wizards",
    operation_id = "wizard_provisioning", params(("id" = String, Path, description = "Its id")),
    request_body = ProvisioningBody,
    responses((status = 200, description = "Under way, or done", body = WizardView),
        (status = 404, description = "There is none"), (status = 409, description = "The step is locked")))]
async fn provisioning(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<WizardId>,
    Body(body): Body<ProvisioningBody>,
) -> Result<Json<WizardView>, Problem> {
    let input = match (body.contract, body.already_done.unwrap_or(false)) {
        (Some(contract), false) => ProvisioningInput::Contract(contract),
        (None, true) => ProvisioningInput::AlreadyDone,
        _ => {
            let message = "give the contract, or `already_done: true`; one of the two";
            return Err(engate_model::Invalid::field("contract", message).into());
        }
    };
    Ok(Json(WizardView::of(engine.wizard_provisioning(&principal, id, input).await?)))
}

/// Looks at every requirement: a row each says what is there, what is needed and what to do about it.
#[utoipa::path(post, path = "/v1/wizards/{id}/steps/requirements", tag = "wizards",
    operation_id = "wizard_requirements", params(("id" = String, Path, description = "Its id")),
    request_body = RequirementsBody,
    responses((status = 200, description = "Looked at; `failed` where a row is not met", body = WizardView),
        (status = 404, description = "There is none"), (status = 409, description = "The step is locked")))]
async fn requirements(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<WizardId>,
    Body(body): Body<RequirementsBody>,
) -> Result<Json<WizardView>, Problem> {
    let artefacts = [("dbaccess", body.dbaccess), ("appserver", body.appserver), ("lib", body.lib)];
    let input = RequirementsInput {
        release: body.release,
        artefacts: artefacts.map(|(key, artefact)| (key, artefact.have, artefact.latest)),
        upddistr: body.upddistr,
        tables: body.tables,
        administration: body
            .administration
            .map(|AdministrationBody { connection, confirmed }| Administration { connection, confirmed }),
    };
    Ok(Json(WizardView::of(engine.wizard_requirements(&principal, id, input).await?)))
}

/// Settles which companies and branches are carried.
#[utoipa::path(post, path = "/v1/wizards/{id}/steps/companies", tag = "wizards", operation_id = "wizard_companies",
    params(("id" = String, Path, description = "Its id")), request_body = CompaniesBody,
    responses((status = 200, description = "Done", body = WizardView), (status = 404, description = "There is none"),
        (status = 409, description = "The step is locked")))]
async fn companies(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<WizardId>,
    Body(body): Body<CompaniesBody>,
) -> Result<Json<WizardView>, Problem> {
    let companies = body.companies.into_iter();
    let companies = companies.map(|CompanyBody { code, branches }| CompanyInput { code, branches }).collect();
    Ok(Json(WizardView::of(engine.wizard_companies(&principal, id, companies).await?)))
}

/// Checks the client at RAC, and keeps a right one.
#[utoipa::path(post, path = "/v1/wizards/{id}/steps/credentials", tag = "wizards",
    operation_id = "wizard_credentials", params(("id" = String, Path, description = "Its id")),
    request_body = CredentialsBody,
    responses((status = 200, description = "RAC took them", body = WizardView),
        (status = 404, description = "There is none"), (status = 409, description = "The step is locked")))]
async fn credentials(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<WizardId>,
    Body(body): Body<CredentialsBody>,
) -> Result<Json<WizardView>, Problem> {
    let secret = Secret::new(body.client_secret);
    Ok(Json(WizardView::of(engine.wizard_credentials(&principal, id, body.client_id, secret).await?)))
}

/// Looks whether this node reaches the eight services: name, connection, TLS, answer, of each.
#[utoipa::path(post, path = "/v1/wizards/{id}/steps/preflight", tag = "wizards", operation_id = "wizard_preflight",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "Looked at; `failed` where one is not reached", body = WizardView),
        (status = 404, description = "There is none"), (status = 409, description = "The step is locked")))]
async fn preflight(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<WizardId>,
) -> Result<Json<WizardView>, Problem> {
    Ok(Json(WizardView::of(engine.wizard_preflight(&principal, id).await?)))
}

/// Fetches which tables Carol wants and the credentials of its connector, and looks at each table.
#[utoipa::path(post, path = "/v1/wizards/{id}/steps/entities", tag = "wizards", operation_id = "wizard_entities",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "Fetched; `refused` names tables that are not carried", body = WizardView),
        (status = 404, description = "There is none"), (status = 409, description = "The step is locked")))]
async fn entities(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<WizardId>,
) -> Result<Json<WizardView>, Problem> {
    Ok(Json(WizardView::of(engine.wizard_entities(&principal, id).await?)))
}

/// Makes the jobs FWTOTVSLINKJOB and FWTECHFINJOB, as `needs_configuration`. Jobs of these names that are there keep
/// schedule and state and get the tables that are new.
#[utoipa::path(post, path = "/v1/wizards/{id}/steps/jobs", tag = "wizards", operation_id = "wizard_jobs",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "Made; the wizard is finished", body = WizardView),
        (status = 404, description = "There is none"), (status = 409, description = "The step is locked")))]
async fn jobs(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<WizardId>,
) -> Result<Json<WizardView>, Problem> {
    Ok(Json(WizardView::of(engine.wizard_jobs(&principal, id).await?)))
}
