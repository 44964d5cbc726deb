//! DynamoDB in process, without a socket: the SDK's requests are taken as they come and given to dynoxide.
//!
//! A socket would keep tokio's clock from being paused. What may go wrong with a request is drawn from the seed: it is lost,
//! its answer is, or a transaction holds the item.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use dynoxide::{Database, storage_backend::Clock};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use signalbox_connections::{ConnectionTable, StatusTable};

use super::schedule::Schedule;

/// What goes wrong with DynamoDB, as probabilities of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DynamoWeather {
    /// It never arrives; the SDK sends it again.
    pub(crate) lost: f64,
    /// It is done and its answer is lost; the SDK sends it again.
    pub(crate) answer_lost: f64,
    /// A write meets a transaction of somebody else.
    pub(crate) conflict: f64,
    /// Its answer takes up to three seconds.
    pub(crate) slow: f64,
}

/// Changes a request before it is done: how a test breaks a rule on purpose, to see that a property notices.
pub(crate) type Mutation = Arc<dyn Fn(&str, &mut Value) + Send + Sync>;

/// Changes the answer to a request, for the same.
pub(crate) type Lie = Arc<dyn Fn(&str, &Value, &mut Value) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Dynamo {
    database: Database,
    schedule: Schedule,
    settings: Arc<Mutex<Settings>>,
}

#[derive(Default)]
struct Settings {
    weather: DynamoWeather,
    mutation: Option<Mutation>,
    lie: Option<Lie>,
}

impl std::fmt::Debug for Dynamo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dynamo")
    }
}

/// TTL goes by the same clock as everything else.
struct TestClock;

impl Clock for TestClock {
    fn now_unix_secs(&self) -> u64 {
        u64::try_from(signalbox_lambda::now_ms() / 1000).unwrap()
    }

    #[allow(clippy::cast_precision_loss, reason = "seconds")]
    fn now_unix_secs_f64(&self) -> f64 {
        signalbox_lambda::now_ms() as f64 / 1000.0
    }
}

impl Dynamo {
    pub(crate) fn new(schedule: &Schedule) -> Self {
        let database = Database::memory_with_clock(Arc::new(TestClock)).unwrap();
        let this = Self { database, schedule: schedule.clone(), settings: Arc::default() };
        for (table, index) in [("connections", true), ("status", false)] {
            this.create(table, index);
        }
        this
    }

    fn create(&self, table: &str, index: bool) {
        let attribute = |name, kind| json!({"AttributeName": name, "AttributeType": kind});
        let element = |name, kind| json!({"AttributeName": name, "KeyType": kind});
        let mut create = json!({
            "TableName": table,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [attribute("pk", "S"), attribute("sk", "S")],
            "KeySchema": [element("pk", "HASH"), element("sk", "RANGE")],
        });
        if index {
            create["AttributeDefinitions"]
                .as_array_mut()
                .unwrap()
                .extend([attribute("due_shard", "S"), attribute("due_at", "N")]);
            create["GlobalSecondaryIndexes"] = json!([{
                "IndexName": "due",
                "KeySchema": [element("due_shard", "HASH"), element("due_at", "RANGE")],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["user", "client"]},
            }]);
        }
        self.answer("CreateTable", create).unwrap();
        let ttl = json!({"TableName": table, "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": true}});
        self.answer("UpdateTimeToLive", ttl).unwrap();
    }

    fn config(&self) -> aws_types::SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        signalbox_connections::testing::local_config("http://dynamodb.invalid")
            .into_builder()
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build()
    }

    pub(crate) fn connections(&self) -> ConnectionTable {
        ConnectionTable::new(&self.config(), "connections")
    }

    pub(crate) fn status(&self) -> StatusTable {
        StatusTable::new(&self.config(), "status")
    }

    pub(crate) fn set_weather(&self, weather: DynamoWeather) {
        self.settings.lock().unwrap().weather = weather;
    }

    pub(crate) fn set_mutation(&self, mutation: Option<Mutation>) {
        self.settings.lock().unwrap().mutation = mutation;
    }

    pub(crate) fn set_lie(&self, lie: Lie) {
        self.settings.lock().unwrap().lie = Some(lie);
    }

    /// Removes what is over its TTL, which DynamoDB does late.
    pub(crate) fn sweep(&self) -> usize {
        self.database.sweep_ttl().unwrap()
    }

    /// Everything in the connection table, for a look from outside.
    pub(crate) fn items(&self) -> Vec<Value> {
        let mut items = Vec::new();
        let mut start = Value::Null;
        loop {
            let mut scan = json!({"TableName": "connections"});
            if !start.is_null() {
                scan["ExclusiveStartKey"] = start;
            }
            let mut page: Value = serde_json::from_str(&self.answer("Scan", scan).unwrap()).unwrap();
            items.append(page["Items"].as_array_mut().unwrap());
            start = page["LastEvaluatedKey"].take();
            if start.is_null() {
                return items;
            }
        }
    }

    /// Writes an item of the connection table, past everybody.
    pub(crate) fn put(&self, item: &Value) {
        self.answer("PutItem", json!({"TableName": "connections", "Item": item})).unwrap();
    }

    fn answer(&self, operation: &str, body: Value) -> dynoxide::Result<String> {
        fn run<Q: DeserializeOwned, A: Serialize>(
            body: Value,
            call: impl FnOnce(Q) -> dynoxide::Result<A>,
        ) -> dynoxide::Result<String> {
            let request = serde_json::from_value(body).expect("a request that the SDK wrote");
            Ok(serde_json::to_string(&call(request)?).expect("an answer is JSON"))
        }
        let db = &self.database;
        match operation {
            "CreateTable" => run(body, |q| db.create_table(q)),
            "UpdateTimeToLive" => run(body, |q| db.update_time_to_live(q)),
            "PutItem" => run(body, |q| db.put_item(q)),
            "GetItem" => run(body, |q| db.get_item(q)),
            "DeleteItem" => run(body, |q| db.delete_item(q)),
            "UpdateItem" => run(body, |q| db.update_item(q)),
            "Query" => run(body, |q| db.query(q)),
            "Scan" => run(body, |q| db.scan(q)),
            "BatchGetItem" => run(body, |q| db.batch_get_item(q)),
            "BatchWriteItem" => run(body, |q| db.batch_write_item(q)),
            "TransactWriteItems" => run(body, |q| db.transact_write_items(q)),
            "TransactGetItems" => run(body, |q| db.transact_get_items(q)),
            operation => panic!("{operation} is on no path of ours"),
        }
    }

    async fn serve(self, operation: String, body: Value) -> Result<(u16, String), ConnectorError> {
        let weather = {
            let settings = self.settings.lock().unwrap();
            settings.weather
        };
        let after = self.schedule.gate(|| describe(&operation, &body)).await;
        let writes = !matches!(operation.as_str(), "GetItem" | "Query" | "BatchGetItem" | "TransactGetItems");
        if self.schedule.chance(weather.lost) {
            return Err(ConnectorError::io("the request was lost".into()));
        }
        if writes && operation != "BatchWriteItem" && self.schedule.chance(weather.conflict) {
            return Ok((400, conflict(&operation, &body)));
        }
        let mut body = body;
        let (mutation, lie) = {
            let settings = self.settings.lock().unwrap();
            (settings.mutation.clone(), settings.lie.clone())
        };
        if let Some(mutation) = mutation {
            mutation(&operation, &mut body);
        }
        let asked = lie.is_some().then(|| body.clone());
        let answer = match self.answer(&operation, body) {
            Ok(mut text) => {
                if let Some((lie, asked)) = lie.zip(asked) {
                    let mut answer = serde_json::from_str(&text).expect("an answer is JSON");
                    lie(&operation, &asked, &mut answer);
                    text = answer.to_string();
                }
                (200, text)
            }
            Err(error) => {
                self.schedule.note(|| format!("  … {error}"));
                (error.status_code(), error.to_json())
            }
        };
        after.come().await;
        if self.schedule.chance(weather.slow) {
            let ms = self.schedule.draw(|rng| rng.u64(10..3_000));
            tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
        }
        if self.schedule.chance(weather.answer_lost) {
            return Err(ConnectorError::io("the answer was lost".into()));
        }
        Ok(answer)
    }
}

