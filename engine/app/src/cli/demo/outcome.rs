//! What must have been seen, partner by partner, and whether it was.

use std::{collections::HashMap, time::Duration};

use super::{
    super::{client::Client, delivery::Attempt, failure::Failure},
    input::{SPELLED_AMOUNT, TRANSACTION},
    partners::{HANG_TIMEOUT, KEY, Manner, Partner, Seen, UNAVAILABLE_TIMES},
    watch::{Tracked, Watch},
};

/// Whether an outcome was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// It was.
    Seen,
    /// Nothing that could show it has finished.
    NotYet,
    /// Something else was seen.
    Missing,
}

/// One expected outcome.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Who it is about.
    pub(super) who: &'static str,
    /// What was expected.
    pub(super) expected: String,
    /// What there was to see.
    pub(super) evidence: String,
    /// Whether it was seen.
    pub(super) sight: Sight,
}

/// Everything known of one partner at the end.
struct Evidence<'a> {
    partner: &'a Partner,
    deliveries: Vec<&'a Tracked>,
    last_attempts: Vec<Attempt>,
    book: HashMap<String, Seen>,
}

/// Compares what was seen with what was expected. `finished_only`: judges what is finished and lets the rest be.
pub(super) async fn judge(
    partners: &[Partner],
    watch: &Watch,
    client: &Client,
    finished_only: bool,
) -> Result<Vec<Outcome>, Failure> {
    let mut outcomes = Vec::new();
    let mut everyone = Vec::new();
    for (n, partner) in partners.iter().enumerate() {
        let mut deliveries = watch.of(n);
        deliveries.retain(|tracked| tracked.is_finished() || !finished_only);
        let last_attempts = watch.last_attempts(client, n).await?;
        let book = partner.book().seen.clone();
        let evidence = Evidence { partner, deliveries, last_attempts, book };
        outcomes.extend(evidence.outcomes());
        everyone.push(evidence);
    }
    outcomes.push(undisturbed(&everyone, watch));
    outcomes.push(signed(&everyone));
    outcomes.push(no_duplicates(&everyone));
    Ok(outcomes)
}

impl Evidence<'_> {
    fn outcomes(&self) -> Vec<Outcome> {
        match self.partner.profile.manner {
            Manner::Accepts => vec![self.all("taken at the first try", |tracked| taken_at(tracked, 1)), self.files()],
            Manner::WantsKey => {
                let key =
                    |tracked: &Tracked| self.seen(tracked).is_some_and(|s| s.authorization.as_deref() == Some(KEY));
                vec![self.all(&format!("taken, with exactly `{KEY}` in Authorization"), |tracked| {
                    tracked.is_taken() && key(tracked)
                })]
            }
            Manner::ErrorInside => vec![self.failed_with("business_error", Some(200)), self.spelling()],
            Manner::UnavailableTwice => {
                let tries = UNAVAILABLE_TIMES + 1;
                let came = |tracked: &Tracked| self.seen(tracked).is_some_and(|seen| seen.receipts == tries);
                vec![self.all(&format!("taken at try {tries}, after 503 twice"), |tracked| {
                    taken_at(tracked, tries) && came(tracked)
                })]
            }
            Manner::Hangs => vec![self.failed_with("timeout", None)],
        }
    }

    fn seen(&self, tracked: &Tracked) -> Option<&Seen> {
        self.book.get(&tracked.id)
    }

    fn outcome(&self, expected: impl Into<String>, evidence: String, seen: bool) -> Outcome {
        let sight = if self.deliveries.is_empty() { Sight::NotYet } else { sight(seen) };
        Outcome { who: self.partner.profile.name, expected: expected.into(), evidence, sight }
    }

    fn all(&self, expected: &str, is: impl Fn(&Tracked) -> bool) -> Outcome {
        let (right, all) = (self.deliveries.iter().filter(|tracked| is(tracked)).count(), self.deliveries.len());
        self.outcome(expected, format!("{right} of {all} deliveries"), right == all)
    }

    /// Every delivery failed, and its last attempt says why.
    fn failed_with(&self, code: &str, status: Option<u16>) -> Outcome {
        let failed = self.deliveries.iter().filter(|tracked| tracked.state == "failed").count();
        let is = |attempt: &&Attempt| {
            let answered = attempt.response.as_ref().and_then(|response| response.status);
            attempt.verdict.code.as_deref() == Some(code) && answered == status
        };
        let right = self.last_attempts.iter().filter(is).count();
        let expected = match status {
            Some(status) => format!("failed with {code}, although the answer was {status}"),
            None => format!("failed with {code}"),
        };
        let (all, looked) = (self.deliveries.len(), self.last_attempts.len());
        let evidence = format!("{failed} of {all} deliveries; {right} of {looked} attempts looked into");
        self.outcome(expected, evidence, failed == all && looked > 0 && right == looked)
    }

    fn files(&self) -> Outcome {
        let downloads = self.partner.book().downloads.clone();
        let right = downloads.iter().filter(|download| download.status == 200 && download.bytes > 0).count();
        let all = self.deliveries.iter().filter(|tracked| tracked.is_taken()).count();
        let evidence = format!("{right} of {all} links answered 200");
        self.outcome("the file behind each link, without Authorization", evidence, all > 0 && right >= all)
    }

    fn spelling(&self) -> Outcome {
        let wanted = format!("\"valorpago\":{SPELLED_AMOUNT}");
        let holds = |seen: &Seen| {
            let body = String::from_utf8_lossy(&seen.body);
            body.contains(&wanted) && body.contains(TRANSACTION)
        };
        let seen = self.book.values().any(holds);
        let evidence = if seen { wanted } else { "not in any body".to_owned() };
        self.outcome("amounts spelled as GSAN spells them", evidence, seen)
    }
}

