//! A stream made ready to be read: every name looked up in the catalogue, every danger of losing rows refused.

use engate_model::sync::{Partition, Shape, StreamSpec};

use crate::{
    catalog::{Form, SourceColumn, Table},
    connection::Connection,
    error::SourceError,
    query::{Bind, Cell, Dialect, Query},
    record::{Carried, Mark},
};

/// How a watermark is read and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StampForm {
    /// A time without a zone, which counts as UTC.
    Local,
    /// An instant.
    Instant,
    /// SQLite: text that its date functions read.
    Text,
    /// SQLite: a whole number; microseconds in one of it.
    Number(i64),
}

/// A column by which rows are found and put in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPart {
    pub(crate) name: String,
    pub(crate) quoted: String,
    /// Gives its value as text.
    pub(crate) select: String,
    /// Makes text one of its values again.
    pub(crate) bind: (String, String),
}

impl KeyPart {
    pub(crate) fn bound(&self) -> (&str, &str) {
        (&self.bind.0, &self.bind.1)
    }
}

/// A stream of one partition, ready to be read.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) dialect: Dialect,
    /// The table, quoted.
    pub(crate) from: String,
    /// As people write it.
    pub(crate) table: String,
    pub(crate) stamp: String,
    pub(crate) stamp_form: StampForm,
    pub(crate) mark: Option<Mark>,
    /// By what rows are put in order: no two share it.
    pub(crate) scan: Vec<KeyPart>,
    /// What identifies a record.
    pub(crate) identity: Vec<KeyPart>,
    /// Whether no two rows share the identity.
    unique: bool,
    pub(crate) columns: Vec<Carried>,
    pub(crate) conditions: Vec<(KeyPart, String)>,
    /// What a statement that reads rows asks for, and where in its answer things are.
    pub(crate) asked: Asked,
    shape: Shape,
}

/// What is asked of a row, everything once, and where each thing is; the stamp is the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) list: String,
    pub(crate) mark: Option<usize>,
    pub(crate) scan: Vec<usize>,
    pub(crate) identity: Vec<usize>,
    pub(crate) columns: Vec<usize>,
}

impl Asked {
    fn of(plan: &Plan) -> Self {
        let mut all = vec![plan.stamp_micros()];
        // The key is among what is carried, and read once.
        let mut place = |select: &String| {
            all.iter().position(|one| one == select).unwrap_or_else(|| {
                all.push(select.clone());
                all.len() - 1
            })
        };
        let mark = plan.mark.as_ref().map(|mark| place(&mark.select));
        let scan = plan.scan.iter().map(|part| place(&part.select)).collect();
        let identity = plan.identity.iter().map(|part| place(&part.select)).collect();
        let columns = plan.columns.iter().map(|column| place(&column.select)).collect();
        Self { list: all.join(", "), mark, scan, identity, columns }
    }
}

impl Plan {
    /// The columns that are carried, and the key.
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether rows are put in order by what identifies their records. If not, several rows may be one record, of which
    /// those that are not marked as deleted count.
    pub const fn identity_is_unique(&self) -> bool {
        self.unique
    }

    /// The table as people write it.
    pub fn table(&self) -> &str {
        &self.table
    }
}

