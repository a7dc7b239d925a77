//! Signatures after the Standard Webhooks specification (version 1, symmetric).
//!
//! What is signed is `{id}.{timestamp}.{body}`, the body as it is before `content-encoding`. The specification speaks
//! of the raw body that the receiver's program gets, and says nothing of compression. A content coding is undone by
//! the HTTP layer before a program sees the body (body parsers hand the inflated bytes to verifiers), the verifying
//! libraries take what the program has, and attempts record the body before compression: so a recorded attempt can be
//! verified as it stands.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::{Secret, Timestamp};
use ring::hmac;

/// What every symmetric key begins with.
const PREFIX: &str = "whsec_";
/// Bytes of key that the specification allows.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Makes a key of 32 bytes of randomness, which the caller draws.
pub fn generate_signing_secret(random: [u8; 32]) -> Secret {
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(random)))
}

/// Checks a key that someone brings along.
///
/// # Errors
/// A sentence for people, without the key, unless it is `whsec_` and standard base64 of 24 to 64 bytes.
pub fn check_signing_secret(secret: &str) -> Result<(), String> {
    key_bytes(secret).map(drop)
}

fn key_bytes(secret: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("a signing secret is {PREFIX} and standard base64 of 24 to 64 bytes");
    let encoded = secret.strip_prefix(PREFIX).ok_or_else(wrong)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| wrong())?;
    if KEY_BYTES.contains(&bytes.len()) { Ok(bytes) } else { Err(wrong()) }
}

/// The value of `webhook-signature`: one `v1,` signature a key, separated by spaces; empty without keys.
///
/// # Errors
/// A sentence without the key where one is malformed.
pub(crate) fn signatures(id: &str, at: Timestamp, body: &[u8], keys: &[&Secret]) -> Result<String, String> {
    let mut value = String::new();
    for key in keys {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key_bytes(key.expose())?);
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{id}.{}.", at.as_secs()).as_bytes());
        context.update(body);
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str("v1,");
        STANDARD.encode_string(context.sign().as_ref(), &mut value);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_comes_out() {
        let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let at = Timestamp::from_millis(1_614_265_330_000);
        let value = signatures("msg_p5jXN8AQM9LWM0D4loKWxJek", at, br#"{"test": 2432232314}"#, &[&key]).unwrap();
        assert_eq!(value, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn generated_keys_pass_the_check_and_others_are_told_the_form() {
        assert_eq!(check_signing_secret(generate_signing_secret([7; 32]).expose()), Ok(()));
        for (bytes, good) in [(23, false), (24, true), (64, true), (65, false)] {
            let secret = format!("whsec_{}", STANDARD.encode(vec![1; bytes]));
            assert_eq!(check_signing_secret(&secret).is_ok(), good, "{bytes}");
        }
        for wrong in ["", "hush", "whsec_", "whsec_***", "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let message = check_signing_secret(wrong).unwrap_err();
            assert!(message.starts_with("a signing secret is whsec_") && !message.contains("hush"), "{message}");
        }
    }
}
