//! What people and systems may ask of the engine: one `impl Engine` per noun, typed in and out. `api` calls
//! them, a console will; neither holds a pool. A verb gets the [`Principal`] who asks and answers facts; what
//! belongs to another integrator is as if it were not there.

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod deliveries;
pub(crate) mod demand;
pub(crate) mod diffs;
pub(crate) mod endpoints;
pub(crate) mod event_types;
pub(crate) mod events;
pub(crate) mod files;
pub(crate) mod health;
pub(crate) mod inbounds;
pub(crate) mod integrators;
pub(crate) mod jobs;
pub(crate) mod links;
pub(crate) mod plugins;
pub(crate) mod queues;
pub(crate) mod recoveries;
pub(crate) mod replays;
pub(crate) mod runs;
mod search;
pub(crate) mod secrets;
pub(crate) mod settings;
pub(crate) mod syncs;
pub(crate) mod tenants;
pub(crate) mod tokens;
pub(crate) mod wizards;

use engate_model::{
    IntegratorId, Invalid,
    token::{Principal, Role},
};
use engate_store::StoreError;

use crate::accept::{NotTaken, SCHEMA_MISMATCH};

/// Why a verb did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerbError {
    /// There is no such thing, or it is not the caller's to see.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// Fields of the input are to blame.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Fields of the input are to blame, for a reason that has a code of its own (`egress_denied`).
    #[error("{invalid}")]
    Refused {
        /// Stable code.
        code: &'static str,
        /// The fields.
        invalid: Invalid,
    },
    /// It collides with the present state. `code` is stable and snake_case, `detail` says what to do instead.
    #[error("{detail}")]
    Conflict {
        /// Stable code.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// Fields of the input would bring about a state that must not be.
    #[error("{invalid}")]
    Collides {
        /// Stable code.
        code: &'static str,
        /// The fields.
        invalid: Invalid,
    },
    /// As much of that is under way as may be; `detail` says what to wait for.
    #[error("{detail}")]
    Busy {
        /// Stable code.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// What the change was decided on is no longer what is there.
    #[error("the {0} is being changed by others at this moment; try again")]
    Stale(&'static str),
    /// It is not in the state that the caller demanded (`If-Match`).
    #[error("it was changed since that `ETag` was answered; read it again and decide anew")]
    PreconditionFailed,
    /// The caller may not do it, whatever the values.
    #[error("{0}")]
    Forbidden(String),
    /// Whatever else the database said.
    #[error(transparent)]
    Store(StoreError),
    /// A defect of the engine or its surroundings (a disk, a child process); logged, never shown.
    #[error("{0}")]
    Internal(String),
}

impl VerbError {
    /// A collision.
    pub(crate) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into() }
    }

    /// One field to blame.
    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(Invalid::field(field, message))
    }
}

/// Tells the store's collision in a verb's own words; anything else stays what it is.
pub(crate) fn on_conflict(code: &'static str, detail: impl Into<String>) -> impl FnOnce(StoreError) -> VerbError {
    let detail = detail.into();
    move |error| match error {
        StoreError::Conflict { .. } => VerbError::Conflict { code, detail },
        other => other.into(),
    }
}

impl From<StoreError> for VerbError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { what } => Self::NotFound(what),
            StoreError::Conflict { what } => Self::conflict("conflict", format!("{what} already exists or is in use")),
            StoreError::TooBroad => Self::Refused {
                code: "narrow_the_range",
                invalid: Invalid::field(
                    "created_from",
                    "finding these takes too long; say from when on (created_from), or filter by endpoint, integrator, \
                     event_type or state as well, or sort by another column",
                ),
            },
            StoreError::Stale { what } => Self::Stale(what),
            other => Self::Store(other),
        }
    }
}

impl From<NotTaken> for VerbError {
    fn from(error: NotTaken) -> Self {
        match error {
            NotTaken::Store(error) => error.into(),
            NotTaken::IdConflict { index } => Self::conflict(
                "id_conflict",
                format!("the id of event {index} was used before with another body; a new fact needs a new id"),
            ),
            NotTaken::SchemaMismatch(found) => Self::Refused {
                code: SCHEMA_MISMATCH,
                invalid: Invalid(found.into_errors(|index, field| format!("[{index}].{field}"))),
            },
        }
    }
}

/// Whose things a caller sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The whole tenant's.
    Tenant,
    /// One integrator's.
    Integrator(IntegratorId),
    /// Nobody's: a token of the role `integrator` that is bound to none.
    Nothing,
}

impl Scope {
    /// The scope of `principal`.
    pub(crate) fn of(principal: &Principal) -> Self {
        match (principal.role, principal.integrator) {
            (Role::Integrator, Some(integrator)) => Self::Integrator(integrator),
            (Role::Integrator, None) => Self::Nothing,
            _ => Self::Tenant,
        }
    }

    /// Whether something of `integrator` is to be seen.
    pub(crate) fn covers(self, integrator: IntegratorId) -> bool {
        match self {
            Self::Tenant => true,
            Self::Integrator(own) => own == integrator,
            Self::Nothing => false,
        }
    }

    /// Fails with "`noun` not found" where something of `integrator` is not to be seen.
    pub(crate) fn require(self, integrator: IntegratorId, noun: &'static str) -> Result<(), VerbError> {
        if self.covers(integrator) { Ok(()) } else { Err(VerbError::NotFound(noun)) }
    }
}
