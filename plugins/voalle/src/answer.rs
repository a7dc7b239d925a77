//! What the integrator's answer means.

use engate_sdk::{Problem, Response, Verdict};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

/// A refusal that the integrator puts into the body. Sending the same again would get the same: it is for a person.
const BUSINESS_ERROR: &str = "business_error";
/// Longest text of the integrator's that goes into a verdict, in characters.
const TEXT_MAX: usize = 500;

/// The settings, as `config.schema.json` has them.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    success_pointer: Option<String>,
    success_value: Value,
    message_pointer: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { success_pointer: None, success_value: Value::Bool(true), message_pointer: None }
    }
}

/// Success takes both: a 2xx status, and a body that says so where the settings tell where it would.
pub(crate) fn judge(response: &Response, settings: &Settings) -> Verdict {
    let status = response.status;
    if response.is_success() {
        return judge_body(response, settings);
    }
    let refusal = settings.refusal(response);
    let said = refusal.as_deref().unwrap_or("no reason in the body");
    match status {
        410 => Verdict::DisableEndpoint(format!("HTTP status 410: {said}")),
        // Busy, broken, or a credential to be renewed: time or the operator cures it, whatever the body says.
        401 | 403 | 408 | 429 | 500.. => Verdict::retry(format!("HTTP status {status}: {said}")),
        _ => match refusal {
            Some(text) => Verdict::fail(BUSINESS_ERROR, text),
            None => Verdict::retry(format!("HTTP status {status}: {said}")),
        },
    }
}

fn judge_body(response: &Response, settings: &Settings) -> Verdict {
    let Some(pointer) = &settings.success_pointer else {
        return Verdict::success();
    };
    if response.json::<IgnoredAny>().is_none() {
        let message = format!("HTTP status {}, but the body is not whole JSON: it may hold a refusal", response.status);
        return Problem::new("unreadable_answer", message).retryable().into();
    }
    if settings.says_success(response) {
        return Verdict::success();
    }
    let refusal = settings.refusal(response);
    Verdict::fail(BUSINESS_ERROR, refusal.unwrap_or_else(|| format!("the answer has nothing at `{pointer}`")))
}

impl Settings {
    fn says_success(&self, response: &Response) -> bool {
        let value: Option<Value> = self.success_pointer.as_deref().and_then(|pointer| response.json_at(pointer));
        value.is_some_and(|value| same(&value, &self.success_value))
    }

    /// Why it was not taken, in the integrator's words if there are any; none where the body does not say.
    fn refusal(&self, response: &Response) -> Option<String> {
        if self.says_success(response) {
            return None;
        }
        let of_message = || text_at(response, self.message_pointer.as_deref()?);
        let of_value = || {
            let pointer = self.success_pointer.as_deref()?;
            let value = response.json_at::<&RawValue>(pointer)?.get();
            Some(format!("`{pointer}` is {value}"))
        };
        let text = of_message().or_else(of_value)?;
        Some(text.chars().take(TEXT_MAX).collect())
    }
}

/// A text as it is, anything else as its JSON; none for what says nothing.
fn text_at(response: &Response, pointer: &str) -> Option<String> {
    let value = response.json_at::<&RawValue>(pointer)?.get();
    let text = serde_json::from_str(value).unwrap_or_else(|_| value.to_owned());
    (!text.trim().is_empty() && text != "null").then_some(text)
}

/// Equal as JSON, where 1 and 1.0 are one number.
fn same(one: &Value, other: &Value) -> bool {
    let as_numbers = one.is_number() && other.is_number() && one.as_f64() == other.as_f64();
    one == other || as_numbers
}
