//! Whose turn it is among deliveries that must keep an order. An endpoint that is not [`Ordering::Parallel`] has lines:
//! the unfinished deliveries of one key, by their running number. At most one of a line is under way; what waits for
//! another one has no due time of its own until [`settle`] lets it go.

use serde::{Deserialize, Serialize};

/// In which order an endpoint's deliveries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// As they come, several at once.
    #[default]
    Parallel,
    /// Per subject one after the other: the next waits until the one before has finished, its retries included.
    Fifo,
    /// Per event type and subject the newest only: it supersedes what waits, and goes once nothing older is under way.
    Latest,
}

impl Ordering {
    /// Every ordering.
    pub const ALL: [Self; 3] = [Self::Parallel, Self::Fifo, Self::Latest];

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Parallel => "parallel",
            Self::Fifo => "fifo",
            Self::Latest => "latest",
        }
    }

    /// Reads a code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ordering| ordering.code() == code)
    }

    /// The key of the line that a delivery joins; none under [`Ordering::Parallel`]. Events without a subject share one.
    /// The line break is in no event type's key and in no subject.
    pub fn line(self, event_type: &str, subject: Option<&str>) -> Option<String> {
        let subject = subject.unwrap_or_default();
        match self {
            Self::Parallel => None,
            Self::Fifo => Some(subject.to_owned()),
            Self::Latest => Some(format!("{event_type}\n{subject}")),
        }
    }
}

/// Where a member of a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// A node has it: an attempt is under way, or about to be.
    InHand,
    /// It goes by itself when it is due, or is parked.
    Scheduled,
    /// It waits for another one of its line.
    Waiting,
}

/// An unfinished delivery of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its running number; the highest is the newest.
    pub code: i64,
    /// Where it stands.
    pub standing: Standing,
}

/// What is to be done with a member of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It ends: a newer version goes instead.
    Supersede,
    /// It may go.
    Release,
    /// It must wait for its turn.
    Hold,
}

