//! Texts of deliveries, by an index of their own: orders by subject and correlation id, and free search.
//!
//! Whoever writes deliveries pays nothing for it: the index follows them by code in the background, as spans do. What it
//! does not have yet, the tail, is looked through beside it. Texts never change, so what is in it stays true.

use engate_model::{
    DeliveryId, TenantId,
    delivery::Delivery,
    listing::{Column, SortKey, SortValue, folded},
};

use super::{
    Lister, SORTED_MAX,
    access::{Scope, Way, in_hand, states},
    conditions::Conditions,
    near::Best,
    order,
};
use crate::{
    Store,
    compose::{Bulk, Range, joined},
    db::Session,
    deliveries::{delivery, delivery_columns},
    error::StoreError,
    sql::{Dialect, Sql},
    value::{Kind, Row, Value, args},
};

/// Deliveries that one step takes in.
const STEP: i64 = 500;
/// Steps of one call, so that a call ends within seconds.
const STEPS_MAX: u32 = 64;
/// Deliveries that a free search takes from the index at most; more are read in the order of the listing.
const FOUND_MAX: u64 = 5_000;
/// Letters that the index knows texts by.
pub(super) const LETTERS: usize = 3;
/// Groups of letters of one word that are looked up; the rest of a longer word is compared on the rows.
const GROUPS_MAX: usize = 24;

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
const fn field_of(column: Column, present: bool) -> i64 {
    let absent = if matches!(column, Column::Subject) { 0 } else { 2 };
    absent + present as i64
}

