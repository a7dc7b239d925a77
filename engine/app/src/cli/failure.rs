//! How a command fails: what is said on standard error, and the exit code.

use std::{fmt::Write as _, io};

use engate_model::FieldError;
use serde::Deserialize;
use url::Url;

use super::plain::plain;

/// What `engate --help` says of exit codes; [`Exit`] is the other half.
pub(super) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0  done
  1  the operation failed
  2  the command line, a setting or a local file cannot be used
  3  the engine does not know the token, or the token may not do that (401, 403)
  4  not found (404)
  5  the engine cannot be reached
  6  the engine refuses the input and names what is wrong (400, 413, 415, 422)

Results go to standard output, messages and errors to standard error. With --json both are JSON.";

/// The process' exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Done = 0,
    /// The operation failed.
    Failed = 1,
    /// The command line or a local file cannot be used.
    Usage = 2,
    /// Token unknown, or not allowed.
    Unauthorised = 3,
    /// Not found.
    NotFound = 4,
    /// No engine there.
    Unreachable = 5,
    /// The engine refuses the input.
    Refused = 6,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The engine answered, and it was no success.
    Answered(Box<Problem>),
    /// No answer came.
    Unreachable {
        /// Where the engine was looked for; without user, password and query.
        url: Url,
        /// What the network said.
        cause: String,
    },
    /// The command line or a local file cannot be used.
    Usage(String),
    /// Anything else; the sentence says what to do about it.
    Failed(String),
    /// Several things could not be done, and the sentence tells each; the exit code is the one they share.
    Several(Exit, String),
    /// Standard output is gone.
    Output(io::Error),
}

/// An answer of the engine that is no success: RFC 9457, with Engate's `code` and `errors`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Problem {
    /// HTTP status; the answer's own where the body does not say.
    #[serde(default)]
    pub(super) status: u16,
    /// What kind of problem.
    #[serde(default)]
    pub(super) title: String,
    /// What is wrong this time, and the cure.
    #[serde(default)]
    pub(super) detail: String,
    /// Stable snake_case label.
    #[serde(default)]
    pub(super) code: String,
    /// Fields to blame.
    #[serde(default)]
    pub(super) errors: Vec<FieldError>,
    /// The body as it came, for `--json`.
    #[serde(skip)]
    pub(super) body: String,
    /// What the command has to add, for people.
    #[serde(skip)]
    pub(super) addition: String,
}

impl Problem {
    /// Reads the answer to a refused call. A body that is not problem+json (a proxy's page) is reported as such.
    pub(super) fn read(status: u16, body: String) -> Self {
        let mut problem: Self = serde_json::from_str(&body).unwrap_or_else(|_| Self {
            status,
            title: format!("HTTP {status}"),
            detail: "the answer is not Engate's; does the URL lead to the engine itself?".to_owned(),
            code: String::new(),
            errors: Vec::new(),
            body: String::new(),
            addition: String::new(),
        });
        problem.status = status;
        problem.body = body;
        problem
    }

    fn exit(&self) -> Exit {
        match self.status {
            401 | 403 => Exit::Unauthorised,
            404 => Exit::NotFound,
            400 | 413 | 415 | 422 => Exit::Refused,
            _ => Exit::Failed,
        }
    }

    fn text(&self) -> String {
        let mut text = plain(&self.title);
        if !self.code.is_empty() {
            let _ = write!(text, " ({})", plain(&self.code));
        }
        // Where fields are to blame, the detail is their complaints in one line; once is enough.
        let told = self.errors.iter().all(|error| self.detail.contains(&error.message));
        if !self.detail.is_empty() && (self.errors.is_empty() || !told) {
            let _ = write!(text, "\n  {}", plain(&self.detail));
        }
        for error in &self.errors {
            let _ = write!(text, "\n  - {}: {}", plain(&error.field), plain(&error.message));
        }
        if let Some(cure) = self.cure() {
            let _ = write!(text, "\n  {cure}");
        }
        if !self.addition.is_empty() {
            let _ = write!(text, "\n  {}", self.addition);
        }
        text
    }

