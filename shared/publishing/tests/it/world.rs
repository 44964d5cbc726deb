use std::{sync::Arc, time::Duration};

use serde_json::{Value, json, value::RawValue};
use signalbox_channels::{ChannelName, ChannelsConfig, Namespace, RecoveryMode};
use signalbox_clock::now_ms;
use signalbox_connections::{
    Admit, Authenticate, Authentication, Client, Connection, Head, LogState, Subscriber, shard_of, testing::Tables,
};
use signalbox_protocol::{ClientInfo, Json, SubscribeRequest, SubscribeResult};
use signalbox_publishing::{
    Begun, CatchUp, Frame, Gateway, Grant, Message, PublishOptions, Published, Publisher, REPLY_BYTES, Recorded,
    SubscribeCommand, Timing,
};

pub(crate) const CHANNEL: &str = "status:all";

pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// As in production, only sooner: for tests whose tasks run in parallel, which tokio's paused clock does not have.
pub(crate) const SHORT: Timing = Timing {
    lease: Duration::from_millis(1500),
    lease_margin: Duration::from_millis(300),
    skew: Duration::from_millis(50),
    row: Duration::from_millis(400),
    turn: Duration::from_secs(1),
    hole: Duration::from_millis(250),
    retries: [Duration::from_millis(2); 3],
};

pub(crate) struct World {
    pub(crate) tables: Tables,
    pub(crate) posts: Arc<Recorded>,
    pub(crate) publisher: Publisher,
    pub(crate) channels: Arc<ChannelsConfig>,
    pub(crate) namespace: Namespace,
}

impl World {
    /// A DynamoDB behind a socket, and short leases.
    pub(crate) async fn new() -> Self {
        Self::over(Tables::start().await, SHORT, &json!({}), &json!({}))
    }

    /// In process, with the usual timing: for `start_paused`. `options` are the channel's, on top of a history of 300.
    pub(crate) async fn paused(options: Value) -> Self {
        Self::paused_with(options, json!({})).await
    }

    /// The same with options of `client`.
    pub(crate) async fn paused_with(options: Value, client: Value) -> Self {
        // the clock begins with its first reading: not after the SDK has taken its time
        now_ms();
        Self::over(Tables::in_process().await, Timing::default(), &options, &client)
    }

    fn over(tables: Tables, timing: Timing, options: &Value, client: &Value) -> Self {
        let mut namespace = json!({
            "name": "status", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true,
        });
        for (name, value) in options.as_object().unwrap() {
            namespace[name] = value.clone();
        }
        let config = json!({"client": client, "channel": {"namespaces": [namespace]}});
        let channels = Arc::new(ChannelsConfig::parse(&config.to_string()).unwrap());
        let namespace = channels.namespace_of(&ChannelName::parse(CHANNEL).unwrap()).unwrap().clone();
        let posts = Arc::new(Recorded::default());
        let publisher = Publisher::new(tables.table.clone(), Gateway::Recorded(posts.clone()))
            .with_channels(channels.clone())
            .with_timing(timing);
        Self { tables, posts, publisher, channels, namespace }
    }

    /// A publisher of the same world with other tables: those of one simulated invocation.
    pub(crate) fn invocation(&self, tables: &Tables) -> Publisher {
        Publisher::new(tables.table.clone(), Gateway::Recorded(self.posts.clone())).with_channels(self.channels.clone())
    }

    pub(crate) async fn connect(&self, id: &str) -> Connection {
        self.connect_as(id, "anna", None).await
    }

