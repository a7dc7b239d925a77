//! Lines: the unfinished deliveries of an endpoint that keeps an order, by the key they share. Whose turn it is is the
//! model's ([`settle`]); here it is read, applied, and kept true in the transaction that changes a member.
//!
//! Whoever changes a line's members holds its endpoint's row until the commit ([`lock`]), taken before any row of
//! `deliveries` and after the row of `revisions` where that is needed too: so two that meet wait instead of deadlocking,
//! and codes of one line are given out in the order of the commits. Claiming needs no lock: it takes what is due, and
//! [`settle_lines`] waits for it. Of endpoints without an order nothing here is ever called on the way of an event.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use engate_model::{
    DeliveryId, EndpointId, Timestamp,
    delivery::{Delivery, DeliveryState},
    line::{Member, Ordering, Standing, Step, settle},
};

use crate::{
    compose::Bulk,
    db::Session,
    error::StoreError,
    sql::{Sql, twins},
    value::{Kind, Row, args},
};

/// Why a delivery was superseded.
pub const NEWER_VERSION: &str = "newer_version";
/// Why a delivery has no next attempt yet.
pub const WAITS_BEHIND: &str = "waits_behind";

/// A line: its endpoint and the key its members share.
pub(crate) type LineKey = (EndpointId, Arc<str>);

/// The orderings of endpoints whose rows are held until the commit.
pub(crate) type Held = HashMap<EndpointId, Ordering>;

/// Lines with members about to join, by code.
pub(crate) type Joining = BTreeMap<LineKey, Vec<i64>>;

static LOCK: Bulk = Bulk::with_twin_tails(
    "SELECT e.id, e.ordering FROM (",
    &[("endpoint_id", Kind::Id)],
    ") AS v JOIN endpoints e ON e.id = v.endpoint_id ORDER BY e.id",
    ") AS v JOIN endpoints e ON e.id = v.endpoint_id ORDER BY e.id FOR NO KEY UPDATE OF e",
);

const KEY_COLUMNS: &[(&str, Kind)] = &[("endpoint_id", Kind::Id), ("line", Kind::Text)];

/// What moves in a line: few, as a rule one. A claim under way is waited for.
static MOVING: Bulk = Bulk::with_twin_tails(
    "SELECT d.endpoint_id, d.line, d.code, d.id, CAST(CASE WHEN d.owner IS NULL THEN 0 ELSE 1 END AS BIGINT) FROM (",
    KEY_COLUMNS,
    ") AS v JOIN deliveries d INDEXED BY deliveries_moving ON d.endpoint_id = v.endpoint_id AND d.line = v.line AND \
     d.waits_behind IS NULL",
    ") AS v JOIN deliveries d ON d.endpoint_id = v.endpoint_id AND d.line = v.line AND d.waits_behind IS NULL FOR \
     UPDATE OF d",
);

/// The first that waits in a line. Of those behind it nothing needs to be known: under `fifo` they go on waiting, under
/// `latest` there are none.
static WAITING: Bulk = Bulk::with_twin_tails(
    "SELECT d.endpoint_id, d.line, d.code, d.id FROM (",
    KEY_COLUMNS,
    ") AS v JOIN deliveries d ON d.code = (SELECT w.code FROM deliveries w INDEXED BY deliveries_behind WHERE \
     w.endpoint_id = v.endpoint_id AND w.line = v.line AND w.waits_behind IS NOT NULL ORDER BY w.code LIMIT 1)",
    ") AS v JOIN deliveries d ON d.id = (SELECT w.id FROM deliveries w WHERE w.endpoint_id = v.endpoint_id AND w.line = \
     v.line AND w.waits_behind IS NOT NULL ORDER BY w.code LIMIT 1)",
);

const ROW_COLUMNS: &[(&str, Kind)] = &[("delivery_id", Kind::Id), ("delivery_code", Kind::Int)];
const BY_ROW: &str = ") AS v WHERE deliveries.id = v.delivery_id AND deliveries.code = v.delivery_code";

static SUPERSEDE: Bulk = Bulk::new(
    "UPDATE deliveries SET state = 'superseded', reason = 'newer_version', due_at = NULL, line = NULL, waits_behind = NULL \
     FROM (",
    ROW_COLUMNS,
    BY_ROW,
);

