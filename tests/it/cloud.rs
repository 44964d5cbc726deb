//! The local cloud that the end-to-end tests of this binary share, and a client of it.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use lambda_http::http;
use serde_json::{Value, json};
use signalbox_auth::{SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookSecret};
use signalbox_lambda::now_ms;
use signalbox_local::{Cloud, Endpoints, Options};
use tokio::{
    net::TcpStream,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use crate::world::signed;

/// How long anything may take to arrive: generous, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Tests that break something have the cloud to themselves; the others share it.
static PEACE: RwLock<()> = RwLock::const_new(());

/// The cloud, undisturbed for as long as the guard lives.
pub(crate) async fn shared() -> (&'static Cloud, RwLockReadGuard<'static, ()>) {
    (start(), PEACE.read().await)
}

/// The cloud, for a test that breaks something and mends it again.
pub(crate) async fn alone() -> (&'static Cloud, RwLockWriteGuard<'static, ()>) {
    (start(), PEACE.write().await)
}

/// Starts it once. Its processes end with this one: they read from a pipe that only we hold.
fn start() -> &'static Cloud {
    static CLOUD: OnceLock<Cloud> = OnceLock::new();
    CLOUD.get_or_init(|| {
        // `SIGNALBOX_TEST_AUTH=true`: with IAM enforced, so that a permission the template forgot fails a test
        let auth = std::env::var("SIGNALBOX_TEST_AUTH").is_ok_and(|value| value == "true");
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let options = Options {
            dir: Some(target.join(if auth { "cloud-auth" } else { "cloud" })),
            port_base: if auth { 24_680 } else { 24_640 },
            // a namespace for every feature
            channels: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/channels.json")),
            fresh: true,
            auth,
            ..Options::default()
        };
        match Cloud::start(options) {
            Ok(cloud) => cloud,
            Err(error) => panic!("{error}"),
        }
    })
}

/// A request and its answer.
pub(crate) async fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<String>,
) -> (u16, String) {
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<bytes::Bytes>::from(body.into())).unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = tokio::time::timeout(PATIENCE, client.request(request)).await.unwrap().unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The result of a method of the server API.
pub(crate) async fn api(endpoints: &Endpoints, method: &str, body: &Value) -> Value {
    let headers = [("content-type", "application/json"), ("x-api-key", endpoints.api_key.as_str())];
    let (status, answer) =
        request("POST", &format!("{}/{method}", endpoints.api_url), &headers, body.to_string()).await;
    let mut answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{status} {answer}"));
    assert!(status == 200 && answer["result"].is_object(), "{method}: {status} {answer}");
    answer["result"].take()
}

/// Posts a body to the webhook, signed now.
pub(crate) async fn notify(endpoints: &Endpoints, body: &Value) -> (u16, String) {
    let body = body.to_string();
    let secret = WebhookSecret::new(&endpoints.webhook_secret).unwrap();
    let (timestamp, signature) = secret.sign(now_ms() / 1000, body.as_bytes());
    let headers = [
        ("content-type", "application/json"),
        (TIMESTAMP_HEADER, timestamp.as_str()),
        (SIGNATURE_HEADER, signature.as_str()),
    ];
    request("POST", &endpoints.webhook_url, &headers, body).await
}

