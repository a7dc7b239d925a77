//! One stream of a sync job: which records, what identifies them, and what the target calls them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    drift::{ColumnShape, Shape},
    job::{COLUMNS_MAX, DELETED_MARK, KEY_COLUMNS_MAX, NAME_BYTES_MAX, Partition, RECONCILE_MS_MIN},
};
use crate::{invalid::Complaints, sink::ColumnKind};

/// One table, or one feed of a plugin, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// Its name within the job.
    pub name: String,
    /// The table, with its schema where it needs one; `{company}` stands for the partition's `company`. Of a plugin: what it
    /// is asked for, its `name` where this is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub table: String,
    /// Columns that identify a record.
    pub key: Vec<String>,
    /// The column that tells when a row was last changed; empty with a plugin, which keeps a cursor.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub watermark: String,
    /// Columns that are carried, those of the key always among them; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<ColumnSpec>>,
    /// What marks a row as deleted; none: rows are deleted only by being gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_delete: Option<SoftDelete>,
    /// What the target calls it; `{company}` stands for the partition's `company`, as in the table's name.
    pub target: String,
    /// Which column holds which dimension of the partitions; a dimension that is named neither here nor in the table's
    /// name is a column of its own name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partition_columns: BTreeMap<String, String>,
    /// How often all keys are compared with what was sent, so that rows that are gone are deleted and what was missed
    /// is sent; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconcile_ms: Option<u64>,
}

/// A column that is carried: its name alone, or what it holds as well, where nothing but the job can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "the name of a column, or {\"name\": .., \"kind\": ..}")]
pub enum ColumnSpec {
    /// Its name.
    Name(String),
    /// Its name, and what it holds.
    Typed(TypedColumn),
}

/// A column of a plugin's records, as the target is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypedColumn {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether it may be missing or null; it may where that is left out.
    #[serde(default = "nullable_default")]
    pub nullable: bool,
}

impl From<&str> for ColumnSpec {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl ColumnSpec {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) | Self::Typed(TypedColumn { name, .. }) => name,
        }
    }

    /// As a target is told of it: of a name alone nobody knows what the column holds.
    pub fn shape(&self) -> ColumnShape {
        let (kind, nullable) = match self {
            Self::Name(_) => (ColumnKind::Json, true),
            Self::Typed(typed) => (typed.kind, typed.nullable),
        };
        ColumnShape { name: self.name().to_owned(), kind, nullable, size: None, scale: None }
    }
}

const fn nullable_default() -> bool {
    true
}

/// What marks a row as deleted: `{"column": "D_E_L_E_T_", "value": "*"}`, or the column's name alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SoftDelete {
    /// The column.
    pub column: String,
    /// What it holds of a deleted row.
    pub value: String,
}

impl<'de> Deserialize<'de> for SoftDelete {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            column: String,
            #[serde(default = "mark_default")]
            value: String,
        }
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "the name of a column, or {\"column\": .., \"value\": ..}")]
        enum Either {
            Column(String),
            Whole(Whole),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Column(column) => Self { column, value: mark_default() },
            Either::Whole(Whole { column, value }) => Self { column, value },
        })
    }
}

fn mark_default() -> String {
    DELETED_MARK.to_owned()
}

impl StreamSpec {
    /// Checks a stream whose rows come from a table.
    pub(super) fn check_table(&self, at: &str, partition: Option<&Partition>, complaints: &mut Complaints) {
        name(complaints, &format!("{at}.table"), &self.table);
        name(complaints, &format!("{at}.watermark"), &self.watermark);
        self.check(at, partition, complaints);
        for (n, column) in self.columns.iter().flatten().enumerate() {
            if let ColumnSpec::Typed(typed) = column {
                let message =
                    format!("a table says itself what its columns hold; write the name alone: {:?}", typed.name);
                complaints.add(format!("{at}.columns[{n}]"), message);
            }
        }
        if let Some(mark) = &self.soft_delete {
            name(complaints, &format!("{at}.soft_delete.column"), &mark.column);
            if mark.value.is_empty() || mark.value.len() > NAME_BYTES_MAX {
                complaints.add(format!("{at}.soft_delete.value"), "say what the column holds of a deleted row");
            }
        }
        if self.reconcile_ms.is_some_and(|every| every < RECONCILE_MS_MIN) {
            complaints.add(format!("{at}.reconcile_ms"), format!("give at least {RECONCILE_MS_MIN}, or leave it out"));
        }
        for (dimension, column) in &self.partition_columns {
            let field = format!("{at}.partition_columns.{dimension}");
            name(complaints, &field, column);
            if partition.is_none_or(|partition| !partition.contains_key(dimension)) {
                complaints.add(&*field, "the partitions have no such dimension");
            }
        }
    }

