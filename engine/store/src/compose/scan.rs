//! Statements that read a listing: ranges of indexes, put together, ordered, cut.

use std::fmt::Write as _;

use crate::sql::{Dialect, Sql};

/// A range of an index, or of the whole table.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    /// The index; SQLite is told, since it keeps no statistics by which it would find out. None leaves it to the
    /// database.
    pub index: Option<&'static str>,
    /// Condition of its rows.
    pub condition: String,
    /// Columns and what they equal in it, a literal or a placeholder; the index has them before the code. Ranges that differ
    /// in these alone are one statement's part on PostgreSQL, which else plans each of them over every partition.
    pub keys: Vec<(&'static str, String)>,
    /// The placeholders of the first and the last code, where only some codes are read. Ranges may differ in these too.
    pub codes: Option<(usize, usize)>,
}

impl Range {
    /// All rows of a condition.
    pub(crate) const fn of(index: Option<&'static str>, condition: String) -> Self {
        Self { index, condition, keys: Vec::new(), codes: None }
    }

    /// Whether it is `other` with other keys or codes.
    fn is_beside(&self, other: &Self) -> bool {
        let columns = |range: &Self| range.keys.iter().map(|(column, _)| *column).collect::<Vec<_>>();
        let differs = !self.keys.is_empty() || self.codes.is_some();
        differs
            && self.condition == other.condition
            && columns(self) == columns(other)
            && self.codes.is_some() == other.codes.is_some()
    }
}

/// One term of an order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OrderTerm {
    /// The column.
    pub column: &'static str,
    /// Whether the largest comes first.
    pub descending: bool,
    /// Whether the column may be NULL here. NULL is smaller than anything, which PostgreSQL has to be told; it
    /// reads no index in order then.
    pub nulls: bool,
}

/// Ranges of one table that exclude each other, with conditions on all of them.
pub(crate) struct Scan<'a> {
    /// Table to read.
    pub table: &'static str,
    /// Each range.
    pub ranges: &'a [Range],
    /// ` AND ...` on every range.
    pub everywhere: &'a str,
}

impl Scan<'_> {
    /// The first rows in an order, cut at the placeholder `limit`: of each range, then of all.
    ///
    /// Where a range's index has the order, no more of it is read than is shown: the way to page through a choice of
    /// states without reading what is not chosen.
    pub(crate) fn page(&self, dialect: Dialect, columns: &str, order: &[OrderTerm], limit: usize) -> Sql {
        let cut = format!("{} LIMIT ${limit}", order_by(dialect, order));
        let mut text = self.union(dialect, columns, &cut, &cut);
        if self.ranges.len() > 1 {
            text = format!("SELECT {columns} FROM ({text}) AS merged{cut}");
        }
        Sql::Composed(text.into())
    }

    /// The number of rows, counted up to the placeholder `bound`.
    pub(crate) fn count(&self, dialect: Dialect, bound: usize) -> Sql {
        // In the order of its index, PostgreSQL has no reason to look for the rows in another way.
        let rows = self.union(dialect, "1 AS one", "", &format!(" ORDER BY code LIMIT ${bound}"));
        Sql::Composed(format!("SELECT count(*) FROM (SELECT one FROM ({rows}) AS merged LIMIT ${bound}) AS cut").into())
    }

    /// All rows, in no order.
    pub(crate) fn all(&self, dialect: Dialect, columns: &str) -> Sql {
        Sql::Composed(self.union(dialect, columns, "", " OFFSET 0").into())
    }

    /// Aggregates over all rows of `columns`.
    pub(crate) fn aggregate(&self, dialect: Dialect, aggregates: &str, columns: &str) -> Sql {
        let rows = self.union(dialect, columns, "", " OFFSET 0");
        Sql::Composed(format!("SELECT {aggregates} FROM ({rows}) AS merged").into())
    }

    /// Every range's rows, each with `cut` at its end; `cut_beside` where several are read as one.
    fn union(&self, dialect: Dialect, columns: &str, cut: &str, cut_beside: &str) -> String {
        let several = self.ranges.len() > 1 && !cut.is_empty();
        let mut text = String::new();
        let beside = |a: &Range, b: &Range| dialect == Dialect::Postgres && a.is_beside(b);
        for (n, ranges) in self.ranges.chunk_by(beside).enumerate() {
            let union = if n == 0 { "" } else { " UNION ALL " };
            let select = match ranges {
                [range] => self.select(dialect, range, columns, cut),
                ranges => self.lateral(ranges, columns, cut_beside),
            };
            let _ = match several {
                true => write!(text, "{union}SELECT * FROM ({select}) AS range{n}"),
                false => write!(text, "{union}{select}"),
            };
        }
        text
    }

    fn select(&self, dialect: Dialect, range: &Range, columns: &str, cut: &str) -> String {
        let Self { table, everywhere, .. } = self;
        let Range { index, condition, keys, codes } = range;
        let by = index.map(|index| indexed_by(dialect, index)).unwrap_or_default();
        let keys = keys.iter().map(|(column, value)| format!(" AND {column} = {value}")).collect::<String>();
        let codes = codes.map(|(first, last)| format!(" AND code BETWEEN ${first} AND ${last}")).unwrap_or_default();
        format!("SELECT {columns} FROM {table}{by} WHERE {condition}{keys}{codes}{everywhere}{cut}")
    }

    /// Ranges that differ in their keys and codes alone: planned once, run for each. PostgreSQL only.
    fn lateral(&self, ranges: &[Range], columns: &str, cut: &str) -> String {
        let Self { table, everywhere, .. } = self;
        let Some(like) = ranges.first() else { return String::new() };
        let mut names: Vec<_> = like.keys.iter().map(|(column, _)| *column).collect();
        let mut held: String = names.iter().map(|column| format!(" AND {table}.{column} = key.{column}")).collect();
        if like.codes.is_some() {
            names.extend(["first_code", "last_code"]);
            let _ = write!(held, " AND {table}.code BETWEEN key.first_code AND key.last_code");
        }
        let row = |range: &Range| {
            let mut values: Vec<_> = range.keys.iter().map(|(_, value)| value.clone()).collect();
            values.extend(range.codes.iter().flat_map(|(first, last)| [format!("${first}"), format!("${last}")]));
            format!("({})", values.join(", "))
        };
        let rows = ranges.iter().map(row).collect::<Vec<_>>().join(", ");
        let (names, condition) = (names.join(", "), &like.condition);
        let select = format!("SELECT {columns} FROM {table} WHERE {condition}{held}{everywhere}{cut}");
        format!("SELECT rows.* FROM (VALUES {rows}) AS key ({names}) CROSS JOIN LATERAL ({select}) AS rows")
    }
}