impl Connection {
    /// Makes a stream ready to be read.
    ///
    /// # Errors
    /// What the stream names and the source does not have, what would lose rows, or when the source gives no answer.
    pub async fn plan(&self, stream: &StreamSpec, partition: &Partition) -> Result<Plan, SourceError> {
        let dialect = self.dialect();
        let table = self.describe(&stream.table_of(partition)).await?;
        let names = stream.key.iter().map(|name| table.column(name).map(|column| column.shape.name.clone()));
        let key = names.collect::<Result<Vec<_>, _>>()?;
        let unique = table.is_key(&key);
        let order = if unique { key.clone() } else { table.primary_key.clone() };
        if order.is_empty() {
            return Err(SourceError::Unfit(format!(
                "table {}: nothing keeps two rows from sharing ({}), and there is no primary key; name the columns of a \
                 unique key, or give the table one",
                table.full_name(),
                key.join(", ")
            )));
        }
        let parts =
            |names: &[String]| names.iter().map(|name| key_part(dialect, &table, name)).collect::<Result<Vec<_>, _>>();
        let (scan, identity) = (parts(&order)?, parts(&key)?);
        self.check_filled(&table, scan.iter().chain(&identity)).await?;
        let conditions = stream.conditions(partition).into_iter();
        let conditions = conditions.map(|(column, value)| Ok((key_part(dialect, &table, column)?, value.to_owned())));
        let conditions = conditions.collect::<Result<Vec<_>, SourceError>>()?;
        let watermark = table.column(&stream.watermark).map_err(|_| no_watermark(&table, &stream.watermark))?;
        if watermark.unkept {
            return Err(SourceError::Unfit(format!(
                "table {}: nothing keeps {} yet, changes would not be told; run the rest of the statements that add it (the \
                 wizard's step `requirements` shows them)",
                table.full_name(),
                watermark.shape.name
            )));
        }
        let stamp = of_table(dialect, &watermark.shape.name);
        let stamp_form = self.stamp_form(&table, watermark).await?;
        let mark = match &stream.soft_delete {
            Some(mark) => Some(Mark {
                select: select(dialect, table.column(&mark.column)?),
                value: mark.value.trim_end().to_owned(),
            }),
            None => None,
        };
        let carried = carried(&table, stream, &key)?;
        let shape = Shape { key, columns: carried.iter().map(|column| column.shape.clone()).collect() };
        let columns = carried.into_iter().map(|column| Carried::new(column, select(dialect, column))).collect();
        let mut plan = Plan {
            dialect,
            from: format!("{} AS {ALIAS}", table.quoted(dialect)),
            table: table.full_name(),
            stamp,
            stamp_form,
            mark,
            scan,
            identity,
            unique,
            columns,
            conditions,
            asked: Asked::default(),
            shape,
        };
        plan.asked = Asked::of(&plan);
        Ok(plan)
    }

    /// Rows without a value in a column by which they are put in order would never be read.
    async fn check_filled(&self, table: &Table, parts: impl Iterator<Item = &KeyPart>) -> Result<(), SourceError> {
        for part in parts {
            if !table.column(&part.name)?.shape.nullable {
                continue;
            }
            let mut query = Query::new(self.dialect(), "SELECT 1 FROM ");
            query.push(&table.quoted(self.dialect())).push(" AS s WHERE ").push(&part.quoted).push(" IS NULL LIMIT 1");
            let mut empty = false;
            self.each(&query, |_| {
                empty = true;
                Ok(false)
            })
            .await?;
            if empty {
                let (table, column) = (table.full_name(), &part.name);
                let message = format!("table {table}: {column} of the key is NULL in some rows; give each row a key");
                return Err(SourceError::Unfit(message));
            }
        }
        Ok(())
    }

    async fn stamp_form(&self, table: &Table, column: &SourceColumn) -> Result<StampForm, SourceError> {
        if self.dialect() == Dialect::Sqlite {
            return self.sqlite_stamp_form(table, column).await;
        }
        match column.form {
            Form::Local => Ok(StampForm::Local),
            Form::Instant => Ok(StampForm::Instant),
            _ => Err(SourceError::Unfit(format!(
                "table {}: {} is {}, and a watermark is a column of times; compared as text or number it would lose rows",
                table.full_name(),
                column.shape.name,
                column.declared
            ))),
        }
    }

    /// By what the column holds: the smallest and the largest value are of one kind.
    async fn sqlite_stamp_form(&self, table: &Table, column: &SourceColumn) -> Result<StampForm, SourceError> {
        let (quoted, from) = (Dialect::Sqlite.quote(&column.shape.name), table.quoted(Dialect::Sqlite));
        let sql = format!(
            "SELECT x, unixepoch(x, 'subsec') IS NOT NULL AND x GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' FROM \
             (SELECT min({quoted}) AS x FROM {from} UNION ALL SELECT max({quoted}) FROM {from}) WHERE x IS NOT NULL"
        );
        let (mut numbers, mut texts, mut others) = (Vec::new(), 0, 0);
        self.each(&Query::new(Dialect::Sqlite, sql), |row| {
            match row.cell(0)? {
                Cell::Int(number) => numbers.push(number),
                Cell::Text(_) if row.int(1)? == Some(1) => texts += 1,
                _ => others += 1,
            }
            Ok(true)
        })
        .await?;
        let largest = numbers.iter().map(|number| number.unsigned_abs()).max();
        match (largest, texts, others) {
            (Some(largest), 0, 0) => Ok(StampForm::Number(micros_in_one(largest))),
            (None, 0, 0) if column.form == Form::Integer => Ok(StampForm::Number(micros_in_one(u64::MAX))),
            (None, _, 0) => Ok(StampForm::Text),
            _ => Err(SourceError::Unfit(format!(
                "table {}: {} holds what is no time, or times of several kinds; keep all as text (YYYY-MM-DD HH:MM:SS.fff), or all as \
                 whole numbers since 1970",
                table.full_name(),
                column.shape.name
            ))),
        }
    }
}