static RELEASE: Bulk = Bulk::new(
    "UPDATE deliveries SET due_at = deliveries.waits_behind, waits_behind = NULL, reason = \
     CASE WHEN deliveries.reason = 'waits_behind' THEN NULL ELSE deliveries.reason END FROM (",
    ROW_COLUMNS,
    BY_ROW,
);

static HOLD: Bulk = Bulk::new(
    "UPDATE deliveries SET state = 'pending', waits_behind = COALESCE(deliveries.due_at, deliveries.created_at), due_at = \
     NULL, reason = CASE WHEN deliveries.reason IS NULL OR deliveries.state = 'parked' THEN 'waits_behind' ELSE \
     deliveries.reason END FROM (",
    ROW_COLUMNS,
    BY_ROW,
);

/// Holds the rows of these endpoints until the commit, and says how each orders its deliveries.
pub(crate) async fn lock(
    session: &mut Session,
    endpoints: impl IntoIterator<Item = EndpointId>,
) -> Result<Held, StoreError> {
    let endpoints: BTreeSet<_> = endpoints.into_iter().collect();
    let cells = endpoints.into_iter().flat_map(|endpoint| args![endpoint]).collect();
    let rows = LOCK.rows(session, cells).await?;
    let cells = rows.iter().map(Row::cells);
    cells.map(|mut cells| Ok((cells.id()?, cells.code(Ordering::from_code)?))).collect()
}

/// The lines that these deliveries are in.
pub(crate) async fn lines_of(
    session: &mut Session,
    ids: impl IntoIterator<Item = DeliveryId>,
) -> Result<BTreeSet<LineKey>, StoreError> {
    static LINES: Bulk = Bulk::new(
        "SELECT d.endpoint_id, d.line FROM (",
        &[("delivery_id", Kind::Id)],
        ") AS v JOIN deliveries d ON d.id = v.delivery_id AND d.line IS NOT NULL",
    );
    let cells = ids.into_iter().flat_map(|id| args![id]).collect();
    keys(&LINES.rows(session, cells).await?)
}

/// Reads endpoint and line of each row.
pub(crate) fn keys(rows: &[Row]) -> Result<BTreeSet<LineKey>, StoreError> {
    rows.iter().map(|row| row.cells()).map(|mut cells| Ok((cells.id()?, cells.text()?.into()))).collect()
}

/// Holds the endpoints of `keys`.
pub(crate) async fn lock_of(session: &mut Session, keys: &BTreeSet<LineKey>) -> Result<Held, StoreError> {
    lock(session, keys.iter().map(|(endpoint, _)| *endpoint)).await
}

/// Brings lines to order after members left them or changed; gives how many may go now.
pub(crate) async fn settle_lines(
    session: &mut Session,
    held: &Held,
    keys: BTreeSet<LineKey>,
) -> Result<usize, StoreError> {
    let joining = keys.into_iter().map(|key| (key, Vec::new())).collect();
    let mut settled = settle_joining(session, held, &joining).await?;
    settled.retain(|_, step| *step == Step::Release);
    Ok(settled.len())
}

/// As [`settle_lines`], with members that are about to be written; gives what follows for each code that does not go on
/// as it is. Only the members that are written already are changed here.
pub(crate) async fn settle_joining(
    session: &mut Session,
    held: &Held,
    joining: &Joining,
) -> Result<HashMap<i64, Step>, StoreError> {
    if joining.is_empty() {
        return Ok(HashMap::new());
    }
    let mut ids: HashMap<i64, DeliveryId> = HashMap::new();
    let mut lines: BTreeMap<LineKey, Vec<Member>> = BTreeMap::new();
    for (key, codes) in joining {
        let new = codes.iter().map(|code| Member { code: *code, standing: Standing::Waiting });
        lines.insert(key.clone(), new.collect());
    }
    let names = || joining.keys().flat_map(|(endpoint, line)| args![*endpoint, Arc::clone(line)]).collect::<Vec<_>>();
    for row in MOVING.rows(session, names()).await? {
        let mut cells = row.cells();
        let (key, code) = ((cells.id()?, cells.text()?.into()), cells.int()?);
        ids.insert(code, cells.id()?);
        let standing = if cells.flag()? { Standing::InHand } else { Standing::Scheduled };
        lines.entry(key).or_default().push(Member { code, standing });
    }
    for row in WAITING.rows(session, names()).await? {
        let mut cells = row.cells();
        let (key, code) = ((cells.id()?, cells.text()?.into()), cells.int()?);
        ids.insert(code, cells.id()?);
        lines.entry(key).or_default().push(Member { code, standing: Standing::Waiting });
    }
    let ordering = |endpoint| held.get(endpoint).copied().unwrap_or_default();
    let steps = lines.iter().flat_map(|((endpoint, _), members)| settle(ordering(endpoint), members));
    let steps: HashMap<i64, Step> = steps.collect();
    for (step, bulk) in [(Step::Supersede, &SUPERSEDE), (Step::Hold, &HOLD), (Step::Release, &RELEASE)] {
        let changed = steps.iter().filter(|(_, one)| **one == step);
        let rows = changed.filter_map(|(code, _)| Some(args![*ids.get(code)?, *code])).flatten().collect();
        bulk.execute(session, rows).await?;
    }
    Ok(steps)
}

