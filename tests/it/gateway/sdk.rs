//! A client that behaves as centrifuge-js 5.8 does (src/centrifuge.ts, src/subscription.ts), on a socket of the simulated
//! gateway, and notes what its application would see.
//!
//! As the real one it checks no offsets: it takes what comes in the order in which it comes. [`super::oracle`] looks at what it noted.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, Weak},
    task::{Poll, Waker},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::{sync::Notify, time::Instant};

use super::{
    schedule::Schedule,
    sockets::{Peer, Sockets},
};

/// `timeout` of the SDKs.
const TIMEOUT: Duration = Duration::from_secs(5);
/// `maxServerPingDelay`.
const PING_DELAY: Duration = Duration::from_secs(10);
const MIN_DELAY: u64 = 500;
const MAX_DELAY: u64 = 20_000;

/// Where tokens come from: asked again after error 109 and for a refresh.
pub(crate) type Tokens = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) name: String,
    pub(crate) token: Tokens,
    pub(crate) origin: Option<String>,
    pub(crate) source_ip: String,
    /// Subscribes in the frame of `connect` as centrifuge-js does, or after its reply as centrifuge-python.
    pub(crate) eager: bool,
}

/// What a subscription asks for.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the protocol's")]
pub(crate) struct Wanted {
    pub(crate) recoverable: bool,
    pub(crate) positioned: bool,
    pub(crate) join_leave: bool,
    pub(crate) delta: bool,
    pub(crate) tf: Option<Value>,
    pub(crate) token: Option<String>,
    /// Offset and epoch to begin from.
    pub(crate) since: Option<(u64, String)>,
}

/// What the application sees of a subscription.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Subscribing {
        code: u64,
    },
    Subscribed(Subscribed),
    Unsubscribed {
        code: u64,
    },
    Publication {
        offset: u64,
        data: Value,
    },
    /// A publication that came while there was no subscription: the SDK drops it.
    Dropped {
        offset: u64,
    },
    Join {
        client: String,
    },
    Leave {
        client: String,
    },
}

#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the protocol's")]
pub(crate) struct Subscribed {
    /// What recovery was asked for.
    pub(crate) asked: Option<(u64, String)>,
    pub(crate) epoch: String,
    pub(crate) offset: u64,
    pub(crate) recoverable: bool,
    pub(crate) positioned: bool,
    pub(crate) was_recovering: bool,
    pub(crate) recovered: bool,
}

/// A moment of a subscription.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) seen: Seen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Disconnected,
    Connecting,
    Connected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubState {
    Unsubscribed,
    Subscribing,
    Subscribed,
}

struct Sub {
    wanted: Wanted,
    state: SubState,
    in_flight: bool,
    recover: bool,
    offset: u64,
    epoch: String,
    attempts: u32,
    again_at: Option<Instant>,
    refresh_at: Option<Instant>,
    /// The document that the next delta is against.
    document: Option<String>,
    delta: bool,
    seen: Vec<Moment>,
}

struct ServerSub {
    offset: u64,
    epoch: String,
    recoverable: bool,
    live: bool,
    seen: Vec<Moment>,
}

enum Kind {
    Connect,
    Subscribe(String, Option<(u64, String)>),
    Unsubscribe,
    Refresh,
    SubRefresh(String),
    /// The application's own.
    Call(Arc<Mutex<Answer>>),
}

#[derive(Default)]
struct Answer {
    /// `Err` with code 1 is a time-out.
    result: Option<Result<Value, Value>>,
    waker: Option<Waker>,
}

struct Pending {
    kind: Kind,
    deadline: Instant,
}

struct Inner {
    state: State,
    /// The socket, once it is open.
    socket: Option<String>,
    opening: bool,
    client: Option<String>,
    token: String,
    next_id: u32,
    attempts: u32,
    reconnect_at: Option<Instant>,
    ping: Option<Duration>,
    ping_by: Option<Instant>,
    refresh_at: Option<Instant>,
    pending: BTreeMap<u32, Pending>,
    subs: BTreeMap<String, Sub>,
    server_subs: BTreeMap<String, ServerSub>,
    outbox: Vec<String>,
    to_close: Vec<String>,
    /// Codes of `disconnect` pushes and of reasons to begin again, in order.
    codes: Vec<u64>,
    /// What breaks the protocol.
    violations: Vec<String>,
    connected: usize,
    messages: Vec<Value>,
}

