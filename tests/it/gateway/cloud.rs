//! The real handlers behind the simulated gateway.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use signalbox_auth::TokenVerifier;
use signalbox_channels::{ChannelName, ChannelsConfig, Namespace};
use signalbox_connections::ConnectionTable;
use signalbox_publishing::{Published, Publisher};

use super::{
    dynamo::{Dynamo, DynamoWeather},
    schedule::{Death, Handle, Schedule},
    sdk::{Options, Sdk, Wanted},
    sockets::{Event, Route, Routes, Sockets, Weather},
};
use crate::world::{ORIGIN, TOKEN_SECRET, socket_event, token};

/// Everything that a deployed stack is, in one process and one seed.
#[derive(Clone)]
pub(crate) struct Cloud {
    pub(crate) schedule: Schedule,
    pub(crate) dynamo: Dynamo,
    pub(crate) sockets: Sockets,
    pub(crate) table: ConnectionTable,
    pub(crate) publisher: Publisher,
    pub(crate) channels: ChannelsConfig,
}

/// What is not as usual.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weathers {
    pub(crate) dynamo: DynamoWeather,
    pub(crate) sockets: Weather,
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
        }
    }

    /// And invocations die.
    pub(crate) fn deadly() -> Self {
        let rough = Self::rough();
        Self { sockets: Weather { kill: 0.2, no_disconnect: 0.3, ..rough.sockets }, ..rough }
    }
}

impl Cloud {
    /// A stack with these `channels.json`.
    pub(crate) fn new(schedule: &Schedule, channels: &str) -> Self {
        let channels = ChannelsConfig::parse(channels).unwrap();
        let dynamo = Dynamo::new(schedule);
        let sockets = Sockets::new(schedule);
        let table = dynamo.connections();
        let publisher = Publisher::new(table.clone(), sockets.gateway());
        let cloud = Self { schedule: schedule.clone(), dynamo, sockets, table, publisher, channels };
        cloud.sockets.set_routes(cloud.routes());
        cloud
    }

    fn routes(&self) -> Routes {
        fn event(event: &Event) -> aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest {
            socket_event(&event.connection_id, event.kind, event.body.as_deref(), event.origin.as_deref())
        }
        let connect = Arc::new(ws_connect::State::new(self.table.clone(), ORIGIN));
        let disconnect = Arc::new(ws_disconnect::State::new(self.table.clone()));
        let default = Arc::new(ws_default::State {
            publisher: self.publisher.clone(),
            status: self.dynamo.status(),
            channels: self.channels.clone(),
            tokens: TokenVerifier::new(Some(TOKEN_SECRET), None, None, None).unwrap(),
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
    }

    /// A client of that user, not connected.
    pub(crate) fn client(&self, user: &str, eager: bool) -> Sdk {
        let signed = token(user);
        let options = Options {
            name: user.to_owned(),
            token: Arc::new(move || signed.clone()),
            origin: Some(ORIGIN.to_owned()),
            source_ip: "192.0.2.1".to_owned(),
            eager,
        };
        Sdk::new(&self.schedule, &self.sockets, options)
    }

    /// A connected client with a subscription.
    pub(crate) fn subscriber(&self, user: &str, channel: &str) -> Sdk {
        let client = self.client(user, self.schedule.draw(fastrand::Rng::bool));
        client.subscribe(channel, Wanted::default());
        client.connect();
        client
    }

    pub(crate) fn namespace(&self, channel: &str) -> Namespace {
        self.channels.namespace_of(&ChannelName::parse(channel).unwrap()).unwrap().clone()
    }

    /// An invocation that publishes from the server's side.
    pub(crate) fn publish(
        &self,
        channel: &str,
        data: Value,
        key: Option<String>,
        death: Option<Death>,
    ) -> Handle<Option<Published>> {
        let (publisher, namespace) = (self.publisher.clone(), self.namespace(channel));
        let (name, channel) = (format!("publish {data}"), channel.to_owned());
        self.schedule.spawn(name, death, async move {
            let data = serde_json::value::to_raw_value(&data).unwrap();
            let published = publisher.publish(&channel, &namespace, &data, key.as_deref());
            let published = tokio::time::timeout(Duration::from_secs(30), published).await;
            published.ok().and_then(Result::ok)
        })
    }

    /// The publications of a channel by their offsets, `None` for a tombstone, and its top and epoch.
    pub(crate) async fn truth(&self, channel: &str) -> Truth {
        let namespace = self.namespace(channel);
        let head = self.table.head(channel, 0, namespace.history_meta_ttl).await.unwrap();
        let log = self.table.log(channel, &head.epoch, 0, head.offset, 0).await.unwrap();
        let entries = log
            .into_iter()
            .map(|entry| (entry.offset, entry.data.map(|data| serde_json::from_str(&data).unwrap())))
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

/// Runs `property` once for each seed. What fails is run again with a trace, and names its seed.
///
/// `SIGNALBOX_SEED` runs that one alone; `SIGNALBOX_SCHEDULES` is a factor on the number of seeds.
pub(crate) fn for_seeds<Fut>(name: &str, seeds: u64, property: impl Fn(Schedule) -> Fut)
where
    Fut: Future<Output = ()>,
{
    let first = name.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))) % 1_000_000;
    let only = number("SIGNALBOX_SEED");
    let seeds = match only {
        Some(seed) => seed..seed + 1,
        None => first..first + seeds * number("SIGNALBOX_SCHEDULES").unwrap_or(1),
    };
    for seed in seeds {
        let run = |traced: bool| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let outcome = runtime.block_on(async {
                let schedule = Schedule::new(seed, traced);
                let work = schedule.run(property(schedule.clone()));
                let outcome = CatchUnwind(Box::pin(work)).await;
                let panics = schedule.panics();
                let outcome = outcome.and_then(|()| {
                    catch_unwind(AssertUnwindSafe(|| assert!(panics.is_empty(), "an actor panicked: {panics:?}")))
                });
                (outcome, schedule.trace())
            });
            outcome
        };
        let (outcome, _) = run(only.is_some() && std::env::var_os("SIGNALBOX_TRACE").is_some());
        if let Err(panic) = outcome {
            let (_, trace) = run(true);
            let from = trace.len().saturating_sub(400);
            println!("{}\nSIGNALBOX_SEED={seed} repeats it", trace[from..].join("\n"));
            resume_unwind(panic);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Catches a panic of the test itself, so that its seed can be told.
struct CatchUnwind<F>(std::pin::Pin<Box<F>>);

impl<F: Future> Future for CatchUnwind<F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    }
}
