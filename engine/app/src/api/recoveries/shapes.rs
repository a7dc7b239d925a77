//! What recoveries take and show.

use std::collections::BTreeMap;

use engate_model::{
    EndpointId, IntegratorId, Invalid, RecoveryId, Timestamp, Zone,
    delivery::DeliveryState,
    invalid::Complaints,
    recovery::{RATE_DEFAULT, Recovery, RecoveryFilter},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    api::{
        deliveries::{Success, shapes::StateName},
        text::NameText,
    },
    verbs::recoveries::{RecoveryFound, RecoveryWish},
};

/// Endpoints, and reasons, that a dry run tells of at most.
const SHOWN_MAX: usize = 100;
/// What is said of trying again with another version than the endpoint's own.
const NO_VERSION: &str = "is not built yet: pin the version on the endpoint (`plugin`: `name@1.2.0`), then recover";

/// One state, or several.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = RecoveryStates, example = json!(["failed"]))]
#[allow(dead_code, reason = "describes what `one_or_several` reads")]
enum StatesShape {
    One(StateName),
    Several(StateList),
}

/// Several states.
#[derive(ToSchema)]
#[schema(as = RecoveryStateList, min_items = 1, max_items = 8)]
#[allow(dead_code, reason = "a description only")]
struct StateList(Vec<StateName>);

/// How the last attempt ended: in one way, or one of several.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = RecoverySuccesses, example = json!(["no"]))]
#[allow(dead_code, reason = "describes what `one_or_several` reads")]
enum SuccessesShape {
    One(Success),
    Several(SuccessList),
}

/// Several ways to have ended.
#[derive(ToSchema)]
#[schema(as = RecoverySuccessList, min_items = 1, max_items = 3)]
#[allow(dead_code, reason = "a description only")]
struct SuccessList(Vec<Success>);

/// One name, or several.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = RecoveryNames, example = json!(["bill.paid"]))]
#[allow(dead_code, reason = "describes what `one_or_several` reads")]
enum NamesShape {
    One(NameText),
    Several(NameList),
}

/// Several names.
#[derive(ToSchema)]
#[schema(as = RecoveryNameList, min_items = 1, max_items = 50)]
#[allow(dead_code, reason = "a description only")]
struct NameList(Vec<NameText>);

/// Which deliveries; all of it must hold, a list means any of it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RecoveryFilter, example = json!({"event_type": ["bill.paid"]}))]
struct FilterBody {
    /// In one of these states; `failed` where neither this nor `success` is said.
    #[serde(default, deserialize_with = "one_or_several")]
    #[schema(value_type = Option<StatesShape>)]
    state: Vec<DeliveryState>,
    /// By how the last attempt ended; one that is still to be tried again counts as `no` too.
    #[serde(default, deserialize_with = "one_or_several")]
    #[schema(value_type = Option<SuccessesShape>)]
    success: Vec<Success>,
    /// Ids or slugs of integrators.
    #[serde(default, deserialize_with = "one_or_several")]
    #[schema(value_type = Option<NamesShape>)]
    integrator: Vec<String>,
    /// Keys of event types.
    #[serde(default, deserialize_with = "one_or_several")]
    #[schema(value_type = Option<NamesShape>)]
    event_type: Vec<String>,
    /// Ids of endpoints.
    #[serde(default, deserialize_with = "one_or_several")]
    #[schema(value_type = Option<NamesShape>)]
    endpoint: Vec<EndpointId>,
    /// Tried that often or more.
    #[schema(minimum = 0, maximum = 65_535)]
    attempts_gte: Option<u32>,
    /// Tried that often or less.
    #[schema(minimum = 0, maximum = 65_535)]
    attempts_lte: Option<u32>,
    /// Tried exactly that often.
    #[schema(minimum = 0, maximum = 65_535)]
    attempts_eq: Option<u32>,
}

