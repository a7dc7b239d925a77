//! What the partner's answer means. The body counts more than the status.

use engate_sdk::{Exchange, Problem, Verdict};
use serde::Deserialize;

/// How long the partner wants to be left alone when it is busy.
const BUSY_MS: u64 = 30_000;

#[derive(Deserialize)]
#[serde(tag = "resultado", rename_all = "lowercase")]
enum Answer {
    Ok {
        protocolo: String,
    },
    #[serde(rename = "erro")]
    Refusal {
        codigo: String,
        #[serde(default)]
        mensagem: String,
    },
}

/// The first rule that fits counts.
pub(crate) fn judge(exchange: &Exchange) -> Verdict {
    let response = &exchange.response;
    let status = response.status;
    if status == 410 {
        return Verdict::DisableEndpoint("the partner is gone".to_owned());
    }
    match response.json() {
        Some(Answer::Ok { protocolo }) if response.is_success() => Verdict::success_as(protocolo),
        Some(Answer::Refusal { codigo, mensagem }) => refused(&codigo, mensagem, exchange.memo.clone()),
        _ if response.is_success() => {
            Problem::new("unreadable_answer", "the answer is not the partner's JSON").retryable().into()
        }
        _ if status == 429 || status >= 500 => Verdict::retry(format!("HTTP status {status}")),
        _ => Verdict::fail("http_status", format!("HTTP status {status}")),
    }
}

fn refused(code: &str, message: String, number: Option<String>) -> Verdict {
    match code {
        // It has the invoice already, under the number that `transform` left for us.
        "DUPLICADO" => Verdict::Success(number),
        "OCUPADO" => Verdict::retry_after(BUSY_MS, "the partner is busy"),
        _ => Verdict::fail(&format!("partner_{}", code.to_lowercase()), message),
    }
}
