//! Reading by the index of texts: orders by subject and correlation id, and free search. What the index does not have yet,
//! the tail, is read beside it.

use std::collections::BTreeSet;

use engate_model::{
    DeliveryId, TypedId as _,
    delivery::Delivery,
    listing::{Column, Sort, SortKey, SortValue, folded},
};

use super::{
    SORTED_MAX,
    access::{Scope, Way},
    conditions::Conditions,
    filter::column_of,
    lister::{Lister, order},
    near::Best,
    ranges::{in_hand, states},
    texts::field_of,
};
use crate::{
    compose::{OrderTerm, Range, Scan, bounded, joined},
    deliveries::{delivery, delivery_columns},
    error::StoreError,
    sql::Dialect,
    value::{Value, args},
};

/// Deliveries that a free search takes from the index at most; more are read in the order of the listing.
const FOUND_MAX: u64 = 5_000;
/// Letters that the index knows texts by.
pub(super) const LETTERS: usize = 3;
/// Groups of letters of one word that are looked up, the rarest; the others are compared on the rows.
const GROUPS_MAX: usize = 4;
/// How much more frequent than the rarest a group may be: to go through a frequent one takes longer than to read the rows
/// that it would have ruled out. Of 10 M texts one group in 330 and one in 310 gave 2,322 rows in 3 ms; with a third that
/// every sixteenth held, 566 in 64.
const MORE_FREQUENT: usize = 2;
/// Deliveries by whose texts it is told how rare a group is.
const SAMPLED: i64 = 128;
/// Of so many sampled texts one may hold a group that is looked up: what is more frequent is found by reading on.
const RARE: usize = 4;
/// Spreads the sampled codes, which would have the same last digits otherwise, and with them texts made of numbers.
const SPREAD: i64 = 2_654_435_761;

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
        let column = column_of(first.column);
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
        let sort = Sort::by(keys.iter().copied());
        let mut best = Best { sort, names: self.names.clone(), limit, rows: Vec::new() };
        best.add(self.page(tail, keys, after, limit).await?);
        if self.texts_to == 0 {
            return Ok(best.rows);
        }
        let mut rows = Vec::new();
        let place = after.and_then(<[_]>::split_first);
        if let Some((SortValue::Text(text), place)) = place {
            rows = self.of_text(scope, first.column, Some(text), rest, Some(place), limit).await?;
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
                rows.append(&mut self.of_text(scope, first.column, Some(&text), rest, None, left).await?);
            }
        }
        best.add(rows);
        Ok(best.rows)
    }

    /// The first rows that have no text there, in the order of the other columns.
    pub(super) async fn by_absent_text(
        &mut self,
        scope: &Scope,
        column: Column,
        rest: &[SortKey],
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let absent = scope.without(column);
        let mut tail = self.access(&absent).await?;
        tail.on.extend([("code >", self.texts_to.into())]);
        if self.count(&tail, SORTED_MAX + 1).await? > SORTED_MAX {
            return Box::pin(self.rows(&absent, rest, after, limit)).await;
        }
        let sort = Sort::by(rest.iter().copied());
        let mut best = Best { sort, names: self.names.clone(), limit, rows: Vec::new() };
        best.add(self.page(tail, rest, after, limit).await?);
        best.add(self.of_text(scope, column, None, rest, after, limit).await?);
        Ok(best.rows)
    }

    /// Whether the index of texts is there and near enough to be of use.
    pub(super) fn has_texts(&self) -> bool {
        self.texts_to > 0
    }

    /// The first rows of one text, or of none, that the index has, in the order of the other columns.
    async fn of_text(
        &mut self,
        scope: &Scope,
        column: Column,
        text: Option<&str>,
        rest: &[SortKey],
        place: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (field, spelled) = (field_of(column, text.is_some()), text.unwrap_or_default());
        if let [key] = rest
            && key.column == Column::Code
        {
            return self.coded(scope, field, spelled, *key, place.and_then(<[_]>::first), limit).await;
        }
        let sql = "SELECT count(*) FROM (SELECT 1 AS one FROM delivery_texts WHERE of_tenant = $1 AND field = $2 AND \
                   text = $3 LIMIT $4) AS counted";
        let row = self.reader.session.row(sql, args![self.tenant, field, spelled, self.sorted_max + 1]).await?;
        if row.map_or(Ok(0), |row| row.cells().count())? > self.sorted_max {
            let narrow = match text {
                Some(text) => scope.of_text(column, text),
                None => scope.without(column),
            };
            return Box::pin(self.rows(&narrow, rest, place, limit)).await;
        }
        let mut on = self.joined(scope, field);
        let at = on.bind(spelled.into());
        on.and(&format!("text = ${at}"));
        if let Some(place) = place {
            on.beyond(rest, place);
        }
        self.read_joined(on, &order(rest), limit).await
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
        order: &[OrderTerm],
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.reader.check().await?;
        let sql = joined(self.dialect, delivery_columns!(), on.text(), order, limit);
        let values = on.values();
        self.explain(&sql, &values).await?;
        let rows = self.reader.session.rows(sql, values).await?;
        rows.iter().take(limit).map(|row| delivery(&mut row.cells())).collect()
    }

    /// By the word that a text must hold, where the index finds few such.
    pub(super) async fn by_search(&mut self, scope: &Scope) -> Result<Option<Way>, StoreError> {
        let Some(word) = scope.text.as_deref().filter(|word| word.chars().count() >= LETTERS) else { return Ok(None) };
        if !self.has_texts() || !self.searchable {
            return Ok(None);
        }
        let Some(found) = self.found_once(word).await? else { return Ok(None) };
        let mut on = Conditions::default();
        let tenant = on.bind(self.tenant.into());
        let found = on.bind(found);
        // The unary plus keeps SQLite from reading the whole tenant instead.
        let condition = match self.dialect {
            Dialect::Sqlite => format!("+tenant_id = ${tenant} AND code IN (SELECT value FROM json_each(${found}))"),
            Dialect::Postgres => format!("tenant_id = ${tenant} AND id IN (SELECT * FROM unnest(${found}::uuid[]))"),
        };
        let mut ranges = vec![Range::of(None, condition)];
        let beyond = on.bind(self.texts_to.into());
        let start = format!("tenant_id = ${tenant} AND code > ${beyond}");
        ranges.extend(states("deliveries_tenant", &format!("{start} AND "), &[], &scope.filter));
        ranges.extend(in_hand(&start, &scope.filter));
        Ok(Some(Way { ranges, on, left: scope.clone() }))
    }

    /// What the index has for a word: asked for once, the page and its total begin with what was found.
    async fn found_once(&mut self, word: &str) -> Result<Option<Value>, StoreError> {
        if let Some((known, found)) = &self.found
            && known == word
        {
            return Ok(found.clone());
        }
        let groups = self.rarest(word).await?;
        let found = if groups.is_empty() { None } else { self.found(word, &groups).await? };
        self.found = Some((word.to_owned(), found.clone()));
        Ok(found)
    }

    /// What the index has that may hold the word, all of the groups: ids on PostgreSQL, codes as a JSON array on SQLite; none
    /// where that is too much. PostgreSQL looks at what it finds so for the word itself, in a way that keeps it from looking
    /// up every group.
    async fn found(&mut self, word: &str, groups: &[String]) -> Result<Option<Value>, StoreError> {
        let mut on = Conditions::default();
        let select = match self.dialect {
            Dialect::Sqlite => {
                let quoted: Vec<_> = groups.iter().map(|group| format!("\"{}\"", group.replace('"', "\"\""))).collect();
                let at = on.bind(quoted.join(" AND ").into());
                format!("SELECT rowid FROM delivery_search WHERE delivery_search MATCH ${at}")
            }
            Dialect::Postgres => {
                let held = on.bind(word.into());
                let like = groups.iter().map(|group| format!(" AND folded LIKE ${}", on.bind(like(group).into())));
                let like = like.collect::<String>();
                format!("SELECT of_id FROM delivery_search WHERE strpos(folded, ${held}) > 0{like}")
            }
        };
        let (values, at) = on.values_with((FOUND_MAX + 1).into());
        self.reader.check().await?;
        let rows = self.reader.session.rows(bounded(&select, at), values).await?;
        if rows.len() as u64 > FOUND_MAX {
            return Ok(None);
        }
        Ok(Some(match self.dialect {
            Dialect::Sqlite => {
                let codes = rows.iter().map(|row| row.cells().int()).collect::<Result<Vec<_>, _>>()?;
                serde_json::Value::from(codes).to_string().into()
            }
            Dialect::Postgres => {
                let ids = rows.iter().map(|row| row.cells().id::<DeliveryId>());
                Value::Ids(ids.map(|id| id.map(|id| Some(id.uuid()))).collect::<Result<_, _>>()?)
            }
        }))
    }

    /// The rarest groups of letters of a word; none where each of them is frequent: the database would go through every entry
    /// of a frequent one.
    async fn rarest(&mut self, word: &str) -> Result<Vec<String>, StoreError> {
        let mut on = Conditions::default();
        let step = (self.texts_to / SAMPLED).max(1);
        let sampled = |n: i64| n.saturating_mul(step) - n.wrapping_mul(SPREAD) % step;
        let codes = on.list("code", (1..=SAMPLED).map(sampled));
        let range = Range::of(None, codes);
        // SQLite keeps no copy of what is searched, PostgreSQL no index of codes but for it.
        let (table, columns) =
            self.dialect.pick(("deliveries", "subject, correlation_id"), ("delivery_search", "folded, NULL::text"));
        let scan = Scan { table, ranges: &[range], everywhere: "" };
        let rows = self.reader.session.rows(scan.all(self.dialect, columns), on.values()).await?;
        let mut sampled = Vec::with_capacity(rows.len());
        for row in rows {
            let mut cells = row.cells();
            let texts = [cells.text_opt()?, cells.text_opt()?];
            sampled.push(texts.iter().flatten().map(|text| folded(text)).collect::<Vec<_>>().join("\n"));
        }
        Ok(groups(word, &sampled))
    }
}

