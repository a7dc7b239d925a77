//! The table that is carried: filled by the database itself, alike on SQLite and PostgreSQL.

use std::path::Path;

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use crate::Error;

/// Its name; with a database given, a table of that name is dropped there.
pub(super) const TABLE: &str = "ENGATE_BENCH_SA1";
/// Rows that one statement inserts.
const STEP: u64 = 250_000;

/// Where the table is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Sqlite(String),
    Postgres(String),
}

impl Place {
    /// A file in `folder`, or the database that was named.
    pub(super) fn of(source: &str, folder: &Path) -> Self {
        match source {
            "sqlite" => Self::Sqlite(folder.join("source.db").display().to_string()),
            url => Self::Postgres(url.to_owned()),
        }
    }

    /// The address under which the engine reads it.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{path}"),
            Self::Postgres(url) => url.clone(),
        }
    }

    /// Makes the table with this many rows of about 300 bytes of JSON, all stamped long ago.
    pub(super) async fn fill(&self, rows: u64) -> Result<(), Error> {
        match self {
            Self::Sqlite(path) => {
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .pragma("synchronous", "OFF");
                let mut session = SqliteConnection::connect_with(&options).await?;
                let series = "WITH RECURSIVE s(n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM s WHERE n + 1 < {to})";
                let stamp = "strftime('%Y-%m-%d %H:%M:%f', 1750000000 + n / 7, 'unixepoch')";
                fill(&mut session, rows, series, stamp).await?;
                session.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
                Ok(session.close().await?)
            }
            Self::Postgres(url) => {
                let mut session = PgConnection::connect(url).await?;
                let series = "WITH s AS (SELECT n FROM generate_series({from}::bigint, {to}::bigint - 1) AS n)";
                let stamp = "TIMESTAMP '2025-06-15 15:06:40' + make_interval(secs => (n / 7)::double precision)";
                fill(&mut session, rows, series, stamp).await?;
                Ok(session.close().await?)
            }
        }
    }

    /// Drops the table where it is not in a folder that goes anyway.
    pub(super) async fn drop_table(&self) -> Result<(), Error> {
        if let Self::Postgres(url) = self {
            let mut session = PgConnection::connect(url).await?;
            session.execute(text(format!("DROP TABLE IF EXISTS {TABLE}"))).await?;
            session.close().await?;
        }
        Ok(())
    }
}

async fn fill<C>(session: &mut C, rows: u64, series: &str, stamp: &str) -> Result<(), Error>
where
    for<'c> &'c mut C: sqlx::Executor<'c>,
{
    session.execute(text(format!("DROP TABLE IF EXISTS {TABLE}"))).await?;
    session
        .execute(text(format!(
            "CREATE TABLE {TABLE} (A1_FILIAL VARCHAR(4) NOT NULL, A1_COD VARCHAR(12) NOT NULL, A1_LOJA VARCHAR(2) NOT NULL, \
             A1_NOME VARCHAR(60) NOT NULL, A1_END VARCHAR(60), A1_MUN VARCHAR(30), A1_EST VARCHAR(2), A1_CGC VARCHAR(14), \
             A1_LC DOUBLE PRECISION, D_E_L_E_T_ VARCHAR(1) NOT NULL, R_E_C_N_O_ BIGINT NOT NULL, S_T_A_M_P_ TIMESTAMP, \
             PRIMARY KEY (A1_FILIAL, A1_COD, A1_LOJA))"
        )))
        .await?;
    for from in (0..rows).step_by(STEP as usize) {
        let to = (from + STEP).min(rows);
        let series = series.replace("{from}", &from.to_string()).replace("{to}", &to.to_string());
        // Numbers that look like names and streets: text that repeats no more than real one does.
        session
            .execute(text(format!(
                "INSERT INTO {TABLE} {series} SELECT '01' || CAST(1 + n * 4 / {rows} AS VARCHAR(2)), \
                 substr(CAST(100000000000 + n AS VARCHAR(12)), 1, 12), '01', \
                 'Companhia ' || CAST(n * 7919 % 99991 AS VARCHAR(9)) || ' de Aguas e Energia', \
                 'Avenida ' || CAST(n * 104729 % 7919 AS VARCHAR(9)) || ', numero ' || CAST(n * 31 % 1999 AS VARCHAR(9)), \
                 CASE n % 3 WHEN 0 THEN 'Recife' WHEN 1 THEN 'Porto Alegre' ELSE 'Campinas' END, \
                 CASE n % 3 WHEN 0 THEN 'PE' WHEN 1 THEN 'RS' ELSE 'SP' END, \
                 CAST(10000000000000 + n * 611953 % 80000000000000 AS VARCHAR(14)), (n * 37 % 1000003) / 100.0, ' ', n, {stamp} \
                 FROM s"
            )))
            .await?;
    }
    session
        .execute(text(format!("CREATE INDEX {TABLE}_S ON {TABLE} (S_T_A_M_P_, A1_FILIAL, A1_COD, A1_LOJA)")))
        .await?;
    Ok(())
}

pub(super) fn text(sql: String) -> sqlx::SqlStr {
    AssertSqlSafe(sql).into_sql_str()
}