#[derive(Clone)]
pub(crate) struct Sdk(Arc<Shared>);

struct Shared {
    options: Options,
    sockets: Sockets,
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Sdk {
    /// A client that is not connected.
    pub(crate) fn new(schedule: &Schedule, sockets: &Sockets, options: Options) -> Self {
        let inner = Inner {
            state: State::Disconnected,
            socket: None,
            opening: false,
            client: None,
            token: (options.token)(),
            next_id: 0,
            attempts: 0,
            reconnect_at: None,
            ping: None,
            ping_by: None,
            refresh_at: None,
            pending: BTreeMap::new(),
            subs: BTreeMap::new(),
            server_subs: BTreeMap::new(),
            outbox: Vec::new(),
            to_close: Vec::new(),
            codes: Vec::new(),
            violations: Vec::new(),
            connected: 0,
            messages: Vec::new(),
        };
        let this = Self(Arc::new(Shared {
            options,
            sockets: sockets.clone(),
            inner: Mutex::new(inner),
            changed: Notify::new(),
        }));
        let running = this.clone();
        schedule.spawn_background(format!("sdk {}", this.0.options.name), async move { running.run().await });
        this
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap()
    }

    fn changed(&self) {
        self.0.changed.notify_one();
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.options.name
    }

    pub(crate) fn connect(&self) {
        let mut inner = self.inner();
        if inner.state == State::Disconnected {
            inner.state = State::Connecting;
            inner.reconnect_at = Some(Instant::now());
        }
        drop(inner);
        self.changed();
    }

    pub(crate) fn disconnect(&self) {
        self.inner().disconnect(0, false);
        self.changed();
    }

    /// Its network goes away and comes back: the socket is lost, and API Gateway is told or not.
    pub(crate) fn lose_network(&self, told: bool) {
        let id = self.inner().socket.clone();
        if let Some(id) = &id {
            if told {
                self.0.sockets.close(id, 1001);
            } else {
                self.0.sockets.vanish(id);
            }
        }
        self.inner().disconnect(1, true);
        self.changed();
    }

    pub(crate) fn subscribe(&self, channel: &str, wanted: Wanted) {
        let mut inner = self.inner();
        let (recover, (offset, epoch)) = (wanted.since.is_some(), wanted.since.clone().unwrap_or_default());
        if inner.subs.get(channel).is_some_and(|sub| sub.state != SubState::Unsubscribed) {
            return;
        }
        let known = inner.subs.remove(channel);
        let sub = match known {
            Some(sub) => Sub { state: SubState::Subscribing, wanted, attempts: 0, ..sub },
            None => Sub {
                wanted,
                state: SubState::Subscribing,
                in_flight: false,
                recover,
                offset,
                epoch,
                attempts: 0,
                again_at: None,
                refresh_at: None,
                document: None,
                delta: false,
                seen: Vec::new(),
            },
        };
        inner.subs.insert(channel.to_owned(), sub);
        if inner.state == State::Connected {
            inner.send_subscribe(channel);
        }
        drop(inner);
        self.changed();
    }

    pub(crate) fn unsubscribe(&self, channel: &str) {
        let mut inner = self.inner();
        let Some(sub) = inner.subs.get_mut(channel) else { return };
        let told = sub.state == SubState::Subscribed || (sub.state == SubState::Subscribing && sub.in_flight);
        sub.state = SubState::Unsubscribed;
        sub.in_flight = false;
        sub.again_at = None;
        sub.note(Seen::Unsubscribed { code: 0 });
        if told && inner.socket.is_some() {
            inner.call(json!({"unsubscribe": {"channel": channel}}), Kind::Unsubscribe);
        }
        drop(inner);
        self.changed();
    }

    /// A command of the application: the result, or the error (code 1: no answer within five seconds; 11: the connection went).
    pub(crate) fn call(&self, command: Value) -> impl Future<Output = Result<Value, Value>> + Send + use<> {
        let answer = Arc::new(Mutex::new(Answer::default()));
        let mut inner = self.inner();
        if inner.socket.is_some() {
            inner.call(command, Kind::Call(answer.clone()));
        } else {
            answer.lock().unwrap().result = Some(Err(json!({"code": 11, "message": "not connected"})));
        }
        drop(inner);
        self.changed();
        std::future::poll_fn(move |cx| {
            let mut answer = answer.lock().unwrap();
            if let Some(result) = answer.result.take() {
                return Poll::Ready(result);
            }
            answer.waker = Some(cx.waker().clone());
            Poll::Pending
        })
    }

    pub(crate) fn publish(
        &self,
        channel: &str,
        data: &Value,
    ) -> impl Future<Output = Result<Value, Value>> + Send + use<> {
        self.call(json!({"publish": {"channel": channel, "data": data}}))
    }

    pub(crate) fn client(&self) -> Option<String> {
        self.inner().client.clone()
    }

    pub(crate) fn sub_state(&self, channel: &str) -> Option<SubState> {
        self.inner().subs.get(channel).map(|sub| sub.state)
    }

    pub(crate) fn seen(&self, channel: &str) -> Vec<Moment> {
        let inner = self.inner();
        inner
            .subs
            .get(channel)
            .map(|sub| &sub.seen)
            .or(inner.server_subs.get(channel).map(|sub| &sub.seen))
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn is_server_subscribed(&self, channel: &str) -> bool {
        self.inner().server_subs.get(channel).is_some_and(|sub| sub.live)
    }

    pub(crate) fn codes(&self) -> Vec<u64> {
        self.inner().codes.clone()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.inner().violations.clone()
    }

    pub(crate) fn times_connected(&self) -> usize {
        self.inner().connected
    }

    /// Waits until `condition` holds, `within` at most; says whether it does.
    pub(crate) async fn until(&self, within: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let by = Instant::now() + within;
        while !condition(self) {
            if Instant::now() >= by {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    pub(crate) async fn until_subscribed(&self, channel: &str) {
        let there =
            self.until(Duration::from_mins(2), |sdk| sdk.sub_state(channel) == Some(SubState::Subscribed)).await;
        assert!(there, "{} is not subscribed to {channel}: {:?}", self.name(), self.seen(channel));
    }

    async fn run(self) {
        loop {
            let (open, next) = {
                let mut inner = self.inner();
                inner.tick(&self.0.options);
                let open = inner.reconnect_at.is_some_and(|at| at <= Instant::now()) && !inner.opening;
                if open {
                    inner.reconnect_at = None;
                    inner.opening = true;
                }
                (open, inner.next_deadline())
            };
            self.flush();
            if open {
                self.open().await;
                continue;
            }
            tokio::select! {
                biased;
                () = self.0.changed.notified() => {}
                () = tokio::time::sleep_until(next.unwrap_or_else(|| Instant::now() + Duration::from_hours(24 * 400))) => {}
            }
        }
    }

    fn flush(&self) {
        let (socket, lines, close) = {
            let mut inner = self.inner();
            (inner.socket.clone(), std::mem::take(&mut inner.outbox), std::mem::take(&mut inner.to_close))
        };
        for id in close {
            self.0.sockets.close(&id, 1000);
        }
        if let (Some(socket), false) = (socket, lines.is_empty()) {
            self.0.sockets.send(&socket, &lines.join("\n"));
        }
    }

    async fn open(&self) {
        let peer: Arc<dyn Peer> = Arc::new(WeakPeer(Arc::downgrade(&self.0)));
        let options = &self.0.options;
        let opening = self.0.sockets.open(Some(peer), options.origin.as_deref(), &options.source_ip);
        // the SDKs give a socket no longer than their time-out to open
        let opened = tokio::time::timeout(TIMEOUT, opening).await;
        let mut inner = self.inner();
        inner.opening = false;
        match opened {
            Ok(Ok(id)) if inner.state == State::Connecting => {
                inner.socket = Some(id);
                let mut connect = Map::new();
                connect.insert("token".to_owned(), json!(inner.token));
                connect.insert("name".to_owned(), json!("js"));
                let subs: Map<String, Value> = inner
                    .server_subs
                    .iter()
                    .filter(|(_, sub)| sub.live && sub.recoverable)
                    .map(|(channel, sub)| {
                        (channel.clone(), json!({"recover": true, "offset": sub.offset, "epoch": sub.epoch}))
                    })
                    .collect();
                if !subs.is_empty() {
                    connect.insert("subs".to_owned(), Value::Object(subs));
                }
                inner.call(json!({"connect": connect}), Kind::Connect);
                if options.eager {
                    inner.send_subscribes();
                }
            }
            Ok(Ok(id)) => inner.to_close.push(id),
            Ok(Err(_)) | Err(_) => {
                if inner.state == State::Connecting {
                    inner.reconnect_later();
                }
            }
        }
        drop(inner);
        self.flush();
    }
}

struct WeakPeer(Weak<Shared>);

impl Peer for WeakPeer {
    fn received(&self, connection_id: &str, frame: &str) {
        let Some(shared) = self.0.upgrade() else { return };
        let sdk = Sdk(shared);
        let mut inner = sdk.inner();
        if inner.socket.as_deref() != Some(connection_id) {
            return;
        }
        if let Some(ping) = inner.ping {
            inner.ping_by = Some(Instant::now() + ping + PING_DELAY);
        }
        for line in frame.split('\n') {
            if inner.socket.as_deref() != Some(connection_id) {
                break;
            }
            match serde_json::from_str::<Value>(line) {
                Ok(Value::Object(object)) => inner.line(&object, &sdk.0.options),
                _ => inner.violations.push(format!("not an object: {line:?}")),
            }
        }
        drop(inner);
        sdk.changed();
    }

    fn closed(&self, connection_id: &str, code: u16) {
        let Some(shared) = self.0.upgrade() else { return };
        let sdk = Sdk(shared);
        let mut inner = sdk.inner();
        if inner.socket.as_deref() == Some(connection_id) {
            inner.socket = None;
            // 1009 ends centrifuge-js for good
            inner.disconnect(u64::from(code), code != 1009);
        }
        drop(inner);
        sdk.changed();
    }
}

fn backoff(attempts: u32) -> Duration {
    let most = (MIN_DELAY << attempts.min(6)).min(MAX_DELAY);
    Duration::from_millis(MIN_DELAY + fastrand::u64(..=most).min(MAX_DELAY - MIN_DELAY))
}

impl Sub {
    fn note(&mut self, seen: Seen) {
        self.seen.push(Moment { seen });
    }
}

impl Inner {
    fn call(&mut self, mut command: Value, kind: Kind) {
        self.next_id += 1;
        let id = self.next_id;
        command["id"] = json!(id);
        self.outbox.push(command.to_string());
        self.pending.insert(id, Pending { kind, deadline: Instant::now() + TIMEOUT });
    }

    fn reconnect_later(&mut self) {
        self.reconnect_at = Some(Instant::now() + backoff(self.attempts));
        self.attempts += 1;
    }

    fn send_subscribes(&mut self) {
        let channels: Vec<String> = self
            .subs
            .iter()
            .filter(|(_, sub)| sub.state == SubState::Subscribing && !sub.in_flight)
            .map(|(channel, _)| channel.clone())
            .collect();
        for channel in channels {
            self.send_subscribe(&channel);
        }
    }

    fn send_subscribe(&mut self, channel: &str) {
        let Some(sub) = self.subs.get_mut(channel) else { return };
        if self.socket.is_none() || sub.in_flight || sub.state != SubState::Subscribing {
            return;
        }
        sub.in_flight = true;
        sub.again_at = None;
        let mut request = Map::new();
        request.insert("channel".to_owned(), json!(channel));
        request.insert("flag".to_owned(), json!(1));
        for (name, wanted) in [
            ("recoverable", sub.wanted.recoverable),
            ("positioned", sub.wanted.positioned),
            ("join_leave", sub.wanted.join_leave),
        ] {
            if wanted {
                request.insert(name.to_owned(), json!(true));
            }
        }
        if let Some(token) = &sub.wanted.token {
            request.insert("token".to_owned(), json!(token));
        }
        if sub.wanted.delta {
            request.insert("delta".to_owned(), json!("fossil"));
        }
        if let Some(tf) = &sub.wanted.tf {
            request.insert("tf".to_owned(), tf.clone());
        }
        let mut asked = None;
        if sub.recover {
            asked = Some((sub.offset, sub.epoch.clone()));
            request.insert("recover".to_owned(), json!(true));
            if sub.offset > 0 {
                request.insert("offset".to_owned(), json!(sub.offset));
            }
            if !sub.epoch.is_empty() {
                request.insert("epoch".to_owned(), json!(sub.epoch));
            }
        }
        self.call(json!({"subscribe": request}), Kind::Subscribe(channel.to_owned(), asked));
    }

    fn line(&mut self, line: &Map<String, Value>, options: &Options) {
        if let Some(id) = line.get("id").and_then(Value::as_u64) {
            return self.reply(id, line, options);
        }
        // otherwise a ping, or API Gateway's error object, which looks like one
        if let Some(push) = line.get("push") {
            self.push(push);
        }
    }

    fn reply(&mut self, id: u64, line: &Map<String, Value>, options: &Options) {
        let Some(pending) = u32::try_from(id).ok().and_then(|id| self.pending.remove(&id)) else {
            if id > u64::from(self.next_id) {
                self.violations.push(format!("a reply to what was never asked: {line:?}"));
            }
            return;
        };
        let error = line.get("error");
        let code = error.and_then(|error| error["code"].as_u64()).unwrap_or(0);
        let temporary = code < 100 || error.is_some_and(|error| error["temporary"] == true);
        match pending.kind {
            Kind::Connect => match (line.get("connect"), error) {
                (Some(result), None) => self.connected(result),
                (_, Some(_)) => {
                    if code == 109 {
                        self.token = (options.token)();
                        self.disconnect(code, true);
                    } else {
                        self.disconnect(code, temporary);
                    }
                }
                _ => self.violations.push(format!("no connect result: {line:?}")),
            },
            Kind::Subscribe(channel, asked) => match (line.get("subscribe"), error) {
                (Some(result), None) => self.subscribed(&channel, asked, result),
                (_, Some(_)) => {
                    let Some(sub) = self.subs.get_mut(&channel) else { return };
                    sub.in_flight = false;
                    if sub.state != SubState::Subscribing {
                        return;
                    }
                    if temporary || code == 109 {
                        sub.again_at = Some(Instant::now() + backoff(sub.attempts));
                        sub.attempts += 1;
                    } else {
                        sub.state = SubState::Unsubscribed;
                        sub.note(Seen::Unsubscribed { code });
                    }
                }
                _ => self.violations.push(format!("no subscribe result: {line:?}")),
            },
            Kind::Unsubscribe => {
                if error.is_some() {
                    self.disconnect(4, true);
                }
            }
            Kind::Refresh => match (line.get("refresh"), error) {
                (Some(result), None) => self.refresh_at = refresh_at(result),
                (_, Some(_)) if temporary => {
                    self.refresh_at = Some(Instant::now() + Duration::from_millis(5_000 + fastrand::u64(..5_000)));
                }
                _ => self.disconnect(code, false),
            },
            Kind::SubRefresh(channel) => {
                let Some(sub) = self.subs.get_mut(&channel) else { return };
                match (line.get("sub_refresh"), error) {
                    (Some(result), None) => sub.refresh_at = refresh_at(result),
                    (_, Some(_)) if temporary => {
                        sub.refresh_at = Some(Instant::now() + Duration::from_millis(10_000 + fastrand::u64(..10_000)));
                    }
                    _ => {
                        sub.state = SubState::Unsubscribed;
                        sub.note(Seen::Unsubscribed { code });
                    }
                }
            }
            Kind::Call(answer) => {
                let result = if let Some(error) = error {
                    Err(error.clone())
                } else {
                    let result = line.iter().find(|(name, _)| *name != "id").map(|(_, result)| result.clone());
                    if result.is_none() {
                        self.violations.push(format!("a reply without a result: {line:?}"));
                    }
                    Ok(result.unwrap_or(Value::Null))
                };
                settle(&answer, result);
            }
        }
    }

    fn connected(&mut self, result: &Value) {
        if self.state != State::Connecting {
            return;
        }
        self.state = State::Connected;
        self.attempts = 0;
        self.connected += 1;
        self.client = result["client"].as_str().map(str::to_owned);
        if self.client.is_none() {
            self.violations.push(format!("no client id: {result}"));
        }
        self.ping = result["ping"].as_u64().filter(|&ping| ping > 0).map(Duration::from_secs);
        self.ping_by = self.ping.map(|ping| Instant::now() + ping + PING_DELAY);
        self.refresh_at = refresh_at(result);
        self.send_subscribes();
        let none = Map::new();
        let subs = result["subs"].as_object().unwrap_or(&none);
        for (channel, result) in subs {
            let sub = self.server_subs.entry(channel.clone()).or_insert_with(|| ServerSub {
                offset: 0,
                epoch: String::new(),
                recoverable: false,
                live: false,
                seen: Vec::new(),
            });
            let asked = (sub.live && sub.recoverable).then(|| (sub.offset, sub.epoch.clone()));
            sub.live = true;
            sub.recoverable = result["recoverable"] == true;
            sub.offset = result["offset"].as_u64().unwrap_or(0);
            result["epoch"].as_str().unwrap_or_default().clone_into(&mut sub.epoch);
            let subscribed = read_subscribed(result, asked);
            let recovered = subscribed.recovered;
            sub.seen.push(Moment { seen: Seen::Subscribed(subscribed) });
            if recovered {
                for publication in result["publications"].as_array().into_iter().flatten() {
                    sub.publication(publication);
                }
            }
        }
        for (channel, sub) in &mut self.server_subs {
            if sub.live && !subs.contains_key(channel) {
                sub.live = false;
                sub.seen.push(Moment { seen: Seen::Unsubscribed { code: 0 } });
            }
        }
    }

    fn subscribed(&mut self, channel: &str, asked: Option<(u64, String)>, result: &Value) {
        let Some(sub) = self.subs.get_mut(channel) else { return };
        sub.in_flight = false;
        if sub.state != SubState::Subscribing {
            return;
        }
        sub.state = SubState::Subscribed;
        sub.attempts = 0;
        sub.again_at = None;
        if result["recoverable"] == true {
            sub.recover = true;
            sub.offset = result["offset"].as_u64().unwrap_or(0);
            result["epoch"].as_str().unwrap_or_default().clone_into(&mut sub.epoch);
        }
        sub.delta = result["delta"] == true;
        sub.document = None;
        sub.refresh_at = refresh_at(result);
        sub.note(Seen::Subscribed(read_subscribed(result, asked)));
        for publication in result["publications"].as_array().into_iter().flatten() {
            if let Err(violation) = sub.publication(publication) {
                self.violations.push(format!("{channel}: {violation}"));
            }
        }
    }

    fn push(&mut self, push: &Value) {
        if let Some(disconnect) = push.get("disconnect") {
            let code = disconnect["code"].as_u64().unwrap_or(0);
            let terminal = (3500..4000).contains(&code) || (4500..5000).contains(&code);
            return self.disconnect(code, !terminal);
        }
        if let Some(message) = push.get("message") {
            return self.messages.push(message["data"].clone());
        }
        if push.get("refresh").is_some() {
            // neither SDK takes notice
            return;
        }
        let Some(channel) = push["channel"].as_str() else {
            return self.violations.push(format!("a push without a channel: {push}"));
        };
        if let Some(sub) = self.subs.get_mut(channel) {
            if let Some(publication) = push.get("pub") {
                if let Err(violation) = sub.publication(publication) {
                    self.violations.push(format!("{channel}: {violation}"));
                }
            } else if let Some(unsubscribe) = push.get("unsubscribe") {
                let code = unsubscribe["code"].as_u64().unwrap_or(0);
                if code < 2500 {
                    sub.state = SubState::Unsubscribed;
                    sub.in_flight = false;
                    sub.note(Seen::Unsubscribed { code });
                } else if sub.state == SubState::Subscribed {
                    sub.state = SubState::Subscribing;
                    sub.note(Seen::Subscribing { code });
                    self.send_subscribe(channel);
                }
            } else if let Some(join) = push.get("join") {
                sub.note(Seen::Join { client: join["info"]["client"].as_str().unwrap_or_default().to_owned() });
            } else if let Some(leave) = push.get("leave") {
                sub.note(Seen::Leave { client: leave["info"]["client"].as_str().unwrap_or_default().to_owned() });
            }
            return;
        }
        if let Some(subscribe) = push.get("subscribe") {
            let sub = self.server_subs.entry(channel.to_owned()).or_insert_with(|| ServerSub {
                offset: 0,
                epoch: String::new(),
                recoverable: false,
                live: false,
                seen: Vec::new(),
            });
            sub.live = true;
            sub.offset = subscribe["offset"].as_u64().unwrap_or(0);
            subscribe["epoch"].as_str().unwrap_or_default().clone_into(&mut sub.epoch);
            sub.recoverable = subscribe["recoverable"] == true;
            sub.seen.push(Moment { seen: Seen::Subscribed(read_subscribed(subscribe, None)) });
            return;
        }
        let Some(sub) = self.server_subs.get_mut(channel) else { return };
        if let Some(publication) = push.get("pub") {
            sub.publication(publication);
        } else if let Some(unsubscribe) = push.get("unsubscribe") {
            sub.live = false;
            let code = unsubscribe["code"].as_u64().unwrap_or(0);
            sub.seen.push(Moment { seen: Seen::Unsubscribed { code } });
        } else if let Some(join) = push.get("join") {
            let client = join["info"]["client"].as_str().unwrap_or_default().to_owned();
            sub.seen.push(Moment { seen: Seen::Join { client } });
        } else if let Some(leave) = push.get("leave") {
            let client = leave["info"]["client"].as_str().unwrap_or_default().to_owned();
            sub.seen.push(Moment { seen: Seen::Leave { client } });
        }
    }

    fn disconnect(&mut self, code: u64, reconnect: bool) {
        if self.state == State::Disconnected {
            return;
        }
        self.state = if reconnect { State::Connecting } else { State::Disconnected };
        self.outbox.clear();
        self.ping_by = None;
        self.refresh_at = None;
        for (_, pending) in std::mem::take(&mut self.pending) {
            if let Kind::Call(answer) = pending.kind {
                settle(&answer, Err(json!({"code": 11, "message": "connection closed"})));
            }
        }
        for sub in self.subs.values_mut() {
            sub.in_flight = false;
            sub.again_at = None;
            if sub.state == SubState::Subscribed {
                sub.state = SubState::Subscribing;
                sub.note(Seen::Subscribing { code: 1 });
            }
        }
        if let Some(socket) = self.socket.take() {
            self.to_close.push(socket);
        }
        self.codes.push(code);
        self.reconnect_at = None;
        if reconnect {
            self.reconnect_later();
        }
    }

    /// Timers that are due.
    fn tick(&mut self, options: &Options) {
        let now = Instant::now();
        let over: Vec<u32> =
            self.pending.iter().filter(|(_, pending)| pending.deadline <= now).map(|(&id, _)| id).collect();
        for id in over {
            let Some(pending) = self.pending.remove(&id) else { continue };
            match pending.kind {
                Kind::Call(answer) => settle(&answer, Err(json!({"code": 1, "message": "timeout"}))),
                Kind::Refresh => self.refresh_at = Some(now + Duration::from_secs(7)),
                Kind::SubRefresh(channel) => {
                    self.subs.entry(channel).and_modify(|sub| sub.refresh_at = Some(now + Duration::from_secs(15)));
                }
                Kind::Connect | Kind::Subscribe(..) | Kind::Unsubscribe => {
                    self.disconnect(3, true);
                }
            }
        }
        if self.ping_by.is_some_and(|at| at <= now) {
            self.disconnect(2, true);
        }
        if self.state != State::Connected {
            return;
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None;
            self.token = (options.token)();
            self.call(json!({"refresh": {"token": self.token}}), Kind::Refresh);
        }
        let due: Vec<String> = self
            .subs
            .iter()
            .filter(|(_, sub)| sub.again_at.is_some_and(|at| at <= now))
            .map(|(channel, _)| channel.clone())
            .collect();
        for channel in due {
            self.send_subscribe(&channel);
        }
        let mut refreshing = Vec::new();
        for (channel, sub) in &mut self.subs {
            if sub.refresh_at.is_some_and(|at| at <= now) {
                sub.refresh_at = None;
                if sub.state == SubState::Subscribed {
                    refreshing.push((channel.clone(), sub.wanted.token.clone().unwrap_or_default()));
                }
            }
        }
        for (channel, token) in refreshing {
            let command = json!({"sub_refresh": {"channel": channel, "token": token}});
            self.call(command, Kind::SubRefresh(channel));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let calls = self.pending.values().map(|pending| pending.deadline);
        let subs = self.subs.values().flat_map(|sub| [sub.again_at, sub.refresh_at]).flatten();
        let subs = subs.filter(|_| self.state == State::Connected);
        let own = [self.reconnect_at, self.ping_by, self.refresh_at];
        calls.chain(subs).chain(own.into_iter().flatten()).min()
    }
}

fn settle(answer: &Arc<Mutex<Answer>>, result: Result<Value, Value>) {
    let mut answer = answer.lock().unwrap();
    answer.result = Some(result);
    if let Some(waker) = answer.waker.take() {
        waker.wake();
    }
}

fn refresh_at(result: &Value) -> Option<Instant> {
    (result["expires"] == true).then(|| Instant::now() + Duration::from_secs(result["ttl"].as_u64().unwrap_or(0)))
}

fn read_subscribed(result: &Value, asked: Option<(u64, String)>) -> Subscribed {
    Subscribed {
        asked,
        epoch: result["epoch"].as_str().unwrap_or_default().to_owned(),
        offset: result["offset"].as_u64().unwrap_or(0),
        recoverable: result["recoverable"] == true,
        positioned: result["positioned"] == true,
        was_recovering: result["was_recovering"] == true,
        recovered: result["recovered"] == true,
    }
}

impl Sub {
    fn publication(&mut self, publication: &Value) -> Result<(), String> {
        let offset = publication["offset"].as_u64().unwrap_or(0);
        if self.state != SubState::Subscribed {
            self.note(Seen::Dropped { offset });
            return Ok(());
        }
        let mut data = publication["data"].clone();
        let mut result = Ok(());
        if self.delta {
            match self.document(publication) {
                Ok(document) => {
                    data = serde_json::from_str(&document).unwrap_or(Value::Null);
                    self.document = Some(document);
                }
                Err(why) => result = Err(why),
            }
        }
        self.note(Seen::Publication { offset, data });
        if offset > 0 {
            self.offset = offset;
        }
        result
    }

    /// The document of a publication under fossil delta: a JSON string, whole or as a delta against the one before.
    fn document(&self, publication: &Value) -> Result<String, String> {
        let text = publication["data"].as_str().ok_or("data under delta is not a string")?;
        if publication["delta"] != true {
            return Ok(text.to_owned());
        }
        let before = self.document.as_deref().ok_or("a delta without a document before")?;
        let document =
            signalbox_fossil::apply(before.as_bytes(), text.as_bytes()).map_err(|error| format!("{error}: {text}"))?;
        String::from_utf8(document).map_err(|error| error.to_string())
    }
}

impl ServerSub {
    fn publication(&mut self, publication: &Value) {
        let offset = publication["offset"].as_u64().unwrap_or(0);
        let seen = if self.live {
            Seen::Publication { offset, data: publication["data"].clone() }
        } else {
            Seen::Dropped { offset }
        };
        self.seen.push(Moment { seen });
        if self.live && offset > 0 {
            self.offset = offset;
        }
    }
}
