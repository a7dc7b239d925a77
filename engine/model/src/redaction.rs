//! What a token's holder is not shown: members of the JSON that it is answered, by name or by JSON pointer.
//!
//! A name hides the member wherever it stands. A pointer (RFC 6901) is looked for from the top of the answer, of each of a
//! list's items, and of every JSON document inside: a payload, a request's or response's body, a text that holds JSON. What
//! is hidden is left out. What cannot be looked into (a body that is no JSON) or lies deeper than [`DEPTH_MAX`] is hidden
//! whole. Numbers stay as spelled.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::invalid::{Complaints, Invalid};

/// Rules of one token at most.
pub const RULES_MAX: usize = 64;
/// Longest rule, in bytes.
pub const RULE_BYTES_MAX: usize = 255;
/// Stands for a text that cannot be looked into.
pub const MASK: &str = "***";
/// Levels that are gone into: objects, arrays and texts that hold JSON, one within the other. It is a partner who says how
/// deep an answer goes, and each level takes stack and another look at all that is within. As many as `serde_json` takes.
pub const DEPTH_MAX: usize = 128;
/// Members whose text may quote a payload or a body: shown only where it can be looked into.
const OPAQUE: [&str; 8] = ["after", "before", "body", "memo", "message", "payload", "response_body", "text"];
/// Members that begin a document of their own.
const DOCUMENTS: [&str; 3] = ["body", "data", "payload"];
/// Member that lists an answer's items.
const ITEMS: &str = "items";

/// The rules of a token, read once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redaction {
    names: Vec<String>,
    pointers: Vec<Vec<String>>,
}

impl Redaction {
    /// Reads rules: `cpf` is a name, `/cliente/cpf` a pointer.
    ///
    /// # Errors
    /// Names every rule that is none, as `redact[n]`.
    pub fn parse(rules: &[String]) -> Result<Self, Invalid> {
        let (mut read, mut complaints) = (Self::default(), Complaints::default());
        for (n, rule) in rules.iter().enumerate() {
            let field = || format!("redact[{n}]");
            if rule.is_empty() || rule.len() > RULE_BYTES_MAX || rule.contains('\0') {
                complaints
                    .add(field(), format!("must be a field's name or a JSON pointer of 1 to {RULE_BYTES_MAX} bytes"));
            } else if let Some(pointer) = rule.strip_prefix('/') {
                match pointer.split('/').map(unescaped).collect::<Option<Vec<_>>>() {
                    Some(segments) => read.pointers.push(segments),
                    None => complaints.add(field(), "is no JSON pointer: `~` must be followed by 0 or 1 (RFC 6901)"),
                }
            } else {
                read.names.push(rule.clone());
            }
        }
        complaints.finish(read)
    }

    /// Whether an answer's own member of that name is hidden, or that of a list's items.
    pub fn hides_member(&self, name: &str) -> bool {
        let is_it = |pointer: &Vec<String>| match pointer.as_slice() {
            [only] => only == name,
            [items, _, last] => items == ITEMS && last == name,
            _ => false,
        };
        self.hides(name) || self.pointers.iter().any(is_it)
    }

    /// The JSON text without what is hidden; none where it is no JSON.
    pub fn json(&self, text: &str) -> Option<String> {
        self.document(text, 0)
    }

    /// A JSON text that stands below `depth` levels of others.
    fn document(&self, text: &str, depth: usize) -> Option<String> {
        let raw = serde_json::from_str::<&RawValue>(text).ok()?;
        let mut out = String::with_capacity(text.len());
        self.value(raw, &self.whole_pointers(), "", depth, &mut out)?;
        Some(out)
    }

    fn whole_pointers(&self) -> Vec<&[String]> {
        self.pointers.iter().map(Vec::as_slice).collect()
    }

    fn value(
        &self,
        raw: &RawValue,
        pointers: &[&[String]],
        member: &str,
        depth: usize,
        out: &mut String,
    ) -> Option<()> {
        match raw.get().as_bytes().first()? {
            b'{' | b'[' if depth >= DEPTH_MAX => mask(out),
            b'{' => self.object(raw, pointers, depth, out),
            b'[' => self.array(raw, pointers, member, depth, out),
            b'"' => self.text(raw, member, depth, out),
            // A number, true, false or null; a bare one as a body says no more than itself.
            _ => {
                out.push_str(raw.get());
                Some(())
            }
        }
    }

