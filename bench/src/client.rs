//! Plain HTTP requests to the servers of a bench.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

#[derive(Debug, Clone)]
pub(crate) struct Http(Client<HttpConnector, Full<Bytes>>);

impl Http {
    pub(crate) fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).build(tcp))
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)> {
        let mut request = Request::builder().method(method).uri(url).body(Full::new(body))?;
        request.headers_mut().clone_from(headers);
        let response = self.0.request(request).await.with_context(|| url.to_owned())?;
        let (parts, body) = response.into_parts();
        Ok((parts.status, parts.headers, body.collect().await?.to_bytes()))
    }

    /// Asks a role's control path.
    pub(crate) async fn ask(&self, url: &str) -> anyhow::Result<Value> {
        let (status, _, body) = self.send(Method::GET, url, &HeaderMap::new(), Bytes::new()).await?;
        ensure!(status.is_success(), "{url}: {status}");
        Ok(serde_json::from_slice(&body)?)
    }
}
