//! What the Protheus must have, a row each: what is there, what is needed.

use serde::{Deserialize, Serialize};

use super::WATERMARK;

/// The oldest release of Protheus that can be carried.
pub const RELEASE_MIN: &str = "12.1.2310";
/// What the keys of the rows about watermarks begin with; the table's name follows.
pub const WATERMARK_KEY: &str = "watermark:";
/// Parts of a version at most.
const PARTS_MAX: usize = 8;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// What it is about: `release`, `dbaccess`, `appserver`, `lib`, `upddistr`, `watermark:TABLE`.
    pub key: String,
    /// What is there.
    pub have: String,
    /// What is needed.
    pub need: String,
    /// Whether it is met.
    pub ok: bool,
    /// What to do about it; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
    /// Statements that do it, for the database's administrator to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ddl: Option<String>,
}

/// A version as numbers; none where it is not made of numbers and dots.
pub fn version(text: &str) -> Option<Vec<u64>> {
    let parts: Option<Vec<u64>> = text.trim().split('.').map(|part| part.parse().ok()).collect();
    parts.filter(|parts| parts.len() <= PARTS_MAX)
}

/// Whether `have` is `need` or newer, part by part as numbers: `12.1.33` is older than `12.1.2310`. What is no version
/// is never new enough.
pub fn at_least(have: &str, need: &str) -> bool {
    let (Some(mut have), Some(mut need)) = (version(have), version(need)) else { return false };
    let parts = have.len().max(need.len());
    have.resize(parts, 0);
    need.resize(parts, 0);
    have >= need
}

fn of_version(key: &str, have: &str, need: &str, cure: &str) -> Requirement {
    let ok = at_least(have, need);
    let unread = if version(have).is_none() { " (write the version as numbers and dots)" } else { "" };
    Requirement {
        key: key.to_owned(),
        have: have.to_owned(),
        need: format!(">= {need}"),
        ok,
        cure: (!ok).then(|| format!("{cure}{unread}")),
        ddl: None,
    }
}

/// The row of the release.
pub fn release(have: &str) -> Requirement {
    of_version("release", have, RELEASE_MIN, "update the Protheus to release 12.1.2310 or newer")
}

/// The row of an artefact (`dbaccess`, `appserver`, `lib`): the newest there is on the portal is needed.
pub fn artefact(key: &str, have: &str, newest: &str) -> Requirement {
    of_version(key, have, newest, "install the newest one of the TOTVS portal")
}

/// The row of the dictionary's differences.
pub fn upddistr(confirmed: bool) -> Requirement {
    Requirement {
        key: "upddistr".to_owned(),
        have: if confirmed { "applied" } else { "not confirmed" }.to_owned(),
        need: "applied".to_owned(),
        ok: confirmed,
        cure: (!confirmed).then(|| {
            "apply the latest continuous delivery and the dictionary's differences with UPDDISTR, then confirm it"
                .to_owned()
        }),
        ddl: None,
    }
}

/// The databases that DDL is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB and MySQL.
    Mysql,
}

/// How far a table's watermark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watermark {
    /// The column is not there.
    Missing,
    /// The column is there, and what keeps it is not yet: see [`WATERMARK_BEGUN`].
    Begun,
    /// It is there.
    There,
}

/// The comment that a column carries on MySQL and MariaDB until what keeps it is there too: each of their statements stands
/// for itself, and whoever adds the watermark may die between two.
pub const WATERMARK_BEGUN: &str = "not kept yet";

/// The row of a table's watermark.
pub fn watermark(table: &str, state: Watermark, dialect: Dialect) -> Requirement {
    let have = match state {
        Watermark::Missing => "missing",
        Watermark::Begun => "begun; nothing keeps it yet",
        Watermark::There => WATERMARK,
    };
    let cure = match state {
        Watermark::Missing => Some(format!(
            "let DBAccess add {WATERMARK} to {table}, or have the database's administrator run the statements of `ddl`"
        )),
        Watermark::Begun => Some(format!(
            "somebody began to add {WATERMARK} to {table} and did not end it; have the database's administrator run the \
             statements of `ddl`, which are the rest"
        )),
        Watermark::There => None,
    };
    let steps = watermark_steps(table, state, dialect);
    Requirement {
        key: format!("{WATERMARK_KEY}{table}"),
        have: have.to_owned(),
        need: WATERMARK.to_owned(),
        ok: state == Watermark::There,
        cure,
        ddl: (!steps.is_empty()).then(|| steps.join("\n")),
    }
}

/// The row of a table that is not there.
pub fn no_table(table: &str) -> Requirement {
    Requirement {
        key: format!("{WATERMARK_KEY}{table}"),
        have: "no such table".to_owned(),
        need: WATERMARK.to_owned(),
        ok: false,
        cure: Some(format!("check the name of {table} and what the connection's user may see")),
        ddl: None,
    }
}

