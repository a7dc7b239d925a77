//! What may be asked of deliveries: the same for the list and every form of it.

use engate_model::{
    DeliveryId, EndpointId, EventId, Invalid, Timestamp, Zone,
    delivery::DeliveryState,
    invalid::Complaints,
    listing::{Sort, SortValue},
};
use engate_store::{DeliveryFilter, SuccessFilter};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::shapes::StateName;
use crate::{
    api::page::{cursor_read, cursor_write},
    language::{Language, Locale},
    verbs::deliveries::DeliveryWish,
};

/// Bytes of a fingerprint: enough that two queries of one client never share one by chance.
const FINGERPRINT_BYTES: usize = 9;

/// How the last attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Success {
    Yes,
    No,
    Pending,
}

/// Which deliveries, in which order; all filters must hold, a list means any of it.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryQuery {
    /// Ids of deliveries, comma-separated.
    #[param(value_type = Option<Vec<crate::api::text::NameText>>, style = Form, explode = false, min_items = 1, max_items = 500)]
    ids: Option<Vec<DeliveryId>>,
    /// In one of these states, comma-separated.
    #[param(value_type = Option<Vec<StateName>>, style = Form, explode = false, min_items = 1, max_items = 8)]
    state: Option<Vec<DeliveryState>>,
    /// By how the last attempt ended; several with commas.
    #[param(inline, value_type = Option<Vec<Success>>, style = Form, explode = false, min_items = 1, max_items = 3)]
    success: Option<Vec<Success>>,
    /// Ids or slugs of integrators, comma-separated.
    #[param(value_type = Option<Vec<crate::api::text::NameText>>, style = Form, explode = false, min_items = 1, max_items = 50)]
    integrator: Option<Vec<String>>,
    /// Keys of event types, comma-separated.
    #[param(value_type = Option<Vec<crate::api::text::NameText>>, style = Form, explode = false, min_items = 1, max_items = 50)]
    event_type: Option<Vec<String>>,
    /// Ids of endpoints, comma-separated.
    #[param(value_type = Option<Vec<crate::api::text::NameText>>, style = Form, explode = false, min_items = 1, max_items = 50)]
    endpoint: Option<Vec<EndpointId>>,
    /// Id of an event.
    #[param(value_type = Option<String>, min_length = 1, max_length = 255)]
    event: Option<EventId>,
    /// Created then or later: a day (`2026-01-31`, in the viewer's zone) or an RFC 3339 time.
    #[param(min_length = 1, max_length = 40)]
    created_from: Option<String>,
    /// Created then or earlier; a day counts to its end, a time as far as it is written.
    #[param(min_length = 1, max_length = 40)]
    created_to: Option<String>,
    /// Integrated then or later.
    #[param(min_length = 1, max_length = 40)]
    integrated_from: Option<String>,
    /// Integrated then or earlier.
    #[param(min_length = 1, max_length = 40)]
    integrated_to: Option<String>,
    /// Tried that often or more.
    #[param(minimum = 0, maximum = 65_535)]
    attempts_gte: Option<u32>,
    /// Tried that often or less.
    #[param(minimum = 0, maximum = 65_535)]
    attempts_lte: Option<u32>,
    /// Tried exactly that often.
    #[param(minimum = 0, maximum = 65_535)]
    attempts_eq: Option<u32>,
    /// Words, each to be found somewhere in what is shown: code, integrator, event type and its title, subject, reason, state,
    /// ids, number of attempts, dates (`21/11`, `21/11/2026`, `11/2026`) and times as they are shown (`21/11/2026 10:11:12`,
    /// `21/11 10:11`, `2026-11-21T13:11:12Z`). Accents and capitals do not count.
    #[param(min_length = 1, max_length = 255)]
    q: Option<String>,
    /// Columns in turn, `-` for the largest first: `integrator,-attempts`; `code` where nothing is said. `integrator` goes by
    /// the name. Nothing counts as smaller than anything; of equals the smaller code comes first.
    #[param(min_length = 1, max_length = 255)]
    sort: Option<String>,
    /// Zone in which days are meant, such as `America/Sao_Paulo`; the setting `locale.timezone` where nothing is said.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64)]
    timezone: Option<String>,
    /// Language of what is shown, and so of what is searched; the setting `locale.language` where nothing is said.
    #[param(inline)]
    lang: Option<Language>,
    /// Items a page holds at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub(super) limit: Option<u32>,
    /// `next` of the page before, under the same filters and order; none: the first page.
    #[param(min_length = 1, max_length = 4_096)]
    cursor: Option<String>,
}

