//! What a plugin says of itself, checked before it is believed.

use engate_model::{
    event::check_key,
    plugin::{Manifest, Need, check_plugin_name},
};

use crate::{
    error::{InstallCode, InstallError},
    log::printable,
    request::check_host_pattern,
    schema,
};

/// Longest text of a config schema, in bytes.
pub(crate) const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Event types a manifest may name.
const EVENT_TYPES_MAX: usize = 1_000;
/// Hosts, credentials and secrets a manifest may ask for, each.
const NEEDS_MAX: usize = 100;
/// Longest title or purpose, in bytes.
const SENTENCE_BYTES_MAX: usize = 500;
/// Longest version, in bytes.
const VERSION_BYTES_MAX: usize = 64;
/// Longest name of a credential or secret, in bytes.
const NEED_NAME_BYTES_MAX: usize = 64;

/// Checks a manifest.
///
/// # Errors
/// `bad_manifest`, naming the field and the cure.
pub(crate) fn check(manifest: &Manifest) -> Result<(), InstallError> {
    check_plugin_name(&manifest.id).map_err(|why| bad("id", &manifest.id, &why))?;
    if manifest.version.len() > VERSION_BYTES_MAX || semver::Version::parse(&manifest.version).is_err() {
        return Err(bad("version", &manifest.version, "it must be SemVer, such as 1.2.0"));
    }
    check_sentence("title", &manifest.title)?;
    if manifest.event_types.len() > EVENT_TYPES_MAX {
        let count = manifest.event_types.len().to_string();
        return Err(bad("event_types", &count, "at most 1,000 are taken; use order.* or none for any"));
    }
    for event_type in &manifest.event_types {
        let key = event_type.strip_suffix(".*").unwrap_or(event_type);
        if event_type != "*" && check_key("", key).is_err() {
            return Err(bad("event_types", event_type, "write order.created, order.* or *"));
        }
    }
    check_count("hosts", manifest.hosts.len())?;
    for host in &manifest.hosts {
        check_host_pattern(host).map_err(|why| bad("hosts", host, &why))?;
    }
    check_needs("credentials", &manifest.credentials)?;
    check_needs("secrets", &manifest.secrets)?;
    if !manifest.config_schema.is_object() && !manifest.config_schema.is_boolean() {
        return Err(bad("config_schema", "", "it must be a JSON Schema: an object"));
    }
    schema::compile(&manifest.config_schema).map(|_| ()).map_err(|why| bad("config_schema", "", &why))
}

fn check_needs(field: &str, needs: &[Need]) -> Result<(), InstallError> {
    check_count(field, needs.len())?;
    for (n, need) in needs.iter().enumerate() {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
        if need.name.is_empty() || need.name.len() > NEED_NAME_BYTES_MAX || !need.name.bytes().all(plain) {
            return Err(bad(field, &need.name, "a name has 1 to 64 letters, digits and - _ . /"));
        }
        if needs.iter().take(n).any(|earlier| earlier.name == need.name) {
            return Err(bad(field, &need.name, "it is asked for twice"));
        }
        check_sentence(field, &need.purpose)?;
    }
    Ok(())
}

fn check_count(field: &str, count: usize) -> Result<(), InstallError> {
    if count <= NEEDS_MAX { Ok(()) } else { Err(bad(field, &count.to_string(), "at most 100 are taken")) }
}

fn check_sentence(field: &str, text: &str) -> Result<(), InstallError> {
    if text.trim().is_empty() || text.len() > SENTENCE_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(bad(field, text, "it must be one line of 1 to 500 bytes"));
    }
    Ok(())
}

/// Longest cure, in bytes: a schema's fault quotes the schema.
const CURE_BYTES_MAX: usize = 1_000;

/// A complaint about one field; the value is quoted as far as it can be shown, and what the cure quotes of it too.
pub(crate) fn bad(field: &str, value: &str, cure: &str) -> InstallError {
    let cure = printable(cure, CURE_BYTES_MAX).replace('\n', " ");
    let value = if value.is_empty() { String::new() } else { format!(" {:?}", printable(value, 100)) };
    InstallError::new(InstallCode::BadManifest, format!("the manifest's {field}{value}: {cure}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engate_model::plugin::{InterpretWhen, World};
    use serde_json::json;

    fn manifest() -> Manifest {
        Manifest {
            worlds: vec![World::Integrator],
            id: "acme.billing".to_owned(),
            version: "1.2.0-rc.1".to_owned(),
            title: "Billing".to_owned(),
            config_schema: json!({"type": "object"}),
            event_types: vec!["order.*".to_owned(), "*".to_owned(), "bill.paid".to_owned()],
            interpret: InterpretWhen::Non2xx,
            hosts: vec!["https://*.example.com".to_owned()],
            credentials: vec![],
            secrets: vec![Need { name: "link-key".to_owned(), purpose: "Signs links.".to_owned() }],
        }
    }

    #[test]
    fn a_plain_manifest_is_taken() {
        assert_eq!(check(&manifest()), Ok(()));
    }

    #[test]
    fn isolation_20_a_lie_is_named_by_its_field() {
        let need = |name: &str| Need { name: name.to_owned(), purpose: "x".to_owned() };
        let cases: [(&str, Manifest); 13] = [
            ("id", Manifest { id: "Acme Billing".to_owned(), ..manifest() }),
            ("version", Manifest { version: "1.2".to_owned(), ..manifest() }),
            ("title", Manifest { title: "a\x1b[2Jb".to_owned(), ..manifest() }),
            ("title", Manifest { title: " ".to_owned(), ..manifest() }),
            ("event_types", Manifest { event_types: vec!["x".to_owned(); 10_000], ..manifest() }),
            ("event_types", Manifest { event_types: vec!["order *".to_owned()], ..manifest() }),
            ("hosts", Manifest { hosts: vec!["*".to_owned()], ..manifest() }),
            ("hosts", Manifest { hosts: vec!["https://a.example".to_owned(); 101], ..manifest() }),
            ("credentials", Manifest { credentials: vec![need("")], ..manifest() }),
            ("secrets", Manifest { secrets: vec![need("a"), need("a")], ..manifest() }),
            ("config_schema", Manifest { config_schema: json!([]), ..manifest() }),
            ("config_schema", Manifest { config_schema: json!({"type": "text"}), ..manifest() }),
            ("config_schema", Manifest { config_schema: json!({"$ref": "https://a.example/s"}), ..manifest() }),
        ];
        for (field, manifest) in cases {
            let error = check(&manifest).unwrap_err();
            assert_eq!(error.code, InstallCode::BadManifest);
            assert!(error.message.starts_with(&format!("the manifest's {field}")), "{}", error.message);
            assert!(!error.message.contains('\x1b'));
        }
    }
}
