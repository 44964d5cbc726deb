//! The rules of the tables, against a real DynamoDB API in process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and nothing freezes its tasks"
)]

mod claiming;
mod connecting;
mod delivering;
mod listing;
mod publications;
mod readiness;
mod removing;
mod subscribing;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use signalbox_connections::{
    Admit, Authenticate, Authentication, Client, Connection, ConnectionTable, Head, NewSubscription, Row, Subscribed,
    testing::{Hook, Tables, Verdict},
};

/// Any time will do: every function is told what time it is.
const NOW: i64 = 1_795_262_400;
const NOW_MS: i64 = NOW * 1000;

const CHANNEL: &str = "status:all";

const LEASE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_hours(1);
const DELAY: Duration = Duration::from_secs(25);

fn anna() -> Client {
    client("anna", "client-1")
}

fn client(user: &str, client: &str) -> Client {
    Client { user: user.to_owned(), client: client.to_owned(), info: None, expires_at: None }
}

fn admission(id: &str) -> Admit<'_> {
    Admit { id, now_s: NOW, source_ip: None, stale_after: Duration::from_secs(10), per_address_limit: 0 }
}

fn authentication(id: &str, client: Client) -> Authenticate<'_> {
    Authenticate { id, client, user_connection_limit: 0, expired_close_delay: DELAY, now_s: NOW }
}

async fn connect(table: &ConnectionTable, id: &str) -> Connection {
    connect_as(table, id, anna()).await
}

async fn connect_as(table: &ConnectionTable, id: &str, client: Client) -> Connection {
    table.admit(&admission(id)).await.unwrap();
    match table.authenticate(&authentication(id, client)).await.unwrap() {
        Authentication::Accepted(connection) => connection,
        other => panic!("{other:?}"),
    }
}

fn subscription<'a>(connection_id: &'a str, channel: &'a str, command_id: u32) -> NewSubscription<'a> {
    NewSubscription {
        connection_id,
        channel,
        command_id,
        now_s: NOW,
        ttl: NOW + 7200,
        user: "anna",
        client: "client-1",
        ..NewSubscription::default()
    }
}

async fn subscribe(table: &ConnectionTable, id: &str, channel: &str, command_id: u32) -> String {
    match table.subscribe(&subscription(id, channel, command_id)).await.unwrap() {
        Subscribed::Begun(row_id) => row_id,
        other => panic!("{other:?}"),
    }
}

fn row<'a>(connection_id: &'a str, row_id: &'a str) -> Row<'a> {
    Row { connection_id, channel: CHANNEL, shard: 0, row_id }
}

async fn append(table: &ConnectionTable, holder: &str) -> Head {
    table.append(CHANNEL, holder, NOW_MS, LEASE, HOUR).await.unwrap().head
}

async fn table() -> ConnectionTable {
    Tables::start().await.table
}

/// Requests by operation.
#[derive(Debug, Default, Clone)]
struct Counted(Arc<Mutex<HashMap<String, usize>>>);

impl Counted {
    fn hook(&self) -> Hook {
        let counted = self.clone();
        Arc::new(move |request| {
            *counted.0.lock().unwrap().entry(request.operation).or_default() += 1;
            Box::pin(async { Verdict::Send })
        })
    }

    fn take(&self) -> Vec<(String, usize)> {
        let mut counts: Vec<_> = self.0.lock().unwrap().drain().collect();
        counts.sort();
        counts
    }
}

fn counts(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
    expected.iter().map(|(operation, count)| ((*operation).to_owned(), *count)).collect()
}

/// The n-th request of that operation (from 0) gets the verdict, every other is sent.
fn nth(operation: &'static str, n: usize, verdict: Verdict) -> Hook {
    let seen = AtomicUsize::new(0);
    Arc::new(move |request| {
        let hit = request.operation == operation && seen.fetch_add(1, Ordering::Relaxed) == n;
        Box::pin(async move { if hit { verdict } else { Verdict::Send } })
    })
}

/// Runs it until its k-th request (from 0) and no further, as an invocation that is killed there. None if it was done before.
async fn killed_at<T, F>(tables: &Tables, k: usize, done: bool, work: impl FnOnce(ConnectionTable) -> F) -> Option<T>
where
    F: Future<Output = T>,
{
    let killed = Arc::new(tokio::sync::Notify::new());
    let (seen, dying) = (AtomicUsize::new(0), killed.clone());
    let hooked = tables.hooked(Arc::new(move |_| {
        let at = seen.fetch_add(1, Ordering::Relaxed);
        let dying = dying.clone();
        Box::pin(async move {
            if at < k {
                return Verdict::Send;
            }
            if at == k && done {
                // the request is done, its answer never read
                return Verdict::LoseAnswer;
            }
            dying.notify_one();
            std::future::pending().await
        })
    }));
    tokio::select! {
        result = work(hooked.table) => Some(result),
        () = killed.notified() => None,
    }
}