    fn cure(&self) -> Option<&'static str> {
        match self.status {
            401 => Some(
                "Give a token with ENGATE_TOKEN or --token. The engine's first start printed the first one; \
                 `engate token create` makes more.",
            ),
            403 => Some("Use a token whose role may do this; `engate token list` shows roles."),
            412 => Some("It was changed meanwhile: look at it again, then repeat this."),
            429 | 503 => Some("Try again in a moment."),
            _ if self.code == "endpoint_disabled" => {
                Some("`engate endpoint update ID --enabled true` lets it have deliveries again.")
            }
            _ => None,
        }
    }
}

impl Failure {
    /// An operation that failed; `what` says what to do about it.
    pub(super) fn failed(what: impl ToString) -> Self {
        Self::Failed(what.to_string())
    }

    /// Something on the command line or in a local file that cannot be used.
    pub(super) fn usage(what: impl ToString) -> Self {
        Self::Usage(what.to_string())
    }

    /// The same, saying what it is about.
    pub(super) fn about(self, what: &str) -> Self {
        match self {
            Self::Answered(mut problem) => {
                problem.title = format!("{what}: {}", problem.title);
                Self::Answered(problem)
            }
            Self::Usage(said) => Self::Usage(format!("{what}: {said}")),
            Self::Failed(said) => Self::Failed(format!("{what}: {said}")),
            Self::Several(exit, said) => Self::Several(exit, format!("{what}: {said}")),
            other @ (Self::Unreachable { .. } | Self::Output(_)) => other,
        }
    }

    /// The same with fields of the API named for people by the options that they came from; a field's parts stay behind
    /// its option. The first that fits counts. The answer for programs stays as it came.
    pub(super) fn naming_options(self, options: &[(&str, &str)]) -> Self {
        let Self::Answered(mut problem) = self else { return self };
        for error in &mut problem.errors {
            let named = options.iter().find_map(|(field, option)| {
                let rest = error.field.strip_prefix(field)?;
                match rest.strip_prefix('.') {
                    _ if rest.is_empty() => Some((*option).to_owned()),
                    Some(part) => Some(format!("{option} {part}")),
                    None if rest.starts_with('[') => Some(format!("{option} {rest}")),
                    None => None,
                }
            });
            if let Some(named) = named {
                error.field = named;
            }
        }
        Self::Answered(problem)
    }

    /// The same with a sentence behind it; the engine's own answer stays as it came where JSON is wanted.
    pub(super) fn followed_by(self, sentence: &str) -> Self {
        match self {
            Self::Answered(mut problem) => {
                problem.addition = sentence.to_owned();
                Self::Answered(problem)
            }
            Self::Unreachable { url, cause } => Self::Unreachable { url, cause: format!("{cause}\n  {sentence}") },
            Self::Usage(said) => Self::Usage(format!("{said}\n  {sentence}")),
            Self::Failed(said) => Self::Failed(format!("{said}\n  {sentence}")),
            Self::Several(exit, said) => Self::Several(exit, format!("{said}\n  {sentence}")),
            other @ Self::Output(_) => other,
        }
    }

