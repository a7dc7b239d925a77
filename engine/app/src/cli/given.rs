//! What options name in place of holding it: files, standard input, variables, and what is typed at a terminal.

use std::{
    fmt::Display,
    fs,
    io::{self, IsTerminal as _, stdin},
    path::Path,
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{failure::Failure, prompt};

/// The options that say where a secret comes from, and what is asked at a terminal. The secret itself is never an
/// argument: other users can see command lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct SecretOptions {
    /// The option that names a file.
    pub(super) file: &'static str,
    /// The option that names a variable.
    pub(super) variable: &'static str,
    /// The question.
    pub(super) question: &'static str,
}

impl SecretOptions {
    /// The secret, if one of the options was given; `file` may be `-` for standard input, where a terminal is asked for one
    /// line.
    ///
    /// What was given is not repeated in errors: somebody may have written the secret itself.
    pub(super) fn read(self, file: Option<&str>, variable: Option<&str>) -> Result<Option<String>, Failure> {
        match (file, variable) {
            (Some("-"), _) if stdin().is_terminal() => self.ask().map(Some),
            (Some(source), _) => {
                let text = if source == "-" { io::read_to_string(stdin()) } else { fs::read_to_string(source) };
                let text = text.map_err(|error| {
                    Failure::usage(format!("{}: {error}; name a file that holds the secret, or -", self.file))
                })?;
                Ok(Some(without_line_end(text)))
            }
            (None, Some(name)) => match std::env::var(name) {
                Ok(text) if !text.is_empty() => Ok(Some(text)),
                _ => Err(Failure::usage(format!(
                    "{}: there is no such variable, or it holds no text; give the name of one that holds the secret",
                    self.variable
                ))),
            },
            (None, None) => Ok(None),
        }
    }

    /// The secret, typed at a terminal without being shown.
    pub(super) fn ask(self) -> Result<String, Failure> {
        prompt::hidden(&format!("{} or {}", self.file, self.variable), self.question)
    }
}

/// The text without the one line end that editors and `echo` leave behind it.
pub(super) fn without_line_end(mut text: String) -> String {
    let end = text.strip_suffix('\n').map_or(text.len(), |rest| rest.strip_suffix('\r').unwrap_or(rest).len());
    text.truncate(end);
    text
}

/// The text of a file, or of standard input where `source` is `-`.
pub(super) fn text(option: &str, source: &str) -> Result<String, Failure> {
    let wrong = |what: &str, error: &dyn Display| Failure::usage(format!("{option}: {what}: {error}"));
    match source {
        "-" => io::read_to_string(stdin()).map_err(|error| wrong("standard input", &error)),
        file => fs::read_to_string(file).map_err(|error| wrong(file, &error)),
    }
}

/// JSON in a file, on standard input (`-`), or in the argument itself.
pub(super) fn json<T: DeserializeOwned>(option: &str, source: &str) -> Result<T, Failure> {
    let is_spelled = source.trim_start().starts_with(['{', '[', '"']);
    let (spelled, origin) = match source {
        "-" => (text(option, source)?, "standard input".to_owned()),
        file if Path::new(file).exists() => (text(option, file)?, file.to_owned()),
        spelled if is_spelled => (spelled.to_owned(), "the argument".to_owned()),
        // A number is JSON too.
        word => (word.to_owned(), format!("{word}: there is no such file, and the argument itself")),
    };
    serde_json::from_str(&spelled).map_err(|error| Failure::usage(format!("{option}: {origin} is no JSON: {error}")))
}

/// Fields that are taken away with `--clear`, by the names of their options there; `nothing` is what the API calls none.
///
/// # Errors
/// One is given a value as well.
pub(super) fn clear(
    body: &mut Map<String, Value>,
    cleared: &[String],
    nothing: impl Fn(&str) -> Value,
) -> Result<(), Failure> {
    for name in cleared {
        let (field, nothing) = (name.replace('-', "_"), nothing(name));
        if body.get(&field).is_some_and(|given| *given != nothing) {
            // Options that may be given several times are in the singular.
            let option = match name.as_str() {
                "event-types" => "event-type",
                "headers" => "header",
                "services" => "service",
                option => option,
            };
            return Err(Failure::usage(format!("--clear {name} and --{option} say two things; leave one out")));
        }
        body.insert(field, nothing);
    }
    Ok(())
}

