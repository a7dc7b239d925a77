//! The key that the database is sealed with: known again at each start, and replaced.
//!
//! A known text, sealed, stands in `meta` as `key_check`; whoever opens the database must be able to read it. To replace
//! the key, the same text sealed with the new one is put beside it (`key_next`): from then on no engine starts. Then
//! everything sealed is opened and sealed anew, step by step; each value says itself which key it needs, so a rotation that
//! was interrupted goes on where it was. At the end `key_next` takes the place of `key_check`, in one transaction.

use engate_model::{EndpointId, TenantId, Timestamp, WizardId};

use crate::{
    Store, StoreOptions,
    chain::head_place,
    db::{Database, Db, Session, Sizes},
    endpoints,
    error::StoreError,
    keyed_calls::CallKey,
    migrate,
    seal::{Sealer, SecretKey},
    secrets,
    sql::Sql,
    value::{Cells, Value, args},
    wizards,
};

/// What is sealed to know a key by.
const KEY_CHECK: &[u8] = b"engate";
const KEY_CHECK_PLACE: &str = "meta/key_check";
/// Values that are sealed anew in one transaction.
const STEP: u32 = 200;

/// What a rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Values that were sealed anew this time.
    pub values: u64,
    /// Whether the database had the new key already.
    pub was_done: bool,
}

