//! Endpoints. What shows who the engine is (authentication, signing keys, headers of its own) is sealed
//! together; a deleted endpoint keeps its row without it.

use std::time::Duration;

use engate_model::{
    EndpointId, IntegratorId, Secret, TenantId, Timestamp,
    callback::CallbackScope,
    endpoint::{Auth, ClientIdentity, Endpoint, Oauth2, Signing},
    event::EventType,
    filter::Filter,
    line::Ordering,
    rate::RateLimit,
    retry::RetryPolicy,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    commit::accept::{AcceptEvent, write_facts},
    db::Session,
    error::{StoreError, conflict},
    event_types::event_types_enter,
    failures, lines, parking,
    seal::Sealer,
    sql::twins,
    tenants::{found, unchanged},
    value::{Cells, Row, Value, args, json, json_opt},
};

/// Which endpoints are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointFilter {
    /// Of this integrator only.
    pub integrator: Option<IntegratorId>,
}

/// Columns in the order of [`values`].
macro_rules! written_columns {
    () => {
        "id, tenant_id, integrator_id, description, url, plugin, config, event_types, enabled, disabled_reason, \
         ordering, max_in_flight, timeout_ms, retry_ms, signing_enabled, sealed, revision, created_at, updated_at, \
         rate_per_second, rate_burst, filter, verified_at, callbacks"
    };
}

/// Columns in the order of [`endpoint`]; the pause has verbs of its own.
macro_rules! endpoint_columns {
    () => {
        concat!($crate::endpoints::written_columns!(), ", paused_at")
    };
}
pub(crate) use {endpoint_columns, written_columns};

/// What is sealed of an endpoint.
#[derive(Serialize, Deserialize)]
struct Sealed {
    auth: SealedAuth,
    signing: String,
    previous_signing: Option<(String, i64)>,
    headers: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SealedAuth {
    None,
    Basic { username: String, password: String },
    Authorization { value: String },
    Header { name: String, value: String },
    Oauth2 { token_url: String, client_id: String, client_secret: String, scope: Option<String> },
    Mtls { certificate: String, key: String },
    Headers { headers: Vec<(String, String)> },
}

fn seal(sealer: &Sealer, endpoint: &Endpoint) -> Result<Vec<u8>, StoreError> {
    let open = |secret: &Secret| secret.expose().to_owned();
    let auth = match &endpoint.auth {
        Auth::None => SealedAuth::None,
        Auth::Basic { username, password } => {
            SealedAuth::Basic { username: username.clone(), password: open(password) }
        }
        Auth::Authorization { value } => SealedAuth::Authorization { value: open(value) },
        Auth::Header { name, value } => SealedAuth::Header { name: name.clone(), value: open(value) },
        Auth::Oauth2(client) => SealedAuth::Oauth2 {
            token_url: client.token_url.clone(),
            client_id: client.client_id.clone(),
            client_secret: open(&client.client_secret),
            scope: client.scope.clone(),
        },
        Auth::Mtls(identity) => {
            SealedAuth::Mtls { certificate: identity.certificate.clone(), key: open(&identity.key) }
        }
        Auth::Headers { headers } => {
            SealedAuth::Headers { headers: headers.iter().map(|(name, value)| (name.clone(), open(value))).collect() }
        }
    };
    let previous = endpoint.signing.previous.as_ref();
    let sealed = Sealed {
        auth,
        signing: open(&endpoint.signing.secret),
        previous_signing: previous.map(|(secret, until)| (open(secret), until.as_micros())),
        headers: endpoint.headers.clone(),
    };
    let plain = serde_json::to_vec(&sealed).map_err(|error| StoreError::Data(error.to_string()))?;
    sealer.seal(&place(endpoint.id), &plain)
}

fn unseal(sealer: &Sealer, id: EndpointId, sealed: &[u8]) -> Result<Sealed, StoreError> {
    let plain = sealer.open(&place(id), sealed)?;
    // The error's text is not passed on: it may quote what it could not read.
    serde_json::from_slice(&plain).map_err(|_| StoreError::Corrupt(format!("the sealed value of {id}")))
}

pub(crate) fn place(id: EndpointId) -> String {
    format!("endpoints/{id}")
}

fn values(sealer: &Sealer, endpoint: &Endpoint) -> Result<Vec<Value>, StoreError> {
    let timeout_ms = u64::try_from(endpoint.timeout.as_millis()).unwrap_or(u64::MAX);
    Ok(args![
        endpoint.id,
        endpoint.tenant,
        endpoint.integrator,
        &endpoint.description,
        &endpoint.url,
        endpoint.plugin.as_ref().map(ToString::to_string),
        json_opt(endpoint.config.as_ref())?,
        json(&endpoint.event_types)?,
        endpoint.enabled,
        endpoint.disabled_reason.as_deref(),
        endpoint.ordering.code(),
        endpoint.max_in_flight,
        timeout_ms,
        json(&endpoint.retry.schedule_ms())?,
        endpoint.signing.enabled,
        seal(sealer, endpoint)?,
        endpoint.revision,
        endpoint.created_at,
        endpoint.updated_at,
        endpoint.rate_limit.map(|limit| limit.per_second),
        endpoint.rate_limit.map(|limit| limit.burst),
        json_opt(endpoint.filter.as_ref().map(Filter::source))?,
        endpoint.verified_at,
        endpoint.callbacks.code(),
    ])
}

/// What the audit tells of an endpoint, and of the event types that came with it.
fn detail(endpoint: &Endpoint, entered: Vec<String>) -> serde_json::Value {
    let mut detail = json!({
        "integrator": endpoint.integrator,
        "url": endpoint.url,
        "auth": endpoint.auth.kind(),
        "enabled": endpoint.enabled,
        "filtered": endpoint.filter.is_some(),
        "ordering": endpoint.ordering,
    });
    if let Some(detail) = detail.as_object_mut().filter(|_| !entered.is_empty()) {
        detail.insert("event_types_entered".to_owned(), entered.into());
    }
    detail
}

impl Store {
    /// Registers an endpoint.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where its integrator does not exist, or when the database gives no answer.
    pub async fn endpoint_create(&self, actor: &Actor, endpoint: &Endpoint) -> Result<(), StoreError> {
        self.endpoint_create_entering(actor, endpoint, &[]).await
    }