impl Store {
    /// Takes the texts of deliveries up to the code `settled` into the index, up to some.
    pub(super) async fn delivery_texts_extend(&self, settled: i64) -> Result<(), StoreError> {
        for _ in 0..STEPS_MAX {
            let mark = mark(&mut self.db().reader().await?).await?;
            let to = settled.min(mark + STEP);
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

impl Lister {
    /// The first rows in the order of a text that they have.
    pub(super) async fn by_text(
        &mut self,
        scope: &Scope,
        keys: &[SortKey],
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let Some((first, rest)) = keys.split_first() else { return Ok(Vec::new()) };
        let column = super::filter::column_of(first.column);
        let mut tail = self.access(scope).await?;
        tail.on.and(&format!("{column} IS NOT NULL"));
        if self.texts_to > 0 {
            tail.on.extend([("code >", self.texts_to.into())]);
            if self.count(&tail, SORTED_MAX + 1).await? > SORTED_MAX {
                // The index is far behind: the rows are read as they come.
                let mut access = self.access(scope).await?;
                access.on.and(&format!("{column} IS NOT NULL"));
                return self.page(access, keys, after, limit).await;
            }
        }
        let sort = engate_model::listing::Sort::by(keys.iter().copied());
        let mut best = Best { sort, names: self.names.clone(), limit, rows: Vec::new() };
        best.add(self.page(tail, keys, after, limit).await?);
        if self.texts_to == 0 {
            return Ok(best.rows);
        }
        let mut rows = Vec::new();
        let place = after.and_then(<[_]>::split_first);
        if let Some((SortValue::Text(text), place)) = place {
            rows = self.of_text(scope, first.column, text, rest, Some(place), limit).await?;
        }
        let left = limit.saturating_sub(rows.len());
        if left > 0 {
            let mut found = self.beyond_text(scope, *first, place.map(|(text, _)| text), left).await?;
            let last = found.last().filter(|_| found.len() >= left).map(|last| first.column.of(last, ""));
            // Of the last text there may be more, and in another order.
            found.retain(|row| Some(first.column.of(row, "")) != last);
            rows.append(&mut found);
            if let Some(SortValue::Text(text)) = last {
                let left = limit.saturating_sub(rows.len());
                rows.append(&mut self.of_text(scope, first.column, &text, rest, None, left).await?);
            }
        }
        best.add(rows);
        Ok(best.rows)
    }

    /// The first rows that have nothing there, by their codes.
    pub(super) async fn by_absent_text(
        &mut self,
        scope: &Scope,
        column: Column,
        key: SortKey,
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let absent = scope.without(column);
        let mut tail = self.access(&absent).await?;
        tail.on.extend([("code >", self.texts_to.into())]);
        let sort = engate_model::listing::Sort::by([key]);
        let mut best = Best { sort, names: self.names.clone(), limit, rows: Vec::new() };
        best.add(self.page(tail, &[key], after, limit).await?);
        let place = after.and_then(<[_]>::first);
        best.add(self.coded(scope, field_of(column, false), "", key, place, limit).await?);
        Ok(best.rows)
    }

    /// Whether the index of texts is there and near enough to be of use.
    pub(super) fn has_texts(&self) -> bool {
        self.texts_to > 0
    }

    /// The first rows of one text that the index has, in the order of the other columns.
    async fn of_text(
        &mut self,
        scope: &Scope,
        column: Column,
        text: &str,
        rest: &[SortKey],
        place: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let field = field_of(column, true);
        match rest {
            [key] if key.column == Column::Code => {
                self.coded(scope, field, text, *key, place.and_then(<[_]>::first), limit).await
            }
            _ => {
                let sql = "SELECT count(*) FROM (SELECT 1 AS one FROM delivery_texts WHERE of_tenant = $1 AND field = $2 AND \
                           text = $3 LIMIT $4) AS counted";
                let row = self.reader.session.row(sql, args![self.tenant, field, text, self.sorted_max + 1]).await?;
                if row.map_or(Ok(0), |row| row.cells().count())? > self.sorted_max {
                    let mut narrow = scope.clone();
                    narrow.equal.push((column, text.to_owned()));
                    return Box::pin(self.rows(&narrow, rest, place, limit)).await;
                }
                let mut on = self.joined(scope, field);
                let at = on.bind(text.into());
                on.and(&format!("text = ${at}"));
                if let Some(place) = place {
                    on.beyond(rest, place);
                }
                self.read_joined(on, &order(rest), limit).await
            }
        }
    }

    /// The first rows of one text by their codes.
    async fn coded(
        &mut self,
        scope: &Scope,
        field: i64,
        text: &str,
        key: SortKey,
        after: Option<&SortValue>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut on = self.joined(scope, field);
        let at = on.bind(text.into());
        on.and(&format!("text = ${at}"));
        if let Some(SortValue::Int(code)) = after {
            let at = on.bind((*code).into());
            on.and(&format!("of_code {} ${at}", if key.descending { "<" } else { ">" }));
        }
        let order = [term("of_code", key.descending)];
        self.read_joined(on, &order, limit).await
    }

    /// The first rows of the texts beyond one, in the order of the index.
    async fn beyond_text(
        &mut self,
        scope: &Scope,
        key: SortKey,
        after: Option<&SortValue>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut on = self.joined(scope, field_of(key.column, true));
        if let Some(SortValue::Text(text)) = after {
            let at = on.bind(text.into());
            on.and(&format!("text {} ${at}", if key.descending { "<" } else { ">" }));
        }
        let order = [term("text", key.descending), term("of_code", key.descending)];
        self.read_joined(on, &order, limit).await
    }

    /// The conditions of a read that begins with the index of texts.
    fn joined(&self, scope: &Scope, field: i64) -> Conditions {
        let mut on = Conditions::default();
        let (tenant, field) = (on.bind(self.tenant.into()), on.bind(field.into()));
        on.and(&format!("of_tenant = ${tenant} AND field = ${field}"));
        self.check_rest(scope, &mut on);
        on
    }

    async fn read_joined(
        &mut self,
        on: Conditions,
        order: &[crate::compose::OrderTerm],
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.reader.check()?;
        let limit = Value::from(u64::try_from(limit).unwrap_or(u64::MAX));
        let (values, at) = on.values_with(limit);
        let sql = joined(self.dialect, delivery_columns!(), on.text(), order, at);
        self.explain(&sql, &values).await?;
        let rows = self.reader.session.rows(sql, values).await?;
        rows.iter().map(|row| delivery(&mut row.cells())).collect()
    }

    /// By the word that a text must hold, where the index finds few such.
    pub(super) async fn by_search(&mut self, scope: &Scope) -> Result<Option<Way>, StoreError> {
        let Some(word) = scope.text.as_deref().filter(|word| word.chars().count() >= LETTERS) else { return Ok(None) };
        if !self.has_texts() || !self.searchable {
            return Ok(None);
        }
        let pattern = self.dialect.pick::<fn(&str) -> String>(groups, like)(word);
        let found = match self.dialect {
            Dialect::Sqlite => "SELECT rowid FROM delivery_search WHERE delivery_search MATCH ",
            Dialect::Postgres => "SELECT of_id FROM delivery_search WHERE folded LIKE ",
        };
        let sql = crate::compose::bounded_count(&format!("{found}$1"), 2);
        let row = self.reader.session.row(sql, args![pattern.as_str(), FOUND_MAX + 1]).await?;
        if row.map_or(Ok(0), |row| row.cells().count())? > FOUND_MAX {
            return Ok(None);
        }
        let mut on = Conditions::default();
        let (tenant, pattern) = (on.bind(self.tenant.into()), on.bind(pattern.into()));
        // The unary plus keeps SQLite from reading the whole tenant instead.
        let (of_tenant, column) = self.dialect.pick(("+tenant_id", "code"), ("tenant_id", "id"));
        let condition = format!("{of_tenant} = ${tenant} AND {column} IN ({found}${pattern})");
        let mut ranges = vec![Range { index: None, condition }];
        let beyond = on.bind(self.texts_to.into());
        let start = format!("tenant_id = ${tenant} AND code > ${beyond}");
        ranges.extend(states("deliveries_tenant", &start, &scope.filter));
        ranges.extend(in_hand(&start, &scope.filter));
        Ok(Some(Way { ranges, on, left: scope.clone() }))
    }
}

const fn term(column: &'static str, descending: bool) -> crate::compose::OrderTerm {
    crate::compose::OrderTerm { column, descending, nulls: false }
}

/// Every group of letters of a word, as SQLite's full-text search asks for all of them.
fn groups(word: &str) -> String {
    let letters: Vec<char> = word.chars().collect();
    let groups = letters.windows(LETTERS).take(GROUPS_MAX);
    let quoted = groups.map(|group| format!("\"{}\"", group.iter().collect::<String>().replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(" AND ")
}

/// A word anywhere in a text, as PostgreSQL's LIKE has it.
fn like(word: &str) -> String {
    let mut pattern = String::from("%");
    for c in word.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Makes the index that a free search needs on PostgreSQL; says whether it is there.
pub(crate) async fn searchable(db: &crate::db::Db) -> Result<bool, StoreError> {
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

async fn make_searchable(db: &crate::db::Db) -> Result<bool, StoreError> {
    let mut session = db.begin().await?;
    // One after the other: creating it twice at once fails.
    session.execute("SELECT pg_advisory_xact_lock($1)", args![LOCK]).await?;
    session.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public", args![]).await?;
    let sql = "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'";
    let Some(row) = session.row(sql, args![]).await? else { return Ok(false) };
    let sql = crate::compose::letters_index(&row.cells().text()?);
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
    fn a_word_is_asked_for_by_its_letters_and_nothing_in_it_is_a_pattern() {
        assert_eq!(groups("abcd"), "\"abc\" AND \"bcd\"");
        assert_eq!(groups("a\"b"), "\"a\"\"b\"");
        assert_eq!(like("5%_x"), "%5\\%\\_x%");
        assert!(groups(&"x".repeat(500)).len() < 300);
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
