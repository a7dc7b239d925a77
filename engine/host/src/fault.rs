//! From what wasmtime says to what the plugin did wrong.

use engate_model::plugin::{Fault, FaultCode};
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::{I32Exit, ResourceTableError};

use crate::{
    instance::{Abort, CallState},
    log::printable,
};

/// Longest message of a fault, in bytes.
const MESSAGE_BYTES_MAX: usize = 2 << 10;
/// Functions of the guest that a message names, innermost first.
const FRAMES_MAX: usize = 6;
/// Longest name of one such function, in bytes.
const FRAME_BYTES_MAX: usize = 120;
/// Part of the one error of wasmtime that has no type of its own: too much handed over in one call.
const HOSTCALL_FUEL_TEXT: &str = "fuel allocated for hostcalls has been exhausted";

/// The fault behind an error that ended a call.
pub(crate) fn classify(error: &wasmtime::Error, state: &CallState) -> Fault {
    let (code, what) = code_and_words(error, state);
    let mut message = what;
    if code == FaultCode::PluginPanic || code == FaultCode::StackOverflow {
        let frames = frames(error);
        if !frames.is_empty() {
            message.push_str("; in ");
            message.push_str(&frames);
        }
    }
    let log = state.world.log();
    if !log.stderr_tail().is_empty() {
        message.push_str("; standard error ends: ");
        message.push_str(log.stderr_tail());
    }
    Fault::new(code, printable(&message, MESSAGE_BYTES_MAX))
}

fn code_and_words(error: &wasmtime::Error, state: &CallState) -> (FaultCode, String) {
    if let Some(abort) = error.downcast_ref::<Abort>() {
        return match abort {
            Abort::CpuLimit => (FaultCode::CpuLimit, "it used up its processor time; an endless loop?".to_owned()),
            Abort::CallBudget => (FaultCode::CallBudget, "it called into the engine more often than it may".to_owned()),
        };
    }
    // First of all the limiter: to the guest a refusal looks like an allocation that failed, and it panics over it.
    if let Some(refused) = state.limiter.refused() {
        return (FaultCode::MemoryLimit, refused.to_owned());
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        return (FaultCode::PluginPanic, format!("it called exit({status})"));
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return (trap_code(*trap), trap.to_string());
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return (FaultCode::LoadFailed, format!("the engine has no room for another instance: {}", error.root_cause()));
    }
    if error.downcast_ref::<ResourceTableError>().is_some() {
        return (FaultCode::CallBudget, format!("it holds too many handles, or a wrong one: {}", error.root_cause()));
    }
    let cause = error.root_cause().to_string();
    if cause.contains(HOSTCALL_FUEL_TEXT) {
        return (FaultCode::OutputTooLarge, "it handed over more than a call may".to_owned());
    }
    (FaultCode::BadAbi, cause)
}

fn trap_code(trap: Trap) -> FaultCode {
    match trap {
        Trap::StackOverflow => FaultCode::StackOverflow,
        Trap::Interrupt => FaultCode::CpuLimit,
        Trap::AllocationTooLarge => FaultCode::MemoryLimit,
        Trap::CannotEnterComponent
        | Trap::CannotLeaveComponent
        | Trap::InvalidChar
        | Trap::InvalidDiscriminant
        | Trap::ListOutOfBounds
        | Trap::StringOutOfBounds
        | Trap::UnalignedPointer
        | Trap::DebugAssertStringEncodingFinished
        | Trap::DebugAssertEqualCodeUnits
        | Trap::DebugAssertPointerAligned
        | Trap::DebugAssertUpperBitsUnset => FaultCode::BadAbi,
        _ => FaultCode::PluginPanic,
    }
}

/// Names of the guest's innermost functions, where it kept them.
fn frames(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let names = backtrace.frames().iter().filter_map(|frame| frame.func_name()).take(FRAMES_MAX);
    names.map(|name| printable(name, FRAME_BYTES_MAX)).collect::<Vec<_>>().join(" < ")
}