/// As Zabbix does: again until it is taken.
pub(crate) async fn notify_until_taken(endpoints: &Endpoints, body: &Value) {
    let patience = Instant::now() + PATIENCE;
    loop {
        let (status, answer) = notify(endpoints, body).await;
        if status == 200 {
            return;
        }
        assert!(status >= 500 && Instant::now() < patience, "{status} {answer}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Event ids that no other test and no earlier run has used.
pub(crate) fn fresh_event_id() -> u64 {
    static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let base = u64::try_from(now_ms()).unwrap() * 100;
    base + LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// A recorded body of the recommended media type (`problem`, `update`, `recovery`), of another problem, sent now.
pub(crate) fn body(kind: &str, event_id: u64) -> Value {
    let recorded = crate::world::recorded(&format!("recommended/v7.0-{kind}"));
    let mut body: Value = serde_json::from_str(&recorded).unwrap();
    // Zabbix's clock in UTC
    let now = now_ms();
    let (date, time) = local_time(now / 1000);
    body["event_id"] = json!(event_id.to_string());
    body["event_name"] = json!(format!("Problem {event_id}"));
    body["sent_at_ms"] = json!(now);
    for field in ["event", "event_update", "event_recovery"] {
        if body.get(format!("{field}_date")).is_some() {
            body[format!("{field}_date")] = json!(date);
            body[format!("{field}_time")] = json!(time);
        }
    }
    if kind == "recovery" {
        body["event_recovery_id"] = json!((event_id + 50).to_string());
    }
    body
}

/// `2026.11.21` and `08:24:45`, UTC (days to date after Howard Hinnant, "chrono-compatible low-level date algorithms").
fn local_time(now: i64) -> (String, String) {
    let (days, seconds) = (now.div_euclid(86_400), now.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    (format!("{year:04}.{month:02}.{day:02}"), time)
}

/// A connected viewer that speaks the protocol by hand.
pub(crate) struct Viewer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    lines: VecDeque<Value>,
    commands: u32,
    /// What it watches.
    channel: String,
    /// In that channel.
    position: Value,
    resubscribing: Option<u32>,
}

impl Viewer {
    /// Opens a socket and connects with a token of the stack's secret.
    pub(crate) async fn connect(endpoints: &Endpoints) -> Self {
        Self::connect_as(endpoints, "anna").await
    }

    pub(crate) async fn connect_as(endpoints: &Endpoints, user: &str) -> Self {
        let mut viewer = Self::open(endpoints).await;
        let token = signed(&json!({"sub": user, "exp": now_ms() / 1000 + 3600}), &endpoints.token_secret);
        let reply = viewer.call("connect", &json!({"token": token, "name": "test"})).await;
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        viewer
    }

    pub(crate) async fn open(endpoints: &Endpoints) -> Self {
        let (socket, _) = tokio_tungstenite::connect_async(&endpoints.ws_url).await.unwrap();
        Self {
            socket,
            lines: VecDeque::new(),
            commands: 0,
            channel: "status:all".to_owned(),
            position: Value::Null,
            resubscribing: None,
        }
    }

    pub(crate) async fn send(&mut self, frame: &str) {
        self.socket.send(Message::text(frame)).await.unwrap();
    }

    async fn command(&mut self, command: &str, request: &Value) -> u32 {
        self.commands += 1;
        self.send(&json!({"id": self.commands, command: request}).to_string()).await;
        self.commands
    }

    /// Sends a command and waits for its reply; pushes that come first are kept.
    pub(crate) async fn call(&mut self, command: &str, request: &Value) -> Value {
        let id = self.command(command, request).await;
        let mut pushes = VecDeque::new();
        let reply = loop {
            let line = self.next().await.expect("a reply");
            if line["id"] == id {
                break line;
            }
            pushes.push_back(line);
        };
        pushes.extend(self.lines.drain(..));
        self.lines = pushes;
        reply
    }

    /// The next line, or `None` when the socket is closed.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        self.next_within(PATIENCE).await
    }

    pub(crate) async fn next_within(&mut self, patience: Duration) -> Option<Value> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                if self.follows(&line).await {
                    continue;
                }
                return Some(line);
            }
            match tokio::time::timeout(patience, self.socket.next()).await.expect("something in time")? {
                Ok(Message::Text(frame)) => {
                    self.lines.extend(frame.split('\n').map(|line| serde_json::from_str(line).unwrap()));
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Keeps its place as the SDKs do: after "insufficient state" (2500, what follows a post that nobody knows the end of) it
    /// subscribes again from there. True for what only that is about.
    async fn follows(&mut self, line: &Value) -> bool {
        if let Some(offset) = line.pointer("/push/pub/offset") {
            self.position["offset"] = offset.clone();
        }
        let lost = line.pointer("/push/unsubscribe/code").and_then(Value::as_u64).is_some_and(|code| code >= 2500);
        let answered = self.resubscribing.is_some_and(|id| line["id"] == id);
        if answered && line.get("error").is_none() {
            assert_eq!(line["subscribe"]["recovered"], true, "{line}");
            self.resubscribing = None;
            self.put_first(&line["subscribe"]["publications"]);
        } else if answered || lost {
            self.resubscribing = Some(self.command("subscribe", &self.recovery()).await);
        }
        answered || lost
    }

    /// As the SDKs do when a socket closes: another one, and what was missed.
    pub(crate) async fn back(self, endpoints: &Endpoints) -> Self {
        let mut again = Self::connect(endpoints).await;
        again.channel = self.channel;
        again.position = self.position;
        again.subscribe().await;
        again
    }

    async fn subscribe(&mut self) {
        let reply = self.call("subscribe", &self.recovery()).await;
        assert_eq!(reply["subscribe"]["recovered"], true, "{reply}");
        self.put_first(&reply["subscribe"]["publications"]);
    }

    fn recovery(&self) -> Value {
        json!({
            "channel": self.channel, "recover": true,
            "offset": self.position["offset"], "epoch": self.position["epoch"],
        })
    }

    /// Publications of a reply are lines like those that come alone.
    fn put_first(&mut self, publications: &Value) {
        for publication in publications.as_array().into_iter().flatten().rev() {
            self.lines.push_front(json!({"push": {"channel": self.channel, "pub": publication}}));
        }
    }

    /// Subscribes to a channel as it is now, instead of the problems.
    pub(crate) async fn join(&mut self, channel: &str) {
        let reply = self.call("subscribe", &json!({"channel": channel})).await;
        assert!(reply["subscribe"].is_object(), "{reply}");
        channel.clone_into(&mut self.channel);
        let subscribed = &reply["subscribe"];
        self.position = json!({"offset": subscribed["offset"].as_u64().unwrap_or(0), "epoch": subscribed["epoch"]});
    }

    /// The `data` of the next so many publications.
    pub(crate) async fn publications(&mut self, count: usize) -> Vec<Value> {
        let mut publications = Vec::new();
        while publications.len() < count {
            let line = self.next().await.expect("a publication");
            publications.extend(line.pointer("/push/pub/data").cloned());
        }
        publications
    }

    /// Subscribes to all problems from where its snapshot stood; the open problems by event id.
    pub(crate) async fn watch(&mut self) -> std::collections::BTreeMap<String, Value> {
        let (problems, position) = self.snapshot().await;
        self.position = position;
        self.subscribe().await;
        problems
    }

    /// All open problems by event id, and the position of `status:all` before they were read.
    pub(crate) async fn snapshot(&mut self) -> (std::collections::BTreeMap<String, Value>, Value) {
        let mut problems = std::collections::BTreeMap::new();
        let (mut position, mut cursor) = (Value::Null, Value::Null);
        loop {
            let reply = self.call("rpc", &json!({"method": "status.snapshot", "data": {"cursor": cursor}})).await;
            let data = &reply["rpc"]["data"];
            for problem in data["problems"].as_array().unwrap_or_else(|| panic!("{reply}")) {
                problems.insert(problem["event_id"].as_str().unwrap().to_owned(), problem.clone());
            }
            if position.is_null() {
                position = data["position"].clone();
            }
            cursor = data["cursor"].clone();
            if cursor.is_null() {
                return (problems, position);
            }
        }
    }

    /// Waits for a publication about a problem that `wanted` is content with.
    pub(crate) async fn problem(&mut self, event_id: u64, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.next().await.expect("a publication");
            let event_id = event_id.to_string();
            let of_it = |problem: &&Value| problem["event_id"] == event_id.as_str() && wanted(problem);
            if let Some(problem) = changes(&line).find(of_it) {
                return problem.clone();
            }
        }
    }
}

/// The problems that a publication of the router's tells of.
pub(crate) fn changes(line: &Value) -> impl Iterator<Item = &Value> {
    let changes = line.pointer("/push/pub/data/changes").and_then(Value::as_array);
    changes.into_iter().flatten().map(|change| &change["problem"])
}

/// Asks again until the answer is the wanted one.
pub(crate) async fn eventually<T: std::fmt::Debug>(
    within: Duration,
    ask: impl AsyncFn() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let patience = Instant::now() + within;
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < patience, "still {answer:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
