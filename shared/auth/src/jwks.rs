use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use jsonwebtoken::{DecodingKey, jwk::JwkSet};
use tokio::sync::Mutex;

use crate::token::TokenError;

/// Keys are fetched again after an hour, and when a token names one that is not there: that is how providers rotate.
const FRESH: Duration = Duration::from_hours(1);
/// Not more often than this, whatever tokens name.
const PAUSE: Duration = Duration::from_secs(10);
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_BYTES: usize = 256 * 1024;

/// A JSON Web Key Set behind a URL, fetched once per environment.
#[derive(Debug)]
pub(crate) struct Jwks {
    url: http::Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    cache: Mutex<Cache>,
}

#[derive(Debug)]
struct Cache {
    keys: JwkSet,
    tried_at: Option<Instant>,
}

impl Jwks {
    pub(crate) fn new(url: &str) -> Result<Self, TokenError> {
        let unusable = |cause: &dyn std::fmt::Display| TokenError::KeysUnavailable(format!("JWKS URL: {cause}"));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| unusable(&error))?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            url: url.parse().map_err(|error: http::uri::InvalidUri| unusable(&error))?,
            client: Client::builder(TokioExecutor::new()).build(https),
            cache: Mutex::new(Cache { keys: JwkSet { keys: Vec::new() }, tried_at: None }),
        })
    }

    /// The key of that id; a set with one key needs none.
    pub(crate) async fn key(&self, kid: Option<&str>) -> Result<DecodingKey, TokenError> {
        let mut cache = self.cache.lock().await;
        let known = find(&cache.keys, kid);
        let age = cache.tried_at.map(|at| at.elapsed());
        let due = age.is_none_or(|age| age > if known.is_some() { FRESH } else { PAUSE });
        if due {
            // the time of the try and not of the success: an outage of the provider is not made worse, nor waited for each time
            cache.tried_at = Some(Instant::now());
            match self.fetch().await {
                Ok(keys) => {
                    cache.keys = keys;
                    return find(&cache.keys, kid).ok_or_else(|| TokenError::Invalid("no such key".to_owned()));
                }
                // it does not lock out those whose key is known
                Err(cause) if known.is_none() => return Err(cause),
                Err(cause) => tracing::warn!(error = %cause, "JWKS not refreshed"),
            }
        }
        // a key that may have come since the last try: the client comes again
        known.ok_or_else(|| TokenError::KeysUnavailable("key not known yet".to_owned()))
    }

    async fn fetch(&self) -> Result<JwkSet, TokenError> {
        let unavailable = |cause: String| TokenError::KeysUnavailable(cause);
        let answer = async {
            let response = self.client.get(self.url.clone()).await.map_err(|error| unavailable(error.to_string()))?;
            if !response.status().is_success() {
                return Err(unavailable(response.status().to_string()));
            }
            let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
            let body = body.map_err(|error| unavailable(error.to_string()))?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| unavailable(error.to_string()))
        };
        tokio::time::timeout(FETCH_TIMEOUT, answer).await.map_err(|_| unavailable("no answer".to_owned()))?
    }
}

fn find(set: &JwkSet, kid: Option<&str>) -> Option<DecodingKey> {
    let key = match kid {
        Some(kid) => set.find(kid)?,
        None => set.keys.first().filter(|_| set.keys.len() == 1)?,
    };
    DecodingKey::from_jwk(key).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use crate::{TokenError, TokenVerifier};

    /// Made for this test alone: `openssl ecparam -name prime256v1 -genkey`, as PKCS 8.
    const KEY: &[u8] = include_bytes!("../fixtures/es256-test-key.der");

    /// An identity provider: answers with a set of that one key, and counts.
    async fn provider(kid: &str, status: u16) -> (String, Arc<AtomicUsize>) {
        let mut key = Jwk::from_encoding_key(&EncodingKey::from_ec_der(KEY), Algorithm::ES256).unwrap();
        key.common.key_id = Some(kid.to_owned());
        let body = json!({ "keys": [key] }).to_string();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        #[expect(clippy::disallowed_methods, reason = "a test process is not frozen")]
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = socket.read(&mut [0; 4096]).await;
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        (url, asked)
    }

    fn token(kid: &str) -> String {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, &json!({ "sub": "anna" }), &EncodingKey::from_ec_der(KEY)).unwrap()
    }

    #[tokio::test]
    async fn a_token_of_the_provider_s_key_is_verified_and_the_keys_are_fetched_once() {
        let (url, asked) = provider("one", 200).await;
        let verifier = TokenVerifier::new(None, Some(&url), None, None).unwrap();
        for _ in 0..3 {
            assert_eq!(verifier.verify_connection(&token("one"), 0).await.unwrap().user, "anna");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // perhaps rotated since: not asked at once again, and not final for the client
        let unknown = verifier.verify_connection(&token("two"), 0).await;
        assert!(matches!(unknown, Err(TokenError::KeysUnavailable(_))), "{unknown:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_provider_that_is_down_is_not_asked_for_each_token() {
        let (url, asked) = provider("one", 500).await;
        let verifier = TokenVerifier::new(None, Some(&url), None, None).unwrap();
        for _ in 0..5 {
            let refused = verifier.verify_connection(&token("one"), 0).await;
            assert!(matches!(refused, Err(TokenError::KeysUnavailable(_))), "{refused:?}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_hmac_token_is_never_tried_with_the_provider_s_public_key() {
        let (url, asked) = provider("one", 200).await;
        let verifier = TokenVerifier::new(None, Some(&url), None, None).unwrap();
        let key = EncodingKey::from_secret(b"public");
        let forged = encode(&Header::default(), &json!({ "sub": "anna" }), &key).unwrap();
        assert!(matches!(verifier.verify_connection(&forged, 0).await, Err(TokenError::Invalid(_))));
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}
