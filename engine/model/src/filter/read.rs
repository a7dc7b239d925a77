//! From JSON to clauses, with every complaint at once, each at the place of what is to blame.

use serde_json::{Map, Value};

use super::{CLAUSES_MAX, Clause, DEPTH_MAX, Kind, Operand, TEXT_BYTES_MAX, Test, VALUES_MAX};
use crate::{
    event::{NAME_BYTES_MAX, check_name},
    invalid::{Complaints, Invalid},
};

/// Where every place begins.
const ROOT: &str = "filter";
/// What a clause may hold beside what it looks at.
const OPERATORS: &str = "eq, ne, in, exists, gt, gte, lt, lte, prefix, contains";

/// Reads a whole filter.
pub(super) fn clause(source: &Value) -> Result<Clause, Invalid> {
    let mut reader = Reader { complaints: Complaints::default(), clauses: 0 };
    let root = reader.clause(ROOT.to_owned(), source, 1);
    let invalid = || Invalid::field(ROOT, "must be a clause");
    reader.complaints.finish(())?;
    root.ok_or_else(invalid)
}

struct Reader {
    complaints: Complaints,
    clauses: usize,
}

impl Reader {
    fn clause(&mut self, place: String, source: &Value, depth: usize) -> Option<Clause> {
        self.clauses += 1;
        if depth > DEPTH_MAX {
            self.complaints.add(place, format!("is nested too deep; at most {DEPTH_MAX} levels"));
            return None;
        }
        if self.clauses > CLAUSES_MAX {
            if self.clauses == CLAUSES_MAX + 1 {
                self.complaints.add(ROOT, format!("has too many clauses; at most {CLAUSES_MAX}"));
            }
            return None;
        }
        let Some(object) = source.as_object() else {
            self.complaints.add(place, "must be an object: {\"path\": \"/amount\", \"gte\": 100}, or all, any, not");
            return None;
        };
        let kind = match self.combinator(&place, object) {
            Some((name @ ("all" | "any"), inner)) => {
                let clauses = self.list(&place, name, inner, depth)?;
                if name == "all" { Kind::All(clauses) } else { Kind::Any(clauses) }
            }
            Some((name, inner)) => Kind::Not(Box::new(self.clause(format!("{place}.{name}"), inner, depth + 1)?)),
            None => self.test(&place, object)?,
        };
        Some(Clause { place, kind })
    }

