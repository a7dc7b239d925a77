//! Connections to the tables of other systems: `[connections.protheus] url = "postgres://.."` and perhaps `tenants` in the
//! file, or the variables `ENGATE_CONNECTIONS_PROTHEUS_URL` and `.._TENANTS`, which win.

use std::collections::BTreeMap;

use engate_model::{Invalid, Secret, invalid::Complaints};

use crate::verbs::tenants::FIRST_TENANT;

const SECTION: &str = "connections.";
const VARIABLE: &str = "ENGATE_CONNECTIONS_";
/// Connections at most.
const CONNECTIONS_MAX: usize = 64;

/// A connection to the tables of another system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedConnection {
    /// Where the tables are, and under which user.
    pub url: Secret,
    /// Slugs of the tenants that may use it; for any other it is not there.
    pub tenants: Vec<String>,
}

/// What file and environment say of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionLines {
    url: Option<Secret>,
    tenants: Option<Vec<String>>,
}

impl ConnectionLines {
    /// The tenants that may use it.
    pub(crate) fn tenants(&self) -> Vec<String> {
        self.tenants.clone().unwrap_or_else(|| vec![FIRST_TENANT.to_owned()])
    }
}

/// What a line or a variable is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Url,
    Tenants,
}

/// Takes the lines about connections out of a file's.
pub(super) fn of_file(flat: &mut BTreeMap<String, String>) -> Result<BTreeMap<String, ConnectionLines>, Invalid> {
    let lines: Vec<_> = flat.keys().filter(|key| key.starts_with(SECTION)).cloned().collect();
    let mut connections = BTreeMap::new();
    for key in lines {
        let Some(value) = flat.remove(&key) else { continue };
        let Some((name, part)) = key.strip_prefix(SECTION).and_then(|rest| part_of(rest, ".url", ".tenants")) else {
            let message = "a connection is written as [connections.NAME] with its url, and tenants where others than default \
                           use it; NAME is small letters, digits, - and _";
            return Err(Invalid::field(key, message));
        };
        put(connections.entry(name.to_owned()).or_default(), part, &key, value)?;
    }
    bounded(connections)
}

/// Lays what the environment says over what the file says.
pub(super) fn with_environment(
    mut connections: BTreeMap<String, ConnectionLines>,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<BTreeMap<String, ConnectionLines>, Invalid> {
    for (variable, value) in variables {
        let Some((name, part)) = name_of(&variable) else { continue };
        // A variable cannot spell a hyphen.
        let known = connections.keys().find(|known| known.replace('-', "_") == name).cloned();
        put(connections.entry(known.unwrap_or(name)).or_default(), part, &variable, value)?;
    }
    bounded(connections)
}

/// The connections, each with its URL.
///
/// # Errors
/// Names those of which only the tenants are said.
pub(super) fn complete(
    connections: &BTreeMap<String, ConnectionLines>,
) -> Result<BTreeMap<String, NamedConnection>, Invalid> {
    let mut complaints = Complaints::default();
    let mut complete = BTreeMap::new();
    for (name, lines) in connections {
        match &lines.url {
            Some(url) => {
                complete.insert(name.clone(), NamedConnection { url: url.clone(), tenants: lines.tenants() });
            }
            None => {
                complaints.add(format!("{SECTION}{name}.url"), "is missing beside tenants; say where the tables are")
            }
        }
    }
    complaints.finish(complete)
}

/// Whether a variable is one of these.
pub(crate) fn is_variable(variable: &str) -> bool {
    name_of(variable).is_some()
}

fn name_of(variable: &str) -> Option<(String, Part)> {
    let rest = variable.strip_prefix(VARIABLE)?.to_lowercase();
    part_of(&rest, "_url", "_tenants").map(|(name, part)| (name.to_owned(), part))
}

/// The connection's name, and what is said of it.
fn part_of<'a>(text: &'a str, url: &str, tenants: &str) -> Option<(&'a str, Part)> {
    let of_url = text.strip_suffix(url).map(|name| (name, Part::Url));
    of_url.or_else(|| text.strip_suffix(tenants).map(|name| (name, Part::Tenants))).filter(|(name, _)| is_name(name))
}

