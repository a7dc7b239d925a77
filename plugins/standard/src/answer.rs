//! What the answers mean.

use engate_sdk::{Problem, Response, Verdict};

use crate::settings::Format;

/// What the chat says it did not take. Sending the same again would get the same.
const REFUSED: &str = "refused";
/// What stands in Teams' texts before the status that it met on its own way.
const INNER_STATUS: &str = "HTTP error ";
/// Longest text of the partner's that goes into a verdict, in characters.
const TEXT_MAX: usize = 500;

pub(crate) fn judge(response: &Response, format: Format) -> Verdict {
    let text: String = response.text().unwrap_or("no text").trim().chars().take(TEXT_MAX).collect();
    match format {
        Format::CloudEvents | Format::CloudEventsBinary if response.status == 410 => gone(""),
        Format::CloudEvents | Format::CloudEventsBinary => Verdict::by_status(response),
        Format::Slack => judge_chat(response, &text, text == "ok"),
        Format::Teams => judge_chat(response, &text, response.status == 202 || matches!(text.as_str(), "" | "1")),
    }
}

/// `taken` is what the chat says, and counts with 2xx only.
fn judge_chat(response: &Response, text: &str, taken: bool) -> Verdict {
    let status = response.status;
    let said = if text.is_empty() { "no text" } else { text };
    match status {
        200..=299 if taken => Verdict::success(),
        200..=299 => refused(format!("HTTP status {status}, but: {said}"), passes(text)),
        410 => gone(text),
        // Busy, broken, or an address to be renewed: time or the operator cures it.
        401 | 403 | 408 | 429 | 500.. => Verdict::retry(format!("HTTP status {status}: {said}")),
        _ => refused(format!("HTTP status {status}: {said}"), false),
    }
}

fn refused(message: String, retryable: bool) -> Verdict {
    Problem { code: REFUSED.to_owned(), message, retryable }.into()
}

fn gone(text: &str) -> Verdict {
    let said = if text.is_empty() { "gone" } else { text };
    Verdict::DisableEndpoint(format!("HTTP status 410: {said}"))
}

/// Whether the text tells of a status that passes: Teams puts its own limits and faults into a 200, as in
/// "... Microsoft Teams endpoint returned HTTP error 429 with ContextId ...".
fn passes(text: &str) -> bool {
    let digits = text.split_once(INNER_STATUS).and_then(|(_, rest)| rest.get(..3));
    digits.and_then(|digits| digits.parse().ok()).is_some_and(|status: u16| matches!(status, 408 | 429 | 500..))
}
