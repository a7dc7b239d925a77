//! A plugin in memory: machine code mapped, functions looked up, nothing instantiated.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use engate_model::{Timestamp, plugin::World};
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};

use crate::{
    cache::{Library, Mapped},
    code::Code,
    digest::Digest,
    engine::{MEMORIES_MAX, TABLES_MAX},
    error::{InstallCode, InstallError},
    instance::CallState,
    libraries,
    log::printable,
    v0_1::{Misfit, Prepared},
};

/// A plugin in memory. Whoever holds one can call it, also after the host let go of it: calls that are under way on
/// an old version finish on the old version.
pub struct LoadedPlugin {
    code: Code,
    pub(crate) prepared: Prepared,
    /// Permits of the pool that one instance takes.
    pub(crate) weight: u32,
    /// This plugin's share of the pool.
    pub(crate) share: Arc<Semaphore>,
    uses_state: bool,
    /// Kept for the next plugin that has them.
    _libraries: Vec<Arc<Library>>,
    last_used: AtomicI64,
}

/// The import by which a plugin asks for its private state.
const STATE_INTERFACE: &str = "engate:plugin/state@";

impl LoadedPlugin {
    /// Looks up the functions of `component`.
    ///
    /// # Errors
    /// It does not fit the contract, or needs more than an instance may have.
    pub(crate) fn new(
        code: Code,
        mapped: Mapped,
        linker: &Linker<CallState>,
        share: u32,
        now: Timestamp,
    ) -> Result<Self, InstallError> {
        let Mapped { component, libraries } = mapped;
        let weight = weight(&component, !libraries.is_empty())?;
        let linked = with_libraries(linker, &libraries)
            .map_err(|error| InstallError::new(InstallCode::Unavailable, format!("{error:#}")))?;
        let prepared = Prepared::new(linked.as_ref().unwrap_or(linker), &component).map_err(|misfit| {
            let (refusal, error) = match misfit {
                Misfit::Imports(error) => (InstallCode::UnknownImport, error),
                Misfit::Exports(error) => (InstallCode::WrongWorld, error),
            };
            InstallError::new(refusal, printable(&format!("it does not fit the contract: {error:#}"), 2_000))
        })?;
        let ty = component.component_type();
        let uses_state = ty.imports(component.engine()).any(|(name, _)| name.starts_with(STATE_INTERFACE));
        Ok(Self {
            code,
            prepared,
            weight,
            share: Arc::new(Semaphore::new(share as usize)),
            uses_state,
            _libraries: libraries,
            last_used: AtomicI64::new(now.as_micros()),
        })
    }

    /// sha256 of the component.
    pub const fn digest(&self) -> &Digest {
        &self.code.digest
    }

    /// Which machine code it runs.
    pub(crate) const fn code(&self) -> &Code {
        &self.code
    }

    /// Whether it can ask for its private state at all; where it cannot, nobody need read it.
    pub const fn uses_state(&self) -> bool {
        self.uses_state
    }

    /// What it is made for.
    pub fn worlds(&self) -> Vec<World> {
        self.prepared.worlds()
    }

    pub(crate) fn used_at(&self, now: Timestamp) {
        self.last_used.store(now.as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn last_used(&self) -> Timestamp {
        Timestamp::from_micros(self.last_used.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for LoadedPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedPlugin").field("code", &self.code).finish_non_exhaustive()
    }
}

/// A linker that also has those libraries; none where there are none.
fn with_libraries(
    linker: &Linker<CallState>,
    libraries: &[Arc<Library>],
) -> wasmtime::Result<Option<Linker<CallState>>> {
    if libraries.is_empty() {
        return Ok(None);
    }
    let mut linker = linker.clone();
    for library in libraries {
        linker.root().module(&libraries::import_name(&library.digest), &library.module)?;
    }
    Ok(Some(linker))
}

fn weight(component: &Component, has_libraries: bool) -> Result<u32, InstallError> {
    if has_libraries {
        // wasmtime cannot tell what they need: `libraries::split` takes apart only what has one memory.
        return Ok(1);
    }
    let too_many = |message: String| Err(InstallError::new(InstallCode::TooManyResources, message));
    let Some(needs) = component.resources_required() else {
        return too_many("it imports core modules, so that what it needs cannot be told".to_owned());
    };
    if needs.num_memories > MEMORIES_MAX {
        return too_many(format!("{} memories in one instance; at most {MEMORIES_MAX} are given", needs.num_memories));
    }
    if needs.num_tables > TABLES_MAX {
        return too_many(format!("{} tables in one instance; at most {TABLES_MAX} are given", needs.num_tables));
    }
    Ok(needs.num_memories.max(1))
}
