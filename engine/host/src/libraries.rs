//! Libraries inside a component, compiled apart from it. A guest that is linked of libraries (Python's) carries those of
//! its language's runtime as core modules of their own, byte for byte the same in every plugin and at every build, beside
//! a module that holds the author's part. So each library is compiled once and kept by its digest: the next build of a
//! plugin compiles what is new, and plugins that have a library in common share one mapping of its code.
//!
//! What is compiled of such a component is the same component with each library imported instead of contained; whoever
//! loads it hands the libraries in. Nothing else about it differs, and no component from outside may import a module.

use std::collections::HashMap;

use wasm_encoder::{
    Component, ComponentImportSection, ComponentTypeRef, CoreTypeSection, EntityType, ModuleType, RawSection,
};
use wasmparser::{
    Encoding, Instance, Parser, Payload,
    types::{CoreTypeId, EntityType as Entity, TypesRef},
};

use crate::{digest::Digest, engine::TABLES_MAX};

/// Name of the section that a library begins with, by the WebAssembly tool conventions for dynamic linking.
const LIBRARY_SECTION: &str = "dylink.0";
/// Libraries below this size stay where they are: they compile in less time than it takes to look for them.
const LIBRARY_BYTES_MIN: usize = 64 << 10;
/// What the name of a library's import begins with; the digest follows.
const IMPORT_PREFIX: &str = "library-x";

/// A component taken apart.
pub(crate) struct Split<'a> {
    /// The component with its libraries imported.
    pub(crate) rest: Vec<u8>,
    /// The libraries, each once.
    pub(crate) libraries: Vec<(Digest, &'a [u8])>,
}

/// The library that an import of a component asks for, where it is one.
pub(crate) fn imported(name: &str) -> Option<Digest> {
    name.strip_prefix(IMPORT_PREFIX)?.parse().ok()
}

/// What an import of the library `digest` is called.
pub(crate) fn import_name(digest: &Digest) -> String {
    format!("{IMPORT_PREFIX}{digest}")
}

/// Takes a valid component apart, whose types those are; none where it has no libraries, or where it is built in a way
/// that this does not know. An instance of what comes back has one memory, and tables as they are allowed.
pub(crate) fn split<'a>(component: &'a [u8], types: TypesRef<'_>) -> Option<Split<'a>> {
    let mut split = Splitting::default();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.ok()?;
        match &payload {
            Payload::Version { .. } => split.depth += 1,
            Payload::End(_) => split.depth = split.depth.checked_sub(1)?,
            _ if split.depth == 1 => split.take(component, &payload, types)?,
            // Modules of a nested component, and instances made there, are beyond what is counted here.
            Payload::ModuleSection { .. } | Payload::InstanceSection(_) => return None,
            _ => {}
        }
    }
    split.finish(types)
}

#[derive(Default)]
struct Splitting<'a> {
    depth: u32,
    rest: Component,
    libraries: Vec<(Digest, &'a [u8])>,
    /// Of each module at the outside: its memories and tables.
    modules: Vec<(u32, u32)>,
    memories: u32,
    tables: u32,
    core_types: u32,
}