/// What a whole number since 1970 counts: seconds reach 1e11 in the year 5138, milliseconds 1e14 likewise.
const fn micros_in_one(largest: u64) -> i64 {
    match largest {
        0..100_000_000_000 => 1_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000,
        _ => 1,
    }
}

/// What the table is called in every statement. A column is always named with it: a bare name in ORDER BY may mean a
/// column of the result, which is text and has another order.
const ALIAS: &str = "s";

fn of_table(dialect: Dialect, column: &str) -> String {
    format!("{ALIAS}.{}", dialect.quote(column))
}

fn no_watermark(table: &Table, name: &str) -> SourceError {
    SourceError::Unfit(format!(
        "table {} has no column {name}, without which changes cannot be told; add it, kept by the database at every change, \
         or name another watermark",
        table.full_name()
    ))
}

/// The columns that a stream carries, in the order of the table, those of the key always among them.
fn carried<'t>(table: &'t Table, stream: &StreamSpec, key: &[String]) -> Result<Vec<&'t SourceColumn>, SourceError> {
    let Some(wanted) = &stream.columns else { return Ok(table.columns.iter().collect()) };
    let wanted = wanted.iter().map(|wanted| table.column(wanted.name()).map(|column| &column.shape.name));
    let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
    let is_wanted = |column: &&SourceColumn| wanted.contains(&&column.shape.name) || key.contains(&column.shape.name);
    Ok(table.columns.iter().filter(is_wanted).collect())
}

/// What gives a column's value: text on PostgreSQL and MySQL, whatever is there on SQLite.
fn select(dialect: Dialect, column: &SourceColumn) -> String {
    let quoted = of_table(dialect, &column.shape.name);
    match (dialect, column.form) {
        (Dialect::Sqlite, _) | (Dialect::MySql, Form::Text) => quoted,
        (Dialect::Postgres, Form::Binary) => format!("translate(encode({quoted}, 'base64'), E'\\n', '')"),
        (Dialect::Postgres, _) => format!("CAST({quoted} AS text)"),
        (Dialect::MySql, Form::Binary) => format!("REPLACE(TO_BASE64({quoted}), '\\n', '')"),
        (Dialect::MySql, Form::Bits) => format!("CAST(CAST({quoted} AS UNSIGNED) AS CHAR)"),
        (Dialect::MySql, Form::Float) => format!("CAST(CAST({quoted} AS DOUBLE) AS CHAR)"),
        (Dialect::MySql, _) => format!("CAST({quoted} AS CHAR)"),
    }
}

fn key_part(dialect: Dialect, table: &Table, name: &str) -> Result<KeyPart, SourceError> {
    let column = table.column(name)?;
    let name = column.shape.name.clone();
    let quoted = of_table(dialect, &name);
    let unfit = |why: &str| {
        SourceError::Unfit(format!("table {}: {name} ({}) cannot be a key: {why}", table.full_name(), column.declared))
    };
    let wrap = |before: &str, behind: &str| (before.to_owned(), behind.to_owned());
    let (text, bind) = match (dialect, column.form) {
        (_, Form::Float) => return Err(unfit("numbers of this type are rounded when they are compared")),
        (_, Form::Json) => return Err(unfit("JSON has no order")),
        (Dialect::Postgres, Form::Binary) => (format!("encode({quoted}, 'hex')"), wrap("decode(", ", 'hex')")),
        (Dialect::Postgres, _) => {
            (format!("CAST({quoted} AS text)"), (String::from("CAST("), format!(" AS {})", column.declared)))
        }
        (Dialect::MySql, Form::Binary) => (format!("HEX({quoted})"), wrap("UNHEX(", ")")),
        (Dialect::MySql, Form::Text) => (quoted.clone(), wrap("", "")),
        (Dialect::MySql, form) => {
            let kind = match form {
                Form::Integer | Form::Boolean => "SIGNED",
                Form::Unsigned | Form::Bits => "UNSIGNED",
                Form::Decimal => "DECIMAL(65, 30)",
                Form::Date => "DATE",
                Form::Local | Form::Instant => "DATETIME(6)",
                _ if column.declared.eq_ignore_ascii_case("uuid") => "UUID",
                _ => return Err(unfit("its order is not that of its text")),
            };
            (select(dialect, column), (String::from("CAST("), format!(" AS {kind})")))
        }
        (Dialect::Sqlite, Form::Binary) => (quoted.clone(), wrap("unhex(", ")")),
        (Dialect::Sqlite, _) => (quoted.clone(), wrap("", "")),
    };
    Ok(KeyPart { name, quoted, select: text, bind })
}

