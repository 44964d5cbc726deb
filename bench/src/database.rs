//! DynamoDB in a process of its own (dynoxide, which is checked against the real one), with a proxy before it that can delay
//! each request, and writes down what it was and what it cost.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use dynoxide::Database as Dynoxide;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    child::{Child, answer},
    client::Http,
    meter::now_us,
    serve::{self, Answer},
};

/// One request as the proxy saw it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Journaled {
    /// `UpdateItem` …
    pub(crate) operation: String,
    /// Partition keys it names, as the table's documentation calls them: `head`, `log`, `ch`, `conn` …
    pub(crate) items: Vec<String>,
    /// Unix microseconds.
    pub(crate) begun_us: u64,
    pub(crate) ended_us: u64,
    /// Whether a condition did not hold.
    pub(crate) refused: bool,
    /// Write units of the table, its index among them.
    pub(crate) write_units: f64,
    /// Of these, the index'.
    pub(crate) index_units: f64,
    pub(crate) read_units: f64,
}

const TABLES: [&str; 2] = ["connections", "status"];

/// The role: prints where the database and the proxy listen, and serves until the bench is gone.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let inner = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = inner.local_addr()?;
    answer(&json!({ "database": address.to_string(), "proxy": proxy.local_addr()?.to_string() }));
    let database = Dynoxide::memory().context("an in-memory database")?;
    for table in TABLES {
        database.create_table(serde_json::from_value(definition(table))?).context("create table")?;
    }
    let upstream = Rc::new(Proxy {
        url: format!("http://{address}/"),
        http: Http::new(),
        database: database.clone(),
        journal: RefCell::default(),
        delay: Cell::new(Duration::ZERO),
    });
    tokio::try_join!(
        async {
            dynoxide::server::serve_on(inner, database).await;
            Ok(())
        },
        serve::plain(proxy, move |request| handle(upstream.clone(), request)),
    )?;
    Ok(())
}

/// As in template.yaml.
fn definition(table: &str) -> Value {
    let mut definition = json!({
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [
            { "AttributeName": "pk", "KeyType": "HASH" },
            { "AttributeName": "sk", "KeyType": "RANGE" },
        ],
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" },
            { "AttributeName": "sk", "AttributeType": "S" },
        ],
    });
    if table == "connections" {
        definition["GlobalSecondaryIndexes"] = json!([{
            "IndexName": "due",
            "KeySchema": [
                { "AttributeName": "due_shard", "KeyType": "HASH" },
                { "AttributeName": "due_at", "KeyType": "RANGE" },
            ],
            "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": ["user", "client"] },
        }]);
        if let Some(attributes) = definition["AttributeDefinitions"].as_array_mut() {
            attributes.push(json!({ "AttributeName": "due_shard", "AttributeType": "S" }));
            attributes.push(json!({ "AttributeName": "due_at", "AttributeType": "N" }));
        }
    }
    definition
}

struct Proxy {
    url: String,
    http: Http,
    database: Dynoxide,
    journal: RefCell<Vec<Journaled>>,
    delay: Cell<Duration>,
}

async fn handle(proxy: Rc<Proxy>, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return serve::answer(400, "") };
    let body = body.to_bytes();
    match parts.uri.path() {
        "/journal" => {
            let journal = proxy.journal.take();
            serve::answer(200, serde_json::to_vec(&journal).unwrap_or_default())
        }
        "/multiply" => match multiply(&proxy.database, &body) {
            Ok(()) => serve::answer(200, "null"),
            Err(cause) => serve::answer(500, format!("{cause:#}")),
        },
        path => {
            if let Some(milliseconds) = path.strip_prefix("/delay/").and_then(|number| number.parse().ok()) {
                proxy.delay.set(Duration::from_millis(milliseconds));
                return serve::answer(200, "null");
            }
            match forward(&proxy, &parts.headers, &body).await {
                Ok(answer) => answer,
                Err(cause) => serve::answer(502, format!("{cause:#}")),
            }
        }
    }
}

