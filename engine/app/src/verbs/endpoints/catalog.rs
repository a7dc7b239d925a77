//! The event types as one endpoint has them: whether it gets each, and how the last notification of it went.

use std::collections::{HashMap, HashSet};

use engate_model::{
    EndpointId, EventId, callback,
    delivery::{Delivery, DeliveryState, NotificationStatus},
    endpoint::{Endpoint, subscribes},
    event::EventType,
    token::Principal,
};
use engate_store::Version;

use crate::{
    engine::Engine,
    verbs::{VerbError, event_types::unplaced},
};

/// Types of a tenant's events that are looked through for those that the catalogue lacks and a pattern takes.
const PUBLISHED_MAX: u32 = 10_000;

/// An event type as one endpoint has it.
#[derive(Debug, Clone)]
pub(crate) struct CatalogEntry {
    /// The type.
    pub(crate) event_type: EventType,
    /// Whether the endpoint gets its events.
    pub(crate) subscribed: bool,
    /// How the last notification went.
    pub(crate) status: NotificationStatus,
    /// That notification.
    pub(crate) last: Option<Delivery>,
}

impl Engine {
    /// Every event type with what an endpoint has of it, by its place in the tree; of those that the catalogue lacks, the
    /// ones that it gets by a pattern.
    pub(crate) async fn endpoint_catalog(
        &self,
        principal: &Principal,
        id: EndpointId,
    ) -> Result<Vec<CatalogEntry>, VerbError> {
        let (endpoint, _) = self.endpoint_find(principal, id).await?;
        let (types, versions) = self.types_of(&endpoint).await?;
        let mut lasts = self.lasts(&endpoint, &versions).await?;
        let entry = |event_type: EventType| {
            let last = lasts.remove(&event_type.key);
            let (subscribed, status) = (takes(&endpoint, &event_type.key), NotificationStatus::of(last.as_ref()));
            CatalogEntry { event_type, subscribed, status, last }
        };
        Ok(types.into_iter().map(entry).collect())
    }

    /// The types of the catalogue and those beyond it that were published and that the endpoint gets by a pattern, by their
    /// place in the tree; and the newest version of each that has one.
    pub(super) async fn types_of(&self, endpoint: &Endpoint) -> Result<(Vec<EventType>, Vec<Version>), VerbError> {
        let tenant = endpoint.tenant;
        let mut types = self.store.event_type_list(tenant).await?;
        let listed: HashSet<_> = types.iter().map(|entry| entry.key.clone()).collect();
        if endpoint.event_types.iter().any(|subscription| subscription.ends_with('*')) {
            let published = self.store.event_types_published(tenant, PUBLISHED_MAX).await?;
            let beyond = published
                .into_iter()
                .filter(|key| takes(endpoint, key) && !listed.contains(key) && !callback::is_system(key));
            types.extend(beyond.map(|key| unplaced(tenant, key, endpoint.created_at)));
        }
        let keys: Vec<_> = types.iter().map(|entry| entry.key.as_str()).collect();
        let versions = self.store.version_list(tenant, endpoint.id, &keys).await?;
        // Of what the catalogue lacks there may be nothing but test events.
        let published: HashSet<_> = versions.iter().map(|version| version.event_type.as_str()).collect();
        types.retain(|entry| listed.contains(&entry.key) || published.contains(entry.key.as_str()));
        let place = |entry: &EventType| (entry.macro_process.clone(), entry.process.clone(), entry.key.clone());
        types.sort_by_cached_key(place);
        Ok((types, versions))
    }

    /// The last notification of each version's type that was not skipped: what the catalogue's status is told by, and what
    /// is sent again where it failed. It may be of an older event than the newest.
    pub(super) async fn lasts(
        &self,
        endpoint: &Endpoint,
        versions: &[Version],
    ) -> Result<HashMap<String, Delivery>, VerbError> {
        let mut lasts = HashMap::with_capacity(versions.len());
        let mut unclear = Vec::new();
        for version in versions {
            match &version.delivery {
                Some(delivery) if delivery.state != DeliveryState::Skipped => {
                    lasts.insert(version.event_type.clone(), delivery.clone());
                }
                // Nothing but what a filter takes of the past was sent to an endpoint that is younger than the event.
                None if version.event < EventId::floor(endpoint.created_at) && endpoint.filter.is_none() => {}
                _ => unclear.push(version.event_type.as_str()),
            }
        }
        if !unclear.is_empty() {
            let found = self.store.delivery_lasts(endpoint.tenant, endpoint.id, &unclear).await?;
            lasts.extend(found.into_iter().map(|delivery| (delivery.event_type.clone(), delivery)));
        }
        Ok(lasts)
    }
}

/// Whether the endpoint subscribes to the type.
pub(super) fn takes(endpoint: &Endpoint, key: &str) -> bool {
    endpoint.event_types.iter().any(|subscription| subscribes(subscription, key))
}