    /// The one of `all`, `any` and `not` that the clause is, which then stands alone.
    fn combinator<'a>(&mut self, place: &str, object: &'a Map<String, Value>) -> Option<(&'static str, &'a Value)> {
        let (name, inner) = ["all", "any", "not"].into_iter().find_map(|name| Some((name, object.get(name)?)))?;
        for other in object.keys().filter(|other| *other != name) {
            self.complaints.add(format!("{place}.{other}"), format!("does not go with {name}; put both into an all"));
        }
        Some((name, inner))
    }

    fn list(&mut self, place: &str, name: &str, source: &Value, depth: usize) -> Option<Vec<Clause>> {
        let place = format!("{place}.{name}");
        let Some(items) = source.as_array().filter(|items| !items.is_empty()) else {
            self.complaints.add(place, "must be a list of one clause or more");
            return None;
        };
        // All of them, also after one that cannot be read: its complaints are wanted too.
        let read = items.iter().enumerate().map(|(n, item)| self.clause(format!("{place}[{n}]"), item, depth + 1));
        read.collect::<Vec<_>>().into_iter().collect()
    }

    fn test(&mut self, place: &str, object: &Map<String, Value>) -> Option<Kind> {
        let of = match (object.get("path"), object.get("label")) {
            (Some(path), None) => self.path(&format!("{place}.path"), path).map(Operand::Path),
            (None, Some(label)) => self.label(&format!("{place}.label"), label).map(Operand::Label),
            (Some(_), Some(_)) => {
                self.complaints.add(format!("{place}.label"), "comes beside path; a clause looks at one of them");
                None
            }
            (None, None) => {
                let message =
                    "looks at nothing; give path (a JSON pointer into the payload) or label, or all, any, not";
                self.complaints.add(place, message);
                None
            }
        };
        let mut tests = Vec::new();
        for (name, value) in object.iter().filter(|(name, _)| !matches!(name.as_str(), "path" | "label")) {
            tests.extend(self.operator(&format!("{place}.{name}"), name, value));
        }
        if object.len() == 1 && of.is_some() {
            self.complaints.add(place, format!("compares with nothing; add one of {OPERATORS}"));
        }
        of.map(|of| Kind::Test { of, tests })
    }

    fn path(&mut self, place: &str, value: &Value) -> Option<String> {
        let Some(path) = value.as_str() else {
            self.complaints.add(place, "must be a text: a JSON pointer such as /customer/id");
            return None;
        };
        let badly_escaped = path.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']));
        if path.len() > TEXT_BYTES_MAX {
            self.complaints.add(place, format!("at most {TEXT_BYTES_MAX} bytes"));
        } else if !(path.is_empty() || path.starts_with('/')) || badly_escaped {
            let message = "must be a JSON pointer: empty for the whole payload, else each step after a /, as in \
                           /customer/id or /items/0 (~0 stands for ~, ~1 for /)";
            self.complaints.add(place, message);
        }
        Some(path.to_owned())
    }

    fn label(&mut self, place: &str, value: &Value) -> Option<String> {
        let Some(name) = value.as_str() else {
            self.complaints.add(place, format!("must be a text of 1 to {NAME_BYTES_MAX} bytes: the label's name"));
            return None;
        };
        self.complaints.take(check_name(place, name));
        Some(name.to_owned())
    }

    fn operator(&mut self, place: &str, name: &str, value: &Value) -> Option<Test> {
        match name {
            "eq" => self.any(place, value).map(Test::Eq),
            "ne" => self.any(place, value).map(Test::Ne),
            "contains" => self.any(place, value).map(Test::Contains),
            "gt" => self.bound(place, value).map(Test::Gt),
            "gte" => self.bound(place, value).map(Test::Gte),
            "lt" => self.bound(place, value).map(Test::Lt),
            "lte" => self.bound(place, value).map(Test::Lte),
            "prefix" => match self.any(place, value) {
                Some(Value::String(text)) => Some(Test::Prefix(text)),
                Some(_) => self.wrong(place, "must be a text"),
                None => None,
            },
            "exists" => match value {
                Value::Bool(wanted) => Some(Test::Exists(*wanted)),
                _ => self.wrong(place, "must be true or false"),
            },
            "in" => match value.as_array() {
                Some(values) if (1..=VALUES_MAX).contains(&values.len()) => {
                    let read = values.iter().enumerate().map(|(n, value)| self.any(&format!("{place}[{n}]"), value));
                    read.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>().map(Test::In)
                }
                _ => self.wrong(place, &format!("must be a list of 1 to {VALUES_MAX} values")),
            },
            _ => self.wrong(place, &format!("is no operator; there are {OPERATORS}, and all, any, not around clauses")),
        }
    }

    fn bound(&mut self, place: &str, value: &Value) -> Option<Value> {
        match value {
            Value::Number(_) | Value::String(_) => self.any(place, value),
            _ => self.wrong(place, "must be a number or a text"),
        }
    }

    /// Any value, of a size that may stand in a filter.
    fn any(&mut self, place: &str, value: &Value) -> Option<Value> {
        let bytes = match value {
            Value::String(text) => text.len(),
            Value::Array(_) | Value::Object(_) => value.to_string().len(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        };
        if bytes > TEXT_BYTES_MAX {
            return self.wrong(place, &format!("at most {TEXT_BYTES_MAX} bytes"));
        }
        Some(value.clone())
    }

    fn wrong<T>(&mut self, place: &str, message: &str) -> Option<T> {
        self.complaints.add(place, message);
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn blamed(source: Value) -> Vec<String> {
        clause(&source).err().map_or_else(Vec::new, |invalid| invalid.0.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn every_part_that_cannot_be_read_is_named_by_its_place() {
        let cases = [
            (json!(7), vec!["filter"]),
            (json!({}), vec!["filter"]),
            (json!({"path": "/a"}), vec!["filter"]),
            (json!({"path": "/a", "like": "x"}), vec!["filter.like"]),
            (json!({"path": "a.b", "eq": 1}), vec!["filter.path"]),
            (json!({"path": "/a~2", "eq": 1}), vec!["filter.path"]),
            (json!({"path": 1, "eq": 1}), vec!["filter.path"]),
            (json!({"path": "/a", "label": "b", "eq": 1}), vec!["filter.label"]),
            (json!({"label": "", "eq": 1}), vec!["filter.label"]),
            (
                json!({"path": "/a", "exists": "yes", "prefix": 1, "gt": true}),
                vec!["filter.exists", "filter.prefix", "filter.gt"],
            ),
            (json!({"path": "/a", "in": []}), vec!["filter.in"]),
            (json!({"path": "/a", "in": ["x".repeat(TEXT_BYTES_MAX + 1)]}), vec!["filter.in[0]"]),
            (json!({"all": []}), vec!["filter.all"]),
            (json!({"all": [{"path": "/a", "eq": 1}], "path": "/b"}), vec!["filter.path"]),
            (
                json!({"any": [{"path": "/a", "eq": 1}, {"not": {"path": "/b", "equals": 1}}, 3]}),
                vec!["filter.any[1].not.equals", "filter.any[2]"],
            ),
        ];
        for (source, fields) in cases {
            assert_eq!(blamed(source.clone()), fields, "{source}");
        }
    }

    #[test]
    fn depth_and_number_of_clauses_are_bounded() {
        let nested =
            |levels: usize| (0..levels - 1).fold(json!({"path": "", "eq": 1}), |inner, _| json!({"not": inner}));
        assert!(blamed(nested(DEPTH_MAX)).is_empty());
        assert_eq!(blamed(nested(DEPTH_MAX + 1)), [format!("filter{}", ".not".repeat(DEPTH_MAX))]);
        let wide = |clauses: usize| json!({"all": vec![json!({"path": "", "eq": 1}); clauses - 1]});
        assert!(blamed(wide(CLAUSES_MAX)).is_empty());
        assert_eq!(blamed(wide(CLAUSES_MAX * 20)), ["filter"]);
    }
}