    pub(crate) async fn connect_as(&self, id: &str, user: &str, expires_at: Option<i64>) -> Connection {
        let table = &self.tables.table;
        let stale_after = self.channels.client.stale_close_delay;
        let admit = Admit { id, now_s: now(), source_ip: None, stale_after, per_address_limit: 0 };
        table.admit(&admit).await.unwrap();
        let client = Client { user: user.to_owned(), client: client_id(id), info: None, expires_at };
        let expired_close_delay = self.channels.client.expired_close_delay;
        let command = Authenticate { id, client, user_connection_limit: 0, expired_close_delay, now_s: now() };
        match table.authenticate(&command).await.unwrap() {
            Authentication::Accepted(connection) => connection,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn publish(&self, n: usize) -> Published {
        self.publish_with(&payload(n), &PublishOptions::default()).await
    }

    pub(crate) async fn publish_once(&self, n: usize, key: &str) -> Published {
        let options = PublishOptions { idempotency_keys: &[key], ..PublishOptions::default() };
        self.publish_with(&payload(n), &options).await
    }

    pub(crate) async fn publish_with(&self, data: &Json, options: &PublishOptions<'_>) -> Published {
        self.publish_message(&Message::new(data), options).await
    }

    pub(crate) async fn publish_message(&self, message: &Message<'_>, options: &PublishOptions<'_>) -> Published {
        self.publisher.publish(CHANNEL, &self.namespace, message, options).await.unwrap()
    }

    /// What the namespace gives, as `ws-default` has it.
    pub(crate) fn grant(&self, request: &SubscribeRequest) -> Grant<'static> {
        let namespace = &self.namespace;
        let recoverable = namespace.recovers("anna", request.recoverable);
        Grant {
            positioned: namespace.positions("anna", request.positioned),
            recoverable,
            cache: namespace.force_recovery_mode == RecoveryMode::Cache,
            auto_cache: namespace.recovers_unasked(recoverable),
            presence: namespace.presence,
            announced: namespace.announces(),
            join_leave: namespace.pushes_join_leave("anna", request.join_leave),
            delta: request.tf.is_none() && namespace.delta(&request.delta).is_some(),
            filter: None,
        }
    }

    pub(crate) fn command<'a>(
        &'a self,
        connection_id: &'a str,
        command_id: u32,
        client: &'a ClientInfo,
        request: &'a SubscribeRequest,
    ) -> SubscribeCommand<'a> {
        SubscribeCommand {
            connection_id,
            channel: CHANNEL,
            command_id,
            client,
            request,
            namespace: &self.namespace,
            grant: Grant { filter: request.tf.as_ref(), ..self.grant(request) },
            expires_at: None,
            subscription_expires_at: None,
            ttl: now() + 7200,
            was_in_shard: None,
            server_side: false,
            reply_bytes: REPLY_BYTES,
            recovery_limit: 300,
        }
    }

    /// The first half, the reply not yet posted.
    pub(crate) async fn begin(
        &self,
        id: &str,
        command_id: u32,
        request: &SubscribeRequest,
    ) -> (SubscribeResult, CatchUp) {
        let info = info(id, "anna");
        let connection = self.tables.table.connection(id).await.unwrap();
        let expires_at = connection.and_then(|connection| connection.client()?.expires_at);
        let command = SubscribeCommand { expires_at, ..self.command(id, command_id, &info, request) };
        match self.publisher.begin_subscribe(command).await.unwrap() {
            Begun::Reply(result, catch_up) => (result, *catch_up),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn reply(&self, id: &str, result: &SubscribeResult) {
        let frame = Frame::new(json!({ "reply": result }).to_string());
        self.publisher.post(id, &frame).await.unwrap();
    }

    pub(crate) async fn subscribe_with(&self, id: &str, command_id: u32, request: SubscribeRequest) -> SubscribeResult {
        let (result, catch_up) = self.begin(id, command_id, &request).await;
        self.reply(id, &result).await;
        self.publisher.catch_up(catch_up).await.unwrap();
        result
    }

    pub(crate) async fn subscribe(&self, id: &str) -> SubscribeResult {
        self.connect(id).await;
        self.subscribe_with(id, 1, plain()).await
    }

    /// Posts after the reply of a connection's last subscribe.
    pub(crate) fn pushes(&self, id: &str) -> Vec<Value> {
        let lines = self.posts.lines(id);
        let replied = lines.iter().rposition(|line| line.get("reply").is_some()).map_or(0, |at| at + 1);
        lines[replied..].iter().map(|line| line["push"].clone()).collect()
    }

    /// What a client holds: the position of its reply, then the offsets of the pushes in the order in which they came.
    pub(crate) fn seen(&self, id: &str) -> (u64, Vec<u64>) {
        let lines = self.posts.lines(id);
        let mut position = None;
        let mut offsets = Vec::new();
        for line in &lines {
            if let Some(reply) = line.get("reply") {
                position = Some(reply["offset"].as_u64().unwrap_or(0));
            } else {
                assert!(position.is_some(), "a push before the reply: {lines:?}");
                offsets.push(line["push"]["pub"]["offset"].as_u64().unwrap_or_else(|| panic!("{line}")));
            }
        }
        (position.unwrap(), offsets)
    }

    pub(crate) async fn head(&self) -> Head {
        self.tables.table.find_head(CHANNEL).await.unwrap().unwrap()
    }

    pub(crate) async fn row(&self, id: &str) -> Option<Subscriber> {
        let shard = shard_of(id, self.namespace.shards);
        self.tables.table.subscriber(id, CHANNEL, shard).await.unwrap()
    }

    pub(crate) async fn tombstones(&self) -> Vec<u64> {
        let head = self.head().await;
        let log = self.tables.table.log(CHANNEL, &head.epoch, 0, head.offset, 0).await.unwrap();
        assert_eq!(log.len() as u64, head.offset, "a hole was left");
        log.into_iter().filter(|entry| entry.state == LogState::Tombstone).map(|entry| entry.offset).collect()
    }

    /// P1 and P2: every publication after the reply's position, in order; none twice unless somebody died.
    pub(crate) async fn assert_complete(&self, id: &str, may_repeat: bool) {
        let (top, tombstones) = (self.head().await.offset, self.tombstones().await);
        let (position, mut offsets) = self.seen(id);
        let expected: Vec<u64> = (position + 1..=top).filter(|offset| !tombstones.contains(offset)).collect();
        if may_repeat {
            let mut highest = position;
            offsets.retain(|&offset| {
                let new = offset > highest;
                highest = highest.max(offset);
                new
            });
        }
        assert_eq!(offsets, expected, "{id}");
    }
}

pub(crate) fn plain() -> SubscribeRequest {
    SubscribeRequest { channel: CHANNEL.to_owned(), ..SubscribeRequest::default() }
}

pub(crate) fn recover(offset: u64, epoch: &str) -> SubscribeRequest {
    SubscribeRequest { recover: true, offset, epoch: epoch.to_owned(), ..plain() }
}

pub(crate) fn payload(n: usize) -> Json {
    json_text(&format!(r#"{{"n":{n}}}"#))
}

pub(crate) fn json_text(text: &str) -> Json {
    RawValue::from_string(text.to_owned()).unwrap()
}

pub(crate) fn client_id(connection_id: &str) -> String {
    format!("client-{connection_id}")
}

pub(crate) fn info(connection_id: &str, user: &str) -> ClientInfo {
    ClientInfo { user: user.to_owned(), client: client_id(connection_id), conn_info: None, chan_info: None }
}

pub(crate) fn now() -> i64 {
    now_ms() / 1000
}
