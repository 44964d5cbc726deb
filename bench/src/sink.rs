//! The socket side: a server that takes posts as API Gateway's `@connections` does, and looks at what arrives.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    rc::Rc,
    time::Duration,
};

use http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    child::{Child, answer},
    client::Http,
    meter::{float, now_us, quantile},
    serve::{self, Answer},
};

/// What arrived since the last reset.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Arrived {
    /// Frames.
    pub(crate) posts: u64,
    /// Replies to `subscribe` that are no errors.
    pub(crate) subscribed: u64,
    /// Bytes of the frames.
    pub(crate) bytes: u64,
    /// Publications in them.
    pub(crate) publications: u64,
    /// Publications whose offset was not above the connection's last: swapped, or there twice.
    pub(crate) out_of_order: u64,
    /// Different sequences of offsets and payloads among the connections: 1 where all got the same in the same order.
    pub(crate) sequences: u64,
    /// Different `"n"` in the publications' data that one connection got, or different problems.
    pub(crate) distinct: u64,
    /// Connections that got at least one publication.
    pub(crate) connections: u64,
    /// Fewest and most publications of one connection.
    pub(crate) least: u64,
    pub(crate) most: u64,
    /// Frames with publications: fewest, median and most of one connection.
    pub(crate) frames_least: u64,
    pub(crate) frames_median: u64,
    pub(crate) frames_most: u64,
    /// Unix microseconds of the first and the last frame with a publication.
    pub(crate) first_us: u64,
    pub(crate) last_us: u64,
    /// From `"at"` in a publication's data (unix microseconds) to its arrival.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

#[derive(Debug, Default)]
struct Connection {
    last: u64,
    publications: u64,
    frames: u64,
    /// Of every offset and `"n"`, in the order of their arrival.
    sequence: DefaultHasher,
}

#[derive(Debug, Default)]
struct Book {
    arrived: Arrived,
    connections: HashMap<String, Connection>,
    /// The connection of which each `"n"` is kept: the sequences tell whether the others got the same.
    witness: Option<String>,
    witnessed: HashSet<u64>,
    latencies_ms: Vec<f64>,
}

