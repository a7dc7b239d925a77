//! Wizards: how far a setting-up is, and the secrets it holds, sealed.

use engate_model::{
    Secret, TenantId, Timestamp, WizardId,
    wizard::{Handover, Progress, WIZARDS_MAX, Wizard, WizardSecrets},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    commit::accept::{AcceptEvent, write_facts},
    error::StoreError,
    seal::Sealer,
    tenants::{found, require_live},
    value::{Row, Value, args, json as json_value},
};

/// Columns in the order of [`wizard`].
macro_rules! columns {
    () => {
        "id, tenant_id, progress, sealed, revision, created_at, updated_at"
    };
}

/// [`WizardSecrets`] as they are sealed.
#[derive(Serialize, Deserialize)]
struct Plain {
    client_secret: Option<String>,
    connector_key: Option<String>,
    handover: Option<(String, String)>,
}

pub(crate) fn place(id: WizardId) -> String {
    format!("wizards/{id}")
}

impl Store {
    /// Enters a wizard.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where there are [`WIZARDS_MAX`], [`StoreError::NotFound`] where the tenant is deleted, or when the
    /// database gives no answer.
    pub async fn wizard_create(&self, actor: &Actor, wizard: &Wizard) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        require_live(&mut session, wizard.tenant).await?;
        let count = session.row("SELECT count(*) FROM wizards WHERE tenant_id = $1", args![wizard.tenant]).await?;
        if count.map_or(Ok(0), |row| row.cells().count())? >= WIZARDS_MAX {
            return Err(StoreError::Conflict { what: "the largest number of wizards" });
        }
        let sql = "INSERT INTO wizards (id, tenant_id, progress, sealed, due_at, updated_at, created_at, revision) \
                   VALUES ($1, $2, $3, $4, $5, $6, $6, 1)";
        session.execute(sql, values(self.sealer(), wizard, &WizardSecrets::default())?).await?;
        let id = wizard.id.to_string();
        self.audit(&mut session, actor, wizard.tenant, "wizard.create", &id, &json!({ "kind": "carol" })).await?;
        session.commit().await
    }

    /// Writes how far a wizard is, where its revision still is the one of `wizard`, together with the facts that tell of
    /// it. `action` is what the audit calls it; none: the engine went on with what was asked of it before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], or when the database gives no answer.
    pub async fn wizard_update(
        &self,
        actor: &Actor,
        action: Option<&str>,
        wizard: &Wizard,
        secrets: &WizardSecrets,
        facts: &[AcceptEvent],
    ) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE wizards SET progress = $3, sealed = $4, due_at = $5, updated_at = $6, revision = revision + 1 \
                   WHERE id = $1 AND tenant_id = $2 AND revision = $7";
        let mut values = values(self.sealer(), wizard, secrets)?;
        values.push(Value::from(wizard.revision));
        if session.execute(sql, values).await? == 0 {
            let sql = "SELECT id FROM wizards WHERE id = $1 AND tenant_id = $2";
            let is_there = session.row(sql, args![wizard.id, wizard.tenant]).await?.is_some();
            let what = "wizard";
            return Err(if is_there { StoreError::Stale { what } } else { StoreError::NotFound { what } });
        }
        write_facts(&mut session, facts).await?;
        if let Some(action) = action {
            let detail = json!({ "state": wizard.progress.state() });
            self.audit(&mut session, actor, wizard.tenant, action, &wizard.id.to_string(), &detail).await?;
        }
        session.commit().await
    }

    /// Deletes a wizard. What it made stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn wizard_delete(&self, actor: &Actor, tenant: TenantId, id: WizardId) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "DELETE FROM wizards WHERE id = $1 AND tenant_id = $2";
        found(session.execute(sql, args![id, tenant]).await?, "wizard")?;
        self.audit(&mut session, actor, tenant, "wizard.delete", &id.to_string(), &json!({})).await?;
        session.commit().await
    }

    /// A wizard with its secrets, for the engine's own use.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn wizard_get(
        &self,
        tenant: TenantId,
        id: WizardId,
    ) -> Result<Option<(Wizard, WizardSecrets)>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM wizards WHERE id = $1 AND tenant_id = $2");
        self.db().row(sql, args![id, tenant]).await?.as_ref().map(|row| wizard(self.sealer(), row)).transpose()
    }

    /// A tenant's wizards, the newest first.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn wizard_list(&self, tenant: TenantId) -> Result<Vec<Wizard>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM wizards WHERE tenant_id = $1 ORDER BY id DESC");
        let rows = self.db().rows(sql, args![tenant]).await?;
        rows.iter().map(|row| Ok(wizard(self.sealer(), row)?.0)).collect()
    }

    /// Wizards of all tenants for which the engine has something to ask, the longest due first.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn wizard_due(&self, now: Timestamp, limit: u32) -> Result<Vec<(Wizard, WizardSecrets)>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM wizards WHERE due_at <= $1 ORDER BY due_at LIMIT $2");
        let rows = self.db().rows(sql, args![now, limit]).await?;
        rows.iter().map(|row| wizard(self.sealer(), row)).collect()
    }
}

/// What is written of a wizard, in the order of the statements above.
fn values(sealer: &Sealer, wizard: &Wizard, secrets: &WizardSecrets) -> Result<Vec<Value>, StoreError> {
    let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    let handover = secrets.handover.as_ref();
    let plain = Plain {
        client_secret: exposed(&secrets.client_secret),
        connector_key: exposed(&secrets.connector_key),
        handover: handover.map(|made| (made.client_id.clone(), made.client_secret.expose().to_owned())),
    };
    let plain = serde_json::to_vec(&plain).map_err(|error| StoreError::Data(error.to_string()))?;
    Ok(args![
        wizard.id,
        wizard.tenant,
        json_value(&wizard.progress)?,
        sealer.seal(&place(wizard.id), &plain)?,
        wizard.progress.provisioning.as_ref().and_then(|provisioning| provisioning.next_at),
        wizard.updated_at,
    ])
}

fn wizard(sealer: &Sealer, row: &Row) -> Result<(Wizard, WizardSecrets), StoreError> {
    let mut cells = row.cells();
    let (id, tenant): (WizardId, _) = (cells.id()?, cells.id()?);
    let progress: Progress = cells.json()?;
    let plain = sealer.open(&place(id), &cells.blob()?)?;
    let plain: Plain = serde_json::from_slice(&plain)
        .map_err(|_| StoreError::Corrupt(format!("the sealed value of {}", place(id))))?;
    let handover = plain
        .handover
        .map(|(client_id, client_secret)| Handover { client_id, client_secret: Secret::new(client_secret) });
    let secrets = WizardSecrets {
        client_secret: plain.client_secret.map(Secret::new),
        connector_key: plain.connector_key.map(Secret::new),
        handover,
    };
    let revision = cells.count()?;
    Ok((Wizard { id, tenant, progress, revision, created_at: cells.time()?, updated_at: cells.time()? }, secrets))
}
