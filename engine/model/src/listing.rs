//! Listings: what may be sorted by, and texts as people search them.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

use crate::{delivery::Delivery, id::TypedId as _, invalid::Invalid};

/// Columns that one order may name.
pub const SORT_KEYS_MAX: usize = 8;

/// What a delivery shows, and may be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Column {
    /// Its id; sorts by time.
    Id,
    /// The running number.
    Code,
    /// Its event's id.
    Event,
    /// Key of its event's type.
    EventType,
    /// What the event is about.
    Subject,
    /// The endpoint's id.
    Endpoint,
    /// The integrator, by its name.
    Integrator,
    /// Where it stands, by the state's code.
    State,
    /// How the last attempt ended: none, failed, succeeded.
    Success,
    /// What last went wrong.
    Reason,
    /// Tries made.
    Attempts,
    /// When the event was taken.
    CreatedAt,
    /// When the last try began.
    LastAttemptAt,
    /// When it succeeded.
    IntegratedAt,
    /// When the next try is due.
    NextAttemptAt,
    /// The event's.
    CorrelationId,
}

impl Column {
    /// Every column, in the order in which the API shows them.
    pub const ALL: [Self; 16] = [
        Self::Id,
        Self::Code,
        Self::Event,
        Self::EventType,
        Self::Subject,
        Self::Endpoint,
        Self::Integrator,
        Self::State,
        Self::Success,
        Self::Reason,
        Self::Attempts,
        Self::CreatedAt,
        Self::LastAttemptAt,
        Self::IntegratedAt,
        Self::NextAttemptAt,
        Self::CorrelationId,
    ];

    /// The field's name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Code => "code",
            Self::Event => "event",
            Self::EventType => "event_type",
            Self::Subject => "subject",
            Self::Endpoint => "endpoint",
            Self::Integrator => "integrator",
            Self::State => "state",
            Self::Success => "success",
            Self::Reason => "reason",
            Self::Attempts => "attempts",
            Self::CreatedAt => "created_at",
            Self::LastAttemptAt => "last_attempt_at",
            Self::IntegratedAt => "integrated_at",
            Self::NextAttemptAt => "next_attempt_at",
            Self::CorrelationId => "correlation_id",
        }
    }

    /// Reads a field's name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.name() == name)
    }

    /// Whether a value is of the kind that this column has.
    pub fn fits(self, value: &SortValue) -> bool {
        match (self, value) {
            (Self::Id | Self::Event | Self::Endpoint, SortValue::Id(_)) => true,
            (
                Self::EventType | Self::Subject | Self::Integrator | Self::State | Self::Reason | Self::CorrelationId,
                SortValue::Text(_),
            ) => true,
            (Self::Code | Self::Success | Self::Attempts | Self::CreatedAt, SortValue::Int(_)) => true,
            (Self::LastAttemptAt | Self::IntegratedAt | Self::NextAttemptAt, SortValue::Int(_)) => true,
            (_, SortValue::Null) => self.may_be_absent(),
            _ => false,
        }
    }

    /// Whether a delivery may have nothing there.
    pub const fn may_be_absent(self) -> bool {
        matches!(
            self,
            Self::Subject
                | Self::Reason
                | Self::LastAttemptAt
                | Self::IntegratedAt
                | Self::NextAttemptAt
                | Self::CorrelationId
        )
    }

    /// What a delivery has there, whose integrator has that name.
    pub fn of(self, delivery: &Delivery, integrator_name: &str) -> SortValue {
        let text = |text: &Option<String>| text.clone().map_or(SortValue::Null, SortValue::Text);
        let time = |at: Option<crate::Timestamp>| at.map_or(SortValue::Null, |at| SortValue::Int(at.as_micros()));
        match self {
            Self::Id => SortValue::Id(delivery.id.uuid().as_u128()),
            Self::Code => SortValue::Int(delivery.code),
            Self::Event => SortValue::Id(delivery.event.uuid().as_u128()),
            Self::EventType => SortValue::Text(delivery.event_type.clone()),
            Self::Subject => text(&delivery.subject),
            Self::Endpoint => SortValue::Id(delivery.endpoint.uuid().as_u128()),
            Self::Integrator => SortValue::Text(integrator_name.to_owned()),
            Self::State => SortValue::Text(delivery.state.code().to_owned()),
            Self::Success => SortValue::Int(delivery.success.map_or(-1, i64::from)),
            Self::Reason => text(&delivery.reason),
            Self::Attempts => SortValue::Int(i64::from(delivery.attempts)),
            Self::CreatedAt => time(Some(delivery.created_at)),
            Self::LastAttemptAt => time(delivery.last_attempt_at),
            Self::IntegratedAt => time(delivery.integrated_at),
            Self::NextAttemptAt => time(delivery.next_attempt_at),
            Self::CorrelationId => text(&delivery.correlation_id),
        }
    }
}

