//! Version 0.1 of the contract: bindings, imports, conversions. A later version gets a module of
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
mod receive;
mod sync;

use engate_model::plugin::World;
use wasmtime::{
    Store,
    component::{
        Component, ComponentExportIndex, ComponentNamedList, HasSelf, Instance as RawInstance, InstancePre, Lift,
        Linker, Lower, TypedFunc, types::ComponentItem,
    },
};

pub(crate) use bindings::exports::engate::plugin::{
    delivery::Plan, inbound::Answer as InboundAnswer, plugin::Manifest,
};
use bindings::exports::engate::plugin::{
    delivery::{Attempt, DeliveryInfo, Endpoint, Event, Exchange, Problem, Verdict},
    inbound::Call,
};
#[cfg(test)]
pub(crate) use bindings::{
    engate::plugin::types::{Problem as RawProblem, Retry as RawRetry},
    exports::engate::plugin::delivery::Verdict as RawVerdict,
};
pub(crate) use convert::{manifest, outgoing_request, plan, verdict};
pub(crate) use receive::reception;
pub(crate) use sync::{SyncAnswer, SyncInvocation, feed_page, refusal, settlement};
use sync::{SyncFunctions, SyncPlaces};

use crate::{
    call::{InterpretCall, TransformCall},
    instance::CallState,
    reception::ReceiveCall,
};

type Describe = TypedFunc<(), (Manifest,)>;
type Transform = TypedFunc<(Event, DeliveryInfo, Endpoint, Attempt), (Result<Plan, Problem>,)>;
type Interpret = TypedFunc<(Exchange,), (Verdict,)>;
type Receive = TypedFunc<(Call,), (Result<InboundAnswer, Problem>,)>;

/// The interface that every plugin exports.
const PLUGIN: &str = "engate:plugin/plugin@0.1.0";
/// The interface that an integrator exports.
const DELIVERY: &str = "engate:plugin/delivery@0.1.0";
/// The interface that a receiver exports.
const INBOUND: &str = "engate:plugin/inbound@0.1.0";

/// How this version names itself in messages.
pub(crate) const VERSION: &str = "0.1";
/// Interfaces that every world may import, without their package.
pub(crate) const IMPORTS: [&str; 5] = ["types", "log", "config", "secrets", "state"];
/// The interface that only a sync source may import.
pub(crate) const IMPORT_OF_SOURCES: &str = "http";
/// The interface that makes a sync source.
pub(crate) const EXPORT_OF_SOURCES: &str = "source";
/// The interface that every plugin exports.
pub(crate) const EXPORT_OF_ALL: &str = "plugin";
/// Interfaces by which a plugin fills a world; it exports one or more.
pub(crate) const EXPORTS: [(&str, World); 4] = [
    ("delivery", World::Integrator),
    ("inbound", World::Receiver),
    ("sink", World::SyncTarget),
    (EXPORT_OF_SOURCES, World::SyncSource),
];

/// A plugin whose functions were looked up and type-checked, ready to be instantiated. The generated `InstalledPre`
/// is not used: it checks the types of all functions again for every instance.
pub(crate) struct Prepared {
    pre: InstancePre<CallState>,
    describe: ComponentExportIndex,
    delivery: Option<Delivery>,
    receive: Option<ComponentExportIndex>,
    sync: SyncPlaces,
}

/// Where an integrator's functions are.
struct Delivery {
    transform: ComponentExportIndex,
    interpret: ComponentExportIndex,
}

/// One live instance, and the functions that it has been asked for.
pub(crate) struct Instance {
    raw: RawInstance,
    transform: Option<Transform>,
    interpret: Option<Interpret>,
    receive: Option<Receive>,
    sync: SyncFunctions,
}

/// Which function is called, with what.
#[derive(Clone, Copy)]
pub(crate) enum Invocation<'c, 'a> {
    Describe,
    Transform(&'c TransformCall<'a>),
    Interpret(&'c InterpretCall<'a>),
    Receive(&'c ReceiveCall<'a>),
    Sync(SyncInvocation<'c, 'a>),
}

/// What it answered; nothing of it has been checked.
pub(crate) enum Answer {
    Describe(Manifest),
    Transform(Result<Plan, Problem>),
    Interpret(Verdict),
    Receive(Result<InboundAnswer, Problem>),
    Sync(SyncAnswer),
}

/// Why a component does not fit.
pub(crate) enum Misfit {
    /// It imports something that is missing or has another type.
    Imports(wasmtime::Error),
    /// It exports something with another type.
    Exports(wasmtime::Error),
}

/// Links what these worlds import.
///
/// # Errors
/// What wasmtime says.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    bindings::Installed::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)
}

