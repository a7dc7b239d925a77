//! Statements that change a source: only those that an administrator has confirmed, over a session of his own that nothing
//! else uses. The sessions of a [`Connection`](crate::Connection) stay such that only read.

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, mysql::MySqlConnectOptions, postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};

use crate::error::SourceError;

/// How long all of it may take: an index over a large table takes its time.
const TIMEOUT: Duration = Duration::from_secs(1_800);
/// How long a writer of SQLite waits for another.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs `steps` one after the other in one session of `url`; the first that fails is the last. A step is one or several
/// statements.
///
/// # Errors
/// [`SourceError::Address`], or what the database says; the steps before stay done.
pub async fn administer(url: &str, steps: &[String]) -> Result<(), SourceError> {
    let unreadable = |_| SourceError::Address("the connection's url cannot be read".to_owned());
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let run = async {
        match scheme {
            "postgres" | "postgresql" => {
                let options = PgConnectOptions::from_str(url).map_err(unreadable)?;
                let mut session = options.application_name("engate-administration").connect().await?;
                for step in steps {
                    sqlx::raw_sql(AssertSqlSafe(step.clone())).execute(&mut session).await?;
                }
                session.close().await?;
            }
            "mysql" | "mariadb" => {
                let rest = url.split_once(':').map_or("", |(_, rest)| rest);
                let options = MySqlConnectOptions::from_str(&format!("mysql:{rest}")).map_err(unreadable)?;
                let mut session = options.connect().await?;
                for step in steps {
                    sqlx::raw_sql(AssertSqlSafe(step.clone())).execute(&mut session).await?;
                }
                session.close().await?;
            }
            "sqlite" => {
                let options = SqliteConnectOptions::from_str(url).map_err(unreadable)?;
                let mut session = options.create_if_missing(false).busy_timeout(BUSY_TIMEOUT).connect().await?;
                for step in steps {
                    sqlx::raw_sql(AssertSqlSafe(step.clone())).execute(&mut session).await?;
                }
                session.close().await?;
            }
            _ => {
                let message = "a connection's url begins with postgres://, mysql://, mariadb:// or sqlite:";
                return Err(SourceError::Address(message.to_owned()));
            }
        }
        Ok(())
    };
    let late = || SourceError::Unavailable(format!("not done within {} s", TIMEOUT.as_secs()));
    tokio::time::timeout(TIMEOUT, run).await.map_err(|_| late())?
}
