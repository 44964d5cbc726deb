use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use api::State;
use futures::future::BoxFuture;
use lambda_http::{Body, Request, Response, http};
use serde_json::{Value, json};
use signalbox_channels::{ChannelName, ChannelsConfig, Namespace};
use signalbox_connections::{Admission, Admit, Authenticate, Authentication, Client, testing::Tables};
use signalbox_protocol::{ClientInfo, SubscribeRequest};
use signalbox_publishing::{Begun, CatchUp, Gateway, Grant, Publisher, REPLY_BYTES, Recorded, SubscribeCommand};

pub(crate) const KEY: &str = "server-api-key";

/// `live` has nothing, `news` everything, `doc` wants objects, `big` is in three shards.
pub(crate) const CHANNELS: &str = r#"{
    "channel": {"namespaces": [
        {"name": "live", "presence": true},
        {"name": "bare"},
        {"name": "news", "history_size": 1000, "history_ttl": "60s", "force_recovery": true, "presence": true, "join_leave": true,
         "force_push_join_leave": true, "allowed_delta_types": ["fossil"]},
        {"name": "doc", "publication_data_format": "json_object"},
        {"name": "big", "presence": true, "shards": 3}
    ]}
}"#;

pub(crate) struct World {
    pub(crate) tables: Tables,
    pub(crate) posts: Arc<Recorded>,
    pub(crate) publisher: Publisher,
    pub(crate) channels: Arc<ChannelsConfig>,
    pub(crate) state: State,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(CHANNELS).await
    }

    pub(crate) async fn with(channels: &str) -> Self {
        let tables = Tables::start().await;
        let posts = Arc::new(Recorded::default());
        let channels = Arc::new(ChannelsConfig::parse(channels).unwrap());
        let publisher =
            Publisher::new(tables.table.clone(), Gateway::Recorded(posts.clone())).with_channels(channels.clone());
        let state = State::new(publisher.clone(), channels.clone(), Some(KEY), "signalbox-test").unwrap();
        Self { tables, posts, publisher, channels, state }
    }

    /// The answer to a request with the key: status and body.
    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let request = http::Request::post(path).header("x-api-key", KEY).body(Body::from(body)).unwrap();
        self.send(request).await
    }

    pub(crate) async fn send(&self, request: Request) -> (u16, String) {
        read(&api::handle(&self.state, request).await)
    }

    /// The answer of a method, with status 200.
    pub(crate) async fn call(&self, method: &str, request: Value) -> Value {
        let (status, body) = self.post(&format!("/api/{method}"), &request.to_string()).await;
        assert_eq!(status, 200, "{method}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Its result.
    pub(crate) async fn result(&self, method: &str, request: Value) -> Value {
        let mut answer = self.call(method, request).await;
        assert_eq!(answer.as_object().unwrap().len(), 1, "{method}: {answer}");
        assert!(answer.get("result").is_some(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Its error: code and message.
    pub(crate) async fn error(&self, method: &str, request: Value) -> (u64, String) {
        let answer = self.call(method, request).await;
        assert_eq!(answer.as_object().unwrap().len(), 1, "{method}: {answer}");
        (answer["error"]["code"].as_u64().unwrap(), answer["error"]["message"].as_str().unwrap().to_owned())
    }

    /// A connection whose `connect` was accepted; its client id is `client-<id>`.
    pub(crate) async fn connect(&self, id: &str, user: &str) {
        let table = &self.tables.table;
        let admit =
            Admit { id, now_s: now(), source_ip: None, stale_after: Duration::from_secs(10), per_address_limit: 0 };
        assert_eq!(table.admit(&admit).await.unwrap(), Admission::Admitted);
        let client = Client {
            user: user.to_owned(),
            client: format!("client-{id}"),
            info: Some(json!({ "name": id }).to_string()),
            expires_at: None,
        };
        let authenticate = Authenticate {
            id,
            client,
            user_connection_limit: 0,
            expired_close_delay: Duration::from_secs(25),
            now_s: now(),
        };
        let authenticated = table.authenticate(&authenticate).await.unwrap();
        assert!(matches!(authenticated, Authentication::Accepted(_)), "{authenticated:?}");
    }

    pub(crate) fn namespace(&self, channel: &str) -> &Namespace {
        self.channels.namespace_of(&ChannelName::parse(channel).unwrap()).unwrap()
    }

    /// What the client's own `subscribe` does; with `delta` it wants deltas. Boxed: it is deep.
    pub(crate) fn subscribe<'a>(&'a self, id: &'a str, channel: &'a str, delta: bool) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let catch_up = self.begin_subscribe(id, channel, delta).await;
            self.publisher.catch_up(catch_up).await.unwrap();
        })
    }

    /// Its first half, up to the reply.
    pub(crate) async fn begin_subscribe(&self, id: &str, channel: &str, delta: bool) -> CatchUp {
        let (connection, _) = self.tables.table.connection_with_subscriptions(id).await.unwrap().unwrap();
        let client = connection.client().unwrap();
        let namespace = self.namespace(channel);
        let info = ClientInfo { user: client.user.clone(), client: client.client.clone(), ..ClientInfo::default() };
        let request = SubscribeRequest { channel: channel.to_owned(), ..SubscribeRequest::default() };
        let command = SubscribeCommand {
            connection_id: id,
            channel,
            command_id: 1,
            client: &info,
            request: &request,
            namespace,
            grant: Grant {
                positioned: namespace.force_recovery,
                recoverable: namespace.force_recovery,
                presence: namespace.presence,
                delta,
                ..Grant::default()
            },
            expires_at: None,
            subscription_expires_at: None,
            ttl: connection.ttl,
            was_in_shard: None,
            server_side: false,
            reply_bytes: REPLY_BYTES,
            recovery_limit: 300,
        };
        let Begun::Reply(_, catch_up) = self.publisher.begin_subscribe(command).await.unwrap() else {
            panic!("subscribe was refused")
        };
        *catch_up
    }

    /// What was pushed to a connection so far, in order.
    pub(crate) fn pushes(&self, id: &str) -> Vec<Value> {
        let lines = self.posts.lines(id).into_iter();
        lines.map(|mut line| line["push"].take()).collect()
    }

    /// What was published to it: `data` in order.
    pub(crate) fn published(&self, id: &str) -> Vec<Value> {
        let publications = self.pushes(id).into_iter().filter_map(|mut push| Some(push.get_mut("pub")?.take()));
        publications.map(|mut publication| publication["data"].take()).collect()
    }

    /// Whether the connection still has its row.
    pub(crate) async fn is_there(&self, id: &str) -> bool {
        self.tables.table.connection(id).await.unwrap().is_some()
    }
}

pub(crate) fn read(response: &Response<Body>) -> (u16, String) {
    let body = match response.body() {
        Body::Empty => String::new(),
        Body::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    (response.status().as_u16(), body)
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}
