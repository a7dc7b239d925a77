//! Engate's decisions, and nothing else.
//!
//! Who acts here: nobody. This crate holds the nouns (tenant, integrator, endpoint, event, delivery, attempt,
//! plugin) and the pure functions that decide what happens to them: which endpoints get an event
//! ([`routing`]), whose turn it is ([`lanes`], [`line`]), how an attempt ended ([`verdict`]) and what follows from that
//! ([`transition::after`]). It never reads a clock, draws a random number, opens a file or a socket; time and
//! chance come in as arguments, so every rule can be tested as a table.

pub mod breaker;
pub mod callback;
pub mod circuit;
pub mod credential;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod explain;
pub mod feed;
pub mod filter;
pub mod id;
pub mod inbound;
pub mod integrator;
pub mod invalid;
pub mod job;
pub mod json;
pub mod lanes;
pub mod line;
pub mod listing;
pub mod plugin;
pub mod rate;
pub mod recovery;
pub mod redaction;
pub mod retry;
pub mod routing;
pub mod run;
pub mod schedule;
pub mod schema;
pub mod secret;
pub mod sink;
pub mod sinking;
pub mod sync;
pub mod time;
pub mod token;
pub mod transition;
pub mod verdict;
pub mod wizard;
pub mod zone;

pub use id::{
    AuditId, BackfillId, CallId, DeliveryId, DiffId, EndpointId, EventId, IntegratorId, JobId, QuarantineId,
    RecoveryId, RunId, TenantId, TokenId, TrackId, TypedId, WizardId,
};
pub use invalid::{FieldError, Invalid};
pub use secret::Secret;
pub use time::{Clock, Timestamp};
pub use zone::Zone;
