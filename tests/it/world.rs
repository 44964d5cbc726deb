//! The functions wired together in one process: the real handlers, a real DynamoDB API, a gateway that records and a bus that
//! is drained by hand.

use std::{path::Path, sync::Arc};

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use lambda_http::{Body, Request, Response};
use serde_json::{Value, json};
use signalbox_auth::{BearerToken, SIGNATURE_HEADER, TIMESTAMP_HEADER, TokenVerifier, WebhookSecret};
use signalbox_bus::{Bus, Recording};
use signalbox_channels::{ChannelName, ChannelsConfig};
use signalbox_connections::{BUCKETS, Subscriber, testing::Tables};
use signalbox_lambda::{now_ms, sqs::Outcome};
use signalbox_messages::{BusEvent, SOURCE, STATUS_CHANGED, StatusChanged};
use signalbox_publishing::{Gateway, Message, PublishOptions, Publisher, Recorded};

/// `TOKEN_HMAC_SECRET` of events/README.md.
pub(crate) const TOKEN_SECRET: &str = "example-token-secret-0123456789abcdef";
/// `WEBHOOK_SECRET` of events/README.md, and of the recorded requests.
pub(crate) const WEBHOOK_SECRET: &str = "example-shared-secret";
/// `ZABBIX_CONNECTOR_TOKEN` of events/README.md, and of the recorded requests.
pub(crate) const CONNECTOR_TOKEN: &str = "example-connector-token";
/// An allowed origin.
pub(crate) const ORIGIN: &str = "https://status.example.org";

pub(crate) struct World {
    pub(crate) tables: Tables,
    pub(crate) posts: Arc<Recorded>,
    pub(crate) connect: ws_connect::State,
    pub(crate) disconnect: ws_disconnect::State,
    pub(crate) default: ws_default::State,
    pub(crate) webhook: zabbix_webhook::State,
    pub(crate) connector: zabbix_connector::State,
    pub(crate) router: status_router::State,
    pub(crate) bus: Recording,
    routed: std::sync::Mutex<usize>,
}

impl World {
    /// With the repository's own `channels.json`.
    pub(crate) async fn new() -> Self {
        Self::with(include_str!("../../channels.json")).await
    }

    /// With a `channels.json`.
    pub(crate) async fn with(channels: &str) -> Self {
        let tables = Tables::in_process().await;
        let posts = Arc::new(Recorded::default());
        let channels = Arc::new(ChannelsConfig::parse(channels).unwrap());
        let publisher =
            Publisher::new(tables.table.clone(), Gateway::Recorded(posts.clone())).with_channels(channels.clone());
        let bus = Recording::default();
        Self {
            connect: ws_connect::State::new(tables.table.clone(), ORIGIN, channels.client.clone()),
            disconnect: ws_disconnect::State { publisher: publisher.clone() },
            default: ws_default::State {
                publisher: publisher.clone(),
                status: tables.status.clone(),
                channels: channels.clone(),
                tokens: TokenVerifier::new(Some(TOKEN_SECRET), None, None, None).unwrap(),
                subscription_tokens: None,
                tickets: signalbox_auth::TicketKey::new("example-ticket-secret"),
                actions: None,
                allow_anonymous: false,
            },
            webhook: zabbix_webhook::State {
                secret: WebhookSecret::new(WEBHOOK_SECRET).unwrap(),
                zone: "auto".parse().unwrap(),
                bus: Bus::Recorded(bus.clone()),
            },
            connector: zabbix_connector::State {
                token: BearerToken::new(CONNECTOR_TOKEN).unwrap(),
                bus: Bus::Recorded(bus.clone()),
            },
            router: status_router::State { status: tables.status.clone(), publisher, channels },
            bus,
            posts,
            tables,
            routed: std::sync::Mutex::new(0),
        }
    }

    /// Opens a socket.
    pub(crate) async fn open(&self, id: &str) {
        let response = ws_connect::handle(&self.connect, socket_event(id, "CONNECT", None, Some(ORIGIN))).await;
        assert_eq!(response.unwrap().status_code, 200);
    }

