//! What a `source` plugin pulls, as the source of a sync. A page is pulled once, from the cursor of the last page that was
//! acknowledged and written down; it is written down before it goes out, since a second pull may give another one.

use std::{
    collections::{BTreeMap, HashSet},
    future::Future,
    sync::{Mutex, PoisonError},
};

use engate_host::IdText;
use engate_model::{
    Clock, Timestamp,
    feed::FeedGuard,
    run::RunFailure,
    sink::{Change, Operation},
    sync::{ColumnSpec, Cursor, Expected, Partition, Position, RowHash, Shape, StreamSpec},
};
use engate_store::Quarantined;
use serde_json::value::RawValue;

use super::{
    origin::{Ask, Origin, Portion},
    packed::Entry,
};
use crate::pulling::{Feed, Pull, Pulled};

/// Who pulls: a plugin, or a test's own.
pub(crate) trait Pulls: Send + Sync {
    /// Whose state is kept.
    fn plugin(&self) -> &str;
    /// Asks once.
    fn pull(&self, pull: Pull<'_>) -> impl Future<Output = Result<Pulled, RunFailure>> + Send;
}

impl Pulls for Feed {
    fn plugin(&self) -> &str {
        self.plugin()
    }

    async fn pull(&self, pull: Pull<'_>) -> Result<Pulled, RunFailure> {
        self.pull(pull).await
    }
}

/// A plugin as a source.
pub(crate) struct FeedOrigin<'c, P> {
    pub(crate) pulls: P,
    pub(crate) clock: &'c dyn Clock,
}

/// One of its streams.
pub(crate) struct FeedPlan {
    /// What the plugin is asked for.
    asked: String,
    shape: Shape,
    /// Columns that are carried; none: all.
    columns: Option<Vec<String>>,
    /// The cursors of this run.
    guard: Mutex<Option<FeedGuard>>,
}

impl FeedPlan {
    /// Whether the pass may go on behind this page.
    fn watch(&self, after: Option<&[u8]>, page: &engate_model::sink::FeedPage) -> Result<(), RunFailure> {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = guard.get_or_insert_with(|| FeedGuard::begin(after)).goes_on(page);
        let goes_on = goes_on.map_err(|refusal| failure(&refusal.code, refusal.message))?;
        if page.more && !goes_on {
            // So many cursors are all that is remembered; a pass may be longer.
            *guard = None;
        }
        Ok(())
    }

    fn entry(&self, change: Change) -> Result<Entry, RunFailure> {
        let Change { key, operation, data } = change;
        let data = match &self.columns {
            None => data,
            Some(columns) => carried(&data, columns).map_err(|error| {
                failure("invalid_page", format!("the record {key:?} of {} is not to be read: {error}", self.asked))
            })?,
        };
        Ok(entry(key, operation, data))
    }
}

fn entry(key: String, operation: Operation, data: String) -> Entry {
    let hash = RowHash::of(data.as_bytes(), operation == Operation::Delete);
    Entry { key, operation, data, hash, stamp: None, gone: false }
}

/// The record's members of these names, as they are spelled.
fn carried(data: &str, columns: &[String]) -> Result<String, serde_json::Error> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(data)?;
    let mut kept = String::with_capacity(data.len());
    for column in columns {
        let Some(value) = members.get(column) else { continue };
        kept.push(if kept.is_empty() { '{' } else { ',' });
        kept.push_str(&serde_json::to_string(column)?);
        kept.push(':');
        kept.push_str(value.get());
    }
    kept.push_str(if kept.is_empty() { "{}" } else { "}" });
    Ok(kept)
}

impl<P: Pulls> Origin for FeedOrigin<'_, P> {
    const BY_CURSOR: bool = true;
    type Plan = FeedPlan;

    async fn plan(&self, stream: &StreamSpec, partition: &Partition) -> Result<FeedPlan, RunFailure> {
        let names = |columns: &Vec<ColumnSpec>| columns.iter().map(|column| column.name().to_owned()).collect();
        Ok(FeedPlan {
            asked: stream.feed_of(partition),
            shape: stream.feed_shape(),
            columns: stream.columns.as_ref().map(names),
            guard: Mutex::new(None),
        })
    }

    fn shape(plan: &FeedPlan) -> &Shape {
        &plan.shape
    }

    fn called(plan: &FeedPlan) -> String {
        format!("feed {}", plan.asked)
    }

    /// A feed has no clock that anybody could ask.
    async fn clock(&self) -> Result<Timestamp, RunFailure> {
        Ok(self.clock.now())
    }

    async fn page(&self, plan: &FeedPlan, ask: Ask<'_>) -> Result<Portion, RunFailure> {
        let after = ask.position.cursor().map(|cursor| cursor.0.as_slice());
        let pull = Pull { stream: &plan.asked, after, most: ask.most.rows, id: IdText::of(&ask.pass.id) };
        let (page, kept) = self.pulls.pull(pull).await?;
        plan.watch(after, &page)?;
        let rows = page.changes.len() as u64;
        let entries = page.changes.into_iter().map(|change| plan.entry(change)).collect::<Result<_, _>>()?;
        let after = Some(Position::Cursor(Cursor(page.next)));
        Ok(Portion { entries, rows, after, more: page.more, kept, cut: Some(ask.size) })
    }

    async fn there(&self, plan: &FeedPlan, _: &[String]) -> Result<HashSet<String>, RunFailure> {
        Err(no_keys(plan))
    }

    /// A feed cannot be asked for a record: it goes out as it came last, which is what is kept.
    async fn again(&self, _: &FeedPlan, held: Vec<Quarantined>) -> Result<Vec<Entry>, RunFailure> {
        Ok(held.into_iter().map(|one| entry(one.key, one.operation, one.data)).collect())
    }

    fn gone(&self, plan: &FeedPlan, _: String) -> Result<Entry, RunFailure> {
        Err(no_keys(plan))
    }

    async fn expected(&self, _: &FeedPlan) -> Option<Expected> {
        None
    }

    async fn largest_stamp(&self, _: &FeedPlan) -> Result<Option<Timestamp>, RunFailure> {
        Ok(None)
    }

    fn plugin(&self) -> Option<&str> {
        Some(self.pulls.plugin())
    }
}

/// Nothing that a job may say of a feed leads here.
fn no_keys(plan: &FeedPlan) -> RunFailure {
    failure("internal", format!("feed {} cannot be asked for its keys", plan.asked))
}

fn failure(code: &str, message: String) -> RunFailure {
    RunFailure { code: code.to_owned(), message, retryable: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_carried_as_they_are_spelled_in_the_order_of_the_job() {
        let columns = ["v".to_owned(), "id".to_owned(), "mi\"ssing".to_owned()];
        let kept = carried(r#"{"id":1.50,"secret":"x","v":{"a": [1]}}"#, &columns);
        assert_eq!(kept.unwrap(), r#"{"v":{"a": [1]},"id":1.50}"#);
        assert_eq!(carried(r#"{"a":1}"#, &columns).unwrap(), "{}");
        assert!(carried("[]", &columns).is_err());
    }
}
