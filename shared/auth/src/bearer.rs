use thiserror::Error;

use crate::SharedKey;

/// Why a request is not from who has the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BearerError {
    /// No `Authorization: Bearer …`.
    #[error("the header authorization is missing or is no Bearer")]
    Missing,
    /// Another token.
    #[error("the token is wrong")]
    Wrong,
}

/// A token that both sides know, as `Authorization: Bearer <token>` (RFC 6750): what a Zabbix connector sends.
#[derive(Clone)]
pub struct BearerToken(SharedKey);

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

impl BearerToken {
    /// None for an empty one: everybody would have it.
    pub fn new(token: &str) -> Option<Self> {
        SharedKey::new(token).map(Self)
    }

    /// Checks the value of the header `Authorization`.
    ///
    /// # Errors
    /// See [`BearerError`].
    pub fn verify(&self, authorization: Option<&str>) -> Result<(), BearerError> {
        let (scheme, token) =
            authorization.and_then(|value| value.trim().split_once(' ')).ok_or(BearerError::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(BearerError::Missing);
        }
        match token.trim() {
            "" => Err(BearerError::Missing),
            given if self.0.is(given) => Ok(()),
            _ => Err(BearerError::Wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_and_no_other_is_believed() {
        let token = BearerToken::new("example-connector-token").unwrap();
        for right in ["Bearer example-connector-token", "bearer  example-connector-token "] {
            assert_eq!(token.verify(Some(right)), Ok(()), "{right}");
        }
        for none in ["", "Bearer", "Bearer ", "example-connector-token", "Basic example-connector-token"] {
            assert_eq!(token.verify(Some(none)), Err(BearerError::Missing), "{none}");
        }
        assert_eq!(token.verify(None), Err(BearerError::Missing));
        for wrong in
            ["Bearer example-connector-toke", "Bearer example-connector-token2", "Bearer Example-connector-token"]
        {
            assert_eq!(token.verify(Some(wrong)), Err(BearerError::Wrong), "{wrong}");
        }
        assert!(BearerToken::new("").is_none());
        assert_eq!(format!("{token:?}"), "BearerToken(…)");
    }

    /// HMAC pads a short key with NULs and hashes a long one, so two keys can be one; no header has a NUL in it.
    #[test]
    fn a_long_token_is_another_than_its_digest() {
        let long = "x".repeat(100);
        let token = BearerToken::new(&long).unwrap();
        assert_eq!(token.verify(Some(&format!("Bearer {long}"))), Ok(()));
        assert_eq!(token.verify(Some(&format!("Bearer {}", &long[1..]))), Err(BearerError::Wrong));
    }
}
