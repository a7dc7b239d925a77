//! What is wrong with an input, by field.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One field to blame: its path in the request (`auth.type`, `event_types[2]`) and a sentence with the cure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Path of the field in the request.
    pub field: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// An input that cannot be taken; at least one field is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Vec<FieldError>);

impl Invalid {
    /// A single complaint.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// The same with every field below `parent`, where the caller wrote them.
    #[must_use]
    pub fn below(self, parent: &str) -> Self {
        let field = |field: String| match field.as_str() {
            "" => parent.to_owned(),
            path if path.starts_with('[') => format!("{parent}{path}"),
            path => format!("{parent}.{path}"),
        };
        Self(self.0.into_iter().map(|e| FieldError { field: field(e.field), message: e.message }).collect())
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", error.field, error.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// Collects complaints, so that a caller hears of all of them at once.
#[derive(Debug, Default)]
pub struct Complaints(Vec<FieldError>);

impl Complaints {
    /// Adds one complaint.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), message: message.into() });
    }

    /// Adds every complaint of `result` and gives its value where there is none.
    pub fn take<T>(&mut self, result: Result<T, Invalid>) -> Option<T> {
        result.map_err(|invalid| self.0.extend(invalid.0)).ok()
    }

    /// `value` where nothing was complained of.
    ///
    /// # Errors
    /// All complaints collected.
    pub fn finish<T>(self, value: T) -> Result<T, Invalid> {
        if self.0.is_empty() { Ok(value) } else { Err(Invalid(self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_below_where_they_were_written() {
        let fields = ["", "a.b[0]", "[1].c"].map(|field| FieldError { field: field.into(), message: String::new() });
        let below = Invalid(fields.to_vec()).below("config");
        let fields: Vec<_> = below.0.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["config", "config.a.b[0]", "config[1].c"]);
    }
}
