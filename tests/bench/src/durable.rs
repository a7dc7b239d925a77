//! `raw-durable`: the smallest honest engine, the yardstick for `deliver`.
//!
//! Events come in by HTTP one by one and are written to SQLite (WAL, synchronous=FULL) in group commits before
//! the 202; they are posted by keep-alive, and each result is written in group commits. No plugin, no lanes, no
//! API around it.

use std::{path::Path, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};

use crate::{Error, http1::Connection, process};

/// Rows of one statement and of one group.
const GROUP_MAX: usize = 512;
const STATEMENT_ROWS: usize = 64;
/// Posts under way at once.
const POSTERS: usize = 64;

/// One thing to write.
enum Write {
    Event { id: i64, body: Bytes, written: oneshot::Sender<()> },
    Result { id: i64, status: i64, body: Bytes },
}

struct Engine {
    writes: mpsc::Sender<Write>,
    posts: async_queue::Sender,
    next: std::sync::atomic::AtomicI64,
    finished: Arc<std::sync::atomic::AtomicUsize>,
    durability: String,
}

mod async_queue {
    pub(super) type Sender = tokio::sync::mpsc::UnboundedSender<(i64, bytes::Bytes)>;
}

/// Serves until killed.
pub(crate) async fn run(sink: &str, data: &Path) -> Result<(), Error> {
    let mut database = open(&data.join("durable.db")).await?;
    let durability = durability(&mut database).await?;
    let finished = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (writes, queue) = mpsc::channel(4_096);
    tokio::spawn(write(database, queue, Arc::clone(&finished)));
    let (posts, waiting) = mpsc::unbounded_channel();
    let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
    for _ in 0..POSTERS {
        let connection = Connection::open(sink).await?;
        tokio::spawn(post_all(connection, Arc::clone(&waiting), writes.clone()));
    }
    let next = std::sync::atomic::AtomicI64::new(1);
    let engine = Arc::new(Engine { writes, posts, next, finished, durability });
    let router = Router::new()
        .route("/events", post(accept))
        .route("/finished", get(finished_count))
        .route("/durability", get(|State(engine): State<Arc<Engine>>| async move { engine.durability.clone() }))
        .with_state(engine);
    let listener = process::announce().await?;
    Ok(axum::serve(listener, router).await?)
}

async fn accept(State(engine): State<Arc<Engine>>, body: Bytes) -> (StatusCode, String) {
    let id = engine.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let (written, committed) = oneshot::channel();
    let event = Write::Event { id, body: body.clone(), written };
    if engine.writes.send(event).await.is_err() || committed.await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    let _ = engine.posts.send((id, body));
    (StatusCode::ACCEPTED, format!(r#"{{"id":{id}}}"#))
}

async fn finished_count(State(engine): State<Arc<Engine>>) -> String {
    engine.finished.load(std::sync::atomic::Ordering::Relaxed).to_string()
}

type Waiting = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<(i64, Bytes)>>>;

async fn post_all(mut connection: Connection, waiting: Waiting, writes: mpsc::Sender<Write>) {
    loop {
        let next = waiting.lock().await.recv().await;
        let Some((id, body)) = next else { return };
        let webhook_id = id.to_string();
        let headers = [("content-type", "application/json"), ("webhook-id", webhook_id.as_str())];
        let (status, body) = connection.call("POST", "/", &headers, body).await.unwrap_or_default();
        if writes.send(Write::Result { id, status: i64::from(status), body }).await.is_err() {
            return;
        }
    }
}

async fn open(path: &Path) -> Result<SqliteConnection, Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut database = SqliteConnection::connect_with(&options).await?;
    database.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, body BLOB NOT NULL)").await?;
    database
        .execute("CREATE TABLE results (id INTEGER PRIMARY KEY, status INTEGER NOT NULL, body BLOB NOT NULL)")
        .await?;
    Ok(database)
}

async fn durability(database: &mut SqliteConnection) -> Result<String, Error> {
    let journal: String = sqlx::query("PRAGMA journal_mode").fetch_one(&mut *database).await?.try_get(0)?;
    let synchronous: i64 = sqlx::query("PRAGMA synchronous").fetch_one(&mut *database).await?.try_get(0)?;
    Ok(format!("sqlite journal_mode={journal} synchronous={synchronous}"))
}

/// Writes whatever waits, as one group with one commit; while it commits the next group gathers.
async fn write(
    mut database: SqliteConnection,
    mut queue: mpsc::Receiver<Write>,
    finished: Arc<std::sync::atomic::AtomicUsize>,
) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while queue.recv_many(&mut group, GROUP_MAX).await > 0 {
        if let Err(error) = write_group(&mut database, &group).await {
            eprintln!("raw-durable: {error}");
            return;
        }
        for write in group.drain(..) {
            match write {
                Write::Event { written, .. } => drop(written.send(())),
                Write::Result { .. } => drop(finished.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            }
        }
    }
}

async fn write_group(database: &mut SqliteConnection, group: &[Write]) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    let events: Vec<_> = group
        .iter()
        .filter_map(|w| if let Write::Event { id, body, .. } = w { Some((*id, body)) } else { None })
        .collect();
    for rows in chunks(&events) {
        let mut query = sqlx::query(AssertSqlSafe(insert("INSERT INTO events (id, body) VALUES ", 2, rows.len())));
        for (id, body) in rows {
            query = query.bind(id).bind(body.as_ref());
        }
        query.execute(&mut *transaction).await?;
    }
    let results: Vec<_> = group
        .iter()
        .filter_map(|w| if let Write::Result { id, status, body } = w { Some((*id, *status, body)) } else { None })
        .collect();
    for rows in chunks(&results) {
        let mut query =
            sqlx::query(AssertSqlSafe(insert("INSERT INTO results (id, status, body) VALUES ", 3, rows.len())));
        for (id, status, body) in rows {
            query = query.bind(id).bind(status).bind(body.as_ref());
        }
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Pieces of few different lengths, so that prepared statements are found again.
fn chunks<T>(rows: &[T]) -> Vec<&[T]> {
    let mut pieces = Vec::new();
    let mut rest = rows;
    while !rest.is_empty() {
        let largest = 1 << rest.len().ilog2();
        let (piece, after) = rest.split_at(largest.min(STATEMENT_ROWS));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn insert(head: &str, columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    format!("{head}{}", vec![row; rows].join(","))
}
