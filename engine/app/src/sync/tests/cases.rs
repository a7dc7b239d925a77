//! C6 to C16.

use std::time::Duration;

use engate_model::{run::RunEnd, sync::RowHash};
use engate_store::PageChange;

use super::{
    rig::{Kind, Rig, at, stamp},
    target::{Mood, Sent},
};

fn expect(is: bool, what: &str) -> Result<(), String> {
    if is { Ok(()) } else { Err(what.to_owned()) }
}

/// Loads the table and ends a first delta.
async fn loaded(t: &Rig) -> Result<(), String> {
    t.settle().await?;
    t.compare().await
}

pub(super) async fn c6_a_thousand_rows_of_one_stamp(t: &Rig) -> Result<(), String> {
    t.fill(0, 1_500, |n| Some(-3_600_000 + n)).await;
    loaded(t).await?;
    t.minute();
    // A thousand in one tick, and before and behind it others whose keys are in the opposite order.
    t.sql(&format!("UPDATE t SET v = 'tie', s_t_a_m_p_ = {} WHERE id < 1000", stamp(30_000))).await;
    let others: Vec<_> = (1_000..1_500)
        .map(|n| format!("UPDATE t SET v = 'o', s_t_a_m_p_ = {} WHERE id = {n}", stamp(29_000 + (1_500 - n) * 4)))
        .collect();
    t.sql(&others.join(";")).await;
    t.settle().await?;
    t.compare().await
}

pub(super) async fn c7_a_transaction_is_open_over_three_passes(t: &Rig) -> Result<(), String> {
    t.fill(0, 300, |n| Some(-3_600_000 + n)).await;
    loaded(t).await?;
    let mut writer = t.source.writer().await;
    writer.run(if t.kind == Kind::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }).await;
    writer.run(&format!("UPDATE t SET v = 'slow', s_t_a_m_p_ = {} WHERE id IN (7, 8, 9)", stamp(1_000))).await;
    writer.run(&format!("INSERT INTO t VALUES (5000, 'slow', ' ', {})", stamp(1_001))).await;
    for n in 0..3_i64 {
        t.source.clock.pass(Duration::from_secs(20));
        if t.kind != Kind::Sqlite {
            t.touch(100 + n, "quick", 20_000 * n + 5_000).await;
        }
        t.settle().await?;
    }
    let before = t.checkpoint().await.committed_upper;
    expect(before > Some(at(1_001)), "the range that counts as covered is beyond the transaction")?;
    writer.run("COMMIT").await;
    t.settle().await?;
    t.compare().await
}

pub(super) async fn c8_the_clocks_of_source_and_engine_differ(t: &Rig) -> Result<(), String> {
    t.fill(0, 300, |n| Some(-3_600_000 + n)).await;
    for (n, apart) in [(0_i64, -300_000), (1, 300_000), (2, -300_000), (3, 0)] {
        t.engine_clock.set(at(n * 60_000 + apart));
        t.settle().await?;
        t.compare().await?;
        t.source.clock.pass(Duration::from_secs(60));
        t.touch(n, "x", (n + 1) * 60_000 - 1).await;
        t.touch(50 + n, "y", n * 60_000 + 1).await;
    }
    // The source's own clock is set back by five minutes.
    t.settle().await?;
    t.source.clock.set(at(240_000 - 300_000));
    t.touch(99, "earlier", -60_500).await;
    t.settle().await?;
    t.touch(98, "earlier", -60_400).await;
    t.source.clock.pass(Duration::from_secs(10));
    t.settle().await?;
    t.compare().await
}

pub(super) async fn c9_rows_from_before_there_were_stamps(t: &Rig) -> Result<(), String> {
    t.fill(0, 700, |n| (n % 2 == 0).then_some(-n * 60_000)).await;
    t.fill(700, 1_400, |_| None).await;
    loaded(t).await?;
    t.minute();
    // Touched for the first time.
    for id in [1, 3, 701] {
        t.touch(id, "first", 30_000).await;
    }
    t.settle().await?;
    t.compare().await
}

pub(super) async fn c10_deletes_soft_and_hard_and_a_key_that_comes_back(t: &Rig) -> Result<(), String> {
    t.fill(0, 1_000, |n| Some(-3_600_000 + n)).await;
    t.sql("UPDATE t SET d = '*' WHERE id >= 990").await;
    loaded(t).await?;
    expect(t.target.rows() == 990, "what was deleted before is not sent")?;
    t.minute();
    t.sql(&format!("UPDATE t SET d = '*', s_t_a_m_p_ = {} WHERE id IN (1, 2)", stamp(30_000))).await;
    t.settle().await?;
    t.compare().await?;
    // Marked, and unmarked again with what it held before.
    t.minute();
    t.sql(&format!("UPDATE t SET d = ' ', s_t_a_m_p_ = {} WHERE id = 1", stamp(90_000))).await;
    t.settle().await?;
    t.compare().await?;
    // Gone without a mark, and made anew under the same key.
    t.minute();
    t.sql(&format!("DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (3, 'anew', ' ', {})", stamp(150_000))).await;
    t.settle().await?;
    t.compare().await?;
    hard_deletes(t).await
}

