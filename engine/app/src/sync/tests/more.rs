//! What else a run of a sync job does.

use std::time::Duration;

use engate_model::{run::RunEnd, sync::SyncJob};
use tokio_util::sync::CancellationToken;

use super::{
    rig::{Kind, Rig, at, stamp, with_settings},
    target::Sent,
};

fn expect(is: bool, what: &str) -> Result<(), String> {
    if is { Ok(()) } else { Err(what.to_owned()) }
}

pub(super) async fn rows_that_are_rejected_one_by_one_are_set_aside_and_replayed(t: &Rig) -> Result<(), String> {
    t.fill(0, 300, |n| Some(-n * 100)).await;
    t.sql("UPDATE t SET v = 'BAD' WHERE id IN (5, 150)").await;
    t.target.refuses(Some("BAD"), true);
    t.settle().await?;
    t.target.no_violations()?;
    expect(t.target.records().len() == 298, "the others are there")?;
    t.target.refuses(None, false);
    let held = t.store.quarantine_list(t.tenant, t.job, None, 10).await.map_err(|error| error.to_string())?;
    let actor = engate_store::Actor::system(at(0), 5);
    for one in &held.items {
        let replayed = t.store.quarantine_replay(&actor, t.tenant, t.job, one.id).await;
        replayed.map_err(|error| error.to_string())?;
    }
    t.sql("DELETE FROM t WHERE id = 150").await;
    t.settle().await?;
    let left = t.store.quarantine_count(t.track()).await.map_err(|error| error.to_string())?;
    expect(left == 0, "the quarantine is empty")?;
    t.compare().await
}

pub(super) async fn pages_that_are_too_large_are_halved_and_the_next_are_smaller(t: &Rig) -> Result<(), String> {
    t.fill(0, 1_000, |n| Some(-n * 100)).await;
    t.target.takes_at_most(30);
    t.settle().await?;
    let sizes: Vec<_> = t.target.log().iter().filter_map(size).collect();
    let refused = sizes.iter().filter(|size| **size > 30).count();
    expect(refused < 12, &format!("{refused} pages were too large"))?;
    t.compare().await
}

fn size(sent: &Sent) -> Option<usize> {
    match sent {
        Sent::Page { changes, .. } => Some(changes.len()),
        Sent::Open | Sent::Close { .. } => None,
    }
}

pub(super) async fn a_full_quarantine_stops_the_stream(t: &Rig) -> Result<(), String> {
    t.fill(0, 300, |n| Some(-n * 100)).await;
    t.target.refuses(Some("v"), false);
    let few = SyncJob { quarantine_max: 3, ..t.settings.clone() };
    let rig = with_settings(t, few);
    for _ in 0..2 {
        match rig.run().await {
            Some(RunEnd::Failed(failure)) => expect(failure.code == "quarantine_full", &failure.message)?,
            other => return Err(format!("{other:?}")),
        }
    }
    let held = t.store.quarantine_count(t.track()).await.map_err(|error| error.to_string())?;
    expect(held == 4, &format!("{held} are held"))
}

pub(super) async fn streams_fail_alone(t: &Rig) -> Result<(), String> {
    t.fill(0, 300, |n| Some(-n * 100)).await;
    let mut two = t.settings.clone();
    let mut broken = two.streams[0].clone();
    broken.name = "broken".to_owned();
    broken.table = "nowhere".to_owned();
    two.streams.insert(0, broken);
    match with_settings(t, two).run().await {
        Some(RunEnd::Failed(failure)) => {
            expect(failure.code == "source_no_table" && failure.message.contains("stream broken"), &failure.message)?;
        }
        other => return Err(format!("{other:?}")),
    }
    t.compare().await
}