    /// Checks a stream whose records a plugin pulls: what asks something of a table is refused.
    pub(super) fn check_feed(&self, at: &str, partition: Option<&Partition>, complaints: &mut Complaints) {
        if !self.table.is_empty() {
            name(complaints, &format!("{at}.table"), &self.table);
        }
        self.check(at, partition, complaints);
        let mut refuse = |is_given: bool, field: &str, why: &str| {
            if is_given {
                complaints.add(
                    format!("{at}.{field}"),
                    format!("belongs to a table, not to a plugin's feed: {why}; leave it out"),
                );
            }
        };
        refuse(!self.watermark.is_empty(), "watermark", "where to go on is the plugin's cursor to say");
        refuse(self.soft_delete.is_some(), "soft_delete", "the plugin says itself which records are deleted");
        refuse(self.reconcile_ms.is_some(), "reconcile_ms", "a feed cannot be asked for all of its keys");
        let columns = "`table` names what is asked for, with each dimension in braces, such as orders_{company}";
        refuse(!self.partition_columns.is_empty(), "partition_columns", columns);
        if let Some(columns) = &self.columns {
            for key in self.key.iter().filter(|key| columns.iter().all(|column| column.name() != key.as_str())) {
                complaints.add(format!("{at}.columns"), format!("name {key} too, a column of the key"));
            }
        }
        let named = placeholders(&self.table).unwrap_or_default();
        let lost =
            partition.into_iter().flat_map(Partition::keys).find(|dimension| !named.contains(&dimension.as_str()));
        if let Some(dimension) = lost {
            let message = format!(
                "nothing else tells a plugin which partition is asked for: name {{{dimension}}} in it, such as {}_{{{dimension}}}",
                if self.table.is_empty() { &self.name } else { &self.table }
            );
            complaints.add(format!("{at}.table"), message);
        }
    }

    fn check(&self, at: &str, partition: Option<&Partition>, complaints: &mut Complaints) {
        name(complaints, &format!("{at}.name"), &self.name);
        name(complaints, &format!("{at}.target"), &self.target);
        if self.key.is_empty() || self.key.len() > KEY_COLUMNS_MAX {
            complaints.add(format!("{at}.key"), format!("name between one and {KEY_COLUMNS_MAX} columns"));
        }
        distinct(complaints, &format!("{at}.key"), self.key.iter().map(String::as_str));
        if let Some(columns) = &self.columns {
            if columns.is_empty() || columns.len() > COLUMNS_MAX {
                let message = format!("name between one and {COLUMNS_MAX} columns, or leave it out to carry all");
                complaints.add(format!("{at}.columns"), message);
            }
            distinct(complaints, &format!("{at}.columns"), columns.iter().map(ColumnSpec::name));
        }
        let known = |dimension: &str| partition.is_some_and(|partition| partition.contains_key(dimension));
        for (field, text) in [("table", &self.table), ("target", &self.target)] {
            match placeholders(text) {
                None => complaints.add(format!("{at}.{field}"), "every { needs its }"),
                Some(names) => {
                    for dimension in names.into_iter().filter(|dimension| !known(dimension)) {
                        let message = format!("`{{{dimension}}}` is no dimension of the partitions");
                        complaints.add(format!("{at}.{field}"), message);
                    }
                }
            }
        }
    }

    /// What a plugin is asked for of a partition.
    pub fn feed_of(&self, partition: &Partition) -> String {
        if self.table.is_empty() { self.name.clone() } else { self.table_of(partition) }
    }

    /// What a plugin's records are, as far as the job says.
    pub fn feed_shape(&self) -> Shape {
        let columns = self.columns.iter().flatten().map(ColumnSpec::shape).collect();
        Shape { key: self.key.clone(), columns }
    }

    /// The table of a partition.
    pub fn table_of(&self, partition: &Partition) -> String {
        filled(&self.table, partition)
    }

    /// What the target calls the records of a partition.
    pub fn target_of(&self, partition: &Partition) -> String {
        filled(&self.target, partition)
    }

    /// Columns and values that a row of this partition has; a dimension in the table's name needs no column.
    pub fn conditions<'a>(&'a self, partition: &'a Partition) -> Vec<(&'a str, &'a str)> {
        let named = placeholders(&self.table).unwrap_or_default();
        let columns = partition.iter().filter_map(|(dimension, value)| match self.partition_columns.get(dimension) {
            Some(column) => Some((column.as_str(), value.as_str())),
            None if named.contains(&dimension.as_str()) => None,
            None => Some((dimension.as_str(), value.as_str())),
        });
        columns.collect()
    }
}

/// `text` with the partition's values in the place of its dimensions' names.
fn filled(text: &str, partition: &Partition) -> String {
    let fill = |text: String, (dimension, value): (&String, &String)| text.replace(&format!("{{{dimension}}}"), value);
    partition.iter().fold(text.to_owned(), fill)
}

/// Names between braces; none where a brace is open.
fn placeholders(table: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let mut rest = table;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, behind) = after.split_once('}')?;
        if before.contains('}') || inside.contains('{') {
            return None;
        }
        names.push(inside);
        rest = behind;
    }
    (!rest.contains('}')).then_some(names)
}

pub(super) fn name(complaints: &mut Complaints, field: &str, text: &str) {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        complaints.add(field, format!("give between one and {NAME_BYTES_MAX} bytes without control characters"));
    }
}

fn distinct<'c>(complaints: &mut Complaints, field: &str, columns: impl Iterator<Item = &'c str>) {
    let mut seen = BTreeSet::new();
    for (n, column) in columns.enumerate() {
        let field = format!("{field}[{n}]");
        name(complaints, &field, column);
        if !seen.insert(column) {
            complaints.add(field, "this column was named before");
        }
    }
}
