//! HMAC-SHA256: viewers' tokens, and what Zabbix puts on its messages.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

fn hmac_sha256(secret: &str, text: &str) -> Vec<u8> {
    // HMAC takes keys of any length; the error is for ciphers.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A viewer's token (JWT, HS256) for `subject` that is valid until `expires` (unix seconds).
pub(crate) fn token(secret: &str, subject: &str, expires: i64) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        part(json!({ "alg": "HS256", "typ": "JWT" })),
        part(json!({ "sub": subject, "exp": expires }))
    );
    let signature = URL_SAFE_NO_PAD.encode(hmac_sha256(secret, &signed));
    format!("{signed}.{signature}")
}

/// The `X-Zabbix-Signature` of a body sent at `timestamp` (unix seconds).
pub(crate) fn zabbix_signature(secret: &str, timestamp: i64, body: &str) -> String {
    format!("sha256={}", hex::encode(hmac_sha256(secret, &format!("{timestamp}.{body}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_zabbix_made() {
        // RFC 4231, test case 2, through the same function.
        assert_eq!(
            hex::encode(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        // Recorded with webhook.js on Zabbix 7.0.
        let body = include_str!("../demo/recommended-problem.json");
        assert_eq!(
            zabbix_signature("example-shared-secret", 1_795_249_486, body),
            "sha256=66b64c338aa278e45e43a7e9d49c395ada6976ce773be550ec45300f8c82b6cf"
        );
    }

    #[test]
    fn a_token_has_three_parts_and_the_claims_in_the_second() {
        let token = token("secret", "local", 2_000_000_000);
        let parts: Vec<_> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(claims, json!({ "sub": "local", "exp": 2_000_000_000 }));
    }
}