fn put(lines: &mut ConnectionLines, part: Part, key: &str, value: String) -> Result<(), Invalid> {
    match part {
        Part::Url => lines.url = Some(checked(key, value)?),
        Part::Tenants => lines.tenants = Some(slugs(key, &value)?),
    }
    Ok(())
}

/// Slugs, one or more, with commas between.
fn slugs(key: &str, text: &str) -> Result<Vec<String>, Invalid> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    let slugs: Vec<_> = text.split(',').map(|slug| slug.trim().to_owned()).collect();
    if slugs.iter().all(|slug| !slug.is_empty() && slug.bytes().all(fits)) {
        return Ok(slugs);
    }
    Err(Invalid::field(key, "names the tenants that may use it by their slugs, such as [\"default\", \"acme\"]"))
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

fn bounded(connections: BTreeMap<String, ConnectionLines>) -> Result<BTreeMap<String, ConnectionLines>, Invalid> {
    if connections.len() <= CONNECTIONS_MAX {
        return Ok(connections);
    }
    Err(Invalid::field("connections", format!("name at most {CONNECTIONS_MAX}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned<const N: usize>(lines: [(&str, &str); N]) -> [(String, String); N] {
        lines.map(|(key, value)| (key.to_owned(), value.to_owned()))
    }

    #[test]
    fn connections_come_from_the_file_and_the_environment_and_are_never_shown() {
        let lines = [
            ("connections.erp-sp.url", "postgres://ana:senha@a/b"),
            ("connections.erp-sp.tenants", "default,acme"),
            ("connections.later.tenants", "acme"),
            ("listen", "127.0.0.1:1"),
        ];
        let mut flat = owned(lines).into();
        let file = of_file(&mut flat).unwrap();
        assert_eq!(flat.len(), 1);
        let variables = [
            ("ENGATE_CONNECTIONS_ERP_SP_URL", "sqlite:x.db"),
            ("ENGATE_CONNECTIONS_PROTHEUS_URL", "mysql://a/b"),
            ("ENGATE_CONNECTIONS_LATER_URL", "sqlite:y.db"),
            ("ENGATE_CONNECTIONS_LATER_TENANTS", "saae, acme"),
            ("ENGATE_URL", "x"),
        ];
        let all = complete(&with_environment(file, owned(variables).into_iter()).unwrap()).unwrap();
        let shown: Vec<_> =
            all.iter().map(|(name, one)| (name.as_str(), one.url.expose(), one.tenants.join("+"))).collect();
        let expected = [
            ("erp-sp", "sqlite:x.db", "default+acme"),
            ("later", "sqlite:y.db", "saae+acme"),
            ("protheus", "mysql://a/b", "default"),
        ];
        assert_eq!(shown, expected.map(|(name, url, tenants)| (name, url, tenants.to_owned())));
        assert!(!format!("{all:?}").contains("x.db"));
        for (key, value) in [
            ("connections.a.uri", "sqlite:x"),
            ("connections.A b.url", "sqlite:x"),
            ("connections.a.url", "oracle://x"),
            ("connections.a.tenants", ""),
            ("connections.a.tenants", "default,,acme"),
            ("connections.a.tenants", "*"),
        ] {
            let mut flat = owned([(key, value)]).into();
            assert_eq!(of_file(&mut flat).unwrap_err().0[0].field, key);
        }
        let mut alone = owned([("connections.a.tenants", "acme")]).into();
        assert_eq!(complete(&of_file(&mut alone).unwrap()).unwrap_err().0[0].field, "connections.a.url");
        assert!(is_variable("ENGATE_CONNECTIONS_A_TENANTS") && !is_variable("ENGATE_CONNECTIONS_A_TENANT"));
    }
}