/// Refuses that two options read standard input, of which the second would find nothing.
pub(super) fn require_one_stdin(options: &[(&str, Option<&str>)]) -> Result<(), Failure> {
    let readers = options.iter().filter(|(_, source)| *source == Some("-")).map(|(option, _)| *option);
    let readers: Vec<_> = readers.collect();
    if readers.len() > 1 {
        return Err(Failure::usage(format!("only one option can read standard input: {}", readers.join(", "))));
    }
    Ok(())
}

/// The fields that were given.
pub(super) fn fields<const N: usize>(all: [(&str, Option<Value>); N]) -> Map<String, Value> {
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// `NAME=VALUE`; the value may hold further `=`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// A length of time in milliseconds: `500ms`, `15s`, `5m`, `2h`, `3d`, or `0`.
pub(super) fn millis(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no length of time; write 500ms, 15s, 5m, 2h, 3d, or 0");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == "0" => 1,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::failure::Exit;
    use super::*;

    const OPTIONS: SecretOptions = SecretOptions { file: "--the-file", variable: "--the-variable", question: "?" };

    #[test]
    fn json_is_a_file_or_the_argument_itself_and_stays_as_spelled() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"b\": 1.50,\n \"a\": 2}").unwrap();
        let read = |source: &str| json::<Box<RawValue>>("--payload", source);
        assert_eq!(read(file.path().to_str().unwrap()).unwrap().get(), "{\"b\": 1.50,\n \"a\": 2}");
        assert_eq!(read(r#"{"valorpago":10.50}"#).unwrap().get(), r#"{"valorpago":10.50}"#);
        assert_eq!(read("10.50").unwrap().get(), "10.50");
        let failure = read("missing.json").unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        let told = failure.message(false).unwrap();
        assert!(told.contains("missing.json: there is no such file"), "{told}");
        let told = read(r#"{"key": "hush"#).unwrap_err().message(false).unwrap();
        assert!(told.contains("the argument is no JSON") && !told.contains("hush"), "{told}");
    }

    #[test]
    fn what_is_cleared_is_given_no_value() {
        let nothing = |name: &str| if name == "event-types" { Value::Array(Vec::new()) } else { Value::Null };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut body = fields([("url", Some(Value::from("https://a")))]);
        clear(&mut body, &names(&["rate-limit", "event-types", "rate-limit"]), nothing).unwrap();
        assert_eq!(Value::Object(body), serde_json::json!({"url": "https://a", "rate_limit": null, "event_types": []}));
        for (field, name, option) in [("event_types", "event-types", "event-type"), ("process", "process", "process")] {
            let mut body = fields([(field, Some(Value::from("a")))]);
            let failure = clear(&mut body, &names(&[name]), nothing).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage);
            let told = failure.message(false).unwrap();
            assert!(told.contains(&format!("--clear {name} and --{option} say two things")), "{told}");
        }
    }

    #[test]
    fn a_secret_comes_from_a_file_or_a_variable_and_is_never_repeated() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " a:b ç \r\n").unwrap();
        assert_eq!(OPTIONS.read(file.path().to_str(), None).unwrap().as_deref(), Some(" a:b ç "));
        assert_eq!(OPTIONS.read(None, None).unwrap(), None);
        for failure in [OPTIONS.read(Some("hunter2"), None), OPTIONS.read(None, Some("hunter2"))] {
            let failure = failure.unwrap_err();
            let told = failure.message(false).unwrap();
            assert!(failure.exit() == Exit::Usage && told.contains("--the-") && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn standard_input_is_read_once() {
        assert!(require_one_stdin(&[("--config", Some("-")), ("--filter", Some("{}")), ("--other", None)]).is_ok());
        let failure = require_one_stdin(&[("--config", Some("-")), ("--filter", Some("-"))]).unwrap_err();
        assert!(failure.message(false).unwrap().contains("--config, --filter"));
    }

    #[test]
    fn a_pair_needs_a_name() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("=b").is_err() && pair("a").is_err());
    }

    #[test]
    fn lengths_of_time_have_a_unit() {
        for (text, ms) in [("0", 0), ("500ms", 500), ("15s", 15_000), ("5m", 300_000), ("2h", 7_200_000)] {
            assert_eq!(millis(text), Ok(ms), "{text}");
        }
        for wrong in ["", "5", "s", "-1s", "1.5s", "1w", "é", "99999999999999999999d", "18446744073709551615s"] {
            assert!(millis(wrong).is_err(), "{wrong}");
        }
    }
}
