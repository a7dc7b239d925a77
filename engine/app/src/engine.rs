//! What the rooms share: one engine per process.

use std::sync::Arc;

use engate_egress::Egress;
use engate_host::Host;
use engate_model::{Clock, Timestamp, TokenId, token::Principal};
use engate_store::{Actor, Store};

use crate::{
    clock::Chance,
    config::Config,
    health::Health,
    metrics::Metrics,
    planted::Death,
    rates::Rates,
    revealed::Revealed,
    scheduler::Scheduler,
    strangers::Strangers,
    tag_key::TagKey,
    verbs::{access::TokenCache, diffs::Diffs, plugins::Compilations, wizards::Registries},
    views::Views,
    worker::Worker,
};

/// Store, host, egress and what is held in memory, behind the verbs.
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Chance,
    pub(crate) store: Store,
    pub(crate) host: Host,
    pub(crate) egress: Egress,
    pub(crate) views: Views,
    pub(crate) worker: Worker,
    pub(crate) scheduler: Scheduler,
    pub(crate) sources: crate::sync::Sources,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) tokens: TokenCache,
    pub(crate) tag_key: TagKey,
    pub(crate) diffs: Diffs,
    pub(crate) compilations: Compilations,
    pub(crate) inbound_rates: Rates<String>,
    pub(crate) token_rates: Rates<TokenId>,
    pub(crate) strangers: Strangers,
    pub(crate) registries: Registries,
    pub(crate) revealed: Revealed,
    /// Where this process is to die; tests only.
    pub(crate) death: Option<Death>,
}

impl Engine {
    /// The present instant.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Who a change is written down to.
    pub(crate) fn actor(&self, principal: &Principal) -> Actor {
        Actor::of(principal, self.now(), self.chance.bits())
    }

    /// The engine itself as the one who changes something.
    pub(crate) fn system_actor(&self) -> Actor {
        Actor::system(self.now(), self.chance.bits())
    }
}
