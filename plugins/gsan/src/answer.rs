//! What the partner's answer means.

use engate_sdk::{Response, Verdict};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A refusal that the partner puts into the body. Sending the same again would get the same, and a payment must not be
/// booked twice, so it is for a person to decide: never tried again by itself.
const BUSINESS_ERROR: &str = "business_error";
/// Longest text of the partner's that goes into a verdict, in characters.
const TEXT_MAX: usize = 500;
/// Where partners put the sentence when the error is an object.
const SENTENCES: [&str; 4] = ["/message", "/mensagem", "/motivo", "/descricao"];

/// The settings, as `config.schema.json` has them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    success: Success,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Success {
    status: Vec<u16>,
    error_pointer: String,
}

impl Default for Success {
    fn default() -> Self {
        Self { status: vec![200], error_pointer: "/error".to_owned() }
    }
}

/// Success takes both: a listed status, and no error in the body.
pub(crate) fn judge(response: &Response, settings: &Settings) -> Verdict {
    let status = response.status;
    let listed = settings.success.status.contains(&status);
    let error = error_in(response, &settings.success.error_pointer);
    if listed {
        return match error {
            Some(text) => Verdict::fail(BUSINESS_ERROR, text),
            None if is_broken_json(response) => {
                Verdict::retry(format!("HTTP status {status}, but the body is broken JSON: it may hold an error"))
            }
            None => Verdict::success(),
        };
    }
    let said = error.as_deref().unwrap_or("no error in the body");
    match status {
        410 => Verdict::DisableEndpoint(format!("HTTP status 410: {said}")),
        // Busy, broken, or a credential to be renewed: time or the operator cures it, whatever the body says.
        401 | 403 | 408 | 429 | 500.. => Verdict::retry(format!("HTTP status {status}: {said}")),
        _ => match error {
            Some(text) => Verdict::fail(BUSINESS_ERROR, text),
            None => Verdict::retry(format!("HTTP status {status} does not mean success here: {said}")),
        },
    }
}

/// The partner's own text, where the body has an error.
fn error_in(response: &Response, pointer: &str) -> Option<String> {
    let error = response.json_at::<&RawValue>(pointer)?.get();
    if matches!(error, "null" | "false" | "\"\"") {
        return None;
    }
    let at = |place: &str| response.json_at::<String>(&format!("{pointer}{place}"));
    let text = at("").or_else(|| SENTENCES.into_iter().find_map(at)).unwrap_or_else(|| error.to_owned());
    Some(text.chars().take(TEXT_MAX).collect())
}

/// A body that wants to be JSON and is not, perhaps because it was cut.
fn is_broken_json(response: &Response) -> bool {
    let body = response.text().unwrap_or_default().trim_start();
    let announced = response.header("content-type").is_some_and(|media_type| media_type.contains("json"));
    let looks_so = body.starts_with(['{', '[']) || (announced && !body.is_empty());
    looks_so && response.json::<serde::de::IgnoredAny>().is_none()
}
