use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;

/// Header with the moment of signing, unix seconds.
pub const TIMESTAMP_HEADER: &str = "x-zabbix-timestamp";

/// Header with `sha256=` and the hex digest.
pub const SIGNATURE_HEADER: &str = "x-zabbix-signature";

/// How old, and how far ahead of our clock, a signature may be, in seconds. A retry is signed afresh, so this covers only
/// the way here and clocks that differ; what is replayed within it is harmless, because messages are idempotent.
const WINDOW: u64 = 300;

const SCHEME: &str = "sha256=";

/// Why a request is not from whom it claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// A header is absent.
    #[error("the header {header} is missing")]
    Missing {
        /// Lower case.
        header: &'static str,
    },
    /// A header is not `sha256=<64 hex digits>`, or not a number of seconds.
    #[error("the header {header} is malformed")]
    Malformed {
        /// Lower case.
        header: &'static str,
    },
    /// Signed with another secret, or changed on the way.
    #[error("the signature does not match")]
    Mismatch,
    /// Rightly signed, but not now.
    #[error("the signature is more than {WINDOW} seconds away from now")]
    Stale,
}

/// The secret shared with Zabbix (`{$ROUTER.SECRET}`): signs `<timestamp>.<body>` with HMAC-SHA256.
#[derive(Clone)]
pub struct WebhookSecret(Hmac<Sha256>);

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

impl WebhookSecret {
    /// None for an empty secret: everybody could sign with that.
    pub fn new(secret: &str) -> Option<Self> {
        // HMAC takes a key of any other length
        (!secret.is_empty()).then(|| Hmac::new_from_slice(secret.as_bytes()).ok()).flatten().map(Self)
    }

    /// The two headers' values for a body signed at `timestamp`, unix seconds: for tests and the local cloud.
    pub fn sign(&self, timestamp: i64, body: &[u8]) -> (String, String) {
        let timestamp = timestamp.to_string();
        let digest = self.digest_of(&timestamp, body).finalize().into_bytes();
        (timestamp, format!("{SCHEME}{}", hex::encode(digest)))
    }

    /// Checks a request by the values of [`TIMESTAMP_HEADER`] and [`SIGNATURE_HEADER`]; `now` in unix seconds.
    ///
    /// The signature is compared in constant time, and before the time is looked at: only who knows the secret learns that
    /// a request is stale, so our clock and window cannot be probed. A digest of at most 256 KB is worth that.
    ///
    /// # Errors
    /// The first reason not to believe the request.
    pub fn verify(
        &self,
        timestamp: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
        now: i64,
    ) -> Result<(), SignatureError> {
        let timestamp = timestamp.ok_or(SignatureError::Missing { header: TIMESTAMP_HEADER })?;
        let signature = signature.ok_or(SignatureError::Missing { header: SIGNATURE_HEADER })?;
        let malformed = SignatureError::Malformed { header: SIGNATURE_HEADER };
        let signature = signature.strip_prefix(SCHEME).ok_or(malformed)?;
        let mut digest = [0; 32];
        hex::decode_to_slice(signature, &mut digest).map_err(|_| malformed)?;

        self.digest_of(timestamp, body).verify_slice(&digest).map_err(|_| SignatureError::Mismatch)?;

        let signed_at: i64 = timestamp.parse().map_err(|_| SignatureError::Malformed { header: TIMESTAMP_HEADER })?;
        if now.abs_diff(signed_at) > WINDOW {
            return Err(SignatureError::Stale);
        }
        Ok(())
    }

