//! What a caller demands of the state that its change starts from, and what becomes of changes that meet.

use futures_util::future::BoxFuture;

use super::VerbError;

/// How often a change is decided anew on what another one left, before its caller is told. Of changes that meet one
/// always gets through, so this many may meet.
const TRIES_MAX: u32 = 64;

/// Whether a state is the one that the caller saw.
type IsSeen<T> = Box<dyn Fn(&T) -> bool + Send + Sync>;

/// That the state is the one the caller saw (`If-Match`), or nothing. The store looks again in the transaction that
/// writes, so that what was checked is what is changed.
pub(crate) struct Demand<T>(Option<IsSeen<T>>);

impl<T> Demand<T> {
    /// No demand: the change is made on whatever is there.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// The state must be one that `is_seen` knows.
    pub(crate) fn that(is_seen: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(is_seen)))
    }

    /// Refuses a state that the caller did not see.
    pub(crate) fn check(&self, now: &T) -> Result<(), VerbError> {
        match &self.0 {
            Some(is_seen) if !is_seen(now) => Err(VerbError::PreconditionFailed),
            _ => Ok(()),
        }
    }

    /// Runs a change that reads, decides and writes. Where another one came between, it is decided anew on what that
    /// one left; with a demand the caller is told instead.
    pub(crate) async fn settle<'a, R>(
        &self,
        change: impl Fn() -> BoxFuture<'a, Result<R, VerbError>>,
    ) -> Result<R, VerbError> {
        let mut tries = 1;
        loop {
            match change().await {
                Err(VerbError::Stale(_)) if self.0.is_some() => return Err(VerbError::PreconditionFailed),
                Err(VerbError::Stale(_)) if tries < TRIES_MAX => tries += 1,
                settled => return settled,
            }
        }
    }
}
