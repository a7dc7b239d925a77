//! JSON Pointer (RFC 6901) over text: finds one value without building the others.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The value that the pointer names, as it is spelled; none if there is none, or the text is not JSON.
pub(crate) fn find<'a>(json: &'a str, pointer: &str) -> Option<&'a RawValue> {
    let mut value: &RawValue = serde_json::from_str(json).ok()?;
    if pointer.is_empty() {
        return Some(value);
    }
    for token in pointer.strip_prefix('/')?.split('/') {
        let token = token.replace("~1", "/").replace("~0", "~");
        let mut deserializer = serde_json::Deserializer::from_str(value.get());
        value = deserializer.deserialize_any(Step(&token)).ok()??;
    }
    Some(value)
}

/// One token of a pointer: a member's name, or an index.
struct Step<'t>(&'t str);

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object or an array")
    }

    /// Of members of one name the last counts, as everywhere in serde_json.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = members.next_key::<String>()? {
            if name == self.0 {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let canonical = self.0 == "0" || !self.0.starts_with(['0', '+']);
        let Some(index) = self.0.parse::<usize>().ok().filter(|_| canonical) else {
            return Ok(None);
        };
        for _ in 0..index {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = items.next_element()?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The document of RFC 6901, section 5, and its pointers.
    #[test]
    fn the_rfc_s_own_examples() {
        let document = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        for (pointer, value) in [
            ("", document),
            ("/foo", r#"["bar","baz"]"#),
            ("/foo/0", r#""bar""#),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(find(document, pointer).unwrap().get(), value, "{pointer}");
        }
    }

    #[test]
    fn what_is_not_there_is_none() {
        let document = r#"{"list":[10.50,{"x":null}],"text":"t"}"#;
        assert_eq!(find(document, "/list/0").unwrap().get(), "10.50");
        assert_eq!(find(document, "/list/1/x").unwrap().get(), "null");
        for pointer in ["list", "/none", "/list/2", "/list/00", "/list/+1", "/list/-", "/text/0", "/list/1/x/y"] {
            assert!(find(document, pointer).is_none(), "{pointer}");
        }
        assert!(find("OK", "").is_none());
        assert!(find(r#"{"list":[1"#, "/list/0").is_none());
    }
}
