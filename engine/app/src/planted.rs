//! Faults that a test plants in a program of its own (`tests/planted`). The program that is shipped has none, and nothing
//! in its configuration or environment brings one about.

use std::sync::atomic::{AtomicU32, Ordering};

use engate_store::StoreOptions;

/// What is planted; nothing by default.
#[derive(Debug, Default)]
pub struct Planted {
    /// How the store is opened.
    pub store: StoreOptions,
    /// Where the process dies.
    pub death: Option<Death>,
}

/// A place in the work of a sync at which a process may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A page is written down and encoded, and not sent.
    BeforeSend,
    /// The answer to a page is judged, and nothing of it written down.
    AfterAnswer,
    /// All pages of a pass are acknowledged and written down, and the target not told of its end.
    BeforeClose,
}

impl Point {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "before_send" => Some(Self::BeforeSend),
            "after_answer" => Some(Self::AfterAnswer),
            "before_close" => Some(Self::BeforeClose),
            _ => None,
        }
    }
}

/// `kill -9` of the process by itself, the n-th time that it comes by a point.
#[derive(Debug)]
pub struct Death {
    point: Point,
    left: AtomicU32,
}

impl Death {
    /// At the `pass`-th coming by, counted from 1.
    pub const fn new(point: Point, pass: u32) -> Self {
        Self { point, left: AtomicU32::new(pass) }
    }

    /// The process comes by `point`; it does not come back where it is to die there.
    pub(crate) fn reach(&self, point: Point) {
        if self.point == point && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }
}