/// What is to be tried again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RecoveryNew, example = json!({
    "filter": {"event_type": ["bill.paid"]}, "since": "2026-01-31T12:00:00Z", "until": "2026-01-31T18:00:00Z", "rate": 20,
    "dry_run": true
}))]
pub(super) struct RecoveryBody {
    /// Which deliveries; what failed for good where nothing is said.
    filter: Option<FilterBody>,
    /// Created then or later: a day (`2026-01-31`, in the zone of the setting `locale.timezone`) or an RFC 3339 time.
    #[schema(min_length = 1, max_length = 40)]
    since: String,
    /// Created then or earlier; a day counts to its end, a time as far as it is written. None, or one to come: up to now.
    #[schema(min_length = 1, max_length = 40)]
    until: Option<String>,
    /// Not built yet.
    #[schema(min_length = 1, max_length = 255)]
    plugin_version: Option<String>,
    /// Deliveries a second that are gone through, at most; none: 10.
    #[schema(minimum = 1, maximum = 500)]
    rate: Option<u32>,
    /// Only says how much it would be; nothing is changed.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// Reads one value as a list of one; null as none.
fn one_or_several<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let items = match Value::deserialize(deserializer)? {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        one => vec![one],
    };
    items.into_iter().map(|item| serde_json::from_value(item).map_err(D::Error::custom)).collect()
}

impl FilterBody {
    fn as_query(&self) -> String {
        let Self { state, success, integrator, event_type, endpoint, attempts_gte, attempts_lte, attempts_eq } = self;
        let given = [
            // Where neither is said, the state decides.
            ("state=&", !state.is_empty() || success.is_empty()),
            ("success=&", !success.is_empty()),
            ("integrator=&", !integrator.is_empty()),
            ("event_type=&", !event_type.is_empty()),
            ("endpoint=&", !endpoint.is_empty()),
            ("attempts_gte=&", attempts_gte.or(*attempts_lte).or(*attempts_eq).is_some()),
            ("since=", true),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }

    fn read(self, complaints: &mut Complaints) -> (RecoveryFilter, Vec<String>) {
        if self.attempts_eq.is_some() && (self.attempts_gte.is_some() || self.attempts_lte.is_some()) {
            complaints.add("filter.attempts_eq", "says all there is to say; leave attempts_gte and attempts_lte out");
        }
        let ended = |success| match success {
            Success::Yes => Some(true),
            Success::No => Some(false),
            Success::Pending => None,
        };
        let filter = RecoveryFilter {
            states: self.state,
            success: self.success.into_iter().map(ended).collect(),
            integrators: Vec::new(),
            endpoints: self.endpoint,
            event_types: self.event_type,
            attempts_min: self.attempts_eq.or(self.attempts_gte),
            attempts_max: self.attempts_eq.or(self.attempts_lte),
        };
        (filter, self.integrator)
    }
}

impl RecoveryBody {
    /// The query of a listing that asks about the same fields, for whoever decides by their names.
    pub(super) fn as_query(&self) -> String {
        self.filter.as_ref().map_or_else(|| FilterBody::default().as_query(), FilterBody::as_query)
    }

    /// Reads what the schema cannot check; days are meant in `zone`.
    ///
    /// # Errors
    /// Every field to blame.
    pub(super) fn read(self, zone: Zone) -> Result<RecoveryWish, Invalid> {
        let mut complaints = Complaints::default();
        let (filter, integrators) = self.filter.unwrap_or_default().read(&mut complaints);
        let moment = |field: &str, text: &str| zone.moment(text).map_err(|message| Invalid::field(field, message));
        let since = complaints.take(moment("since", &self.since));
        let until = complaints.take(self.until.as_deref().map(|text| moment("until", text)).transpose()).flatten();
        if self.plugin_version.is_some() {
            complaints.add("plugin_version", NO_VERSION);
        }
        let (since, until) = (since.unwrap_or_default().0, until.map(|(_, before)| before));
        let rate = self.rate.unwrap_or(RATE_DEFAULT);
        complaints.finish(RecoveryWish { filter, integrators, since, until, rate })
    }
}

/// Which deliveries a recovery goes through; a list that is left out means any.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecoveryFilterShown, example = json!({"state": ["failed"], "event_type": ["bill.paid"]}))]
struct FilterView {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<StateName>, required = false)]
    state: Vec<DeliveryState>,
    /// `yes`, `no` or `pending`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    success: Vec<&'static str>,
    /// Ids of integrators.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    integrator: Vec<IntegratorId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    event_type: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    endpoint: Vec<EndpointId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts_gte: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts_lte: Option<u32>,
}