impl<'a> Splitting<'a> {
    fn take(&mut self, component: &'a [u8], payload: &Payload<'a>, types: TypesRef<'_>) -> Option<()> {
        match payload {
            Payload::ModuleSection { unchecked_range, .. } => {
                let bytes = component.get(unchecked_range.clone())?;
                let module = Module::read(bytes)?;
                self.modules.push((module.memories, module.tables));
                if module.is_library && bytes.len() >= LIBRARY_BYTES_MIN {
                    let index = u32::try_from(self.modules.len()).ok()?.checked_sub(1)?;
                    return self.import(bytes, index, types);
                }
            }
            // Core types are counted from the first, and an alias of one counts too.
            Payload::CoreTypeSection(_) => return None,
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance.ok()? {
                        let (memories, tables) = self.modules.get(module_index as usize)?;
                        self.memories += memories;
                        self.tables += tables;
                    }
                }
            }
            _ => {}
        }
        let Some((id, range)) = payload.as_section() else { return Some(()) };
        self.rest.section(&RawSection { id, data: component.get(range)? });
        Some(())
    }

    /// An import in the place of a library.
    fn import(&mut self, bytes: &'a [u8], index: u32, types: TypesRef<'_>) -> Option<()> {
        if index >= types.module_count() {
            return None;
        }
        let digest = Digest::of(bytes);
        if self.libraries.iter().any(|(known, _)| *known == digest) {
            // A name is imported once.
            return None;
        }
        let mut section = CoreTypeSection::new();
        section.ty().module(&type_of(index, types)?);
        self.rest.section(&section);
        let mut section = ComponentImportSection::new();
        section.import(import_name(&digest).as_str(), ComponentTypeRef::Module(self.core_types));
        self.rest.section(&section);
        self.core_types += 1;
        self.libraries.push((digest, bytes));
        Some(())
    }

    fn finish(self, types: TypesRef<'_>) -> Option<Split<'a>> {
        // Modules that came in by another way have been counted wrongly.
        let known = u32::try_from(self.modules.len()).ok()? == types.module_count();
        let fits = self.memories == 1 && self.tables <= TABLES_MAX;
        (known && fits && !self.libraries.is_empty())
            .then(|| Split { rest: self.rest.finish(), libraries: self.libraries })
    }
}

/// What is to be known of a module.
#[derive(Default)]
struct Module {
    is_library: bool,
    memories: u32,
    tables: u32,
}

impl Module {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut module = Self::default();
        let mut first = true;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.ok()? {
                Payload::Version { encoding: Encoding::Module, .. } => continue,
                Payload::Version { .. } => return None,
                Payload::CustomSection(section) if first => module.is_library = section.name() == LIBRARY_SECTION,
                Payload::MemorySection(section) => module.memories += section.count(),
                Payload::TableSection(section) => module.tables += section.count(),
                // Bodies follow, which say nothing here.
                Payload::CodeSectionStart { .. } => break,
                _ => {}
            }
            first = false;
        }
        // One with a memory of its own is no library, whatever it says.
        module.is_library &= module.memories == 0 && module.tables == 0;
        Some(module)
    }
}

/// The type of the module at `index`, spelled out.
fn type_of(index: u32, types: TypesRef<'_>) -> Option<ModuleType> {
    let module = types.get(types.module_at(index))?;
    let mut spelled = Spelled { types, ty: ModuleType::new(), functions: HashMap::new() };
    for ((from, name), entity) in &module.imports {
        let entity = spelled.entity(*entity)?;
        spelled.ty.import(from, name, entity);
    }
    for (name, entity) in &module.exports {
        let entity = spelled.entity(*entity)?;
        spelled.ty.export(name, entity);
    }
    Some(spelled.ty)
}

struct Spelled<'t> {
    types: TypesRef<'t>,
    ty: ModuleType,
    functions: HashMap<CoreTypeId, u32>,
}