    /// As [`Store::endpoint_create`], and enters those of `types` that the catalogue lacks: all of it or nothing, under one
    /// entry in the audit.
    ///
    /// # Errors
    /// As [`Store::endpoint_create`].
    pub async fn endpoint_create_entering(
        &self,
        actor: &Actor,
        endpoint: &Endpoint,
        types: &[EventType],
    ) -> Result<(), StoreError> {
        let mut session = self.change(endpoint.tenant).await?;
        let entered = event_types_enter(&mut session, types).await?;
        let sql = concat!(
            "INSERT INTO endpoints (",
            written_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
             $21, $22, $23, $24)"
        );
        let values = values(self.sealer(), endpoint)?;
        session.execute(sql, values).await.map_err(conflict("an endpoint of this id or without its integrator"))?;
        let (id, detail) = (endpoint.id.to_string(), detail(endpoint, entered));
        self.audit(&mut session, actor, endpoint.tenant, "endpoint.create", &id, &detail).await?;
        session.commit().await
    }

    /// Writes everything of an endpoint but its id, its tenant and its pause, where its revision still is the one given;
    /// gives the next one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], or when the database gives no answer.
    pub async fn endpoint_update(&self, actor: &Actor, endpoint: &Endpoint) -> Result<u64, StoreError> {
        self.endpoint_update_telling(actor, endpoint, &[], &[]).await
    }

    /// As [`Store::endpoint_update`], tells listeners of it, and enters those of `types` that the catalogue lacks.
    ///
    /// # Errors
    /// As [`Store::endpoint_update`].
    pub async fn endpoint_update_telling(
        &self,
        actor: &Actor,
        endpoint: &Endpoint,
        types: &[EventType],
        facts: &[AcceptEvent],
    ) -> Result<u64, StoreError> {
        let mut session = self.change(endpoint.tenant).await?;
        let (id, tenant) = (endpoint.id, endpoint.tenant);
        require_revision(&mut session, tenant, id, endpoint.revision).await?;
        let sql = twins!(
            "SELECT ordering FROM endpoints WHERE id = $1 AND tenant_id = $2 AND deleted_at IS NULL",
            sqlite: "",
            postgres: " FOR NO KEY UPDATE"
        );
        let row = session.row(sql, args![id, tenant]).await?;
        let before = row.ok_or(StoreError::NotFound { what: "endpoint" })?.cells().code(Ordering::from_code)?;
        let sql = "UPDATE endpoints SET integrator_id = $3, description = $4, url = $5, plugin = $6, config = $7, \
                   event_types = $8, enabled = $9, disabled_reason = $10, ordering = $11, max_in_flight = $12, \
                   timeout_ms = $13, retry_ms = $14, signing_enabled = $15, sealed = $16, revision = $17 + 1, \
                   created_at = $18, updated_at = $19, rate_per_second = $20, rate_burst = $21, filter = $22, \
                   verified_at = $23, callbacks = $24 WHERE id = $1 AND tenant_id = $2 AND deleted_at IS NULL \
                   RETURNING revision";
        let values = values(self.sealer(), endpoint)?;
        let row = session.row(sql, values).await.map_err(conflict("an endpoint without its integrator"))?;
        let revision = row.ok_or(StoreError::NotFound { what: "endpoint" })?.cells().count()?;
        if before != endpoint.ordering {
            lines::reorder(&mut session, id, endpoint.ordering, actor.now).await?;
        }
        parking::settle(&mut session, endpoint.id, actor.now).await?;
        failures::forget(&mut session, endpoint.id).await?;
        write_facts(&mut session, facts).await?;
        let entered = event_types_enter(&mut session, types).await?;
        let (id, detail) = (endpoint.id.to_string(), detail(endpoint, entered));
        self.audit(&mut session, actor, endpoint.tenant, "endpoint.update", &id, &detail).await?;
        session.commit().await?;
        Ok(revision)
    }

