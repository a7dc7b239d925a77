//! One piece of a page on its way: encoded, sent, settled, tried again within bounds.

use std::time::Duration;

use engate_model::{
    delivery::Response,
    retry,
    run::{RunCounts, RunFailure},
    sink::{Page, Pass, Rejection, Settlement},
    sync::pace::wait_before_next,
    verdict::{Failure, Verdict, judge_status},
};

use super::{Asked, Sendable as _, SyncRun, Target, Writes, origin::Origin};

/// What became of a piece.
#[derive(Debug)]
pub(super) enum Settled {
    /// The target took it, but these.
    Taken { rejections: Vec<Rejection>, writes: Writes },
    /// It is to be halved, or set aside if it is one change.
    Halve { code: String, message: String },
    /// It was told to stop before that was known.
    Interrupted,
}

/// A piece's end, and whether the target takes less at a time.
#[derive(Debug)]
pub(super) struct Journey {
    pub(super) settled: Settled,
    pub(super) strained: bool,
}

impl<S: Origin, T: Target> SyncRun<'_, S, T> {
    /// Sends a page until something is known of it.
    pub(super) async fn deliver(&self, pass: &Pass, page: &Page) -> Result<Journey, RunFailure> {
        let end = |settled, strained| Ok(Journey { settled, strained });
        let Asked { value: request, mut writes } = match self.target.encode(pass, page).await {
            Ok(asked) => asked,
            Err(failure) if failure.retryable => return Err(failed(failure)),
            // One record may be to blame: it is looked for as one that the target refuses.
            Err(Failure { code, message, .. }) => return end(Settled::Halve { code, message }, false),
        };
        let size = u32::try_from(page.changes.len()).unwrap_or(u32::MAX);
        let (mut tries, mut strained) = (0, false);
        loop {
            tries += 1;
            let sent = self.target.send(&request).await;
            self.report.count(RunCounts { requests: 1, bytes: request.bytes(), ..RunCounts::default() });
            let (wish, why) = match sent {
                Err(failure) if !failure.retryable => return Err(failed(failure)),
                Err(failure) => {
                    strained |= failure.code == "timeout";
                    (None, RunFailure { retryable: true, ..failed(failure) })
                }
                Ok(response) => {
                    strained |= matches!(response.status, 413 | 429);
                    let asked = self.target.settle(&pass.id, &page.id, size, &response, &writes).await;
                    let Asked { value, writes: more } = asked.map_err(failed)?;
                    writes.extend(more);
                    match value {
                        Settlement::Accepted(rejections) => {
                            return end(accepted(size, &response, rejections, writes), strained);
                        }
                        Settlement::Split(message) => {
                            let code = split_code(response.status).to_owned();
                            return end(Settled::Halve { code, message }, strained);
                        }
                        Settlement::Fail(refusal) => {
                            let (code, message, retryable) = (refusal.code, refusal.message, refusal.retryable);
                            return Err(RunFailure { code, message, retryable });
                        }
                        Settlement::Retry { after_ms, reason } => {
                            let wish = after_ms.map(Duration::from_millis).or_else(|| self.wish_of(&response));
                            (wish, RunFailure { code: "target_busy".to_owned(), message: reason, retryable: true })
                        }
                    }
                }
            };
            if !self.rest(tries, wish).await.ok_or(why)? {
                return end(Settled::Interrupted, strained);
            }
        }
    }

    /// Sends a request of which only the status counts; false where it was told to stop before. One that does not decide
    /// may be refused.
    pub(super) async fn deliver_plain(&self, request: &T::Request, decides: bool) -> Result<bool, RunFailure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = self.target.send(request).await;
            self.report.count(RunCounts { requests: 1, bytes: request.bytes(), ..RunCounts::default() });
            let (wish, why) = match sent {
                Err(failure) if !failure.retryable => return Err(failed(failure)),
                Err(failure) => (None, failed(failure)),
                Ok(response) => match judge_status(response.status) {
                    Verdict::Success { .. } => return Ok(true),
                    Verdict::Retry { code, message, .. } => {
                        let retryable = matches!(response.status, 408 | 425 | 429 | 500..);
                        let why = RunFailure { code, message, retryable };
                        match (retryable, decides) {
                            (true, _) => (self.wish_of(&response), why),
                            (false, true) => return Err(why),
                            (false, false) => return Ok(true),
                        }
                    }
                    Verdict::Fail { .. } | Verdict::Disable { .. } if !decides => return Ok(true),
                    Verdict::Fail { code, message } => return Err(RunFailure { code, message, retryable: false }),
                    Verdict::Disable { message } => {
                        return Err(RunFailure { code: "gone".to_owned(), message, retryable: false });
                    }
                },
            };
            if !self.rest(tries, wish).await.ok_or(why)? {
                return Ok(false);
            }
        }
    }

    /// Waits before the next try; false where it was told to stop, none where the tries are used up.
    async fn rest(&self, tries: u32, wish: Option<Duration>) -> Option<bool> {
        let wait = wait_before_next(tries, wish, self.chance.fraction())?;
        tokio::select! {
            () = self.stop.cancelled() => Some(false),
            () = tokio::time::sleep(wait) => Some(true),
        }
    }

    fn wish_of(&self, response: &Response) -> Option<Duration> {
        let now = self.clock.now();
        response.header("retry-after").and_then(|value| retry::retry_after(value, now))
    }
}

/// The target took the page, but what it rejects. A page of one record that it answers with an error it did not take: the
/// record is set aside, and its number left to the next page.
fn accepted(size: u32, response: &Response, mut rejections: Vec<Rejection>, writes: Writes) -> Settled {
    let is_taken = (200..300).contains(&response.status);
    match rejections.pop() {
        Some(Rejection { refusal, .. }) if size == 1 && !is_taken => {
            Settled::Halve { code: refusal.code, message: refusal.message }
        }
        last => {
            rejections.extend(last);
            Settled::Taken { rejections, writes }
        }
    }
}

const fn split_code(status: u16) -> &'static str {
    match status {
        413 => "payload_too_large",
        _ => "record_refused",
    }
}

fn failed(failure: Failure) -> RunFailure {
    RunFailure { code: failure.code, message: failure.message, retryable: failure.retryable }
}