/// A value that an order compares. Nothing is smaller than anything; texts compare by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SortValue {
    /// Nothing there.
    #[serde(rename = "n")]
    Null,
    /// A number or a time in microseconds.
    #[serde(rename = "i")]
    Int(i64),
    /// A text.
    #[serde(rename = "t")]
    Text(String),
    /// An id without its noun.
    #[serde(rename = "u", with = "hex")]
    Id(u128),
}

/// JSON has no numbers of 128 bits.
mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{id:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        u128::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
    }
}

/// One column of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// The column.
    pub column: Column,
    /// Whether the largest comes first.
    pub descending: bool,
}

impl SortKey {
    /// The running number, the smallest first: the order where nobody asks for another, and the last word in any.
    pub const CODE: Self = Self { column: Column::Code, descending: false };

    /// How two values of the column stand in this order.
    pub fn compare(self, a: &SortValue, b: &SortValue) -> Ordering {
        if self.descending { b.cmp(a) } else { a.cmp(b) }
    }
}

/// An order over deliveries in which no two are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort(Vec<SortKey>);

impl Default for Sort {
    fn default() -> Self {
        Self(vec![SortKey::CODE])
    }
}

impl Sort {
    /// The order by these columns; where they are equal, the smaller code comes first.
    pub fn by(keys: impl IntoIterator<Item = SortKey>) -> Self {
        let mut all: Vec<SortKey> = Vec::new();
        for key in keys.into_iter().chain([SortKey::CODE]) {
            all.push(key);
            // Codes are never equal: what comes behind decides nothing.
            if key.column == Column::Code {
                break;
            }
        }
        Self(all)
    }

    /// Reads `integrator,-attempts`: columns in turn, `-` for the largest first.
    ///
    /// # Errors
    /// Names `sort` and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let complain = |message: String| Err(Invalid::field("sort", message));
        let mut keys: Vec<SortKey> = Vec::new();
        for part in text.split(',') {
            let (name, descending) = part.strip_prefix('-').map_or((part, false), |name| (name, true));
            let Some(column) = Column::from_name(name) else {
                let names = Column::ALL.map(Column::name).join(", ");
                return complain(format!("{part:?} is no column; sort by {names}, with `-` for the largest first"));
            };
            if keys.iter().any(|key| key.column == column) {
                return complain(format!("names {name} twice; once is enough"));
            }
            keys.push(SortKey { column, descending });
        }
        if keys.len() > SORT_KEYS_MAX {
            return complain(format!("names {} columns; at most {SORT_KEYS_MAX} make an order", keys.len()));
        }
        Ok(Self::by(keys))
    }

    /// Its columns; the code is the last one.
    pub fn keys(&self) -> &[SortKey] {
        &self.0
    }

    /// Whether the names of integrators matter to it.
    pub fn goes_by_names(&self) -> bool {
        self.0.iter().any(|key| key.column == Column::Integrator)
    }

    /// Where a delivery stands in this order, whose integrator has that name.
    pub fn place(&self, delivery: &Delivery, integrator_name: &str) -> Vec<SortValue> {
        self.0.iter().map(|key| key.column.of(delivery, integrator_name)).collect()
    }

    /// Whether a place is one of this order.
    pub fn has_place(&self, place: &[SortValue]) -> bool {
        self.0.len() == place.len() && self.0.iter().zip(place).all(|(key, value)| key.column.fits(value))
    }

    /// How two places stand to each other.
    pub fn compare(&self, a: &[SortValue], b: &[SortValue]) -> Ordering {
        let columns = self.0.iter().zip(a.iter().zip(b));
        columns.map(|(key, (a, b))| key.compare(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl std::fmt::Display for Sort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, key) in self.0.iter().enumerate() {
            let (comma, minus) = (if n == 0 { "" } else { "," }, if key.descending { "-" } else { "" });
            write!(f, "{comma}{minus}{}", key.column.name())?;
        }
        Ok(())
    }
}

