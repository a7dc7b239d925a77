//! Listing deliveries: any filter, any order, in pages that survive what is written meanwhile.
//!
//! Who acts here: [`Store::delivery_list`] opens a snapshot with a bound on its time and has a `Lister` read a page.
//! The lister (`lister`) looks for the narrowest ranges of the indexes there are (`access`). Where they hold few rows it sorts
//! those; where the order is the code it reads them in it; where many rows share a value it goes from value to value
//! (`values`); for times it goes by spans of codes (`spans`, `near`), since codes and times run almost alike; and texts have
//! an index of their own that follows in the background (`texts`, `by_text`, `words`). What
//! none of that answers in time is refused with [`StoreError::TooBroad`]: a listing never keeps a reader for long.
//!
//! No index here has an entry for the ordinary delivery, which was tried once, at once, and taken.

mod access;
mod by_text;
mod conditions;
mod filter;
mod lister;
mod names;
mod near;
mod ranges;
mod spans;
mod texts;
mod values;
mod words;

use std::time::Duration;

use engate_model::{
    TenantId,
    delivery::Delivery,
    listing::{Sort, SortValue},
};

pub use filter::{DeliveryFilter, Meaning, SuccessFilter};
pub(crate) use spans::SpanWatch;
pub(crate) use texts::{read_texts, searchable, texts_delete};

use crate::{Store, error::StoreError};
use access::Scope;
use lister::Lister;

/// Up to here a listing's total is counted; beyond, it is at least that many.
pub const TOTAL_EXACT_MAX: u64 = 10_000;
/// How long one page may take to find.
pub(crate) const PAGE_TIME_MAX: Duration = Duration::from_millis(1_900);
/// How much of that counting may take beside it: a total that takes longer is an estimate.
const COUNT_TIME_PART: u32 = 76;
/// Rows that are rather sorted than read in the order of an index.
pub(crate) const SORTED_MAX: u64 = 20_000;

/// Which part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Where the last row seen stands ([`Sort::place`]); none: the first page.
    pub after: Option<Vec<SortValue>>,
    /// Rows at most, up to [`PAGE_MAX`](crate::PAGE_MAX).
    pub limit: u32,
}

/// One page of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPage {
    /// The deliveries.
    pub items: Vec<Delivery>,
    /// Where the next page begins, where there is one.
    pub next: Option<Vec<SortValue>>,
    /// How many there are on all pages; none where it was not asked for.
    pub total: Option<Total>,
}

/// Deliveries in the order of their codes, and how far they were looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryStretch {
    /// The deliveries.
    pub items: Vec<Delivery>,
    /// Up to this code there are no others.
    pub reached: i64,
    /// Nor are there any beyond it.
    pub ended: bool,
}

/// How long a stretch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StretchTime {
    /// After that no further part of the codes is begun.
    pub enough: Duration,
    /// After that the one under way is given up.
    pub most: Duration,
}

/// How many rows a listing has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// The number, or one that it is not below.
    pub count: u64,
    /// Whether that is all.
    pub exact: bool,
}

impl Store {
    /// A page of deliveries in an order, with the number of all.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`], or when the database gives no answer.
    pub async fn delivery_list(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
        sort: &Sort,
        page: &Page,
    ) -> Result<DeliveryPage, StoreError> {
        let (mut lister, asked) = self.lister(tenant, filter, sort, self.page_time_max()).await?;
        let mut found = lister.first_rows(&asked, sort, page).await?;
        let shown = u64::try_from(found.items.len()).unwrap_or(u64::MAX);
        found.total = Some(if page.after.is_none() && found.next.is_none() {
            Total { count: shown, exact: true }
        } else {
            lister.reader.bound_to(self.page_time_max() / COUNT_TIME_PART).await?;
            lister.total(&asked, shown).await?
        });
        Ok(found)
    }

    /// A page of deliveries in an order, not counted: for whoever reads all pages.
    ///
    /// # Errors
    /// As [`Store::delivery_list`].
    pub async fn delivery_rows(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
        sort: &Sort,
        page: &Page,
    ) -> Result<DeliveryPage, StoreError> {
        let (mut lister, asked) = self.lister(tenant, filter, sort, self.page_time_max()).await?;
        lister.first_rows(&asked, sort, page).await
    }

    /// The first `limit` deliveries beyond the code `after`, in the order of their codes, as far as they are found in `time`:
    /// for whoever goes through all there is in the background, however much has to be passed over, and goes on with
    /// [`DeliveryStretch::reached`].
    ///
    /// # Errors
    /// [`StoreError::TooBroad`] where not even one part of the codes was looked through in time, or when the database gives
    /// no answer.
    pub async fn delivery_stretch(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
        after: i64,
        limit: u32,
        time: StretchTime,
    ) -> Result<DeliveryStretch, StoreError> {
        let (mut lister, asked) = self.lister(tenant, filter, &Sort::default(), time.most).await?;
        lister.stretch(&asked.scope, after, limit, time.enough).await
    }

    /// How the database runs the statements of a listing's first page: for people who measure.
    ///
    /// # Errors
    /// As [`Store::delivery_list`].
    #[doc(hidden)]
    pub async fn delivery_explain(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
        sort: &Sort,
    ) -> Result<Vec<String>, StoreError> {
        let (mut lister, asked) = self.lister(tenant, filter, sort, self.page_time_max()).await?;
        lister.plans = Some(Vec::new());
        lister.first_rows(&asked, sort, &Page { after: None, limit: 100 }).await?;
        Ok(lister.plans.take().unwrap_or_default())
    }

    /// Reads without end, for a test of the bound.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`] after `time`.
    #[doc(hidden)]
    pub async fn read_for_ever(&self, time: Duration) -> Result<(), StoreError> {
        let mut reader = self.db().snapshot_within(time).await?;
        let sql = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x % 1000 + 1 FROM n) SELECT count(*) FROM n";
        reader.session.row(sql, Vec::new()).await.map(|_| ())
    }

    /// Who reads this listing, and what it is to look for.
    async fn lister(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
        sort: &Sort,
        time: Duration,
    ) -> Result<(Lister, Asked), StoreError> {
        let mut lister = Lister::open(self, tenant, time).await?;
        lister.read_names(sort).await?;
        let scope = Scope::of(filter);
        let meanings = lister.meanings(&scope).await?;
        Ok((lister, Asked { scope, meanings }))
    }
}

/// What a listing looks for.
struct Asked {
    scope: Scope,
    /// Where a word is searched that an index knows, the same by each of its meanings.
    meanings: Option<Vec<Scope>>,
}
