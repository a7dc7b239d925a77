//! What an operator writes of a sync job: where rows come from, where they go, and which.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{
    id::EndpointId,
    invalid::{Complaints, Invalid},
    plugin::PluginRef,
};

/// Streams of one job at most.
pub const STREAMS_MAX: usize = 200;
/// Partitions of one job at most.
pub const PARTITIONS_MAX: usize = 1_000;
/// Columns of a key at most.
pub const KEY_COLUMNS_MAX: usize = 16;
/// Columns that a stream names at most.
pub const COLUMNS_MAX: usize = 1_000;
/// Longest name of a table, a column, a stream or a target, in bytes.
pub const NAME_BYTES_MAX: usize = 200;
/// Dimensions of a partition at most.
pub const DIMENSIONS_MAX: usize = 8;
/// How far behind the source's clock the committed range ends, unless the job says otherwise.
pub const SAFETY_LAG_MS_DEFAULT: u64 = 5_000;
/// Longest safety lag.
pub const SAFETY_LAG_MS_MAX: u64 = 600_000;
/// How far back each pass reads again, unless the job says otherwise: at least as long as the source's longest
/// transaction that writes.
pub const LOOKBACK_MS_DEFAULT: u64 = 600_000;
/// Shortest look back.
pub const LOOKBACK_MS_MIN: u64 = 10_000;
/// Longest look back.
pub const LOOKBACK_MS_MAX: u64 = 7 * 86_400_000;
/// Rows of a page, unless the job says otherwise.
pub const PAGE_ROWS_DEFAULT: u32 = 500;
/// Most rows of a page.
pub const PAGE_ROWS_MAX: u32 = 5_000;
/// Bytes of a page's rows, unless the job says otherwise.
pub const PAGE_BYTES_DEFAULT: u32 = 8 << 20;
/// Fewest bytes of a page.
pub const PAGE_BYTES_MIN: u32 = 16 << 10;
/// Records that a stream sets aside before it stops, unless the job says otherwise.
pub const QUARANTINE_DEFAULT: u32 = 100;
/// Most records that a stream may set aside.
pub const QUARANTINE_MAX: u32 = 10_000;
/// Shortest time between two reconciliations of a stream.
pub const RECONCILE_MS_MIN: u64 = 1_000;

/// What marks a row as deleted, unless the stream says otherwise.
pub const DELETED_MARK: &str = "*";

/// A sync job: `run` of a job whose kind is `sync`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncJob {
    /// Where rows come from.
    pub source: SyncSource,
    /// Where they go.
    pub sink: SyncSink,
    /// What is carried.
    pub streams: Vec<StreamSpec>,
    /// Which parts of the tables are carried; none: all of each table, as one part.
    #[serde(default)]
    pub partitions: Vec<Partition>,
    /// How far behind the source's clock the committed range ends.
    #[serde(default = "safety_lag_default")]
    pub safety_lag_ms: u64,
    /// How far back each pass reads again.
    #[serde(default = "lookback_default")]
    pub lookback_ms: u64,
    /// Rows of a page at most.
    #[serde(default = "page_rows_default")]
    pub page_rows: u32,
    /// Bytes of a page's rows at most.
    #[serde(default = "page_bytes_default")]
    pub page_bytes: u32,
    /// Records that a stream sets aside before it stops.
    #[serde(default = "quarantine_default")]
    pub quarantine_max: u32,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SyncSource {
    /// Tables of a database.
    Table {
        /// The connection's name in the engine's configuration.
        connection: String,
    },
    /// A plugin that pulls.
    Plugin {
        /// Which.
        plugin: PluginRef,
        /// Its settings, over the installation's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        config: Option<Value>,
    },
}

/// Where rows go: to a target, through a plugin, or to whoever subscribes, as events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "{\"plugin\": .., \"config\": .., \"endpoint\": ..}, or {\"event_type\": .., \"subject\": ..}"
)]
pub enum SyncSink {
    /// To a target.
    Plugin(PluginSink),
    /// To whoever subscribes.
    Events(EventSink),
}