    fn object(&self, raw: &RawValue, pointers: &[&[String]], depth: usize, out: &mut String) -> Option<()> {
        let Members(members) = serde_json::from_str(raw.get()).ok()?;
        out.push('{');
        let mut first = true;
        for (name, value) in members {
            let (hidden, below) = step(pointers, &name);
            if hidden || self.hides(&name) {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            out.push_str(&serde_json::to_string(&name).ok()?);
            out.push(':');
            let anew = DOCUMENTS.contains(&name.as_ref());
            let below = if anew { self.whole_pointers() } else { below };
            self.value(value, &below, &name, depth + 1, out)?;
        }
        out.push('}');
        Some(())
    }

    fn array(
        &self,
        raw: &RawValue,
        pointers: &[&[String]],
        member: &str,
        depth: usize,
        out: &mut String,
    ) -> Option<()> {
        let items: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        out.push('[');
        let mut first = true;
        for (n, item) in items.into_iter().enumerate() {
            // Headers and labels are pairs of name and value.
            let pair = serde_json::from_str::<(Cow<'_, str>, Cow<'_, str>)>(item.get()).ok();
            if pair.is_some_and(|(name, _)| self.hides(&name)) {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            let (hidden, below) = step(pointers, &n.to_string());
            if hidden {
                out.push_str("null");
                continue;
            }
            let below = if member == ITEMS { self.whole_pointers() } else { below };
            self.value(item, &below, member, depth + 1, out)?;
        }
        out.push(']');
        Some(())
    }

    /// A text that holds JSON is looked into; another stays, unless it may be a body.
    fn text(&self, raw: &RawValue, member: &str, depth: usize, out: &mut String) -> Option<()> {
        let text = serde_json::from_str::<String>(raw.get()).ok()?;
        let may_hold_json = text.trim_start().starts_with(['{', '[']);
        if may_hold_json && depth >= DEPTH_MAX {
            return mask(out);
        }
        let within = may_hold_json.then(|| self.document(text.trim(), depth + 1)).flatten();
        match within {
            Some(within) => out.push_str(&serde_json::to_string(&within).ok()?),
            None if OPAQUE.contains(&member) && !text.is_empty() => return mask(out),
            None => out.push_str(raw.get()),
        }
        Some(())
    }

    fn hides(&self, name: &str) -> bool {
        self.names.iter().any(|hidden| hidden.eq_ignore_ascii_case(name))
    }
}

/// Something is there, and that is all that is told of it.
fn mask(out: &mut String) -> Option<()> {
    out.push_str(&serde_json::to_string(MASK).ok()?);
    Some(())
}

/// Whether a pointer ends at this member, and the pointers that go on below it.
fn step<'p>(pointers: &[&'p [String]], name: &str) -> (bool, Vec<&'p [String]>) {
    let mut below = Vec::new();
    for pointer in pointers {
        match pointer.split_first() {
            Some((segment, [])) if segment == name => return (true, Vec::new()),
            Some((segment, rest)) if segment == name => below.push(rest),
            _ => {}
        }
    }
    (false, below)
}

fn unescaped(segment: &str) -> Option<String> {
    let mut out = String::with_capacity(segment.len());
    let mut characters = segment.chars();
    while let Some(character) = characters.next() {
        match (character, character == '~') {
            (_, true) => match characters.next()? {
                '0' => out.push('~'),
                '1' => out.push('/'),
                _ => return None,
            },
            (other, _) => out.push(other),
        }
    }
    Some(out)
}

