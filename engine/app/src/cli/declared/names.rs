//! Names of the variables that stand for secrets in an export: each of its own, so that no secret goes where another belongs.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::cli::failure::Failure;

/// What all of them begin with: nothing else reads such a variable, neither the engine (`ENGATE_SECRET_KEY`) nor a shell.
pub(in crate::cli) const VARIABLES: &str = "ENGATE_APPLY_";
/// Characters of a name that are made of what it is for; a description may be a kilobyte.
const STEM_CHARS_MAX: usize = 100;
/// Hexadecimal digits that tell apart what would have one name.
const DIGEST_CHARS: usize = 8;

/// The variable of each secret.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    /// Names all of them. What alone would have a name has that one; each of several gets a digest behind it, which does
    /// not hang on who the others are.
    ///
    /// # Errors
    /// Where two would have one name all the same.
    pub(super) fn of(sources: impl IntoIterator<Item = String>) -> Result<Self, Failure> {
        let sources: BTreeSet<String> = sources.into_iter().collect();
        let mut stems: BTreeMap<String, usize> = BTreeMap::new();
        for source in &sources {
            *stems.entry(stem(source)).or_default() += 1;
        }
        let (mut names, mut taken) = (BTreeMap::new(), BTreeSet::new());
        for source in sources {
            let stem = stem(&source);
            let is_shared = stems.get(&stem).is_some_and(|count| *count > 1);
            let name = if is_shared || ends_as_a_digest(&stem) { with_digest(&stem, &source) } else { stem };
            if !taken.insert(name.clone()) {
                return Err(Failure::failed(format!(
                    "two secrets would both be {name} in the file; rename one of them"
                )));
            }
            names.insert(source, name);
        }
        Ok(Self(names))
    }

    /// The reference that stands for a secret.
    pub(super) fn reference(&self, source: &str) -> Value {
        json!({ "env": self.0.get(source) })
    }
}

/// What a secret by name is called here.
pub(super) fn of_secret(name: &str) -> String {
    format!("secret/{name}")
}

/// What a part of an endpoint is called here.
pub(super) fn of_endpoint(name: &str, part: &str) -> String {
    format!("endpoint/{name}/{part}")
}

fn stem(source: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    VARIABLES.chars().chain(source.chars().map(plain)).take(STEM_CHARS_MAX).collect()
}

/// A name that looks as if it had a digest could be another one's with its digest.
fn ends_as_a_digest(stem: &str) -> bool {
    let last = stem.rsplit('_').next().unwrap_or_default();
    last.len() == DIGEST_CHARS && last.bytes().all(|b| b.is_ascii_hexdigit())
}

fn with_digest(stem: &str, source: &str) -> String {
    let digest = digest(&SHA256, source.as_bytes());
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    format!("{stem}_{}", digits.chars().take(DIGEST_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sources: &[String]) -> Vec<String> {
        let names = Names::of(sources.iter().cloned()).unwrap();
        sources.iter().map(|source| names.reference(source)["env"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn each_secret_has_a_name_that_nothing_else_reads() {
        let plain = names(&[of_secret("path"), of_secret("key"), of_endpoint("ons/Boletins", "password")]);
        assert_eq!(
            plain,
            ["ENGATE_APPLY_SECRET_PATH", "ENGATE_APPLY_SECRET_KEY", "ENGATE_APPLY_ENDPOINT_ONS_BOLETINS_PASSWORD"]
        );
    }

    #[test]
    fn what_would_have_one_name_is_told_apart_the_same_way_every_time() {
        let two = [of_secret("a.b"), of_secret("a-b")];
        let told = names(&two);
        assert!(told.iter().all(|name| name.starts_with("ENGATE_APPLY_SECRET_A_B_")), "{told:?}");
        assert_ne!(told[0], told[1]);
        let more = [two[0].clone(), two[1].clone(), of_secret("a_b"), of_secret("c")];
        assert_eq!(names(&more)[..2], told, "whoever else comes");
        // Nor is there one that another may pretend to be, or that is cut off to be another's.
        let digest = told[0].rsplit('_').next().unwrap().to_lowercase();
        let all = names(&[two[0].clone(), two[1].clone(), of_secret(&format!("a-b-{digest}"))]);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 3, "{all:?}");
        let long = "x".repeat(1_000);
        let all = names(&[of_endpoint(&long, "password"), of_endpoint(&long, "value")]);
        assert_ne!(all[0], all[1]);
        assert!(all[0].len() < 120, "{all:?}");
    }
}
