//! The signature of a post: AWS Signature Version 4, for the one kind of request that a fan-out consists of.
//!
//! `aws-sigv4` can sign anything, and derives the day's key, sorts headers and formats dates anew for each request: more than half
//! of the CPU of a post was its. Here all that is the same for a second is done once a second (docs/adr/0004); that both sign alike is a test.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use aws_credential_types::Credentials;
use aws_smithy_types::date_time::{DateTime, Format};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderName, HeaderValue, Method, Request, Uri, header::AUTHORIZATION, uri::PathAndQuery};
use sha2::{Digest as _, Sha256};

const SERVICE: &str = "execute-api";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Signs requests to `@connections` of one stage.
#[derive(Debug)]
pub(crate) struct Signer {
    /// With scheme and authority.
    endpoint: Uri,
    /// `/stage/@connections/`
    path: String,
    /// The same as it is signed.
    canonical_path: String,
    /// As the client sends it: with the port where that is not the scheme's own.
    host: String,
    region: String,
    credentials: Credentials,
    token: Option<HeaderValue>,
    moment: Mutex<Option<Arc<Moment>>>,
}

/// What is the same for all requests of a second.
struct Moment {
    /// Unix seconds.
    at: u64,
    date: HeaderValue,
    /// Headers, their names, each with the lines' ends around them, as they stand between path and digest.
    canonical_headers: String,
    /// The string to sign up to the digest of the request.
    to_sign: String,
    /// The header up to the signature.
    authorization: String,
    /// The day's key, begun.
    key: Hmac<Sha256>,
}

impl std::fmt::Debug for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Signer {
    /// `endpoint` is the stage's URL, without `/@connections`.
    pub(crate) fn new(endpoint: &str, region: &str, credentials: Credentials) -> anyhow::Result<Self> {
        let endpoint: Uri = endpoint.trim_end_matches('/').parse().context("the endpoint of @connections")?;
        let authority = endpoint.authority().context("an endpoint of @connections without a host")?;
        let own_port = if endpoint.scheme_str() == Some("https") { 443 } else { 80 };
        let host = match authority.port_u16() {
            Some(port) if port != own_port => format!("{}:{port}", authority.host()),
            _ => authority.host().to_owned(),
        };
        let path = format!("{}/@connections/", endpoint.path().trim_end_matches('/'));
        let mut canonical_path = String::new();
        encode(&path, &mut canonical_path);
        let token = credentials.session_token().map(HeaderValue::from_str).transpose().context("session token")?;
        let region = region.to_owned();
        Ok(Self { endpoint, path, canonical_path, host, region, credentials, token, moment: Mutex::default() })
    }

    /// A signed request, `digest` being the hexadecimal SHA-256 of `body`.
    pub(crate) fn request<B>(
        &self,
        method: Method,
        connection_id: &str,
        body: B,
        digest: &str,
        now: SystemTime,
    ) -> anyhow::Result<Request<B>> {
        let moment = self.moment(now.duration_since(UNIX_EPOCH).context("the clock")?.as_secs())?;
        // ids are base64: `=` is the only character of theirs that a path does not carry as it is
        let id = connection_id.replace('=', "%3D");
        // API Gateway wants the path encoded once more where it is signed
        let mut canonical = String::with_capacity(
            self.canonical_path.len() + 2 * id.len() + moment.canonical_headers.len() + digest.len() + 16,
        );
        write!(canonical, "{method}\n{}", self.canonical_path)?;
        encode(&id, &mut canonical);
        canonical.push_str(&moment.canonical_headers);
        canonical.push_str(digest);
        let mut signature = moment.key.clone();
        signature.update(moment.to_sign.as_bytes());
        signature.update(&hexadecimal(&Sha256::digest(canonical)));
        let signature = hexadecimal(&signature.finalize().into_bytes());

        let mut authorization = Vec::with_capacity(moment.authorization.len() + signature.len());
        authorization.extend_from_slice(moment.authorization.as_bytes());
        authorization.extend_from_slice(&signature);
        let mut parts = self.endpoint.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared([&self.path, id.as_str()].concat())?);
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_parts(parts)?;
        let headers = request.headers_mut();
        headers.reserve(4);
        headers.insert(DATE, moment.date.clone());
        if let Some(token) = &self.token {
            headers.insert(TOKEN, token.clone());
        }
        headers.insert(AUTHORIZATION, HeaderValue::from_maybe_shared(bytes::Bytes::from(authorization))?);
        Ok(request)
    }

    fn moment(&self, at: u64) -> anyhow::Result<Arc<Moment>> {
        let mut kept = self.moment.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(moment) = kept.as_ref().filter(|moment| moment.at == at) {
            return Ok(Arc::clone(moment));
        }
        let moment = Arc::new(self.moment_at(at)?);
        *kept = Some(Arc::clone(&moment));
        Ok(moment)
    }

    fn moment_at(&self, at: u64) -> anyhow::Result<Moment> {
        let mut date = DateTime::from_secs(i64::try_from(at)?).fmt(Format::DateTime)?;
        date.retain(|c| !matches!(c, '-' | ':'));
        let day = date.get(..8).context("a date")?;
        let scope = format!("{day}/{}/{SERVICE}/aws4_request", self.region);
        let mut key = format!("AWS4{}", self.credentials.secret_access_key()).into_bytes();
        for part in [day, &self.region, SERVICE, "aws4_request"] {
            key = Hmac::<Sha256>::new_from_slice(&key)?.chain_update(part).finalize().into_bytes().to_vec();
        }
        let (host, mut headers, mut names) = (&self.host, String::new(), "host;x-amz-date".to_owned());
        write!(headers, "\n\nhost:{host}\nx-amz-date:{date}\n")?;
        if let Some(token) = self.credentials.session_token() {
            writeln!(headers, "x-amz-security-token:{}", token.trim())?;
            names.push_str(";x-amz-security-token");
        }
        Ok(Moment {
            at,
            canonical_headers: format!("{headers}\n{names}\n"),
            to_sign: format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n"),
            authorization: format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature=",
                self.credentials.access_key_id()
            ),
            date: HeaderValue::from_str(&date)?,
            key: Hmac::new_from_slice(&key)?,
        })
    }
}

