//! Passes as they may go: a target that takes, refuses and halves, and a process that dies anywhere.

use proptest::prelude::*;

use super::{
    super::{PageSize, page::cut},
    *,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn clocks(seconds: i64) -> Clocks {
    Clocks { source: at(seconds), engine: at(seconds + 7) }
}

fn row(key: &str) -> Position {
    Position::Row { stamp: None, key: vec![key.to_owned()] }
}

fn read(key: &str, rows: u64) -> Read {
    Read { rows, ..Read::from(row(key)) }
}

#[test]
fn a_track_is_loaded_then_follows_and_is_compared_when_due() {
    let rules = Rules::default();
    let every = Some(Duration::from_secs(3_600));
    let mut checkpoint = Checkpoint::default();
    assert_eq!(checkpoint.next_kind(at(100_000), every, false), Some(PassKind::Initial));
    checkpoint.begin(PassKind::Initial, "t", clocks(100_000), &rules);
    checkpoint.stage([Piece::all(3)], read("c", 3));
    assert_eq!(checkpoint.piece(), Some(Piece { from: 0, to: 3 }));
    checkpoint.acknowledge(3, Some(at(5)), at(1));
    assert_eq!(checkpoint.pass.as_ref().unwrap().position, row("c"));
    assert_eq!(checkpoint.pass.as_ref().unwrap().progress.rows, 3);
    checkpoint.read_out(None);
    checkpoint.finish(true, None, &rules);
    // The load may have taken long: what follows begins before it began.
    assert_eq!(checkpoint.committed_upper, Some(at(100_000)));
    assert_eq!(checkpoint.next_kind(at(103_000), every, false), Some(PassKind::Delta));
    checkpoint.begin(PassKind::Delta, "t", clocks(103_000), &rules);
    let pass = checkpoint.pass.clone().unwrap();
    assert_eq!((pass.lower, pass.upper), (Some(at(99_400)), at(102_995)));
    checkpoint.read_out(None);
    checkpoint.finish(true, None, &rules);
    assert_eq!(checkpoint.committed_upper, Some(at(102_995)), "a quiet table moves on");
    assert_eq!(checkpoint.next_kind(at(103_001), every, true), None);
    assert_eq!(checkpoint.next_kind(at(103_600), every, true), Some(PassKind::Reconcile));
    assert_eq!(checkpoint.next_kind(at(103_600), None, true), None);
}

#[test]
fn a_pass_that_sent_nothing_leaves_its_name_to_the_next_one() {
    let rules = Rules::default();
    let mut checkpoint = Checkpoint { phase: Phase::Delta, committed_upper: Some(at(1_000)), ..Checkpoint::default() };
    let begin = |checkpoint: &mut Checkpoint, n: i64| {
        checkpoint.begin(PassKind::Delta, "t", clocks(1_000 + n), &rules);
        checkpoint.pass.as_ref().unwrap().id.clone()
    };
    let first = begin(&mut checkpoint, 1);
    checkpoint.read_out(None);
    checkpoint.finish(false, None, &rules);
    assert_eq!(begin(&mut checkpoint, 2), first);
    checkpoint.stage([Piece::all(1)], read("a", 1));
    checkpoint.acknowledge(1, None, at(3));
    checkpoint.read_out(None);
    checkpoint.finish(false, None, &rules);
    assert_ne!(begin(&mut checkpoint, 3), first);
}

#[test]
fn a_reconciliation_sweeps_only_where_sums_differ() {
    let rules = Rules::default();
    let mut checkpoint = Checkpoint { phase: Phase::Delta, ..Checkpoint::default() };
    let mut seen = Checksum::default();
    seen.add("a");
    checkpoint.begin(PassKind::Reconcile, "t", clocks(9_000), &rules);
    checkpoint.pass_over(Read { seen, ..read("a", 1) }, at(3));
    let mut alike = checkpoint.clone();
    alike.read_out(Some(seen));
    assert_eq!(alike.pass.unwrap().stage, Stage::Closing);
    seen.add("b");
    checkpoint.read_out(Some(seen));
    assert_eq!(checkpoint.pass.as_ref().unwrap().stage, Stage::Sweeping);
    checkpoint.swept();
    checkpoint.finish(true, None, &rules);
    assert_eq!(checkpoint.reconciled_at, Some(at(9_000)));
    assert_eq!(checkpoint.committed_upper, None, "a comparison says nothing of stamps");
}

#[test]
fn positions_keep_ties_apart() {
    let rules = Rules::default();
    let (a, b) = (vec!["a".to_owned()], vec!["b".to_owned()]);
    let rows = [(Some(at(1)), b.as_slice()), (Some(at(2)), a.as_slice())];
    assert_eq!(position_after(&rows, true, &rules), Some(Position::Row { stamp: Some(at(2)), key: a.clone() }));
    assert_eq!(position_after(&rows, false, &rules), Some(Position::Row { stamp: None, key: a }));
    assert_eq!(position_after(&[], true, &rules), None);
}

fn cursor(text: &str) -> Position {
    Position::Cursor(Cursor(text.as_bytes().to_vec()))
}

/// A pass over a feed whose only page ends at this cursor.
fn fed(checkpoint: &mut Checkpoint, at_cursor: &str, now: i64) {
    let kind = checkpoint.next_kind(at(now), None, false).unwrap();
    checkpoint.begin_feed(kind, "t", at(now));
    checkpoint.stage([Piece::all(2)], Read { last: true, rows: 2, ..Read::from(cursor(at_cursor)) });
    assert_ne!(checkpoint.pass.as_ref().unwrap().position, cursor(at_cursor), "not before it is acknowledged");
    checkpoint.acknowledge(2, None, at(now));
    assert_eq!(checkpoint.pass.as_ref().unwrap().stage, Stage::Closing, "the end of the feed is part of the step");
    checkpoint.finish(false, None, &Rules::default());
}

#[test]
fn a_feed_goes_on_at_the_cursor_of_its_last_pass() {
    let mut checkpoint = Checkpoint::default();
    fed(&mut checkpoint, "a", 100);
    assert_eq!((checkpoint.phase, checkpoint.committed_upper), (Phase::Delta, Some(at(100))));
    checkpoint.begin_feed(PassKind::Delta, "t", at(200));
    let pass = checkpoint.pass.clone().unwrap();
    assert_eq!((pass.position, pass.lower, pass.upper), (cursor("a"), Some(at(100)), at(200)));
    let text = serde_json::to_string(&checkpoint).unwrap();
    assert_eq!(serde_json::from_str::<Checkpoint>(&text).unwrap(), checkpoint);
    // Nothing came: the cursor stays.
    checkpoint.pass_over(Read::from(cursor("a")), at(200));
    checkpoint.read_out(None);
    checkpoint.finish(false, None, &Rules::default());
    assert_eq!(checkpoint.cursor, Some(Cursor(b"a".to_vec())));
}

#[test]
fn a_feed_that_is_set_back_or_begun_anew_has_no_cursor() {
    let mut fresh = Checkpoint::default();
    fed(&mut fresh, "a", 100);
    let mut under_way = fresh.clone();
    under_way.begin_feed(PassKind::Delta, "t", at(200));
    for checkpoint in [&fresh, &under_way] {
        let mut back = checkpoint.clone();
        back.rewind(at(50));
        assert_eq!((back.cursor.clone(), back.pass.clone(), back.phase), (None, None, Phase::Initial));
        back.begin_feed(PassKind::Initial, "t", at(300));
        assert_eq!(back.pass.unwrap().position, Position::Start);
        let mut anew = checkpoint.clone();
        anew.begin_epoch();
        assert_eq!((anew.cursor, anew.epoch), (None, 1));
    }
    // Other columns: what is there has other records, whatever the plugin has handed over.
    under_way.reload();
    under_way.finish(false, None, &Rules::default());
    assert_eq!((under_way.cursor, under_way.phase), (None, Phase::Initial));
    let mut table = Checkpoint { committed_upper: Some(at(1)), ..Checkpoint::default() };
    table.rewind(at(0));
    assert_eq!(table.phase, Phase::Delta);
}

/// What may become of a piece that is sent.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Taken,
    Repeat,
    Split,
    Dies,
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let one = prop_oneof![
        4 => Just(Answer::Taken),
        1 => Just(Answer::Repeat),
        2 => Just(Answer::Split),
        1 => Just(Answer::Dies)
    ];
    prop::collection::vec(one, 0..200)
}

