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
    component::{
        Component, ComponentExportIndex, HasSelf, Instance as RawInstance, InstancePre, Linker, TypedFunc,
        types::ComponentItem,
    },
};

use bindings::exports::engate::plugin::delivery::{Attempt, DeliveryInfo, Endpoint, Event, Exchange, Problem, Verdict};
pub(crate) use bindings::exports::engate::plugin::{delivery::Plan, plugin::Manifest};
pub(crate) use convert::{manifest, plan, verdict};

use crate::{
    call::{InterpretCall, TransformCall},
    instance::CallState,
};

type Describe = TypedFunc<(), (Manifest,)>;
type Transform = TypedFunc<(Event, DeliveryInfo, Endpoint, Attempt), (Result<Plan, Problem>,)>;
type Interpret = TypedFunc<(Exchange,), (Verdict,)>;

/// The interface that every plugin exports.
const PLUGIN: &str = "engate:plugin/plugin@0.1.0";
/// The interface that an integrator exports.
const DELIVERY: &str = "engate:plugin/delivery@0.1.0";

/// How this version names itself in messages.
pub(crate) const VERSION: &str = "0.1";
/// Interfaces that `integrator` imports, without their package.
pub(crate) const IMPORTS: [&str; 5] = ["types", "log", "config", "secrets", "state"];
/// Interfaces that `integrator` exports.
pub(crate) const EXPORTS: [&str; 2] = ["plugin", "delivery"];
/// Interfaces of the contract's other worlds, with the world's name.
pub(crate) const EXPORTS_OF_OTHER_WORLDS: [(&str, &str); 3] =
    [("sink", "sync-target"), ("source", "sync-source"), ("inbound", "receiver")];

/// A plugin whose functions were looked up and type-checked, ready to be instantiated. The generated `IntegratorPre`
/// is not used: it checks the types of all functions again for every instance.
pub(crate) struct Prepared {
    pre: InstancePre<CallState>,
    describe: ComponentExportIndex,
    transform: ComponentExportIndex,
    interpret: ComponentExportIndex,
}

/// One live instance, and the functions that it has been asked for.
pub(crate) struct Instance {
    raw: RawInstance,
    transform: Option<Transform>,
    interpret: Option<Interpret>,
}

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
    Transform(Result<Plan, Problem>),
    Interpret(Verdict),
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
    /// Looks everything up and checks its types, once.
    ///
    /// # Errors
    /// Which side of the component does not fit.
    pub(crate) fn new(linker: &Linker<CallState>, component: &Component) -> Result<Self, Misfit> {
        check_types(component).map_err(Misfit::Exports)?;
        let pre = linker.instantiate_pre(component).map_err(Misfit::Imports)?;
        let find = |interface: &str, function: &str| {
            let interface = component.get_export_index(None, interface);
            let found = interface.and_then(|interface| component.get_export_index(Some(&interface), function));
            found.ok_or_else(|| Misfit::Exports(wasmtime::format_err!("it does not export {function}")))
        };
        Ok(Self {
            pre,
            describe: find(PLUGIN, "describe")?,
            transform: find(DELIVERY, "transform")?,
            interpret: find(DELIVERY, "interpret")?,
        })
    }

    /// A fresh instance in `store`.
    ///
    /// # Errors
    /// A trap while it starts, or a limit.
    pub(crate) async fn instantiate(&self, store: &mut Store<CallState>) -> wasmtime::Result<Instance> {
        let raw = self.pre.instantiate_async(store).await?;
        Ok(Instance { raw, transform: None, interpret: None })
    }

    /// Calls one function of `instance`, which is one of this plugin's.
    ///
    /// # Errors
    /// A trap, a limit, or an answer that does not follow the ABI.
    pub(crate) async fn invoke(
        &self,
        instance: &mut Instance,
        store: &mut Store<CallState>,
        invocation: Invocation<'_, '_>,
    ) -> wasmtime::Result<Answer> {
        match invocation {
            Invocation::Describe => {
                let describe: Describe = instance.raw.get_typed_func(&mut *store, self.describe)?;
                let (manifest,) = describe.call_async(store, ()).await?;
                Ok(Answer::Describe(manifest))
            }
            Invocation::Transform(call) => {
                let transform = match instance.transform {
                    Some(transform) => transform,
                    None => *instance.transform.insert(instance.raw.get_typed_func(&mut *store, self.transform)?),
                };
                let (plan,) = transform.call_async(store, convert::transform(call)).await?;
                Ok(Answer::Transform(plan))
            }
            Invocation::Interpret(call) => {
                let interpret = match instance.interpret {
                    Some(interpret) => interpret,
                    None => *instance.interpret.insert(instance.raw.get_typed_func(&mut *store, self.interpret)?),
                };
                let (verdict,) = interpret.call_async(store, (convert::exchange(call),)).await?;
                Ok(Answer::Interpret(verdict))
            }
        }
    }
}

/// Checks the types of the functions that will be called: a lookup alone does not.
fn check_types(component: &Component) -> wasmtime::Result<()> {
    let (ty, engine) = (component.component_type(), component.engine());
    for (interface, item) in ty.exports(engine) {
        let ComponentItem::ComponentInstance(item) = item.ty else { continue };
        for (function, item) in item.exports(engine) {
            let ComponentItem::ComponentFunc(item) = item.ty else { continue };
            let types = &ty.instance_type();
            let checked = match (interface.split('@').next(), function) {
                (Some("engate:plugin/plugin"), "describe") => item.typecheck::<(), (Manifest,)>(types),
                (Some("engate:plugin/delivery"), "transform") => {
                    item.typecheck::<(Event, DeliveryInfo, Endpoint, Attempt), (Result<Plan, Problem>,)>(types)
                }
                (Some("engate:plugin/delivery"), "interpret") => item.typecheck::<(Exchange,), (Verdict,)>(types),
                _ => Ok(()),
            };
            checked.map_err(|error| error.context(format!("{interface}: {function} has another type")))?;
        }
    }
    Ok(())
}
