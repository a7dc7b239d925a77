//! How values are compared. Numbers compare by value, whatever their spelling (`10.50` is `10.5`); texts by their
//! bytes, which puts RFC 3339 times of one offset in order; anything else only for being equal.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::Test;

impl Test {
    /// Of a value of the payload; none where the path leads nowhere.
    pub(super) fn of_json(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Exists(wanted), value) => value.is_some() == *wanted,
            (Self::Ne(_), None) => true,
            (_, None) => false,
            (Self::Eq(wanted), Some(value)) => equal(value, wanted),
            (Self::Ne(wanted), Some(value)) => !equal(value, wanted),
            (Self::In(wanted), Some(value)) => wanted.iter().any(|wanted| equal(value, wanted)),
            (Self::Gt(bound), Some(value)) => order(value, bound) == Some(Ordering::Greater),
            (Self::Gte(bound), Some(value)) => order(value, bound).is_some_and(Ordering::is_ge),
            (Self::Lt(bound), Some(value)) => order(value, bound) == Some(Ordering::Less),
            (Self::Lte(bound), Some(value)) => order(value, bound).is_some_and(Ordering::is_le),
            (Self::Prefix(start), Some(value)) => value.as_str().is_some_and(|text| text.starts_with(start)),
            (Self::Contains(part), Some(Value::Array(items))) => items.iter().any(|item| equal(item, part)),
            (Self::Contains(part), Some(Value::String(text))) => part.as_str().is_some_and(|part| text.contains(part)),
            (Self::Contains(_), Some(_)) => false,
        }
    }

    /// Of a label, which is a text: it counts as a number where it is compared with one.
    pub(super) fn of_label(&self, text: Option<&str>) -> bool {
        let numeric = match self {
            Self::Eq(wanted) | Self::Ne(wanted) => wanted.is_number(),
            Self::Gt(bound) | Self::Gte(bound) | Self::Lt(bound) | Self::Lte(bound) => bound.is_number(),
            Self::In(wanted) => wanted.iter().all(Value::is_number),
            Self::Exists(_) | Self::Prefix(_) | Self::Contains(_) => false,
        };
        let as_number = |text: &str| text.parse::<Number>().map(Value::Number).ok();
        let value = text.map(|text| {
            let number = if numeric { as_number(text) } else { None };
            number.unwrap_or_else(|| Value::String(text.to_owned()))
        });
        self.of_json(value.as_ref())
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => number_order(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => number_order(a, b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Whole numbers exactly, others as floating point.
fn number_order(a: &Number, b: &Number) -> Option<Ordering> {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}
