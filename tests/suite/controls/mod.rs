//! What holds deliveries back and what lets them go: rates, filters, pauses, breakers, a time set for them; and what
//! the engine tells of it.

mod breaker;
mod callbacks;
mod delayed;
mod filters;
mod pause;
mod rates;