proptest! {
    /// Whatever the target answers and wherever the process dies, every change is taken once or set aside alone, numbers
    /// have no gap, the same number always carries the same changes once they were taken, and the counts are true.
    #[test]
    fn pages_are_numbered_without_a_gap_and_nothing_is_left_out(
        sizes in prop::collection::vec(1_u32..40, 1..6),
        rows in 1_u32..60,
        answers in answers(),
    ) {
        let rules = Rules::default();
        let mut written = Checkpoint::default();
        written.begin(PassKind::Initial, "t", clocks(50), &rules);
        let (mut answers, mut taken, mut aside) = (answers.into_iter(), Vec::new(), Vec::new());
        for (n, size) in sizes.iter().enumerate() {
            let pieces = cut((0..*size).map(|_| 1), PageSize { rows, bytes: 1_000 });
            written.stage(pieces, read(&n.to_string(), u64::from(*size)));
            while let Some(piece) = written.piece() {
                let mut memory: Checkpoint = serde_json::from_str(&serde_json::to_string(&written).unwrap()).unwrap();
                prop_assert_eq!(&memory, &written);
                let number = memory.pass.as_ref().unwrap().next_number();
                match answers.next().unwrap_or(Answer::Taken) {
                    Answer::Taken => {
                        taken.push((number, n, piece));
                        memory.acknowledge(piece.len().into(), None, at(1));
                        written = memory;
                    }
                    // The target took it, the answer was lost: the same again.
                    Answer::Repeat | Answer::Dies => prop_assert_eq!(written.piece(), Some(piece)),
                    Answer::Split => {
                        if !memory.halve() {
                            aside.push((n, piece));
                            memory.set_aside(at(1));
                        }
                        written = memory;
                    }
                }
            }
            prop_assert_eq!(&written.pass.as_ref().unwrap().position, &row(&n.to_string()));
        }
        let numbers: Vec<u32> = taken.iter().map(|(number, ..)| *number).collect();
        prop_assert_eq!(&numbers, &(1..=u32::try_from(taken.len()).unwrap()).collect::<Vec<_>>());
        let pass = written.pass.as_ref().unwrap();
        prop_assert_eq!(pass.progress.rows, sizes.iter().map(|size| u64::from(*size)).sum::<u64>());
        prop_assert_eq!(pass.requests, u64::try_from(taken.len()).unwrap());
        prop_assert_eq!(pass.records, taken.iter().map(|(.., piece)| u64::from(piece.len())).sum::<u64>());
        for (n, size) in sizes.iter().enumerate() {
            let pieces = taken.iter().filter(|(_, page, _)| *page == n).map(|(.., piece)| *piece);
            let alone = aside.iter().filter(|(page, _)| *page == n).map(|(_, piece)| *piece);
            let mut covered: Vec<u32> = pieces.chain(alone).flat_map(|piece| piece.from..piece.to).collect();
            covered.sort_unstable();
            prop_assert_eq!(covered, (0..*size).collect::<Vec<_>>());
        }
        prop_assert!(aside.iter().all(|(_, piece)| piece.len() == 1));
    }
}
