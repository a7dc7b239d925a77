//! The machine's clock and its randomness, the two doors through which the world comes in.

use std::sync::Mutex;

use engate_model::{Clock, Timestamp};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from(chrono::Utc::now())
    }
}

/// Where ids, keys and jitter come from; a test seeds it.
#[derive(Debug)]
pub struct Chance(Mutex<StdRng>);

impl Chance {
    /// Unpredictable.
    pub fn from_machine() -> Self {
        Self(Mutex::new(StdRng::from_rng(&mut rand::rng())))
    }

    /// The same sequence for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// 128 random bits, for an id.
    pub fn bits(&self) -> u128 {
        self.with(|rng| rng.random())
    }

    /// Uniform in 0..1, for jitter.
    pub fn fraction(&self) -> f64 {
        self.with(|rng| rng.random())
    }

    /// 32 random bytes, for a key.
    pub fn key(&self) -> [u8; 32] {
        self.with(|rng| rng.random())
    }

    fn with<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        // A panic cannot leave the generator in a state worth refusing.
        let mut rng = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        draw(&mut rng)
    }
}
