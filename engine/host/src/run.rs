//! One call from the permit to the record.

use std::{
    sync::Arc,
    time::{Duration, Instant as Stopwatch},
};

use engate_model::plugin::{Fault, FaultCode, Limits};
use tokio::{sync::Semaphore, time::timeout};
use wasmtime::Store;

use crate::{
    call::{CallFailed, CallRecord, Reuse},
    fault,
    host::Shared,
    instance::{CallState, Settings, fresh_store, fuel_spent, renew_store},
    loaded::LoadedPlugin,
    log::PluginLog,
    v0_1::{Answer, Instance, Invocation},
    warm::{Live, Permits},
};

/// Whose call it is.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) installation: &'a str,
    pub(crate) reuse: Reuse,
}

/// Part of its memory limit past which a warm instance is retired.
const WARM_MEMORY_DIVISOR: usize = 2;

/// Runs one call. `check` turns the raw answer into the engine's words, and may find it faulty.
///
/// # Errors
/// The plugin's fault, with the record of the call.
pub(crate) async fn run<T>(
    shared: &Shared,
    plugin: &LoadedPlugin,
    settings: &Settings,
    caller: Caller<'_>,
    invocation: Invocation<'_, '_>,
    check: impl FnOnce(Answer, &Limits, &mut PluginLog) -> Result<T, Fault>,
) -> Result<(T, CallRecord), CallFailed> {
    let warm = match caller.reuse {
        Reuse::Fresh => None,
        Reuse::Warm { .. } => shared.shelf.take(plugin.code(), caller.installation),
    };
    let mut seat = match warm {
        Some(mut live) => {
            let renewed = renew_store(&mut live.store, settings, shared.config.metered);
            renewed.map_err(|error| no_room(format!("{error:#}")))?;
            Seat { store: live.store, instance: Some(live.instance), calls: live.calls, permits: live.permits }
        }
        None => fresh_seat(shared, plugin, settings).await?,
    };
    let ticking = shared.ticker.ticking();
    let started = Stopwatch::now();
    let ended = timeout(settings.wall(), seat.guest(plugin, invocation)).await;
    let elapsed = started.elapsed();
    drop(ticking);
    let answer = match ended {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(fault::classify(&error, seat.store.data())),
        Err(_) => Err(out_of_wall_time(settings.wall())),
    };
    let checked = answer.and_then(|answer| check(answer, &settings.limits, &mut seat.store.data().world.log()));
    let fuel = if shared.config.metered { fuel_spent(&seat.store) } else { None };
    let record = CallRecord { fuel, ..seat.store.data_mut().take_record(elapsed, checked.is_ok()) };
    match checked {
        Ok(value) => {
            seat.leave(shared, plugin, settings, caller);
            Ok((value, record))
        }
        // The store is dropped with whatever state the guest left in it.
        Err(fault) => Err(CallFailed { fault, record: Box::new(record) }),
    }
}

/// The place a call runs in. The store goes first, then the permits.
struct Seat {
    instance: Option<Instance>,
    store: Store<CallState>,
    calls: u32,
    permits: Permits,
}

impl Seat {
    async fn guest(&mut self, plugin: &LoadedPlugin, invocation: Invocation<'_, '_>) -> wasmtime::Result<Answer> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => plugin.prepared.instantiate(&mut self.store).await?,
        };
        let answer = plugin.prepared.invoke(&mut instance, &mut self.store, invocation).await?;
        self.instance = Some(instance);
        Ok(answer)
    }

    /// After a good call: back to the shelf, where that is wanted and sound.
    fn leave(self, shared: &Shared, plugin: &LoadedPlugin, settings: &Settings, caller: Caller<'_>) {
        let Reuse::Warm { max_idle, max_calls } = caller.reuse else { return };
        let Self { instance: Some(instance), mut store, calls, permits } = self else { return };
        let state = store.data_mut();
        let grown = state.limiter.memory_peak_bytes() > settings.limits.memory_bytes / WARM_MEMORY_DIVISOR;
        let refused = state.limiter.refused().is_some();
        let calls = calls + 1;
        let wanted = shared.pool.available_permits() > 0;
        if grown || refused || calls >= max_calls || !wanted {
            return;
        }
        state.forget();
        let live = Live { instance, store, calls, permits };
        let total_max = shared.instances as usize / 2;
        shared.shelf.put(plugin.code(), caller.installation, live, max_idle, total_max, shared.config.clock.now());
    }
}

/// Waits for a place and makes a store for it.
async fn fresh_seat(shared: &Shared, plugin: &LoadedPlugin, settings: &Settings) -> Result<Seat, CallFailed> {
    let share = permit(&plugin.share, plugin.weight, || shared.shelf.retain(|code, _| code != plugin.code()));
    let share = share.await.map_err(no_room)?;
    let pool = permit(&shared.pool, plugin.weight, || shared.shelf.retain(|_, _| false)).await.map_err(no_room)?;
    let store =
        fresh_store(&shared.engine, settings, shared.config.metered).map_err(|error| no_room(format!("{error:#}")))?;
    Ok(Seat { instance: None, store, calls: 0, permits: Permits { _share: share, _pool: pool } })
}

/// A permit at once where there is one; else idle instances make room, and it is waited for.
async fn permit(
    semaphore: &Arc<Semaphore>,
    weight: u32,
    make_room: impl FnOnce() -> usize,
) -> Result<tokio::sync::OwnedSemaphorePermit, String> {
    if let Ok(permit) = Arc::clone(semaphore).try_acquire_many_owned(weight) {
        return Ok(permit);
    }
    make_room();
    Arc::clone(semaphore).acquire_many_owned(weight).await.map_err(|error| error.to_string())
}

fn no_room(cause: String) -> CallFailed {
    let fault = Fault::new(FaultCode::LoadFailed, format!("the engine has no room for an instance: {cause}"));
    CallFailed { fault, record: Box::default() }
}

fn out_of_wall_time(wall: Duration) -> Fault {
    Fault::new(FaultCode::WallLimit, format!("no answer within {} ms", wall.as_millis()))
}
