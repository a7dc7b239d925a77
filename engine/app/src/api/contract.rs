//! The API's description once it is put together. Who reads it stands below the routes that it is made of, so it is made by
//! whoever knows them ([`openapi`](super::openapi)), and kept here.

use std::{
    collections::BTreeSet,
    sync::{LazyLock, OnceLock},
};

use bytes::Bytes;
use serde_json::Value;

/// Where an operation names its scope.
pub(super) const SCOPE: &str = "x-engate-scope";

static MAKE: OnceLock<fn() -> Value> = OnceLock::new();
static MADE: OnceLock<Contract> = OnceLock::new();
/// What is known before anybody said how it is made.
static NOTHING: LazyLock<Contract> = LazyLock::new(|| Contract { value: Value::Null, text: Bytes::new() });

/// The description.
#[derive(Debug)]
pub(crate) struct Contract {
    /// As JSON.
    pub(crate) value: Value,
    /// Its text.
    pub(super) text: Bytes,
}

/// Says how the description is made; it is, once it is first asked for.
pub(super) fn made_by(make: fn() -> Value) {
    // Whoever comes second brings the same.
    let _ = MAKE.set(make);
}

/// The description of all routes.
pub(crate) fn contract() -> &'static Contract {
    // Tests of parts of the API start none.
    #[cfg(test)]
    made_by(super::openapi::put_together);
    let Some(make) = MAKE.get() else { return &NOTHING };
    MADE.get_or_init(|| {
        let value = make();
        Contract { text: value.to_string().into(), value }
    })
}

impl Contract {
    /// Whether there is a route of this method and template.
    pub(crate) fn has_route(&self, method: &str, template: &str) -> bool {
        let upper = method.bytes().all(|b| b.is_ascii_uppercase());
        upper && self.value.get("paths").and_then(|paths| paths.get(template)?.get(method.to_lowercase())).is_some()
    }

    /// Every scope, in the order of the alphabet.
    pub(crate) fn scopes(&self) -> BTreeSet<&str> {
        let paths = self.value.get("paths").and_then(Value::as_object).into_iter().flatten();
        let operations = paths.filter_map(|(_, methods)| methods.as_object()).flatten();
        operations.filter_map(|(_, operation)| operation.get(SCOPE)?.as_str()).collect()
    }
}
