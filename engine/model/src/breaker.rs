//! Whether a plugin works at all. One that fails again and again has its deliveries parked instead of using up their
//! tries: nothing is lost, and a new version or a person lets them go on.

/// Calls that are remembered.
pub const CALLS_REMEMBERED: u32 = 20;
/// Faults among them at which the breaker opens.
pub const FAULTS_MAX: u32 = 10;

/// The last calls of one version of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breaker {
    /// One bit a call, the last one lowest; set where it was faulty.
    recent: u32,
}

impl Breaker {
    /// Takes note of an attempt's calls; true where that opened the breaker.
    pub fn note(&mut self, faulty: bool) -> bool {
        let before = self.is_open();
        self.recent = (self.recent << 1 | u32::from(faulty)) & ((1 << CALLS_REMEMBERED) - 1);
        !before && self.is_open()
    }

    /// Whether its deliveries are to be parked.
    pub const fn is_open(self) -> bool {
        self.recent.count_ones() >= FAULTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(calls: impl IntoIterator<Item = bool>) -> (Breaker, usize) {
        let mut breaker = Breaker::default();
        let opened = calls.into_iter().filter(|faulty| breaker.note(*faulty)).count();
        (breaker, opened)
    }

    #[test]
    fn it_opens_at_so_many_faults_among_the_last_calls() {
        assert!(!after([true; 9]).0.is_open());
        assert_eq!(after([true; 12]), (Breaker { recent: 0xfff }, 1));
        let half = |calls: usize| (0..calls).map(|n| n % 2 == 0);
        assert!(!after(half(18)).0.is_open() && after(half(19)).0.is_open());
        let third = (0..300).map(|n| n % 3 == 0);
        assert!(!after(third).0.is_open(), "seven of twenty are not enough");
    }

    #[test]
    fn old_faults_are_forgotten() {
        let calls = [true; 9].into_iter().chain([false; 20]).chain([true; 9]);
        assert!(!after(calls).0.is_open());
    }
}
