//! Which machine code: of which component, and how much the compiler made of it.

use crate::digest::Digest;

/// How much the compiler makes of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// Code in a fraction of the time, which then runs slower: for a developer who waits for it. It never serves
    /// where [`Effort::Full`] is asked for.
    Quick,
    /// All that the compiler can do.
    Full,
}

/// Machine code by what it is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Code {
    pub(crate) digest: Digest,
    pub(crate) effort: Effort,
}

impl Code {
    /// The code of `digest` made with that effort.
    pub(crate) const fn new(digest: Digest, effort: Effort) -> Self {
        Self { digest, effort }
    }

    /// What its files are called, without what belongs to the engine's build.
    pub(crate) fn name(&self) -> String {
        match self.effort {
            Effort::Quick => format!("{}-quick", self.digest),
            Effort::Full => self.digest.to_string(),
        }
    }
}