impl Spelled<'_> {
    fn entity(&mut self, entity: Entity) -> Option<EntityType> {
        Some(match entity {
            Entity::Func(id) => EntityType::Function(self.function(id)?),
            Entity::Table(ty) => EntityType::Table(ty.try_into().ok()?),
            Entity::Memory(ty) => EntityType::Memory(ty.into()),
            Entity::Global(ty) => EntityType::Global(ty.try_into().ok()?),
            Entity::Tag(_) | Entity::FuncExact(_) => return None,
        })
    }

    fn function(&mut self, id: CoreTypeId) -> Option<u32> {
        if let Some(index) = self.functions.get(&id) {
            return Some(*index);
        }
        let function: wasm_encoder::FuncType = match &self.types.get(id)?.composite_type.inner {
            wasmparser::CompositeInnerType::Func(function) => function.clone().try_into().ok()?,
            _ => return None,
        };
        let index = self.ty.type_count();
        self.ty.ty().function(function.params().iter().copied(), function.results().iter().copied());
        self.functions.insert(id, index);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use wasmparser::{Validator, WasmFeatures};

    use super::*;

    /// A library that is large enough, with something of `word` in it.
    fn library(word: &str) -> String {
        let data = word.repeat(LIBRARY_BYTES_MIN / word.len() + 1);
        format!(
            r#"(core module ${word} (@name "library") (@custom "dylink.0" (before first) "") (import "main" "memory" (memory 1))
                (import "main" "f" (func (param i32) (result i32))) (import "main" "g" (global (mut i32)))
                (import "main" "t" (table 1 funcref)) (func (export "h") (param i64)) (data "{data}"))"#
        )
    }

    const MAIN: &str = r#"(core module $main (memory (export "memory") 1) (table (export "t") 1 funcref)
        (func (export "f") (param i32) (result i32) (local.get 0)) (global (export "g") (mut i32) (i32.const 0)))
        (core instance $main (instantiate $main))"#;

    fn instance(word: &str) -> String {
        format!("(core instance (instantiate ${word} (with \"main\" (instance $main))))")
    }

    /// The libraries that are taken out of a component of that text; what is left is valid.
    fn taken(text: &str) -> Option<usize> {
        let validator = || Validator::new_with_features(WasmFeatures::default());
        let component = wat::parse_str(format!("(component {text})")).unwrap();
        let types = validator().validate_all(&component).unwrap();
        let split = split(&component, types.as_ref())?;
        validator().validate_all(&split.rest).unwrap();
        let names = Parser::new(0).parse_all(&split.rest).flat_map(|payload| match payload.unwrap() {
            Payload::ComponentImportSection(section) => {
                section.into_iter().map(|import| import.unwrap().name.name.to_owned()).collect()
            }
            _ => Vec::new(),
        });
        let digests: Vec<_> = names.map(|name| imported(&name)).collect();
        assert_eq!(digests, split.libraries.iter().map(|(digest, _)| Some(*digest)).collect::<Vec<_>>());
        Some(split.libraries.len())
    }

    #[test]
    fn libraries_are_imported_and_all_else_stays() {
        let (one, two) = (library("one"), library("two"));
        let both = format!("{MAIN}{one}{two}{}{}", instance("one"), instance("two"));
        assert_eq!(taken(&both), Some(2));
        assert_eq!(taken(&format!("{one}{MAIN}{}{}", instance("one"), instance("one"))), Some(1), "instances as many");
    }

    #[test]
    fn what_is_not_known_is_left_whole() {
        let (one, use_one) = (library("one"), instance("one"));
        let no_library = one.replace("dylink.0", "producers");
        assert_eq!(taken(&format!("{MAIN}{no_library}{use_one}")), None);
        let too_small = one.replace(&"one".repeat(LIBRARY_BYTES_MIN / 3 + 1), "");
        assert_eq!(taken(&format!("{MAIN}{too_small}{use_one}")), None);
        let again = one.replace("$one", "$again");
        assert_eq!(taken(&format!("{MAIN}{one}{again}{use_one}")), None, "the same twice");
        assert_eq!(taken(&format!("{MAIN}(core instance (instantiate $main)){one}{use_one}")), None, "two memories");
        assert_eq!(taken(&format!("(core type (module)){MAIN}{one}{use_one}")), None, "types of its own");
        assert_eq!(taken(&format!("{MAIN}{one}{use_one}(component (core module))")), None, "modules further in");
        let own = one
            .replace(r#"(import "main" "memory" (memory 1))"#, "")
            .replace("(func (export", "(memory 1) (func (export");
        assert_eq!(taken(&format!("{MAIN}{own}{use_one}")), None, "a memory of its own");
        assert_eq!(taken(""), None);
    }

    #[test]
    fn imports_of_libraries_are_told_from_others() {
        let digest = Digest::of(b"x");
        assert_eq!(imported(&import_name(&digest)), Some(digest));
        for other in ["engate:plugin/log@0.1.0", "library-x", "library-x0"] {
            assert_eq!(imported(other), None);
        }
    }
}