/// A query, read.
pub(super) struct Wanted {
    pub(super) wish: DeliveryWish,
    pub(super) sort: Sort,
    pub(super) locale: Locale,
    /// Tells this query from another, so that no cursor is taken up under another filter or order.
    pub(super) fingerprint: String,
    cursor: Option<String>,
}

/// A place in a list, as a cursor has it.
#[derive(Serialize, Deserialize)]
struct Place {
    q: String,
    p: Vec<SortValue>,
}

impl DeliveryQuery {
    /// Reads what the schema cannot check.
    ///
    /// # Errors
    /// Every parameter to blame.
    pub(super) fn read(self, usual: Locale) -> Result<Wanted, Invalid> {
        let mut complaints = Complaints::default();
        let zone = self.timezone.as_deref().map(str::parse::<Zone>).transpose();
        let zone = complaints.take(zone.map_err(|message| Invalid::field("timezone", message))).flatten();
        let locale = Locale { zone: zone.unwrap_or(usual.zone), language: self.lang.unwrap_or(usual.language) };
        let sort = complaints.take(self.sort.as_deref().map_or_else(|| Ok(Sort::default()), Sort::parse));
        let mut moment = |field: &str, text: &Option<String>| -> Option<(Timestamp, Timestamp)> {
            let read = text.as_deref().map(|text| locale.zone.moment(text)).transpose();
            complaints.take(read.map_err(|message| Invalid::field(field, message))).flatten()
        };
        let (created_from, created_to) =
            (moment("created_from", &self.created_from), moment("created_to", &self.created_to));
        let (integrated_from, integrated_to) =
            (moment("integrated_from", &self.integrated_from), moment("integrated_to", &self.integrated_to));
        for (name, from, to) in
            [("created_to", created_from, created_to), ("integrated_to", integrated_from, integrated_to)]
        {
            if from.zip(to).is_some_and(|(from, to)| to.1 <= from.0) {
                complaints.add(name, "must not be earlier than where the range begins");
            }
        }
        if self.attempts_eq.is_some() && (self.attempts_gte.is_some() || self.attempts_lte.is_some()) {
            complaints.add("attempts_eq", "says all there is to say; leave attempts_gte and attempts_lte out");
        }
        if self.attempts_gte.zip(self.attempts_lte).is_some_and(|(least, most)| least > most) {
            complaints.add("attempts_lte", "must not be less than attempts_gte");
        }
        complaints.finish(())?;
        let sort = sort.unwrap_or_default();
        let filter = DeliveryFilter {
            ids: self.ids.unwrap_or_default(),
            states: self.state.unwrap_or_default(),
            success: self.success.unwrap_or_default().into_iter().map(SuccessFilter::from).collect(),
            endpoints: self.endpoint.unwrap_or_default(),
            event: self.event,
            event_types: self.event_type.unwrap_or_default(),
            created_from: created_from.map(|(from, _)| from),
            created_before: created_to.map(|(_, before)| before),
            integrated_from: integrated_from.map(|(from, _)| from),
            integrated_before: integrated_to.map(|(_, before)| before),
            attempts_min: self.attempts_eq.or(self.attempts_gte),
            attempts_max: self.attempts_eq.or(self.attempts_lte),
            ..DeliveryFilter::default()
        };
        let wish = DeliveryWish { filter, integrators: self.integrator.unwrap_or_default(), search: self.q, locale };
        let said = format!("{sort} {:?} {:?} {:?} {locale:?}", wish.filter, wish.integrators, wish.search);
        let hash = digest(&SHA256, said.as_bytes());
        let fingerprint = hash.as_ref().iter().take(FINGERPRINT_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Ok(Wanted { wish, sort, locale, fingerprint, cursor: self.cursor })
    }
}

impl Wanted {
    /// Where the page before ended.
    ///
    /// # Errors
    /// Names the cursor where it is none of this query.
    pub(super) fn after(&self) -> Result<Option<Vec<SortValue>>, Invalid> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let place = serde_json::from_str::<Place>(&cursor_read(cursor)?).ok();
        let place = place.filter(|place| place.q == self.fingerprint && self.sort.has_place(&place.p));
        let other = || Invalid::field("cursor", "is of another filter or order; begin again without one");
        place.map(|place| Some(place.p)).ok_or_else(other)
    }
}