impl Prepared {
    /// Looks everything up and checks its types, once.
    ///
    /// # Errors
    /// Which side of the component does not fit.
    pub(crate) fn new(linker: &Linker<CallState>, component: &Component) -> Result<Self, Misfit> {
        check_types(component).map_err(Misfit::Exports)?;
        let pre = linker.instantiate_pre(component).map_err(Misfit::Imports)?;
        let delivery = || {
            let [transform, interpret] = find(component, DELIVERY, ["transform", "interpret"])?;
            Ok(Delivery { transform, interpret })
        };
        let receive = || find(component, INBOUND, ["receive"]).map(|[receive]| receive);
        let [describe] = find(component, PLUGIN, ["describe"])?;
        Ok(Self {
            pre,
            describe,
            delivery: has(component, DELIVERY).then(delivery).transpose()?,
            receive: has(component, INBOUND).then(receive).transpose()?,
            sync: SyncPlaces::of(component)?,
        })
    }

    /// What the plugin is made for.
    pub(crate) fn worlds(&self) -> Vec<World> {
        let integrator = self.delivery.is_some().then_some(World::Integrator);
        let receiver = self.receive.is_some().then_some(World::Receiver);
        integrator.into_iter().chain(receiver).chain(self.sync.worlds()).collect()
    }

    fn delivery(&self) -> wasmtime::Result<&Delivery> {
        self.delivery.as_ref().ok_or_else(|| not_made_for(World::Integrator))
    }

    /// A fresh instance in `store`.
    ///
    /// # Errors
    /// A trap while it starts, or a limit.
    pub(crate) async fn instantiate(&self, store: &mut Store<CallState>) -> wasmtime::Result<Instance> {
        let raw = self.pre.instantiate_async(store).await?;
        Ok(Instance { raw, transform: None, interpret: None, receive: None, sync: SyncFunctions::default() })
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
                let place = self.delivery()?.transform;
                let transform = found(&mut instance.transform, instance.raw, store, place)?;
                let (plan,) = transform.call_async(store, convert::transform(call)).await?;
                Ok(Answer::Transform(plan))
            }
            Invocation::Interpret(call) => {
                let place = self.delivery()?.interpret;
                let interpret = found(&mut instance.interpret, instance.raw, store, place)?;
                let (verdict,) = interpret.call_async(store, (convert::exchange(call),)).await?;
                Ok(Answer::Interpret(verdict))
            }
            Invocation::Receive(call) => {
                let place = self.receive.ok_or_else(|| not_made_for(World::Receiver))?;
                let receive = found(&mut instance.receive, instance.raw, store, place)?;
                let (answer,) = receive.call_async(store, (receive::call(call),)).await?;
                Ok(Answer::Receive(answer))
            }
            Invocation::Sync(invocation) => {
                let Instance { raw, sync, .. } = instance;
                self.sync.invoke(*raw, sync, store, invocation).await.map(Answer::Sync)
            }
        }
    }
}

fn has(component: &Component, interface: &str) -> bool {
    component.get_export_index(None, interface).is_some()
}

/// Where the functions of an interface are; all that are missing are named at once.
fn find<const N: usize>(
    component: &Component,
    interface: &str,
    functions: [&str; N],
) -> Result<[ComponentExportIndex; N], Misfit> {
    let place = component.get_export_index(None, interface);
    let place = |function: &str| place.and_then(|place| component.get_export_index(Some(&place), function));
    let missing: Vec<_> = functions.into_iter().filter(|function| place(function).is_none()).collect();
    let found: Option<Vec<_>> = functions.into_iter().map(place).collect();
    found
        .and_then(|found| found.try_into().ok())
        .ok_or_else(|| Misfit::Exports(wasmtime::format_err!("{interface} does not export {}", missing.join(", nor "))))
}

/// The function at `place` of an instance, looked up the first time.
fn found<P, R>(
    known: &mut Option<TypedFunc<P, R>>,
    raw: RawInstance,
    store: &mut Store<CallState>,
    place: ComponentExportIndex,
) -> wasmtime::Result<TypedFunc<P, R>>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    match known {
        Some(function) => Ok(*function),
        None => Ok(*known.insert(raw.get_typed_func(store, place)?)),
    }
}

fn not_made_for(world: World) -> wasmtime::Error {
    wasmtime::format_err!("the plugin is not of the world {}", world.code())
}

/// Checks the types of the functions that will be called, which a lookup alone does not; names all that differ.
fn check_types(component: &Component) -> wasmtime::Result<()> {
    let (ty, engine) = (component.component_type(), component.engine());
    let mut complaints = Vec::new();
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
                (Some("engate:plugin/inbound"), "receive") => {
                    item.typecheck::<(Call,), (Result<InboundAnswer, Problem>,)>(types)
                }
                (Some(interface), function) => sync::check_type(interface, function, &item, &ty),
                _ => Ok(()),
            };
            if let Err(error) = checked {
                complaints.push(format!("{interface}: {function} has another type: {error:#}"));
            }
        }
    }
    if complaints.is_empty() { Ok(()) } else { Err(wasmtime::Error::msg(complaints.join("; "))) }
}