/// A table with sealed values.
struct SealedTable {
    /// Gives the row's key and the sealed value of those that carry the mark `$1`, at most `$2`.
    select: &'static str,
    /// Puts the value `$1` into the row of that key, if it still holds `$2`.
    update: &'static str,
    /// Reads a row's key: where the value is kept, and the key for the update.
    key: fn(&mut Cells<'_>) -> Result<RowKey, StoreError>,
}

/// Where a row's value is kept, and the row's key for an update.
type RowKey = (String, Vec<Value>);

/// Every table with sealed values. A value that is sealed anywhere else would be lost with the old key.
const SEALED: &[SealedTable] = &[
    SealedTable {
        select: "SELECT id, sealed FROM endpoints WHERE sealed IS NOT NULL AND substr(sealed, 2, 4) = $1 LIMIT $2",
        update: "UPDATE endpoints SET sealed = $1 WHERE sealed = $2 AND id = $3",
        key: |cells| {
            let id: EndpointId = cells.id()?;
            Ok((endpoints::place(id), args![id]))
        },
    },
    SealedTable {
        select: "SELECT tenant_id, name, sealed FROM secrets WHERE substr(sealed, 2, 4) = $1 LIMIT $2",
        update: "UPDATE secrets SET sealed = $1 WHERE sealed = $2 AND tenant_id = $3 AND name = $4",
        key: |cells| {
            let (tenant, name): (TenantId, String) = (cells.id()?, cells.text()?);
            Ok((secrets::place(tenant, &name), args![tenant, name]))
        },
    },
    SealedTable {
        select: "SELECT tenant_id, client, key, sealed FROM keyed_calls WHERE substr(sealed, 2, 4) = $1 LIMIT $2",
        update: "UPDATE keyed_calls SET sealed = $1 WHERE sealed = $2 AND tenant_id = $3 AND client = $4 AND key = $5",
        key: |cells| {
            let key = CallKey { tenant: cells.id()?, client: cells.text()?, key: cells.text()? };
            Ok((key.place(), args![key.tenant, &key.client, &key.key]))
        },
    },
    SealedTable {
        select: "SELECT tenant_id, sealed FROM audit_heads WHERE substr(sealed, 2, 4) = $1 LIMIT $2",
        update: "UPDATE audit_heads SET sealed = $1 WHERE sealed = $2 AND tenant_id = $3",
        key: |cells| {
            let tenant: TenantId = cells.id()?;
            Ok((head_place(tenant), args![tenant]))
        },
    },
    SealedTable {
        select: "SELECT id, sealed FROM wizards WHERE substr(sealed, 2, 4) = $1 LIMIT $2",
        update: "UPDATE wizards SET sealed = $1 WHERE sealed = $2 AND id = $3",
        key: |cells| {
            let id: WizardId = cells.id()?;
            Ok((wizards::place(id), args![id]))
        },
    },
];

/// Checks that `sealer` has the key that the database was sealed with; the first one to come decides which.
pub(crate) async fn check_key(db: &Db, sealer: &Sealer) -> Result<(), StoreError> {
    none_under_way(&mut db.reader().await?).await?;
    let kept = match check_of(db, "key_check").await? {
        Some(kept) => kept,
        None => {
            let mut session = db.begin().await?;
            let sql = "INSERT INTO meta (key, value) VALUES ('key_check', $1) ON CONFLICT (key) DO NOTHING";
            session.execute(sql, args![sealer.seal(KEY_CHECK_PLACE, KEY_CHECK)?]).await?;
            session.commit().await?;
            // Another node may have been first, with another key.
            let kept = check_of(db, "key_check").await?;
            kept.ok_or_else(|| StoreError::Corrupt("no check value of the key".to_owned()))?
        }
    };
    if opens(sealer, &kept)? { Ok(()) } else { Err(StoreError::WrongKey) }
}

/// Fails where the key is being replaced.
pub(crate) async fn none_under_way(session: &mut Session) -> Result<(), StoreError> {
    let row = session.row("SELECT key FROM meta WHERE key = 'key_next'", args![]).await?;
    if row.is_some() { Err(StoreError::Rotating) } else { Ok(()) }
}

async fn check_of(db: &Db, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let row = db.row("SELECT value FROM meta WHERE key = $1", args![key]).await?;
    row.map(|row| row.cells().blob()).transpose()
}

fn opens(sealer: &Sealer, kept: &[u8]) -> Result<bool, StoreError> {
    match sealer.open(KEY_CHECK_PLACE, kept) {
        Ok(plain) => Ok(plain == KEY_CHECK),
        Err(StoreError::WrongKey | StoreError::Corrupt(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Store {
    /// Seals everything that is sealed with `old` anew with `new`. Whatever interrupts it, it goes on with the next call
    /// under the same keys; until it is finished, no engine starts.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`] where the database has neither of the keys, or an unfinished rotation was to another one;
    /// [`StoreError::Conflict`] while an engine works on the database; or when the database gives no answer.
    pub async fn rotate_key(
        database: &Database,
        old: &SecretKey,
        new: &SecretKey,
        now: Timestamp,
    ) -> Result<Rotated, StoreError> {
        let (from, to) = (Sealer::new(old)?, Sealer::new(new)?);
        if from.mark() == to.mark() {
            return Err(StoreError::Data("the new key is the old one".to_owned()));
        }
        let options = StoreOptions::default();
        let db = Db::open(database, Sizes { readers: options.readers, connections: options.connections }).await?;
        migrate::migrate(database, &db).await?;
        let rotated = rotate(database, &db, old, [&from, &to], now).await;
        db.close().await;
        rotated
    }
}

async fn rotate(
    database: &Database,
    db: &Db,
    old: &SecretKey,
    [from, to]: [&Sealer; 2],
    now: Timestamp,
) -> Result<Rotated, StoreError> {
    let kept = check_of(db, "key_check").await?.ok_or(StoreError::WrongKey)?;
    if opens(to, &kept)? {
        return Ok(Rotated { values: 0, was_done: true });
    }
    if !opens(from, &kept)? {
        return Err(StoreError::WrongKey);
    }
    match check_of(db, "key_next").await? {
        Some(next) if opens(to, &next)? => {}
        Some(_) => return Err(StoreError::WrongKey),
        None => {
            // Entries of the audit that have no place yet are known by a MAC under the old key.
            let store = Store::open(database, old, StoreOptions::default(), now).await?;
            let sealed = seal_audit(&store).await;
            store.close().await;
            sealed?;
            begin(db, to, now).await?;
        }
    }
    let mut values = 0;
    for table in SEALED {
        while let sealed @ 1.. = step(db, table, [from, to]).await? {
            values += sealed;
        }
    }
    let mut session = db.begin().await?;
    session.execute("DELETE FROM meta WHERE key = 'key_check'", args![]).await?;
    session.execute("UPDATE meta SET key = 'key_check' WHERE key = 'key_next'", args![]).await?;
    session.commit().await?;
    Ok(Rotated { values, was_done: false })
}

async fn seal_audit(store: &Store) -> Result<(), StoreError> {
    for tenant in store.audit_unsealed().await? {
        store.audit_seal(tenant).await?;
    }
    Ok(())
}

/// From here on no engine starts; where one is at work, nothing is begun.
async fn begin(db: &Db, to: &Sealer, now: Timestamp) -> Result<(), StoreError> {
    let mut session = db.begin().await?;
    let sql = "INSERT INTO meta (key, value) VALUES ('key_next', $1)";
    session.execute(sql, args![to.seal(KEY_CHECK_PLACE, KEY_CHECK)?]).await?;
    // A node that registers at this moment is waited for, and seen.
    let hold = Sql::Twins { sqlite: "SELECT 1", postgres: "LOCK TABLE nodes IN SHARE MODE" };
    session.execute(hold, args![]).await?;
    let sql = "SELECT serial FROM nodes WHERE lease_until > $1 LIMIT 1";
    if session.row(sql, args![now]).await?.is_some() {
        session.rollback().await?;
        return Err(StoreError::Conflict { what: "an engine works on this database, or did seconds ago: its lease" });
    }
    session.commit().await
}

/// Seals some of a table's values anew; gives how many.
async fn step(db: &Db, table: &SealedTable, [from, to]: [&Sealer; 2]) -> Result<u64, StoreError> {
    let mut session = db.begin().await?;
    let rows = session.rows(table.select, args![from.mark().as_slice(), STEP]).await?;
    for row in &rows {
        let mut cells = row.cells();
        let (place, key) = (table.key)(&mut cells)?;
        let sealed = cells.blob()?;
        let anew = to.seal(&place, &from.open(&place, &sealed)?)?;
        let mut values = args![anew, sealed];
        values.extend(key);
        session.execute(table.update, values).await?;
    }
    session.commit().await?;
    Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::texts;

    /// A table's name behind these words, where a line has them.
    fn table_of<'t>(line: &'t str, words: &str) -> Option<&'t str> {
        line.split(words).nth(1)?.split([' ', '(']).find(|word| !word.is_empty())
    }

    #[test]
    fn every_sealed_column_of_the_schema_gets_the_new_key() {
        let mut found = 0;
        for text in texts() {
            let mut table = "";
            for line in text.lines().filter(|line| !line.trim_start().starts_with("--")) {
                table = table_of(line, "CREATE TABLE ").or_else(|| table_of(line, "ALTER TABLE ")).unwrap_or(table);
                let sealed = line.split([',', '(']).any(|column| {
                    let column = column.trim_start().trim_start_matches("ADD COLUMN ");
                    column.contains("{blob}") && column.split(' ').next().is_some_and(|name| name.contains("sealed"))
                });
                if sealed {
                    found += 1;
                    let is_there =
                        SEALED.iter().any(|one| one.update.starts_with(&format!("UPDATE {table} SET sealed = ")));
                    assert!(is_there, "{table} has a sealed column and is not in SEALED");
                }
            }
        }
        assert_eq!(found, SEALED.len(), "each of SEALED is a table of the schema, once");
    }
}