/// A target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginSink {
    /// The plugin that says what to send and what answers mean.
    pub plugin: PluginRef,
    /// Its settings, over those of installation, integrator and endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// Whose address and credentials are used.
    pub endpoint: EndpointId,
}

/// Each changed row becomes an event: labels `operation` (`upsert`, `delete`), `stream` and those of the partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSink {
    /// The events' type; `{target}` stands for the stream's `target`.
    pub event_type: String,
    /// JSON Pointer to the events' subject within a row; none: the row's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl EventSink {
    /// The type of a stream's events.
    pub fn event_type_of(&self, target: &str) -> String {
        self.event_type.replace("{target}", target)
    }
}

impl SyncSink {
    /// Whose address and credentials are used.
    pub const fn endpoint(&self) -> Option<EndpointId> {
        match self {
            Self::Plugin(plugin) => Some(plugin.endpoint),
            Self::Events(_) => None,
        }
    }
}

/// One table and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// Its name within the job.
    pub name: String,
    /// The table, with its schema where it needs one; `{company}` stands for the partition's `company`.
    pub table: String,
    /// Columns that identify a record.
    pub key: Vec<String>,
    /// The column that tells when a row was last changed.
    pub watermark: String,
    /// Columns that are carried, those of the key always among them; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
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

/// What marks a row as deleted: `{"column": "D_E_L_E_T_", "value": "*"}`, or the column's name alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SoftDelete {
    /// The column.
    pub column: String,
    /// What it holds of a deleted row.
    pub value: String,
}

/// One part of the tables: the value of each dimension, such as `{"company": "01", "branch": "0101"}`.
pub type Partition = BTreeMap<String, String>;

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
const fn safety_lag_default() -> u64 {
    SAFETY_LAG_MS_DEFAULT
}
const fn lookback_default() -> u64 {
    LOOKBACK_MS_DEFAULT
}
const fn page_rows_default() -> u32 {
    PAGE_ROWS_DEFAULT
}
const fn page_bytes_default() -> u32 {
    PAGE_BYTES_DEFAULT
}
const fn quarantine_default() -> u32 {
    QUARANTINE_DEFAULT
}

impl SyncJob {
    /// How far behind the source's clock the committed range ends.
    pub const fn safety_lag(&self) -> Duration {
        Duration::from_millis(self.safety_lag_ms)
    }

    /// How far back each pass reads again.
    pub const fn lookback(&self) -> Duration {
        Duration::from_millis(self.lookback_ms)
    }

