//! Texts of deliveries have an index of their own, for orders by subject and correlation id, and for free search: here it is
//! made.
//!
//! Whoever writes deliveries pays nothing for it: the index follows them by code in the background, as spans do. What it
//! does not have yet, the tail, is looked through beside it. Texts never change, so what is in it stays true.

use std::time::Instant;

use engate_model::{
    DeliveryId, TenantId,
    listing::{Column, folded},
};

use super::{access::Scope, lister::Lister};
use crate::{
    Store,
    compose::{Bulk, letters_index},
    db::{Db, Session},
    error::StoreError,
    sql::{Dialect, Sql},
    value::{Kind, Row, Value, args},
};

/// Deliveries that came between two calls, seconds apart, from which on they have the right of way.
const UNDER_LOAD: i64 = 1_000;
/// Steps of one call, so that a call ends within seconds.
const STEPS_MAX: u32 = 64;
static TEXTS_SQLITE: Bulk = Bulk::new(
    "INSERT INTO delivery_texts (of_tenant, field, text, of_code) ",
    &[("of_tenant", Kind::Id), ("field", Kind::Int), ("text", Kind::Text), ("of_code", Kind::Int)],
    " ON CONFLICT (of_tenant, field, text, of_code) DO NOTHING",
);
static TEXTS_POSTGRES: Bulk = Bulk::new(
    "INSERT INTO delivery_texts (of_tenant, field, text, of_code, of_id) ",
    &[("of_tenant", Kind::Id), ("field", Kind::Int), ("text", Kind::Text), ("of_code", Kind::Int), ("of_id", Kind::Id)],
    " ON CONFLICT (of_tenant, field, text, of_code) DO NOTHING",
);
static SEARCH_SQLITE: Bulk =
    Bulk::new("INSERT INTO delivery_search (rowid, folded) ", &[("code", Kind::Int), ("folded", Kind::Text)], "");
static SEARCH_POSTGRES: Bulk = Bulk::new(
    "INSERT INTO delivery_search (code, folded, of_tenant, of_id) ",
    &[("code", Kind::Int), ("folded", Kind::Text), ("of_tenant", Kind::Id), ("of_id", Kind::Id)],
    " ON CONFLICT (code) DO NOTHING",
);
static TEXTS_DELETE: Bulk = Bulk::new(
    "DELETE FROM delivery_texts WHERE (of_tenant, field, text, of_code) IN (",
    &[("of_tenant", Kind::Id), ("field", Kind::Int), ("text", Kind::Text), ("of_code", Kind::Int)],
    ")",
);
static SEARCH_DELETE_SQLITE: Bulk =
    Bulk::new("DELETE FROM delivery_search WHERE rowid IN (", &[("code", Kind::Int)], ")");
static SEARCH_DELETE_POSTGRES: Bulk =
    Bulk::new("DELETE FROM delivery_search WHERE code IN (", &[("code", Kind::Int)], ")");

/// How the index follows the deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Deliveries that one step takes in. A group commit may have to wait for a step.
    step: i64,
    /// How many times as long as a step took it rests after it.
    rests: u32,
}

impl Pace {
    /// By how many deliveries came since the last call. While many do, a tenth of the time is spent on the index, in steps of
    /// one or two milliseconds; it may fall behind, and makes up for it once there is time.
    pub(super) const fn of(came: i64) -> Self {
        if came > UNDER_LOAD { Self { step: 100, rests: 9 } } else { Self { step: 500, rests: 0 } }
    }
}

/// The texts of one delivery.
pub(crate) struct Texts {
    pub(crate) tenant: TenantId,
    pub(crate) code: i64,
    pub(crate) id: DeliveryId,
    pub(crate) subject: Option<String>,
    pub(crate) correlation_id: Option<String>,
}

impl Texts {
    /// Each field with its text.
    fn fields(&self) -> [(i64, &str); 2] {
        let of = |column, text: &'_ Option<String>| field_of(column, text.is_some());
        [
            (of(Column::Subject, &self.subject), self.subject.as_deref().unwrap_or_default()),
            (of(Column::CorrelationId, &self.correlation_id), self.correlation_id.as_deref().unwrap_or_default()),
        ]
    }

