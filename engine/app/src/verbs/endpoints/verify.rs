//! The challenge by which an endpoint shows that its owner wants what the engine sends: it has to answer a random value
//! that it was sent.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use engate_egress::{Outbound, Received, SignInput};
use engate_model::{EndpointId, Timestamp, endpoint::Endpoint, token::Principal};
use serde_json::{Value, json};

use crate::{
    engine::Engine,
    media_type::JSON,
    verbs::{VerbError, endpoints::Registered},
};

/// What the challenge says that it is.
const TYPE: &str = "endpoint.verification";
/// Bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// How a challenge ended.
#[derive(Debug, Clone)]
pub(crate) struct Verification {
    /// The endpoint, verified or as it was.
    pub(crate) registered: Registered,
    /// Whether the challenge was passed.
    pub(crate) passed: bool,
    /// Stable code of what went wrong.
    pub(crate) code: Option<String>,
    /// For people.
    pub(crate) message: Option<String>,
    /// Status of the answer, where one came.
    pub(crate) status: Option<u16>,
}

/// What an answer is worth.
struct Judged {
    code: Option<String>,
    message: Option<String>,
    status: Option<u16>,
}

impl Engine {
    /// Challenges an endpoint, and writes down where it passes.
    pub(crate) async fn endpoint_verify(
        &self,
        principal: &Principal,
        id: EndpointId,
    ) -> Result<Verification, VerbError> {
        let (mut endpoint, integrator) = self.endpoint_find(principal, id).await?;
        let actor = self.actor(principal);
        let Judged { code, message, status } = self.challenge(&endpoint, actor.now).await;
        let passed = code.is_none();
        if passed {
            let tenant = principal.tenant;
            if !self.store.endpoint_verified(&actor, tenant, id, endpoint.revision).await? {
                // It was edited while it was challenged: what was answered says nothing of it now.
                return Err(VerbError::Stale("endpoint"));
            }
            endpoint.verified_at = Some(actor.now);
            endpoint.revision += 1;
            self.views.follow_change(&self.store, tenant).await;
        }
        let registered = Registered { endpoint, integrator: integrator.slug };
        Ok(Verification { registered, passed, code, message, status })
    }

    async fn challenge(&self, endpoint: &Endpoint, now: Timestamp) -> Judged {
        let value = URL_SAFE_NO_PAD.encode(self.chance.key());
        let body = json!({ "type": TYPE, "endpoint": endpoint.id, "challenge": value }).to_string();
        let webhook_id = format!("verify_{:032x}", self.chance.bits());
        let keys = endpoint.signing.keys_at(now).filter(|_| endpoint.signing.enabled).collect();
        let own = endpoint.headers.iter().cloned();
        let outbound = Outbound {
            method: "POST",
            url: &endpoint.url,
            headers: std::iter::once(("content-type".to_owned(), JSON.to_owned())).chain(own).collect(),
            body: Bytes::from(body),
            compress: false,
            auth: &endpoint.auth,
            sign: Some(SignInput { webhook_id: &webhook_id, timestamp: now, keys }),
            deadline: endpoint.timeout,
            response_bytes_max: ANSWER_BYTES_MAX,
            http1_title_case: false,
        };
        match self.egress.send(outbound).await {
            Ok(Received { response, .. }) => judge(response.status, &response.body, &value),
            Err(failed) => {
                let status = failed.response.as_ref().map(|response| response.status);
                Judged { code: Some(failed.failure.code), message: Some(failed.failure.message), status }
            }
        }
    }
}

/// Passed is what answers 2xx with the value, as the member `challenge` of an object or as the whole text.
fn judge(status: u16, body: &[u8], value: &str) -> Judged {
    let refused = |code: &str, message: String| Judged {
        code: Some(code.to_owned()),
        message: Some(message),
        status: Some(status),
    };
    if !(200..300).contains(&status) {
        return refused("status_refused", format!("answered {status}; a challenge is passed with a 2xx"));
    }
    let json = serde_json::from_slice::<Value>(body).ok();
    let named = json.as_ref().and_then(|json| json.get("challenge").unwrap_or(json).as_str());
    if named == Some(value) || body.trim_ascii() == value.as_bytes() {
        return Judged { code: None, message: None, status: Some(status) };
    }
    let message = "the answer does not hold the challenge's value; answer {\"challenge\": \"...\"} or the value alone";
    refused("challenge_mismatch", message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_passes_as_a_member_or_as_the_whole_text_and_nothing_else_does() {
        let code = |status, body: &str| judge(status, body.as_bytes(), "abc").code;
        for body in [r#"{"challenge":"abc","more":1}"#, r#""abc""#, "abc", " abc\n"] {
            assert_eq!(code(200, body), None, "{body}");
        }
        for body in ["", "abcd", r#"{"challenge":"abcd"}"#, r#"{"other":"abc"}"#, r#"["abc"]"#] {
            assert_eq!(code(200, body).as_deref(), Some("challenge_mismatch"), "{body}");
        }
        assert_eq!(code(302, "abc").as_deref(), Some("status_refused"));
    }
}