/// The first rows of deliveries that the index of texts leads to, in an order: `limit` of them, and some more.
///
/// How many is written out, and not bound: planned for any number of rows, PostgreSQL would sort all there are rather than
/// go through the index. In steps, so that few numbers make few statements.
pub(crate) fn joined(dialect: Dialect, columns: &str, on: &str, order: &[OrderTerm], limit: usize) -> Sql {
    const STEP: usize = 64;
    let join = dialect.pick("CROSS JOIN deliveries ON code = of_code", "JOIN deliveries ON id = of_id");
    let (order, limit) = (order_by(dialect, order), limit.next_multiple_of(STEP));
    Sql::Composed(format!("SELECT {columns} FROM delivery_texts {join} WHERE 1 = 1{on}{order} LIMIT {limit}").into())
}

/// A statement's rows up to the placeholder `bound`.
pub(crate) fn bounded(select: &str, bound: usize) -> Sql {
    Sql::Composed(format!("{select} LIMIT ${bound}").into())
}

/// PostgreSQL's index of any three letters, with the operators of an extension that lies in `schema`.
pub(crate) fn letters_index(schema: &str) -> Sql {
    let schema = schema.replace('"', "\"\"");
    Sql::Composed(
        format!(
            "CREATE INDEX IF NOT EXISTS delivery_search_letters ON delivery_search USING gin (folded \"{schema}\".gin_trgm_ops)"
        )
        .into(),
    )
}

/// The different values of an index's column in their order, cut at the placeholder `limit`: from one value to the next in
/// one probe, however many rows have it.
pub(crate) fn distinct(
    dialect: Dialect,
    table: &str,
    index: &'static str,
    condition: &str,
    column: &str,
    limit: usize,
) -> Sql {
    let by = indexed_by(dialect, index);
    let from = format!("SELECT {column} FROM {table}{by} WHERE {condition}");
    let next = format!("{from} AND {table}.{column} > seen.value ORDER BY {column} LIMIT 1");
    Sql::Composed(
        format!(
            "WITH RECURSIVE seen (value) AS (SELECT * FROM ({from} ORDER BY {column} LIMIT 1) AS smallest UNION ALL \
             SELECT ({next}) FROM seen WHERE seen.value IS NOT NULL) SELECT value FROM seen WHERE value IS NOT NULL LIMIT ${limit}"
        )
        .into(),
    )
}

/// The statement that tells how a composed one would be run.
pub(crate) fn explain(dialect: Dialect, sql: &Sql) -> Option<Sql> {
    let Sql::Composed(text) = sql else { return None };
    Some(Sql::Composed(format!("{}{text}", dialect.pick("EXPLAIN QUERY PLAN ", "EXPLAIN (ANALYZE, BUFFERS) ")).into()))
}

fn order_by(dialect: Dialect, order: &[OrderTerm]) -> String {
    let mut text = String::from(" ORDER BY ");
    for (n, OrderTerm { column, descending, nulls }) in order.iter().enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        let (direction, ends) = if *descending { (" DESC", " NULLS LAST") } else { ("", " NULLS FIRST") };
        let ends = if *nulls { dialect.pick("", ends) } else { "" };
        let _ = write!(text, "{comma}{column}{direction}{ends}");
    }
    text
}

fn indexed_by(dialect: Dialect, index: &str) -> String {
    dialect.pick(" INDEXED BY ", "").to_owned() + dialect.pick(index, "")
}
