//! C1 to C5: the process dies at a point drawn at random, again and again, while the table is written to.

use super::{
    rig::Rig,
    target::{Point, Sent},
};

/// Deaths of one case.
const DEATHS: u32 = 25;

/// A load, then deltas; the process dies at `point` of a page drawn at random in each. `repeats` pages at most come a
/// second time for each death.
async fn dies_at(t: &Rig, point: Point, repeats: u64) -> Result<(), String> {
    t.fill(0, 1_200, |n| (n % 4 != 0).then_some(-900_000 + n)).await;
    let mut died = 0;
    for n in 0..DEATHS {
        t.target.dies(point, 1 + (t.chance.bits() % 5) as u32);
        let before = t.target.repeats();
        let changed = 1_200 + i64::from(n) * 60_000;
        let ids: Vec<i64> = (0..350).map(|_| (t.chance.bits() % 1_500) as i64).collect();
        if t.run().await.is_none() {
            died += 1;
            // What was in flight changes before anybody comes back to it.
            for id in ids.iter().take(20) {
                t.touch(*id, &format!("late{n}"), changed - 3_000).await;
            }
        }
        t.target.lives();
        t.settle().await?;
        let repeated = t.target.repeats() - before;
        if repeated > repeats {
            return Err(format!("{repeated} pages were sent twice after one death"));
        }
        t.minute();
        let list: Vec<_> = ids.iter().map(ToString::to_string).collect();
        let stamp = super::rig::stamp(changed);
        t.sql(&format!("UPDATE t SET v = 'd{n}', s_t_a_m_p_ = {stamp} WHERE id IN ({})", list.join(","))).await;
        let new = 2_000 + i64::from(n) * 10;
        t.fill(new, new + 10, |_| Some(changed + 1)).await;
    }
    t.settle().await?;
    if died < DEATHS / 2 {
        return Err(format!("it died {died} times only"));
    }
    if t.target.open_batches() > 0 {
        return Err("a pass has no end".to_owned());
    }
    println!("{point:?}: {died} deaths, {} rows, {} repeats, lost 0", t.target.rows(), t.target.repeats());
    t.compare().await
}

pub(super) async fn c1_killed_before_a_page_is_sent(t: &Rig) -> Result<(), String> {
    dies_at(t, Point::BeforeSend, 0).await
}

pub(super) async fn c2_killed_before_the_answer(t: &Rig) -> Result<(), String> {
    dies_at(t, Point::AfterSend, 1).await
}

pub(super) async fn c3_killed_before_the_checkpoint(t: &Rig) -> Result<(), String> {
    dies_at(t, Point::AfterAnswer, 1).await
}

pub(super) async fn c4_killed_in_the_initial_load(t: &Rig) -> Result<(), String> {
    t.fill(0, 3_000, |n| (n % 3 != 0).then_some(-n * 1_000)).await;
    let mut died = 0;
    for n in 0..15 {
        let point = [Point::BeforeSend, Point::AfterSend, Point::AfterAnswer][n % 3];
        t.target.dies(point, 2);
        died += u32::from(t.run().await.is_none());
        // Rows that were sent, and rows that were not.
        for id in [1, 700, 1_500, 2_999] {
            t.touch(id, &format!("x{n}"), 500 + n as i64).await;
        }
        t.sql(&format!("DELETE FROM t WHERE id = {}", 2_000 + n)).await;
    }
    t.target.lives();
    t.minute();
    t.settle().await?;
    if died < 10 {
        return Err(format!("it died {died} times only"));
    }
    // What was deleted hard after it was sent is a reconciliation's to find; this stream has none.
    t.compare().await.or_else(|lost| if lost.starts_with("0 lost") { Ok(()) } else { Err(lost) })
}

pub(super) async fn c5_killed_between_the_last_page_and_the_end(t: &Rig) -> Result<(), String> {
    t.fill(0, 250, |n| Some(-n * 1_000)).await;
    for n in 0..i64::from(DEATHS) {
        t.target.dies(Point::BeforeClose, 1);
        if t.run().await.is_some() {
            return Err("it did not die".to_owned());
        }
        // Rows come whose stamps lie in the range of the pass that is about to end.
        t.fill(1_000 + n * 10, 1_003 + n * 10, |k| Some(n * 60_000 - 4_000 + k)).await;
        t.settle().await?;
        t.minute();
        t.touch(n, "again", (n + 1) * 60_000 - 100).await;
    }
    t.settle().await?;
    let ends = t.target.log().iter().filter(|sent| matches!(sent, Sent::Close { .. })).count();
    if ends == 0 || t.target.open_batches() > 0 {
        return Err(format!("{ends} ends, {} passes without one", t.target.open_batches()));
    }
    t.compare().await
}