/// Statements that add the watermark with what keeps it, as far as it is not there. Rows that are there get it when they are
/// next written; until then they are carried by the initial load. Each step is done whole or not at all, but on MySQL, which
/// has no transaction over such statements: what is done of them there can be told by [`WATERMARK_BEGUN`].
pub fn watermark_steps(table: &str, state: Watermark, dialect: Dialect) -> Vec<String> {
    if state == Watermark::There {
        return Vec::new();
    }
    let quote = |name: &str| match dialect {
        Dialect::Mysql => format!("`{}`", name.replace('`', "``")),
        Dialect::Sqlite | Dialect::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
    };
    let name = quote(table);
    match dialect {
        Dialect::Sqlite => {
            let event = |event: &str| {
                format!(
                    "CREATE TRIGGER {} AFTER {event} ON {name} BEGIN UPDATE {name} SET {WATERMARK} = \
                     strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid; END;",
                    quote(&format!("{table}_stamp_{}", event.to_lowercase()))
                )
            };
            vec![format!(
                "BEGIN IMMEDIATE;\nALTER TABLE {name} ADD COLUMN {WATERMARK} TIMESTAMP;\n{}\n{}\n\
                 CREATE INDEX {} ON {name} ({WATERMARK});\nCOMMIT;",
                event("INSERT"),
                event("UPDATE"),
                quote(&format!("{table}_stamp"))
            )]
        }
        Dialect::Postgres => {
            // DBAccess writes its names in lower case there.
            let column = WATERMARK.to_lowercase();
            let whole = format!(
                "BEGIN;\nALTER TABLE {name} ADD COLUMN {column} TIMESTAMP;\n\
                 CREATE OR REPLACE FUNCTION protheus_stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.{column} = \
                 clock_timestamp() AT TIME ZONE 'UTC'; RETURN NEW; END $$;\n\
                 CREATE TRIGGER {} BEFORE INSERT OR UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION protheus_stamp();\n\
                 COMMIT;",
                quote(&format!("{table}_stamp"))
            );
            let index = quote(&format!("{table}_stamp_index"));
            // Without a lock on those who write; not to be had within a transaction.
            vec![whole, format!("CREATE INDEX CONCURRENTLY {index} ON {name} ({column});")]
        }
        Dialect::Mysql => {
            let event = |event: &str| {
                let trigger = quote(&format!("{table}_stamp_{}", event.to_lowercase()));
                format!(
                    "DROP TRIGGER IF EXISTS {trigger};\nCREATE TRIGGER {trigger} BEFORE {event} ON {name} FOR EACH ROW SET \
                     NEW.{WATERMARK} = UTC_TIMESTAMP(6);"
                )
            };
            let column = format!(
                "ALTER TABLE {name} ADD COLUMN {WATERMARK} DATETIME(6) NULL COMMENT '{WATERMARK_BEGUN}', ADD INDEX {} \
                 ({WATERMARK});",
                quote(&format!("{table}_stamp"))
            );
            let done = format!("ALTER TABLE {name} MODIFY COLUMN {WATERMARK} DATETIME(6) NULL COMMENT '';");
            let first = (state == Watermark::Missing).then_some(column);
            first.into_iter().chain([event("INSERT"), event("UPDATE"), done]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_versions_are_compared_part_by_part_as_numbers() {
        for newer in ["12.1.2310", "12.1.2410", "12.1.2310.1", "12.2", "13", " 12.1.2310 "] {
            assert!(release(newer).ok, "{newer}");
        }
        for older in ["12.1.33", "12.1.2210", "12.1.9", "12.1", "11.9.9999", "", "12.1.x", "12..1", "-1"] {
            assert!(!release(older).ok, "{older}");
        }
        assert!(at_least("1.0", "1") && at_least("1", "1.0"));
        assert!(release("new").cure.unwrap().contains("numbers and dots"));
    }

    #[test]
    fn the_ddl_of_each_database_adds_the_column_and_what_keeps_it() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql] {
            let row = watermark("SA\"1`0", Watermark::Missing, dialect);
            let ddl = row.ddl.unwrap();
            let quoted = if dialect == Dialect::Mysql { "`SA\"1``0`" } else { "\"SA\"\"1`0\"" };
            assert!(ddl.contains(&format!("ALTER TABLE {quoted} ADD COLUMN")), "{ddl}");
            assert!(ddl.contains("CREATE TRIGGER") && ddl.to_uppercase().contains(WATERMARK), "{ddl}");
        }
        assert_eq!(watermark("SA1010", Watermark::There, Dialect::Sqlite).ddl, None);
    }

    #[test]
    fn what_was_begun_is_ended_and_not_begun_again() {
        let all = watermark_steps("SA1010", Watermark::Missing, Dialect::Mysql);
        assert_eq!(watermark_steps("SA1010", Watermark::Begun, Dialect::Mysql), all[1..]);
        let row = watermark("SA1010", Watermark::Begun, Dialect::Mysql);
        assert!(!row.ok && row.cure.unwrap().contains("the rest"));
    }
}