/// Rows that are gone without a mark are found by comparing keys, and by nothing else.
async fn hard_deletes(t: &Rig) -> Result<(), String> {
    let mut rig = t.settings.clone();
    rig.streams[0].reconcile_ms = Some(1_000);
    rig.streams[0].name = "r".to_owned();
    let target = &t.target;
    let other = super::rig::with_settings(t, rig);
    // Another stream of the job to the same target: its ledger has every row.
    other.settle().await?;
    t.sql("DELETE FROM t WHERE id >= 100 AND id < 350").await;
    t.sql("UPDATE t SET v = 'unstamped' WHERE id = 400").await;
    t.minute();
    other.settle().await?;
    t.compare().await?;
    let before = target.log().len();
    t.minute();
    other.settle().await?;
    expect(target.log().len() == before, "what is alike is not sent")?;
    t.sql("DELETE FROM t WHERE id = 500").await;
    t.fill(500, 501, |_| Some(400_000)).await;
    t.sql("DELETE FROM t WHERE id = 501").await;
    t.source.clock.set(at(500_000));
    other.settle().await?;
    t.compare().await
}

pub(super) async fn c11_the_target_fails_at_random(t: &Rig) -> Result<(), String> {
    t.fill(0, 2_000, |n| (n % 3 != 0).then_some(-n * 100)).await;
    t.target.moods([Mood::Down]);
    expect(matches!(t.run().await, Some(RunEnd::Failed(_))), "a target that is down fails the run")?;
    let random = |t: &Rig| {
        let mood = |_| match t.chance.bits() % 15 {
            0 => Mood::Answers(500),
            1 => Mood::Answers(429),
            2 => Mood::TimesOut,
            _ => Mood::Takes,
        };
        t.target.moods((0..400).map(mood));
    };
    random(t);
    t.settle().await?;
    t.compare().await?;
    for n in 0..5_i64 {
        t.minute();
        t.sql(&format!("UPDATE t SET v = 'c{n}', s_t_a_m_p_ = {} WHERE id < 600", stamp(n * 60_000 + 40_000))).await;
        random(t);
        t.settle().await?;
        t.compare().await?;
    }
    expect(t.target.open_batches() == 0, "a pass has no end")
}

pub(super) async fn c12_a_lease_is_stolen_in_mid_page(t: &Rig) -> Result<(), String> {
    t.fill(0, 600, |n| Some(-n * 100)).await;
    for n in 0..20_i64 {
        // One node's run stands still in mid-page; another takes the job over and goes on.
        t.target.dies(super::target::Point::AfterSend, 1 + (n % 3) as u32);
        expect(t.run().await.is_none(), "the first run stands still")?;
        let stale = t.store.track_list(t.tenant, t.job).await.map_err(|error| error.to_string())?.remove(0);
        t.settle().await?;
        let late = engate_store::SyncCommit {
            from: &stale,
            checkpoint: &stale.checkpoint,
            page: PageChange::Clear,
            sent: vec![engate_store::Sent {
                key: "stale".into(),
                hash: RowHash([0; 16]),
                stamp: None,
                state: engate_store::SentState::There,
            }],
            gone: Vec::new(),
            refused: Vec::new(),
            forget_before: None,
            plugins: Vec::new(),
            remember: false,
            now: at(0),
        };
        let other = t.reopen().await;
        let refused = other.sync_commit(late).await;
        other.close().await;
        expect(refused.is_err_and(|error| error.code() == "stale"), "the late checkpoint is refused")?;
        expect(
            t.store.sent_find(t.track(), 0, &["stale"]).await.is_ok_and(|found| found.is_empty()),
            "nothing of it is written",
        )?;
        t.compare().await?;
        t.minute();
        t.sql(&format!("UPDATE t SET v = 'l{n}', s_t_a_m_p_ = {} WHERE id < 350", stamp(n * 60_000 + 50_000))).await;
    }
    // A run whose number is behind does not begin.
    let end = t.run_as(1, &tokio_util::sync::CancellationToken::new()).await;
    match end {
        Some(RunEnd::Failed(failure)) => expect(failure.code == "lease_lost", &failure.code),
        other => Err(format!("{other:?}")),
    }
}

pub(super) async fn c13_one_bad_row_in_ten_thousand(t: &Rig) -> Result<(), String> {
    t.fill(0, 10_000, |n| Some(-n * 100)).await;
    t.sql("UPDATE t SET v = 'POISON' WHERE id = 4321").await;
    t.target.refuses(Some("POISON"), false);
    t.settle().await?;
    expect(t.target.records().len() == 9_999, "all others arrive")?;
    t.target.no_violations()?;
    expect(t.target.open_batches() == 0, "a pass has no end")?;
    let page = t.store.quarantine_list(t.tenant, t.job, None, 10).await.map_err(|error| error.to_string())?;
    expect(page.total == 1 && page.items[0].key == "4321", "it is in quarantine")?;
    expect(t.counts().quarantined == 1, "and counted")?;
    // It is not sent again as it is.
    let before = t.target.log().len();
    t.minute();
    t.settle().await?;
    expect(t.target.log().len() == before, "what was refused is not sent again")?;
    // Mended, it arrives and leaves the quarantine.
    t.touch(4_321, "mended", 50_000).await;
    t.settle().await?;
    let left = t.store.quarantine_count(t.track()).await.map_err(|error| error.to_string())?;
    expect(left == 0, "the quarantine is empty")?;
    t.compare().await
}

