//! An in-process DynamoDB (dynoxide, which is checked against the real one) with both tables, for tests.

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::{
    Builder,
    tls::{self, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_types::{SdkConfig, region::Region};

use crate::{ConnectionTable, StatusTable};

/// Both tables, empty, in a DynamoDB of their own that lives as long as the test's runtime.
#[derive(Debug, Clone)]
pub struct Tables {
    /// Connections and channels.
    pub connections: ConnectionTable,
    /// Problems and hosts.
    pub status: StatusTable,
}

impl Tables {
    /// Starts it on a free port.
    #[allow(clippy::missing_panics_doc, clippy::expect_used)] // for tests: a failure here is the test's
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let database = dynoxide::Database::memory().expect("an in-memory database");
        #[expect(clippy::disallowed_methods, reason = "a test's server, not a Lambda's leftover work")]
        tokio::spawn(dynoxide::server::serve_on(listener, database));
        let aws = local_config(&format!("http://{address}"));
        let client = Client::new(&aws);
        for table in ["connections", "status"] {
            create(&client, table).await;
        }
        Self { connections: ConnectionTable::new(&aws, "connections"), status: StatusTable::new(&aws, "status") }
    }
}

/// AWS configuration for a local endpoint.
pub fn local_config(endpoint: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .http_client(Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https())
        .sleep_impl(TokioSleep::new())
        .build()
}

#[allow(clippy::expect_used)]
async fn create(client: &Client, table: &str) {
    let mut create = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        let attribute =
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
        let element = KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        create = create
            .attribute_definitions(attribute.expect("a complete attribute"))
            .key_schema(element.expect("a complete key"));
    }
    create.send().await.expect("a table");
}