const fn sight(seen: bool) -> Sight {
    if seen { Sight::Seen } else { Sight::Missing }
}

fn taken_at(tracked: &Tracked, tries: u32) -> bool {
    tracked.is_taken() && tracked.attempts == tries
}

/// From the 202 to the first receipt, for every delivery of a partner that came.
pub(super) fn delays(partner: &Partner, watch: &Watch, n: usize) -> Vec<Duration> {
    let book = partner.book();
    let delay = |tracked: &Tracked| {
        let (accepted, seen) = (watch.accepted.get(&tracked.event)?, book.seen.get(&tracked.id)?);
        // The engine delivers while its 202 is on the way; then there was no delay at all.
        Some(seen.first_at.saturating_duration_since(*accepted))
    };
    watch.of(n).into_iter().filter_map(delay).collect()
}

/// The one that hangs costs nobody else anything.
fn undisturbed(everyone: &[Evidence<'_>], watch: &Watch) -> Outcome {
    let others = everyone.iter().enumerate().filter(|(_, evidence)| evidence.partner.profile.manner != Manner::Hangs);
    let slowest = others.flat_map(|(n, evidence)| delays(evidence.partner, watch, n)).max();
    let evidence = slowest.map_or("nothing came".to_owned(), |slowest| format!("slowest first receipt {slowest:.0?}"));
    Outcome {
        who: "everyone else",
        expected: format!("not held up by the one that hangs ({HANG_TIMEOUT:?})"),
        evidence,
        sight: slowest.map_or(Sight::NotYet, |slowest| sight(slowest < HANG_TIMEOUT)),
    }
}

fn signed(everyone: &[Evidence<'_>]) -> Outcome {
    let seen: Vec<_> = everyone.iter().flat_map(|evidence| evidence.book.values()).collect();
    let requests: u32 = seen.iter().map(|seen| seen.receipts).sum();
    let right = seen.iter().filter(|seen| seen.signed).count();
    Outcome {
        who: "everyone",
        expected: "a signature that is right (Standard Webhooks)".to_owned(),
        evidence: format!("{right} of {} deliveries, {requests} requests", seen.len()),
        sight: if seen.is_empty() { Sight::NotYet } else { sight(right == seen.len()) },
    }
}

fn no_duplicates(everyone: &[Evidence<'_>]) -> Outcome {
    let duplicates: u32 = everyone.iter().flat_map(|evidence| evidence.book.values()).map(duplicates_of).sum();
    Outcome {
        who: "everyone",
        expected: "nothing again that was taken already".to_owned(),
        evidence: format!("{duplicates} duplicates"),
        sight: sight(duplicates == 0),
    }
}

/// How often a delivery came again after it had been taken.
pub(super) fn duplicates_of(seen: &Seen) -> u32 {
    seen.taken.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::body::Bytes;

    use super::super::partners::PROFILES;
    use super::*;

    fn tracked(state: &str, attempts: u32) -> Tracked {
        Tracked {
            id: "dlv_1".into(),
            code: 1,
            event: "evt_1".into(),
            event_type: TRANSACTION.into(),
            partner: 0,
            state: state.into(),
            reason: None,
            attempts,
        }
    }

    fn seen(receipts: u32, taken: u32, authorization: Option<&str>) -> Seen {
        Seen {
            first_at: Instant::now(),
            receipts,
            taken,
            signed: true,
            authorization: authorization.map(str::to_owned),
            body: Bytes::new(),
        }
    }

    async fn missing(manner: Manner, tracked: Tracked, seen: Seen) -> Vec<String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let profile = PROFILES.iter().find(|profile| profile.manner == manner).unwrap();
        let partner = Partner::open(profile).await.unwrap();
        let book = HashMap::from([(tracked.id.clone(), seen)]);
        let evidence = Evidence { partner: &partner, deliveries: vec![&tracked], last_attempts: vec![], book };
        let mut outcomes = evidence.outcomes();
        outcomes.push(no_duplicates(&[evidence]));
        outcomes.into_iter().filter(|outcome| outcome.sight != Sight::Seen).map(|outcome| outcome.expected).collect()
    }

    #[tokio::test]
    async fn what_was_not_seen_is_missing() {
        let nothing: [&str; 0] = [];
        let key = Some("ninguemsabe");
        assert_eq!(missing(Manner::WantsKey, tracked("succeeded", 1), seen(1, 1, key)).await, nothing);
        let bearer = Some("Bearer ninguemsabe");
        assert_eq!(missing(Manner::WantsKey, tracked("succeeded", 1), seen(1, 1, bearer)).await.len(), 1);
        assert_eq!(missing(Manner::UnavailableTwice, tracked("succeeded", 3), seen(3, 1, None)).await, nothing);
        assert_eq!(missing(Manner::UnavailableTwice, tracked("succeeded", 2), seen(2, 1, None)).await.len(), 1);
        // No attempt was looked into, so nothing shows that it was a timeout.
        assert_eq!(missing(Manner::Hangs, tracked("failed", 2), seen(2, 0, None)).await, ["failed with timeout"]);
    }

    #[tokio::test]
    async fn a_delivery_that_is_taken_twice_is_a_duplicate() {
        let again = missing(Manner::WantsKey, tracked("succeeded", 2), seen(2, 2, Some("ninguemsabe"))).await;
        assert_eq!(again, ["nothing again that was taken already"]);
    }
}
