//! What the host keeps of one instance while a call runs in it, and how its time is counted.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use engate_model::plugin::Limits;
use serde_json::Value;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::{
    call::{CallContext, CallRecord},
    config::TICK,
    http::{HttpAccess, Outbound},
    limiter::Limiter,
    reception::ReceiveCall,
    secrets::{MAC_BYTES, Secrets},
    state::StateView,
    syncing::SyncContext,
    wasi::{Wasi, World},
};

/// Room beside the body in what a guest hands over in one call: headers, memo, names, and the lists they are in.
const HANDOVER_SLACK_BYTES: usize = 512 << 10;
/// Calls into WASI per call into the engine that the budget allows: a line on standard error takes several.
const WASI_CALLS_FACTOR: u32 = 16;
/// Fuel that no call can use up within its time: where fuel is counted, it is to count and not to limit.
const FUEL_FILLED: u64 = u64::MAX;

/// What a call is run with, whatever function it is.
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) config: Arc<Value>,
    pub(crate) secrets: Secrets,
    pub(crate) state: Arc<BTreeMap<String, Vec<u8>>>,
    pub(crate) now_ms: u64,
    pub(crate) seed: u64,
    /// Only for a source.
    pub(crate) http: Option<HttpAccess>,
}

impl Settings {
    /// Settings of a delivery's call; random is seeded by delivery and attempt.
    pub(crate) fn of(context: &CallContext<'_>) -> Self {
        Self {
            limits: context.limits,
            config: Arc::clone(&context.config),
            secrets: context.secrets.clone(),
            state: Arc::clone(&context.state),
            now_ms: context.attempt.now.as_millis(),
            seed: seed(&context.delivery.id.to_string(), context.attempt.number),
            http: None,
        }
    }

    /// Settings of a receiver's call; random is seeded by the call.
    pub(crate) fn of_receive(call: &ReceiveCall<'_>) -> Self {
        Self {
            limits: call.limits,
            config: Arc::clone(&call.config),
            secrets: call.secrets.clone(),
            state: Arc::clone(&call.state),
            now_ms: call.now.as_millis(),
            seed: seed(&call.id.to_string(), 1),
            http: None,
        }
    }

    /// Settings of a sync's call; random is seeded by what it is about, so that a page that is made again is the same.
    pub(crate) fn of_sync(context: &SyncContext<'_>, http: Option<HttpAccess>) -> Self {
        Self {
            limits: context.limits,
            config: Arc::clone(&context.config),
            secrets: context.secrets.clone(),
            state: Arc::clone(&context.state),
            now_ms: context.now.as_millis(),
            seed: seed(&context.id.to_string(), 1),
            http,
        }
    }

    /// Wall time of the call: its own, and what its HTTP may take.
    pub(crate) fn wall(&self) -> Duration {
        let wait = self.http.as_ref().map_or(Duration::ZERO, |http| http.budget.wait);
        self.limits.wall.saturating_add(wait)
    }

    fn outbound(&self) -> Option<Outbound> {
        self.http.clone().map(|access| Outbound::new(access, self.limits))
    }

    /// Settings of `describe`: nothing is granted and the clock stands at zero.
    pub(crate) fn without_grants(limits: Limits) -> Self {
        Self {
            limits,
            config: Arc::new(Value::Null),
            secrets: Secrets::none(),
            state: Arc::default(),
            now_ms: 0,
            seed: 0,
            http: None,
        }
    }
}

/// The data of one store.
pub(crate) struct CallState {
    pub(crate) limiter: Limiter,
    pub(crate) world: Arc<World>,
    pub(crate) config: Arc<Value>,
    pub(crate) secrets: Secrets,
    pub(crate) state: StateView,
    pub(crate) hmacs: Vec<(String, [u8; MAC_BYTES])>,
    pub(crate) revealed: Vec<String>,
    pub(crate) http: Option<Outbound>,
    /// The guest has just waited for the host.
    pub(crate) waited: bool,
    wasi: Wasi,
    wasi_calls: u32,
    host_calls: u32,
    host_calls_max: u32,
    ticks: u32,
    ticks_max: u32,
}

/// Why the host ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abort {
    /// Out of processor time.
    CpuLimit,
    /// Too many calls into the host.
    CallBudget,
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CpuLimit => "out of processor time",
            Self::CallBudget => "too many calls into the engine",
        })
    }
}

impl std::error::Error for Abort {}

impl CallState {
    fn new(settings: &Settings) -> Self {
        let limits = &settings.limits;
        Self {
            limiter: Limiter::new(limits.memory_bytes),
            world: World::new(settings.now_ms, settings.seed, limits.log_bytes),
            config: Arc::clone(&settings.config),
            secrets: settings.secrets.clone(),
            state: StateView::new(Arc::clone(&settings.state), limits.state_bytes),
            hmacs: Vec::new(),
            revealed: Vec::new(),
            http: settings.outbound(),
            waited: false,
            wasi: Wasi::default(),
            wasi_calls: 0,
            host_calls: 0,
            host_calls_max: limits.host_calls,
            ticks: 0,
            ticks_max: ticks(limits.cpu),
        }
    }