    /// What is searched; none where there is nothing. No word goes over the end of a line.
    fn folded(&self) -> Option<String> {
        let texts = [&self.subject, &self.correlation_id].into_iter().flatten().map(|text| folded(text));
        let folded = texts.collect::<Vec<_>>().join("\n");
        (!folded.is_empty()).then_some(folded)
    }
}

/// The number of a column's texts, and of those that have none.
pub(super) const fn field_of(column: Column, present: bool) -> i64 {
    let absent = if matches!(column, Column::Subject) { 0 } else { 2 };
    absent + present as i64
}

impl Store {
    /// Takes the texts of deliveries up to the code `settled` into the index, up to some.
    pub(super) async fn delivery_texts_extend(&self, settled: i64, pace: Pace) -> Result<(), StoreError> {
        for _ in 0..STEPS_MAX {
            let begun = Instant::now();
            let mark = mark(&mut self.db().reader().await?).await?;
            let to = settled.min(mark + pace.step);
            if to <= mark {
                return Ok(());
            }
            let texts = self.texts_between(mark + 1, to).await?;
            let mut session = self.db().begin().await?;
            let sql = "UPDATE delivery_marks SET code = $2 WHERE name = 'texts' AND code = $1";
            if session.execute(sql, args![mark, to]).await? == 0 {
                // Another node did it meanwhile.
                session.rollback().await?;
                continue;
            }
            texts_put(&mut session, &texts).await?;
            session.commit().await?;
            if pace.rests > 0 {
                tokio::time::sleep(begun.elapsed() * pace.rests).await;
            }
        }
        Ok(())
    }

    /// How many deliveries the index of texts is behind, about.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_texts_lag(&self) -> Result<u64, StoreError> {
        let sql = Sql::Twins {
            sqlite: "SELECT c.value - m.code FROM counters c, delivery_marks m WHERE c.name = 'delivery_code' AND m.name = 'texts'",
            postgres: "SELECT CASE WHEN c.is_called THEN c.last_value - m.code ELSE 0 END FROM delivery_code c, delivery_marks m \
                       WHERE m.name = 'texts'",
        };
        let row = self.db().row(sql, args![]).await?;
        Ok(row.map_or(Ok(0), |row| row.cells().int())?.max(0).unsigned_abs())
    }

    /// The texts of these codes. PostgreSQL has no index of codes alone, but one for each tenant's.
    async fn texts_between(&self, from: i64, to: i64) -> Result<Vec<Texts>, StoreError> {
        if self.db().dialect() == Dialect::Sqlite {
            let sql =
                "SELECT code, id, tenant_id, subject, correlation_id FROM deliveries WHERE code BETWEEN $1 AND $2";
            return self.db().rows(sql, args![from, to]).await?.iter().map(read_texts).collect();
        }
        let mut all = Vec::new();
        for tenant in self.history_tenants().await? {
            let mut lister = Lister::open(self, tenant, self.page_time_max()).await?;
            let mut access = lister.access(&Scope::of(&super::DeliveryFilter::default())).await?;
            access.on.extend([("code >=", from.into()), ("code <=", to.into())]);
            let sql = access.scan().all(lister.dialect, "code, id, tenant_id, subject, correlation_id");
            for row in lister.reader.session.rows(sql, access.on.values()).await? {
                all.push(read_texts(&row)?);
            }
        }
        Ok(all)
    }
}

/// Reads code, id, tenant, subject and correlation id.
pub(crate) fn read_texts(row: &Row) -> Result<Texts, StoreError> {
    let mut cells = row.cells();
    Ok(Texts {
        code: cells.int()?,
        id: cells.id()?,
        tenant: cells.id()?,
        subject: cells.text_opt()?,
        correlation_id: cells.text_opt()?,
    })
}

/// Up to which code the index has the texts.
async fn mark(session: &mut Session) -> Result<i64, StoreError> {
    let row = session.row("SELECT code FROM delivery_marks WHERE name = 'texts'", args![]).await?;
    row.map_or(Ok(0), |row| row.cells().int())
}

