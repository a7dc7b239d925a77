//! How large the next page is, and when a page is tried again.

use std::time::Duration;

/// How often one page is tried within a run.
pub const TRIES_MAX: u32 = 10;
/// The first wait between two tries; each further one is twice as long at most.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// The longest wait within a run, a target's own wish included.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// Pages taken without trouble before the next one may be larger.
const CALM_PAGES: u32 = 8;

/// Bounds of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize {
    /// Rows.
    pub rows: u32,
    /// Bytes of their records, unless one alone has more.
    pub bytes: u32,
}

/// Adapts the size of pages to what the target takes: halves it on trouble, doubles it after a calm while.
#[derive(Debug, Clone)]
pub struct Sizer {
    most: PageSize,
    now: PageSize,
    calm: u32,
}

impl Sizer {
    /// Begins with the largest size allowed.
    pub const fn new(most: PageSize) -> Self {
        Self { most, now: most, calm: 0 }
    }

    /// The size of the next page.
    pub const fn size(&self) -> PageSize {
        self.now
    }

    /// The target takes less at a time: too large, too often, or too slow.
    pub fn shrink(&mut self) {
        self.now = PageSize { rows: (self.now.rows / 2).max(1), bytes: (self.now.bytes / 2).max(1 << 10) };
        self.calm = 0;
    }

    /// A page was taken at the first try.
    pub fn taken(&mut self) {
        self.calm += 1;
        if self.calm >= CALM_PAGES {
            self.calm = 0;
            let twice = |now: u32, most: u32| now.saturating_mul(2).min(most);
            self.now =
                PageSize { rows: twice(self.now.rows, self.most.rows), bytes: twice(self.now.bytes, self.most.bytes) };
        }
    }
}

/// The wait before try `tries + 1`, full jitter; none where the tries are used up. `wish` is the target's own, bounded.
pub fn wait_before_next(tries: u32, wish: Option<Duration>, chance: f64) -> Option<Duration> {
    if tries >= TRIES_MAX {
        return None;
    }
    if let Some(wish) = wish {
        return Some(wish.min(WAIT_MAX));
    }
    let doubled = WAIT_FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16));
    Some(doubled.min(WAIT_MAX).mul_f64(chance.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_shrink_on_trouble_and_grow_back_after_a_calm_while() {
        let most = PageSize { rows: 500, bytes: 8 << 20 };
        let mut sizer = Sizer::new(most);
        sizer.shrink();
        assert_eq!(sizer.size(), PageSize { rows: 250, bytes: 4 << 20 });
        (0..20).for_each(|_| sizer.shrink());
        assert_eq!(sizer.size(), PageSize { rows: 1, bytes: 1 << 10 });
        (0..200).for_each(|_| sizer.taken());
        assert_eq!(sizer.size(), most);
    }

    #[test]
    fn waits_grow_keep_to_their_bounds_and_end() {
        assert_eq!(wait_before_next(1, None, 1.0), Some(Duration::from_millis(500)));
        assert_eq!(wait_before_next(3, None, 0.5), Some(Duration::from_secs(1)));
        assert_eq!(wait_before_next(9, None, 1.0), Some(WAIT_MAX));
        assert_eq!(wait_before_next(TRIES_MAX, None, 1.0), None);
        assert_eq!(wait_before_next(1, Some(Duration::from_secs(9_000)), 0.0), Some(WAIT_MAX));
    }
}
