//! The two DynamoDB tables. Keys and access patterns are in docs/DATA.md; nothing here scans.
//!
//! [`ConnectionTable`] holds connections, their subscriptions, each channel's head and log of publications.
//! [`StatusTable`] holds the current state of every Zabbix problem and the hosts that have had one.

mod attribute;
mod before;
mod channel;
mod claim;
mod connection;
mod fan;
mod log;
mod registry;
mod removal;
mod status;
mod subscriber;
mod subscription;
mod table;
#[cfg(feature = "testing")]
pub mod testing;

/// What replaces the types of the same names at the crate's root.
pub mod next {
    pub use crate::{
        channel::{Appended, DueHead, HELD_SHARDS, Head},
        connection::{
            Admission, Admit, Authenticate, Authentication, BUCKETS, BucketConnection, CONNECTION_TTL, Client,
            Connection, ConnectionState, OwnSubscription, UserConnection, bucket_of, shard_of,
        },
        fan::FanMark,
        log::{LogEntry, LogItem, LogPage, LogState, LogWrite, PublishKey, Version, WritePublication},
        registry::REGISTRY_SHARDS,
        removal::{EndedSubscription, Removed},
        status::{Applied, KnownHost, RecentlyResolved, SnapshotPage, StatusTable},
        subscription::{MadeReady, NewSubscription, Row, ServerSubscribed, Subscribed, Subscriber, Unsubscribed},
        table::{ConnectionTable, PageStart},
    };
}

pub use before::{
    Admission, Appended, Authentication, Connection, ConnectionState, ConnectionTable, Head, LogEntry, LogWrite,
    PageStart, Subscribed, Subscriber,
};
pub use connection::CONNECTION_TTL;
pub use status::{Applied, KnownHost, RecentlyResolved, SnapshotPage, StatusTable};
