//! Signed links: a JWT that a plugin minted with the secret [`LINK_SECRET`].
//!
//! Written by hand on ring: HS256 and four claims need forty lines, and a JWT library would bring a second
//! crypto library and algorithms that must not be accepted here.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use engate_model::{Secret, TenantId, Timestamp};
use ring::hmac;
use serde::Deserialize;

/// Name of the secret whose text is the key.
pub(crate) const LINK_SECRET: &str = "sintegre-link";
/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8_192;

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Claims {
    /// The tenant whose secret signed it.
    aud: String,
    /// Path below the tenant's folder of `files.root`.
    #[serde(rename = "URL")]
    pub(crate) path: String,
    /// Who it was made for.
    #[serde(default)]
    pub(crate) username: Option<String>,
    /// Seconds since the epoch from which it holds.
    #[serde(default)]
    nbf: Option<i64>,
    /// Seconds since the epoch from which it holds no longer.
    pub(crate) exp: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood; none is.
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

/// Why a link is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkFault {
    /// It is not as the engine made it.
    Forged,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
}

/// A link taken apart, not yet believed.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    claims: Claims,
}

impl<'a> Link<'a> {
    /// Takes a token apart. HS256 is the only algorithm; in particular `none` is not.
    pub(crate) fn parse(token: &'a str) -> Result<Self, LinkFault> {
        let parsed = || {
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, claims) = signed.split_once('.')?;
            let decode = |text| URL_SAFE_NO_PAD.decode(text).ok();
            let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
            let claims = serde_json::from_slice(&decode(claims)?).ok()?;
            let known = header.alg == "HS256" && header.crit.is_none();
            known.then_some(Self { signed, signature: decode(signature)?, claims })
        };
        if token.len() > TOKEN_BYTES_MAX { Err(LinkFault::Forged) } else { parsed().ok_or(LinkFault::Forged) }
    }

    /// Whose secret to check it with.
    pub(crate) fn tenant(&self) -> Result<TenantId, LinkFault> {
        self.claims.aud.parse().map_err(|_| LinkFault::Forged)
    }

    /// Its claims, where `secret` signed them and they hold at `now`. The signature comes first, so that nobody
    /// learns anything from a token of their own making.
    pub(crate) fn verify(self, secret: &Secret, now: Timestamp) -> Result<Claims, LinkFault> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        hmac::verify(&key, self.signed.as_bytes(), &self.signature).map_err(|_| LinkFault::Forged)?;
        let now = now.as_secs();
        match self.claims {
            claims if claims.nbf.is_some_and(|nbf| now < nbf) => Err(LinkFault::NotYetValid),
            claims if now >= claims.exp => Err(LinkFault::Expired),
            claims => Ok(claims),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sign(header: &Value, claims: &Value, key: &str) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let signature = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims() -> Value {
        let tenant = TenantId::new(Timestamp::from_millis(1), 1);
        json!({"URL": "a/b.pdf", "username": "ons", "iss": "engate", "aud": tenant, "nbf": 1_000, "exp": 2_000})
    }

    fn judge(token: &str, at_s: i64) -> Result<Claims, LinkFault> {
        let link = Link::parse(token)?;
        link.tenant()?;
        link.verify(&Secret::new("key"), Timestamp::from_micros(at_s * 1_000_000))
    }

    #[test]
    fn o26_a_link_holds_from_nbf_until_exp() {
        let token = sign(&json!({"alg": "HS256", "typ": "JWT"}), &claims(), "key");
        assert_eq!(judge(&token, 999), Err(LinkFault::NotYetValid));
        assert_eq!(judge(&token, 1_000).unwrap().path, "a/b.pdf");
        assert_eq!(judge(&token, 1_999).unwrap().username.as_deref(), Some("ons"));
        assert_eq!(judge(&token, 2_000), Err(LinkFault::Expired));
    }

    #[test]
    fn what_the_engine_did_not_sign_is_forged() {
        let header = json!({"alg": "HS256", "typ": "JWT"});
        let good = sign(&header, &claims(), "key");
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (head, _) = signed.split_once('.').unwrap();
        let mut other = claims();
        other["URL"] = "../secret".into();
        let swapped = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(other.to_string()));
        let without_exp = json!({"URL": "a", "aud": claims()["aud"]});
        let forged = [
            sign(&header, &claims(), "other key"),
            sign(&json!({"alg": "none"}), &claims(), "key"),
            sign(&json!({"alg": "HS512"}), &claims(), "key"),
            sign(&json!({"alg": "HS256", "crit": ["b64"]}), &claims(), "key"),
            sign(&header, &without_exp, "key"),
            sign(&header, &json!({"URL": "a", "aud": "default", "exp": 9_999}), "key"),
            format!("{signed}."),
            format!("{signed}.{signature}="),
            swapped,
            "a.b".into(),
            String::new(),
            "x".repeat(TOKEN_BYTES_MAX + 1),
        ];
        for token in forged {
            assert_eq!(judge(&token, 1_500), Err(LinkFault::Forged), "{token}");
        }
    }
}
