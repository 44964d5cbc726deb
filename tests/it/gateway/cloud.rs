//! The real handlers behind the simulated gateway.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use signalbox_auth::TokenVerifier;
use signalbox_channels::{ChannelName, ChannelsConfig, Namespace};
use signalbox_connections::{ConnectionTable, LogState};
use signalbox_lambda::sqs::{Outcome, Record};
use signalbox_publishing::{FanOut, Publisher};

use super::{
    dynamo::{Dynamo, DynamoWeather},
    schedule::{Death, Handle, Schedule},
    sdk::{Options, Sdk, Tokens, Wanted},
    sockets::{Event, Route, Routes, Sockets, Weather},
    workers::{Workers, WorkersWeather},
};
use crate::world::{ORIGIN, TOKEN_SECRET, socket_event, token};

const API_KEY: &str = "key-of-the-server-api";
/// `Timeout` of `api` in template.yaml.
const API_INVOCATION: Duration = Duration::from_secs(30);
/// The keeper's schedule, and its `Timeout`.
const MINUTE: Duration = Duration::from_mins(1);

/// Everything that a deployed stack is, in one process and one seed.
#[derive(Clone)]
pub(crate) struct Cloud {
    pub(crate) schedule: Schedule,
    pub(crate) dynamo: Dynamo,
    pub(crate) sockets: Sockets,
    pub(crate) workers: Workers,
    pub(crate) table: ConnectionTable,
    pub(crate) publisher: Publisher,
    pub(crate) channels: Arc<ChannelsConfig>,
    api: Arc<api::State>,
    kill: Arc<Mutex<f64>>,
}

/// What is not as usual.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weathers {
    pub(crate) dynamo: DynamoWeather,
    pub(crate) sockets: Weather,
    pub(crate) workers: WorkersWeather,
    /// An API request or a keeper's minute is killed at one of its first forty requests.
    pub(crate) kill: f64,
}

impl Weathers {
    /// Nothing fails; only the order is anybody's guess.
    pub(crate) fn calm() -> Self {
        Self { sockets: Weather { late: 0.5, ..Weather::default() }, ..Self::default() }
    }

    /// DynamoDB and API Gateway fail as they do now and then, and nobody dies.
    pub(crate) fn rough() -> Self {
        Self {
            dynamo: DynamoWeather { lost: 0.02, answer_lost: 0.02, conflict: 0.05, slow: 0.01 },
            sockets: Weather {
                unavailable: 0.05,
                arrived_unavailable: 0.01,
                hang: 0.01,
                late: 0.5,
                no_disconnect: 0.1,
                ..Weather::default()
            },
            workers: WorkersWeather { again: 0.1, ..WorkersWeather::default() },
            kill: 0.0,
        }
    }

    /// And invocations die.
    pub(crate) fn deadly() -> Self {
        let rough = Self::rough();
        Self {
            sockets: Weather { kill: 0.1, no_disconnect: 0.3, ..rough.sockets },
            workers: WorkersWeather { kill: 0.2, ..rough.workers },
            kill: 0.3,
            ..rough
        }
    }
}

impl Cloud {
    /// A stack with these `channels.json`.
    pub(crate) fn new(schedule: &Schedule, channels: &str) -> Self {
        let channels = Arc::new(ChannelsConfig::parse(channels).unwrap());
        let dynamo = Dynamo::new(schedule);
        let sockets = Sockets::new(schedule);
        let table = dynamo.connections();
        let workers = Workers::new(schedule);
        let publisher = Publisher::new(table.clone(), sockets.gateway())
            .with_fan_out(FanOut::Recorded(workers.sent()))
            .with_channels(channels.clone());
        let api = api::State::new(publisher.clone(), channels.clone(), Some(API_KEY), "test").unwrap();
        let schedule = schedule.clone();
        let api = Arc::new(api);
        let cloud = Self { schedule, dynamo, sockets, workers, table, publisher, channels, api, kill: Arc::default() };
        cloud.sockets.set_routes(cloud.routes());
        cloud
    }

