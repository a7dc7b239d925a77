//! Version 0.1 of the contract, world `integrator`: bindings, imports, conversions. A later version gets a module of
//! its own beside this one, and both keep working.

#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    unused_variables,
    dead_code,
    clippy::all,
    reason = "generated; its `unsafe` re-types functions that were type-checked when the plugin was loaded"
)]
mod bindings;
mod convert;
mod imports;

use wasmtime::{
    Store,
    component::{Component, HasSelf, InstancePre, Linker},
};

pub(crate) use bindings::exports::engate::plugin::{delivery::Plan, plugin::Manifest};
pub(crate) use convert::{manifest, plan, verdict};

use crate::{
    call::{InterpretCall, TransformCall},
    instance::CallState,
};

/// How this version names itself in messages.
pub(crate) const VERSION: &str = "0.1";
/// Interfaces that `integrator` imports, without their package.
pub(crate) const IMPORTS: [&str; 5] = ["types", "log", "config", "secrets", "state"];
/// Interfaces that `integrator` exports.
pub(crate) const EXPORTS: [&str; 2] = ["plugin", "delivery"];
/// Interfaces of the contract's other worlds, with the world's name.
pub(crate) const EXPORTS_OF_OTHER_WORLDS: [(&str, &str); 3] =
    [("sink", "sync-target"), ("source", "sync-source"), ("inbound", "receiver")];

/// A plugin whose functions were looked up and type-checked, ready to be instantiated.
#[derive(Clone)]
pub(crate) struct Prepared(bindings::IntegratorPre<CallState>);

/// One live instance.
pub(crate) struct Instance(bindings::Integrator);

/// Which function is called, with what.
#[derive(Clone, Copy)]
pub(crate) enum Invocation<'c, 'a> {
    Describe,
    Transform(&'c TransformCall<'a>),
    Interpret(&'c InterpretCall<'a>),
}

/// What it answered; nothing of it has been checked.
pub(crate) enum Answer {
    Describe(Manifest),
    Transform(Result<Plan, bindings::exports::engate::plugin::delivery::Problem>),
    Interpret(bindings::exports::engate::plugin::delivery::Verdict),
}

/// Why a component does not fit.
pub(crate) enum Misfit {
    /// It imports something that is missing or has another type.
    Imports(wasmtime::Error),
    /// It exports something with another type.
    Exports(wasmtime::Error),
}

/// Links what `integrator` imports.
///
/// # Errors
/// What wasmtime says.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    bindings::Integrator::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)
}

impl Prepared {
    /// Looks everything up, once.
    ///
    /// # Errors
    /// Which side of the component does not fit.
    pub(crate) fn new(linker: &Linker<CallState>, component: &Component) -> Result<Self, Misfit> {
        let pre: InstancePre<CallState> = linker.instantiate_pre(component).map_err(Misfit::Imports)?;
        bindings::IntegratorPre::new(pre).map(Self).map_err(Misfit::Exports)
    }

    /// A fresh instance in `store`.
    ///
    /// # Errors
    /// A trap while it starts, or a limit.
    pub(crate) async fn instantiate(&self, store: &mut Store<CallState>) -> wasmtime::Result<Instance> {
        self.0.instantiate_async(store).await.map(Instance)
    }
}

impl Instance {
    /// Calls one function.
    ///
    /// # Errors
    /// A trap, a limit, or an answer that does not follow the ABI.
    pub(crate) async fn invoke(
        &self,
        store: &mut Store<CallState>,
        invocation: Invocation<'_, '_>,
    ) -> wasmtime::Result<Answer> {
        match invocation {
            Invocation::Describe => self.0.engate_plugin_plugin().call_describe(store).await.map(Answer::Describe),
            Invocation::Transform(call) => self.transform(store, call).await,
            Invocation::Interpret(call) => self.interpret(store, call).await,
        }
    }

    async fn transform(&self, store: &mut Store<CallState>, call: &TransformCall<'_>) -> wasmtime::Result<Answer> {
        let context = &call.context;
        let event_id = call.event.id.to_string();
        let ids = convert::Ids::of(context);
        let event_labels = convert::pairs(call.event.labels);
        let endpoint_labels = convert::pairs(context.endpoint.labels);
        self.0
            .engate_plugin_delivery()
            .call_transform(
                store,
                convert::event(&call.event, &event_id, &event_labels),
                ids.delivery(context),
                ids.endpoint(context, &endpoint_labels),
                convert::attempt(context.attempt),
            )
            .await
            .map(Answer::Transform)
    }

    async fn interpret(&self, store: &mut Store<CallState>, call: &InterpretCall<'_>) -> wasmtime::Result<Answer> {
        let context = &call.context;
        let event_id = call.event_id.to_string();
        let ids = convert::Ids::of(context);
        let endpoint_labels = convert::pairs(context.endpoint.labels);
        let headers = convert::pairs(&call.response.headers);
        let exchange = bindings::exports::engate::plugin::delivery::Exchange {
            event_id: &event_id,
            event_type: call.event_type,
            subject: call.subject,
            delivery: ids.delivery(context),
            endpoint: ids.endpoint(context, &endpoint_labels),
            attempt: convert::attempt(context.attempt),
            memo: call.memo,
            response: convert::response(call.response, &headers, call.elapsed_ms),
        };
        self.0.engate_plugin_delivery().call_interpret(store, exchange).await.map(Answer::Interpret)
    }
}
