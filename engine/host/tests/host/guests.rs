//! Components made from the templates in `tests/guests`.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where the templates are.
const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/guests");
/// The contract.
const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/v0.1/engate.wit");

/// A guest in the making.
pub(crate) struct Guest {
    module: String,
    contract: String,
    world: &'static str,
}

/// The well-behaved integrator.
pub(crate) fn guest() -> Guest {
    Guest::of("guest.wat", "integrator")
}

/// The well-behaved receiver.
pub(crate) fn receiver() -> Guest {
    Guest::of("receiver.wat", "receiver")
}

/// The well-behaved sync target.
pub(crate) fn sink() -> Guest {
    Guest::of("sink.wat", "sync-target")
}

/// The well-behaved sync source.
pub(crate) fn source() -> Guest {
    Guest::of("source.wat", "sync-source")
}

impl Guest {
    fn of(template: &str, world: &'static str) -> Self {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        Self { module: read(&Path::new(GUESTS).join(template)), contract: read(Path::new(CONTRACT)), world }
    }

    /// Puts `code` at the mark `;;@place`; `;;@` may be used again by later calls.
    pub(crate) fn at(mut self, place: &str, code: &str) -> Self {
        let mark = format!(";;@{place}\n");
        assert!(self.module.contains(&mark), "no mark {place}");
        self.module = self.module.replace(&mark, &format!("{code}\n{mark}"));
        self
    }

    /// Replaces part of the module.
    pub(crate) fn swap(mut self, from: &str, to: &str) -> Self {
        assert!(self.module.contains(from), "nothing like {from}");
        self.module = self.module.replace(from, to);
        self
    }

    /// Replaces part of the contract it is built for.
    pub(crate) fn contract(mut self, from: &str, to: &str) -> Self {
        assert!(self.contract.contains(from), "nothing like {from}");
        self.contract = self.contract.replace(from, to);
        self
    }

    /// The core module.
    pub(crate) fn module(&self) -> Vec<u8> {
        wat::parse_str(&self.module).unwrap()
    }

    /// The component.
    pub(crate) fn build(self) -> Vec<u8> {
        let mut module = self.module();
        let mut resolve = Resolve::default();
        let package = resolve.push_str("engate.wit", &self.contract).unwrap();
        let world = resolve.select_world(&[package], Some(self.world)).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
    }
}

/// Code that changes a word of the memory.
pub(crate) fn store(address: u32, value: u32) -> String {
    format!("(i32.store (i32.const {address}) (i32.const {value}))")
}
