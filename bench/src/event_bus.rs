//! EventBridge as a storm meets it: `PutEvents` at the lowest quota there is (400 requests a second, EventBridge quotas), entries
//! that it refuses inside a good answer, and what it has taken in the order of its coming.

use std::{cell::Cell, rc::Rc};

use http_body_util::BodyExt as _;
use hyper::{Request, body::Incoming};
use serde::Deserialize;
use serde_json::{Value, json};
use signalbox_messages::BusEvent;
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::Instant,
};

use crate::serve::{self, Answer, answer};

/// Requests a second, and as many at once after a calm second.
const QUOTA: f64 = 400.0;

/// Each entry of so many is refused inside a good answer.
const REFUSED: u64 = 97;

/// The bus, for as long as it is kept; runs within a `LocalSet`.
pub(crate) struct EventBus {
    /// `http://127.0.0.1:port`.
    pub(crate) endpoint: String,
    /// What was taken.
    pub(crate) events: UnboundedReceiver<BusEvent<Value>>,
    told: Rc<Told>,
    _server: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Told {
    throttled: Cell<u64>,
    refused: Cell<u64>,
    entries: Cell<u64>,
}

impl EventBus {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (sender, events) = unbounded_channel();
        let (told, bucket) = (Rc::new(Told::default()), Rc::new(Cell::new((QUOTA, Instant::now()))));
        let counts = told.clone();
        let handler = move |request| put(request, sender.clone(), counts.clone(), bucket.clone());
        let mut server = JoinSet::new();
        server.spawn_local(async move {
            // it ends with the bench
            let _ = serve::plain(listener, handler).await;
        });
        Ok(Self { endpoint, events, told, _server: server })
    }

    /// Requests that were over the quota.
    pub(crate) fn throttled(&self) -> u64 {
        self.told.throttled.get()
    }

    /// Entries refused inside a good answer.
    pub(crate) fn refused(&self) -> u64 {
        self.told.refused.get()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEvents {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    source: String,
    detail_type: String,
    detail: String,
}

/// `AWSEvents.PutEvents` (EventBridge API reference).
async fn put(
    request: Request<Incoming>,
    taken: UnboundedSender<BusEvent<Value>>,
    told: Rc<Told>,
    bucket: Rc<Cell<(f64, Instant)>>,
) -> Answer {
    let (tokens, since) = bucket.get();
    let tokens = (tokens + since.elapsed().as_secs_f64() * QUOTA).min(QUOTA);
    if tokens < 1.0 {
        bucket.set((tokens, Instant::now()));
        told.throttled.set(told.throttled.get() + 1);
        let refusal = json!({ "__type": "ThrottlingException", "message": "Rate exceeded" });
        return answer(400, refusal.to_string());
    }
    bucket.set((tokens - 1.0, Instant::now()));
    let Ok(body) = request.into_body().collect().await else { return answer(500, "") };
    let Ok(put) = serde_json::from_slice::<PutEvents>(&body.to_bytes()) else { return answer(400, "") };
    let mut failed = 0;
    let mut results = Vec::new();
    for entry in put.entries {
        let number = told.entries.get() + 1;
        told.entries.set(number);
        let Ok(detail) = serde_json::from_str(&entry.detail) else { return answer(400, "") };
        if number.is_multiple_of(REFUSED) {
            failed += 1;
            results.push(json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "" }));
            continue;
        }
        let id = number.to_string();
        results.push(json!({ "EventId": id }));
        // its reader ends with the bench
        let _ = taken.send(BusEvent { id, detail_type: entry.detail_type, source: entry.source, detail });
    }
    told.refused.set(told.refused.get() + failed);
    answer(200, json!({ "FailedEntryCount": failed, "Entries": results }).to_string())
}
