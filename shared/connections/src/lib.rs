//! The two DynamoDB tables. Keys and access patterns are in docs/DATA.md; nothing here scans.
//!
//! [`ConnectionTable`] holds connections, their subscriptions, each channel's head and log of publications.
//! [`StatusTable`] holds the current state of every Zabbix problem and the hosts that have had one.

mod attribute;
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
mod zabbix;

pub use channel::{Appended, DueHead, HELD_SHARDS, Head};
pub use connection::{
    Admission, Admit, Authenticate, Authentication, BUCKETS, BucketConnection, CONNECTION_TTL, Client, Connection,
    ConnectionState, OwnSubscription, UserConnection, bucket_of, shard_of,
};
pub use fan::FanMark;
pub use log::{LogEntry, LogItem, LogPage, LogState, LogWrite, PublishKey, Version, WritePublication};
pub use registry::REGISTRY_SHARDS;
pub use removal::{EndedSubscription, Removed};
pub use status::{Applied, KnownHost, RecentlyResolved, SnapshotPage, SnapshotScope, StatusTable};
pub use subscription::{MadeReady, NewSubscription, Row, ServerSubscribed, Subscribed, Subscriber, Unsubscribed};
pub use table::{ConnectionTable, PageStart};
