use std::{
    net::IpAddr,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use serde::Deserialize;
use serde_json::value::RawValue;
use signalbox_http::HttpsClient;
use tokio::sync::Mutex;

use crate::{
    key::{Algorithm, Key, Parameters},
    token::TokenError,
};

/// Keys are fetched again after an hour, and when a token names one that is not there: that is how providers rotate.
const FRESH: Duration = Duration::from_hours(1);
/// Not more often than this, whatever tokens name.
const PAUSE: Duration = Duration::from_secs(10);
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// A key is 2 KB with its certificates.
const MAX_BYTES: usize = 256 * 1024;

/// A JSON Web Key Set behind a URL (RFC 7517), fetched once per environment.
#[derive(Debug)]
pub(crate) struct Jwks {
    url: http::Uri,
    /// Made at the first fetch: most environments start for other reasons.
    client: OnceLock<Result<HttpsClient<Empty<Bytes>>, String>>,
    cache: RwLock<Cache>,
    /// Held by the one who fetches. Those whose key is known do not wait for it.
    fetching: Mutex<()>,
    fresh: Duration,
    pause: Duration,
}

#[derive(Debug, Clone, Default)]
struct Cache {
    keys: Arc<[PublishedKey]>,
    fetched_at: Option<Instant>,
    /// The end of the last try, successful or not: an outage of the provider is not made worse, nor waited for by each.
    tried_at: Option<Instant>,
}

#[derive(Debug)]
struct PublishedKey {
    kid: Option<String>,
    /// The one algorithm it is for, where the set says so.
    algorithm: Option<Algorithm>,
    key: Key,
}

impl Jwks {
    /// Plain http is for a provider on this machine, in tests and locally: keys that anyone on the way can exchange prove nothing.
    pub(crate) fn new(url: &str) -> Result<Self, String> {
        // Centrifugo fills such a template from the token
        if url.contains("{{") {
            return Err("templates are not supported".to_owned());
        }
        let url: http::Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let host = url.host().ok_or("a URL with a host is expected")?;
        match url.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback(host) => {}
            Some("http") => return Err("http is for a host on this machine, https for others".to_owned()),
            _ => return Err("an https URL is expected".to_owned()),
        }
        Ok(Self {
            url,
            client: OnceLock::new(),
            cache: RwLock::default(),
            fetching: Mutex::new(()),
            fresh: FRESH,
            pause: PAUSE,
        })
    }

    /// The key of that id for that algorithm; a set with one such key needs no id.
    pub(crate) async fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Key, TokenError> {
        let cache = self.cache();
        let known = cache.find(kid, algorithm);
        let _fetching = match &known {
            Some(found) if !self.is_due(&cache, true) => return found.clone(),
            // whoever fetches brings the new keys to the others
            Some(found) => match self.fetching.try_lock() {
                Ok(fetching) => fetching,
                Err(_) => return found.clone(),
            },
            None => self.fetching.lock().await,
        };
        // somebody may have fetched them in the meantime
        let cache = self.cache();
        let known = cache.find(kid, algorithm);
        if !self.is_due(&cache, known.is_some()) {
            // a key that may have come since the last try: the client comes again
            return known.unwrap_or_else(|| Err(TokenError::KeysUnavailable("key not known yet".to_owned())));
        }
        let fetched = self.fetch().await;
        let now = Instant::now();
        match fetched {
            Ok(keys) => {
                let cache = Cache { keys: keys.into(), fetched_at: Some(now), tried_at: Some(now) };
                let found = cache.find(kid, algorithm);
                self.replace(cache);
                found.unwrap_or_else(|| Err(TokenError::Invalid("no such key".to_owned())))
            }
            Err(cause) => {
                self.replace(Cache { tried_at: Some(now), ..cache });
                // an outage does not lock out those whose key is known
                let known = known.ok_or_else(|| TokenError::KeysUnavailable(cause.clone()))?;
                tracing::warn!(error = cause, "JWKS not refreshed");
                known
            }
        }
    }

    fn cache(&self) -> Cache {
        self.cache.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, cache: Cache) {
        *self.cache.write().unwrap_or_else(PoisonError::into_inner) = cache;
    }

    fn is_due(&self, cache: &Cache, known: bool) -> bool {
        let is_past = |at: Option<Instant>, duration| at.is_none_or(|at| at.elapsed() >= duration);
        is_past(cache.tried_at, self.pause) && (!known || is_past(cache.fetched_at, self.fresh))
    }

    async fn fetch(&self) -> Result<Vec<PublishedKey>, String> {
        let client = self.client.get_or_init(|| signalbox_http::client().map_err(|error| format!("{error:#}")));
        let client = client.as_ref().map_err(Clone::clone)?;
        let answer = async {
            let response = client.get(self.url.clone()).await.map_err(|error| error.to_string())?;
            if !response.status().is_success() {
                return Err(response.status().to_string());
            }
            let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
            keys(&body.map_err(|error| error.to_string())?.to_bytes())
        };
        tokio::time::timeout(FETCH_TIMEOUT, answer).await.map_err(|_| "no answer".to_owned())?
    }
}

impl Cache {
    /// `None` for what a later set may bring. A key that is there and is not for the algorithm never becomes one that is.
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Result<Key, TokenError>> {
        if let Some(key) = self.key(kid, algorithm) {
            return Some(Ok(key));
        }
        let named = self.keys.iter().any(|published| published.kid.is_some() && published.kid.as_deref() == kid);
        named.then(|| Err(TokenError::Invalid("the key is of another kind".to_owned())))
    }

    fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Key> {
        let mut suitable = self.keys.iter().filter(|published| {
            published.key.suits(algorithm)
                && published.algorithm.is_none_or(|only| only == algorithm)
                && kid.is_none_or(|kid| published.kid.as_deref() == Some(kid))
        });
        let key = suitable.next()?.key.clone();
        (kid.is_some() || suitable.next().is_none()).then_some(key)
    }
}

/// What of a set can be used: one key that we do not know must not make the others useless.
fn keys(body: &[u8]) -> Result<Vec<PublishedKey>, String> {
    #[derive(Deserialize)]
    struct Set<'a> {
        #[serde(borrow)]
        keys: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Common {
        kid: Option<String>,
        r#use: Option<String>,
        alg: Option<String>,
    }
    let set: Set = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let usable = |key: &RawValue| -> Result<PublishedKey, String> {
        let common: Common = serde_json::from_str(key.get()).map_err(|error| error.to_string())?;
        if common.r#use.is_some_and(|purpose| purpose != "sig") {
            return Err("not for signatures".to_owned());
        }
        let algorithm = match common.alg {
            None => None,
            Some(name) => Some(Algorithm::parse(&name).ok_or_else(|| format!("unknown algorithm {name}"))?),
        };
        let parameters: Parameters = serde_json::from_str(key.get()).map_err(|error| error.to_string())?;
        Ok(PublishedKey { kid: common.kid, algorithm, key: Key::from_parameters(&parameters)? })
    };
    let usable = set.keys.iter().filter_map(|key| match usable(key) {
        Ok(key) => Some(key),
        Err(cause) => {
            tracing::debug!(cause, "a key of the JWKS is left out");
            None
        }
    });
    Ok(usable.collect())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
