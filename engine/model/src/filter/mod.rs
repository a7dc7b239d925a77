//! Filters: which events of the types that an endpoint subscribes to it wants. A filter is JSON, read once into
//! clauses ([`read`]) and then asked about each event ([`Filter::refusal`]).
//!
//! ```json
//! {"all": [
//!     {"path": "/amount", "gte": 100, "lt": 5000},
//!     {"label": "region", "in": ["br", "pt"]},
//!     {"not": {"path": "/status", "eq": "draft"}}
//! ]}
//! ```

mod compare;
mod read;

use std::cell::OnceCell;

use serde_json::Value;

use crate::event::Event;

/// Levels that a filter may be nested.
pub const DEPTH_MAX: usize = 8;
/// Clauses of one filter, those that hold others included.
pub const CLAUSES_MAX: usize = 64;
/// Values of one `in`.
pub const VALUES_MAX: usize = 100;
/// Longest path, label name and text in a filter, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// A filter, ready to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    source: Value,
    root: Clause,
}

/// One part of a filter, with its place in it (`filter.all[1]`).
#[derive(Debug, Clone, PartialEq)]
struct Clause {
    place: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    All(Vec<Clause>),
    Any(Vec<Clause>),
    Not(Box<Clause>),
    Test { of: Operand, tests: Vec<Test> },
}

/// What a clause looks at.
#[derive(Debug, Clone, PartialEq)]
enum Operand {
    /// A JSON pointer (RFC 6901) into the payload.
    Path(String),
    /// A label by its name.
    Label(String),
}

/// A comparison; all of a clause have to hold.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    Eq(Value),
    Ne(Value),
    In(Vec<Value>),
    Exists(bool),
    Gt(Value),
    Gte(Value),
    Lt(Value),
    Lte(Value),
    Prefix(String),
    Contains(Value),
}

/// An event as filters see it. Its payload is parsed when the first of them asks for it, and never twice.
#[derive(Debug)]
pub struct Subject<'a> {
    event: &'a Event,
    payload: OnceCell<Option<Value>>,
}

impl<'a> Subject<'a> {
    /// Nothing is parsed yet.
    pub const fn new(event: &'a Event) -> Self {
        Self { event, payload: OnceCell::new() }
    }

    /// The event.
    pub const fn event(&self) -> &'a Event {
        self.event
    }

    /// None where the payload is no JSON.
    fn payload(&self) -> Option<&Value> {
        self.payload.get_or_init(|| serde_json::from_slice(&self.event.payload).ok()).as_ref()
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.event.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// Every part to blame, by its place below `filter`.
    pub fn read(source: Value) -> Result<Self, crate::Invalid> {
        let root = read::clause(&source)?;
        Ok(Self { source, root })
    }

    /// The JSON it was read from.
    pub const fn source(&self) -> &Value {
        &self.source
    }

    /// The part at a place such as `filter.all[1]`.
    pub fn part(&self, place: &str) -> Option<&Value> {
        let mut part = &self.source;
        for step in place.split(['.', '[']).skip(1) {
            part = match step.strip_suffix(']') {
                Some(index) => part.get(index.parse::<usize>().ok()?)?,
                None => part.get(step)?,
            };
        }
        Some(part)
    }

    /// Whether the event passes.
    pub fn takes(&self, subject: &Subject<'_>) -> bool {
        self.root.holds(subject)
    }

    /// The place of the clause that says no, the innermost one that does; none where the event passes.
    pub fn refusal(&self, subject: &Subject<'_>) -> Option<&str> {
        self.root.refusal(subject)
    }
}