    fn routes(&self) -> Routes {
        fn event(event: &Event) -> aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest {
            let mut request =
                socket_event(&event.connection_id, event.kind, event.body.as_deref(), event.origin.as_deref());
            request.request_context.identity.source_ip = Some(event.source_ip.clone());
            request
        }
        let connect = Arc::new(ws_connect::State::new(self.table.clone(), ORIGIN, self.channels.client.clone()));
        let disconnect = Arc::new(ws_disconnect::State { publisher: self.publisher.clone() });
        let default = Arc::new(ws_default::State {
            publisher: self.publisher.clone(),
            status: self.dynamo.status(),
            channels: self.channels.clone(),
            tokens: TokenVerifier::new(Some(TOKEN_SECRET), None, None, None).unwrap(),
            subscription_tokens: None,
            tickets: signalbox_auth::TicketKey::new("example-ticket-secret"),
            actions: None,
            allow_anonymous: false,
        });
        let connect: Route = Arc::new(move |e| {
            let state = connect.clone();
            Box::pin(async move { Ok(ws_connect::handle(&state, event(&e)).await?.status_code) })
        });
        let default: Route = Arc::new(move |e| {
            let state = default.clone();
            Box::pin(async move {
                let response = ws_default::handle(&state, event(&e)).await?;
                anyhow::ensure!(response.body.is_none(), "a body would reach the socket");
                Ok(response.status_code)
            })
        });
        let disconnect: Route = Arc::new(move |e| {
            let state = disconnect.clone();
            Box::pin(async move { Ok(ws_disconnect::handle(&state, event(&e)).await?.status_code) })
        });
        Routes { connect, default, disconnect }
    }

    pub(crate) fn set_weather(&self, weathers: Weathers) {
        self.dynamo.set_weather(weathers.dynamo);
        self.sockets.set_weather(weathers.sockets);
        self.workers.set_weather(weathers.workers);
        *self.kill.lock().unwrap() = weathers.kill;
    }

    /// A client of that user, not connected.
    pub(crate) fn client(&self, user: &str, eager: bool) -> Sdk {
        let signed = token(user);
        self.client_with(user, eager, Arc::new(move || signed.clone()))
    }

    /// A client whose tokens come from `tokens`, not connected.
    pub(crate) fn client_with(&self, user: &str, eager: bool, token: Tokens) -> Sdk {
        let options = Options {
            name: user.to_owned(),
            token,
            origin: Some(ORIGIN.to_owned()),
            source_ip: "192.0.2.1".to_owned(),
            eager,
        };
        Sdk::new(&self.schedule, &self.sockets, options)
    }

    /// A connected client with a subscription.
    pub(crate) fn subscriber(&self, user: &str, channel: &str) -> Sdk {
        self.subscriber_with(user, channel, Wanted::default())
    }

    /// A connected client with a subscription that asks for something.
    pub(crate) fn subscriber_with(&self, user: &str, channel: &str, wanted: Wanted) -> Sdk {
        let client = self.client(user, self.schedule.draw(fastrand::Rng::bool));
        client.subscribe(channel, wanted);
        client.connect();
        client
    }

    pub(crate) fn namespace(&self, channel: &str) -> Namespace {
        self.channels.namespace_of(&ChannelName::parse(channel).unwrap()).unwrap().clone()
    }

    /// A request of the server API, in an invocation of its own: the result, or the error with its code. `None` when the invocation
    /// was killed or Lambda's time for it was over.
    #[expect(clippy::needless_pass_by_value, reason = "callers write the body where they call")]
    pub(crate) fn api(&self, method: &str, body: Value, death: Option<Death>) -> Handle<Option<Result<Value, i64>>> {
        let request = lambda_http::http::Request::post(format!("https://x.example/api/{method}"))
            .header("x-api-key", API_KEY)
            .body(lambda_http::Body::Text(body.to_string()))
            .unwrap();
        let api = self.api.clone();
        self.schedule.spawn_local(format!("{method} {}", body["data"]), death, move || async move {
            let response = tokio::time::timeout(API_INVOCATION, api::handle(&api, request)).await.ok()?;
            let lambda_http::Body::Text(text) = response.body() else { panic!("no text: {response:?}") };
            assert_eq!(response.status(), 200, "{text}");
            let mut answer: Value = serde_json::from_str(text).unwrap();
            Some(match answer["error"]["code"].as_i64() {
                Some(code) => Err(code),
                None => Ok(answer["result"].take()),
            })
        })
    }

    /// Publishes through the server API: the offset, or nothing when it was not acknowledged.
    pub(crate) async fn publish(&self, channel: &str, data: &Value) -> Option<u64> {
        self.publish_with(json!({"channel": channel, "data": data})).await
    }

