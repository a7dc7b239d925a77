//! The schema of a staging table: its columns, and the crosswalk keys by which records are known.

use engate_sdk::{ColumnKind, Problem, Stream};
use serde_json::{Map, Value, json};

use crate::Settings;

/// The definition of the stream's table.
pub(crate) fn of(stream: &Stream, settings: &Settings) -> Result<Value, Problem> {
    if stream.key.is_empty() {
        let message = format!(
            "the stream {} has no key, so that Carol could not tell its records apart; name its key columns in the job",
            stream.name
        );
        return Err(Problem::new("no_crosswalk_key", message));
    }
    let property = |kind: &str| json!({ "type": kind });
    let columns = stream.columns.iter().map(|column| (column.name.clone(), property(kind(column.kind))));
    let mut properties: Map<String, Value> = columns.collect();
    if let Some(missing) = stream.key.iter().find(|key| !properties.contains_key(*key)) {
        let message = format!("the key column {missing} of the stream {} is not among its columns", stream.name);
        return Err(Problem::new("no_crosswalk_key", message));
    }
    // What begins with mdm is Carol's own, and there in any table.
    if !settings.deleted_field.starts_with("mdm") {
        properties.insert(settings.deleted_field.clone(), property("boolean"));
    }
    Ok(json!({
        "mdmStagingType": stream.target,
        "mdmFlexible": settings.flexible,
        "mdmExportData": settings.export_data,
        "mdmCrosswalkTemplate": {"mdmCrossreference": {stream.target.as_str(): stream.key}},
        "mdmStagingMapping": {"properties": properties},
    }))
}

const fn kind(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text | ColumnKind::Binary => "string",
        ColumnKind::Integer => "integer",
        ColumnKind::Decimal => "double",
        ColumnKind::Boolean => "boolean",
        ColumnKind::Date | ColumnKind::Timestamp => "date",
        ColumnKind::Json => "object",
    }
}