impl Book {
    fn note(&mut self, id: &str, frame: &[u8]) {
        self.arrived.posts += 1;
        self.arrived.bytes += frame.len() as u64;
        let Ok(frame) = std::str::from_utf8(frame) else { return };
        self.arrived.subscribed += frame.split('\n').filter(|line| is_subscribe_reply(line)).count() as u64;
        let now = now_us();
        let mut publications = 0;
        let mut lines = frame.split('\n').filter(|line| line.contains("\"pub\":")).peekable();
        if lines.peek().is_none() {
            return;
        }
        if !self.connections.contains_key(id) {
            self.connections.insert(id.to_owned(), Connection::default());
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        for line in lines {
            let of_problems: Vec<u64> = numbers_after(line, "\"event_id\":\"").collect();
            let told =
                if of_problems.is_empty() { number_after(line, "\"n\":").into_iter().collect() } else { of_problems };
            publications += told.len().max(1) as u64;
            let offset = number_after(line, "\"offset\":");
            (offset, &told).hash(&mut connection.sequence);
            if let Some(offset) = offset {
                // a place may be skipped: nothing was published there
                self.arrived.out_of_order += u64::from(offset <= connection.last);
                connection.last = offset;
            }
            if self.witness.as_deref().is_none_or(|witness| witness == id) {
                self.witness.get_or_insert_with(|| id.to_owned());
                self.witnessed.extend(told);
            }
            let accepted_at = numbers_after(line, "\"accepted_at_ms\":").map(|ms| ms * 1_000);
            let sent_at = number_after(line, "\"at\":").into_iter().chain(accepted_at);
            self.latencies_ms.extend(sent_at.map(|at| float(now.saturating_sub(at)) / 1000.0));
        }
        connection.publications += publications;
        connection.frames += 1;
        self.arrived.publications += publications;
        self.arrived.last_us = now;
        if self.arrived.first_us == 0 {
            self.arrived.first_us = now;
        }
    }

    fn arrived(&self) -> Arrived {
        let mut arrived = self.arrived.clone();
        arrived.connections = self.connections.len() as u64;
        let sequences: HashSet<u64> =
            self.connections.values().map(|connection| connection.sequence.finish()).collect();
        arrived.sequences = sequences.len() as u64;
        arrived.distinct = self.witnessed.len() as u64;
        let publications = || self.connections.values().map(|connection| connection.publications);
        (arrived.least, arrived.most) = (publications().min().unwrap_or(0), publications().max().unwrap_or(0));
        let mut frames: Vec<u64> = self.connections.values().map(|connection| connection.frames).collect();
        frames.sort_unstable();
        arrived.frames_least = frames.first().copied().unwrap_or(0);
        arrived.frames_median = frames.get(frames.len() / 2).copied().unwrap_or(0);
        arrived.frames_most = frames.last().copied().unwrap_or(0);
        arrived.p50_ms = quantile(&self.latencies_ms, 0.5);
        arrived.p99_ms = quantile(&self.latencies_ms, 0.99);
        arrived.max_ms = quantile(&self.latencies_ms, 1.0);
        arrived
    }

    /// Offsets go on from where they were: a reset is between two publications, not between two streams.
    fn reset(&mut self) {
        self.arrived = Arrived::default();
        self.latencies_ms.clear();
        self.witness = None;
        self.witnessed.clear();
        for connection in self.connections.values_mut() {
            *connection = Connection { last: connection.last, ..Connection::default() };
        }
    }
}

impl Arrived {
    /// Fails unless each of so many connections got each of so many publications, once, in one order that is everybody's.
    pub(crate) fn is_complete_and_in_order(&self, publications: u64, connections: u64) -> anyhow::Result<()> {
        let Self { least, most, distinct, out_of_order, sequences, .. } = *self;
        anyhow::ensure!(self.connections == connections, "{} of {connections} connections got any", self.connections);
        anyhow::ensure!(
            (least, most, distinct) == (publications, publications, publications),
            "of {publications} publications a connection got {least} to {most}, {distinct} different ones"
        );
        anyhow::ensure!(out_of_order == 0, "{out_of_order} publications out of order, or twice");
        anyhow::ensure!(sequences == 1, "{sequences} different orders");
        Ok(())
    }
}

fn is_subscribe_reply(line: &str) -> bool {
    line.starts_with("{\"id\":") && line.contains("\"subscribe\":{")
}

/// The last one in the line: a payload may hold the same name, and stands before.
fn number_after(line: &str, name: &str) -> Option<u64> {
    let from = line.rfind(name)? + name.len();
    let digits = line[from..].split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// All of them, of which a payload may hold several.
fn numbers_after(line: &str, name: &str) -> impl Iterator<Item = u64> {
    let ends = line.match_indices(name).map(|(at, name)| at + name.len());
    ends.filter_map(|from| line[from..].split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
}

/// The role: prints where it listens, and serves until the bench is gone.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    answer(&json!(listener.local_addr()?.to_string()));
    let book = Rc::new(RefCell::new(Book::default()));
    let delay = Rc::new(Cell::new(Duration::ZERO));
    serve::plain(listener, move |request| handle(request, book.clone(), delay.clone())).await
}

async fn handle(request: Request<Incoming>, book: Rc<RefCell<Book>>, delay: Rc<Cell<Duration>>) -> Answer {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if let Some((_, id)) = path.split_once("/@connections/") {
        let Ok(frame) = body.collect().await else { return serve::answer(400, "") };
        if parts.method == Method::POST {
            book.borrow_mut().note(id, &frame.to_bytes());
        }
        if !delay.get().is_zero() {
            tokio::time::sleep(delay.get()).await;
        }
        return serve::answer(200, "");
    }
    if let Some(milliseconds) = path.strip_prefix("/delay/").and_then(|number| number.parse().ok()) {
        delay.set(Duration::from_millis(milliseconds));
        return serve::answer(200, "null");
    }
    if path == "/publications" {
        let publications = book.borrow().arrived.publications;
        return serve::answer(200, publications.to_string());
    }
    let arrived = book.borrow().arrived();
    match path {
        "/arrived" => {}
        "/reset" => book.borrow_mut().reset(),
        _ => return serve::answer(404, ""),
    }
    serve::answer(200, serde_json::to_vec(&arrived).unwrap_or_default())
}

/// The sink as the bench sees it.
#[derive(Debug)]
pub(crate) struct Sink {
    address: String,
    http: Http,
    _child: Child,
}

impl Sink {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut child = Child::start(&["sink"], &[])?;
        let address = serde_json::from_value(child.answer().await?)?;
        Ok(Self { address, http: Http::new(), _child: child })
    }

    /// `CONNECTIONS_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/live", self.address)
    }

    pub(crate) async fn arrived(&self) -> anyhow::Result<Arrived> {
        Ok(serde_json::from_value(self.http.ask(&format!("http://{}/arrived", self.address)).await?)?)
    }

    /// What arrived so far, and from zero again.
    pub(crate) async fn reset(&self) -> anyhow::Result<Arrived> {
        Ok(serde_json::from_value(self.http.ask(&format!("http://{}/reset", self.address)).await?)?)
    }

    /// How long it lets every post wait for its answer.
    pub(crate) async fn delay(&self, delay: Duration) -> anyhow::Result<()> {
        self.http.ask(&format!("http://{}/delay/{}", self.address, delay.as_millis())).await?;
        Ok(())
    }

    /// Waits until so many publications have arrived, or nothing has for ten seconds.
    pub(crate) async fn wait_for(&self, publications: u64) -> anyhow::Result<Arrived> {
        let (mut quiet, mut before) = (0, 0);
        // the sink shares the machine with whoever is measured: it counts first, and looks closely once
        let count = format!("http://{}/publications", self.address);
        loop {
            let arrived = self.http.ask(&count).await?.as_u64().unwrap_or(0);
            quiet = if arrived == before { quiet + 1 } else { 0 };
            before = arrived;
            if arrived >= publications || quiet >= 500 {
                return self.arrived().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
