//! Spans of codes and the times they were created at.
//!
//! A delivery's code is given when it is committed, its time when its event was taken: both grow almost alike, and
//! no index is needed to go from one to the other if it is known how far they do not. A span says it for a few
//! thousand codes. It is made in the background, once nothing can be added to it; times never change, so it stays
//! true. Codes beyond the last span may be of any time.

use std::sync::Mutex;

use engate_model::Timestamp;

use super::{access::Scope, lister::Lister, texts::Pace};
use crate::{
    Store,
    db::Session,
    error::StoreError,
    sql::{Dialect, Sql},
    value::args,
};

/// Codes of one span.
const SPAN_CODES: i64 = 4_096;
/// Spans made at one call at most.
const SPANS_AT_ONCE: u32 = 64;

/// On PostgreSQL, where codes are given before they are committed: codes up to the first number are all committed,
/// or never will be, once every transaction before the second is over.
#[derive(Debug, Default)]
pub(crate) struct SpanWatch {
    given: Mutex<Option<(i64, i64)>>,
    /// Up to which code everything was committed at the last call, on either database.
    seen: Mutex<Option<i64>>,
    /// One call at a time.
    busy: tokio::sync::Mutex<()>,
}

impl Store {
    /// Makes the spans that can be made, up to some, and takes texts into their index; says how many spans. To be called
    /// every few seconds.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_span_extend(&self) -> Result<u32, StoreError> {
        let Ok(_busy) = self.span_watch().busy.try_lock() else { return Ok(0) };
        let settled = settled(&mut self.db().reader().await?, self.span_watch()).await?;
        let size = self.span_codes().unwrap_or(SPAN_CODES).max(1);
        let mut made = 0;
        while made < SPANS_AT_ONCE {
            let from = covered(&mut self.db().reader().await?).await?.unwrap_or(0) + 1;
            let to = from + size - 1;
            if to > settled {
                break;
            }
            let (min, max) = self.span_times(from, to).await?;
            let mut session = self.db().begin().await?;
            let sql = "INSERT INTO delivery_spans (first_code, last_code, created_min, created_max) \
                       VALUES ($1, $2, $3, $4) ON CONFLICT (first_code) DO NOTHING";
            session.execute(sql, args![from, to, min, max]).await?;
            session.commit().await?;
            made += 1;
        }
        let came = self.span_watch().came(settled);
        self.delivery_texts_extend(settled, Pace::of(came)).await?;
        Ok(made)
    }

    /// The first and the last time of these codes, over all tenants; the other way round where there is none.
    async fn span_times(&self, from: i64, to: i64) -> Result<(i64, i64), StoreError> {
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        for tenant in self.tenant_list().await? {
            let mut lister = Lister::open(self, tenant.id, self.page_time_max()).await?;
            let mut access = lister.access(&Scope::of(&super::DeliveryFilter::default())).await?;
            access.on.extend([("code >=", from.into()), ("code <=", to.into())]);
            let sql = access.scan().aggregate(lister.dialect, "min(created_at), max(created_at)", "created_at");
            if let Some(row) = lister.reader.session.row(sql, access.on.values()).await? {
                let mut cells = row.cells();
                min = min.min(cells.int_opt()?.unwrap_or(i64::MAX));
                max = max.max(cells.int_opt()?.unwrap_or(i64::MIN));
            }
        }
        Ok((min, max))
    }
}

impl SpanWatch {
    /// How many codes came since the last call; none at the first.
    fn came(&self, settled: i64) -> i64 {
        let last = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).replace(settled);
        last.map_or(0, |last| settled.saturating_sub(last))
    }
}