/// The Latin letters with something on them, in which [`alike`] looks.
const LETTERS: [std::ops::RangeInclusive<char>; 2] = ['\u{c0}'..='\u{24f}', '\u{1e00}'..='\u{1eff}'];

/// Every character that is the same as `c`, which is folded, to a search: with and without accents, large and small.
pub fn alike(c: char) -> Vec<char> {
    let is_alike = |letter: &char| folded(letter.encode_utf8(&mut [0; 4])).chars().eq([c]);
    let accented = LETTERS.into_iter().flatten().filter(|_| c.is_alphabetic()).filter(is_alike);
    let mut all: Vec<char> = [c].into_iter().chain(c.to_uppercase()).chain(accented).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A text as searches compare it: without accents, in small letters.
pub fn folded(text: &str) -> String {
    text.nfd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).nfd().collect()
}

/// A text whose accents are one with their letters, where there are such letters.
pub fn composed(text: &str) -> String {
    text.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v37_an_order_is_read_in_turn_and_ends_with_the_code() {
        let sort = Sort::parse("integrator,-attempts").unwrap();
        assert_eq!(sort.to_string(), "integrator,-attempts,code");
        assert_eq!(Sort::parse("-code").unwrap().to_string(), "-code");
        assert_eq!(Sort::parse("state,code,-subject").unwrap().to_string(), "state,code");
        assert_eq!(Sort::default().to_string(), "code");
        for (wrong, says) in [("", "no column"), ("x", "no column"), ("code,code", "twice"), ("code,-code", "twice")] {
            let complaint = Sort::parse(wrong).unwrap_err().to_string();
            assert!(complaint.starts_with("sort: ") && complaint.contains(says), "{wrong}: {complaint}");
        }
        let nine = Column::ALL.iter().take(SORT_KEYS_MAX + 1).map(|c| c.name()).collect::<Vec<_>>().join(",");
        assert!(Sort::parse(&nine).unwrap_err().to_string().contains("at most"));
    }

    #[test]
    fn nothing_is_smaller_than_anything() {
        let up = Sort::parse("subject").unwrap();
        let down = Sort::parse("-subject").unwrap();
        let place = |text: Option<&str>, code| {
            vec![text.map_or(SortValue::Null, |text| SortValue::Text(text.into())), SortValue::Int(code)]
        };
        assert_eq!(up.compare(&place(None, 2), &place(Some(""), 1)), Ordering::Less);
        assert_eq!(down.compare(&place(None, 1), &place(Some(""), 2)), Ordering::Greater);
        assert_eq!(
            down.compare(&place(Some("a"), 1), &place(Some("a"), 2)),
            Ordering::Less,
            "the code stays ascending"
        );
    }

    #[test]
    fn v27_accents_and_capitals_do_not_count() {
        assert_eq!(folded("Operação em TEMPO Real"), "operacao em tempo real");
        assert_eq!(folded("ÀÉÎõüÇñ"), "aeioucn");
        assert_eq!(folded("A\u{301}"), "a", "composed or not");
        assert_eq!(folded("日本 42"), "日本 42");
        let a: String = alike('a').into_iter().collect();
        assert!(["a", "A", "ã", "Ã", "á", "Â"].iter().all(|letter| a.contains(letter)) && !a.contains('b'), "{a}");
        assert_eq!((alike('7'), alike('*')), (vec!['7'], vec!['*']));
    }

    #[test]
    fn places_survive_being_written_down() {
        let place = vec![SortValue::Null, SortValue::Int(-1), SortValue::Text("ç".into()), SortValue::Id(u128::MAX)];
        let text = serde_json::to_string(&place).unwrap();
        assert_eq!(serde_json::from_str::<Vec<SortValue>>(&text).unwrap(), place);
    }
}