    /// Looks for what cannot be carried out, before anything is stored.
    ///
    /// # Errors
    /// Every field at fault with the cure; fields are paths within the job's `run`.
    pub fn check(&self) -> Result<(), Invalid> {
        let mut complaints = Complaints::default();
        match &self.source {
            SyncSource::Table { connection } => name(&mut complaints, "source.connection", connection),
            SyncSource::Plugin { .. } => {
                complaints
                    .add("source.kind", "must be table; what a plugin pulls becomes events by a job of kind poll, with the same plugin and config");
            }
        }
        if let SyncSink::Events(events) = &self.sink {
            for stream in &self.streams {
                let key = events.event_type_of(&stream.target);
                if let Err(invalid) = crate::event::check_key("sink.event_type", &key) {
                    invalid.0.into_iter().for_each(|error| complaints.add(error.field, error.message));
                }
            }
            if events.subject.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
                complaints.add("sink.subject", "must be a JSON Pointer into the row, such as /A1_COD");
            }
        }
        if self.streams.is_empty() || self.streams.len() > STREAMS_MAX {
            complaints.add("streams", format!("name between one and {STREAMS_MAX} streams"));
        }
        let mut names = BTreeSet::new();
        for (n, stream) in self.streams.iter().enumerate() {
            if !names.insert(&stream.name) {
                complaints.add(format!("streams[{n}].name"), "another stream of the job has this name");
            }
            stream.check(&format!("streams[{n}]"), self.partitions.first(), &mut complaints);
        }
        self.check_partitions(&mut complaints);
        let mut within = |field: &str, value: u64, least: u64, most: u64| {
            if value < least || value > most {
                complaints.add(field, format!("give a number from {least} to {most}"));
            }
        };
        within("safety_lag_ms", self.safety_lag_ms, 0, SAFETY_LAG_MS_MAX);
        within("lookback_ms", self.lookback_ms, LOOKBACK_MS_MIN, LOOKBACK_MS_MAX);
        within("page_rows", self.page_rows.into(), 1, PAGE_ROWS_MAX.into());
        within("page_bytes", self.page_bytes.into(), PAGE_BYTES_MIN.into(), PAGE_BYTES_DEFAULT.into());
        within("quarantine_max", self.quarantine_max.into(), 0, QUARANTINE_MAX.into());
        complaints.finish(())
    }

    fn check_partitions(&self, complaints: &mut Complaints) {
        if self.partitions.len() > PARTITIONS_MAX {
            complaints.add("partitions", format!("name at most {PARTITIONS_MAX} partitions"));
        }
        let dimensions: Option<Vec<_>> = self.partitions.first().map(|first| first.keys().collect());
        let mut seen = BTreeSet::new();
        for (n, partition) in self.partitions.iter().enumerate() {
            let field = format!("partitions[{n}]");
            if partition.is_empty() || partition.len() > DIMENSIONS_MAX {
                complaints.add(&*field, format!("name between one and {DIMENSIONS_MAX} values, such as branch"));
            } else if dimensions.as_ref().is_some_and(|first| !first.iter().copied().eq(partition.keys())) {
                complaints.add(&*field, "every partition names the same dimensions as the first one");
            } else if !seen.insert(partition) {
                complaints.add(&*field, "this partition was named before");
            }
            for (dimension, value) in partition {
                let field = format!("{field}.{dimension}");
                name(complaints, &field, dimension);
                if value.len() > NAME_BYTES_MAX || value.contains('\0') {
                    complaints.add(&*field, format!("give at most {NAME_BYTES_MAX} bytes without a NUL"));
                }
            }
        }
    }
}

