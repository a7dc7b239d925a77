//! `arquivo`: which file the product is.

use engate_sdk::Problem;

/// Longest `arquivo` taken, in bytes; it goes into a link, and links have an end.
const BYTES_MAX: usize = 1024;

/// Where the product's file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum File {
    /// A path below the engine's `files.root`.
    Below(String),
    /// An absolute URL, passed on as it is.
    Elsewhere(String),
}

impl File {
    /// The engine guards its root itself; here a wrong path is told to the producer, not to whoever follows the link.
    pub(crate) fn parse(arquivo: &str) -> Result<Self, Problem> {
        if arquivo.len() > BYTES_MAX {
            return Err(invalid(arquivo, &format!("longer than {BYTES_MAX} bytes: give it a shorter name")));
        }
        if arquivo.chars().any(char::is_control) {
            return Err(invalid(arquivo, "with a control character in it: take it out"));
        }
        match arquivo.split_once("://") {
            Some((scheme, rest)) => Self::elsewhere(arquivo, scheme, rest),
            None => Self::below(arquivo),
        }
    }

    fn elsewhere(url: &str, scheme: &str, rest: &str) -> Result<Self, Problem> {
        if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
            return Err(invalid(url, "a URL of another scheme: only http and https are"));
        }
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.is_empty() || url.contains(char::is_whitespace) {
            return Err(invalid(url, "not a whole URL: name the host, and write spaces as %20"));
        }
        Ok(Self::Elsewhere(url.to_owned()))
    }

    fn below(path: &str) -> Result<Self, Problem> {
        if path.starts_with('/') || path.contains('\\') {
            return Err(invalid(path, "not relative: name it from files.root on, with / between folders"));
        }
        if path.ends_with('/') {
            return Err(invalid(path, "a folder: pack it and name the packed file"));
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(invalid(path, "not a plain path: leave out empty parts, `.` and `..`"));
        }
        Ok(Self::Below(path.to_owned()))
    }
}

fn invalid(arquivo: &str, what: &str) -> Problem {
    let shown: String = arquivo.chars().take(100).collect();
    Problem::new("invalid_arquivo", format!("`arquivo` {shown:?} is {what}"))
}
