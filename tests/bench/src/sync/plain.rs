//! `sync-plain`: the table read by pages of its key, each page written as JSON, packed and posted; nothing else.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;
use sqlx::{
    Connection as _, PgConnection, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::table::{Place, TABLE, text};
use crate::{Error, http1::Connection};

/// A row, spelled as the engine spells it.
#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Record<'r> {
    a1_filial: &'r str,
    a1_cod: &'r str,
    a1_loja: &'r str,
    a1_nome: &'r str,
    a1_end: Option<&'r str>,
    a1_mun: Option<&'r str>,
    a1_est: Option<&'r str>,
    a1_cgc: Option<&'r str>,
    a1_lc: Option<f64>,
    #[serde(rename = "D_E_L_E_T_")]
    deleted: &'r str,
    #[serde(rename = "R_E_C_N_O_")]
    number: i64,
    #[serde(rename = "S_T_A_M_P_")]
    stamp: Option<&'r str>,
}

macro_rules! record {
    ($row:expr) => {
        Record {
            a1_filial: $row.try_get(0)?,
            a1_cod: $row.try_get(1)?,
            a1_loja: $row.try_get(2)?,
            a1_nome: $row.try_get(3)?,
            a1_end: $row.try_get(4)?,
            a1_mun: $row.try_get(5)?,
            a1_est: $row.try_get(6)?,
            a1_cgc: $row.try_get(7)?,
            a1_lc: $row.try_get(8)?,
            deleted: $row.try_get(9)?,
            number: $row.try_get(10)?,
            stamp: $row.try_get(11)?,
        }
    };
}

const COLUMNS: &str =
    "A1_FILIAL, A1_COD, A1_LOJA, A1_NOME, A1_END, A1_MUN, A1_EST, A1_CGC, A1_LC, D_E_L_E_T_, R_E_C_N_O_";

type Key = [String; 3];

/// Carries the whole table to the sink, page by page.
pub(super) async fn carry(place: &Place, sink: &str, page_rows: u32) -> Result<(), Error> {
    let mut post = Connection::open(sink).await?;
    match place {
        Place::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path).read_only(true);
            let mut session = SqliteConnection::connect_with(&options.journal_mode(SqliteJournalMode::Wal)).await?;
            let stamp = "replace(S_T_A_M_P_, ' ', 'T') || 'Z'";
            let sql = select(stamp, ["?", "?", "?", "?"]);
            let mut key = Key::default();
            loop {
                let [branch, code, shop] = key.clone();
                let query = sqlx::query(text(sql.clone())).bind(branch).bind(code).bind(shop).bind(page_rows);
                let rows = query.fetch_all(&mut session).await?;
                let records = rows.iter().map(|row| Ok(record!(row))).collect::<Result<Vec<_>, Error>>()?;
                if !send(&mut post, &records, &mut key).await? || rows.len() < page_rows as usize {
                    return Ok(());
                }
            }
        }
        Place::Postgres(url) => {
            let mut session = PgConnection::connect(url).await?;
            let stamp = "to_char(S_T_A_M_P_, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
            let sql = select(stamp, ["$1", "$2", "$3", "$4"]);
            let mut key = Key::default();
            loop {
                let [branch, code, shop] = key.clone();
                let query =
                    sqlx::query(text(sql.clone())).bind(branch).bind(code).bind(shop).bind(i64::from(page_rows));
                let rows = query.fetch_all(&mut session).await?;
                let records = rows.iter().map(|row| Ok(record!(row))).collect::<Result<Vec<_>, Error>>()?;
                if !send(&mut post, &records, &mut key).await? || rows.len() < page_rows as usize {
                    return Ok(());
                }
            }
        }
    }
}

fn select(stamp: &str, [branch, code, shop, limit]: [&str; 4]) -> String {
    format!(
        "SELECT {COLUMNS}, {stamp} FROM {TABLE} WHERE (A1_FILIAL, A1_COD, A1_LOJA) > ({branch}, {code}, {shop}) ORDER BY \
         A1_FILIAL, A1_COD, A1_LOJA LIMIT {limit}"
    )
}

/// Posts a page; false where there is nothing to post.
async fn send(post: &mut Connection, records: &[Record<'_>], key: &mut Key) -> Result<bool, Error> {
    let Some(last) = records.last() else { return Ok(false) };
    *key = [last.a1_filial, last.a1_cod, last.a1_loja].map(str::to_owned);
    let body = serde_json::to_vec(records)?;
    let mut packer = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::default());
    packer.write_all(&body)?;
    let body = Bytes::from(packer.finish()?);
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let (status, answer) = post.call("POST", "/staging", &headers, body).await?;
    if status != 200 {
        return Err(format!("the sink answered {status}: {}", String::from_utf8_lossy(&answer)).into());
    }
    Ok(true)
}
