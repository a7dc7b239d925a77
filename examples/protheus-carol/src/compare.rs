//! Source against target: how many rows are alive, and a checksum over their values. The target is asked through the
//! stub's oracle, not through the engine.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _};

use crate::{
    Error,
    client::Client,
    protheus::{Protheus, TABLES, Table},
};

/// Rows of one page of the oracle.
const PAGE: usize = 5_000;

/// Rows that are alive, and the sum of their digests: the same in any order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) rows: u64,
    pub(crate) checksum: u64,
}

impl Sum {
    fn add(&mut self, values: &[String]) {
        let text = values.join("\u{1f}");
        let hash = digest(&SHA256, text.as_bytes());
        let first = hash.as_ref().iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(first);
    }
}

/// One line of the comparison.
#[derive(Debug)]
pub(crate) struct Line {
    /// The source's table.
    pub(crate) table: String,
    pub(crate) source: Sum,
    pub(crate) target: Sum,
}

/// Every table of every company. Companies number their rows alike, so where there are several each has its own target.
pub(crate) async fn compare(protheus: &Protheus, companies: &[String], stub: &Client) -> Result<Vec<Line>, Error> {
    let mut lines = Vec::new();
    for company in companies {
        for table in &TABLES {
            let target = table.target_of(company, companies.len());
            lines.push(Line {
                table: table.name(company),
                source: of_source(protheus, table, company).await?,
                target: of_target(table, &target, stub).await?,
            });
        }
    }
    Ok(lines)
}

async fn of_source(protheus: &Protheus, table: &Table, company: &str) -> Result<Sum, Error> {
    let mut sum = Sum::default();
    let columns: Vec<_> = table.own().collect();
    let (columns, name) = (columns.join(", "), table.name(company));
    let sql = format!("SELECT {columns} FROM {name} WHERE D_E_L_E_T_ <> '*'");
    for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(&protheus.pool).await? {
        let mut values = Vec::with_capacity(table.columns.len());
        for (place, (_, kind)) in table.columns.iter().enumerate() {
            values.push(if kind.starts_with("VARCHAR") {
                row.try_get::<String, _>(place)?.trim_end().to_owned()
            } else {
                format!("{:.2}", row.try_get::<f64, _>(place)?)
            });
        }
        sum.add(&values);
    }
    Ok(sum)
}

async fn of_target(table: &Table, target: &str, stub: &Client) -> Result<Sum, Error> {
    let mut sum = Sum::default();
    let mut after = String::new();
    loop {
        let query = [("limit", PAGE.to_string()), ("after", after.clone())];
        let page = stub.get_with(&format!("/_stub/tables/{target}/rows"), &query).await?;
        let items = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        for item in items.iter().filter(|item| item.get("deleted").and_then(Value::as_bool) == Some(false)) {
            sum.add(&values_of(table, item.get("data").unwrap_or(&Value::Null)));
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => next.clone_into(&mut after),
            None => return Ok(sum),
        }
    }
}

fn values_of(table: &Table, data: &Value) -> Vec<String> {
    let fields: BTreeMap<String, &Value> =
        data.as_object().into_iter().flatten().map(|(name, value)| (name.to_uppercase(), value)).collect();
    let value = |(name, kind): &(&str, &str)| match fields.get(*name) {
        Some(Value::String(text)) if kind.starts_with("VARCHAR") => text.trim_end().to_owned(),
        Some(value) => value.as_f64().map_or_else(|| value.to_string(), |number| format!("{number:.2}")),
        None => "missing".to_owned(),
    };
    table.columns.iter().map(value).collect()
}
