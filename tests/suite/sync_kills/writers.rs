//! Transactions that write to the source while a case goes on: several statements each, stamped before they commit, held open
//! for a while, some of them rolled back.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use futures_util::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::harness::source::{Kind, Source};

/// Longest that a transaction stays open.
const OPEN_MAX_MS: u64 = 400;
/// Ids of one writer's new rows lie so far apart from another's.
const SPAN: i64 = 1_000_000;

/// Does `work` while sessions write to rows 0 to `ids`; gives how many transactions were committed.
pub(super) async fn beside<T>(source: &Source, ids: i64, work: impl AsyncFnOnce() -> T) -> (T, u32) {
    let (over, committed) = (Cell::new(false), Cell::new(0));
    // SQLite has one writer at a time.
    let writers = if source.kind == Kind::Sqlite { 1 } else { 3 };
    let random = RefCell::new(StdRng::seed_from_u64(11));
    let writing =
        join_all((0..writers).map(|writer| write(source, (writer, writers, ids), &random, &over, &committed)));
    let working = async {
        let done = work().await;
        over.set(true);
        done
    };
    let (done, _) = tokio::join!(working, writing);
    (done, committed.get())
}

async fn write(
    source: &Source,
    (writer, writers, ids): (i64, i64, i64),
    random: &RefCell<StdRng>,
    over: &Cell<bool>,
    committed: &Cell<u32>,
) {
    let mut session = source.session().await;
    let draw = |from: i64, to: i64| random.borrow_mut().random_range(from..to);
    let pause = |most: u64| Duration::from_millis(random.borrow_mut().random_range(0..most));
    let mut next = SPAN * (writer + 1);
    let now = source.now();
    while !over.get() {
        session.run(source.begin()).await.unwrap();
        let mut broken = false;
        for _ in 0..draw(1, 4) {
            // Each writer has rows of its own, so that they wait for nobody for long.
            let some: Vec<_> = (0..12).map(|_| (draw(0, ids / writers) * writers + writer).to_string()).collect();
            let gone = draw(0, ids / writers) * writers + writer;
            let sql = format!(
                "UPDATE t SET v = 'w{next}', S_T_A_M_P_ = {now} WHERE id IN ({}); \
                 UPDATE t SET d = '*', S_T_A_M_P_ = {now} WHERE id = {gone}; \
                 INSERT INTO t VALUES ({next}, 'n{next}', ' ', {now})",
                some.join(",")
            );
            next += 1;
            broken |= session.run(&sql).await.is_err();
            tokio::time::sleep(pause(OPEN_MAX_MS / 4)).await;
        }
        let end = if broken || draw(0, 8) == 0 { "ROLLBACK" } else { "COMMIT" };
        session.run(end).await.unwrap();
        committed.set(committed.get() + u32::from(end == "COMMIT"));
        tokio::time::sleep(pause(150)).await;
    }
}