impl Clause {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        match &self.kind {
            Kind::All(clauses) => clauses.iter().all(|clause| clause.holds(subject)),
            Kind::Any(clauses) => clauses.iter().any(|clause| clause.holds(subject)),
            Kind::Not(clause) => !clause.holds(subject),
            Kind::Test { of, tests } => tests.iter().all(|test| match of {
                Operand::Path(path) => test.of_json(subject.payload().and_then(|payload| payload.pointer(path))),
                Operand::Label(name) => test.of_label(subject.label(name)),
            }),
        }
    }

    fn refusal(&self, subject: &Subject<'_>) -> Option<&str> {
        if self.holds(subject) {
            return None;
        }
        match &self.kind {
            Kind::All(clauses) => clauses.iter().find_map(|clause| clause.refusal(subject)),
            // Of several that all say no, or of one that says yes where it must not, the one that asks is named.
            Kind::Any(_) | Kind::Not(_) | Kind::Test { .. } => Some(&self.place),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{EventId, TenantId, Timestamp};

    fn event(payload: &str) -> Event {
        let at = Timestamp::from_millis(1);
        Event {
            id: EventId::new(at, 1),
            tenant: TenantId::new(at, 1),
            event_type: "t".into(),
            subject: None,
            payload: payload.into(),
            content_type: "application/json".into(),
            occurred_at: at,
            accepted_at: at,
            deliver_at: None,
            labels: vec![("region".into(), "br".into()), ("priority".into(), "7".into())],
            correlation_id: None,
            idempotency_key: None,
            reason: None,
        }
    }

    fn takes(filter: Value, payload: &str) -> bool {
        Filter::read(filter).unwrap().takes(&Subject::new(&event(payload)))
    }

    #[test]
    fn each_operator_says_yes_and_no() {
        let payload = r#"{"n":10.50,"big":9007199254740993,"s":"abc","null":null,"list":[1,"x",{"a":1}],"deep":{"a/b":[0,{"c":true}]}}"#;
        let yes = [
            json!({"path": "/n", "eq": 10.5}),
            json!({"path": "/n", "ne": 10}),
            json!({"path": "/n", "gt": 10, "lte": 10.5}),
            json!({"path": "/big", "eq": 9_007_199_254_740_993_i64, "ne": 9_007_199_254_740_992_i64}),
            json!({"path": "/s", "in": ["x", "abc"], "prefix": "ab", "contains": "bc"}),
            json!({"path": "/s", "gt": "abb", "lt": "abd"}),
            json!({"path": "/list", "contains": "x"}),
            json!({"path": "/list", "contains": {"a": 1}}),
            json!({"path": "/list", "eq": [1, "x", {"a": 1}]}),
            json!({"path": "/null", "exists": true, "eq": null}),
            json!({"path": "/missing", "exists": false, "ne": 1}),
            json!({"path": "/deep/a~1b/1/c", "eq": true}),
            json!({"path": "", "exists": true}),
            json!({"label": "region", "eq": "br", "in": ["pt", "br"], "prefix": "b", "contains": "r"}),
            json!({"label": "priority", "gte": 7, "lt": 10, "eq": 7}),
            json!({"label": "none", "exists": false}),
            json!({"any": [{"path": "/n", "lt": 1}, {"label": "region", "exists": true}]}),
            json!({"not": {"all": [{"path": "/n", "lt": 1}, {"path": "/s", "eq": "abc"}]}}),
        ];
        for filter in yes {
            assert!(takes(filter.clone(), payload), "{filter}");
            assert!(!takes(json!({ "not": filter }), payload), "not {filter}");
        }
        let no = [
            json!({"path": "/s", "gt": 1}),
            json!({"path": "/n", "prefix": "1"}),
            json!({"path": "/missing", "eq": null}),
            json!({"path": "/missing", "lt": 1}),
            json!({"path": "/null", "in": [0, ""]}),
            json!({"label": "region", "gt": 1}),
            json!({"path": "/list/9", "exists": true}),
        ];
        no.into_iter().for_each(|filter| assert!(!takes(filter.clone(), payload), "{filter}"));
    }

    #[test]
    fn a_payload_that_is_no_json_has_no_paths_and_is_never_parsed_for_labels() {
        assert!(!takes(json!({"path": "", "exists": true}), "no json"));
        let event = event("no json");
        let subject = Subject::new(&event);
        assert!(Filter::read(json!({"label": "region", "eq": "br"})).unwrap().takes(&subject));
        assert!(subject.payload.get().is_none(), "nobody asked for it");
    }

    #[test]
    fn the_clause_that_says_no_is_named() {
        let filter = json!({"all": [
            {"label": "region", "eq": "br"},
            {"any": [{"path": "/n", "gt": 5}, {"path": "/n", "lt": 0}]},
            {"all": [{"path": "/s", "exists": true}, {"not": {"path": "/s", "eq": "draft"}}]},
        ]});
        let filter = Filter::read(filter).unwrap();
        let refusal = |payload: &str| filter.refusal(&Subject::new(&event(payload))).map(str::to_owned);
        assert_eq!(refusal(r#"{"n":9,"s":"final"}"#), None);
        assert_eq!(refusal(r#"{"n":3,"s":"final"}"#).as_deref(), Some("filter.all[1]"));
        assert_eq!(refusal(r#"{"n":9,"s":"draft"}"#).as_deref(), Some("filter.all[2].all[1]"));
        assert_eq!(refusal(r#"{"n":9}"#).as_deref(), Some("filter.all[2].all[0]"));
        assert_eq!(filter.part("filter.all[2].all[1]"), Some(&json!({"not": {"path": "/s", "eq": "draft"}})));
        assert_eq!((filter.part("filter"), filter.part("filter.any")), (Some(filter.source()), None));
    }
}