impl StreamSpec {
    fn check(&self, at: &str, partition: Option<&Partition>, complaints: &mut Complaints) {
        name(complaints, &format!("{at}.name"), &self.name);
        name(complaints, &format!("{at}.table"), &self.table);
        name(complaints, &format!("{at}.watermark"), &self.watermark);
        name(complaints, &format!("{at}.target"), &self.target);
        if self.key.is_empty() || self.key.len() > KEY_COLUMNS_MAX {
            complaints.add(format!("{at}.key"), format!("name between one and {KEY_COLUMNS_MAX} columns"));
        }
        distinct(complaints, &format!("{at}.key"), &self.key);
        if let Some(columns) = &self.columns {
            if columns.is_empty() || columns.len() > COLUMNS_MAX {
                let message = format!("name between one and {COLUMNS_MAX} columns, or leave it out to carry all");
                complaints.add(format!("{at}.columns"), message);
            }
            distinct(complaints, &format!("{at}.columns"), columns);
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
        let known = |dimension: &str| partition.is_some_and(|partition| partition.contains_key(dimension));
        for (dimension, column) in &self.partition_columns {
            let field = format!("{at}.partition_columns.{dimension}");
            name(complaints, &field, column);
            if !known(dimension) {
                complaints.add(&*field, "the partitions have no such dimension");
            }
        }
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

fn name(complaints: &mut Complaints, field: &str, text: &str) {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        complaints.add(field, format!("give between one and {NAME_BYTES_MAX} bytes without control characters"));
    }
}

fn distinct(complaints: &mut Complaints, field: &str, columns: &[String]) {
    let mut seen = BTreeSet::new();
    for (n, column) in columns.iter().enumerate() {
        let field = format!("{field}[{n}]");
        name(complaints, &field, column);
        if !seen.insert(column) {
            complaints.add(field, "this column was named before");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job() -> Value {
        json!({
            "source": {"kind": "table", "connection": "protheus"},
            "sink": {"plugin": "carol", "config": {"connector": "x"}, "endpoint": format!("ep_{}", "0".repeat(32))},
            "streams": [{
                "name": "customers", "table": "SA1{company}0", "key": ["R_E_C_N_O_"], "watermark": "S_T_A_M_P_",
                "soft_delete": "D_E_L_E_T_", "target": "customers", "partition_columns": {"branch": "A1_FILIAL"}
            }],
            "partitions": [{"company": "01", "branch": "0101"}, {"company": "03", "branch": "0101"}]
        })
    }

    fn fields(value: Value) -> Vec<String> {
        let job: SyncJob = serde_json::from_value(value).unwrap();
        job.check().map_or_else(|invalid| invalid.0.into_iter().map(|error| error.field).collect(), |()| Vec::new())
    }

    #[test]
    fn a_job_reads_its_short_forms_and_comes_back_whole() {
        let read: SyncJob = serde_json::from_value(job()).unwrap();
        assert_eq!(read.check(), Ok(()));
        let mark = SoftDelete { column: "D_E_L_E_T_".into(), value: "*".into() };
        assert_eq!(read.streams[0].soft_delete, Some(mark));
        assert_eq!((read.page_rows, read.lookback_ms, read.safety_lag_ms), (500, 600_000, 5_000));
        let again: SyncJob = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, read);
    }

    #[test]
    fn a_partition_is_a_table_by_its_name_and_columns_by_their_values() {
        let read: SyncJob = serde_json::from_value(job()).unwrap();
        let (stream, second) = (&read.streams[0], &read.partitions[1]);
        assert_eq!(stream.table_of(second), "SA1030");
        let apart = StreamSpec { target: "customers_{company}".into(), ..stream.clone() };
        assert_eq!([apart.target_of(second), stream.target_of(second)], ["customers_03", "customers"]);
        assert_eq!(stream.conditions(second), [("A1_FILIAL", "0101")]);
        let plain = StreamSpec { table: "orders".into(), partition_columns: BTreeMap::new(), ..stream.clone() };
        assert_eq!(plain.conditions(second), [("branch", "0101"), ("company", "03")]);
    }

    #[test]
    fn what_cannot_be_carried_out_is_told_by_field() {
        let with = |pointer: &str, value: Value| {
            let mut job = job();
            *job.pointer_mut(pointer).unwrap() = value;
            fields(job)
        };
        assert_eq!(with("/streams", json!([])), ["streams"]);
        assert_eq!(with("/streams/0/key", json!([])), ["streams[0].key"]);
        assert_eq!(with("/streams/0/key", json!(["A", "A"])), ["streams[0].key[1]"]);
        assert_eq!(with("/streams/0/watermark", json!("")), ["streams[0].watermark"]);
        assert_eq!(with("/streams/0/table", json!("SA1{emp}0")), ["streams[0].table"]);
        assert_eq!(with("/streams/0/table", json!("SA1{company0")), ["streams[0].table"]);
        assert_eq!(with("/streams/0/target", json!("customers_{emp}")), ["streams[0].target"]);
        assert_eq!(with("/streams/0/partition_columns", json!({"site": "X"})), ["streams[0].partition_columns.site"]);
        assert_eq!(with("/partitions/1", json!({"company": "01"})), ["partitions[1]"]);
        assert_eq!(with("/partitions/1", json!({"company": "01", "branch": "0101"})), ["partitions[1]"]);
        let mut twice = job();
        let stream = twice["streams"][0].clone();
        twice["streams"].as_array_mut().unwrap().push(stream);
        twice["lookback_ms"] = json!(1);
        twice["page_rows"] = json!(0);
        assert_eq!(fields(twice), ["streams[1].name", "lookback_ms", "page_rows"]);
        let mut unknown = job();
        unknown["streams"][0]["watermarks"] = json!("x");
        let told = serde_json::from_value::<SyncJob>(unknown).unwrap_err().to_string();
        assert!(told.contains("watermarks"), "{told}");
    }
}
