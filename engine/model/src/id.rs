//! Typed ids: UUIDv7 behind a prefix that names the noun (`evt_0192f0c1...`), so they sort by time and an id of
//! the wrong kind is refused when it is read.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

use crate::time::Timestamp;

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {noun} id; it looks like {prefix}_ followed by 32 hexadecimal digits")]
pub struct IdError {
    noun: &'static str,
    prefix: &'static str,
}

/// A typed id of any noun: a UUID that sorts by time.
pub trait TypedId: Copy {
    /// Its bits, without the noun.
    fn uuid(self) -> Uuid;
    /// The id of this noun with these bits.
    fn from_uuid(uuid: Uuid) -> Self;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal, $noun:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl TypedId for $name {
            fn uuid(self) -> Uuid {
                self.0
            }

            fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl $name {
            /// No id is smaller.
            pub const MIN: Self = Self(Uuid::nil());
            /// No id is larger.
            pub const MAX: Self = Self(Uuid::max());
            /// What the text form begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id for `now`; `random` makes ids of one millisecond differ.
            pub fn new(now: Timestamp, random: u128) -> Self {
                Self(time_ordered(now, random))
            }

            /// The smallest id that can carry `at`: the bound of a time range over ids.
            pub fn floor(at: Timestamp) -> Self {
                Self(Uuid::from_u128(u128::from(at.as_millis() & MILLIS_MASK) << 80))
            }

            /// The instant it carries, to the millisecond.
            pub fn at(self) -> Timestamp {
                Timestamp::from_millis(i64::try_from(self.0.as_u128() >> 80).unwrap_or(i64::MAX))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text, $prefix).map(Self).ok_or(IdError { noun: $noun, prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

ids! {
    /// Whose data it is.
    TenantId, "ten", "a tenant";
    /// A partner company.
    IntegratorId, "int", "an integrator";
    /// A registered URL of an integrator.
    EndpointId, "ep", "an endpoint";
    /// One fact.
    EventId, "evt", "an event";
    /// One event for one endpoint; goes out as `webhook-id`.
    DeliveryId, "dlv", "a delivery";
    /// A client's key.
    TokenId, "tok", "a token";
    /// Who did what.
    AuditId, "aud", "an audit";
    /// A call of the API; it is answered as `x-request-id`.
    CallId, "req", "a call";
    /// A comparison of two plugin versions over history.
    DiffId, "dif", "a diff";
    /// A schedule and what it runs.
    JobId, "job", "a job";
    /// One firing of a job.
    RunId, "run", "a run";
    /// One stream in one partition of a sync job.
    TrackId, "trk", "a track";
    /// A record that a target refuses.
    QuarantineId, "qua", "a record in quarantine";
    /// One order to run a job for times past.
    BackfillId, "bkf", "a backfill";
    /// A setting-up, step by step.
    WizardId, "wiz", "a wizard";
    /// Deliveries of a filter and a time, tried again.
    RecoveryId, "rec", "a recovery";
}

/// UUIDv7 carries 48 bits of milliseconds.
const MILLIS_MASK: u64 = (1 << 48) - 1;

fn time_ordered(now: Timestamp, random: u128) -> Uuid {
    let bytes = random.to_le_bytes();
    let mut chance = [0_u8; 10];
    chance.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    uuid::Builder::from_unix_timestamp_millis(now.as_millis() & MILLIS_MASK, &chance).into_uuid()
}

fn parse(text: &str, prefix: &str) -> Option<Uuid> {
    let digits = text.strip_prefix(prefix)?.strip_prefix('_')?;
    let canonical = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if canonical { Uuid::try_parse(digits).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_survive_text() {
        let early = EventId::new(Timestamp::from_millis(1_000), u128::MAX);
        let late = EventId::new(Timestamp::from_millis(1_001), 0);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<EventId>(), Ok(early));
        assert!(EventId::floor(Timestamp::from_millis(1_001)) <= late);
        assert!(EventId::floor(Timestamp::from_millis(1_001)) > early);
        assert_eq!(late.at(), Timestamp::from_millis(1_001));
    }

    #[test]
    fn an_id_of_another_kind_is_refused_with_the_cure() {
        let delivery = DeliveryId::new(Timestamp::from_millis(5), 7).to_string();
        let error = delivery.parse::<EventId>().unwrap_err().to_string();
        assert_eq!(error, "not an event id; it looks like evt_ followed by 32 hexadecimal digits");
        assert!("evt_XYZ".parse::<EventId>().is_err());
        assert!(delivery.to_uppercase().parse::<DeliveryId>().is_err());
    }
}
