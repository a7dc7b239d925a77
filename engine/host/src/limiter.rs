//! Memory and tables of one instance.

use wasmtime::ResourceLimiter;

use crate::config::MEMORY_BYTES_CEILING;
use crate::engine::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};

/// Says yes or no to growth, and remembers a no: to the plugin it looks like an allocation that failed, and what it
/// does then looks like a panic.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_max_bytes: usize,
    memory_bytes: usize,
    memory_peak_bytes: usize,
    refused: Option<String>,
}

impl Limiter {
    /// A limiter that allows `memory_max_bytes` over all memories of the instance, and never more than a slot holds.
    pub(crate) fn new(memory_max_bytes: usize) -> Self {
        let memory_max_bytes = memory_max_bytes.min(MEMORY_BYTES_CEILING);
        Self { memory_max_bytes, memory_bytes: 0, memory_peak_bytes: 0, refused: None }
    }

    /// Begins another call in the same instance.
    pub(crate) fn renew(&mut self, memory_max_bytes: usize) {
        self.memory_max_bytes = memory_max_bytes.min(MEMORY_BYTES_CEILING);
        self.refused = None;
    }

    /// What was refused, in words.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// The most memory held at once, in bytes. Memory never shrinks.
    pub(crate) const fn memory_peak_bytes(&self) -> usize {
        self.memory_peak_bytes
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_sub(current).saturating_add(desired);
        if total > self.memory_max_bytes {
            self.refused =
                Some(format!("it asked for {total} bytes of memory; the limit is {} bytes", self.memory_max_bytes));
            return Ok(false);
        }
        self.memory_bytes = total;
        self.memory_peak_bytes = self.memory_peak_bytes.max(total);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS_MAX {
            self.refused =
                Some(format!("it asked for a table of {desired} entries; the limit is {TABLE_ELEMENTS_MAX}"));
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_together_stay_below_the_limit_and_a_refusal_is_remembered() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 30, None).unwrap());
        assert!(!limiter.memory_growing(60, 71, None).unwrap());
        assert!(limiter.refused().unwrap().contains("101 bytes"));
        assert_eq!(limiter.memory_peak_bytes(), 90);
        limiter.renew(200);
        assert_eq!(limiter.refused(), None);
        assert!(limiter.memory_growing(60, 70, None).unwrap());
    }
}