/// Up to which code everything is committed that ever will be.
async fn settled(session: &mut Session, watch: &SpanWatch) -> Result<i64, StoreError> {
    let sql = Sql::Twins {
        sqlite: "SELECT value, 0, 0 FROM counters WHERE name = 'delivery_code'",
        postgres: "SELECT CASE WHEN is_called THEN last_value ELSE 0 END, \
                   pg_snapshot_xmin(pg_current_snapshot())::text::bigint, \
                   pg_snapshot_xmax(pg_current_snapshot())::text::bigint FROM delivery_code",
    };
    let Some(row) = session.row(sql, args![]).await? else { return Ok(0) };
    let mut cells = row.cells();
    let (given, oldest, next) = (cells.int()?, cells.int()?, cells.int()?);
    if session.dialect() == Dialect::Sqlite {
        // One writer: a code is given in the transaction that commits it.
        return Ok(given);
    }
    let mut watched = watch.given.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match *watched {
        Some((code, before)) if before <= oldest => {
            *watched = Some((given, next));
            Ok(code)
        }
        Some(_) => Ok(0),
        None => {
            *watched = Some((given, next));
            Ok(0)
        }
    }
}

/// The last code that a span covers.
async fn covered(session: &mut Session) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT last_code FROM delivery_spans ORDER BY first_code DESC LIMIT 1";
    session.row(sql, args![]).await?.map(|row| row.cells().int()).transpose()
}

/// The last code that a span covers, and the last one whose texts are in their index.
pub(super) async fn reached(session: &mut Session) -> Result<(Option<i64>, i64), StoreError> {
    let sql = "SELECT code, (SELECT last_code FROM delivery_spans ORDER BY first_code DESC LIMIT 1) FROM delivery_marks \
               WHERE name = 'texts'";
    let Some(row) = session.row(sql, args![]).await? else { return Ok((None, 0)) };
    let mut cells = row.cells();
    let texts_to = cells.int()?;
    Ok((cells.int_opt()?, texts_to))
}

/// A span as it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub first: i64,
    pub last: i64,
    pub created_min: i64,
    pub created_max: i64,
}

impl Lister {
    /// The codes that may have been created at the first instant or later, before the second.
    pub(super) async fn codes_between(
        &mut self,
        (from, before): (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        let from = from.map_or(i64::MIN, Timestamp::as_micros);
        let last = before.map_or(i64::MAX, |before| before.as_micros().saturating_sub(1));
        let sql =
            "SELECT min(first_code), max(last_code) FROM delivery_spans WHERE created_max >= $1 AND created_min <= $2";
        let row = self.reader.session.row(sql, args![from, last]).await?;
        let mut codes = Vec::new();
        if let Some(row) = row {
            let mut cells = row.cells();
            codes.extend(cells.int_opt()?.zip(cells.int_opt()?));
        }
        match codes.last_mut() {
            // The usual wish, from some time up to now: one range does.
            Some((_, to)) if *to + 1 == self.tail => *to = i64::MAX,
            _ => codes.push((self.tail, i64::MAX)),
        }
        Ok(codes)
    }

    /// The spans from `skipped` on that may hold times from the first to the second, in their order in time.
    pub(super) async fn spans(
        &mut self,
        (from, to): (i64, i64),
        descending: bool,
        skipped: u64,
        most: u64,
    ) -> Result<Vec<Span>, StoreError> {
        macro_rules! spans {
            ($order:literal) => {
                concat!(
                    "SELECT first_code, last_code, created_min, created_max FROM delivery_spans \
                     WHERE created_max >= $1 AND created_min <= $2 ORDER BY ",
                    $order,
                    ", first_code LIMIT $3 OFFSET $4"
                )
            };
        }
        let sql = if descending { spans!("created_max DESC") } else { spans!("created_min") };
        let rows = self.reader.session.rows(sql, args![from, to, most, skipped]).await?;
        let span = |row: &crate::value::Row| {
            let mut cells = row.cells();
            let (first, last) = (cells.int()?, cells.int()?);
            Ok(Span { first, last, created_min: cells.int()?, created_max: cells.int()? })
        };
        rows.iter().map(span).collect()
    }
}