/// How a delivery is written that joins a line.
pub(crate) struct Joined {
    pub(crate) state: DeliveryState,
    pub(crate) reason: Option<&'static str>,
    /// From when on it may go once it is let go; none where it need not wait.
    pub(crate) waits_behind: Option<Timestamp>,
}

/// What `step` means for a delivery that may go from `from` on; none: it goes.
pub(crate) fn joined(step: Option<&Step>, from: Timestamp) -> Option<Joined> {
    match step {
        Some(Step::Release) => None,
        Some(Step::Supersede) => {
            Some(Joined { state: DeliveryState::Superseded, reason: Some(NEWER_VERSION), waits_behind: None })
        }
        Some(Step::Hold) | None => {
            Some(Joined { state: DeliveryState::Pending, reason: Some(WAITS_BEHIND), waits_behind: Some(from) })
        }
    }
}

/// The members of a line that are in hand, and those that come before the code `below`; the first one first.
pub(crate) async fn ahead_of(session: &mut Session, key: &LineKey, below: i64) -> Result<Vec<Member>, StoreError> {
    let names = || args![key.0, Arc::clone(&key.1)];
    let (moving, waiting) = (MOVING.rows(session, names()).await?, WAITING.rows(session, names()).await?);
    let mut members = Vec::new();
    for (row, waits) in moving.iter().map(|row| (row, false)).chain(waiting.iter().map(|row| (row, true))) {
        let mut cells = row.cells();
        let (_, _, code, _): (EndpointId, String, _, DeliveryId) =
            (cells.id()?, cells.text()?, cells.int()?, cells.id()?);
        let standing = match waits {
            true => Standing::Waiting,
            false if cells.flag()? => Standing::InHand,
            false => Standing::Scheduled,
        };
        members.push(Member { code, standing });
    }
    members.retain(|member| member.standing == Standing::InHand || member.code < below);
    members.sort_by_key(|member| member.code);
    Ok(members)
}

/// The code of a newer version of `delivery`: an unfinished one of its line, or one that was delivered or failed.
pub(crate) async fn newer(session: &mut Session, delivery: &Delivery) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT code FROM (\
               SELECT code FROM deliveries WHERE endpoint_id = $1 AND line = $2 AND waits_behind IS NULL AND code > $3 \
               UNION ALL \
               SELECT code FROM deliveries WHERE endpoint_id = $1 AND line = $2 AND waits_behind IS NOT NULL AND code > $3 \
               UNION ALL \
               SELECT code FROM deliveries WHERE endpoint_id = $1 AND state IN ('succeeded', 'failed') AND success IN (0, 1) \
               AND owner IS NULL AND code > $3 AND event_type = $4 AND COALESCE(subject, '') = $5 AND NOT EXISTS (SELECT 1 FROM events t \
               WHERE t.tenant_id = deliveries.tenant_id AND t.id = deliveries.event_id AND t.reason = 'test')\
               ) AS newer LIMIT 1";
    let Delivery { endpoint, code, event_type, subject, .. } = delivery;
    let subject = subject.as_deref().unwrap_or_default();
    let line = Ordering::Latest.line(event_type, Some(subject));
    let row = session.row(sql, args![*endpoint, line, *code, event_type, subject]).await?;
    row.map(|row| row.cells().int()).transpose()
}

