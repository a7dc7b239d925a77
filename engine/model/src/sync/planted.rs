//! The ways in which publishers are known to lose rows, to be planted on purpose: the suite of faults has to notice each.
//! Nothing but tests ever sets one.

/// One mistake.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// The next page begins strictly after the last stamp, whatever keys share it.
    StrictStamp,
    /// The initial load goes by the stamp, so that rows without one are not in it.
    NullsSkipped,
    /// Bounds are taken from a clock that shows `HH:MI` of twelve hours.
    TwelveHours,
    /// Pages are in one order and resumed in another.
    OtherOrder,
    /// The position moves on although the page was not taken.
    WatermarkAhead,
    /// The pass ends with the largest stamp that is there by then.
    MaximumOfAnotherSnapshot,
    /// Nothing is read again.
    NoLookback,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::StrictStamp,
        Self::NullsSkipped,
        Self::TwelveHours,
        Self::OtherOrder,
        Self::WatermarkAhead,
        Self::MaximumOfAnotherSnapshot,
        Self::NoLookback,
    ];
}
