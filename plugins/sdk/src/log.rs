//! Lines in the plugin log. `log::info!("{} orders", n)` for a sentence, [`write()`] for one with fields.

use crate::engine;

#[doc(inline)]
pub use crate::bindings::describing::engate::plugin::log::Level;

/// Writes one line with named values. At most 8 KiB per call are kept.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<(String, String)> =
        fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    engine::log::write(level, message, &fields);
}

/// Writes a line that helps the plugin's developer.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($sentence:tt)+) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($sentence)+), &[]) };
}

/// Writes a line about the normal course.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($sentence:tt)+) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($sentence)+), &[]) };
}

/// Writes a line about something odd.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($sentence:tt)+) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($sentence)+), &[]) };
}

/// Writes a line about something wrong.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($sentence:tt)+) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($sentence)+), &[]) };
}

#[doc(inline)]
pub use crate::{__log_debug as debug, __log_error as error, __log_info as info, __log_warn as warn};
