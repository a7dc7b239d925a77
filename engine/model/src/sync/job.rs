//! What an operator writes of a sync job: where rows come from, where they go, and which.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    id::EndpointId,
    invalid::{Complaints, Invalid},
    plugin::PluginRef,
};

use super::stream::{StreamSpec, name};

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

/// One part of the tables: the value of each dimension, such as `{"company": "01", "branch": "0101"}`.
pub type Partition = BTreeMap<String, String>;

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

fn within(complaints: &mut Complaints, field: &str, value: u64, least: u64, most: u64) {
    if value < least || value > most {
        complaints.add(field, format!("give a number from {least} to {most}"));
    }
}

/// What tells of a table's clock, and says nothing to a plugin.
fn of_table(complaints: &mut Complaints, field: &str, is_set: bool) {
    if is_set {
        complaints.add(field, "belongs to a table: a plugin's cursor is taken as it is; leave it out");
    }
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
        if let SyncSource::Table { connection } = &self.source {
            name(&mut complaints, "source.connection", connection);
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
            let (at, partition) = (format!("streams[{n}]"), self.partitions.first());
            match self.source {
                SyncSource::Table { .. } => stream.check_table(&at, partition, &mut complaints),
                SyncSource::Plugin { .. } => stream.check_feed(&at, partition, &mut complaints),
            }
        }
        self.check_partitions(&mut complaints);
        let told = &mut complaints;
        match self.source {
            SyncSource::Table { .. } => {
                within(told, "safety_lag_ms", self.safety_lag_ms, 0, SAFETY_LAG_MS_MAX);
                within(told, "lookback_ms", self.lookback_ms, LOOKBACK_MS_MIN, LOOKBACK_MS_MAX);
            }
            SyncSource::Plugin { .. } => {
                of_table(told, "safety_lag_ms", self.safety_lag_ms != SAFETY_LAG_MS_DEFAULT);
                of_table(told, "lookback_ms", self.lookback_ms != LOOKBACK_MS_DEFAULT);
            }
        }
        within(told, "page_rows", self.page_rows.into(), 1, PAGE_ROWS_MAX.into());
        within(told, "page_bytes", self.page_bytes.into(), PAGE_BYTES_MIN.into(), PAGE_BYTES_DEFAULT.into());
        within(told, "quarantine_max", self.quarantine_max.into(), 0, QUARANTINE_MAX.into());
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::stream::SoftDelete, *};

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

    fn feed_job() -> Value {
        json!({
            "source": {"kind": "plugin", "plugin": "feed", "config": {"url": "https://feed.example"}},
            "sink": {"plugin": "carol", "endpoint": format!("ep_{}", "0".repeat(32))},
            "streams": [{"name": "orders", "key": ["id"], "target": "orders",
                "columns": [{"name": "id", "kind": "integer", "nullable": false}, {"name": "v", "kind": "text"}, "more"]}]
        })
    }

    #[test]
    fn a_plugin_is_a_source_and_what_asks_something_of_a_table_is_refused() {
        let read: SyncJob = serde_json::from_value(feed_job()).unwrap();
        assert_eq!(read.check(), Ok(()));
        let again = serde_json::to_value(&read).unwrap();
        assert_eq!(serde_json::from_value::<SyncJob>(again.clone()).unwrap(), read);
        assert_eq!((again.pointer("/streams/0/watermark"), again.pointer("/streams/0/table")), (None, None));
        let shape = read.streams[0].feed_shape();
        let kinds: Vec<_> = shape.columns.iter().map(|column| (column.name.as_str(), column.nullable)).collect();
        assert_eq!(kinds, [("id", false), ("v", true), ("more", true)]);
        assert_eq!(read.streams[0].feed_of(&Partition::new()), "orders");
        let with = |field: &str, value: Value| {
            let mut job = feed_job();
            job["streams"][0][field] = value;
            fields(job)
        };
        for (field, value) in [
            ("watermark", json!("changed")),
            ("soft_delete", json!("d")),
            ("reconcile_ms", json!(60_000)),
            ("partition_columns", json!({"company": "c"})),
            ("columns", json!(["v"])),
            ("table", json!("orders_{company}")),
        ] {
            assert_eq!(with(field, value), [format!("streams[0].{field}")]);
        }
        let mut job = feed_job();
        job["lookback_ms"] = json!(20_000);
        job["safety_lag_ms"] = json!(0);
        assert_eq!(fields(job), ["safety_lag_ms", "lookback_ms"]);
    }

    #[test]
    fn a_partition_of_a_feed_is_part_of_what_is_asked_for() {
        let mut job = feed_job();
        job["partitions"] = json!([{"company": "01"}, {"company": "02"}]);
        assert_eq!(fields(job.clone()), ["streams[0].table"]);
        job["streams"][0]["table"] = json!("orders_{company}");
        let read: SyncJob = serde_json::from_value(job).unwrap();
        assert_eq!(read.check(), Ok(()));
        assert_eq!(read.streams[0].feed_of(&read.partitions[1]), "orders_02");
    }

    #[test]
    fn a_table_says_itself_what_its_columns_hold() {
        let mut job = job();
        job["streams"][0]["columns"] = json!(["A1_COD", {"name": "A1_NOME", "kind": "text"}]);
        assert_eq!(fields(job), ["streams[0].columns[1]"]);
        let mut job = self::job();
        job["streams"][0].as_object_mut().unwrap().retain(|name, _| name != "watermark" && name != "table");
        assert_eq!(fields(job), ["streams[0].table", "streams[0].watermark"]);
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