/// Brings everything unfinished of an endpoint, whose row is held, into the lines of another ordering, or out of any.
pub(crate) async fn reorder(
    session: &mut Session,
    endpoint: EndpointId,
    ordering: Ordering,
    now: Timestamp,
) -> Result<(), StoreError> {
    macro_rules! join {
        ($key:literal) => {
            [
                twins!(
                    "UPDATE deliveries ",
                    sqlite: "INDEXED BY deliveries_owner ",
                    postgres: "",
                    concat!("SET line = ", $key, " WHERE endpoint_id = $1 AND owner IS NOT NULL")
                ),
                concat!(
                    "UPDATE deliveries SET line = ",
                    $key,
                    " WHERE endpoint_id = $1 AND owner IS NULL AND state IN ('pending', 'parked')"
                )
                .into(),
            ]
        };
    }
    let join: [Sql; 2] = match ordering {
        Ordering::Parallel => return dissolve(session, endpoint).await,
        Ordering::Fifo => join!("COALESCE(subject, '')"),
        Ordering::Latest => join!("event_type || '\n' || COALESCE(subject, '')"),
    };
    for sql in join {
        session.execute(sql, args![endpoint]).await?;
    }
    // All that is not in hand waits first; then the model's rule for all lines at once: what is outdated ends, and of
    // each line in which nothing is in hand the first one goes.
    let sql = "UPDATE deliveries SET state = 'pending', waits_behind = COALESCE(due_at, $2), due_at = NULL, reason = CASE \
               WHEN reason IS NULL OR state = 'parked' THEN 'waits_behind' ELSE reason END \
               WHERE endpoint_id = $1 AND line IS NOT NULL AND waits_behind IS NULL AND owner IS NULL";
    session.execute(sql, args![endpoint, now]).await?;
    if ordering == Ordering::Latest {
        let sql = "UPDATE deliveries SET state = 'superseded', reason = 'newer_version', line = NULL, waits_behind = NULL \
                   WHERE endpoint_id = $1 AND waits_behind IS NOT NULL AND (\
                   EXISTS (SELECT 1 FROM deliveries n WHERE n.endpoint_id = $1 AND n.line = deliveries.line AND \
                   n.waits_behind IS NOT NULL AND n.code > deliveries.code) OR \
                   EXISTS (SELECT 1 FROM deliveries n WHERE n.endpoint_id = $1 AND n.line = deliveries.line AND \
                   n.waits_behind IS NULL AND n.code > deliveries.code) OR \
                   EXISTS (SELECT 1 FROM deliveries n WHERE n.endpoint_id = $1 AND n.state = 'succeeded' AND n.success = 1 \
                   AND n.owner IS NULL AND n.code > deliveries.code AND n.event_type = deliveries.event_type AND \
                   COALESCE(n.subject, '') = COALESCE(deliveries.subject, '') AND NOT EXISTS (SELECT 1 FROM events t \
                   WHERE t.tenant_id = n.tenant_id AND t.id = n.event_id AND t.reason = 'test')))";
        session.execute(sql, args![endpoint]).await?;
    }
    let sql = "UPDATE deliveries SET due_at = waits_behind, waits_behind = NULL, reason = \
               CASE WHEN reason = 'waits_behind' THEN NULL ELSE reason END \
               WHERE endpoint_id = $1 AND waits_behind IS NOT NULL AND \
               NOT EXISTS (SELECT 1 FROM deliveries n WHERE n.endpoint_id = $1 AND n.line = deliveries.line AND \
               n.waits_behind IS NULL) AND \
               NOT EXISTS (SELECT 1 FROM deliveries n WHERE n.endpoint_id = $1 AND n.line = deliveries.line AND \
               n.waits_behind IS NOT NULL AND n.code < deliveries.code)";
    session.execute(sql, args![endpoint]).await?;
    Ok(())
}

/// Takes everything of an endpoint out of its lines.
async fn dissolve(session: &mut Session, endpoint: EndpointId) -> Result<(), StoreError> {
    let sql = "UPDATE deliveries SET due_at = waits_behind, waits_behind = NULL, line = NULL, reason = \
               CASE WHEN reason = 'waits_behind' THEN NULL ELSE reason END \
               WHERE endpoint_id = $1 AND waits_behind IS NOT NULL";
    session.execute(sql, args![endpoint]).await?;
    let sql = "UPDATE deliveries SET line = NULL WHERE endpoint_id = $1 AND line IS NOT NULL AND waits_behind IS NULL";
    session.execute(sql, args![endpoint]).await?;
    Ok(())
}
