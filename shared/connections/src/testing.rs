//! An in-process DynamoDB (dynoxide, which is checked against the real one) with both tables, for tests.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_dynamodb::{
    Client,
    config::retry::RetryConfig,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
        ScalarAttributeType,
    },
};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::{
    client::{
        behavior_version::BehaviorVersion,
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector, http_client_fn,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use aws_types::{SdkConfig, region::Region};

use crate::{ConnectionTable, StatusTable};

/// Both tables, empty, in a DynamoDB of their own that lives as long as the test's runtime.
#[derive(Debug, Clone)]
pub struct Tables {
    /// Connections and channels.
    pub table: ConnectionTable,
    /// Problems and hosts.
    pub status: StatusTable,
    endpoint: String,
    http: SharedHttpClient,
    slot: HookSlot,
}

/// A request that is about to be sent to DynamoDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `UpdateItem`, `TransactWriteItems` …
    pub operation: String,
    /// JSON, as on the wire.
    pub body: String,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// It is not sent, and fails; the SDK tries again, three times in all, and asks again each time.
    Fail,
    /// It is done, and its answer lost; the SDK sends it again.
    LoseAnswer,
    /// It is not done, and answered with this error (`ThrottlingException`, `TransactionInProgressException` …).
    Refuse(&'static str),
    /// It is done, and answered with this error.
    DoneBut(&'static str),
}

/// Asked before every request and awaited: one that takes its time delays the request, one that never completes is what a killed
/// invocation does.
pub type Hook = Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Verdict> + Send>> + Send + Sync>;

#[derive(Clone, Default)]
struct HookSlot(Arc<Mutex<Option<Hook>>>);

impl HookSlot {
    fn get(&self) -> Option<Hook> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for HookSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookSlot").field("set", &self.get().is_some()).finish()
    }
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
        Self::open(format!("http://{address}"), http_client()).await
    }

    /// The same without a server and a socket: requests are answered in process, so that a test may pause tokio's clock. Everybody
    /// else has a turn before a request and after it.
    #[allow(clippy::missing_panics_doc, clippy::expect_used)] // as above
    pub async fn in_process() -> Self {
        let database = dynoxide::Database::memory().expect("an in-memory database");
        let connector = SharedHttpConnector::new(InProcess(database));
        Self::served_by(http_client_fn(move |_, _| connector.clone())).await
    }

    /// The same without a server: `http` answers the requests.
    pub async fn served_by(http: SharedHttpClient) -> Self {
        Self::open("http://dynamodb.invalid".to_owned(), http).await
    }

    async fn open(endpoint: String, http: SharedHttpClient) -> Self {
        let tables = Self::at(endpoint, http);
        let client = &tables.table.client;
        create(client, "connections", true).await;
        create(client, "status", false).await;
        tables
    }

    fn at(endpoint: String, http: SharedHttpClient) -> Self {
        let slot = HookSlot::default();
        let hooked = SharedHttpClient::new(HookedClient { inner: http.clone(), slot: slot.clone() });
        let aws = local_config(&endpoint).into_builder().http_client(hooked);
        // the SDK's own second between tries would be the longest thing in a test
        let retries = RetryConfig::standard().with_initial_backoff(std::time::Duration::from_millis(1));
        let aws = aws.retry_config(retries).build();
        Self {
            table: ConnectionTable::new(&aws, "connections"),
            status: StatusTable::new(&aws, "status"),
            endpoint,
            http,
            slot,
        }
    }

    /// The same tables for one simulated invocation: its requests, and no others, ask `hook`.
    #[must_use]
    pub fn hooked(&self, hook: Hook) -> Self {
        let tables = Self::at(self.endpoint.clone(), self.http.clone());
        tables.hook(Some(hook));
        tables
    }

    /// Deletes an item of the connection table, as TTL does.
    #[allow(clippy::missing_panics_doc, clippy::expect_used)]
    pub async fn delete(&self, pk: &str, sk: &str) {
        let delete = self.table.client.delete_item().table_name(&self.table.table);
        delete.set_key(Some(crate::table::key(pk, sk))).send().await.expect("a deleted item");
    }

    /// Sets the hook of these tables and their clones; `None` takes it away.
    pub fn hook(&self, hook: Option<Hook>) {
        *self.slot.0.lock().unwrap_or_else(PoisonError::into_inner) = hook;
    }
}

struct InProcess(dynoxide::Database);

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let database = self.0.clone();
        HttpConnectorFuture::new(async move {
            tokio::task::yield_now().await;
            let (status, body) = answer(&database, &request)?;
            tokio::task::yield_now().await;
            let status = StatusCode::try_from(status).map_err(|error| ConnectorError::other(error.into(), None))?;
            let mut response = HttpResponse::new(status, SdkBody::from(body));
            response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
            Ok(response)
        })
    }
}