    /// Deletes an endpoint and its secrets. What waits for it is cancelled (`endpoint_deleted`), its history
    /// stays; gives how many were cancelled. With `revision`, only where that still is the endpoint's.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], or when the database gives no answer.
    pub async fn endpoint_delete(
        &self,
        actor: &Actor,
        tenant: TenantId,
        id: EndpointId,
        revision: Option<u64>,
    ) -> Result<u64, StoreError> {
        let mut session = self.change(tenant).await?;
        if let Some(revision) = revision {
            require_revision(&mut session, tenant, id, revision).await?;
        }
        let sql = "UPDATE endpoints SET deleted_at = $3, updated_at = $3, enabled = 0, sealed = NULL \
                   WHERE id = $1 AND tenant_id = $2 AND deleted_at IS NULL";
        found(session.execute(sql, args![id, tenant, actor.now]).await?, "endpoint")?;
        let sql = "UPDATE deliveries SET state = 'cancelled', reason = 'endpoint_deleted', due_at = NULL, \
                   line = NULL, waits_behind = NULL WHERE endpoint_id = $1 AND owner IS NULL AND state IN ('pending', 'parked')";
        let cancelled = session.execute(sql, args![id]).await?;
        failures::forget(&mut session, id).await?;
        session
            .execute("DELETE FROM plugin_state WHERE tenant_id = $1 AND endpoint_id = $2", args![tenant, id])
            .await?;
        let detail = json!({ "cancelled": cancelled });
        self.audit(&mut session, actor, tenant, "endpoint.delete", &id.to_string(), &detail).await?;
        session.commit().await?;
        Ok(cancelled)
    }

    /// Disables an endpoint because its partner said stop, or failed for too long, and tells listeners of it; false
    /// where it was disabled or gone already.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn endpoint_disable(
        &self,
        actor: &Actor,
        tenant: TenantId,
        id: EndpointId,
        reason: &str,
        facts: &[AcceptEvent],
    ) -> Result<bool, StoreError> {
        let mut session = self.revise(tenant).await?;
        let sql = "UPDATE endpoints SET enabled = 0, disabled_reason = $3, revision = revision + 1, updated_at = $4 \
                   WHERE id = $1 AND tenant_id = $2 AND enabled = 1 AND deleted_at IS NULL";
        if session.execute(sql, args![id, tenant, reason, actor.now]).await? == 0 {
            session.rollback().await?;
            return Ok(false);
        }
        parking::settle(&mut session, id, actor.now).await?;
        failures::forget(&mut session, id).await?;
        write_facts(&mut session, facts).await?;
        let detail = json!({ "reason": reason });
        self.audit(&mut session, actor, tenant, "endpoint.disable", &id.to_string(), &detail).await?;
        session.commit().await?;
        Ok(true)
    }

    /// Writes down that an endpoint answered a challenge under its settings of that revision; false where they
    /// changed meanwhile.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn endpoint_verified(
        &self,
        actor: &Actor,
        tenant: TenantId,
        id: EndpointId,
        revision: u64,
    ) -> Result<bool, StoreError> {
        let mut session = self.change(tenant).await?;
        let sql = "UPDATE endpoints SET verified_at = $4, revision = revision + 1 \
                   WHERE id = $1 AND tenant_id = $2 AND revision = $3 AND deleted_at IS NULL";
        if session.execute(sql, args![id, tenant, revision, actor.now]).await? == 0 {
            session.rollback().await?;
            return Ok(false);
        }
        self.audit(&mut session, actor, tenant, "endpoint.verify", &id.to_string(), &json!({})).await?;
        session.commit().await?;
        Ok(true)
    }

    /// An endpoint.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn endpoint_get(&self, tenant: TenantId, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let sql = concat!(
            "SELECT ",
            endpoint_columns!(),
            " FROM endpoints WHERE id = $1 AND tenant_id = $2 AND deleted_at IS NULL"
        );
        let row = self.db().row(sql, args![id, tenant]).await?;
        row.map(|row| endpoint(self.sealer(), &row)).transpose()
    }

    /// A tenant's endpoints, the oldest first.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn endpoint_list(&self, tenant: TenantId, filter: &EndpointFilter) -> Result<Vec<Endpoint>, StoreError> {
        let sql = concat!(
            "SELECT ",
            endpoint_columns!(),
            " FROM endpoints WHERE tenant_id = $1 AND deleted_at IS NULL AND integrator_id = COALESCE($2, \
             integrator_id) ORDER BY id"
        );
        let rows = self.db().rows(sql, args![tenant, filter.integrator]).await?;
        rows.iter().map(|row| endpoint(self.sealer(), row)).collect()
    }
}