    /// The same with all that a request may have; it dies as the weather has it.
    pub(crate) async fn publish_with(&self, body: Value) -> Option<u64> {
        let answer = self.api("publish", body, self.death()).join().await;
        answer??.ok().map(|result| result["offset"].as_u64().unwrap_or(0))
    }

    /// A death as the weather has it.
    pub(crate) fn death(&self) -> Option<Death> {
        let probability = *self.kill.lock().unwrap();
        let dies = self.schedule.chance(probability);
        dies.then(|| self.schedule.draw(|rng| Death { gate: rng.usize(..40), after: rng.bool() }))
    }

    /// Begins the keeper's minutes; each may die.
    pub(crate) fn start_keeper(&self) {
        let this = self.clone();
        let state = Arc::new(keeper::State { publisher: self.publisher.clone() });
        self.schedule.spawn_background("EventBridge", async move {
            // EventBridge Scheduler is as exact as a minute
            let first = this.schedule.draw(|rng| rng.u64(..60_000));
            tokio::time::sleep(Duration::from_millis(first)).await;
            for minute in 0.. {
                let (state, death) = (state.clone(), this.death());
                let time = jiff::Timestamp::from_millisecond(signalbox_clock::now_ms()).unwrap();
                this.schedule.spawn_local(format!("keeper {minute}"), death, move || async move {
                    // a minute that fails is followed by another
                    let _ = tokio::time::timeout(MINUTE, keeper::handle(&state, keeper::Tick { time })).await;
                });
                tokio::time::sleep(MINUTE).await;
            }
        });
    }

    /// Begins the workers of the fan-out queue.
    pub(crate) fn start_workers(&self) {
        let (publisher, channels) = (self.publisher.clone(), self.channels.clone());
        let state = Arc::new(fanout::State { publisher, channels, dead_letters: None });
        self.workers.start(Arc::new(move |body: String, receives| {
            let state = state.clone();
            Box::pin(async move {
                let record = Record { message_id: "m".to_owned(), receives, body: serde_json::from_str(&body)? };
                match fanout::handle(&state, vec![record]).await?.as_slice() {
                    [Outcome::Stored] => Ok(()),
                    outcome => anyhow::bail!("{outcome:?}"),
                }
            })
        }));
    }

    /// Waits until nothing is under way and no task is waiting.
    pub(crate) async fn settled(&self) {
        loop {
            self.schedule.settled().await;
            if self.workers.idle() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Keys of the items that connections have.
    pub(crate) fn rows_of_connections(&self) -> Vec<String> {
        let text = |item: &Value, name: &str| item[name]["S"].as_str().unwrap().to_owned();
        let items = self.dynamo.items();
        let keys = items.iter().map(|item| format!("{} {}", text(item, "pk"), text(item, "sk")));
        keys.filter(|key| ["conn#", "ch#", "user#", "addr#"].iter().any(|of| key.starts_with(of))).collect()
    }

    /// Breaks `$default` on purpose: it fails where a frame is like that.
    pub(crate) fn fail_frames(&self, like: fn(&str) -> bool) {
        let routes = self.routes();
        let whole = routes.default;
        let default: Route = Arc::new(move |event| {
            if event.body.as_deref().is_some_and(like) {
                return Box::pin(async { anyhow::bail!("broken on purpose") });
            }
            whole(event)
        });
        self.sockets.set_routes(Routes { default, ..routes });
    }

    /// The publications of a channel by their offsets, `None` for a tombstone, and its top and epoch.
    pub(crate) async fn truth(&self, channel: &str) -> Truth {
        let namespace = self.namespace(channel);
        let head = self.table.head(channel, 0, namespace.history_meta_ttl).await.unwrap();
        let log = self.table.log(channel, &head.epoch, 0, head.offset, 0).await.unwrap();
        let entries = log
            .into_iter()
            .map(|entry| {
                let data = match entry.state {
                    LogState::Publication(item) => Some(serde_json::from_str(&item.data).unwrap()),
                    LogState::Tombstone | LogState::Expired => None,
                };
                (entry.offset, data)
            })
            .collect();
        Truth { channel: channel.to_owned(), epoch: head.epoch, top: head.offset, delivered: head.delivered, entries }
    }
}

/// What a channel's stream holds.
#[derive(Debug, Clone)]
pub(crate) struct Truth {
    pub(crate) channel: String,
    pub(crate) epoch: String,
    pub(crate) top: u64,
    pub(crate) delivered: u64,
    pub(crate) entries: std::collections::BTreeMap<u64, Option<Value>>,
}