/// What follows for the members of one line, whoever joined or left it. What is in hand is never touched: how it ended
/// is written first, then its line is settled again.
///
/// Afterwards at most one member moves (is in hand or scheduled), unless several were in hand before; and one does
/// move where there is any.
pub fn settle(ordering: Ordering, members: &[Member]) -> Vec<(i64, Step)> {
    let in_hand = members.iter().any(|member| member.standing == Standing::InHand);
    let codes = members.iter().map(|member| member.code);
    let next = match ordering {
        Ordering::Parallel => None,
        Ordering::Fifo => codes.min(),
        Ordering::Latest => codes.max(),
    };
    let step = |member: &Member| match (member.standing, ordering) {
        (Standing::InHand, _) => None,
        (Standing::Waiting, Ordering::Parallel) => Some(Step::Release),
        (Standing::Scheduled, Ordering::Parallel) => None,
        (_, Ordering::Latest) if next != Some(member.code) => Some(Step::Supersede),
        (Standing::Waiting, _) => (next == Some(member.code) && !in_hand).then_some(Step::Release),
        (Standing::Scheduled, _) => (next != Some(member.code) || in_hand).then_some(Step::Hold),
    };
    members.iter().filter_map(|member| Some((member.code, step(member)?))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use Standing::{InHand, Scheduled, Waiting};

    fn settled(ordering: Ordering, members: &[(i64, Standing)]) -> Vec<(i64, Step)> {
        let members: Vec<_> =
            members.iter().map(|(code, standing)| Member { code: *code, standing: *standing }).collect();
        settle(ordering, &members)
    }

    #[test]
    fn in_a_fifo_line_the_lowest_goes_and_the_rest_waits() {
        assert_eq!(settled(Ordering::Fifo, &[(7, Waiting)]), [(7, Step::Release)]);
        assert_eq!(settled(Ordering::Fifo, &[(7, InHand), (8, Waiting)]), []);
        assert_eq!(settled(Ordering::Fifo, &[(7, Scheduled), (8, Waiting)]), [], "a retry of 7 comes first");
        assert_eq!(settled(Ordering::Fifo, &[(8, Waiting), (9, Waiting)]), [(8, Step::Release)]);
        assert_eq!(
            settled(Ordering::Fifo, &[(5, Waiting), (9, Scheduled)]),
            [(5, Step::Release), (9, Step::Hold)],
            "one that someone tries again goes before a later one's retry"
        );
    }

    #[test]
    fn o21_in_a_latest_line_the_newest_supersedes_what_waits_and_waits_for_what_is_under_way() {
        assert_eq!(
            settled(Ordering::Latest, &[(1, Scheduled), (2, Waiting)]),
            [(1, Step::Supersede), (2, Step::Release)]
        );
        assert_eq!(settled(Ordering::Latest, &[(1, InHand), (2, Waiting), (3, Waiting)]), [(2, Step::Supersede)]);
        assert_eq!(settled(Ordering::Latest, &[(3, Scheduled)]), []);
        assert_eq!(
            settled(Ordering::Latest, &[(2, Waiting), (3, InHand)]),
            [(2, Step::Supersede)],
            "an older one that comes late does not go at all"
        );
    }

    #[test]
    fn a_line_is_named_by_what_keeps_its_order() {
        assert_eq!(Ordering::Parallel.line("order.paid", Some("7")), None);
        assert_eq!(Ordering::Fifo.line("order.paid", Some("7")), Ordering::Fifo.line("order.created", Some("7")));
        assert_ne!(Ordering::Latest.line("order.paid", Some("7")), Ordering::Latest.line("order.created", Some("7")));
        assert_eq!(Ordering::Latest.line("P1", None), Ordering::Latest.line("P1", Some("")));
    }

    /// What may happen to a line.
    #[derive(Debug, Clone, Copy)]
    enum Happening {
        Arrive,
        /// The first that is due is taken in hand.
        Claim,
        Succeed,
        /// An attempt fails; another is due later.
        Retry,
        /// An attempt fails and was the last.
        GiveUp,
        /// The node dies: what was in hand is due again.
        Die,
        Cancel(usize),
    }

    fn happenings() -> impl Strategy<Value = Vec<Happening>> {
        use Happening::{Arrive, Cancel, Claim, Die, GiveUp, Retry, Succeed};
        let one = prop_oneof![
            4 => Just(Arrive),
            5 => Just(Claim),
            2 => Just(Succeed),
            3 => Just(Retry),
            1 => Just(GiveUp),
            1 => Just(Die),
            1 => (0_usize..4).prop_map(Cancel),
        ];
        prop::collection::vec(one, 1..80)
    }

    /// A line as a store keeps it, and what became known of it from outside.
    struct Line {
        ordering: Ordering,
        next: i64,
        members: BTreeMap<i64, Standing>,
        sent: Vec<i64>,
        superseded: Vec<i64>,
    }

    impl Line {
        fn in_hand(&self) -> Option<i64> {
            self.members.iter().find(|(_, standing)| **standing == InHand).map(|(code, _)| *code)
        }

        fn happen(&mut self, what: Happening) {
            match (what, self.in_hand()) {
                (Happening::Arrive, _) => {
                    self.members.insert(self.next, Waiting);
                    self.next += 1;
                }
                (Happening::Claim, _) => {
                    if let Some((code, standing)) = self.members.iter_mut().find(|(_, s)| **s == Scheduled) {
                        *standing = InHand;
                        self.sent.push(*code);
                    }
                }
                (Happening::Succeed | Happening::GiveUp, Some(code)) => drop(self.members.remove(&code)),
                (Happening::Retry | Happening::Die, Some(code)) => drop(self.members.insert(code, Scheduled)),
                (Happening::Cancel(n), _) => {
                    let code = self.members.iter().filter(|(_, s)| **s != InHand).map(|(code, _)| *code).nth(n);
                    code.map(|code| self.members.remove(&code));
                }
                (_, None) => {}
            }
            self.settle();
        }

        fn members(&self) -> Vec<Member> {
            self.members.iter().map(|(code, standing)| Member { code: *code, standing: *standing }).collect()
        }

        fn settle(&mut self) {
            for (code, step) in settle(self.ordering, &self.members()) {
                match step {
                    Step::Supersede => {
                        assert_eq!(self.ordering, Ordering::Latest);
                        self.members.remove(&code);
                        self.superseded.push(code);
                    }
                    Step::Release => drop(self.members.insert(code, Scheduled)),
                    Step::Hold => drop(self.members.insert(code, Waiting)),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn o21_whatever_happens_one_of_a_line_moves_and_nothing_older_follows_something_newer(
            latest in any::<bool>(), happenings in happenings(),
        ) {
            let ordering = if latest { Ordering::Latest } else { Ordering::Fifo };
            let mut line =
                Line { ordering, next: 1, members: BTreeMap::new(), sent: Vec::new(), superseded: Vec::new() };
            for what in happenings {
                line.happen(what);
                let moving = line.members.values().filter(|standing| **standing != Waiting).count();
                prop_assert_eq!(moving, usize::from(!line.members.is_empty()), "one moves, unless none is left");
                prop_assert!(settle(ordering, &line.members()).is_empty(), "once settled, a line is settled");
                if latest {
                    prop_assert!(line.members.len() <= 2, "one under way, one waiting");
                }
            }
            prop_assert!(line.sent.is_sorted(), "{:?}", line.sent);
            prop_assert!(line.superseded.iter().all(|old| *old < line.next - 1), "the newest is never superseded");
        }

        #[test]
        fn what_was_never_in_a_line_is_brought_to_order(
            latest in any::<bool>(), standings in prop::collection::vec(0_u8..3, 1..12),
        ) {
            let ordering = if latest { Ordering::Latest } else { Ordering::Fifo };
            let standing = |n: &u8| [InHand, Scheduled, Waiting][usize::from(*n)];
            let members = (1..).zip(standings.iter().map(standing)).collect();
            let mut line = Line { ordering, next: 99, members, sent: Vec::new(), superseded: Vec::new() };
            let in_hand = line.members.values().filter(|standing| **standing == InHand).count();
            line.settle();
            let moving = line.members.values().filter(|standing| **standing != Waiting).count();
            prop_assert_eq!(moving, in_hand.max(1));
            prop_assert!(settle(ordering, &line.members()).is_empty());
        }
    }
}
