//! API Gateway's WebSocket side: sockets, routes and `@connections`, as unfriendly as it may be.
//!
//! What it does for sure: text frames up to 32 KB in and 128 KB out, 10 minutes of silence, 2 hours in all, no order among the
//! messages of a connection, an error object on the socket when a function fails (API Gateway quotas and
//! shared/reference/centrifuge.md 2). What it may do is drawn from the seed.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::future::LocalBoxFuture;
use serde_json::{Value, json};
use signalbox_publishing::{Frame, Gateway, PostError, Recorded};
use tokio::time::Instant;

use super::schedule::{Death, Fate, Handle, Schedule};

/// API Gateway quotas.
const MAX_IN: usize = 32 * 1024;
const MAX_OUT: usize = 128 * 1024;
const IDLE: Duration = Duration::from_mins(10);
const LIFE: Duration = Duration::from_hours(2);
/// `Timeout` of the WebSocket functions in template.yaml.
const INVOCATION: Duration = Duration::from_secs(15);
/// What [`signalbox_publishing::ApiGateway`] gives a post.
const POST: Duration = Duration::from_secs(1);

/// What may go wrong at API Gateway, as probabilities.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// A post is answered 429 or 503 and did not arrive.
    pub(crate) unavailable: f64,
    /// A post is answered 504 and did arrive.
    pub(crate) arrived_unavailable: f64,
    /// A post hangs for up to ten seconds; it arrives at its beginning, its end, or never.
    pub(crate) hang: f64,
    /// An invocation starts up to 400 ms late, or, one time in eight, three seconds: a cold start.
    pub(crate) late: f64,
    /// `$disconnect` is never delivered.
    pub(crate) no_disconnect: f64,
    /// An invocation is killed at one of its first thirty requests.
    pub(crate) kill: f64,
}

/// What the next post to a connection comes to.
#[derive(Debug, Clone)]
pub(crate) enum Scripted {
    Fail(PostError),
    /// It takes so long.
    Delay(Duration),
}

/// How the functions post: for what is broken on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sender {
    #[default]
    Usual,
    /// Posts again what was not answered.
    Insists,
    /// Does not wait for an answer.
    Forgets,
}

/// Who holds the other end.
pub(crate) trait Peer: Send + Sync {
    fn received(&self, connection_id: &str, frame: &str);
    fn closed(&self, connection_id: &str, code: u16);
}

/// A route's function: the event, and what API Gateway makes of its result.
pub(crate) type Route = Arc<dyn Fn(Event) -> LocalBoxFuture<'static, anyhow::Result<i64>> + Send + Sync>;

/// What a function is invoked with.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) connection_id: String,
    pub(crate) kind: &'static str,
    pub(crate) body: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) source_ip: String,
}

#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) connect: Route,
    pub(crate) default: Route,
    pub(crate) disconnect: Route,
}

#[derive(Clone)]
pub(crate) struct Sockets(Arc<Inner>);

struct Inner {
    schedule: Schedule,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    routes: Option<Routes>,
    weather: Weather,
    sockets: BTreeMap<String, Socket>,
    next: usize,
    scripts: HashMap<String, VecDeque<Scripted>>,
    sender: Sender,
    posts: Vec<Posted>,
    /// Posts that were begun, whatever came of them.
    tried: Vec<Posted>,
    /// Errors of functions that API Gateway would have shown to a client.
    surfaced: Vec<String>,
    in_flight: usize,
    most_in_flight: usize,
}

/// A frame that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) connection_id: String,
    pub(crate) frame: String,
    pub(crate) at: Instant,
}

