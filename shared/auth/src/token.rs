use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;

use crate::jwks::Jwks;

/// What a connection token says (Centrifugo docs, "Client JWT authentication"), as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionToken {
    /// `sub`; empty = anonymous.
    pub user: String,
    /// `expire_at` if present (0 = never), else `exp`: unix seconds until when the connection may go on.
    pub expires_at: Option<i64>,
}

/// Why a token does not do.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Its time is over: the client may fetch a new one (error 109).
    #[error("token has expired")]
    Expired,
    /// Not one of ours (disconnect 3500). The reason is for the log.
    #[error("invalid token: {0}")]
    Invalid(String),
    /// The key that could verify it cannot be had at the moment (error 100, temporary).
    #[error("keys are not available: {0}")]
    KeysUnavailable(String),
}

/// Verifies viewers' JWTs: HS256–512 with a shared secret, RS256–512, PS256–512, ES256–512 and `EdDSA` with keys from a JWKS
/// URL. Each algorithm is only ever tried with a key of its own kind.
#[derive(Debug)]
pub struct TokenVerifier {
    hmac: Option<Secret>,
    jwks: Option<Jwks>,
    audience: Option<String>,
    issuer: Option<String>,
}

struct Secret(DecodingKey);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: String,
    exp: Option<i64>,
    expire_at: Option<i64>,
    channel: Option<serde_json::Value>,
}

impl TokenVerifier {
    /// A verifier without keys refuses every token; audience and issuer are checked only where they are given.
    pub fn new(
        hmac_secret: Option<&str>,
        jwks_url: Option<&str>,
        audience: Option<String>,
        issuer: Option<String>,
    ) -> Result<Self, TokenError> {
        Ok(Self {
            hmac: hmac_secret.map(|secret| Secret(DecodingKey::from_secret(secret.as_bytes()))),
            jwks: jwks_url.map(Jwks::new).transpose()?,
            audience,
            issuer,
        })
    }

    /// Verifies a connection token at unix time `now`.
    pub async fn verify_connection(&self, token: &str, now: i64) -> Result<ConnectionToken, TokenError> {
        let header = decode_header(token).map_err(|error| TokenError::Invalid(error.to_string()))?;
        let family = header.alg.family();
        let fetched;
        let key = match (family, &self.hmac, &self.jwks) {
            (AlgorithmFamily::Hmac, Some(secret), _) => &secret.0,
            (AlgorithmFamily::Rsa | AlgorithmFamily::Ec | AlgorithmFamily::Ed, _, Some(jwks)) => {
                fetched = jwks.key(header.kid.as_deref()).await?;
                &fetched
            }
            _ => return Err(TokenError::Invalid(format!("no key for {:?}", header.alg))),
        };
        let claims = self.claims(token, key, header.alg)?;
        if claims.channel.is_some() {
            return Err(TokenError::Invalid("a subscription token is no connection token".to_owned()));
        }
        // checked here and not by the library, so that a test can set the time; no leeway, as in Centrifugo
        if claims.exp.is_some_and(|exp| exp <= now) {
            return Err(TokenError::Expired);
        }
        let expires_at = match claims.expire_at {
            Some(at) => Some(at).filter(|at| *at > 0),
            None => claims.exp,
        };
        if expires_at.is_some_and(|at| at <= now) {
            return Err(TokenError::Expired);
        }
        Ok(ConnectionToken { user: claims.sub, expires_at })
    }

    fn claims(&self, token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Claims, TokenError> {
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = true;
        validation.validate_aud = self.audience.is_some();
        let mut required = Vec::new();
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        match decode::<Claims>(token, key, &validation) {
            Ok(data) => Ok(data.claims),
            Err(error) if *error.kind() == ErrorKind::ExpiredSignature => Err(TokenError::Expired),
            Err(error) => Err(TokenError::Invalid(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    fn signed(claims: &serde_json::Value, secret: &str, algorithm: Algorithm) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn verifier() -> TokenVerifier {
        TokenVerifier::new(Some("secret"), None, None, None).unwrap()
    }

    #[tokio::test]
    async fn a_token_signed_with_the_secret_names_its_user_and_its_end() {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let token = signed(&json!({"sub": "anna", "exp": 2_000}), "secret", algorithm);
            let verified = verifier().verify_connection(&token, 1_000).await.unwrap();
            assert_eq!(verified, ConnectionToken { user: "anna".to_owned(), expires_at: Some(2_000) });
        }
        let token = signed(&json!({"exp": 2_000, "expire_at": 0}), "secret", Algorithm::HS256);
        let verified = verifier().verify_connection(&token, 1_000).await.unwrap();
        assert_eq!(verified, ConnectionToken { user: String::new(), expires_at: None });
    }

    #[tokio::test]
    async fn an_expired_token_is_told_from_an_invalid_one() {
        let token = signed(&json!({"sub": "anna", "exp": 1_000}), "secret", Algorithm::HS256);
        assert!(matches!(verifier().verify_connection(&token, 1_000).await, Err(TokenError::Expired)));
        assert!(verifier().verify_connection(&token, 999).await.is_ok());
        let over = signed(&json!({"sub": "anna", "exp": 2_000, "expire_at": 900}), "secret", Algorithm::HS256);
        assert!(matches!(verifier().verify_connection(&over, 1_000).await, Err(TokenError::Expired)));
        let foreign = signed(&json!({"sub": "anna", "exp": 1_000}), "other", Algorithm::HS256);
        assert!(matches!(verifier().verify_connection(&foreign, 1_000).await, Err(TokenError::Invalid(_))));
    }

    #[tokio::test]
    async fn what_is_no_connection_token_is_invalid() {
        let channel = signed(&json!({"sub": "anna", "channel": "status:all"}), "secret", Algorithm::HS256);
        // header {"alg":"none"}
        for token in ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm5hIn0.", &channel] {
            assert!(matches!(verifier().verify_connection(token, 0).await, Err(TokenError::Invalid(_))), "{token}");
        }
        let no_keys = TokenVerifier::new(None, None, None, None).unwrap();
        let token = signed(&json!({"sub": "anna"}), "", Algorithm::HS256);
        assert!(matches!(no_keys.verify_connection(&token, 0).await, Err(TokenError::Invalid(_))));
    }

    #[tokio::test]
    async fn audience_and_issuer_are_checked_where_they_are_configured() {
        let verifier =
            TokenVerifier::new(Some("secret"), None, Some("board".to_owned()), Some("idp".to_owned())).unwrap();
        let verify = async |claims: serde_json::Value| {
            verifier.verify_connection(&signed(&claims, "secret", Algorithm::HS256), 0).await.is_ok()
        };
        assert!(verify(json!({"aud": "board", "iss": "idp"})).await);
        assert!(verify(json!({"aud": ["x", "board"], "iss": "idp"})).await);
        assert!(!verify(json!({"aud": "x", "iss": "idp"})).await);
        assert!(!verify(json!({"aud": "board", "iss": "x"})).await);
        assert!(!verify(json!({})).await);
    }
}