    /// The exit code that goes with it.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Answered(problem) => problem.exit(),
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Usage(_) => Exit::Usage,
            Self::Failed(_) => Exit::Failed,
            Self::Several(exit, _) => *exit,
            // `engate ... | head` is no failure: the reader has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) => Exit::Failed,
        }
    }

    /// What goes to standard error; none where there is nobody to tell.
    pub(super) fn message(&self, json: bool) -> Option<String> {
        if matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return None;
        }
        Some(if json { self.json() } else { format!("error: {}", self.text()) })
    }

    /// What is wrong and what to do about it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Answered(problem) => problem.text(),
            Self::Unreachable { url, cause } => format!(
                "no engine at {url}: {cause}\n  Start one with `engate serve`, or say where it is with ENGATE_URL or --url."
            ),
            Self::Usage(what) | Self::Failed(what) | Self::Several(_, what) => what.clone(),
            Self::Output(error) => format!("standard output cannot be written: {error}"),
        }
    }

    /// The same shape whoever speaks, so that a script has one thing to read.
    fn json(&self) -> String {
        let code = match self {
            Self::Answered(problem) if problem.body.trim_start().starts_with('{') => return problem.body.clone(),
            Self::Answered(_) => "unexpected_answer",
            Self::Unreachable { .. } => "unreachable",
            Self::Usage(_) => "usage",
            Self::Failed(_) | Self::Several(..) | Self::Output(_) => "failed",
        };
        serde_json::json!({ "title": "The command failed", "code": code, "detail": self.text() }).to_string()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, body: &str) -> Failure {
        Failure::Answered(Box::new(Problem::read(status, body.to_owned())))
    }

    #[test]
    fn a_problem_is_told_with_each_field_and_its_own_exit_code() {
        let body = r#"{"type":"about:blank","title":"Invalid input","status":422,"code":"invalid","detail":"2 fields",
            "errors":[{"field":"url","message":"must be http or https"},{"field":"retry.schedule_ms","message":"is empty"}]}"#;
        let failure = problem(422, body);
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(
            failure.message(false).unwrap(),
            "error: Invalid input (invalid)\n  2 fields\n  - url: must be http or https\n  - retry.schedule_ms: is empty"
        );
        assert_eq!(failure.message(true).unwrap(), body);
        let followed = failure.followed_by("1 changed before that.");
        assert!(followed.message(false).unwrap().ends_with("is empty\n  1 changed before that."));
        assert_eq!(followed.message(true).unwrap(), body);
    }

    #[test]
    fn fields_are_named_by_the_options_they_came_from_and_stay_as_they_are_for_programs() {
        let body = r#"{"title":"Invalid input","code":"invalid","errors":[
            {"field":"auth.username","message":"a"},{"field":"auth.type","message":"b"},
            {"field":"retry.schedule_ms[2]","message":"c"},{"field":"urlish","message":"d"}]}"#;
        let options =
            [("auth.username", "--auth-user"), ("auth", "--auth"), ("retry.schedule_ms", "--retry"), ("url", "--url")];
        let failure = problem(422, body).naming_options(&options);
        assert_eq!(
            failure.message(false).unwrap(),
            "error: Invalid input (invalid)\n  - --auth-user: a\n  - --auth type: b\n  - --retry [2]: c\n  - urlish: d"
        );
        assert_eq!(failure.message(true).unwrap(), body);
    }

    #[test]
    fn a_disabled_endpoint_is_told_with_the_command_that_enables_it() {
        let body = r#"{"title":"Conflict","code":"endpoint_disabled","detail":"the endpoint is disabled"}"#;
        let told = problem(409, body).message(false).unwrap();
        assert!(told.contains("engate endpoint update ID --enabled true"), "{told}");
    }

    #[test]
    fn every_status_has_the_documented_exit_code() {
        for (status, exit) in [
            (401, Exit::Unauthorised),
            (403, Exit::Unauthorised),
            (404, Exit::NotFound),
            (409, Exit::Failed),
            (413, Exit::Refused),
            (422, Exit::Refused),
            (500, Exit::Failed),
        ] {
            assert_eq!(problem(status, "{}").exit(), exit, "{status}");
            assert!(EXIT_CODES_HELP.contains(&format!("  {}  ", exit as u8)));
        }
        assert!(problem(401, "{}").message(false).unwrap().contains("ENGATE_TOKEN"));
    }

    #[test]
    fn a_foreign_answer_is_named_as_such_and_cannot_drive_the_terminal() {
        let failure = problem(502, "<html>\u{1b}[2J</html>");
        assert!(failure.message(false).unwrap().contains("does the URL lead to the engine itself?"));
        let evil = problem(422, "{\"title\":\"\\u001b[2Jx\\n\\u202ey\",\"detail\":\"d\"}").message(false).unwrap();
        assert_eq!(evil, "error: \\u{1b}[2Jx\\n\\u{202e}y\n  d");
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit(), failure.message(false)), (Exit::Done, None));
    }
}
