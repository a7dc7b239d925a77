use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engate_sdk::testing::{self, Host, NOW_MS};
use serde_json::{Value, json};

use super::{KEY, body, host, publication, send};

const DAY_MS: u64 = 86_400_000;

fn link(host: &Host) -> String {
    body(host, publication("diaria", "2025-02-20"))["url"].as_str().unwrap().to_owned()
}

/// Header and claims of a token whose signature is right.
fn verified(link: &str) -> (Value, Value) {
    let token = link.split_once("token=").unwrap().1;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, KEY);
    ring::hmac::verify(&key, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let part = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    (part(header), part(claims))
}

#[test]
fn o26_the_link_is_a_signed_token_for_this_recipient() {
    let link = link(&host());
    assert!(link.starts_with("https://engate.example/v1/files?token="), "{link}");
    let (header, claims) = verified(&link);
    assert_eq!(header, json!({"alg": "HS256", "typ": "JWT"}));
    let now_s = NOW_MS / 1000;
    let expected = json!({
        "URL": "ipdo/2025-02-20.pdf",
        "username": "ana",
        "nomeProduto": "IPDO (Informativo Preliminar Diário da Operação)",
        "IsFile": "True",
        "iss": "engate",
        "aud": "default",
        "exp": now_s + 86_400,
        "nbf": now_s - 60,
    });
    assert_eq!(claims, expected);
    let order: Vec<_> = claims.as_object().unwrap().keys().collect();
    assert_eq!(order, ["URL", "username", "nomeProduto", "IsFile", "iss", "aud", "exp", "nbf"]);
}

#[test]
fn o26_a_resend_carries_a_new_link_that_works_from_then_on() {
    let at = |number, now| {
        let context = testing::context().with_attempt(number, now);
        let outgoing = send(&host(), publication("diaria", "2025-02-20"), &context);
        let body: Value = serde_json::from_str(outgoing.request.text().unwrap()).unwrap();
        body["url"].as_str().unwrap().to_owned()
    };
    let (first, resent) = (at(1, NOW_MS), at(2, NOW_MS + 2 * DAY_MS));
    assert_ne!(first, resent);
    let (dead, alive) = (verified(&first).1, verified(&resent).1);
    assert!(dead["exp"].as_u64().unwrap() < alive["nbf"].as_u64().unwrap());
    assert_eq!(at(1, NOW_MS), first, "the same attempt is rendered to the same bytes");
}

#[test]
fn o26_life_and_address_of_the_link_are_settings() {
    let config = json!({"link": {"base": "https://proxy.example/get?from=engate", "ttl_s": 5}});
    let link = link(&Host::new().config(config).secret("sintegre-link", KEY));
    assert!(link.starts_with("https://proxy.example/get?from=engate&token="), "{link}");
    let claims = verified(&link).1;
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["nbf"].as_u64().unwrap(), 65);
    assert_eq!(claims["username"], "partner", "the integrator's slug stands in");
}