/// An object's members in their order, each value as spelled.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((member.0.0, member.1));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// A member's name; borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(rules: &[&str], text: &str) -> String {
        let rules: Vec<_> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        Redaction::parse(&rules).unwrap().json(text).unwrap()
    }

    #[test]
    fn a_name_is_left_out_wherever_it_stands_and_the_rest_stays_as_spelled() {
        let text = r#"{"items":[{"id":1,"payload":{"cpf":"1","valor":10.50,"c":[{"CPF":2,"x":1E2}]}}],"total":1}"#;
        let expected = r#"{"items":[{"id":1,"payload":{"valor":10.50,"c":[{"x":1E2}]}}],"total":1}"#;
        assert_eq!(redacted(&["cpf"], text), expected);
    }

    #[test]
    fn a_member_of_the_answer_is_known_to_be_hidden() {
        let rules = ["subject", "/state", "/items/0/reason", "/payload/cpf"].map(str::to_owned);
        let redaction = Redaction::parse(&rules).unwrap();
        for hidden in ["subject", "Subject", "state", "reason"] {
            assert!(redaction.hides_member(hidden), "{hidden}");
        }
        for shown in ["cpf", "payload", "code"] {
            assert!(!redaction.hides_member(shown), "{shown}");
        }
    }

    #[test]
    fn a_pointer_counts_from_the_answer_its_items_and_documents_inside() {
        let text = r#"{"items":[{"payload":{"cliente":{"cpf":"1","nome":"n"}},"request":{"body":"{\"cliente\":{\"cpf\":\"1\"},\"v\":1.0}"}}]}"#;
        let expected =
            r#"{"items":[{"payload":{"cliente":{"nome":"n"}},"request":{"body":"{\"cliente\":{},\"v\":1.0}"}}]}"#;
        assert_eq!(redacted(&["/cliente/cpf"], text), expected);
        assert_eq!(redacted(&["/payload"], r#"{"id":1,"payload":{"a":1}}"#), r#"{"id":1}"#);
        assert_eq!(
            redacted(&["/request/body"], r#"{"items":[{"request":{"body":"x","method":"POST"}}]}"#),
            r#"{"items":[{"request":{"method":"POST"}}]}"#
        );
        assert_eq!(redacted(&["/a~1b/0"], r#"{"a/b":[1,2]}"#), r#"{"a/b":[null,2]}"#);
    }

    #[test]
    fn what_cannot_be_looked_into_is_hidden_whole() {
        let text = r#"{"body":"cpf=1&x=2","payload":"eyJjcGYiOjF9","payload_encoding":"base64","url":"http://h","message":"cpf 1"}"#;
        let expected = r#"{"body":"***","payload":"***","payload_encoding":"base64","url":"http://h","message":"***"}"#;
        assert_eq!(redacted(&["cpf"], text), expected);
        assert_eq!(redacted(&["cpf"], r#"{"body":"","payload":null}"#), r#"{"body":"","payload":null}"#);
        assert_eq!(redacted(&["cpf"], r#"{"body":"{\"cpf\":"}"#), r#"{"body":"***"}"#, "broken JSON");
        let sent = r#"{"response_body":"cpf=1","response_body_encoding":"utf8"}"#;
        assert_eq!(redacted(&["cpf"], sent), r#"{"response_body":"***","response_body_encoding":"utf8"}"#);
        assert_eq!(redacted(&["cpf"], r#"{"response_body":"{\"cpf\":1}"}"#), r#"{"response_body":"{}"}"#);
    }

    /// `what` within so many arrays.
    fn nested(levels: usize, what: &str) -> String {
        format!("{}{what}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn what_lies_deeper_than_is_looked_is_hidden_whole() {
        let mask = format!("\"{MASK}\"");
        let whole = nested(DEPTH_MAX, "1");
        assert_eq!(redacted(&["cpf"], &whole), whole);
        assert_eq!(redacted(&["cpf"], &nested(DEPTH_MAX + 1, "1")), nested(DEPTH_MAX, &mask));
        // As large as what is kept of a partner's answer.
        let deep = nested(32 << 10, r#"{"x":"123"}"#);
        assert_eq!(redacted(&["cpf"], &deep), nested(DEPTH_MAX, &mask));
        let objects = format!(r#"{}"123"{}"#, r#"{"a":"#.repeat(13 << 10), "}".repeat(13 << 10));
        let shown = redacted(&["cpf"], &objects);
        assert!(shown.contains(&mask) && !shown.contains("123") && shown.matches('{').count() == DEPTH_MAX, "{shown}");
        assert_eq!(redacted(&["cpf"], &nested(40, r#"{"cpf":1,"v":2}"#)), nested(40, r#"{"v":2}"#));
    }

    #[test]
    fn texts_in_texts_are_levels_too() {
        let text = |of: &str| serde_json::to_string(of).unwrap();
        // The mask stands in a text in an array: as many levels as are gone into lie around it, the text one of them.
        let body = format!(r#"{{"body":{}}}"#, text(&nested(8_000, r#"{"cpf":"123"}"#)));
        let within = nested(DEPTH_MAX - 2, &format!("\"{MASK}\""));
        assert_eq!(redacted(&["nome"], &body), format!(r#"{{"body":{}}}"#, text(&within)));
        // None of two is too deep by itself.
        let both = nested(100, &text(&nested(100, "123")));
        let within = nested(DEPTH_MAX - 101, &format!("\"{MASK}\""));
        assert_eq!(redacted(&["nome"], &both), nested(100, &text(&within)));
        // At the last level a text that may hold JSON is not opened any more, and so not shown; another is.
        let last = |what: &str| nested(DEPTH_MAX, &text(what));
        assert_eq!(redacted(&["nome"], &last(r#" {"nome":"123"}"#)), last(MASK));
        assert_eq!(redacted(&["nome"], &last("123")), last("123"));
        // Each text around another doubles its backslashes: 64 KiB hold a dozen of them.
        let mut texts = r#"{"cpf":"123","v":1}"#.to_owned();
        let mut expected = r#"{"v":1}"#.to_owned();
        while texts.len() < 64 << 10 {
            texts = format!(r#"{{"cpf":"123","t":{}}}"#, text(&texts));
            expected = format!(r#"{{"t":{}}}"#, text(&expected));
        }
        assert_eq!(redacted(&["cpf"], &texts), expected);
    }

    #[test]
    fn pairs_of_name_and_value_are_members_too() {
        let text = r#"{"headers":[["X-Cpf","1"],["accept","*"]],"labels":[["uf","SP"]]}"#;
        assert_eq!(redacted(&["x-cpf"], text), r#"{"headers":[["accept","*"]],"labels":[["uf","SP"]]}"#);
    }

    #[test]
    fn escaped_names_do_not_slip_through() {
        assert_eq!(redacted(&["cpf"], r#"{"\u0063pf":1,"a":"\"cpf\""}"#), r#"{"a":"\"cpf\""}"#);
    }

    #[test]
    fn rules_that_are_none_are_named() {
        let rules = ["ok", "", "/a~2"].map(str::to_owned);
        let fields: Vec<_> = Redaction::parse(&rules).unwrap_err().0.into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["redact[1]", "redact[2]"]);
        assert_eq!(Redaction::default().json("{"), None);
    }
}
