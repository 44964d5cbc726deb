use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

/// What a ticket is for; tokens of other kinds are none, should somebody sign them with the same key.
const AUDIENCE: &str = "signalbox:reports";

/// Signs and verifies tickets: a viewer gets one over its connection and reads the reports with it for some minutes,
/// where nobody knows the viewers' own tokens or their keys (a function in a VPC reaches no JWKS).
///
/// A ticket is a JWT (RFC 7519, HS256) with `aud` and `exp` alone: who may see the board may see its past.
#[derive(Clone)]
pub struct TicketKey {
    sign: EncodingKey,
    verify: DecodingKey,
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey(…)")
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    exp: i64,
}

impl TicketKey {
    /// None for an empty secret: everybody would have it.
    pub fn new(secret: &str) -> Option<Self> {
        let key =
            |secret: &[u8]| Self { sign: EncodingKey::from_secret(secret), verify: DecodingKey::from_secret(secret) };
        (!secret.is_empty()).then(|| key(secret.as_bytes()))
    }

    /// A ticket that is good until then, unix seconds.
    ///
    /// # Errors
    /// None that a valid key could have.
    pub fn issue(&self, expires_at: i64) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = Claims { aud: AUDIENCE.to_owned(), exp: expires_at };
        encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
    }

    /// Whether a ticket is ours and not over at `now`, unix seconds.
    pub fn is_good(&self, ticket: &str, now: i64) -> bool {
        let mut wanted = Validation::new(Algorithm::HS256);
        wanted.set_audience(&[AUDIENCE]);
        // by the caller's clock, below
        wanted.validate_exp = false;
        decode::<Claims>(ticket, &self.verify, &wanted).is_ok_and(|ticket| ticket.claims.exp > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_until_its_time_is_over_and_for_its_key_alone() {
        let (key, other) = (TicketKey::new("a-secret").unwrap(), TicketKey::new("another").unwrap());
        let ticket = key.issue(1_000).unwrap();
        assert!(key.is_good(&ticket, 999));
        assert!(!key.is_good(&ticket, 1_000));
        assert!(!other.is_good(&ticket, 999));
        let (payload, signature) = ticket.rsplit_once('.').unwrap();
        assert!(!key.is_good(payload, 0) && !key.is_good(&format!("{payload}."), 0) && !key.is_good("", 0));
        assert!(!key.is_good(&format!("x{payload}.{signature}"), 0));
        assert!(TicketKey::new("").is_none());
    }

    /// Fails if the audience is not looked at: a viewer's token would open the reports for ever.
    #[test]
    fn another_token_of_the_same_key_is_no_ticket() {
        let key = TicketKey::new("a-secret").unwrap();
        for claims in [r#"{"sub":"anna","exp":5000}"#, r#"{"aud":"board","exp":5000}"#] {
            let claims: serde_json::Value = serde_json::from_str(claims).unwrap();
            let token =
                encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(b"a-secret")).unwrap();
            assert!(!key.is_good(&token, 0), "{claims}");
        }
        let unsigned = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJzaWduYWxib3g6cmVwb3J0cyIsImV4cCI6NTAwMH0.";
        assert!(!key.is_good(unsigned, 0));
    }
}