/// A record's key as one text: the value where the key is one column, else the values as a JSON array.
pub(crate) fn key_text(values: &[String]) -> String {
    match values {
        [value] => value.clone(),
        values => serde_json::to_string(values).unwrap_or_default(),
    }
}

/// The values of a key, column by column.
pub(crate) fn key_values(key: &str, columns: usize) -> Result<Vec<String>, SourceError> {
    if columns == 1 {
        return Ok(vec![key.to_owned()]);
    }
    let values: Vec<String> = serde_json::from_str(key).unwrap_or_default();
    if values.len() == columns {
        return Ok(values);
    }
    Err(SourceError::Row(format!("the key {key:?} is not one of {columns} columns")))
}

impl Plan {
    /// A row's stamp, as microseconds since 1970.
    pub(crate) fn stamp_micros(&self) -> String {
        let stamp = &self.stamp;
        match (self.dialect, self.stamp_form) {
            (Dialect::Postgres, _) => {
                format!("CASE WHEN isfinite({stamp}) THEN CAST(extract(epoch FROM {stamp}) * 1000000 AS bigint) END")
            }
            (Dialect::MySql, _) => format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {stamp})"),
            (Dialect::Sqlite, StampForm::Number(micros)) => format!("{stamp} * {micros}"),
            (Dialect::Sqlite, _) => format!("{} * 1000", self.stamp_compared()),
        }
    }

    /// What is compared with a bound, and put in order.
    pub(crate) fn stamp_compared(&self) -> String {
        match (self.dialect, self.stamp_form) {
            (Dialect::Sqlite, StampForm::Text | StampForm::Local | StampForm::Instant) => {
                format!("CAST(round(unixepoch({}, 'subsec') * 1000) AS INTEGER)", self.stamp)
            }
            _ => self.stamp.clone(),
        }
    }

    /// Binds an instant as something the stamp is compared with; `up` says how what lies between two of its steps goes.
    pub(crate) fn bind_stamp(&self, query: &mut Query, micros: i64, up: bool) {
        let step = match (self.dialect, self.stamp_form) {
            (Dialect::Sqlite, StampForm::Number(step)) => step,
            (Dialect::Sqlite, _) => 1_000,
            _ => {
                let (before, behind, zone) = match (self.dialect, self.stamp_form) {
                    (Dialect::MySql, _) => ("CAST(", " AS DATETIME(6))", ""),
                    (_, StampForm::Instant) => ("CAST(", " AS timestamp with time zone)", "+00"),
                    _ => ("CAST(", " AS timestamp without time zone)", ""),
                };
                query.bind_as((before, behind), Bind::Text(format!("{}{zone}", written(micros))));
                return;
            }
        };
        let floor = micros.div_euclid(step);
        let steps = if up && micros.rem_euclid(step) > 0 { floor.saturating_add(1) } else { floor };
        query.bind(Bind::Int(steps));
    }

    /// SQLite, stamps as text: the day before an instant, from when on rows are looked at, so that an index serves.
    pub(crate) fn day_before(&self, micros: i64) -> Option<String> {
        const DAY: i64 = 86_400_000_000;
        let is_text = self.dialect == Dialect::Sqlite && !matches!(self.stamp_form, StampForm::Number(_));
        is_text.then(|| written(micros.saturating_sub(DAY)).chars().take(10).collect())
    }
}

/// An instant as databases read it, within the years that all of them know.
fn written(micros: i64) -> String {
    const FIRST: i64 = -62_135_596_800_000_000 + 366 * 86_400_000_000;
    const LAST: i64 = 253_370_764_800_000_000;
    let at = chrono::DateTime::from_timestamp_micros(micros.clamp(FIRST, LAST)).unwrap_or_default();
    at.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}