    /// Sends a frame and returns what the connection was posted meanwhile, line by line.
    pub(crate) async fn send(&self, id: &str, frame: &str) -> Vec<Value> {
        let before = self.posts.lines(id).len();
        let event = socket_event(id, "MESSAGE", Some(frame), None);
        // boxed: a test is one future, and those of all its messages would not fit its thread's stack
        let response = Box::pin(ws_default::handle(&self.default, event)).await.unwrap();
        assert_eq!((response.status_code, response.body), (200, None), "nothing but a bare 200 may reach the socket");
        self.posts.lines(id).split_off(before)
    }

    /// Opens a socket and connects as anna.
    pub(crate) async fn viewer(&self, id: &str) {
        self.open(id).await;
        let lines = self.send(id, &connect_command(1, &token("anna"))).await;
        assert!(lines[0]["connect"]["client"].is_string(), "{lines:?}");
    }

    /// Opens a socket, connects and subscribes to all problems.
    pub(crate) async fn watcher(&self, id: &str) {
        self.viewer(id).await;
        let lines = self.send(id, r#"{"id":2,"subscribe":{"channel":"status:all"}}"#).await;
        assert!(lines[0]["subscribe"]["recoverable"].as_bool().unwrap(), "{lines:?}");
    }

    /// Opens a socket and connects: the reply's result.
    pub(crate) async fn connected(&self, id: &str, user: &str) -> Value {
        self.open(id).await;
        let lines = self.send(id, &connect_command(1, &token(user))).await;
        assert!(lines[0]["connect"]["client"].is_string(), "{lines:?}");
        lines[0]["connect"].clone()
    }

    /// Opens a socket and connects with a token of these claims: the lines that come.
    pub(crate) async fn connect_with(&self, id: &str, claims: &Value) -> Vec<Value> {
        self.open(id).await;
        self.send(id, &connect_command(1, &signed(claims, TOKEN_SECRET))).await
    }

    /// Sends one command and returns its one line: `{"connect": …}`, `{"error": …}` or a push.
    pub(crate) async fn ask(&self, id: &str, command: u32, request: Value) -> Value {
        let mut request = request;
        request["id"] = json!(command);
        let mut lines = self.send(id, &request.to_string()).await;
        let ours = lines.iter().position(|line| line["id"] == command).unwrap_or(0);
        assert!(!lines.is_empty(), "{request}: no answer");
        let mut line = lines.swap_remove(ours);
        line.as_object_mut().unwrap().remove("id");
        line
    }

    /// The code of the error or disconnect that a command is refused with; 0 if it is not.
    pub(crate) async fn refusal(&self, id: &str, command: u32, request: Value) -> u64 {
        let line = self.ask(id, command, request).await;
        let code = line.pointer("/error/code").or_else(|| line.pointer("/push/disconnect/code"));
        code.map_or(0, |code| code.as_u64().unwrap())
    }

    /// Publishes as the server does.
    pub(crate) async fn publish(&self, channel: &str, data: Value) -> u64 {
        self.publish_tagged(channel, data, &[]).await
    }

    /// Publishes with tags.
    pub(crate) async fn publish_tagged(&self, channel: &str, data: Value, tags: &[(&str, &str)]) -> u64 {
        let channels = &self.default.channels;
        let namespace = channels.namespace_of(&ChannelName::parse(channel).unwrap()).unwrap();
        let data = serde_json::value::to_raw_value(&data).unwrap();
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let message = Message { tags: &tags, delta: true, ..Message::new(&data) };
        let options = PublishOptions::default();
        Box::pin(self.default.publisher.publish(channel, namespace, &message, &options)).await.unwrap().offset
    }

    /// What the keeper does each minute with connections that are due.
    pub(crate) async fn sweep(&self) {
        for bucket in 0..BUCKETS {
            let until = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
            Box::pin(self.default.publisher.sweep(bucket, until)).await.unwrap();
        }
    }

    /// Pushes of a kind (`pub`, `join` …) that a connection was posted, in order.
    pub(crate) fn pushes(&self, id: &str, kind: &str) -> Vec<Value> {
        let lines = self.posts.lines(id);
        lines.iter().filter_map(|line| line["push"].get(kind).cloned()).collect()
    }

    /// Posts a body to the webhook, signed now.
    pub(crate) async fn notify(&self, body: &str) -> Response<Body> {
        let (timestamp, signature) = self.webhook.secret.sign(now_ms() / 1000, body.as_bytes());
        let request = Request::new(Body::Text(body.to_owned()));
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(TIMESTAMP_HEADER, timestamp.parse().unwrap());
        parts.headers.insert(SIGNATURE_HEADER, signature.parse().unwrap());
        zabbix_webhook::handle(&self.webhook, Request::from_parts(parts, body)).await
    }

    /// Posts lines to the connector, `events` or `history`.
    pub(crate) async fn stream(&self, feed: &str, body: &[u8]) -> Response<Body> {
        let request = lambda_http::http::Request::post(format!("/connector/zabbix/{feed}"))
            .header("Authorization", format!("Bearer {CONNECTOR_TOKEN}"))
            .body(Body::from(body))
            .unwrap();
        zabbix_connector::handle(&self.connector, request).await
    }

    /// Routes what is on the bus and was not routed yet.
    pub(crate) async fn drain_bus(&self) {
        loop {
            let next: Vec<_> = {
                let mut routed = self.routed.lock().unwrap();
                let next: Vec<_> = self.bus.messages().into_iter().skip(*routed).take(BATCH).collect();
                *routed += next.len();
                next
            };
            if next.is_empty() {
                return;
            }
            self.route(next).await;
        }
    }

    /// Routes these as one batch.
    pub(crate) async fn route(&self, messages: Vec<StatusChanged>) {
        self.route_events(messages.into_iter().map(bus_event).collect()).await;
    }

    pub(crate) async fn route_events(&self, events: Vec<BusEvent<Value>>) {
        let count = events.len();
        assert_eq!(status_router::route(&self.router, events).await, vec![Outcome::Stored; count]);
    }

    /// All pages of the snapshot, as a viewer reads them.
    pub(crate) async fn snapshot(&self, id: &str) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut cursor = Value::Null;
        for command in 100.. {
            let request = json!({"id": command, "rpc": {"method": "status.snapshot", "data": {"cursor": cursor}}});
            let lines = self.send(id, &request.to_string()).await;
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].to_string().len() <= 128 * 1024);
            let data = &lines[0]["rpc"]["data"];
            snapshot.problems.extend(data["problems"].as_array().unwrap().iter().cloned());
            snapshot.hosts.extend(data["hosts"].as_array().unwrap().iter().cloned());
            snapshot.recent.extend(data["recent"].as_array().unwrap().iter().cloned());
            snapshot.offset = snapshot.offset.or(data["position"]["offset"].as_u64());
            snapshot.pages += 1;
            cursor = data["cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        snapshot
    }