    /// Turns to the next call in the same instance. What WASI handles the guest holds, it keeps.
    fn renew(&mut self, settings: &Settings) {
        let limits = &settings.limits;
        self.limiter.renew(limits.memory_bytes);
        self.world.renew(settings.now_ms, settings.seed, limits.log_bytes);
        self.config = Arc::clone(&settings.config);
        self.secrets = settings.secrets.clone();
        self.state = StateView::new(Arc::clone(&settings.state), limits.state_bytes);
        self.hmacs.clear();
        self.revealed.clear();
        self.http = settings.outbound();
        self.waited = false;
        self.wasi_calls = 0;
        self.host_calls = 0;
        self.host_calls_max = limits.host_calls;
        self.ticks = 0;
        self.ticks_max = ticks(limits.cpu);
    }

    /// Counts one call into the host.
    ///
    /// # Errors
    /// [`Abort::CallBudget`].
    pub(crate) fn spend_host_call(&mut self) -> wasmtime::Result<()> {
        self.host_calls = self.host_calls.saturating_add(1);
        if self.host_calls > self.host_calls_max {
            return Err(wasmtime::Error::new(Abort::CallBudget));
        }
        Ok(())
    }

    /// Drops what the call was given, so that an idle instance holds no secrets on the host's side.
    pub(crate) fn forget(&mut self) {
        self.config = Arc::default();
        self.secrets = Secrets::none();
        self.state = StateView::default();
        self.http = None;
    }

    /// Takes what is to be recorded; writes to the state only where the call succeeded.
    pub(crate) fn take_record(&mut self, elapsed: Duration, succeeded: bool) -> CallRecord {
        let (state_reads, state_writes) = std::mem::take(&mut self.state).finish();
        let (http_requests, http_bytes) = self.http.as_ref().map_or((0, 0), Outbound::spent);
        CallRecord {
            log: std::mem::take(&mut *self.world.log()).finish(),
            hmacs: std::mem::take(&mut self.hmacs),
            revealed: std::mem::take(&mut self.revealed),
            state_reads,
            state_writes: if succeeded { state_writes } else { BTreeMap::new() },
            host_calls: self.host_calls.min(self.host_calls_max),
            cpu_ticks: self.ticks,
            elapsed,
            memory_peak_bytes: self.limiter.memory_peak_bytes(),
            http_requests,
            http_bytes,
            fuel: None,
        }
    }

    /// The guest ran through a whole tick.
    fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if !std::mem::take(&mut self.waited) {
            self.ticks = self.ticks.saturating_add(1);
        }
        if self.ticks > self.ticks_max {
            return Err(wasmtime::Error::new(Abort::CpuLimit));
        }
        // Calls into WASI cannot be refused where they are made, so they are refused here, a tick later at most.
        if self.wasi_calls > self.host_calls_max.saturating_mul(WASI_CALLS_FACTOR) {
            return Err(wasmtime::Error::new(Abort::CallBudget));
        }
        // The deadline is set after the yield: ticks that pass while others run are not this guest's.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi_calls = self.wasi_calls.saturating_add(1);
        self.wasi.view(&self.world)
    }
}

/// A store for a fresh instance.
///
/// # Errors
/// The pool has no room, or the machine no memory.
pub(crate) fn fresh_store(engine: &Engine, settings: &Settings, metered: bool) -> wasmtime::Result<Store<CallState>> {
    let mut store = Store::try_new(engine, CallState::new(settings))?;
    store.limiter(|state| &mut state.limiter);
    store.epoch_deadline_callback(|mut store| store.data_mut().tick());
    arm(&mut store, &settings.limits, metered)?;
    Ok(store)
}

/// Makes the store of a warm instance ready for another call.
///
/// # Errors
/// What wasmtime says.
pub(crate) fn renew_store(store: &mut Store<CallState>, settings: &Settings, metered: bool) -> wasmtime::Result<()> {
    store.data_mut().renew(settings);
    arm(store, &settings.limits, metered)
}

/// What the guest ran since its store, a metered one, was made ready.
pub(crate) fn fuel_spent(store: &Store<CallState>) -> Option<u64> {
    store.get_fuel().ok().map(|left| FUEL_FILLED.saturating_sub(left))
}

fn arm(store: &mut Store<CallState>, limits: &Limits, metered: bool) -> wasmtime::Result<()> {
    store.set_epoch_deadline(1);
    store.set_hostcall_fuel(limits.body_bytes.saturating_add(HANDOVER_SLACK_BYTES));
    if metered { store.set_fuel(FUEL_FILLED) } else { Ok(()) }
}

/// Whole ticks in `cpu`, at least one.
fn ticks(cpu: Duration) -> u32 {
    u32::try_from(cpu.as_micros().div_ceil(TICK.as_micros())).unwrap_or(u32::MAX).max(1)
}

/// FNV-1a over the delivery's id and the attempt's number.
fn seed(delivery: &str, attempt: u32) -> u64 {
    delivery
        .bytes()
        .chain(attempt.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_counted_in_whole_ticks() {
        assert_eq!(ticks(Duration::from_millis(50)), 10);
        assert_eq!(ticks(Duration::from_millis(51)), 11);
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::MAX), u32::MAX);
    }

    #[test]
    fn random_differs_by_delivery_and_by_attempt() {
        assert_eq!(seed("dlv_1", 1), seed("dlv_1", 1));
        assert_ne!(seed("dlv_1", 1), seed("dlv_1", 2));
        assert_ne!(seed("dlv_1", 1), seed("dlv_2", 1));
    }
}