pub(super) async fn c14_columns_are_added_widened_and_dropped(t: &Rig) -> Result<(), String> {
    t.fill(0, 450, |n| Some(-n * 100)).await;
    // Added while the load is under way.
    t.source.when_pages_were_read((2, Duration::ZERO, "ALTER TABLE t ADD COLUMN extra int DEFAULT 5".to_owned()));
    t.settle().await?;
    t.minute();
    t.settle().await?;
    t.compare().await?;
    expect(t.target.opened().len() == 2, "the target was prepared again")?;
    expect(t.target.records().values().all(|data| data.contains("\"extra\":5")), "every record has the column")?;
    if t.kind == Kind::Postgres {
        t.sql("ALTER TABLE t ALTER COLUMN v TYPE varchar(80), ALTER COLUMN extra TYPE bigint").await;
        t.touch(7, &"w".repeat(60), 61_000).await;
        t.minute();
        t.settle().await?;
        t.compare().await?;
        expect(t.target.opened().len() == 3, "and once more")?;
        t.touch(7, "narrow", 121_000).await;
        t.sql("ALTER TABLE t ALTER COLUMN v TYPE varchar(20)").await;
        t.minute();
        expect(conflict(t).await, "a narrower column stops the stream")?;
        t.sql("ALTER TABLE t ALTER COLUMN v TYPE varchar(80)").await;
        t.settle().await?;
    }
    t.sql("ALTER TABLE t DROP COLUMN extra").await;
    t.touch(9, "after", 110_000).await;
    t.minute();
    expect(conflict(t).await, "a dropped column stops the stream")?;
    let actor = engate_store::Actor::system(at(0), 77);
    t.store.track_approve(&actor, t.tenant, t.track()).await.map_err(|error| error.to_string())?;
    t.settle().await?;
    expect(t.target.records()["9"].contains("after"), "approved, it goes on")?;
    let anew = t.store.track_begin_epoch(&actor, t.tenant, t.track()).await;
    anew.map_err(|error| error.to_string())?;
    t.settle().await?;
    t.compare().await
}

async fn conflict(t: &Rig) -> bool {
    matches!(t.run().await, Some(RunEnd::Failed(failure)) if failure.code == "schema_conflict" && !failure.retryable)
}

pub(super) async fn c15_a_hundred_passes_without_a_change_send_nothing(t: &Rig) -> Result<(), String> {
    t.fill(0, 500, |n| Some(-n * 100)).await;
    t.settle().await?;
    let before = t.target.log().len();
    let requests = t.counts().requests;
    for _ in 0..100 {
        t.source.clock.pass(Duration::from_secs(3));
        t.settle().await?;
    }
    expect(t.target.log().len() == before && t.counts().requests == requests, "something was sent")?;
    expect(t.checkpoint().await.committed_upper > Some(at(280_000)), "a quiet table moves on")?;
    t.compare().await
}

pub(super) async fn c16_a_row_changes_while_its_page_is_in_flight(t: &Rig) -> Result<(), String> {
    t.fill(0, 500, |n| Some(-n * 100)).await;
    t.settle().await?;
    for n in 0..10_i64 {
        t.minute();
        let base = n * 60_000;
        t.sql(&format!("UPDATE t SET v = 'a{n}', s_t_a_m_p_ = {} WHERE id < 300", stamp(base + 40_000))).await;
        // While its page is read, sent or settled: changed again, within the same range and behind it.
        let sql = format!(
            "UPDATE t SET v = 'b{n}', s_t_a_m_p_ = {} WHERE id < 50; UPDATE t SET v = 'c{n}', s_t_a_m_p_ = {} WHERE id = 60; \
             UPDATE t SET v = 'v60', s_t_a_m_p_ = {} WHERE id = 61",
            stamp(base + 50_000),
            stamp(base + 61_000),
            stamp(base + 50_001)
        );
        let read = t.source.pages.load(std::sync::atomic::Ordering::Relaxed);
        t.source.when_pages_were_read((read + 1 + n.unsigned_abs() % 3, Duration::ZERO, sql));
        t.settle().await?;
        t.source.clock.pass(Duration::from_secs(2));
        t.settle().await?;
        t.compare().await?;
        t.source.clock.set(at(base + 60_000));
    }
    let pages = t.target.log().iter().filter(|sent| matches!(sent, Sent::Page { .. })).count();
    expect(pages > 20, "pages were sent")
}