/// Status and body.
fn answer(database: &dynoxide::Database, request: &HttpRequest) -> Result<(u16, String), ConnectorError> {
    fn run<Q: serde::de::DeserializeOwned, A: serde::Serialize>(
        body: &[u8],
        call: impl FnOnce(Q) -> dynoxide::Result<A>,
    ) -> Result<(u16, String), ConnectorError> {
        let wrong = |error: serde_json::Error| ConnectorError::other(error.into(), None);
        match call(serde_json::from_slice(body).map_err(wrong)?) {
            Ok(answer) => Ok((200, serde_json::to_string(&answer).map_err(wrong)?)),
            Err(error) => Ok((error.status_code(), error.to_json())),
        }
    }
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    let body = request.body().bytes().unwrap_or_default();
    match target.rsplit('.').next().unwrap_or_default() {
        "CreateTable" => run(body, |query| database.create_table(query)),
        "PutItem" => run(body, |query| database.put_item(query)),
        "GetItem" => run(body, |query| database.get_item(query)),
        "DeleteItem" => run(body, |query| database.delete_item(query)),
        "UpdateItem" => run(body, |query| database.update_item(query)),
        "Query" => run(body, |query| database.query(query)),
        "BatchGetItem" => run(body, |query| database.batch_get_item(query)),
        "BatchWriteItem" => run(body, |query| database.batch_write_item(query)),
        "TransactWriteItems" => run(body, |query| database.transact_write_items(query)),
        other => Err(ConnectorError::other(format!("{other} is on no path of ours").into(), None)),
    }
}

#[derive(Debug)]
struct HookedClient {
    inner: SharedHttpClient,
    slot: HookSlot,
}

#[derive(Debug)]
struct HookedConnector {
    inner: SharedHttpConnector,
    slot: HookSlot,
}

impl HttpClient for HookedClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(HookedConnector { inner, slot: self.slot.clone() })
    }
}

impl HttpConnector for HookedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some(hook) = self.slot.get() else { return self.inner.call(request) };
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move {
            match hook(Request { operation, body }).await {
                Verdict::Send => inner.call(request).await,
                Verdict::Fail => Err(ConnectorError::io("the hook failed it".into())),
                Verdict::LoseAnswer => {
                    inner.call(request).await?;
                    Err(ConnectorError::io("the hook lost its answer".into()))
                }
                Verdict::Refuse(code) => refusal(code),
                Verdict::DoneBut(code) => {
                    inner.call(request).await?;
                    refusal(code)
                }
            }
        })
    }
}

fn refusal(code: &str) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(400).map_err(|error| ConnectorError::other(error.into(), None))?;
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"the hook refused it"}}"#);
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    Ok(response)
}

#[allow(clippy::expect_used)]
fn http_client() -> SharedHttpClient {
    signalbox_http::sdk_client().expect("the authorities of SSL_CERT_FILE")
}

/// AWS configuration for a local endpoint.
pub fn local_config(endpoint: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .http_client(http_client())
        .sleep_impl(TokioSleep::new())
        .build()
}

/// As in template.yaml.
#[allow(clippy::expect_used)]
async fn create(client: &Client, table: &str, with_index: bool) {
    let attribute = |name: &str, kind| {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build();
        attribute.expect("a complete attribute")
    };
    let element = |name: &str, kind| {
        KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("a complete key")
    };
    let mut create = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk", ScalarAttributeType::S))
        .attribute_definitions(attribute("sk", ScalarAttributeType::S))
        .key_schema(element("pk", KeyType::Hash))
        .key_schema(element("sk", KeyType::Range));
    if with_index {
        let projection = Projection::builder().projection_type(ProjectionType::Include);
        let index = GlobalSecondaryIndex::builder()
            .index_name("due")
            .key_schema(element("due_shard", KeyType::Hash))
            .key_schema(element("due_at", KeyType::Range))
            .projection(projection.non_key_attributes("user").non_key_attributes("client").build());
        create = create
            .attribute_definitions(attribute("due_shard", ScalarAttributeType::S))
            .attribute_definitions(attribute("due_at", ScalarAttributeType::N))
            .global_secondary_indexes(index.build().expect("a complete index"));
    }
    create.send().await.expect("a table");
}