fn small_opt(cells: &mut Cells<'_>) -> Result<Option<u32>, StoreError> {
    Ok(cells.int_opt()?.and_then(|number| u32::try_from(number).ok()))
}

async fn require_revision(
    session: &mut Session,
    tenant: TenantId,
    id: EndpointId,
    revision: u64,
) -> Result<(), StoreError> {
    let sql = "SELECT revision FROM endpoints WHERE id = $1 AND tenant_id = $2 AND deleted_at IS NULL";
    let row = session.row(sql, args![id, tenant]).await?;
    let now = row.map(|row| row.cells().count()).transpose()?;
    unchanged(now.as_ref(), &revision, "endpoint")
}

/// Reads [`endpoint_columns`].
pub(crate) fn endpoint(sealer: &Sealer, row: &Row) -> Result<Endpoint, StoreError> {
    let mut cells = row.cells();
    let id = cells.id()?;
    let (tenant, integrator) = (cells.id()?, cells.id()?);
    let (description, url, plugin) = (cells.text()?, cells.text()?, cells.parse_opt()?);
    let (config, event_types) = (cells.json_opt()?, cells.json()?);
    let (enabled, disabled_reason) = (cells.flag()?, cells.text_opt()?);
    let ordering = cells.code(Ordering::from_code)?;
    let (max_in_flight, timeout) = (cells.small()?, Duration::from_millis(cells.count()?));
    let retry = RetryPolicy::new(&cells.json::<Vec<u64>>()?).map_err(StoreError::Corrupt)?;
    let signing_enabled = cells.flag()?;
    let sealed = unseal(sealer, id, &cells.blob()?)?;
    let previous = sealed.previous_signing.map(|(key, until)| (Secret::from(key), Timestamp::from_micros(until)));
    Ok(Endpoint {
        id,
        tenant,
        integrator,
        description,
        url,
        auth: match sealed.auth {
            SealedAuth::None => Auth::None,
            SealedAuth::Basic { username, password } => Auth::Basic { username, password: password.into() },
            SealedAuth::Authorization { value } => Auth::Authorization { value: value.into() },
            SealedAuth::Header { name, value } => Auth::Header { name, value: value.into() },
            SealedAuth::Oauth2 { token_url, client_id, client_secret, scope } => {
                Auth::Oauth2(Oauth2 { token_url, client_id, client_secret: client_secret.into(), scope })
            }
            SealedAuth::Mtls { certificate, key } => Auth::Mtls(ClientIdentity { certificate, key: key.into() }),
            SealedAuth::Headers { headers } => {
                Auth::Headers { headers: headers.into_iter().map(|(name, value)| (name, value.into())).collect() }
            }
        },
        plugin,
        config,
        event_types,
        enabled,
        disabled_reason,
        ordering,
        max_in_flight,
        timeout,
        retry,
        headers: sealed.headers,
        signing: Signing { enabled: signing_enabled, secret: sealed.signing.into(), previous },
        revision: cells.count()?,
        created_at: cells.time()?,
        updated_at: cells.time()?,
        rate_limit: match (small_opt(&mut cells)?, small_opt(&mut cells)?) {
            (Some(per_second), Some(burst)) => Some(RateLimit { per_second, burst }),
            _ => None,
        },
        filter: cells
            .json_opt()?
            .map(Filter::read)
            .transpose()
            .map_err(|invalid| StoreError::Corrupt(format!("the filter of {id}: {invalid}")))?,
        verified_at: cells.time_opt()?,
        callbacks: cells.code(CallbackScope::from_code)?,
        paused_at: cells.time_opt()?,
    })
}
