//! Conditions and the values of their placeholders, numbered as they come.

use engate_model::listing::{SortKey, SortValue};
use uuid::Uuid;

use super::filter::column_of;
use crate::value::Value;

/// Conditions that must all hold.
#[derive(Clone, Default)]
pub(crate) struct Conditions {
    /// ` AND ...`
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    /// Takes a value; gives the number of its placeholder.
    pub(crate) fn bind(&mut self, value: Value) -> usize {
        self.values.push(value);
        self.values.len()
    }

    /// One more condition.
    pub(crate) fn and(&mut self, condition: &str) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
    }

    /// The column is one of `values`; any where there are none.
    pub(crate) fn one_of<V: Into<Value>>(&mut self, column: &str, values: impl IntoIterator<Item = V>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() {
            let list = self.list(column, values);
            self.and(&list);
        }
    }

    /// The column is one of `values`, as a condition to put somewhere.
    pub(crate) fn list<V: Into<Value>>(&mut self, column: &str, values: impl IntoIterator<Item = V>) -> String {
        let places: Vec<_> = values.into_iter().map(|value| format!("${}", self.bind(value.into()))).collect();
        match places.as_slice() {
            [] => "1 = 0".to_owned(),
            [one] => format!("{column} = {one}"),
            several => format!("{column} IN ({})", several.join(", ")),
        }
    }

    /// What stands beyond `place` in the order of `keys`.
    pub(crate) fn beyond(&mut self, keys: &[SortKey], place: &[SortValue]) {
        let mut equal = String::new();
        let mut ways = Vec::new();
        for (n, (key, value)) in keys.iter().zip(place).enumerate() {
            let column = column_of(key.column);
            let at = (*value != SortValue::Null).then(|| self.bind(bound(value)));
            let strictly = match (at, key.descending) {
                (None, true) => None,
                (None, false) => Some(format!("{column} IS NOT NULL")),
                (Some(at), false) => Some(format!("{column} > ${at}")),
                (Some(at), true) => Some(format!("({column} < ${at} OR {column} IS NULL)")),
            };
            ways.extend(strictly.map(|strictly| format!("{equal}{strictly}")));
            equal.push_str(&at.map_or(format!("{column} IS NULL AND "), |at| format!("{column} = ${at} AND ")));
            if let (0, Some(at), false) = (n, at, keys.len() == 1) {
                // Said once more in the form from which an index knows where to begin.
                let begin = if key.descending {
                    format!("({column} <= ${at} OR {column} IS NULL)")
                } else {
                    format!("{column} >= ${at}")
                };
                self.and(&begin);
            }
        }
        self.and(&if ways.is_empty() { "1 = 0".to_owned() } else { format!("({})", ways.join(" OR ")) });
    }

    /// What stands beyond `place`, where the first column is never NULL and read from an index.
    pub(crate) fn beyond_in_index(&mut self, keys: &[SortKey], place: &[SortValue]) {
        self.beyond(keys, place);
        if let (Some(key), Some(value)) = (keys.first(), place.first()) {
            let (column, at) = (column_of(key.column), self.bind(bound(value)));
            self.and(&format!("{column} {} ${at}", if key.descending { "<=" } else { ">=" }));
        }
    }

    /// The conditions.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Takes the text from `at` on out again; its values keep their numbers.
    pub(crate) fn split_text(&mut self, at: usize) -> String {
        self.text.split_off(at)
    }

    /// The values, with one more; and its placeholder.
    pub(crate) fn values_with(&self, last: Value) -> (Vec<Value>, usize) {
        let mut values = self.values.clone();
        values.push(last);
        let at = values.len();
        (values, at)
    }

    /// The values alone.
    pub(crate) fn values(&self) -> Vec<Value> {
        self.values.clone()
    }
}

impl Extend<(&'static str, Value)> for Conditions {
    /// Adds comparisons: `created_at >=` and a value.
    fn extend<T: IntoIterator<Item = (&'static str, Value)>>(&mut self, comparisons: T) {
        for (comparison, value) in comparisons {
            let at = self.bind(value);
            self.and(&format!("{comparison} ${at}"));
        }
    }
}

fn bound(value: &SortValue) -> Value {
    match value {
        SortValue::Null => Value::Int(None),
        SortValue::Int(number) => Value::from(*number),
        SortValue::Text(text) => Value::from(text),
        SortValue::Id(bits) => Value::Id(Some(Uuid::from_u128(*bits))),
    }
}
