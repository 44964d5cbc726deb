//! Calls to MiniStack: signed HTTP, so that they work with IAM enforced too.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};

/// Region of everything local.
pub(crate) const REGION: &str = "us-east-1";
/// MiniStack takes the key it was started with, and this one, as the account's root.
pub(crate) const ACCESS_KEY: &str = "test";
pub(crate) const SECRET_KEY: &str = "test";

const TIMEOUT: Duration = Duration::from_secs(30);

/// Plain HTTP to this machine.
pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn http_client() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    // MiniStack closes a connection after 1000 requests; a retried request finds a new one.
    Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build(connector)
}

/// Sends a request and reads the whole answer.
pub(crate) async fn send(http: &Http, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)> {
    let answer = async {
        let response = http.request(request).await?;
        let status = response.status();
        Ok::<_, anyhow::Error>((status, response.into_body().collect().await?.to_bytes()))
    };
    tokio::time::timeout(TIMEOUT, answer).await.context("no answer")?
}

/// The local cloud's APIs.
#[derive(Debug, Clone)]
pub(crate) struct Aws {
    http: Http,
    endpoint: String,
}

impl Aws {
    pub(crate) fn new(http: Http, port: u16) -> Self {
        Self { http, endpoint: format!("http://127.0.0.1:{port}") }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Does MiniStack answer?
    pub(crate) async fn is_ready(&self) -> bool {
        let Ok(request) = Request::get(format!("{}/_ministack/ready", self.endpoint)).body(Full::default()) else {
            return false;
        };
        matches!(send(&self.http, request).await, Ok((StatusCode::OK, _)))
    }

    async fn call(&self, service: &str, mut request: Request<Bytes>) -> Result<Bytes> {
        let identity = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "local").into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name(service)
            .time(SystemTime::now())
            .settings(settings)
            .build()?
            .into();
        let uri = request.uri().to_string();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable =
            SignableRequest::new(request.method().as_str(), &uri, headers, SignableBody::Bytes(request.body()))?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        let (status, body) = send(&self.http, request.map(Full::new)).await?;
        if !status.is_success() {
            bail!("{service} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    /// A call of the JSON protocol, such as `DynamoDB_20120810.UpdateTimeToLive`.
    pub(crate) async fn json(&self, service: &str, target: &str, body: Value) -> Result<Value> {
        let version = if service == "dynamodb" { "1.0" } else { "1.1" };
        let request = Request::post(format!("{}/", self.endpoint))
            .header("content-type", format!("application/x-amz-json-{version}"))
            .header("x-amz-target", target)
            .body(body.to_string().into())?;
        let answer = self.call(service, request).await.with_context(|| target.to_owned())?;
        Ok(serde_json::from_slice(&answer).unwrap_or(Value::Null))
    }

    /// A call of the REST protocol.
    pub(crate) async fn rest(&self, service: &str, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.endpoint))
            .header("content-type", "application/json")
            .body(body.into())?;
        let answer = self.call(service, request).await.with_context(|| format!("{method} {path}"))?;
        Ok(serde_json::from_slice(&answer).unwrap_or(Value::Null))
    }

    /// A call of CloudFormation's query protocol; the answer is XML.
    pub(crate) async fn cloudformation(&self, action: &str, stack: &str) -> Result<String> {
        let request = Request::post(format!("{}/", self.endpoint))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("Action={action}&Version=2010-05-15&StackName={stack}").into())?;
        let answer = self.call("cloudformation", request).await.with_context(|| action.to_owned())?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Makes a secret, or gives it this value. Its ARN.
    pub(crate) async fn put_secret(&self, name: &str, value: &str) -> Result<String> {
        let known = self.json("secretsmanager", "secretsmanager.GetSecretValue", json!({ "SecretId": name })).await;
        if let Ok(known) = known {
            if known["SecretString"] != value {
                let put = json!({ "SecretId": name, "SecretString": value });
                self.json("secretsmanager", "secretsmanager.PutSecretValue", put).await?;
            }
            return Ok(known["ARN"].as_str().context("a secret without ARN")?.to_owned());
        }
        let create = json!({ "Name": name, "SecretString": value });
        let created = self.json("secretsmanager", "secretsmanager.CreateSecret", create).await?;
        Ok(created["ARN"].as_str().context("a secret without ARN")?.to_owned())
    }

    pub(crate) async fn secret(&self, id: &str) -> Result<String> {
        let answer = self.json("secretsmanager", "secretsmanager.GetSecretValue", json!({ "SecretId": id })).await?;
        Ok(answer["SecretString"].as_str().context("a secret without value")?.to_owned())
    }

    /// Makes the bucket if it is not there.
    pub(crate) async fn make_bucket(&self, name: &str) -> Result<()> {
        if self.rest("s3", Method::HEAD, &format!("/{name}"), None).await.is_ok() {
            return Ok(());
        }
        let request = Request::put(format!("{}/{name}", self.endpoint)).body(Bytes::new())?;
        self.call("s3", request).await.map(drop)
    }
}

/// The texts of all elements `name` in a small XML document, in order.
pub(crate) fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close)).map(|(text, _)| text).collect()
}

/// The text of an element without XML's escapes.
pub(crate) fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_in_order() {
        let xml = "<a><b>1</b><c>x</c><b>a &amp;lt; b</b></a>";
        assert_eq!(elements(xml, "b"), ["1", "a &amp;lt; b"]);
        assert_eq!(unescaped(elements(xml, "b")[1]), "a &lt; b");
        assert!(elements(xml, "d").is_empty());
    }
}