/// A recovery and how far it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Recovery, example = json!({
    "id": "rec_0192f0c1a2b37c4d8e5f60718293a4b5", "state": "running",
    "filter": {"state": ["failed"], "event_type": ["bill.paid"]}, "since": "2026-01-31T12:00:00.000000Z",
    "until": "2026-01-31T18:00:00.000000Z", "rate": 20, "matched": 900, "matched_estimated": false, "retried": 120,
    "skipped": {"newer_version": 3}, "position": 1042, "trouble": null, "created_by": "ana",
    "started_at": "2026-01-31T19:00:00.000000Z", "finished_at": null
}))]
pub(super) struct RecoveryView {
    #[schema(value_type = String)]
    id: RecoveryId,
    /// `running`, `succeeded` (it went through all there is) or `cancelled`.
    state: &'static str,
    filter: FilterView,
    /// Created then or later.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Created before.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// Deliveries a second at most.
    rate: u32,
    /// How many matched when it was started; what is there when its turn comes counts.
    matched: u64,
    /// Set where `matched` is at least that many.
    matched_estimated: bool,
    /// Deliveries that were set due.
    retried: u64,
    /// Deliveries that could not be, by why: the state they are in, `in_progress`, `endpoint_deleted`, `event_not_kept`,
    /// `newer_version`, `changed_meanwhile`, `not_kept` or `test` (a trial of its endpoint). Empty for a token that is not
    /// shown `state`.
    skipped: BTreeMap<String, u64>,
    /// The code up to which it went through all there is; 0 before it began.
    position: i64,
    /// What keeps it from going on at present; it is tried again until that works.
    trouble: Option<String>,
    /// The client that started it.
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl RecoveryView {
    pub(super) fn of(recovery: Recovery) -> Self {
        let RecoveryFilter { states, success, integrators, endpoints, event_types, attempts_min, attempts_max } =
            recovery.filter;
        let ended = |success| match success {
            Some(true) => "yes",
            Some(false) => "no",
            None => "pending",
        };
        Self {
            id: recovery.id,
            state: recovery.state.code(),
            filter: FilterView {
                state: states,
                success: success.into_iter().map(ended).collect(),
                integrator: integrators,
                event_type: event_types,
                endpoint: endpoints,
                attempts_gte: attempts_min,
                attempts_lte: attempts_max,
            },
            since: recovery.since,
            until: recovery.until,
            rate: recovery.rate,
            matched: recovery.matched,
            matched_estimated: recovery.matched_estimated,
            retried: recovery.retried,
            skipped: recovery.skipped,
            position: recovery.position,
            trouble: recovery.trouble,
            created_by: recovery.created_by,
            started_at: recovery.started_at,
            finished_at: recovery.finished_at,
        }
    }
}

/// Deliveries of one endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecoveryOfEndpoint)]
struct OfEndpoint {
    #[schema(value_type = String)]
    endpoint: EndpointId,
    #[schema(value_type = String)]
    integrator: IntegratorId,
    matched: u64,
}

/// Deliveries that last failed for one reason.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecoveryOfReason)]
struct OfReason {
    /// Stable code; null where nothing went wrong.
    reason: Option<String>,
    matched: u64,
}

/// How much a recovery would be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecoveryDryRun, example = json!({
    "dry_run": true, "matched": 900, "matched_estimated": false,
    "by_endpoint": [{"endpoint": "ep_0192f0c1a2b37c4d8e5f60718293a4b5",
        "integrator": "int_0192f0c1a2b37c4d8e5f60718293a4b5", "matched": 900}],
    "by_reason": [{"reason": "server_error", "matched": 880}, {"reason": "timeout", "matched": 20}],
    "skipped": {"endpoint_deleted": 20}
}))]
pub(super) struct DryRunView {
    /// Nothing was changed.
    dry_run: bool,
    /// Deliveries that match.
    matched: u64,
    /// Set where `matched` is at least that many; what follows then is of the first 10,000.
    matched_estimated: bool,
    /// Where they go, the most first; up to 100 endpoints.
    by_endpoint: Vec<OfEndpoint>,
    /// What went wrong with them, the most first; up to 100 reasons.
    by_reason: Vec<OfReason>,
    /// Of these, how many cannot be tried again as they are now, by why. What only their turn will tell is not in it.
    skipped: BTreeMap<&'static str, u64>,
}