const fn term(column: &'static str, descending: bool) -> OrderTerm {
    OrderTerm { column, descending, nulls: false }
}

/// Those groups of letters of a word that few of the texts hold.
fn groups(word: &str, texts: &[String]) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    let groups: BTreeSet<String> = letters.windows(LETTERS).map(|group| group.iter().collect()).collect();
    let held = |group: &String| texts.iter().filter(|text| text.contains(group.as_str())).count();
    let mut groups: Vec<_> = groups.into_iter().map(|group| (held(&group), group)).collect();
    groups.retain(|(held, _)| held * RARE <= texts.len());
    groups.sort();
    let rarest = groups.first().map_or(0, |(held, _)| *held).max(1);
    groups.retain(|(held, _)| *held <= rarest * MORE_FREQUENT);
    groups.truncate(GROUPS_MAX);
    groups.into_iter().map(|(_, group)| group).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_asked_for_by_its_letters_and_nothing_in_it_is_a_pattern() {
        assert_eq!(groups("abcd", &[]), ["abc", "bcd"]);
        assert_eq!(groups("a\"b", &[]), ["a\"b"]);
        let texts = ["client-1".to_owned(), "client-2".to_owned()];
        assert_eq!(groups("client-9", &texts), ["t-9"], "the others are frequent");
        assert_eq!(groups("client", &texts), [] as [String; 0]);
        let texts: Vec<_> = (0..64).map(|n| if n % 8 == 0 { "a-12" } else { "other" }.to_owned()).collect();
        assert_eq!(groups("-1234", &texts), ["123", "234"], "where there are much rarer ones");
        assert_eq!(groups("-12", &texts), ["-12"], "and not where it is all there is");
        assert_eq!(like("5%_x"), "%5\\%\\_x%");
        let long: String = (0..500).map(|n| char::from_u32(0x4e00 + n).unwrap()).collect();
        assert_eq!(groups(&long, &[]).len(), GROUPS_MAX);
    }
}