async fn texts_put(session: &mut Session, texts: &[Texts]) -> Result<(), StoreError> {
    let dialect = session.dialect();
    let (mut ordered, mut searched) = (Vec::new(), Vec::new());
    for one in texts {
        for (field, text) in one.fields() {
            ordered.extend(args![one.tenant, field, text, one.code]);
            ordered.extend((dialect == Dialect::Postgres).then(|| Value::from(one.id)));
        }
        if let Some(folded) = one.folded() {
            searched.extend(args![one.code, folded]);
            if dialect == Dialect::Postgres {
                searched.extend(args![one.tenant, one.id]);
            }
        }
    }
    let [by_text, search] = dialect.pick([&TEXTS_SQLITE, &SEARCH_SQLITE], [&TEXTS_POSTGRES, &SEARCH_POSTGRES]);
    by_text.execute(session, ordered).await?;
    search.execute(session, searched).await?;
    Ok(())
}

/// Forgets the texts of deliveries that are forgotten.
pub(crate) async fn texts_delete(session: &mut Session, texts: &[Texts]) -> Result<(), StoreError> {
    let ordered = texts.iter().flat_map(|one| {
        one.fields().into_iter().flat_map(|(field, text)| args![one.tenant, field, text, one.code]).collect::<Vec<_>>()
    });
    TEXTS_DELETE.execute(session, ordered.collect()).await?;
    let search = session.dialect().pick(&SEARCH_DELETE_SQLITE, &SEARCH_DELETE_POSTGRES);
    search.execute(session, texts.iter().flat_map(|one| args![one.code]).collect()).await?;
    Ok(())
}

/// Makes the index that a free search needs on PostgreSQL; says whether it is there.
pub(crate) async fn searchable(db: &Db) -> Result<bool, StoreError> {
    if db.dialect() == Dialect::Sqlite {
        return Ok(true);
    }
    let there = "SELECT CASE WHEN to_regclass('delivery_search_letters') IS NULL THEN 0::bigint ELSE 1::bigint END";
    if db.row(there, args![]).await?.is_some_and(|row| row.cells().flag().unwrap_or(false)) {
        return Ok(true);
    }
    match make_searchable(db).await {
        Ok(made) => Ok(made),
        Err(error) => {
            tracing::warn!(%error, "free text is searched row by row: PostgreSQL's extension pg_trgm cannot be had here");
            Ok(false)
        }
    }
}

async fn make_searchable(db: &Db) -> Result<bool, StoreError> {
    let mut session = db.begin().await?;
    // One after the other: creating it twice at once fails.
    session.execute("SELECT pg_advisory_xact_lock($1)", args![LOCK]).await?;
    session.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public", args![]).await?;
    let sql = "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'";
    let Some(row) = session.row(sql, args![]).await? else { return Ok(false) };
    let sql = letters_index(&row.cells().text()?);
    session.execute(sql, args![]).await?;
    session.commit().await?;
    Ok(true)
}

/// One number for one purpose: who makes the index of letters at this moment.
const LOCK: i64 = 0x656e_6761_7465_0002;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_that_come_in_numbers_have_the_right_of_way() {
        assert_eq!(Pace::of(UNDER_LOAD), Pace { step: 500, rests: 0 });
        assert_eq!(Pace::of(UNDER_LOAD + 1), Pace { step: 100, rests: 9 });
    }

    #[test]
    fn texts_that_are_absent_are_told_from_empty_ones() {
        let texts = |subject: Option<&str>| Texts {
            tenant: TenantId::MIN,
            code: 1,
            id: DeliveryId::MIN,
            subject: subject.map(str::to_owned),
            correlation_id: Some("Ç".to_owned()),
        };
        assert_eq!(texts(None).fields(), [(0, ""), (3, "Ç")]);
        assert_eq!(texts(Some("")).fields(), [(1, ""), (3, "Ç")]);
        assert_eq!(texts(Some("É x")).folded().as_deref(), Some("e x\nc"));
        assert_eq!(field_of(Column::Subject, true) + field_of(Column::CorrelationId, false), 3);
    }
}
