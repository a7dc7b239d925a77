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
        let mut text = self.union(dialect, columns, &cut);
        if self.ranges.len() > 1 {
            text = format!("SELECT {columns} FROM ({text}) AS merged{cut}");
        }
        Sql::Composed(text.into())
    }

    /// The number of rows, counted up to the placeholder `bound`.
    pub(crate) fn count(&self, dialect: Dialect, bound: usize) -> Sql {
        let rows = self.union(dialect, "1 AS one", "");
        Sql::Composed(format!("SELECT count(*) FROM (SELECT one FROM ({rows}) AS merged LIMIT ${bound}) AS cut").into())
    }

    /// All rows, in no order.
    pub(crate) fn all(&self, dialect: Dialect, columns: &str) -> Sql {
        Sql::Composed(self.union(dialect, columns, "").into())
    }

    /// Aggregates over all rows of `columns`.
    pub(crate) fn aggregate(&self, dialect: Dialect, aggregates: &str, columns: &str) -> Sql {
        let rows = self.union(dialect, columns, "");
        Sql::Composed(format!("SELECT {aggregates} FROM ({rows}) AS merged").into())
    }

    fn union(&self, dialect: Dialect, columns: &str, cut: &str) -> String {
        let Self { table, everywhere, .. } = self;
        let several = self.ranges.len() > 1 && !cut.is_empty();
        let mut text = String::new();
        for (n, Range { index, condition }) in self.ranges.iter().enumerate() {
            let union = if n == 0 { "" } else { " UNION ALL " };
            let by = index.map(|index| indexed_by(dialect, index)).unwrap_or_default();
            let select = format!("SELECT {columns} FROM {table}{by} WHERE {condition}{everywhere}{cut}");
            let _ = match several {
                true => write!(text, "{union}SELECT * FROM ({select}) AS range{n}"),
                false => write!(text, "{union}{select}"),
            };
        }
        text
    }
}

/// The first rows of deliveries that the index of texts leads to, in an order, cut at the placeholder `limit`.
pub(crate) fn joined(dialect: Dialect, columns: &str, on: &str, order: &[OrderTerm], limit: usize) -> Sql {
    let join = dialect.pick("CROSS JOIN deliveries ON code = of_code", "JOIN deliveries ON id = of_id");
    let order = order_by(dialect, order);
    Sql::Composed(format!("SELECT {columns} FROM delivery_texts {join} WHERE 1 = 1{on}{order} LIMIT ${limit}").into())
}

/// The number of rows of a statement, counted up to the placeholder `bound`.
pub(crate) fn bounded_count(select: &str, bound: usize) -> Sql {
    Sql::Composed(format!("SELECT count(*) FROM ({select} LIMIT ${bound}) AS counted").into())
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

/// The next value of an index's column beyond the placeholder `after`, or the first where `first` is set: from one
/// value to the next in one probe, however many rows have it.
pub(crate) fn next_value(
    dialect: Dialect,
    table: &str,
    index: &'static str,
    condition: &str,
    column: &str,
    after: Option<usize>,
) -> Sql {
    let by = indexed_by(dialect, index);
    let beyond = after.map(|at| format!(" AND {column} > ${at}")).unwrap_or_default();
    Sql::Composed(
        format!("SELECT {column} FROM {table}{by} WHERE {condition}{beyond} ORDER BY {column} LIMIT 1").into(),
    )
}

/// The statement that tells how a composed one would be run.
pub(crate) fn explain(dialect: Dialect, sql: &Sql) -> Option<Sql> {
    let Sql::Composed(text) = sql else { return None };
    Some(Sql::Composed(format!("{}{text}", dialect.pick("EXPLAIN QUERY PLAN ", "EXPLAIN ")).into()))
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
