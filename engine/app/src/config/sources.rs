//! Connections to the tables of other systems: `[connections.protheus] url = "postgres://.."` in the file, or the variable
//! `ENGATE_CONNECTIONS_PROTHEUS_URL`, which wins.

use std::collections::BTreeMap;

use engate_model::{Invalid, Secret};

const SECTION: &str = "connections.";
const VARIABLE: &str = "ENGATE_CONNECTIONS_";
/// Connections at most.
const CONNECTIONS_MAX: usize = 64;

/// Takes the lines about connections out of a file's.
pub(super) fn of_file(flat: &mut BTreeMap<String, String>) -> Result<BTreeMap<String, Secret>, Invalid> {
    let lines: Vec<_> = flat.keys().filter(|key| key.starts_with(SECTION)).cloned().collect();
    let mut connections = BTreeMap::new();
    for key in lines {
        let Some(url) = flat.remove(&key) else { continue };
        let name = key.strip_prefix(SECTION).and_then(|rest| rest.strip_suffix(".url"));
        let Some(name) = name.filter(|name| is_name(name)) else {
            let message =
                "a connection is written as [connections.NAME] with its url; NAME is small letters, digits, - and _";
            return Err(Invalid::field(key, message));
        };
        connections.insert(name.to_owned(), checked(&key, url)?);
    }
    bounded(connections)
}

/// Lays what the environment says over what the file says.
pub(super) fn with_environment(
    mut connections: BTreeMap<String, Secret>,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<BTreeMap<String, Secret>, Invalid> {
    for (variable, url) in variables {
        let Some(name) = name_of(&variable) else { continue };
        // A variable cannot spell a hyphen.
        let known = connections.keys().find(|known| known.replace('-', "_") == name).cloned();
        connections.insert(known.unwrap_or(name), checked(&variable, url)?);
    }
    bounded(connections)
}

/// Whether a variable is one of these.
pub(crate) fn is_variable(variable: &str) -> bool {
    name_of(variable).is_some()
}

fn name_of(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(VARIABLE)?.strip_suffix("_URL")?.to_lowercase();
    is_name(&name).then_some(name)
}

fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(fits)
}

fn checked(key: &str, url: String) -> Result<Secret, Invalid> {
    let known = ["postgres://", "postgresql://", "mysql://", "mariadb://", "sqlite:"];
    if known.iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(Secret::new(url));
    }
    Err(Invalid::field(key, "begins with postgres://, mysql://, mariadb:// or sqlite:"))
}

fn bounded(connections: BTreeMap<String, Secret>) -> Result<BTreeMap<String, Secret>, Invalid> {
    if connections.len() <= CONNECTIONS_MAX {
        return Ok(connections);
    }
    Err(Invalid::field("connections", format!("name at most {CONNECTIONS_MAX}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_from_the_file_and_the_environment_and_are_never_shown() {
        let lines = [("connections.erp-sp.url", "postgres://ana:senha@a/b"), ("listen", "127.0.0.1:1")];
        let mut flat = lines.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let file = of_file(&mut flat).unwrap();
        assert_eq!(flat.len(), 1);
        let variables = [
            ("ENGATE_CONNECTIONS_ERP_SP_URL", "sqlite:x.db"),
            ("ENGATE_CONNECTIONS_PROTHEUS_URL", "mysql://a/b"),
            ("ENGATE_URL", "x"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let all = with_environment(file, variables.into_iter()).unwrap();
        let shown: Vec<_> = all.iter().map(|(name, url)| (name.as_str(), url.expose())).collect();
        assert_eq!(shown, [("erp-sp", "sqlite:x.db"), ("protheus", "mysql://a/b")]);
        assert!(!format!("{all:?}").contains("x.db"));
        for (key, url) in [
            ("connections.a.uri", "sqlite:x"),
            ("connections.A b.url", "sqlite:x"),
            ("connections.a.url", "oracle://x"),
        ] {
            let mut flat = [(key.to_owned(), url.to_owned())].into();
            assert_eq!(of_file(&mut flat).unwrap_err().0[0].field, key);
        }
    }
}