    fn digest_of(&self, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_249_492;

    fn secret() -> WebhookSecret {
        WebhookSecret::new("example-shared-secret").unwrap()
    }

    /// Headers and raw body of requests that a real Zabbix signed.
    fn recorded() -> Vec<(String, String, String)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../zabbix/fixtures/recommended");
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let fixture: serde_json::Value =
                    serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
                let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
                let headers = &fixture["headers"];
                (text(&headers["X-Zabbix-Timestamp"]), text(&headers["X-Zabbix-Signature"]), text(&fixture["raw_body"]))
            })
            .collect()
    }

    #[test]
    fn what_zabbix_signed_is_believed_and_signed_the_same_by_us() {
        let recorded = recorded();
        assert_eq!(recorded.len(), 6);
        for (timestamp, signature, body) in recorded {
            let now = timestamp.parse().unwrap();
            assert_eq!(secret().verify(Some(&timestamp), Some(&signature), body.as_bytes(), now), Ok(()));
            assert_eq!(secret().sign(now, body.as_bytes()), (timestamp, signature));
        }
    }

    #[test]
    fn any_change_to_secret_time_or_body_is_a_mismatch() {
        let (timestamp, signature) = secret().sign(NOW, b"{}");
        let other = WebhookSecret::new("example-shared-secreu").unwrap();
        let verify = |secret: &WebhookSecret, timestamp: &str, body: &[u8]| {
            secret.verify(Some(timestamp), Some(&signature), body, NOW)
        };
        assert_eq!(verify(&secret(), &timestamp, b"{}"), Ok(()));
        assert_eq!(verify(&other, &timestamp, b"{}"), Err(SignatureError::Mismatch));
        assert_eq!(verify(&secret(), "1795249493", b"{}"), Err(SignatureError::Mismatch));
        assert_eq!(verify(&secret(), &timestamp, b"{} "), Err(SignatureError::Mismatch));
        // the dot belongs to the signed text: digits cannot move from the time to the body
        let (_, moved) = secret().sign(179_524_949, b"2.{}");
        assert_eq!(secret().verify(Some(&timestamp), Some(&moved), b"{}", NOW), Err(SignatureError::Mismatch));
    }

    #[test]
    fn a_signature_holds_for_five_minutes_either_way() {
        for (offset, expected) in
            [(-300, Ok(())), (300, Ok(())), (-301, Err(SignatureError::Stale)), (301, Err(SignatureError::Stale))]
        {
            let (timestamp, signature) = secret().sign(NOW + offset, b"x");
            assert_eq!(secret().verify(Some(&timestamp), Some(&signature), b"x", NOW), expected, "{offset}");
        }
        let (timestamp, signature) = secret().sign(i64::MIN, b"x");
        assert_eq!(secret().verify(Some(&timestamp), Some(&signature), b"x", i64::MAX), Err(SignatureError::Stale));
    }

    #[test]
    fn who_does_not_know_the_secret_does_not_learn_that_the_time_is_wrong() {
        let forged = format!("sha256={}", "0".repeat(64));
        for timestamp in ["0", "not a time", ""] {
            assert_eq!(
                secret().verify(Some(timestamp), Some(&forged), b"x", NOW),
                Err(SignatureError::Mismatch),
                "{timestamp}"
            );
        }
    }

    #[test]
    fn headers_that_are_absent_or_malformed_are_named() {
        let (timestamp, signature) = secret().sign(NOW, b"x");
        let verify =
            |timestamp: Option<&str>, signature: Option<&str>| secret().verify(timestamp, signature, b"x", NOW);
        assert_eq!(verify(None, Some(&signature)), Err(SignatureError::Missing { header: TIMESTAMP_HEADER }));
        assert_eq!(verify(Some(&timestamp), None), Err(SignatureError::Missing { header: SIGNATURE_HEADER }));
        let bare = signature.strip_prefix("sha256=").unwrap();
        for malformed in ["", "sha256=", bare, &signature[..signature.len() - 1], "sha256=zz", "sha1=00"] {
            let error = SignatureError::Malformed { header: SIGNATURE_HEADER };
            assert_eq!(verify(Some(&timestamp), Some(malformed)), Err(error), "{malformed}");
        }
        let mac = secret().digest_of("soon", b"x").finalize().into_bytes();
        let signed = format!("sha256={}", hex::encode(mac));
        assert_eq!(verify(Some("soon"), Some(&signed)), Err(SignatureError::Malformed { header: TIMESTAMP_HEADER }));
    }

    #[test]
    fn an_empty_secret_is_no_secret() {
        assert!(WebhookSecret::new("").is_none());
        assert_eq!(format!("{:?}", secret()), "WebhookSecret(…)");
    }
}
