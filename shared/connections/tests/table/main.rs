//! The rules of the tables, against a real DynamoDB API in process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and nothing freezes its tasks"
)]

mod connecting;

use std::time::Duration;

use signalbox_connections::{
    next::{
        Admit, Authenticate, Authentication, Client, Connection, ConnectionTable, NewSubscription, Row, Subscribed,
    },
    testing::Tables,
};

/// Any time will do: every function is told what time it is.
const NOW: i64 = 1_795_262_400;

const CHANNEL: &str = "status:all";

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
    let ttl = NOW + 7200;
    NewSubscription {
        connection_id,
        channel,
        command_id,
        now_s: NOW,
        ttl,
        user: "anna",
        client: "c",
        ..Default::default()
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

async fn table() -> ConnectionTable {
    Tables::start().await.table
}
