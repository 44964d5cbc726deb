//! What ours is measured against, as somebody would write it who does not know ours.

use aws_sdk_apigatewaymanagement::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_types::SdkConfig;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full};
use signalbox_http::HttpsClient;

/// The pool of `signalbox_publishing::ApiGateway` without its signature.
#[derive(Debug, Clone)]
pub(crate) struct UnsignedPool {
    endpoint: String,
    client: HttpsClient<Full<Bytes>>,
}

impl UnsignedPool {
    pub(crate) fn new(endpoint: &str) -> anyhow::Result<Self> {
        let client = signalbox_http::client()?;
        Ok(Self { endpoint: endpoint.to_owned(), client })
    }

    pub(crate) async fn post(&self, connection_id: &str, frame: Bytes) -> anyhow::Result<()> {
        let uri = format!("{}/@connections/{}", self.endpoint, connection_id.replace('=', "%3D"));
        let request = Request::post(uri.parse::<Uri>()?).body(Full::new(frame))?;
        let response = self.client.request(request).await?;
        anyhow::ensure!(response.status().is_success(), "{}", response.status());
        response.into_body().collect().await?;
        Ok(())
    }
}

/// The SDK's client for `@connections`.
#[derive(Debug, Clone)]
pub(crate) struct SdkGateway(aws_sdk_apigatewaymanagement::Client);

impl SdkGateway {
    pub(crate) fn new(aws: &SdkConfig, endpoint: &str) -> Self {
        let config = aws_sdk_apigatewaymanagement::config::Builder::from(aws).endpoint_url(endpoint).build();
        Self(aws_sdk_apigatewaymanagement::Client::from_conf(config))
    }

    pub(crate) async fn post(&self, connection_id: &str, frame: Bytes) -> anyhow::Result<()> {
        self.0.post_to_connection().connection_id(connection_id).data(Blob::new(frame)).send().await?;
        Ok(())
    }
}

/// A log that promises nothing: one unconditional put for each publication, no offset, no order.
#[derive(Debug, Clone)]
pub(crate) struct UnorderedLog {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

impl UnorderedLog {
    pub(crate) fn new(aws: &SdkConfig, table: String) -> Self {
        Self { client: aws_sdk_dynamodb::Client::new(aws), table }
    }

    pub(crate) async fn put(&self, channel: &str, n: u64, data: &str) -> anyhow::Result<()> {
        self.client
            .put_item()
            .table_name(&self.table)
            .item("pk", AttributeValue::S(format!("plain#{channel}")))
            .item("sk", AttributeValue::S(format!("{n:020}")))
            .item("data", AttributeValue::S(data.to_owned()))
            .item("ttl", AttributeValue::N((crate::meter::now_us() / 1_000_000 + 600).to_string()))
            .send()
            .await?;
        Ok(())
    }

    /// Connection ids of a channel's rows.
    pub(crate) async fn rows(&self, channel: &str) -> anyhow::Result<Vec<String>> {
        let query = self.client.query().table_name(&self.table).key_condition_expression("pk = :pk");
        let query = query.expression_attribute_values(":pk", AttributeValue::S(format!("ch#{channel}#0")));
        let page = query.send().await?;
        let ids = page.items().iter().filter_map(|item| item.get("sk")?.as_s().ok().cloned());
        Ok(ids.collect())
    }
}