    /// A channel's rows.
    pub(crate) async fn rows(&self, channel: &str) -> Vec<Subscriber> {
        let (rows, next) = self.tables.table.subscribers(channel, 0, None, None).await.unwrap();
        assert!(next.is_none());
        rows
    }

    /// The problems that were published to a connection, in order.
    pub(crate) fn published(&self, id: &str) -> Vec<Value> {
        let lines = self.posts.lines(id);
        let changes = lines.iter().filter_map(|line| line.pointer("/push/pub/data/changes")?.as_array());
        changes.flatten().map(|change| change["problem"].clone()).collect()
    }
}

/// What the router gets at once (template.yaml).
const BATCH: usize = 10;

/// What `status.snapshot` tells.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) problems: Vec<Value>,
    pub(crate) hosts: Vec<Value>,
    pub(crate) recent: Vec<Value>,
    pub(crate) offset: Option<u64>,
    pub(crate) pages: usize,
}

/// A viewer's token without an end.
pub(crate) fn token(user: &str) -> String {
    signed(&json!({ "sub": user }), TOKEN_SECRET)
}

/// A subscription token; `claims` beside `sub` and `channel`.
pub(crate) fn subscription_token(user: &str, channel: &str, claims: &Value) -> String {
    let mut all = json!({"sub": user, "channel": channel});
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    signed(&all, TOKEN_SECRET)
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    now_ms() / 1000
}

/// Time goes by.
pub(crate) async fn pass(seconds: u64) {
    let until = now_ms() + i64::try_from(seconds * 1000).unwrap();
    // a paused clock begins before whoever first asks for the time, who counts from then
    while let Ok(left @ 1..) = u64::try_from(until - now_ms()) {
        tokio::time::advance(std::time::Duration::from_millis(left)).await;
    }
}