impl HttpConnector for Dynamo {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = serde_json::from_slice(request.body().bytes().expect("a body in memory")).expect("JSON");
        let served = self.clone().serve(operation, body);
        HttpConnectorFuture::new(async move {
            let (status, text) = served.await?;
            let mut response = HttpResponse::new(StatusCode::try_from(status).expect("a status"), text.into());
            response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
            Ok(response)
        })
    }
}

/// What DynamoDB answers while a transaction holds one of the items.
fn conflict(operation: &str, body: &Value) -> String {
    let exception = |name| format!("com.amazonaws.dynamodb.v20120810#{name}");
    if operation == "TransactWriteItems" {
        let items = body["TransactItems"].as_array().map_or(0, Vec::len);
        let mut reasons = vec![json!({"Code": "None"}); items];
        reasons[items - 1] = json!({"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"});
        let message = "Transaction cancelled, please refer cancellation reasons for specific reasons";
        json!({"__type": exception("TransactionCanceledException"), "Message": message, "CancellationReasons": reasons})
            .to_string()
    } else {
        let message = "Transaction is ongoing for the item";
        json!({"__type": exception("TransactionConflictException"), "message": message}).to_string()
    }
}

/// A line of the trace.
fn describe(operation: &str, body: &Value) -> String {
    let text = |value: &Value| value["S"].as_str().unwrap_or("?").to_owned();
    let keys = |item: &Value| format!("{} {}", text(&item["pk"]), text(&item["sk"]));
    let what = match operation {
        "TransactWriteItems" => {
            let items = body["TransactItems"].as_array().map(Vec::as_slice).unwrap_or_default();
            let of = |item: &Value| {
                item.as_object().and_then(|item| item.iter().next()).map_or_else(String::new, |(name, item)| {
                    format!("{name} {}", keys(if item["Item"].is_null() { &item["Key"] } else { &item["Item"] }))
                })
            };
            items.iter().map(of).collect::<Vec<_>>().join(", ")
        }
        "PutItem" => keys(&body["Item"]),
        "Query" => body["ExpressionAttributeValues"].to_string(),
        "BatchWriteItem" => body["RequestItems"].to_string(),
        _ => keys(&body["Key"]),
    };
    let update = body["UpdateExpression"].as_str().unwrap_or_default();
    let condition = body["ConditionExpression"].as_str().map(|text| format!(" IF {text}")).unwrap_or_default();
    format!("{operation} {what} {update}{condition}")
}