/// As a path is signed: all but unreserved characters, and a percent sign that already encodes one too.
fn encode(path: &str, into: &mut String) {
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            for digit in [byte >> 4, byte & 15] {
                into.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
}

fn hexadecimal(digest: &[u8]) -> [u8; 64] {
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        pair.copy_from_slice(&[byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sigv4::{
        http_request::{SignableBody, SignableRequest, SigningSettings, sign},
        sign::v4,
    };

    use super::*;

    const BODY: &[u8] = br#"{"push":{"channel":"news","pub":{"data":1}}}"#;

    /// The request as AWS's own signer signs it.
    fn by_aws(method: &Method, uri: &str, credentials: Credentials, now: SystemTime) -> Request<()> {
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-central-1")
            .name(SERVICE)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let body = SignableBody::Bytes(BODY);
        let signable = SignableRequest::new(method.as_str(), uri, std::iter::empty(), body).unwrap();
        let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
        let mut request = Request::builder().method(method).uri(uri).body(()).unwrap();
        instructions.apply_to_request_http1x(&mut request);
        request
    }

    #[test]
    fn a_request_is_signed_as_aws_signs_it_at_every_second_and_over_midnight() {
        let endpoints = [
            "https://abc123.execute-api.eu-central-1.amazonaws.com/live",
            "https://abc123.execute-api.eu-central-1.amazonaws.com:443/live",
            "http://localhost:4566/_aws/execute-api/abc123/$default",
            "http://127.0.0.1:80/stage-1_a.b~c",
            "https://ws.example.org",
        ];
        let ids = ["L0SM9cOFvHcCIhw=", "a", "Ab-_9=", "with+plus/and=="];
        let digest = hex::encode(Sha256::digest(BODY));
        for token in [None, Some("IQoJb3JpZ2luX2VjEJr//////////wEaDGV1LWNlbnRyYWwtMSJHMEUCIQ+a/b=")] {
            let credentials = Credentials::new(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCY",
                token.map(str::to_owned),
                None,
                "test",
            );
            for endpoint in endpoints {
                let signer = Signer::new(endpoint, "eu-central-1", credentials.clone()).unwrap();
                for method in [Method::POST, Method::DELETE] {
                    for id in ids {
                        // two of one second, one after midnight, and back
                        for at in [1_795_305_598, 1_795_305_598, 1_795_305_600, 1_795_305_599, 951_782_400] {
                            let now = UNIX_EPOCH + Duration::from_millis(at * 1000 + 250);
                            let uri = format!("{endpoint}/@connections/{}", id.replace('=', "%3D"));
                            let wanted = by_aws(&method, &uri, credentials.clone(), now);
                            let signed = signer.request(method.clone(), id, (), &digest, now).unwrap();
                            assert_eq!(signed.method(), wanted.method());
                            assert_eq!(signed.uri(), wanted.uri());
                            assert_eq!(signed.headers(), wanted.headers(), "{uri}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn no_secret_is_shown_by_debug() {
        let credentials = Credentials::new("AKIDEXAMPLE", "a-secret", None, None, "test");
        let signer = Signer::new("https://example.org/live", "eu-central-1", credentials).unwrap();
        signer.request(Method::POST, "a", (), "", UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        assert!(!format!("{signer:?}").contains("a-secret"));
    }
}
