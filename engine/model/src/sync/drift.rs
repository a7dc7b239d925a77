//! What it means that a table is no longer what it was.

use serde::{Deserialize, Serialize};

use crate::sink::{Column, ColumnKind};

/// A column as far as a change of it matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnShape {
    /// Its name, as the source spells it.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Letters, bytes or digits it holds at most; none: no bound, or none that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Digits behind the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<u32>,
}

impl ColumnShape {
    /// As a target sees it.
    pub fn column(&self) -> Column {
        Column { name: self.name.clone(), kind: self.kind, nullable: self.nullable }
    }
}

/// A stream's columns and which of them identify a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Names of the key's columns.
    pub key: Vec<String>,
    /// What is carried, in the order of the source.
    pub columns: Vec<ColumnShape>,
}

/// What follows from a changed table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// Nothing.
    Same,
    /// The target is prepared anew. With new columns all rows are read again: their records have changed, and their
    /// stamps have not.
    Automatic {
        /// Whether there are new columns.
        added: bool,
    },
    /// The stream stops until someone approves: one sentence that says what and the cure.
    Conflict(String),
}

/// Compares what the target was prepared for with what is there now.
pub fn judge(before: &Shape, now: &Shape) -> Drift {
    if before == now {
        return Drift::Same;
    }
    let mut troubles = Vec::new();
    if before.key != now.key {
        troubles.push(format!("the key was ({}) and is ({})", before.key.join(", "), now.key.join(", ")));
    }
    for old in &before.columns {
        match now.columns.iter().find(|new| new.name == old.name) {
            None => troubles.push(format!("column {} is gone", old.name)),
            Some(new) if before.key.contains(&old.name) && new.kind != old.kind => {
                troubles.push(format!("column {} of the key has another type", old.name));
            }
            Some(new) if !holds_all_of(new, old) => troubles.push(format!("column {} became narrower", old.name)),
            Some(_) => {}
        }
    }
    if troubles.is_empty() {
        let added = now.columns.iter().any(|new| before.columns.iter().all(|old| old.name != new.name));
        return Drift::Automatic { added };
    }
    let cure = "approve the change to go on with it, or begin a new epoch to send everything again";
    Drift::Conflict(format!("{}; {cure}", troubles.join(", ")))
}

/// Whether every value of `old` fits into `new`.
fn holds_all_of(new: &ColumnShape, old: &ColumnShape) -> bool {
    use ColumnKind as K;
    let wider_kind = match (old.kind, new.kind) {
        (old, new) if old == new => false,
        (_, K::Text) | (K::Integer, K::Decimal) | (K::Date, K::Timestamp) | (K::Boolean, K::Integer) => true,
        _ => return false,
    };
    let room = |shape: &ColumnShape| match (shape.size, shape.scale) {
        (Some(size), Some(scale)) => Some(size.saturating_sub(scale)),
        (size, _) => size,
    };
    let fits = |new: Option<u32>, old: Option<u32>| new.is_none_or(|new| old.is_some_and(|old| new >= old));
    wider_kind || fits(room(new), room(old)) && fits(new.scale, old.scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: ColumnKind, size: Option<u32>) -> ColumnShape {
        ColumnShape { name: name.into(), kind, nullable: true, size, scale: None }
    }

    fn shape(columns: &[ColumnShape]) -> Shape {
        Shape { key: vec!["id".into()], columns: columns.to_vec() }
    }

    #[test]
    fn wider_is_automatic_and_narrower_waits_for_someone() {
        use ColumnKind as K;
        let id = column("id", K::Integer, Some(10));
        let name = column("name", K::Text, Some(40));
        let before = shape(&[id.clone(), name.clone()]);
        let is = |columns: &[ColumnShape]| judge(&before, &shape(columns));
        assert_eq!(is(&[id.clone(), name.clone()]), Drift::Same);
        assert_eq!(is(&[id.clone(), name.clone(), column("x", K::Date, None)]), Drift::Automatic { added: true });
        for wider in [column("name", K::Text, Some(60)), column("name", K::Text, None)] {
            assert_eq!(is(&[id.clone(), wider]), Drift::Automatic { added: false });
        }
        let conflict = |columns: &[ColumnShape], says: &str| match is(columns) {
            Drift::Conflict(text) => assert!(text.contains(says), "{text}"),
            other => panic!("{other:?}"),
        };
        conflict(&[id.clone(), column("name", K::Text, Some(20))], "column name became narrower");
        conflict(&[id.clone(), column("name", K::Integer, None)], "column name became narrower");
        conflict(std::slice::from_ref(&id), "column name is gone");
        conflict(&[column("id", K::Text, None), name.clone()], "of the key has another type");
        let other_key = Shape { key: vec!["name".into()], ..before.clone() };
        assert!(matches!(judge(&before, &other_key), Drift::Conflict(_)));
    }

    #[test]
    fn decimals_need_room_before_and_behind_the_point() {
        let decimal = |size, scale| ColumnShape {
            size: Some(size),
            scale: Some(scale),
            ..column("value", ColumnKind::Decimal, None)
        };
        let holds = |new: (u32, u32), old: (u32, u32)| holds_all_of(&decimal(new.0, new.1), &decimal(old.0, old.1));
        assert!(holds((12, 2), (10, 2)));
        assert!(!holds((10, 4), (10, 2)), "two digits before the point are lost");
        assert!(!holds((12, 1), (10, 2)));
        assert!(!holds_all_of(&decimal(9, 2), &column("value", ColumnKind::Decimal, None)), "from no bound to one");
    }
}
