//! JSON text as the contract has it.

/// JSON without the white space between its parts.
pub(crate) fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |character: &char| {
        let kept = in_string || !character.is_ascii_whitespace();
        if *character == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && *character == '\\' && !escaped;
        kept
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_leaves_strings_and_numbers_alone() {
        assert_eq!(compact("{ \"a b\" : [ 10.50 , \"x \\\" y \\\\\" ] }"), r#"{"a b":[10.50,"x \" y \\"]}"#);
    }
}