/// The namespaces of most flows, with a `client` section.
///
/// `open` allows subscribing and publishing, `chat` what a subscriber may do, `news` recovers everything, `doc` the newest,
/// `locked` nothing, `user` is for those in its names, `num` has numbers for names, `obj` takes objects.
pub(crate) fn channels(client: &Value) -> String {
    json!({
        "client": client,
        "channel": {"namespaces": [
            {"name": "open", "allow_subscribe_for_client": true, "allow_publish_for_client": true},
            {"name": "chat", "history_size": 10, "history_ttl": "10m", "presence": true, "join_leave": true,
             "allow_subscribe_for_client": true, "allow_publish_for_subscriber": true, "allow_history_for_subscriber": true,
             "allow_presence_for_subscriber": true},
            {"name": "news", "history_size": 5, "history_ttl": "10m", "force_recovery": true, "force_positioning": true,
             "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true, "allow_history_for_client": true,
             "allowed_delta_types": ["fossil"], "allow_tags_filter": true},
            {"name": "doc", "history_size": 3, "history_ttl": "10m", "force_recovery": true, "force_recovery_mode": "cache",
             "auto_cache_recover": true, "allow_subscribe_for_client": true},
            {"name": "locked", "history_size": 10, "history_ttl": "10m", "presence": true},
            {"name": "user", "allow_user_limited_channels": true},
            {"name": "num", "channel_regex": "^[0-9]+$", "allow_subscribe_for_client": true, "allow_publish_for_client": true},
            {"name": "obj", "publication_data_format": "json_object", "allow_publish_for_client": true},
            {"name": "anon", "history_size": 10, "history_ttl": "10m", "presence": true, "allow_subscribe_for_client": true,
             "allow_subscribe_for_anonymous": true, "allow_publish_for_client": true, "allow_publish_for_anonymous": true,
             "allow_history_for_client": true, "allow_history_for_anonymous": true, "allow_presence_for_client": true,
             "allow_presence_for_anonymous": true},
            {"name": "room", "presence": true, "join_leave": true, "force_push_join_leave": true,
             "allow_subscribe_for_client": true}
        ]}
    })
    .to_string()
}

/// A token of these claims.
pub(crate) fn signed(claims: &Value, secret: &str) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

pub(crate) fn connect_command(id: u32, token: &str) -> String {
    json!({"id": id, "connect": {"token": token, "name": "js"}}).to_string()
}

/// What API Gateway hands to a WebSocket route.
pub(crate) fn socket_event(
    id: &str,
    kind: &str,
    body: Option<&str>,
    origin: Option<&str>,
) -> ApiGatewayWebsocketProxyRequest {
    let mut event = json!({
        "requestContext": {
            "routeKey": if kind == "MESSAGE" { "$default" } else { "$connect" },
            "eventType": kind,
            "connectionId": id,
            "messageId": "m",
            "stage": "live",
            "requestTimeEpoch": now_ms(),
            "connectedAt": now_ms(),
            "requestId": "r",
            "apiId": "a",
        },
        "isBase64Encoded": false,
        "body": body,
    });
    if let Some(origin) = origin {
        event["headers"] = json!({ "Origin": origin });
    }
    serde_json::from_value(event).unwrap()
}

/// What EventBridge hands to a target.
pub(crate) fn bus_event(message: StatusChanged) -> BusEvent<Value> {
    let detail = serde_json::to_value(message).unwrap();
    BusEvent { id: "b".to_owned(), detail_type: STATUS_CHANGED.to_owned(), source: SOURCE.to_owned(), detail }
}

/// Bodies that Zabbix really sent: `recommended/v7.0-problem`, `v7.0/08-recovery-high` …
pub(crate) fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../shared/zabbix/fixtures/{name}.json"));
    let fixture: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    fixture["raw_body"].as_str().unwrap().to_owned()
}

/// All recorded bodies of a version, in the order in which Zabbix sent them.
pub(crate) fn all_recorded(version: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/zabbix/fixtures").join(version);
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".json").to_owned())
        .collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), recorded(&format!("{version}/{name}")))).collect()
}