impl DryRunView {
    pub(super) fn of(found: RecoveryFound) -> Self {
        let endpoints = found.endpoints.into_iter().take(SHOWN_MAX);
        let reasons = found.reasons.into_iter().take(SHOWN_MAX);
        Self {
            dry_run: true,
            matched: found.matched,
            matched_estimated: found.estimated,
            by_endpoint: endpoints
                .map(|(endpoint, integrator, matched)| OfEndpoint { endpoint, integrator, matched })
                .collect(),
            by_reason: reasons.map(|(reason, matched)| OfReason { reason, matched }).collect(),
            skipped: found.skipped,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::extract::read_json;

    fn read(body: &Value) -> Result<RecoveryWish, Vec<String>> {
        let fields = |invalid: Invalid| invalid.0.into_iter().map(|error| error.field).collect::<Vec<_>>();
        let body: RecoveryBody = match read_json(body.to_string().as_bytes()) {
            Ok(body) => body,
            Err(_) => return Err(vec!["schema".to_owned()]),
        };
        body.read(Zone::default()).map_err(fields)
    }

    #[test]
    fn one_is_as_good_as_a_list_of_one() {
        let of = |filter: Value| read(&json!({"since": "2026-01-31", "filter": filter})).unwrap();
        let one = of(json!({"state": "failed", "success": "no", "integrator": "acme", "event_type": "bill.paid"}));
        let list =
            of(json!({"state": ["failed"], "success": ["no"], "integrator": ["acme"], "event_type": ["bill.paid"]}));
        assert_eq!((&one.filter, &one.integrators), (&list.filter, &list.integrators));
        assert_eq!((one.filter.success, one.integrators), (vec![Some(false)], vec!["acme".to_owned()]));
        assert_eq!(of(Value::Null).filter, RecoveryFilter::default());
        assert_eq!(of(json!({"state": null, "attempts_eq": 2})).filter.attempts_max, Some(2));
        assert_eq!(read(&json!({"since": "2026-01-31"})).unwrap().rate, RATE_DEFAULT);
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let wrong = json!({"since": "yesterday", "until": "tomorrow", "plugin_version": "gsan@1.2.0",
            "filter": {"attempts_eq": 1, "attempts_gte": 1}});
        let mut fields = read(&wrong).unwrap_err();
        fields.sort();
        assert_eq!(fields, ["filter.attempts_eq", "plugin_version", "since", "until"]);
        for filter in [json!({"state": "lost"}), json!({"state": []}), json!({"q": "x"}), json!({"endpoint": "ep_1"})] {
            assert!(read(&json!({"since": "2026-01-31", "filter": filter})).is_err(), "{filter}");
        }
        for rate in [0, 501] {
            assert!(read(&json!({"since": "2026-01-31", "rate": rate})).is_err(), "{rate}");
        }
    }

    #[test]
    fn what_a_filter_asks_about_is_told_by_the_names_of_a_listing() {
        assert_eq!(FilterBody::default().as_query(), "state=&since=");
        let filter = FilterBody { success: vec![Success::No], attempts_lte: Some(3), ..FilterBody::default() };
        assert_eq!(filter.as_query(), "success=&attempts_gte=&since=");
    }
}
