//! The functions as a bench uses them: their environment, their handlers, and the publisher they have inside.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json, value::RawValue};
use signalbox_channels::{ChannelName, ChannelsConfig, Namespace};
use signalbox_connections::ConnectionTable;
use signalbox_lambda::env;
use signalbox_publishing::{ApiGateway, Gateway, Message, PublishOptions, Publisher, Version};

use crate::{
    child::{Child, answer},
    sink::Sink,
};

const CHANNELS: &str = include_str!("../channels.json");
const TOKEN_SECRET: &str = "bench-token-secret-0123456789abcdef";

/// What the template sets, for functions that talk to the servers of a bench; and the folder with `channels.json`.
#[derive(Debug)]
pub(crate) struct Environment {
    folder: PathBuf,
    database: String,
    connections: String,
}

impl Environment {
    pub(crate) fn new(database: String, connections: String) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("signalbox-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("channels.json"), CHANNELS)?;
        Ok(Self { folder, database, connections })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let text = |value: &str| value.to_owned();
        vec![
            ("AWS_ACCESS_KEY_ID", text("AKIDEXAMPLE")),
            ("AWS_SECRET_ACCESS_KEY", text("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")),
            ("AWS_SESSION_TOKEN", text("a-token-of-a-role-which-lambda-always-has-and-which-is-signed-too")),
            ("AWS_REGION", text("us-east-1")),
            ("AWS_ENDPOINT_URL", self.database.clone()),
            ("AWS_LAMBDA_FUNCTION_NAME", text("bench")),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", text("256")),
            ("AWS_LAMBDA_FUNCTION_VERSION", text("1")),
            ("AWS_LAMBDA_LOG_GROUP_NAME", text("bench")),
            ("AWS_LAMBDA_LOG_STREAM_NAME", text("bench")),
            ("LAMBDA_TASK_ROOT", self.folder.display().to_string()),
            ("CONNECTION_TABLE", text("connections")),
            ("STATUS_TABLE", text("status")),
            ("FANOUT_QUEUE_URL", text("https://sqs.invalid/fanout.fifo")),
            ("CONNECTIONS_ENDPOINT", self.connections.clone()),
            ("ALLOWED_ORIGINS", text("*")),
            ("TOKEN_HMAC_SECRET", text(TOKEN_SECRET)),
            ("RUST_LOG", text("warn")),
        ]
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // in the system's temporary folder: it would not be missed there either
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A token without an end.
pub(crate) fn token(user: &str) -> anyhow::Result<String> {
    let key = jsonwebtoken::EncodingKey::from_secret(TOKEN_SECRET.as_bytes());
    Ok(jsonwebtoken::encode(&jsonwebtoken::Header::default(), &json!({ "sub": user }), &key)?)
}

/// What API Gateway hands to a WebSocket route.
pub(crate) fn socket_event(connection_id: &str, kind: &str, body: Option<&str>) -> Value {
    json!({
        "requestContext": {
            "routeKey": if kind == "MESSAGE" { "$default" } else { "$connect" },
            "eventType": kind,
            "connectionId": connection_id,
            "messageId": "m",
            "stage": "live",
            "requestTimeEpoch": crate::meter::now_us() / 1000,
            "connectedAt": crate::meter::now_us() / 1000,
            "requestId": "r",
            "apiId": "a",
            "identity": { "sourceIp": "192.0.2.1" },
        },
        "isBase64Encoded": false,
        "body": body,
    })
}

fn request(connection_id: &str, kind: &str, body: Option<&str>) -> anyhow::Result<ApiGatewayWebsocketProxyRequest> {
    Ok(serde_json::from_value(socket_event(connection_id, kind, body))?)
}

/// Connection ids as API Gateway makes them.
pub(crate) fn connection_id(n: usize) -> String {
    format!("{n:08}Lbench=")
}

/// Connections that subscribe to a channel, in a process of their own. Their ids are [`connection_id`] from `first` on, which must
/// be new in the database.
pub(crate) async fn subscribers(
    environment: &Environment,
    sink: &Sink,
    (first, count): (usize, usize),
    channel: &str,
    delta: bool,
) -> anyhow::Result<()> {
    let before = sink.arrived().await?.subscribed;
    let mode = if delta { "delta" } else { "plain" };
    let arguments = ["subscribe", &first.to_string(), &count.to_string(), channel, mode];
    Child::start(&arguments, &environment.variables())?.answer().await?;
    let subscribed = sink.arrived().await?.subscribed - before;
    ensure!(subscribed == count as u64, "{subscribed} of {count} could subscribe to {channel}");
    Ok(())
}

/// The role: connections that subscribe, through the real handlers.
pub(crate) async fn subscribe(first: usize, count: usize, channel: &str, delta: bool) -> anyhow::Result<()> {
    let connect = ws_connect::State::from_env(&signalbox_lambda::boot("ws-connect"))?;
    let default = ws_default::State::from_env(&signalbox_lambda::boot("ws-default")).await?;
    let (connect, default) = (&connect, &default);
    futures::stream::iter(first..first + count)
        .map(|n| async move {
            let id = connection_id(n);
            let admitted = ws_connect::handle(connect, request(&id, "CONNECT", None)?).await?;
            ensure!(admitted.status_code == 200, "socket refused: {}", admitted.status_code);
            let mut subscribe = json!({ "channel": channel });
            if delta {
                subscribe["delta"] = json!("fossil");
            }
            let commands = [
                json!({ "id": 1, "connect": { "token": token(&format!("user-{n}"))?, "name": "js" } }),
                json!({ "id": 2, "subscribe": subscribe }),
            ];
            let frame = commands.map(|command| command.to_string()).join("\n");
            ws_default::handle(default, request(&id, "MESSAGE", Some(&frame))?).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(16)
        .try_collect::<()>()
        .await?;
    answer(&Value::Null);
    Ok(())
}

/// The role: connections that are open and have not said anything yet.
pub(crate) async fn admit(count: usize) -> anyhow::Result<()> {
    let connect = ws_connect::State::from_env(&signalbox_lambda::boot("ws-connect"))?;
    for n in 0..count {
        let admitted = ws_connect::handle(&connect, request(&connection_id(n), "CONNECT", None)?).await?;
        ensure!(admitted.status_code == 200, "socket refused: {}", admitted.status_code);
    }
    answer(&Value::Null);
    Ok(())
}

/// A channel and the publisher of a function, from the environment.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    pub(crate) publisher: Publisher,
    pub(crate) name: String,
    namespace: Namespace,
}

/// What a publication may carry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) idempotency_key: Option<String>,
    pub(crate) version: Option<u64>,
    pub(crate) delta: bool,
}

impl Channel {
    pub(crate) async fn from_env(name: &str) -> anyhow::Result<Self> {
        let aws = signalbox_lambda::boot("bench").aws()?;
        let table = ConnectionTable::new(&aws, env::require("CONNECTION_TABLE")?);
        let gateway = ApiGateway::new(&aws, &env::require("CONNECTIONS_ENDPOINT")?).await?;
        let publisher = Publisher::new(table, Gateway::ApiGateway(Box::new(gateway)));
        let namespace = ChannelsConfig::parse(CHANNELS)?.namespace_of(&ChannelName::parse(name)?).cloned();
        Ok(Self { publisher, name: name.to_owned(), namespace: namespace.context("no such namespace")? })
    }

    /// The offset.
    pub(crate) async fn publish(&self, data: String, options: &Options) -> anyhow::Result<u64> {
        let data = RawValue::from_string(data)?;
        let message = Message { delta: options.delta, ..Message::new(&data) };
        let key = options.idempotency_key.as_deref();
        let how = PublishOptions {
            idempotency_keys: key.as_slice(),
            version: options.version.map(|version| Version { version, epoch: "" }),
            skip_history: false,
        };
        Ok(self.publisher.publish(&self.name, &self.namespace, &message, &how).await?.offset)
    }

    /// Comes back when everything up to `offset` was posted. Who has delivered for five seconds hands on to the next publisher or to a
    /// worker (`fanout`); when nobody publishes any more, this is the worker.
    pub(crate) async fn delivered(&self, offset: u64) -> anyhow::Result<()> {
        self.publisher.ensure_delivered(&self.name, &self.namespace, offset).await
    }
}

/// About 200 bytes, with the time in it.
pub(crate) fn payload(n: u64) -> String {
    json!({
        "n": n,
        "at": crate::meter::now_us(),
        "text": "a chat message of the usual length, neither the shortest nor the longest that people write",
        "author": { "id": 4711, "name": "Anna Example" },
    })
    .to_string()
}