pub(super) async fn a_stopped_run_goes_on_where_it_was(t: &Rig) -> Result<(), String> {
    t.fill(0, 1_000, |n| Some(-n * 100)).await;
    for _ in 0..5 {
        let stop = CancellationToken::new();
        let stopped = async {
            while t.target.log().len() % 3 != 2 {
                tokio::task::yield_now().await;
            }
            stop.cancel();
            std::future::pending::<()>().await;
        };
        let fence = t.next_fence();
        tokio::select! {
            end = t.run_as(fence, &stop) => expect(end == Some(RunEnd::Stopped) || end == Some(RunEnd::Idle), "it ends well")?,
            () = stopped => {}
        }
    }
    t.settle().await?;
    expect(t.target.repeats() == 0, "no page is sent twice")?;
    expect(t.target.rows() == 1_000, "no row either")?;
    t.compare().await
}

pub(super) async fn a_long_load_that_is_written_to_misses_nothing(t: &Rig) -> Result<(), String> {
    t.fill(0, 800, |n| (n % 2 == 0).then_some(-3_600_000 + n)).await;
    // Twenty minutes pass after the third page; rows are written all that time, behind where the load is.
    let sql: Vec<_> = (0..20_i64)
        .map(|n| format!("UPDATE t SET v = 'meanwhile', s_t_a_m_p_ = {} WHERE id = {n}", stamp(n * 60_000 + 1)))
        .collect();
    t.source.when_pages_were_read((3, Duration::from_secs(1_200), sql.join(";")));
    t.settle().await?;
    t.minute();
    t.settle().await?;
    t.compare().await
}

pub(super) async fn p26_a_change_of_one_column_sends_the_whole_record(t: &Rig) -> Result<(), String> {
    let columns: Vec<_> = (1..=36).map(|n| format!("ALTER TABLE t ADD COLUMN c{n} int DEFAULT {n}")).collect();
    t.sql(&columns.join(";")).await;
    t.fill_columns(3).await;
    t.settle().await?;
    t.minute();
    t.sql(&format!("UPDATE t SET c20 = 999, s_t_a_m_p_ = {} WHERE id = 1", stamp(30_000))).await;
    t.settle().await?;
    let last = t.target.log().into_iter().rev().find_map(|sent| match sent {
        Sent::Page { changes, .. } => Some(changes),
        _ => None,
    });
    let changes = last.unwrap_or_default();
    expect(changes.len() == 1, "one record is sent")?;
    let record: serde_json::Value = serde_json::from_str(&changes[0].data).map_err(|error| error.to_string())?;
    expect(record.as_object().is_some_and(|record| record.len() == 40), "with all its forty columns")?;
    t.compare().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p30_a_row_made_anew_under_its_uuid_is_one_record() {
    let Some(rig) = Rig::new(Kind::Sqlite).await else { return };
    made_anew(&rig).await.unwrap();
    rig.clean().await;
}

async fn made_anew(t: &Rig) -> Result<(), String> {
    t.sql("CREATE TABLE u (recno int NOT NULL PRIMARY KEY, id text NOT NULL, v text, d char(1), s_t_a_m_p_ text)")
        .await;
    t.sql(&format!(
        "INSERT INTO u VALUES (1, 'uuid-a', 'old', ' ', {}), (2, 'uuid-b', 'x', ' ', {})",
        stamp(-9),
        stamp(-8)
    ))
    .await;
    let mut settings = t.settings.clone();
    settings.streams[0].table = "u".to_owned();
    let rig = with_settings(t, settings);
    rig.settle().await?;
    t.minute();
    // Marked as deleted under its old number, there under a new one.
    t.sql(&format!(
        "UPDATE u SET d = '*', s_t_a_m_p_ = {} WHERE recno = 1; INSERT INTO u VALUES (3, 'uuid-a', 'new', ' ', {})",
        stamp(30_000),
        stamp(29_000)
    ))
    .await;
    for _ in 0..3 {
        rig.settle().await?;
        t.source.clock.pass(Duration::from_secs(30));
    }
    let records = t.target.records();
    expect(records.len() == 2 && records["uuid-a"].contains("\"new\""), &format!("{records:?}"))?;
    expect(t.target.rows() == 3, "and it was sent once")
}
