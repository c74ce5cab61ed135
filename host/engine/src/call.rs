//! One call of one function, in an instance of its own, and what became of it.

use crate::{config::Limits, pool::Conduct, wit};
use std::time::Duration;
use wasmtime::{
    ResourceLimiter, Store, Trap, WasmBacktrace,
    component::{ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower},
};

/// Why a call has no answer. It concerns the one resource that the call was about.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The plugin crashed: a panic, an arithmetic error, an access out of bounds.
    #[error("the plugin crashed: {message}")]
    Trap {
        /// What wasmtime says, with the innermost functions where their names are known.
        message: String,
    },
    /// The plugin did not come to an end.
    #[error("the plugin did not answer within {deadline:?}")]
    Timeout {
        /// What it was given.
        deadline: Duration,
    },
    /// The plugin wanted more than it may have.
    #[error("the plugin exceeded a limit: {message}")]
    Limit {
        /// Which one, and how high it is.
        message: String,
    },
    /// The plugin itself says why there is no answer.
    #[error("{}", .0.message)]
    Fault(wit::Fault),
    /// The answer breaks the contract.
    #[error("the plugin's answer breaks the contract: {message}")]
    BadAnswer {
        /// What is wrong with it.
        message: String,
    },
    /// Too many calls of this plugin are waiting already.
    #[error("too many calls of this plugin are waiting already")]
    Overloaded,
    /// The engine is being shut down.
    #[error("plugins are being shut down")]
    Stopped,
}

impl CallError {
    /// For the resource's status and for metrics, in CamelCase: a plugin's own code, or `Plugin…`.
    pub fn reason(&self) -> &str {
        match self {
            CallError::Trap { .. } => "PluginTrap",
            CallError::Timeout { .. } => "PluginTimeout",
            CallError::Limit { .. } => "PluginLimit",
            CallError::Fault(fault) => &fault.code,
            CallError::BadAnswer { .. } => "PluginBadAnswer",
            CallError::Overloaded => "PluginOverloaded",
            CallError::Stopped => "PluginStopped",
        }
    }

    /// Whether trying again may help. Where a plugin says of its own fault that it doesn't, only other arguments
    /// do; in all other cases the next call has another time and other observations.
    pub fn retryable(&self) -> bool {
        match self {
            CallError::Fault(fault) => fault.retryable,
            _ => true,
        }
    }

    pub(crate) fn conduct(&self) -> Conduct {
        match self {
            CallError::Timeout { .. } => Conduct::Hung,
            _ => Conduct::Answered,
        }
    }
}

/// What a store holds for the time of a call: the limits.
pub(crate) struct Guard {
    memory_bytes: usize,
    table_elements: usize,
    /// The most memory that there was at once.
    pub peak_memory_bytes: usize,
}

/// Raised instead of letting `memory.grow` fail: nothing of what the plugin would make of that, usually a crash,
/// would say that it was the limit.
#[derive(Debug, thiserror::Error)]
#[error("it wants {desired} {what}, and may have {limit}")]
struct Exceeded {
    what: &'static str,
    desired: usize,
    limit: usize,
}

impl ResourceLimiter for Guard {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.peak_memory_bytes = self.peak_memory_bytes.max(desired);
        within("bytes of memory", desired, self.memory_bytes)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        within("entries of a table", desired, self.table_elements)
    }
}

fn within(what: &'static str, desired: usize, limit: usize) -> wasmtime::Result<bool> {
    if desired > limit { Err(Exceeded { what, desired, limit }.into()) } else { Ok(true) }
}

/// Calls the function at `export` in a fresh instance, which is gone when this returns.
pub(crate) fn call<P, R>(
    component: &InstancePre<Guard>,
    export: &ComponentExportIndex,
    limits: &Limits,
    params: P,
) -> Result<R, CallError>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let (mut store, instance) = instantiate(component, limits)?;
    call_in(&mut store, &instance, export, limits, params)
}

/// A fresh instance, under the limits.
pub(crate) fn instantiate(
    component: &InstancePre<Guard>,
    limits: &Limits,
) -> Result<(Store<Guard>, Instance), CallError> {
    let (memory_bytes, table_elements) = (limits.memory_bytes, limits.table_elements);
    let guard = Guard { memory_bytes, table_elements, peak_memory_bytes: 0 };
    let mut store = Store::new(component.engine(), guard);
    store.limiter(|guard| guard);
    store.set_epoch_deadline(crate::epoch::ticks(limits.deadline));
    // What the pool can't hold is over a limit too: too many memories, a table that is too large.
    let refused = |error: wasmtime::Error| {
        known(&error, limits).unwrap_or_else(|| CallError::Limit { message: error.root_cause().to_string() })
    };
    let instance = component.instantiate(&mut store).map_err(refused)?;
    Ok((store, instance))
}

/// Calls the function at `export` of an instance. After an error the instance is of no more use.
pub(crate) fn call_in<P, R>(
    store: &mut Store<Guard>,
    instance: &Instance,
    export: &ComponentExportIndex,
    limits: &Limits,
    params: P,
) -> Result<R, CallError>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    store.set_hostcall_fuel(limits.output_bytes);
    instance
        .get_typed_func::<P, R>(&mut *store, export)
        .and_then(|function| function.call(&mut *store, params))
        .map_err(|error| failed(&error, limits))
}

/// What went wrong with a call.
pub(crate) fn failed(error: &wasmtime::Error, limits: &Limits) -> CallError {
    known(error, limits).unwrap_or_else(|| unreadable(error, limits))
}

fn known(error: &wasmtime::Error, limits: &Limits) -> Option<CallError> {
    if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        return Some(CallError::Limit { message: exceeded.to_string() });
    }
    Some(match error.downcast_ref::<Trap>()? {
        Trap::Interrupt => CallError::Timeout { deadline: limits.deadline },
        Trap::StackOverflow => CallError::Limit { message: "the call stack is exhausted".into() },
        trap => {
            let hint = if *trap == Trap::UnreachableCodeReached { " (as a panic does)" } else { "" };
            CallError::Trap { message: format!("{trap}{hint}{}", innermost(error)) }
        }
    })
}

/// The answer can't be taken over: it is too large, or its text isn't UTF-8, or a pointer leads out of bounds.
fn unreadable(error: &wasmtime::Error, limits: &Limits) -> CallError {
    let cause = error.root_cause().to_string();
    // This error has no public type; the test of an oversized answer would notice another wording.
    if cause.contains("fuel allocated for hostcalls has been exhausted") {
        return CallError::Limit {
            message: format!("the answer takes more than {} bytes", limits.output_bytes),
        };
    }
    CallError::BadAnswer { message: cause }
}

/// The names of the innermost functions, where the plugin was built with names.
fn innermost(error: &wasmtime::Error) -> String {
    const MOST: usize = 4;
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let names: Vec<_> = backtrace.frames().iter().filter_map(|frame| frame.func_name()).take(MOST).collect();
    if names.is_empty() { String::new() } else { format!(", in {}", names.join(" < ")) }
}