async fn forward(proxy: &Proxy, headers: &http::HeaderMap, body: &[u8]) -> anyhow::Result<Answer> {
    let begun_us = now_us();
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or("");
    let operation = target.rsplit('.').next().unwrap_or("").to_owned();
    let mut request: Value = serde_json::from_slice(body)?;
    request["ReturnConsumedCapacity"] = json!("INDEXES");
    let mut headers = headers.clone();
    headers.remove(http::header::CONTENT_LENGTH);
    headers.remove(http::header::HOST);
    if !proxy.delay.get().is_zero() {
        tokio::time::sleep(proxy.delay.get()).await;
    }
    let body = Bytes::from(serde_json::to_vec(&request)?);
    let (status, headers, bytes) = proxy.http.send(Method::POST, &proxy.url, &headers, body).await?;
    let response: Value = serde_json::from_slice(&bytes)?;
    let refused = response["__type"].as_str().is_some_and(|kind| {
        kind.ends_with("ConditionalCheckFailedException") || kind.ends_with("TransactionCanceledException")
    });
    let mut journaled = Journaled {
        items: partitions(&request),
        begun_us,
        ended_us: now_us(),
        refused,
        write_units: 0.0,
        index_units: 0.0,
        read_units: 0.0,
        operation,
    };
    cost(&mut journaled, &request, &response);
    proxy.journal.borrow_mut().push(journaled);
    let mut answer = serve::answer(status.as_u16(), bytes);
    for (name, value) in &headers {
        // the SDK checks it against the body; what the proxy added is small and stays in it
        if name.as_str().starts_with("x-amz") || name == http::header::CONTENT_TYPE {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    Ok(answer)
}

/// The kinds of items a request names: `head#news` is `head`.
fn partitions(request: &Value) -> Vec<String> {
    fn look(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member["S"].as_str()) {
                        ("pk" | ":pk", Some(pk)) => found.push(pk.split('#').next().unwrap_or(pk).to_owned()),
                        _ => look(member, found),
                    }
                }
            }
            Value::Array(elements) => elements.iter().for_each(|element| look(element, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    look(request, &mut found);
    found
}

/// Units as DynamoDB would charge them. A write whose condition does not hold is charged as if it had (DynamoDB guide, "Write
/// unit consumption"), and its error says nothing of that: one unit, as all items here are far below 1 KB, two in a transaction.
fn cost(journaled: &mut Journaled, request: &Value, response: &Value) {
    let is_read =
        matches!(journaled.operation.as_str(), "GetItem" | "BatchGetItem" | "Query" | "Scan" | "TransactGetItems");
    if journaled.refused {
        let items = request["TransactItems"].as_array().map_or(1, |items| 2 * items.len());
        journaled.write_units = crate::meter::float(items as u64);
        return;
    }
    let consumed = &response["ConsumedCapacity"];
    let tables = consumed.as_array().map_or_else(|| vec![consumed], |tables| tables.iter().collect());
    for table in tables {
        let units = table["CapacityUnits"].as_f64().unwrap_or(0.0);
        if is_read {
            journaled.read_units += units;
            continue;
        }
        journaled.write_units += units;
        if let Some(indexes) = table["GlobalSecondaryIndexes"].as_object() {
            journaled.index_units += indexes.values().filter_map(|index| index["CapacityUnits"].as_f64()).sum::<f64>();
        }
    }
}

/// Copies a row: `{"pk", "sk", "count"}`. What comes out differs in `sk` and `row_id` only, so the rows are what the real
/// subscribe writes.
fn multiply(database: &Dynoxide, body: &[u8]) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Wanted {
        pk: String,
        sk: String,
        count: usize,
    }
    let wanted: Wanted = serde_json::from_slice(body)?;
    let get = json!({ "TableName": TABLES[0], "Key": { "pk": { "S": wanted.pk }, "sk": { "S": wanted.sk } } });
    let found = database.get_item(serde_json::from_value(get)?)?;
    let found: Value = serde_json::to_value(&found)?;
    let template = found.get("Item").cloned().context("no such row")?;
    for chunk in (0..wanted.count).collect::<Vec<_>>().chunks(1000) {
        let items = chunk.iter().map(|n| {
            let mut row = template.clone();
            row["sk"] = json!({ "S": format!("{n:08}bench{:03}=", n % 1000) });
            if row.get("row_id").is_some() {
                row["row_id"] = json!({ "S": format!("{n:012x}") });
            }
            serde_json::from_value(row)
        });
        let items = items.collect::<Result<Vec<_>, _>>()?;
        database.import_items(TABLES[0], items, dynoxide::ImportOptions::default())?;
    }
    Ok(())
}

/// The database as the bench sees it.
#[derive(Debug)]
pub(crate) struct Database {
    straight: String,
    proxy: String,
    http: Http,
    _child: Child,
}

impl Database {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut child = Child::start(&["database"], &[])?;
        let addresses = child.answer().await?;
        let address = |name: &str| addresses[name].as_str().map(str::to_owned).context("its address");
        Ok(Self { straight: address("database")?, proxy: address("proxy")?, http: Http::new(), _child: child })
    }

    /// `AWS_ENDPOINT_URL`, straight.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.straight)
    }

    /// `AWS_ENDPOINT_URL`, through the proxy.
    pub(crate) fn proxied(&self) -> String {
        format!("http://{}", self.proxy)
    }

    /// How long the proxy lets every request wait.
    pub(crate) async fn delay(&self, delay: Duration) -> anyhow::Result<()> {
        self.http.ask(&format!("{}/delay/{}", self.proxied(), delay.as_millis())).await?;
        Ok(())
    }

    /// What went through the proxy since it was last asked.
    pub(crate) async fn journal(&self) -> anyhow::Result<Vec<Journaled>> {
        Ok(serde_json::from_value(self.http.ask(&format!("{}/journal", self.proxied())).await?)?)
    }

    /// So many rows more, like the one of `connection_id`.
    pub(crate) async fn multiply(&self, channel: &str, connection_id: &str, count: usize) -> anyhow::Result<()> {
        let wanted = json!({ "pk": format!("ch#{channel}#0"), "sk": connection_id, "count": count }).to_string();
        let url = format!("{}/multiply", self.proxied());
        let (status, _, body) = self.http.send(Method::POST, &url, &http::HeaderMap::new(), wanted.into()).await?;
        anyhow::ensure!(status.is_success(), "{}", String::from_utf8_lossy(&body));
        Ok(())
    }
}
