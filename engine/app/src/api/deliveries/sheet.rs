//! Deliveries as rows of a sheet, for people: columns, headings, cells in their language and zone, page by page.

use std::sync::Arc;

use engate_model::{
    delivery::Delivery,
    listing::{Column, Sort, SortValue},
    token::Principal,
};
use engate_store::{DeliveryFilter, Page};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{engine::Engine, language::Locale, verbs::VerbError, views::View};

/// Rows read at a time.
const ROWS_AT_ONCE: u32 = 500;

/// The columns of the seed's listing, in its order (seed V19).
pub(super) const USUAL: [Column; 7] = [
    Column::CreatedAt,
    Column::Integrator,
    Column::EventType,
    Column::Attempts,
    Column::LastAttemptAt,
    Column::Success,
    Column::IntegratedAt,
];

/// A column of a sheet by name.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ColumnName {
    Id,
    Code,
    Event,
    EventType,
    Subject,
    Endpoint,
    Integrator,
    State,
    Success,
    Reason,
    Attempts,
    CreatedAt,
    LastAttemptAt,
    IntegratedAt,
    NextAttemptAt,
    CorrelationId,
}

impl From<ColumnName> for Column {
    fn from(name: ColumnName) -> Self {
        match name {
            ColumnName::Id => Self::Id,
            ColumnName::Code => Self::Code,
            ColumnName::Event => Self::Event,
            ColumnName::EventType => Self::EventType,
            ColumnName::Subject => Self::Subject,
            ColumnName::Endpoint => Self::Endpoint,
            ColumnName::Integrator => Self::Integrator,
            ColumnName::State => Self::State,
            ColumnName::Success => Self::Success,
            ColumnName::Reason => Self::Reason,
            ColumnName::Attempts => Self::Attempts,
            ColumnName::CreatedAt => Self::CreatedAt,
            ColumnName::LastAttemptAt => Self::LastAttemptAt,
            ColumnName::IntegratedAt => Self::IntegratedAt,
            ColumnName::NextAttemptAt => Self::NextAttemptAt,
            ColumnName::CorrelationId => Self::CorrelationId,
        }
    }
}

/// What a cell holds; an integrator is shown by its name.
pub(super) fn cell(column: Column, delivery: &Delivery, names: &View, locale: Locale) -> String {
    let time = |at: Option<engate_model::Timestamp>| at.map(|at| locale.time(at)).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match column {
        Column::Id => delivery.id.to_string(),
        Column::Code => delivery.code.to_string(),
        Column::Event => delivery.event.to_string(),
        Column::EventType => delivery.event_type.clone(),
        Column::Subject => text(&delivery.subject),
        Column::Endpoint => delivery.endpoint.to_string(),
        Column::Integrator => match names.catalog.integrator(delivery.integrator) {
            Some(integrator) => integrator.name.clone(),
            None => delivery.integrator.to_string(),
        },
        Column::State => locale.language.state(delivery.state).to_owned(),
        Column::Success => locale.language.success(delivery.success).to_owned(),
        Column::Reason => text(&delivery.reason),
        Column::Attempts => delivery.attempts.to_string(),
        Column::CreatedAt => time(Some(delivery.created_at)),
        Column::LastAttemptAt => time(delivery.last_attempt_at),
        Column::IntegratedAt => time(delivery.integrated_at),
        Column::NextAttemptAt => time(delivery.next_attempt_at),
        Column::CorrelationId => text(&delivery.correlation_id),
    }
}

/// Reads a listing from its beginning to its end, a page at a time.
pub(super) struct Rows {
    engine: Arc<Engine>,
    principal: Principal,
    filter: DeliveryFilter,
    sort: Sort,
    after: Option<Vec<SortValue>>,
    ended: bool,
}

impl Rows {
    pub(super) fn new(engine: Arc<Engine>, principal: Principal, filter: DeliveryFilter, sort: Sort) -> Self {
        Self { engine, principal, filter, sort, after: None, ended: false }
    }

    /// The next page; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Delivery>>, VerbError> {
        if self.ended {
            return Ok(None);
        }
        let page = Page { after: self.after.take(), limit: ROWS_AT_ONCE };
        let page = self.engine.delivery_rows(&self.principal, self.filter.clone(), &self.sort, &page).await?;
        self.ended = page.next.is_none();
        self.after = page.next;
        Ok(Some(page.items))
    }
}