struct Socket {
    peer: Option<Arc<dyn Peer>>,
    opened: Instant,
    touched: Instant,
    state: SocketState,
    source_ip: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketState {
    /// `$connect` has not answered.
    Opening,
    Open,
    /// The client is gone, and API Gateway does not know.
    HalfOpen,
    Closed,
}

/// Why a socket could not be opened, as an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) i64);

impl Sockets {
    pub(crate) fn new(schedule: &Schedule) -> Self {
        let state = Mutex::new(State::default());
        Self(Arc::new(Inner { schedule: schedule.clone(), state }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    pub(crate) fn set_routes(&self, routes: Routes) {
        self.state().routes = Some(routes);
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    pub(crate) fn weather(&self) -> Weather {
        self.state().weather
    }

    /// What the functions post through.
    pub(crate) fn gateway(&self) -> Gateway {
        let this = self.clone();
        Gateway::Recorded(Arc::new(Recorded::played(move |id, frame| {
            let this = this.clone();
            Box::pin(async move {
                let sender = this.state().sender;
                let answer = async {
                    match frame {
                        Some(frame) if sender == Sender::Forgets => {
                            let (later, id) = (this.clone(), id.clone());
                            this.0.schedule.spawn(format!("post later {id}"), None, async move {
                                let ms = later.0.schedule.draw(|rng| rng.u64(..3_000));
                                tokio::time::sleep(Duration::from_millis(ms)).await;
                                let _ = later.post(&id, &frame).await;
                            });
                            Ok(())
                        }
                        Some(frame) => match this.post(&id, &frame).await {
                            Err(PostError::Unanswered(_)) if sender == Sender::Insists => this.post(&id, &frame).await,
                            posted => posted,
                        },
                        None => this.delete(&id).await,
                    }
                };
                let answer = tokio::time::timeout(POST, answer).await;
                answer.unwrap_or_else(|_| Err(PostError::Unanswered("nothing in time".to_owned())))
            })
        })))
    }

    /// The next posts to a connection, in order.
    pub(crate) fn script(&self, connection_id: &str, next: impl IntoIterator<Item = Scripted>) {
        self.state().scripts.entry(connection_id.to_owned()).or_default().extend(next);
    }

    pub(crate) fn set_sender(&self, sender: Sender) {
        self.state().sender = sender;
    }

    /// Frames that somebody tried to post to a connection.
    pub(crate) fn tried(&self, connection_id: &str) -> Vec<Posted> {
        self.state().tried.iter().filter(|tried| tried.connection_id == connection_id).cloned().collect()
    }

    /// Frames that arrived, in order.
    pub(crate) fn posts(&self) -> Vec<Posted> {
        self.state().posts.clone()
    }

    /// Lines that arrived at a connection, in order.
    pub(crate) fn lines(&self, connection_id: &str) -> Vec<Value> {
        let state = self.state();
        let frames = state.posts.iter().filter(|posted| posted.connection_id == connection_id);
        frames.flat_map(|posted| posted.frame.split('\n')).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Frames that have arrived so far, anywhere.
    pub(crate) fn posts_so_far(&self) -> usize {
        self.state().posts.len()
    }

    /// Lines that arrived after that many frames, and where.
    pub(crate) fn lines_after(&self, posts: usize) -> Vec<(String, Value)> {
        let state = self.state();
        let lines = |posted: &Posted| {
            let lines = posted.frame.split('\n').map(|line| serde_json::from_str(line).unwrap());
            lines.map(|line| (posted.connection_id.clone(), line)).collect::<Vec<_>>()
        };
        state.posts.iter().skip(posts).flat_map(lines).collect()
    }

    pub(crate) fn surfaced(&self) -> Vec<String> {
        self.state().surfaced.clone()
    }

    /// Most posts that were under way at once.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.state().most_in_flight
    }

    /// Opens a socket: `$connect` runs, and its answer lets the client in or not.
    pub(crate) async fn open(
        &self,
        peer: Option<Arc<dyn Peer>>,
        origin: Option<&str>,
        source_ip: &str,
    ) -> Result<String, Refused> {
        let now = Instant::now();
        let id = {
            let mut state = self.state();
            state.next += 1;
            // ids of API Gateway end in `=`
            let id = format!("C{:04}=", state.next);
            let socket = Socket {
                peer,
                opened: now,
                touched: now,
                state: SocketState::Opening,
                source_ip: source_ip.to_owned(),
            };
            state.sockets.insert(id.clone(), socket);
            id
        };
        let event = Event {
            connection_id: id.clone(),
            kind: "CONNECT",
            body: None,
            origin: origin.map(str::to_owned),
            source_ip: source_ip.to_owned(),
        };
        let status = self.invoke(event, None).await;
        if status != Ok(200) {
            if let Some(socket) = self.state().sockets.get_mut(&id) {
                socket.state = SocketState::Closed;
            }
            return Err(Refused(status.unwrap_or(502)));
        }
        {
            let mut state = self.state();
            let socket = state.sockets.get_mut(&id).unwrap();
            if socket.state == SocketState::Opening {
                socket.state = SocketState::Open;
            }
        }
        self.spawn_timers(&id);
        Ok(id)
    }

    fn spawn_timers(&self, id: &str) {
        let (this, id) = (self.clone(), id.to_owned());
        let name = format!("timers {id}");
        let timers = async move {
            loop {
                let cut = {
                    let state = this.state();
                    let Some(socket) = state.sockets.get(&id) else { return };
                    if socket.state == SocketState::Closed {
                        return;
                    }
                    (socket.touched + IDLE).min(socket.opened + LIFE)
                };
                if Instant::now() >= cut {
                    return this.close(&id, 1001);
                }
                tokio::time::sleep_until(cut).await;
            }
        };
        self.0.schedule.spawn_background(name, timers);
    }

    /// Opens a socket that nobody plays, at once and with an id of the test's: `$connect` runs where this is awaited.
    pub(crate) async fn open_as(&self, id: &str, origin: &str) {
        let now = Instant::now();
        let (state, source_ip) = (SocketState::Open, "192.0.2.1".to_owned());
        let socket = Socket { peer: None, opened: now, touched: now, state, source_ip: source_ip.clone() };
        self.state().sockets.insert(id.to_owned(), socket);
        let routes = self.state().routes.clone().expect("routes");
        let (connection_id, origin) = (id.to_owned(), Some(origin.to_owned()));
        let event = Event { connection_id, kind: "CONNECT", body: None, origin, source_ip };
        assert_eq!((routes.connect)(event).await.unwrap(), 200);
        self.spawn_timers(id);
    }

    /// A socket that is open and that no function has heard of.
    pub(crate) fn hold(&self, id: &str) {
        let now = Instant::now();
        let source_ip = "192.0.2.1".to_owned();
        let socket = Socket { peer: None, opened: now, touched: now, state: SocketState::Open, source_ip };
        self.state().sockets.insert(id.to_owned(), socket);
    }

    /// Runs a frame's invocation where this is awaited.
    pub(crate) async fn run(&self, id: &str, frame: &str) {
        let route = self.state().routes.clone().expect("routes").default;
        let (connection_id, body) = (id.to_owned(), Some(frame.to_owned()));
        let event = Event { connection_id, kind: "MESSAGE", body, origin: None, source_ip: "192.0.2.1".to_owned() };
        assert_eq!(route(event).await.unwrap(), 200);
    }

    /// An invocation of a frame, as an actor of its own.
    pub(crate) fn spawn_frame(&self, name: &str, id: &str, frame: String, death: Option<Death>) -> Handle<()> {
        let (this, id) = (self.clone(), id.to_owned());
        self.0.schedule.spawn_local(name, death, move || async move { this.run(&id, &frame).await })
    }

    /// Whether API Gateway still holds that socket open.
    pub(crate) fn is_alive(&self, id: &str) -> bool {
        self.is_open(id)
    }

    /// A text frame of the client.
    pub(crate) fn send(&self, id: &str, frame: &str) {
        self.send_with(id, frame, None);
    }

    /// The same, and its invocation dies at `death`.
    pub(crate) fn send_with(&self, id: &str, frame: &str, death: Option<Death>) {
        let source_ip = {
            let mut state = self.state();
            let Some(socket) = state.sockets.get_mut(id) else { return };
            if socket.state != SocketState::Open {
                return;
            }
            if frame.len() > MAX_IN {
                drop(state);
                return self.close(id, 1009);
            }
            socket.touched = Instant::now();
            socket.source_ip.clone()
        };
        let event = Event {
            connection_id: id.to_owned(),
            kind: "MESSAGE",
            body: Some(frame.to_owned()),
            origin: None,
            source_ip,
        };
        let this = self.clone();
        // one actor invokes; the invocation itself is another, so that it can be killed
        self.0.schedule.spawn(format!("invoke {id}"), None, async move {
            let id = event.connection_id.clone();
            if let Err(()) = this.invoke(event, death).await {
                // a function that fails: API Gateway's own error object reaches the socket, and SDKs read it as a ping
                let object = json!({"message": "Internal server error", "connectionId": id, "requestId": "r"});
                this.arrive(&id, &object.to_string());
            }
        });
    }

    /// A binary frame: API Gateway does not take it.
    pub(crate) fn send_binary(&self, id: &str) {
        self.close(id, 1003);
    }

    /// Runs a function. `Err` when it failed or was killed.
    fn invoke(&self, event: Event, death: Option<Death>) -> impl Future<Output = Result<i64, ()>> + use<> {
        let this = self.clone();
        async move {
            let schedule = this.0.schedule.clone();
            let weather = this.weather();
            let routes = this.state().routes.clone().expect("routes");
            if schedule.chance(weather.late) {
                let most = if schedule.chance(0.125) { 3_000 } else { 400 };
                let late = schedule.draw(|rng| rng.u64(..most));
                tokio::time::sleep(Duration::from_millis(late)).await;
            }
            let death = death.or_else(|| {
                schedule
                    .chance(weather.kill)
                    .then(|| schedule.draw(|rng| Death { gate: rng.usize(..30), after: rng.bool() }))
            });
            let Routes { connect, default, disconnect } = routes;
            let route = match event.kind {
                "CONNECT" => connect,
                "MESSAGE" => default,
                _ => disconnect,
            };
            let name = format!("{} {}", event.kind.to_lowercase(), event.connection_id);
            let invocation =
                schedule.spawn_local(name.clone(), death, move || tokio::time::timeout(INVOCATION, route(event)));
            let (result, fate) = invocation.outcome().await;
            match (result, fate) {
                (Some(Ok(Ok(status))), _) => Ok(status),
                (Some(Ok(Err(cause))), _) => {
                    this.state().surfaced.push(format!("{name}: {cause:#}"));
                    Err(())
                }
                (Some(Err(_)), _) => {
                    this.state().surfaced.push(format!("{name}: timed out"));
                    Err(())
                }
                (None, Fate::Panicked(why)) => {
                    this.state().surfaced.push(format!("{name}: panic: {why}"));
                    Err(())
                }
                (None, _) => Err(()),
            }
        }
    }

    /// The client closes its socket, or API Gateway does.
    pub(crate) fn close(&self, id: &str, code: u16) {
        let (peer, source_ip) = {
            let mut state = self.state();
            let Some(socket) = state.sockets.get_mut(id) else { return };
            if socket.state == SocketState::Closed {
                return;
            }
            let heard = socket.state != SocketState::HalfOpen;
            socket.state = SocketState::Closed;
            (socket.peer.take().filter(|_| heard), socket.source_ip.clone())
        };
        self.0.schedule.note(|| format!("{id} closes with {code}"));
        if let Some(peer) = peer {
            peer.closed(id, code);
        }
        let weather = self.weather();
        if self.0.schedule.chance(weather.no_disconnect) {
            return;
        }
        let this = self.clone();
        let event = Event { connection_id: id.to_owned(), kind: "DISCONNECT", body: None, origin: None, source_ip };
        self.0.schedule.spawn(format!("invoke disconnect {id}"), None, async move {
            let _ = this.invoke(event, None).await;
        });
    }

    /// The client closes its socket; waits until `$disconnect` is through, where the weather lets it run.
    pub(crate) async fn close_and_wait(&self, id: &str) {
        self.close(id, 1000);
        let name = format!("invoke disconnect {id}");
        while self.0.schedule.names().contains(&name) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The client's network goes away: nobody is told.
    pub(crate) fn vanish(&self, id: &str) {
        if let Some(socket) = self.state().sockets.get_mut(id)
            && socket.state == SocketState::Open
        {
            socket.state = SocketState::HalfOpen;
            socket.peer = None;
        }
    }

    fn arrive(&self, id: &str, frame: &str) {
        let peer = {
            let mut state = self.state();
            let now = Instant::now();
            let Some(socket) = state.sockets.get_mut(id) else { return };
            if !matches!(socket.state, SocketState::Open | SocketState::HalfOpen) {
                return;
            }
            socket.touched = now;
            let peer = socket.peer.clone();
            if socket.state == SocketState::Open {
                state.posts.push(Posted { connection_id: id.to_owned(), frame: frame.to_owned(), at: now });
            }
            peer
        };
        self.0.schedule.note(|| format!("  → {id} {}", frame.chars().take(300).collect::<String>()));
        if let Some(peer) = peer {
            peer.received(id, frame);
        }
    }

    fn is_open(&self, id: &str) -> bool {
        // a post before $connect has answered is refused as well
        let state = self.state();
        state.sockets.get(id).is_some_and(|s| matches!(s.state, SocketState::Open | SocketState::HalfOpen))
    }

    async fn post(&self, id: &str, frame: &Frame) -> Result<(), PostError> {
        let text = std::str::from_utf8(frame.bytes()).expect("a text frame is UTF-8").to_owned();
        assert!(!text.is_empty(), "API Gateway refuses an empty post");
        let _counted = InFlight::new(self);
        let schedule = &self.0.schedule;
        let after = schedule.gate(|| format!("post {id}")).await;
        let tried = Posted { connection_id: id.to_owned(), frame: text.clone(), at: Instant::now() };
        self.state().tried.push(tried);
        let scripted = self.state().scripts.get_mut(id).and_then(VecDeque::pop_front);
        match scripted {
            Some(Scripted::Fail(error)) => return Err(error),
            Some(Scripted::Delay(delay)) => tokio::time::sleep(delay).await,
            None => {}
        }
        let weather = self.weather();
        if text.len() > MAX_OUT {
            return Err(PostError::TooLarge);
        }
        if !self.is_open(id) {
            after.come().await;
            return Err(PostError::Gone);
        }
        if schedule.chance(weather.unavailable) {
            let status = if schedule.draw(fastrand::Rng::bool) { "429" } else { "503" };
            return Err(PostError::Unavailable(status.to_owned()));
        }
        if schedule.chance(weather.hang) {
            let (kind, ms) = schedule.draw(|rng| (rng.u8(..3), rng.u64(100..10_000)));
            let hanging = Duration::from_millis(ms);
            match kind {
                0 => {
                    self.arrive(id, &text);
                    tokio::time::sleep(hanging).await;
                }
                1 => {
                    let mut late = Late { sockets: self.clone(), id: id.to_owned(), frame: Some(text) };
                    tokio::time::sleep(hanging).await;
                    if let Some(text) = late.frame.take() {
                        self.arrive(id, &text);
                    }
                }
                _ => {
                    tokio::time::sleep(hanging).await;
                    return Err(PostError::Unanswered("504".to_owned()));
                }
            }
            after.come().await;
            return Ok(());
        }
        self.arrive(id, &text);
        after.come().await;
        if schedule.chance(weather.arrived_unavailable) {
            return Err(PostError::Unanswered("504".to_owned()));
        }
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<(), PostError> {
        let after = self.0.schedule.gate(|| format!("delete {id}")).await;
        if !self.is_open(id) {
            return Err(PostError::Gone);
        }
        self.close(id, 1000);
        after.come().await;
        Ok(())
    }
}

/// A post whose sender does not wait for it any more: it arrives all the same, or it does not. API Gateway is given 400 ms, less than
/// [`signalbox_publishing::Timing::skew`]: nobody can hold back what is on its way.
struct Late {
    sockets: Sockets,
    id: String,
    frame: Option<String>,
}

impl Drop for Late {
    fn drop(&mut self) {
        let schedule = &self.sockets.0.schedule;
        let Some(frame) = self.frame.take() else { return };
        if schedule.draw(fastrand::Rng::bool) {
            return;
        }
        let (sockets, id) = (self.sockets.clone(), self.id.clone());
        let late = Duration::from_millis(schedule.draw(|rng| rng.u64(..400)));
        schedule.spawn(format!("late post {id}"), None, async move {
            tokio::time::sleep(late).await;
            sockets.arrive(&id, &frame);
        });
    }
}

/// A post under way.
struct InFlight(Sockets);

impl InFlight {
    fn new(sockets: &Sockets) -> Self {
        let mut state = sockets.state();
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        drop(state);
        Self(sockets.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}