/// A cursor of the page behind `place`.
pub(super) fn place_write(fingerprint: &str, place: &[SortValue]) -> String {
    let place = Place { q: fingerprint.to_owned(), p: place.to_vec() };
    cursor_write(&serde_json::to_string(&place).unwrap_or_default())
}

impl From<Success> for SuccessFilter {
    fn from(success: Success) -> Self {
        match success {
            Success::Yes => Self::Yes,
            Success::No => Self::No,
            Success::Pending => Self::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::extract::read_query;

    fn read(query: DeliveryQuery) -> Result<Wanted, Invalid> {
        query.read(Locale::default())
    }

    #[test]
    fn a_cursor_belongs_to_its_filter_and_order() {
        let first = read(DeliveryQuery::default()).unwrap();
        let cursor = place_write(&first.fingerprint, &[SortValue::Int(7)]);
        let with = |query: DeliveryQuery| {
            let query = DeliveryQuery { cursor: Some(cursor.clone()), ..query };
            read(query).unwrap().after()
        };
        assert_eq!(with(DeliveryQuery::default()), Ok(Some(vec![SortValue::Int(7)])));
        let others = [
            DeliveryQuery { sort: Some("-code".into()), ..DeliveryQuery::default() },
            DeliveryQuery { q: Some("x".into()), ..DeliveryQuery::default() },
            DeliveryQuery { created_from: Some("2026-01-31".into()), ..DeliveryQuery::default() },
        ];
        for other in others {
            assert!(with(other).unwrap_err().to_string().starts_with("cursor: "));
        }
        let spoilt = place_write(&first.fingerprint, &[SortValue::Text("7".into())]);
        let query = DeliveryQuery { cursor: Some(spoilt), ..DeliveryQuery::default() };
        assert!(read(query).unwrap().after().is_err());
    }

    #[test]
    fn filters_are_read_and_what_is_wrong_is_named() {
        let query: DeliveryQuery =
            read_query("state=pending,failed&success=no,pending&integrator=a,b&sort=-code&limit=5").unwrap();
        assert_eq!(query.state, Some(vec![DeliveryState::Pending, DeliveryState::Failed]));
        assert_eq!((query.success.as_ref().map(Vec::len), query.integrator.as_ref().map(Vec::len)), (Some(2), Some(2)));
        assert_eq!((query.sort.as_deref(), query.limit), (Some("-code"), Some(5)));
        let wrong = "state=lost&success=maybe&limit=501&attempts_eq=-1&lang=fr&zzz=1";
        let mut fields: Vec<_> =
            read_query::<DeliveryQuery>(wrong).unwrap_err().0.into_iter().map(|e| e.field).collect();
        fields.sort();
        assert_eq!(fields, ["attempts_eq", "lang", "limit", "state[0]", "success[0]", "zzz"]);
        for id in ["event=evt_1", "endpoint=ep_1", "ids=dlv_1"] {
            let field = read_query::<DeliveryQuery>(id).unwrap_err().0.remove(0).field;
            assert!(id.starts_with(field.split('[').next().unwrap()), "{id}: {field}");
        }
        assert!(read_query::<DeliveryQuery>("limit=1&limit=2").is_err());
    }

    #[test]
    fn every_wrong_parameter_is_named_at_once() {
        let text = |text: &str| Some(text.to_owned());
        let query = DeliveryQuery {
            created_from: text("31/01/2026"),
            integrated_from: text("2026-02-01"),
            integrated_to: text("2026-01-31"),
            sort: text("colour"),
            timezone: text("Brazil"),
            attempts_gte: Some(3),
            attempts_lte: Some(2),
            ..DeliveryQuery::default()
        };
        let fields: Vec<_> = read(query).err().unwrap().0.into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["timezone", "sort", "created_from", "integrated_to", "attempts_lte"]);
    }
}
