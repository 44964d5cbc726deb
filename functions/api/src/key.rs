use lambda_http::Request;
use percent_encoding::percent_decode_str;
use signalbox_auth::SharedKey;

/// The key of the server API.
pub(crate) struct ApiKey(SharedKey);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl ApiKey {
    /// `None` for an empty one: everybody would have it.
    pub(crate) fn new(key: &str) -> Option<Self> {
        SharedKey::new(key).map(Self)
    }

    /// As Centrifugo reads it: `X-API-Key: K`, without that `Authorization: apikey K`; where the header has not got it, `?api_key=K`.
    pub(crate) fn is_given(&self, request: &Request) -> bool {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let in_header = match header("x-api-key") {
            "" => apikey(header("authorization")).is_some_and(|key| self.0.is(key)),
            key => self.0.is(key),
        };
        in_header || api_key(request.uri().query().unwrap_or_default()).is_some_and(|key| self.0.is(&key))
    }
}

/// `apikey K` and nothing behind it.
fn apikey(authorization: &str) -> Option<&str> {
    let mut words = authorization.split_whitespace();
    let (scheme, key, rest) = (words.next()?, words.next()?, words.next());
    (scheme.eq_ignore_ascii_case("apikey") && rest.is_none()).then_some(key)
}

/// The first `api_key` of a query string.
fn api_key(query: &str) -> Option<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.into_iter().find(|(name, _)| *name == "api_key")?;
    let value = value.replace('+', " ");
    percent_decode_str(&value).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use lambda_http::{Body, http};

    use super::*;

    fn given(uri: &str, headers: &[(&str, &str)]) -> bool {
        let request =
            headers.iter().fold(http::Request::post(uri), |request, (name, value)| request.header(*name, *value));
        ApiKey::new("s3cret+").unwrap().is_given(&request.body(Body::Empty).unwrap())
    }

    #[test]
    fn the_key_comes_in_either_header_or_the_query() {
        assert!(given("/api", &[("X-API-Key", "s3cret+")]));
        assert!(given("/api", &[("Authorization", "apikey s3cret+")]));
        assert!(given("/api", &[("Authorization", "  ApiKey \t s3cret+ ")]));
        assert!(given("/api?a=b&api_key=s3cret%2B", &[]));
        assert!(
            given("/api?api_key=s3cret%2B", &[("X-API-Key", "wrong")]),
            "the query counts where the header is wrong"
        );
    }

    #[test]
    fn anything_else_is_no_key() {
        assert!(!given("/api", &[]));
        assert!(!given("/api", &[("X-API-Key", "")]));
        for wrong in ["s3cret", "s3cret+ ", "S3cret+", "s3cret++"] {
            assert!(!given("/api", &[("X-API-Key", wrong)]), "{wrong}");
        }
        assert!(
            !given("/api", &[("X-API-Key", "wrong"), ("Authorization", "apikey s3cret+")]),
            "the first header counts"
        );
        for wrong in ["s3cret+", "apikey", "bearer s3cret+", "apikey s3cret+ s3cret+", "apikeys3cret+"] {
            assert!(!given("/api", &[("Authorization", wrong)]), "{wrong}");
        }
        for wrong in ["api_key=s3cret", "api_key=s3cret+", "API_KEY=s3cret%2B", "x=s3cret%2B", "api_key=%FF", "api_key"]
        {
            assert!(!given(&format!("/api?{wrong}"), &[]), "{wrong}");
        }
    }

    #[test]
    fn an_empty_key_is_none() {
        assert!(ApiKey::new("").is_none());
    }
}
